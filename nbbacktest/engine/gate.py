"""The one gate of a run: pause, step, run-until, re-plan and stop are all a limit on how far the cursor may go.

The innermost loop only compares an int with `Gate.limit`. Everything else happens under one condition,
at instant boundaries. Nothing is ever called out of here but the state table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from nbbacktest.core.clock import Clock
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command, Lifecycle

UNLIMITED = 1 << 62
USER = "user"

Watcher = Callable[[Any], object]


class Verdict(Enum):
    """What the analysis is to do at a boundary."""

    GO = auto()
    SERVE = auto()
    LEAVE = auto()
    CLOSED = auto()


class Gate:
    """Holds a run at an instant, exactly.

    *At rest* means: the cursor can't pass the limit and no strategy call is under way. The analysis is at rest
    inside `arrive` and between its windows. It publishes before it rests: what others read then is as of the cursor.

    Parameters
    ----------
    lifecycle
        The state table; changed under `condition` only.
    condition
        Guards the lifecycle and every field here, but for what is said below.
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
    """

    def __init__(self, lifecycle: Lifecycle, condition: threading.Condition, clock: Clock) -> None:
        self.limit = 0
        self.generation = 0
        self._life = lifecycle
        self._changed = condition
        self._clock = clock
        self._holders: dict[str, int] = {}
        self._target: int | None = None
        self._watcher: Watcher | None = None  # asked by the analysis after every instant of a run_until
        self._watch_error: Exception | None = None
        self._reached = False  # the last step or run_until came to its end by itself
        self._watch_from = 0
        self._moving_since = (clock.now(), 0)  # when, and at which cursor, the run last began to move
        self._interrupted_at = clock.now()
        self._stepping = False
        self._paced = False
        self._cursor = 0
        self._started = False
        self._busy = True  # nothing is at rest before the analysis has started
        self._resting = False  # the analysis waits in `arrive`, where it can be asked to publish
        self._asked = self._serving = self._served = 0  # tickets for a fresh publication
        self._closed = False

    # -- what the analysis calls ----------------------------------------------------------------------------

    def started(self) -> None:
        """Say that the analysis is ready for its first window and has published."""
        with self._changed:
            self._started = True
            self._moving_since = (self._clock.now(), 0)
            self._come_to_rest()

    def arrive(self, cursor: int, generation: int, published: int, *, leaving: bool = False) -> Verdict:
        """Say what to do at a boundary; blocks while the run is held.

        Parameters
        ----------
        cursor
            Completed instants.
        generation
            That of the window in hand.
        published
            The cursor of what was published last.
        leaving
            True at a window's end: the analysis is about to wait for its next window and isn't blocked here.

        Returns
        -------
        Verdict
            GO: deliver up to the limit. SERVE: publish, ask the watcher, and arrive again.
            LEAVE: the window is done, or given up. CLOSED: the run is over.
        """
        with self._changed:
            self._cursor = cursor
            if self._served != self._serving:
                self._served = self._serving
                self._changed.notify_all()
            while not self._closed:
                if published != cursor or self._asked > self._served:
                    self._serving = self._asked
                    return Verdict.SERVE
                if self._target is not None and cursor >= self._target:
                    self._stop_here()
                if leaving or generation != self.generation:
                    self._come_to_rest()
                    return Verdict.LEAVE
                if not self._holders:
                    self._busy = True
                    self.limit = self._next_limit(cursor)
                    return Verdict.GO
                self._come_to_rest()
                self._resting = True
                self._changed.wait()
                self._resting = False
            return Verdict.CLOSED

    def watcher_at(self, cursor: int) -> Watcher | None:
        """Who is to be asked about this instant: nobody about the one that a run_until began at."""
        return self._watcher if cursor > self._watch_from else None

    def watched(self, found: object, error: Exception | None = None) -> None:
        """Say what the watcher answered: the run rests here where it found its place, or raised."""
        with self._changed:
            if self._watcher is not None and (found or error is not None):
                self._watch_error = error
                self._stop_here()

    def hold_here(self) -> None:
        """Hold the run for its user at the next boundary, from inside a callback: nobody waits."""
        with self._changed:
            self._hold(USER)

    # -- what the coordinator calls -------------------------------------------------------------------------

    def await_start(self) -> bool:
        """Wait until the analysis has started; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._started or self._closed)
            return not self._closed

    def await_open(self) -> bool:
        """Wait while the run is held, so that time doesn't advance; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._holders)
            return not self._closed

    def sleep_until(self, deadline: float, generation: int) -> bool:
        """Sleep until the clock shows `deadline`; False as soon as the plan of `generation` no longer holds."""
        with self._changed:
            while not (self._closed or self._holders or generation != self.generation):
                if self._clock.now() >= deadline:
                    return True
                self._clock.wait(self._changed, deadline)
            return False

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
        with self._changed:
            since, start = self._moving_since
            until = self._interrupted_at if self._holders else self._clock.now()
            return self._cursor - start, max(until - since, 0.0)

    @property
    def stepping(self) -> bool:
        """Whether a step is under way: it doesn't wait for the clock."""
        return self._stepping

    @property
    def closed(self) -> bool:
        """Whether the run is over or has been told to end."""
        return self._closed

    # -- what commands call ---------------------------------------------------------------------------------

    def pause(self, timeout: float | None = None) -> bool:
        """Hold the run for its user and wait until it is at rest.

        Returns True at rest; False where it already was, ended, or was resumed before it came to rest.

        Raises
        ------
        TimeoutError
            Still in a strategy call after `timeout` seconds. The hold stays: the run rests when the call returns.
        """
        with self._changed:
            if not self._life.allows(Command.PAUSE):
                return False
            self._hold(USER)
            if not self._busy:
                self._come_to_rest()
            return self.hold_until_rest(timeout)

    def hold_until_rest(self, timeout: float | None = None) -> bool:
        """Wait, after `hold_here`, until the run is at rest; False where it ended or was resumed first."""
        with self._changed:
            self._await(lambda: self._life.state is SystemState.PAUSED or USER not in self._holders, timeout)
            return self.is_paused

    def resume(self) -> bool:
        """Let a paused run go on; False where it does already."""
        with self._changed:
            if not self._life.allows(Command.RESUME):
                return False
            self._life.apply(Command.RESUME)
            self._go(None)
            return True

    def step(self, instants: int, timeout: float | None = None) -> bool:
        """Deliver exactly `instants` more and rest; False where the run ended or was stopped first."""
        with self._changed:
            self._life.apply(Command.STEP)
            self._stepping = True
            self._go(self._cursor + instants)
            return self._await_reached(timeout)

    def run_until(self, target: int | None, watcher: Watcher | None, timeout: float | None = None) -> bool:
        """Deliver instants below `target`, or until the watcher says stop; False where the run ended or paused first.

        Raises
        ------
        Exception
            What the watcher raised; the run rests at the instant that it was asked about.
        """
        with self._changed:
            self._life.apply(Command.UNTIL)
            self._watcher, self._watch_from = watcher, self._cursor
            self._go(target)
            reached = self._await_reached(timeout)
            if self._watch_error is not None:
                error, self._watch_error = self._watch_error, None
                raise error
            return reached

    def hold(self, holder: str, timeout: float | None = None) -> bool:
        """Hold the run for `holder`, whatever the user's own pause, and wait until it is at rest; holds are counted."""
        with self._changed:
            self._hold(holder)
            self._await(lambda: not self._busy, timeout)
            return not self._closed

    def release(self, holder: str) -> None:
        """Undo one `hold` of that holder; the run goes on where nobody else holds it."""
        with self._changed:
            left = self._holders.get(holder, 0) - 1
            if left > 0:
                self._holders[holder] = left
            else:
                self._holders.pop(holder, None)
            if not self._holders:
                self._moving_since = (self._clock.now(), self._cursor)
            self._changed.notify_all()

    def replan(self, *, paced: bool) -> None:
        """Make everybody plan again from the cursor, paced by the clock or not."""
        with self._changed:
            self._paced = paced
            if not self._holders:
                self._interrupted_at = self._clock.now()
                self._moving_since = (self._interrupted_at, self._cursor)
            self.generation += 1
            self.limit = 0
            self._changed.notify_all()

    def ask(self, timeout: float) -> bool:
        """Have the analysis publish at its next boundary.

        Returns False where it didn't come to one within `timeout` seconds: a strategy call takes its time.
        """
        with self._changed:
            if self._closed or not self._started:
                return False
            if not self._busy and not self._resting:
                return True  # between windows: what was published last is as of the cursor
            self._asked += 1
            ticket, self.limit = self._asked, 0
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._closed or self._served >= ticket, timeout)

    def end(self, command: Command | None = None) -> None:
        """End the run: every wait in here wakes, and the analysis stops at its next boundary.

        With a command (STOP, FINISH or FAIL), the state says so too.
        """
        with self._changed:
            self._closed = True
            self.limit = 0
            if command is not None and self._life.state is not SystemState.STOPPED:
                self._life.apply(command)
            self._changed.notify_all()

    @property
    def has_started(self) -> bool:
        """Whether the analysis has taken up its work."""
        return self._started

    @property
    def is_paused(self) -> bool:
        """Whether the run is at rest for its user."""
        return not self._closed and self._life.state is SystemState.PAUSED

    @property
    def at_rest(self) -> bool:
        """Whether no strategy call is under way."""
        return not self._busy

    # -- under the condition --------------------------------------------------------------------------------

    def _next_limit(self, cursor: int) -> int:
        if self._watcher is not None:
            return cursor + 1
        return UNLIMITED if self._target is None else self._target

    def _hold(self, holder: str) -> None:
        if not self._holders:
            self._interrupted_at = self._clock.now()
        self._holders[holder] = 1 if holder == USER else self._holders.get(holder, 0) + 1
        self.limit = 0
        self._changed.notify_all()

    def _go(self, target: int | None) -> None:
        self._holders.pop(USER, None)
        self._target = target
        self._moving_since = (self._clock.now(), self._cursor)
        self._reached = False
        self.limit = 0  # whoever is under way comes by and learns of the new target
        if self._paced:
            self.generation += 1  # what was due before the pause is due anew
        self._changed.notify_all()

    def _stop_here(self) -> None:
        self._reached = True
        self._hold(USER)

    def _come_to_rest(self) -> None:
        self._busy = False
        if USER in self._holders:
            self._target = self._watcher = None
            self._stepping = False
            if self._life.state is SystemState.RUNNING:
                self._life.apply(Command.REST)
        self._changed.notify_all()

    def _await_reached(self, timeout: float | None) -> bool:
        try:
            self._await(lambda: USER in self._holders and not self._busy, timeout)
        except BaseException:
            self._hold(USER)  # nobody waits for the place any more: rest at once
            raise
        return self._reached and not self._closed

    def _await(self, arrived: Callable[[], bool], timeout: float | None) -> None:
        if not self._changed.wait_for(lambda: self._closed or arrived(), timeout):
            raise TimeoutError(f"the engine wasn't at rest within {timeout:g} s")
