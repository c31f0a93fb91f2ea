"""Finds the source of a run's bars: the one that its config names, or the data that a Python user hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import SOURCES
from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.user_code import imported
from nbbacktest.data.columns import by_symbol
from nbbacktest.data.datasource import INVENTED, AskedSource, BarSource, DataSource, SourceBars, made_with
from nbbacktest.data.files import FileSource
from nbbacktest.data.other_bases import is_nested, taken_apart
from nbbacktest.data.warmup import Need

LONE_SYMBOL = "ASSET"
"""The symbol of a single DataFrame's bars if the config names none."""


def is_source(value: Any) -> bool:
    """True if `value` is an object that has bars to give."""
    return not isinstance(value, type) and callable(getattr(value, "bars", None))


def source_of(config: SessionConfig, data: Any) -> BarSource:
    """The source that the config names, or the one that `data` is, if given.

    Raises
    ------
    ConfigError
        If the config names no source, or its options don't fit it.
    DataError
        If `data` is no source of bars.
    """
    import pandas as pd

    if data is None:
        built_in = SOURCES.get(config.data.source)
        if built_in is None:
            return AskedSource(_users_own(config))
        made = imported("data.source", built_in.reference, callable).of_config(config)
        return AskedSource(made) if is_source(made) else made  # a test holds each built-in source to the protocol
    if isinstance(data, (Mapping, pd.DataFrame)):
        return FrameSource(data)
    if is_source(data):
        return AskedSource(data)
    if isinstance(data, (str, Path)):
        return FileSource.at(data, config)
    raise DataError(
        f"data is a {type(data).__name__}; pass a DataFrame, a mapping {{symbol: DataFrame}}, "
        "the path of a CSV or Parquet file or of a folder of Parquet files, or a DataSource"
    )


def _users_own(config: SessionConfig) -> DataSource:
    """The source that the config names as ``module:Name``: an instance, or a class, which is made with the options."""
    settings = config.data
    found = imported("data.source", settings.source, _has_bars)
    if is_source(found) and not settings.options:
        return found  # type: ignore[no-any-return] # an instance that stands in the module
    if not (isinstance(found, type) and _has_bars(found)):
        cure = "is no DataSource; name a class that has bars(symbol, interval, start, end)"
        raise ConfigError([Problem("data.source", settings.source, cure)])
    return made_with(found, settings.options)


def _has_bars(value: Any) -> bool:
    return callable(getattr(value, "bars", None))


class FrameSource:
    """A user's own frames: one, several by symbol, or several by symbol and interval."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:  # noqa: ARG002 - as sources have it
        """The frames by symbol; if the config names symbols, theirs.

        Raises
        ------
        DataError
            If the data has no such symbol, or its keys are no symbols and intervals.
        ConfigError
            If the config names another interval than the shortest of several.
        """
        data, symbols = self._data, config.data.chosen_symbols
        if not isinstance(data, Mapping):
            if parts := by_symbol(data):
                return _in_memory(_chosen(parts, symbols))
            if symbols and len(symbols) > 1:
                raise DataError(
                    f"one DataFrame for {len(symbols)} symbols ({', '.join(symbols)}); pass a mapping {{symbol: DataFrame}}"
                )
            return _in_memory({symbols[0] if symbols else LONE_SYMBOL: data}, chosen=bool(symbols))
        frames = _chosen(data, symbols)
        if not is_nested(data):
            return _in_memory(frames)
        bases = taken_apart(frames)
        if config.data.chosen_interval not in (None, bases.interval):
            cure = f"isn't the shortest interval of the data, {bases.interval}, which orders fill on; leave it out"
            raise ConfigError([Problem("data.interval", config.data.interval, cure)])
        return replace(_in_memory(bases.frames), interval=bases.interval, others=bases.others)


def _in_memory(frames: Mapping[str, Any], *, chosen: bool = True) -> SourceBars:
    """A user's own frames; invented ones are known by their mark, and stay called so."""
    marks = {mark for frame in frames.values() if (mark := getattr(frame, "attrs", {}).get(INVENTED))}
    source = "DataFrame" if len(frames) == 1 else "DataFrames"
    return SourceBars(frames, ", ".join([source, *sorted(marks)]), synthetic=bool(marks), chosen=chosen)


def _chosen(data: Mapping[Any, Any], symbols: tuple[str, ...] | None) -> dict[str, Any]:
    for name in data:
        if not isinstance(name, str) or not name:
            raise DataError(f"{name!r} is no symbol; the mapping's keys are non-empty strings")
    for symbol in symbols or ():
        if symbol not in data:
            raise DataError(f"the data has no symbol {symbol!r}, which the config names; {nearest(symbol, data)}")
    if not data:
        raise DataError("the mapping is empty; give it at least one {symbol: DataFrame}")
    return {symbol: data[symbol] for symbol in symbols or data}
