"""Bad input: one clear error before any thread starts, through every door, and nothing half-started after it."""

from __future__ import annotations

import copy
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest import cli
from nbbacktest.core.config import EXAMPLE
from nbbacktest.system import manager as manager_module
from tests.markets import days, minutes


class Quiet(nb.Strategy):
    """Does nothing, with a parameter."""

    fast: int = 10


class Raising(nb.Strategy):
    """Raises a ZeroDivisionError in the callback `at`, once it trades."""

    at: str = "on_bar"

    def _reach(self, place):
        if self.at == place:
            raise ZeroDivisionError("boom")

    def on_start(self):
        self._reach("on_start")

    def on_bar(self, bar):
        self.buy(bar.symbol, 1)
        if len(self.bars(bar.symbol)) == 5:
            self._reach("on_bar")

    def on_fill(self, fill):
        self._reach("on_fill")

    def on_stop(self):
        self._reach("on_stop")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of its own to be in, with strategies that can't be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("broken_rules.py").write_text("1 / 0\n", encoding="utf-8")
    Path("EXE.csv").write_text("time,open,high,low,close\n2024-10-03 09:30:00-04:00,1,1,1,1\n", encoding="utf-8")


@pytest.fixture
def started(monkeypatch):
    """The names of all engine threads that are started during a test."""
    names = []
    start = threading.Thread.start

    def noting(thread):
        if thread.name.startswith("nbbacktest"):
            names.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noting)
    return names


def changed(changes: dict) -> dict:
    """The example config with values laid over it, by dotted path."""
    config = copy.deepcopy(EXAMPLE)
    for path, value in changes.items():
        *sections, key = path.split(".")
        at = config
        for section in sections:
            at = at[int(section)] if isinstance(at, list) else at.setdefault(section, {})
        at[key] = value
    return config


def check(error: BaseException, kinds: tuple[type, ...], words: tuple[str, ...]) -> None:
    """The error is one of the package's and of each builtin in `kinds`, and says all of `words`."""
    assert isinstance(error, nb.NbBacktestError)
    assert all(isinstance(error, kind) for kind in kinds), type(error).__mro__
    text = str(error)
    assert all(word in text for word in words), text
    assert "nput should" not in text
    assert len(text) < 600


def check_untouched(system: nb.SystemManager, started: list[str]) -> None:
    """No thread was started, nothing runs or failed, and a good run works at once."""
    assert started == []
    assert system.is_stopped()
    assert system.error is None
    assert system.strategies == ()
    assert system.start({}, data=minutes(20), strategies=Quiet, wait=True) is True
    assert system.wait().stats["bars"] == 20


