"""MAE and MFE: the largest moves against and in favour of each trade's holder while it was open, from the bars inside it.

Pure functions of a `RunRecord` and its trades. A price counts only if it surely occurred while the trade was open:

* every bar that lies wholly inside the trade counts with its high and its low;
* so does the entry's bar if the entry was at its open. Else the order of prices inside the bar is not known: its close
  counts alone, since it came after the entry (and nothing, if the entry was at the close itself);
* so does the exit's bar if the exit was at its close. Else its open counts alone, since it came before the exit;
* `Fill.phase` says if a fill was at the open, inside the bar or at the close: its price can't, once slippage or a split
  has changed it;
* the entry's and the exit's own prices always count, and a trade that began and ended in one bar has these alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.enums import OrderType
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.trading.record import RunRecord, places_of
from nbbacktest.trading.trades import Trades

_OPEN, _INSIDE, _CLOSE = 0, 1, 2
_OFTEN = 4
"""The number of times that `_extreme` may read each value, on average, before it makes tables instead."""
_MARKET, _ON_OPEN, _ON_CLOSE = OrderType.MARKET, OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_CLOSE


Phases = npt.NDArray[np.int8]


class Excursions(NamedTuple):
    """MAE and MFE of every trade, in the order of the trades.

    Attributes
    ----------
    mae, mfe : float64 arrays
        As fractions of the entry's price, ``sign * (price - entry) / |entry|``: `mae` is never positive, `mfe` never
        negative. Gross of commission. NaN if the entry's price is zero.
    mae_value, mfe_value : float64 arrays
        The same in the account's currency: ``size * (price - entry)``.
    """

    mae: Float64
    mfe: Float64
    mae_value: Float64
    mfe_value: Float64


def excursions(record: RunRecord, trades: Trades) -> Excursions:
    """Maximum adverse and favourable excursion of each trade, by the rule at this module's head.

    Those of an open trade reach until the last bar. Source: Sweeney (1996), Maximum Adverse Excursion.
    """
    low, high = np.empty(len(trades)), np.empty(len(trades))
    symbols, phase = record.executions.symbols, _phases(record)
    for symbol, rows in places_of([symbols[row] for row in trades.entry.tolist()]).items():
        low[rows], high[rows] = _reached(record, record.bars[symbol], trades.take(rows), phase)
    entry, size = trades.entry_price, trades.size
    down, up = low - entry, high - entry
    worst, best = np.where(size > 0, down, -up), np.where(size > 0, up, -down)
    unit = np.where(entry == 0.0, np.nan, np.abs(entry))
    # Adding zero turns -0.0, the empty adverse move of a short, into 0.0.
    return Excursions(worst / unit + 0.0, best / unit + 0.0, worst * np.abs(size) + 0.0, best * np.abs(size) + 0.0)


def _reached(record: RunRecord, bars: BarColumns, trades: Trades, phase: Phases) -> tuple[Float64, Float64]:
    """The lowest and the highest price of each trade, its own prices included, in the units at its end."""
    done, is_open = record.executions, trades.exit < 0
    entry, exits = trades.entry_price, np.where(is_open, trades.entry_price, trades.exit_price)
    low, high = np.minimum(entry, exits), np.maximum(entry, exits)
    if not len(bars):
        return low, high
    last = len(bars) - 1
    ends = np.where(is_open, bars.time[last], done.time[trades.exit])
    first_row, last_row = (np.minimum(np.searchsorted(bars.time, at), last) for at in (done.time[trades.entry], ends))
    began, ended = phase[trades.entry], np.where(is_open, _CLOSE, phase[trades.exit])
    ahead = _splits_ahead(record, bars)
    # A trade counts in the units at its end: bars before a split inside it are converted to them.
    unit = np.ones(len(trades)) if ahead is None else ahead[last_row]
    opens, closes, lows, highs = (
        column if ahead is None else column / ahead for column in (bars.open, bars.close, bars.low, bars.high)
    )
    # Of a first or last bar that is only partly inside the trade, one price surely is: its close, or its open.
    later = last_row > first_row
    for rows, prices, counts in (
        (first_row, closes, (began != _OPEN) & (later | (ended == _CLOSE))),
        (last_row, opens, (ended == _INSIDE) & (later | (began == _OPEN))),
    ):
        known = prices[rows] * unit
        low = np.where(counts, np.minimum(low, known), low)
        high = np.where(counts, np.maximum(high, known), high)
    start, stop = first_row + (began != _OPEN), last_row + (ended == _CLOSE)
    low = np.fmin(low, _extreme(lows, start, stop, lowest=True) * unit)
    return low, np.fmax(high, _extreme(highs, start, stop, lowest=False) * unit)


def _phases(record: RunRecord) -> Phases:
    """The phase of each fill in its bar; in older results, which lack it, the order's type or the price tells it."""
    done = record.executions
    phase = done.phase
    if (phase >= 0).all():
        return phase
    # Fills of older results have no phase. Some order types tell it. For the others it is the open if the price is the
    # bar's open; slippage and splits can hide that.
    for symbol, rows in done.rows.items():
        bars = record.bars[symbol]
        if len(bars):
            opens = bars.open[np.minimum(np.searchsorted(bars.time, done.time[rows]), len(bars) - 1)]
            phase[rows] = np.where(done.price[rows] == opens, _OPEN, _INSIDE)
    at_close = record.config.get("broker", {}).get("fill", "next_open") != "next_open"
    for place, number in enumerate(done.order.tolist()):
        if not 0 < number <= len(record.orders):
            continue
        order = record.orders[number - 1]
        if order.type is _MARKET:
            phase[place] = _CLOSE if at_close and not order.is_forced else _OPEN
        elif order.type is _ON_CLOSE:
            phase[place] = _CLOSE
        elif order.type is _ON_OPEN:
            phase[place] = _OPEN
    return phase


def _splits_ahead(record: RunRecord, bars: BarColumns) -> Float64 | None:
    """By row, the number of units that one unit of that bar has become at the end; None without a split."""
    splits = [split for split in record.splits if split.symbol == bars.symbol]
    if not splits:
        return None
    ahead = np.ones(len(bars))
    for split in splits:
        ahead[: np.searchsorted(bars.end, record.instants[split.index])] *= split.ratio
    return ahead


def _extreme(values: Float64, start: Int64, stop: Int64, *, lowest: bool) -> Float64:
    """The lowest (highest) of ``values[start:stop]`` for each pair, NaN for an empty one.

    If the spans hardly overlap, one pass over them and the gaps between them is enough. Else a table of extremes is
    made for each power of two up to the longest span: any span is the union of two that overlap and have such a
    length. O(values * log(longest)), and no more memory than `values`.
    """
    pick = np.minimum if lowest else np.maximum
    found = np.full(len(start), np.nan)
    length = np.maximum(stop - start, 0)
    some = np.flatnonzero(length)
    edges = np.column_stack((start[some], stop[some])).ravel()
    if len(edges) and np.maximum(np.diff(edges), 0).sum() <= _OFTEN * len(values):
        # The extra value allows for a span that ends with the array. Every second result belongs to a gap.
        found[some] = pick.reduceat(np.append(values, np.nan), edges)[::2]
        return found
    # frexp is exact; a logarithm might be a bit below a whole number.
    level = np.frexp(length.astype(np.float64))[1] - 1
    table = values
    for power in range(int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero(level == power)
        if len(rows):
            found[rows] = pick(table[start[rows]], table[stop[rows] - (1 << power)])
        table = pick(table[: -(1 << power)], table[1 << power :])
    return found
