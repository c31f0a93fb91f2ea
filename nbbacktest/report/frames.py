"""A run as pandas objects: fills, orders, trades, equity, months, parts. Columns and dtypes are the same without rows."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, NO_TIME
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.calendar import local_clock
from nbbacktest.trading.equity import day_ends, local_days
from nbbacktest.trading.excursions import Excursions
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.returns import monthly_returns, rolling_statistics
from nbbacktest.trading.stats import COLUMNS, annual_factor, daily_returns
from nbbacktest.trading.trades import Trades

if TYPE_CHECKING:
    import pandas as pd

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COUNTS = ("trades", "open_trades")


def equity_series(record: RunRecord, equity: Float64) -> pd.Series[float]:
    """Equity by instant, labelled as `instant_index` says."""
    import pandas as pd

    return pd.Series(equity.copy(), index=instant_index(record).rename("time"), name="equity")


def instant_index(record: RunRecord) -> pd.DatetimeIndex:
    """The labels of the run's instants: the times at which bars closed, or the session's dates of a daily run."""
    import pandas as pd

    if not record.daily:
        return record.stamps.index(record.instants)
    return record.stamps.dated(pd.DatetimeIndex((local_days(record) * DAY).view("datetime64[ns]")))


def fills_frame(record: RunRecord) -> pd.DataFrame:
    """The fills, one row each, in order; `time` is the stamp of the bar that a fill happened in."""
    import pandas as pd

    fills = record.fills
    return pd.DataFrame(
        {
            "time": _times(record, [f.time_ns for f in fills]),
            "symbol": _texts([f.symbol for f in fills]),
            "side": _texts([str(f.side) for f in fills]),
            "size": _floats([f.size for f in fills]),
            "price": _floats([f.price for f in fills]),
            "commission": _floats([f.commission for f in fills]),
            "order_id": np.array([f.order_id for f in fills], dtype=np.int64),
            "tag": _texts([f.tag for f in fills]),
            "strategy": _texts([f.strategy for f in fills]),
        }
    )


def orders_frame(record: RunRecord) -> pd.DataFrame:
    """The orders, one row each, in order of submission.

    `submitted` and `closed` are instants; `closed` is NaT while it is open, `size` NaN if it was all the cash,
    `parent` the id of a bracket's entry, 0 for all but its exits.
    """
    import pandas as pd

    orders = record.orders
    return pd.DataFrame(
        {
            "id": np.array([o.id for o in orders], dtype=np.int64),
            "strategy": _texts([o.strategy for o in orders]),
            "symbol": _texts([o.symbol for o in orders]),
            "side": _texts([str(o.side) for o in orders]),
            "size": _floats([o.size for o in orders]),
            "type": _texts([str(o.type) for o in orders]),
            "limit": _floats([o.limit for o in orders]),
            "stop": _floats([o.stop for o in orders]),
            "tif": _texts([str(o.tif) for o in orders]),
            "status": _texts([str(o.status) for o in orders]),
            "reason": _texts([o.reason for o in orders]),
            "submitted": instant_labels(record, [o.submitted_ns or None for o in orders]),
            "closed": instant_labels(record, [o.closed_ns or None for o in orders]),
            "fill_price": _floats([o.fill_price for o in orders]),
            "tag": _texts([o.tag for o in orders]),
            "filled": _floats([o.filled for o in orders]),
            "trail": _floats([o.trail for o in orders]),
            "touch": _floats([o.touch for o in orders]),
            "parent": np.array([0 if o.parent is None else o.parent.id for o in orders], dtype=np.int64),
        }
    )


def order_events_frame(record: RunRecord) -> pd.DataFrame:
    """The events of the orders' lives, one row each, by order and time: `size` and `price` of a fill, the order's levels then."""
    import pandas as pd

    events = [(order.id, event) for order in record.orders for event in order.events]
    return pd.DataFrame(
        {
            "order_id": np.array([number for number, _ in events], dtype=np.int64),
            "time": instant_labels(record, [e.time_ns for _, e in events]),
            "event": _texts([str(e.kind) for _, e in events]),
            "reason": _texts([e.reason for _, e in events]),
            "size": _floats([e.size for _, e in events]),
            "price": _floats([e.price for _, e in events]),
            "limit": _floats([e.terms.limit for _, e in events]),
            "stop": _floats([e.terms.stop for _, e in events]),
            "touch": _floats([e.terms.touch for _, e in events]),
        }
    )


def inputs_frame(record: RunRecord) -> pd.DataFrame:
    """The inputs by hand, one row each, in order; `cursor` is the number of instants that were completed, `time` the last of them."""
    import pandas as pd

    inputs = record.inputs
    times = [None if one.time is None else int(record.instants[one.place.cursor - 1]) for one in inputs]
    return pd.DataFrame(
        {
            "cursor": np.array([one.place.cursor for one in inputs], dtype=np.int64),
            "time": instant_labels(record, times),
            "what": _texts([str(one.what) for one in inputs]),
            "strategy": _texts([one.strategy for one in inputs]),
            "arguments": [dict(one.arguments) for one in inputs],
            "by": _texts([one.by for one in inputs]),
        }
    )


def trades_frame(record: RunRecord, trades: Trades, far: Excursions) -> pd.DataFrame:
    """The round trips, one row each: closed ones by exit, then the open ones, whose `exit_time` is NaT."""
    import pandas as pd

    rows = list(trades)
    return pd.DataFrame(
        {
            "symbol": _texts([t.symbol for t in rows]),
            "size": trades.size,
            "entry_time": _times(record, [t.entry_ns for t in rows]),
            "exit_time": _times(record, [t.exit_ns for t in rows]),
            "entry_price": trades.entry_price,
            "exit_price": trades.exit_price,
            "pnl": trades.pnl,
            "return": trades.return_,
            "commission": trades.commission,
            "tag": _texts([t.tag for t in rows]),
            "strategy": _texts([t.strategy for t in rows]),
            "mae": far.mae,
            "mfe": far.mfe,
            "mae_value": far.mae_value,
            "mfe_value": far.mfe_value,
        }
    )


def flows_frame(record: RunRecord) -> pd.DataFrame:
    """The cash flows without a fill, one row each, in order; `amount` is negative if it was paid, `time` as in `equity_series`."""
    import pandas as pd

    flows = record.flows
    return pd.DataFrame(
        {
            "time": instant_labels(record, [flow.time for flow in flows]),
            "kind": _texts([flow.kind for flow in flows]),
            "symbol": _texts([flow.symbol for flow in flows]),
            "strategy": _texts([flow.strategy for flow in flows]),
            "amount": _floats([flow.amount for flow in flows]),
        }
    )


def log_frame(record: RunRecord) -> pd.DataFrame:
    """The logged messages, one row each, in order; `time` is the instant."""
    import pandas as pd

    return pd.DataFrame(
        {
            "time": instant_labels(record, [moment for moment, _, _ in record.log]),
            "strategy": _texts([name for _, name, _ in record.log]),
            "message": _texts([message for _, _, message in record.log]),
        }
    )


def breakdown_frame(parts: Mapping[str, Mapping[str, Any]], name: str) -> pd.DataFrame:
    """The trade statistics of the parts of a run, one row each; the columns are those of `nbbacktest.trading.stats`."""
    import pandas as pd

    columns = {
        column: np.array([part[column] for part in parts.values()], dtype=np.int64 if column in _COUNTS else np.float64)
        for column in COLUMNS
    }
    return pd.DataFrame(columns, index=pd.Index(list(parts), dtype="object", name=name))


def monthly_frame(record: RunRecord, equity: Float64) -> pd.DataFrame:
    """Returns by year and month, and of the whole year."""
    import pandas as pd

    days = local_days(record)
    ends = day_ends(days)
    years, table = monthly_returns(days[ends], daily_returns(equity[ends], record.cash))
    return pd.DataFrame(table, index=pd.Index(years, name="year"), columns=[*MONTHS, "Year"])


def rolling_frame(record: RunRecord, equity: Float64, window: Any) -> pd.DataFrame:
    """The statistics of the last `window` days, one row a day.

    Raises
    ------
    DataError
        For a window that isn't a whole number of at least two days.
    """
    import pandas as pd

    if isinstance(window, bool) or not isinstance(window, numbers.Integral) or window < 2:
        raise DataError(f"rolling(days={window!r}): give a whole number of days, 2 or more, such as 63 for a quarter")
    days = local_days(record)
    ends = day_ends(days)
    daily = daily_returns(equity[ends], record.cash)
    dates = pd.DatetimeIndex((days[ends] * DAY).view("datetime64[ns]"), name="date")
    return pd.DataFrame(rolling_statistics(daily, annual_factor(record), int(window)), index=dates)


def _times(record: RunRecord, moments: Sequence[int | None]) -> pd.DatetimeIndex:
    """Stamps of bars."""
    return record.stamps.begins(_ns(moments))


def instant_labels(record: RunRecord, moments: Sequence[int | None]) -> pd.DatetimeIndex:
    """The labels of given moments, as in `instant_index`."""
    if not record.daily:
        return record.stamps.index(_ns(moments))
    import pandas as pd

    ns = _ns(moments)
    dates = pd.DatetimeIndex((local_clock(ns - 1, record.stamps.day_zone)).view("datetime64[ns]"))
    return record.stamps.dated(dates)


def _ns(moments: Sequence[int | None]) -> Int64:
    return np.array([NO_TIME if m is None else m for m in moments], dtype=np.int64)


def _floats(values: Sequence[float | None]) -> Float64:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _texts(values: Sequence[str | None]) -> pd.Series[Any]:
    import pandas as pd

    # pandas has had a text type that knows missing values since 3.0; before, "str" would make a text of None.
    # Nor can that type hold a lone surrogate, which a tag may.
    texts = [v if v is None or v.isascii() else v.encode("utf-8", "replace").decode() for v in values]
    return pd.Series(texts, dtype="str" if int(pd.__version__.partition(".")[0]) >= 3 else "object")
