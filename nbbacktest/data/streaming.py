"""Which bars are streamed, and from where: decided here, before anything but files' sizes is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, Problem
from nbbacktest.core.records import BarColumns
from nbbacktest.data import files
from nbbacktest.data.chunks import Streamed
from nbbacktest.data.dataset import files_of, is_dataset, refuse_one_for_all, symbols_in, unreadable
from nbbacktest.data.parquet import ParquetBars

STREAM_ABOVE = 200_000_000
"""Bytes of bars, unpacked, above which files are streamed unless the config says otherwise."""

_HEAD = 1_000
_ROW_BYTES = 48  # time and five values


@dataclass(frozen=True, slots=True)
class StreamedBars:
    """What is streamed: by symbol, the bars and what errors call them; and what reports call it all."""

    sources: dict[str, ParquetBars]
    files: dict[str, str]
    source: str
    paths: dict[str, tuple[str, ...]]

    def heads(self) -> dict[str, Any]:
        """The first rows of each symbol as frames, with all of their columns: what its columns say can be seen there."""
        import pyarrow.parquet as pq

        found = {}
        for symbol, several in self.paths.items():
            with pq.ParquetFile(several[0]) as file:
                rows = next(file.iter_batches(batch_size=_HEAD), None)
            if rows is not None:
                found[symbol] = rows.to_pandas()
        return found

    def cut(self, every: Mapping[str, BarColumns], kept: Mapping[str, BarColumns]) -> Streamed:
        """Where the values of the bars are that were kept of all."""
        first = {s: int(np.searchsorted(every[s].time, c.time[0])) if len(c) else 0 for s, c in kept.items()}
        return Streamed(self.sources, first)


def streamed_bars(config: SessionConfig, data: Any) -> StreamedBars | None:
    """The bars that a run streams; None where it loads them whole.

    Raises
    ------
    ConfigError
        Where the config asks to stream what can't be.
    DataError
        Where files are missing or can't be read.
    """
    settings = config.data
    # Rows that are left out must be known before the first instant, and so must what other bars are compared with.
    if settings.stream is False or settings.quality.faults != "refuse" or settings.other_bases:
        return None
    symbols: tuple[str, ...]
    chosen = True
    if data is None and settings.source == "parquet":
        path, symbols = settings.path or "", settings.symbols
    elif isinstance(data, (str, Path)):
        named = symbols_set(config)
        path, kind, symbols = given_path(data, named)
        chosen = named is not None or is_dataset(path, symbols)
        if kind != "parquet":
            _refuse_wish(config, f"{path} is no Parquet file; bring one, or leave this out")
            return None
    else:
        _refuse_wish(config, "only Parquet files are streamed; bring their path, or leave this out")
        return None
    refuse_one_for_all(path, symbols)
    found = {symbol: files_of(path, symbol) for symbol in symbols}
    if settings.stream is None and not is_dataset(path, symbols) and _bytes(found) <= STREAM_ABOVE:
        return None
    names = {symbol: several[0] if len(several) == 1 else path for symbol, several in found.items()}
    sources = {symbol: ParquetBars(symbol, several, names[symbol], chosen=chosen) for symbol, several in found.items()}
    return StreamedBars(sources, names, Path(path).name, found)


def symbols_set(config: SessionConfig) -> tuple[str, ...] | None:
    """The symbols where someone chose them."""
    return config.data.symbols if "symbols" in config.data.model_fields_set else None


def given_path(data: str | Path, symbols: tuple[str, ...] | None) -> tuple[str, files.FileKind, tuple[str, ...]]:
    """What a path means that a Python user hands over: path, kind and symbols.

    Raises
    ------
    DataError
        Where the symbols aren't known, or it is one file for several.
    """
    path = str(data)
    if "{symbol}" in path and not symbols:
        raise DataError(f"{path}: no symbols are set; name them in the config's data.symbols")
    if is_dataset(path, symbols or ()):
        return path, "parquet", symbols or symbols_in(path)
    if "{symbol}" not in path and symbols and len(symbols) > 1:
        raise DataError(f"{path} is one file for {len(symbols)} symbols; put {{symbol}} in the path")
    return path, files.kind_of(path), symbols or (files.stem_of(path),)


def _refuse_wish(config: SessionConfig, cure: str) -> None:
    if config.data.stream:
        raise ConfigError([Problem("data.stream", config.data.stream, cure)])


def _bytes(found: Mapping[str, tuple[str, ...]]) -> int:
    """How large the bars are once they are unpacked."""
    import pyarrow.parquet as pq

    rows = 0
    for path in (path for several in found.values() for path in several):
        try:
            rows += pq.read_metadata(path).num_rows
        except Exception as error:
            raise unreadable(path, error) from error
    return rows * _ROW_BYTES