CSV = {"data.source": "csv", "data.path": "{symbol}.csv", "data.symbols": ["EXE"], "data.stamp": "open"}
CLASS = "strategies.0.class"
CONFIGS = {
    "unknown key": ({"data.simbols": ["EXE"]}, (ValueError,), ("data.simbols = ['EXE']", "did you mean 'symbols'?")),
    "wrong type": ({"broker.cash": "much"}, (ValueError,), ("broker.cash = 'much'", "must be a number")),
    "text for a list": ({"data.symbols": "EXE"}, (ValueError,), ("data.symbols = 'EXE'", '["EXE"]')),
    "unknown cost model": ({"broker.slippage": {"model": "persent"}}, (ValueError,),
        ("broker.slippage.model = 'persent'", "did you mean 'percent'?")),
    "end before start": ({"backtest.end_date": "2024-10-01"}, (ValueError,),
        ("backtest.end_date = '2024-10-01'", "before start_date 2024-10-03")),
    "no session": ({"backtest.start_date": "2024-10-05", "backtest.end_date": "2024-10-06"}, (ValueError,),
        ("XNYS has no session between 2024-10-05 and 2024-10-06", "choose days")),
    "no dates": ({"backtest.start_date": None}, (ValueError,), ("backtest.start_date = None", "required for synthetic")),
    "unknown source": ({"data.source": "syntetic"}, (ValueError,), ("data.source = 'syntetic'", "did you mean 'synthetic'?")),
    "missing file": (CSV | {"data.symbols": ["EXF"]}, (FileNotFoundError, ValueError),
        ("EXF.csv: no such file", "did you mean 'EXE.csv'?")),
    "missing folder": (CSV | {"data.path": "nowhere/{symbol}.csv"}, (FileNotFoundError,),
        ("nowhere/EXE.csv: there is no directory nowhere",)),
    "no path": ({"data.source": "csv"}, (ValueError,), ("data.path = None", "needs a file")),
    "open or close": (CSV | {"data.stamp": None, "data.derived_intervals": []}, (ValueError,),
        ("EXE (EXE.csv)", "their open or their close", "data.stamp")),
    "unknown symbol": ({"data.source": "sample", "data.symbols": ["APPL"], "data.interval": "1d",
        "data.derived_intervals": []}, (ValueError,), ("no symbol 'APPL'", "did you mean 'AAPL'?")),
    "a strategy's unknown symbol": ({"strategies.0.symbols": ["EX"]}, (ValueError,),
        ("strategies.0.symbols = 'EX'", "did you mean 'EXE'?")),
    "not a multiple": ({"data.derived_intervals": ["90s"]}, (ValueError,),
        ("data.derived_intervals = '90s'", "not a multiple of interval 1m", "such as 5m")),
    "no interval": ({"data.interval": "1 minute"}, (ValueError,), ("data.interval = '1 minute'", "'15m'")),
    "an interval across sessions": ({"data.interval": "7m", "data.derived_intervals": []}, (ValueError,),
        ("data.interval = '7m'", "does not divide the session of XNYS, 390 minutes", "5m")),
    "negative speed": ({"backtest.speed_multiplier": -1}, (ValueError,), ("backtest.speed_multiplier = -1", "at least 0")),
    "no cash": ({"broker.cash": 0}, (ValueError,), ("broker.cash = 0", "greater than 0")),
    "negative cash": ({"broker.cash": -1}, (ValueError,), ("broker.cash = -1", "greater than 0")),
    "unknown exchange": ({"exchange": "XNYX"}, (ValueError,), ("exchange = 'XNYX'", "did you mean 'XNYS'?")),
    "unknown time zone": ({"timezone": "America/NewYork"}, (ValueError,), ("timezone = 'America/NewYork'", "'America/New_York'?")),
    "no such module": ({CLASS: "no_such_module:X"}, (ValueError,),
        ("strategies.0.class = 'no_such_module:X'", "can't be imported: ModuleNotFoundError")),
    "a module that raises": ({CLASS: "broken_rules:X"}, (ValueError,),
        ("strategies.0.class = 'broken_rules:X'", "can't be imported: ZeroDivisionError: division by zero")),
    "no such class": ({CLASS: "nbbacktest.strategies:SmaCros"}, (ValueError,),
        ("strategies.0.class = 'nbbacktest.strategies:SmaCros'", "did you mean 'SmaCross'?")),
    "not a Strategy": ({CLASS: "collections:OrderedDict"}, (ValueError,),
        ("strategies.0.class = 'collections:OrderedDict'", "not a subclass of nbbacktest.Strategy")),
    "no strategy": ({"strategies": []}, (ValueError,), ("strategies = []", "add one, such as")),
    "unknown parameter": ({"strategies.0.params": {"fsat": 3}}, (ValueError, TypeError),
        ("SmaCross", "fsat = 3", "did you mean 'fast'?")),
    "wrong parameter": ({"strategies.0.params": {"fast": "3"}}, (ValueError, TypeError),
        ("SmaCross", "fast = '3'", "must be int, such as 10")),
    "unknown mode": ({"mode": "livee"}, (ValueError,), ("mode = 'livee'", "must be 'backtest' or 'live'")),
}  # fmt: skip


