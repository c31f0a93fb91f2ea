"""How one more symbol is loaded for a run that is under way: as the run's own were, or from what was given for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.source_registry import is_source
from nbbacktest.data.sources import load
from nbbacktest.engine.series import Series
from nbbacktest.system.membership import Supply
from nbbacktest.system.run_bars import RunBars


def supply_of(config: SessionConfig, data: Any, loaded: RunBars) -> Supply:
    """What loads one more symbol for the run of `loaded`.

    It gets all the series that the run's symbols have: derived ones, and those of other bases where there are such bars
    for it. What the run was asked for as warm-up of every symbol is loaded for it too, as far as it has such bars.
    """

    def supply(symbol: str, own: Any) -> tuple[list[Series], tuple[CorporateAction, ...]]:
        run = loaded.market
        source = _source_of(symbol, config, data) if own is None else _named(symbol, own)
        lengths = _lengths_in(symbol, source)
        files = {
            name: other.model_dump(mode="json")
            for name, other in config.data.other_bases.items()
            # A path without {symbol} is another symbol's; bars that were given go before those of a file.
            if "{symbol}" in other.path and name not in lengths
        }
        changes = {"symbols": [symbol], "actions": None, "warmup_bars": 0, "other_bases": files}
        alone = config.overlaid({"data": changes, "strategies": []})
        known = {None, run.interval.name, *config.data.derived_intervals, *files, *lengths}
        needs = [need for need in run.asked if need.symbols is None and need.interval in known]
        market = load(alone, source, needs=needs)
        if market.interval != run.interval:
            raise DataError(f"{symbol} has {market.interval} bars and the run has {run.interval} ones; give such bars")
        given, adjusted = config.data.actions, config.data.adjusted
        own = None if given is None else read_actions(given, (symbol,), required=False, adjusted=adjusted)
        actions = market.actions if own is None else own
        return loaded.joined(RunBars(alone, source, replace(market, stamps=run.stamps, start=run.start))), actions

    return supply


def _source_of(symbol: str, config: SessionConfig, data: Any) -> Any:
    """Where the run's own data may have one symbol more; None means what the config says."""
    if isinstance(data, Mapping) or is_source(data):
        return data
    path = data if isinstance(data, (str, Path)) else config.data.path if data is None else ""
    if data is None and path is None:
        return None
    if path is None or ("{symbol}" not in str(path) and not Path(path).expanduser().is_dir()):
        raise DataError(
            f"{symbol} can't be found where the run's data come from; give its bars too: "
            f'add_symbol("{symbol}", data=frame)'
        )
    return data


def _named(symbol: str, own: Any) -> Any:
    """What was given for one symbol; several lengths of its bars may come without its name."""
    if isinstance(own, Mapping) and own and symbol not in own and all(map(_is_interval, own)):
        return {symbol: own}
    return own


def _lengths_in(symbol: str, source: Any) -> set[str]:
    """The lengths of bars that were handed over for `symbol`, where several were."""
    parts = source.get(symbol) if isinstance(source, Mapping) else None
    return {Interval.parse(key).name for key in parts if _is_interval(key)} if isinstance(parts, Mapping) else set()


def _is_interval(key: Any) -> bool:
    try:
        Interval.parse(key)
    except DataError:
        return False
    return True
