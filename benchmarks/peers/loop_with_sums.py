"""No engine, but an object made of each bar, and averages that the strategy keeps itself: what bars alone let it know."""

from __future__ import annotations

from time import perf_counter

from benchmarks.peers.loop_with_bars import Bar, walk
from benchmarks.task import EDGE, FAST, SIZE, SLOW, Outcome, Task

ENGINE = ""


class Strategy:
    """The rule as a method that is called with each bar, over sums that run along."""

    def __init__(self) -> None:
        self.closes: list[float] = []
        self.fast = self.slow = 0.0
        self.held = self.pending = 0

    def on_bar(self, bar: Bar) -> None:
        close, closes = bar.close, self.closes
        closes.append(close)
        count = len(closes)
        self.fast += close
        self.slow += close
        if count > FAST:
            self.fast -= closes[-FAST - 1]
        if count > SLOW:
            self.slow -= closes[-SLOW - 1]
        if count < SLOW:
            return
        if self.fast / FAST > self.slow / SLOW + EDGE:
            if not self.held:
                self.pending = SIZE
        elif self.held:
            self.pending = -self.held


def cross(task: Task) -> Outcome:
    """One symbol: a bar, and a call, each minute."""
    (columns,) = task.columns().values()
    began = perf_counter()
    equity, fills = walk(task, columns, Strategy())
    return Outcome(perf_counter() - began, equity, fills)


CASES = {"cross": cross}
