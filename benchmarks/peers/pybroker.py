"""The rule in PyBroker's words. Its bootstrap is left off; fills are told to happen at the next bar's open."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pandas as pd
import pybroker
from pybroker import PriceType, Strategy, StrategyConfig

from benchmarks.task import CASH, EDGE, FAST, SIZE, SLOW, Outcome, Task

ENGINE = "lib-pybroker"


def _average(name: str, period: int) -> Any:
    return pybroker.indicator(name, lambda data: pd.Series(data.close).rolling(period).mean().to_numpy())


def _run(task: Task) -> Outcome:
    frames = task.frames(None)
    data = pd.concat([frame.rename(columns=str.lower).assign(symbol=name) for name, frame in frames.items()])
    data = data.rename_axis("date").reset_index()
    work = task.work if task.case == "heavy" else None

    def follow(context: Any) -> None:
        if work is not None:
            work()
        wanted = context.indicator("fast")[-1] > context.indicator("slow")[-1] + EDGE
        held = context.long_pos()
        if wanted and not held:
            context.buy_fill_price = PriceType.OPEN
            context.buy_shares = SIZE
        elif held and not wanted:
            context.sell_fill_price = PriceType.OPEN
            context.sell_shares = SIZE

    def trade(data: pd.DataFrame) -> Any:
        config = StrategyConfig(initial_cash=CASH, round_fill_price=False, round_test_result=False)
        strategy = Strategy(data, data["date"].iloc[0], data["date"].iloc[-1], config)
        strategy.add_execution(follow, list(frames), indicators=[_average("fast", FAST), _average("slow", SLOW)])
        return strategy.backtest(calc_bootstrap=False)

    pybroker.disable_logging()
    pybroker.disable_progress_bar()
    if task.case != "startup":  # compiling is no part of a run, but it is of starting up
        trade(data.groupby("symbol").head(500).reset_index(drop=True))
    began = perf_counter()
    result = trade(data)
    equity = float(result.portfolio["equity"].iloc[-1])
    return Outcome(perf_counter() - began, equity, len(result.orders))


CASES = dict.fromkeys(("cross", "startup", "many", "heavy"), _run)
