"""No engine, but an object made of each bar: what a strategy that is called with bars can't go below."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import talib

from benchmarks.task import CASH, EDGE, FAST, SIZE, SLOW, Outcome, Task

if TYPE_CHECKING:
    import numpy as np

ENGINE = ""


class Bar:
    """A bar as plain as can be."""

    __slots__ = ("close", "high", "low", "open", "time", "volume")

    def __init__(self, time: int, o: float, h: float, low: float, c: float, v: float) -> None:
        self.time, self.open, self.high, self.low, self.close, self.volume = time, o, h, low, c, v


class Strategy:
    """The rule as a method that is called with each bar."""

    def __init__(self, task: Task, fast: list[float], slow: list[float]) -> None:
        self.fast, self.slow = fast, slow
        self.work = task.work if task.case == "heavy" else None
        self.cursor = -1
        self.held = self.pending = 0

    def on_bar(self, bar: Bar) -> None:
        at = self.cursor = self.cursor + 1
        if self.work is not None:
            self.work()
        if self.fast[at] > self.slow[at] + EDGE:
            if not self.held:
                self.pending = SIZE
        elif self.held:
            self.pending = -self.held


def cross(task: Task) -> Outcome:
    """One symbol: a bar, and a call, each minute."""
    (columns,) = task.columns().values()
    began = perf_counter()
    lines = (talib.SMA(columns[3], n).tolist() for n in (FAST, SLOW))
    equity, fills = walk(task, columns, Strategy(task, *lines))
    return Outcome(perf_counter() - began, equity, fills)


def walk(task: Task, columns: np.ndarray, strategy: Any) -> tuple[float, int]:
    """Final equity and fills of a strategy that is called with each bar, and says what it wants in `pending`."""
    on_bar, cash, fills, bar = strategy.on_bar, CASH, 0, None
    for row in zip(range(task.bars), *(column.tolist() for column in columns), strict=True):
        bar = Bar(*row)
        if strategy.pending:
            cash -= strategy.pending * bar.open
            strategy.held += strategy.pending
            strategy.pending = 0
            fills += 1
        on_bar(bar)
    return cash + strategy.held * bar.close, fills


CASES = {"cross": cross, "heavy": cross}
