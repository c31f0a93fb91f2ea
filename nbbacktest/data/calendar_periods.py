"""Whole weeks and months: their sessions, the spans of their bars, and the meaning of their stamps."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import Days, SessionTable, local_midnights, session_table, utc_date

_DAY, _MONTH = timedelta(days=1), timedelta(days=31)
_WEEK = np.timedelta64(7, "D")
_SATURDAY = 5


def whole_periods(exchange: str, first: int, last: int, day_zone: str, hours: OwnHours | None = None) -> SessionTable:
    """The sessions of all weeks and months that have a part in the time from `first` to `last` (nanoseconds UTC)."""
    # A session's date may be a day off its instants' UTC date, either way.
    low, high = utc_date(first) - _DAY, utc_date(last) + _DAY
    low = min(low.replace(day=1), low - timedelta(days=low.weekday()))
    next_month = (high.replace(day=1) + _MONTH).replace(day=1)
    high = max(next_month - _DAY, high + timedelta(days=6 - high.weekday()))
    return session_table(exchange, low, high, day_zone, hours)


def period_starts(dates: Days, interval: Interval, mark: StampMeaning | None = None) -> Days:
    """The first date of the period that each date stands for: of its ISO week or month, else the date itself.

    A weekend's date that marks an open stands for the week that it is followed by.
    """
    if interval.name == "1mo":
        return dates.astype("datetime64[M]").astype("datetime64[D]")
    if interval.name != "1w":
        return dates
    # 1 January 1970 was a Thursday, and weeks begin on Mondays.
    weekday = (dates.astype(np.int64) + 3) % 7
    mondays: Days = dates - weekday.astype("timedelta64[D]")
    return np.where((weekday >= _SATURDAY) & (mark == "open"), mondays + _WEEK, mondays)


def refuse_weekend_stamps(label: str, dates: Days, interval: Interval, mark: StampMeaning | None) -> None:
    """Refuse weeks that are stamped on a weekend if neither source nor config says what their stamps mark.

    Raises
    ------
    DataError
    """
    weekend = (dates.astype(np.int64) + 3) % 7 >= _SATURDAY
    if interval.name == "1w" and mark is None and weekend.any():
        raise DataError(
            f"{label}: {int(weekend.sum())} of {len(dates)} weeks are stamped on a weekend, the first {dates[weekend][0]}; "
            "whether they begin or end there can't be known, and the wrong guess looks ahead: set data.stamp in the config "
            'to "open" or "close"'
        )


def whole_spans(
    dates: Days, interval: Interval, day_zone: str, sessions: SessionTable | None, mark: StampMeaning | None
) -> tuple[Int64, Int64]:
    """The begins and ends of the weeks or months with these dates, nanoseconds UTC.

    With `sessions` (of whole periods) a period goes from the midnight of its first session's date to its last session's close.
    Without, and without a session in it, it goes from midnight to midnight.
    """
    starts = period_starts(dates, interval, mark)
    after = starts + _WEEK
    if interval.name == "1mo":
        after = (starts.astype("datetime64[M]") + np.timedelta64(1, "M")).astype("datetime64[D]")
    begin, end = local_midnights(starts, day_zone), local_midnights(after, day_zone)
    if sessions is None or not len(sessions):
        return begin, end
    first, last = np.searchsorted(sessions.dates, starts), np.searchsorted(sessions.dates, after) - 1
    traded = first <= last
    opening, closing = np.where(traded, first, 0), np.where(traded, last, 0)
    midnights = local_midnights(sessions.dates[opening], day_zone)
    return np.where(traded, midnights, begin), np.where(traded, sessions.close[closing], end)
