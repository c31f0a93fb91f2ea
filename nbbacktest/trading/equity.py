"""What an account was worth at every instant, computed afterwards from fills, cash flows and closes.

Pure functions of a `RunRecord`: arrays of one value an instant, in one fixed order of summation, so that
equal records give equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from nbbacktest.core.enums import Side
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.record import RunRecord

_BUY = Side.BUY

FLAT = 1e-9
"""Sizes that cancel to within this share of the larger one are flat: 0.1 + 0.2 - 0.3 holds nothing."""


def add_sizes(held: float, signed: float) -> float:
    """The position after `signed` units more; rounding residue is no position.

    Examples
    --------
    >>> add_sizes(0.1 + 0.2, -0.3)
    0.0
    """
    total = held + signed
    return 0.0 if abs(total) <= FLAT * max(abs(held), abs(signed)) else total


def cash_curve(record: RunRecord) -> Float64:
    """Cash at the end of every instant, in the account's currency.

    A fill changes it by ``-signed_size * price - commission`` at its own instant, in the fills' order; a cash flow by
    its amount, before the fills of its instant.
    """
    changes = [
        (index, (-size * price if side is _BUY else size * price) - commission)
        for index, _, _, side, size, price, commission, *_ in record.fills
    ]
    if record.flows:
        booked = [(flow.index, flow.amount) for flow in record.flows]
        changes = sorted(booked + changes, key=itemgetter(0))  # stable: flows stay before fills
    levels = np.cumsum(np.array([record.cash, *(amount for _, amount in changes)], dtype=np.float64))
    return _spread(levels, [index for index, _ in changes], len(record.instants))


def position_curve(record: RunRecord, symbol: str) -> Float64:
    """Units of `symbol` held at the end of every instant, negative where short; all strategies together.

    A split multiplies them, before the fills of its instant.
    """
    return _positions(record, symbol, [fill for fill in record.fills if fill.symbol == symbol])


def _positions(record: RunRecord, symbol: str, fills: Sequence[Fill]) -> Float64:
    changes = [(index, size if side is _BUY else -size, 1.0) for index, _, _, side, size, *_ in fills]
    if record.splits:
        splits = [(split.index, 0.0, split.ratio) for split in record.splits if split.symbol == symbol]
        changes = sorted(splits + changes, key=itemgetter(0))
    held = 0.0
    levels = [held]
    for _, signed, ratio in changes:
        # From and to flat, as most go, there is nothing to round.
        held = signed if held == 0.0 else 0.0 if held * ratio == -signed else add_sizes(held * ratio, signed)
        levels.append(held)
    return _spread(np.array(levels, dtype=np.float64), [index for index, _, _ in changes], len(record.instants))


def _fills_by_symbol(record: RunRecord) -> dict[str, list[Fill]]:
    """The fills of each symbol that has some, in the order of the first ones."""
    found: dict[str, list[Fill]] = {}
    for fill in record.fills:
        found.setdefault(fill[2], []).append(fill)
    return found


def marks(record: RunRecord, symbol: str) -> Float64:
    """The newest close of `symbol` at or before every instant.

    Warm-up bars count, since they were seen. NaN before the first bar of all.
    """
    bars = record.bars[symbol]
    seen = _seen(record.instants, bars, record.first.get(symbol, 0))
    if seen is None:
        return bars.close[len(bars) - len(record.instants) :]
    if not len(bars):
        return np.full(len(record.instants), np.nan)
    values = bars.close[np.maximum(seen - 1, 0)]
    values[seen == 0] = np.nan
    return values


def equity_curve(record: RunRecord) -> Float64:
    """Cash plus the value of every position, at the end of every instant.

    Returns
    -------
    float64 array
        One value an instant, in the account's currency, net of all commissions. Each position counts at its
        symbol's newest close at or before the instant; symbols are added in the session's order. The last
        value is ``cash + sum(position * last close)``.
    """
    equity = cash_curve(record)
    traded = _fills_by_symbol(record)
    for symbol in record.bars:
        if symbol in traded:
            position = _positions(record, symbol, traded[symbol])
            # A symbol that has no close yet can't be held: nothing times NaN counts as nothing.
            equity += np.where(position == 0.0, 0.0, position * marks(record, symbol))
    return equity


def invested(record: RunRecord) -> npt.NDArray[np.bool_]:
    """Whether any position was open at the end of every instant, long or short."""
    held = np.zeros(len(record.instants), dtype=bool)
    for symbol, fills in _fills_by_symbol(record).items():
        held |= _positions(record, symbol, fills) != 0.0
    return held


def local_days(record: RunRecord) -> Int64:
    """The local date of every instant, as days since 1970-01-01.

    A session that ends at local midnight belongs to the day that it closes.
    """
    return local_dates(record.instants - 1, record.stamps.timezone)


def local_dates(moments: Int64, timezone: str) -> Int64:
    """The local date of each of the moments (nanoseconds UTC), as days since 1970-01-01."""
    if not len(moments):
        return np.empty(0, dtype=np.int64)
    import pandas as pd

    local = pd.DatetimeIndex(moments.view("datetime64[ns]"), tz="UTC").tz_convert(timezone)
    days: Int64 = local.tz_localize(None).asi8 // DAY
    return days


def day_ends(days: Int64) -> Int64:
    """Which instants are their local date's last, as rising positions."""
    if not len(days):
        return np.empty(0, dtype=np.int64)
    return np.append(np.flatnonzero(np.diff(days)), len(days) - 1).astype(np.int64)


def _spread(levels: Float64, changes: list[int], count: int) -> Float64:
    """`levels[0]` until the first change, `levels[k]` from the instant of change `k` on; the last one of an instant wins."""
    edges = np.array([0, *changes, count], dtype=np.int64)
    return np.repeat(levels, np.diff(edges))


def _seen(instants: Int64, bars: BarColumns, first: int) -> Int64 | None:
    """How many bars had closed by every instant, or None where each instant closes just the next one."""
    if len(bars) - first == len(instants) and np.array_equal(bars.end[first:], instants):
        return None
    return np.searchsorted(bars.end, instants, side="right").astype(np.int64)
