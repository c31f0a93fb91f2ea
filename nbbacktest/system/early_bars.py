"""Finds bars that a run delivers before they are over: a look-ahead in the bars' ends, which no cut of the data shows.

A bar may be delivered once its last trade can be known. Its own length, and the bars that lie in it, tell that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.core.intervals import DAY, SECOND
from nbbacktest.core.records import BarColumns, Int64
from nbbacktest.data.calendar import SessionTable, local_dates
from nbbacktest.data.market import MarketData
from nbbacktest.engine.series import Series
from nbbacktest.system.audit_report import EarlyBars

_USUAL = 0.75
"""The share of neighbouring bars that must be equally far apart for that distance to be the usual one."""


def early_bars(series: Sequence[Series], market: MarketData) -> tuple[EarlyBars, ...]:
    """The faults of the ends of each series' bars, the gravest first; none if all bars are delivered in time."""
    base = {one.symbol: one.whole for one in series if one.is_base}
    hours = _Hours.of(market)
    found = []
    for one in series:
        columns = one.whole
        derived = not one.is_base and one.interval not in market.others
        own = base[one.symbol]
        checks = _of_derived(columns, own, hours) if derived else _of_loaded(columns, own, hours, market)
        for rows, due, reason in checks:
            if len(rows):
                row = int(rows[0])
                at = market.stamps.stamp
                found.append(
                    EarlyBars(
                        one.symbol, one.interval, at(int(columns.time[row])), at(int(columns.end[row])),
                        at(int(due[row])), len(rows), len(columns), reason,
                    )
                )  # fmt: skip
                break
    return tuple(found)


Check = tuple[npt.NDArray[np.intp], Int64, str]
"""The rows that are wrong, the time of each row at which the bar's last trade can be known, and the reason."""


def _of_derived(columns: BarColumns, base: BarColumns, hours: _Hours) -> Iterator[Check]:
    if columns.interval.ns < DAY:
        due = _content(columns, hours.part_end(columns), base)
    else:
        due = np.maximum(_content(columns, columns.end, base), hours.session_end(columns.end, base))
    yield _early(columns, due, "the last bar that it is made of ends only then")


