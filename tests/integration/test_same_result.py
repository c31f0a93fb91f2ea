"""The promise that everything else rests on: how a run is driven never changes what comes of it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.status import status
from tests.markets import minutes


class Busy(nb.Strategy):
    """Trades a lot, with all order types, indicators and derived bars, in a way that any slip would change."""

    def on_start(self):
        import talib

        self.fast = {s: self.indicator(talib.SMA, "close", 3, symbol=s) for s in self.symbols}
        self.slow = {s: self.indicator(talib.stream.SMA, "close", 8, symbol=s) for s in self.symbols}
        self.count = 0

    def on_bar(self, bar):
        self.count += 1
        symbol = bar.symbol
        if bar.interval != "1m":
            if len(self.orders(symbol)) < 5:
                self.buy(symbol, 1, limit=bar.low)
                self.sell(symbol, 2, stop=bar.low - 0.05)
                self.sell(symbol, 1, trail="0.1%", tif="day")
                self.buy(symbol, 1, touch=bar.low - 0.02, tif="day")
                self.sell(symbol, 1, touch=bar.high + 0.02, limit=bar.high + 0.05)
            return
        if self.fast[symbol][-1] > self.slow[symbol][-1]:
            if self.position(symbol).size <= 0:
                size = 10 + self.count % 7
                self.buy(symbol, size, stop_loss=bar.close - 0.3, take_profit=bar.close + 0.2)
        elif self.position(symbol).size > 0:
            self.close(symbol)
        if self.count % 50 == 0:
            for order in self.orders(symbol):
                if order.limit is not None:
                    self.replace(order, limit=order.limit + 0.01)
                else:
                    self.cancel(order)
            self.oco(self.buy(symbol, 3, stop=bar.high + 0.1), self.sell(symbol, 3, limit=bar.high + 0.2, tif="day"))

    def on_order(self, order):
        self.count += order.status == "cancelled"


MARKETS = {n: {f"S{i}": minutes(120, seed=i, gaps=0.2 * (i % 3)) for i in range(n)} for n in range(1, 11)}
CONFIG = SessionConfig.load(
    {
        "broker": {
            "commission": {"model": "percent", "rate": 0.0005},
            "volume_share": 0.1,
            "account": "margin",
            "stop_and_target": "path",
        }
    }
)
REFERENCE = {}


def make(symbols, *, window=None, speed=0.0):
    config = CONFIG.overlaid(
        {"data": {"derived_intervals": ["5m", "15m"]}, "backtest": {"speed_multiplier": speed}}, "test"
    )
    life, condition = Lifecycle(), Monitor()
    stages = build(config, life, condition, data=MARKETS[symbols], strategies=Busy, window=window)
    return stages, Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None), life


def reference(symbols):
    """The fingerprint of the inline run: one thread, no pause."""
    if symbols not in REFERENCE:
        stages, run, _ = make(symbols)
        run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
        result = outcome(run)
        assert len(result.fills) > 20 * symbols
        REFERENCE[symbols] = result.fingerprint
    return REFERENCE[symbols]


actions = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 40)),
    st.tuples(st.just("until"), st.integers(1, 40)),
    st.tuples(st.just("pause"), st.just(0)),
    st.tuples(st.just("resume"), st.just(0)),
    st.tuples(st.just("speed"), st.sampled_from([0.0, 1e9, 3e5])),
)


def drive(system_gate, coordinator, script):
    """Follow a script of commands; one that the state doesn't allow is skipped, as a user would be told."""
    for action, number in script:
        try:
            if action == "step":
                before = system_gate.cursor
                if system_gate.step(number, 30):
                    assert system_gate.cursor == before + number
            elif action == "until":
                place = system_gate.cursor + number
                system_gate.run_until(None, lambda frame, place=place: frame.cursor >= place, 30)
            elif action == "pause":
                system_gate.pause(30)
            elif action == "resume":
                system_gate.resume()
            else:
                coordinator.set_speed(number)
        except nb.InvalidTransition:
            continue


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    symbols=st.integers(1, 10),
    window=st.sampled_from([1, 2, 7, 50, None]),
    speed=st.sampled_from([0.0, 0.0, 1e9]),
    paused=st.booleans(),
    script=st.lists(actions, max_size=12),
)
def test_the_fingerprint_does_not_depend_on_how_a_run_is_driven(symbols, window, speed, paused, script):
    """Any window, mode, and schedule of pauses, steps, speed changes: the same fills and equity, to the bit."""
    expected = reference(symbols)
    stages, run, life = make(symbols, window=window, speed=speed)
    life.apply(Command.START)
    if paused:
        stages.gate.hold_here()
    run.start()
    if paused:
        stages.gate.hold_until_rest(30)
    drive(stages.gate, stages.coordinator, script)
    try:
        stages.gate.resume()
    except nb.InvalidTransition:
        assert run.wait(30)
    assert run.wait(30)
    assert outcome(run).fingerprint == expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    symbols=st.integers(1, 10),
    window=st.sampled_from([1, 7, None]),
    speed=st.sampled_from([0.0, 1e9]),
    paused=st.booleans(),
    script=st.lists(actions, max_size=12),
)
def test_nor_on_whether_there_are_threads(monkeypatch, symbols, window, speed, paused, script):
    """In slices of the caller's thread, by any schedule: the same to the bit, and every place is exact."""
    expected = reference(symbols)
    with monkeypatch.context() as host:
        host.setenv("NBBACKTEST_THREADS", "off")
        stages, run, life = make(symbols, window=window, speed=speed)
        life.apply(Command.START)
        if paused:
            stages.gate.hold_here()
        run.start()
        if paused:
            assert stages.gate.hold_until_rest(30)
            assert stages.gate.cursor == 0
        drive(stages.gate, stages.coordinator, script)
        with contextlib.suppress(nb.InvalidTransition):
            stages.gate.resume()
        assert run.wait(30)
        assert outcome(run).fingerprint == expected


@pytest.mark.parametrize("symbols", [1, 3])
def test_stepping_all_the_way_is_the_same_run(symbols):
    """A run stepped one instant at a time has the uninterrupted run's fingerprint."""
    system = nb.SystemManager()
    system.start(CONFIG.overlaid({"data": {"derived_intervals": ["5m", "15m"]}}), data=MARKETS[symbols],
                 strategies=Busy, paused=True)  # fmt: skip
    while system.step():
        pass
    assert system.wait(30).fingerprint == reference(symbols)


def test_an_attached_observer_changes_nothing():
    """Status, snapshots and callbacks during the run leave its result alone."""
    system = nb.SystemManager()
    system.on_progress(lambda shot: shot.bars)
    system.on_state(lambda state: None)
    config = CONFIG.overlaid({"data": {"derived_intervals": ["5m", "15m"]}})
    system.start(config, data=MARKETS[3], strategies=Busy)
    while not system.is_stopped():
        system.status()
        assert system.snapshot().cash is not None
    assert system.wait(30).fingerprint == reference(3)


def test_backtest_gives_the_same_as_the_manager():
    """`backtest` is the same engine: same fingerprint."""
    result = nb.backtest(MARKETS[3], Busy, derived=("5m", "15m"), config=CONFIG)
    assert result.fingerprint == reference(3)
