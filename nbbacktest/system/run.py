"""One run, whole: its stages, its threads, its end. Started once, ends once."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.clock import Clock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, NbBacktestError, StrategyBlockedError, StrategyError
from nbbacktest.core.lifecycle import Command
from nbbacktest.core.monitor import Flag, surely
from nbbacktest.core.records import Stamps
from nbbacktest.core.shown import said
from nbbacktest.data.market import MarketData
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.analysis import AnalysisEngine, Frame
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.inbox import Inbox
from nbbacktest.engine.lag import LagWatch
from nbbacktest.engine.loader import ChunkLoader
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Quantum
from nbbacktest.report.result import Result
from nbbacktest.system.driver import Driver, Threads
from nbbacktest.system.instances import end
from nbbacktest.system.membership import FixedSymbols, SymbolMembership
from nbbacktest.system.recorded import recorded
from nbbacktest.system.threads import has_threads, whole
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.snapshot import Snapshot

if TYPE_CHECKING:
    from nbbacktest.trading.look import PastInstants

logger = logging.getLogger("nbbacktest")

FEED_SECONDS = 2.0
"""How long a run's end waits for its feed's."""
EXIT_SECONDS = 1.0
"""How long the process's exit waits for strategies' calls, for all runs together."""


@dataclass(frozen=True)
class Stages:
    """What a builder has wired together for one run."""

    config: SessionConfig
    market: MarketData
    timeline: Timeline
    desk: TradingDesk
    gate: RunGate
    quantum: Quantum
    analysis: AnalysisEngine
    processor: DataProcessor
    coordinator: SessionCoordinator
    membership: SymbolMembership | FixedSymbols
    streams: tuple[StreamSubscription, ...]
    lag: LagWatch
    clock: Clock
    feed: Feed | None = None
    inbox: Inbox | None = None
    loader: ChunkLoader | None = None
    handed: Mapping[str, Any] = field(default_factory=dict)
    """What the config says of live objects that took the place of its own: see `origin.handed_over`."""


class Run:
    """The stages of one run, what moves them and what they leave behind.

    Holds no reference to its manager: dropping that one ends the run.
    """

    def __init__(
        self, stages: Stages, describe: Callable[[Run], dict[str, Any]], on_end: Callable[[Run], None]
    ) -> None:
        self.config = stages.config
        self.timeline = stages.timeline
        self.gate = stages.gate
        self.analysis = stages.analysis
        self.processor = stages.processor
        self.coordinator = stages.coordinator
        self.membership = stages.membership
        self.streams = stages.streams
        self.loader = stages.loader
        self.desk = stages.desk
        self.quantum = stages.quantum
        self.lag = stages.lag
        self.feed = stages.feed
        self.inbox = stages.inbox
        self._market = stages.market
        self._handed = stages.handed
        self._describe = describe
        self._on_end = on_end
        self._began = monotonic()
        self._ended: float | None = None  # written by `_finalize`, once
        self._crash: BaseException | None = None  # the first crash of a stage; written once, by that stage's thread
        self._told: tuple[BaseException | None, str | None] | None = None  # the error and its text as the run ended
        self._done = Flag()
        self._finalized = threading.Lock()  # taken once and kept, by whoever finalizes
        self._ending = threading.Lock()  # guards the listeners, and the result's making
        self._result: Result | None = None
        self._looking = threading.Lock()  # guards `_past`, which is kept from one look to the next
        self._past: PastInstants | None = None
        self._listeners: list[Callable[[Run], None]] = []
        self._driver = self._driven(stages)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Set the stages going; where the system refuses a thread, none is left."""
        self._began = monotonic()
        self._driver.start()

    def stop(self, timeout: float) -> None:
        """End the run from wherever it is.

        Raises
        ------
        StrategyBlockedError
            A strategy's call didn't return within `timeout` seconds. The run has ended all the same: its thread is
            left behind, and ends when the call returns.
        """
        surely(self._end)
        if self.is_engine_thread() or self._driver.wait(self._done, timeout):
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
        self._driver.give_up()
        if not self._done.wait(1.0):
            whole(self._finalize)

    def call_off(self, error: BaseException, timeout: float) -> None:
        """End a run whose start was cut short by `error`, be it before its first thread or after; waits for that."""
        surely(lambda: self._crash_with(error))
        self._driver.call_off()
        self._driver.wait(self._done, timeout)

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; False after `timeout` seconds."""
        return self._driver.wait(self._done, timeout)

    def when_done(self, listener: Callable[[Run], None]) -> Callable[[], None]:
        """Call `listener` at the end, from the coordinator's thread; at once where it has come.

        Returns the function that takes the wish back.
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
        """Whether the caller is in a strategy's call, or a thread of the engine: then it must not wait for the run."""
        return self._driver.is_here() or self.gate.is_analyst

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._done.is_set()

    # -- what it shows --------------------------------------------------------------------------------------

    @property
    def error(self) -> BaseException | None:
        """Why the run failed, or is held; None where nothing did."""
        return self._crash or self.processor.error or self.analysis.error

    @property
    def traceback(self) -> str | None:
        """The error's traceback, as text."""
        error = self.error
        if self._told is None or self._told[0] is not error:
            return "".join(traceback.format_exception(error)) if error else None
        return self._told[1]

    @property
    def source(self) -> str:
        """Where the bars come from."""
        return self._market.source if self.feed is None else self.feed.source

    @property
    def is_live(self) -> bool:
        """Whether its bars come from a feed."""
        return self.feed is not None

    @property
    def disagreements(self) -> int:
        """In how many places coarser bars say something else than the base bars."""
        return len(self._market.disagreements)

    @property
    def stamps(self) -> Stamps:
        """How this run shows instants."""
        return self._market.stamps

    @property
    def days(self) -> TradingDays:
        """Which trading day a time belongs to."""
        return self._market.days

    @property
    def quality(self) -> dict[str, dict[str, Any]]:
        """By symbol, how complete and sound its bars are; nothing in a live run, whose feed counts instead."""
        return {} if self.is_live else self._market.quality

    @property
    def duration(self) -> float:
        """Wall seconds from the start to the end, or to now."""
        return (self._ended or monotonic()) - self._began

    @property
    def achieved_speed(self) -> float:
        """Simulated seconds a second of wall time, since the run was last set in motion.

        Counted in open hours where a clock paces the run, else in plain time.
        """
        moved, seconds = self.gate.motion
        if self._ended is not None and not self.gate.is_held:
            seconds -= monotonic() - self._ended  # the gate's clock goes on
        cursor = self.published().cursor
        if moved < 2 or seconds <= 0 or cursor <= 0:
            return 0.0
        first, last = max(cursor - moved, 0), cursor - 1
        if self.coordinator.speed > 0:
            simulated = float(self.timeline.seconds[last] - self.timeline.seconds[first])
        else:
            simulated = float(self.timeline.instants[last] - self.timeline.instants[first]) / 1e9
        return simulated / seconds

    def published(self) -> Snapshot:
        """What the engine published last; asks and waits for nobody."""
        return self._shown(self.analysis.frame)

    def _shown(self, frame: Frame) -> Snapshot:
        return Snapshot(frame.cursor, len(frame.axis.instants), frame, self.stamps, self.days, is_open=self.is_live)

    def snapshot(self, timeout: float = 0.25) -> Snapshot:
        """The run as of its cursor; where a strategy call takes longer than `timeout`, as of its last publication.

        Inside a strategy's call it is of the instant under way, as far as that has come.
        """
        if self.gate.is_analyst and not self.done:
            return self._shown(self.analysis.under_way())
        if not (self.done or self.is_engine_thread()):
            self.gate.ask(timeout)
        return self.published()

    def look(self, cursor: int) -> Snapshot:
        """The run as it was when it had completed `cursor` instants, no more than it has; from any thread."""
        newest = self.snapshot() if self.gate.is_analyst else self.published()
        if cursor == newest.cursor:
            return newest
        with self._looking:
            # An interrupt in between leaves none, and the next look begins anew.
            past, self._past = self._past or self._recorded_past(), None
            shot = past.at(cursor, self.timeline.axis)
            self._past = past
        return shot

    def _recorded_past(self) -> PastInstants:
        from nbbacktest.trading.look import PastInstants, RunTraces
        from nbbacktest.trading.order_replay import BrokerRules

        desk = self.desk
        rules = BrokerRules.of(self.config.to_dict())
        traces = RunTraces(desk.terms.cash, desk.fills, desk.orders, desk.flows, desk.splits, desk.notes, rules)
        return PastInstants(traces, desk.indicators.at, self.stamps, self.days)

    def moment(self, cursor: int) -> str | None:
        """The instant completed at that cursor, ISO 8601 with offset; None before the first."""
        if not cursor:
            return None
        aware = Stamps(self.stamps.timezone)
        return aware.stamp(int(self.timeline.instants[cursor - 1])).isoformat()

    def session_date(self, cursor: int) -> str | None:
        """The trading day of that instant, which belongs to the day that it ends."""
        return self.days.day(int(self.timeline.instants[cursor - 1]) - 1).isoformat() if cursor else None

    def result(self) -> Result:
        """What the run has done; call it when it has ended."""
        with self._ending:
            if self._result is None:
                self._result = Result(self._record())
            return self._result

    # -- the stages -----------------------------------------------------------------------------------------

    def _driven(self, stages: Stages) -> Driver:
        if not has_threads():
            from nbbacktest.system.slices import Slices

            return Slices(stages, self._crash_with, self._finalize)
        loader = {} if self.loader is None else {"loader": self._guarded(self.loader.work)}
        bodies = loader | {
            "analysis": self._guarded(lambda: self.analysis.work(lambda: self.processor.batch)),
            "processor": self._guarded(self.processor.work),
            "coordinator": self._guarded(self.coordinator.work),
        }
        return Threads(bodies, self._crash_with, self._finalize)

    def _guarded(self, body: Callable[[], None]) -> Callable[[], None]:
        """Keep what a stage raises, and end the run: nobody waits for a dead stage."""

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
        """Tell all stages, however they wait and whoever of them is gone."""
        self.gate.end()
        for stream in self.streams:
            stream.close()
        if self.loader is not None:
            self.loader.close()

    def _finalize(self) -> None:
        if not self._finalized.acquire(blocking=False):
            return
        self._ended = monotonic()
        self._told = self.error, self.traceback  # whoever it is raised to adds frames
        for strategy in self.desk.strategies:
            self._tell(end, strategy)
        if self.feed is not None:
            self._end_feed(self.feed)
        told = self.gate.closed  # by stop, or by its manager's end
        try:
            self.gate.end(Command.FAIL if self.error is not None else Command.STOP if told else Command.FINISH)
            self._tell(self._on_end, self)
        finally:
            if self.loader is not None:
                self.loader.close()
            with self._ending:
                self._done.set()
                listeners, self._listeners = self._listeners, []
        for listener in listeners:
            self._tell(listener, self)

    def _end_feed(self, feed: Feed) -> None:
        """Have the feed end; a user's may take its time, and the run waits for it no longer than `FEED_SECONDS`."""
        if type(feed).__module__.startswith("nbbacktest."):
            self._tell(feed.end)
            return
        call = threading.Thread(target=self._tell, args=(feed.end,), name="nbbacktest-feed-end", daemon=True)
        call.start()
        call.join(FEED_SECONDS)
        if call.is_alive():
            logger.error("%r.end() has not returned after %g s; the run has ended without it", feed, FEED_SECONDS)

    def _tell(self, listener: Callable[..., object], *facts: object) -> None:
        """Call what may be a user's: whatever it raises, the run ends for all that wait for it."""
        try:
            listener(*facts)
        except BaseException:
            logger.exception("%r raised at the end of a run", listener)

    def blocked_call(self) -> str:
        """Name the user's line that the analysis is in."""
        return self._driver.blocked_call()

    def _record(self) -> RunRecord:
        synthetic = self._market.synthetic if self.feed is None else self.feed.synthetic
        metrics = self._describe(self)
        return recorded(
            self.config,
            self._market,
            self.analysis,
            self.desk,
            source=self.source,
            synthetic=synthetic,
            metrics=metrics,
            handed=self._handed,
        )


