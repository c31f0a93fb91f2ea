"""Advances the time of a run: in lockstep, by the clock, as a feed completes instants, or in the caller's thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from nbbacktest.core.clock import Clock
from nbbacktest.core.enums import StreamMode
from nbbacktest.core.errors import LiveRunError
from nbbacktest.core.monitor import surely
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.feed import Feed, Inbox
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.live_bars import LiveColumns
from nbbacktest.engine.metrics import LagWatch, TimingSeries
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import Link
from nbbacktest.engine.timeline import Deadlines, Planner, Quantum, Timeline, Window

logger = logging.getLogger("nbbacktest")


class Coordinator(Protocol):
    """The first stage of a run, which `SystemManager.get_coordinator` returns.

    Attributes
    ----------
    timing : TimingSeries
        Seconds that releasing a window, or an instant, took; waiting is left out.
    overruns : int
        In live runs only: instants that were released while another one was under way. Written by its thread alone.
    """

    timing: TimingSeries
    overruns: int

    def pause_backtest(self) -> bool:
        """Hold the run and wait until it is at rest at an instant; see `SystemManager.pause`."""
        ...

    def resume_backtest(self) -> bool:
        """Let a paused run go on; see `SystemManager.resume`."""
        ...

    def is_paused(self) -> bool:
        """True if the run is at rest for its user."""
        ...

    @property
    def speed(self) -> float:
        """Seconds of open market a second of wall time; 0 is as fast as it goes."""
        ...

    def set_speed(self, multiplier: float) -> None:
        """Change the speed from the cursor on; 0 is data-driven."""
        ...

    def replan(self, renumber: Callable[[int], int]) -> None:
        """Plan again from the cursor: the instants to come have changed; see `RunGate.replan`."""
        ...

    def work(self) -> None:
        """Release instants until the data or the run is over. The body of a thread."""
        ...


class SessionCoordinator:
    """The coordinator of a backtest: releases a window when the last one is done or, paced by a clock, each instant on time."""

    overruns = 0

    def __init__(
        self,
        timeline: Timeline,
        gate: RunGate,
        link: Link,
        quantum: Quantum,
        *,
        lag: LagWatch | None = None,
    ) -> None:
        self._timeline = timeline
        self._gate = gate
        self._link = link
        self._quantum = quantum
        self._repacing = threading.Lock()  # held while speed, mode and plan change together
        self._speed = 0.0  # written under `_repacing`, read anywhere
        self._lag = lag
        self._planner = Planner(timeline)
        self.timing = TimingSeries()
        self._apply_mode()

    # -- what users call ------------------------------------------------------------------------------------

    def pause_backtest(self) -> bool:
        """Hold the run and wait until it is at rest at an instant; see `SystemManager.pause`."""
        return self._gate.pause()

    def resume_backtest(self) -> bool:
        """Let a paused run go on; see `SystemManager.resume`."""
        return self._gate.resume()

    def is_paused(self) -> bool:
        """True if the run is at rest for its user."""
        return self._gate.is_paused

    @property
    def speed(self) -> float:
        """Seconds of open market a second of wall time; 0 is as fast as it goes."""
        return self._speed

    def set_speed(self, multiplier: float) -> None:
        """Change the speed from the cursor on; 0 is data-driven."""
        if multiplier > 0:
            _ = self._timeline.seconds  # computed now, since it may fail and is slow the first time
        surely(lambda: self._repace(multiplier))

    def _repace(self, multiplier: float) -> None:
        with self._repacing:
            self._speed = multiplier
            self._apply_mode()
            self._gate.replan(paced=multiplier > 0)

    def replan(self, renumber: Callable[[int], int]) -> None:
        """Plan again from the cursor: the instants to come have changed; see `RunGate.replan`."""
        with self._repacing:
            self._gate.replan(paced=self._speed > 0, renumber=renumber)

    # -- the thread -----------------------------------------------------------------------------------------

    def work(self) -> None:
        """Plan until the data ends while the run isn't held, or the gate closes. The body of a thread."""
        inbox = self._link.subscription
        try:
            if not self._gate.await_start():
                return
            while not self._gate.closed:
                # While held, time doesn't advance; in lockstep the next window may be made ready all the same.
                if self._speed > 0 and not self._gate.await_open():
                    return
                # The plan before is done or given up: only then can the next plan begin at the cursor.
                if not inbox.wait_until_reset():
                    return
                # The speed is read once, after the standing: if it changes later, a new plan follows.
                standing, speed = self._gate.standing(), self._speed
                window = self._planner.next_window(standing, speed, self._quantum.length)
                if window is None:
                    if self._gate.may_end(self._timeline.__len__):
                        return
                elif window.pace is None:
                    self._release_window(window)
                else:
                    self._release_on_time(window, window.pace)
        finally:
            inbox.close()

    def _release_window(self, window: Window) -> None:
        began = perf_counter()
        start, stop, generation, _ = window
        if self._lag is not None and not (self._speed > 0 or self._lag.is_quiet):
            self._lag.forget(int(self._timeline.instants[start - 1]) if start else None)
        self._link.open(start, stop, generation)
        self.timing.add(perf_counter() - began)

    def _release_on_time(self, window: Window, pace: Deadlines) -> None:
        """Release a window's instant and those after it at their deadlines until the plan no longer holds.

        It waits for the clock alone: instants may be released while earlier ones are under way.
        """
        start, _, generation, _ = window
        link = self._link
        link.open(start, start, generation, pace)
        for instant in range(start, len(self._timeline)):
            if not self._sleep_until(instant, generation, pace):
                return
            began = perf_counter()
            link.release()
            self.timing.add(perf_counter() - began)
        self._watch_backlog(generation, pace)

    def _sleep_until(self, instant: int, generation: int, pace: Deadlines) -> bool:
        """Sleep until an instant is due, and look for lag meanwhile; False if the plan no longer holds."""
        lag, deadline = self._lag, pace.deadline(instant)
        while lag is not None and lag.due < deadline:
            if not self._gate.sleep_until(lag.due, generation):
                return False
            self._look_for_lag(lag, pace)
        return self._gate.sleep_until(deadline, generation)

    def _watch_backlog(self, generation: int, pace: Deadlines) -> None:
        """Look for lag after the last release, until all that was released is handled."""
        lag, gate, total = self._lag, self._gate, len(self._timeline)

        def is_over() -> bool:
            return gate.cursor >= total or gate.is_held or generation != gate.generation

        while lag is not None and not is_over() and gate.await_news(is_over, lag.due):
            self._look_for_lag(lag, pace)

    def _look_for_lag(self, lag: LagWatch, pace: Deadlines) -> None:
        lag.ask(self._timeline.axis, pace, self._gate.cursor)

    def _apply_mode(self) -> None:
        self._link.subscription.set_mode(StreamMode.CLOCK_DRIVEN if self._speed > 0 else StreamMode.DATA_DRIVEN)


