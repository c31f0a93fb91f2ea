"""Ranges of instants on their way from the coordinator to the analysis, as plan and as columns."""

# A window's way: the coordinator releases it (`Link`; `Quantum` says how long it is), the processor cuts it out of the
# columns (`Batch`), the analysis delivers it, turn by turn.

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from nbbacktest.core.records import Bar, Float64
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Axis


class Schedule(Protocol):
    """Says when an instant is due on the run's clock."""

    def deadline(self, instant: int) -> float:
        """When the clock must show that instant."""
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
        """When the clock must show that instant."""
        return self.wall + (float(self.seconds[instant]) - self.sim) / self.speed

    def position(self, now: float) -> float:
        """Seconds of open market at the clock's `now`."""
        return self.sim + (now - self.wall) * self.speed


class Quantum:
    """How many instants a lockstep window holds, and how many of them the analysis delivers in one turn.

    A window is what is handed over: long, so that waking the stages for it costs little. A turn is how long the analysis
    works before it looks whether another thread waits for the interpreter: short, so that none waits long.
    Where another thread is always busy, each handover costs a turn of that thread's: then windows of `CONTENDED` seconds
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
    _SLOW = 0.002  # seconds of a handover that something stood in the way of; 50 to 150 us are usual
    _PATIENCE = 3  # windows in a row before it is believed

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed is not None
        self._seconds = self.WINDOW
        self._against = 0  # windows in a row that speak against the present target
        self.turn = fixed or 64
        self.length = fixed or 16_384

    def learn_cost(self, seconds: float, instants: int) -> None:
        """Learn from a turn what an instant costs. Both lengths grow fourfold at most."""
        if self._fixed or seconds <= 0:
            return
        pace = instants / seconds
        self.turn = max(1, min(int(self.TURN * pace), self.turn * 4))
        self.length = max(1, min(int(self._seconds * pace), self.length * 4))

    def learn_wait(self, seconds: float) -> None:
        """Learn from the wait for a window what a handover costs."""
        contended = self._seconds > self.WINDOW
        self._against = self._against + 1 if (seconds > self._SLOW) is not contended else 0
        if self._against == self._PATIENCE:
            self._against = 0
            self._seconds = self.WINDOW if contended else self.CONTENDED


class Plan(NamedTuple):
    """What the coordinator has released: the instants from `start` up to `stop`, paced by a clock or not."""

    serial: int
    start: int
    stop: int
    generation: int
    pace: Schedule | None


class Window(NamedTuple):
    """The instants from `start` up to `stop`, as planned in `generation`; `pace` where a clock releases them."""

    start: int
    stop: int
    generation: int
    pace: Schedule | None


class Batch(NamedTuple):
    """A window's bars, made one by one while they are drawn.

    Attributes
    ----------
    axis : Axis
        What its instants are numbered on.
    bars : iterator of Bar
        All bars in order, where the run has a single series; else empty.
    streams : list
        Otherwise, for each series, the function that makes its next bar.
    events, counts : iterators of int
        Otherwise, the number of the series for each bar, and how many bars complete at each instant.
    reveal : callable or None
        What the analysis calls before it delivers: shows the bars that were loaded on the way.
    """

    window: Window
    axis: Axis
    bars: Iterator[Bar]
    streams: list[Callable[[], Bar]]
    events: Iterator[int]
    counts: Iterator[int]
    reveal: Callable[[], object] | None = None


class Link:
    """Where the coordinator says how far the processor may go, and the processor that it has come there."""

    def __init__(self, subscription: StreamSubscription) -> None:
        self.subscription = subscription
        # Makes a release and its signal one thing, and so finding nothing left and its acknowledgement: no
        # signal is taken down unseen, and the flag is up as long as anything released is under way.
        self._lock = threading.Lock()
        self._plan = Plan(0, 0, 0, 0, None)
        self._serial = 0
        self._taken = 0

    def open(self, start: int, stop: int, generation: int, pace: Schedule | None = None) -> None:
        """Release the instants from `start` up to `stop`, under a new plan."""
        with self._lock:
            self._plan = Plan(self._plan.serial + 1, start, stop, generation, pace)
            if stop > start:
                self.subscription.signal_ready()

    def release(self) -> None:
        """Release one instant more of the present plan."""
        with self._lock:
            plan = self._plan
            self._plan = plan._replace(stop=plan.stop + 1)
            self.subscription.signal_ready()

    def take(self, generation: int) -> Window | None:
        """Take what was released, one instant where a clock paces.

        None where nothing is left, which is acknowledged. What was planned in another generation than the present
        one isn't handed out any more.
        """
        with self._lock:
            plan = self._plan
            if plan.serial != self._serial:
                self._serial, self._taken = plan.serial, plan.start
            start, stop = self._taken, plan.stop
            if start >= stop or plan.generation != generation:
                self.subscription.reset()
                return None
            stop = stop if plan.pace is None else start + 1
            self._taken = stop
            return Window(start, stop, plan.generation, plan.pace)
