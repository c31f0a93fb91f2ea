"""Turns stamps into spans: finds the moments that stamps mark, each bar's begin and end, and the labels of instants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, MINUTE, NO_TIME, SECOND, Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data.calendar import ALWAYS_OPEN, Days, SessionTable, local_midnights, utc_date
from nbbacktest.data.frames import Fault, RawBars, judged
from nbbacktest.data.interval_inference import check_length, inferred
from nbbacktest.data.trading_days import TradingDays, day_zone, period_starts, refuse_weekend_stamps, whole_spans

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.core.config import SessionConfig

_NEARLY_ALL = 0.8  # the share of stamps that must lie off the minute by the same time
_BEFORE_THE_END = (1, 1_000, 1_000_000, SECOND)
"""Nanoseconds before the end of a bar at which sources stamp it, as 09:30:59.999."""


def full_stamps(raw: RawBars, given: Interval | None, mark: StampMeaning) -> RawBars:
    """Move stamps that lie a moment before their bars' ends, as 09:30:59.999, to these ends.

    Raises
    ------
    DataError
        If nearly all stamps lie off the minute in another way, or mark opens.
    """
    if (raw.ticks // MINUTE * MINUTE == raw.ticks).all():  # three times as fast as the remainder
        return raw
    steps = np.diff(raw.ticks)
    step = given.ns if given is not None else _commonest(steps) if len(steps) else DAY
    unit = gcd(step, MINUTE)
    if step >= DAY or unit < SECOND or not (raw.ticks % unit).any():
        return raw
    rest = raw.clocks % unit
    values, times = np.unique(rest, return_counts=True)
    usual_rest = int(values[np.argmax(times)])
    if usual_rest == 0 or times.max() < _NEARLY_ALL * len(rest):
        return raw
    missing = unit - usual_rest
    if missing in _conventions(unit):
        if mark == "close":
            meant = (rest == usual_rest) & (np.append(steps, missing + 1) != missing)  # which is another row's
            return replace(raw, index=raw.index + np.where(meant, missing, 0).astype("timedelta64[ns]"))
        raise DataError(
            f"{raw.label}: stamps lie {missing / 1e9:g} s before the minute, the first is {raw.index[0]}, so they mark ends of bars; "
            'set data.stamp in the config to "close"'
        )
    raise DataError(
        f"{raw.label}: stamps lie {usual_rest / 1e9:g} s after the {'minute' if unit == MINUTE else 'grid of ' + Interval.from_ns(unit).name}, "
        f"the first is {raw.index[0]}, and bars don't; give the stamps that they have, for example with "
        f'frame.index - pd.Timedelta("{usual_rest}ns")'
    )


def meant_end(ns: int, length: int) -> int:
    """The end of a bar that is stamped a moment before it, as 09:30:59.999; other instants stay as they are.

    Examples
    --------
    >>> meant_end(59_999_000_000, 60_000_000_000)
    60000000000
    """
    unit = gcd(length, MINUTE)
    missing = -ns % unit
    return ns + missing if unit >= SECOND and missing in _conventions(unit) else ns


def _conventions(unit: int) -> tuple[int, ...]:
    """The distances before a bar's end that are a convention; a whole second is one if bars are whole minutes."""
    return _BEFORE_THE_END if unit == MINUTE else _BEFORE_THE_END[:-1]


def _commonest(spacings: Int64) -> int:
    least = int(spacings.min())
    if 2 * int((spacings == least).sum()) > len(spacings):
        return least  # without sorting
    values, times = np.unique(spacings, return_counts=True)
    return int(values[np.argmax(times)])


def opens_of(ends: Int64, length: int) -> Int64:
    """The begins of bars that end at these rising instants: no bar begins before the end of the bar before it.

    A bar that the close or a lunch break cuts short begins where the bar before it ended. If that bar is missing, the short one
    is as long as the short ones that end at the same time of other days.
    """
    opens: Int64 = ends - length
    before = np.diff(ends)
    short = np.flatnonzero(before < length) + 1
    if not len(short):
        return opens
    opens[short] = ends[short - 1]
    _, number = np.unique(ends % DAY, return_inverse=True)
    times = np.bincount(number)
    cut = np.bincount(number[short], minlength=len(times))
    lasting = np.zeros(len(times), dtype=np.int64)
    lasting[number[short]] = before[short - 1]
    whole_ = np.ones(len(ends), dtype=np.bool_)
    whole_[short] = False
    like = whole_ & (2 * cut[number] >= times[number])
    opens[like] = ends[like] - lasting[number[like]]
    return opens


