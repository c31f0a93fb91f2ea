"""Runs the stages of a run in slices, in the thread that waits for it, or between the cells of a notebook.

It serves hosts without threads: `CallQueue` holds the calls that are to be made later, `CooperativeRunner` delivers
instants for a slice of time in each.
"""

from __future__ import annotations

import heapq
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic, sleep
from types import FrameType

from nbbacktest.core.errors import NoThreadsError
from nbbacktest.core.monitor import Flag
from nbbacktest.engine.timeline import Deadlines, Planner
from nbbacktest.system.stages import Stages

logger = logging.getLogger("nbbacktest")


class CallQueue:
    """Calls by the time that they are due, each made once. For one thread.

    The running event loop makes them on time: a notebook's loop runs between cells. A function that waits makes them too
    (`make_due`). Without a loop and without a wait, no call is made.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Schedule `call` in that many seconds, or at the next opportunity after that."""
        heapq.heappush(self._queue, (monotonic() + seconds, next(self._numbers), call))
        self._ask_loop(seconds)

    def make_due(self) -> None:
        """Make the calls that are due by now, but none that these calls add. An exception of one is logged."""
        now = monotonic()
        due = []
        while self._queue and self._queue[0][0] <= now:
            due.append(heapq.heappop(self._queue)[2])
        for call in due:
            try:
                call()
            except Exception:
                logger.exception("%r raised in its turn", call)

    def attach_loop(self) -> None:
        """Have the running event loop make the calls that were added before it ran."""
        for due, _, _ in self._queue:
            self._ask_loop(due - monotonic())

    def _ask_loop(self, seconds: float) -> None:
        import asyncio  # here, since it costs 15 ms, and a terminal has no loop

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop runs: the next wait makes the call
            return
        # The loop must handle its messages first, so that the call isn't made at once. A millisecond more makes it surely due.
        loop.call_later(max(seconds, 0.0) + 0.001, self.make_due)


CALLS = CallQueue()
"""The queue of the process."""


