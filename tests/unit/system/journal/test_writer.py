"""A run writes its journal: what it began with, where it rests, how it ended; and nothing that goes wrong there stops the run."""

from __future__ import annotations

import errno
import gc
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.core.enums import InputKind
from nbbacktest.core.inputs import Input, InputPlace
from nbbacktest.strategies import SmaCross
from nbbacktest.system.journal import writer
from nbbacktest.system.journal.folder import has_ended, is_written, runs_in, state_of
from nbbacktest.system.journal.lines import EndEntry, OriginEntry, StandEntry, read_journal
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder of runs of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "nbbacktest" / "runs"


@pytest.fixture(params=["threads", "slices"])
def system(request, here, monkeypatch):
    if request.param == "slices":
        monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    system = nb.SystemManager()
    yield system
    if not system.is_stopped():
        system.stop()


def settled(system):
    """The entries that are there once the first line is written."""
    system.run.journal._prepared.wait(5)
    return read_journal(system.journal.path).entries


def test_a_run_says_what_it_began_with_and_where_it_rests(system, here):
    assert system.journal.path is None
    system.start(ALWAYS | {"session_name": "One"}, data=minutes(300), strategies=SmaCross, fast=5, slow=9, paused=True)
    path = system.journal.path
    assert path.parent.parent == here
    settled(system)
    system.step(40)
    system.run_until(lambda shot: shot.cursor == 77)
    system.back(17)
    origin, *stands = settled(system)
    assert isinstance(origin, OriginEntry)
    assert origin.run == path.parent.name
    assert (origin.config["session_name"], origin.config["exchange"]) == ("One", "24/7")
    assert (origin.is_handed, origin.data, origin.copies) == (True, None, [])
    assert set(origin.versions) == {"Python", "nbbacktest", "numpy", "TA-Lib"}
    [strategy] = origin.strategies
    assert strategy.name == "nbbacktest.strategies.sma_cross:SmaCross"
    assert (strategy.params, strategy.lacks, strategy.source) == ({"fast": 5, "slow": 9}, None, None)
    assert len(strategy.digest) == len(origin.bars[0].digest) == 64
    assert [(one.symbol, one.interval, one.count) for one in origin.bars] == [("ASSET", "1m", 300)]
    assert [(one.cursor, one.horizon) for one in stands][-3:] == [(40, 40), (77, 77), (60, 77)]
    assert stands[-1].fills == system.snapshot().n_fills
    system.resume()
    result = system.wait()
    end = read_journal(path).entries[-1]
    assert (end.how, end.cursor, end.fingerprint, end.error) == ("finished", 300, result.fingerprint, None)
    assert state_of(path) == "ended"
    assert result.fingerprint == nb.backtest(minutes(300), SmaCross, fast=5, slow=9, config=ALWAYS).fingerprint


def test_the_files_are_the_users_alone(system, here):
    system.start(ALWAYS, data=minutes(20), strategies=SmaCross, wait=True)
    if sys.platform != "win32":
        assert system.journal.path.stat().st_mode & 0o777 == 0o600
        assert system.journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_run_without_a_rest_is_two_lines(system):
    system.start(ALWAYS, data=minutes(200), strategies=SmaCross, wait=True)
    origin, end = read_journal(system.journal.path).entries
    assert (origin.run, end.how) == (system.journal.path.parent.name, "finished")
    first = system.journal.path
    system.start(wait=True)
    assert system.journal.path != first
    assert has_ended(first)


def test_a_place_is_said_again_after_a_while(system, monkeypatch):
    """At most once a second in a run that goes on; here without the second."""
    monkeypatch.setattr(writer, "EVERY_SECONDS", 0.0)
    system.start(ALWAYS, data=minutes(20_000), strategies=SmaCross, wait=True)
    _, *stands, end = read_journal(system.journal.path).entries
    assert all(isinstance(one, StandEntry) for one in stands)
    assert isinstance(end, EndEntry)
    cursors = [one.cursor for one in stands]
    assert cursors == sorted(set(cursors))


