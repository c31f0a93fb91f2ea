"""The origin of a run: all arguments of its `start`, so that a start without arguments runs the same again.

Strategy objects belong to it: each run begins with the state that its object had when it was given.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.errors import ConfigError, Problem, ReplayError
from nbbacktest.data.handed import HANDED_OVER
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import is_source
from nbbacktest.engine.feed import Feed
from nbbacktest.system.stages import Stages
from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.strategy import Strategy, parameters_of

ConfigSource = str | Path | dict[str, Any] | SessionConfig
StrategySource = type[Strategy] | Strategy
Strategies = StrategySource | Sequence[StrategySource] | None

_KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_KEPT = "_as_given"


@dataclass(frozen=True)
class Origin:
    """All arguments of `start` for a run.

    Attributes
    ----------
    config : SessionConfig
    data, strategies
        Live objects in place of the config's; None if the config's count.
    params : mapping
        Parameter values for `strategies`.
    feed : Feed or None
        The source of a live run's bars.
    speed : float or None
        The speed that takes the place of the config's.
    market : MarketData or None
        The bars that were read from `data` in memory: its owner may have changed `data` since.
    description : str
        Strategies, symbols and source, for people.
    """

    config: SessionConfig
    data: Any = None
    strategies: Strategies = None
    params: Mapping[str, Any] | None = None
    feed: Feed | None = None
    speed: float | None = None
    market: MarketData | None = None
    description: str = ""

    def built(self, stages: Stages, speed: float | None) -> Origin:
        """The same origin with its stages built, before they run; the next start repeats it."""
        market, desk = stages.world.market, stages.world.desk
        held = self.data is not None and not is_source(self.data) and not isinstance(self.data, (str, Path))
        source = market.source if stages.feed is None else stages.feed.source
        return replace(
            self,
            speed=speed,
            params=copied(self.params or {}),  # a strategy may change what is in them
            market=market if held and stages.feed is None else None,
            description=f"{', '.join(desk.descriptions)} on {', '.join(market.bars)} ({source})",
        )


def origin_of(
    before: Origin | None,
    config: ConfigSource | None,
    data: Any,
    strategies: Strategies,
    params: Mapping[str, Any],
    feed: Feed | None,
) -> Origin:
    """The origin of the run that `start` begins.

    With a config: the config, and the arguments beside it. Without one: the last origin, `before`, with the arguments that
    are given; the first time the example, or the defaults if there is data.

    Raises
    ------
    ConfigError
        The config can't be read, or parameters are given for strategies that the config names.
    """
    if config is None and before is not None:
        origin = before
    else:
        source = config if config is not None else {} if data is not None else EXAMPLE
        origin = Origin(SessionConfig.load(source))
    if data is not None:
        origin = replace(origin, data=data, market=None)
    if feed is not None:
        origin = replace(origin, feed=feed)
    if strategies is not None:
        several = [*strategies] if isinstance(strategies, (list, tuple)) else strategies
        origin = replace(origin, strategies=several, params=dict(params))
    elif params:
        if origin.strategies is None:
            cure = "is a parameter, and no strategy was given with it; give strategies=, or set it in the config's strategies"
            raise ConfigError([Problem(name, value, cure) for name, value in params.items()], "start()")
        origin = replace(origin, params={**(origin.params or {}), **params})
    return origin


def own_copy(data: Any) -> Any:
    """Frames that lie in memory, copied; files and sources are read again, and stay as they are."""
    if isinstance(data, Mapping):
        return {name: own_copy(part) for name, part in data.items()}
    return data.copy() if hasattr(data, "columns") else data


def live_sections(data: Any, market: MarketData, strategies: Sequence[Strategy]) -> dict[str, Any]:
    """The sections of a recorded config that live objects replace, so that it doesn't show bars and strategies of another run.

    Bars are a file if its path was given, else a source that asks for them. Strategies are named if they can be imported
    by their names and their parameters can be written as JSON, else left out.
    """
    said: dict[str, Any] = {}
    if data is not None:
        kind = _KINDS.get(Path(data).suffix.lower()) if isinstance(data, (str, Path)) else None
        source = {"source": kind, "path": str(data)} if kind else {"source": HANDED_OVER, "path": None}
        own = {"symbols": list(market.bars), "interval": market.interval.name, "options": {}}
        said["data"] = {**source, **own}
    if strategies:
        named = [_named(strategy) for strategy in strategies]
        said["strategies"] = [] if None in named else named
    return said


def _named(strategy: Strategy) -> dict[str, Any] | None:
    kind = type(strategy)
    if "<" in kind.__qualname__:  # defined in a function
        return None
    names = parameters_of(kind, Strategy)
    params = {name: getattr(strategy, name) for name in names if hasattr(strategy, name)}
    try:
        written = json.loads(json.dumps(params, allow_nan=False))
    except (TypeError, ValueError):
        return None
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "symbols": None, "params": written}


@dataclass(slots=True)
class _Kept:
    """Kept beside the attributes of a strategy object.

    Attributes
    ----------
    given : dict
        Its attributes as they were before its run.
    left : dict
        The objects that its run has left in them. An attribute that is another object now was set by its owner since.
    """

    given: dict[str, Any]
    left: dict[str, Any] = field(default_factory=dict)


def restore_given(strategy: Strategy) -> None:
    """Set a strategy object back to the state that it was given with, and keep that state for its next run.

    Attributes that its owner has set since its last run stay. An object that is in a run isn't touched.
    """
    context = vars(strategy).get("_strategy_context")
    if isinstance(context, StrategyContext) and context.is_taken:
        return
    given = _as_given(strategy)
    vars(strategy).clear()
    vars(strategy).update(given)
    vars(strategy)[_KEPT] = _Kept(copied(given))


def note_left(strategy: Strategy) -> None:
    """Note the attributes that a run has left in a strategy object."""
    kept = vars(strategy).get(_KEPT)
    if kept is not None:
        kept.left = {name: value for name, value in vars(strategy).items() if name != _KEPT}


def fresh_instance(strategy: Strategy) -> Strategy:
    """Another object of the same class, with the state that this one was given with."""
    other = copy.copy(strategy)
    vars(other).clear()
    vars(other).update(_as_given(strategy))
    return other


def remade(strategies: Strategies, params: Mapping[str, Any]) -> Strategies:
    """The strategies of an origin for another world: classes as they are, instances as they were given.

    Raises
    ------
    ReplayError
        An instance or a parameter holds what can't be copied, so that its state before the run isn't known.
    """
    _refuse_uncopied("the parameter", params)
    if not isinstance(strategies, (list, tuple)):
        return _remade(strategies) if isinstance(strategies, Strategy) else strategies
    return [_remade(one) if isinstance(one, Strategy) else one for one in strategies]


def _remade(strategy: Strategy) -> Strategy:
    kept = vars(strategy).get(_KEPT)
    _refuse_uncopied(f"{type(strategy).__name__}'s attribute", kept.given if kept is not None else vars(strategy))
    return fresh_instance(strategy)


def _refuse_uncopied(what: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        try:
            copy.deepcopy(value)
        except Exception as error:
            raise ReplayError(
                f"the run can't be taken back: {what} {name} can't be copied ({error}), so its state before the run isn't known; "
                "give the strategy's class, and make it in on_start"
            ) from error


def _as_given(strategy: Strategy) -> dict[str, Any]:
    """Copies of the attributes of a strategy object as they were before its run, with those that its owner has set since."""
    state = dict(vars(strategy))
    kept = state.pop(_KEPT, None)
    if kept is None:
        return copied(state)
    left = kept.left or state  # if its run never ended, all attributes are the run's
    own = {name: value for name, value in state.items() if name not in left or value is not left[name]}
    return copied({**kept.given, **own})


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of values by name, in which two attributes still share an object; an object that can't be copied is shared."""
    memo: dict[int, Any] = {}
    copied = {}
    for name, value in state.items():
        try:
            copied[name] = copy.deepcopy(value, memo)
        except Exception:  # noqa: BLE001 - a lock, a file, an object of another library
            copied[name] = value
    return copied
