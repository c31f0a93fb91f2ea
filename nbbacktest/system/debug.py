"""The next instants of a run under pdb: a fresh world of its origin is executed up to them, in the thread of the caller."""

from __future__ import annotations

import bdb
import pdb  # noqa: T100 - this is what it is for
import sys
from collections.abc import Sequence
from types import FrameType

from nbbacktest.core.errors import LiveRunError, ReplayError, StrategyBlockedError
from nbbacktest.engine.timeline import Window
from nbbacktest.system.forks import standing
from nbbacktest.system.replay import RunReplay
from nbbacktest.system.run import Run
from nbbacktest.trading.snapshot import Snapshot
from nbbacktest.trading.strategy import Strategy

_ENGINE = [f"nbbacktest.{floor}*" for floor in ("core", "data", "engine", "trading", "system", "report")]
"""The modules that the debugger passes over."""


def debugged(run: Run, n: int) -> Snapshot:
    """See `SystemManager.debug`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"debug takes a whole number of at least 1, not {n!r}")
    if run.is_live:
        raise LiveRunError("debug")
    if run.is_engine_thread():
        raise RuntimeError("a strategy can't debug its own run; breakpoint() works in a callback")
    try:
        line, cursor = run.still(lambda goes_on: standing(run, goes_on=goes_on))
    except TimeoutError:
        raise StrategyBlockedError(
            f"{run.blocked_call()} has not returned; debug() waits for the end of its instant"
        ) from None
    stages = run.stages
    if stages.again is None:
        raise ReplayError("this run can't be debugged: its origin isn't known")
    total = len(run.instants)
    if cursor + n > total:
        raise ValueError(f"debug({n}): {total - cursor:,} instants follow")
    world = stages.again()
    replay = RunReplay(world, stages, cursor, line.inputs)
    replay.run(lambda: True)
    line.verify(world, cursor)
    world.desk.is_replay = False
    _under_pdb(replay, Window(cursor, cursor + n, replay.stages.gate.generation, None))
    analysis = replay.stages.analysis
    error = analysis.error
    shot = run._shown(analysis.under_way())  # noqa: SLF001 - a frame of another world of this run
    analysis.abandon()  # its strategies aren't called any more
    world.desk.is_open = False
    if error is not None and not _is_quit(error):
        raise error
    return shot


def _under_pdb(replay: RunReplay, window: Window) -> None:
    stages = replay.stages

    def deliver() -> None:
        for batch in stages.processor.batches(window):
            stages.analysis.process(batch)

    debugger, before = _StrategyDebugger(stages.world.desk.strategies), sys.gettrace()
    try:
        debugger.runcall(deliver)
    finally:
        sys.settrace(before)


class _StrategyDebugger(pdb.Pdb):
    """Stops in the code of strategies, and in what that calls outside of the engine."""

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        super().__init__(skip=_ENGINE)
        own = [vars(kind).values() for one in strategies for kind in type(one).__mro__ if kind not in Strategy.__mro__]
        code = [getattr(value, "__code__", None) for values in own for value in values]
        self._files = {one.co_filename for one in code if one is not None}

    def stop_here(self, frame: FrameType) -> bool:
        """As bdb asks it."""
        return super().stop_here(frame) and self._is_under_strategy(frame)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop at the first line of a call, and not at the call."""

    def _is_under_strategy(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self.botframe:
            if frame.f_code.co_filename in self._files:
                return True
            frame = frame.f_back
        return False


def _is_quit(error: BaseException) -> bool:
    """True if the user has left the debugger, which raises in what it has stopped at."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, bdb.BdbQuit):
            return True
        found = found.__cause__
    return False
