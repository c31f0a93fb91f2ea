"""The one gate of a run: pause, step, run-until, re-plan and stop are all a limit on how far the cursor may go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.core.monitor import surely
from nbbacktest.engine.threshold import USER, Threshold
from nbbacktest.engine.trip import Trip, Watcher

T = TypeVar("T")


class Gate(Threshold):
    """What commands call, from any thread; each takes the lock, and then waits for the run to rest with nothing held.

    Ctrl-C at any point leaves the gate sound: what a command has changed by then is completed or taken back, and whoever
    waits looks again. A command that waits for a place holds the run.
    """

    def pause(self, timeout: float | None = None) -> bool:
        """Hold the run for its user and wait until it is at rest.

        Returns True at rest; False where it already was, ended, or was resumed before it came to rest. From inside
        a callback True at once, unless no instant follows: the run rests when the callback's instant is complete.

        Raises
        ------
        TimeoutError
            Still in a strategy call after `timeout` seconds. The hold stays: the run rests when the call returns.
        """
        try:
            with self._changed.lock:
                if not self._life.allows(Command.PAUSE):
                    return False
                if not self._closed:
                    self._hold_for_user()
                if self._analyst is threading.current_thread():
                    return not (self._finishing or self._closed)
        except BaseException:
            self._mend()
            raise
        return self.hold_until_rest(timeout)

    def hold_until_rest(self, timeout: float | None = None) -> bool:
        """Wait, after `hold_here`, until the run is at rest; False where it ended or was resumed first."""
        return self._await(
            lambda: self._life.state is SystemState.PAUSED or USER not in self._holders, lambda: self.is_paused, timeout
        )

    def resume(self) -> bool:
        """Let a paused run go on, or one that was told to pause and isn't at rest yet; False where it does already."""
        try:
            with self._changed.lock:
                paused = self._life.allows(Command.RESUME)
                if self._closed or not (paused or USER in self._holders):
                    return False
                if paused:
                    self._life.apply(Command.RESUME)
                self._go(None)
                return True
        except BaseException:
            self._mend()
            raise

    def step(self, instants: int, timeout: float | None = None) -> bool:
        """Deliver exactly `instants` more and rest; False where the run ended, or somebody else moved it, first."""
        trip = Trip(0, stepping=True)

        def set_out() -> None:
            with self._changed.lock:
                self._set_out(Command.STEP, trip, self._cursor + instants)

        return self._travel(trip, set_out, timeout)

    def run_until(self, target: int | None, watcher: Watcher | None, timeout: float | None = None) -> bool:
        """Deliver instants below `target`, or until the watcher says stop; False as for `step`.

        Raises
        ------
        BaseException
            What the watcher raised; the run rests at the instant that it was asked about.
        """
        trip = Trip(0, watcher=watcher)
        return self._travel(trip, lambda: self._set_out(Command.RUN_UNTIL, trip, target), timeout)

    def run_to(self, place: Callable[[], int | None], rest_timeout: float | None = None) -> bool:
        """Hold the run to ask `place()` how far it is to go, and go there; False as for `step`.

        Raises
        ------
        TimeoutError
            It wasn't at rest to be asked within `rest_timeout` seconds.
        """
        trip = Trip(0)

        def set_out() -> None:
            self.while_held(lambda _is_open: self._set_out(Command.RUN_UNTIL, trip, place()), rest_timeout)

        return self._travel(trip, set_out, None)

    def set_out(self, target: int | None, watcher: Watcher | None = None) -> Trip:
        """Begin a `run_until` without waiting for it; a trip of a run that is over arrives nowhere."""
        trip = Trip(0, watcher=watcher)
        self._set_out(Command.RUN_UNTIL, trip, target)
        return trip

    def arrived(self, trip: Trip, timeout: float | None = None) -> bool:
        """Wait until a trip is over, and tell whether the run rests at its place; raises what its watcher raised."""
        return self._travel(trip, lambda: None, timeout)

    def while_held(self, action: Callable[[bool], T], timeout: float | None = None) -> T:
        """Hold the run, whatever the user's own pause, and call `action` with it at rest, and whether it goes on at all.

        Raises
        ------
        TimeoutError
            It wasn't at rest within `timeout` seconds.
        """
        holder = object()
        try:
            try:
                return action(self.hold(holder, timeout))
            finally:
                self.release(holder)
        except BaseException:
            self.release(holder)  # again: an interrupt may have come before the first one
            raise

    def hold(self, holder: object, timeout: float | None = None) -> bool:
        """Hold the run for `holder`, whatever the user's own pause, and wait until it is at rest; holds are counted."""
        try:
            with self._changed.lock:
                self._hold(holder)
            return self._await(lambda: not self._busy, lambda: not self._closed, timeout)
        except BaseException:
            self.release(holder)
            raise

    def release(self, holder: object) -> None:
        """Undo one `hold` of that holder; the run goes on where nobody else holds it."""
        try:
            with self._changed.lock:
                left = self._holders.get(holder, 0) - 1
                if left > 0:
                    self._holders[holder] = left
                else:
                    self._holders.pop(holder, None)
                if not self._holders:
                    self._move_on()
        except BaseException:
            self._mend()
            raise

    def replan(self, *, paced: bool, renumber: Callable[[int], int] | None = None) -> None:
        """Make everybody plan again from the cursor, paced by the clock or not.

        Where the instants to come are others than before, `renumber` tells from the old number of completed instants
        that a `run_until` is to rest at the new one; a step still counts instants.
        """
        with self._changed.lock:
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
        with self._changed.lock:
            self.limit = 0

    def ask(self, timeout: float) -> bool:
        """Have the analysis publish at its next boundary.

        Returns False where it didn't come to one within `timeout` seconds: a strategy call takes its time.
        """
        with self._changed.lock:
            closed = self._closed  # what it publishes at its end is the newest; that is about to come
            if not closed:
                if not self._started:
                    return False
                if not self._busy and not self._resting:
                    return True  # between windows, or turns: what was published last is as of the cursor
                self._asked += 1
                ticket, self.limit = self._asked, 0
                self._changed.notify_all()
        if closed:
            return self._wait_for(lambda: self._ended, timeout)
        return self._wait_for(lambda: self._ended or self._served >= ticket, timeout)

    def end(self, command: Command | None = None) -> None:
        """Have the run end: the analysis stops at its next boundary, and the coordinator waits no longer.

        With a command (STOP, FINISH or FAIL) it has ended: the analysis has published its last frame, the state says
        so, and every command that waits answers. None answers before.
        """
        surely(lambda: self._end(command))

    # -- under the lock -------------------------------------------------------------------------------------

    def _end(self, command: Command | None) -> None:
        with self._changed.lock:
            self._closed = True
            self._ended = self._ended or command is not None
            self.limit = 0
            self.generation += 1  # what was released and not delivered never will be
            if command is not None and self._life.state is not SystemState.STOPPED:
                self._life.apply(command)
            self._life.tell()
            self._changed.notify_all()
            if self.mover is not None:
                self.mover.kick()

    def _set_out(self, command: Command, trip: Trip, target: int | None) -> None:
        with self._changed.lock:
            trip.after, trip.target = self._cursor, target
            # The table is the system's: where this run is over, it may speak of the next one.
            if not self._life.allows(command) or self._closed:
                return
            trip.begun = True  # from here on an interrupt holds the run
            self._life.apply(command)
            self._go(trip)
            if not self._busy and trip.target is not None and self._cursor >= trip.target:
                self._reach(trip)  # it is there already: nobody has to come by, and no deadline to be waited for
                self._come_to_rest()

    # -- without it -----------------------------------------------------------------------------------------

    def _travel(self, trip: Trip, set_out: Callable[[], object], timeout: float | None) -> bool:
        try:
            set_out()
            arrived = self._await(lambda: trip.over, lambda: trip.reached and not self._closed, timeout)
        except BaseException:
            self._give_up(trip)
            raise
        if trip.error is not None:
            raise trip.error
        return arrived

    def _give_up(self, trip: Trip) -> None:
        """Rest at once: nobody waits for the place any more."""
        if not trip.begun:
            return
        with self._changed.lock:
            if not (trip.over or self._closed):
                self._hold_for_user()
        self._mend()

    def _await(self, arrived: Callable[[], bool], answer: Callable[[], bool], timeout: float | None) -> bool:
        if self._analyst is threading.current_thread():
            raise RuntimeError("a strategy's call can't wait for its own run to rest; it rests after the call")
        answers: list[bool] = []

        def look() -> bool:
            # A closed run doesn't arrive any more, and until it has ended neither its state nor its frame is the last one.
            if not (self._ended or (not self._closed and arrived())):
                return False
            answers.append(answer())
            return True

        if not self._wait_for(look, timeout):
            raise TimeoutError(f"the engine wasn't at rest within {timeout:g} s")
        return answers[-1]

    def _wait_for(self, arrived: Callable[[], bool], timeout: float | None) -> bool:
        return (self._changed.until if self.mover is None else self.mover.until)(arrived, timeout)
