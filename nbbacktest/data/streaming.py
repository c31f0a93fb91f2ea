"""Bars whose values come chunk by chunk: the choice to stream them, their chunks, and the store of loaded values."""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, Problem
from nbbacktest.core.intervals import LATEST
from nbbacktest.core.records import BarColumns, Float64, Int64, Stamps
from nbbacktest.data.calendar import SessionTable, local_midnights
from nbbacktest.data.files import files_of, given_path, is_dataset, refuse_one_for_all, unreadable
from nbbacktest.data.parquet import ParquetBars, release

IN_MEMORY = 64_000_000
"""Bytes up to which values stay in memory."""

_DROP = getattr(mmap, "MADV_DONTNEED", None)


class ColumnStore:
    """Columns of float64 that are read as arrays and written by rows. One thread writes.

    A file of them is written with plain writes and only mapped to be read: a full disk is an error then, and no signal
    that kills the process. The system may drop what it has of the file in memory at any time and read it again. The file
    is in the folder for temporary files, has no name there, and is gone with the last array.

    Parameters
    ----------
    lengths
        Of each column.

    Attributes
    ----------
    columns : list of float64 array
        Not to be written to; rows that weren't written hold zeros.

    Raises
    ------
    DataError
        If the disk has no room for them.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        ends = np.cumsum([0, *lengths], dtype=np.int64).tolist()
        self._starts = ends[:-1]
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        size = 8 * ends[-1]
        if size <= IN_MEMORY:
            self._values = np.zeros(ends[-1])
        else:
            self._file = _file_of(size)
            self._map = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)
            self._values = np.frombuffer(self._map, dtype=np.float64)
        self.columns = [self._values[start:stop] for start, stop in pairwise(ends)]

    def write(self, column: int, row: int, values: Float64) -> None:
        """Put `values` from `row` on into one column.

        Raises
        ------
        DataError
            If the disk is full.
        """
        place = self._starts[column] + row
        if self._file is None:
            self._values[place : place + len(values)] = values
            return
        try:
            self._file.seek(8 * place)
            left = memoryview(np.ascontiguousarray(values, dtype=np.float64)).cast("B")
            while len(left):
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _no_room(f"{error.strerror}") from error

    def forget(self) -> None:
        """Let the file's pages leave this process's memory; reading brings them back."""
        if self._map is not None and _DROP is not None:
            self._map.madvise(_DROP)

    def close(self) -> None:
        """Write no more; the columns stay."""
        self.forget()
        if self._file is not None:
            self._file.close()


def _file_of(size: int) -> IO[bytes]:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < size:
        raise _no_room(f"it has {free / 1e9:.1f} GB free and needs {size / 1e9:.1f} GB")
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - kept for as long as it is written to
    try:
        file.truncate(size)
    except OSError as error:
        file.close()
        raise _no_room(f"{error.strerror}") from error
    return file


def _no_room(why: str) -> DataError:
    return DataError(
        f"streamed bars are unpacked to the folder for temporary files, {tempfile.gettempdir()}: {why}; make room there, "
        "or set the environment variable TMPDIR to a folder that has it"
    )


CHUNK_BYTES = 64_000_000
"""Values of base bars in a chunk, as near as whole sessions come to it. Whole-column indicators are computed again with
each chunk that is reached, so that few large ones beat many small ones."""

MOST_OPEN = 64
"""Symbols whose files stay open between chunks; of more, each chunk opens and closes its own."""

_VALUES = ("open", "high", "low", "close", "volume")
_BAR_BYTES = 8 * len(_VALUES)


@dataclass(frozen=True, slots=True)
class Streamed:
    """The source of the values of a run's base bars.

    Attributes
    ----------
    sources : dict
        By symbol.
    first : dict
        By symbol, the number of the source's bars that lie before those of the run.
    """

    sources: Mapping[str, ParquetBars]
    first: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Derived:
    """The recipe of one series that is made from base bars.

    Attributes
    ----------
    base : int
        The number of the series that it is made from.
    make : callable
        Makes its bars from any run of base bars that begins at one of `opens`.
    opens : int64 array
        Moments, nanoseconds UTC, rising, at which none of its bars is under way.
    """

    base: int
    make: Callable[[BarColumns], BarColumns]
    opens: Int64


class ColumnChunks:
    """The columns of all series of a run: times whole, values chunk by chunk. See `nbbacktest.engine.loader.Chunks`.

    A chunk holds whole sessions, as many as fit `CHUNK_BYTES`, but at least one; the first one has the warm-up too. A
    derived bar's values come with the chunk that it ends in.

    Parameters
    ----------
    streamed
        The source of base bars' values.
    shapes
        Columns of all series, base bars first, whose times are right and whose values count for nothing.
    derived
        The recipes of the series after the base bars.
    start
        Nanoseconds UTC at which trading begins.
    begins
        Moments at which sessions begin, rising.

    Raises
    ------
    DataError
        If there is no room for the unpacked bars.
    """

    def __init__(
        self, streamed: Streamed, shapes: Sequence[BarColumns], derived: Sequence[Derived], start: int, begins: Int64
    ) -> None:
        self._sources = [streamed.sources[shape.symbol].fresh() for shape in shapes[: len(shapes) - len(derived)]]
        self._first = [streamed.first[source.symbol] for source in self._sources]
        self._derived = tuple(derived)
        self._store = ColumnStore([len(shape) for shape in shapes for _ in _VALUES])
        self.columns = tuple(
            _with_values(shape, self._store.columns[len(_VALUES) * number : len(_VALUES) * (number + 1)])
            for number, shape in enumerate(shapes)
        )
        self.edges = _edges([shape.end for shape in shapes[: len(self._sources)]], start, begins)

    def rows(self, chunk: int) -> list[int]:
        """For each series, the number of rows that have their values after that chunk."""
        if chunk < 0:
            return [0] * len(self.columns)
        return [int(np.searchsorted(columns.end, self.edges[chunk], side="right")) for columns in self.columns]

    def load(self, chunk: int, is_over: Callable[[], bool]) -> bool:
        """Load the chunk after the last one; False if it was given up because `is_over` was true.

        Raises
        ------
        DataError
            If bars are faulty, or can't be read.
        """
        before, after = self.rows(chunk - 1), self.rows(chunk)
        for number, source in enumerate(self._sources):
            if is_over():
                return False
            start, stop, skipped = before[number], after[number], self._first[number]
            if start < stop:
                self._write(number, start, source.read(skipped + start, skipped + stop))
            if start < stop and len(self._sources) > MOST_OPEN:
                source.close()
        for number, how in enumerate(self._derived, start=len(self._sources)):
            if is_over():
                return False
            self._derive(number, how, before[number], after[number], after[how.base])
        self._store.forget()
        release()
        return True

    def close(self) -> None:
        """Close all files; the columns stay."""
        for source in self._sources:
            source.close()
        self._store.close()
        release()

    def _derive(self, number: int, how: Derived, start: int, stop: int, loaded: int) -> None:
        """Make the bars from `start` up to `stop` from those of the `loaded` base bars that surely hold theirs."""
        if start == stop:
            return
        base, own = self.columns[how.base], self.columns[number]
        # A bar's last base bar ends with it at the latest, so that it began in the bar's own session.
        opened = int(np.searchsorted(how.opens, own.end[start] - base.interval.ns, side="right")) - 1
        row = int(np.searchsorted(base.time, how.opens[opened])) if opened >= 0 else 0
        made = how.make(base.slice(row, loaded))
        skipped = start - int(np.searchsorted(own.time, made.time[0]))
        part = made.slice(skipped, skipped + stop - start)
        self._write(number, start, {name: getattr(part, name) for name in _VALUES})

    def _write(self, number: int, row: int, values: Mapping[str, Float64]) -> None:
        for place, name in enumerate(_VALUES):
            self._store.write(number * len(_VALUES) + place, row, values[name])


def _with_values(shape: BarColumns, values: Sequence[Float64]) -> BarColumns:
    opened, high, low, close, volume = values
    return replace(shape, open=opened, high=high, low=low, close=close, volume=volume)


def days_of(columns: Sequence[BarColumns], stamps: Stamps, sessions: SessionTable | None) -> Int64:
    """The begins of sessions; midnights without an exchange."""
    if sessions is not None:
        return sessions.open
    first = min(int(c.time[0]) for c in columns)
    last = max(int(c.end[-1]) for c in columns)
    low, high = (np.datetime64(ns, "ns").astype("datetime64[D]") for ns in (first, last))
    return local_midnights(np.arange(low, high + np.timedelta64(2, "D")), stamps.day_zone)


def _edges(ends: Sequence[Int64], start: int, begins: Int64) -> Int64:
    """The moments up to which chunks go: begins of sessions, and a last one after all bars."""
    moments = np.append(begins[begins > start], LATEST)
    done_by = np.sum([np.searchsorted(end, moments, side="right") for end in ends], axis=0)
    warm = sum(int(np.searchsorted(end, start, side="right")) for end in ends)
    done, budget, edges = warm, CHUNK_BYTES // _BAR_BYTES, []
    if len(moments) == 1:
        return moments
    while done < done_by[-1]:
        at_least = int(np.searchsorted(done_by, done, side="right"))
        fits = int(np.searchsorted(done_by, done + budget, side="right")) - 1
        edges.append(moments[max(at_least, fits)])
        done = int(done_by[max(at_least, fits)])
    edges[-1] = LATEST
    return np.array(edges, dtype=np.int64)


STREAM_ABOVE = 200_000_000
"""Bytes of bars, unpacked, above which files are streamed unless the config says otherwise."""

_HEAD = 1_000
_ROW_BYTES = 48  # time and five values


@dataclass(frozen=True, slots=True)
class StreamedBars:
    """Streamed bars by symbol, with their names in errors, and the name of the whole in reports."""

    sources: dict[str, ParquetBars]
    files: dict[str, str]
    source: str
    paths: dict[str, tuple[str, ...]]

    def heads(self) -> dict[str, Any]:
        """The first rows of each symbol as frames, with all of their columns, to check these."""
        import pyarrow.parquet as pq

        found = {}
        for symbol, several in self.paths.items():
            with pq.ParquetFile(several[0]) as file:
                rows = next(file.iter_batches(batch_size=_HEAD), None)
            if rows is not None:
                found[symbol] = rows.to_pandas()
        return found

    def cut(self, every: Mapping[str, BarColumns], kept: Mapping[str, BarColumns]) -> Streamed:
        """The source of the values of the bars that were kept."""
        first = {s: int(np.searchsorted(every[s].time, c.time[0])) if len(c) else 0 for s, c in kept.items()}
        return Streamed(self.sources, first)


def streamed_bars(config: SessionConfig, data: Any) -> StreamedBars | None:
    """The bars that a run streams; None if it loads them whole.

    Raises
    ------
    ConfigError
        If the config asks to stream bars that can't be streamed.
    DataError
        If files are missing or can't be read.
    """
    settings = config.data
    # Rows that are left out, and bars that are compared with others, must be known before the first instant.
    if settings.stream is False or settings.quality.faults != "refuse" or settings.other_bases:
        return None
    symbols: tuple[str, ...]
    chosen = True
    if data is None and settings.source == "parquet":
        path, symbols = settings.path or "", settings.symbols
    elif isinstance(data, (str, Path)):
        named = config.data.chosen_symbols
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


def _refuse_wish(config: SessionConfig, cure: str) -> None:
    if config.data.stream:
        raise ConfigError([Problem("data.stream", config.data.stream, cure)])


def _bytes(found: Mapping[str, tuple[str, ...]]) -> int:
    """The bytes of the bars once they are unpacked."""
    import pyarrow.parquet as pq

    rows = 0
    for path in (path for several in found.values() for path in several):
        try:
            rows += pq.read_metadata(path).num_rows
        except Exception as error:
            raise unreadable(path, error) from error
    return rows * _ROW_BYTES
