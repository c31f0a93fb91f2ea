"""Takes a run to another place of its line: a fresh world is re-executed to there, held against the record, and exchanged.

All of it happens in the thread of the analysis, while the run rests at an instant: what a strategy has bound to that thread
stays usable. Nothing is published on the way, and if anything fails, the run stays where it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from nbbacktest.core.errors import ReplayError
from nbbacktest.core.formats import said
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import Int64
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.gate_state import JumpRequest
from nbbacktest.engine.timeline import Window
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.universe import SymbolUniverse
from nbbacktest.system.world import World
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.record import RunNotes, Split

_index = attrgetter("index")
_TURNS = 4
"""After how many turns of the analysis a replay looks if it is still wanted."""


class Line(NamedTuple):
    """The record of a run, up to the horizon that it has come to.

    Attributes
    ----------
    horizon : int
        How many instants were completed.
    fills, orders, log, splits : sequences
        Those of the desk that has come that far; that desk goes on no more.
    instants : int64 array
        The run's, as of then.
    notes : RunNotes
    """

    horizon: int
    fills: Sequence[Fill]
    orders: Sequence[Order]
    log: Sequence[tuple[int, str, str]]
    splits: Sequence[Split]
    instants: Int64
    notes: RunNotes


def line_of(horizon: int, desk: TradingDesk) -> Line:
    """The line of the desk that has come to the horizon."""
    return Line(horizon, desk.fills, desk.orders, desk.log, desk.splits, desk.instants, desk.notes)


class Journey:
    """Makes the jumps of one run, and holds what is delivered in its past against the record.

    Attributes
    ----------
    world : World
        The present one.
    replayed : Stages or None
        Those of the world that is on its way to a place. Written by the analysis thread.
    line : Line or None
        The record to hold the past against; None at the horizon.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.world = stages.world
        self.replayed: Stages | None = None
        self.line: Line | None = None
        self._checked = -1
        stages.analysis.travel = self.travel

    @property
    def horizon(self) -> int:
        """The largest number of instants that the run has completed."""
        line, cursor = self.line, self._stages.gate.cursor
        return cursor if line is None else max(line.horizon, cursor)

    def travel(self, jump: JumpRequest, cursor: int) -> None:
        """Make one jump; in the analysis thread, at rest at `cursor`."""
        gate, error = self._stages.gate, None
        try:
            goal = jump.place(cursor)
            if goal == cursor:
                gate.jumped(jump, cursor, lambda: None, self.horizon)
            else:
                self._go(jump, cursor, goal)
        except BaseException as problem:  # noqa: BLE001 - raised by the command that asked for the jump
            error = problem
        finally:
            self.replayed = None
            gate.stayed(jump, error)

    def check(self, cursor: int) -> None:
        """Hold what was delivered in the past against the record: at each rest, and where the run comes to its horizon."""
        line, gate = self.line, self._stages.gate
        if line is None:
            return
        is_over = cursor >= line.horizon
        if not is_over and (cursor == self._checked or not gate.is_resting_at(cursor)):
            return
        self._checked = cursor
        error = difference(line, self.world, cursor)
        if is_over or error is not None:
            self.line = self._stages.analysis.check = None
        if error is not None:
            gate.hold_here(error)

    def close(self) -> None:
        """Let go of the files of the present world; a world that is replayed has none."""
        if self.world.loader is not None:
            self.world.loader.close()

    # -- in the analysis thread -----------------------------------------------------------------------------

    def _go(self, jump: JumpRequest, cursor: int, goal: int) -> None:
        stages, old = self._stages, self.world
        again = stages.again
        if again is None:
            raise ReplayError("this run can't be rewound: its origin isn't known")
        if old.loader is not None:
            raise ReplayError(
                "a run whose bars are streamed can't be taken back: its files aren't read a second time; set data.stream to false"
            )
        moved = getattr(old.universe, "by_hand", None)
        if moved:
            raise ReplayError(
                f"{', '.join(moved)} joined or left the run by a command, which a replay doesn't repeat yet"
            )
        line = self.line or line_of(cursor, old.desk)
        world = again()
        if not self._replay(world, jump, goal):
            return
        error = difference(line, world, goal)
        if error is not None:
            raise error
        timeline, new = old.timeline, world.timeline
        axis = new.axis
        world.desk.is_replay = False

        def exchange() -> None:
            timeline.axis = axis
            world.timeline = timeline  # all stages know this one
            if isinstance(old.universe, SymbolUniverse) and isinstance(world.universe, SymbolUniverse):
                world.universe = old.universe.successor(world.universe, world.desk)
                world.desk.universe = world.universe
            stages.processor.take_over(world.loader)
            self.world = world
            self.line = line if goal < line.horizon else None
            stages.analysis.check = self.check if self.line is not None else None
            self._checked = goal
            stages.analysis.exchange(world.desk, goal)

        if stages.gate.jumped(jump, goal, exchange, line.horizon) and old.loader is not None:
            old.loader.close()

    def _replay(self, world: World, jump: JumpRequest, goal: int) -> bool:
        """Deliver the first `goal` instants of a fresh world; False if the jump was given up."""
        stages, desk = self._stages, world.desk
        life = Lifecycle()
        life.apply(Command.START)
        replay = wire(stages.config, life, Monitor(), world, clock=stages.clock, speed=0.0)
        gate, analysis = replay.gate, replay.analysis
        gate.runner = _Driven()
        analysis.epoch = stages.analysis.epoch
        desk.is_replay = True
        self.replayed = replay
        if not analysis.begin():
            raise _raised(analysis.error, world)
        cursor = 0
        while cursor < goal:
            if stages.gate.closed or stages.gate.jump_asked is not jump or _is_interrupted(stages.gate):
                return False
            stop = min(cursor + replay.quantum.turn * _TURNS, goal, len(world.timeline))
            if stop <= cursor:
                raise ReplayError(f"the replay has only {cursor:,} instants, and {goal:,} were completed")
            for batch in replay.processor.batches(Window(cursor, stop, gate.generation, None)):
                analysis.process(batch)
            cursor = desk.index + 1
            if gate.closed:
                raise _raised(analysis.error, world)
            if gate.is_held:
                gate.resume()  # it went on after an error, or a pause
        analysis.run_deferred(cursor)
        return True


