"""How punctual clock-driven mode is: lateness against absolute deadlines, and drift over the whole run."""

from __future__ import annotations

from time import perf_counter

from engines import make_bars

import nbbacktest as nb


class Quiet(nb.Strategy):
    """Looks at each bar."""

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen = bar.close


def main() -> None:
    """Print the table."""
    print("\n### Clock-driven: lateness of 1-minute bars against their absolute deadlines\n")
    print("| speed | bars | p50 ms | p99 ms | max ms | overruns | run longer than asked, ms |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for speed, bars in ((390, 100), (1_000, 400), (6_000, 1_001), (60_000, 5_000)):
        frame = make_bars(bars)
        system = nb.SystemManager()
        config = {"exchange": "24/7", "backtest": {"speed_multiplier": speed}}
        system.start(config, data=frame, strategies=Quiet, paused=True)
        began = perf_counter()
        system.resume()
        system.wait()
        took = perf_counter() - began
        state = system.status()
        late = state["performance_metrics"]["lateness"]
        overruns = state["subscriptions"]["coordinator->processor"]["overruns"]
        if late["count"] != bars:
            raise SystemExit(f"{late['count']} of {bars} bars were delivered")
        extra = took - (bars - 1) * 60 / speed
        print(
            f"| {speed:,} | {bars:,} | {late['p50'] * 1e3:.3f} | {late['p99'] * 1e3:.3f} | {late['max'] * 1e3:.3f} "
            f"| {overruns} | {extra * 1e3:.1f} |"
        )


if __name__ == "__main__":
    main()
