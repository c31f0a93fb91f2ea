"""More than memory: a dataset of minute bars streamed against loaded whole, in fresh processes, interleaved.

The dataset is made under ``.bench/``, once: 50 symbols and 252 days, five million bars, as a file a symbol; for a quick look 5
symbols and 20 days, as ``symbol=S00/date=.../part.parquet``.
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
from benchmarks.bars import HOUSE
from benchmarks.table import Table, hand_over

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


def main(*, quick: bool) -> None:
    """Hand over the table."""
    symbols, days, repeats, layout = (5, 20, 2, "folders") if quick else (50, 252, 3, "files")
    path = _child("make", str(symbols), str(days), layout).strip()
    runs: dict[str, list[dict[str, float]]] = {"streamed": [], "in memory": []}
    for _ in range(repeats):
        for name, several in runs.items():
            several.append(json.loads(_child("one", path, str(symbols), name).strip().splitlines()[-1]))
    everything = [run for several in runs.values() for run in several]
    if len({run["fingerprint"] for run in everything}) != 1:
        sys.exit("streamed and in-memory runs disagree")
    count = everything[0]["bars"]
    rows = []
    for name, several in runs.items():
        took = [run["seconds"] for run in several]
        before = median(run["before"] for run in several)
        sizes = [f"{max(run[key] for run in several) / 1000:,.0f}" for key in ("peak", "RssAnon", "RssFile")]
        cpu = median(run["cpu"] for run in several)
        rows.append(
            [name, f"{count / min(took):,.0f}", f"{count / median(took):,.0f}", f"{cpu:.1f}", f"{before:.2f}", *sizes]
        )
    pairs = [whole["seconds"] / part["seconds"] for part, whole in zip(*runs.values(), strict=True)]
    best = min(run["seconds"] for run in runs["in memory"]) / min(run["seconds"] for run in runs["streamed"])
    note = (
        f"Speed of streamed against in memory: best against best {best:.2f}, median of pairs {median(pairs):.2f}, "
        f"worst pair {min(pairs):.2f}. Loading is included, and the fingerprints are equal."
    )
    fills = everything[0]["fills"]
    columns = ["", "bars/s, best", "median", "CPU s, median", "seconds before the first bar", "peak RSS, MB"]
    title = f"More than memory: {symbols} symbols, {days} days, {count:,} bars as {layout}, SMA 20/50, {fills:,} fills"
    hand_over([Table(title, [*columns, "anonymous", "of files"], rows, [note])])


def _child(*arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.streaming", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HOUSE.parent).stdout


def _memory() -> dict[str, int]:
    """Kilobytes of this process."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "RssAnon:", "RssFile:")}


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2], int(sys.argv[3]), stream=sys.argv[4] == "streamed")
    elif sys.argv[1:2] == ["make"]:
        print(make(HOUSE / "streaming", int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    else:
        main(quick="quick" in sys.argv)
