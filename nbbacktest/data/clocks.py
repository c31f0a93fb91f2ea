"""When local clocks show a time: what a skipped one means, and which of two instants a repeated one is."""

from __future__ import annotations

import numpy as np

from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import local_clock, local_times

_DAYS_AHEAD = 4
"""A time of day is shown within so many dates: clocks may skip it on one, and a whole date at the date line."""


def next_showing(since_midnight: int, timezone: str, after: int) -> int:
    """The first instant later than `after` at which clocks in `timezone` show that time of day, nanoseconds UTC.

    A day on which the clocks skip the time doesn't show it, so that the next day's is meant. A time that the clocks repeat
    is shown twice, and each showing counts.
    """
    today = int(local_clock(np.array([after], dtype=np.int64), timezone)[0]) // DAY
    days = (today + np.arange(_DAYS_AHEAD)) * DAY
    shown = np.concatenate([_showings(int(day) + since_midnight, timezone) for day in days])
    return int(shown[shown > after].min())


def moment_of(local: int, timezone: str, now: int) -> int:
    """The instant at which clocks in `timezone` show a date and time, nanoseconds UTC.

    A time that the clocks skip is the first one that exists after it. Of a time that they repeat it is the first showing,
    or the second one where the first lies before `now`.

    Parameters
    ----------
    local
        What the clocks show, as nanoseconds since 1970-01-01 00:00 there.
    now
        Nanoseconds UTC.
    """
    shown = _showings(local, timezone)
    if not len(shown):
        return int(local_times(np.array([local // DAY], "datetime64[D]"), local % DAY, timezone)[0])
    return int(next((one for one in shown if one >= now), shown[0]))


def _showings(local: int, timezone: str) -> Int64:
    """The instants at which clocks show `local`: none, one or two, rising."""
    import pandas as pd

    index = pd.DatetimeIndex(np.array([local, local], dtype="datetime64[ns]"))
    told = index.tz_localize(timezone, ambiguous=np.array([True, False]), nonexistent="NaT")
    return np.unique(told.dropna().as_unit("ns").asi8)
