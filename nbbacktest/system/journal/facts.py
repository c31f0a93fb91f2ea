"""The facts about a run's beginning that the first line of its journal has: config, bars, strategies."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.digests import digest_of, digest_of_source, source_of
from nbbacktest.core.user_code import is_reference
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import is_source
from nbbacktest.system.journal.lines import VERSION, CopyFacts, OriginEntry, SeriesFacts, StrategyFacts
from nbbacktest.system.origin import Origin, own_copy
from nbbacktest.trading.strategy import Strategy, parameters_of

_PACKAGES = ("nbbacktest", "numpy", "TA-Lib")


class Beginning(NamedTuple):
    """All that the first line of a journal needs, taken before the run moves: what is dear is computed later, by `entry`.

    Attributes
    ----------
    strategies : list of StrategyFacts
        Still without their sources.
    frames : data
        Copies of the bars that are to be kept; None if none are.
    """

    config: SessionConfig
    market: MarketData
    classes: Sequence[type[Strategy]]
    strategies: Sequence[StrategyFacts]
    data: str | None
    is_handed: bool
    frames: Any
    are_given: bool

    def entry(self, run: Path) -> OriginEntry:
        """The first line; writes the copies of bars into the run's folder.

        Raises
        ------
        OSError
            The disk is full, or fails.
        """
        return OriginEntry(
            version=VERSION,
            run=run.name,
            at=now(),
            versions=versions(),
            config=self.config.set_values(),
            folder=str(Path.cwd()),
            data=self.data,
            is_handed=self.is_handed,
            copies=_copied(self.frames, run),
            bars=list(series_facts(self.market)),
            strategies=[_sourced(*one) for one in zip(self.classes, self.strategies, strict=True)],
            are_given=self.are_given,
        )


def beginning(origin: Origin, market: MarketData, strategies: Sequence[Strategy]) -> Beginning:
    """The facts about the beginning of a run of `origin` over these bars; `strategies` are its own, and weren't called yet."""
    config, data = origin.config, origin.data
    is_path = isinstance(data, (str, Path))
    is_handed = data is not None and not is_path
    copies = is_handed and config.journal.bars == "copy" and not is_source(data)
    return Beginning(
        config,
        market,
        [type(one) for one in strategies],
        list(_strategy_facts(origin, strategies)),
        str(Path(data).expanduser().absolute()) if is_path else None,
        is_handed,
        own_copy(data) if copies else None,
        origin.strategies is not None,
    )


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def versions() -> dict[str, str]:
    """The versions that a result may depend on in the last bit."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def series_facts(market: MarketData) -> Iterator[SeriesFacts]:
    """The series that were loaded; derived ones follow from them."""
    every = [*market.bars.values()]
    every += [columns for part in market.others.values() for columns in part.values()]
    for columns in every:
        count = len(columns)
        first, last = (int(columns.time[0]), int(columns.end[-1])) if count else (0, 0)
        digest = digest_of(columns, with_values=market.streamed is None or columns.interval != market.interval)
        yield SeriesFacts(columns.symbol, columns.interval.name, count, first, last, digest)


def _sourced(kind: type[Strategy], facts: StrategyFacts) -> StrategyFacts:
    source = source_of(kind) if kind.__module__ == "__main__" else None
    return msgspec.structs.replace(facts, digest=digest_of_source(kind), source=source)


def _strategy_facts(origin: Origin, strategies: Sequence[Strategy]) -> Iterator[StrategyFacts]:
    if origin.strategies is None:
        for part in origin.config.strategies:
            symbols = None if part.symbols is None else list(part.symbols)
            yield StrategyFacts(part.class_path, part.params, symbols, None, None, None)
        return
    given = origin.strategies if isinstance(origin.strategies, (list, tuple)) else [origin.strategies]
    for one, made in zip(given, strategies, strict=True):
        if isinstance(one, Strategy):
            yield _facts_of(type(one), *_params_of(made))
        else:
            yield _facts_of(one, dict(origin.params or {}), None)


def _params_of(strategy: Strategy) -> tuple[dict[str, Any], str | None]:
    """The parameters of an instance, and the reason why they don't describe it whole."""
    names = parameters_of(type(strategy), Strategy)
    own = [name for name in vars(strategy) if name not in names and not name.startswith("_")]
    lacks = f"was given as an instance that has {', '.join(own)}" if own else None
    return {name: getattr(strategy, name) for name in names if hasattr(strategy, name)}, lacks


def _facts_of(kind: type[Strategy], params: Mapping[str, Any], lacks: str | None) -> StrategyFacts:
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not is_reference(name):
        lacks = "isn't defined at the level of a module"
    try:
        written = json.loads(json.dumps(params))
        if written != params:
            raise TypeError  # noqa: TRY301 - a tuple, or a key that isn't text, comes back as something else
    except (TypeError, ValueError, RecursionError):
        written, lacks = {}, lacks or f"has parameters that JSON doesn't hold: {', '.join(params)}"
    return StrategyFacts(name, written, None, None, None, lacks)


def _copied(frames: Any, run: Path) -> list[CopyFacts]:
    copies = []
    for number, (symbol, interval, frame) in enumerate(_leaves(frames)):
        name = f"bars-{number}.parquet"
        frame.to_parquet(run / name)
        (run / name).chmod(0o600)
        copies.append(CopyFacts(symbol, interval, name))
    return copies


def _leaves(data: Any, *keys: str) -> Iterator[tuple[str | None, str | None, Any]]:
    if isinstance(data, Mapping):
        for key, part in data.items():
            yield from _leaves(part, *keys, key)
    elif data is not None:
        symbol, interval = (*keys, None, None)[:2]
        yield symbol, interval, data
