"""Exchange calendars: tables of sessions, open market time along them, and local clocks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.hours import OwnHours, time_of_day
from nbbacktest.core.intervals import DAY, HOUR, SECOND
from nbbacktest.core.records import Float64, Int64, Stamps

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

Days = npt.NDArray[np.datetime64]

ALWAYS_OPEN = "24/7"
_BUILT_FOR = 2024  # a year that every calendar knows, to ask for a time zone
_YEARS = (1680, 2260)  # the years that int64 nanoseconds reach, with room for padding
_SCHEDULE = ("open", "close", "break_start", "break_end")
# exchanges whose daily hour of pause exchange_calendars up to 4.13 counts as open
_OPEN_ALL_DAY = ("CMES", "us_futures")
_SLACK = timedelta(days=7)  # callers ask for a few days more than their bars have, which is no mistake


@dataclass(frozen=True, slots=True, eq=False)
class SessionTable:
    """The sessions of an exchange over some days, one row each, rising and never overlapping.

    Attributes
    ----------
    timezone : str
        IANA name of the zone in which dates begin at midnight: daily bars are stamped so.
    dates : datetime64[D] array
        The sessions' dates, as the exchange names them.
    open, close : int64 arrays
        Nanoseconds UTC; a session spans ``[open, close)``. Half days close early.
    exchange : str
        The calendar's code; messages name it.
    break_start, break_end : int64 arrays
        The lunch break (Tokyo, Hong Kong), which belongs to no session; both are the close of a session without one. Left
        out: no session has one.
    local_timezone : str
        IANA name of the exchange's own zone, in which hours are given; left out: `timezone`. The two differ only if no
        exchange was named for the bars, so that dates begin in another zone.
    around : datetime64[D] array
        The dates of the sessions before the first one and after the last one; NaT: unknown.
    part_open, part_close, part_row : int64 arrays
        The parts of sessions that are traded without a break, rising: a morning and an afternoon, or a whole session; and
        the row of each part's session. Computed from the other columns.
    part_stop : int64 array
        The next instant at which trading stops after each part's open: its close, or a later part's if no pause lies between.
    """

    timezone: str
    dates: Days
    open: Int64
    close: Int64
    exchange: str = field(default="the exchange")
    break_start: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    break_end: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    local_timezone: str = field(default="")
    around: Days = field(default_factory=lambda: np.array(["NaT", "NaT"], "datetime64[D]"))
    part_open: Int64 = field(init=False)
    part_close: Int64 = field(init=False)
    part_row: Int64 = field(init=False)
    part_stop: Int64 = field(init=False)

    def __post_init__(self) -> None:
        columns = {name: np.array(getattr(self, name), dtype="datetime64[D]") for name in ("dates", "around")}
        for name in ("open", "close", "break_start", "break_end"):
            columns[name] = np.array(getattr(self, name), dtype=np.int64)
        for name in ("break_start", "break_end"):
            if not len(columns[name]):
                columns[name] = columns["close"].copy()
        broken = np.flatnonzero(columns["break_start"] < columns["close"])
        rows = np.arange(len(columns["open"]))
        order = np.argsort(np.append(rows, broken), kind="stable")
        columns["part_row"] = np.append(rows, broken)[order]
        columns["part_open"] = np.append(columns["open"], columns["break_end"][broken])[order]
        columns["part_close"] = np.append(columns["break_start"], columns["close"][broken])[order]
        part_close = columns["part_close"]
        stops = np.flatnonzero(np.append(part_close[:-1] < columns["part_open"][1:], True))[: len(part_close)]
        columns["part_stop"] = part_close[stops[np.searchsorted(stops, np.arange(len(part_close)))]]
        for name, column in columns.items():
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        object.__setattr__(self, "local_timezone", self.local_timezone or self.timezone)

    def __len__(self) -> int:
        return len(self.dates)

    def part_of(self, ns: npt.ArrayLike) -> Int64:
        """The number of the part that each instant lies in; -1: in none."""
        instants = np.asarray(ns, dtype=np.int64)
        part = np.searchsorted(self.part_open, instants, side="right").astype(np.int64) - 1
        # Instants before the first part have -1 here. They are compared with the last part's close, and stay -1 either way.
        return np.where(instants < self.part_close[part], part, -1) if len(self) else part

    def session_of(self, ns: npt.ArrayLike) -> Int64:
        """The row of the session that each instant lies in; -1: in none, or in a lunch break."""
        part = self.part_of(ns)
        return np.where(part < 0, -1, self.part_row[part]) if len(self) else part

    def elapsed(self, ns: npt.ArrayLike) -> Float64:
        """Seconds of open market time from the first open until each instant.

        Closed hours and lunch breaks don't count: an instant between two sessions has the value of the earlier one's close,
        and one before the first open has 0.
        """
        instants = np.asarray(ns, dtype=np.int64)
        if not len(self):
            return np.zeros(instants.shape)
        before = np.concatenate(([0], np.cumsum(self.part_close - self.part_open)))
        part = np.searchsorted(self.part_open, instants, side="right") - 1
        inside = np.minimum(instants, self.part_close[part]) - self.part_open[part]
        return np.where(part < 0, 0, before[part] + inside) / SECOND

    def date_index(self, day: date | np.datetime64) -> int:
        """The row of the first session on or after `day`; the table's length if there is none."""
        return int(np.searchsorted(self.dates, np.array([day], dtype="datetime64[D]"))[0])

    def day_start(self, day: date | np.datetime64) -> int:
        """The begin of trading day `day`, nanoseconds UTC.

        It is the local midnight, or the session's open if that comes first, as for futures whose session opens on
        the evening before.
        """
        midnight = int(local_midnights(np.array([day], dtype="datetime64[D]"), self.timezone)[0])
        row = self.date_index(day)
        return min(midnight, int(self.open[row])) if row < len(self) else midnight

    def between(self, start: int, stop: int) -> SessionTable:
        """The sessions that have a part in ``[start, stop)`` (nanoseconds UTC)."""
        first, last = np.searchsorted(self.close, start, side="right"), np.searchsorted(self.open, stop, side="left")
        return self.rows(int(first), int(last))

    def rows(self, first: int, last: int) -> SessionTable:
        """The sessions from row `first` up to row `last`."""
        last = max(first, last)
        columns = ("dates", "open", "close", "break_start", "break_end")
        cut: dict[str, Any] = {name: getattr(self, name)[first:last] for name in columns}
        known = np.concatenate((self.around[:1], self.dates, self.around[1:]))
        return replace(self, **cut, around=known[[first, last + 1]])


