"""Sessions for bars that nobody has yet: a table that moves along with them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import DAY
from nbbacktest.data.calendar import SessionTable, exchange_timezone, session_table

_BEFORE, _AFTER = timedelta(days=10), timedelta(days=40)
_AHEAD = 400 * DAY  # how far orders look: the end of the next session, wherever holidays are


class RollingSessions:
    """The sessions of an exchange around whatever instants are asked about.

    Any thread may ask: tables are immutable, and replaced as a whole.

    Parameters
    ----------
    exchange
        A code that exchange_calendars knows, or ``"24/7"``.
    day_zone
        IANA name of the zone in which dates begin; None for the exchange's own.
    hours
        Extended ones; None: the calendar's own.

    Raises
    ------
    ConfigError
        Where the exchange is unknown.
    """

    def __init__(self, exchange: str, day_zone: str | None = None, hours: OwnHours | None = None) -> None:
        self.exchange = exchange
        self.timezone = day_zone or exchange_timezone(exchange)
        self._hours = hours
        self._known: tuple[date, date, SessionTable] | None = None

    def covering(self, first: int, last: int) -> SessionTable:
        """The sessions from well before `first` to well after `last`, nanoseconds UTC.

        Raises
        ------
        DataError
            Where the calendar doesn't reach that far.
        """
        low, high = _utc_date(first) - timedelta(days=2), _utc_date(last) + timedelta(days=2)
        known = self._known
        if known is None or low < known[0] or high > known[1]:
            if known is not None:
                low, high = min(low, known[0]), max(high, known[1])
            begin, end = low - _BEFORE, high + _AFTER
            known = self._known = begin, end, session_table(self.exchange, begin, end, self.timezone, self._hours)
        return known[2]

    def at(self, ns: int) -> tuple[int, int] | None:
        """When the session's part that `ns` lies in opens and closes: up to a lunch break, or after it; None outside."""
        table = self.covering(ns, ns)
        part = int(np.searchsorted(table.part_open, ns, side="right")) - 1
        if part < 0 or ns >= table.part_close[part]:
            return None
        return int(table.part_open[part]), int(table.part_close[part])

    def ending(self, ns: int) -> tuple[int, int] | None:
        """The same for ``(open, close]``: the part that a bar with this end is of."""
        return self.at(ns - 1)

    def dated(self, day: date) -> tuple[int, int] | None:
        """When the session of that date opens and closes; None where there is none."""
        noon = int(np.datetime64(day, "ns").astype(np.int64)) + DAY // 2
        table = self.covering(noon - DAY, noon + DAY)
        row = table.date_index(day)
        if row >= len(table) or table.dates[row] != np.datetime64(day, "D"):
            return None
        return int(table.open[row]), int(table.close[row])

    def ahead(self, first: int, last: int) -> SessionTable:
        """The same to a good year after `last`, or as much of it as the calendar knows: what orders may look at."""
        try:
            return self.covering(first, last + _AHEAD)
        except DataError:
            return self.covering(first, last)


def _utc_date(ns: int) -> date:
    day: date = np.datetime64(ns, "ns").astype("datetime64[D]").item()
    return day
