"""The DataProcessor: turns planned windows into bars for the analysis, and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, repeat
from operator import is_
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import Bar, DerivedBar
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.loader import ShownChunks
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.engine.series import Series
from nbbacktest.engine.subscription import Link, StreamSubscription
from nbbacktest.engine.timeline import Axis, Timeline, Window

_PIECE = 8_192


class Batch(NamedTuple):
    """A window's bars, made one by one while they are drawn.

    Attributes
    ----------
    axis : Axis
        The axis that its instants are numbered on.
    bars : iterator of Bar
        All bars in order, if the run has a single series; else empty.
    streams : list
        Otherwise, for each series, the function that makes its next bar.
    events, counts : iterators of int
        Otherwise, the number of the series for each bar, and how many bars complete at each instant.
    reveal : callable or None
        Called by the analysis before it delivers; makes bars visible that were loaded during the run.
    """

    window: Window
    axis: Axis
    bars: Iterator[Bar]
    streams: list[Callable[[], Bar]]
    events: Iterator[int]
    counts: Iterator[int]
    reveal: Callable[[], object] | None = None


class DataProcessor:
    """The second stage of a run. It works one window ahead of the cursor at most, and strategies can't see that.

    Attributes
    ----------
    batch : Batch or None
        The batch that is handed over. Written here before the signal, read by the analysis before its reset.
    error : BaseException or None
        The error that it failed by. Written by its thread, once, before it closes its streams: a thread that finds them
        closed finds the error.
    timing : TimingSeries
        One duration a window; waiting is left out.
    """

    def __init__(
        self,
        timeline: Timeline,
        gate: RunGate,
        upstream: Link,
        downstream: StreamSubscription,
        chunks: ShownChunks | None = None,
    ) -> None:
        self._timeline = timeline
        self._gate = gate
        self._upstream = upstream
        self._downstream = downstream
        self._chunks = chunks
        self._ahead: _Ahead | None = None
        self.batch: Batch | None = None
        self.error: BaseException | None = None
        self.timing = TimingSeries()

    def work(self) -> None:
        """Serve windows until the coordinator or the analysis is gone. The body of a thread.

        Raises
        ------
        DataError
            As `batches` does.
        """
        inbox = self._upstream.subscription
        try:
            while inbox.wait_until_ready() and self._serve_released():
                pass
        except BaseException as error:
            self.error = error
            raise
        finally:
            inbox.close()
            self._downstream.close()

    def _serve_released(self) -> bool:
        """Hand over all released instants; False if the analysis takes no more."""
        while (window := self._upstream.take(self._gate.generation)) is not None:
            for batch in self.batches(window):
                self.batch = batch
                self._downstream.signal_ready()
                if not self._downstream.wait_until_reset():
                    return False
        return True

    def batches(self, window: Window) -> Iterator[Batch]:
        """The batches of a window: one, or several if it waits for bars of the window to be loaded.

        Ask for the next one when the last one is processed.

        Raises
        ------
        DataError
            If those bars can't be loaded, or are wrong.
        """
        chunks = self._chunks
        while window.start < window.stop:
            piece, reveal = window, None
            if chunks is not None:
                chunk, stop = chunks.reach(self._timeline.axis, window.start)
                # The window may have been given up, even for other instants: then the rest of it isn't handed over.
                if chunks.loader.closed or self._gate.generation != window.generation:
                    return
                piece, reveal = window._replace(stop=min(stop, window.stop)), partial(chunks.reveal, chunk)
            began = perf_counter()
            batch = self.prepare(piece)
            self.timing.add(perf_counter() - began)
            yield batch if reveal is None else batch._replace(reveal=reveal)
            window = window._replace(start=piece.stop)

    def take_over(self, chunks: ShownChunks | None) -> None:
        """Go on with the bars of another world; windows that were planned before are given up."""
        self._chunks = chunks
        self._ahead = None

    def prepare(self, window: Window) -> Batch:
        """Lay out a window's bars of all series."""
        start, stop = window.start, window.stop
        axis, ahead = self._timeline.axis, self._ahead
        series = axis.series
        if axis.events is None or axis.offsets is None:
            first = axis.rows_at(start)[0]
            return Batch(window, axis, bars_of(series[0], first, first + stop - start), [], iter(()), iter(()))
        if ahead is None or not ahead.begins(axis, start):
            ahead = _Ahead(axis, start)
        self._ahead = ahead
        ahead.start = stop
        offsets = axis.offsets[start : stop + 1]
        events = axis.events[offsets[0] : offsets[-1]]
        ahead.lay_out(events)
        counts = offsets[1:] - offsets[:-1]
        return Batch(window, axis, iter(()), ahead.streams, _plain(events), _plain(counts))


class _Ahead:
    """The bars of several series from an instant on: windows that follow one another draw on the same ones.

    Making them anew for each window would cost 20 us a series, half the time of a run of 100 symbols.

    Attributes
    ----------
    start : int
        The instant at which the next window must begin. A window that begins there finds all earlier bars drawn; after
        a window that was given up, the next one begins elsewhere.
    streams : list
        For each series, the function that makes its next bar.
    """

    __slots__ = ("_axis", "_columns", "_missing", "_rows", "start", "streams")

    def __init__(self, axis: Axis, start: int) -> None:
        self._axis = axis
        self._columns = [one.whole for one in axis.series]
        self._rows = axis.rows_at(start)
        self._missing = len(self._rows)
        self.start = start
        self.streams: list[Callable[[], Bar]] = [_exhausted] * self._missing

    def begins(self, axis: Axis, start: int) -> bool:
        """True if the streams stand at that instant of that axis, over the columns that its series have now."""
        if start != self.start or axis is not self._axis:
            return False
        return all(map(is_, [one.whole for one in axis.series], self._columns))

    def lay_out(self, events: npt.NDArray[np.int32]) -> None:
        """Make the streams of the series that complete bars now and have none yet; a live run asks for few of them."""
        if not self._missing:
            return
        for number in np.flatnonzero(np.bincount(events)).tolist():
            if self.streams[number] is _exhausted:
                one = self._axis.series[number]
                self.streams[number] = bars_of(one, self._rows[number], len(one.whole)).__next__
                self._missing -= 1


def bars_of(series: Series, start: int, stop: int) -> Iterator[Bar]:
    """The bars of these rows, each made when it is drawn."""
    if series.made is not None:
        return iter(series.made[start:stop])
    # No bytecode runs for a bar before its strategy does: C code reads the columns as plain numbers. Only one bar exists
    # at a time, and none that the garbage collector counts. Lists in place of memoryviews cost 36 ns a bar more: their
    # numbers leave the processor's cache.
    c, cut = series.whole, slice(start, stop)
    columns = (c.time, c.end, c.open, c.high, c.low, c.close, c.volume)
    fields: tuple[Iterable[Any], ...] = (
        repeat(series.symbol), repeat(series.interval), *[column[cut].data for column in columns], repeat(series.stamps),
    )  # fmt: skip
    if c.base_count is None or c.expected_count is None:
        return map(Bar, *fields)
    return map(DerivedBar, *fields, c.base_count[cut].data, c.expected_count[cut].data)


def _plain(numbers: npt.NDArray[np.signedinteger[Any]]) -> Iterator[int]:
    """The values as plain ints, made in pieces, since a window may have many."""
    return chain.from_iterable(numbers[at : at + _PIECE].tolist() for at in range(0, len(numbers), _PIECE))


def _exhausted() -> Bar:
    raise StopIteration
