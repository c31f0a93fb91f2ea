"""Cuts a source's bars to those that a run has: its range of dates, and the warm-up before it, in days or in bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.config import BacktestConfig, SessionConfig
from nbbacktest.core.data_config import bar_counts
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.intervals import NO_TIME, Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, local_midnights, session_table, utc_date
from nbbacktest.data.resample import derive
from nbbacktest.data.trading_days import TradingDays, whole_periods


class Need(NamedTuple):
    """A number of bars that are needed before the first that is traded.

    Attributes
    ----------
    bars : int
    interval : str or None
        The interval of the bars to count; None is the base interval.
    symbols : tuple of str or None
        The symbols that need them; None: every one that has such bars.
    where : str
        The place that asks for them, for messages.
    """

    bars: int
    interval: str | None = None
    symbols: tuple[str, ...] | None = None
    where: str = "data.warmup_bars"


def read_needs(value: Any, where: str, symbols: tuple[str, ...] | None = None) -> tuple[Need, ...]:
    """Read a number of base bars, or a mapping from intervals to numbers; zeros need nothing.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    try:
        counts = bar_counts(value)
    except ValueError as error:
        raise ConfigError([Problem(where, value, str(error))]) from None
    parts = counts.items() if isinstance(counts, dict) else [(None, counts)]
    return tuple(Need(count, interval, symbols, where) for interval, count in parts if count)


def built(base: BarColumns, interval: Interval, sessions: SessionTable, *, complete: bool) -> BarColumns:
    """The derived bars that a run has: all of them, or those alone that lack no base bar."""
    bars = derive(base, interval, sessions)
    if not complete or bars.base_count is None or bars.expected_count is None:
        return bars
    return bars.taken(bars.base_count >= bars.expected_count)


def seen_from(
    needs: Iterable[Need],
    bars: Mapping[tuple[str, str], BarColumns],
    base: str,
    start: int,
    sessions: Callable[[], SessionTable],
    *,
    complete: bool,
) -> int:
    """The instant from which to load for all `needs`, nanoseconds UTC: the earliest that one reaches, `start` at the latest.

    Parameters
    ----------
    bars
        Everything that the source has, by symbol and interval; derived bars are counted as they would be built.
    base
        The base interval.
    start
        The instant at which trading begins: bars that end later are no warm-up.
    sessions
        Whole weeks and months over the bars; called if derived bars have to be counted.
    complete
        True if derived bars that lack base bars count for nothing.
    """
    earliest = start
    for need in needs:
        interval = need.interval or base
        for symbol in need.symbols or tuple(dict.fromkeys(symbol for symbol, _ in bars)):
            own = bars.get((symbol, interval))
            if own is not None:
                before = _before(own, start)
                begins = before.time
            else:
                before = _before(bars[symbol, base], start)
                begins = _begins(before, Interval.parse(interval), start, sessions, complete=complete)
            if len(before):
                # If there are fewer than asked for, all of them come in, and the run warns.
                first = begins[-need.bars] if need.bars <= len(begins) else before.time[0]
                earliest = min(earliest, int(first))
    return earliest


def _before(columns: BarColumns, start: int) -> BarColumns:
    return columns.slice(0, int(np.searchsorted(columns.end, start, side="right")))


def _begins(
    base: BarColumns, interval: Interval, start: int, sessions: Callable[[], SessionTable], *, complete: bool
) -> Int64:
    """The begins of the first base bars of those derived bars that have ended by `start`."""
    if not len(base):
        return base.time
    bars = derive(base, interval, sessions())
    count, expected = bars.base_count, bars.expected_count
    if count is None or expected is None:
        return base.time[:0]
    begins: Int64 = base.time[np.cumsum(count) - count]
    counted = bars.end <= start
    return begins[counted & (count >= expected)] if complete else begins[counted]


def check_intervals(needs: Sequence[Need], known: Sequence[str]) -> None:
    """Refuse needs of bars that the run doesn't have.

    Raises
    ------
    ConfigError
    """
    problems = [
        Problem(
            need.where,
            need.interval,
            f"is no interval of this run, which has {', '.join(known)}; add it to data.derived_intervals",
        )
        for need in needs
        if need.interval is not None and need.interval not in known
    ]
    if problems:
        raise ConfigError(problems)


def reach_in_days(need: Need, base: Interval, session_ns: int) -> int:
    """A number of calendar days that surely holds the needed bars, if sessions last `session_ns`, and some are half days."""
    interval = base if need.interval is None else Interval.parse(need.interval)
    if interval.is_calendar:
        return (need.bars + 2) * (interval.ns // Interval.parse("1d").ns + 1)
    sessions = need.bars if interval.is_daily else -(-need.bars * interval.ns // session_ns)
    return 4 * sessions + 14


_DAY = timedelta(days=1)
_LAST_DAY = date(2261, 12, 31)  # the last day that nanoseconds can count


class Cut(NamedTuple):
    """The bars of a run by symbol and interval, the bars before them, and the instant at which trading begins."""

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
    """Keep the range of dates and the warm-up before it; find the instant at which trading begins.

    Parameters
    ----------
    every
        All bars that the source has, by symbol and interval.
    base
        The interval that orders fill on; its bars decide where the run begins and ends.
    sessions
        The exchange's, if they are the trading days; None: dates are.
    exchange
        The exchange whose weeks and months are counted as warm-up.

    Raises
    ------
    DataError
        If a symbol has no base bar in the range, or the range has no session.
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
    """The begin of the warm-up: that many days that have bars before `start`, or as many as there are."""
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
            stacklevel=callers_level(),
        )
    return int(starts[with_bars[-warmup:][0]]) if len(with_bars) else start


def of_the_days(
    left_out: Mapping[str, Mapping[str, Int64]], bars: Mapping[str, BarColumns], days: BacktestConfig, stamps: Stamps
) -> dict[str, dict[str, Int64]]:
    """The left-out rows whose days are in the run; a row without a time counts as one of them."""
    low = min(int(columns.time[0]) for columns in bars.values()) if days.start_date else NO_TIME
    after = -NO_TIME - 1
    if days.end_date is not None:
        next_day = np.datetime64(min(days.end_date, _LAST_DAY), "D") + np.timedelta64(1, "D")
        after = int(local_midnights(np.array([next_day]), stamps.day_zone)[0])
    return {
        symbol: {kind: ns[(ns == NO_TIME) | ((ns >= low) & (ns < after))] for kind, ns in kinds.items()}
        for symbol, kinds in left_out.items()
    }
