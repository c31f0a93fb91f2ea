"""The bar that is forming: what the base bars of the present bucket add up to so far, and never a later one."""

from __future__ import annotations

import numpy as np

from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, FormingBar, Stamps
from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.resample import buckets


class Forming:
    """Looks at one symbol's base bars through one coarser interval. Where a bucket lies is found once for it.

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
        """The bucket of the newest of the first `n` base bars, as far as those go; None where there are none.

        It is the derived bar itself where the bucket's last base bar is among them: the caller knows what time it is.
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
            # As derived bars are added up, so that both agree to the last digit.
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