def session_table(
    exchange: str, first: date, last: date, day_zone: str | None = None, hours: OwnHours | None = None
) -> SessionTable:
    """The sessions of `exchange` dated from `first` to `last`, both included.

    Parameters
    ----------
    exchange
        A code that exchange_calendars knows, such as ``"XNYS"``, or ``"24/7"``: one session a day, from
        midnight to midnight.
    first, last
        Session dates.
    day_zone
        IANA name of the zone in which dates begin at midnight, and sessions of ``"24/7"`` with them; None for the
        exchange's own, UTC for ``"24/7"``.
    hours
        The user's own hours, in the exchange's local time; None: the calendar's. If they end at the regular close or later, they hold
        on half days too; if they end before it, an early close stays. The same holds for the open. A lunch break
        stays.

    Raises
    ------
    ConfigError
        If the exchange is unknown, or the hours share no time with its regular ones.
    DataError
        If there is no session in the range, or the calendar doesn't reach that far.

    Examples
    --------
    >>> table = session_table("24/7", date(2024, 3, 1), date(2024, 3, 3))
    >>> len(table), table.elapsed(table.close).tolist()
    (3, [86400.0, 172800.0, 259200.0])
    """
    if first.year < _YEARS[0] or last.year > _YEARS[1]:
        raise DataError(f"{first} to {last} is beyond what nanoseconds can count; stay in {_YEARS[0]} to {_YEARS[1]}")
    if exchange == ALWAYS_OPEN:
        zone = day_zone or "UTC"
        dates = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + np.timedelta64(2, "D"))
        midnights = local_midnights(dates, zone)
        around = dates[[0, -1]] - np.array([1, 0], dtype="timedelta64[D]") if len(dates) else dates
        table = SessionTable(zone, dates[:-1], midnights[:-1], midnights[1:], exchange, around=around)
        table = table if hours is None else _with_hours(table, hours)
    else:
        whole = _whole_years(exchange, first.year, last.year)
        _check_reach(whole, exchange, first, last)
        whole = whole if hours is None else _with_hours(whole, hours)
        table = whole.rows(whole.date_index(first), whole.date_index(last + timedelta(days=1)))
        table = replace(table, timezone=day_zone or whole.timezone)
    if not len(table):
        raise DataError(f"{exchange} has no session between {first} and {last}; choose days on which it trades")
    return table


