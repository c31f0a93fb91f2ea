"""Re-executes a run's past in a fresh world: the same instants, with the same inputs by hand at the same places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbbacktest.core.errors import NbBacktestError, ReplayError, StrategyError
from nbbacktest.core.formats import said
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.timeline import Window
from nbbacktest.system.inputs import Recorded, carry_out, refusal_of
from nbbacktest.system.marks import RunMark
from nbbacktest.system.past import moment_at, told
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.universe import SymbolUniverse
from nbbacktest.system.world import World

_TURNS = 4
"""The number of turns of the analysis after which a replay looks if it is still wanted."""


class RunReplay:
    """One replay, in the thread of its caller.

    Parameters
    ----------
    world
        Before its first instant, and on no stages yet.
    like
        The stages of the run that is replayed.
    goal
        The number of instants that are to be completed.
    inputs
        Those that are to be done.
    mark
        The place to begin at; None: the start.

    Attributes
    ----------
    stages : Stages
        Those of the replay.
    goal : int
    """

    def __init__(
        self, world: World, like: Stages, goal: int, inputs: Sequence[Recorded], mark: RunMark | None = None
    ) -> None:
        life = Lifecycle()
        life.apply(Command.START)
        self.stages = wire(like.config, life, Monitor(), world, clock=like.clock, speed=0.0)
        self.stages.gate.runner = _Driven()
        self.stages.analysis.epoch = like.analysis.epoch
        self.stages.analysis.hold_on_errors(wanted=like.analysis.has_held)
        self.goal = goal
        self._inputs = inputs
        self._mark = mark
        self._world = world
        world.desk.is_replay = True

    @property
    def cursor(self) -> int:
        """The completed instants."""
        return self._world.desk.index + 1

    def run(self, is_wanted: Callable[[], bool]) -> bool:
        """Deliver; False if `is_wanted`, which is asked after each few turns, was false before the goal.

        Raises
        ------
        ReplayError
            If the run ended before the goal, or refused another input.
        StateError
            If the world can't begin at the mark.
        """
        gate, analysis = self.stages.gate, self.stages.analysis
        if not analysis.begin():
            raise self._ended()
        if self._mark is not None:
            self._begin_at(self._mark)
        self._do_inputs()
        while self.cursor < self.goal:
            if not is_wanted():
                return False
            self._deliver()
            if gate.closed:
                if self.cursor < self.goal or analysis.error is not None:
                    raise self._ended()
                return True  # a strategy has stopped its run here
            if gate.is_held:
                gate.resume()  # the recorded run went on after an error, or a pause
            analysis.run_deferred(self.cursor)
            self._do_inputs()
        return True

    def _begin_at(self, mark: RunMark) -> None:
        world = self._world
        if world.chunks is not None:
            world.chunks.show(mark.moment)
        if isinstance(world.universe, SymbolUniverse):
            world.universe.restore(mark.state)
        world.n_inputs = len(mark.inputs)

    def _deliver(self) -> None:
        stages, cursor, total = self.stages, self.cursor, len(self._world.timeline)
        done = self._world.n_inputs
        ahead = self._inputs[done].input.place.cursor if done < len(self._inputs) else self.goal
        stop = min(cursor + stages.quantum.turn * _TURNS, ahead, self.goal, total)
        if stop <= cursor:
            raise ReplayError(f"the replay has only {total:,} instants, and {self.goal:,} were completed")
        for batch in stages.processor.batches(Window(cursor, stop, stages.gate.generation, None)):
            stages.analysis.process(batch)

    def _do_inputs(self) -> None:
        """Do the inputs of this place."""
        while (done := self._world.n_inputs) < len(self._inputs):
            one = self._inputs[done]
            if one.input.place.cursor != self.cursor:
                return
            repeat(self.stages, one)
            if self.stages.gate.closed:
                raise self._ended()

    def _ended(self) -> ReplayError:
        error = self.stages.analysis.error
        found = said(error) if error is not None else "an end"
        problem = ReplayError(told(moment_at(self._world, self.cursor), "no error", found))
        problem.__cause__ = error
        return problem


def repeat(stages: Stages, one: Recorded) -> None:
    """Do an input again, in the world of `stages`; it must be refused as it was. In the analysis thread, between two instants.

    Raises
    ------
    ReplayError
        If it isn't.
    """
    world, analysis, refusal = stages.world, stages.analysis, None
    world.n_inputs += 1
    try:
        carry_out(world, one.input, one.bars)
    except NbBacktestError as error:
        refusal = refusal_of(error)
        if isinstance(error, StrategyError):
            world.desk.failed(error, None, None)  # as recorded; the run isn't held for it a second time
    analysis.run_deferred(one.input.place.cursor)
    if refusal != one.refusal:
        recorded, replayed = (f"{one.input.what} by hand, {text or 'taken'}" for text in (one.refusal, refusal))
        raise ReplayError(told(moment_at(world, one.input.place.cursor), recorded, replayed))


class _Driven:
    """Stands for the runner of a gate whose run is driven by the caller: nothing waits there."""

    wants_rest = False

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ARG002 - as a `GateRunner` has it
        """True if it is over."""
        return over()

    def kick(self) -> None:
        """Do nothing: the caller drives the run by itself."""
