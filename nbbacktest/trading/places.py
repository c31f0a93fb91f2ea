"""Reads a place in a run, which users give as a time or a cursor. A time without a zone is in the exchange's zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nbbacktest.core.hours import time_of_day
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Int64, Stamps
from nbbacktest.data.calendar import ALWAYS_OPEN, last_showing, moment_of, next_showing

if TYPE_CHECKING:
    import pandas as pd

Place = int | str | date | np.datetime64
"""A number of completed instants, or a time; a Timestamp is a datetime, and that a date."""
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_TIMES = "write '10:30', '2024-10-03 10:30', or give a datetime"


class RunTimes(NamedTuple):
    """The times of one run, by which a user's time is turned into a cursor.

    Attributes
    ----------
    instants : int64 array
        The instants of the run, nanoseconds UTC, rising.
    opens : int
        The begin of the run, nanoseconds UTC.
    step : int
        The length of its base bars, in nanoseconds.
    stamps : Stamps
    zone : str
        The zone of a time that has none.
    day, begin : callable
        Give the trading day of a time, and the begin of a day in nanoseconds UTC.
    """

    instants: Int64
    opens: int
    step: int
    stamps: Stamps
    zone: str
    day: Callable[[int], date]
    begin: Callable[[date], int]

    def shown(self, cursor: int) -> str:
        """The instant completed at that cursor, for a message."""
        return str(self.stamps.instant(int(self.instants[cursor - 1])))


def zone_of(stamps: Stamps, exchange: str, day_zone: str | None) -> str:
    """The zone of a time without one: the exchange's, or the one that is shown if a market has no clock of its own."""
    has_no_clock = exchange == ALWAYS_OPEN and day_zone is None
    return stamps.timezone if has_no_clock and not stamps.dates else stamps.day_zone


def read_time(when: Any, times: RunTimes, now: int, *, is_past: bool = False) -> pd.Timestamp:
    """The moment that `when` means, seen from `now`: of a time of day the next showing, or the last one.

    Raises
    ------
    ValueError
        A time that can't be read.
    """
    import pandas as pd

    zone, stamps = times.zone, times.stamps
    if isinstance(when, str) and _CLOCK.fullmatch(when):
        find = last_showing if is_past else next_showing
        return Stamps(zone).stamp(find(time_of_day(when) % DAY, zone, now))
    try:
        moment = pd.Timestamp(when)
        moment = moment if pd.isna(moment) else moment.as_unit("ns")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{when!r} is no time; {_TIMES}") from error
    if pd.isna(moment):
        raise ValueError(f"{when!r} is no time; {_TIMES}")
    if moment.tzinfo is not None:
        return moment
    if moment == moment.normalize():
        if stamps.dates:
            moment += pd.Timedelta(days=1)  # a session date is the whole session
        elif not isinstance(when, str) or ":" not in when:
            return Stamps(zone).stamp(times.begin(moment.date()))
    return Stamps(zone).stamp(moment_of(moment.value, zone, times.opens if is_past else now))


def past_place(at: Any, times: RunTimes, cursor: int, command: str = "look") -> int:
    """The cursor that `at` means in the past of a run that has completed `cursor` instants.

    A time means the last instant at or before it; one in the run's first bar, or the first day as a whole, is before the first
    instant: 0.

    Raises
    ------
    ValueError
        If `at` is no place, lies before the start, or is later than the cursor.
    """
    if isinstance(at, (int, np.integer)) and not isinstance(at, bool):
        if 0 <= at <= cursor:
            return int(at)
        have = f"{cursor:,} instants are completed" + (f", up to {times.shown(cursor)}" if cursor else "")
        raise ValueError(f"{command}({at}): {have}; give a cursor from 0 to {cursor}, or a time")
    if not isinstance(at, (str, date, datetime, np.datetime64)):
        raise ValueError(  # noqa: TRY004 - as `step` and `run_until` do
            f"{command}({at!r}): no place in a run; give a cursor such as 1200, or a time: {_TIMES}"
        )
    instants = times.instants
    moment = read_time(at, times, int(instants[cursor - 1]) if cursor else times.opens, is_past=True)
    if cursor < len(instants):
        late = int(instants[cursor])
    else:
        late = (int(instants[-1]) if len(instants) else times.opens) + times.step
    if moment.value >= late:
        where = f"the last completed instant is {times.shown(cursor)}" if cursor else "no instant is completed yet"
        raise ValueError(f"{command}({str(at)!r}): {moment} is later than the run has come; {where}")
    if moment.value < times.opens + times.stamps.dates and moment.value < _earliest(times):
        begins = times.stamps.stamp(times.opens)
        raise ValueError(f"{command}({str(at)!r}): {moment} is before the run, which begins at {begins}")
    return min(int(np.searchsorted(instants, moment.value, side="right")), cursor)


def _earliest(times: RunTimes) -> int:
    """The begin of the run's first trading day, or of its first bar if that is earlier."""
    if times.stamps.dates or not len(
        times.instants
    ):  # a date means its end, so that the date before the first ends where the first begins
        return times.opens + times.stamps.dates
    return min(times.opens, times.begin(times.day(int(times.instants[0]) - 1)))
