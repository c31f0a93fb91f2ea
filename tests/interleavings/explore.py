"""Goes through schedules of a world, many by chance or all with few departures, and shows a failing one again.

`python -m tests.interleavings` is the same on the command line.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.interleavings import choices
from tests.interleavings.judged import Outcome
from tests.interleavings.replaced import replaced

COMMAND = "python -m tests.interleavings"


class FoundError(AssertionError):
    """A schedule with a fault, and the command that shows exactly that one again."""

    def __init__(self, command: str, outcome: Outcome) -> None:
        problems = "\n".join(outcome.problems)
        super().__init__(f"{problems}\n\n{outcome.scenario}\nanswers: {outcome.answers}\n\nAgain: {command}")
        self.command = command
        self.outcome = outcome


@contextmanager
def laboratory() -> Iterator[None]:
    """Stand-ins in place, and no log: what strategies raise here on purpose isn't news."""
    package = logging.getLogger("nbbacktest")
    before, package.disabled = package.disabled, True
    try:
        with replaced():
            yield
    finally:
        package.disabled = before


def by_seed(world: ModuleType, seed: int) -> Outcome:
    """The one schedule of that seed."""
    scenario = world.drawn(random.Random(f"scenario {seed}"))
    return world.run(scenario, choices.drawn(random.Random(f"schedule {seed}")))


def by_path(world: ModuleType, case: str, path: choices.Path) -> tuple[Outcome, list[int]]:
    """The one schedule of a case with these departures, and how many could be picked at each of its questions."""
    taken = choices.Departures(path.departures)
    return world.run(world.CASES[case], taken), taken.asked


def try_seeds(world: ModuleType, seeds: Iterable[int]) -> int:
    """Go through the schedules of these seeds; how many there were.

    Raises
    ------
    FoundError
        At the first one with a fault.
    """
    count = 0
    for seed in seeds:
        outcome = by_seed(world, seed)
        if outcome.problems:
            raise FoundError(f"{COMMAND} {world.NAME} --seed {seed}", outcome)
        count += 1
    return count


def try_paths(world: ModuleType, case: str, departures: int, most: int | None = None) -> int:
    """Go through all schedules of a case with so many departures at most, or the first `most`; how many there were.

    Raises
    ------
    FoundError
        As for `try_seeds`.
    """
    count, waiting = 0, deque([choices.Path({})])
    while waiting and count != most:
        path = waiting.popleft()
        outcome, asked = by_path(world, case, path)
        count += 1
        if outcome.problems:
            raise FoundError(f'{COMMAND} {world.NAME} --case "{case}" --path {path}', outcome)
        if len(path.departures) < departures:
            waiting.extend(path.further(asked))
    return count
