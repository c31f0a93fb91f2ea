"""Where a run comes from, whole: what `start` was given, so that a start without arguments runs the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.data.market import MarketData
from nbbacktest.data.source_registry import is_source
from nbbacktest.engine.feed import Feed
from nbbacktest.system.builder import StrategySource
from nbbacktest.system.instances import copied
from nbbacktest.system.run import Stages

ConfigSource = str | Path | dict[str, Any] | SessionConfig
Strategies = StrategySource | Sequence[StrategySource] | None


@dataclass(frozen=True)
class Origin:
    """What a run is made from.

    Attributes
    ----------
    config : SessionConfig
    data, strategies
        Live objects that take the place of the config's; None where the config's count.
    params : mapping
        Parameter values for `strategies`.
    feed : Feed or None
        Where a live run's bars come from.
    speed : float or None
        What was asked for in place of the config's.
    market : MarketData or None
        The bars as they were read from `data` that lies in memory: its owner may have changed it since.
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
        """The same once it has been built and before it runs: what the next start repeats."""
        market, desk = stages.market, stages.desk
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
    """What `start` is to run.

    With a config, that and what is given beside it. Without one, what ran before, `before`, with what is given in its
    place; at first the example, or the defaults where there is data.

    Raises
    ------
    ConfigError
        Where the config can't be read, or there are parameters for strategies that the config names.
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
