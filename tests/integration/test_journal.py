"""What a journal gives back: a run whose process died goes on where it was, and ends as if it never had died."""

from __future__ import annotations

import gc
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from nbbacktest.system.journal.folder import runs_in, state_of
from nbbacktest.system.journal.lines import read_journal
from tests.erratic import Erratic, brokers, events, markets, parts, random_market
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


def left(config, data, strategy, moves, **params) -> tuple[Path, object]:
    """A run that is moved and then left, as by a killed process: its journal, and what it showed."""
    system = nb.SystemManager()
    system.start(config, data=data, strategies=strategy, paused=True, **params)
    for move, amount in moves:
        getattr(system, move)(amount)
    path, shown, run = system.journal.path, parts(system.snapshot()), system.run
    del system
    gc.collect()
    assert run.wait(10)
    return path, shown


def test_the_newest_that_was_killed_is_gone_on_with(system, here):
    data = minutes(500)
    older, _ = left(ALWAYS, data, SmaCross, [("step", 30)])
    path, shown = left(ALWAYS, data, SmaCross, [("step", 300), ("back", 40), ("step", 10)], fast=4, slow=8)
    assert [state_of(one) for one in (older, path)] == ["killed", "killed"]
    assert system.recover(data=data)
    assert (system.is_paused(), system.journal.path) == (True, path)
    assert parts(system.snapshot()) == shown
    assert (system.snapshot().cursor, system.horizon, system.in_past) == (270, 300, True)
    assert not system.recover(data=data)  # a run is under way
    assert not system.strategies[0].is_replay
    system.step(1)
    assert state_of(path) == "running"
    system.resume()
    expected = nb.backtest(data, SmaCross, config=ALWAYS, fast=4, slow=8).fingerprint
    assert system.wait().fingerprint == expected
    assert read_journal(path).entries[-1].fingerprint == expected
    assert system.recover(older.parent.name, data=data)
    assert system.snapshot().cursor == 30
    assert nb.replay(path, data=data).fingerprint == expected


def test_a_recovered_run_is_killed_and_recovered_again(system, here):
    data = minutes(300)
    path, _ = left(ALWAYS, data, SmaCross, [("step", 100)])
    for n in (101, 102, 103):
        again = nb.SystemManager()
        assert again.recover(data=data)
        again.step()
        assert again.snapshot().cursor == n
        run = again.run
        del again
        gc.collect()
        assert run.wait(10)
    assert system.recover(data=data)
    assert system.snapshot().cursor == 103
    assert len(runs_in(here)) == 1
    assert system.journal.path == path


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=12)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(),
    st.sampled_from(["stop", "pause"]),
)  # fmt: skip
def test_any_run_is_gone_on_with(tmp_path_factory, market, broker, actions, seed, sessions, on_error):
    """Law 2 and 8 by dice: the same place, and the same end, over orders, accounts, sessions and actions."""
    config, data, _ = random_market(market, broker, actions, seed)
    config |= {"on_error": on_error, "journal": {"folder": str(tmp_path_factory.mktemp("runs"))}}
    dice = random.Random(seed)
    moves = [("step", dice.randint(1, 40)), ("back", 1), ("step", dice.randint(1, 40))]
    player = Erratic(seed=seed, sessions=sessions)
    expected = nb.backtest(data, player, config=config).fingerprint
    path, shown = left(config, data, player, moves)
    player = Erratic(seed=seed, sessions=sessions)
    system = nb.SystemManager()
    try:
        assert system.recover(path, data=data, strategies=player)
        assert parts(system.snapshot()) == shown
        system.resume()
        assert system.wait(20).fingerprint == expected
    finally:
        system.stop()
    again = nb.replay(path, data=data, strategies=Erratic(seed=seed, sessions=sessions))
    assert again.fingerprint == expected


def test_a_journal_cut_at_any_line_gives_an_earlier_place(here, tmp_path):
    """Each with its torn end; the run's end is the same from all of them."""
    data = minutes(200)
    path, _ = left(ALWAYS, data, SmaCross, [("step", 10)] * 8)
    expected = nb.backtest(data, SmaCross, config=ALWAYS).fingerprint
    raw = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(raw) if byte == ord("\n")]
    places = set()
    for number, end in enumerate(ends[:-1]):
        run = here / f"20260101-0000{number:02}-0000"
        run.mkdir()
        (run / "journal").write_bytes(raw[: end + 5])
        system = nb.SystemManager()
        assert system.recover(run, data=data)
        assert (run / "journal").read_bytes().endswith(b"\n")
        places.add(system.snapshot().cursor)
        system.resume()
        assert system.wait().fingerprint == expected
    assert places <= set(range(0, 81, 10))
    assert len(places) == len(ends) - 1


