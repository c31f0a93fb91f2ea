"""Small made-up markets for tests: seeded, gappy where asked, cheap to make."""

from __future__ import annotations

import numpy as np
import pandas as pd


def minutes(count: int = 200, *, seed: int = 1, start: str = "2024-10-03 09:30", gaps: float = 0.0) -> pd.DataFrame:
    """Minute bars of a random walk on a cent grid, in New York time; `gaps` is the share of minutes left out."""
    rng = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.1, count)), 2)
    opened = np.round(np.r_[100.0, close[:-1]] + rng.normal(0, 0.02, count), 2)
    high = np.round(np.maximum(opened, close) + rng.uniform(0, 0.1, count), 2)
    low = np.round(np.minimum(opened, close) - rng.uniform(0, 0.1, count), 2)
    index = pd.date_range(start, periods=count, freq="1min", tz="America/New_York")
    frame = pd.DataFrame(
        {"open": opened, "high": high, "low": low, "close": close, "volume": rng.integers(100, 1000, count)}, index
    )
    keep = rng.uniform(size=count) >= gaps
    keep[:2] = keep[-1] = True
    return frame[keep]


def days(count: int = 300, *, seed: int = 1) -> pd.DataFrame:
    """Daily bars with naive session dates."""
    frame = minutes(count, seed=seed)
    return frame.set_index(pd.bdate_range("2020-01-02", periods=count))
