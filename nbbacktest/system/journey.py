"""Takes a run to another place of its line: a fresh world is re-executed to there, held against the record, and exchanged.

All of it happens in the thread of the analysis, while the run rests at an instant: what a strategy has bound to that thread
stays usable. Nothing is published on the way, and if anything fails, the run stays where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

from nbbacktest.core.enums import InputKind
from nbbacktest.core.errors import ReplayError, StrategyError
from nbbacktest.core.inputs import Input, InputPlace
from nbbacktest.core.records import Int64
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.gate_state import JumpRequest
from nbbacktest.system.inputs import Recorded, carry_out, refusal_of, refuse_unknown
from nbbacktest.system.marks import MarkMaker, RunMark, RunMarks
from nbbacktest.system.past import Checked, RunPast, difference
from nbbacktest.system.replay import RunReplay, repeat
from nbbacktest.system.stages import Stages
from nbbacktest.system.universe import SymbolBars, SymbolUniverse
from nbbacktest.system.world import World
from nbbacktest.trading.parameter_guard import ParameterGuard


class Journal(Protocol):
    """Writes a run's inputs down, each before it happens."""

    def input(self, one: Input, keep: int) -> None:
        """An input is about to be done; of the line before it, the first `keep` inputs stand."""

    def take(self, inputs: Sequence[Input], cursor: int) -> None:
        """Another line is about to be gone on with, at `cursor`: these inputs, and nothing ahead of them."""


class NoJournal:
    """Keeps nothing: a `Journal` for runs that have none."""

    def input(self, one: Input, keep: int) -> None:
        """Nothing."""

    def take(self, inputs: Sequence[Input], cursor: int) -> None:
        """Nothing."""


class Line(NamedTuple):
    """One history of a run: the inputs that were done by hand, and the past that they led to.

    Attributes
    ----------
    inputs : tuple of Recorded
        In order.
    past : RunPast or None
        The record, as far as the run has come; None: no more than the present world has.
    """

    inputs: tuple[Recorded, ...] = ()
    past: RunPast | None = None

    def count_at(self, cursor: int) -> int:
        """The number of inputs that were done up to `cursor`, those at the cursor included."""
        return sum(one.input.place.cursor <= cursor and not one.is_last for one in self.inputs)

    def is_behind(self, cursor: int, count: int) -> bool:
        """True if the run has come farther than to `cursor`, with `count` inputs."""
        past = self.past
        return past is not None and (cursor < past.horizon or count < self.count_at(past.horizon))

    def verify(self, world: World, cursor: int, checked: Checked | None = None) -> None:
        """Hold a world that stands at `cursor` against the record; see `difference`.

        Raises
        ------
        ReplayError
            If it differs.
        """
        if self.past is None:
            return
        count = world.n_inputs
        more = count < len(self.inputs) and self.inputs[count].input.place.cursor == cursor
        n_fills = self.inputs[count].n_fills if more else None
        error = difference(self.past, world, cursor, n_fills, checked)
        if error is not None:
            raise error


class Destination(NamedTuple):
    """A place to jump to.

    Attributes
    ----------
    cursor : int
    n_inputs : int or None
        The number of the line's inputs that are done there; None: all of that cursor.
    cuts : bool
        True to give up what lies ahead of it.
    line : Line or None
        The line that it is on; None: the present one.
    """

    cursor: int
    n_inputs: int | None = None
    cuts: bool = False
    line: Line | None = None


