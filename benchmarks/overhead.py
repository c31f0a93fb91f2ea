"""What synchronization costs: three threads in lockstep against the same stages in one thread, in one process."""

from __future__ import annotations

import os
import sys
import threading
from statistics import median
from time import perf_counter

from engines import make_bars

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.engine.inline import run_inline
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.status import status

CONFIG = SessionConfig.load({})


class Light(nb.Strategy):
    """Reads the close."""

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen = bar.close


class TwoMicroseconds(nb.Strategy):
    """About 2 us of plain Python a bar."""

    def on_bar(self, bar: nb.Bar) -> None:
        total = 0.0
        for _ in range(30):
            total += bar.close
        self.seen = total


def threaded(frame: object, strategy: type[nb.Strategy]) -> tuple[float, str]:
    life = Lifecycle()
    run = Run(
        build(CONFIG, life, threading.Condition(), data=frame, strategies=strategy),
        lambda ended: status(nb.SystemState.STOPPED, ended),
        lambda ended: None,
    )
    life.apply(Command.START)
    began = perf_counter()
    run.start()
    run.wait(None)
    return perf_counter() - began, outcome(run).fingerprint


def inline(frame: object, strategy: type[nb.Strategy]) -> tuple[float, str]:
    stages = build(CONFIG, Lifecycle(), threading.Condition(), data=frame, strategies=strategy)
    run = Run(stages, lambda ended: status(nb.SystemState.STOPPED, ended), lambda ended: None)
    began = perf_counter()
    run_inline(stages.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    return perf_counter() - began, outcome(run).fingerprint


def main(bars: int = 600_000, repeats: int = 11) -> None:
    """Print the table: both strategies, on one core and wherever the scheduler likes."""
    frame = make_bars(bars)
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    print(f"\n### Lockstep of three threads against the same work inline, {bars:,} bars, {repeats} repeats\n")
    print("| strategy | threads | us a bar inline | overhead, best | median of pairs |")
    print("|---|---|---:|---:|---:|")
    for strategy in (Light, TwoMicroseconds):
        for place in ("on one core", "spread") if everywhere else ("spread",):
            if everywhere:
                os.sched_setaffinity(0, {min(everywhere)} if place == "on one core" else everywhere)
            pairs = []
            for turn in range(repeats + 1):
                (alone, one), (together, two) = inline(frame, strategy), threaded(frame, strategy)
                if one != two:
                    sys.exit("the two results differ")
                if turn:  # the first pair warms up
                    pairs.append((alone, together))
            best_alone, best_together = (min(side) for side in zip(*pairs, strict=True))
            typical = median(together / alone for alone, together in pairs)
            print(
                f"| {strategy.__name__} | {place} | {best_alone / bars * 1e6:.2f} "
                f"| {best_together / best_alone - 1:+.1%} | {typical - 1:+.1%} |"
            )
    if everywhere:
        os.sched_setaffinity(0, everywhere)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
