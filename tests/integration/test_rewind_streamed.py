"""The laws of going back hold over streamed bars: each world sees as much of them as its own cursor has come to."""

from __future__ import annotations

import gc
import random
import threading
from contextlib import contextmanager

import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.data import parquet, streaming
from nbbacktest.data.parquet import ParquetBars
from tests.erratic import Erratic, parts
from tests.integration.test_rewind import Restless, wander
from tests.markets import minutes

DAYS = ("2024-10-03", "2024-10-04", "2024-10-07", "2024-10-08", "2024-10-09")
SYMBOLS = ("S0", "S1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two symbols over five sessions."""
    root = tmp_path_factory.mktemp("streamed")
    for number, symbol in enumerate(SYMBOLS):
        frames = [
            minutes(120, seed=10 * number + k, start=f"{day} 09:30", gaps=0.2 * number) for k, day in enumerate(DAYS)
        ]
        pd.concat(frames).rename_axis("time").to_parquet(root / f"{symbol}.parquet")
    return root


def config(folder, *, stream=True, symbols=SYMBOLS, **data):
    return {
        "data": {
            "source": "parquet", "path": str(folder / "{symbol}.parquet"), "symbols": list(symbols), "interval": "1m",
            "stream": stream, "stamp": "open", "derived_intervals": ["15m"], **data,
        },
        "exchange": "XNYS",
    }  # fmt: skip


@contextmanager
def chunks(size=1, memory=10**9, threads="on"):
    """A session a chunk, or as many as fit; the run with threads or without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "CHUNK_BYTES", size)
        patch.setattr(streaming, "IN_MEMORY", memory)
        patch.setattr(parquet, "BATCH_ROWS", 50)
        if threads == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        yield


@contextmanager
def started(settings_, **given_):
    """A paused run, stopped at the end."""
    system = nb.SystemManager(reachable=False)
    system.start(settings_, paused=True, **given_)
    try:
        yield system
    finally:
        if not system.is_stopped():
            system.stop()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10**6), st.sampled_from([1, 15_000]), st.sampled_from([0, 10**9]), st.booleans(), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_a_streamed_run_that_was_taken_back_is_the_same_run(
    folder, threads, seed, size, memory, sessions, leaving, warm
):
    """Laws 1, 2 and 4, whatever the chunks are, and wherever they lie; the fingerprint is that of the run in memory."""
    player = Restless(seed=seed, sessions=sessions, leaving=leaving, pace=0.1)
    rules = {"warmup_bars": 70 if warm else 0}
    expected = nb.backtest(None, player, config=config(folder, stream=False, **rules))
    with chunks(size, memory, threads), started(config(folder, **rules), strategies=player) as system:
        assert system.run.world.chunks is not None
        wander(system, random.Random(seed), 20, speeds=(0.0, 1e6, 1e9))
        if system.is_paused():
            system.resume()
        result = system.wait(20)
    assert len(expected.fills) > 0
    assert result.fills.to_csv() == expected.fills.to_csv()


@pytest.mark.parametrize("threads", ["on", "off"])
def test_what_was_loaded_once_is_not_read_again(folder, monkeypatch, threads):
    """All worlds of a run have the same columns; the loader goes on from where it is."""
    read, seen = ParquetBars.read, []
    monkeypatch.setattr(ParquetBars, "read", lambda self, *rows: seen.append((self.symbol, *rows)) or read(self, *rows))
    with chunks(threads=threads), started(config(folder), strategies=Erratic) as system:
        for _ in range(3):
            system.step(130)
            first = system.run.world
            assert system.back(125)
            assert system.run.world is not first
            assert system.run.world.timeline.series[0].whole is first.timeline.series[0].whole
            assert len(system.run.world.timeline.series[0].columns) < len(first.timeline.series[0].columns)
            assert system.step(125)
        system.resume()
        assert system.wait(20)
    assert len(seen) == len(set(seen)) == len(SYMBOLS) * len(DAYS)


@pytest.mark.parametrize("threads", ["on", "off"])
def test_undo_over_streamed_bars(folder, threads):
    with (
        chunks(threads=threads),
        started(config(folder, symbols=["S0"], derived_intervals=[]), strategies=nb.ByHand) as system,
    ):
        system.step(300)
        before = parts(system.snapshot())
        system.buy(size=3)
        system.step(200)
        after = parts(system.snapshot())
        assert system.undo()
        assert parts(system.snapshot()) == before
        assert system.redo()
        assert parts(system.snapshot()) == after
        assert system.rewind(10)
        assert system.rewind("end")
        assert parts(system.snapshot()) == after


@pytest.mark.parametrize("threads", ["on", "off"])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_streamed_run_that_has_ended_is_taken_back(folder, monkeypatch, threads, share):
    """What was loaded whole is used again; what wasn't is read from the files."""
    read, seen = ParquetBars.read, []
    monkeypatch.setattr(ParquetBars, "read", lambda self, *rows: seen.append(rows) or read(self, *rows))
    with chunks(memory=0, threads=threads), started(config(folder), strategies=Erratic(seed=3)) as system:
        total = len(system.run.world.timeline)
        system.step(total // 4)
        there = parts(system.snapshot())
        system.step(int(total * share) - total // 4)
        if share == 1.0:
            system.resume()
            system.wait(20)
        else:
            system.stop()
        loaded = len(seen)
        assert system.rewind(total // 4)
        assert (parts(system.snapshot()), system.is_paused()) == (there, True)
        assert (len(seen) == loaded) is (share == 1.0)
        assert system.back(20)
        system.resume()
        again = system.wait(20)
    assert again.fills.to_csv() == nb.backtest(None, Erratic(seed=3), config=config(folder)).fills.to_csv()


def test_nothing_is_left_open_by_a_run_that_was_taken_back(folder):
    """No thread, no file; the file of values goes with the result."""
    process = psutil.Process()
    with chunks(memory=0):
        for turn in range(3):
            with started(config(folder), strategies=Erratic) as system:
                system.step(200)
                system.back(150)
                system.step(20)
                system.rewind("end")
                system.stop()
                system.back(10)
            for thread in threading.enumerate():
                if thread.name == "nbbacktest-loader":
                    thread.join(5)  # told, and on its way out
                    assert not thread.is_alive()
            assert not [file for file in process.open_files() if file.path.endswith(".parquet")]
            del system
            gc.collect()
            if not turn:
                before = process.num_fds(), len(process.open_files())
    assert (process.num_fds(), len(process.open_files())) == before


def test_a_run_that_failed_by_a_faulty_chunk_is_taken_back(folder, tmp_path):
    """It rests where it was told to, and fails there again."""
    for symbol in SYMBOLS:
        frame = pd.read_parquet(folder / f"{symbol}.parquet")
        if symbol == "S1":
            frame.iloc[-20, frame.columns.get_loc("low")] = 1e6
        frame.to_parquet(tmp_path / f"{symbol}.parquet")
    with chunks(), started(config(tmp_path), strategies=Erratic(seed=3)) as system:
        system.resume()
        with pytest.raises(nb.DataError, match="high is below low"):
            system.wait(20)
        done = system.horizon
        assert system.back(50)
        assert system.snapshot().cursor == done - 50
        assert system.rewind("end")
        system.resume()
        with pytest.raises(nb.DataError, match="high is below low"):
            system.wait(20)
        assert system.horizon == done


def test_stop_ends_a_jump_over_streamed_bars(folder):
    """The loader is closed while a replay is under way: it is given up, and no file stays open."""
    inside, going = threading.Event(), threading.Event()

    class Slow(nb.Strategy):
        def on_bar(self, bar):
            if self.is_replay:
                inside.set()
                going.wait(5)

    process = psutil.Process()
    with chunks(), started(config(folder), strategies=Slow) as system:
        system.step(300)
        asker = threading.Thread(target=lambda: answers.append(system.back(10)))
        answers: list[bool] = []
        asker.start()
        assert inside.wait(5)
        stopper = threading.Thread(target=system.stop)
        stopper.start()
        while not system.run.gate.closed:
            pass
        going.set()
        stopper.join(5)
        asker.join(5)
        assert answers == [False]
        assert system.is_stopped()
    assert not [file for file in process.open_files() if file.path.endswith(".parquet")]