class CooperativeRunner:
    """Delivers the instants of a run in slices of the caller's thread.

    Between two slices the run is at rest at an instant: callbacks are called, frames drawn and commands carried out there.

    Parameters
    ----------
    crashed
        Called with the exception of a stage.
    finalize
        Called when all stages are done.
    """

    SECONDS = 0.02
    """The approximate seconds of a slice; one strategy's call may take longer."""
    NAP = 0.02
    """The most seconds that a wait sleeps if nothing is due."""
    AT_ONCE = 64
    """The most instants that a step makes ready at once."""

    def __init__(self, stages: Stages, crashed: Callable[[BaseException], None], finalize: Callable[[], None]) -> None:
        self._stages = stages
        self._gate = stages.gate
        self._crashed = crashed
        self._finalize = finalize
        self._begun = self._inside = self._over = False
        self.wants_rest = False  # Ctrl-C was pressed
        self._kicked = False  # a slice is scheduled and wasn't run yet
        self._planner = Planner(stages.world.timeline)
        self._due: float | None = None  # the time at which the next instant is due, if the run waits for the clock
        stages.gate.runner = self

    def start(self) -> None:
        """Ask for the first slice."""
        self.kick()

    def call_off(self) -> None:
        """Finalize the run if its first slice hasn't come."""
        if not (self._begun or self._over):
            self._over = True
            self._finalize()

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Move the run to its end; False after `timeout` seconds. Ctrl-C pauses it.

        Raises
        ------
        NoThreadsError
            It is paused: nothing could resume it while this waits.
        """
        try:
            return self.until(done.is_set, timeout)
        except KeyboardInterrupt:
            self._gate.hold_here()
            raise

    def is_here(self) -> bool:
        """True if a slice is under way."""
        return self._inside

    def give_up(self) -> None:
        """Do nothing: the caller is in the thread of the analysis itself."""

    def blocked_call(self) -> str:
        """Name the strategy's call; its line isn't known here."""
        return "a strategy's call"

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:
        """Move the run until `over()`; False after `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._heard() as interrupted:
            while not over():
                self._slice()
                CALLS.make_due()
                if interrupted():
                    raise KeyboardInterrupt
                if over():
                    break
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                if not self._may_move:
                    if left is None:
                        raise NoThreadsError("waiting for a run that is paused", "resume() or step() it first")
                    sleep(min(left, self.NAP))
                elif self._due is not None:
                    sleep(max(min(self._seconds_left(), self.NAP, left or self.NAP), 0.0))
        return True

    def kick(self) -> None:
        """Ask for a slice; returns at once."""
        if self._kicked:
            CALLS.attach_loop()  # the loop that was asked for the slice may be gone
        elif not self._over:
            self._kicked = True
            CALLS.call_later(0.0, self._take_turn)

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _may_move(self) -> bool:
        gate = self._gate
        return not self._over and (gate.closed or not self._begun or not gate.is_held or gate.jump_asked is not None)

    def _take_turn(self) -> None:
        self._kicked = False
        with self._heard() as interrupted:
            self._slice()
            if interrupted():
                self._gate.hold_here()
        if self._may_move and not self._kicked:
            self._kicked = True
            CALLS.call_later(min(self._seconds_left(), 0.05), self._take_turn)

    @contextmanager
    def _heard(self) -> Iterator[Callable[[], bool]]:
        """Make the run rest at the next instant, because Ctrl-C was pressed."""

        def pressed() -> None:
            self.wants_rest = True
            self._gate.state.limit = 0

        try:
            with held_back(pressed) as interrupted:
                yield interrupted
        finally:
            self.wants_rest = False

    def _seconds_left(self) -> float:
        return 0.0 if self._due is None else max(self._due - monotonic(), 0.0)

    def _slice(self) -> None:
        """Deliver the instants that are due, for `SECONDS`."""
        if self._inside or self._over:
            return
        self._inside, self._due = True, None
        try:
            with self._gate.standing_in():
                self._over = self._work(monotonic() + self.SECONDS)
                if self._over:
                    self._stages.analysis.finish()
        except BaseException as error:  # noqa: BLE001 - kept in the run's `error`, which every waiting call raises
            self._over = True
            self._crashed(error)
        finally:
            self._inside = False
        if self._over:
            self._finalize()

    def _work(self, deadline: float) -> bool:
        """Deliver until the deadline; True if the run is at its end."""
        stages, gate = self._stages, self._gate
        if not self._begun and not gate.closed:
            self._begun = True
            if not stages.analysis.begin():
                return True
        if gate.jump_asked is not None and not (gate.closed or self.wants_rest):
            stages.analysis.visit()
        while not (gate.closed or gate.is_held or self.wants_rest):
            # One turn at a time: a window would be longer than a slice.
            length = min(stages.quantum.turn, self.AT_ONCE) if gate.stepping else stages.quantum.turn
            window = self._planner.next_window(gate.standing(), stages.coordinator.speed, length)
            if window is None:
                return gate.may_end(stages.world.timeline.__len__)
            if window.pace is not None and not self._is_due(window.start, window.pace):
                return False
            for batch in stages.processor.batches(window):
                stages.analysis.process(batch)
                if stages.analysis.frame.cursor < batch.window.stop:
                    break  # the window was given up at a boundary; the next one begins at that instant
            if monotonic() >= deadline:
                break
        return gate.closed

    def _is_due(self, instant: int, pace: Deadlines) -> bool:
        """True if the clock has come to a paced instant. Looks for lag if a look is due."""
        stages, now = self._stages, self._stages.clock.now()
        if stages.lag.due <= now:
            stages.lag.ask(stages.world.timeline.axis, pace, self._gate.cursor)
        ahead = pace.deadline(instant) - now
        if ahead > 0:
            self._due = monotonic() + ahead
        return ahead <= 0


@contextmanager
def held_back(pressed: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Count Ctrl-C instead of raising it; yields the function that tells if it was pressed. A second one raises.

    `pressed` is called at the first one, at any line of the main thread: it may take no lock. In other threads this does
    nothing, because signals come to the main one.
    """
    times = 0

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        if times > 1:
            raise KeyboardInterrupt
        pressed()

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: times > 0
    finally:
        signal.signal(signal.SIGINT, before)
