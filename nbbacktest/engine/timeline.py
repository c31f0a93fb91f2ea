"""All bars of a run in the order in which they complete, and the plan of which instants come next: windows, pace, their lengths.

`Planner.next_window` is asked by the coordinator's thread, by a run without threads and by one in its caller's thread. No lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

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


class Deadlines(Protocol):
    """Says when an instant is due on the run's clock."""

    def deadline(self, instant: int) -> float:
        """The time of the clock at which that instant is due."""
        ...


class Pace(NamedTuple):
    """Absolute wall deadlines for instants: no error adds up over a run.

    Attributes
    ----------
    wall, sim : float
        Seconds on the clock, and of open market, that belong together.
    speed : float
        Seconds of open market in one second of wall time.
    seconds : float64 array
        Seconds of open market before each instant.
    """

    wall: float
    sim: float
    speed: float
    seconds: Float64

    def deadline(self, instant: int) -> float:
        """The time of the clock at which that instant is due."""
        return self.wall + (float(self.seconds[instant]) - self.sim) / self.speed

    def after(self, seconds: float) -> float:
        """Seconds of open market after the run has moved for that many seconds at this pace."""
        return self.sim + seconds * self.speed


class Window(NamedTuple):
    """The instants from `start` up to `stop`, as planned in `generation`; `pace` if a clock releases them."""

    start: int
    stop: int
    generation: int
    pace: Deadlines | None


class Standing(NamedTuple):
    """The standing of a run at one moment: all that a plan depends on.

    Attributes
    ----------
    cursor : int
        Completed instants.
    generation : int
        The number of the plan that is asked for.
    is_stepping : bool
        True while a step is under way: it doesn't wait for the clock.
    moving_since : float
        The clock's time when the run was last set in motion.
    moved_before : float
        Seconds that it had been in motion before that.
    """

    cursor: int
    generation: int
    is_stepping: bool
    moving_since: float
    moved_before: float


class Planner:
    """Plans one run, window by window. Used by one thread, that of the run's coordinator.

    Simulated time stands where a hold or a change of speed has left it: between the last instant and the next.

    Parameters
    ----------
    timeline
        The run's instants.
    live
        The deadlines of a live run, whose instants are released one by one; None in a backtest.
    """

    def __init__(self, timeline: Timeline, live: Deadlines | None = None) -> None:
        self._timeline = timeline
        self._live = live
        self._position = 0.0  # simulated seconds that were reached when `_pace` was made
        # the generation of `_pace`, and the seconds in motion before it
        self._pace: tuple[Pace, int, float] | None = None

    def next_window(self, standing: Standing, speed: float, length: int) -> Window | None:
        """The window that begins at the cursor; None at the end of the data.

        Parameters
        ----------
        standing
            The present standing of the run.
        speed
            Seconds of open market a second of wall time; 0 is as fast as it goes.
        length
            The number of instants in a window that no clock paces.
        """
        start, total = standing.cursor, len(self._timeline)
        if start >= total:
            return None
        if self._live is not None:
            return Window(start, start + 1, standing.generation, self._live)
        if not speed > 0:
            self._pace = None
            return Window(start, min(start + length, total), standing.generation, None)
        if standing.is_stepping:
            self._position, self._pace = float(self._timeline.seconds[start]), None
            return Window(start, start + 1, standing.generation, None)
        return Window(start, start + 1, standing.generation, self._paced(standing, speed))

    def _paced(self, standing: Standing, speed: float) -> Pace:
        """The pace of this generation; a new pace begins at the simulated time that the last one has come to."""
        if self._pace is not None:
            pace, generation, moved = self._pace
            if generation == standing.generation:
                return pace
            self._position = pace.after(standing.moved_before - moved)
        seconds, start = self._timeline.seconds, standing.cursor
        before = float(seconds[start - 1]) if start else float(seconds[0])
        self._position = min(max(self._position, before), float(seconds[start]))
        pace = Pace(standing.moving_since, self._position, speed, seconds)
        self._pace = pace, standing.generation, standing.moved_before
        return pace


class Quantum:
    """The number of instants in a lockstep window, and in one turn of the analysis.

    A window is handed over as a whole: long, so that waking the stages for it costs little. After a turn the analysis
    looks if another thread waits for the interpreter: a turn is short, so that none waits long.
    If another thread is always busy, each handover costs a turn of that thread's: then windows of `CONTENDED` seconds
    keep the engine's share. Nothing depends on either but speed. See docs/performance.md.

    Parameters
    ----------
    fixed : int, optional
        A length that stays, of windows and of turns, for tests.

    Attributes
    ----------
    length, turn : int
        For the next window and the next turn. Written by the analysis thread, read by the others: two ints.
    """

    TURN = 0.0015
    WINDOW = 0.05
    CONTENDED = 1.0
    _SLOW = 0.002  # a handover of more seconds is contended; 50 to 150 us are usual
    _PATIENCE = 3  # contended windows in a row before the target changes

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed is not None
        self._seconds = self.WINDOW
        self._against = 0  # the number of windows in a row that speak for the other target
        self.turn = fixed or 64
        self.length = fixed or 16_384

    def learn_cost(self, seconds: float, instants: int) -> None:
        """Learn the cost of an instant from a turn. Both lengths grow fourfold at most."""
        if self._fixed or seconds <= 0:
            return
        pace = instants / seconds
        self.turn = max(1, min(int(self.TURN * pace), self.turn * 4))
        self.length = max(1, min(int(self._seconds * pace), self.length * 4))

    def learn_wait(self, seconds: float) -> None:
        """Learn the cost of a handover from the wait for a window."""
        contended = self._seconds > self.WINDOW
        self._against = self._against + 1 if (seconds > self._SLOW) is not contended else 0
        if self._against == self._PATIENCE:
            self._against = 0
            self._seconds = self.WINDOW if contended else self.CONTENDED
