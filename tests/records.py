"""Hand-made runs: a few bars and fills, written down as the record that a run of them would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.record import RunRecord

ZONE = "America/New_York"


def minutes(count: int, day: str = "2024-10-03", clock: str = "09:30", zone: str = ZONE) -> Int64:
    """`count` one-minute openings from one moment on, nanoseconds UTC."""
    first = pd.Timestamp(f"{day} {clock}", tz=zone).tz_convert("UTC").value
    return first + np.arange(count, dtype=np.int64) * 60_000_000_000


def minute_sessions(days: Sequence[str], count: int = 390) -> Int64:
    """One-minute openings of several sessions, each from 09:30 on."""
    return np.concatenate([minutes(count, day) for day in days])


def bars(symbol: str, time: Int64, close: Sequence[float], interval: str = "1m", length: int = 0) -> BarColumns:
    """Bars with the given closes; each opens at the close before it, and reaches 1% beyond both."""
    closes = np.asarray(close, dtype=np.float64)
    opens = np.concatenate((closes[:1], closes[:-1]))
    step = Interval.parse(interval)
    return BarColumns(
        symbol, step, time, time + (length or step.ns), opens, np.maximum(opens, closes) * 1.01,
        np.minimum(opens, closes) * 0.99, closes, np.full(len(closes), 100.0),
    )  # fmt: skip


def daily_bars(symbol: str, close: Sequence[float], first: str = "2024-01-02") -> BarColumns:
    """Session-long bars on the weekdays from `first` on: stamped at local midnight, closing at 16:00."""
    dates = pd.bdate_range(first, periods=len(close), tz=ZONE)
    time = dates.tz_convert("UTC").as_unit("ns").asi8
    end = (dates + pd.Timedelta(hours=16)).tz_convert("UTC").as_unit("ns").asi8
    columns = bars(symbol, time, close, "1d")
    return BarColumns(
        symbol, columns.interval, time, end, columns.open, columns.high, columns.low, columns.close, columns.volume
    )


def run(
    columns: Sequence[BarColumns],
    trades: Sequence[tuple[int, str, float, float]] = (),
    *,
    cash: float = 10_000.0,
    commission: float = 0.0,
    first: Mapping[str, int] | None = None,
    **changes: Any,
) -> RunRecord:
    """A run over `columns` with fills ``(instant's index, symbol, signed size, price)`` at a commission rate."""
    warmup = {c.symbol: (first or {}).get(c.symbol, 0) for c in columns}
    ends = [c.end[warmup[c.symbol] :] for c in columns]
    instants = np.unique(np.concatenate(ends)) if ends else np.empty(0, dtype=np.int64)
    by_symbol = {c.symbol: c for c in columns}
    fills, orders = [], []
    for number, (index, symbol, size, price) in enumerate(trades, start=1):
        bar = int(np.searchsorted(by_symbol[symbol].end, instants[index], side="right")) - 1
        side = Side.BUY if size > 0 else Side.SELL
        fills.append(
            Fill(
                index, int(by_symbol[symbol].time[bar]), symbol, side, abs(size), price,
                abs(size) * price * commission, number, None, "Hand",
            )
        )  # fmt: skip
        order = Order(number, "Hand", symbol, side, abs(size), OrderType.MARKET, submitted_ns=int(instants[index - 1]))
        order.status, order.closed_ns, order.fill_price = OrderStatus.FILLED, int(instants[index]), price
        orders.append(order)
    daily = bool(columns) and columns[0].interval.is_daily
    fields: dict[str, Any] = {
        "name": "By hand",
        "source": "a test",
        "synthetic": False,
        "stamps": Stamps(ZONE, dates=daily),
        "daily": daily,
        "trades_every_day": False,
        "cash": cash,
        "instants": instants,
        "bars": by_symbol,
        "first": warmup,
        "fills": tuple(fills),
        "orders": tuple(orders),
        "strategies": ("Hand()",),
        **changes,
    }
    return RunRecord(**fields)


@st.composite
def traded_runs(draw: st.DrawFn) -> RunRecord:
    """One to three symbols with gaps, and fills at their bars."""
    count = draw(st.integers(1, 20))
    time = minutes(count)
    columns, fills = [], []
    for symbol in "ABC"[: draw(st.integers(1, 3))]:
        rows = [0, *sorted(draw(st.sets(st.integers(0, count - 1), max_size=count)) - {0})]
        closes = draw(st.lists(st.floats(1, 1_000), min_size=len(rows), max_size=len(rows)))
        columns.append(bars(symbol, time[rows], closes))
        for row in rows:
            size = draw(st.sampled_from([0.0, 0.0, 1.5, -2.0, 0.1, -7.25]))
            if size:
                fills.append((row, symbol, size, draw(st.floats(1, 1_000))))
    fills.sort(key=lambda fill: fill[0])
    at = {int(end): i for i, end in enumerate(np.unique(np.concatenate([c.end for c in columns])))}
    fills = [(at[int(time[row]) + 60_000_000_000], *rest) for row, *rest in fills]
    return run(columns, fills, cash=50_000.0, commission=draw(st.sampled_from([0.0, 0.001])))
