"""Trading days, weeks and months: the one rule for the day of a time, and the spans of whole periods."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import LATEST, NO_TIME, SATURDAY, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import (
    ALWAYS_OPEN,
    Days,
    SessionTable,
    exchange_timezone,
    local_dates,
    local_midnights,
    session_table,
    utc_date,
)

if TYPE_CHECKING:
    from nbbacktest.core.config import SessionConfig

_EPOCH = date(1970, 1, 1).toordinal()
_DAY, _MONTH = timedelta(days=1), timedelta(days=31)
_WEEK = np.timedelta64(7, "D")


class TradingDays:
    """Tells the trading day of instants.

    An instant inside a session belongs to that session. While the exchange is closed, an instant belongs to the date that
    clocks show in `zone`, on a weekend to the next weekday, but never to a day before the last session or after the next
    one. Without sessions it belongs to its date.

    Parameters
    ----------
    zone
        IANA name of the zone in which dates begin: the exchange's own if it has sessions.
    sessions
        The sessions around the instants from the first to the last (nanoseconds UTC); None: trading days are dates.
    """

    __slots__ = ("_sessions", "zone")

    def __init__(self, zone: str, sessions: Callable[[int, int], SessionTable] | None = None) -> None:
        self.zone = zone
        self._sessions = sessions

    def of(self, moments: Int64) -> Int64:
        """The trading day of each moment (nanoseconds UTC, rising), as days since 1970-01-01.

        Days never fall while moments rise. An instant at which bars close belongs to the day that it ends: ask for the
        nanosecond before it.
        """
        if self._sessions is None or not len(moments):
            return local_dates(moments, self.zone)
        table = self._sessions(int(moments[0]), int(moments[-1]))
        if not len(table):
            return local_dates(moments, self.zone)
        dates = table.dates.astype(np.int64)
        # Moments rise, so that it is cheap to look the few sessions up among them.
        edges = np.searchsorted(moments, np.column_stack((table.open, table.close)).ravel())
        counts = np.diff(edges, prepend=0, append=len(moments))
        stretches = np.full(2 * len(table) + 1, NO_TIME)
        stretches[1::2] = dates
        days = np.repeat(stretches, counts)
        closed = np.flatnonzero(days == NO_TIME)
        if len(closed):
            own = local_dates(moments[closed], self.zone)
            after = np.searchsorted(table.open, moments[closed], side="right")
            earlier = np.append(NO_TIME, dates)[after]
            later = np.append(dates, LATEST)[after]
            weekday = (own + 3) % 7  # 1 January 1970 was a Thursday
            own = np.where(weekday >= SATURDAY, own + 7 - weekday, own)
            days[closed] = np.clip(own, earlier, later)
        return days

    def day(self, moment: int) -> date:
        """The trading day of one moment, nanoseconds UTC."""
        return date.fromordinal(_EPOCH + int(self.of(np.array([moment], dtype=np.int64))[0]))

    def begin(self, day: date | np.datetime64) -> int:
        """The begin of trading day `day`, nanoseconds UTC; see `SessionTable.day_start`."""
        first = np.array([day], dtype="datetime64[D]")
        midnight = int(local_midnights(first, self.zone)[0])
        return midnight if self._sessions is None else self._sessions(midnight, midnight).day_start(first[0])


def number_of(day: date) -> int:
    """`day` as days since 1970-01-01, as `TradingDays.of` counts them."""
    return day.toordinal() - _EPOCH


def day_zone(config: SessionConfig, own: str | None, *, is_named: bool) -> str:
    """The zone in which a run's dates begin.

    Parameters
    ----------
    own
        The zone of the data's stamps; None for dates without one.
    is_named
        True if the exchange was named or brings the data, so that its days count.
    """
    if config.day_zone is not None:
        return config.day_zone
    return exchange_timezone(config.exchange) if is_named else own or "UTC"


def sessions_count(exchange: str, *, is_named: bool) -> bool:
    """True if trading days are the exchange's sessions, and not dates."""
    return is_named and exchange != ALWAYS_OPEN


# -- whole weeks and months ----------------------------------------------------------------------------------


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

    A date on a weekend that marks an open stands for the week after it.
    """
    if interval.name == "1mo":
        return dates.astype("datetime64[M]").astype("datetime64[D]")
    if interval.name != "1w":
        return dates
    # 1 January 1970 was a Thursday, and weeks begin on Mondays.
    weekday = (dates.astype(np.int64) + 3) % 7
    mondays: Days = dates - weekday.astype("timedelta64[D]")
    return np.where((weekday >= SATURDAY) & (mark == "open"), mondays + _WEEK, mondays)


def refuse_weekend_stamps(label: str, dates: Days, interval: Interval, mark: StampMeaning | None) -> None:
    """Refuse weeks that are stamped on a weekend if neither source nor config tells the meaning of stamps.

    Raises
    ------
    DataError
    """
    weekend = (dates.astype(np.int64) + 3) % 7 >= SATURDAY
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
