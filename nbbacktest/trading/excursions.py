"""How far each trade went against and in favour of its holder while it was open: MAE and MFE, from the bars inside it.

Pure functions of a `RunRecord` and its trades. Only what surely happened while the trade was open counts:

* every bar that lies wholly inside the trade counts with its high and its low;
* the entry's bar is such a bar where the entry was at its open. Else the order of prices inside it is not known: its
  close counts alone, since that came after the entry (nothing, where the entry was at the close itself);
* the exit's bar is such a bar where the exit was at its close. Else its open counts alone, since that came before;
* the entry's and the exit's own prices always count, and a trade that began and ended in one bar has these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.enums import OrderType
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.trades import Trade

_OPEN, _INSIDE, _CLOSE = 0, 1, 2
_MARKET, _ON_OPEN, _ON_CLOSE = OrderType.MARKET, OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_CLOSE


class Excursions(NamedTuple):
    """MAE and MFE of every trade, in the order of the trades.

    Attributes
    ----------
    mae, mfe : float64 arrays
        As fractions of the entry's price, ``sign * (price - entry) / |entry|``: `mae` is never positive, `mfe` never
        negative. Gross of commission. NaN where the entry's price is zero.
    mae_value, mfe_value : float64 arrays
        The same in the account's currency: ``size * (price - entry)``.
    """

    mae: Float64
    mfe: Float64
    mae_value: Float64
    mfe_value: Float64


def excursions(record: RunRecord, trades: Sequence[Trade]) -> Excursions:
    """Maximum adverse and favourable excursion of each trade, by the rule at this module's head.

    An open trade's last until the last bar. Source: Sweeney (1996), Maximum Adverse Excursion.
    """
    low, high = np.empty(len(trades)), np.empty(len(trades))
    places: dict[str, list[int]] = {}
    for place, trade in enumerate(trades):
        places.setdefault(trade.symbol, []).append(place)
    for symbol, rows in places.items():
        low[rows], high[rows] = _reached(record, record.bars[symbol], [trades[row] for row in rows])
    entry = np.array([trade.entry_price for trade in trades], dtype=np.float64)
    size = np.array([trade.size for trade in trades], dtype=np.float64)
    down, up = low - entry, high - entry
    worst, best = np.where(size > 0, down, -up), np.where(size > 0, up, -down)
    unit = np.where(entry == 0.0, np.nan, np.abs(entry))
    # Adding zero makes of -0.0, which an empty adverse move of a short is, plain 0.0.
    return Excursions(worst / unit + 0.0, best / unit + 0.0, worst * np.abs(size) + 0.0, best * np.abs(size) + 0.0)


def _reached(record: RunRecord, bars: BarColumns, trades: Sequence[Trade]) -> tuple[Float64, Float64]:
    """The lowest and the highest price of each trade, its own prices included, in the units that the trade is told in."""
    entry = np.array([t.entry_price for t in trades], dtype=np.float64)
    exits = np.array([t.entry_price if t.exit_time is None else t.exit_price for t in trades], dtype=np.float64)
    low, high = np.minimum(entry, exits), np.maximum(entry, exits)
    if not len(bars):
        return low, high
    last = len(bars) - 1
    begins = np.array([t.entry_time for t in trades], dtype=np.int64)
    ends = np.array([bars.time[last] if t.exit_time is None else t.exit_time for t in trades], dtype=np.int64)
    first_row, last_row = (np.minimum(np.searchsorted(bars.time, times), last) for times in (begins, ends))
    is_open = np.array([t.exit_time is None for t in trades], dtype=bool)
    began = _places(record, [t.entry_id for t in trades], entry, bars.open[first_row])
    ended = _places(record, [t.exit_id or 0 for t in trades], exits, bars.open[last_row])
    ended[is_open] = _CLOSE
    ahead = _splits_ahead(record, bars)
    # A trade is told in units of its end: bars before a split inside it count in those too.
    unit = np.ones(len(trades)) if ahead is None else ahead[last_row]
    opens, closes, lows, highs = (
        column if ahead is None else column / ahead for column in (bars.open, bars.close, bars.low, bars.high)
    )
    # What of the first and the last bar is known, where they aren't wholly inside.
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


def _splits_ahead(record: RunRecord, bars: BarColumns) -> Float64 | None:
    """By row, how many units at the end one unit of that bar has become; None where there was no split."""
    splits = [split for split in record.splits if split.symbol == bars.symbol]
    if not splits:
        return None
    ahead = np.ones(len(bars))
    for split in splits:
        ahead[: np.searchsorted(bars.end, record.instants[split.index])] *= split.ratio
    return ahead


def _places(record: RunRecord, order_ids: Sequence[int], prices: Float64, opens: Float64) -> npt.NDArray[np.int8]:
    """Of fills of these orders at these prices, in bars that opened so: at the bar's open, inside it, or at its close."""
    places: list[int] = np.where(prices == opens, _OPEN, _INSIDE).tolist()
    orders, at_close = record.orders, record.config.get("broker", {}).get("fill", "next_open") != "next_open"
    for place, number in enumerate(order_ids):
        if not 0 < number <= len(orders):
            continue
        order = orders[number - 1]
        kind = order.type
        # Slippage hides where a market order's price came from; the rule that it filled by doesn't.
        if kind is _MARKET:
            places[place] = _CLOSE if at_close and not order.is_forced else _OPEN
        elif kind is _ON_CLOSE:
            places[place] = _CLOSE
        elif kind is _ON_OPEN:
            places[place] = _OPEN
    return np.array(places, dtype=np.int8)


def _extreme(values: Float64, start: Int64, stop: Int64, *, lowest: bool) -> Float64:
    """The lowest (highest) of ``values[start:stop]`` for each pair, NaN for an empty one.

    However long and however many the spans are, each power of two of their lengths is looked at once: a span is the
    union of two that overlap and have such a length. O(values * log(longest)), and no more memory than `values`.
    """
    pick = np.minimum if lowest else np.maximum
    found = np.full(len(start), np.nan)
    length = np.maximum(stop - start, 0)
    # frexp is exact where a logarithm might be a bit below a whole number.
    level = np.frexp(length.astype(np.float64))[1] - 1
    table = values
    for power in range(int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero(level == power)
        if len(rows):
            found[rows] = pick(table[start[rows]], table[stop[rows] - (1 << power)])
        table = pick(table[: -(1 << power)], table[1 << power :])
    return found
