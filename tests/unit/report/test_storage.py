"""A result as one file, and back."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import structs

import nbbacktest as nb
from nbbacktest.core.enums import OrderEventKind, OrderType, Side, TimeInForce
from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.report import storage
from nbbacktest.report.result import Result
from nbbacktest.trading.orders import Order
from nbbacktest.trading.record import IndicatorRecord
from tests.markets import minutes as minutes_of
from tests.records import bars, daily_bars, minutes, run, traded_runs


@pytest.fixture
def result():
    """A small run with everything in it."""
    record = run(
        [bars("A", minutes(4), [10, 12, 11, 13]), bars("B", minutes(2), [1, 2])],
        [(1, "A", 10, 10.0), (2, "A", -4, 0.1 + 0.2)],
        commission=0.001,
        first={"A": 1},
        config={"session_name": "x"},
        metrics={"system_manager": {"_state": "stopped"}},
        log=((5, "Hand", "héllo"),),
    )
    return Result(replace(record, fills=(structs.replace(record.fills[0], tag="\ud800 in"), *record.fills[1:])))


def test_a_loaded_result_is_the_saved_one(result, tmp_path):
    """Fingerprint, statistics, frames, metrics, config, log and figure come back."""
    path = result.save(tmp_path / "run.nbbt")
    loaded = Result.load(str(path))
    assert loaded.fingerprint == result.fingerprint
    assert loaded.fills["tag"][0] == "? in"
    assert str(dict(loaded.stats)) == str(dict(result.stats))
    for name in ("trades", "fills", "orders", "log"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name))
    pd.testing.assert_series_equal(loaded.equity, result.equity)
    assert (loaded.metrics, loaded.config, loaded.log.shape) == (result.metrics, result.config, result.log.shape)
    assert loaded.plot().to_json() == result.plot().to_json()
    assert repr(loaded) == repr(result)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(traded_runs())
def test_every_result_comes_back_to_the_bit(tmp_path, record):
    """Floats lose no digit on the way."""
    path = tmp_path / "run.nbbt"
    Result(record).save(path)
    assert Result.load(path).fingerprint == Result(record).fingerprint


def test_an_empty_run_can_be_kept(tmp_path):
    """No bar, no fill, no error."""
    assert Result.load(Result(run([])).save(tmp_path / "none")).stats["bars"] == 0


def test_equal_results_make_equal_files(result, tmp_path):
    """The file's bytes hold no clock of their own."""
    one, two = result.save(tmp_path / "1"), Result.load(tmp_path / "1").save(tmp_path / "2")
    assert one.read_bytes() == two.read_bytes()


def test_a_parameter_that_json_lacks_is_kept_as_text(tmp_path):
    """A strange value in a config doesn't cost the file."""
    path = Result(run([daily_bars("A", [1])], config={"when": pd.Timestamp("2024-01-02")})).save(tmp_path / "x")
    assert Result.load(path).config == {"when": "2024-01-02 00:00:00"}


