"""The AnalysisEngine: delivers bars, one instant after the other, and owns the cursor.

Its inner loops are the specification of a run: reveal, match orders, call, and ask the gate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Sized
from contextlib import suppress
from itertools import islice
from time import perf_counter
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from nbbacktest.core.clock import Clock
from nbbacktest.core.records import Bar
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.gate_state import Decision, GateState, JumpRequest, MoveRequest
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.engine.processor import Batch
from nbbacktest.engine.rests import InstantWatch, PastKeeper, RestGuard
from nbbacktest.engine.series import Series
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Axis, Quantum, Timeline
from nbbacktest.engine.yielding import InterpreterYield

Handler = Callable[[Bar], object]
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Agent(Protocol[S_co]):
    """Reacts to bars. Every method is called by the analysis thread alone.

    Attributes
    ----------
    pending
        The work that waits for the next base bars. The engine only tests if it is empty, once an instant;
        it is the same object for the whole run.
    index
        The instant of the run that is under way, or was completed last; -1 before the first. The engine sets it
        before anything else happens at that instant.
    lag
        Seconds by which the instant under way began late; 0 if no clock paces the run. The engine sets it before
        the instant.
    """

    pending: Sized
    index: int
    lag: float

    def start(self) -> None:
        """Called once, before the first instant."""
        ...

    def match_orders(self, bars: Sequence[Bar]) -> None:
        """Match the pending orders before an instant's callbacks, if `pending` isn't empty; `bars` are all that completed."""
        ...

    def handlers(self, series: Series) -> Sequence[Handler]:
        """The functions that are called with each bar of `series`, in order. Asked after `start`, and when series join or leave."""
        ...

    def failed(self, error: BaseException, handler: Handler | None, bar: Bar | None) -> Exception:
        """Return the error to report for `error`: it names the strategy that raised it."""
        ...

    def stop(self) -> None:
        """Called once, after the last instant, also if the run is stopped early."""
        ...

    def freeze(self) -> S_co:
        """The state of trading, as an immutable value."""
        ...


class Frame(NamedTuple, Generic[S]):
    """A publication of the analysis: one instant, complete. Never changed, only replaced.

    Attributes
    ----------
    cursor : int
        Completed instants.
    axis : Axis
        The run's instants at that time.
    rows : tuple of int
        For each of the axis's series, the number of its bars that can be seen.
    agent : S
        The agent's state, frozen.
    epoch : int
        How often the run was taken to another place before: a frame of another epoch may have a smaller cursor.
    """

    cursor: int
    axis: Axis
    rows: tuple[int, ...]
    agent: S
    epoch: int = 0


class _EachInstant:
    """Stands for the limit of a run that is watched: no instant follows unasked."""

    limit = 0


class _HandlerFailed(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, handler: Handler) -> None:
        super().__init__(handler)
        self.handler = handler


class AnalysisEngine(Generic[S]):
    """The third stage of a run: calls the agent, whose code is the only user code in this module.

    Attributes
    ----------
    frame : Frame
        The newest publication. Written by the analysis thread, or by the thread that holds the run at an instant. Reading
        it needs no lock.
    deferred : deque of callables
        The calls that a strategy has asked for in a callback, and that can't be made before its instant is complete.
        Each is made once, at that boundary, with the number of completed instants. Used by the analysis thread alone.
    errors : set of int
        The instants at which users' code has raised, each as the number of completed ones; also those that the run was taken back from.
    timing, lateness : TimingSeries
        Seconds that each window took, without rests; seconds by which paced instants began after their deadline.
    lag : float
        Seconds by which the last paced instant began after its deadline.
    epoch : int
        How often the run was taken to another place.
    travel : callable or None
        Makes a jump; called by the analysis thread, at rest at an instant. Set before the run starts.
    watch : InstantWatch or None
        Looks for breakpoints, if there are any. Set by any thread.
    has_held : bool
        True if the run was held for an error of users' code.
    keeper : PastKeeper or None
        Asked at each boundary while the run is in its past.
    completed : int
        The instants that were completed; not the one in which an error has ended the run.
    note : callable or None
        Called with the newest frame at each boundary that it is of.
    marker : callable
        Called after each turn with the cursor and the seconds that the turn took.
    """

    FRESH = 0.02
    """Seconds for which a frame is recent enough for readers that request none, such as a panel that draws."""

    def __init__(
        self,
        timeline: Timeline,
        agent: Agent[S],
        gate: RunGate,
        inbox: StreamSubscription,
        clock: Clock,
        quantum: Quantum,
        *,
        on_error: Literal["stop", "pause"] = "stop",
    ) -> None:
        self._timeline = timeline
        self._agent = agent
        self._gate = gate
        self._inbox = inbox
        self._clock = clock
        self._quantum = quantum
        self._yielding = InterpreterYield(self._let_others_in)
        self._is_held_on_errors = on_error == "pause"
        self._pause_on_error = self._is_held_on_errors
        self._match = self._match_or_hold if self._pause_on_error else agent.match_orders
        self.deferred: deque[Callable[[int], object]] = deque()
        self.errors: set[int] = set()
        self._calls: list[Handler] = []
        self._handlers: list[list[Handler]] = []
        self._began = False
        self._delivering = False
        self._abandoned = False
        # the error that the run failed by; written by the analysis thread, once
        self._error: BaseException | None = None
        self._stale = 0.0  # the time at which a moving run publishes again; used by the analysis thread alone
        # the move whose watcher was asked last, and the instant that it was asked about
        self._watched: tuple[MoveRequest, int] | None = None
        self.timing = TimingSeries()
        self.lateness = TimingSeries()
        self.lag = 0.0
        self.epoch = 0
        self.travel: Callable[[JumpRequest, int], object] | None = None
        self.watch: InstantWatch | None = None
        self.has_held = False
        self.keeper: PastKeeper | None = None
        self._guard_of: Callable[[], RestGuard] | None = None
        self._guard: RestGuard | None = None  # made when the run rests
        self._cut_short = 0  # 1 if an error has ended the run within an instant
        self._jumped = 0  # windows of older generations are another world's
        self.note: Callable[[Frame[S]], object] | None = None
        self.marker: Callable[[int, float], object] = lambda _cursor, _seconds: None
        self.frame: Frame[S] = self._freeze(0)

    @property
    def completed(self) -> int:
        """See the class."""
        return self._agent.index + 1 - self._cut_short

    @property
    def error(self) -> BaseException | None:
        """The error that the run failed by, or is held for; None if there is none."""
        return self._error or self._gate.trouble

    def work(self, outbox: Callable[[], Batch | None]) -> None:
        """Serve batches until the end. The body of a thread."""
        try:
            if self.begin():
                began = perf_counter()
                while self._inbox.wait_until_ready():
                    if not self._inbox.is_ready():
                        self.visit()  # a nudge and no window: a window that is signalled meanwhile is taken in the next round
                        continue
                    try:
                        batch = outbox()
                        if batch is not None:
                            self.process(batch, waited=perf_counter() - began)
                    finally:
                        self._inbox.reset()
                        began = perf_counter()
        finally:
            self.finish()

    def begin(self) -> bool:
        """Start the agent and publish; False if it raised."""
        self._gate.attend(lambda: self._agent.index + 1)
        self._began = True
        try:
            self._agent.start()
            self._ask_for_handlers()
        except BaseException as error:  # noqa: BLE001 - a strategy may raise anything; it is kept, not swallowed
            self.fail(error)
            return False
        self.frame = self._freeze(0)
        self._delivering = True
        self._gate.started()
        return True

    def process(self, batch: Batch, waited: float = 0.0) -> None:
        """Deliver a batch's instants; returns at its end, or when the gate gives the batch up.

        `waited` is the seconds that the analysis has waited for the batch.
        """
        window, quantum = batch.window, self._quantum
        cursor, worked = window.start, 0.0
        if window.pace is None:
            quantum.learn_wait(waited)
        while cursor < window.stop:
            if window.generation < self._jumped or self._boundary(cursor, window.generation) is not Decision.GO:
                break
            if window.pace is not None:
                self.lag = self._agent.lag = max(0.0, self._clock.now() - window.pace.deadline(cursor))
                self.lateness.add(self.lag)
            elif self.lag:
                self.lag = self._agent.lag = 0.0
            if batch.reveal is not None:
                batch.reveal()
            began, begun = perf_counter(), cursor
            cursor = self._deliver(batch, cursor)
            took = perf_counter() - began
            worked += took
            quantum.learn_cost(took, cursor - begun)
            if self._error is not None:
                break
            self.marker(cursor, took)
            if cursor < window.stop:
                self._yielding.yield_if_wanted()
        else:
            self._boundary(cursor, window.generation, leaving=True)
        if cursor > window.start:
            self.timing.add(worked)

    def visit(self) -> None:
        """Come to a boundary with no window in hand, to make the jump that is asked for."""
        gate, decision = self._gate, Decision.LEAVE
        while decision is Decision.LEAVE:
            decision = self._boundary(self._agent.index + 1, gate.generation, leaving=gate.jump_asked is None)
            # A new plan may have come between: nothing else would wake this thread for the jump.
            if gate.jump_asked is None or gate.runner is not None:
                break
        if decision is Decision.GO:
            self._boundary(self._agent.index + 1, gate.generation, leaving=True)

    def exchange(self, agent: Agent[S], cursor: int) -> None:
        """Go on with another agent, at `cursor`, over the series that the timeline has now. Called under the gate's condition."""
        self._agent = agent
        self._match = self._match_or_hold if self._pause_on_error else agent.match_orders
        self.deferred.clear()
        self._error = self._watched = None
        self._cut_short = 0
        self.epoch += 1
        self._jumped = self._gate.generation
        self.adopt(cursor)

    def finish(self) -> None:
        """Stop the agent, publish the last state and close the subscription to the processor."""
        self._inbox.close()
        self._gate.finishing()
        self._delivering = False
        if not self._began or self._abandoned:
            return
        try:
            self._agent.stop()
        except BaseException as error:  # noqa: BLE001 - kept for `error`
            if self.error is None:
                self.fail(error)
        self.frame = self.under_way()

    def adopt(self, cursor: int) -> None:
        """Go on with the series that the timeline has now. The caller holds the run at an instant."""
        self._ask_for_handlers()
        self.frame = self._freeze(cursor)

    def remember_errors(self, other: AnalysisEngine[S]) -> None:
        """Know the errors of the past of a run that this one goes on with."""
        self.errors |= other.errors
        self.has_held = other.has_held

    def hold_on_errors(self, *, wanted: bool) -> None:
        """Hold the run at an error of users' code, whatever the config says; or as the config says. Called between two instants."""
        wanted = wanted or self._is_held_on_errors
        if wanted is not self._pause_on_error:
            self._pause_on_error = wanted
            self._match = self._match_or_hold if wanted else self._agent.match_orders
            self._ask_for_handlers()

    def guard_by(self, make: Callable[[], RestGuard]) -> None:
        """Have another guard made when the run rests next. The caller holds the run at an instant, or it hasn't begun."""
        self._guard_of, self._guard = make, None

    def run_deferred(self, cursor: int) -> None:
        """Make the calls that callbacks have deferred. The caller holds the run at an instant."""
        while self.deferred:
            call = self.deferred.popleft()
            try:
                call(cursor)
            except BaseException as error:  # noqa: BLE001 - users' code may raise anything
                self.fail(error)

    def under_way(self) -> Frame[S]:
        """A frame of the instant under way, for a strategy's call that asks in the middle of it; it isn't published."""
        return self._freeze(max(self._agent.index + 1, 0))

    def abandon(self) -> None:
        """Give up a strategy's call that doesn't return, and publish; if it returns later, no bar is delivered any more."""
        self._abandoned = True
        for handlers in self._handlers:
            handlers.clear()
        self._calls[:] = [_ignore] * len(self._calls)
        # The call may go on and change the state that is read here; if that fails, the last frame stays.
        with suppress(RuntimeError):
            self.frame = self.under_way()

    # -- the inner loops ------------------------------------------------------------------------------------

    def _deliver_single(self, batch: Batch, cursor: int, gate_state: Limit) -> int:
        agent, pending, match_orders = self._agent, self._agent.pending, self._match
        series, call = batch.axis.series[0], self._calls[0]
        warmup = series.first
        bar = None
        try:
            for bar in batch.bars:
                agent.index = cursor
                cursor += 1
                series.n = cursor + warmup
                if pending:
                    match_orders((bar,))
                call(bar)
                if cursor >= gate_state.limit:
                    break
        except BaseException as error:  # noqa: BLE001 - a strategy may raise anything; it is kept, not swallowed
            self.fail(error, call, bar, cut=1)
        return cursor

    def _deliver_many(self, batch: Batch, cursor: int, gate_state: Limit) -> int:
        agent, pending, match_orders = self._agent, self._agent.pending, self._match
        series, calls, streams, events = batch.axis.series, self._calls, batch.streams, batch.events
        call, bar = None, None
        try:
            for count in batch.counts:
                agent.index = cursor
                cursor += 1
                if count == 1:
                    # One bar, as at four of five instants of 1m bars with coarser ones: without lists this saves 0.2 us.
                    number = next(events)
                    series[number].n += 1
                    bar = streams[number]()
                    if pending:
                        match_orders((bar,))
                    call = calls[number]
                    call(bar)
                else:
                    numbers = list(islice(events, count))
                    bars = []
                    for number in numbers:
                        series[number].n += 1
                        bars.append(streams[number]())
                    if pending:
                        match_orders(bars)
                    for number, bar in zip(numbers, bars, strict=True):
                        call = calls[number]
                        call(bar)
                if cursor >= gate_state.limit:
                    break
        except BaseException as error:  # noqa: BLE001 - kept for `error`
            self.fail(error, call, bar, cut=1)
        return cursor

    def _deliver(self, batch: Batch, cursor: int) -> int:
        """Deliver instants up to the gate's limit; if each is watched, one by one."""
        deliver = self._deliver_many if batch.axis.events is not None else self._deliver_single
        gate_state, watch = self._gate.state, self.watch
        if watch is None or not watch.asks_each:
            return deliver(batch, cursor, gate_state)
        while cursor < batch.window.stop:
            cursor = deliver(batch, cursor, _EACH)
            watch.completed(cursor)
            if cursor >= gate_state.limit or self._error is not None:
                break
        return cursor

    # -- at boundaries --------------------------------------------------------------------------------------

    def _boundary(self, cursor: int, generation: int, *, leaving: bool = False) -> Decision:
        """Ask the gate for a decision, and publish a frame each time that it wants one."""
        gate = self._gate
        self._arrive(cursor)
        rests = gate.rests
        while True:
            self._tell_of(cursor)
            if gate.is_asked:
                self._yielding.make_due()
            fresh = perf_counter() < self._stale
            decision = gate.at_boundary(
                cursor, generation, self.frame.cursor, self._quantum.turn, fresh=fresh, leaving=leaving
            )
            if decision is Decision.JUMP:
                self._jump(cursor)
                generation, leaving, cursor = -1, True, self._agent.index + 1
                continue
            if decision is Decision.GO and self._is_kept(cursor):
                continue
            if decision is not Decision.PUBLISH:
                if gate.rests != rests:
                    self._yielding.note_rest()
                return decision
            self._publish(cursor)

    def _tell_of(self, cursor: int) -> None:
        if self.note is not None and self.frame.cursor == cursor:
            self.note(self.frame)
        if self._guard_of is not None and self._gate.is_resting_at(cursor):
            self._guard = self._guard or self._guard_of()
            self._guard.rest()

    def _is_kept(self, cursor: int) -> bool:
        """Before instants follow: True if something was done or found at this place, and the gate has to be asked again."""
        refused = None if self._guard is None else self._guard.go_on()
        if refused is not None:
            self._gate.hold_here(refused)
            return True
        if self.keeper is not None and self.keeper.depart(cursor):
            return True
        return self.watch is not None and self.watch.renewed(cursor)

    def _publish(self, cursor: int) -> None:
        self.frame = self._freeze(cursor)
        self._stale = perf_counter() + self.FRESH
        self._ask_watcher(cursor)
        if self.keeper is not None:
            self.keeper.arrive(cursor)

    def _arrive(self, cursor: int) -> None:
        if self.deferred:
            self.run_deferred(cursor)
        if self.watch is not None:
            self.watch.arrived(cursor)
        if self.keeper is not None:
            self.keeper.arrive(cursor)

    def _ask_watcher(self, cursor: int) -> None:
        move = self._gate.move_watched_at(cursor)
        if move is not None and move.watcher is not None and (move, cursor) != self._watched:
            self._watched = move, cursor
            try:
                found, problem = move.watcher(self.frame), None
            except BaseException as error:  # noqa: BLE001 - raised by the command that set the watcher
                found, problem = False, error
            self._gate.watched(move, found, problem)

    def _jump(self, cursor: int) -> None:
        jump = self._gate.jump_asked
        if jump is not None and self.travel is not None:
            self.travel(jump, cursor)
        elif jump is not None:
            self._gate.stayed(jump, None)

    def _let_others_in(self, seconds: float) -> None:
        """Sleep at rest between two turns, so that other threads can have the interpreter."""
        self._boundary(self._agent.index + 1, self._gate.generation, leaving=True)
        self._gate.doze(seconds)

    def _freeze(self, cursor: int) -> Frame[S]:
        axis = self._timeline.axis
        return Frame(cursor, axis, tuple([series.n for series in axis.series]), self._agent.freeze(), self.epoch)

    # -- calls and failures ---------------------------------------------------------------------------------

    def _ask_for_handlers(self) -> None:
        self._handlers.clear()
        self._calls = [self._call_for(series) for series in self._timeline.series]

    def _call_for(self, series: Series) -> Handler:
        handlers = list(self._agent.handlers(series))
        if self._pause_on_error:
            handlers = [self._held(handler) for handler in handlers]
        if len(handlers) == 1:
            return handlers[0]

        self._handlers.append(handlers)

        def call_all(bar: Bar) -> None:
            for handler in handlers:
                try:
                    handler(bar)
                except BaseException as error:
                    raise _HandlerFailed(handler) from error

        return call_all if handlers else _ignore

    def _held(self, handler: Handler) -> Handler:
        """Wrap a handler: if it raises, the run is held at that instant, and the other handlers are still called."""

        def call(bar: Bar) -> None:
            try:
                handler(bar)
            except BaseException as error:  # noqa: BLE001 - kept for `error`, and shown while the run is paused
                self.fail(error, handler, bar)

        return call

    def _match_or_hold(self, bars: Sequence[Bar]) -> None:
        """Match orders; if that raises, the run is held at that instant, and its callbacks are still called."""
        try:
            self._agent.match_orders(bars)
        except BaseException as error:  # noqa: BLE001 - kept for `error`
            self.fail(error)

    def fail(self, error: BaseException, handler: Handler | None = None, bar: Bar | None = None, cut: int = 0) -> None:
        """End the run, or hold it, for an error of `handler` at `bar`, or of none; `cut` is 1 if its instant isn't complete."""
        cause = error.__cause__
        if isinstance(error, _HandlerFailed) and cause is not None:
            handler, error = error.handler, cause
        reported = self._agent.failed(error, handler, bar)
        self.errors.add(self._agent.index + 1)
        if self._pause_on_error and self._delivering:
            self.has_held = True
            self._gate.hold_here(reported)
        else:
            if self._error is None:
                self._error, self._cut_short = reported, cut
            self._gate.end()


Limit = GateState | _EachInstant
_EACH = _EachInstant()


def _ignore(bar: Bar) -> None:
    """Stand in for strategies that don't look at a series."""