class Journey:
    """The line of one run: does inputs by hand, makes jumps, and holds what is delivered in the past against the record.

    Attributes
    ----------
    replay : RunReplay or None
        The one that is under way to a place. Written by the analysis thread.
    line : Line
        The present history. Written by the thread that holds the run at an instant.
    journal : Journal
        Told of each input before it happens.
    """

    def __init__(self, stages: Stages, line: Line | None = None) -> None:
        self._stages = stages
        self.replay: RunReplay | None = None
        self.line = line or Line()
        self.journal: Journal = NoJournal()
        self._undone: list[tuple[Line, InputPlace]] = []  # for `redo`: lines, each with the place that was left
        self._landed = -1  # a cursor whose remaining inputs are done when the run leaves it
        self._rested = -1  # the cursor that was checked last
        self._checked: Checked | None = None  # made by the first jump
        stages.analysis.travel = self.travel

    @cached_property
    def _marks(self) -> RunMarks:
        return RunMarks()

    @cached_property
    def _maker(self) -> MarkMaker:
        return MarkMaker(lambda: self.world, lambda: self.line.inputs, self._marks)

    @property
    def world(self) -> World:
        """The present one."""
        return self._stages.world

    @property
    def horizon(self) -> int:
        """The largest number of instants that the run has completed."""
        past, cursor = self.line.past, self._stages.gate.cursor
        return cursor if past is None else max(past.horizon, cursor)

    @property
    def farthest(self) -> World:
        """The world that has come to the horizon: its record is the longest."""
        past = self.line.past
        return self.world if past is None else past.world

    @property
    def instants(self) -> Int64:
        """The instants of the run as far as they are known, nanoseconds UTC."""
        return self.farthest.desk.instants

    @property
    def place(self) -> InputPlace:
        """The place that the run stands at."""
        return InputPlace(self._stages.gate.cursor, self.world.n_inputs)

    @property
    def travelling(self) -> tuple[int, int] | None:
        """While a jump is under way, the number of completed instants of the replay, and their number in all."""
        replay = self.replay
        return None if replay is None else (replay.cursor, replay.goal)

    def ended(self, completed: int) -> Line:
        """The line of a run that has ended with so many completed instants, for another run that goes on with it."""
        inputs, past = self.line
        return Line(inputs, past or RunPast(completed, self.world, is_over=True))

    def stopped(self, completed: int) -> Line:
        """The line of a run that has ended with so many completed instants, up to there."""
        line = self.standing()
        inputs = tuple([one for one in line.inputs if not one.is_last])
        return Line(inputs, RunPast(completed, self.world, is_over=True))

    def standing(self) -> Line:
        """The line up to the place at which the run stands."""
        world = self.world
        return Line(self.line.inputs[: world.n_inputs], RunPast(world.desk.index + 1, world))

    def close(self) -> None:
        """Let go of the files that bars are streamed from; all worlds of the run have the same."""
        if self.world.chunks is not None:
            self.world.chunks.loader.close()

    # -- inputs ---------------------------------------------------------------------------------------------

    def act(
        self,
        what: InputKind,
        strategy: str | None,
        arguments: Mapping[str, Any],
        bars: SymbolBars | None = None,
        by: str = "python",
    ) -> Any:
        """Do something by hand; called by a thread that holds the run at an instant. Returns what `carry_out` does.

        It is written into the journal first. What lies ahead of it, if the run was taken back, is given up.
        """
        stages, world = self._stages, self.world
        gate, analysis, keep = stages.gate, stages.analysis, world.n_inputs
        cursor = gate.cursor
        time = world.market.stamps.instant(int(world.timeline.instants[cursor - 1])) if cursor else None
        one = Input(InputPlace(cursor, keep), time, what, strategy, arguments, by)
        refuse_unknown(world, one)
        self.journal.input(one, keep)
        self._undone.clear()
        done = Recorded(one, bars, len(world.desk.fills))
        self._go_on_with(Line((*self.line.inputs[:keep], done)))
        self._marks.hold_to(self.line.inputs)
        world.n_inputs = keep + 1
        try:
            with gate.standing_in():
                answer = carry_out(world, one, bars)
                analysis.run_deferred(cursor)
            return answer
        except BaseException as error:
            if isinstance(error, StrategyError):
                analysis.fail(error)
            done = done._replace(refusal=refusal_of(error), is_last=gate.closed)
            self.line = Line((*self.line.inputs[:keep], done))
            raise
        finally:
            analysis.guard_by(partial(ParameterGuard, world.desk))  # a parameter may have been changed
            analysis.adopt(cursor)

    # -- places ---------------------------------------------------------------------------------------------

    def undo_goal(self) -> Destination | None:
        """The place just before the last input that was done; None if there is none."""
        count = self.world.n_inputs
        return Destination(self.line.inputs[count - 1].input.place.cursor, count - 1, cuts=True) if count else None

    def redo_goal(self) -> Destination | None:
        """The place that the last `undo` has left; None if there is none, or something else was done by hand since."""
        if not self._undone:
            return None
        line, place = self._undone[-1]
        return Destination(place.cursor, place.inputs, line=line)

    # -- in the analysis thread -----------------------------------------------------------------------------

    def travel(self, jump: JumpRequest, cursor: int) -> None:
        """Make one jump; at rest at `cursor`."""
        gate, error = self._stages.gate, None
        try:
            goal = jump.place(cursor)
            if goal is not None:
                self._go(jump, cursor, goal if isinstance(goal, Destination) else Destination(goal))
        except BaseException as problem:  # noqa: BLE001 - raised by the command that asked for the jump
            error = problem
        finally:
            self.replay = None
            gate.stayed(jump, error)

    def arrive(self, cursor: int) -> None:
        """At a boundary in the past: do the inputs of that place, and hold what was delivered against the record, at each rest."""
        gate = self._stages.gate
        try:
            if cursor != self._landed:
                self._repeat_at(cursor)
            self._check(cursor)
        except ReplayError as error:
            self._go_on_with(Line(self.line.inputs[: self.world.n_inputs]))
            gate.hold_here(error)

    def depart(self, cursor: int) -> bool:
        """Before a run leaves a place at which inputs are still to be done; True if one was."""
        if cursor != self._landed:
            return False
        self._landed = -1
        count = self.world.n_inputs
        self.arrive(cursor)
        return self.world.n_inputs != count

    def _check(self, cursor: int) -> None:
        count = self.world.n_inputs
        is_over = not self.line.is_behind(cursor, count)
        if not is_over and (cursor == self._rested or not self._stages.gate.is_resting_at(cursor)):
            return
        self._rested = cursor
        self.line.verify(self.world, cursor, self._checked)
        if is_over:
            self._go_on_with(Line(self.line.inputs[:count]))

    def _repeat_at(self, cursor: int) -> None:
        stages, world, inputs = self._stages, self.world, self.line.inputs
        while world.n_inputs < len(inputs) and inputs[world.n_inputs].input.place.cursor == cursor:
            repeat(stages, inputs[world.n_inputs])
            stages.analysis.adopt(cursor)
            self._rested = -1
        self._come_in()

    def _go_on_with(self, line: Line) -> None:
        """Take a line, from the present place on."""
        self.line = line
        is_past = line.past is not None
        self._stages.analysis.keeper = self if is_past else None
        if not is_past:
            self._landed = -1
        self._come_in()

    def _come_in(self) -> None:
        """Have the analysis come to a boundary at the next place where something is to be done."""
        past, inputs, count = self.line.past, self.line.inputs, self.world.n_inputs
        if past is not None:
            ahead = inputs[count].input.place.cursor if count < len(inputs) else past.horizon
            self._stages.gate.come_in_at(ahead)

    def _go(self, jump: JumpRequest, cursor: int, goal: Destination) -> None:
        old, (inputs, past) = self.world, goal.line or self.line
        count = Line(inputs).count_at(goal.cursor) if goal.n_inputs is None else goal.n_inputs
        is_other = goal.cuts or goal.line is not None
        is_new = (
            past is not None and self._stages.analysis.keeper is not self
        )  # another run's line, not gone on with yet
        if goal.cursor == cursor and count == old.n_inputs and not (is_other or is_new):
            self._stages.gate.jumped(jump, cursor, lambda: None)
            return
        line = Line(inputs, past or RunPast(cursor, old))
        world = self._replayed(jump, goal.cursor, line, inputs[:count])
        if world is None:
            return
        if is_other:
            self._note(Line(inputs[:count]) if goal.cuts else line, goal.cursor)
        if not self._land(jump, world, goal, line) and is_other:
            self._note(self.line, cursor)  # the jump was given up meanwhile

    def _note(self, line: Line, cursor: int) -> None:
        """Have the journal write down that another line is gone on with."""
        self.journal.take([one.input for one in line.inputs], cursor)

    def _land(self, jump: JumpRequest, world: World, goal: Destination, line: Line) -> bool:
        """Exchange the worlds; False, and nothing happens, if the jump was given up."""
        place, count = self.place, world.n_inputs

        def exchange() -> None:
            self._put_in_place(world)
            if goal.cuts:
                self._undone.append((line, place))
            elif goal.line is not None:
                self._undone.pop()
            self._landed = goal.cursor if count < len(line.inputs) else -1
            self._rested, self._checked = goal.cursor, Checked()
            is_behind = line.is_behind(goal.cursor, count) and not goal.cuts
            self._go_on_with(line if is_behind else Line(line.inputs[:count]))
            self._stages.analysis.exchange(world.desk, goal.cursor)

        world.desk.is_replay = False
        self._stages.analysis.marker = self._maker.note
        return self._stages.gate.jumped(jump, goal.cursor, exchange)

    def _put_in_place(self, world: World) -> None:
        """Make `world` the one that the stages move. Called under the gate's condition."""
        stages, timeline = self._stages, self.world.timeline
        self.world.timeline = copy(timeline)  # the old world's stays as it is
        self.world.desk.is_open = False  # its strategies are in no run any more
        timeline.axis = world.timeline.axis
        world.timeline = timeline  # all stages know this one
        if isinstance(world.universe, SymbolUniverse):
            world.universe.put_on(timeline, stages.gate, stages.analysis, stages.coordinator)
        world.desk.may_act = stages.gate.may_call
        stages.analysis.guard_by(partial(ParameterGuard, world.desk))
        stages.processor.take_over(world.chunks)
        stages.world = world

    def _replayed(self, jump: JumpRequest, goal: int, line: Line, inputs: Sequence[Recorded]) -> World | None:
        """A fresh world that has completed `goal` instants, held against the line; None if the jump was given up."""
        mark = self._marks.newest(goal, inputs)
        if mark is not None:
            try:
                return self._verified(jump, goal, line, inputs, mark)
            except Exception:  # noqa: BLE001 - the whole way tells if the run repeats itself
                self._marks.give_up()
        return self._verified(jump, goal, line, inputs, None)

    def _verified(
        self, jump: JumpRequest, goal: int, line: Line, inputs: Sequence[Recorded], mark: RunMark | None
    ) -> World | None:
        """As `_replayed`, from a mark on, or from the start."""
        stages, gate = self._stages, self._stages.gate
        if stages.again is None:
            raise ReplayError("this run can't be rewound: its origin isn't known")
        world, made = stages.again(), RunMarks()
        made.is_off = self._marks.is_off
        maker = MarkMaker(lambda: world, lambda: inputs, made)
        self.replay = RunReplay(world, stages, goal, inputs, mark)
        self.replay.stages.analysis.marker = maker.note
        if not self.replay.run(lambda: not gate.closed and gate.jump_asked is jump and not _is_interrupted(gate)):
            return None
        line.verify(world, goal, None if mark is None else mark.checked())
        maker.check_random()
        self._marks.take(made)
        return world


def _is_interrupted(gate: RunGate) -> bool:
    """True if a run without threads has heard Ctrl-C."""
    return gate.runner is not None and gate.runner.wants_rest
