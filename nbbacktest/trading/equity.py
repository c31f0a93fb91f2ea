"""Equity, cash and positions at every instant, computed after the run from fills, cash flows and closes.

Pure functions of a `RunRecord`: arrays of one value an instant, in one fixed order of summation, so that
equal records give equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.data.calendar import local_dates
from nbbacktest.trading.portfolio import Tally
from nbbacktest.trading.record import RunRecord, Split

_NONE = np.empty(0, dtype=np.int64)
_Level = TypeVar("_Level", np.float64, np.bool_)


def cash_curve(record: RunRecord) -> Float64:
    """Cash at the end of every instant, in the account's currency.

    A fill changes it by ``-signed_size * price - commission`` at its own instant, in the fills' order; a cash flow by
    its amount, before the fills of its instant.
    """
    done = record.executions
    index, amounts = done.index, -done.signed * done.price - done.commission
    if record.flows:
        # The sort is stable: of one instant, flows stay before fills.
        index = np.concatenate(([flow.index for flow in record.flows], index))
        amounts = np.concatenate(([flow.amount for flow in record.flows], amounts))
        order = np.argsort(index, kind="stable")
        index, amounts = index[order], amounts[order]
    return _spread(np.cumsum(np.concatenate(([record.cash], amounts))), index, len(record.instants))


def position_curve(record: RunRecord, symbol: str) -> Float64:
    """Units of `symbol` held at the end of every instant, negative if short; all strategies together.

    A split multiplies them, before the fills of its instant.
    """
    return _spread(*_levels(record, symbol), len(record.instants))


def _levels(record: RunRecord, symbol: str) -> tuple[Float64, Int64]:
    """The units held before the first change and after each change, and the instants of the changes."""
    done = record.executions
    rows = done.rows.get(symbol, _NONE)
    index, signed = done.index[rows], done.signed[rows]
    splits = [split for split in record.splits if split.symbol == symbol]
    if splits:
        return _through_splits(index, signed, splits)
    if len(signed) > 1 and np.array_equal(signed[1::2], -signed[: len(signed) // 2 * 2 : 2]):
        # Positions that are opened and closed whole: no sums, so no rounding.
        levels = np.concatenate(([0.0], signed))
        levels[2::2] = 0.0
    else:
        levels = np.array([0.0, *map(Tally().add, signed.tolist())])
    return levels, index


def _through_splits(index: Int64, signed: Float64, splits: Sequence[Split]) -> tuple[Float64, Int64]:
    changes = [(split.index, 0.0, split.ratio) for split in splits]
    changes += zip(index.tolist(), signed.tolist(), repeat(1.0))
    changes.sort(key=itemgetter(0))  # a stable sort: of one instant, splits stay before fills
    held = Tally()
    levels = [0.0]
    for _, size, ratio in changes:
        levels.append(held.add(size) if ratio == 1.0 else held.split(ratio))
    return np.array(levels), np.array([at for at, *_ in changes])


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
    traded = record.executions.rows
    for symbol in record.bars:
        if symbol in traded:
            worth = position_curve(record, symbol)
            # A symbol without a close can't be held: 0 times NaN counts as 0.
            equity += np.multiply(worth, marks(record, symbol), out=worth, where=worth != 0.0)
    return equity


def invested(record: RunRecord) -> npt.NDArray[np.bool_]:
    """True for each instant at whose end any position was open, long or short."""
    held = np.zeros(len(record.instants), dtype=bool)
    for symbol in record.executions.rows:
        levels, changes = _levels(record, symbol)
        held |= _spread(levels != 0.0, changes, len(held))
    return held


def local_days(record: RunRecord) -> Int64:
    """The trading day of every instant, as days since 1970-01-01.

    An instant belongs to the day that it ends. Records that were saved before they knew their days have the dates of
    the zone that they were shown in.
    """
    return local_dates(record.instants - 1, record.stamps.day_zone) if record.days is None else record.days


def day_ends(days: Int64) -> Int64:
    """The positions of the instants that are the last of their trading day, rising."""
    if not len(days):
        return np.empty(0, dtype=np.int64)
    return np.append(np.flatnonzero(np.diff(days)), len(days) - 1).astype(np.int64)


def _spread(levels: npt.NDArray[_Level], changes: Int64, count: int) -> npt.NDArray[_Level]:
    """One value for each instant: `levels[0]` until the first change, `levels[k]` from change `k` on.

    If several changes fall on one instant, the last one counts.
    """
    edges = np.empty(len(changes) + 2, dtype=np.int64)
    edges[0], edges[1:-1], edges[-1] = 0, changes, count
    return np.repeat(levels, edges[1:] - edges[:-1])


def _seen(instants: Int64, bars: BarColumns, first: int) -> Int64 | None:
    """The number of bars that had closed by every instant; None if each instant closes exactly the next bar."""
    if len(bars) - first == len(instants) and np.array_equal(bars.end[first:], instants):
        return None
    return np.searchsorted(bars.end, instants, side="right").astype(np.int64)