def test_saving_replaces_the_old_file_whole(result, tmp_path):
    """Only the new file is there afterwards."""
    path = tmp_path / "run.nbbt"
    path.write_text("old")
    result.save(path)
    assert Result.load(path).fingerprint == result.fingerprint
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_save_leaves_the_old_file_and_nothing_else(result, tmp_path, monkeypatch):
    """A full disk in the middle of writing loses nothing."""
    path = tmp_path / "run.nbbt"
    path.write_text("old")

    def full(archive, name, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_add", full)
    with pytest.raises(OSError, match="No space left"):
        result.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_an_error_and_leaves_nothing(result, tmp_path):
    """A path that is a folder can't become a file."""
    (tmp_path / "run").mkdir()
    with pytest.raises(OSError, match="run"):
        result.save(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_missing_folder_is_named(result, tmp_path):
    """The error says which folder to make."""
    with pytest.raises(DataNotFoundError, match="there is no folder .*absent; make it first"):
        result.save(tmp_path / "absent" / "run.nbbt")


def test_a_missing_file_is_named(tmp_path):
    """A user who catches FileNotFoundError gets it."""
    with pytest.raises(FileNotFoundError, match="no saved result at .*none"):
        Result.load(tmp_path / "none")


def written(path: Path, head: object, **members: bytes) -> Path:
    """A zip file with the given head."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("result.json", json.dumps(head))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "content",
    [b"", b"close,open\n1,2\n", b"PK\x03\x04 but no more", b"\x80\x05pickle"],
    ids=["empty", "csv", "cut", "pickle"],
)
def test_another_file_is_refused(tmp_path, content):
    """One error says that it is no result, and what to give."""
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.csv is not a saved result.*give a file that Result\.save wrote"):
        Result.load(path)


@pytest.mark.parametrize(
    "head", [{}, [], {"format": "nbbacktest result", "version": 1}, {"format": "nbbacktest result"}]
)
def test_a_zip_of_something_else_is_refused(tmp_path, head):
    """Right container, wrong content."""
    with pytest.raises(DataError, match="is not a saved result"):
        Result.load(written(tmp_path / "x.zip", head))


def test_another_format_is_named(tmp_path):
    """The error tells what it found."""
    with pytest.raises(DataError, match="its format is 'other'"):
        Result.load(written(tmp_path / "x.zip", {"format": "other", "version": 1}))


def test_a_newer_version_asks_for_an_upgrade(tmp_path):
    """An old program doesn't guess at a new format."""
    with pytest.raises(DataError, match="saved in version 99 .* upgrade nbbacktest"):
        Result.load(written(tmp_path / "x.zip", {"format": "nbbacktest result", "version": 99}))


def test_a_damaged_file_is_refused(result, tmp_path):
    """A flipped byte in the columns is found by the archive's checksums."""
    path = result.save(tmp_path / "run.nbbt")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"instants.npy") + 40
    raw[at] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match="or is damaged"):
        Result.load(path)


def rewritten(path: Path, member: str, content: bytes) -> None:
    """Replace one member of a saved result."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, kept in members.items():
            archive.writestr(name, kept)


def test_pickles_are_never_loaded(result, tmp_path):
    """A column of objects is refused before it could run anything."""
    path = result.save(tmp_path / "run.nbbt")
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    rewritten(path, "instants.npy", buffer.getvalue())
    with pytest.raises(DataError, match="allow_pickle"):
        Result.load(path)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.zeros(3), "column instants is float64"),
        (np.zeros((3, 1), dtype=np.int64), "shape"),
        (np.array([3, 2, 1]), "don't rise"),
        (np.array([1]), "outside of the run"),
    ],
)
def test_columns_that_dont_fit_are_refused(result, tmp_path, column, said):
    """What would go wrong later is an error at once."""
    path = result.save(tmp_path / "run.nbbt")
    buffer = io.BytesIO()
    np.save(buffer, column)
    rewritten(path, "instants.npy", buffer.getvalue())
    with pytest.raises(DataError, match=said):
        Result.load(path)


def test_a_result_of_version_1_still_loads(result, tmp_path):
    """It has no order's life, no links and no indicators; all else is there."""
    path = result.save(tmp_path / "run.nbbt")
    with zipfile.ZipFile(path) as archive:
        head = json.loads(archive.read("result.json"))
    names = head.pop("order_fields")
    kept = [names.index(name) for name in storage._ORDER_1]
    head["orders"] = [[row[place] for place in kept] for row in head["orders"]]
    head["version"] = 1
    for name in ("order_links", "order_events", "indicators", "flows", "splits"):
        del head[name]
    rewritten(path, "result.json", json.dumps(head).encode())
    loaded = Result.load(path)
    assert loaded.fingerprint == result.fingerprint
    pd.testing.assert_frame_equal(loaded.orders.drop(columns="filled"), result.orders.drop(columns="filled"))
    assert loaded.orders["filled"].tolist() == [10, 4]
    assert loaded.order_events.empty
    assert "order 2: sell 4 A market" in str(loaded.explain(loaded.fills["time"][1]))


