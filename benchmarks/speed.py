"""Bars a second side by side: fresh processes, interleaved, and no figure unless all agree to the cent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

NAMES = ("nbbacktest", "backtesting.py", "bare loop with a bar object", "bare loop")


def measure(name: str, bars: int) -> dict[str, float]:
    """One run of one engine in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("engines.py")), name, str(bars)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(bars: int = 100_000, repeats: int = 7) -> None:
    """Print the table for one number of bars."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for _ in range(repeats):
        for name in NAMES:
            runs[name].append(measure(name, bars))
    outcomes = {(round(run["equity"], 2), run["fills"]) for several in runs.values() for run in several}
    if len(outcomes) != 1:
        sys.exit(f"the engines disagree about final equity and fills: {sorted(outcomes)}")
    equity, fills = outcomes.pop()
    seconds = {name: [run["seconds"] for run in several] for name, several in runs.items()}
    peer = seconds["backtesting.py"]
    print(f"\n### SMA 20/50, {bars:,} bars, 0.1%: {fills:,} fills, final equity {equity:,.2f} for all\n")
    print("| engine | bars/s, best | bars/s, median | against backtesting.py, best | median |")
    print("|---|---:|---:|---:|---:|")
    for name, took in seconds.items():
        print(
            f"| {name} | {bars / min(took):,.0f} | {bars / median(took):,.0f} "
            f"| {min(peer) / min(took):.2f} | {median(peer) / median(took):.2f} |"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
