"""A start without arguments runs what ran before, whole, from every face; a config is a new beginning."""

from __future__ import annotations

import pytest

import nbbacktest as nb
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.strategies import SmaCross
from nbbacktest.system import commands
from tests.held import Quiet
from tests.markets import minutes

CONFIG = {"exchange": "XNYS", "data": {"derived_intervals": ["5m"], "stamp": "open"}, "broker": {"cash": 50_000}}
EXAMPLE = {
    "session_name": "Other",
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"},
    "data": {"symbols": ["SW"]},
    "strategies": [{"class": "nbbacktest.strategies:BuyAndHold"}],
}


class Steps(nb.Strategy):
    """Buys ever more, by what it remembers of the bars before, and keeps it in all kinds of containers."""

    every: int = 7
    sizes: tuple = (1, 2, 3)

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self.seen, self.by_interval, self.count = [], {}, 0

    def on_bar(self, bar):
        self.seen.append(bar.close)
        self.by_interval[bar.interval] = self.by_interval.get(bar.interval, 0) + 1
        self.count += 1
        if self.count % self.every == 0 and bar.interval == "1m":
            self.buy(size=self.sizes[len(self.seen) % len(self.sizes)])


def pressed(system):
    """Press a fresh panel's Start, and wait for what it does."""
    panel = nb.ControlPanel(system)
    panel._start()
    panel.close()


FACES = {
    "start()": lambda system: system.start(),
    "commands": commands.start,
    "panel": pressed,
    "shell": lambda system: Interpreter(system).execute("system start"),
}
GIVEN = {
    "frame, class and parameters": lambda path: {"data": minutes(), "strategies": Steps, "every": 5, "sizes": (4, 1)},
    "frames by symbol, object": lambda path: {"data": {"A": minutes(), "B": minutes(seed=2)}, "strategies": Quiet()},
    "frame, object with a state": lambda path: {"data": minutes(), "strategies": Steps(every=3)},
    "file, several": lambda path: {"data": path, "strategies": [Steps, SmaCross(fast=3, slow=9)]},
}


@pytest.mark.parametrize(("face", "threads"), [*((face, "on") for face in FACES), ("start()", "off"), ("panel", "off")])
@pytest.mark.parametrize("given", GIVEN)
def test_a_start_without_arguments_runs_the_same_again(given, face, threads, monkeypatch, tmp_path, capsys):
    """Data, strategies, parameters, config and derived bars are those that ran before, twice over."""
    monkeypatch.setenv("NBBACKTEST_THREADS", threads)
    minutes().tz_convert("UTC").to_csv(tmp_path / "A.csv")
    system = nb.SystemManager(reachable=False)
    system.start(CONFIG, **GIVEN[given](tmp_path / "A.csv"))
    first = system.wait()
    for _ in range(2):
        FACES[face](system)
        again = system.wait()
        assert (again.fingerprint, again.strategies, again.source) == (
            first.fingerprint, first.strategies, first.source,
        )  # fmt: skip
        assert again.config == first.config
    capsys.readouterr()


def test_start_of_an_older_panel_runs_what_ran_last():
    """A panel holds no origin of its own."""
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(), strategies=Steps, wait=True)
    panel = nb.ControlPanel(system)
    system.start(EXAMPLE, wait=True)
    panel._start()
    panel.close()
    assert system.wait().config["session_name"] == "Other"


@pytest.mark.parametrize("spoil", [
    lambda frame: frame.__setitem__(["open", "high", "low", "close"], 1.0),
    lambda frame: frame.__setitem__("volume", frame["volume"] * 0),
    lambda frame: frame.__delitem__("close"),
    lambda frame: frame.loc.__setitem__((frame.index[-1] + frame.index.freq, slice(None)), 1.0),
])  # fmt: skip
def test_what_becomes_of_a_frame_changes_no_later_run(spoil):
    """The bars that ran are kept, and not the object that they came in."""
    frame = minutes()
    system = nb.SystemManager(reachable=False)
    system.start({}, data=frame, strategies=Steps)
    first = system.wait()
    spoil(frame)
    system.start()
    assert system.wait().fingerprint == first.fingerprint


def test_a_start_after_an_error_or_a_stop_runs_the_same_again():
    """How a run ended changes nothing of what the next one is made from."""

    class Once(Steps):
        stop_at: int = 0

        def on_bar(self, bar):
            super().on_bar(bar)
            if self.fails and self.count == 50:
                raise ValueError("mistake")

    Once.fails = True
    system = nb.SystemManager(reachable=False)
    one = Once()
    system.start({}, data=minutes(), strategies=one)
    with pytest.raises(nb.StrategyError):
        system.wait()
    Once.fails = False
    system.start(paused=True)
    system.step(60)
    system.stop()
    assert one.count == 60
    system.start()
    assert system.wait().fingerprint == nb.backtest(minutes(), Once).fingerprint


def test_a_config_is_a_new_beginning():
    """With a config, data and strategies that were given before are gone, and so is the speed."""
    system = nb.SystemManager(reachable=False)
    system.set_speed(1e9)
    system.start({}, data=minutes(), strategies=Steps, wait=True)
    assert system.next_speed == 1e9
    system.start(EXAMPLE)
    result = system.wait()
    assert result.strategies == ("BuyAndHold()",)
    assert list(result.record.bars) == ["SW"]
    assert system.next_speed == 0