def outcome(run: Run) -> Result:
    """The result of an ended run.

    Raises
    ------
    StrategyError
        From the strategy's own exception, with what was done until then in `.result`.
    NbBacktestError
        A stage of the engine crashed, or a strategy's call never returned.
    """
    result, error = run.result(), run.error
    if error is None:
        return result
    if isinstance(error, (StrategyError, DataError)):
        error.result = result
    if isinstance(error, NbBacktestError):
        raise error.with_traceback(None)  # else it would collect the frames of all who have waited
    raise NbBacktestError(f"the engine failed: {said(error)}") from error


class RunHolder:
    """Holds the present run of a manager, apart from it: the manager's end, or the process's, can end the run.

    Attributes
    ----------
    run : Run or None
        The present one, or the last one. Written by `put`.
    leash : Leash
        What the manager's end pulls.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.leash = Leash()
        _holders.add(self)

    def put(self, run: Run) -> None:
        """Hold another run; called under the manager's condition, before the run starts."""
        self.run = self.leash.run = run


class Leash:
    """Holds a run for as long as it goes on, for those that are to end it.

    A finalizer lives as long as its object, and what it holds does too. A run that has ended may lead back to its manager:
    by a strategy that knows it, or by the frames of an error.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self._process = os.getpid()

    def let_go(self, run: Run) -> None:
        """Forget a run that has ended, unless there is another one; told by the run's end."""
        if self.run is run:
            self.run = None

    def end(self) -> Run | None:
        """Tell the run to end and wait for nothing: this may be called by the garbage collector, from any thread.

        Returns the run where it goes on for a moment. A forked child has none of its parent's threads, nor their
        locks in any known state: there it does nothing.
        """
        run = self.run
        if run is None or run.done or self._process != os.getpid():
            return None
        run.gate.end()
        return run


_holders: weakref.WeakSet[RunHolder] = weakref.WeakSet()  # those of all managers that live, for the exit alone


@atexit.register
def _end_all() -> None:
    """End all runs, first telling each and then waiting, so that many take no longer than one."""
    deadline = monotonic() + EXIT_SECONDS
    ending = [holder.leash.end() for holder in list(_holders)]
    for run in ending:
        if run is not None:
            run.wait(max(deadline - monotonic(), 0.0))
