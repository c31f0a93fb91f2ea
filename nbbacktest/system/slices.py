"""A run without threads: its stages work in slices, in whoever's thread waits for it, and in turns between cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

from nbbacktest.core.errors import NoThreadsError
from nbbacktest.core.monitor import Flag
from nbbacktest.engine.window import Pace, Window
from nbbacktest.system.interrupted import held_back
from nbbacktest.system.turns import TURNS

if TYPE_CHECKING:
    from nbbacktest.system.run import Stages


class Slices:
    """Drives a run that is no one's thread.

    Between two slices the run is at rest at an instant: then callbacks are called, frames drawn and commands heard.

    Parameters
    ----------
    crashed
        Told what a stage raises.
    finalize
        Called when all stages are done.
    """

    SECONDS = 0.02
    """How long a slice takes, about: one strategy's call may take longer."""
    NAP = 0.02
    """How long a wait sleeps at most where nothing is due."""
    AT_ONCE = 64
    """How many instants a step makes ready at most."""

    def __init__(self, stages: Stages, crashed: Callable[[BaseException], None], finalize: Callable[[], None]) -> None:
        self._stages = stages
        self._gate = stages.gate
        self._crashed = crashed
        self._finalize = finalize
        self._begun = self._inside = self._over = False
        self.wants_rest = False  # Ctrl-C was pressed
        self._kicked = False  # a turn was asked for and hasn't come
        self._pace: tuple[int, Pace] | None = None  # the generation that it was made for, too
        self._position = 0.0  # simulated seconds reached
        self._due: float | None = None  # when the next instant is, where the clock is what is waited for
        stages.gate.runner = self

    def start(self) -> None:
        """Have the first slice come."""
        self.kick()

    def call_off(self) -> None:
        """Finalize where the first slice hasn't come."""
        if not (self._begun or self._over):
            self._over = True
            self._finalize()

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Move the run to its end; False after `timeout` seconds. Ctrl-C pauses it.

        Raises
        ------
        NoThreadsError
            It is paused: nobody could resume it while this waits.
        """
        try:
            return self.until(done.is_set, timeout)
        except KeyboardInterrupt:
            self._gate.hold_here()
            raise

    def is_here(self) -> bool:
        """Whether a slice is under way."""
        return self._inside

    def give_up(self) -> None:
        """Nothing: whoever would give it up is in its thread."""

    def blocked_call(self) -> str:
        """Name what is waited for."""
        return "a strategy's call"

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:
        """Move the run until `over()`; False after `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._heard() as interrupted:
            while not over():
                self._slice()
                TURNS.take()
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
        """Have the run move on in a turn; returns at once."""
        if self._kicked:
            TURNS.attend()  # the loop that was asked for it may be gone
        elif not self._over:
            self._kicked = True
            TURNS.later(0.0, self._take_turn)

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _may_move(self) -> bool:
        return not self._over and (self._gate.closed or not self._begun or not self._gate.is_held)

    def _take_turn(self) -> None:
        self._kicked = False
        with self._heard() as interrupted:
            self._slice()
            if interrupted():
                self._gate.hold_here()
        if self._may_move and not self._kicked:
            self._kicked = True
            TURNS.later(min(self._seconds_left(), 0.05), self._take_turn)

    @contextmanager
    def _heard(self) -> Iterator[Callable[[], bool]]:
        """Come to rest at the next instant when Ctrl-C is pressed."""

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
        """Deliver what can be delivered now, for `SECONDS`."""
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
        """Whether the run is at its end."""
        stages, gate = self._stages, self._gate
        if not self._begun and not gate.closed:
            self._begun = True
            if not stages.analysis.begin():
                return True
        while not (gate.closed or gate.is_held or self.wants_rest):
            start = stages.analysis.frame.cursor
            if start >= len(stages.timeline):
                return True
            window = self._next(start)
            if window is None:
                return False
            for batch in stages.processor.batches(window):
                stages.analysis.process(batch)
                if stages.analysis.frame.cursor < batch.window.stop:
                    break  # given up at a boundary: the next window begins there
            if monotonic() >= deadline:
                break
        return gate.closed

    def _next(self, start: int) -> Window | None:
        """The window to deliver now; None where the clock doesn't let any."""
        stages, gate = self._stages, self._gate
        speed, generation = stages.coordinator.speed, gate.generation
        if speed > 0 and not gate.stepping:
            return self._paced(start, generation, speed)
        if speed > 0:
            self._position, self._pace = float(stages.timeline.seconds[start]), None
        # A turn at once: a window would be longer than a slice.
        length = min(stages.quantum.turn, self.AT_ONCE) if gate.stepping else stages.quantum.turn
        return Window(start, min(start + length, len(stages.timeline)), generation, None)

    def _paced(self, start: int, generation: int, speed: float) -> Window | None:
        gate, seconds, clock = self._gate, self._stages.timeline.seconds, self._stages.clock
        if self._pace is None or self._pace[0] != generation:
            if self._pace is not None:
                self._position = self._pace[1].position(gate.interrupted_at)
            # Between the last instant and the next: where a pause or a speed change left the simulated clock.
            before = float(seconds[start - 1]) if start else float(seconds[0])
            self._position = min(max(self._position, before), float(seconds[start]))
            self._pace = generation, Pace(gate.moving_since, self._position, speed, seconds)
        pace, now = self._pace[1], clock.now()
        if self._stages.lag.due <= now:
            self._stages.lag.ask(self._stages.timeline.axis, pace, gate.cursor)
        ahead = pace.deadline(start) - now
        if ahead > 0:
            self._due = monotonic() + ahead
            return None
        return Window(start, start + 1, generation, pace)
