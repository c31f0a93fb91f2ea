"""What a journal gives back: a run whose process died goes on where it was, and ends as if it never had died."""

from __future__ import annotations

import gc
import json
import random
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.cli import main
from nbbacktest.strategies import SmaCross
from nbbacktest.system.journal import writer
from nbbacktest.system.journal.folder import runs_in, state_of
from nbbacktest.system.journal.lines import InputEntry, line_of, read_journal
from nbbacktest.system.journal.listing import offer
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


def hands(system):
    return [(one.place.cursor, str(one.what), one.strategy, dict(one.arguments), one.by) for one in system.inputs]


def test_what_was_done_by_hand_is_done_again(system, here):
    """Orders, refused ones, changes, symbols that joined and left, an undo and a redo."""
    data = {"A": minutes(200), "B": minutes(200, seed=2)}
    late = minutes(200, seed=3)
    first = nb.SystemManager()
    first.start(ALWAYS, data=data, strategies=SmaCross, fast=4, slow=8, paused=True)
    first.step(20)
    first.buy("A", 5)
    first.sell("B", 2, limit=1e6, tag="mine")
    with pytest.raises(nb.OrderError):
        first.cancel(999)
    first.change(fast=3)
    first.step(10)
    first.add_symbol("C", late)
    first.step(5)
    first.buy("C", 1)
    first.buy("C", 2)
    first.undo()
    first.redo()
    first.undo()
    first.step(10)
    first.remove_symbol("C", "close")
    first.step(20)
    first.back(30)
    path, shown, done = first.journal.path, parts(first.snapshot()), hands(first)
    assert len(done) == 6
    horizon, run = first.horizon, first.run
    del first
    gc.collect()
    assert run.wait(10)
    assert system.recover(data=data | {"C": late})
    assert hands(system) == done
    assert (system.horizon, system.in_past) == (horizon, True)
    assert parts(system.snapshot()) == shown
    system.resume()
    result = system.wait()
    assert len(result.inputs) == 6
    assert nb.replay(path, data=data | {"C": late}).fingerprint == result.fingerprint
    with pytest.raises(nb.JournalError, match="the symbol C, which joined by hand, and its bars can't be had"):
        nb.replay(path, data=data)


@pytest.mark.parametrize("moves", [["undo"], ["undo", "redo"], ["undo", "undo", "redo"], ["undo", "buy", "undo"]])
def test_undone_and_redone_lines_are_whole(system, here, moves):
    """T2: each is one line, whatever it gives up or brings back."""
    data = minutes(100)
    first = nb.SystemManager()
    first.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    for n in (10, 5, 5):
        first.step(n)
        first.buy("ASSET", n)
    first.step(10)
    first.back(12)  # two inputs are ahead
    for move in moves:
        first.buy("ASSET", 1) if move == "buy" else getattr(first, move)()
    done, place, shown = hands(first), first.run.journey.place, parts(first.snapshot())
    run = first.run
    del first
    gc.collect()
    run.wait(10)
    assert system.recover(data=data)
    assert hands(system) == done
    assert system.run.journey.place == place
    assert parts(system.snapshot()) == shown


def test_a_run_that_has_ended_and_is_taken_back_goes_on_with_its_journal(system, here):
    """An undo after the end too."""
    data = minutes(100)
    system.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    system.step(50)
    system.buy("ASSET", 7)
    system.resume()
    first = system.wait().fingerprint
    path = system.journal.path
    assert state_of(path) == "ended"
    assert system.undo()
    assert (system.journal.path, state_of(path)) == (path, "running")
    assert system.inputs == ()
    system.buy("ASSET", 3)
    system.step(5)
    system.stop()
    assert state_of(path) == "ended"
    assert system.recover(path, data=data)
    assert [one.arguments["size"] for one in system.inputs] == [3]
    assert system.snapshot().cursor == 55
    system.undo()
    system.buy("ASSET", 7)
    system.resume()
    assert system.wait().fingerprint == first


