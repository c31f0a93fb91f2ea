"""Cost and memory a bar: by bars, by symbols, and by derived intervals, each point in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.bars import HOUSE
from benchmarks.table import Table, hand_over
from benchmarks.task import CASH, Task

BARS = (10_000, 100_000, 1_000_000, 10_000_000)
SYMBOLS = ((1, 200_000), (10, 20_000), (100, 4_000), (500, 2_000))
INTERVALS = ("5m", "15m", "30m", "1h", "2h", "4h")


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def one(bars: int, symbols: int, derived: int) -> None:
    """Run once in this process and print seconds, and bytes that the run's peak lay above the data's."""
    import nbbacktest as nb
    from benchmarks.peers.nbbacktest import Cross

    class Base(Cross):
        def on_bar(self, bar: nb.Bar) -> None:
            if bar.interval == "1m":
                super().on_bar(bar)

    options: dict[str, Any] = {"config": {"exchange": "24/7"}, "derived": INTERVALS[:derived]}
    frames = Task("scale", bars, symbols).frames()
    nb.backtest({name: frame[:1_000] for name, frame in frames.items()}, Base, **options)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    before = _memory("VmRSS")
    began = perf_counter()
    result = nb.backtest(frames, Base, cash=CASH * 10, **options)
    seconds = perf_counter() - began
    print(json.dumps({"seconds": seconds, "bytes": _memory("VmHWM") - before, "fills": len(result.fills)}))


def measured(bars: int, symbols: int = 1, derived: int = 0, repeats: int = 3) -> list[str]:
    """Nanoseconds a bar, best and median, and bytes a bar."""
    runs = []
    for _ in range(repeats):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "one", *map(str, (bars, symbols, derived))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HOUSE.parent)
        if done.returncode:
            return ["–", "–", done.stderr.strip().splitlines()[-1][:100]]
        runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    count = bars * symbols
    took = [run["seconds"] / count * 1e9 for run in runs]
    return [f"{min(took):,.0f}", f"{median(took):,.0f}", f"{median(run['bytes'] for run in runs) / count:,.0f}"]


def main(*, quick: bool) -> None:
    """Hand over three tables."""
    repeats, divisor = (1, 10) if quick else (3, 1)
    costs = ["ns a bar, best", "median", "bytes a bar at the peak, the data left out"]
    by_bars = [
        [f"{bars:,}", *measured(bars, repeats=1 if bars > 1_000_000 else repeats)]
        for bars in BARS
        if bars <= BARS[-1] / divisor
    ]
    by_symbols = [
        [f"{symbols:,}", f"{symbols * bars // divisor:,}", *measured(bars // divisor, symbols, repeats=repeats)]
        for symbols, bars in SYMBOLS
    ]
    base = 100_000 // divisor
    by_intervals = [
        [", ".join(INTERVALS[:number]) or "none", *measured(base, derived=number, repeats=repeats)]
        for number in range(len(INTERVALS) + 1)
    ]
    hand_over(
        [
            Table("Cost and memory a bar by bars: SMA 20/50, one symbol", ["bars", *costs], by_bars),
            Table("By symbols, on one cash", ["symbols", "bars in all", *costs], by_symbols, left=0),
            Table(f"By derived intervals, {base:,} 1-minute bars", ["derived", *costs], by_intervals),
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*map(int, sys.argv[2:5]))
    else:
        main(quick="quick" in sys.argv)
