"""What decides a schedule: chance by a seed, or a list of departures from going straight on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.interleavings.scheduler import CLOCK, Task


class Walk:
    """At each point chance says who goes on. How often a task is preempted is drawn once for a schedule."""

    def __init__(self, dice: random.Random, *, early_clock: bool) -> None:
        self._dice = dice
        self._often = dice.choice([0.02, 0.1, 0.3, 0.6, 0.9])
        self._early = 0.15 if early_clock else 0.0

    def pick(self, options: Sequence[Task], *, may_go_on: bool) -> int:
        dice, count = self._dice, len(options)
        if options[-1] is CLOCK:
            if dice.random() < self._early:
                return count - 1
            count -= 1
        if count == 1 or (may_go_on and dice.random() > self._often):
            return 0
        return dice.randrange(count)


class Ranks:
    """Of those that can go on, the one of the highest rank does; at a few points it falls to the lowest.

    Ranks are drawn, and so are the points. A task can starve for long so, which a walk hardly lets happen (Burckhardt et
    al., A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS 2010).
    """

    def __init__(self, dice: random.Random, *, early_clock: bool) -> None:
        self._dice = dice
        self._early = early_clock
        self._ranks: dict[Task, float] = {}
        self._falls = {dice.randrange(300) for _ in range(dice.choice([1, 2, 4, 8]))}
        self._asked = 0
        self._lowest = 0.0

    def pick(self, options: Sequence[Task], *, may_go_on: bool) -> int:
        ranks = self._ranks
        if options[-1] is CLOCK and not self._early:
            options = options[:-1]
        for task in options:
            if task not in ranks:
                ranks[task] = self._dice.random()
        best = max(options, key=ranks.__getitem__)
        # Whoever spins on a lock that another holds has to fall, or it would spin for ever; so has the clock.
        if self._asked in self._falls or best is CLOCK or self._dice.random() < 0.01:
            self._lowest -= 1.0
            ranks[best] = self._lowest
        self._asked += 1
        return options.index(best)


class Departures:
    """Whoever went on last goes on, but for the departures: by the number of the question, the place that is picked."""

    def __init__(self, departures: Mapping[int, int] | None = None) -> None:
        self._departures = departures or {}
        self.asked: list[int] = []
        """For each question, how many could be picked."""

    def pick(self, options: Sequence[Task], *, may_go_on: bool) -> int:
        picked = self._departures.get(len(self.asked), 0)
        self.asked.append(len(options))
        return picked


class Path(NamedTuple):
    """A schedule as its departures; each costs something, whether it preempts a task or picks among those that can go on."""

    departures: dict[int, int]

    def __str__(self) -> str:
        return ",".join(f"{at}:{picked}" for at, picked in self.departures.items()) or "straight"

    @classmethod
    def read(cls, text: str) -> Path:
        """The path that was written so."""
        parts = [] if text == "straight" else [part.split(":") for part in text.split(",")]
        return cls({int(at): int(picked) for at, picked in parts})

    def further(self, asked: Sequence[int]) -> Iterator[Path]:
        """The paths that depart once more, behind the last departure; `asked` as `Departures` has it."""
        for at in range(max(self.departures, default=-1) + 1, len(asked)):
            for picked in range(1, asked[at]):
                yield Path({**self.departures, at: picked})


def drawn(dice: random.Random) -> Walk | Ranks:
    """Choices by chance; in half of them time passes only when nobody can go on."""
    kind = Walk if dice.random() < 0.7 else Ranks
    return kind(dice, early_clock=dice.random() < 0.5)
