"""How long a user waits, with the engine at full speed: pause, resume, another thread's turn, and steps."""

from __future__ import annotations

import random
import sys
from time import perf_counter, sleep

import numpy as np

import nbbacktest as nb
from benchmarks.table import Table, hand_over
from benchmarks.task import Task

STEPS = 3_000


class Working(nb.Strategy):
    """About 2 us a bar; notes when the first bar after a resume comes."""

    def on_start(self) -> None:
        self.armed = False
        self.first = 0.0

    def on_bar(self, bar: nb.Bar) -> None:
        if self.armed:
            self.first, self.armed = perf_counter(), False
        total = 0.0
        for _ in range(60):
            total += bar.close


def presses(system: nb.SystemManager, tries: int) -> tuple[list[float], list[float]]:
    """Seconds of pauses and of resumes; a bar that moves while paused ends the benchmark."""
    pauses, resumes, moved, rng = [], [], 0, random.Random(5)
    strategy = system.strategies[0]
    while len(pauses) < tries:
        strategy.armed = True
        began = perf_counter()
        system.resume()
        sleep(rng.uniform(0.0005, 0.002))
        before = perf_counter()
        if not system.pause():
            sys.exit(f"the data ended after {len(pauses)} pauses; give more bars")
        pauses.append(perf_counter() - before)
        if strategy.armed:
            continue
        resumes.append(strategy.first - began)
        at_rest = (system.snapshot().cursor, len(strategy.bars()))
        sleep(0.002)  # a user looks; whatever still moved would show
        moved += (system.snapshot().cursor, len(strategy.bars())) != at_rest
    if moved:
        sys.exit(f"bars moved during {moved} pauses")
    return pauses, resumes


def turns(system: nb.SystemManager, tries: int) -> list[float]:
    """How late another thread gets the interpreter: what a sleep of a millisecond takes beyond it, the run going on."""
    late, nap = [], 0.001
    system.resume()
    for _ in range(tries):
        began = perf_counter()
        sleep(nap)
        late.append(perf_counter() - began - nap)
    if not system.pause():
        sys.exit("the data ended while another thread slept; give more bars")
    return late


def main(*, quick: bool) -> None:
    """Hand over percentiles and the rate of steps."""
    tries, bars = (200, 1_500_000) if quick else (1_000, 8_000_000)
    system = nb.SystemManager()
    idle = []
    for _ in range(tries):
        began = perf_counter()
        sleep(0.001)
        idle.append(perf_counter() - began - 0.001)
    system.start({}, data=Task("latency", bars).frame(), strategies=Working, paused=True)
    pauses, resumes = presses(system, tries)
    entries = turns(system, tries)
    began = perf_counter()
    for _ in range(STEPS):
        system.step()
    rate = STEPS / (perf_counter() - began)
    system.stop()
    rows = []
    for name, values in (
        ("pause: from the call to rest", pauses),
        ("resume: from the call to the first bar", resumes),
        ("another thread's turn: later than it asked for", entries),
        ("the same with nothing running", idle),
    ):
        rows.append([name, *(f"{value * 1e3:.3f}" for value in np.quantile(values, [0.5, 0.99, 1.0]))])
    hand_over(
        [
            Table(
                f"Pause, resume, step: {tries:,} tries, engine at full speed, 0 bars moved while paused",
                ["what", "p50 ms", "p99 ms", "max ms"],
                rows,
                [f"{rate:,.0f} single steps a second from Python."],
            )
        ]
    )


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
