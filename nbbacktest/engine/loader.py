"""Loads the values of bars into a run's columns chunk by chunk, ahead of the cursor. It knows no file and no format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import BarColumns, Int64
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Axis


class Chunks(Protocol):
    """Columns whose times are known and whose values come in chunks, each complete up to an instant.

    Attributes
    ----------
    columns : sequence of BarColumns
        The whole columns of each series; rows that aren't loaded have no meaning.
    edges : int64 array
        For each chunk, nanoseconds UTC: after it, all bars that end up to there have their values. The last edge lies
        behind all bars.
    """

    @property
    def columns(self) -> Sequence[BarColumns]:
        """See `Chunks`."""
        ...

    @property
    def edges(self) -> Int64:
        """See `Chunks`."""
        ...

    def rows(self, chunk: int) -> Sequence[int]:
        """For each series, the number of rows that have their values after that chunk."""
        ...

    def load(self, chunk: int, is_over: Callable[[], bool]) -> bool:
        """Load the next chunk; False if it gave up because `is_over`, which it calls often, was true."""
        ...

    def close(self) -> None:
        """Close the source; the columns stay."""
        ...


class ChunkLoader:
    """Loads the chunks of one run in the background, each once, for all of its worlds.

    Parameters
    ----------
    chunks
        The chunks to load. Their source is closed when all are loaded or the run is over.
    loaded
        The number of chunks that are loaded already.

    Raises
    ------
    DataError
        If the first chunk can't be loaded, which is done at once: it has the warm-up.
    """

    AHEAD = 1  # chunks that are loaded before anything in them is needed

    def __init__(self, chunks: Chunks, loaded: int = 0) -> None:
        self.chunks = chunks
        # Guards all fields below.
        self._changed = Monitor()
        self._loaded = loaded
        self._wanted = 0
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self.obtain(0)

    def again(self) -> ChunkLoader | None:
        """Another run's loader of the same chunks, if all of them are loaded."""
        count = len(self.chunks.edges)
        return ChunkLoader(self.chunks, count) if self._loaded == count else None

    # -- the thread -----------------------------------------------------------------------------------------

    def work(self) -> None:
        """Load ahead until all is loaded or the run is over. The body of a thread; `reach` raises its errors."""
        while True:
            self._changed.until(self._may_load_ahead)
            with self._changed.lock:
                if not self._may_load_ahead():
                    continue  # another was faster
                if self._closed or self._error is not None or self._loaded == len(self.chunks.edges):
                    return
                self._busy = True
            self._load(self._loaded)

    # -- any thread -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wake the threads that wait; nothing is loaded any more."""
        with self._changed.lock:
            self._closed = True
            self._changed.notify_all()
            if self._busy:
                return  # the thread that loads closes the source
        self.chunks.close()

    @property
    def closed(self) -> bool:
        """True if the run is over."""
        return self._closed

    def obtain(self, chunk: int) -> None:
        """Wait until a chunk is loaded; loads chunks that no other thread is loading. Returns early if the run is over.

        Raises
        ------
        DataError
            If it can't be loaded.
        """
        while True:
            with self._changed.lock:
                if chunk > self._wanted:
                    self._wanted = chunk
                    self._changed.notify_all()
            self._changed.until(lambda: self._closed or self._loaded > chunk or not self._busy)
            with self._changed.lock:
                if self._closed or self._loaded > chunk:
                    return
                if self._busy:
                    continue  # another was faster
                if self._error is not None:
                    raise self._error
                self._busy = True
            self._load(self._loaded)

    # -------------------------------------------------------------------------------------------------------

    def _may_load_ahead(self) -> bool:
        over = self._closed or self._error is not None or self._loaded == len(self.chunks.edges)
        return over or (not self._busy and self._loaded <= self._wanted + self.AHEAD)

    def _load(self, chunk: int) -> None:
        """Load the next chunk, by the one thread that has set `_busy`."""
        done, error = False, None
        try:
            done = self.chunks.load(chunk, lambda: self._closed)
        except BaseException as problem:  # noqa: BLE001 - raised where the chunk is needed
            error = problem
        with self._changed.lock:
            self._busy = False
            self._error = error
            self._loaded += done
            over = self._closed or error is not None or self._loaded == len(self.chunks.edges)
            self._changed.notify_all()
        if over:
            self.chunks.close()


class ShownChunks:
    """Shows the series of one world the chunks that its cursor has come to.

    Bars become visible to strategies and indicators by `reveal` alone, which the analysis calls at a chunk's first
    instant: the values that a run reads never depend on the progress of the loader.

    Parameters
    ----------
    loader
        Of the world's run.
    series
        The world's, in the order of `Chunks.columns`.

    Attributes
    ----------
    loader : ChunkLoader
    """

    def __init__(self, loader: ChunkLoader, series: Sequence[Series]) -> None:
        self.loader = loader
        self._series = tuple(series)
        # the number of the instant at which each chunk ends; used by one thread, that which asks for batches
        self._edges: tuple[Axis, list[int]] | None = None
        self._revealed = -1  # once the analysis has a thread, it alone writes this
        for one, whole in zip(self._series, loader.chunks.columns, strict=True):
            one.hold_part(whole, 0)
        self.reveal(0)

    def reach(self, axis: Axis, instant: int) -> tuple[int, int]:
        """Wait until the instant numbered `instant` is loaded; returns its chunk, and the first instant after that chunk.

        Called by one thread, that which asks for batches. Returns early if the run is over.

        Raises
        ------
        DataError
            If it can't be loaded.
        """
        if self._edges is None or self._edges[0] is not axis:
            edges = self.loader.chunks.edges
            self._edges = axis, np.searchsorted(axis.instants, edges, side="right").tolist()
        ends = self._edges[1]
        chunk = int(np.searchsorted(ends, instant, side="right"))
        self.loader.obtain(chunk)
        return chunk, ends[chunk]

    def show(self, moment: int) -> None:
        """Wait for the chunk of an instant, nanoseconds UTC, and let series show it: a world begins there."""
        chunk = int(np.searchsorted(self.loader.chunks.edges, moment))
        self.loader.obtain(chunk)
        self.reveal(chunk)

    def reveal(self, chunk: int) -> None:
        """Let series show the bars of `chunk`; for the analysis, at its first instant."""
        if chunk > self._revealed:
            self._revealed = chunk
            for series, rows in zip(self._series, self.loader.chunks.rows(chunk), strict=True):
                series.hold_part(series.whole, rows)
