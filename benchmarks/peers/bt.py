"""The rule in bt's words: an algo that is called on each row, and follows a table of signals.

bt fills at the prices of the row itself, so it is given opens, and the signals of the bar before. Its statistics are left
out of the time.
"""

from __future__ import annotations

from time import perf_counter

import bt
import pandas as pd

from benchmarks.task import CASH, SIZE, Outcome, Task, above, above_in_intervals

ENGINE = "bt"


class Follow(bt.Algo):
    """Holds what the row of signals says."""

    def __init__(self, task: Task, wanted: pd.DataFrame) -> None:
        super().__init__()
        self.rows = dict(zip(wanted.index, wanted.to_numpy().tolist(), strict=True))
        self.names = list(wanted.columns)
        self.work = task.work if task.case == "heavy" else None
        self.fills = 0

    def __call__(self, target: bt.Strategy) -> bool:
        wanted = self.rows[target.now]
        if self.work is not None:
            self.work()
        for name, want in zip(self.names, wanted, strict=True):
            held = target.children[name].position if name in target.children else 0
            if want:
                if not held:
                    target.transact(SIZE, name)
                    self.fills += 1
            elif held:
                target.transact(-held, name)
                self.fills += 1
        return True


def _run(task: Task) -> Outcome:
    frames = task.frames(None)
    began = perf_counter()
    opens = pd.DataFrame({name: frame["Open"] for name, frame in frames.items()})
    condition = above_in_intervals if task.case == "intervals" else above
    wanted = pd.DataFrame({name: condition(frame["Close"]) for name, frame in frames.items()})
    follow = Follow(task, wanted.shift(1, fill_value=False))
    strategy = bt.Strategy("cross", [follow], children=list(frames))
    backtest = bt.Backtest(strategy, opens, initial_capital=CASH, progress_bar=False)
    backtest.run()
    ran = backtest.strategy
    held = {name: child.position for name, child in ran.children.items()}
    equity = ran.capital + sum(size * frames[name]["Close"].iloc[-1] for name, size in held.items())
    return Outcome(perf_counter() - began, float(equity), backtest.strategy.stack.algos[0].fills)


CASES = dict.fromkeys(("cross", "startup", "many", "intervals", "heavy"), _run)
