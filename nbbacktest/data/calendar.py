"""When an exchange is open: session tables from its calendar, and open market time along them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.intervals import SECOND
from nbbacktest.core.records import Float64, Int64

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

Days = npt.NDArray[np.datetime64]

ALWAYS_OPEN = "24/7"
_BUILT_FOR = 2024  # any year that every calendar knows, for questions that have no year in them
_YEARS = (1680, 2260)  # what int64 nanoseconds reach, with room for padding
_SLACK = timedelta(days=7)  # callers ask for a few days more than their bars; no reason to refuse them


@dataclass(frozen=True, slots=True, eq=False)
class SessionTable:
    """The sessions of an exchange over some days, one row each, rising and never overlapping.

    Attributes
    ----------
    timezone : str
        IANA name, in which a session's date begins at midnight.
    dates : datetime64[D] array
        The sessions' dates, as the exchange names them.
    open, close : int64 arrays
        Nanoseconds UTC; a session spans ``[open, close)``. Half days close early. A lunch break
        (Tokyo, Hong Kong) counts as open.
    exchange : str
        The calendar's code, for messages.
    """

    timezone: str
    dates: Days
    open: Int64
    close: Int64
    exchange: str = field(default="the exchange")

    def __post_init__(self) -> None:
        for name, dtype in (("dates", "datetime64[D]"), ("open", np.int64), ("close", np.int64)):
            column = np.array(getattr(self, name), dtype=dtype)
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.dates)

    def session_of(self, ns: npt.ArrayLike) -> Int64:
        """The row of the session that each instant lies in, -1 where it lies in none."""
        instants = np.asarray(ns, dtype=np.int64)
        row = np.searchsorted(self.open, instants, side="right").astype(np.int64) - 1
        # Row -1 reads the last close, which is harmless: those rows stay -1 either way.
        return np.where(instants < self.close[row], row, -1) if len(self) else row

    def elapsed(self, ns: npt.ArrayLike) -> Float64:
        """Seconds of open market time from the first open until each instant.

        Closed hours count nothing: every instant between two sessions has the value of the earlier
        one's close. Instants before the first open are 0.
        """
        instants = np.asarray(ns, dtype=np.int64)
        if not len(self):
            return np.zeros(instants.shape)
        before = np.concatenate(([0], np.cumsum(self.close - self.open)))
        row = np.searchsorted(self.open, instants, side="right") - 1
        inside = np.minimum(instants, self.close[row]) - self.open[row]
        return np.where(row < 0, 0, before[row] + inside) / SECOND

    def date_index(self, day: date | np.datetime64) -> int:
        """The row of the first session on or after `day`; the table's length where there is none."""
        return int(np.searchsorted(self.dates, np.array([day], dtype="datetime64[D]"))[0])

    def day_start(self, day: date | np.datetime64) -> int:
        """Where trading day `day` begins, nanoseconds UTC.

        That is its local midnight, or its session's open where that comes first, as with futures
        whose session opens on the evening before.
        """
        midnight = int(local_midnights(np.array([day], dtype="datetime64[D]"), self.timezone)[0])
        row = self.date_index(day)
        return min(midnight, int(self.open[row])) if row < len(self) else midnight

    def between(self, start: int, stop: int) -> SessionTable:
        """The sessions that have a part in ``[start, stop)`` (nanoseconds UTC)."""
        cut = slice(
            int(np.searchsorted(self.close, start, side="right")), int(np.searchsorted(self.open, stop, side="left"))
        )
        return SessionTable(self.timezone, self.dates[cut], self.open[cut], self.close[cut], self.exchange)


def session_table(exchange: str, first: date, last: date, timezone: str | None = None) -> SessionTable:
    """The sessions of `exchange` dated from `first` to `last`, both included.

    Parameters
    ----------
    exchange
        A code that exchange_calendars knows, such as ``"XNYS"``, or ``"24/7"``: one session a day, from
        midnight to midnight. A lunch break counts as open in this version.
    first, last
        Session dates.
    timezone
        IANA name; None for the exchange's own, UTC for ``"24/7"``.

    Raises
    ------
    ConfigError
        Where the exchange is unknown.
    DataError
        Where there is no session in the range, or the calendar doesn't reach that far.

    Examples
    --------
    >>> table = session_table("24/7", date(2024, 3, 1), date(2024, 3, 3))
    >>> len(table), table.elapsed(table.close).tolist()
    (3, [86400.0, 172800.0, 259200.0])
    """
    if first.year < _YEARS[0] or last.year > _YEARS[1]:
        raise DataError(f"{first} to {last} is beyond what nanoseconds can count; stay in {_YEARS[0]} to {_YEARS[1]}")
    if exchange == ALWAYS_OPEN:
        zone = timezone or "UTC"
        dates = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 2)
        midnights = local_midnights(dates, zone)
        table = SessionTable(zone, dates[:-1], midnights[:-1], midnights[1:], exchange)
    else:
        whole = _whole_years(exchange, first.year, last.year)
        _check_reach(whole, exchange, first, last)
        cut = slice(whole.date_index(first), whole.date_index(last + timedelta(days=1)))
        table = SessionTable(
            timezone or whole.timezone, whole.dates[cut], whole.open[cut], whole.close[cut], exchange
        )  # fmt: skip
    if not len(table):
        raise DataError(f"{exchange} has no session between {first} and {last}; choose days on which it trades")
    return table


