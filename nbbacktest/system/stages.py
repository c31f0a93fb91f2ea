"""The stages of a run and the function that wires them: they live as long as the run, and move its world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import time_ns
from typing import Any

from nbbacktest.core.clock import Clock, WallClock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.live_market import BarReader
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import Coordinator, LiveCoordinator, SessionCoordinator
from nbbacktest.engine.feed import Feed, Inbox, Patience
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.live_bars import LiveColumns
from nbbacktest.engine.metrics import LagWatch
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import Link, StreamSubscription
from nbbacktest.engine.timeline import Quantum
from nbbacktest.system.universe import SymbolUniverse
from nbbacktest.system.world import World
from nbbacktest.trading.parameter_guard import ParameterGuard
from nbbacktest.trading.snapshot import TradingSnapshot


@dataclass
class Stages:
    """The stages that move one run, and its world.

    Attributes
    ----------
    world : World
        The present one; `Journey` puts another in its place.
    feed, inbox
        In a live run, the source of its bars, and the queue in which they wait.
    again : callable or None
        Makes another world of the run's origin, before its first instant; None if none can be made.
    live_objects : mapping
        The sections of the recorded config that live objects replace: see `origin.live_sections`.
    """

    config: SessionConfig
    world: World
    gate: RunGate
    quantum: Quantum
    analysis: AnalysisEngine[TradingSnapshot]
    processor: DataProcessor
    coordinator: Coordinator
    streams: tuple[StreamSubscription, ...]
    lag: LagWatch
    clock: Clock
    feed: Feed | None = None
    inbox: Inbox | None = None
    again: Callable[[], World] | None = None
    live_objects: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveBars:
    """The source of the bars of a live run, and their reader.

    Attributes
    ----------
    begins : int
        The end of history, nanoseconds UTC.
    """

    feed: Feed
    reader: BarReader
    rolling: RollingSessions
    begins: int


def wire(
    config: SessionConfig,
    lifecycle: Lifecycle,
    condition: Monitor,
    world: World,
    *,
    live: LiveBars | None = None,
    clock: Clock | None = None,
    window: int | None = None,
    speed: float | None = None,
) -> Stages:
    """Put a world on stages of its own; no thread is started.

    Parameters
    ----------
    live
        The feed of a live run; None: all bars are in the world.
    window
        A fixed window length.
    speed
        In place of the config's.
    """
    timeline, desk = world.timeline, world.desk
    clock = clock or WallClock()
    gate = RunGate(lifecycle, condition, clock)
    mode = "data-driven" if live is None else "live"
    upstream = StreamSubscription(mode, "coordinator->processor")
    downstream = StreamSubscription(mode, "processor->analysis")
    link = Link(upstream)
    quantum = Quantum(window if live is None else 1)
    analysis = AnalysisEngine(timeline, desk, gate, downstream, clock, quantum, on_error=config.on_error)
    processor = DataProcessor(timeline, gate, link, downstream, world.chunks)
    now = time_ns if live is None else live.feed.now
    lag = LagWatch(config.lag.threshold_seconds, config.lag.check_interval_seconds, clock, now)
    feed, inbox = None, None
    coordinator: Coordinator
    if live is None:
        coordinator = SessionCoordinator(timeline, gate, link, quantum, lag=lag)
        coordinator.set_speed(config.backtest.speed_multiplier if speed is None else speed)
    else:
        feed, settings = live.feed, config.live
        patience = Patience(settings.grace_seconds, settings.stale_seconds, settings.future_seconds)
        inbox = Inbox(live.reader, clock, patience, gate.nudge, now, live.begins)
        coordinator = LiveCoordinator(
            timeline, gate, link,
            feed=feed, inbox=inbox, columns=LiveColumns(timeline, live.rolling.covering), clock=clock, lag=lag,
        )  # fmt: skip
        feed.attach(inbox)
    if world.bars is not None and world.supply is not None:
        world.universe = SymbolUniverse(timeline, desk, gate, analysis, coordinator, world.bars, world.supply)
    desk.universe = world.universe
    desk.may_act = gate.may_call
    analysis.guard_by(partial(ParameterGuard, desk))
    return Stages(
        config, world, gate, quantum, analysis, processor, coordinator, (upstream, downstream), lag, clock, feed, inbox
    )
