"""All bars of a run in the order in which they complete: instants, and the bars that close at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import Float64, Int64
from nbbacktest.engine.series import Series


class Axis(NamedTuple):
    """The merged order of several series, as of one moment. Never changed, only replaced.

    Attributes
    ----------
    series : tuple of Series
        In the order of their callbacks at one instant.
    instants : int64 array
        The times at which bars complete, nanoseconds UTC, rising, each once; warm-up is left out.
    events : int32 array or None
        The number of the series that completes, for each bar of the run in order. None if there is one series.
    offsets : int64 array or None
        The place in `events` at which each instant's events begin; one longer than `instants`.
    """

    series: tuple[Series, ...]
    instants: Int64
    events: npt.NDArray[np.int32] | None
    offsets: Int64 | None

    def rows_at(self, instant: int) -> list[int]:
        """For each series, the number of its bars that have completed before the instant numbered `instant`."""
        if instant >= len(self.instants):
            return [len(s.whole) for s in self.series]
        moment = self.instants[instant]
        return [int(np.searchsorted(s.whole.end, moment, side="left")) for s in self.series]


class Timeline:
    """The present `Axis` of a run.

    It is replaced as a whole, by a thread that holds the run at an instant, and keeps the instants before that one:
    the numbers of completed instants never change. Readers on other threads take `axis` once and work with that.
    Windows that were made of an old axis are given up, since the run is planned again.

    Parameters
    ----------
    series
        In the order of their callbacks at one instant: base bars by the session's symbol order, then derived bars
        by rising interval.
    elapsed
        Gives, for instants in nanoseconds UTC, the seconds of open market before each. Called at most once for an
        axis, and only if a clock paces the run or its speed is asked for.
    axis
        The merged order of other series over the same columns, if it is known.
    """

    def __init__(
        self,
        series: Sequence[Series],
        elapsed: Callable[[Int64], Float64] | None = None,
        axis: Axis | None = None,
    ) -> None:
        self._elapsed = elapsed
        self._timed: tuple[Axis, Float64] | None = None
        self.axis = merged(series) if axis is None else axis._replace(series=tuple(series))

    def __len__(self) -> int:
        return len(self.axis.instants)

    def recast(self, series: Sequence[Series]) -> Callable[[int], int]:
        """Lay other series side by side. The caller holds the run at an instant.

        Returns the function that turns an old number of completed instants into the number of new ones that are
        completed at the same moment.
        """
        before = self.axis.instants
        self.axis = merged(series)
        after = self.axis.instants

        def renumber(completed: int) -> int:
            if not 0 < completed <= len(before):
                return completed
            return int(np.searchsorted(after, before[completed - 1], side="right"))

        return renumber

    @property
    def series(self) -> tuple[Series, ...]:
        """As in `Axis`."""
        return self.axis.series

    @property
    def instants(self) -> Int64:
        """As in `Axis`."""
        return self.axis.instants

    @property
    def seconds(self) -> Float64:
        """Seconds of open market from the first instant to each; closed hours count nothing."""
        axis, timed = self.axis, self._timed
        if timed is None or timed[0] is not axis:
            instants = axis.instants
            if self._elapsed is None or not len(instants):
                seconds = (instants - instants[:1].sum()) / 1e9
            else:
                seconds = np.asarray(self._elapsed(instants), dtype=np.float64)
                seconds = seconds - seconds[0]
            timed = self._timed = axis, seconds
        return timed[1]


def in_callback_order(series: Sequence[Series]) -> list[Series]:
    """Base series, then derived ones by rising interval; those of one interval stay in the order in which they are."""
    return sorted(series, key=lambda one: (not one.is_base, one.columns.interval.ns))


def merged(series: Sequence[Series]) -> Axis:
    """Lay several series side by side in time; the order among them is that of their callbacks at one instant."""
    if len(series) == 1:
        only = series[0]
        return Axis(tuple(series), only.whole.end[only.first :], None, None)
    ends = [s.whole.end[s.first :] for s in series]
    everything = np.concatenate(ends) if ends else np.empty(0, np.int64)
    numbers = np.repeat(np.arange(len(ends), dtype=np.int32), [len(e) for e in ends])
    # The sort is stable, and the series are in callback order: ties keep that order.
    order = np.argsort(everything, kind="stable")
    everything = everything[order]
    fresh = np.empty(len(everything), bool)
    fresh[:1] = True
    np.not_equal(everything[1:], everything[:-1], out=fresh[1:])
    begins = np.flatnonzero(fresh)
    offsets = np.append(begins, len(everything)).astype(np.int64)
    return Axis(tuple(series), everything[begins], numbers[order], offsets)
