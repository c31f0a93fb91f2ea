"""One engine, one run, one line of JSON: seconds, final equity and fills of an SMA 20/50 cross at 0.1% commission.

Called by `speed.py` in a fresh process for every repeat. Only the run itself is timed, not imports, nor making bars.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np
import pandas as pd
import talib

FAST, SLOW, SIZE, CASH, RATE = 20, 50, 10, 1_000_000.0, 0.001


def make_bars(count: int) -> pd.DataFrame:
    """A seeded random walk on a cent grid, one bar a minute."""
    rng = np.random.default_rng(11)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.0004, count))), 2)
    opened = np.round(np.r_[100.0, close[:-1]] * np.exp(rng.normal(0, 0.0001, count)), 2)
    high = np.maximum(opened, close) + np.round(rng.uniform(0, 0.05, count), 2)
    low = np.minimum(opened, close) - np.round(rng.uniform(0, 0.05, count), 2)
    index = pd.date_range("2020-01-01", periods=count, freq="1min", tz="UTC")
    volume = rng.integers(100, 10_000, count).astype(float)
    return pd.DataFrame({"Open": opened, "High": high, "Low": low, "Close": close, "Volume": volume}, index)


def nbbacktest(frame: pd.DataFrame) -> tuple[float, float, int]:
    import nbbacktest as nb

    class Cross(nb.Strategy):
        def on_start(self) -> None:
            self.f = self.indicator(talib.SMA, "close", FAST)
            self.s = self.indicator(talib.SMA, "close", SLOW)

        def on_bar(self, bar: nb.Bar) -> None:
            fast, slow = self.f, self.s  # both NaN at first, and no comparison with NaN holds
            if fast[-1] > slow[-1] and fast[-2] <= slow[-2]:
                self.buy(size=SIZE)
            elif fast[-1] < slow[-1] and fast[-2] >= slow[-2] and self.position().size:
                self.close()

    nb.backtest(frame[:300], Cross)  # imports that are lazy happen here, as the peers' happen at theirs
    began = perf_counter()
    result = nb.backtest(frame, Cross, cash=CASH, commission=RATE)
    seconds = perf_counter() - began
    return seconds, result.stats["final_equity"], len(result.fills)


def backtesting(frame: pd.DataFrame) -> tuple[float, float, int]:
    from backtesting import Backtest, Strategy
    from backtesting import backtesting as module

    module._tqdm = lambda sequence, **_: sequence  # its progress bar costs time and prints

    class Cross(Strategy):
        def init(self) -> None:
            self.f = self.I(talib.SMA, self.data.Close, FAST)
            self.s = self.I(talib.SMA, self.data.Close, SLOW)

        def next(self) -> None:
            fast, slow = self.f, self.s
            if fast[-1] > slow[-1] and fast[-2] <= slow[-2]:
                self.buy(size=SIZE)
            elif fast[-1] < slow[-1] and fast[-2] >= slow[-2] and self.position:
                self.position.close()

    bench = Backtest(frame, Cross, cash=CASH, commission=RATE)
    began = perf_counter()
    stats = bench.run()
    seconds = perf_counter() - began
    trades = stats["_trades"]
    fills = 2 * len(trades) + len(bench._results._strategy.trades)
    return seconds, float(stats["Equity Final [$]"]), fills


class _Bar:
    __slots__ = ("close", "high", "low", "open", "time", "volume")

    def __init__(self, time: int, o: float, h: float, low: float, c: float, v: float) -> None:
        self.time, self.open, self.high, self.low, self.close, self.volume = time, o, h, low, c, v


def _loop(frame: pd.DataFrame, *, with_bar: bool) -> tuple[float, float, int]:
    columns = [frame[name].to_numpy() for name in ("Open", "High", "Low", "Close", "Volume")]
    time = frame.index.asi8
    began = perf_counter()
    fast, slow = talib.SMA(columns[3], FAST).tolist(), talib.SMA(columns[3], SLOW).tolist()
    cash, held, fills, pending = CASH, 0, 0, 0
    rows = zip(time.tolist(), *(column.tolist() for column in columns), strict=True)
    row = None
    for i, row in enumerate(rows):
        opened = row[1]
        if with_bar:
            opened = _Bar(*row).open
        if pending:
            cash -= pending * opened + abs(pending) * opened * RATE
            held, fills, pending = held + pending, fills + 1, 0
        if fast[i] > slow[i] and fast[i - 1] <= slow[i - 1]:
            pending = SIZE
        elif fast[i] < slow[i] and fast[i - 1] >= slow[i - 1] and held:
            pending = -held
    return perf_counter() - began, cash + held * row[4], fills


ENGINES = {
    "nbbacktest": nbbacktest,
    "backtesting.py": backtesting,
    "bare loop": lambda frame: _loop(frame, with_bar=False),
    "bare loop with a bar object": lambda frame: _loop(frame, with_bar=True),
}

if __name__ == "__main__":
    name, count = sys.argv[1], int(sys.argv[2])
    seconds, equity, fills = ENGINES[name](make_bars(count))
    print(json.dumps({"engine": name, "bars": count, "seconds": seconds, "equity": equity, "fills": fills}))
