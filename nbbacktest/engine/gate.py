"""The one gate of a run: pause, step, run-until, re-plan and stop are all a limit on how far the cursor may go."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.engine.threshold import USER, Threshold
from nbbacktest.engine.trip import Trip, Watcher


class Gate(Threshold):
    """What commands call, from any thread; each takes the condition, and waits on it for the run to rest."""

    def pause(self, timeout: float | None = None) -> bool:
        """Hold the run for its user and wait until it is at rest.

        Returns True at rest; False where it already was, ended, or was resumed before it came to rest. From inside
        a callback True at once, unless no instant follows: the run rests when the callback's instant is complete.

        Raises
        ------
        TimeoutError
            Still in a strategy call after `timeout` seconds. The hold stays: the run rests when the call returns.
        """
        with self._changed:
            if not self._life.allows(Command.PAUSE):
                return False
            if not self._closed:
                self._hold_for_user()
            if self._analyst is threading.current_thread():
                return not (self._finishing or self._closed)
            return self.hold_until_rest(timeout)

    def hold_until_rest(self, timeout: float | None = None) -> bool:
        """Wait, after `hold_here`, until the run is at rest; False where it ended or was resumed first."""
        with self._changed:
            self._await(lambda: self._life.state is SystemState.PAUSED or USER not in self._holders, timeout)
            return self.is_paused

    def resume(self) -> bool:
        """Let a paused run go on, or one that was told to pause and isn't at rest yet; False where it does already."""
        with self._changed:
            paused = self._life.allows(Command.RESUME)
            if self._closed or not (paused or USER in self._holders):
                return False
            if paused:
                self._life.apply(Command.RESUME)
            self._go(None)
            return True

    def step(self, instants: int, timeout: float | None = None) -> bool:
        """Deliver exactly `instants` more and rest; False where the run ended, or somebody else moved it, first."""
        with self._changed:
            trip = Trip(self._cursor, self._cursor + instants, stepping=True)
            return self.arrived(self._set_out(Command.STEP, trip), timeout)

    def run_until(self, target: int | None, watcher: Watcher | None, timeout: float | None = None) -> bool:
        """Deliver instants below `target`, or until the watcher says stop; False as for `step`.

        Raises
        ------
        BaseException
            What the watcher raised; the run rests at the instant that it was asked about.
        """
        with self._changed:
            return self.arrived(self.set_out(target, watcher), timeout)

    def set_out(self, target: int | None, watcher: Watcher | None = None) -> Trip:
        """Begin a `run_until` without waiting for it; a trip of a run that is over arrives nowhere."""
        with self._changed:
            return self._set_out(Command.UNTIL, Trip(self._cursor, target, watcher))

    def arrived(self, trip: Trip, timeout: float | None = None) -> bool:
        """Wait until a trip is over, and tell whether the run rests at its place; raises what its watcher raised."""
        with self._changed:
            try:
                self._await(lambda: trip.over, timeout)
            except BaseException:
                if not trip.over:
                    self._hold_for_user()  # nobody waits for the place any more: rest at once
                raise
            if trip.error is not None:
                raise trip.error
            return trip.reached and not self._closed

    def hold(self, holder: str, timeout: float | None = None) -> bool:
        """Hold the run for `holder`, whatever the user's own pause, and wait until it is at rest; holds are counted."""
        with self._changed:
            self._hold(holder)
            try:
                self._await(lambda: not self._busy, timeout)
            except BaseException:
                self.release(holder)
                raise
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
                self._move_on()

    def replan(self, *, paced: bool, renumber: Callable[[int], int] | None = None) -> None:
        """Make everybody plan again from the cursor, paced by the clock or not.

        Where the instants to come are others than before, `renumber` tells from the old number of completed instants
        that a `run_until` is to rest at the new one; a step still counts instants.
        """
        with self._changed:
            self._paced = paced
            trip = self._trip
            if renumber is not None and trip is not None and trip.target is not None and not trip.stepping:
                trip.target = renumber(trip.target)
            if not self._holders:
                self._interrupted_at = self._clock.now()
                self._moving_since = (self._interrupted_at, self._cursor)
            self.generation += 1
            self.limit = 0
            self._changed.notify_all()

    def call_in(self) -> None:
        """Have the analysis come by at the end of the instant under way."""
        with self._changed:
            self.limit = 0

    def ask(self, timeout: float) -> bool:
        """Have the analysis publish at its next boundary.

        Returns False where it didn't come to one within `timeout` seconds: a strategy call takes its time.
        """
        with self._changed:
            if self._closed:  # what it publishes at its end is the newest; that is about to come
                return self._wait_for(lambda: self._ended, timeout)
            if not self._started:
                return False
            if not self._busy and not self._resting:
                return True  # between windows, or turns: what was published last is as of the cursor
            self._asked += 1
            ticket, self.limit = self._asked, 0
            self._changed.notify_all()
            return self._wait_for(lambda: self._ended or self._served >= ticket, timeout)

    def end(self, command: Command | None = None) -> None:
        """Have the run end: the analysis stops at its next boundary, and the coordinator waits no longer.

        With a command (STOP, FINISH or FAIL) it has ended: the analysis has published its last frame, the state says
        so, and every command that waits answers. None answers before.
        """
        with self._changed:
            self._closed = True
            self._ended = self._ended or command is not None
            self.limit = 0
            self.generation += 1  # what was released and not delivered never will be
            if command is not None and self._life.state is not SystemState.STOPPED:
                self._life.apply(command)
            self._changed.notify_all()
            if self.mover is not None:
                self.mover.kick()

    # -- under the condition --------------------------------------------------------------------------------

    def _set_out(self, command: Command, trip: Trip) -> Trip:
        # The table is the system's: where this run is over, it may speak of the next one.
        if not self._life.allows(command) or self._closed:
            return trip
        self._life.apply(command)
        self._go(trip)
        if not self._busy and trip.target is not None and self._cursor >= trip.target:
            self._reach(trip)  # it is there already: nobody has to come by, and no deadline to be waited for
            self._come_to_rest()
        return trip

    def _await(self, arrived: Callable[[], bool], timeout: float | None) -> None:
        if self._analyst is threading.current_thread():
            raise RuntimeError("a strategy's call can't wait for its own run to rest; it rests after the call")
        # A closed run doesn't arrive any more, and until it has ended neither its state nor its frame is the last one.
        if not self._wait_for(lambda: self._ended or (not self._closed and arrived()), timeout):
            raise TimeoutError(f"the engine wasn't at rest within {timeout:g} s")

    def _wait_for(self, arrived: Callable[[], bool], timeout: float | None) -> bool:
        return (self._changed.wait_for if self.mover is None else self.mover.until)(arrived, timeout)