def test_a_journal_costs_nothing_a_bar(here, monkeypatch):
    """It is asked at boundaries alone."""
    asked = []
    note = writer.RunJournal.note
    monkeypatch.setattr(writer.RunJournal, "note", lambda *given, **more: asked.append(1) or note(*given, **more))
    system = nb.SystemManager()
    system.start(ALWAYS, data=minutes(50_000), strategies=SmaCross, wait=True)
    assert len(asked) < 500
    assert read_journal(system.journal.path).size < 5_000


@pytest.mark.parametrize("how", ["backtest", "sweep", "live", "disabled", "unreachable"])
def test_where_there_is_no_journal(how, here):
    """Nothing is written, and asking is no error."""
    system = nb.SystemManager(reachable=how != "unreachable")
    if how == "backtest":
        nb.backtest(minutes(30), SmaCross, config=ALWAYS)
    elif how == "sweep":
        with ThreadPoolExecutor(1) as pool:
            nb.sweep(minutes(30), SmaCross, {"fast": [3, 4]}, config=ALWAYS, executor=pool, slow=9, progress=False)
    elif how == "live":
        system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
        assert system.journal.path is None
        system.stop()
    else:
        config = ALWAYS | {"journal": {"enabled": how != "disabled"}}
        system.start(config, data=minutes(30), strategies=SmaCross, wait=True)
    assert system.journal.path is None
    assert not here.exists()


def test_a_stopped_run_has_ended_and_a_dropped_one_hasnt(system, here):
    system.start(ALWAYS, data=minutes(300), strategies=SmaCross, paused=True)
    system.step(10)
    path = system.journal.path
    assert is_written(path)
    system.stop()
    assert [one.how for one in read_journal(path).entries if isinstance(one, EndEntry)] == ["stopped"]
    other = nb.SystemManager()
    other.start(ALWAYS, data=minutes(300), strategies=SmaCross, paused=True)
    other.step(25)
    path, run = other.journal.path, other.run
    del other
    gc.collect()
    assert run.wait(5)
    assert state_of(path) == "killed"
    assert read_journal(path).entries[-1].cursor == 25


class Fails(nb.Strategy):
    def on_bar(self, bar):
        if len(self.bars()) > 20:
            raise KeyError("x")


def test_a_failed_run_says_why(system):
    system.start(ALWAYS, data=minutes(50), strategies=Fails)
    with pytest.raises(nb.StrategyError) as failed:
        system.wait()
    end = read_journal(system.journal.path).entries[-1]
    assert (end.how, end.cursor, end.fingerprint) == ("failed", 21, failed.value.result.fingerprint)
    assert end.error.startswith("StrategyError: Fails.on_bar raised")


