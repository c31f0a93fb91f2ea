"""Streamed runs are the same runs: results, errors and what is left behind, whatever the chunks are."""

from __future__ import annotations

import gc
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data import parquet, streaming
from nbbacktest.data.parquet import ParquetBars
from nbbacktest.data.sources import load
from nbbacktest.data.streaming import ColumnStore
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.strategies import SmaCross
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.status import status
from tests.markets import minutes

SYMBOLS = ("A", "B", "C")
DAYS = ("2024-10-01", "2024-10-02", "2024-10-03", "2024-10-04", "2024-10-07", "2024-10-08", "2024-10-09")


class Reader(nb.Strategy):
    """Reads the past by every way there is, and trades on it."""

    def on_start(self):
        self.average = {s: self.indicator(talib.SMA, "close", 20, symbol=s) for s in self.symbols}
        self.smooth = {s: self.indicator(talib.EMA, self.average[s], 5, symbol=s) for s in self.symbols}
        self.stream = {s: self.indicator(talib.stream.SMA, "high", 9, symbol=s) for s in self.symbols}
        self.sum = float(sum(len(self.bars(s)) for s in self.symbols))

    def on_bar(self, bar):
        symbol, view = bar.symbol, self.bars(bar.symbol, bar.interval)
        self.sum += view[0].open + view.high[-1] + float(view.volume[-3:].sum()) + len(view.time)
        if bar.interval != self.base_interval:
            self.sum += float(np.asarray(view.low).min())
            return
        held = self.position(symbol).size
        if not held and self.average[symbol][-1] > self.stream[symbol][-1] - 0.2:
            self.buy(symbol, 1 + int(self.sum) % 9, stop_loss=bar.close - 0.3, take_profit=bar.close + 0.2)
        elif held and self.smooth[symbol][-1] > bar.close:
            self.close(symbol)

    def on_stop(self):
        self.log(f"{self.sum!r}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three gappy symbols over seven sessions, one of which ends early, in both layouts."""
    root = tmp_path_factory.mktemp("streamed")
    for number, symbol in enumerate(SYMBOLS):
        days = DAYS[: 5 if symbol == "C" else None]
        parts = [
            minutes(390, seed=10 * number + k, start=f"{day} 09:30", gaps=0.25 * number) for k, day in enumerate(days)
        ]
        frame = pd.concat(parts).rename_axis("time")
        (root / "files").mkdir(exist_ok=True)
        frame.to_parquet(root / "files" / f"{symbol}.parquet", row_group_size=1000 if symbol == "B" else None)
        for day, part in zip(days, parts, strict=True):
            folder = root / "folder" / f"symbol={symbol}" / f"date={day}"
            folder.mkdir(parents=True)
            part.rename_axis("time").to_parquet(folder / "part-0.parquet")
    return root


@contextmanager
def sized(chunk: int = streaming.CHUNK_BYTES, memory: int = streaming.IN_MEMORY, batch: int = parquet.BATCH_ROWS):
    """Other sizes of chunks, of what stays in memory, and of what is unpacked at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "CHUNK_BYTES", chunk)
        patch.setattr(streaming, "IN_MEMORY", memory)
        patch.setattr(parquet, "BATCH_ROWS", batch)
        yield


def config(path: Path | str, *, stream: bool | None, symbols=SYMBOLS, first=None, last=None, **data) -> dict:
    return {
        "backtest": {"start_date": first, "end_date": last},
        "data": {
            "source": "parquet",
            "path": str(path),
            "symbols": list(symbols),
            "stamp": "open",
            "interval": "1m",
            "stream": stream,
            **data,
        },
    }


def said(result: nb.Result) -> tuple:
    """What must not differ."""
    frames = [getattr(result, name).to_csv() for name in ("fills", "orders", "trades")]
    return result.fingerprint, frames, result.log.to_csv()


@given(data_=st.data())
@pytest.mark.filterwarnings("ignore:less warm-up than asked for")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_streamed_runs_equal_those_in_memory(data, data_):
    """Whatever the budget, the symbols, the layout, derived bars, warm-up and dates."""
    draw = data_.draw
    symbols = draw(st.permutations(SYMBOLS))[: draw(st.integers(1, 3))]
    first, last = sorted((draw(st.sampled_from(DAYS[:5])), draw(st.sampled_from(DAYS[:5]))))
    place = draw(st.sampled_from([data / "files" / "{symbol}.parquet", data / "folder"]))
    rules = {
        "symbols": symbols,
        "first": draw(st.sampled_from([None, first])),
        "last": draw(st.sampled_from([None, last])),
        "warmup_days": draw(st.integers(0, 2)),
        "derived_intervals": draw(st.sampled_from([[], ["5m"], ["7m", "1h"], ["15m", "1d"], ["1d", "1w", "1mo"]])),
    }
    if not rules["derived_intervals"]:
        rules["stamp"] = draw(st.sampled_from(["open", "close"]))
    whole = nb.backtest(None, Reader, config=config(place, stream=False, **rules))
    with sized(draw(st.sampled_from([1, 50_000, 200_000, 10**9])), draw(st.sampled_from([0, 10**9])), 777):
        streamed = nb.backtest(None, Reader, config=config(place, stream=True, **rules))
    assert said(streamed) == said(whole)
    assert len(whole.fills) > 5


actions = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 500)),
        st.tuples(st.just("until"), st.integers(1, 900)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.just(0)),
        st.tuples(st.just("speed"), st.sampled_from([0.0, 1e9])),
    ),
    max_size=8,
)


DRIVEN = {"derived_intervals": ["15m"], "warmup_days": 1, "first": DAYS[1]}


@pytest.fixture(scope="module")
def in_memory(data):
    """What a run in memory has to say, which streamed runs must say too, however they are driven."""
    path = data / "files" / "{symbol}.parquet"
    return said(nb.backtest(None, Reader, config=config(path, stream=False, **DRIVEN)))


@given(script=actions, window=st.sampled_from([None, 1, 100, 5000]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pauses_steps_and_windows_change_nothing(data, in_memory, script, window):
    """However a streamed run is driven, and however its windows lie across chunks."""
    rules, path = DRIVEN, data / "files" / "{symbol}.parquet"
    with sized(60_000, 0):
        life, condition = Lifecycle(), Monitor()
        settings_ = SessionConfig.load(config(path, stream=True, **rules))
        stages = build(settings_, life, condition, strategies=Reader, window=window)
        run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
        life.apply(nb.core.lifecycle.Command.START)
        run.start()
        for action, number in script:
            try:
                if action == "step":
                    run.gate.step(number, 30)
                elif action == "until":
                    place = run.gate.cursor + number
                    run.gate.run_until(None, lambda frame, place=place: frame.cursor >= place, 30)
                elif action == "pause":
                    run.gate.pause(30)
                elif action == "resume":
                    run.gate.resume()
                else:
                    run.coordinator.set_speed(number)
            except nb.InvalidTransition:
                continue
        run.coordinator.set_speed(0.0)
        if run.gate.is_paused:
            run.gate.resume()
        assert run.wait(60)
    assert said(outcome(run)) == in_memory


def test_same_in_the_callers_thread(data):
    """The driver without threads loads by itself."""
    path = data / "files" / "{symbol}.parquet"
    whole = nb.backtest(None, Reader, config=config(path, stream=False))
    with sized(60_000):
        settings_ = SessionConfig.load(config(path, stream=True))
        stages = build(settings_, Lifecycle(), Monitor(), strategies=Reader)
        run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
        run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
        assert said(outcome(run)) == said(whole)


def test_derived_bars_are_those_of_the_whole_to_the_bit(data):
    """Values, times and counts, with sessions cut into several chunks or not."""
    rules = {"derived_intervals": ["3m", "1h", "1d", "1w"]}
    path = data / "files" / "{symbol}.parquet"
    built = []
    for stream in (False, True):
        with sized(1, 0):
            settings_ = SessionConfig.load(config(path, stream=stream, **rules))
            stages = build(settings_, Lifecycle(), Monitor(), strategies=Reader)
            if stages.world.chunks is not None:
                stages.world.chunks.reach(stages.world.timeline.axis, len(stages.world.timeline) - 1)
                stages.world.chunks.loader.close()
            built.append([series.whole for series in stages.world.timeline.series])
    for whole, streamed in zip(*built, strict=True):
        for name in ("time", "end", "open", "high", "low", "close", "volume"):
            assert getattr(whole, name).tobytes() == getattr(streamed, name).tobytes()


def test_folders_are_streamed_and_small_files_are_not(data, monkeypatch):
    """Unless the config says so; larger files are."""

    def is_streamed(path, stream) -> bool:
        return load(SessionConfig.load(config(path, stream=stream)), stream=True).streamed is not None

    files, folder = data / "files" / "{symbol}.parquet", data / "folder"
    assert [is_streamed(files, stream) for stream in (None, False, True)] == [False, False, True]
    assert [is_streamed(folder, stream) for stream in (None, False, True)] == [True, False, True]
    monkeypatch.setattr(streaming, "STREAM_ABOVE", 100_000)
    assert is_streamed(files, None)


def test_folder_may_be_handed_over_as_a_path(data):
    """All its symbols are run where none are named."""
    result = nb.backtest(str(data / "folder"), SmaCross, config={"data": {"stamp": "open"}})
    assert result.symbols == SYMBOLS


@pytest.mark.parametrize(
    ("source", "given"),
    [("csv", None), ("parquet", pd.DataFrame()), ("parquet", "bars.csv")],
)
def test_only_parquet_is_streamed(source, given):
    """A wish that can't be had is refused."""
    settings_ = {"data": {"source": source, "path": "bars.csv", "symbols": ["A"], "stream": True, "stamp": "open"}}
    with pytest.raises(nb.ConfigError, match=r"data\.stream"):
        nb.backtest(given, SmaCross, config=settings_)


def test_one_file_for_several_symbols_is_refused(data):
    """Streamed or not, with or without an ending that tells."""
    shutil.copy(data / "files" / "A.parquet", data / "bars")
    for stream in (True, False):
        with pytest.raises(nb.NbBacktestError, match="is one file for 3 symbols|doesn't tell what it is"):
            nb.backtest(None, SmaCross, config=config(data / "bars", stream=stream))


def faulty(data: Path, folder: Path) -> Path:
    """A copy of the files in which one price of B is wrong on the fifth day."""
    shutil.copytree(data / "files", folder / "files")
    path = folder / "files" / "B.parquet"
    frame = pd.read_parquet(path)
    row = int(np.flatnonzero(frame.index >= pd.Timestamp(f"{DAYS[4]} 12:00", tz="America/New_York"))[0])
    frame.iloc[row, frame.columns.get_loc("low")] = 1e6
    frame.to_parquet(path)
    return folder / "files" / "{symbol}.parquet"


def test_faulty_bars_end_the_run_where_they_begin(data, tmp_path):
    """The error names symbol, file and row; what was done before that chunk is kept, each time the same."""
    path, prints = faulty(data, tmp_path), set()
    whole = nb.backtest(None, Reader, config=config(data / "files" / "{symbol}.parquet", stream=False))
    for _ in range(3):
        with (
            sized(1),
            pytest.raises(nb.DataError, match=r"B \(.*B\.parquet\): high is below low .*2024-10-07 12:0") as e,
        ):
            nb.backtest(None, Reader, config=config(path, stream=True))
        result = e.value.result
        assert result.equity.index[-1] == pd.Timestamp(f"{DAYS[3]} 16:00", tz="America/New_York")
        prints.add(result.fingerprint)
    assert len(prints) == 1
    done = whole.fills[whole.fills.time <= result.equity.index[-1]]
    assert result.fills.to_csv() == done.to_csv()


def test_faulty_first_chunk_is_refused_before_anything_starts(data, tmp_path):
    """As without streaming: no strategy is called."""
    with sized(10**9), pytest.raises(nb.DataError, match="high is below low") as e:
        nb.SystemManager().start(config(faulty(data, tmp_path), stream=True), strategies=Reader)
    assert e.value.result is None


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_file_that_is_harmed_during_a_run_is_one_error(data, tmp_path, harm):
    """Whether it vanishes or is cut short."""
    shutil.copytree(data / "files", tmp_path / "files")
    victim = tmp_path / "files" / "B.parquet"

    class Harmful(Reader):
        def on_bar(self, bar):
            if bar.time.date().isoformat() == DAYS[1] and victim.exists() and victim.stat().st_size > 1000:
                if harm == "gone":
                    victim.unlink()
                else:
                    victim.write_bytes(victim.read_bytes()[:1000])
            super().on_bar(bar)

    with sized(1), pytest.raises(nb.DataError, match=r"B \(.*B\.parquet\): the file (is gone|has been changed)") as e:
        nb.backtest(None, Harmful, config=config(tmp_path / "files" / "{symbol}.parquet", stream=True))
    assert len(e.value.result.fills) > 0


def test_stop_does_not_wait_for_what_is_being_loaded(data, monkeypatch):
    """A run that waits for a slow disk stops at once; what was done is there."""
    reading, released, read = threading.Event(), threading.Event(), ParquetBars.read
    begun = threading.Event()

    class Begun(Reader):
        def on_bar(self, bar):
            begun.set()

    def slow(self, start, stop):
        if start > 0:
            reading.set()
            assert released.wait(30)
        return read(self, start, stop)

    monkeypatch.setattr(ParquetBars, "read", slow)
    system = nb.SystemManager()
    with sized(1):
        system.start(config(data / "files" / "{symbol}.parquet", stream=True), strategies=Begun)
        try:
            assert reading.wait(30)
            assert begun.wait(30)
            assert system.stop()
            assert system.is_stopped()
            result = system.wait(1)
        finally:
            released.set()
    assert len(result.equity) >= 1


def test_nothing_is_left_open(data):
    """Files are closed with the run; the file of values goes with the result."""
    process = psutil.Process()
    nb.backtest(None, Reader, config=config(data / "folder", stream=True))
    gc.collect()  # what this run and earlier tests have dropped doesn't count
    before = process.num_fds(), len(process.open_files())
    for _ in range(2):
        with sized(50_000, 0):
            result = nb.backtest(None, Reader, config=config(data / "folder", stream=True))
        assert not [file for file in process.open_files() if file.path.endswith(".parquet")]
        assert len(result.fills) > 0
        del result
    gc.collect()
    assert (process.num_fds(), len(process.open_files())) == before


def test_orders_know_that_more_bars_come(data):
    """An order on the last bar of a chunk is taken; one for a symbol that has ended is refused, as in memory."""

    class Late(nb.Strategy):
        def on_bar(self, bar):
            if bar.time.strftime("%H:%M") == "15:59" and bar.symbol == "A":
                self.buy("C", 1)

    path, rules = data / "files" / "{symbol}.parquet", {"derived_intervals": []}
    whole = nb.backtest(None, Late, config=config(path, stream=False, **rules))
    with sized(1):
        streamed = nb.backtest(None, Late, config=config(path, stream=True, **rules))
    assert set(whole.orders.status) >= {"filled", "rejected"}
    assert streamed.orders.to_csv() == whole.orders.to_csv()


def test_symbols_may_join_a_streamed_run(data):
    """One that joins is loaded whole; the run equals one in memory that it joins at the same instant."""

    class Growing(Reader):
        def on_bar(self, bar):
            if self.symbols == ("A",) and bar.time.date().isoformat() == DAYS[2]:
                self.add_symbol("B")
            super().on_bar(bar)

        def on_symbol_added(self, symbol):
            self.average[symbol] = self.indicator(talib.SMA, "close", 20, symbol=symbol)
            self.smooth[symbol] = self.indicator(talib.EMA, self.average[symbol], 5, symbol=symbol)
            self.stream[symbol] = self.indicator(talib.stream.SMA, "high", 9, symbol=symbol)

    path, rules = data / "folder", {"symbols": ["A"], "derived_intervals": ["15m"]}
    whole = nb.backtest(None, Growing, config=config(path, stream=False, **rules))
    with sized(1):
        streamed = nb.backtest(None, Growing, config=config(path, stream=True, **rules))
    assert set(whole.fills.symbol) == {"A", "B"}
    assert said(streamed) == said(whole)


def test_store_holds_no_more_than_the_run(data, monkeypatch):
    """Bars before and after the dates take no room."""
    made = []
    init = ColumnStore.__init__

    def noted(self, lengths):
        made.append(sum(lengths))
        init(self, lengths)

    monkeypatch.setattr(ColumnStore, "__init__", noted)
    rules = {"symbols": ["A"], "first": DAYS[3], "last": DAYS[3]}
    nb.backtest(None, Reader, config=config(data / "files" / "{symbol}.parquet", stream=True, **rules))
    assert made == [390 * 5]
