"""All bars of a run in the order in which they complete: instants, and the bars that close at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import Float64, Int64
from nbbacktest.engine.series import Series


class Timeline:
    """The merged order of several series. Immutable.

    Parameters
    ----------
    series
        In the order of their callbacks at one instant: base bars by the session's symbol order, then derived bars
        by rising interval.
    elapsed
        Gives, for instants in nanoseconds UTC, the seconds of open market before each. Called at most once,
        and only where a clock paces the run or its speed is asked for.

    Attributes
    ----------
    instants : int64 array
        When something completes, nanoseconds UTC, rising, each once; warm-up is left out.
    events : int32 array or None
        The number of the series that completes, for each bar of the run in order. None where there is one series.
    offsets : int64 array or None
        Where each instant's events begin in `events`; one longer than `instants`.
    """

    def __init__(self, series: Sequence[Series], elapsed: Callable[[Int64], Float64] | None = None) -> None:
        self.series = tuple(series)
        self._elapsed = elapsed
        self._seconds: Float64 | None = None
        self.events: npt.NDArray[np.int32] | None = None
        self.offsets: Int64 | None = None
        if len(self.series) == 1:
            only = self.series[0]
            self.instants: Int64 = only.columns.end[only.first :]
        else:
            self._merge()

    def _merge(self) -> None:
        ends = [s.columns.end[s.first :] for s in self.series]
        everything = np.concatenate(ends) if ends else np.empty(0, np.int64)
        numbers = np.repeat(np.arange(len(ends), dtype=np.int32), [len(e) for e in ends])
        # Stable, and the series were laid down in callback order: ties keep that order.
        order = np.argsort(everything, kind="stable")
        everything = everything[order]
        self.events = numbers[order]
        fresh = np.empty(len(everything), bool)
        fresh[:1] = True
        np.not_equal(everything[1:], everything[:-1], out=fresh[1:])
        begins = np.flatnonzero(fresh)
        self.instants = everything[begins]
        self.offsets = np.append(begins, len(everything)).astype(np.int64)

    def __len__(self) -> int:
        return len(self.instants)

    @property
    def seconds(self) -> Float64:
        """Seconds of open market from the first instant to each; closed hours count nothing."""
        if self._seconds is None:
            if self._elapsed is None or not len(self.instants):
                seconds = (self.instants - self.instants[:1].sum()) / 1e9
            else:
                seconds = np.asarray(self._elapsed(self.instants), dtype=np.float64)
                seconds = seconds - seconds[0]
            self._seconds = seconds
        return self._seconds

    def rows_at(self, instant: int) -> list[int]:
        """For each series, how many of its bars have completed before the instant numbered `instant`."""
        if instant >= len(self.instants):
            return [len(s.columns) for s in self.series]
        moment = self.instants[instant]
        return [int(np.searchsorted(s.columns.end, moment, side="left")) for s in self.series]
