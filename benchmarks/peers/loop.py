"""No engine: the rule as a bare Python loop. What it ends with is what all others have to end with."""

from __future__ import annotations

from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING

import talib

from benchmarks.task import CASH, EDGE, FAST, GRID, SIZE, SLOW, STOP, TARGET, TREND, Outcome, Task

if TYPE_CHECKING:
    import numpy as np

ENGINE = ""


def walk(task: Task, columns: np.ndarray, fast: int = FAST, slow: int = SLOW) -> tuple[float, int]:
    """Final equity and fills of the rule on one symbol."""
    opens, *_, closes, _ = (column.tolist() for column in columns)
    lines = zip(talib.SMA(columns[3], fast).tolist(), talib.SMA(columns[3], slow).tolist(), strict=True)
    work = task.work if task.case == "heavy" else None
    cash, held, fills, pending = CASH, 0, 0, 0
    for opened, (quick, calm) in zip(opens, lines, strict=True):
        if pending:
            cash -= pending * opened
            held, fills, pending = held + pending, fills + 1, 0
        if work is not None:
            work()
        if quick > calm + EDGE:
            if not held:
                pending = SIZE
        elif held:
            pending = -held
    return cash + held * closes[-1], fills


def cross(task: Task) -> Outcome:
    """One symbol."""
    (columns,) = task.columns().values()
    began = perf_counter()
    equity, fills = walk(task, columns)
    return Outcome(perf_counter() - began, equity, fills)


def sweep(task: Task) -> Outcome:
    """One loop for each point."""
    (columns,) = task.columns().values()
    began = perf_counter()
    points = [walk(task, columns, fast, slow) for fast, slow in product(*GRID.values())]
    return Outcome(perf_counter() - began, sum(point[0] for point in points), sum(point[1] for point in points))


def many(task: Task) -> Outcome:
    """All symbols, bar by bar side by side, on one cash."""
    every = list(task.columns().values())
    began = perf_counter()
    opens = zip(*(columns[0].tolist() for columns in every), strict=True)
    wants = zip(*((talib.SMA(c[3], FAST) > talib.SMA(c[3], SLOW) + EDGE).tolist() for c in every), strict=True)
    cash, fills, held, pending = CASH, 0, [0] * len(every), [0] * len(every)
    for row, wanted in zip(opens, wants, strict=True):
        for number, want in enumerate(wanted):
            if size := pending[number]:
                cash -= size * row[number]
                held[number] += size
                fills += 1
                pending[number] = 0
            if want:
                if not held[number]:
                    pending[number] = SIZE
            elif held[number]:
                pending[number] = -held[number]
    equity = cash + sum(size * columns[3][-1] for size, columns in zip(held, every, strict=True))
    return Outcome(perf_counter() - began, float(equity), fills)


def intervals(task: Task) -> Outcome:
    """A decision at every fifth bar."""
    (columns,) = task.columns().values()
    began = perf_counter()
    opens, closes = columns[0].tolist(), columns[3].tolist()
    fast, slow = (talib.SMA(columns[3][4::5], n).tolist() for n in (FAST, SLOW))
    trend = [float("nan"), *talib.SMA(columns[3][14::15], TREND).tolist()]
    cash, held, fills, pending = CASH, 0, 0, 0
    for number, (opened, close) in enumerate(zip(opens, closes, strict=True), 1):
        if pending:
            cash -= pending * opened
            held, fills, pending = held + pending, fills + 1, 0
        if number % 5:
            continue
        at = number // 5 - 1
        if fast[at] > slow[at] + EDGE and close > trend[number // 15] + EDGE:
            if not held:
                pending = SIZE
        elif held:
            pending = -held
    return Outcome(perf_counter() - began, cash + held * closes[-1], fills)


def orders(task: Task) -> Outcome:
    """A bracket as two prices; the limits that rest are looked at as one, the highest."""
    (columns,) = task.columns().values()
    began = perf_counter()
    rows = zip(*(column.tolist() for column in columns[:4]), strict=True)
    wants = (talib.SMA(columns[3], FAST) > talib.SMA(columns[3], SLOW) + EDGE).tolist()
    cash, held, fills, bracket, close = CASH, 0, 0, (0.0, 0.0), 0.0
    pending = False
    for (opened, high, low, close), want in zip(rows, wants, strict=True):
        if pending:
            cash -= SIZE * opened
            held, fills, pending = SIZE, fills + 1, False
        if held:
            stop, target = bracket
            if low <= stop:
                cash, held, fills = cash + held * min(opened, stop), 0, fills + 1
            elif high >= target:
                cash, held, fills = cash + held * max(opened, target), 0, fills + 1
        if want and not held:
            pending, bracket = True, (round(close * STOP, 3), round(close * TARGET, 3))
    return Outcome(perf_counter() - began, cash + held * close, fills)


CASES = {
    "cross": cross,
    "startup": cross,
    "heavy": cross,
    "many": many,
    "intervals": intervals,
    "orders": orders,
    "sweep": sweep,
}
