"""The rule in backtesting.py's words. It trades one symbol."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Any

import talib
from backtesting import Backtest, Strategy
from backtesting import backtesting as module

from benchmarks.task import CASH, EDGE, FAST, GRID, RESTING, SIZE, SLOW, STOP, TARGET, Outcome, Task, interval_lines

ENGINE = "backtesting"

module._tqdm = lambda sequence, **_: sequence  # its progress bar costs time, and prints


class Cross(Strategy):
    """The rule."""

    fast = FAST
    slow = SLOW

    def init(self) -> None:
        self.f = self.I(talib.SMA, self.data.Close, self.fast)
        self.s = self.I(talib.SMA, self.data.Close, self.slow)

    def next(self) -> None:
        if self.f[-1] > self.s[-1] + EDGE:
            if not self.position:
                self.buy(size=SIZE)
        elif self.position:
            self.position.close()


class Heavy(Cross):
    """The same, after 20 us of work."""

    task: Any = None

    def next(self) -> None:
        self.task.work()
        super().next()


class Intervals(Strategy):
    """Lines of the longer intervals, drawn on the minutes."""

    def init(self) -> None:
        lines = interval_lines(self.data.Close.s)
        self.f, self.s, self.t = (self.I(lambda line=line: line.to_numpy()) for line in lines)

    def next(self) -> None:
        if len(self.data) % 5:
            return
        if self.f[-1] > self.s[-1] + EDGE and self.data.Close[-1] > self.t[-1] + EDGE:
            if not self.position:
                self.buy(size=SIZE)
        elif self.position:
            self.position.close()


class Orders(Cross):
    """A bracket, and twenty limits that rest."""

    def init(self) -> None:
        super().init()
        self.placed = False

    def next(self) -> None:
        if not self.placed:
            self.placed = True
            for price in RESTING:
                self.buy(size=1, limit=price)
        if self.f[-1] > self.s[-1] + EDGE and not self.position:
            close = self.data.Close[-1]
            self.buy(size=SIZE, sl=round(close * STOP, 3), tp=round(close * TARGET, 3))


def _run(strategy: type[Strategy], job: Task, **parameters: Any) -> Outcome:
    frame = job.frame(None)
    began = perf_counter()
    stats = Backtest(frame, strategy, cash=CASH).run(**parameters)
    equity = float(stats["Equity Final [$]"])
    seconds = perf_counter() - began
    return Outcome(seconds, equity, 2 * len(stats["_trades"]) + len(stats._strategy.trades))


def _sweep(task: Task) -> Outcome:
    frame = task.frame(None)
    began = perf_counter()
    bench = Backtest(frame, Cross, cash=CASH)
    _, table = bench.optimize(**GRID, maximize="Equity Final [$]", return_heatmap=True)
    return Outcome(perf_counter() - began, float(table.sum()), None)


CASES = {
    "cross": partial(_run, Cross),
    "startup": partial(_run, Cross),
    "intervals": partial(_run, Intervals),
    "orders": partial(_run, Orders),
    "heavy": lambda task: _run(Heavy, task, task=task),
    "sweep": _sweep,
}
