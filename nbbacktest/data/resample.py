"""Coarser bars from base bars: anchored to each session's open, cut at its break and its close, in linear time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, FormingBar, Int64, Stamps
from nbbacktest.data.calendar import SessionTable, local_midnights
from nbbacktest.data.trading_days import period_starts


class Buckets(NamedTuple):
    """The places of a coarser interval's bars, one row for each that has base bars.

    Attributes
    ----------
    first : int64 array
        The row of the first base bar in each.
    time : int64 array
        The stamp of each, nanoseconds UTC.
    begin, end : int64 arrays
        Base bars that start in ``[begin, end)`` belong to it; it is complete at `end`, or with the last of them.
    expected : int64 array
        The number of base bars that each has room for.
    """

    first: Int64
    time: Int64
    begin: Int64
    end: Int64
    expected: Int64


def derive(base: BarColumns, interval: Interval, sessions: SessionTable) -> BarColumns:
    """Build the bars of `interval` from those of `base`.

    A bar begins a whole number of intervals after its session's open, holds the base bars that start in it, and ends one
    interval later or at the session's close. A lunch break ends it too, and the bars of the afternoon begin a whole number
    of intervals after the break. Without base bars in it there is no bar. It never ends before the last of its base bars, so
    it can't be seen early even if base bars begin in one bar and end in the next.

    A day is a session. A week (ISO) and a month hold the sessions that are dated in them, and end with the last of these
    sessions even if it has no bars.

    Parameters
    ----------
    base
        Base bars, or bars derived from them.
    interval
        A multiple of the base interval; or ``1d``, ``1w``, ``1mo``, stamped at the local midnight that begins
        their first session's date.
    sessions
        Sessions that cover all the bars; for weeks and months all sessions of those that have bars.

    Returns
    -------
    BarColumns
        With `base_count` and `expected_count`: the number of base bars that each bar was built from, and that it has room
        for.

    Raises
    ------
    DataError
        If the interval doesn't fit, or bars lie outside every session.
    """
    root = base.root or base.interval
    _check_interval(base, interval)
    if not len(base):
        none = np.zeros(0, dtype=np.int64)
        return BarColumns(
            base.symbol, interval, base.time, base.end, base.open, base.high, base.low, base.close, base.volume,
            none, none, root=root,
        )  # fmt: skip
    first, time, _, nominal, expected = buckets(base, interval, sessions)
    last = np.append(first[1:], len(base)) - 1
    count = last - first + 1 if base.base_count is None else np.add.reduceat(base.base_count, first)
    return BarColumns(
        base.symbol,
        interval,
        time,
        np.maximum(nominal, base.end[last]),
        base.open[first],
        np.maximum.reduceat(base.high, first),
        np.minimum.reduceat(base.low, first),
        base.close[last],
        np.add.reduceat(base.volume, first),
        count,
        expected,
        root=root,
    )


def buckets(base: BarColumns, interval: Interval, sessions: SessionTable) -> Buckets:
    """Find the buckets of `interval` that the bars of `base`, at least one, start in."""
    root = base.root or base.interval
    if interval.is_daily:
        return _periods(base, _rows(base, sessions), interval, sessions, root)
    part = _parts(base, sessions)
    opened = sessions.part_open[part]
    number = (base.time - opened) // interval.ns
    first = _first_of_each(part, number)
    begin = opened[first] + number[first] * interval.ns
    end = np.minimum(begin + interval.ns, sessions.part_close[part[first]])
    return Buckets(first, begin, begin, end, _room(begin, end, root))


def _periods(base: BarColumns, row: Int64, interval: Interval, sessions: SessionTable, root: Interval) -> Buckets:
    """Buckets of whole sessions: those of a day, a week, a month."""
    keys = period_starts(sessions.dates, interval).astype(np.int64)
    first = _first_of_each(keys[row])
    here = keys[row[first]]
    opening = np.searchsorted(keys, here)
    closing = np.searchsorted(keys, here, side="right") - 1
    time = local_midnights(sessions.dates[opening], sessions.timezone)
    end = sessions.close[closing]
    if base.interval.is_daily and _ends_at_midnight(base, row, sessions):
        end = local_midnights(sessions.dates[closing] + np.timedelta64(1, "D"), sessions.timezone)
    room = np.ones(len(sessions), np.int64) if root.is_daily else _room_of_sessions(sessions, root)
    before = np.append(0, np.cumsum(room))
    expected = before[closing + 1] - before[opening]
    return Buckets(first, time, np.minimum(time, sessions.open[opening]), end, expected)


def period_opens(sessions: SessionTable, interval: Interval) -> Int64:
    """The begins of these sessions' weeks or months, nanoseconds UTC: their first sessions' opens."""
    opens: Int64 = sessions.open[_first_of_each(period_starts(sessions.dates, interval).astype(np.int64))]
    return opens


def _ends_at_midnight(base: BarColumns, row: Int64, sessions: SessionTable) -> bool:
    """True if these daily bars end with their date and not with their session, as those without a calendar do."""
    return int(base.end[-1]) == int(
        local_midnights(sessions.dates[row[-1:]] + np.timedelta64(1, "D"), sessions.timezone)[0]
    )


def _room(begin: Int64, end: Int64, root: Interval) -> Int64:
    """The number of `root` bars that fit between `begin` and `end`; a last one that is cut short counts."""
    room: Int64 = np.maximum(-(-(end - begin) // root.ns), 1)
    return room


def _room_of_sessions(sessions: SessionTable, root: Interval) -> Int64:
    """The number of `root` bars in each session, part by part: no bar goes on after a lunch break."""
    room = np.zeros(len(sessions), np.int64)
    np.add.at(room, sessions.part_row, _room(sessions.part_open, sessions.part_close, root))
    return room


def _check_interval(base: BarColumns, interval: Interval) -> None:
    why = interval.misfit(base.interval)
    if why is not None:
        raise DataError(f"{base.symbol} has {base.interval} bars, and derived interval {interval} {why}")


def _rows(base: BarColumns, sessions: SessionTable) -> Int64:
    """The session of every bar."""
    if base.interval.is_daily:
        return _rows_by_date(base, sessions)
    return sessions.part_row[_parts(base, sessions)]


def _parts(base: BarColumns, sessions: SessionTable) -> Int64:
    """The part of a session that every bar starts in. Parts and bars rise, and parts are few: they are looked up among the bars."""
    begin = np.searchsorted(base.time, sessions.part_open)
    counts = np.searchsorted(base.time, sessions.part_close) - begin
    if int(counts.sum()) < len(base):
        outside = np.flatnonzero(sessions.session_of(base.time) < 0)
        stamp = Stamps(sessions.timezone).stamp(int(base.time[outside[0]]))
        raise DataError(
            f"{base.symbol}: {len(outside)} of {len(base)} bars lie outside the sessions of {sessions.exchange}, the "
            f"first stamped {stamp}; derived bars are anchored to sessions, so drop those bars, set hours in the config "
            'to extended ones that hold them, or set exchange to one that trades then, such as "24/7"'
        )
    return np.repeat(np.arange(len(counts)), counts)


def _rows_by_date(base: BarColumns, sessions: SessionTable) -> Int64:
    """The session that each daily bar is stamped with."""
    midnights = local_midnights(sessions.dates, sessions.timezone)
    row = np.minimum(np.searchsorted(midnights, base.time), len(sessions) - 1)
    closed = np.flatnonzero(midnights[row] != base.time)
    if len(closed):
        stamp = Stamps(sessions.timezone).stamp(int(base.time[closed[0]]))
        raise DataError(
            f"{base.symbol}: {len(closed)} of {len(base)} daily bars are on days on which {sessions.exchange} is closed, "
            f"the first is {stamp.date()}; derived bars follow its sessions, so drop those bars or set exchange in the "
            'config to the one that they are from ("24/7" for one that never closes)'
        )
    return row


def _first_of_each(*keys: Int64) -> Int64:
    """The rows at which one of the keys changes, row 0 included."""
    change = np.zeros(len(keys[0]), dtype=np.bool_)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(change)


class Forming:
    """One symbol's bar of a coarser interval while it forms. The bucket's bounds are found once.

    Parameters
    ----------
    interval
        One that fits the base bars (`Interval.misfit`).
    sessions
        As for `derive`.
    """

    __slots__ = ("_bounds", "_columns", "_expected", "_first", "_interval", "_sessions", "_stamps", "_time")

    def __init__(self, interval: Interval, sessions: SessionTable, stamps: Stamps) -> None:
        self._interval = interval
        self._sessions = sessions
        self._stamps = stamps
        self._columns: BarColumns | None = None
        self._bounds = (0, 0)
        self._first = self._time = self._expected = 0

    def at(self, columns: BarColumns, n: int) -> FormingBar | None:
        """The bar that forms from the first `n` base bars, of the bucket that the newest lies in; None without base bars.

        It is the derived bar itself once the bucket's last base bar is among them: `n` is the caller's clock.
        """
        if not n:
            return None
        newest = int(columns.time[n - 1])
        if columns is not self._columns or not self._bounds[0] <= newest < self._bounds[1]:
            self._find(columns, n)
        cut = slice(self._first, n)
        return FormingBar(
            columns.symbol,
            self._interval.name,
            self._time,
            max(self._bounds[1], int(columns.end[n - 1])),
            float(columns.open[self._first]),
            float(columns.high[cut].max()),
            float(columns.low[cut].min()),
            float(columns.close[n - 1]),
            # Added up as derived bars are, so that both agree to the last digit.
            float(np.add.reduceat(columns.volume[cut], [0])[0]),
            n - self._first,
            self._expected,
            self._stamps,
        )

    def _find(self, columns: BarColumns, n: int) -> None:
        _, time, begin, end, expected = buckets(columns.slice(n - 1, n), self._interval, self._sessions)
        self._columns = columns
        self._bounds = (int(begin[0]), int(end[0]))
        self._time, self._expected = int(time[0]), int(expected[0])
        self._first = int(np.searchsorted(columns.time[:n], begin[0]))


class FormingBars:
    """The forming bars of a run, by symbol and interval: found when they are first asked for, then kept up.

    Parameters
    ----------
    periods
        The sessions of whole weeks and months, called for each symbol and interval; None: there are no forming bars.
    """

    def __init__(self, periods: Callable[[], SessionTable] | None, stamps: Stamps) -> None:
        self._periods = periods
        self._stamps = stamps
        self._found: dict[tuple[str, str], Forming] = {}

    def at(self, columns: BarColumns, n: int, interval: str, now: int) -> FormingBar | None:
        """The bar of `interval` that the newest of the first `n` base bars is part of; None if it is complete by `now`.

        Raises
        ------
        DataError
            If no such bar can be built from the base bars.
        """
        found = self._found.get((columns.symbol, interval))
        if found is None:
            length = Interval.parse(interval)
            why = length.misfit(columns.interval)
            if why is not None or self._periods is None:
                raise DataError(f"forming({interval!r}) {why or 'needs the sessions of an exchange'}")
            found = self._found[columns.symbol, interval] = Forming(length, self._periods(), self._stamps)
        bar = found.at(columns, n)
        return None if bar is None or bar.closes_ns <= now else bar
