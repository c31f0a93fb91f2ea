"""Which symbols lag, since when and until when; and that nobody asks where no clock counts."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nbbacktest.core.clock import ManualClock
from nbbacktest.engine.metrics import KEPT, LagWatch, overdue
from nbbacktest.engine.timeline import merged
from tests.rig import Recorder, Rig, series


class Every:
    """A schedule that has instants due ten seconds apart."""

    def deadline(self, instant: int) -> float:
        return 10.0 * instant


def watch(clock: ManualClock, threshold: float = 5.0, interval: float = 1.0) -> LagWatch:
    return LagWatch(threshold, interval, clock, lambda: int(clock.now() * 1e9))


def test_entering_and_leaving_are_events_with_times() -> None:
    """A symbol enters at the threshold and leaves below it; what lies between two looks of one kind is no news."""
    clock = ManualClock()
    lag = watch(clock)
    for seconds, lags in [(1, 4.9), (1, 5.0), (1, 9.0), (1, 4.0), (1, 1.0), (1, 6.0)]:
        clock.advance(seconds)
        lag.look({"A": lags, "B": 0.0}, 7)
    assert [(e.symbol, e.kind, e.time // 10**9, e.sim_time, e.seconds) for e in lag.events] == [
        ("A", "entered", 2, 7, 5.0), ("A", "left", 4, 7, 4.0), ("A", "entered", 6, 7, 6.0),
    ]  # fmt: skip
    assert (lag.entered, lag.left, lag.seconds) == (2, 1, {"A": 6.0, "B": 0.0})


def test_looks_keep_the_interval() -> None:
    """Asked more often than the interval, it looks only as often as that."""
    clock = ManualClock()
    lag, axis = watch(clock, interval=3.0), merged([series("A", range(5))])
    for _ in range(9):
        clock.advance(1.0)
        lag.ask(axis, Every(), 0)
        assert lag.due > clock.now()
    assert lag.due == 12.0
    assert lag.seconds == {"A": 9.0}


def test_events_are_bounded_and_all_counted() -> None:
    """A run that goes in and out forever keeps the newest events and the numbers."""
    clock = ManualClock()
    lag = watch(clock)
    for number in range(3 * KEPT):
        lag.look({"A": 9.0 * (number % 2)}, None)
    assert (len(lag.events), lag.entered + lag.left) == (KEPT, 3 * KEPT - 1)


def test_forgetting_ends_every_lag() -> None:
    """Where no clock counts any more nothing lags, and that is told."""
    lag = watch(ManualClock())
    lag.look({"A": 9.0, "B": 9.0}, None)
    lag.forget(3)
    assert [(e.symbol, e.kind, e.seconds) for e in lag.events[2:]] == [("A", "left", 0.0), ("B", "left", 0.0)]
    assert lag.is_quiet


def test_a_symbols_lag_is_that_of_its_oldest_bar_that_waits() -> None:
    """Each symbol's own next bar counts; coarser bars don't, and one without a bar to come has no lag."""
    a, b, c = series("A", [0, 1, 2]), series("B", [2]), series("C", [0])
    axis = merged([a, b, c, series("A", [0], "5m")])
    a.n, c.n = 1, 1
    assert overdue(axis, Every(), 35.0) == {"A": 25.0, "B": 15.0, "C": 0.0}
    assert overdue(axis, Every(), 5.0) == {"A": 0.0, "B": 0.0, "C": 0.0}


class Counting(LagWatch):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(5.0, 1.0, clock, lambda: 0)
        self.asked = 0

    def ask(self, *arguments: object) -> None:  # type: ignore[override]
        self.asked += 1
        super().ask(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("bars", [10, 5_000])
def test_data_driven_runs_never_ask(bars: int) -> None:
    """Whatever their length, they look at no clock for lag, and strategies read 0."""
    clock, agent = ManualClock(), Recorder()
    lag, seen = Counting(clock), set()
    agent.on_bar = lambda bar: seen.add(agent.lag)
    agent.lag = 0.0
    reads = 0

    def now() -> float:
        nonlocal reads
        reads += 1
        return 0.0

    clock.now = now  # type: ignore[method-assign]
    with Rig(series("A", range(bars)), agent=agent, clock=clock, lag=lag) as rig:
        rig.join()
    assert (lag.asked, seen, lag.events) == (0, {0.0}, ())
    assert reads < 20


def test_a_blocked_strategy_is_seen_to_lag_while_it_blocks() -> None:
    """Clock-driven, the coordinator looks at the interval, in the middle of a call too; the way out is an event as well."""
    clock, agent = ManualClock(), Recorder()
    lag, free, entered = watch(clock), threading.Event(), threading.Event()
    lags = []

    def on_bar(bar: object) -> None:
        lags.append(agent.lag)
        if len(lags) == 1:
            entered.set()
            assert free.wait(10)

    agent.on_bar = on_bar
    with Rig(series("A", range(4)), agent=agent, clock=clock, lag=lag, speed=60.0) as rig:
        assert entered.wait(10)
        for _ in range(8):  # the second bar is due after a second, and then nobody takes it
            clock.wait_for_sleepers()
            clock.advance(1.0)
        clock.wait_for_sleepers()
        assert [(event.kind, event.seconds) for event in lag.events] == [("entered", 5.0)]
        free.set()
        rig.join()
    assert np.allclose(lags, [0.0, 7.0, 6.0, 5.0])


def test_back_to_data_driven_nothing_lags() -> None:
    """A change of speed to 0 ends every lag; strategies read 0 from then on."""
    clock, agent = ManualClock(), Recorder()
    lag, free, entered = watch(clock), threading.Event(), threading.Event()
    lags = []

    def on_bar(bar: object) -> None:
        lags.append(agent.lag)
        if len(lags) == 1:
            entered.set()
            assert free.wait(10)

    agent.on_bar = on_bar
    with Rig(series("A", range(50)), agent=agent, clock=clock, lag=lag, speed=60.0) as rig:
        assert entered.wait(10)
        for _ in range(8):
            clock.wait_for_sleepers()
            clock.advance(1.0)
        clock.wait_for_sleepers()
        rig.coordinator.set_speed(0.0)
        free.set()
        rig.join()
    assert [event.kind for event in lag.events] == ["entered", "left"]
    assert (len(lags), lags[-1]) == (50, 0.0)
