"""One run with its stages, its world and its end, started once and ended once."""

from __future__ import annotations

import logging
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.enums import InputKind, SystemState
from nbbacktest.core.errors import (
    DataError,
    NbBacktestError,
    OrderError,
    ReplayError,
    StrategyBlockedError,
    StrategyError,
)
from nbbacktest.core.formats import said
from nbbacktest.core.inputs import Fork, Input
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Flag, Monitor, surely
from nbbacktest.core.records import Int64, Stamps
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.gate_state import JumpRequest
from nbbacktest.report.result import Result
from nbbacktest.system.journey import Destination, Journey, Line
from nbbacktest.system.origin import note_left
from nbbacktest.system.runner import Runner, ThreadedRunner, has_threads, uninterrupted
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.universe import SymbolBars
from nbbacktest.system.world import World, record_of
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.snapshot import Snapshot, TradingSnapshot

if TYPE_CHECKING:
    from nbbacktest.system.break_terms import Breakpoint
    from nbbacktest.system.journal.writer import RunJournal
    from nbbacktest.trading.desk import TradingDesk
    from nbbacktest.trading.look import PastInstants

logger = logging.getLogger("nbbacktest")

ACT_SECONDS = 10.0
"""The most seconds that an input by hand waits for a strategy's call."""
FEED_SECONDS = 2.0
"""The most seconds that the end of a run waits for the end of its feed."""