def test_lives_links_and_indicators_come_back(tmp_path):
    """Every field of every order, who cancels whom, and what indicators read, tuples too."""
    record = run([bars("A", minutes(4), [10, 12, 11, 13])], [(1, "A", 10, 10.0)])
    entry, stop, target, touched = orders = [
        Order(1, "S", "A", Side.BUY, 2.0, OrderType.STOP_LIMIT, limit=9.5, stop=9.0, tif=TimeInForce.GTD, expires_ns=7),
        Order(2, "S", "A", Side.SELL, None, OrderType.TRAILING_STOP, stop=8.0, trail=0.1, trail_is_fraction=True),
        Order(3, "S", "A", Side.SELL, None, OrderType.LIMIT, limit=12.0, reduce_only=True, is_forced=True, begins_ns=3),
        Order(4, "S", "A", Side.BUY, 1.0, OrderType.LIMIT_IF_TOUCHED, limit=9.0, touch=9.5),
    ]
    for order in orders:
        order._stamps = record.stamps
    entry.children, entry.triggered, entry.filled = (stop, target), True, 1.5
    stop.parent = target.parent = entry
    stop.oco = target.oco = [stop, target]
    entry.note(5, OrderEventKind.SUBMITTED)
    touched.note(5, OrderEventKind.SUBMITTED)
    entry.note(6, OrderEventKind.PARTIALLY_FILLED, "why", 1.5, 9.4)
    ends = record.instants
    readings = (
        IndicatorRecord("one", "S", "A", "1m", ends, np.arange(4.0)),
        IndicatorRecord("two", "S", "A", "1m", ends, np.arange(6.0).reshape(3, 2)),
    )
    saved = Result(replace(record, orders=tuple(orders), indicators=readings))
    loaded = Result.load(saved.save(tmp_path / "x")).record
    for before, after in zip(orders, loaded.orders, strict=True):
        for name in storage._ORDER:
            assert getattr(after, storage._field(name)) == getattr(before, storage._field(name)), name
        assert after.events == before.events
    first, second, third, fourth = loaded.orders
    assert (fourth.touch, fourth.events[0].terms.touch) == (9.5, 9.5)
    assert first.children == (second, third)
    assert second.oco is third.oco
    assert [second.oco[0], second.parent] == [second, first]
    assert [reading.at(int(ends[2])) for reading in loaded.indicators] == [2.0, (4.0, 5.0)]
    assert np.isnan(loaded.indicators[1].at(int(ends[3])))
    assert loaded.indicators[0].name == "one"


def test_a_fill_says_where_in_its_bar_it_was_and_an_older_file_is_read(tmp_path):
    """Phases come back; a file from before them loads with none, and gives the same fingerprint and trades."""

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.buy(size=1, limit=float(bar.close) - 0.05)
                self.buy(size=1)

    result = nb.backtest(minutes_of(30), Once)
    assert {fill.phase for fill in result.record.fills} == {"open", "inside"}
    loaded = Result.load(result.save(tmp_path / "new"))
    assert loaded.record.fills == result.record.fills
    assert [fill.time for fill in loaded.record.fills] == [fill.time for fill in result.record.fills]
    with zipfile.ZipFile(tmp_path / "new") as new, zipfile.ZipFile(tmp_path / "old", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "result.json":
                head = json.loads(content)
                del head["fill_phases"]
                content = json.dumps(head).encode()
            old.writestr(name, content)
    older = Result.load(tmp_path / "old")
    assert [fill.phase for fill in older.record.fills] == [None, None]
    assert older.fingerprint == result.fingerprint
    assert older.trades.equals(result.trades)
