"""What a run demands of its bars: that they lie in sessions, and that there are enough of them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np

from nbbacktest.core.config import BacktestConfig
from nbbacktest.core.data_config import QualityConfig
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data.calendar import SessionTable, local_dates, local_midnights
from nbbacktest.data.coverage import NO_TIME, Coverage, Grid, cover
from nbbacktest.data.faults import Bools
from nbbacktest.data.market import MarketData

_LAST_DAY = date(2261, 12, 31)  # of those that nanoseconds can count


def within(columns: BarColumns, sessions: SessionTable, left_out: dict[str, Int64]) -> BarColumns:
    """The bars that reach into a session; the begins of the others are put into `left_out` as ``"outside"``.

    A bar that is under way when trading begins, as the first one of hours by the clock, begins with it: what it tells
    was traded from then on.

    Raises
    ------
    DataError
        Where there is none.
    """
    part = np.searchsorted(sessions.part_open, columns.end, side="left") - 1
    inside = (part >= 0) & (columns.time < sessions.part_close[part])
    time = np.where(inside, np.maximum(columns.time, sessions.part_open[part]), columns.time)
    columns = replace(columns, time=time)
    if inside.all():
        return columns
    if not inside.any():
        raise DataError(
            f"{columns.symbol}: none of {len(columns)} bars lies in the hours of {sessions.exchange}; "
            "set the exchange, or its hours, to those that the bars are from"
        )
    left_out["outside"] = columns.time[~inside]
    return _kept(columns, inside)


def of_the_days(
    left_out: Mapping[str, Mapping[str, Int64]], bars: Mapping[str, BarColumns], days: BacktestConfig, stamps: Stamps
) -> dict[str, dict[str, Int64]]:
    """What was left out of the days that are run; what has no time counts as one of them."""
    low = min(int(columns.time[0]) for columns in bars.values()) if days.start_date else NO_TIME
    after = -NO_TIME - 1
    if days.end_date is not None:
        next_day = np.datetime64(min(days.end_date, _LAST_DAY), "D") + np.timedelta64(1, "D")
        after = int(local_midnights(np.array([next_day]), stamps.day_zone)[0])
    return {
        symbol: {kind: ns[(ns == NO_TIME) | ((ns >= low) & (ns < after))] for kind, ns in kinds.items()}
        for symbol, kinds in left_out.items()
    }


def demanded(market: MarketData, wanted: QualityConfig, notes: Mapping[str, tuple[str, ...]]) -> MarketData:
    """The market as `data.quality` has it, once its faulty rows are out; with one warning where it says so.

    A symbol's share is how many of its expected bars there are, over all sessions that are due, warm-up included.
    Where one is below `minimum`: ``refuse`` refuses; ``warn`` warns and changes nothing; ``drop`` leaves every session
    whose own share is below it out for that symbol, and counts these bars as ``"thin"``. Whether a session is thin is
    known only at its end, so that to drop it is hindsight.

    Parameters
    ----------
    notes
        By what a symbol's bars are called, what is to be told of the rows that were left out.

    Raises
    ------
    DataError
        Where a symbol has too few bars, and that is refused, or no session is left.
    DataQualityWarning
        As a warning, where that is wanted.
    """
    said = [f"{label}: {'; '.join(texts)}" for label, texts in notes.items() if texts]
    if wanted.minimum:
        due = market.due()
        grid = Grid(due, market.interval)
        # What is left out from here on stays expected.
        market = replace(market, placed=True, days_asked=(due.dates[0].item(), due.dates[-1].item()))
        for symbol, columns in tuple(market.bars.items()):
            counted = cover(grid, columns.time, columns.volume, {})
            share = counted.total("present") / counted.total("expected")
            if wanted.faults == "drop":
                market = _without_thin(market, symbol, counted, wanted.minimum)
            elif share < wanted.minimum:
                text = _too_few(symbol, counted, share, wanted.minimum)
                if wanted.faults == "refuse":
                    raise DataError(
                        f"{text}; bring the missing bars, lower data.quality.minimum, or drop such sessions"
                    )
                said.append(text)
    if said:
        warnings.warn("\n".join(said), DataQualityWarning, stacklevel=callers_level())
    return market


def callers_level() -> int:
    """How far up the stack the first call from outside of this package is, as `warnings.warn` counts from ours."""
    package, level = __name__.partition(".")[0], 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level - 1


def _too_few(symbol: str, counted: Coverage, share: float, minimum: float) -> str:
    expected, present = counted.counts["expected"], counted.counts["present"]
    own = np.where(expected > 0, present / np.maximum(expected, 1), np.inf)
    worst = int(np.argmin(own))
    return (
        f"{symbol} has {counted.total('present')} of {counted.total('expected')} expected bars, {share:.1%}, and "
        f"data.quality.minimum is {minimum:g}; the worst session is {counted.dates[worst]} with {present[worst]} of "
        f"{expected[worst]}"
    )


def _without_thin(market: MarketData, symbol: str, counted: Coverage, minimum: float) -> MarketData:
    columns = market.bars[symbol]
    expected, present = counted.counts["expected"], counted.counts["present"]
    thin = counted.dates[(present < minimum * expected) & (present > 0)]
    if not len(thin):
        return market
    table = market.due()
    row = table.session_of(columns.time)
    dates = local_dates(columns.time, table.timezone).astype("datetime64[D]")
    dates[row >= 0] = table.dates[row[row >= 0]]
    keep = ~np.isin(dates, thin)
    if not keep.any() or not (columns.end[keep] > market.start).any():
        raise DataError(
            f"{symbol} has no session with at least {minimum:g} of its expected bars; lower data.quality.minimum, or "
            "leave the symbol out"
        )
    left_out = {name: dict(kinds) for name, kinds in market.left_out.items()}
    known = left_out.setdefault(symbol, {})
    known["thin"] = np.union1d(known.get("thin", columns.time[:0]), columns.time[~keep])
    return replace(market, bars=market.bars | {symbol: _kept(columns, keep)}, left_out=left_out)


def _kept(columns: BarColumns, keep: Bools) -> BarColumns:
    names = ("time", "end", "open", "high", "low", "close", "volume")
    return replace(columns, **{name: getattr(columns, name)[keep] for name in names})