def needs_samples(changes: dict) -> None:
    if changes.get("data.source") == "sample":
        pytest.importorskip("bokeh_sampledata", reason="needs pip install 'nbbacktest[samples]'")


@pytest.mark.parametrize(("changes", "kinds", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_bad_config_starts_nothing(started, changes, kinds, words):
    """Given to start as a mapping or a file: the error, and then nothing has happened."""
    needs_samples(changes)
    config = changed(changes)
    Path("bad.json").write_text(json.dumps(config), encoding="utf-8")
    for source in (config, "bad.json"):
        system = nb.SystemManager()
        with pytest.raises(nb.NbBacktestError) as caught:
            system.start(source)
        check(caught.value, kinds, words)
    check_untouched(system, started)


@pytest.mark.parametrize(("changes", "kinds", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_bad_config_is_wrong_usage(started, capsys, changes, kinds, words):
    """Given to the command line: the same words on stderr, status 2."""
    needs_samples(changes)
    Path("bad.json").write_text(json.dumps(changed(changes)), encoding="utf-8")
    assert cli.main(["run", "bad.json"]) == 2
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    assert all(word in err for word in words), err
    assert "Traceback" not in err


def frame(**changes) -> pd.DataFrame:
    """Bars with values set in their fourth row."""
    bars = minutes(20).astype(float)
    for name, value in changes.items():
        bars.loc[bars.index[3], name] = value
    return bars


FRAMES = {
    "missing column": (lambda: frame().rename(columns={"close": "clsoe"}), ("column 'close' is missing", "'clsoe'?")),
    "empty": (lambda: frame().iloc[:0], ("the frame is empty", "at least one bar")),
    "unsorted": (lambda: frame().iloc[[0, 2, 1, 3]], ("stamps must rise", "09:31:00", "09:32:00", "sort_index()")),
    "duplicates": (lambda: frame().iloc[[0, 1, 1, 2]], ("duplicates", "row 2", "09:31:00", "duplicated()")),
    "NaN": (lambda: frame(close=np.nan), ("close is not a finite number", "1 bar of 20", "09:33:00", "nan", "remove")),
    "infinite": (lambda: frame(open=np.inf), ("open is not a finite number", "09:33:00", "open inf", "remove")),
    "high below low": (lambda: frame(high=1.0), ("high is below low", "09:33:00", "high 1, low ", "correct or remove")),
    "close outside": (lambda: frame(close=1.0), ("close is outside of low to high", "09:33:00", "close 1")),
    "negative volume": (lambda: frame(volume=-5.0), ("volume is negative", "09:33:00", "volume -5", "correct")),
    "naive": (lambda: frame().tz_localize(None), ("name no time zone", "2024-10-03 09:30:00", "set data.timezone", "tz_localize")),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), FRAMES.values(), ids=FRAMES)
def test_bad_bars_start_nothing(started, make, words):
    """Given to backtest or start as a frame: the symbol, the place, the value, the cure; and nothing has happened."""
    system = nb.SystemManager()
    for door in (
        lambda: nb.backtest({"EXE": make()}, Quiet),
        lambda: system.start({}, data={"EXE": make()}, strategies=Quiet),
    ):
        with pytest.raises(nb.DataError) as caught:
            door()
        check(caught.value, (ValueError,), ("EXE", *words))
    check_untouched(system, started)


@pytest.mark.parametrize(("make", "words"), FRAMES.values(), ids=FRAMES)
def test_a_bad_file_is_wrong_usage(started, capsys, make, words):
    """The same bars in a CSV file, on the command line: the file's name too, status 2."""
    make().to_csv("EXE.csv", index_label="time")
    changes = {"timezone": None, "strategies.0.symbols": None, "backtest": {}, **CSV}
    Path("bad.json").write_text(json.dumps(changed(changes)), encoding="utf-8")
    assert cli.main(["run", "bad.json"]) == 2
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    assert all(word in err for word in ["EXE (EXE.csv)", *words]), err
    assert "Traceback" not in err


def test_naive_dates_of_daily_bars_are_welcome():
    """Daily bars with plain dates need no time zone: the dates are sessions, and come back as dates."""
    result = nb.backtest(days(30), Quiet)
    assert result.equity.index.tz is None
    assert result.stats["bars"] == 30


def test_naive_times_with_a_zone_are_welcome():
    """Naive intraday stamps are fine where the config names the zone."""
    result = nb.backtest(frame().tz_localize(None), Quiet, config={"timezone": "America/New_York"})
    assert str(result.equity.index[0]) == "2024-10-03 09:31:00-04:00"


CALLS = {
    "not bars": (lambda: nb.backtest([1, 2], Quiet), (ValueError,), ("data is a list", "pass a DataFrame")),
    "no symbols": (lambda: nb.backtest({}, Quiet), (ValueError,), ("the mapping is empty", "at least one")),
    "missing file": (lambda: nb.backtest("EXF.csv", Quiet), (FileNotFoundError,), ("EXF.csv", "did you mean 'EXE.csv'?")),
    "unknown file": (lambda: nb.backtest("EXE.xls", Quiet), (ValueError,), ("EXE.xls", "use .csv")),
    "unknown symbol": (lambda: nb.backtest({"EXE": minutes()}, Quiet, config={"data": {"symbols": ["EXF"]}}),
        (ValueError,), ("no symbol 'EXF'", "did you mean 'EXE'?")),
    "no cash": (lambda: nb.backtest(minutes(), Quiet, cash=0), (ValueError,), ("backtest()", "broker.cash = 0", "greater than 0")),
    "cash as text": (lambda: nb.backtest(minutes(), Quiet, cash="1000"), (ValueError,), ("cash = '1000'", "must be a number")),
    "NaN cash": (lambda: nb.backtest(minutes(), Quiet, cash=float("nan")), (ValueError,), ("cash = nan", "finite")),
    "commission": (lambda: nb.backtest(minutes(), Quiet, commission=-0.1), (ValueError,), ("commission.rate = -0.1", "at least 0")),
    "all as commission": (lambda: nb.backtest(minutes(), Quiet, commission=1), (ValueError,), ("rate = 1:", "less than 1", "0.001 is 0.1%")),
    "commission as text": (lambda: nb.backtest(minutes(), Quiet, commission="0.1%"), (ValueError,), ("commission = '0.1%'", "0.001")),
    "slippage": (lambda: nb.backtest(minutes(), Quiet, slippage=-1), (ValueError,), ("slippage.rate = -1", "at least 0")),
    "fill": (lambda: nb.backtest(minutes(), Quiet, fill="now"), (ValueError,), ("fill = 'now'", "must be 'next_open'")),
    "derived": (lambda: nb.backtest(minutes(), Quiet, derived=("90s",)), (ValueError,),
        ("data.derived_intervals = '90s'", "not a multiple of interval 1m")),
    "derived of days": (lambda: nb.backtest(days(), Quiet, derived="5m"), (ValueError,),
        ("data.derived_intervals = '5m'", "can't be built from 1d bars")),
    "no interval": (lambda: nb.backtest(minutes(), Quiet, derived=("five",)), (ValueError,), ("'five' is no interval",)),
    "unknown parameter": (lambda: nb.backtest(minutes(), Quiet, fsat=3), (TypeError, ValueError), ("Quiet", "fsat = 3", "'fast'?")),
    "wrong parameter": (lambda: nb.backtest(minutes(), Quiet, fast=1.5), (TypeError, ValueError), ("fast = 1.5", "must be int")),
    "parameters of an instance": (lambda: nb.backtest(minutes(), Quiet(), fast=3), (ValueError,), ("Quiet(fast=10)", "instance")),
    "not a Strategy": (lambda: nb.backtest(minutes(), dict), (ValueError,), ("<class 'dict'>", "subclass of nbbacktest.Strategy")),
    "no strategies": (lambda: nb.backtest(minutes(), []), (ValueError,), ("strategy = []", "give a Strategy class")),
    "config": (lambda: nb.backtest(minutes(), Quiet, config={"brokr": {}}), (ValueError,), ("brokr = {}", "'broker'?")),
    "missing config": (lambda: nb.backtest(minutes(), Quiet, config="nope.json"), (FileNotFoundError,), ("nope.json", "no JSON file")),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kinds", "words"), CALLS.values(), ids=CALLS)
def test_a_bad_call_starts_nothing(started, call, kinds, words):
    """A wrong argument of backtest is told with its name, value and cure; no thread was started."""
    with pytest.raises(nb.NbBacktestError) as caught:
        call()
    check(caught.value, kinds, words)
    assert started == []
    assert nb.backtest(minutes(20), Quiet).stats["bars"] == 20


@pytest.mark.parametrize(
    ("speed", "kind"), [(-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("fast", TypeError)]
)
def test_a_bad_speed_changes_nothing(speed, kind):
    """set_speed refuses what is no speed, by its value, and the run goes on as it was."""
    system = nb.SystemManager()
    system.start({}, data=minutes(20), strategies=Quiet, paused=True)
    with pytest.raises(kind, match=str(speed)):
        system.set_speed(speed)
    assert system.status()["session"]["speed_multiplier"] == 0
    assert system.is_paused()
    system.stop()


FILLS = {"on_start": 0, "on_bar": 4, "on_fill": 1, "on_stop": 19}


@pytest.mark.parametrize("at", FILLS)
def test_a_raising_strategy_ends_the_run_with_its_part(at):
    """Backtest and wait raise a StrategyError from the original; what was done until then is in it."""
    system = nb.SystemManager()
    system.start({}, data=minutes(20), strategies=Raising, at=at)
    for door in (lambda: nb.backtest(minutes(20), Raising, at=at), system.wait):
        with pytest.raises(nb.StrategyError, match=rf"Raising.{at} raised.*: ZeroDivisionError: boom") as caught:
            door()
        assert isinstance(caught.value, RuntimeError)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert len(caught.value.result.fills) == FILLS[at]
        assert (caught.value.symbol is None) is (at in ("on_start", "on_stop"))
    assert system.is_stopped()
    assert system.error is not None
    assert system.start({}, data=minutes(20), strategies=Quiet, wait=True)
    assert system.error is None


@pytest.mark.parametrize("at", FILLS)
def test_a_raising_strategy_is_status_1(capsys, monkeypatch, at):
    """The command line says where it raised, and reports what was run."""
    monkeypatch.setitem(sys.modules, "raising_rules", sys.modules[__name__])
    config = changed({"strategies": [{"class": "raising_rules:Raising", "params": {"at": at}}]})
    Path("run.json").write_text(json.dumps(config), encoding="utf-8")
    assert cli.main(["run", "run.json"]) == 1
    out, err = capsys.readouterr()
    assert f"Raising.{at} raised" in err
    assert "Traceback" not in err
    assert "Example" in out


def test_a_strategy_that_blocks_forever_hangs_nobody(monkeypatch):
    """stop() gives up after its limit and names the line; the system is stopped, and starts again."""
    inside, never = threading.Event(), threading.Event()

    class Blocked(nb.Strategy):
        def on_bar(self, bar):
            inside.set()
            never.wait()

    monkeypatch.setattr(manager_module, "STOP_SECONDS", 0.1)
    system = nb.SystemManager()
    system.start({}, data=minutes(20), strategies=Blocked)
    try:
        assert inside.wait(10)
        with pytest.raises(TimeoutError, match=r"on_bar\(\) at .*test_bad_input\.py:\d+ has not returned") as caught:
            system.stop()
        assert isinstance(caught.value, nb.StrategyBlockedError)
        assert system.is_stopped()
        assert system.start({}, data=minutes(20), strategies=Quiet, wait=True)
    finally:
        never.set()
