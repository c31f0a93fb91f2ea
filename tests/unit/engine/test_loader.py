"""The loader: what is loaded when, who sees it when, and how waits end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Stamps
from nbbacktest.engine.loader import ChunkLoader, ShownChunks
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import merged
from tests.rig import START, columns

MINUTE = 60 * 10**9


class Chunks:
    """Chunks of ten bars of one symbol that are there already; loading one may be made to wait or to fail."""

    def __init__(self, count: int = 4) -> None:
        self.columns = (columns("EXE", range(10 * count)),)
        self.edges = np.array([START + 10 * (k + 1) * MINUTE for k in range(count - 1)] + [np.iinfo(np.int64).max])
        self.loaded: list[int] = []
        self.faulty: int | None = None
        self.gates: dict[int, threading.Event] = {}
        self.entered: dict[int, threading.Event] = {k: threading.Event() for k in range(count)}
        self.closed = 0

    def rows(self, chunk: int) -> list[int]:
        return [10 * (chunk + 1)]

    def load(self, chunk, is_over) -> bool:
        self.entered[chunk].set()
        if chunk in self.gates:
            self.gates[chunk].wait()
        if is_over():
            return False
        if chunk == self.faulty:
            raise DataError("EXE: high is below low")
        self.loaded.append(chunk)
        return True

    def close(self) -> None:
        self.closed += 1


def made(chunks: Chunks) -> tuple[Series, ShownChunks]:
    series = Series(chunks.columns[0], Stamps("UTC"), is_base=True)
    return series, ShownChunks(ChunkLoader(chunks), [series])


@pytest.fixture
def working():
    """Start a loader's thread; it is closed and joined at the end."""
    started: list[tuple[ChunkLoader, threading.Thread]] = []

    def start(loader: ChunkLoader) -> threading.Thread:
        thread = threading.Thread(target=loader.work, name="nbbacktest-test-loader", daemon=True)
        started.append((loader, thread))
        thread.start()
        return thread

    yield start
    for loader, thread in started:
        loader.close()
        thread.join(5)
        assert not thread.is_alive()


def test_first_chunk_is_there_from_the_beginning_and_no_more_of_it_is_seen():
    """Making the loader loads the first chunk; the series holds that, and says that more may come."""
    chunks = Chunks()
    series, _ = made(chunks)
    assert chunks.loaded == [0]
    assert len(series.columns) == 10
    assert len(series.whole) == 40
    assert series.is_open


def test_without_a_thread_what_is_needed_is_loaded_by_whoever_needs_it():
    """No thread has to be there: asking for an instant loads the chunks up to it."""
    chunks = Chunks()
    series, shown = made(chunks)
    axis = merged([series])
    assert shown.reach(axis, 0) == (0, 10)
    assert chunks.loaded == [0]
    assert shown.reach(axis, 25) == (2, 30)
    assert chunks.loaded == [0, 1, 2]


def test_thread_runs_ahead_by_one_chunk(working):
    """The thread loads what comes after the chunk that was asked for, and then waits."""
    chunks = Chunks()
    chunks.gates[2] = threading.Event()
    series, shown = made(chunks)
    axis = merged([series])
    working(shown.loader)
    assert chunks.entered[1].wait(5)
    shown.reach(axis, 15)  # the chunk after this one is begun, though nobody asks for it
    assert chunks.entered[2].wait(5)
    assert not chunks.entered[3].is_set()
    chunks.gates[2].set()
    shown.reach(axis, 35)
    assert chunks.loaded == [0, 1, 2, 3]


def test_loading_alone_shows_nothing():
    """Loaded bars are seen from `reveal` on; the last chunk closes the series."""
    chunks = Chunks()
    series, shown = made(chunks)
    shown.reach(merged([series]), 39)
    assert len(series.columns) == 10
    shown.reveal(1)
    assert len(series.columns) == 20
    assert series.is_open
    shown.reveal(0)
    assert len(series.columns) == 20
    shown.reveal(3)
    assert len(series.columns) == 40
    assert not series.is_open


def test_another_world_of_the_run_sees_what_is_loaded_as_far_as_its_own_cursor():
    """Nothing is loaded a second time, and each world has the same columns."""
    chunks = Chunks()
    series, shown = made(chunks)
    shown.reach(merged([series]), 25)
    shown.reveal(2)
    other = Series(chunks.columns[0], Stamps("UTC"), is_base=True)
    again = ShownChunks(shown.loader, [other])
    assert (len(series.columns), len(other.columns)) == (30, 10)
    assert again.reach(merged([other]), 15) == (1, 20)
    again.reveal(1)
    assert (len(series.columns), len(other.columns)) == (30, 20)
    assert other.whole is series.whole
    assert again.reach(merged([other]), 35) == (3, 40)
    assert chunks.loaded == [0, 1, 2, 3]


def test_another_run_of_the_same_chunks_has_them_if_all_were_loaded():
    """Else it has to load them by itself."""
    chunks = Chunks()
    series, shown = made(chunks)
    assert shown.loader.again() is None
    shown.reach(merged([series]), 35)
    shown.loader.close()
    again = ShownChunks(shown.loader.again(), [series])
    assert not again.loader.closed
    assert again.reach(merged([series]), 35) == (3, 40)
    assert chunks.loaded == [0, 1, 2, 3]


def test_faulty_chunk_is_an_error_where_it_is_needed_and_not_before(working):
    """A chunk that can't be loaded ahead leaves what comes before it alone."""
    chunks = Chunks()
    chunks.faulty = 1
    series, shown = made(chunks)
    axis = merged([series])
    thread = working(shown.loader)
    thread.join(5)
    assert not thread.is_alive()
    assert shown.reach(axis, 9) == (0, 10)
    with pytest.raises(DataError, match="high is below low"):
        shown.reach(axis, 10)
    assert chunks.closed


def test_close_wakes_whoever_waits_for_a_chunk(working):
    """A wait for a chunk that takes long ends when the run does; the source is let go of when the load returns."""
    chunks = Chunks()
    chunks.gates[1] = threading.Event()
    series, shown = made(chunks)
    thread = working(shown.loader)
    assert chunks.entered[1].wait(5)
    waiting = threading.Thread(target=shown.reach, args=(merged([series]), 15), daemon=True)
    waiting.start()
    shown.loader.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert not chunks.closed
    chunks.gates[1].set()
    thread.join(5)
    assert chunks.closed
    assert chunks.loaded == [0]


def test_faulty_first_chunk_is_an_error_at_once():
    """What a run begins with is checked before it begins."""
    chunks = Chunks()
    chunks.faulty = 0
    with pytest.raises(DataError):
        made(chunks)


def test_series_that_was_cut_short_stays_so():
    """A symbol that left the run doesn't get bars again with the next chunk."""
    chunks = Chunks()
    series, shown = made(chunks)
    series.hold(series.columns.slice(0, 7))
    shown.reveal(3)
    assert len(series.columns) == 7
    assert not series.is_open