def agree(raws: Sequence[RawBars], given: Interval | None, mark: StampMeaning = "open") -> Interval:
    """The interval of all bars: the one given, else the commonest spacing that nearly all rows fit.

    Bars a day or more apart are daily; bars a week or more apart have their commonest distance as their length.

    Raises
    ------
    DataError
        If symbols have different intervals, stamps are finer or coarser than the one given, or one intraday bar is all
        that there is to infer from.
    """
    interval = given or inferred(raws, mark)
    if given is None and len(raws) == 1:
        return interval  # its own
    for raw in raws:
        check_length(raw, interval, raws, mark, known=given is not None)
    return interval


def shown(
    raws: Sequence[RawBars], interval: Interval, config: SessionConfig, local: str | None, *, is_named: bool
) -> Stamps:
    """The labels of a run's times, and the zone in which its dates begin.

    Labels are in the config's `timezone`, else in the zone of the named exchange, else in that of the bars.
    Naive session dates stay naive.

    Parameters
    ----------
    local
        The zone that the source says its naive stamps are in.
    is_named
        True if the exchange was named, or brings the data.

    Raises
    ------
    DataError
        If some symbols' stamps are naive and others' aren't.
    """
    naive = [raw for raw in raws if raw.is_naive]
    if naive and len(naive) < len(raws):
        aware = next(raw for raw in raws if not raw.is_naive)
        raise DataError(
            f"the stamps of {naive[0].label} name no time zone and those of {aware.label} are in {aware.zone}; "
            "give all symbols the same kind, for example with frame.tz_localize"
        )
    # A date means the same in whatever zone it is shown.
    own = raws[0].zone or local or config.data.timezone or (None if interval.is_daily else config.timezone)
    days = day_zone(config, own, is_named=is_named)
    exchange = days if is_named and config.exchange != ALWAYS_OPEN else None
    return Stamps(
        config.timezone or exchange or own or days,
        dates=bool(naive) and interval.is_daily,
        day_zone=days,
        daily=interval.is_daily,
    )


def place(
    raw: RawBars,
    interval: Interval,
    stamps: Stamps,
    *,
    timezone: str | None,
    mark: StampMeaning | None,
    sessions: SessionTable | None,
) -> BarColumns:
    """Give each bar its span: no bar ends before its last trade can be known.

    Parameters
    ----------
    timezone
        The zone of naive intraday stamps; None: it isn't known.
    mark
        The moment of a bar that intraday stamps mark; None is the open. Daily bars carry their session's date either
        way, and weeks a date in them; for a date on a weekend this decides if it begins or ends its week.
    sessions
        With sessions, daily bars end at their session's close, weeks and months at that of their last session, and an
        intraday bar when trading stops in it. Without, bars end with their length, whole days at the next midnight.

    Raises
    ------
    DataError
        If naive intraday stamps have no time zone, or don't exist or exist twice in it; if two daily bars have one date, or a
        daily bar's date is no session.
    """
    judged(raw, time_faults(raw, interval, stamps, timezone=timezone, sessions=sessions, mark=mark), "refuse")
    if interval.is_daily:
        time, end = _days(raw, interval, stamps, sessions, mark)
    else:
        instants = instants_of(raw.index, timezone)
        time = opens_of(instants, interval.ns) if mark == "close" else instants
        end = intraday_ends(time, interval.ns, sessions)
        end = np.minimum(end, instants) if mark == "close" else end
    c = raw.columns
    return BarColumns(raw.symbol, interval, time, end, c["open"], c["high"], c["low"], c["close"], c["volume"])


