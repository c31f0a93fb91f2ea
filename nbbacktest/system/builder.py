"""The one place that wires a run: config and data in, stages out. Everything that can be refused is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nbbacktest.core.clock import Clock, WallClock
from nbbacktest.core.config import SessionConfig, StrategyConfig
from nbbacktest.core.errors import ConfigError, NbBacktestError, Problem, StrategyError
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.shown import said
from nbbacktest.core.user_code import imported
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.data.warmup import Need
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.lag import LagWatch
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Link, Quantum
from nbbacktest.system.handed import handed_over
from nbbacktest.system.instances import begin, copied
from nbbacktest.system.joining import supply_of
from nbbacktest.system.loaded import Loaded, needs_of, warn_of_lack
from nbbacktest.system.membership import SymbolMembership
from nbbacktest.system.run import Stages
from nbbacktest.system.streamed import loader_of
from nbbacktest.trading.callbacks import check_callbacks
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.strategy import Strategy
from nbbacktest.trading.warmup import Warmup

StrategySource = type[Strategy] | Strategy
Players = list[tuple[Strategy, tuple[str, ...] | None]]


def build(
    config: SessionConfig,
    lifecycle: Lifecycle,
    condition: Monitor,
    *,
    data: Any = None,
    strategies: StrategySource | Sequence[StrategySource] | None = None,
    params: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    window: int | None = None,
    feed: Feed | None = None,
    market: MarketData | None = None,
) -> Stages:
    """Load the data, make the strategies and wire the stages; no thread is started.

    Parameters
    ----------
    data, strategies
        Live objects that take the place of the config's `data` and `strategies`.
    params
        Parameter values for `strategies`.
    clock, window
        For tests: another clock, and a fixed window length.
    feed
        Where a live run's bars come from; None makes the one that the config names.
    market
        The bars that were read from `data` before; they are not read again.

    Raises
    ------
    ConfigError, DataError
        Where the config or the data can't be run.
    """
    players = players_of(config, strategies, params)
    for strategy, _ in players:
        if any(strategy is one for one in _several(strategies)):
            begin(strategy)
    if config.mode == "live":
        from nbbacktest.system.live import build_live  # a tenth of all modules, for few runs

        return build_live(config, lifecycle, condition, players, feed=feed, data=data, clock=clock)
    if feed is not None:
        raise ConfigError([Problem("mode", config.mode, 'a feed is for live runs; set mode to "live", or give data')])
    needs = needs_of(players)
    loaded = Loaded(config, data, market or load(config, data, needs=needs, stream=True))
    loaded.reach(needs)
    stages = wired(config, lifecycle, condition, players, loaded, data=data, clock=clock, window=window)
    warn_of_lack(stages.desk.warmup, loaded.market.asked)
    given = [] if strategies is None else [strategy for strategy, _ in players]
    return replace(stages, handed=handed_over(data, loaded.market, given))


def wired(
    config: SessionConfig,
    lifecycle: Lifecycle,
    condition: Monitor,
    players: Players,
    loaded: Loaded,
    *,
    data: Any = None,
    clock: Clock | None = None,
    window: int | None = None,
) -> Stages:
    """Wire the stages over bars that are loaded, as far back as these strategies need.

    Parameters
    ----------
    players
        Strategies that were in no run yet, each with the symbols that it trades; see `players_of`.
    loaded
        What the run may reach further back in; no other run has it.
    data
        Where a symbol that joins may come from.

    Raises
    ------
    ConfigError, DataError
        Where the bars can't be run with that config.
    """
    market = loaded.market
    series = loaded.series()
    loader = loader_of(market, series, lambda base, one: loaded.derived(base, one.whole.interval))
    warmup = Warmup(series, market.asked, loaded.more)
    clock = clock or WallClock()
    timeline = Timeline(series, lambda instants: market.sessions().elapsed(instants))
    gate = RunGate(lifecycle, condition, clock)
    desk = TradingDesk(
        players,
        series=series,
        instants=timeline.instants,
        broker=config.broker,
        limits=config.limits,
        stamps=market.stamps,
        actions=market.actions,
        sessions=market.sessions,
        days=market.days,
        periods=loaded.periods,
        warmup=warmup,
    )
    upstream = StreamSubscription("data-driven", "coordinator->processor")
    downstream = StreamSubscription("data-driven", "processor->analysis")
    link = Link(upstream)
    quantum = Quantum(window)
    analysis = AnalysisEngine(timeline, desk, gate, downstream, clock, quantum, on_error=config.on_error)
    processor = DataProcessor(timeline, gate, link, downstream, loader)
    lag = LagWatch(config.lag.threshold_seconds, config.lag.check_interval_seconds, clock)
    coordinator = SessionCoordinator(timeline, gate, link, quantum, lag=lag)
    coordinator.set_speed(config.backtest.speed_multiplier)
    membership = SymbolMembership(timeline, desk, gate, analysis, coordinator, supply_of(config, data, loaded))
    desk.membership = membership
    return Stages(
        config, market, timeline, desk, gate, quantum, analysis, processor, coordinator, membership,
        (upstream, downstream), lag, clock, loader=loader,
    )  # fmt: skip


def warmup_needs(
    config: SessionConfig,
    strategies: StrategySource | Sequence[StrategySource] | None = None,
    params: Mapping[str, Any] | None = None,
) -> tuple[Need, ...]:
    """What the strategies of a run need as warm-up, for who loads its data beforehand."""
    return needs_of(players_of(config, strategies, params))


def players_of(
    config: SessionConfig,
    live: StrategySource | Sequence[StrategySource] | None,
    params: Mapping[str, Any] | None = None,
) -> Players:
    """Make the strategies of a run, each with the symbols that it trades (None: all).

    Raises
    ------
    ConfigError
        Where there is none, one is no strategy, parameters don't fit, or a callback is a coroutine or a generator.
    StrategyError
        Where one raised when it was made.
    """
    players = _players(config, live, params or {})
    for strategy, _ in players:
        check_callbacks(strategy)
    return players


def _players(config: SessionConfig, live: Any, params: Mapping[str, Any]) -> Players:
    if live is None:
        if not config.strategies:
            cure = "names no strategy; add one, such as {'class': 'nbbacktest.strategies:SmaCross'}"
            raise ConfigError([Problem("strategies", [], cure)])
        return [(_configured(i, part), part.symbols) for i, part in enumerate(config.strategies)]
    several = _several(live)
    if not several:
        raise ConfigError(
            [Problem("strategy", several, "is empty; give a Strategy class, an instance, or a list of them")]
        )
    return [(_live(one, params), None) for one in several]


def _several(live: Any) -> list[Any]:
    return list(live) if isinstance(live, (list, tuple)) else [live]


def _configured(number: int, part: StrategyConfig) -> Strategy:
    path = f"strategies.{number}.class"
    found = imported(path, part.class_path, _is_strategy)
    if not _is_strategy(found):
        raise ConfigError([Problem(path, part.class_path, "is not a subclass of nbbacktest.Strategy; name one")])
    return _made(found, copied(part.params))  # what a strategy puts into a list is its run's, not the config's


def _made(strategy: type[Strategy], params: Mapping[str, Any]) -> Strategy:
    try:
        return strategy(**params)
    except NbBacktestError:
        raise
    except Exception as error:
        raise StrategyError(strategy.__name__, "__init__", said(error)) from error


def _is_strategy(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Strategy)


def _live(one: Any, params: Mapping[str, Any]) -> Strategy:
    if isinstance(one, type) and issubclass(one, Strategy):
        return _made(one, params)
    if isinstance(one, Strategy):
        if params:
            cure = "parameters go to a class; this is an instance: set them when you make it"
            raise ConfigError([Problem("strategy", one, cure)])
        return one
    raise ConfigError(
        [Problem("strategy", one, "is no Strategy; give a subclass of nbbacktest.Strategy, or an instance")]
    )
