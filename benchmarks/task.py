"""The rule that all engines trade, in numbers, and what an adapter is given and gives back.

The rule, on every bar, at its close: where the fast average lies above the slow one and nothing is held, buy ``SIZE``
units; where it doesn't and something is held, sell it. Orders fill at the next open. No commission.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bars import START, columns

if TYPE_CHECKING:
    import pandas as pd

FAST, SLOW, TREND = 20, 50, 20
SIZE, CASH = 10, 1_000_000.0
EDGE = 1e-6
"""Above means by more than this: averages of prices in tenths of a cent differ by 1e-5 or not at all, so rounding in
an engine's average can't decide."""
STOP, TARGET = 0.996, 1.004
RESTING = tuple(round(1 + 0.1 * number, 1) for number in range(20))
"""Prices of the limits that never fill."""
GRID = {"fast": list(range(5, 25)), "slow": list(range(30, 80, 5))}
HEAVY = 20e-6


@dataclass(frozen=True)
class Outcome:
    """What an engine made of a task: seconds of the run alone, equity at the last close, and fills where it tells."""

    seconds: float
    equity: float
    fills: int | None


@dataclass(frozen=True)
class Task:
    """One run: the case, and the bars it runs on."""

    case: str
    bars: int
    symbols: int = 1
    seed: int = 11
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The symbols."""
        return [f"S{number}" for number in range(self.symbols)]

    def columns(self) -> dict[str, np.ndarray]:
        """Open, high, low, close, volume by symbol: arrays of shape (5, bars)."""
        return dict(zip(self.names, columns(self.bars, self.symbols, self.seed), strict=True))

    def frames(self, tz: str | None = "UTC") -> dict[str, pd.DataFrame]:
        """The same as DataFrames, stamped with each bar's beginning; without a zone (None) where that is an engine's custom."""
        import pandas as pd

        index = pd.date_range(START, periods=self.bars, freq="1min", tz=tz)
        heads = ("Open", "High", "Low", "Close", "Volume")
        return {name: pd.DataFrame(dict(zip(heads, each, strict=True)), index) for name, each in self.columns().items()}

    def frame(self, tz: str | None = "UTC") -> pd.DataFrame:
        """The only symbol's."""
        (frame,) = self.frames(tz).values()
        return frame

    def work(self) -> None:
        """What the strategy computes on a bar beyond the rule: nothing, or 20 us in the heavy case."""
        if self.case == "heavy":
            until = perf_counter() + HEAVY
            while perf_counter() < until:
                pass


def above(close: pd.Series, fast: int = FAST, slow: int = SLOW) -> pd.Series:
    """The rule's condition on all bars at once, for engines that take whole columns of signals."""
    return close.rolling(fast).mean() > close.rolling(slow).mean() + EDGE


def above_in_intervals(close: pd.Series) -> pd.Series:
    """The condition of the case with intervals, for such engines; between two 5-minute bars it stays what it was."""
    fast, slow, trend = (line.to_numpy() for line in interval_lines(close))
    wanted = (fast > slow + EDGE) & (close.to_numpy() > trend + EDGE)
    decided = np.arange(4, len(close), 5)
    held = np.repeat(wanted[decided], 5)
    padded = np.r_[np.zeros(4, bool), held][: len(close)]
    return close.astype(bool) & np.pad(padded, (0, len(close) - len(padded)))


def interval_lines(close: pd.Series) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Fast and slow average of 5-minute closes, average of 15-minute closes, each as of every 1-minute bar."""

    @cache
    def completed(minutes: int) -> pd.Series:
        return close.iloc[minutes - 1 :: minutes]

    lines = (completed(5).rolling(FAST), completed(5).rolling(SLOW), completed(15).rolling(TREND))
    fast, slow, trend = (line.mean().reindex(close.index, method="ffill") for line in lines)
    return fast, slow, trend
