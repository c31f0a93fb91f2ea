"""The rule in nbbacktest's words."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import talib

import nbbacktest as nb
from benchmarks.task import CASH, EDGE, FAST, GRID, RESTING, SIZE, SLOW, STOP, TARGET, TREND, Outcome, Task

ENGINE = "nbbacktest"


class Cross(nb.Strategy):
    """The rule, on any number of symbols."""

    fast: int = FAST
    slow: int = SLOW

    def on_start(self) -> None:
        self.lines = {
            symbol: [self.indicator(talib.SMA, "close", n, symbol=symbol) for n in (self.fast, self.slow)]
            for symbol in self.symbols
        }

    def on_bar(self, bar: nb.Bar) -> None:
        fast, slow = self.lines[bar.symbol]
        held = self.position(bar.symbol).size
        if fast[-1] > slow[-1] + EDGE:
            if not held:
                self.buy(bar.symbol, SIZE)
        elif held:
            self.close(bar.symbol)


class One(nb.Strategy):
    """The rule on one symbol: nothing to look up."""

    fast: int = FAST
    slow: int = SLOW

    def on_start(self) -> None:
        self.f = self.indicator(talib.SMA, "close", self.fast)
        self.s = self.indicator(talib.SMA, "close", self.slow)

    def on_bar(self, bar: nb.Bar) -> None:
        if self.f[-1] > self.s[-1] + EDGE:
            if not self.position().size:
                self.buy(size=SIZE)
        elif self.position().size:
            self.close()


class Heavy(One):
    """The same, after 20 us of work."""

    task: Any = None

    def on_bar(self, bar: nb.Bar) -> None:
        self.task.work()
        super().on_bar(bar)


class Intervals(nb.Strategy):
    """Decides on 5-minute bars, with 15-minute bars for the trend."""

    def on_start(self) -> None:
        self.f = self.indicator(talib.SMA, "close", FAST, interval="5m")
        self.s = self.indicator(talib.SMA, "close", SLOW, interval="5m")
        self.t = self.indicator(talib.SMA, "close", TREND, interval="15m")

    def on_bar(self, bar: nb.Bar) -> None:
        if bar.interval != "5m":
            return
        if self.f[-1] > self.s[-1] + EDGE and bar.close > self.t[-1] + EDGE:
            if not self.position().size:
                self.buy(size=SIZE)
        elif self.position().size:
            self.close()


class Orders(One):
    """Enters with a bracket, which alone ends the position; twenty limits rest all along."""

    def on_start(self) -> None:
        super().on_start()
        self.placed = False

    def on_bar(self, bar: nb.Bar) -> None:
        if not self.placed:
            self.placed = True
            for price in RESTING:
                self.buy(size=1, limit=price)
        if self.f[-1] > self.s[-1] + EDGE and not self.position().size:
            self.buy(size=SIZE, stop_loss=round(bar.close * STOP, 3), take_profit=round(bar.close * TARGET, 3))


def _run(data: Any, job: Task, strategy: type[nb.Strategy], **options: Any) -> Outcome:
    if job.case != "startup":
        short = {name: frame[:1_000] for name, frame in data.items()} if isinstance(data, dict) else data[:1_000]
        nb.backtest(short, strategy, **options)  # imports that are lazy happen here, as peers' happen at theirs
    began = perf_counter()
    result = nb.backtest(data, strategy, cash=CASH, **options)
    equity = result.stats["final_equity"]
    return Outcome(perf_counter() - began, float(equity), len(result.fills))


def _sweep(task: Task) -> Outcome:
    frame = task.frame()
    began = perf_counter()
    found = nb.sweep(frame, One, GRID, cash=CASH, progress=False)
    equity = float(found.frame["final_equity"].sum())
    return Outcome(perf_counter() - began, equity, None)


CASES = {
    "cross": lambda task: _run(task.frame(), task, One),
    "startup": lambda task: _run(task.frame(), task, One),
    "many": lambda task: _run(task.frames(), task, Cross),
    "intervals": lambda task: _run(task.frame(), task, Intervals, derived=("5m", "15m"), config={"exchange": "24/7"}),
    "orders": lambda task: _run(task.frame(), task, Orders),
    "heavy": lambda task: _run(task.frame(), task, Heavy, task=task),
}
if hasattr(nb, "sweep"):
    CASES["sweep"] = _sweep
