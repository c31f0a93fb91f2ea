"""The rule in vectorbt's words: columns of signals, one bar late, and compiled code that turns them into orders."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pandas as pd
import vectorbt as vbt

from benchmarks.task import CASH, EDGE, FAST, GRID, SIZE, SLOW, Outcome, Task, above_in_intervals

ENGINE = "vectorbt"


def _trade(task: Task, frames: dict[str, pd.DataFrame]) -> tuple[float, int]:
    opens, closes = (pd.DataFrame({s: frame[c] for s, frame in frames.items()}) for c in ("Open", "Close"))
    if task.case == "intervals":
        wanted = closes.apply(above_in_intervals)
    else:
        fast, slow = vbt.MA.run(closes, FAST).ma, vbt.MA.run(closes, SLOW).ma
        wanted = pd.DataFrame(fast.to_numpy() > slow.to_numpy() + EDGE, closes.index, closes.columns)
    wanted = wanted.vbt.fshift(1, fill_value=False)
    made = vbt.Portfolio.from_signals(
        closes, wanted, ~wanted, size=SIZE, price=opens, init_cash=CASH, cash_sharing=True, group_by=True, freq="1min"
    )
    return float(made.final_value()), int(made.orders.count())


def _run(task: Task) -> Outcome:
    frames = task.frames(None)
    if task.case != "startup":  # compiling is no part of a run, but it is of starting up
        _trade(task, {name: frame[:2_000] for name, frame in frames.items()})
    began = perf_counter()
    equity, fills = _trade(task, frames)
    return Outcome(perf_counter() - began, equity, fills)


def _points(frame: pd.DataFrame) -> tuple[float, int]:
    close = frame["Close"]
    fast, slow = (vbt.MA.run(close, GRID[name]).ma.to_numpy() for name in ("fast", "slow"))
    wanted = (fast[:, :, None] > slow[:, None, :] + EDGE).reshape(len(close), -1)
    wanted = np.vstack([np.zeros((1, wanted.shape[1]), bool), wanted[:-1]])
    made = vbt.Portfolio.from_signals(
        close, wanted, ~wanted, size=SIZE, price=frame["Open"], init_cash=CASH, freq="1min"
    )
    return float(made.final_value().sum()), int(made.orders.count().sum())


def _sweep(task: Task) -> Outcome:
    frame = task.frame(None)
    _points(frame[:500])
    began = perf_counter()
    equity, fills = _points(frame)
    return Outcome(perf_counter() - began, equity, fills)


CASES = {"cross": _run, "startup": _run, "many": _run, "intervals": _run, "sweep": _sweep}
