"""What looking back costs: the index that a first look makes, and each look after it, by bars and orders."""

from __future__ import annotations

import random
import sys
from time import thread_time

import numpy as np

import nbbacktest as nb
from benchmarks.peers.nbbacktest import Cross
from benchmarks.table import Table, hand_over
from benchmarks.task import CASH, Task

LOOKS = 2_000
REPEATS = 5


class Brackets(nb.Strategy):
    """Enters with a stop and a target, again as soon as it is flat."""

    def on_bar(self, bar: nb.Bar) -> None:
        if not self.position().size and not self.orders():
            self.buy(size=10, stop_loss=bar.close * 0.9985, take_profit=bar.close * 1.0015)


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
    hand_over([Table("Looking back: any past instant from the record", columns, rows, [note])])


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
