"""How punctual clock-driven mode is, idle and beside a busy thread, and the highest speed that holds without an overrun."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from statistics import median
from time import perf_counter, sleep
from typing import Any

import nbbacktest as nb
from benchmarks.overhead import busy
from benchmarks.table import Table, hand_over
from benchmarks.task import Task

SPEEDS = (60, 390, 1_000, 60_000)
LADDER = (15_000, 30_000, 60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000)


class Quiet(nb.Strategy):
    """Looks at each bar."""

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen = bar.close


def run(speed: float, bars: int) -> tuple[dict[str, Any], int, float]:
    """Lateness, overruns, and by how many seconds the run was longer than its deadlines say."""
    system = nb.SystemManager()
    config = {"exchange": "24/7", "backtest": {"speed_multiplier": speed}}
    system.start(config, data=Task("clock", bars).frame(), strategies=Quiet, paused=True)
    began = perf_counter()
    system.resume()
    system.wait()
    took = perf_counter() - began
    state = system.status()
    late = state["performance_metrics"]["lateness"]
    if late["count"] != bars:
        raise SystemExit(f"{late['count']} of {bars} bars were delivered")
    overruns = state["subscriptions"]["coordinator->processor"]["overruns"]
    return late, overruns, took - (bars - 1) * 60 / speed


def plain(seconds: float, count: int) -> float:
    """How late a plain sleep of so many seconds ends, in the middle of `count`: what a machine that rests in between can do."""
    late = []
    for _ in range(count):
        began = perf_counter()
        sleep(seconds)
        late.append(perf_counter() - began - seconds)
    return median(late)


def lateness(seconds: float) -> Table:
    """Each speed for so many seconds, alone and beside a busy thread."""
    rows = []
    for beside in ("nothing", "a busy thread"):
        for speed in SPEEDS:
            bars = max(10, min(5_000, int(seconds * speed / 60)))
            with nullcontext() if beside == "nothing" else busy():
                late, overruns, extra = run(speed, bars)
                alone = plain(60 / speed, min(bars, 50))
            rows.append(
                [
                    f"{speed:,}",
                    beside,
                    f"{bars:,}",
                    *(f"{late[key] * 1e3:.3f}" for key in ("p50", "p99", "max")),
                    str(overruns),
                    f"{extra * 1e3:.1f}",
                    f"{alone * 1e3:.3f}",
                ]
            )
    return Table(
        "Clock-driven: lateness of 1-minute bars against their absolute deadlines",
        [
            "speed",
            "beside",
            "bars",
            "p50 ms",
            "p99 ms",
            "max ms",
            "overruns",
            "run longer than asked, ms",
            "a plain sleep, p50 ms",
        ],
        rows,
        left=2,
    )


def highest(seconds: float, tries: int) -> Table:
    """Up a ladder of speeds: overruns in each of several runs, best and worst."""
    rows = []
    for speed in LADDER:
        bars = min(40_000, max(200, int(seconds * speed / 60)))
        counts = sorted(run(speed, bars)[1] for _ in range(tries))
        rows.append([f"{speed:,}", f"{60 / speed * 1e6:,.0f}", f"{bars:,}", str(counts[0]), str(counts[-1])])
        if counts[0] > bars / 10:
            break
    holds = [row[0] for row in rows if row[3] == "0"]
    note = f"The highest that held without an overrun in one run at least: {holds[-1]}." if holds else "None held."
    return Table(
        f"Up to which speed the clock holds: {tries} runs each",
        ["speed", "µs between bars", "bars", "overruns, best run", "worst run"],
        rows,
        [note],
    )


def main(*, quick: bool) -> None:
    """Hand over both tables."""
    seconds = 2.0 if quick else 10.0
    hand_over([lateness(seconds), highest(seconds / 10, 2 if quick else 5)])


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
