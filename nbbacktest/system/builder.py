"""Builds a run: config and data in, wired stages out. Everything that can be refused is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nbbacktest.core.clock import Clock
from nbbacktest.core.config import SessionConfig, StrategyConfig
from nbbacktest.core.errors import ConfigError, LiveRunError, NbBacktestError, Problem, StrategyError
from nbbacktest.core.formats import said
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.user_code import imported
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.data.warmup import Need
from nbbacktest.engine.feed import Feed
from nbbacktest.system.origin import StrategySource, copied, live_sections, remade, restore_given
from nbbacktest.system.run_bars import RunBars, needs_of, warn_of_lack
from nbbacktest.system.runner import require_threads
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.world import StrategyList, World, world_of
from nbbacktest.trading.callbacks import check_callbacks
from nbbacktest.trading.strategy import Strategy


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
    repeatable: bool = False,
) -> Stages:
    """Load the data, make the strategies and wire the stages; no thread is started.

    Parameters
    ----------
    data, strategies
        Live objects in place of the config's `data` and `strategies`.
    params
        Parameter values for `strategies`.
    clock, window
        For tests: another clock, and a fixed window length.
    feed
        The source of a live run's bars; None makes the one that the config names.
    market
        The bars that were read from `data` before, and aren't read again.
    repeatable
        Keep what another world of the same origin takes, so that the run can be taken back.

    Raises
    ------
    ConfigError, DataError
        The config or the data can't be run.
    """
    given_params = copied(params or {}) if repeatable else {}  # a strategy may change what is in them
    made = strategies_of(config, strategies, params)
    for strategy, _ in made:
        if any(strategy is one for one in _several(strategies)):
            restore_given(strategy)
    if config.mode == "live":
        from nbbacktest.system.live_builder import live_world  # a tenth of all modules, for few runs

        world, live = live_world(config, made, feed=feed, data=data)
        return wire(config, lifecycle, condition, world, live=live, clock=clock)
    if feed is not None:
        raise ConfigError([Problem("mode", config.mode, 'a feed is for live runs; set mode to "live", or give data')])
    needs = needs_of(made)
    bars = RunBars(config, data, market or load(config, data, needs=needs, stream=True))
    bars.reach(needs)
    world = world_of(config, made, bars, data=data)
    stages = wire(config, lifecycle, condition, world, clock=clock, window=window)
    warn_of_lack(world.desk.warmup, world.market.asked)
    given = [] if strategies is None else [strategy for strategy, _ in made]
    pristine = bars.fresh()

    def again() -> World:
        anew = strategies_of(config, remade(strategies, given_params), copied(given_params))
        return world_of(config, anew, pristine.fresh(), data=data)

    return replace(stages, live_objects=live_sections(data, world.market, given), again=again if repeatable else None)


def refuse_live(config: SessionConfig, *, paused: bool) -> None:
    """Refuse a live run that can't be started here, or not like this.

    Raises
    ------
    NoThreadsError, LiveRunError
        The host has no threads; the run is to be paused.
    """
    if config.mode == "live":
        require_threads("a live run")
        if paused:
            raise LiveRunError("hold")


def warmup_needs(
    config: SessionConfig,
    strategies: StrategySource | Sequence[StrategySource] | None = None,
    params: Mapping[str, Any] | None = None,
) -> tuple[Need, ...]:
    """The warm-up that the strategies of a run need, to load its data beforehand."""
    return needs_of(strategies_of(config, strategies, params))


def strategies_of(
    config: SessionConfig,
    live: StrategySource | Sequence[StrategySource] | None,
    params: Mapping[str, Any] | None = None,
) -> StrategyList:
    """Make the strategies of a run, each with the symbols that it trades (None: all).

    Raises
    ------
    ConfigError
        There is none, one is no strategy, parameters don't fit, or a callback is a coroutine or a generator.
    StrategyError
        The constructor of one raised.
    """
    made = _strategies(config, live, params or {})
    for strategy, _ in made:
        check_callbacks(strategy)
    return made


def _strategies(config: SessionConfig, live: Any, params: Mapping[str, Any]) -> StrategyList:
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
    return _made(found, copied(part.params))  # a list that a strategy changes is its run's, not the config's


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
