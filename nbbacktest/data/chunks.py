"""A run's columns whose values come chunk by chunk: what a chunk is, and how base and derived bars of it are filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nbbacktest.core.records import BarColumns, Float64, Int64, Stamps
from nbbacktest.data.calendar import SessionTable, local_midnights
from nbbacktest.data.parquet import ParquetBars, release
from nbbacktest.data.store import ColumnStore

CHUNK_BYTES = 64_000_000
"""Values of base bars in a chunk, as near as whole sessions come to it. Whole-column indicators are computed again with
each chunk that is reached, so that few large ones beat many small ones."""

MOST_OPEN = 64
"""Symbols whose files stay open between chunks; of more, each chunk opens and closes its own."""

_VALUES = ("open", "high", "low", "close", "volume")
_BAR_BYTES = 8 * len(_VALUES)
_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Streamed:
    """Where the values of a run's base bars are.

    Attributes
    ----------
    sources : dict
        By symbol.
    first : dict
        By symbol, how many of the source's bars lie before those of the run.
    """

    sources: Mapping[str, ParquetBars]
    first: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Derived:
    """How one series is made from base bars.

    Attributes
    ----------
    base : int
        The number of the series that it is made from.
    make : callable
        Makes its bars from any run of base bars that begins where one of `opens` does.
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
        Where base bars' values are.
    shapes
        Columns of all series, base bars first, whose times are right and whose values count for nothing.
    derived
        How those after the base bars are made.
    start
        Nanoseconds UTC at which trading begins.
    begins
        Moments at which sessions begin, rising.

    Raises
    ------
    DataError
        Where there is no room for what is to be unpacked.
    """

    def __init__(
        self, streamed: Streamed, shapes: Sequence[BarColumns], derived: Sequence[Derived], start: int, begins: Int64
    ) -> None:
        self._sources = [streamed.sources[shape.symbol] for shape in shapes[: len(shapes) - len(derived)]]
        self._first = [streamed.first[source.symbol] for source in self._sources]
        self._derived = tuple(derived)
        self._store = ColumnStore([len(shape) for shape in shapes for _ in _VALUES])
        self.columns = tuple(
            _with_values(shape, self._store.columns[len(_VALUES) * number : len(_VALUES) * (number + 1)])
            for number, shape in enumerate(shapes)
        )
        self.edges = _edges([shape.end for shape in shapes[: len(self._sources)]], start, begins)

    def rows(self, chunk: int) -> list[int]:
        """For each series, how many rows have their values after that chunk."""
        if chunk < 0:
            return [0] * len(self.columns)
        return [int(np.searchsorted(columns.end, self.edges[chunk], side="right")) for columns in self.columns]

    def load(self, chunk: int, is_over: Callable[[], bool]) -> bool:
        """Bring in the chunk after the last one; False where it was given up since `is_over`.

        Raises
        ------
        DataError
            Where bars are faulty, or can't be read.
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
    """When sessions begin; where there is no exchange, the midnights."""
    if sessions is not None:
        return sessions.open
    first = min(int(c.time[0]) for c in columns)
    last = max(int(c.end[-1]) for c in columns)
    low, high = (np.datetime64(ns, "ns").astype("datetime64[D]") for ns in (first, last))
    return local_midnights(np.arange(low, high + np.timedelta64(2, "D")), stamps.day_zone)


def _edges(ends: Sequence[Int64], start: int, begins: Int64) -> Int64:
    """Up to which moments chunks go: beginnings of sessions, and the last one behind everything."""
    moments = np.append(begins[begins > start], _END)
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
    edges[-1] = _END
    return np.array(edges, dtype=np.int64)
