"""What the engines are compared in: how many bars, which rule, and who can't take part, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.task import Task

LOOP, OURS = "loop", "nbbacktest"

ENGINES = {
    OURS: "nbbacktest",
    "backtesting": "backtesting.py",
    "backtrader": "backtrader",
    "bt": "bt",
    "vectorbt": "vectorbt",
    "nautilus": "nautilus_trader",
    "pybroker": "PyBroker",
    "zipline": "zipline-reloaded",
    "loop_with_sums": "bare loop with a bar object, running sums",
    "loop_with_bars": "bare loop with a bar object",
    LOOP: "bare loop",
}
"""Adapters in ``peers/`` and how the tables name them. The loop decides what is right."""

ONE_SYMBOL = "it trades one symbol"
NO_CALL = "it calls no Python on a bar"
NO_INTERVALS = "it has one interval a run"
NO_RESTING = "it has no orders that rest"
ONE_ORDER = "it takes one order a symbol and bar"
NO_BRACKETS = "it has no brackets"
NO_SWEEP = "it has no sweep of its own"
LOOPS = dict.fromkeys(("loop_with_bars", "loop_with_sums"), "the bare loop stands for all")


@dataclass(frozen=True)
class Case:
    """One comparison: the task, a smaller one for a quick look, and by adapter why some can't take part."""

    title: str
    task: Task
    quick: Task
    left_out: dict[str, str] = field(default_factory=dict)
    whole: bool = False
    """Whether the whole process is compared, and not the run alone."""


CASES = {
    "a": Case("SMA 20/50, one symbol", Task("cross", 100_000), Task("cross", 20_000)),
    "a1m": Case("SMA 20/50, one symbol", Task("cross", 1_000_000), Task("cross", 100_000)),
    "b": Case(
        "SMA 20/50, 10 symbols on one cash",
        Task("many", 20_000, 10),
        Task("many", 3_000, 10),
        {"backtesting": ONE_SYMBOL, **LOOPS},
    ),
    "c": Case(
        "SMA 20/50 of 5-minute bars, the trend of 15-minute bars, on 1-minute bars",
        Task("intervals", 100_000),
        Task("intervals", 20_000),
        {"pybroker": NO_INTERVALS, "zipline": NO_INTERVALS, **LOOPS},
    ),
    "d": Case(
        "Entries with brackets, and 20 limits that rest all along",
        Task("orders", 100_000),
        Task("orders", 20_000),
        {
            "bt": NO_RESTING,
            "vectorbt": NO_RESTING,
            "pybroker": ONE_ORDER,
            "zipline": NO_BRACKETS,
            **LOOPS,
        },
    ),
    "e": Case(
        "SMA 20/50 after 20 µs of work on each bar",
        Task("heavy", 100_000),
        Task("heavy", 20_000),
        {"vectorbt": NO_CALL, "loop_with_sums": LOOPS["loop_with_sums"]},
    ),
    "f": Case(
        "Sweep: 200 points of SMA fast/slow, each engine's own way",
        Task("sweep", 10_000),
        Task("sweep", 2_000),
        {
            "bt": NO_SWEEP,
            "nautilus": NO_SWEEP,
            "pybroker": NO_SWEEP,
            "zipline": NO_SWEEP,
            **LOOPS,
        },
    ),
    "g": Case(
        "Start-up: a process that imports the engine and runs once",
        Task("startup", 500),
        Task("startup", 500),
        {**LOOPS},
        whole=True,
    ),
}
