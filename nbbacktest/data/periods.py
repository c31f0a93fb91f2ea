"""The sessions of whole weeks and months: what their bars have room for, and when they end."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from nbbacktest.core.hours import ExtendedHours
from nbbacktest.data.calendar import SessionTable, session_table

_DAY, _MONTH = timedelta(days=1), timedelta(days=31)


def whole_periods(
    exchange: str, first: int, last: int, timezone: str, hours: ExtendedHours | None = None
) -> SessionTable:
    """The sessions of all weeks and months that have a part in the time from `first` to `last` (nanoseconds UTC)."""
    # A session's date may be a day off its instants' UTC date, either way.
    low, high = utc_date(first) - _DAY, utc_date(last) + _DAY
    low = min(low.replace(day=1), low - timedelta(days=low.weekday()))
    next_month = (high.replace(day=1) + _MONTH).replace(day=1)
    high = max(next_month - _DAY, high + timedelta(days=6 - high.weekday()))
    return session_table(exchange, low, high, timezone, hours)


def utc_date(ns: int) -> date:
    """The date of an instant in UTC."""
    day: date = np.datetime64(ns, "ns").astype("datetime64[D]").item()
    return day