class Dice(nb.Strategy):
    """Can't be repeated."""

    def on_bar(self, bar):
        if random.random() < 0.5:
            self.buy(size=1)


def test_a_run_that_doesnt_repeat_itself_is_told(system, here):
    """Nothing goes on, and the journal stays as it is."""
    data = minutes(300)
    path, _ = left(ALWAYS, data, Dice, [("step", 10), ("step", 200)])
    raw = path.read_bytes()
    with pytest.raises(nb.ReplayError, match=r"doesn't repeat itself: the .* fills up to instant \d+ are others.*seed"):
        system.recover(data=data)
    assert system.is_stopped()
    assert path.read_bytes() == raw
    assert state_of(path) == "killed"
    with pytest.raises(nb.ReplayError, match="doesn't repeat itself"):
        nb.replay(path, data=data)


class Changed(nb.Strategy):
    n: int = 5

    def on_bar(self, bar):
        if len(self.bars()) % self.n == 0:
            self.buy(size=1)


def test_another_source_is_told_only_where_it_matters(system, here, monkeypatch):
    """T15: the digest alone refuses nothing."""
    data = minutes(200)
    path, _ = left(ALWAYS, data, Changed, [("step", 100)])
    facts = "nbbacktest.core.digests._source"
    monkeypatch.setattr(facts, lambda kind: "another text")
    assert system.recover(path, data=data)
    system.stop()
    path, _ = left(ALWAYS, data, Changed, [("step", 100)])
    monkeypatch.setattr(facts, lambda kind: "a third text")
    monkeypatch.setattr(Changed, "on_bar", lambda self, bar: None)
    with pytest.raises(nb.ReplayError, match="source of .*:Changed is another than it was"):
        system.recover(path, data=data)


def test_other_versions_are_named_where_it_matters(system, here, monkeypatch):
    """T19."""
    data = minutes(200)
    path, _ = left(ALWAYS, data, Changed, [("step", 100)])
    monkeypatch.setattr("nbbacktest.system.journal.course.versions", lambda: {"numpy": "9.9"})
    assert nb.replay(path, data=data)
    monkeypatch.setattr(Changed, "on_bar", lambda self, bar: None)
    with pytest.raises(nb.ReplayError, match=r"it ran with .*now there are \{'numpy': '9.9'\}"):
        nb.replay(path, data=data)


class Fails(nb.Strategy):
    def on_bar(self, bar):
        if len(self.bars()) == 60:
            raise KeyError("x")
        self.buy(size=1)


def test_a_run_that_failed_or_was_stopped_is_repeated_to_there(here):
    system = nb.SystemManager()
    system.start(ALWAYS, data=minutes(100), strategies=Fails, paused=True)
    system.step(30)
    system.resume()
    with pytest.raises(nb.StrategyError) as failed:
        system.wait()
    again = nb.replay(system.journal.path, data=minutes(100))
    assert again.fingerprint == failed.value.result.fingerprint
    assert system.recover(system.journal.path, data=minutes(100))
    assert system.snapshot().cursor == 30
    system.step(5)
    system.stop()
    stopped = system.wait().fingerprint
    assert nb.replay(system.journal.path, data=minutes(100)).fingerprint == stopped


def test_an_end_that_differs_is_told(here, monkeypatch):
    system = nb.SystemManager()
    system.start(ALWAYS, data=minutes(100), strategies=Changed, wait=True)
    monkeypatch.setattr(Changed, "on_bar", lambda self, bar: None)
    with pytest.raises(nb.ReplayError, match="the end has another fingerprint"):
        nb.replay(system.journal.path, data=minutes(100))


def test_copies_and_files_need_no_bars(system, here, tmp_path):
    """`journal.bars = "copy"`, a path, and a config's own source."""
    data = minutes(120)
    data.to_parquet(tmp_path / "bars.parquet")
    for config, bars in (
        (ALWAYS | {"journal": {"bars": "copy"}}, data),
        (ALWAYS | {"data": {"stamp": "open"}}, str(tmp_path / "bars.parquet")),
    ):
        path, _ = left(config, bars, SmaCross, [("step", 20)])
        assert system.recover(path)
        assert system.snapshot().cursor == 20
        system.resume()
        assert system.wait().fingerprint == nb.backtest(bars, SmaCross, config=config).fingerprint
    both = {"A": {"1m": data}, "B": {"1m": minutes(120, seed=4)}}
    path, shown = left(ALWAYS | {"journal": {"bars": "copy"}}, both, SmaCross, [("step", 20)])
    assert system.recover(path)
    assert parts(system.snapshot()) == shown
    system.stop()
    path, shown = left(None, None, None, [("step", 20)])
    assert system.recover(path)
    assert parts(system.snapshot()) == shown


