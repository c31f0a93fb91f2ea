"""Warm-up counted in bars: from what was asked for to the moment at which loading starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.data_config import bar_counts
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Int64
from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.resample import derive


class Need(NamedTuple):
    """So many bars before the first that is traded.

    Attributes
    ----------
    bars : int
    interval : str or None
        Whose bars are counted; None is the base interval.
    symbols : tuple of str or None
        Who needs them; None is every symbol that has such bars.
    where : str
        Who asked, for messages.
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
        Where it is neither.
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
    """Where loading has to start for all `needs`, nanoseconds UTC: the earliest of their reaches, `start` at the latest.

    Parameters
    ----------
    bars
        Everything that the source has, by symbol and interval; derived bars are counted as they would be built.
    base
        The base interval.
    start
        Where trading begins: bars that end later are no warm-up.
    sessions
        Whole weeks and months over the bars; called where derived bars have to be counted.
    complete
        Whether derived bars that lack base bars count for nothing.
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
                # Where there are fewer than asked for, all that there is comes in, and the run says so.
                first = begins[-need.bars] if need.bars <= len(begins) else before.time[0]
                earliest = min(earliest, int(first))
    return earliest


def _before(columns: BarColumns, start: int) -> BarColumns:
    return columns.slice(0, int(np.searchsorted(columns.end, start, side="right")))


def _begins(
    base: BarColumns, interval: Interval, start: int, sessions: Callable[[], SessionTable], *, complete: bool
) -> Int64:
    """Where the first base bar of each derived bar begins that has ended by `start`."""
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
    """Calendar days that surely hold that many bars, where sessions are as long as `session_ns`, some of them half."""
    interval = base if need.interval is None else Interval.parse(need.interval)
    if interval.is_calendar:
        return (need.bars + 2) * (interval.ns // Interval.parse("1d").ns + 1)
    sessions = need.bars if interval.is_daily else -(-need.bars * interval.ns // session_ns)
    return 4 * sessions + 14