def _of_loaded(columns: BarColumns, base: BarColumns, hours: _Hours, market: MarketData) -> Iterator[Check]:
    interval = columns.interval
    if interval.is_calendar:
        yield _beyond_their_period(columns, market)
        return
    off = np.flatnonzero(columns.time % SECOND)
    yield off, -(-columns.end // SECOND) * SECOND, "it begins off the whole second, and so off every grid of bars"
    if interval.ns < DAY:
        due = hours.due(columns.time, columns.time + interval.ns, columns.end)
        yield _early(columns, due, f"it opens {interval} before, and trading goes on until then")
    if columns is not base:
        yield _early(columns, _content(columns, columns.end, base), f"{base.interval} bars of it are still to come")
        if interval.ns >= DAY:
            due = hours.session_end(columns.end, base)
            yield _early(columns, due, f"{base.interval} bars of its session are still to come")
    yield _sparser_than_they_are_long(columns, hours)


class _Hours:
    """The opens and closes of trading: sessions that follow each other without a pause are one stretch.

    Parameters
    ----------
    table
        None if no exchange has sessions there.
    """

    def __init__(self, table: SessionTable | None) -> None:
        self._table = table
        if table is not None:
            stops = np.append(table.part_open[1:] > table.part_close[:-1], True)
            self._close = table.part_close[stops]
            self._open = table.part_open[np.append(0, np.flatnonzero(stops)[:-1] + 1)]

    @classmethod
    def of(cls, market: MarketData) -> _Hours:
        try:
            return cls(market.sessions())
        except (DataError, ConfigError):
            return cls(None)

    def stretch(self, moments: Int64) -> Int64:
        """The number of the stretch that each instant lies in, -1 for none."""
        if self._table is None:
            return np.zeros(len(moments), np.int64)
        row = np.searchsorted(self._open, moments, side="right") - 1
        inside = (row >= 0) & (moments < self._close[np.maximum(row, 0)])
        return np.where(inside, row, -1)

    def due(self, begin: Int64, end: Int64, told: Int64) -> Int64:
        """The times at which bars that would end at `end` are over: then, or when trading stops before; outside of the hours `told`."""
        if self._table is None:
            return end
        row = self.stretch(begin)
        return np.where(row >= 0, np.minimum(end, self._close[np.maximum(row, 0)]), told)

    def part_end(self, columns: BarColumns) -> Int64:
        """The ends of bars that are cut at the end of their part of a session; outside of all sessions, their own ends."""
        if self._table is None:
            return columns.time + columns.interval.ns
        part = self._table.part_of(columns.time)
        end = np.minimum(columns.time + columns.interval.ns, self._table.part_close[np.maximum(part, 0)])
        return np.where(part >= 0, end, columns.end)

    def session_end(self, ends: Int64, base: BarColumns) -> Int64:
        """For each of `ends`, find the last of the `base` bars that ends by then; returns the end of its session's last bar."""
        if self._table is None or not len(base):
            return ends
        session = self._table.session_of(base.time)
        last = np.searchsorted(base.end, ends, side="right") - 1
        of_last = session[np.maximum(last, 0)]
        until = np.searchsorted(session, of_last, side="right") - 1 if np.all(np.diff(session) >= 0) else last
        return np.where((last >= 0) & (of_last >= 0), base.end[np.maximum(until, 0)], ends)


def _content(columns: BarColumns, until: Int64, base: BarColumns) -> Int64:
    """The end of the last base bar that lies in each bar; the bar's own end if there is none.

    A base bar lies in the bar that it begins in; daily base bars begin with dates, and are counted instead.
    """
    if not len(base):
        return until
    if base.interval.is_daily and columns.base_count is not None:
        last = np.searchsorted(base.time, columns.time) + columns.base_count - 1
    else:
        last = np.searchsorted(base.time, until, side="left") - 1
    inside = (last >= 0) & (last < len(base))
    last = np.where(inside, last, 0)
    return np.where(inside & (base.time[last] >= columns.time), base.end[last], until)


def _early(columns: BarColumns, due: Int64, reason: str) -> Check:
    return np.flatnonzero(columns.end < due), due, reason


def _beyond_their_period(columns: BarColumns, market: MarketData) -> Check:
    """Weeks and months that are delivered in another week or month than they begin in."""
    unit = "M" if columns.interval.name == "1mo" else "W"

    def period(moments: Int64) -> npt.NDArray[np.int64]:
        days = local_dates(moments, market.stamps.day_zone)
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return months if unit == "M" else (days + 3) // 7

    rows = np.flatnonzero(period(columns.time) != period(columns.end - 1))
    word = "month" if unit == "M" else "week"
    return rows, columns.end, f"it begins in another {word}, so that one of the two is wrong"


def _sparser_than_they_are_long(columns: BarColumns, hours: _Hours) -> Check:
    """Bars that nearly all begin at one distance from each other and end before the next: they may be longer than their interval says."""
    length, nothing = columns.interval.ns, (np.empty(0, np.intp), columns.end, "")
    step = np.diff(columns.time)
    if length < DAY:
        step = step[np.diff(hours.stretch(columns.time)) == 0]
    if len(step) < 3:
        return nothing
    values, counts = np.unique(step, return_counts=True)
    usual = int(values[counts.argmax()])
    if usual <= length or (usual % length == 0 and counts.max() < _USUAL * len(step)):
        return nothing
    hidden = np.append(np.diff(columns.time) == usual, False)
    reason = f"bars follow each other every {usual / SECOND:,g} s and are taken for {length / SECOND:,g} s long"
    return np.flatnonzero(hidden & (columns.end < columns.time + usual)), columns.time + usual, reason