def exchange_timezone(exchange: str) -> str:
    """The IANA time zone of an exchange; UTC for ``"24/7"``.

    Raises
    ------
    ConfigError
        If the exchange is unknown.
    """
    return "UTC" if exchange == ALWAYS_OPEN else _whole_years(exchange, _BUILT_FOR, _BUILT_FOR).timezone


def local_midnights(dates: Days, timezone: str) -> Int64:
    """The instants (nanoseconds UTC) at which `dates` begin in `timezone`.

    A day whose midnight the clocks skip begins at the first time that exists.
    """
    return local_times(dates, 0, timezone)


def local_times(dates: Days, since_midnight: int, timezone: str) -> Int64:
    """The instants (nanoseconds UTC) at which clocks in `timezone` show that time of day on `dates`.

    If the clocks skip the time, the first time that exists after it counts; if they show it twice, the first one counts.
    """
    import pandas as pd

    index = pd.DatetimeIndex(np.asarray(dates, dtype="datetime64[ns]") + np.timedelta64(since_midnight, "ns"))
    if timezone == "UTC":
        return index.as_unit("ns").asi8.copy()
    first_of_two = np.ones(len(index), dtype=np.bool_)
    told = index.tz_localize(timezone, ambiguous=first_of_two, nonexistent="NaT")
    moments: Int64 = told.as_unit("ns").asi8.copy()
    skipped = np.asarray(told.isna())
    if skipped.any():
        moments[skipped] = _after_skip(index.as_unit("ns").asi8[skipped], timezone)
    return moments


def _after_skip(local: Int64, timezone: str) -> Int64:
    """The first instants at which clocks show a later time than these, which they skip.

    pandas' own way (``nonexistent="shift_forward"``) is wrong for a whole date that is skipped, as at the date line.
    """
    before, after = local - 15 * HOUR, local + 13 * HOUR  # no zone is further from UTC
    while (after - before > 1).any():
        middle = (before + after) // 2
        is_later = local_clock(middle, timezone) > local
        before, after = np.where(is_later, before, middle), np.where(is_later, middle, after)
    return after


def local_clock(ns: Int64, timezone: str) -> Int64:
    """The times that clocks in `timezone` show at instants (nanoseconds UTC), as nanoseconds since 1970-01-01 00:00 there."""
    if timezone == "UTC" or not len(ns):
        return ns
    import pandas as pd

    index = pd.DatetimeIndex(np.asarray(ns, dtype=np.int64).view("datetime64[ns]"), tz="UTC")
    shown: Int64 = index.tz_convert(timezone).tz_localize(None).asi8
    return shown


def local_dates(ns: Int64, timezone: str) -> Int64:
    """The dates that clocks in `timezone` show at instants (nanoseconds UTC), as days since 1970-01-01."""
    return local_clock(ns, timezone) // DAY


