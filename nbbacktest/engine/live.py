"""The coordinator of a live run: releases instants as a feed completes them, and waits for nobody else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from nbbacktest.core.clock import Clock
from nbbacktest.core.enums import StreamMode
from nbbacktest.core.errors import LiveRunError
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.inbox import Inbox
from nbbacktest.engine.lag import LagWatch
from nbbacktest.engine.tape import Tape
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Link, Quantum

logger = logging.getLogger("nbbacktest")


class FeedTime(NamedTuple):
    """When instants are due in a live run: at their ends, on the feed's clock.

    Attributes
    ----------
    clock : Clock
        The run's, whose time is answered.
    feed : Feed
    timeline : Timeline
    """

    clock: Clock
    feed: Feed
    timeline: Timeline

    def deadline(self, instant: int) -> float:
        """What the run's clock showed, or will show, at that instant."""
        now = self.clock.now()
        if not self.feed.is_timed:
            return now
        return now - (self.feed.now() - int(self.timeline.instants[instant])) / 1e9


class LiveCoordinator(SessionCoordinator):
    """First stage of a live run. Each instant is released by itself, as soon as it is complete."""

    def __init__(
        self,
        timeline: Timeline,
        gate: RunGate,
        link: Link,
        quantum: Quantum,
        *,
        feed: Feed,
        inbox: Inbox,
        tape: Tape,
        clock: Clock,
        lag: LagWatch,
    ) -> None:
        super().__init__(timeline, gate, link, quantum, lag=lag)
        self._feed = feed
        self._inbox = inbox
        self._tape = tape
        self._clock = clock
        self._watch = lag

    # -- what users call ------------------------------------------------------------------------------------

    def pause_backtest(self) -> bool:
        """Refused: the market doesn't wait. Logs a warning, changes nothing, and returns False."""
        logger.warning("pause refused: a live run can't be held, the market doesn't wait; stop() ends it")
        return False

    def set_speed(self, multiplier: float) -> None:  # noqa: ARG002 - as the others have it
        """Refused.

        Raises
        ------
        LiveRunError
            Always.
        """
        raise LiveRunError("change the speed of")

    def replan(self, renumber: Callable[[int], int]) -> None:  # noqa: ARG002 - as above
        """Refused, as `set_speed` is."""
        raise LiveRunError("change the symbols of")

    # -- the thread -----------------------------------------------------------------------------------------

    def work(self) -> None:
        """Release instants until the feed or the run is over. The body of a thread.

        Raises
        ------
        BaseException
            What the feed was closed with, once all that was complete is handled.
        """
        try:
            if self._gate.await_start():
                self._feed.begin()
                self._serve()
        finally:
            self._link.subscription.close()  # the run ends the feed

    def _serve(self) -> None:
        gate, inbox, link = self._gate, self._inbox, self._link
        schedule = FeedTime(self._clock, self._feed, self._timeline)
        link.open(0, 0, gate.generation, schedule)
        closed = False
        while not (closed or gate.closed):
            seen = inbox.serial
            bars, watermark, closed = inbox.take()
            began = perf_counter()
            fresh = self._tape.append(bars, watermark)
            for _ in range(fresh):
                self.overruns += link.subscription.is_ready()
                link.release()
            if fresh:
                self.timing.add(perf_counter() - began)
            self._ask_for_lag(schedule)
            if not closed:
                waits = [self._watch.due] if (bounded := inbox.deadline) is None else [self._watch.due, bounded]
                gate.await_news(lambda seen=seen: inbox.serial != seen, min(waits))  # type: ignore[misc]
        while not gate.closed and gate.cursor < len(self._timeline):
            gate.await_news(lambda: gate.cursor >= len(self._timeline), self._watch.due)
            self._ask_for_lag(schedule)
        if not gate.closed and link.subscription.wait_until_reset() and inbox.error is not None:
            raise inbox.error

    def _ask_for_lag(self, schedule: FeedTime) -> None:
        arrived = self._inbox.lateness if self._feed.is_timed else None
        self._watch.ask(self._timeline.axis, schedule, self._gate.cursor, arrived)

    def _apply_mode(self) -> None:
        self._link.subscription.set_mode(StreamMode.LIVE)