class Run:
    """The stages of one run, its world and its end.

    A run holds no reference to its manager: dropping the manager ends the run.

    Attributes
    ----------
    journey : Journey
        Takes the run to other places of its line.
    held_at : (int, int, tuple of Breakpoint)
        The epoch and the cursor at which breakpoints have held it last, and which ones. Written by the analysis thread.
    is_shown : bool
        True once the run is its manager's present one.
    fork : Fork or None
        The place at which another run was forked into this one; None if it wasn't.
    journal : RunJournal or None
        Keeps on disk what is needed to go on with the run if its process dies.
    """

    def __init__(
        self,
        stages: Stages,
        describe: Callable[[Run], dict[str, Any]],
        on_end: Callable[[Run], None],
        journal: RunJournal | None = None,
        line: Line | None = None,
    ) -> None:
        self._stages = stages
        self.config = stages.config
        self.gate = stages.gate
        self.analysis = stages.analysis
        self.processor = stages.processor
        self.coordinator = stages.coordinator
        self.streams = stages.streams
        self.quantum = stages.quantum
        self.lag = stages.lag
        self.feed = stages.feed
        self.inbox = stages.inbox
        self.journey = Journey(stages, line)
        self.is_shown = False
        self.fork: Fork | None = None
        self.journal: RunJournal | None = None
        if journal is not None:
            self.keep(journal)
        self._is_stopped = False  # by a command; written by `stop`
        self._live_objects = stages.live_objects
        self._describe = describe
        self._on_end = on_end
        self._began = monotonic()
        self._ended: float | None = None  # written by `_finalize`, once
        self._crash: BaseException | None = None  # the first crash of a stage; written once, by that stage's thread
        self._told: tuple[BaseException | None, str | None] | None = None  # the error and its text as the run ended
        self._done = Flag()
        self._finalized = threading.Lock()  # taken once and kept, by `_finalize`
        self._acting = threading.Lock()  # held for an input by hand
        self._ending = threading.Lock()  # guards the listeners, and is held while the result is made
        self._result: Result | None = None
        self._looking = threading.Lock()  # guards `_past`, which is kept from one look to the next
        self._past: tuple[World, PastInstants] | None = None
        # the cursor at the last poll: any face writes it, and at worst one publication more is asked for
        self._polled = -1
        self._listeners: list[Callable[[Run], None]] = []
        self.held_at: tuple[int, int, tuple[Breakpoint, ...]] = (-1, -1, ())
        self._runner = self._runner_of(stages)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Set the stages going; if the operating system refuses a thread, none is left."""
        self._began = monotonic()
        self._runner.start()

    def keep(self, journal: RunJournal) -> None:
        """Write this journal from now on; called before the start, or at rest."""
        self.journal = self.journey.journal = journal
        self.analysis.note = self._note

    def stop(self, timeout: float) -> None:
        """End the run from wherever it is.

        Raises
        ------
        StrategyBlockedError
            A strategy's call didn't return within `timeout` seconds. The run has ended all the same: its thread is
            left behind, and ends when the call returns.
        """
        replay = self.replay
        if replay is not None:
            replay.gate.end()
            return
        self._is_stopped = True
        surely(self._end)
        if self.is_engine_thread() or self._runner.wait(self._done, timeout):
            return
        blocked = StrategyBlockedError(
            f"{self.blocked_call()} has not returned {timeout:g} s after stop(); "
            "the run is stopped without it, and its thread ends when the call returns"
        )
        self.abandon(blocked)
        raise blocked

    def abandon(self, error: BaseException) -> None:
        """End the run without waiting for the strategy's call any longer."""
        self.analysis.abandon()
        self._crash_with(error)
        self._runner.give_up()
        if not self._done.wait(1.0):
            uninterrupted(self._finalize)

    def call_off(self, error: BaseException, timeout: float) -> None:
        """End a run whose start was cut short by `error`, before its first thread or after it; waits for the end."""
        surely(lambda: self._crash_with(error))
        self._runner.call_off()
        self._runner.wait(self._done, timeout)

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; False after `timeout` seconds."""
        return self._runner.wait(self._done, timeout)

    def when_done(self, listener: Callable[[Run], None]) -> Callable[[], None]:
        """Call `listener` at the end, from the coordinator's thread; at once if the run has ended.

        Returns the function that cancels the call.
        """

        def forget() -> None:
            with self._ending:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        with self._ending:
            if not self._done.is_set():
                self._listeners.append(listener)
                return forget
        listener(self)
        return forget

    def is_engine_thread(self) -> bool:
        """True in a strategy's call and in a thread of the engine: there, nothing may wait for the run."""
        return self._runner.is_here() or self.gate.is_analyst

    @property
    def done(self) -> bool:
        """True if the run has ended."""
        return self._done.is_set()

    def rewind(self, place: Callable[[int], int | Destination | None]) -> bool:
        """Rest at a place of the line; `place` gives it, from the cursor at which the run stands.

        Returns False if there is no such place, or the run ended, or another command moved it, first. Raises what `place`
        raises, and `ReplayError`.
        """
        return self.gate.jump(JumpRequest(place), self.streams[-1].nudge)

    def act(
        self,
        what: InputKind,
        strategy: str | None,
        arguments: Mapping[str, Any],
        bars: SymbolBars | None = None,
        by: str = "python",
    ) -> Any:
        """Do something by hand between two instants; see `Journey.act`. From any thread that isn't the engine's.

        Raises
        ------
        TimeoutError
            If a strategy's call is under way for more than 10 s.
        """

        def held(goes_on: bool) -> Any:  # noqa: FBT001 - as the gate calls it
            if not goes_on:
                kind = DataError if what in (InputKind.ADD, InputKind.REMOVE) else OrderError
                raise kind(f"the run has ended; {what} is for a run that goes on")
            return self.journey.act(what, strategy, arguments, bars, by)

        return uninterrupted(lambda: self.still(held))  # a run can't go on with an input that was done only in part

    def still(self, action: Callable[[bool], Any]) -> Any:
        """Call `action` with the run at rest, and nothing done to it by hand meanwhile; with False if it has ended.

        Raises
        ------
        TimeoutError
            If a strategy's call is under way for more than 10 s.
        """
        with self._acting:
            return self.gate.while_held(action, ACT_SECONDS)

    def successor(self, lifecycle: Lifecycle, condition: Monitor, line: Line | None = None) -> tuple[Stages, Line]:
        """The stages of another run that goes on with `line`, or with the line of this one, which has ended; before its first instant.

        Raises
        ------
        ReplayError
            If its origin can't be made again.
        """
        stages = self._stages
        if stages.again is None:
            raise ReplayError("this run can't be rewound: its origin isn't known")
        if stages.world.bars is not None:
            stages.world.bars.renew_loader()
        speed = stages.coordinator.speed
        made = wire(stages.config, lifecycle, condition, stages.again(), clock=stages.clock, speed=speed)
        made.analysis.remember_errors(self.analysis)
        made.world.desk.is_replay = True
        line = line or self.journey.ended(self.analysis.completed)
        return replace(made, again=stages.again, live_objects=stages.live_objects), line

    @property
    def world(self) -> World:
        """The present one: timeline, desk, universe; in a strategy's call the one that it is in, on its way to a place of the past.

        Read it once, and read the rest from there: another world may take its place while the run is held.
        """
        replay = self.replay
        return self._stages.world if replay is None else replay.world

    @property
    def replay(self) -> Stages | None:
        """In a strategy's call that repeats an instant of the past, the stages that replay it; None for every other caller.

        Commands of that call, and its questions, concern these, and are answered as they were when the instant was new.
        """
        replay = self.journey.replay
        return replay.stages if replay is not None and self.gate.is_analyst else None

    @property
    def stages(self) -> Stages:
        """Those that the caller's commands reach: those of `replay` in its calls, else the run's own."""
        return self.replay or self._stages

    @property
    def horizon(self) -> int:
        """The largest number of instants that the run has completed; more than its cursor if it was taken back."""
        replay = self.replay
        if replay is not None:
            return replay.gate.cursor
        return self.analysis.completed if self.done and self.journey.line.past is None else self.journey.horizon

    @property
    def instants(self) -> Int64:
        """The instants of the run, nanoseconds UTC; in its past, with those of symbols that are to join."""
        replay = self.replay
        return self.journey.instants if replay is None else replay.world.desk.instants

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs that were done by hand, in order."""
        return tuple([one.input for one in self.journey.line.inputs])

    @property
    def held_by(self) -> tuple[Breakpoint, ...]:
        """The breakpoints that hold the run where it stands."""
        *place, hits = self.held_at
        return hits if self.gate.is_held and place == [self.analysis.epoch, self.gate.cursor] else ()

    # -- what can be seen of it --------------------------------------------------------------------------------------

    @property
    def error(self) -> BaseException | None:
        """The error that ended the run, or holds it; None if there is none."""
        return self._crash or self.processor.error or self.stages.analysis.error

    @property
    def traceback(self) -> str | None:
        """The error's traceback, as text."""
        error = self.error
        if self._told is None or self._told[0] is not error:
            return "".join(traceback.format_exception(error)) if error else None
        return self._told[1]

    @property
    def source(self) -> str:
        """The source of the bars, for people."""
        return self.world.market.source if self.feed is None else self.feed.source

    @property
    def is_live(self) -> bool:
        """True if its bars come from a feed."""
        return self.feed is not None

    @property
    def disagreements(self) -> int:
        """The number of places where coarser bars disagree with the base bars."""
        return len(self.world.market.disagreements)

    @property
    def stamps(self) -> Stamps:
        """The format in which this run shows instants."""
        return self.world.market.stamps

    @property
    def days(self) -> TradingDays:
        """The trading days that times belong to."""
        return self.world.market.days

    @property
    def quality(self) -> dict[str, dict[str, Any]]:
        """The quality of each symbol's bars; empty in a live run, whose feed counts instead."""
        return {} if self.is_live else self.world.market.quality

    @property
    def duration(self) -> float:
        """Wall seconds from the start to the end, or to now."""
        return (self._ended or monotonic()) - self._began

    @property
    def achieved_speed(self) -> float:
        """Simulated seconds a second of wall time, since the run was last set in motion.

        Counted in open hours if a clock paces the run, else in plain time.
        """
        stages, timeline = self.stages, self.world.timeline
        moved, seconds = stages.gate.motion
        if self._ended is not None and not self.gate.is_held:
            seconds -= monotonic() - self._ended  # the gate's clock goes on
        cursor = self.published().cursor
        if moved < 2 or seconds <= 0 or cursor <= 0:
            return 0.0
        first, last = max(cursor - moved, 0), cursor - 1
        if stages.coordinator.speed > 0:
            simulated = float(timeline.seconds[last] - timeline.seconds[first])
        else:
            simulated = float(timeline.instants[last] - timeline.instants[first]) / 1e9
        return simulated / seconds

    def published(self) -> Snapshot:
        """The engine's last publication; neither asks nor waits."""
        return self._shown(self.stages.analysis.frame)

    def followed(self) -> Snapshot:
        """The last publication, for a face that polls.

        If there was none since the last poll, it asks for one, for the next poll: a strategy that has turned slow takes long to
        the end of its turn, where a run publishes by itself.
        """
        shot = self.published()
        if shot.cursor == self._polled and has_threads() and not (self.done or self.is_engine_thread()):
            self.gate.ask(0.0)
        self._polled = shot.cursor
        return shot

    def _shown(self, frame: Frame[TradingSnapshot]) -> Snapshot:
        return Snapshot(frame.cursor, len(frame.axis.instants), frame, self.stamps, self.days, is_open=self.is_live)

    def snapshot(self, timeout: float = 0.25) -> Snapshot:
        """The run as of its cursor; if a strategy's call takes longer than `timeout` seconds, the last publication.

        Inside a strategy's call it shows the instant under way, as far as that has come.
        """
        if self.gate.is_analyst and not self.done:
            return self._shown(self.stages.analysis.under_way())
        if not (self.done or self.is_engine_thread()):
            self.gate.ask(timeout)
        return self.published()

    def look(self, cursor: int) -> Snapshot:
        """The run as it was when it had completed `cursor` instants, which aren't more than its horizon; from any thread."""
        newest = self.snapshot() if self.gate.is_analyst else self.published()
        if cursor == newest.cursor:
            return newest
        with self._looking:
            # An interrupt in between leaves no cached past, and the next look begins anew.
            world, kept, self._past = self._world_of(cursor), self._past, None
            past = kept[1] if kept is not None and kept[0] is world else self.recorded_past(world.desk)
            shot = past.at(cursor, world.timeline.axis)
            self._past = world, past
        return shot

    def _world_of(self, cursor: int) -> World:
        """The world that has completed so many instants: the present one, or that from which the run was taken back."""
        return self.world if cursor <= self.world.desk.index + 1 else self.journey.farthest

    def recorded_past(self, desk: TradingDesk) -> PastInstants:
        """The completed instants of a desk of this run; not for several threads."""
        from nbbacktest.trading.look import PastInstants, RunTraces
        from nbbacktest.trading.order_replay import BrokerRules

        rules = BrokerRules.of(self.config.to_dict())
        traces = RunTraces(desk.broker.terms.cash, desk.lists, desk.notes, rules)
        return PastInstants(traces, desk.indicators.at, self.stamps, self.days)

    def moment(self, cursor: int) -> str | None:
        """The instant completed at that cursor, ISO 8601 with offset; None before the first."""
        if not cursor:
            return None
        aware = Stamps(self.stamps.timezone)
        return aware.stamp(int(self.world.timeline.instants[cursor - 1])).isoformat()

    def session_date(self, cursor: int) -> str | None:
        """The trading day of that instant, which belongs to the day that it ends."""
        return self.days.day(int(self.world.timeline.instants[cursor - 1]) - 1).isoformat() if cursor else None

    def result(self) -> Result:
        """The result of the run; call it when the run has ended."""
        with self._ending:
            if self._result is None:
                self._result = Result(self.record())
            return self._result

    # -- the stages -----------------------------------------------------------------------------------------

    def _runner_of(self, stages: Stages) -> Runner:
        if not has_threads():
            from nbbacktest.system.cooperative import CooperativeRunner

            return CooperativeRunner(stages, self._crash_with, self._finalize)
        chunks = stages.world.chunks
        loader = {} if chunks is None else {"loader": self._guarded(chunks.loader.work)}
        bodies = loader | {
            "analysis": self._guarded(lambda: self.analysis.work(lambda: self.processor.batch)),
            "processor": self._guarded(self.processor.work),
            "coordinator": self._guarded(self.coordinator.work),
        }
        return ThreadedRunner(bodies, self._crash_with, self._finalize)

    def _guarded(self, body: Callable[[], None]) -> Callable[[], None]:
        """Keep the error of a stage, and end the run: no other stage may wait for it."""

        def work() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - kept in `error`, which every waiting call raises
                self._crash_with(error)

        return work

    def _crash_with(self, error: BaseException) -> None:
        self._crash = self._crash or error
        self._end()

    def _end(self) -> None:
        """Tell all stages to end, however they wait."""
        self.gate.end()
        for stream in self.streams:
            stream.close()
        self.journey.close()

    def _finalize(self) -> None:
        if not self._finalized.acquire(blocking=False):
            return
        self._ended = monotonic()
        self._told = self.error, self.traceback  # raising it adds frames
        for strategy in self.world.desk.strategies:
            self._tell(note_left, strategy)
        if self.feed is not None:
            self._end_feed(self.feed)
        told = self.gate.closed  # ended by `stop`, or with its manager
        try:
            self.gate.end(Command.FAIL if self.error is not None else Command.STOP if told else Command.FINISH)
            self._tell(self._on_end, self)
        finally:
            self.journey.close()
            if self.journal is not None:
                how = "finished" if not told else "stopped" if self._is_stopped else None
                self._tell(self.journal.leave, self, self._course(), how)
            with self._ending:
                self._done.set()
                listeners, self._listeners = self._listeners, []
        for listener in listeners:
            self._tell(listener, self)

    def _note(self, frame: Frame[TradingSnapshot]) -> None:
        """Tell the journal where the run stands; in the analysis thread."""
        if self.journal is not None:
            self.journal.note(frame, self._course(), rests=self.gate.is_resting_at(frame.cursor))

    def _course(self) -> tuple[int, int, int]:
        """The horizon, the inputs that were done, and those of the whole line."""
        return self.journey.horizon, self._stages.world.n_inputs, len(self.journey.line.inputs)

    def _end_feed(self, feed: Feed) -> None:
        """End the feed; the run waits for a user's feed no longer than `FEED_SECONDS`."""
        if type(feed).__module__.startswith("nbbacktest."):
            self._tell(feed.end)
            return
        call = threading.Thread(target=self._tell, args=(feed.end,), name="nbbacktest-feed-end", daemon=True)
        call.start()
        call.join(FEED_SECONDS)
        if call.is_alive():
            logger.error("%r.end() has not returned after %g s; the run has ended without it", feed, FEED_SECONDS)

    def _tell(self, listener: Callable[..., object], *facts: object) -> None:
        """Call a function that may be a user's; if it raises, the run still ends for every thread that waits."""
        try:
            listener(*facts)
        except BaseException:
            logger.exception("%r raised at the end of a run", listener)

    def blocked_call(self) -> str:
        """Name the line of user code that the analysis executes."""
        return self._runner.blocked_call()

    def record(self) -> RunRecord:
        """The run so far, as plain data; the caller holds it at rest, or it has ended."""
        synthetic = self.world.market.synthetic if self.feed is None else self.feed.synthetic
        return record_of(
            self.config,
            self.world,
            self.analysis.frame,
            source=self.source,
            synthetic=synthetic,
            metrics=self._describe(self),
            live_sections=self._live_objects,
            inputs=self.inputs[: self.world.n_inputs],
        )


