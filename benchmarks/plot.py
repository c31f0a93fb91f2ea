"""The pictures: bars a second of every engine, and what windows cost. ``python -m benchmarks.plot REPORT.json FOLDER``.

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
FLOOR = 1.0
"""Percent; what is below is noise, and drawn here."""
GROUND, INK, FAINT, OWN, OTHER, BARE = "#fbfbf9", "#22252a", "#d9dad6", "#c8442d", "#5b7c99", "#a9adb0"


def speeds(measured: dict[str, Any]) -> dict[str, float]:
    """Bars a second by engine, of those whose results may be compared."""
    return {
        engine: found["count"] / median(found["seconds"])
        for engine, found in measured["tables"][0]["figures"].items()
        if found.get("allowed")
    }


def main(report: str, folder: str) -> None:
    """Draw what the report has; nothing where it has none of the cases."""
    measured = json.loads(Path(report).read_text())
    Path(folder).mkdir(parents=True, exist_ok=True)
    engines(measured, Path(folder) / "speed.png")
    if "overhead" in measured:
        windows(measured["overhead"]["tables"][1]["rows"], Path(folder) / "windows.png")


def engines(measured: dict[str, Any], picture: Path) -> None:
    """Bars a second, a panel for each case."""
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
        _bare(panel, "x")
    figure.supxlabel("bars a second, median, logarithmic: longer is faster", color=INK, fontsize=9)
    figure.savefig(picture, dpi=110, facecolor=GROUND)


def windows(rows: list[list[str]], picture: Path) -> None:
    """What lockstep adds by the windows' length, as the table has it; its last row is the engine's own choice."""
    *fixed, own = rows
    lengths = [int(row[0].split()[0].replace(",", "")) for row in fixed]
    best, typical = ([max(_percent(row[column]), FLOOR) for row in fixed] for column in (-2, -1))
    figure, panel = plt.subplots(figsize=(7.0, 3.2), facecolor=GROUND, layout="constrained")
    panel.plot(lengths, best, color=OTHER, marker="o", label="best against best")
    panel.plot(lengths, typical, color=BARE, marker="o", label="median of pairs")
    chosen = max(_percent(own[-2]), FLOOR)
    panel.axhline(chosen, color=OWN, linewidth=1.2, label=f"as the engine chooses: {own[-2]}")
    panel.set_xscale("log", base=2)
    panel.set_xticks(lengths, [f"{length:,}" for length in lengths])
    panel.set_yscale("log")
    panel.set_yticks([1, 3, 10, 30, 100, 300], ["1%", "3%", "10%", "30%", "100%", "300%"])
    panel.minorticks_off()
    panel.set_title("what three threads in lockstep add", color=INK, fontsize=10, loc="left", fontweight="bold")
    panel.set_xlabel("instants in a window; a strategy that reads the close", color=INK, fontsize=9)
    panel.legend(frameon=False, fontsize=8, labelcolor=INK)
    _bare(panel, "y")
    figure.savefig(picture, dpi=110, facecolor=GROUND)


def _bare(panel: Any, grid: str) -> None:
    panel.set_facecolor(GROUND)
    panel.tick_params(colors=INK, labelsize=8, length=0)
    panel.grid(axis=grid, color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)


def _percent(text: str) -> float:
    return float(text.rstrip("%"))


def _short(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value / 1e3:.1f}k"


if __name__ == "__main__":
    main(*sys.argv[1:])
