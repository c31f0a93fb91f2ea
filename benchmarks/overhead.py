"""What synchronization costs: three threads in lockstep against the same stages in one thread, in one process.

Both strategies, on one core and wherever the scheduler likes; beside a Python thread that never rests; and by windows' length.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import nbbacktest as nb
from benchmarks.table import Table, hand_over
from benchmarks.task import Task
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.status import status

CONFIG = SessionConfig.load({})
WINDOWS = (64, 512, 4_096, 16_384, 65_536)


class Light(nb.Strategy):
    """Reads the close."""

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen = bar.close


class TwoMicroseconds(nb.Strategy):
    """About 2 us of plain Python a bar."""

    def on_bar(self, bar: nb.Bar) -> None:
        total = 0.0
        for _ in range(100):
            total += bar.close
        self.seen = total


@contextmanager
def busy(number: int = 1) -> Iterator[None]:
    """Python threads that never rest, beside."""
    ended = threading.Event()

    def spin() -> None:
        total = 0
        while not ended.is_set():
            for value in range(1_000):
                total += value

    threads = [threading.Thread(target=spin) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def threaded(frame: object, strategy: type[nb.Strategy], window: int | None = None) -> tuple[float, str]:
    """Seconds and fingerprint, with three threads."""
    life = Lifecycle()
    run = _made(build(CONFIG, life, Monitor(), data=frame, strategies=strategy, window=window))
    life.apply(Command.START)
    began = perf_counter()
    run.start()
    run.wait(None)
    return perf_counter() - began, outcome(run).fingerprint


def inline(frame: object, strategy: type[nb.Strategy], window: int | None = None) -> tuple[float, str]:
    """The same in this thread alone."""
    stages = build(CONFIG, Lifecycle(), Monitor(), data=frame, strategies=strategy, window=window)
    run = _made(stages)
    began = perf_counter()
    run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    return perf_counter() - began, outcome(run).fingerprint


def _made(stages: Any) -> Run:
    return Run(stages, lambda ended: status(nb.SystemState.STOPPED, ended), lambda ended: None)


def pairs(
    frame: object, strategy: type[nb.Strategy], repeats: int, window: int | None = None
) -> Sequence[tuple[float, float]]:
    """Seconds inline and with threads, in turn which of them comes first; the first pair only warms up."""
    made = []
    for number in range(repeats + 1):
        took: dict[Any, tuple[float, str]] = {}
        for way in (inline, threaded) if number % 2 else (threaded, inline):
            gc.collect()  # or it comes in the middle of one of the two, for what the runs before have left
            took[way] = way(frame, strategy, window)
        (alone, one), (together, two) = took[inline], took[threaded]
        if one != two:
            sys.exit("the two results differ")
        made.append((alone, together))
    return made[1:]


def row(made: Sequence[tuple[float, float]], bars: int) -> list[str]:
    """A bar inline and with threads, at best, and what threads add: at best, and in the middle of the pairs."""
    alone, together = (min(side) for side in zip(*made, strict=True))
    typical = median(b / a for a, b in made)
    each = (f"{seconds / bars * 1e6:.2f}" for seconds in (alone, together))
    return [*each, f"{together / alone - 1:+.1%}", f"{typical - 1:+.1%}"]


def lockstep(frame: object, bars: int, repeats: int) -> Table:
    """By place, and beside a busy thread."""
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    rows = []
    for strategy in (Light, TwoMicroseconds):
        for place in ("on one core", "spread") if everywhere else ("spread",):
            if everywhere:
                os.sched_setaffinity(0, {min(everywhere)} if place == "on one core" else everywhere)
            rows.append([strategy.__name__, place, *row(pairs(frame, strategy, repeats), bars)])
        with busy():
            rows.append(
                [strategy.__name__, "beside a busy thread", *row(pairs(frame, strategy, max(3, repeats // 3)), bars)]
            )
    if everywhere:
        os.sched_setaffinity(0, everywhere)
    return Table(
        f"Lockstep of three threads against the same work inline, {bars:,} bars, {repeats} pairs",
        ["strategy", "threads", "µs a bar inline", "with threads", "overhead, best", "median of pairs"],
        rows,
        [
            "Beside a busy Python thread half of the interpreter is a run's fair share: twice the time that it takes alone."
        ],
        left=2,
    )


def by_window(frame: object, bars: int, repeats: int) -> Table:
    """What longer windows save."""
    rows = []
    for window in (*WINDOWS, None):
        length = f"{window:,} instants" if window else "as the engine chooses"
        rows.append([length, *row(pairs(frame, Light, repeats, window), bars)])
    return Table(
        f"The same by windows' length, Light, {bars:,} bars, {repeats} pairs",
        ["window", "µs a bar inline", "with threads", "overhead, best", "median of pairs"],
        rows,
    )


def main(*, quick: bool) -> None:
    """Hand over both tables."""
    bars, repeats = (100_000, 3) if quick else (600_000, 21)
    frame = Task("overhead", bars).frame()
    hand_over([lockstep(frame, bars, repeats), by_window(frame, bars, max(3, repeats // 3))])


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