def intraday_ends(time: Int64, length: int, sessions: SessionTable | None, *, is_anchored: bool | None = None) -> Int64:
    """The ends of bars of `length` nanoseconds that begin at `time`: after their length, or earlier if trading stops.

    Trading that goes on within the length, after a break or without one, is part of the bar. A bar ends with its own part of the
    session if all bars begin a whole number of lengths after an open, and some begin after a break before the last one's
    length is up; `is_anchored` tells this for a single bar.
    """
    end = time + length
    if sessions is None or not len(sessions) or not len(time):
        return end
    own = sessions.part_of(time)
    inside = own >= 0
    if is_anchored is None:
        is_anchored = not ((time[inside] - sessions.part_open[own[inside]]) % length).any()
        is_anchored = is_anchored and bool((np.diff(time) < length).any())
    last = np.searchsorted(sessions.part_open, end, side="left") - 1  # the last part that opens before the end
    part = np.where(inside, own, -1) if is_anchored else np.where(inside | (sessions.part_open[last] > time), last, -1)
    return np.where(part >= 0, np.minimum(end, sessions.part_stop[part]), end)


def within(columns: BarColumns, sessions: SessionTable, left_out: dict[str, Int64]) -> BarColumns:
    """Keep the bars that reach into a session; the begins of the others go into `left_out` as ``"outside"``.

    A bar that began before its session opened, as the first of hours by the clock, begins at the open: its prices were traded
    from then on.

    Raises
    ------
    DataError
        If there is none.
    """
    part = np.searchsorted(sessions.part_open, columns.end, side="left") - 1
    inside = (part >= 0) & (columns.time < sessions.part_close[part])
    time = np.where(inside, np.maximum(columns.time, sessions.part_open[part]), columns.time)
    columns = replace(columns, time=time)
    if inside.all():
        return columns
    if not inside.any():
        raise DataError(
            f"{columns.symbol}: none of {len(columns)} bars lies in the hours of {sessions.exchange}; "
            "set the exchange, or its hours, to those that the bars are from"
        )
    left_out["outside"] = columns.time[~inside]
    return columns.taken(inside)


def time_faults(
    raw: RawBars,
    interval: Interval,
    stamps: Stamps,
    *,
    timezone: str | None,
    sessions: SessionTable | None,
    mark: StampMeaning | None = None,
) -> Iterator[Fault]:
    """The faults of rising stamps once their meaning is known; see `place` for the parameters.

    Raises
    ------
    DataError
        If naive intraday stamps have no time zone.
    """
    if not interval.is_daily:
        if raw.is_naive and len(raw.index):
            yield _clock_fault(raw, timezone)
        return
    dates = _dates(raw, stamps, sessions)
    if interval.is_calendar:
        refuse_weekend_stamps(raw.label, dates, interval, mark)
    keys = period_starts(dates, interval, mark)
    twice = np.concatenate(([False], keys[1:] == keys[:-1]))[: len(dates)]
    row = int(np.argmax(twice)) if len(twice) else 0
    word = {"1w": "week", "1mo": "month"}.get(interval.name, "date")
    yield Fault(
        "duplicates",
        twice,
        f"the {word} is another bar's too",
        refusal=f"{int(twice.sum())} {'daily ' if word == 'date' else ''}bars have the {word} of another, the first are "
        f"those at {raw.index[row - 1]} and {raw.index[row]}; keep one bar for each {word}"
        if twice.any()
        else "",
    )
    if sessions is None or interval.ns > DAY:
        return
    closed = sessions.dates[_rows_of(dates, sessions)] != dates
    yield Fault(
        "closed",
        closed,
        f"{sessions.exchange} is closed on the date",
        refusal=f"{int(closed.sum())} of {len(dates)} daily bars are on days on which {sessions.exchange} is "
        f"closed, the first is {dates[closed][0]}; remove them, or set exchange in the config to the one that "
        'they are from ("24/7" for one that never closes)'
        if closed.any()
        else "",
    )


def instants_of(index: pd.DatetimeIndex, timezone: str | None) -> Int64:
    """Stamps as nanoseconds UTC. Naive ones are local; one that the clocks skip or repeat is NaT (the least int64)."""
    if index.tz is not None:
        return index.asi8
    return index.tz_localize(timezone or "UTC", ambiguous="NaT", nonexistent="NaT").asi8


def begins_of(
    raw: RawBars,
    index: pd.DatetimeIndex,
    interval: Interval,
    stamps: Stamps,
    *,
    timezone: str | None,
    mark: StampMeaning | None,
) -> Int64:
    """The begins of rows with these stamps, nanoseconds UTC; NaT if unknown."""
    if interval.is_daily:
        return local_midnights(_dates(replace(raw, index=index), stamps), stamps.day_zone)
    instants = instants_of(index, timezone)
    if mark != "close":
        return instants
    if index is raw.index and not (instants == NO_TIME).any():
        return opens_of(instants, interval.ns)
    return np.where(instants == NO_TIME, NO_TIME, instants - interval.ns)