class FeedTime(NamedTuple):
    """The deadlines of a live run: each instant is due at its own time, on the feed's clock.

    Attributes
    ----------
    clock : Clock
        The run's clock; deadlines are times of this clock.
    feed : Feed
    timeline : Timeline
    """

    clock: Clock
    feed: Feed
    timeline: Timeline

    def deadline(self, instant: int) -> float:
        """The time that the run's clock showed, or will show, at that instant."""
        now = self.clock.now()
        if not self.feed.is_timed:
            return now
        return now - (self.feed.now() - int(self.timeline.instants[instant])) / 1e9


class LiveCoordinator:
    """First stage of a live run. Each instant is released by itself, as soon as it is complete."""

    def __init__(
        self,
        timeline: Timeline,
        gate: RunGate,
        link: Link,
        *,
        feed: Feed,
        inbox: Inbox,
        columns: LiveColumns,
        clock: Clock,
        lag: LagWatch,
    ) -> None:
        self.timing = TimingSeries()
        self.overruns = 0
        self._timeline = timeline
        self._gate = gate
        self._link = link
        self._feed = feed
        self._inbox = inbox
        self._columns = columns
        self._lag = lag
        self._deadlines = FeedTime(clock, feed, timeline)
        self._planner = Planner(timeline, self._deadlines)
        link.subscription.set_mode(StreamMode.LIVE)

    # -- what users call ------------------------------------------------------------------------------------

    def pause_backtest(self) -> bool:
        """Refused: the market doesn't wait. Logs a warning, changes nothing, and returns False."""
        logger.warning("pause refused: a live run can't be held, the market doesn't wait; stop() ends it")
        return False

    def resume_backtest(self) -> bool:
        """Let a run go on that an error holds."""
        return self._gate.resume()

    def is_paused(self) -> bool:
        """True if an error holds the run."""
        return self._gate.is_paused

    @property
    def speed(self) -> float:
        """0: the feed says when an instant comes."""
        return 0.0

    def set_speed(self, multiplier: float) -> None:  # noqa: ARG002 - as a `Coordinator` has it
        """Refused.

        Raises
        ------
        LiveRunError
            Always.
        """
        raise LiveRunError("change the speed of")

    def replan(self, renumber: Callable[[int], int]) -> None:  # noqa: ARG002 - as a `Coordinator` has it
        """Refused, as `set_speed` is."""
        raise LiveRunError("change the symbols of")

    # -- the thread -----------------------------------------------------------------------------------------

    def work(self) -> None:
        """Release instants until the feed or the run is over. The body of a thread.

        Raises
        ------
        BaseException
            The error that the feed was closed with, after all complete instants are handled.
        """
        try:
            if self._gate.await_start():
                self._feed.begin()
                self._serve()
        finally:
            self._link.subscription.close()  # the run ends the feed

    def _serve(self) -> None:
        gate, inbox, link = self._gate, self._inbox, self._link
        link.open(0, 0, gate.generation, self._deadlines)
        released, closed = 0, False
        while not (closed or gate.closed):
            seen = inbox.serial
            bars, watermark, closed = inbox.take()
            began = perf_counter()
            if self._columns.append(bars, watermark):
                released = self._release_from(released)
                self.timing.add(perf_counter() - began)
            self._ask_for_lag()
            if not closed:
                waits = [self._lag.due] if (bounded := inbox.deadline) is None else [self._lag.due, bounded]
                gate.await_news(lambda seen=seen: inbox.serial != seen, min(waits))  # type: ignore[misc]
        while not gate.closed and gate.cursor < len(self._timeline):
            gate.await_news(lambda: gate.cursor >= len(self._timeline), self._lag.due)
            self._ask_for_lag()
        if not gate.closed and link.subscription.wait_until_reset():
            if inbox.error is not None:
                raise inbox.error
            gate.may_end(self._timeline.__len__)

    def _release_from(self, released: int) -> int:
        """Release all instants that have no window yet; returns how many have one now."""
        standing = self._gate.standing()
        while (window := self._planner.next_window(standing._replace(cursor=released), 0.0, 1)) is not None:
            self.overruns += self._link.subscription.is_ready()
            self._link.release()
            released = window.stop
        return released

    def _ask_for_lag(self) -> None:
        arrived = self._inbox.lateness if self._feed.is_timed else None
        self._lag.ask(self._timeline.axis, self._deadlines, self._gate.cursor, arrived)


def run_inline(
    timeline: Timeline, gate: RunGate, quantum: Quantum, processor: DataProcessor, analysis: AnalysisEngine[Any]
) -> None:
    """Run all three stages to the end in the caller's thread, as fast as it goes: the same order of events and result.

    Sweeps use it, and benchmarks compare with it. A hold blocks the caller until another thread releases it. The clock
    doesn't matter.
    """
    planner = Planner(timeline)
    try:
        if not analysis.begin():
            return
        while not gate.closed:
            window = planner.next_window(gate.standing(), 0.0, quantum.length)
            if window is None:
                if gate.may_end(timeline.__len__):
                    return
                continue
            for batch in processor.batches(window):
                analysis.process(batch)
    finally:
        analysis.finish()
