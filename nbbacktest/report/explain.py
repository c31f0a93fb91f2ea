"""The explanation of one instant of a finished run: bars, orders and their outcome, account, indicators. As text and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.formats import brief, change, money, number, timestamp
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Bar
from nbbacktest.report.frames import instant_labels
from nbbacktest.report.plotting import local_time
from nbbacktest.trading.equity import cash_curve, position_curve
from nbbacktest.trading.order_replay import OrderOutcome, explain_orders
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.order import levels_of
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.snapshot import OrderRow

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.report.analysis import RunAnalysis

BEFORE = "filled before"
"""Written in an order's words, of the part that had filled before the bar came."""

_ORDER_COLUMNS = (
    "id", "symbol", "side", "size", "type", "limit", "stop", "outcome", "missed_by", "why", "tag", "strategy",
    "touch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """One instant of a run. Prints as text, and in a notebook as tables.

    Attributes
    ----------
    time : Timestamp
        The instant at which the bars closed; of a daily run, their session's date.
    bars : dict
        By symbol, the base bar that closed then; None if the symbol had none.
    verdicts : tuple of OrderOutcome
        The outcome of each order that was open or was placed then; `orders` is the same as a frame.
    executions : tuple of Fill
        The fills of the instant.
    cash, equity : tuple of float
        Before the bar, and after it.
    positions : dict
        By symbol, units held before the bar and after it, all strategies together.
    indicators : dict
        By name, the value of each indicator when strategies saw the bar.
    notes : tuple of str
        The other events: dividends, splits, fees by the day; and the strategies' log lines.
    """

    time: Any
    bars: Mapping[str, Bar | None]
    verdicts: tuple[OrderOutcome, ...]
    executions: tuple[Fill, ...]
    cash: tuple[float, float]
    equity: tuple[float, float]
    positions: Mapping[str, tuple[float, float]]
    indicators: Mapping[str, float | tuple[float, ...]]
    notes: tuple[str, ...]

    @property
    def orders(self) -> pd.DataFrame:
        """The orders, one row each: its terms before the bar, its outcome, the distance by which it missed, and the reason."""
        import pandas as pd

        rows = [
            (
                v.then.id, v.then.symbol, str(v.then.side), v.then.size, str(v.then.type), v.then.limit, v.then.stop,
                v.outcome, v.missed_by, v.why, v.then.tag, v.then.strategy, v.then.touch,
            )
            for v in self.verdicts
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(_ORDER_COLUMNS))
        return frame.astype(dict.fromkeys(("size", "limit", "stop", "missed_by", "touch"), "float64"))

    def to_frame(self) -> pd.DataFrame:
        """The orders as a frame; the same as `orders`."""
        return self.orders

    @property
    def text(self) -> str:
        """The whole explanation in words, a line for each thing."""
        lines = [timestamp(self.time)]
        lines += ["Bars", *(f"  {bar_words(symbol, bar)}" for symbol, bar in self.bars.items())]
        lines.append("Orders" if self.verdicts else "Orders: none was open, and none was placed")
        for verdict in self.verdicts:
            lines += [f"  {order_words(verdict.then, BEFORE)}", f"    {verdict.outcome}: {verdict.why}"]
        lines.append("Account")
        lines += [f"  {label:<12}{before} -> {after}" for label, before, after in self._account()]
        if self.indicators:
            lines += ["Indicators", *(f"  {name}: {_value(value)}" for name, value in self.indicators.items())]
        if self.notes:
            lines += ["Notes", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines)

    def _account(self) -> list[tuple[str, str, str]]:
        account = [("cash", self.cash), ("equity", self.equity)]
        rows = [(label, money(before), money(after)) for label, (before, after) in account]
        return rows + [(symbol, brief(a), brief(b)) for symbol, (a, b) in self.positions.items()]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        bars = [
            [symbol, "", "", "", "", "no bar closed then"] if bar is None else
            [symbol, *(_value(price) for price in (bar.open, bar.high, bar.low, bar.close)), _value(bar.volume)]
            for symbol, bar in self.bars.items()
        ]  # fmt: skip
        orders = [[order_words(v.then, BEFORE), v.outcome, v.why] for v in self.verdicts]
        parts = [
            _table("Bars", ["", "open", "high", "low", "close", "volume"], bars),
            _table("Orders", ["order", "outcome", "why"], orders) if orders else "<p>No order was open or placed.</p>",
            _table("Account", ["", "before", "after"], [list(row) for row in self._account()]),
        ]
        if self.indicators:
            rows = [[name, _value(value)] for name, value in self.indicators.items()]
            parts.append(_table("Indicators", ["", "read"], rows))
        parts += [f"<p>{escape(note)}</p>" for note in self.notes]
        title = f'<div style="font-size:1.1em;font-weight:600">{escape(timestamp(self.time))}</div>'
        return f'<div class="nbbt-explain">{title}{"".join(parts)}</div>'


def explain(run: RunAnalysis, time: Any, symbol: str | None = None) -> Explanation:
    """Explain one instant of the run.

    Parameters
    ----------
    run
        A finished run.
    time
        A bar's stamp or any time inside it, or the instant at which bars closed; of a daily run, its date. A naive one
        is in the exchange's time zone.
    symbol
        The only symbol to explain; None: all.

    Raises
    ------
    DataError
        For an unknown symbol, a value that is no time, and a time without a bar.
    """
    record, equity = run.record, run.equity_values
    if symbol is not None and symbol not in record.bars:
        raise DataError(f"symbol {symbol!r} was not run; {nearest(symbol, record.bars)}")
    index = _index_of(record, time, symbol)
    instant = int(record.instants[index])
    symbols = list(record.bars) if symbol is None else [symbol]
    bars = {name: _bar_at(record, name, instant) for name in symbols}
    cash = cash_curve(record)
    held = {name: position_curve(record, name) for name in symbols}
    before = index - 1
    return Explanation(
        time=_label(record, instant),
        bars=bars,
        verdicts=tuple(explain_orders(record, index, bars)),
        executions=tuple(fill for fill in record.fills if fill.index == index and fill.symbol in bars),
        cash=(float(cash[before]) if index else record.cash, float(cash[index])),
        equity=(float(equity[before]) if index else record.cash, float(equity[index])),
        positions={name: (float(p[before]) if index else 0.0, float(p[index])) for name, p in held.items()},
        indicators={r.name: r.at(instant) for r in record.indicators if r.symbol in bars},
        notes=_notes(record, index, instant, bars),
    )


def _index_of(record: RunRecord, time: Any, symbol: str | None) -> int:
    ns = _moment(record, time)
    asked = [] if symbol is None else [symbol]
    for name in [*asked, *(other for other in record.bars if other != symbol)]:
        row = _row_at(record, name, ns)
        if row is not None and row >= record.first.get(name, 0):
            return int(np.searchsorted(record.instants, record.bars[name].end[row]))
    index = int(np.searchsorted(record.instants, ns))
    if index < len(record.instants) and record.instants[index] == ns:
        return index
    around = [_label(record, int(record.instants[i])) for i in (index - 1, index) if 0 <= i < len(record.instants)]
    known = " and ".join(timestamp(stamp) for stamp in around)
    raise DataError(
        f"explain({str(time)!r}): no bar of the run was then; "
        + (f"the instants around it are {known}" if known else "the run completed no instant")
    )


def _moment(record: RunRecord, time: Any) -> int:
    import pandas as pd

    try:
        stamp = pd.Timestamp(time)
    except (ValueError, TypeError) as error:
        raise DataError(f"explain({time!r}): no time ({error}); give a timestamp or its text") from None
    if pd.isna(stamp):
        raise DataError(f"explain({time!r}): no time; give a timestamp or its text")
    if stamp.tz is None:
        stamp = stamp.tz_localize(record.stamps.day_zone, ambiguous=True, nonexistent="shift_forward")
    return int(stamp.as_unit("ns").value)


def _row_at(record: RunRecord, symbol: str, ns: int) -> int | None:
    """The row of the bar that spans the moment; of a daily run, of the bar of its date."""
    bars = record.bars[symbol]
    row = int(np.searchsorted(bars.time, ns, side="right")) - 1
    if row < 0:
        return None
    if record.daily:
        moments = np.array([ns, int(bars.time[row])], dtype=np.int64)
        days = local_time(record.stamps, moments) // DAY
        return row if days[0] == days[1] else None
    return row if ns < bars.end[row] else None


def _bar_at(record: RunRecord, symbol: str, instant: int) -> Bar | None:
    bars = record.bars[symbol]
    row = int(np.searchsorted(bars.end, instant))
    if row >= len(bars) or bars.end[row] != instant:
        return None
    return Bar(
        symbol, bars.interval.name, int(bars.time[row]), int(bars.end[row]), float(bars.open[row]), float(bars.high[row]),
        float(bars.low[row]), float(bars.close[row]), float(bars.volume[row]), record.stamps,
    )  # fmt: skip


def _label(record: RunRecord, instant: int) -> Any:
    return instant_labels(record, [instant])[0]


def _notes(record: RunRecord, index: int, instant: int, bars: Mapping[str, Bar | None]) -> tuple[str, ...]:
    splits = [
        f"split of {s.symbol}: {s.ratio:g} new units for an old one, before anything filled"
        for s in record.splits
        if s.index == index and s.symbol in bars
    ]
    flows = [
        f"{flow.kind}{'' if flow.symbol is None else f' of {flow.symbol}'}: {change(flow.amount)} in cash, before any fill"
        for flow in record.flows
        if flow.index == index and (flow.symbol is None or flow.symbol in bars)
    ]
    logged = [f"{name} logged: {message}" for moment, name, message in record.log if moment == instant]
    return (*splits, *flows, *logged)


def bar_words(symbol: str, bar: Bar | None) -> str:
    """A bar in a line; None for an instant without one."""
    if bar is None:
        return f"{symbol}: no bar closed then"
    prices = ", ".join(f"{name} {_value(getattr(bar, name))}" for name in ("open", "high", "low", "close", "volume"))
    return f"{symbol} {bar.interval} from {timestamp(bar.time)}: {prices}"


def order_words(order: Order | OrderRow, filled: str = "filled") -> str:
    """An order in a line: its terms, and how much of it is `filled`."""
    size = "all" if order.size is None else number(order.size)
    levels = "".join(f", {name} {_value(level)}" for name, level in levels_of(order))
    part = f", {number(order.filled)} {filled}" if order.filled else ""
    kind = str(order.type).replace("_", " ")
    return f"order {order.id}: {order.side} {size} {order.symbol} {kind}{levels}{part}"


def _value(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_value(part) for part in value)})"
    return number(value, "not defined yet")


def _table(heading: str, heads: list[str], rows: list[list[str]]) -> str:
    def cells(tag: str, row: list[str]) -> str:
        return "".join(f'<{tag} style="text-align:left;padding-right:1em">{escape(cell)}</{tag}>' for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<p><b>{heading}</b></p><table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"
