"""The rule in backtrader's words. Its observers are left off, as its own pages advise for speed."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any

import backtrader as bt

from benchmarks.task import CASH, EDGE, FAST, GRID, RESTING, SIZE, SLOW, STOP, TARGET, TREND, Outcome, Task

ENGINE = "backtrader"


class Cross(bt.Strategy):
    """The rule, on any number of symbols."""

    params = (("fast", FAST), ("slow", SLOW), ("task", None))

    def __init__(self) -> None:
        self.fills = 0
        self.work = self.p.task.work if self.p.task is not None and self.p.task.case == "heavy" else None
        self.lines_of = [
            (data, bt.ind.SMA(data.close, period=self.p.fast), bt.ind.SMA(data.close, period=self.p.slow))
            for data in self.datas
        ]

    def notify_order(self, order: bt.Order) -> None:
        self.fills += order.status == order.Completed

    def next(self) -> None:
        if self.work is not None:
            self.work()
        for data, fast, slow in self.lines_of:
            held = self.getposition(data).size
            if fast[0] > slow[0] + EDGE:
                if not held:
                    self.buy(data, size=SIZE)
            elif held:
                self.close(data)


class Intervals(Cross):
    """Decides where a 5-minute bar has come, with 15-minute bars for the trend."""

    def __init__(self) -> None:
        self.fills = self.seen = 0
        self.f = bt.ind.SMA(self.data1.close, period=FAST)
        self.s = bt.ind.SMA(self.data1.close, period=SLOW)
        self.t = bt.ind.SMA(self.data2.close, period=TREND)

    def next(self) -> None:
        if len(self.data1) == self.seen:
            return
        self.seen = len(self.data1)
        held = self.getposition(self.data0).size
        if self.f[0] > self.s[0] + EDGE and self.data0.close[0] > self.t[0] + EDGE:
            if not held:
                self.buy(self.data0, size=SIZE)
        elif held:
            self.close(self.data0)


class Orders(Cross):
    """A bracket, and twenty limits that rest."""

    def __init__(self) -> None:
        super().__init__()
        self.placed = False

    def next(self) -> None:
        if not self.placed:
            self.placed = True
            for price in RESTING:
                self.buy(size=1, price=price, exectype=bt.Order.Limit)
        ((_, fast, slow),) = self.lines_of
        if fast[0] > slow[0] + EDGE and not self.position.size:
            close = self.data.close[0]
            self.buy_bracket(
                size=SIZE,
                exectype=bt.Order.Market,
                stopprice=round(close * STOP, 3),
                limitprice=round(close * TARGET, 3),
            )


def _cerebro(task: Task) -> bt.Cerebro:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(CASH)
    for frame in task.frames(None).values():
        ended = frame.shift(freq=timedelta(minutes=1))  # its resampling counts in bars' ends
        feed = bt.feeds.PandasData(dataname=ended, timeframe=bt.TimeFrame.Minutes, compression=1)
        cerebro.adddata(feed)
        if task.case == "intervals":
            for minutes in (5, 15):
                cerebro.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=minutes)
    return cerebro


def _run(strategy: type[bt.Strategy], task: Task) -> Outcome:
    cerebro = _cerebro(task)
    parameters: dict[str, Any] = {"task": task} if task.case == "heavy" else {}
    cerebro.addstrategy(strategy, **parameters)
    began = perf_counter()
    (ran,) = cerebro.run()
    equity = cerebro.broker.getvalue()
    return Outcome(perf_counter() - began, equity, ran.fills)


class Equity(bt.Analyzer):
    """The final equity: of an optimised run only parameters and analyzers come back."""

    def stop(self) -> None:
        self.rets["equity"] = self.strategy.broker.getvalue()
        self.rets["fills"] = self.strategy.fills


def _sweep(task: Task) -> Outcome:
    cerebro = _cerebro(task)
    cerebro.addanalyzer(Equity, _name="equity")
    cerebro.optstrategy(Cross, **GRID)
    began = perf_counter()
    found = [run.analyzers.equity.get_analysis() for (run,) in cerebro.run()]
    equity, fills = (sum(point[key] for point in found) for key in ("equity", "fills"))
    return Outcome(perf_counter() - began, equity, fills)


CASES = {
    "cross": partial(_run, Cross),
    "startup": partial(_run, Cross),
    "many": partial(_run, Cross),
    "heavy": partial(_run, Cross),
    "intervals": partial(_run, Intervals),
    "orders": partial(_run, Orders),
    "sweep": _sweep,
}
