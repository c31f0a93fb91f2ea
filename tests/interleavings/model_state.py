"""The state of the explicit model, and the gate's sections under its lock: each is one step, as in the engine.

States change by the table of `nbbacktest.core.lifecycle`, which the engine uses too: neither can know another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import HOLDS, TABLE, Command

UNLIMITED = 99


class BrokenError(Exception):
    """A state that the protocol must never come to."""


class Trip(NamedTuple):
    """A step or a run_until."""

    target: int = 0
    stepping: bool = False
    over: bool = False
    reached: bool = False


class Plan(NamedTuple):
    """What the coordinator has released; as `nbbacktest.engine.window.Plan`."""

    serial: int = 0
    start: int = 0
    stop: int = 0
    generation: int = 0
    paced: bool = False


FIELDS = (
    "life", "user", "holds", "trip", "trips", "limit", "generation", "cursor", "closed", "ended", "started", "busy",
    "paced", "speed", "repacing", "up_ready", "up_closed", "down_ready", "down_closed", "plan", "serial", "taken", "batch",
    "published", "delivered", "analysis_over", "done", "coordinator", "processor", "analysis", "controllers", "asleep",
)  # fmt: skip
"""All that a state is. `asleep` are those that wait for a notification, each as its name and the condition's."""


class State:
    """One state, open to change; `frozen` is its value."""

    __slots__ = FIELDS

    def __init__(self, values: tuple[Any, ...]) -> None:
        for name, value in zip(FIELDS, values, strict=True):
            setattr(self, name, value)

    def frozen(self) -> tuple[Any, ...]:
        """All fields, as one value."""
        return tuple([getattr(self, name) for name in FIELDS])

    # -- the table ------------------------------------------------------------------------------------------

    def allows(self, command: Command) -> bool:
        """Whether the command would change something; where it makes no sense, nobody gives it here."""
        return (self.life, command) in TABLE

    def holds_already(self, command: Command) -> bool:
        """Whether its wish is so."""
        return (self.life, command) in HOLDS

    def apply(self, command: Command) -> None:
        """Make the transition."""
        if not self.allows(command):
            raise BrokenError(f"the table has no {command} while {self.life}")
        self.life = TABLE[self.life, command]

    # -- conditions -----------------------------------------------------------------------------------------

    def sleep(self, who: str, condition: str) -> None:
        """Wait for a notification of that condition."""
        self.asleep |= {(who, condition)}

    def wake(self, condition: str) -> None:
        """Notify all who wait for it."""
        self.asleep = frozenset(one for one in self.asleep if one[1] != condition)

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

    # -- the gate, as `Threshold` and `Gate` have it --------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether anybody holds the run."""
        return self.user or self.holds > 0

    @property
    def journey(self) -> Trip | None:
        """The step or run_until that is under way."""
        return None if self.trip is None else self.trips[self.trip]

    def change_trip(self, number: int, **fields: Any) -> None:
        """Replace some of a trip's fields."""
        trips = list(self.trips)
        trips[number] = trips[number]._replace(**fields)
        self.trips = tuple(trips)

    def leave_trip(self) -> None:
        if self.trip is not None:
            self.change_trip(self.trip, over=True)
            self.trip = None

    def come_to_rest(self) -> None:
        self.busy = False
        if self.user:
            self.leave_trip()
            if self.life is SystemState.RUNNING and not self.closed:
                self.apply(Command.REST)
        self.wake("gate")

    def hold(self, *, user: bool) -> None:
        if user:
            self.user = True
        else:
            self.holds += 1
        self.limit = 0
        self.wake("gate")

    def hold_for_user(self) -> None:
        self.hold(user=True)
        if not self.busy:
            self.come_to_rest()

    def move_on(self) -> None:
        self.limit = 0
        if self.paced:
            self.generation += 1
        self.wake("gate")

    def go(self, trip: int | None) -> None:
        self.user = False
        self.leave_trip()
        self.trip = trip
        self.move_on()

    def reach(self, trip: int) -> None:
        self.change_trip(trip, reached=True)
        self.hold(user=True)

    def set_out(self, command: Command, trip: int) -> None:
        self.apply(command)
        self.go(trip)
        if not self.busy and self.cursor >= self.trips[trip].target:
            self.reach(trip)
            self.come_to_rest()

    def replan(self) -> None:
        self.paced = self.speed > 0
        self.generation += 1
        self.limit = 0
        self.wake("gate")

    def release(self) -> None:
        self.holds -= 1
        if not self.is_held:
            self.move_on()

    def end(self, command: Command | None = None) -> None:
        self.closed = True
        self.ended = self.ended or command is not None
        self.limit = 0
        self.generation += 1
        if command is not None and self.life is not SystemState.STOPPED:
            self.apply(command)
        self.wake("gate")
