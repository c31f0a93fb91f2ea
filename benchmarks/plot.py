"""The picture: bars a second of every engine, one panel a case. ``python -m benchmarks.plot REPORT.json PICTURE.png``.

It needs matplotlib and nothing else, and runs in an environment of its own. Its colours can be read on light and dark
pages alike: it has a ground of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.cases import ENGINES, OURS

PANELS = {
    "a": "one symbol",
    "b": "10 symbols, one cash",
    "c": "1m with 5m and 15m",
    "d": "brackets, 20 limits",
    "e": "20 µs of work a bar",
    "f": "sweep of 200 points",
}
GROUND, INK, FAINT, OWN, OTHER, BARE = "#fbfbf9", "#22252a", "#d9dad6", "#c8442d", "#5b7c99", "#a9adb0"


def speeds(measured: dict[str, Any]) -> dict[str, float]:
    """Bars a second by engine, of those whose results may be compared."""
    return {
        engine: found["count"] / median(found["seconds"])
        for engine, found in measured["tables"][0]["figures"].items()
        if found.get("allowed")
    }


def main(report: str, picture: str) -> None:
    """Draw what the report has; nothing where it has none of the cases."""
    measured = json.loads(Path(report).read_text())
    full = [name for name in PANELS if name in measured and not measured[name]["quick"]]
    there = full or [name for name in PANELS if name in measured]
    if not there:
        return
    columns = min(3, len(there))
    lines = -(-len(there) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(4.3 * columns, 3.1 * lines), squeeze=False, facecolor=GROUND, layout="constrained"
    )
    for panel in panels.flat[len(there) :]:
        panel.set_visible(False)
    for panel, name in zip(panels.flat, there, strict=False):
        found = sorted(speeds(measured[name]).items(), key=lambda pair: pair[1])
        colours = [OWN if e == OURS else BARE if e.startswith("loop") else OTHER for e, _ in found]
        values = [value for _, value in found]
        panel.barh([ENGINES[engine] for engine, _ in found], values, color=colours, height=0.72)
        for at, value in enumerate(values):
            panel.text(value * 1.12, at, _short(value), va="center", color=INK, fontsize=8)
        panel.set_xscale("log")
        panel.set_xlim(1e3, 6e7)
        panel.minorticks_off()
        panel.set_title(PANELS[name], color=INK, fontsize=10, loc="left", fontweight="bold")
        panel.set_facecolor(GROUND)
        panel.tick_params(colors=INK, labelsize=8, length=0)
        panel.grid(axis="x", color=FAINT, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[:].set_visible(False)
    figure.supxlabel("bars a second, median, logarithmic: longer is faster", color=INK, fontsize=9)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110, facecolor=GROUND)


def _short(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value / 1e3:.1f}k"


if __name__ == "__main__":
    main(*sys.argv[1:])
