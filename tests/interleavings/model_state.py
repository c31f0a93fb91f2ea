"""The state of the explicit model: the engine's own `GateState`, and beside it the streams, the stages and the controllers.

The gate's events are those of the engine, not written anew; states change by the table of `nbbacktest.core.lifecycle`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.engine.gate_state import GateState, MoveRequest

NOW = 0.0
"""What the clock shows at every event: how much time passes decides nothing in a gate."""

MOVE_FIELDS = ("after", "target", "stepping", "begun", "over", "reached")
GATE_FIELDS = (
    "limit", "generation", "cursor", "busy", "resting", "paced", "asked", "answering", "answered", "started",
    "finishing", "closed", "ended",
)  # fmt: skip
"""The plain fields that decide. Left out: times, and the two that tell `RunGate` to notify, which are taken down at once."""

FIELDS = (
    "gate", "speed", "repacing", "up_ready", "up_closed", "down_ready", "down_closed", "plan", "serial", "taken", "batch",
    "published", "delivered", "analysis_over", "done", "coordinator", "processor", "analysis", "controllers", "asleep",
)  # fmt: skip
"""All that a state is. `asleep` are those that wait for a notification, each as its name and the condition's."""


class BrokenError(Exception):
    """A state that the protocol must never come to."""


class Plan(NamedTuple):
    """What the coordinator has released; as the engine's `Plan`."""

    serial: int = 0
    start: int = 0
    stop: int = 0
    generation: int = 0
    paced: bool = False


def frozen_gate(gate: GateState, moves: list[MoveRequest]) -> tuple[Any, ...]:
    """A gate's state and the moves that were asked of it, as one value."""
    return (
        gate.life.state,
        tuple(sorted(gate.holders.items(), key=str)),
        None if gate.move is None else moves.index(gate.move),
        tuple([tuple([getattr(move, name) for name in MOVE_FIELDS]) for move in moves]),
        tuple([getattr(gate, name) for name in GATE_FIELDS]),
    )


def thawed_gate(value: tuple[Any, ...]) -> tuple[GateState, list[MoveRequest]]:
    """A gate's state of that value, open to events, and its moves."""
    state, holders, move, moves, fields = value
    life = Lifecycle()
    life._state = life._told = state
    gate, requests = GateState(life), []
    for values in moves:
        request = MoveRequest()
        for name, one in zip(MOVE_FIELDS, values, strict=True):
            setattr(request, name, one)
        requests.append(request)
    gate.holders = dict(holders)
    gate.move = None if move is None else requests[move]
    vars(gate).update(zip(GATE_FIELDS, fields, strict=True))
    return gate, requests


class State:
    """One state, open to change; `frozen` is its value. The gate is thawed where a step first uses it."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._gate: GateState | None = None
        self._moves: list[MoveRequest] = []
        self._gate_value = values[0]
        vars(self).update(zip(FIELDS[1:], values[1:], strict=True))

    def __getattr__(self, name: str) -> Any:
        """For the type checker: the fields are set all at once."""
        raise AttributeError(name)

    @property
    def gate(self) -> GateState:
        """The engine's gate, as of this state."""
        if self._gate is None:
            self._gate, self._moves = thawed_gate(self._gate_value)
        return self._gate

    @property
    def moves(self) -> list[MoveRequest]:
        """The moves of all commands, in order."""
        _ = self.gate
        return self._moves

    @property
    def life(self) -> SystemState:
        """Running, paused or stopped."""
        return self._gate_value[0] if self._gate is None else self._gate.life.state  # type: ignore[no-any-return]

    def frozen(self) -> tuple[Any, ...]:
        """All fields, as one value."""
        gate = self._gate_value if self._gate is None else frozen_gate(self._gate, self._moves)
        fields = vars(self)
        return (gate, *[fields[name] for name in FIELDS[1:]])

    # -- conditions -----------------------------------------------------------------------------------------

    def sleep(self, who: str | int, condition: str) -> None:
        """Wait for a notification of that condition."""
        self.asleep |= {(who, condition)}

    def wake(self, condition: str) -> None:
        """Notify all who wait for it."""
        self.asleep = frozenset(one for one in self.asleep if one[1] != condition)

    def tell(self) -> None:
        """As `RunGate._tell`: the end of every section under the gate's lock."""
        if self.gate.has_news:
            self.gate.has_news = False
            self.wake("gate")

    def signal_up(self) -> None:
        """The coordinator to the processor."""
        if not (self.up_closed or self.up_ready):
            self.up_ready = True
            self.wake("up")

    def signal_down(self) -> None:
        """The processor to the analysis."""
        if not (self.down_closed or self.down_ready):
            self.down_ready = True
            self.wake("down")
