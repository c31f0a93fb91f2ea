"""The gate of a run: every command (pause, step, run-until, new plan, stop) sets a limit that the cursor stays below."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol, TypeVar

from nbbacktest.core.clock import Clock
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor, surely
from nbbacktest.engine.gate_state import UNLIMITED, Decision, GateState, JumpRequest, MoveRequest, Watcher
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.engine.timeline import Standing

logger = logging.getLogger("nbbacktest")
T = TypeVar("T")


class GateRunner(Protocol):
    """A runner without threads, as its gate knows it: it delivers instants in the thread that waits for them.

    Attributes
    ----------
    wants_rest : bool
        True if it is to deliver no more instants for now, because its user has interrupted it.
    """

    wants_rest: bool

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:
        """Move the run until `over()`; False after `timeout` seconds."""

    def kick(self) -> None:
        """Make the run move on while no command waits for it; returns at once."""


class PauseRequest:
    """One call of `RunGate.pause`, from the call until the run is at rest.

    Attributes
    ----------
    instant : int
        The number of instants that had begun at the call.
    where : str
        The strategy's call that made it, or that was under way.
    is_awaited : bool
        True while its caller waits for the run to rest; the caller then logs the pause.
    took : float or None
        Seconds from the call to rest; None before.
    rested_at : int
        Completed instants at rest.
    """

    __slots__ = ("_began", "instant", "is_awaited", "rested_at", "took", "where")

    def __init__(self, instant: int, where: str, *, is_awaited: bool) -> None:
        self.instant = instant
        self.where = where
        self.is_awaited = is_awaited
        self.took: float | None = None
        self.rested_at = 0
        self._began = perf_counter()

    def rest(self, cursor: int) -> float:
        """Note that the run is at rest at `cursor`; returns `took`."""
        self.rested_at = cursor
        self.took = perf_counter() - self._began
        return self.took

    def log(self) -> None:
        """Write the one line that a pause has in the log."""
        if self.took is not None:
            logger.debug(
                "pause: asked in instant %d, %s; at rest after instant %d, %.3f ms later",
                self.instant, self.where, self.rested_at, self.took * 1e3,
            )  # fmt: skip


class RunGate:
    """A `GateState` under a condition: commands change it and wait for it, and so do the engine's threads.

    Any thread may call a command. A command takes the lock, and then waits for the run to rest with nothing held.
    The innermost loop only compares an int with `state.limit`. Everything else happens under the condition, at
    boundaries between instants. The gate calls nothing but the state table while it holds the lock.

    Ctrl-C at any point leaves the gate sound: the changes of a command are completed or taken back, and all waiting
    threads look again. If a command that waits for a place is interrupted, the run is held.

    Parameters
    ----------
    lifecycle
        The state table; changed under `condition` only.
    condition : Monitor
        Its lock guards the lifecycle and `state`.
    clock
        Wall time for paced waits.

    Attributes
    ----------
    state : GateState
        Written under the condition; its single fields may be read without.
    runner : GateRunner or None
        Moves a run that has no threads; set before it starts.
    rests : int
        The number of times that the analysis has rested in `at_boundary`. Used by the analysis alone.
    pause_timing : TimingSeries
        Seconds from each call of `pause` to rest; those that were taken back, or met the end, aren't counted. Written
        under the condition.
    """

    def __init__(self, lifecycle: Lifecycle, condition: Monitor, clock: Clock) -> None:
        self.state = GateState(lifecycle, clock.now())
        self.runner: GateRunner | None = None
        self.rests = 0
        self.pause_timing = TimingSeries()
        self._pauses: list[PauseRequest] = []  # pauses that haven't come to rest; guarded by the lock
        self._unlogged: list[PauseRequest] = []  # pauses at rest that no caller waits for; other threads only append
        self._changed = condition
        self._clock = clock
        # the thread that calls strategies, and so can't wait for the run to rest
        self._analyst: threading.Thread | None = None
        self._begun: Callable[[], int] = lambda: 0  # set by the analysis, once

    # -- commands -------------------------------------------------------------------------------------------

    def pause(self, timeout: float | None = None) -> bool:
        """Hold the run for its user and wait until it is at rest.

        Returns True at rest; False if it already was, ended, or was resumed before it came to rest. From inside
        a callback True at once, unless no instant follows: the run rests when the callback's instant is complete.

        Raises
        ------
        TimeoutError
            Still in a strategy call after `timeout` seconds. The hold stays: the run rests when the call returns.
        """
        state = self.state
        try:
            with self._changed.lock:
                if not state.pause(self._clock.now()):
                    return False
                pause = self._noted()
                self._tell()
                if self.is_analyst:
                    return not (state.finishing or state.closed)
        except BaseException:
            self._mend()
            raise
        try:
            return self.hold_until_rest(timeout)
        finally:
            with self._changed.lock:
                pause.is_awaited = False
                is_told = pause.took is not None
            if is_told:
                pause.log()

    def hold_until_rest(self, timeout: float | None = None) -> bool:
        """Wait, after `hold_here`, until the run is at rest; False if it ended or was resumed first."""
        return self._await(self.state.pause_answer, timeout)

    def resume(self) -> bool:
        """Let a paused run go on, or one that was told to pause and isn't at rest yet; False if it does already."""
        try:
            with self._changed.lock:
                goes_on = self.state.resume(self._clock.now())
                self._tell()
                return goes_on
        except BaseException:
            self._mend()
            raise

    def step(self, instants: int, timeout: float | None = None) -> bool:
        """Deliver exactly `instants` more and rest; False if the run ends, or another command moves it, before."""
        move = MoveRequest(stepping=True)

        def set_out() -> None:
            with self._changed.lock:
                self._set_out(Command.STEP, move, self.state.cursor + instants)

        return self._wait_for_move(move, set_out, timeout)

    def run_until(self, target: int | None, watcher: Watcher | None, timeout: float | None = None) -> bool:
        """Deliver instants below `target`, or until the watcher says stop; False as for `step`.

        Raises
        ------
        BaseException
            The exception of the watcher; the run rests at the instant that it was asked about.
        """
        move = MoveRequest(watcher=watcher)
        return self._wait_for_move(move, lambda: self._set_out(Command.RUN_UNTIL, move, target), timeout)

    def run_to(self, place: Callable[[], int | None], rest_timeout: float | None = None) -> bool:
        """Hold the run, call `place()` for the number of instants to complete, and go there; False as for `step`.

        Raises
        ------
        TimeoutError
            The run wasn't at rest within `rest_timeout` seconds.
        """
        move = MoveRequest()

        def set_out() -> None:
            self.while_held(lambda _is_open: self._set_out(Command.RUN_UNTIL, move, place()), rest_timeout)

        return self._wait_for_move(move, set_out, None)

    def set_out(self, target: int | None, watcher: Watcher | None = None) -> MoveRequest:
        """Begin a `run_until` without waiting for it; if the run is over, the move never arrives."""
        move = MoveRequest(watcher=watcher)
        self._set_out(Command.RUN_UNTIL, move, target)
        return move

    def arrived(self, move: MoveRequest, timeout: float | None = None) -> bool:
        """Wait until a move is over; True if the run rests at its place. Raises what its watcher raised."""
        return self._wait_for_move(move, lambda: None, timeout)

    def jump(self, jump: JumpRequest, wake: Callable[[], object]) -> bool:
        """Rest at a place of the past; False if the run ended, or another command moved it, first.

        `wake` makes the analysis come to a boundary, if it waits for a window.

        Raises
        ------
        BaseException
            The reason why the run stayed where it was.
        """
        try:
            with self._changed.lock:
                self.state.ask_jump(jump, self._clock.now())
                self._tell()
            wake()
            arrived = self._await(lambda: self.state.jump_answer(jump), None)
        except BaseException:
            with self._changed.lock:
                self.state.give_up_jump(jump, self._clock.now())
                self._tell()
            self._mend()
            raise
        if jump.error is not None:
            raise jump.error
        return arrived

    def while_held(self, action: Callable[[bool], T], timeout: float | None = None) -> T:
        """Hold the run beside the user's own pause, and call `action` while it is at rest.

        `action` gets False if the run has ended, else True.

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
            self.release(holder)  # released again: an interrupt may have come before the first release
            raise

    def hold(self, holder: object, timeout: float | None = None) -> bool:
        """Hold the run for `holder`, beside the user's own pause, and wait until it is at rest; holds are counted."""
        try:
            with self._changed.lock:
                self.state.hold(holder, self._clock.now())
                self._tell()
            return self._await(self.state.hold_answer, timeout)
        except BaseException:
            self.release(holder)
            raise

    def release(self, holder: object) -> None:
        """Undo one `hold` of that holder; the run goes on if no other holder is left."""
        try:
            with self._changed.lock:
                self.state.release(holder, self._clock.now())
                self._tell()
        except BaseException:
            self._mend()
            raise

    def replan(self, *, paced: bool, renumber: Callable[[int], int] | None = None) -> None:
        """Make all stages plan again from the cursor, paced by the clock or not.

        If the instants to come change, `renumber` turns the old number of completed instants, at which a `run_until`
        is to rest, into the new one; a step still counts instants.
        """
        with self._changed.lock:
            self.state.replan(self._clock.now(), paced=paced, renumber=renumber)
            self._tell()

    def call_in(self) -> None:
        """Make the analysis come to a boundary at the end of the instant that is under way."""
        with self._changed.lock:
            self.state.limit = 0

    def ask(self, timeout: float) -> bool:
        """Make the analysis publish at its next boundary.

        Returns False if it didn't come to one within `timeout` seconds, because a strategy's call takes longer.
        """
        with self._changed.lock:
            number = self.state.ask()
            self._tell()
        return number is not None and self._wait_for(lambda: self.state.is_answered(number), timeout)

    def end(self, command: Command | None = None) -> None:
        """Make the run end: the analysis stops at its next boundary, and the coordinator waits no longer.

        With a command (STOP, FINISH or FAIL) the run has ended: the analysis has published its last frame, the state
        changes, and every command that waits returns. None returns before.
        """
        surely(lambda: self._end(command))

    # -- for the analysis -----------------------------------------------------------------------------------

    def attend(self, begun: Callable[[], int]) -> None:
        """Make the calling thread the analysis, which may command but can't wait for itself.

        `begun` tells any thread how many instants have begun; it takes no lock.
        """
        self._analyst = threading.current_thread()
        self._begun = begun

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Count the caller, which holds the run at an instant, as the analysis: it is about to call users' code.

        That code is refused the same commands as code in a callback.
        """
        analyst, self._analyst = self._analyst, threading.current_thread()
        try:
            yield
        finally:
            self._analyst = analyst

    def started(self) -> None:
        """Report that the analysis is ready for its first window and has published."""
        with self._changed.lock:
            self.state.start(self._clock.now())
            self._tell()

    def at_boundary(
        self,
        cursor: int,
        generation: int,
        published: int,
        turn: int = UNLIMITED,
        *,
        fresh: bool = False,
        leaving: bool = False,
    ) -> Decision:
        """Return what the analysis does next at a boundary. Blocks while the run is held, except in a run without threads.

        Parameters
        ----------
        cursor
            Completed instants.
        generation
            The generation of the window that is being delivered.
        published
            The cursor of the last frame.
        turn
            The number of instants that may follow before the analysis comes to a boundary again.
        fresh
            True if the last frame is recent enough for a run that goes on and wasn't asked to publish.
        leaving
            True if the analysis is about to wait for its next window, or between two turns: it isn't blocked here.
        """
        state, runner = self.state, self.runner
        leaving = leaving or (runner is not None and runner.wants_rest)
        while True:
            with self._changed.lock:
                decision = state.boundary(
                    cursor, generation, published, turn, self._clock.now(),
                    fresh=fresh, leaving=leaving, waits=runner is None,
                )  # fmt: skip
                self._tell()
                if decision is Decision.REST and not self._unlogged:
                    self._changed.wait()
                    self.rests += 1
            while self._unlogged:
                self._unlogged.pop().log()
            if decision is not Decision.REST:
                return decision

    def doze(self, seconds: float) -> None:
        """Sleep at rest between two turns, so that other threads can have the interpreter; a command ends the sleep."""
        with self._changed.lock:
            if not (self.state.closed or self.state.holders):
                self._changed.wait(seconds)

    @property
    def is_asked(self) -> bool:
        """True while a command waits for a fresh publication."""
        return self.state.asked > self.state.answered

    def move_watched_at(self, cursor: int) -> MoveRequest | None:
        """The move whose watcher is to be asked about this instant."""
        return self.state.move_watched_at(cursor)

    def watched(self, move: MoveRequest, found: object, error: BaseException | None = None) -> None:
        """Report the answer of a move's watcher: the run rests here if the watcher found its place, or raised."""
        with self._changed.lock:
            self.state.watched(move, found, error, self._clock.now())
            self._tell()

    def is_resting_at(self, cursor: int) -> bool:
        """True if the run is held at `cursor`, or comes to the place of its move there."""
        move = self.state.move
        return self.is_held or (move is not None and move.target is not None and cursor >= move.target)

    @property
    def jump_asked(self) -> JumpRequest | None:
        """The rewind that the analysis is to make, or makes."""
        return self.state.jump

    def jumped(self, jump: JumpRequest, cursor: int, exchange: Callable[[], object]) -> bool:
        """Stand at `cursor`, with what `exchange` puts in place; False, and nothing happens, if the jump was given up.

        `exchange` is called under the condition: other threads see all of it or nothing. It calls no user code.
        """
        with self._changed.lock:
            if not self.state.jumped(jump, cursor, self._clock.now()):
                return False
            exchange()
            self._tell()
            return True

    def stayed(self, jump: JumpRequest, error: BaseException | None) -> None:
        """Report that a jump leads nowhere."""
        with self._changed.lock:
            self.state.stayed(jump, error, self._clock.now())
            self._tell()

    def come_in_at(self, cursor: int) -> None:
        """Make the analysis come to a boundary at `cursor`, if it gets there."""
        with self._changed.lock:
            self.state.ahead = cursor

    def hold_here(self, trouble: BaseException | None = None) -> None:
        """Hold the run for its user at the next boundary, without waiting; `trouble` is the error that is the reason."""
        surely(lambda: self._hold_here(trouble))

    def finishing(self) -> None:
        """Report that no instant follows any more: every later command comes too late."""
        self.state.finishing = True

    # -- for the coordinator --------------------------------------------------------------------------------

    def await_start(self) -> bool:
        """Wait until the analysis has started; False when closed."""
        state = self.state
        self._changed.until(lambda: state.started or state.closed)
        return not state.closed

    def await_open(self) -> bool:
        """Wait while the run is held, so that time doesn't advance; False when closed."""
        state = self.state
        self._changed.until(lambda: state.closed or not state.holders)
        return not state.closed

    def sleep_until(self, deadline: float, generation: int) -> bool:
        """Sleep until the clock shows `deadline`; False as soon as the plan of `generation` no longer holds."""
        state = self.state
        with self._changed.lock:
            while not (state.closed or state.holders or generation != state.generation):
                if self._clock.now() >= deadline:
                    return True
                self._clock.wait(self._changed, deadline)
            return False

    def await_news(self, is_there: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `is_there()`, or the clock shows `deadline`; False when closed. `nudge` makes it look again.

        `is_there` is called under the condition: it may only read.
        """
        state = self.state
        with self._changed.lock:
            while not (state.closed or is_there()):
                if deadline is not None and self._clock.now() >= deadline:
                    return True
                self._clock.wait(self._changed, deadline)
            return not state.closed

    def may_end(self, total: Callable[[], int]) -> bool:
        """Wait at the end of the data while the run is held; True if the run ends there, and no pause holds it any more.

        False if the gate was closed, or the cursor was taken back below `total()` instants.
        """
        state = self.state
        while True:
            self._changed.until(lambda: state.closed or not state.holders or state.cursor < total())
            with self._changed.lock:
                if state.closed or state.cursor < total():
                    return False
                if state.finish():
                    return True

    def nudge(self) -> None:
        """Make `await_news` look again; from any thread that holds no lock of a feed."""
        surely(self._nudge)

    # -- what it shows --------------------------------------------------------------------------------------

    @property
    def cursor(self) -> int:
        """Completed instants, as of the last boundary."""
        return self.state.cursor

    @property
    def generation(self) -> int:
        """The number of the present plan."""
        return self.state.generation

    @property
    def trouble(self) -> BaseException | None:
        """The error that the run is held for."""
        return self.state.trouble

    @property
    def motion(self) -> tuple[int, float]:
        """The number of instants that the run has moved since it was last set in motion, and the seconds that it took."""
        state = self.state
        with self._changed.lock:
            since, start = state.moving_since
            until = state.interrupted_at if state.holders else self._clock.now()
            return state.cursor - start, max(until - since, 0.0)

    def standing(self) -> Standing:
        """The standing of the run, for its planner."""
        state = self.state
        with self._changed.lock:
            return Standing(
                state.cursor, state.generation, self.stepping, state.moving_since[0], state.moved_before
            )  # fmt: skip

    @property
    def stepping(self) -> bool:
        """True while a step is under way: it doesn't wait for the clock."""
        move = self.state.move
        return move is not None and move.stepping

    @property
    def closed(self) -> bool:
        """True if the run is over or has been told to end."""
        return self.state.closed

    @property
    def is_paused(self) -> bool:
        """True if the run is at rest for its user."""
        return not self.state.closed and self.state.life.state is SystemState.PAUSED

    @property
    def is_analyst(self) -> bool:
        """True if the caller is the analysis thread, and so in a strategy's call."""
        return self._analyst is threading.current_thread()

    def may_call(self) -> bool:
        """True if the caller is the analysis thread, or stands in for it."""
        return self._analyst is threading.current_thread()

    @property
    def is_held(self) -> bool:
        """True if the run is held, at rest already or not."""
        return bool(self.state.holders)

    @property
    def at_rest(self) -> bool:
        """True if no strategy call is under way."""
        return not self.state.busy

    # -- under the lock -------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Wake the threads that the last event concerns."""
        state = self.state
        if state.has_news:
            state.has_news = False
            self._changed.notify_all()
        if state.is_set_going:
            state.is_set_going = False
            if self.runner is not None:
                self.runner.kick()
        if self._pauses and state.pause_answer() is not None:
            self._settle_pauses()

    def _noted(self) -> PauseRequest:
        """Note a pause that was requested just now."""
        state, is_inside = self.state, self.is_analyst
        during = "while strategies were called" if state.busy else "between two windows"
        where = "in a strategy's callback" if is_inside else during
        pause = PauseRequest(self._begun(), where, is_awaited=not is_inside)
        self._pauses.append(pause)
        return pause

    def _settle_pauses(self) -> None:
        """Count the pauses that have come to rest; drop them all if the run ended or goes on instead."""
        if self.state.pause_answer():
            for pause in self._pauses:
                self.pause_timing.add(pause.rest(self.state.cursor))
                if not pause.is_awaited:
                    self._unlogged.append(pause)
        self._pauses.clear()

    def _end(self, command: Command | None) -> None:
        with self._changed.lock:
            self.state.close(command)
            self._tell()

    def _hold_here(self, trouble: BaseException | None) -> None:
        with self._changed.lock:
            self.state.hold_for_user(self._clock.now(), trouble)
            self._tell()

    def _set_out(self, command: Command, move: MoveRequest, target: int | None) -> None:
        with self._changed.lock:
            self.state.set_out(command, move, target, self._clock.now())
            self._tell()

    def _mend(self) -> None:
        with self._changed.lock:
            self.state.mend(self._clock.now())
            self._tell()

    def _nudge(self) -> None:
        with self._changed.lock:
            self._changed.notify_all()

    # -- without it -----------------------------------------------------------------------------------------

    def _wait_for_move(self, move: MoveRequest, set_out: Callable[[], object], timeout: float | None) -> bool:
        try:
            set_out()
            arrived = self._await(lambda: self.state.move_answer(move), timeout)
        except BaseException:
            self._give_up(move)
            raise
        if move.error is not None:
            raise move.error
        return arrived

    def _give_up(self, move: MoveRequest) -> None:
        if not move.begun:
            return
        with self._changed.lock:
            self.state.give_up(move, self._clock.now())
            self._tell()
        self._mend()

    def _await(self, answer: Callable[[], bool | None], timeout: float | None) -> bool:
        """Wait until a command has its answer."""
        if self.is_analyst:
            raise RuntimeError("a strategy's call can't wait for its own run to rest; it rests after the call")
        answers: list[bool] = []

        def look() -> bool:
            found = answer()
            if found is None:
                return False
            answers.append(found)
            return True

        if not self._wait_for(look, timeout):
            raise TimeoutError(f"the engine wasn't at rest within {timeout:g} s")
        return answers[-1]

    def _wait_for(self, is_over: Callable[[], bool], timeout: float | None) -> bool:
        return (self._changed.until if self.runner is None else self.runner.until)(is_over, timeout)