def exchange_timezone(exchange: str) -> str:
    """The IANA time zone of an exchange; UTC for ``"24/7"``.

    Raises
    ------
    ConfigError
        Where the exchange is unknown.
    """
    return "UTC" if exchange == ALWAYS_OPEN else _whole_years(exchange, _BUILT_FOR, _BUILT_FOR).timezone


def local_midnights(dates: Days, timezone: str) -> Int64:
    """The instants (nanoseconds UTC) at which `dates` begin in `timezone`.

    Where the clocks skip midnight, the day begins at the first time that exists.
    """
    import pandas as pd

    index = pd.DatetimeIndex(np.asarray(dates, dtype="datetime64[ns]"))
    if timezone != "UTC":
        first_of_two = np.ones(len(index), dtype=np.bool_)
        index = index.tz_localize(timezone, ambiguous=first_of_two, nonexistent="shift_forward")
    return index.as_unit("ns").asi8.copy()


@lru_cache(maxsize=32)
def _whole_years(exchange: str, first: int, last: int) -> SessionTable:
    """Build by whole years, with padding, so that nearby ranges share one calendar (0.2 s each)."""
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    start, end = date(first, 1, 1) - timedelta(days=31), date(last, 12, 31) + timedelta(days=31)
    try:
        with warnings.catch_warnings():
            # exchange_calendars 4.13 uses what pandas 3.1 deprecates: nothing that a user could act on.
            warnings.filterwarnings("ignore", message="Series.values", category=DeprecationWarning)
            try:
                calendar = exchange_calendars.get_calendar(exchange, start=start, end=end)
            except ValueError:
                # Only some of those years are known to this calendar: take the ones that are.
                calendar = _clamped(exchange, start, end)
    except InvalidCalendarName:
        names = {*exchange_calendars.get_calendar_names(), ALWAYS_OPEN}
        cure = f"is not a known exchange calendar; {nearest(exchange, _shown(exchange, names))}"
        raise ConfigError([Problem("exchange", exchange, cure)]) from None
    schedule = calendar.schedule
    return SessionTable(
        str(calendar.tz),
        schedule.index.to_numpy().astype("datetime64[D]"),
        _nanoseconds(schedule["open"]),
        _nanoseconds(schedule["close"]),
        exchange,
    )


def _clamped(exchange: str, start: date, end: date) -> ExchangeCalendar:
    import exchange_calendars
    import pandas as pd

    known = exchange_calendars.get_calendar(exchange)
    low, high = known.bound_min(), known.bound_max()
    low = pd.Timestamp(start) if low is None else max(low, pd.Timestamp(start))
    high = pd.Timestamp(end) if high is None else min(high, pd.Timestamp(end))
    if low >= high:
        raise DataError(
            f"the calendar of {exchange} is known {_bounds(known)} and the days needed are in {start} to {end}; "
            f"name another exchange, such as {ALWAYS_OPEN!r}"
        )
    return exchange_calendars.get_calendar(exchange, start=low, end=high)


def _check_reach(whole: SessionTable, exchange: str, first: date, last: date) -> None:
    """Refuse days that the calendar doesn't know: they would pass for closed ones."""
    known_first, known_last = whole.dates[0].item(), whole.dates[-1].item()
    if first + _SLACK < known_first or last - _SLACK > known_last:
        raise DataError(
            f"the calendar of {exchange} is known from {known_first} to {known_last} and the days asked for are "
            f"{first} to {last}; shorten the range, or name another exchange, such as {ALWAYS_OPEN!r}"
        )


def _nanoseconds(column: Any) -> Int64:
    return np.asarray(column.dt.tz_convert("UTC").dt.tz_localize(None), dtype="datetime64[ns]").astype(np.int64)


def _bounds(calendar: ExchangeCalendar) -> str:
    low, high = calendar.bound_min(), calendar.bound_max()
    return " ".join(f"{word} {day.date()}" for word, day in (("from", low), ("until", high)) if day is not None)


def _shown(word: str, names: set[str]) -> list[str]:
    """A hundred codes are no help; where none is near, the ones that most people trade are."""
    from difflib import get_close_matches

    usual = ["24/7", "CMES", "XAMS", "XETR", "XHKG", "XLON", "XNAS", "XNYS", "XPAR", "XTKS", "XTSE"]
    return sorted(names) if get_close_matches(word, sorted(names), n=1, cutoff=0.5) else usual
