"""Which of a source's bars a run has: its range of dates, and the warm-up before it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, local_midnights, session_table
from nbbacktest.data.days import TradingDays
from nbbacktest.data.periods import utc_date, whole_periods
from nbbacktest.data.warmup import Need, seen_from

_DAY = timedelta(days=1)


class Cut(NamedTuple):
    """The bars of a run by symbol and interval, those before them, and where trading begins."""

    bars: dict[tuple[str, str], BarColumns]
    earlier: dict[tuple[str, str], BarColumns]
    start: int


def cut_bars(
    every: dict[tuple[str, str], BarColumns],
    base: str,
    config: SessionConfig,
    stamps: Stamps,
    sessions: SessionTable | None,
    exchange: str,
    needs: Sequence[Need],
) -> Cut:
    """Keep the range of dates and the warm-up before it; say where trading begins.

    Parameters
    ----------
    every
        All bars that the source has, by symbol and interval.
    base
        The interval that orders fill on; its bars say where the run begins and ends.
    sessions
        The exchange's, where they are the trading days; None: these are dates.
    exchange
        Whose weeks and months are counted as warm-up.

    Raises
    ------
    DataError
        Where a symbol has no base bar in the range, or the range has no session.
    """
    begin, stop, warmup = config.backtest.start_date, config.backtest.end_date, config.data.warmup_days
    bars = {symbol: columns for (symbol, interval), columns in every.items() if interval == base}
    earliest = min(int(columns.time[0]) for columns in bars.values())
    if begin is None and stop is None and len(every) == len(bars):
        return Cut(every, {}, earliest)
    latest = max(int(columns.time[-1]) for columns in bars.values())
    around = utc_date(earliest) - _DAY, utc_date(latest) + 2 * _DAY
    days = sessions or session_table(ALWAYS_OPEN, *around, stamps.day_zone)
    traded = TradingDays(stamps.day_zone, None if sessions is None else lambda _first, _last: days)
    low, high = (traded.day(ns) for ns in (earliest, latest))
    # Dates far off the data are brought near it: nanoseconds couldn't count the midnights of some.
    near = (low - 3 * _DAY, high + 3 * _DAY)
    start = earliest if begin is None or begin < low else days.day_start(min(begin, near[1]))
    after = latest + 1 if stop is None or stop > high else days.day_start(max(stop, near[0]) + _DAY)
    if sessions is not None and begin is not None and stop is not None and low <= begin and stop <= high:
        _must_trade(sessions, begin, stop)
    reach = _warm_from(bars, days, start, warmup)
    if needs:
        first = min(int(columns.time[0]) for columns in every.values())
        reach = min(reach, seen_from(needs, every, base, start,
            lambda: whole_periods(exchange, first, start, stamps.day_zone, config.own_hours),
            complete=config.data.require_complete,
        ))  # fmt: skip
    kept: dict[tuple[str, str], BarColumns] = {}
    before: dict[tuple[str, str], BarColumns] = {}
    for (symbol, interval), columns in every.items():
        end_row = int(np.searchsorted(columns.time, after))
        if interval == base and end_row <= int(np.searchsorted(columns.end, start, side="right")):
            first_day, last_day = (traded.day(int(columns.time[row])) for row in (0, -1))
            raise DataError(
                f"{symbol} has no bars from {begin or 'its first'} to {stop or 'its last'}: its bars go from {first_day} "
                f"to {last_day}; set backtest.start_date and end_date within them"
            )
        row = min(int(np.searchsorted(columns.end, reach, side="right")), end_row)
        kept[symbol, interval] = columns.slice(row, end_row)
        if row:
            before[symbol, interval] = columns.slice(0, row)
    return Cut(kept, before, start)


def _must_trade(sessions: SessionTable, begin: date, stop: date) -> None:
    row = sessions.date_index(begin)
    if row < sessions.date_index(stop + timedelta(days=1)):
        return
    near = [str(sessions.dates[r]) for r in (row - 1, row) if 0 <= r < len(sessions)]
    raise DataError(
        f"{sessions.exchange} has no session from {begin} to {stop}; the nearest ones are those of {' and '.join(near)}: "
        "set backtest.start_date and end_date so that they hold one"
    )


def _warm_from(bars: Mapping[str, BarColumns], days: SessionTable, start: int, warmup: int) -> int:
    """Where the warm-up begins: that many days that have bars before `start`, or as many as there are."""
    if not warmup:
        return start
    starts = np.minimum(local_midnights(days.dates, days.timezone), days.open)
    rows = [np.searchsorted(starts, c.time[c.end <= start], side="right") - 1 for c in bars.values()]
    with_bars = np.unique(np.maximum(np.concatenate(rows), 0))
    if len(with_bars) < warmup:
        warnings.warn(
            f"less warm-up than asked for: data.warmup_days is {warmup}, and the source has {len(with_bars)} sessions "
            "before the start",
            DataQualityWarning,
            stacklevel=2,
        )
    return int(starts[with_bars[-warmup:][0]]) if len(with_bars) else start
