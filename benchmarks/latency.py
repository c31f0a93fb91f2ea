"""How long a user waits: pause, resume and step, from the call, with the engine at full speed."""

from __future__ import annotations

import random
import sys
from time import perf_counter, sleep

import numpy as np
from engines import make_bars

import nbbacktest as nb


class Working(nb.Strategy):
    """About 2 us a bar; notes when the first bar after a resume comes."""

    def on_start(self) -> None:
        self.armed = False
        self.first = 0.0

    def on_bar(self, bar: nb.Bar) -> None:
        if self.armed:
            self.first, self.armed = perf_counter(), False
        total = 0.0
        for _ in range(20):
            total += bar.close


def main(tries: int = 1_000, bars: int = 5_000_000) -> None:
    """Print percentiles; a bar that moves while paused ends the benchmark."""
    frame = make_bars(bars)
    pauses, resumes, moved, rng = [], [], 0, random.Random(5)
    system = nb.SystemManager()
    system.start({}, data=frame, strategies=Working, paused=True)
    strategy = system.strategies[0]
    while len(pauses) < tries:
        strategy.armed = True
        began = perf_counter()
        system.resume()
        sleep(rng.uniform(0.0005, 0.002))
        before = perf_counter()
        if not system.pause():
            sys.exit(f"the data ended after {len(pauses)} pauses; give more bars")
        pauses.append(perf_counter() - before)
        if strategy.armed:
            continue
        resumes.append(strategy.first - began)
        at_rest = (system.snapshot().cursor, len(strategy.bars()))
        sleep(0.002)  # a user looks; whatever still moved would show
        moved += (system.snapshot().cursor, len(strategy.bars())) != at_rest
    if moved:
        sys.exit(f"bars moved during {moved} pauses")
    count = 3_000
    began = perf_counter()
    for _ in range(count):
        system.step()
    rate = count / (perf_counter() - began)
    system.stop()
    print(f"\n### Pause, resume, step: {tries:,} tries, engine at full speed, 0 bars moved while paused\n")
    print("| from the call to ... | p50 ms | p99 ms | max ms |")
    print("|---|---:|---:|---:|")
    for name, values in (("pause: at rest", pauses), ("resume: the first bar", resumes)):
        p50, p99, most = np.quantile(values, [0.5, 0.99, 1.0]) * 1e3
        print(f"| {name} | {p50:.3f} | {p99:.3f} | {most:.3f} |")
    print(f"\n{rate:,.0f} single steps a second from Python.")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