def test_what_is_given_takes_the_place_of_what_was_given_before():
    """Without a config, data, strategies and parameters can be changed one by one."""
    system, other = nb.SystemManager(reachable=False), minutes(150, seed=9)
    system.start(CONFIG, data=minutes(), strategies=Steps, every=5, wait=True)
    system.start(data=other)
    assert system.wait().fingerprint == nb.backtest(other, Steps, config=CONFIG, every=5).fingerprint
    system.start(sizes=(9,))
    assert system.wait().fingerprint == nb.backtest(other, Steps, config=CONFIG, every=5, sizes=(9,)).fingerprint
    system.start(strategies=SmaCross)
    assert system.wait().fingerprint == nb.backtest(other, SmaCross, config=CONFIG).fingerprint


def test_parameters_for_the_strategies_of_a_config_are_refused():
    """They were left out without a word."""
    with pytest.raises(nb.ConfigError, match="every.*strategies="):
        nb.SystemManager(reachable=False).start(EXAMPLE, every=5)


def test_what_a_strategy_does_to_its_parameters_is_its_runs_alone():
    """A list that is a parameter, of start or of a config, begins each run as it was given."""

    class Fills(nb.Strategy):
        wanted: list = [1]  # noqa: RUF012 - a parameter

        def on_bar(self, bar):
            self.buy(size=len(self.wanted))
            self.wanted.append(bar.close)

    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(20), strategies=Fills, wanted=[1, 2])
    first = system.wait()
    system.start()
    assert system.wait().fingerprint == first.fingerprint
    points = [[1], [1, 2]]
    found = nb.sweep(minutes(20), Fills, {"wanted": points}, progress=False)
    assert points == [[1], [1, 2]]
    assert [found.run(i).stats["final_equity"] for i in (0, 1)] == found.frame["final_equity"].to_list()


def test_a_point_of_a_sweep_runs_again_on_the_bars_that_were_swept():
    """The frame may have changed since."""
    frame = minutes()
    found = nb.sweep(frame, Steps, {"every": [3, 5]}, progress=False)
    frame[["open", "high", "low", "close"]] = 1.0
    assert found.run(1).stats["final_equity"] == found.frame["final_equity"][1]


def test_a_feed_that_has_served_is_refused_with_the_cure():
    """A live run's feed is part of what ran before, and serves one run: the next one needs another, and is told so."""
    system, feed = nb.SystemManager(reachable=False), nb.PushFeed()
    system.start({"mode": "live", "data": {"symbols": ["A"]}}, feed=feed, strategies=Quiet)
    feed.close()
    system.wait()
    with pytest.raises(nb.ConfigError, match="make a new one for each run"):
        system.start()
    other = nb.PushFeed()
    assert system.start(feed=other)
    other.close()
    assert system.wait().strategies == ("Quiet()",)


def test_what_the_next_start_runs_is_said_everywhere():
    """By the system, its status in words and as JSON, the answer to start, and the panel's button."""
    system = nb.SystemManager(reachable=False)
    assert system.next_start is None
    system.start(CONFIG, data={"EXE": minutes()}, strategies=Steps, every=5, wait=True)
    said = "Steps(every=5, sizes=(1, 2, 3)) on EXE (DataFrame)"
    assert system.next_start == system.status()["system_manager"]["next_start"] == said
    assert f"Next start: {said}" in commands.status(system).message
    panel = nb.ControlPanel(system)
    assert panel.controls.buttons["start"].tooltip == f"Run again: {said}"
    panel.close()
    assert commands.start(system).hint == f"Runs again: {said}"
    system.wait()


DATED = {"backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"}, "strategies": EXAMPLE["strategies"]}


def test_a_results_config_does_not_run_other_bars(tmp_path):
    """It says what was run, from a saved result too: with the bars it is the same run, and without them it is refused."""
    first = nb.backtest({"OWN": minutes()}, Steps, every=5, config=DATED)
    first.save(tmp_path / "result")
    config = nb.Result.load(tmp_path / "result").config
    assert config["data"]["symbols"] == ["OWN"]
    assert nb.backtest({"OWN": minutes()}, None, config=config).fingerprint == first.fingerprint
    with pytest.raises(nb.DataError, match="hand them over again"):
        nb.backtest(None, None, config=config)


def test_a_results_config_names_the_file_that_was_given(tmp_path):
    """A path is one in the config as well."""
    minutes().tz_convert("UTC").to_csv(tmp_path / "A.csv")
    first = nb.backtest(tmp_path / "A.csv", SmaCross(fast=3, slow=9), config=CONFIG)
    assert nb.backtest(None, None, config=first.config).fingerprint == first.fingerprint


def test_a_results_config_leaves_out_strategies_that_can_not_be_found():
    """One that was made in a function, or has what JSON can't write, isn't named, and nor are those of the config."""

    class Local(Quiet):
        thing: object = None

    for strategy in (Local, type("Held", (Local,), {"__qualname__": "Held"})(thing=object())):
        config = nb.backtest(minutes(), strategy, config=DATED).config
        assert config["strategies"] == []
        with pytest.raises(nb.ConfigError, match="no strategy"):
            nb.backtest(minutes(), None, config=config)
