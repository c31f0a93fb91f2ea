"""A user's program as type checkers see it: never run, only checked."""

from __future__ import annotations

from typing import assert_type

import numpy as np
import numpy.typing as npt
import pandas as pd

import nbbacktest as nb

Floats = npt.NDArray[np.float64]


def smooth(close: Floats) -> Floats:
    """An indicator of one's own."""
    return np.convolve(close, [0.5, 0.5], "same")


class Buyer(nb.Strategy):
    """Buys dips, and leaves by a bracket."""

    depth: float = 0.02

    def on_start(self) -> None:
        self.slow = self.indicator(smooth, "close", interval="5m")
        assert_type(self.warmup(200), int)

    def on_bar(self, bar: nb.Bar) -> None:
        assert_type(bar.close, float)
        assert_type(bar.symbol, str)
        assert_type(bar.time, pd.Timestamp)
        assert_type(self.equity, float)
        assert_type(self.position().size, float)
        assert_type(self.bars().close[-1], float)
        if not self.position() and bar.close < bar.open * (1 - self.depth):
            order = self.buy(size=1, stop_loss=bar.low)
            assert_type(order.is_open, bool)
        assert_type(self.close(), nb.Order | None)

    def on_fill(self, fill: nb.Fill) -> None:
        assert_type(fill.price, float)


def run(data: pd.DataFrame) -> nb.Result:
    """One call."""
    result = nb.backtest(data, Buyer, depth=0.03)
    assert_type(result, nb.Result)
    assert_type(result.equity, "pd.Series[float]")
    assert_type(result.trades, pd.DataFrame)
    assert_type(result.fingerprint, str)
    return result


def pause(system: nb.SystemManager) -> None:
    """The live object."""
    assert_type(nb.get_system_manager(), nb.SystemManager)
    assert_type(system.pause(), bool)
    assert_type(system.step(3), bool)
    assert_type(system.get_state(), nb.SystemState)
    assert_type(system.snapshot().cash, float)
    assert_type(system.wait(timeout=1.0), nb.Result)


def sweep(data: pd.DataFrame) -> pd.DataFrame:
    """A grid."""
    found = nb.sweep(data, Buyer, {"depth": [0.01, 0.02]}, progress=False)
    assert_type(found, nb.SweepResult)
    return found.frame
