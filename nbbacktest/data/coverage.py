"""Counts bars against the sessions that they should fill: pure functions over columns, for `quality` and the loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, NO_TIME, Interval
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.calendar import Days, SessionTable, local_dates, local_midnights

COUNTS = (
    "expected", "present", "missing", "gaps", "duplicates", "out_of_order", "off_grid", "not_finite", "bad_ohlc", "bad_volume",
    "bad_time", "zero_volume", "outside",
)  # fmt: skip
"""The counts of each session, in the order in which they are shown."""


class Grid:
    """The slots of some sessions: each holds one bar of an interval.

    Parameters
    ----------
    sessions
        A lunch break has no slots.
    interval
        Up to a day. Slots are anchored to the open, and the last one before a close is cut short; one of a day is the
        whole session.

    Raises
    ------
    DataError
        If the interval is longer than a day.
    """

    def __init__(self, sessions: SessionTable, interval: Interval) -> None:
        if interval.ns > DAY:
            raise DataError(f"bars of {interval} can't be counted by session; the longest interval that can is 1d")
        self.sessions, self.interval = sessions, interval
        if interval.is_daily:
            self._row = np.arange(len(sessions))
            slots = np.ones(len(sessions), dtype=np.int64)
        else:
            self._open, self._close, self._row = sessions.part_open, sessions.part_close, sessions.part_row
            slots = -(-(self._close - self._open) // interval.ns)
        self._after = np.cumsum(slots)
        self._first = self._after - slots
        self.expected = np.bincount(self._row, slots, len(sessions)).astype(np.int64)

    def slots_of(self, time: Int64) -> Int64:
        """The slot of each bar, by the bars' begins; -1 for those outside of the sessions.

        A bar's slot is the one that it begins in. For bars by the clock, such as hours from 10:00 on if trading begins at 9:30,
        it is the slot that they end in, so that the short first bar of a session has a slot of its own.
        """
        if not len(self.sessions):
            return np.full(len(time), -1)
        if self.interval.is_daily:
            dates = local_dates(time, self.sessions.timezone).astype("datetime64[D]")
            row = np.minimum(np.searchsorted(self.sessions.dates, dates), len(self.sessions) - 1)
            return np.where(self.sessions.dates[row] == dates, row, -1).astype(np.int64)
        begun = np.searchsorted(self._open, time, side="right") - 1
        last = np.where(time % self.interval.ns == 0, time + self.interval.ns - 1, time)
        inside = (begun >= 0) & (time < self._close[begun])
        part = np.where(inside, begun, np.searchsorted(self._open, last, side="right") - 1)
        last = np.minimum(last, self._close[part] - 1)
        slot = self._first[part] + (last - self._open[part]) // self.interval.ns
        return np.where((part >= 0) & (time < self._close[part]), slot, -1).astype(np.int64)

    def filled(self, time: Int64) -> int:
        """The number of slots with a bar, if no two bars begin in one slot: counted without looking at each bar."""
        if self.interval.is_daily:
            return int((self.slots_of(time) >= 0).sum())
        return int((np.searchsorted(time, self._close) - np.searchsorted(time, self._open)).sum())

    def rows_of(self, slots: Int64) -> Int64:
        """The session that each slot belongs to."""
        return self._row[np.searchsorted(self._after, slots, side="right")]

    def begins_of(self, slots: Int64) -> Int64:
        """The begin of each slot, nanoseconds UTC; of a day its date's local midnight."""
        if self.interval.is_daily:
            return local_midnights(self.sessions.dates[slots], self.sessions.timezone)
        part = np.searchsorted(self._after, slots, side="right")
        begins: Int64 = self._open[part] + (slots - self._first[part]) * self.interval.ns
        return begins

    def gaps(self, filled: Int64) -> tuple[Int64, Int64]:
        """The runs of slots that aren't filled, by their first and last; none reaches across two sessions.

        Parameters
        ----------
        filled
            Distinct slots, rising.
        """
        empty = np.ones(int(self.expected.sum()), dtype=np.bool_)
        empty[filled] = False
        slots = np.flatnonzero(empty)
        if not len(slots):
            return slots, slots
        row = self.rows_of(slots)
        breaks = np.flatnonzero((np.diff(slots) > 1) | (np.diff(row) > 0))
        return slots[np.append(0, breaks + 1)], slots[np.append(breaks, len(slots) - 1)]


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """One symbol's bars, counted by day.

    Attributes
    ----------
    dates : datetime64[D] array
        The sessions' dates, and the days without a session on which there were bars; rising.
    counts : dict
        By each of `COUNTS`, int64 arrays of the same length.
    undated : int
        Rows left out whose day isn't known; they are in no date's ``bad_time``.
    gap_first, gap_last, gap_count : int64 arrays
        Missing runs: the begins that their first and last bar would have (nanoseconds UTC), and their numbers of bars.
    gap_date : datetime64[D] array
        The session that each lies in.
    """

    dates: Days
    counts: dict[str, Int64]
    undated: int
    gap_first: Int64
    gap_last: Int64
    gap_count: Int64
    gap_date: Days

    def total(self, name: str) -> int:
        """The sum of one of the counts over all days."""
        return int(self.counts[name].sum()) + (self.undated if name == "bad_time" else 0)

    def totals(self) -> dict[str, int]:
        """All of them."""
        return {name: self.total(name) for name in COUNTS}


