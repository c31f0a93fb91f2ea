"""Errors: which builtin catches them, what they say, and that they survive a pickle."""

from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core import errors
from nbbacktest.core.errors import MISSING, NbBacktestError, Problem, closest, nearest
from tests.markets import minutes

PROBLEMS = (Problem("broker.cash", -5, "must be greater than 0"), Problem("data.interval", "1x", "is no interval"))

EXAMPLES = [
    errors.NbBacktestError("the engine failed"),
    errors.ConfigError(PROBLEMS, "run.json"),
    errors.ConfigNotFoundError(PROBLEMS[:1], "run.json"),
    errors.ParameterError([Problem("fast", MISSING, "it has no default")], "Cross"),
    errors.DataError("EXE: the frame is empty"),
    errors.DataNotFoundError("EXE.csv: no such file"),
    errors.MissingExtraError("bokeh_sampledata", "samples", "the sample data"),
    errors.OrderError("size -1"),
    errors.ReplayError("the run doesn't repeat itself"),
    errors.JournalError("runs/1/journal", 3, "is damaged", "take a copy"),
    errors.StateError("Cross.brain can't be copied"),
    errors.OutsideRunError("outside"),
    errors.IndicatorError("too short"),
    errors.ScheduleError("no such time"),
    errors.InvalidTransition("stopped", "resume", ["start"], ["stop: running -> stopped"]),
    errors.LiveRunError("step", ["start: stopped -> running"]),
    errors.NoThreadsError("a live run", "start Python with threads"),
    errors.FeedError("the vendor is gone"),
    errors.StrategyError("Cross", "on_start", "ValueError: no"),
    errors.StrategyError(
        "Cross", "on_bar", "ValueError: no", symbol="EXE", interval="1m", time=pd.Timestamp("2024-10-03 09:30", tz="UTC")
    ),
    errors.StrategyBlockedError("on_bar() has not returned"),
    errors.NoSessionError("no session is running"),
    errors.AmbiguousSessionError("2 sessions are running"),
    errors.RemoteError("session abc123 has ended"),
    errors.RemoteCommandError("ZeroDivisionError", "division by zero"),
]  # fmt: skip

CAUGHT_AS = {
    errors.ConfigError: (ValueError,),
    errors.ConfigNotFoundError: (ValueError, FileNotFoundError),
    errors.ParameterError: (ValueError, TypeError),
    errors.DataError: (ValueError,),
    errors.DataNotFoundError: (ValueError, FileNotFoundError),
    errors.MissingExtraError: (ImportError,),
    errors.OrderError: (ValueError,),
    errors.JournalError: (ValueError,),
    errors.OutsideRunError: (RuntimeError,),
    errors.IndicatorError: (ValueError,),
    errors.ScheduleError: (ValueError,),
    errors.InvalidTransition: (RuntimeError,),
    errors.LiveRunError: (RuntimeError, errors.InvalidTransition),
    errors.NoThreadsError: (RuntimeError,),
    errors.FeedError: (ConnectionError,),
    errors.ReplayError: (RuntimeError,),
    errors.StateError: (TypeError,),
    errors.StrategyError: (RuntimeError,),
    errors.StrategyBlockedError: (TimeoutError,),
    errors.NoSessionError: (LookupError,),
    errors.AmbiguousSessionError: (ValueError,),
    errors.RemoteError: (ConnectionError,),
    errors.RemoteCommandError: (RuntimeError,),
}


def test_every_error_is_caught_by_the_builtin_that_fits():
    """Each subclasses the package's root and the builtin that a user would catch; none is left out here."""
    kinds = {k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, NbBacktestError)}
    assert kinds - {NbBacktestError} == set(CAUGHT_AS)
    for kind, builtins in CAUGHT_AS.items():
        assert all(issubclass(kind, builtin) for builtin in builtins)
    assert {type(example) for example in EXAMPLES} == kinds


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("through", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"])
def test_errors_survive_a_process_boundary(error, through):
    """Pickled or copied, an error keeps its class, message and attributes."""
    twin = through(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert {k: v for k, v in vars(twin).items() if k != "problems"} == {
        k: v for k, v in vars(error).items() if k != "problems"
    }
    assert getattr(twin, "problems", None) == getattr(error, "problems", None)


def test_a_strategy_error_takes_its_result_along():
    """What was done until the error is in the pickled error too."""

    class Boom(nb.Strategy):
        def on_bar(self, bar):
            self.buy(size=1)
            if len(self.bars()) == 9:
                raise ValueError("here")

    with pytest.raises(nb.StrategyError) as caught:
        nb.backtest(minutes(), Boom)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert twin.result.fingerprint == caught.value.result.fingerprint
    assert len(twin.result.fills) == 8
    assert (twin.symbol, twin.interval, twin.callback) == ("ASSET", "1m", "on_bar")
    assert twin.time == caught.value.time


def test_a_config_error_lists_every_problem():
    """One line says where and how many; then each problem with path, value and cure."""
    text = str(errors.ConfigError(PROBLEMS, "run.json"))
    assert text.splitlines() == [
        "run.json has 2 problems:",
        "  broker.cash = -5: must be greater than 0",
        "  data.interval = '1x': is no interval",
    ]
    assert str(errors.ConfigError(PROBLEMS[:1])).startswith("session config has 1 problem:")


def test_a_long_value_is_cut():
    """A value is shown in 80 characters at most; a missing one is called so."""
    assert str(Problem("data", "x" * 500, "no")) == "data = '" + "x" * 76 + "...: no"
    assert str(Problem("rate", MISSING, "is required")) == "rate = (missing): is required"
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING


def test_an_extra_is_named_with_the_command_that_brings_it():
    """The message holds a line to copy."""
    error = errors.MissingExtraError("bokeh_sampledata", "samples", "the sample data")
    assert str(error) == (
        "the sample data needs the package 'bokeh_sampledata'; install it with: pip install \"nbbacktest[samples]\""
    )


def test_nearest_names_one_or_lists_them():
    """A likely meaning where there is one, else what is known, else that nothing is; long lists are cut."""
    assert nearest("sesion", ["session", "data"]) == "did you mean 'session'?"
    assert nearest("x", ["b", "a"]) == "known are: a, b"
    assert nearest("x", []) == "there are none"
    assert nearest("x", [f"name{i:03}" for i in range(50)]).endswith("name018, name019 and 30 more")
    assert nearest("x", [f"name{i:03}" for i in range(20)]).endswith("name019")
    assert closest("AAPLE", ["IBM", "AAPL"]) == "AAPL"
    assert closest("AAPL", ["zzz"]) is None