def outcome(run: Run) -> Result:
    """The result of an ended run.

    Raises
    ------
    StrategyError
        From the strategy's own exception; `.result` has the result until then.
    NbBacktestError
        A stage of the engine crashed, or a strategy's call never returned.
    """
    result, error = run.result(), run.error
    if error is None:
        return result
    if isinstance(error, (StrategyError, DataError)):
        error.result = result
    if isinstance(error, NbBacktestError):
        raise error.with_traceback(None)  # otherwise its traceback would collect the frames of every `wait`
    raise NbBacktestError(f"the engine failed: {said(error)}") from error


class MovingTime:
    """Counts the wall seconds for which a run has moved: the clock that a face shows. For one thread, and one run after another.

    A rest counts from the moment at which it is first seen; if a run rested before that, this time is part of the count.
    """

    def __init__(self) -> None:
        self._run: weakref.ref[Run] | None = None
        self._rested = 0.0
        self._since: float | None = None  # the run's duration when its present rest was first seen

    def seconds(self, run: Run, state: SystemState) -> float:
        """Wall seconds from the run's start to its end or to now, without the rests that were seen."""
        if self._run is None or self._run() is not run:
            self._run, self._rested, self._since = weakref.ref(run), 0.0, None
        now = run.duration
        if state is SystemState.PAUSED:
            self._since = now if self._since is None else self._since
            return self._since - self._rested
        if self._since is not None:
            self._rested, self._since = self._rested + now - self._since, None
        return now - self._rested
