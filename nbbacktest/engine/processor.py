"""The DataProcessor: turns planned windows into bars for the analysis, and waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from nbbacktest.core.records import Bar, DerivedBar
from nbbacktest.engine.gate import Gate
from nbbacktest.engine.loader import ChunkLoader
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.engine.series import Series
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Axis, Timeline
from nbbacktest.engine.window import Batch, Link, Quantum, Window


class DataProcessor:
    """Second stage. Its work runs ahead of the cursor by one window at most, and can't be seen from there.

    Attributes
    ----------
    batch : Batch or None
        What it hands over. Written here before the signal, read by the analysis before its reset.
    timing : TimingSeries
        One duration a window; waiting is left out.
    """

    def __init__(
        self,
        timeline: Timeline,
        gate: Gate,
        upstream: Link,
        downstream: StreamSubscription,
        quantum: Quantum,
        loader: ChunkLoader | None = None,
    ) -> None:
        self._timeline = timeline
        self._gate = gate
        self._upstream = upstream
        self._downstream = downstream
        self._quantum = quantum
        self._loader = loader
        self._ahead: tuple[Axis, int, list[int]] | None = None  # the next window's axis, start and rows, most likely
        self.batch: Batch | None = None
        self.timing = TimingSeries()

    def work(self) -> None:
        """Serve windows until the coordinator or the analysis is gone. The body of a thread."""
        inbox = self._upstream.subscription
        try:
            while inbox.wait_until_ready() and self._serve_released():
                pass
        finally:
            inbox.close()
            self._downstream.close()

    def _serve_released(self) -> bool:
        """Hand over all that was released; False where nobody takes it any more."""
        while (window := self._upstream.take(self._gate.generation, self._quantum.length)) is not None:
            for batch in self.batches(window):
                self.batch = batch
                self._downstream.signal_ready()
                if not self._downstream.wait_until_reset():
                    return False
        return True

    def batches(self, window: Window) -> Iterator[Batch]:
        """A window's batches: one, but where it crosses into bars that are loaded later, which are waited for.

        Ask for the next one when the last one was processed.

        Raises
        ------
        DataError
            Where those bars can't be loaded, or are wrong.
        """
        loader = self._loader
        while window.start < window.stop:
            piece, reveal = window, None
            if loader is not None:
                chunk, stop = loader.reach(self._timeline.axis, window.start)
                # A window that was given up, maybe for other instants, isn't gone on with.
                if loader.closed or self._gate.generation != window.generation:
                    return
                piece, reveal = window._replace(stop=min(stop, window.stop)), partial(loader.reveal, chunk)
            began = perf_counter()
            batch = self.prepare(piece)
            self.timing.add(perf_counter() - began)
            yield batch if reveal is None else batch._replace(reveal=reveal)
            window = window._replace(start=piece.stop)

    def prepare(self, window: Window) -> Batch:
        """Cut a window's columns out of all series."""
        start, stop = window.start, window.stop
        axis, ahead = self._timeline.axis, self._ahead
        series = axis.series
        rows = ahead[2] if ahead is not None and ahead[0] is axis and ahead[1] == start else axis.rows_at(start)
        if axis.events is None or axis.offsets is None:
            first = rows[0]
            self._ahead = axis, stop, [first + stop - start]
            return Batch(window, axis, _bars(series[0], first, first + stop - start), [], iter(()), iter(()))
        offsets = axis.offsets[start : stop + 1]
        events = axis.events[offsets[0] : offsets[-1]]
        present = np.bincount(events, minlength=len(series)).tolist()
        streams = [
            _bars(one, first, first + count).__next__ if count else _exhausted
            for one, first, count in zip(series, rows, present, strict=True)
        ]
        self._ahead = axis, stop, [first + count for first, count in zip(rows, present, strict=True)]
        counts = (offsets[1:] - offsets[:-1]).tolist()
        return Batch(window, axis, iter(()), streams, iter(events.tolist()), iter(counts))


def _bars(series: Series, start: int, stop: int) -> map[Bar]:
    # No bytecode runs for a bar before its strategy does: C code reads the columns as plain numbers and zips them. Only
    # one bar exists at a time, so that the garbage collector has nothing to count. Lists in place of memoryviews
    # cost 36 ns a bar more (their numbers leave the processor's cache), and `tuple.__new__` in place of the class 23.
    c, cut = series.whole, slice(start, stop)
    columns = (c.time, c.end, c.open, c.high, c.low, c.close, c.volume)
    fields: tuple[Iterable[Any], ...] = (
        repeat(series.symbol), repeat(series.interval), *[column[cut].data for column in columns], repeat(series.stamps),
    )  # fmt: skip
    if c.base_count is None or c.expected_count is None:
        return map(Bar, zip(*fields, strict=False))
    return map(DerivedBar, zip(*fields, c.base_count[cut].data, c.expected_count[cut].data, strict=False))


def _exhausted() -> Bar:
    raise StopIteration
