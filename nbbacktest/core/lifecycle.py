"""The states of a run, as one table, changed in one place.

Pure: no threads, no clock, no lock. The owner of a `Lifecycle` guards it (here: the gate's condition).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition

STOPPED, RUNNING, PAUSED = SystemState.STOPPED, SystemState.RUNNING, SystemState.PAUSED


class Command(StrEnum):
    """The commands of a user, and the reports of an engine."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STEP = "step"
    RUN_UNTIL = "run_until"
    REWIND = "rewind"
    STOP = "stop"
    ADD = "add_symbol"
    REMOVE = "remove_symbol"
    INPUT = "buy"  # and every other input by hand
    # Reported by the engine, never typed:
    REST = "rest"
    FINISH = "finish"
    FAIL = "fail"


TABLE: dict[tuple[SystemState, Command], SystemState] = {
    (STOPPED, Command.START): RUNNING,
    (STOPPED, Command.REWIND): PAUSED,
    (RUNNING, Command.PAUSE): PAUSED,
    (RUNNING, Command.RUN_UNTIL): RUNNING,
    (RUNNING, Command.REWIND): PAUSED,
    (RUNNING, Command.STOP): STOPPED,
    (RUNNING, Command.ADD): RUNNING,
    (RUNNING, Command.REMOVE): RUNNING,
    (RUNNING, Command.INPUT): RUNNING,
    (RUNNING, Command.REST): PAUSED,
    (RUNNING, Command.FINISH): STOPPED,
    (RUNNING, Command.FAIL): STOPPED,
    (PAUSED, Command.RESUME): RUNNING,
    (PAUSED, Command.STEP): RUNNING,
    (PAUSED, Command.RUN_UNTIL): RUNNING,
    (PAUSED, Command.REWIND): PAUSED,
    (PAUSED, Command.STOP): STOPPED,
    (PAUSED, Command.ADD): PAUSED,
    (PAUSED, Command.REMOVE): PAUSED,
    (PAUSED, Command.INPUT): PAUSED,
    (PAUSED, Command.FAIL): STOPPED,
}
"""The commands that each state allows, and the state after each."""

HOLDS: frozenset[tuple[SystemState, Command]] = frozenset(
    {
        (RUNNING, Command.START),
        (PAUSED, Command.START),
        (PAUSED, Command.PAUSE),
        (RUNNING, Command.RESUME),
        (STOPPED, Command.STOP),
    }
)
"""Commands whose wish already holds: they answer False and change nothing."""

_REPORTS = frozenset({Command.REST, Command.FINISH, Command.FAIL})


class Lifecycle:
    """The present state and the last events that led to it.

    Parameters
    ----------
    on_change
        Told each new state, under the owner's lock: it may only note it.
    """

    def __init__(self, on_change: Callable[[SystemState], None] | None = None) -> None:
        self._on_change = on_change
        self._state = self._told = STOPPED
        self._history: deque[str] = deque(maxlen=8)

    @property
    def state(self) -> SystemState:
        """The present state. Reading it needs no lock: it is one reference."""
        return self._state

    @property
    def history(self) -> tuple[str, ...]:
        """The last events, oldest first, as ``command: from -> to``."""
        return tuple(self._history)

    def allows(self, command: Command) -> bool:
        """Tell whether `command` would change something; False if its wish already holds.

        Raises
        ------
        InvalidTransition
            If the command makes no sense in this state.
        """
        key = (self._state, command)
        if key in TABLE:
            return True
        if key in HOLDS:
            return False
        allowed = [c.value for (state, c) in TABLE if state is self._state and c not in _REPORTS]
        raise InvalidTransition(self._state.value, command.value, allowed, self.history)

    def apply(self, command: Command) -> SystemState:
        """Make the transition and return the new state.

        Raises
        ------
        InvalidTransition
            If the table has no such transition.
        """
        if not self.allows(command):
            return self._state
        after = TABLE[self._state, command]
        line = f"{command.value}: {self._state.value} -> {after.value}"
        self._state = after  # an interrupt can come before this line or after the next one, but not between them
        self._history.append(line)
        self.tell()
        return self._state

    def tell(self) -> None:
        """Tell the listener the present state, unless it was told already; an interrupt may have come before."""
        state = self._state
        if self._told is not state:
            if self._on_change is not None:
                self._on_change(state)
            self._told = state