@lru_cache(maxsize=32)
def _whole_years(exchange: str, first: int, last: int) -> SessionTable:
    """The sessions of whole years, with padding, so that nearby ranges share one calendar (0.2 s each)."""
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    start, end = date(first, 1, 1) - timedelta(days=31), date(last, 12, 31) + timedelta(days=31)
    try:
        with warnings.catch_warnings():
            # exchange_calendars 4.13 uses what pandas 3.1 deprecates; a user can't do anything about it.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            try:
                calendar = exchange_calendars.get_calendar(exchange, start=start, end=end)
            except ValueError:
                # This calendar knows only some of those years: take these.
                calendar = _clamped(exchange, start, end)
    except InvalidCalendarName:
        names = {*exchange_calendars.get_calendar_names(), ALWAYS_OPEN}
        cure = f"is not a known exchange calendar; {nearest(exchange, _shown(exchange, names))}"
        raise ConfigError([Problem("exchange", exchange, cure)]) from None
    except DataError:
        raise
    except Exception as error:
        # Some calendars need another version of pandas than the installed one, and each fails in its own way.
        raise DataError(
            f"exchange_calendars {exchange_calendars.__version__} can't build the calendar of {exchange} "
            f"({type(error).__name__}: {str(error)[:80]}); name another exchange, or install a version of it that can"
        ) from error
    schedule = calendar.schedule
    opened, closed, paused, resumed = (_nanoseconds(schedule[name]) for name in _SCHEDULE)
    if exchange in _OPEN_ALL_DAY:
        zone = str(calendar.tz)
        round_the_clock = local_clock(closed, zone) % DAY == local_clock(opened, zone) % DAY
        closed = np.where(round_the_clock, closed - HOUR, closed)
    unbroken = schedule["break_start"].isna().to_numpy()
    return SessionTable(
        str(calendar.tz),
        schedule.index.to_numpy().astype("datetime64[D]"),
        opened,
        closed,
        exchange,
        np.where(unbroken, closed, paused),
        np.where(unbroken, closed, resumed),
    )


def _with_hours(table: SessionTable, hours: OwnHours) -> SessionTable:
    zone = table.local_timezone
    day = np.timedelta64(int(hours.opens_before), "D")
    opened = local_times(table.dates - day, time_of_day(hours.open), zone)
    closed = local_times(table.dates, time_of_day(hours.close), zone)
    apart = (closed <= table.open) | (opened >= table.close)
    if apart.mean() > 0.5:
        row, local = int(np.flatnonzero(apart)[-1]), Stamps(zone)
        regular = " to ".join(f"{local.stamp(int(ns)):%Y-%m-%d %H:%M}" for ns in (table.open[row], table.close[row]))
        cure = (
            f"share no time with the regular hours of {table.exchange}, which are {regular} for {table.dates[row]}; "
            'write hours of that session, or leave them at "regular"'
        )
        raise ConfigError([Problem("hours", hours.model_dump(), cure)])
    if apart.any():  # half days that end before the hours begin
        names = ("dates", "open", "close", "break_start", "break_end")
        table = replace(table, **{name: getattr(table, name)[~apart] for name in names})
        opened, closed = opened[~apart], closed[~apart]
    # A late open and an early close stay, unless the hours are longer than the regular ones.
    if _since_midnight(opened, table).min() > _since_midnight(table.open, table).min():
        opened = np.maximum(opened, table.open)
    if _since_midnight(closed, table).max() < _since_midnight(table.close, table).max():
        closed = np.minimum(closed, table.close)
    pause, again = table.break_start, table.break_end
    has_break = (pause < table.close) & (pause < closed) & (again > opened)
    closed = np.where(has_break & (closed <= again), pause, closed)
    opened = np.where(has_break & (opened >= pause), again, opened)
    has_break &= (opened < pause) & (again < closed)
    return replace(
        table,
        open=opened,
        close=closed,
        break_start=np.where(has_break, pause, closed),
        break_end=np.where(has_break, again, closed),
    )


def _since_midnight(ns: Int64, table: SessionTable) -> Int64:
    """Local clock time since the midnights of the sessions' dates; negative on the evening before."""
    since: Int64 = local_clock(ns, table.local_timezone) - table.dates.astype("datetime64[ns]").astype(np.int64)
    return since


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
    """Refuse days that the calendar doesn't know: they would count as closed."""
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
    """The codes of exchanges to suggest: all if one is near `word`, else those of the largest exchanges."""
    from difflib import get_close_matches

    usual = ["24/7", "CMES", "XAMS", "XETR", "XHKG", "XLON", "XNAS", "XNYS", "XPAR", "XTKS", "XTSE"]
    return sorted(names) if get_close_matches(word, sorted(names), n=1, cutoff=0.5) else usual


