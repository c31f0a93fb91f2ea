"""The SessionCoordinator: advances time, in lockstep with the processor or by the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter

from nbbacktest.core.enums import StreamMode
from nbbacktest.core.monitor import surely
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.lag import LagWatch
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Link, Pace, Quantum


class SessionCoordinator:
    """First stage. In lockstep it releases the next window when the last is done; paced, it releases instants on time.

    Attributes
    ----------
    timing : TimingSeries
        Seconds that releasing a window, or an instant, took; waiting is left out.
    overruns : int
        Live alone: instants that were released while another one was under way. Written by its thread alone.
    """

    overruns = 0

    def __init__(
        self,
        timeline: Timeline,
        gate: RunGate,
        link: Link,
        quantum: Quantum,
        *,
        speed: float = 0.0,
        lag: LagWatch | None = None,
    ) -> None:
        self._timeline = timeline
        self._gate = gate
        self._link = link
        self._quantum = quantum
        self._repacing = threading.Lock()  # makes speed, mode and re-plan one change
        self._speed = speed  # written under that lock, read anywhere
        self._lag = lag
        self._position = 0.0  # simulated seconds reached; written by the coordinator thread alone
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
        """Whether the run is at rest for its user."""
        return self._gate.is_paused

    @property
    def speed(self) -> float:
        """Seconds of open market a second of wall time; 0 is as fast as it goes."""
        return self._speed

    def set_speed(self, multiplier: float) -> None:
        """Change the speed, now and from the cursor on; 0 is data-driven."""
        if multiplier > 0:
            _ = self._timeline.seconds  # takes a while the first time, and may fail: not while a deadline waits for it
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
        """Plan until the data ends or the gate closes. The body of a thread."""
        inbox = self._link.subscription
        try:
            if not self._gate.await_start():
                return
            while not self._gate.closed:
                # While held, time doesn't advance; in lockstep the next window may be made ready all the same.
                if self._speed > 0 and not self._gate.await_open():
                    return
                # Whatever was planned before is done or given up: only then is the cursor the place to plan from.
                if not inbox.wait_until_reset():
                    return
                generation, start = self._gate.generation, self._gate.cursor
                if start >= len(self._timeline):
                    return
                speed = self._speed  # read once: it may change at any time, and a re-plan follows
                if speed > 0 and not self._gate.stepping:
                    self._release_on_time(start, generation, speed)
                else:
                    self._release_window(start, generation, speed)
        finally:
            inbox.close()

    def _release_window(self, start: int, generation: int, speed: float) -> None:
        began = perf_counter()
        if self._lag is not None and not (speed > 0 or self._lag.is_quiet):
            self._lag.forget(int(self._timeline.instants[start - 1]) if start else None)
        stop = start + (1 if speed > 0 else self._quantum.length)
        if speed > 0:
            self._position = float(self._timeline.seconds[start])
        self._link.open(start, min(stop, len(self._timeline)), generation)
        self.timing.add(perf_counter() - began)

    def _release_on_time(self, start: int, generation: int, speed: float) -> None:
        """Release instants at their deadlines until the plan no longer holds. Waits for nobody but the clock."""
        seconds, gate, link = self._timeline.seconds, self._gate, self._link
        # Between the last instant and the next: where a pause or a speed change left the simulated clock.
        before = float(seconds[start - 1]) if start else float(seconds[0])
        self._position = min(max(self._position, before), float(seconds[start]))
        pace = Pace(gate.moving_since, self._position, speed, seconds)
        link.open(start, start, generation, pace)
        for instant in range(start, len(self._timeline)):
            if not self._sleep_until(instant, generation, pace):
                break
            began = perf_counter()
            link.release()
            self.timing.add(perf_counter() - began)
        else:
            self._see_off(generation, pace)
        self._position = pace.position(gate.interrupted_at)

    def _sleep_until(self, instant: int, generation: int, pace: Pace) -> bool:
        """Sleep until an instant is due, and look for lag meanwhile; False where the plan no longer holds."""
        lag, deadline = self._lag, pace.deadline(instant)
        while lag is not None and lag.due < deadline:
            if not self._gate.sleep_until(lag.due, generation):
                return False
            self._look_for_lag(lag, pace)
        return self._gate.sleep_until(deadline, generation)

    def _see_off(self, generation: int, pace: Pace) -> None:
        """All is released: look for lag until all is handled too."""
        lag, gate, total = self._lag, self._gate, len(self._timeline)

        def is_over() -> bool:
            return gate.cursor >= total or gate.is_held or generation != gate.generation

        while lag is not None and not is_over() and gate.await_news(is_over, lag.due):
            self._look_for_lag(lag, pace)

    def _look_for_lag(self, lag: LagWatch, pace: Pace) -> None:
        lag.ask(self._timeline.axis, pace, self._gate.cursor)

    def _apply_mode(self) -> None:
        self._link.subscription.set_mode(StreamMode.CLOCK_DRIVEN if self._speed > 0 else StreamMode.DATA_DRIVEN)