def test_what_cant_be_written_at_the_start_is_warned_of_once(system, here):
    """A folder that takes nothing: the run goes on without a journal."""
    here.parent.mkdir(parents=True)
    here.write_text("no folder")
    with pytest.warns(UserWarning, match=r"the run has no journal.*set journal\.folder") as warned:
        system.start(ALWAYS, data=minutes(50), strategies=SmaCross, paused=True)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert system.journal.path is None
    assert system.step(10)
    system.resume()
    assert system.wait().fingerprint


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_ends_the_journal_and_not_the_run(system, monkeypatch, caplog, after):
    """What was written before stays readable, also where the disk took a part of a line."""
    count = 0
    write = os.write

    def full(descriptor, content):
        nonlocal count
        count += 1
        if count > after:
            write(descriptor, bytes(content)[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content)

    expected = nb.backtest(minutes(300), SmaCross, config=ALWAYS).fingerprint
    with caplog.at_level(logging.WARNING, "nbbacktest"), monkeypatch.context() as patch:
        patch.setattr("nbbacktest.core.files.os.write", full)
        system.start(ALWAYS, data=minutes(300), strategies=SmaCross, paused=True)
        for _ in range(3):
            system.step(10)
            system.run.journal._prepared.wait(5)
        system.resume()
        assert system.wait().fingerprint == expected
    told = [record.getMessage() for record in caplog.records if "can't be written" in record.getMessage()]
    assert len(told) == 1
    assert "No space left" in told[0]
    path = system.journal.path
    assert (len(read_journal(path).entries) if path.exists() else 0) == after


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_part_in_it(here):
    """The lock is the parent's: a child that lives on doesn't keep the run from being gone on with."""
    code = """if True:
        import os, sys, time, warnings
        import nbbacktest as nb
        from nbbacktest.strategies import SmaCross
        from tests.markets import minutes
        warnings.simplefilter("ignore")
        system = nb.SystemManager()
        system.start({"exchange": "24/7"}, data=minutes(50), strategies=SmaCross, paused=True)
        system.step(3)
        system.run.journal._prepared.wait()
        print(system.journal.path, flush=True)
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        os._exit(0)  # as a kill: nothing is told
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ) as process:  # fmt: skip
        path = process.stdout.readline().strip()
        assert process.wait(20) == 0
        assert not is_written(Path(path))
        assert read_journal(Path(path)).entries[-1].cursor == 3
        process.stdin.close()


def test_a_start_that_is_cut_short_leaves_nothing(here, monkeypatch):
    system = nb.SystemManager()

    def refused(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError):
            system.start(ALWAYS, data=minutes(50), strategies=SmaCross)
    assert runs_in(here) == [] or read_journal(runs_in(here)[0] / "journal").entries[-1].how == "failed"


def test_old_runs_make_room(here):
    system = nb.SystemManager()
    config = ALWAYS | {"journal": {"keep": 3}}
    for _ in range(6):
        system.start(config, data=minutes(20), strategies=SmaCross, wait=True)
    assert len(runs_in(here)) == 3
    assert system.journal.path.exists()


def test_copies_of_frames_lie_beside_it(here):
    """What their owner changes afterwards isn't in them."""
    import pandas as pd

    frames = {"A": minutes(50), "B": {"1m": minutes(50, seed=2)}}
    as_given = frames["A"].copy()
    system = nb.SystemManager()
    system.start(ALWAYS | {"journal": {"bars": "copy"}}, data=frames, strategies=SmaCross, paused=True)
    frames["A"]["close"] = 0.0
    system.step(1)
    origin, *_ = settled(system)
    assert [(one.symbol, one.interval, one.file) for one in origin.copies] == [
        ("A", None, "bars-0.parquet"),
        ("B", "1m", "bars-1.parquet"),
    ]
    pd.testing.assert_frame_equal(
        pd.read_parquet(system.journal.path.parent / "bars-0.parquet"), as_given, check_freq=False
    )
    system.stop()


class Extra(nb.Strategy):
    """Has more than its parameters say."""

    n: int = 3

    def __init__(self, more=1, **params):
        super().__init__(**params)
        self.more = more


def test_what_cant_be_made_again_is_said(here):
    """An instance with attributes of its own, a class in a function, a parameter that JSON doesn't hold."""

    class Inner(nb.Strategy):
        n: object = 3

    for strategy, params, lacks in (
        (Extra(n=5), {}, "an instance that has more"),
        (Inner, {}, "level of a module"),
        (SmaCross(fast=4, slow=9), {}, None),
        (Extra, {"more": {1, 2}}, "JSON doesn't hold: more"),
    ):
        system = nb.SystemManager()
        system.start(ALWAYS, data=minutes(20), strategies=strategy, wait=True, **params)
        [facts] = read_journal(system.journal.path).origin.strategies
        assert (facts.lacks is None) is (lacks is None)
        assert lacks is None or lacks in facts.lacks


def test_an_interrupt_in_a_line_leaves_none_of_it(here, monkeypatch):
    """What was to be written doesn't happen, and the next line is whole."""
    system = nb.SystemManager()
    system.start(ALWAYS, data=minutes(50), strategies=SmaCross, paused=True)
    system.step(5)
    entries, journal = settled(system), system.run.journal
    one = Input(InputPlace(5, 0), None, InputKind.BUY, None, {"size": 1})

    def interrupted(descriptor, content, *, sync):
        os.write(descriptor, content[:9])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.input(one, 0)
    assert read_journal(journal.path).entries == entries
    journal.input(one, 0)
    assert read_journal(journal.path).entries[-1].what == "buy"
    system.stop()