def cover(grid: Grid, time: Int64, volume: Float64, left_out: Mapping[str, Int64]) -> Coverage:
    """Count one symbol's bars.

    Parameters
    ----------
    time, volume
        The sound bars' begins (nanoseconds UTC, rising) and volumes.
    left_out
        By kind of fault, the begins of the rows that were left out for it; `NO_TIME` if unknown.
    """
    table = grid.sessions
    slots = grid.slots_of(time)
    inside = slots >= 0
    filled = slots[inside]
    again = np.concatenate(([False], filled[1:] == filled[:-1]))[: len(filled)]
    rows = grid.rows_of(filled)
    events: dict[str, Days] = {
        "present": table.dates[rows[~again]],
        "duplicates": table.dates[rows[again]],
        "zero_volume": _days_of(table, time[volume == 0]),
        "outside": _days_of(table, time[~inside]),
    }
    undated = 0
    for kind, instants in left_out.items():
        known = instants[instants != NO_TIME]
        undated += len(instants) - len(known)
        name = "outside" if kind == "closed" else kind
        events[name] = np.concatenate((events.get(name, known[:0].astype("datetime64[D]")), _days_of(table, known)))
    first, last = grid.gaps(filled[~again])
    gap_date = table.dates[grid.rows_of(first)]
    dates = np.unique(np.concatenate((table.dates, *events.values())))
    counts = {name: _count(dates, events[name]) for name in COUNTS if name in events}
    expected = np.zeros(len(dates), dtype=np.int64)
    expected[np.searchsorted(dates, table.dates)] = grid.expected
    counts |= {"expected": expected, "missing": expected - counts["present"], "gaps": _count(dates, gap_date)}
    nothing = np.zeros(len(dates), dtype=np.int64)
    return Coverage(
        dates,
        {name: counts.get(name, nothing) for name in COUNTS},
        undated,
        grid.begins_of(first),
        grid.begins_of(last),
        last - first + 1,
        gap_date,
    )


def quality(present: int, expected: int, duplicates: int) -> float | None:
    """The percentage of expected bars that are present, once: ``100 * present / (expected + duplicates)``.

    `present` is the number of expected bars that have a sound bar. Bars that were left out as out of order or faulty count
    as missing, unless a sound bar is in their place, and `duplicates` lower the percentage.
    None if no bar is expected and none is a duplicate.

    Examples
    --------
    >>> quality(present=380, expected=390, duplicates=10)
    95.0
    """
    whole = expected + duplicates
    return 100.0 * present / whole if whole else None


def _days_of(table: SessionTable, time: Int64) -> Days:
    """The dates of the sessions that instants lie in, else the local dates."""
    dates = local_dates(time, table.timezone).astype("datetime64[D]")
    row = table.session_of(time)
    inside = row >= 0
    dates[inside] = table.dates[row[inside]]
    return dates


def _count(dates: Days, events: Days) -> Int64:
    return np.bincount(np.searchsorted(dates, events), minlength=len(dates)).astype(np.int64)
