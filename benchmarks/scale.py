"""Cost and memory a bar, from ten thousand to three million bars, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from engines import make_bars, nbbacktest


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def one(bars: int) -> None:
    """Run once in this process and print seconds, and bytes that the run's peak lay above the frame's."""
    frame = make_bars(bars)
    nbbacktest(frame[:1_000])
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    before = _peak()
    seconds, _, _ = nbbacktest(frame)
    print(json.dumps({"seconds": seconds, "bytes": _peak() - before}))


def main(repeats: int = 3) -> None:
    """Print the table."""
    print("\n### Cost and memory a bar (SMA 20/50, 0.1%)\n")
    print("| bars | ns a bar, best | median | bytes a bar at the peak, the DataFrame itself left out |")
    print("|---:|---:|---:|---:|")
    for bars in (10_000, 100_000, 1_000_000, 3_000_000):
        runs = []
        for _ in range(repeats):
            command = [sys.executable, "-W", "ignore", __file__, "one", str(bars)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        took = [run["seconds"] / bars * 1e9 for run in runs]
        print(f"| {bars:,} | {min(took):,.0f} | {median(took):,.0f} | {median(r['bytes'] for r in runs) / bars:,.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(int(sys.argv[2]))
    else:
        main()
