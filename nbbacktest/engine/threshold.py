"""The gate of a run as the engine's threads meet it: where the analysis arrives, and what the coordinator waits for.

The innermost loop only compares an int with `limit`. Everything else happens under one condition, at instant
boundaries. Nothing is ever called out of here but the state table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

from nbbacktest.core.clock import Clock
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor, surely
from nbbacktest.engine.driven import Mover
from nbbacktest.engine.trip import Trip

UNLIMITED = 1 << 62
USER = "user"


class Verdict(Enum):
    """What the analysis is to do at a boundary."""

    GO = auto()
    SERVE = auto()
    LEAVE = auto()
    CLOSED = auto()


class Threshold:
    """Holds a run at an instant, exactly. Commands are in `Gate`.

    *At rest* means: the cursor can't pass the limit and no strategy call is under way. The analysis is at rest
    inside `arrive` and between its windows. It publishes before it rests: what others read then is as of the cursor.

    Parameters
    ----------
    lifecycle
        The state table; changed under `condition` only.
    condition : Monitor
        Its lock guards the lifecycle and every field here, but for what is said below.
    clock
        Wall time for paced waits.

    Attributes
    ----------
    limit : int
        The cursor must stay below it to deliver another instant. Written under the condition; the analysis reads it
        without, once an instant, and so sees a change before its next instant.
    generation : int
        Rises with every re-plan; windows of an older one are given up at the next boundary. Written under the
        condition, read anywhere.
    trouble : BaseException or None
        Why the run is held, where an error is why; gone when it goes on. Written under the condition, read anywhere.
    mover : Mover or None
        Moves a run that has no threads; set before it starts. Who waits for the run to rest then moves it meanwhile.
    """

    def __init__(self, lifecycle: Lifecycle, condition: Monitor, clock: Clock) -> None:
        self.limit = 0
        self.generation = 0
        self.mover: Mover | None = None
        self._life = lifecycle
        self._changed = condition
        self._clock = clock
        self._holders: dict[object, int] = {}
        self.trouble: BaseException | None = None
        self._trip: Trip | None = None  # the step or run_until that is under way
        self._moving_since = (clock.now(), 0)  # when, and at which cursor, the run last began to move
        self._interrupted_at = clock.now()
        self._paced = False
        self._cursor = 0
        self._analyst: threading.Thread | None = None  # it rests between its calls, and so can't wait for that in one
        self._started = False
        self._finishing = False
        self._busy = True  # nothing is at rest before the analysis has started
        self._resting = False  # the analysis waits in `arrive`, where it can be asked to publish
        self._asked = self._serving = self._served = 0  # tickets for a fresh publication
        self.rests = 0  # how often the analysis has rested in `arrive`; for itself
        self._closed = False  # told to end
        self._ended = False  # has ended: the analysis is done, and the state says so

    # -- what the analysis calls ----------------------------------------------------------------------------

    def attend(self) -> None:
        """Say that the calling thread is the analysis, which may command but can't wait for itself."""
        self._analyst = threading.current_thread()

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Count the caller, who holds the run at an instant, as the analysis: it is about to call users' code.

        What that code may not ask of its own run is refused as in any callback.
        """
        analyst, self._analyst = self._analyst, threading.current_thread()
        try:
            yield
        finally:
            self._analyst = analyst

    def doze(self, seconds: float) -> None:
        """Sleep at rest, after `arrive` has said to leave, so that others can have the interpreter; what they command wakes."""
        with self._changed.lock:
            if not (self._closed or self._holders):
                self._changed.wait(seconds)

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for a fresh publication."""
        return self._asked > self._served

    def finishing(self) -> None:
        """Say that no instant follows any more: what is asked for now comes too late."""
        self._finishing = True

    def started(self) -> None:
        """Say that the analysis is ready for its first window and has published."""
        with self._changed.lock:
            self._started = True
            self._moving_since = (self._clock.now(), 0)
            if not self._closed:
                self._come_to_rest()

    def arrive(
        self,
        cursor: int,
        generation: int,
        published: int,
        turn: int = UNLIMITED,
        *,
        fresh: bool = False,
        leaving: bool = False,
    ) -> Verdict:
        """Say what to do at a boundary; blocks while the run is held, but in a run without threads.

        Parameters
        ----------
        cursor
            Completed instants.
        generation
            That of the window in hand.
        published
            The cursor of what was published last.
        turn
            How many instants may follow before the analysis is to come by again.
        fresh
            True where what was published last is recent enough for who asks for nothing: a run that goes on needs no other.
        leaving
            True where the analysis is about to wait for its next window, or for others between two turns: it isn't blocked here.

        Returns
        -------
        Verdict
            GO: deliver up to the limit. SERVE: publish, ask the watcher, and arrive again.
            LEAVE: at rest, the window or the turn being done, or given up, as one is that would block its mover.
            CLOSED: the run is over.
        """
        with self._changed.lock:
            self._cursor = cursor
            if self._served != self._serving:
                self._served = self._serving
                self._changed.notify_all()
            while not self._closed:
                trip = self._trip
                if self._asked > self._served or (published != cursor and trip is not None):
                    return self._serve()
                if trip is not None and trip.target is not None and cursor >= trip.target:
                    self._reach(trip)
                leaves = leaving or generation != self.generation or (self.mover is not None and self.mover.wants_rest)
                if published != cursor and (leaves or self._holders or not fresh):
                    return self._serve()
                if leaves:
                    self._come_to_rest()
                    return Verdict.LEAVE
                if not self._holders:
                    self._busy = True
                    self.limit = min(self._next_limit(cursor), cursor + turn)
                    return Verdict.GO
                self._come_to_rest()
                if self.mover is not None:
                    return Verdict.LEAVE
                self._resting = True
                self._changed.wait()
                self._resting = False
                self.rests += 1
            return Verdict.CLOSED

    def trip_at(self, cursor: int) -> Trip | None:
        """Whose watcher is to be asked about this instant: nobody's about the one that a run_until began at."""
        trip = self._trip
        return trip if trip is not None and trip.watcher is not None and cursor > trip.after else None

    def watched(self, trip: Trip, found: object, error: BaseException | None = None) -> None:
        """Say what its watcher answered: the run rests here where it found its place, or raised."""
        with self._changed.lock:
            if (found or error is not None) and trip is self._trip:
                trip.error = error
                self._reach(trip)

    def hold_here(self, trouble: BaseException | None = None) -> None:
        """Hold the run for its user at the next boundary; nobody waits. `trouble` is why, where an error is."""
        surely(lambda: self._hold_with(trouble))

    # -- what the coordinator calls -------------------------------------------------------------------------

    def await_start(self) -> bool:
        """Wait until the analysis has started; False when closed."""
        self._changed.until(lambda: self._started or self._closed)
        return not self._closed

    def await_open(self) -> bool:
        """Wait while the run is held, so that time doesn't advance; False when closed."""
        self._changed.until(lambda: self._closed or not self._holders)
        return not self._closed

    def sleep_until(self, deadline: float, generation: int) -> bool:
        """Sleep until the clock shows `deadline`; False as soon as the plan of `generation` no longer holds."""
        with self._changed.lock:
            while not (self._closed or self._holders or generation != self.generation):
                if self._clock.now() >= deadline:
                    return True
                self._clock.wait(self._changed, deadline)
            return False

    def await_news(self, is_there: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `is_there()`, or the clock shows `deadline`; False when closed. `nudge` makes it look again.

        `is_there` is called under the condition: it may only read.
        """
        with self._changed.lock:
            while not (self._closed or is_there()):
                if deadline is not None and self._clock.now() >= deadline:
                    return True
                self._clock.wait(self._changed, deadline)
            return not self._closed

    def nudge(self) -> None:
        """Make `await_news` look again; from any thread that holds no lock of a feed."""
        surely(self._nudge)

    @property
    def cursor(self) -> int:
        """Completed instants, as of the last boundary."""
        return self._cursor

    @property
    def interrupted_at(self) -> float:
        """What the clock showed when the present hold, or else the last re-plan, began."""
        return self._interrupted_at

    @property
    def moving_since(self) -> float:
        """What the clock showed when the run was last set in motion: started, resumed, or re-paced."""
        return self._moving_since[0]

    @property
    def motion(self) -> tuple[int, float]:
        """How many instants the run has moved since it was last started, resumed or re-paced, and in how many seconds."""
        with self._changed.lock:
            since, start = self._moving_since
            until = self._interrupted_at if self._holders else self._clock.now()
            return self._cursor - start, max(until - since, 0.0)

    @property
    def stepping(self) -> bool:
        """Whether a step is under way: it doesn't wait for the clock."""
        trip = self._trip
        return trip is not None and trip.stepping

    @property
    def closed(self) -> bool:
        """Whether the run is over or has been told to end."""
        return self._closed

    @property
    def is_paused(self) -> bool:
        """Whether the run is at rest for its user."""
        return not self._closed and self._life.state is SystemState.PAUSED

    @property
    def is_analyst(self) -> bool:
        """Whether the caller is the analysis thread, and so in a strategy's call."""
        return self._analyst is threading.current_thread()

    @property
    def is_held(self) -> bool:
        """Whether anybody holds the run, at rest already or not."""
        return bool(self._holders)

    @property
    def at_rest(self) -> bool:
        """Whether no strategy call is under way."""
        return not self._busy

    # -- under the lock -------------------------------------------------------------------------------------

    def _nudge(self) -> None:
        with self._changed.lock:
            self._changed.notify_all()

    def _serve(self) -> Verdict:
        self._serving = self._asked
        return Verdict.SERVE

    def _next_limit(self, cursor: int) -> int:
        limit = self._trip.limit(cursor) if self._trip is not None else None
        return UNLIMITED if limit is None else limit

    def _hold_with(self, trouble: BaseException | None) -> None:
        with self._changed.lock:
            self.trouble = self.trouble or trouble
            self._hold_for_user()

    def _hold(self, holder: object) -> None:
        if not self._holders:
            self._interrupted_at = self._clock.now()
        self._holders[holder] = 1 if holder == USER else self._holders.get(holder, 0) + 1
        self.limit = 0
        self._changed.notify_all()

    def _hold_for_user(self) -> None:
        self._hold(USER)
        if not self._busy:
            self._come_to_rest()  # the analysis has nothing in hand and wouldn't come by to say so

    def _go(self, trip: Trip | None) -> None:
        self._holders.pop(USER, None)
        self._leave_trip()
        self._trip = trip
        self.trouble = None
        self._move_on()

    def _move_on(self) -> None:
        self._moving_since = (self._clock.now(), self._cursor)
        self.limit = 0  # whoever is under way comes by and learns where to
        if self._paced:
            self.generation += 1  # what was due before the hold is due anew
        self._changed.notify_all()
        if self.mover is not None:
            self.mover.kick()

    def _mend(self) -> None:
        """Have everybody look again, and the state be what the holders say: a command was cut in two by an interrupt."""
        with self._changed.lock:
            if not self._holders:
                self._move_on()
            elif not self._busy:
                self._come_to_rest()
            self.limit = 0
            self._life.tell()
            self._changed.notify_all()

    def _leave_trip(self) -> None:
        if self._trip is not None:
            self._trip.over = True
            self._trip = None

    def _reach(self, trip: Trip) -> None:
        trip.reached = True
        self._hold(USER)

    def _come_to_rest(self) -> None:
        self._busy = False
        if USER in self._holders:
            self._leave_trip()
            if self._life.state is SystemState.RUNNING and not self._closed:
                self._life.apply(Command.REST)
        self._changed.notify_all()
