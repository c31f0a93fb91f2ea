"""Ranges of instants on their way from the coordinator to the analysis, as plan and as columns."""

# A window's way: the coordinator releases a span of instants (`Link`), the processor takes it window by window
# (`Quantum` says how long each is) and cuts the columns out (`Batch`), the analysis delivers.

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
    """How many instants a lockstep window holds: about `SECONDS` of analysis.

    Long enough that handing over costs little, short enough that other threads soon get the interpreter, which
    changes hands at a window's end. Where another thread is always busy, each handover costs a turn of that thread's:
    then windows of `CONTENDED` seconds keep the engine's share, and the interpreter changes hands within them anyway.
    Nothing depends on it but speed. See docs/performance.md.

    Parameters
    ----------
    fixed : int, optional
        A length that stays, for tests.

    Attributes
    ----------
    length : int
        For the next window. Written by the analysis thread, read by the others: one int.
    """

    SECONDS = 0.002
    CONTENDED = 0.1
    LONGEST = 65_536  # bounds the memory that a window takes
    SPAN = 16  # windows that the coordinator releases at once: it is woken once for all of them
    _SLOW = 0.002  # seconds of a handover that something stood in the way of; 50 to 150 us are usual
    _PATIENCE = 3  # windows in a row before it is believed

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed is not None
        self._seconds = self.SECONDS
        self._against = 0  # windows in a row that speak against the present target
        self.length = fixed or 64

    def observe(self, seconds: float, instants: int, waited: float = 0.0) -> None:
        """Learn from a window what an instant costs, and from the wait before it what a handover does.

        The length grows fourfold at most.
        """
        if self._fixed or seconds <= 0:
            return
        contended = self._seconds > self.SECONDS
        self._against = self._against + 1 if (waited > self._SLOW) is not contended else 0
        if self._against == self._PATIENCE:
            self._against = 0
            self._seconds = self.SECONDS if contended else self.CONTENDED
        wanted = int(self._seconds * instants / seconds)
        self.length = max(1, min(wanted, self.length * 4, self.LONGEST))


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

    def take(self, generation: int, length: int) -> Window | None:
        """Take up to `length` of what was released, one instant where a clock paces.

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
            stop = min(stop, start + (length if plan.pace is None else 1))
            self._taken = stop
            return Window(start, stop, plan.generation, plan.pace)
