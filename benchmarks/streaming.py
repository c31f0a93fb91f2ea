"""More than memory: a dataset of minute bars streamed against loaded whole, in fresh processes, interleaved.

``python streaming.py FOLDER [SYMBOLS] [DAYS] [REPEATS] [LAYOUT]``: the dataset is made in FOLDER, once, and stays there.
The defaults are 50 symbols and 252 days, five million bars; 5 symbols and 20 days serve for a quick check. LAYOUT is
``files`` (one a symbol, one row group each) or ``folders`` (``symbol=S00/date=.../part.parquet``).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep

import numpy as np
import pandas as pd
import talib

import nbbacktest as nb

SESSION = 390


class Cross(nb.Strategy):
    """Goes long where the fast average is above the slow one, flat where it is below."""

    fast = 20
    slow = 50

    def on_start(self) -> None:
        """Make two averages for each symbol."""
        self.pairs = {
            symbol: (
                self.indicator(talib.SMA, "close", self.fast, symbol=symbol),
                self.indicator(talib.SMA, "close", self.slow, symbol=symbol),
            )
            for symbol in self.symbols
        }

    def on_bar(self, bar: nb.Bar) -> None:
        """Trade at the crossings."""
        fast, slow = self.pairs[bar.symbol]
        held = self.position(bar.symbol).size
        if not held and fast[-1] > slow[-1]:
            self.buy(bar.symbol, 10)
        elif held and fast[-1] < slow[-1]:
            self.close(bar.symbol)


def names(count: int) -> list[str]:
    """The symbols."""
    return [f"S{number:03}" for number in range(count)]


def make(folder: Path, symbols: int, days: int, layout: str) -> str:
    """Write the dataset, symbol by symbol, unless it is there; its path as a config has it."""
    root = folder / f"{layout}-{symbols}x{days}"
    done = root / "complete"
    if not done.exists():
        dates = pd.bdate_range("2023-01-02", periods=days, tz="America/New_York")
        opens = (dates + pd.Timedelta(hours=9, minutes=30)).tz_convert("UTC").as_unit("ns")
        index = pd.DatetimeIndex(np.add.outer(opens.asi8, np.arange(SESSION) * 60 * 10**9).ravel(), tz="UTC")
        for number, symbol in enumerate(names(symbols)):
            write(bars(index, number), root, symbol, layout)
        done.touch()
    return str(root / "{symbol}.parquet") if layout == "files" else str(root)


def bars(index: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    """A random walk on cents."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.0004, len(index)))), 2)
    opened = np.r_[100.0, close[:-1]]
    high = np.round(np.maximum(opened, close) + rng.exponential(0.02, len(index)), 2)
    low = np.round(np.minimum(opened, close) - rng.exponential(0.02, len(index)), 2)
    volume = rng.integers(100, 10_000, len(index)).astype(float)
    return pd.DataFrame(
        {"timestamp": index, "open": opened, "high": high, "low": low, "close": close, "volume": volume}
    )


def write(frame: pd.DataFrame, root: Path, symbol: str, layout: str) -> None:
    """One file, or one a session."""
    if layout == "files":
        root.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(root / f"{symbol}.parquet", index=False)
        return
    for begin in range(0, len(frame), SESSION):
        part = frame[begin : begin + SESSION]
        folder = root / f"symbol={symbol}" / f"date={part.timestamp.iloc[0]:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        part.to_parquet(folder / "part.parquet", index=False)


def one(path: str, symbols: int, *, stream: bool) -> None:
    """Run once in this process and print what it took."""
    config = {
        "exchange": "XNYS",
        "data": {"source": "parquet", "path": path, "symbols": names(symbols), "stamp": "open", "interval": "1m"},
        "broker": {"cash": 10_000_000, "commission": {"model": "percent", "rate": 0.0001}},
    }
    config["data"]["stream"] = stream
    ended, largest = threading.Event(), {"RssAnon": 0, "RssFile": 0}

    def watch() -> None:
        while not ended.is_set():
            for key, value in _memory().items():
                largest[key] = max(largest.get(key, 0), value)
            sleep(0.02)

    watcher = threading.Thread(target=watch, daemon=True)
    idle = _memory()["VmRSS"]
    watcher.start()
    system = nb.SystemManager()
    began, burnt = perf_counter(), process_time()
    system.start(config, strategies=Cross)
    loaded = perf_counter() - began
    result = system.wait()
    seconds, cpu = perf_counter() - began, process_time() - burnt
    answer = {
        "seconds": seconds,
        "cpu": cpu,
        "before": loaded,
        "bars": int(result.stats["bars"]),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "idle": idle,
        "fingerprint": result.fingerprint,
        "fills": len(result.fills),
    }
    ended.set()
    watcher.join()
    print(json.dumps(answer | largest))


def main(folder: str, symbols: int = 50, days: int = 252, repeats: int = 3, layout: str = "files") -> None:
    """Print the table."""
    command = [sys.executable, "-W", "ignore", __file__, "make", folder, str(symbols), str(days), layout]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    runs: dict[str, list[dict[str, float]]] = {"streamed": [], "in memory": []}
    for _ in range(repeats):
        for name, several in runs.items():
            command = [sys.executable, "-W", "ignore", __file__, "one", path, str(symbols), name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            several.append(json.loads(done.stdout.strip().splitlines()[-1]))
    everything = [run for several in runs.values() for run in several]
    if len({run["fingerprint"] for run in everything}) != 1:
        sys.exit("streamed and in-memory runs disagree")
    bars = everything[0]["bars"]
    print(f"\n### {symbols} symbols, {days} days, {bars:,} bars as {layout}, {everything[0]['fills']:,} fills\n")
    print(
        "| | bars/s, best | median | CPU s, median | seconds before the first bar | peak RSS, MB | anonymous | of files |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, several in runs.items():
        took = [run["seconds"] for run in several]
        before = median(run["before"] for run in several)
        peak, anon, file = (max(run[key] for run in several) / 1000 for key in ("peak", "RssAnon", "RssFile"))
        print(
            f"| {name} | {bars / min(took):,.0f} | {bars / median(took):,.0f} "
            f"| {median(run['cpu'] for run in several):.1f} | {before:.2f} "
            f"| {peak:,.0f} | {anon:,.0f} | {file:,.0f} |"
        )
    pairs = [whole["seconds"] / part["seconds"] for part, whole in zip(*runs.values(), strict=True)]
    best = min(run["seconds"] for run in runs["in memory"]) / min(run["seconds"] for run in runs["streamed"])
    print(
        f"\nSpeed of streamed against in memory: best against best {best:.2f}, median of pairs {median(pairs):.2f}, "
        f"worst pair {min(pairs):.2f}."
    )


def _memory() -> dict[str, int]:
    """Kilobytes of this process."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "RssAnon:", "RssFile:")}


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(sys.argv[2], int(sys.argv[3]), stream=sys.argv[4] == "streamed")
    elif sys.argv[1] == "make":
        print(make(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:6])
