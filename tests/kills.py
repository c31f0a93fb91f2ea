"""Runs that trade by hand, by dice, and are killed: ``python -m tests.kills`` forks one for each line that it reads.

A line is a seed, the folder for its journal, and the seconds after which it is killed. The answer is how many operations it
had acknowledged by then.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress

import nbbacktest as nb
from nbbacktest.core.errors import NbBacktestError
from tests.markets import minutes

BARS = 240


class Player(nb.Strategy):
    """Trades by itself, too, and has a parameter to change."""

    every: int = 9

    def on_bar(self, bar):
        if len(self.bars()) % self.every == 0:
            (self.close if self.position() else self.buy)(*() if self.position() else (None, 3))

    def on_change(self, changed):
        self.log(f"{sorted(changed)}")


def begun(seed: int, folder: str, **options) -> nb.SystemManager:
    """A run of that seed, before its first bar."""
    system = nb.SystemManager(**options)
    journal = {"folder": folder, "sync": "input" if seed % 2 else "never"}
    system.start({"exchange": "24/7", "journal": journal}, data=bars(seed), strategies=Player, paused=True)
    return system


def bars(seed: int):
    """Its bars."""
    return minutes(BARS, seed=seed)


def operate(system: nb.SystemManager, dice: random.Random) -> None:
    """One thing that a user does; what is refused is an answer too."""
    cursor, what = system.snapshot().cursor, dice.random()
    size, every, n = dice.choice((1, 2, 50)), dice.choice((3, 5, 9)), dice.randint(1, 6)
    far = dice.random()
    with suppress(NbBacktestError):
        if what < 0.45:
            if cursor + n < BARS:
                system.step(n)
            else:
                system.rewind(int(far * cursor))
        elif what < 0.52:
            system.rewind(int(far * cursor))
        elif what < 0.57:
            system.rewind("end")
        elif what < 0.68:
            system.buy("ASSET", size)
        elif what < 0.78:
            system.sell("ASSET", size, limit=round(50 + 100 * far, 2))
        elif what < 0.84:
            system.close("ASSET", strategy=dice.choice((None, "Player")))
        elif what < 0.89:
            system.change(every=every)
        elif what < 0.95:
            system.undo()
        else:
            system.redo()


def _play(seed: int, folder: str, answers: int) -> None:
    system, dice = begun(seed, folder), random.Random(seed)
    os.write(answers, b"+")
    while True:
        operate(system, dice)
        os.write(answers, b".")


def _killed(seed: int, folder: str, seconds: float) -> int:
    answers, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(answers)
            _play(seed, folder, told)
        finally:
            os._exit(1)
    os.close(told)
    with os.fdopen(answers, "rb", buffering=0) as file:
        if file.read(1) != b"+":
            raise RuntimeError("the run didn't begin")
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        count = 0
        while part := file.read(65_536):
            count += len(part)
    return count


if __name__ == "__main__":
    for line in sys.stdin:
        seed, seconds, folder = line.rstrip("\n").split(" ", 2)
        print(_killed(int(seed), folder, float(seconds)), flush=True)