class _Driven:
    """Stands for the runner of a gate whose run is driven by the caller: nothing waits there."""

    wants_rest = False

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ARG002 - as a `GateRunner` has it
        """True if it is over."""
        return over()

    def kick(self) -> None:
        """Do nothing: the caller drives the run by itself."""


def _is_interrupted(gate: RunGate) -> bool:
    """True if a run without threads has heard Ctrl-C."""
    return gate.runner is not None and gate.runner.wants_rest


def _raised(error: BaseException | None, world: World) -> ReplayError:
    where = _shown(world, world.desk.index + 1)
    problem = ReplayError(_told(where, "no error", said(error) if error is not None else "an end"))
    problem.__cause__ = error
    return problem


# -- verification -----------------------------------------------------------------------------------------------


def difference(line: Line, world: World, cursor: int) -> ReplayError | None:
    """The first thing in which a world that stands at `cursor` differs from the record; None if there is none.

    What was recorded at the very instant may have come after it, if the record goes on: a session's beginning has the time of
    the instant before. So it isn't missed there, but at the horizon.
    """
    desk = world.desk
    is_whole = cursor >= line.horizon
    now = int(world.timeline.instants[cursor - 1]) if cursor else desk.notes.opens
    fills = line.fills[: bisect_left(line.fills, cursor, key=_index)]
    for found in (
        _unlike(fills, desk.fills, now, is_whole=True),
        _unlike_orders(line.orders, desk.orders, now, is_whole=is_whole),
        _unlike(line.log, desk.log, now, is_whole=is_whole),
    ):
        if found is not None:
            moment, recorded, replayed = found
            return ReplayError(_told(_shown_moment(world, moment), recorded, replayed))
    return None


Unlike = tuple[int, str, str]
"""The instant from which two worlds differ, the recorded value, and the replayed one."""


def _unlike(recorded: Sequence[Any], replayed: Sequence[Any], now: int, *, is_whole: bool) -> Unlike | None:
    count = len(replayed)
    if list(recorded[:count]) != list(replayed):
        for old, new in zip(recorded, replayed, strict=False):
            if old != new:
                return _time_of(new), _words(old), _words(new)
        return _time_of(replayed[len(recorded)]), "nothing", _words(replayed[len(recorded)])
    if len(recorded) > count and (is_whole or _time_of(recorded[count]) < now):
        return _time_of(recorded[count]), _words(recorded[count]), "nothing"
    return None


def _unlike_orders(recorded: Sequence[Order], replayed: Sequence[Order], now: int, *, is_whole: bool) -> Unlike | None:
    for was, one in zip(recorded, replayed, strict=False):
        if _terms(was) == _terms(one):
            old, new = was.life, one.life
            if old == new:
                continue
            count = len(new)
            if old[:count] == new and not is_whole and old[count] >= now:
                continue
        return one.submitted_ns, _words(was), _words(one)
    count = len(replayed)
    if count > len(recorded):
        return replayed[len(recorded)].submitted_ns, "nothing", _words(replayed[len(recorded)])
    if len(recorded) > count and (is_whole or recorded[count].submitted_ns < now):
        return recorded[count].submitted_ns, _words(recorded[count]), "nothing"
    return None


def _terms(order: Order) -> tuple[Any, ...]:
    return order.id, order.strategy, order.symbol, order.side, order.type, order.tag, order.submitted_ns


def _words(one: Any) -> str:
    if isinstance(one, tuple):
        return f"{one[1]} logged {one[2]!r}"
    if isinstance(one, Fill):
        return f"{one.strategy} {one.side} {one.size:g} {one.symbol} at {one.price:g}"
    return f"{one.strategy}'s order {one.id}, {one.side} {one.size:g} {one.symbol}"


def _time_of(one: Any) -> int:
    return int(one[0] if isinstance(one, tuple) else one.time_ns)


def _shown_moment(world: World, moment: int | None) -> str:
    return "its start" if moment is None else str(world.market.stamps.instant(moment))


def _shown(world: World, cursor: int) -> str:
    return _shown_moment(world, int(world.timeline.instants[cursor - 1]) if cursor else None)


def _told(where: str, recorded: str, replayed: str) -> str:
    return (
        f"the run doesn't repeat itself: at {where} it recorded {recorded}, and the replay did {replayed}. Likely causes: random "
        "numbers without a seed, the wall clock, a global or class attribute, a file, an order or attribute set from outside. "
        "The run stays as it was"
    )
