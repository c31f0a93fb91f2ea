"""Finds the times of a table of bars in a column or the index, and reads them if they have one meaning, in a named zone."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, HOUR
from nbbacktest.core.records import PRICES, Int64

if TYPE_CHECKING:
    import pandas as pd

_MARKETS = (
    "America/New_York", "America/Chicago", "Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Istanbul",
    "Asia/Jerusalem", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland",
    "America/Toronto", "America/Sao_Paulo", "America/Santiago", "Africa/Cairo",
)  # fmt: skip
"""The zones that are tried before all others; of zones with equal clocks the first is taken."""


def name_of(zone: Any) -> str | None:
    """The IANA name of a time zone object; None if it is a plain offset."""
    if zone is None:
        return None
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return str(name) if name else ("UTC" if str(zone) in ("UTC", "UTC+00:00") else None)


def in_a_zone(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The same instants in a zone that has a name: for a plain offset, the zone that has it."""
    if index.tz is None or name_of(index.tz) is not None:
        return index
    return told(index.tz_convert("UTC"), index.tz_localize(None))


def told(utc: pd.DatetimeIndex, local: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The instants in a zone whose clocks showed the local times that were written.

    It is the first zone, those of large markets before others, that has had all these offsets at these instants; a whole
    number of hours that none of the markets has is a zone of its own (``Etc/GMT-3`` is UTC+03:00). If there is none,
    midnights are told as dates without a zone, and other times in UTC.
    """
    known = ~np.asarray(utc.isna())
    instants, clocks = utc.as_unit("ns").asi8[known], local.as_unit("ns").asi8[known]
    name = _zone_with(instants, clocks)
    if name is not None:
        return utc.tz_convert(name)
    return utc if (clocks % DAY).any() else local


def _zone_with(instants: Int64, clocks: Int64) -> str | None:
    offsets = np.unique(clocks - instants)
    if not offsets.any():
        return "UTC"
    # Offsets change once a day at most: a day's first and last stamp are enough to ask about.
    day = instants // DAY
    edge = np.flatnonzero(np.concatenate(([True], (day[1:] != day[:-1]) | (np.diff(clocks - instants) != 0))))
    asked = np.union1d(edge, np.append(edge[1:] - 1, len(instants) - 1))
    facts = tuple(instants[asked].tolist()), tuple(clocks[asked].tolist())
    hours = int(offsets[0]) // HOUR
    plain = f"Etc/GMT{-hours:+d}" if len(offsets) == 1 and offsets[0] % HOUR == 0 and -12 <= hours <= 14 else None
    return _matching(_MARKETS, *facts) or plain or _matching(tuple(sorted(available_timezones())), *facts)


@lru_cache(maxsize=64)
def _matching(names: tuple[str, ...], instants: tuple[int, ...], clocks: tuple[int, ...]) -> str | None:
    import pandas as pd

    utc = pd.DatetimeIndex(np.array(instants, dtype="datetime64[ns]")).tz_localize("UTC")
    wanted = np.array(clocks, dtype=np.int64)

    def shows(name: str, rows: slice) -> bool:
        return bool((utc[rows].tz_convert(name).tz_localize(None).asi8 == wanted[rows]).all())

    regions = (name for name in names if "/" in name and not name.startswith("Etc/"))
    return next((name for name in regions if shows(name, slice(1)) and shows(name, slice(None))), None)


def unfolded(index: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    """Give naive local stamps their zone if they don't rise because clocks repeated an hour.

    Stamps that go back once in that hour tell its two copies apart. Other stamps are given back as they are.
    """
    if zone is None or index.tz is not None or index.hasnans or bool((np.diff(index.asi8) > 0).all()):
        return index
    twice = np.asarray(index.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna())
    if not twice.any():
        return index
    rows = np.flatnonzero(twice)
    run = np.cumsum(np.concatenate(([0], np.diff(rows) > 1)))
    falls = np.concatenate(([False], (np.diff(index.asi8[rows]) <= 0) & (np.diff(run) == 0)))
    per_run = np.bincount(run, falls)
    if (per_run != 1).any():
        return index
    first = np.ones(len(index), dtype=np.bool_)
    after = np.cumsum(falls)
    started = np.concatenate(([0], np.cumsum(per_run)[:-1]))
    first[rows] = after - started[run] == 0
    found = index.tz_localize(zone, ambiguous=first, nonexistent="NaT")
    return index if found.hasnans or not found.is_monotonic_increasing else found


TIME_COLUMNS = ("timestamp", "time", "datetime", "date", "gmt time", "local time")
"""Names that hold a bar's time, in any case; the first of them that a table has counts."""

_OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"
_DUKASCOPY = {"gmt time": r"%d.%m.%Y %H:%M:%S.%f", "local time": r"%d.%m.%Y %H:%M:%S.%f GMT%z"}
"""Formats that come with a column's name: that of Dukascopy's files."""

_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_COMPACT_YEARS = (1800, 2199)
_UNITS = (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
_EPOCH_YEARS = (315_532_800, 4_102_444_800)  # seconds from 1970 to 1980 and to 2100
_LAST_MINUTE = 2359  # a larger number is a time of day with seconds
_EXCEL_DAYS = (10_000, 80_000)  # 1927 to 2119


def by_time(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    """Index a table by its times.

    They are in the column named one of `TIME_COLUMNS`, or in a column of dates and one of times of day; else in the
    table's DatetimeIndex, else in its first column.

    Raises
    ------
    DataError
        If it has none, or they have more than one meaning.
    """
    import pandas as pd

    name = time_column(frame)
    if name is None and isinstance(frame.index, pd.DatetimeIndex):
        return frame.set_axis(in_a_zone(frame.index))
    if name is None:
        if not len(frame.columns) or _is_known(frame.columns[0]):
            raise DataError(
                f"{path}: no column of times; name it one of {', '.join(TIME_COLUMNS[:4])}, or put it first. "
                f"The columns are: {', '.join(map(str, frame.columns))}"
            )
        if len(frame.columns) == 1 and read_times(frame.iloc[:, 0]) is None:
            raise DataError(
                f"{path}: there is one column, {frame.columns[0]!r}, so its columns are parted by another sign; set "
                "data.separator in the config to it, or write the file with commas"
            )
        name = frame.columns[0]
    if not len(frame):
        # An empty column has no type; a later error tells that there is no bar.
        return frame.drop(columns=[name]).set_index(pd.DatetimeIndex([]))
    column = frame[name]
    date = next((c for c in frame.columns if plain_name(c) == "date" and c != name), None)
    if date is not None and pd.api.types.is_integer_dtype(column.dtype):
        column = _clocks(column)
    if _is_time_of_day(column):
        if date is None:
            raise DataError(
                f"{path}: column {name!r} holds times of day and no column is named date; ISO 8601 times have both, "
                "write 2024-01-31 09:30:00, or add a column date"
            )
        return frame.drop(columns=[name, date]).set_index(_together(frame[date], column, path))
    times = read_times(column)
    if times is None:
        raise DataError(f"{path}: column {name!r} {_why(column, f'frame[{name!r}]')}")
    return frame.drop(columns=[name]).set_index(times)


def _is_known(name: Any) -> bool:
    return plain_name(name) in (*PRICES, "volume", "adj close")


def time_column(frame: pd.DataFrame) -> Any:
    """The column that is named as one of times; None if none is.

    A column named time that holds times of day belongs to one named date.
    """
    named = {plain_name(column): column for column in reversed(frame.columns)}
    return next((named[known] for known in TIME_COLUMNS if known in named), None)


def indexed(frame: pd.DataFrame, label: str) -> pd.DatetimeIndex | pd.DataFrame:
    """A table's index as times; or, if its index only counts rows, the table indexed by its column of times.

    Raises
    ------
    DataError
        If neither holds times.
    """
    import pandas as pd

    index = frame.index
    if isinstance(index, pd.DatetimeIndex):
        return in_a_zone(index)
    if pd.api.types.is_integer_dtype(index.dtype) and time_column(frame) is not None:
        return by_time(frame, label)
    if not isinstance(index, (pd.MultiIndex, pd.PeriodIndex)):
        times = read_times(index.to_series())
        if times is not None:
            return times.rename(index.name)
    said = f"{label}: the index is a {type(index).__name__}, first value {index[0]!r}, and not a DatetimeIndex; "
    raise DataError(said + _index_cure(frame))


def _index_cure(frame: pd.DataFrame) -> str:
    import pandas as pd

    index = frame.index
    if isinstance(index, pd.PeriodIndex):
        return "turn it into stamps with frame.to_timestamp()"
    if isinstance(index, pd.MultiIndex):
        level = next((n for n, values in enumerate(index.levels) if isinstance(values, pd.DatetimeIndex)), None)
        if level is None:
            return "none of its levels holds times; give one that does, with pd.to_datetime, or name the columns"
        others = [n for n in range(index.nlevels) if n != level]
        first = tuple(index.get_level_values(n)[0] for n in others)
        return f"one symbol's bars have no other level; take them with frame.xs({first!r}, level={others})"
    timed = [column for column in frame.columns if _holds_times(frame[column])]
    if timed and pd.api.types.is_datetime64_any_dtype(frame[timed[0]].dtype):
        return f"use the column that holds them: frame.set_index({timed[0]!r})"
    if timed:
        return f"use the column that holds them: frame.set_index(pd.to_datetime(frame[{timed[0]!r}]))"
    if not isinstance(index, pd.RangeIndex) or index.start:
        return "it " + _why(index.to_series(), "frame.index")
    return "give it the bars' times: frame.index = pd.to_datetime(times), of which there are as many as rows"


def _holds_times(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return not pd.api.types.is_numeric_dtype(column.dtype) and bool(len(column)) and read_times(column) is not None


def read_times(column: pd.Series[Any]) -> pd.DatetimeIndex | None:
    """The column's times, or None if it holds something else, or values with more than one meaning.

    Read are datetimes, ISO 8601 with or without offsets, dates written ``20241001`` as text or number, and the formats that
    the column's name says.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return in_a_zone(pd.DatetimeIndex(column))
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _compact(column)
    if (
        plain_name(column.name) in _DUKASCOPY
        and (found := _by_format(column, _DUKASCOPY[plain_name(column.name)])) is not None
    ):
        return found
    # Offsets that change with the seasons have no zone but UTC in common.
    offsets = _have_offsets(column)
    if offsets.any() and not offsets.all():
        return None  # Stamps of which only some name a zone are a mistake; older versions of pandas give them all that zone.
    try:
        if not offsets.any():
            times = pd.DatetimeIndex(pd.to_datetime(column, format="ISO8601"))
            return times.tz_localize("UTC") if plain_name(column.name) == "gmt time" and times.tz is None else times
        utc = pd.DatetimeIndex(pd.to_datetime(column.astype(object), format="ISO8601", utc=True))
        bare = column.astype("string").str.strip().str.replace(_OFFSET, "", regex=True)
        return told(utc, pd.DatetimeIndex(pd.to_datetime(bare, format="ISO8601")))
    except (ValueError, TypeError):
        return None


def _by_format(column: pd.Series[Any], form: str) -> pd.DatetimeIndex | None:
    import pandas as pd

    text = column.astype("string").str.strip()
    for one in (form, form.replace(".%f", "")):
        try:
            utc = pd.DatetimeIndex(pd.to_datetime(text, format=one, utc=True))
        except (ValueError, TypeError):
            continue
        if "%z" not in form:
            return utc
        local = pd.to_datetime(text.str.replace(r" GMT.*$", "", regex=True), format=one.removesuffix(" GMT%z"))
        return told(utc, pd.DatetimeIndex(local))
    return None


def _compact(column: pd.Series[Any]) -> pd.DatetimeIndex | None:
    """Numbers such as 20241001 as dates; None if not all of them are dates written like this."""
    import pandas as pd

    known = column.dropna()
    if not len(known) or not (np.mod(known.to_numpy(dtype=np.float64), 1) == 0).all():
        return None
    text = known.astype("int64").astype(str)
    digits = text.str.len().unique()
    if len(digits) != 1 or int(digits[0]) not in _COMPACT:
        return None
    years = text.str[:4].astype(int)
    times = pd.to_datetime(text, format=_COMPACT[int(digits[0])], errors="coerce")
    if times.isna().any() or not years.between(*_COMPACT_YEARS).all():
        return None
    return pd.DatetimeIndex(times.reindex(column.index) if len(known) < len(column) else times)


def _together(dates: pd.Series[Any], clocks: pd.Series[Any], path: str) -> pd.DatetimeIndex:
    """The times of a column of dates and one of times of day."""
    import pandas as pd

    days = read_times(dates)
    if days is None or days.tz is not None or bool((days.dropna().as_unit("ns").asi8 % (86_400 * 10**9)).any()):
        cure = "write 2024-01-31 for a date" if days is not None else _why(dates, f"frame[{dates.name!r}]")
        raise DataError(
            f"{path}: column {dates.name!r} beside {clocks.name!r} {'holds more than dates; ' if days is not None else ''}{cure}"
        )
    text = clocks.astype("string").str.strip()
    text = text.where(text.str.count(":") != 1, text + ":00")
    since = pd.to_timedelta(text.astype(object), errors="coerce")
    return pd.DatetimeIndex(days + pd.TimedeltaIndex(since))


def _clocks(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times of day that were written as numbers, 93000 for 09:30:00; numbers that may be hours and minutes stay."""
    text = column.astype(str).str.zfill(6)
    found = text.str.replace(r"(..)(..)(..)", r"\1:\2:\3", regex=True)
    valid = text.str.fullmatch(r"([01]\d|2[0-3])[0-5]\d[0-5]\d").all()
    return found if valid and int(column.max()) > _LAST_MINUTE else column


def _is_time_of_day(column: pd.Series[Any]) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return False
    text = column.dropna().astype("string").str.strip()
    return bool(len(text)) and bool(text.str.fullmatch(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?").all())


def plain_name(name: Any) -> str:
    """The name of a column without spaces, the brackets of MetaTrader's files, and capitals."""
    return str(name).strip().strip("<>").lower()


def _have_offsets(column: pd.Series[Any]) -> pd.Series[bool]:
    text = column.dropna().astype(str).str.strip()
    return text.str.contains(r"\d" + _OFFSET, regex=True).astype(bool)


# -- what to say ------------------------------------------------------------------------------------------------


def _why(column: pd.Series[Any], name: str) -> str:
    """The reason why these are no times, and the cure; `name` is the column in Python."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return f"holds numbers, the first is {column.iloc[0]}; {_number_cure(column, name)}"
    bare = column.dropna()[~_have_offsets(column)]
    if 0 < len(bare) < column.count():
        return (
            f"holds times with an offset from UTC and others without one, for example {bare.iloc[0]!r}; write all ISO 8601 "
            "times in one of these ways"
        )
    odd = _odd(column)
    cure = "write 2024-01-31 for a date, 2024-01-31 09:30:00-05:00 for a time"
    form = _day_or_month_first(column)
    if form:
        first, second = form, form.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
        cure += (
            f"; in Python {name} = pd.to_datetime({name}, format={first!r}) where the day comes first, format={second!r} "
            "where the month does"
        )
    return f"holds other things than ISO 8601 times, for example {odd!r}; {cure}"


def _number_cure(column: pd.Series[Any], name: str) -> str:
    values = column.dropna().to_numpy(dtype=np.float64)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    for unit, scale in _UNITS:
        if _EPOCH_YEARS[0] * scale <= low and high <= _EPOCH_YEARS[1] * scale:
            word = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[unit]
            return (
                f"they would be {word} since 1970, which isn't guessed: write ISO 8601 times, for example with "
                f'{name} = pd.to_datetime({name}, unit="{unit}", utc=True)'
            )
    if _EXCEL_DAYS[0] <= low and high <= _EXCEL_DAYS[1]:
        return (
            "they would be days as Excel counts them, which isn't guessed: write ISO 8601 times, for example with "
            f'{name} = pd.to_datetime({name}, unit="D", origin="1899-12-30"){"" if name == "frame.index" else ".dt"}.round("s")'
        )
    return "what they count can't be known: write ISO 8601 times, 2024-01-31 for a date, 2024-01-31 09:30:00-05:00 for a time"


def _odd(column: pd.Series[Any]) -> Any:
    import pandas as pd

    parsed = pd.to_datetime(column.astype(str), format="ISO8601", errors="coerce", utc=True)
    bad = column[parsed.isna() & column.notna()]
    return bad.iloc[0] if len(bad) else column.iloc[0]


def _day_or_month_first(column: pd.Series[Any]) -> str | None:
    """The format of the column's dates with the day first; None unless they begin with two short numbers."""
    import re

    found = re.match(
        r"\s*\d{1,2}([./-])\d{1,2}\1(\d{4}|\d\d)(?:([ T])\d{1,2}:\d\d(:\d\d)?(\.\d+)?)?\s*$", str(_odd(column))
    )
    if found is None:
        return None
    sign, year, between, seconds, part = found.groups()
    clock = "" if between is None else f"{between}%H:%M" + (":%S" if seconds else "") + (".%f" if part else "")
    return f"%d{sign}%m{sign}%{'Y' if len(year) == 4 else 'y'}{clock}"
