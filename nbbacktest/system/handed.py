"""What a result's config says of live objects: a config that named its own bars and strategies would be another run's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbbacktest.data.handed import HANDED_OVER
from nbbacktest.data.market import MarketData
from nbbacktest.trading.parameters import parameters_of
from nbbacktest.trading.strategy import Strategy

_KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


def handed_over(data: Any, market: MarketData, strategies: Sequence[Strategy]) -> dict[str, Any]:
    """The sections of a config that live objects took the place of.

    Bars are a file where they were given by its path, and else a source that asks for them; strategies are named where
    they can be found by their names and their parameters can be written, and else left out.
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