def test_an_input_of_another_version_is_refused(here):
    data = minutes(100)
    first = nb.SystemManager()
    first.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    first.step(1)
    first.buy("ASSET", 7)
    first.stop()
    path = first.journal.path
    *entries, end = read_journal(path).entries
    strange = [msgspec.structs.replace(one, what="hope") if isinstance(one, InputEntry) else one for one in entries]
    path.write_bytes(b"".join(map(line_of, strange)))
    assert end.how == "stopped"
    with pytest.raises(nb.JournalError, match="'hope', that this version doesn't know"):
        nb.replay(path, data=data)


class Breaks(nb.Strategy):
    n: int = 1

    def on_change(self, changed):
        raise KeyError("no")


def test_an_input_that_ended_its_run_is_repeated(here):
    data = minutes(100)
    system = nb.SystemManager()
    system.start(ALWAYS, data=data, strategies=Breaks, paused=True)
    system.step(10)
    with pytest.raises(nb.StrategyError):
        system.change(n=2)
    with pytest.raises(nb.StrategyError) as failed:
        system.wait()
    assert nb.replay(system.journal.path, data=data).fingerprint == failed.value.result.fingerprint


def test_the_command_line_lists_resumes_and_repeats(here, capsys, monkeypatch):
    """`runs`, `resume` and `replay`, with their exit statuses."""
    monkeypatch.setattr("nbbacktest.system.session._the_one", None)
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no run is kept\n"
    assert main(["resume"]) == 2
    assert "no run whose process died" in capsys.readouterr().err
    days = {"start_date": "2024-10-03", "end_date": "2024-10-03"}
    config = ALWAYS | {"backtest": days, "data": {"source": "synthetic", "symbols": ["X"]}}
    path, _ = left(config, None, SmaCross, [("step", 20)])
    assert main(["runs"]) == 0
    assert path.parent.name in (told := capsys.readouterr().out)
    assert "killed" in told
    assert "SmaCross" in told
    assert main(["runs", "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert (run["state"], run["instants"], run["inputs"], run["journal"]) == ("killed", 20, 0, str(path))
    assert main(["resume", path.parent.name[-4:], "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["message"].startswith("Goes on with SmaCross(fast=10, slow=30) on X")
    assert events[-1]["fingerprint"] == read_journal(path).entries[-1].fingerprint
    assert main(["replay", str(path)]) == 0
    assert events[-1]["fingerprint"] in capsys.readouterr().out
    monkeypatch.setattr(SmaCross, "on_bar", lambda self, bar: None)
    assert main(["replay", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["same"] is False
    assert "repeat itself" in told["difference"]
    assert main(["replay", str(path)]) == 1
    assert "doesn't repeat itself" in capsys.readouterr().err.replace("\n", " ")
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 8 + b"\n")
    assert main(["replay", str(path)]) == 2
    assert main(["runs"]) == 0
    assert "is damaged: its checksum" in capsys.readouterr().out.replace("\n", " ")
    assert main(["runs", "--folder", str(here / "nowhere")]) == 0


def test_a_run_that_was_cut_off_is_offered(here, monkeypatch):
    """In one line, for a day; nothing for a run that goes on or has ended."""
    assert offer() is None
    path, _ = left(ALWAYS, minutes(100), SmaCross, [("step", 20)])
    line = offer()
    assert line == f"A run was cut off: SmaCross, 20 instants ({path.parent.name}). system.recover() goes on with it"
    system = nb.SystemManager()
    system.recover(data=minutes(100))
    assert offer() is None
    system.stop()
    assert offer() is None
    left(ALWAYS, minutes(100), SmaCross, [("step", 20)])
    monkeypatch.setattr("nbbacktest.system.journal.listing._OFFERED_SECONDS", -1)
    assert offer() is None


def test_a_place_that_is_written_late_takes_no_input_away(here):
    """The analysis may see a place just before an input, and write it just behind."""
    data = minutes(100)
    first = nb.SystemManager()
    first.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    first.step(10)
    before = parts(first.snapshot())
    first.buy("ASSET", 7)
    path, run = first.journal.path, first.run
    del first
    gc.collect()
    run.wait(10)
    origin, *entries = read_journal(path).entries
    stands = [one for one in entries if not isinstance(one, InputEntry)]
    [bought] = [one for one in entries if isinstance(one, InputEntry)]
    path.write_bytes(b"".join(map(line_of, [origin, stands[0], bought, stands[0]])))
    system = nb.SystemManager()
    assert system.recover(path, data=data)
    assert len(system.inputs) == 1
    assert system.run.journey.place == (10, 1)
    assert parts(system.snapshot()) != before
    system.stop()


def test_a_panel_offers_what_was_cut_off(here):
    """Where nothing was started yet; the next run leaves the line behind."""
    system = nb.SystemManager()
    quiet = nb.ControlPanel(system)
    assert quiet.controls.notice.value == ""
    quiet.close()
    left(ALWAYS, minutes(100), SmaCross, [("step", 20)])
    panel = nb.ControlPanel(system)
    assert "system.recover() goes on with it" in panel.controls.notice.value
    system.recover(data=minutes(100))
    panel.draw_frame()
    assert panel.controls.notice.value == ""
    panel.close()
    other = nb.ControlPanel(system)
    assert other.controls.notice.value == ""
    other.close()
    system.stop()


class Other(Changed):
    """Beside `Changed`, with a parameter of its own."""


def test_each_strategy_has_its_parameters_again(system, here):
    """Those of a config, and of several that are given; handed over as classes too."""
    data = minutes(200)
    named = [{"class": f"{__name__}:{name}", "params": {"n": n}} for name, n in (("Changed", 3), ("Other", 4))]
    for config, strategies, handed in (
        (ALWAYS | {"strategies": named}, None, None),
        (ALWAYS, [Changed(n=3), Other(n=4)], None),
        (ALWAYS, [Changed(n=3), Other(n=4)], [Changed, Other]),
        (ALWAYS, [Changed(n=3), Other(n=4)], [Changed(n=3), Other(n=4)]),
    ):
        path, shown = left(config, data, strategies, [("step", 50)])
        assert system.recover(path, data=data, strategies=handed)
        assert [one.n for one in system.strategies] == [3, 4]
        assert parts(system.snapshot()) == shown
        system.stop()


def test_an_input_is_on_the_disk_before_it_happens(here, monkeypatch):
    """And by choice isn't waited for; places and ends never are."""
    seen = []

    def append(descriptor, content, *, sync):
        if b'"kind":"input"' in content or b'"kind":"cut"' in content:
            seen.append((len(system.run.world.desk.orders), sync))
        else:
            assert not sync
        return write(descriptor, content, sync=sync)

    write = writer.append
    monkeypatch.setattr(writer, "append", append)
    for sync in ("input", "never"):
        seen.clear()
        system = nb.SystemManager()
        system.start(ALWAYS | {"journal": {"sync": sync}}, data=minutes(50), strategies=nb.Strategy, paused=True)
        system.step(5)
        for _ in range(3):
            system.buy("ASSET", 1)
        system.undo()
        assert seen == [(n, sync == "input") for n in (0, 1, 2, 2)]  # an undo leads to a world with two
        system.stop()


def test_an_input_on_a_full_disk_is_done_and_told(here, monkeypatch, caplog):
    system = nb.SystemManager()
    system.start(ALWAYS, data=minutes(50), strategies=nb.Strategy, paused=True)
    system.step(5)
    system.buy("ASSET", 1)

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "append", full)
    system.buy("ASSET", 2)
    system.buy("ASSET", 3)
    monkeypatch.undo()
    system.step(5)
    assert (len(system.inputs), system.snapshot().n_fills) == (3, 3)
    system.stop()
    assert len([one for one in caplog.messages if "No space left" in one]) == 1
    assert [type(one).__name__ for one in read_journal(system.journal.path).entries][-1] == "InputEntry"


class Watching(nb.Strategy):
    """Notes when it is executed again."""

    def on_start(self):
        self.seen = [self.is_replay]

    def on_bar(self, bar):
        self.seen.append(self.is_replay)
        self.buy(size=1)


def test_a_strategy_knows_that_it_is_executed_again(system, here):
    """From its start to where it was, and no further."""
    left(ALWAYS, minutes(100), Watching, [("step", 20)])
    assert system.recover(data=minutes(100))
    system.step(3)
    assert system.strategies[0].seen == [True] * 21 + [False] * 3
