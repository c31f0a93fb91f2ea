"""Plans which instants a run delivers next: as many as fit into a window, or each at its deadline. Pure: no lock or thread.

The coordinator's thread, a run without threads and one in its caller's thread all ask `Planner.next_window`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nbbacktest.core.records import Float64
from nbbacktest.engine.timeline import Timeline


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
        self._against = 0  # windows in a row that speak against the present target
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
