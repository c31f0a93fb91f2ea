"""What a year is to a run's returns: how many of them one has, and how many the run lasted for."""

from __future__ import annotations

import numpy as np

from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar_periods import period_starts
from nbbacktest.trading.record import RunRecord

TRADING_DAYS = 252
CALENDAR_DAYS = 365
WEEKS = 52
MONTHS = 12
_YEAR = 365.25  # days, of the calendar
_FULL = (
    0.9  # of the trading days that a stretch of the calendar has at the least, where bars are missing on few of them
)


def interval_of(record: RunRecord) -> Interval:
    """The length of the run's base bars; a day where there are none."""
    return next((columns.interval for columns in record.bars.values()), Interval.parse("1d"))


def annual_factor(record: RunRecord) -> float:
    """Returns a year: 252 daily ones, 365 where the market trades every day; 52 of weeks, 12 of months.

    Bars of several days that are neither have as many as fit into 365 days.
    """
    interval = interval_of(record)
    if interval.is_calendar:
        return WEEKS if interval.name == "1w" else MONTHS
    if interval.ns > DAY:
        return CALENDAR_DAYS * DAY / interval.ns
    return CALENDAR_DAYS if record.trades_every_day else TRADING_DAYS


def period_name(record: RunRecord) -> str:
    """What a return is of: ``"day"``, ``"week"``, ``"month"``, or ``"bar"`` of several days."""
    interval = interval_of(record)
    if interval.is_calendar:
        return "week" if interval.name == "1w" else "month"
    return "bar" if interval.ns > DAY else "day"


def periods(record: RunRecord, days: Int64) -> int:
    """How many returns the run lasted for by the calendar, those that bars are missing for included.

    Weeks and months are the calendar's from the first to the last; trading days those of the exchange, or all dates where
    the market trades every day. Where no exchange was named, they are as many as there are returns, but where these are
    fewer than nine tenths of what the dates have room for: then they are that, 252 in 365.25 days.

    Parameters
    ----------
    days
        The trading day of each return, as days since 1970-01-01, rising.
    """
    count = len(days)
    if count < 2:
        return count
    interval, first, last = interval_of(record), int(days[0]), int(days[-1])
    if interval.is_calendar:
        starts = period_starts(days[[0, -1]].astype("datetime64[D]"), interval)
        unit = "M" if interval.name == "1mo" else "D"
        begin, end = map(int, starts.astype(f"datetime64[{unit}]").astype(np.int64))
        spanned = (end - begin) // (1 if unit == "M" else 7) + 1
    elif interval.ns > DAY:
        spanned = round((last - first) * DAY / interval.ns) + 1
    elif record.trading_days is not None:
        spanned = record.trading_days
    elif record.trades_every_day:
        spanned = last - first + 1
    else:
        room = (last - first + 1) * TRADING_DAYS / _YEAR
        spanned = round(room) if count < _FULL * room - 1 else count
    return max(spanned, count)