def refused(why, path, *, data=None, strategies=None):
    """Both ways back are refused in the same words, and nothing has begun."""
    system = nb.SystemManager()
    raw = path.read_bytes() if path.is_file() else None
    with pytest.raises(nb.JournalError, match=why) as one:
        system.recover(path, data=data, strategies=strategies)
    with pytest.raises(nb.JournalError, match=why):
        nb.replay(path, data=data, strategies=strategies)
    assert system.run is None
    assert system.is_stopped()
    assert raw is None or path.read_bytes() == raw
    return one.value


def test_what_cant_be_gone_on_with_is_refused(here, tmp_path, monkeypatch):
    data, other = minutes(200), minutes(200, seed=9)
    path, _ = left(ALWAYS, {"A": data, "B": data}, SmaCross, [("step", 20)])
    refused("bars that were handed over.*data=", path)
    error = refused("other bars: B's 1m bars were 200 from 2024.*now they are 200", path, data={"A": data, "B": other})
    assert (error.line, error.path) == (1, path)
    refused("B's 1m bars were.*there are none", path, data={"A": data})
    refused("without bars of C", path, data={"A": data, "B": data, "C": data})
    monkeypatch.setattr("nbbacktest.strategies.sma_cross.SmaCross", None)
    refused("SmaCross.*isn't there any more.*strategies=", path, data={"A": data, "B": data})
    monkeypatch.undo()
    refused("isn.t there", tmp_path)
    (tmp_path / "bars.csv").write_text("time,close\n1,2\n")
    refused("line 1 is damaged, or the file is no journal", tmp_path / "bars.csv")
    path.write_bytes(path.read_bytes().replace(b'"cursor":20', b'"cursor":21'))
    assert refused("line 2 is damaged: its checksum", path, data={"A": data, "B": data}).line == 2
    path.write_bytes(b"")
    refused("is empty", path)


def test_nothing_to_go_on_with(system, here):
    with pytest.raises(nb.JournalError, match=r"no run whose process died.*nbbacktest runs.*live runs"):
        system.recover()
    with pytest.raises(nb.JournalError, match="'nope' isn't there; there are none"):
        system.recover("nope")
    with pytest.raises(nb.JournalError, match="isn't there"):
        nb.replay(here / "20260101-000000-0000" / "journal")


def test_a_run_that_goes_on_is_nobody_elses(system, here):
    """Two terminals at once: one of them gets it."""
    data = minutes(100)
    path, _ = left(ALWAYS, data, SmaCross, [("step", 20)])
    assert system.recover(path, data=data)
    other = nb.SystemManager()
    with pytest.raises(nb.JournalError, match=r"a run that goes on, in a process that lives.*nbbacktest\.replay"):
        other.recover(path, data=data)
    assert nb.replay(path, data=data).fingerprint
    system.step(5)
    assert read_journal(path).entries[-1].cursor == 25


def test_a_journal_that_cant_be_written_is_refused(system, here, monkeypatch):
    """As in a folder that takes nothing."""
    path, _ = left(ALWAYS, minutes(100), SmaCross, [("step", 20)])
    opened = __import__("os").open

    def denied(name, flags, *more):
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return opened(name, flags, *more)

    monkeypatch.setattr("os.open", denied)
    with pytest.raises(nb.JournalError, match=r"can't be gone on with: Permission denied.*nbbacktest\.replay"):
        system.recover(path, data=minutes(100))
    assert nb.replay(path, data=minutes(100)).stats["bars"] == 20


def test_a_copied_run_folder_is_gone_on_with_elsewhere(system, here, tmp_path):
    """A journal is a bug report: its folder, and the bars."""
    path, shown = left(ALWAYS, minutes(100), SmaCross, [("step", 20)])
    shutil.copytree(path.parent, tmp_path / "sent")
    assert system.recover(tmp_path / "sent", data=minutes(100))
    assert parts(system.snapshot()) == shown
    assert system.journal.path == tmp_path / "sent" / "journal"


def test_the_speed_of_the_config_counts_after_it(system, here):
    """On the way it is as fast as it goes."""
    config = ALWAYS | {"backtest": {"speed_multiplier": 0.001}}
    path, _ = left(config | {"journal": {"sync": "never"}}, minutes(100), SmaCross, [])
    assert not path.exists()  # nothing had happened
    first = nb.SystemManager()
    first.start(config, data=minutes(100), strategies=SmaCross, paused=True)
    first.set_speed(0)
    first.step(50)
    path, run = first.journal.path, first.run
    del first
    gc.collect()
    run.wait(10)
    assert system.recover(path, data=minutes(100))
    assert system.get_coordinator().speed == 0.001
    assert system.snapshot().cursor == 50
