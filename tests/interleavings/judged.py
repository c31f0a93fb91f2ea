"""What a schedule is judged by, whatever runs in it: that it ends, that no task fails, that states follow the table."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import TABLE, Command, Lifecycle
from tests.interleavings.replaced import peek
from tests.interleavings.scheduler import CLOCK, Choices, Scheduler, StuckError

FINISHES = 5
"""How often a run that rests at the end of all commands is told to go on, at most: a pause may come late."""


@dataclass
class Outcome:
    """What came of one schedule.

    Attributes
    ----------
    scenario : object
        What was to be done.
    problems : list of str
        What went wrong; nothing is to.
    answers : list
        Each command, its argument and its answer, in the order of the answers.
    trace : list of str
        See `Scheduler`.
    """

    scenario: object
    problems: list[str] = field(default_factory=list)
    answers: list[tuple[str, Any, Any]] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


def broken_history(state: SystemState, history: Sequence[str]) -> list[str]:
    """Where a history, as `Lifecycle.history` gives it, isn't one that the table allows from `state` on."""
    problems = []
    for event in history:
        command, _, change = event.partition(": ")
        before, _, after = change.partition(" -> ")
        if before != state:
            problems.append(f"the state was {state}, and then {event!r}")
        if TABLE.get((SystemState(before), Command(command))) != after:
            problems.append(f"the table has no {event!r}")
        state = SystemState(after)
    return problems


class Judge:
    """Runs controllers beside an engine, brings what rests at the end to its end, and collects what went wrong.

    Parameters
    ----------
    choices
        See `Scheduler`.
    outcome
        Where what went wrong is noted.
    """

    def __init__(self, choices: Choices, outcome: Outcome) -> None:
        self.outcome = outcome
        self.scheduler = Scheduler(choices, self._when_idle)
        self._finish: Callable[[], object] = lambda: None
        self._life: Lifecycle | None = None
        self._began_as = SystemState.STOPPED
        self._finishes = 0

    def complain(self, problem: str) -> None:
        """Note what went wrong."""
        self.outcome.problems.append(problem)

    def watch(self, life: Lifecycle, finish: Callable[[], object]) -> None:
        """Judge that state; `finish` brings a paused run to its end, as one more controller."""
        life._history = deque()  # all of it
        self._life, self._finish, self._began_as = life, finish, life.state

    @property
    def state(self) -> SystemState:
        """The state as it is now, without a point."""
        return SystemState.STOPPED if self._life is None else peek(self._life, "_state")

    @property
    def is_prompt(self) -> bool:
        """Whether time has passed only when nobody could go on."""
        return f"{CLOCK.name}: {CLOCK.label}" not in self.scheduler.trace

    def control(self, name: str, body: Callable[[], object]) -> None:
        """Have one more controller."""
        self.scheduler.spawn(name, body, is_users=True)

    def run(self) -> None:
        """Go through the schedule."""
        try:
            self.scheduler.run()
        except StuckError as error:
            self.complain(str(error))
        for task in self.scheduler.tasks:
            if task.error is not None:
                self.complain(f"{task.name} raised:\n{''.join(traceback.format_exception(task.error)[-6:])}")
        self.outcome.problems += self.scheduler.complaints
        self.outcome.trace = self.scheduler.trace
        if not self.outcome.problems and self._life is not None:
            self.outcome.problems += broken_history(self._began_as, self._life.history)
            if self.state is not SystemState.STOPPED:
                self.complain(f"at the end of all it is {self.state}")

    def _when_idle(self, polling: bool) -> bool:
        undone = [task for task in self.scheduler.tasks if task.state != "done"]
        if not undone:
            return False
        # Who polls may wait for the end of a paused run; who only sleeps would never be woken.
        if any(task.is_users for task in undone) and not (polling and self.state is SystemState.PAUSED):
            raise StuckError(f"a command never returns:\n{self.scheduler.story()}")
        if self.state is not SystemState.PAUSED:
            raise StuckError(f"it is {self.state}, and nothing moves:\n{self.scheduler.story()}")
        self._finishes += 1
        if self._finishes > FINISHES:
            raise StuckError(f"it doesn't go on after its last pause:\n{self.scheduler.story()}")
        self.control("finisher", self._finish)
        return True
