"""The bars that all engines read: a seeded random walk in tenths of a cent, one bar a minute, written once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

HOUSE = Path(__file__).resolve().parent.parent / ".bench"
"""Where all that the benchmarks make lies."""

START = "2020-01-01"
FALLING, SHORT = 400, 60
"""The walk begins with this many bars that only fall (the second for fewer than 2,000 bars), so that all engines
begin flat, however they warm up."""


def columns(bars: int, symbols: int = 1, seed: int = 11) -> np.ndarray:
    """Shape (symbols, 5, bars): open, high, low, close, volume. Read where they were made before."""
    path = HOUSE / "bars" / f"{symbols}x{bars}-{seed}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}.npy")
        np.save(made, np.stack([walk(bars, seed + number) for number in range(symbols)]))
        made.replace(path)  # whole or not at all
    return np.load(path)


def walk(bars: int, seed: int) -> np.ndarray:
    """One symbol's columns, shape (5, bars). An open lies about a cent from the close before."""
    rng = np.random.default_rng(seed)
    falling = FALLING if bars >= 2_000 else SHORT
    steps = rng.normal(0, 0.0004, bars)
    steps[:falling] = -0.00005
    close = np.round(100 * np.exp(np.cumsum(steps)), 3)
    opened = np.round(np.r_[100.0, close[:-1]] * np.exp(rng.normal(0, 0.0001, bars)), 3)
    high = np.round(np.maximum(opened, close) + rng.uniform(0, 0.05, bars), 3)
    low = np.round(np.minimum(opened, close) - rng.uniform(0, 0.05, bars), 3)
    return np.stack([opened, high, low, close, rng.integers(100, 10_000, bars).astype(float)])
