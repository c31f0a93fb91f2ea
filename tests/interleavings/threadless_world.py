"""A whole SystemManager on a host without threads: commands, an event loop's turns between them, and Ctrl-C."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any
from unittest import mock

from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.runner import VARIABLE
from tests.interleavings import system_world
from tests.interleavings.judged import Outcome
from tests.interleavings.scheduler import Choices
from tests.interleavings.system_world import Scenario

NAME = "threadless"
CASES = {"run alone": Scenario(((("start", False), ("finish", None)),))}


def drawn(dice: random.Random) -> Scenario:
    """A scenario by chance: one user, whose words come one after the other."""
    minutes = dice.choice([2, 4, 4, 6, 12])
    weights = {
        "start": 2, "pause": 4, "resume": 5, "step": 5, "until": 3, "until_time": 3, "speed": 3, "stop": 1, "add": 2,
        "remove": 1, "status": 1, "snapshot": 1, "wait": 3, "await_end": 1, "turn": 8,
    }  # fmt: skip
    arguments: dict[str, Callable[[], Any]] = {
        "start": lambda: dice.random() < 0.5,
        "step": lambda: dice.randint(1, 3),
        "until": lambda: dice.randint(1, minutes),
        "until_time": lambda: dice.randint(0, minutes + 1),
        "speed": lambda: dice.choice([0.0, 6_000.0]),
        "add": lambda: dice.choice(["C", "D"]),
        "remove": lambda: dice.choice(["A", "B", "C"]),
        "turn": lambda: dice.choice([0.0, 0.005, 0.02, 0.05]),
    }

    def command() -> tuple[str, Any]:
        name = dice.choices(list(weights), list(weights.values()))[0]
        return name, arguments.get(name, lambda: None)()

    words = (("start", dice.random() < 0.4), *(command() for _ in range(dice.randint(1, 12))), ("finish", None))
    inside = ["pause", "stop", "resume", "speed", "status", "add", "remove", "step", "until"]
    return Scenario(
        (words,),
        minutes,
        derived=dice.random() < 0.5,
        window=dice.choice([1, 2, 3, 100]),
        on_error=dice.choice(["stop", "pause"]),
        raises_at=dice.randint(1, minutes) if dice.random() < 0.1 else None,
        start_raises=dice.random() < 0.03,
        stop_raises=dice.random() < 0.05,
        inside={dice.randint(1, minutes): dice.choice([*inside, *["interrupt"] * 6])} if dice.random() < 0.5 else {},
        listens=dice.random() < 0.5,
        follows=dice.random() < 0.2,
        finish=dice.choice(["resume", "stop"]),
        seconds_a_bar=dice.choice([0.0, 0.004, 0.015, 0.04]),
    )


def run(scenario: Scenario, choices: Choices) -> Outcome:
    """One schedule of it, judged: a run without threads is to be the one that threads give."""
    expected = system_world.undisturbed(scenario.minutes, scenario.derived)
    CALLS._queue.clear()
    with mock.patch.dict(os.environ, {VARIABLE: "off"}):
        outcome, _ = system_world.schedule(scenario, choices, expected)
    return outcome
