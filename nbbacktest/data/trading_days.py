"""The one rule for the trading day of a time: a session of its exchange, or a date if there are no sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.intervals import LATEST, NO_TIME
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, exchange_timezone, local_dates, local_midnights

if TYPE_CHECKING:
    from nbbacktest.core.config import SessionConfig

_EPOCH = date(1970, 1, 1).toordinal()
_SATURDAY = 5


class TradingDays:
    """Tells the trading day of instants.

    It is the session that an instant lies in. While the exchange is closed, it is the date that clocks show in `zone`: a
    weekend's is the next weekday's, but none comes before the session that has ended or after the one that follows. Without
    sessions it is the date.

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
        # Moments rise, so that looking up the few sessions among them is the cheap way.
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
            own = np.where(weekday >= _SATURDAY, own + 7 - weekday, own)
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
