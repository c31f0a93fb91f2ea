"""A tape on bt: weights that a table has for some dates, rebalanced in fractions at the close of the date itself."""

from __future__ import annotations

from typing import Any

import bt
import pandas as pd

from benchmarks.parity.tape import Tape

ENGINE = "bt"


class FromTable(bt.Algo):
    """Goes on where the date has weights, and hands these to the next algo."""

    def __init__(self, weights: dict[pd.Timestamp, dict[str, float]]) -> None:
        super().__init__()
        self.weights = weights

    def __call__(self, target: Any) -> bool:
        target.temp["weights"] = self.weights.get(target.now, {})
        return target.now in self.weights


def run(tape: Tape) -> tuple[list[tuple[str, str, float, float]], float]:
    """Fills and final equity."""
    closes = pd.DataFrame({name: frame["close"] for name, frame in tape.frames().items()})
    weights = {
        closes.index[order["after"] - 1]: dict(zip(tape.bars, order["weights"], strict=True)) for order in tape.orders
    }
    strategy = bt.Strategy("table", [FromTable(weights), bt.algos.Rebalance()])
    backtest = bt.Backtest(strategy, closes, initial_capital=tape.cash, integer_positions=False, progress_bar=False)
    result = bt.run(backtest)
    made = result.get_transactions().reset_index()
    fills = [
        (str(row.Date.date()), str(row.Security), float(row.quantity), float(row.price)) for row in made.itertuples()
    ]
    return fills, float(backtest.strategy.value)
