"""The answers to commands, and the words that several of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbbacktest.system.manager import SystemManager

RESUME = "Use 'system resume' to continue"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a command.

    Attributes
    ----------
    command : str
        Its name.
    value : object
        The return value of the Python method.
    state : str
        The system's state afterwards: ``"running"``, ``"paused"`` or ``"stopped"``.
    message : str
        For the user, one line or several.
    hint : str or None
        For the user besides: the next thing to do, or a consequence.
    data : dict or None
        Details that JSON can hold; of `status`, the JSON status; of `look`, what was seen.
    """

    command: str
    value: Any
    state: str
    message: str
    hint: str | None = None
    data: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The answer as a mapping that JSON can hold; a value that is the data already isn't repeated."""
        return {
            "command": self.command,
            "value": None if self.data is not None else self.value,
            "state": self.state,
            "message": self.message,
            "hint": self.hint,
            "data": self.data,
        }

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


def answer(system: SystemManager, command: str, value: Any, message: str, hint: str | None = None) -> Answer:
    """The answer of a system in its present state."""
    return Answer(command, value, system.get_state().value, message, hint)


def at(system: SystemManager) -> str:
    """The instant at which the run stands, in words that follow others; empty before the first."""
    time = system.snapshot().time
    return f" at {time}" if time is not None else ""


def gone(system: SystemManager, command: str, value: Any) -> Answer:
    """The answer to a command that leads to another place of the run."""
    if not value:
        return answer(system, command, False, cut_short(system))
    shot, horizon = system.snapshot(), system.horizon
    left = horizon - shot.cursor
    ahead = f"{left:,} instant{' lies' if left == 1 else 's lie'} ahead: 'system resume' delivers what lies ahead again"
    where = at(system) or " before the first bar"
    return answer(system, command, True, f"System paused{where}", ahead if shot.cursor < horizon else RESUME)


def cut_short(system: SystemManager) -> str:
    """The reason why a command didn't come to its place."""
    if system.is_stopped():
        return "The run ended before that"
    hits = system.breakpoints.hit
    if hits:
        return f"System paused{at(system)}: {' and '.join(map(str, hits))}"
    return f"System is {system.get_state()}{at(system)}: another command came between"