def begins_left_out(
    raw: RawBars, interval: Interval, stamps: Stamps, *, timezone: str | None, mark: StampMeaning | None
) -> dict[str, Int64]:
    """The begins of rows that were left out, by kind of fault; NaT if unknown."""
    found: dict[str, Int64] = {}
    for kind, index in raw.left_out.items():
        known = index[index.notna()]
        begins = begins_of(raw, known, interval, stamps, timezone=timezone, mark=mark)
        found[kind] = np.append(begins, np.full(len(index) - len(known), NO_TIME))
    return found


def _rows_of(dates: Days, sessions: SessionTable) -> Int64:
    return np.minimum(np.searchsorted(sessions.dates, dates), len(sessions) - 1).astype(np.int64)


def _clock_fault(raw: RawBars, timezone: str | None) -> Fault:
    if timezone is None:
        raise DataError(
            f"{raw.label}: the stamps name no time zone, the first is {raw.index[0]}; set data.timezone in the "
            'config, for example to "America/New_York", or give stamps with one (frame.tz_localize)'
        )
    wrong = instants_of(raw.index, timezone) == NO_TIME
    noun = "stamp doesn't exist or exists" if int(wrong.sum()) == 1 else "stamps don't exist or exist"
    return Fault(
        "bad_time",
        wrong,
        f"the stamp doesn't exist or exists twice in {timezone}",
        refusal=f"{int(wrong.sum())} {noun} twice in {timezone}, where clocks change, the first is "
        f"{raw.index[wrong][0]}; give stamps in UTC or with their offset, or name the zone that they are in"
        if wrong.any()
        else "",
    )


def reach(raws: Sequence[RawBars]) -> tuple[date, date]:
    """The first and the last date that cover the bars in every time zone."""
    first, last = min(int(raw.ticks[0]) for raw in raws), max(int(raw.ticks[-1]) for raw in raws)
    slack = timedelta(days=2)
    return utc_date(first) - slack, utc_date(last) + slack


def unknown_mark(label: str, interval: Interval) -> DataError:
    """The error for a file whose stamps may mark opens or closes."""
    return DataError(
        f"{label}: whether the times of {interval} bars mark their open or their close can't be known from "
        'a file, and the wrong guess looks ahead; set data.stamp in the config to "open" or "close"'
    )


def _days(
    raw: RawBars, interval: Interval, stamps: Stamps, sessions: SessionTable | None, mark: StampMeaning | None
) -> tuple[Int64, Int64]:
    dates = _dates(raw, stamps, sessions)
    if interval.is_calendar:
        return whole_spans(dates, interval, stamps.day_zone, sessions, mark)
    time = local_midnights(dates, stamps.day_zone)
    if interval.ns > DAY:
        days = interval.ns // DAY
        apart = np.diff(dates).astype(np.int64)
        if (apart % days).any():
            # The bars differ in length. Each surely ends by the next one's begin, the first moment that is known.
            after = dates[-1:] + np.timedelta64(int(apart.max()), "D")
            return time, np.append(time[1:], local_midnights(after, stamps.day_zone))
        return time, local_midnights(dates + np.timedelta64(days, "D"), stamps.day_zone)
    if sessions is None:
        return time, local_midnights(dates + np.timedelta64(1, "D"), stamps.day_zone)
    return time, sessions.close[_rows_of(dates, sessions)]


def _dates(raw: RawBars, stamps: Stamps, sessions: SessionTable | None = None) -> Days:
    """The dates of daily stamps: the source's own if all are its midnights, else their trading days."""
    index = raw.index
    if raw.is_naive or _at_midnight(index):
        return index.tz_localize(None).to_numpy().astype("datetime64[D]")
    table = None if sessions is None or sessions.exchange == ALWAYS_OPEN else sessions
    days = TradingDays(stamps.day_zone, None if table is None else lambda _first, _last: table)
    return days.of(index.asi8).astype("datetime64[D]")


def _at_midnight(index: pd.DatetimeIndex) -> bool:
    local = index if index.tz is None else index.tz_localize(None)
    return not bool((local.asi8 % DAY).any())
