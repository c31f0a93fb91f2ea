"""Worlds of the same bars share what never changes, and nothing else."""

from __future__ import annotations

import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data.sources import load
from nbbacktest.engine import timeline
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.engine.timeline import Window
from nbbacktest.report.result import Result
from nbbacktest.system.builder import strategies_of
from nbbacktest.system.run_bars import RunBars
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.world import World, record_of, world_of
from tests.markets import minutes

CONFIG = SessionConfig.load({"data": {"derived_intervals": ["5m", "15m"]}})
DATA = {"A": minutes(380), "B": minutes(380, seed=8)}


class Brackets(nb.Strategy):
    """Buys each symbol with a stop and a target, and remembers what was filled."""

    def on_start(self):
        self.seen = []
        self.mean = {symbol: self.indicator(lambda close: close - 1, "close", symbol=symbol) for symbol in "AB"}

    def on_bar(self, bar):
        if bar.interval == "1m" and not self.position(bar.symbol).size and not self.orders(bar.symbol):
            self.buy(bar.symbol, 3, stop_loss=bar.close * 0.999, take_profit=bar.close * 1.001)

    def on_fill(self, fill):
        self.seen.append(fill.price)


@pytest.fixture(scope="module")
def bars() -> RunBars:
    """Loaded once, for all worlds."""
    return RunBars(CONFIG, DATA, load(CONFIG, DATA))


def world(bars: RunBars) -> World:
    """A world before its first instant."""
    return world_of(CONFIG, strategies_of(CONFIG, Brackets), bars.fresh())


def on_stages(one: World) -> Stages:
    """The world on stages of its own."""
    return wire(CONFIG, Lifecycle(), Monitor(), one, window=64)


def run_to_end(stages: Stages) -> str:
    """The fingerprint of its run."""
    run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    return fingerprint(stages)


def fingerprint(stages: Stages) -> str:
    """Of what was run until now."""
    record = record_of(CONFIG, stages.world, stages.analysis.frame, source="test", synthetic=False, metrics=None)
    return Result(record).fingerprint


def state(one: World) -> tuple[object, ...]:
    """What moves with the cursor."""
    desk = one.desk
    return (
        desk.index, len(desk.fills), len(desk.orders), desk.portfolio.cash, len(desk.indicators),
        [series.n for series in one.timeline.series], [getattr(s, "seen", None) for s in desk.strategies],
    )  # fmt: skip


def test_worlds_of_the_same_bars_run_alike_and_apart(bars):
    """Neither sees what the other does: before, during and after its run."""
    first, second, usual = world(bars), world(bars), on_stages(world(bars))
    fresh, expected = state(second), run_to_end(usual)
    assert usual.world.desk.fills
    stages, other = on_stages(first), on_stages(second)
    assert run_to_end(stages) == expected
    assert state(second) == fresh
    ended = state(first)
    assert other.analysis.begin()
    other.analysis.process(other.processor.prepare(Window(0, 64, other.gate.generation, None)))
    assert state(second) not in (fresh, ended)
    assert state(first) == ended
    third = on_stages(world(bars))
    assert run_to_end(third) == expected
    assert fingerprint(stages) == expected
    assert second.desk.index == 63


def test_what_never_changes_is_shared(bars, monkeypatch):
    """Columns and the merged order are the same objects, the axis is merged once; series, desks and strategies are not."""
    calls = []
    merged = timeline.merged
    monkeypatch.setattr(timeline, "merged", lambda series: calls.append(1) or merged(series))
    own = RunBars(CONFIG, DATA, bars.market)
    first = world_of(CONFIG, strategies_of(CONFIG, Brackets), own)
    second = world(own)
    third = world(own)
    assert len(calls) == 1
    assert first.timeline.instants is second.timeline.instants is third.timeline.instants
    assert first.timeline.axis.events is third.timeline.axis.events
    pairs = list(zip(first.timeline.series, second.timeline.series, strict=True))
    assert len(pairs) == 6
    assert all(one is not two and one.columns is two.columns for one, two in pairs)
    assert first.desk is not second.desk
    assert first.desk.strategies[0] is not second.desk.strategies[0]


def test_a_frame_has_the_lists_of_its_own_world(bars):
    """What is drawn of a frame is read from there, not from the world that the run has by then."""
    one, two = on_stages(world(bars)), on_stages(world(bars))
    run_to_end(one)
    frame = one.analysis.frame
    assert frame.agent.lists.fills is one.world.desk.fills
    assert frame.agent.lists.indicators is one.world.desk.indicators
    assert two.analysis.frame.agent.lists.fills == []


def test_a_run_reads_its_present_world():
    """Another world in its place is what the run shows from then on."""
    system = nb.SystemManager(reachable=False)
    system.start({"exchange": "24/7"}, data=minutes(30), strategies=Idle, wait=True)
    run = system.run
    other = world_of(run.config, [(Idle(), None)], RunBars(run.config, None, run.world.market))
    run.stages.world = other
    assert system.strategies == other.desk.strategies


class Idle(nb.Strategy):
    """Does nothing."""

    def on_bar(self, bar):
        """Nothing."""
