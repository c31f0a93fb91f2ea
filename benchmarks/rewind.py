"""What looking back and going back cost: an index and a look; a replay from the start and from a mark, its verification, the exchange."""

from __future__ import annotations

import os
import random
import sys
from math import inf
from statistics import median
from time import thread_time

import numpy as np

import nbbacktest as nb
from benchmarks.peers.nbbacktest import Cross
from benchmarks.table import Table, hand_over
from benchmarks.task import CASH, Task
from nbbacktest.system import marks
from nbbacktest.system.journey import Journey

LOOKS = 2_000
REPEATS = 5


class Brackets(nb.Strategy):
    """Enters with a stop and a target, again as soon as it is flat."""

    def on_bar(self, bar: nb.Bar) -> None:
        if not self.position().size and not self.orders():
            self.buy(size=10, stop_loss=bar.close * 0.9985, take_profit=bar.close * 1.0015)


class Slow(Cross):
    """Takes some 70 us a bar."""

    def on_bar(self, bar: nb.Bar) -> None:
        total = 0
        for number in range(4_000):
            total += number
        super().on_bar(bar)


def gone_back(bars: int, strategy: type[nb.Strategy], *, marked: bool) -> tuple[list[float], float, float]:
    """Milliseconds of each `back(1)` after the first, of the verification, and of the exchange; from nine tenths of a run."""
    marks.SLOW, marks.LONG = (0.0, 0) if marked else (inf, sys.maxsize)
    os.environ["NBBACKTEST_THREADS"] = "off"  # all of it in the calling thread
    system, land, landed = nb.SystemManager(reachable=False), Journey._land, []

    def timed(*arguments: object) -> bool:
        began = thread_time()
        answer = land(*arguments)
        landed.append(thread_time() - began)
        return answer

    Journey._land = timed
    try:
        config = {"exchange": "24/7", "broker": {"cash": CASH * 10}}
        system.start(config, data=Task("rewind", bars).frame(), strategies=strategy, paused=True)
        system.step(bars // 10 * 9)
        shown = frame(system)
        took, checked = [], []
        for _ in range(REPEATS + 1):
            began = thread_time()
            assert system.back(1)
            took.append(thread_time() - began)
            journey = system.run.journey
            began = thread_time()
            journey.line.verify(journey.world, system.snapshot().cursor)
            checked.append(thread_time() - began)
            assert system.step(1)
            assert frame(system) == shown, "the same place is another one"
        assert bool(len(journey._marks)) is marked
        return [1e3 * one for one in took[1:]], 1e3 * min(checked), 1e3 * min(landed)
    finally:
        system.stop()
        Journey._land = land


def frame(system: nb.SystemManager) -> tuple[object, ...]:
    """What must be the same each time."""
    shot = system.snapshot()
    return shot.cursor, shot.cash, shot.equity, shot.positions, shot.orders, shot.n_fills, dict(shot.indicators)


def back_row(name: str, bars: int, strategy: type[nb.Strategy]) -> list[str]:
    """A row of the second table."""
    whole, checked, landed = gone_back(bars, strategy, marked=False)
    short, _, _ = gone_back(bars, strategy, marked=True)
    both = [f"{min(took):,.1f} / {median(took):,.1f}" for took in (whole, short)]
    return [f"{name}, {bars:,} bars", *both, f"{checked / min(whole):.1%}", f"{landed:.2f}"]


def measured(bars: int, strategy: type[nb.Strategy]) -> list[str]:
    """Orders, milliseconds of the index, and milliseconds of a look: the median, the 99th percentile and the most."""
    result = nb.backtest(Task("rewind", bars).frame(), strategy, cash=CASH * 10, config={"exchange": "24/7"})
    cursors = random.Random(3).choices(range(bars + 1), k=LOOKS)
    made = []
    for _ in range(REPEATS):
        result.analysis.__dict__.pop("past", None)
        began = thread_time()
        result.look(bars - 1)
        made.append(thread_time() - began)
    looks = []
    for cursor in cursors:
        began = thread_time()
        result.look(cursor)
        looks.append(thread_time() - began)
    shown = [f"{value * 1e3:.3f}" for value in (*np.quantile(looks, [0.5, 0.99]), max(looks))]
    return [f"{len(result.record.orders):,}", f"{min(made) * 1e3:.1f}", *shown]


def main(*, quick: bool) -> None:
    """Hand over the table."""
    sizes = (20_000, 100_000) if quick else (100_000, 1_000_000)
    rows = [
        [f"{name}, {bars:,} bars", *measured(bars, strategy)]
        for bars in sizes
        for name, strategy in (("SMA 20/50", Cross), ("brackets", Brackets))
    ]
    columns = ["run", "orders", "index, once, ms", "look p50 ms", "look p99 ms", "look max ms"]
    note = (
        f"CPU time of the calling thread: {LOOKS:,} looks at instants drawn at random. The index is what a first look makes of "
        f"the record, the best of {REPEATS}; later looks take in only what is new."
    )
    looking = Table("Looking back: any past instant from the record", columns, rows, [note])
    runs = [
        (f"{name}", bars, strategy)
        for bars in sizes
        if bars >= 100_000  # a shorter run is over before a mark is worth it
        for name, strategy in (("SMA 20/50", Cross), ("brackets", Brackets))
    ]
    runs.append(("SMA 20/50 and 70 us of work a bar", sizes[0], Slow))
    columns = ["back(1) from 90% of the run", "from the start, ms", "from a mark, ms", "verification", "exchange, ms"]
    note = (
        f"CPU time of the calling thread, without threads: the best and the median of {REPEATS}, the first time excepted, which makes the marks. "
        "Marks are forced here for runs that are fast and short; by themselves they are made from 5 us an instant or 300,000 instants on. "
        "Verification is its share of a replay from the start; the exchange is that of the worlds at rest. After each `back(1)`, `step(1)` gave the same frame."
    )
    hand_over([looking, Table("Going back", columns, [back_row(*run) for run in runs], [note])])


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