_DAYS_AHEAD = 4
"""Clocks show a time of day within this many dates: they may skip it on one, and a whole date at the date line."""


def next_showing(since_midnight: int, timezone: str, after: int) -> int:
    """The first instant later than `after` at which clocks in `timezone` show that time of day, nanoseconds UTC.

    A day on which the clocks skip the time is passed over. A time that the clocks repeat is shown twice, and each showing
    counts.
    """
    today = int(local_clock(np.array([after], dtype=np.int64), timezone)[0]) // DAY
    days = (today + np.arange(_DAYS_AHEAD)) * DAY
    shown = np.concatenate([_showings(int(day) + since_midnight, timezone) for day in days])
    return int(shown[shown > after].min())


def last_showing(since_midnight: int, timezone: str, until: int) -> int:
    """The last instant up to `until` at which clocks in `timezone` show that time of day; as `next_showing` means it."""
    today = int(local_clock(np.array([until], dtype=np.int64), timezone)[0]) // DAY
    days = (today - np.arange(_DAYS_AHEAD)) * DAY
    shown = np.concatenate([_showings(int(day) + since_midnight, timezone) for day in days])
    return int(shown[shown <= until].max())


def moment_of(local: int, timezone: str, now: int) -> int:
    """The instant at which clocks in `timezone` show a date and time, nanoseconds UTC.

    If the clocks skip the time, the first time that exists after it counts. If they show it twice, the first showing
    counts, or the second one if the first lies before `now`.

    Parameters
    ----------
    local
        The time that clocks show, as nanoseconds since 1970-01-01 00:00 there.
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


_BEFORE, _AFTER = timedelta(days=10), timedelta(days=40)
_AHEAD = 400 * DAY  # orders look as far as the end of the next session, beyond all holidays


class RollingSessions:
    """The sessions of an exchange around the instants that are asked for.

    Any thread may ask: a table never changes, and is replaced as a whole.

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
        If the exchange is unknown.
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
            If the calendar doesn't reach that far.
        """
        low, high = utc_date(first) - timedelta(days=2), utc_date(last) + timedelta(days=2)
        known = self._known
        if known is None or low < known[0] or high > known[1]:
            if known is not None:
                low, high = min(low, known[0]), max(high, known[1])
            begin, end = low - _BEFORE, high + _AFTER
            known = self._known = begin, end, session_table(self.exchange, begin, end, self.timezone, self._hours)
        return known[2]

    def at(self, ns: int) -> tuple[int, int] | None:
        """The open and close of the session's part that `ns` lies in, before or after a lunch break; None outside."""
        table = self.covering(ns, ns)
        part = int(np.searchsorted(table.part_open, ns, side="right")) - 1
        if part < 0 or ns >= table.part_close[part]:
            return None
        return int(table.part_open[part]), int(table.part_close[part])

    def ending(self, ns: int) -> tuple[int, int] | None:
        """The open and close of the session's part in which a bar that ends at `ns` lies; None outside."""
        return self.at(ns - 1)

    def dated(self, day: date) -> tuple[int, int] | None:
        """The open and close of the session of that date; None if there is none."""
        noon = int(np.datetime64(day, "ns").astype(np.int64)) + DAY // 2
        table = self.covering(noon - DAY, noon + DAY)
        row = table.date_index(day)
        if row >= len(table) or table.dates[row] != np.datetime64(day, "D"):
            return None
        return int(table.open[row]), int(table.close[row])

    def ahead(self, first: int, last: int) -> SessionTable:
        """The sessions to a good year after `last`, as far as the calendar knows them: orders may expire in them."""
        try:
            return self.covering(first, last + _AHEAD)
        except DataError:
            return self.covering(first, last)


def utc_date(ns: int) -> date:
    """The date of an instant in UTC."""
    day: date = np.datetime64(ns, "ns").astype("datetime64[D]").item()
    return day
