"""A user's function that makes a point of a sweep the best is named where it raises, with the point and the cure."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

import nbbacktest as nb
from nbbacktest.report.sweep import rehearse, score_of
from tests.markets import days
from tests.unit.core.test_formats_of_users import Mute


class Some(nb.Strategy):
    """Has a parameter."""

    n: int = 1
    thing: object = None

    def on_bar(self, bar):
        if len(self.bars()) % (self.n + 2) == 0:
            self.order_target_percent(bar.symbol, 0.5)


def found(maximize, caplog=None, grid=None):
    return nb.sweep(days(30), Some, grid or {"n": [1, 2]}, maximize=maximize, progress=False)


WRONG = {
    "unknown name": (lambda row: row["Sharpe Ratio"], "KeyError: 'Sharpe Ratio' at point n=1; did you mean 'sharpe'?"),
    "unknown statistic": (lambda row: row["max drawdown"], "did you mean 'max_drawdown'?"),
    "nothing like it": (lambda row: row["zzz"], "A row has start, end, bars"),
    "another key": (lambda row: {}["k"], "KeyError: 'k' at point n=1"),
    "raises": (lambda row: 1 / 0, "raised ZeroDivisionError: division by zero at point n=1; return a number"),
    "no number": (lambda row: None, "gave None, which is no number, at point n=1"),
    "text": (lambda row: "high", "gave 'high', which is no number, at point n=1"),
    "attribute": (lambda row: row.sharpe, "AttributeError"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_maximize_that_raises_is_named(kind, caplog):
    """By best, run, top and scores; the points are kept, and neither repr nor HTML ever raises."""
    function, words = WRONG[kind]
    with caplog.at_level(logging.WARNING, "nbbacktest"):
        sweep = found(function)
    (record,) = caplog.records
    assert words in record.getMessage()
    assert len(sweep.frame) == 2
    for ask in (lambda: sweep.best, sweep.run, sweep.top, sweep.scores, sweep.heatmap):
        with pytest.raises((nb.ConfigError, nb.DataError)) as raised:
            ask()
        if ask != sweep.heatmap:
            assert words in str(raised.value)
            assert "maximize = <function" in str(raised.value)
            assert raised.value.__cause__ is not None
    assert words in repr(sweep)
    assert "<table" in sweep._repr_html_()
    assert len(sweep.top(1, by="return")) == 1
    with pytest.raises(nb.ConfigError, match="by = "):
        sweep.top(1, by=function)


def test_a_wrong_name_is_told_before_any_point_is_run(caplog):
    """It costs nothing to find out."""
    seen = []

    class Counts(nb.Strategy):
        n: int = 1

        def on_start(self):
            seen.append(len(caplog.records))

        def on_bar(self, bar):
            pass

    with caplog.at_level(logging.WARNING, "nbbacktest"), ThreadPoolExecutor(1) as pool:
        nb.sweep(
            days(5),
            Counts,
            {"n": [1, 2]},
            maximize=lambda row: row["Return"],
            progress=False,
            executor=pool,
        )
    assert seen[0] == 1


def test_what_only_an_invented_row_does_is_not_told():
    """A function may well divide by what is 0 there, or ask for a key that a row has not with get."""
    rehearse(lambda row: 1 / (row["trades"] - 1), {"n": 1})
    rehearse(lambda row: row.get("no such") or row["n"], {"n": 1})
    rehearse("sharpe", {"n": 1})
    with pytest.raises(nb.ConfigError):
        rehearse(lambda row: row["m"], {"n": 1})


def test_a_function_that_raises_at_later_points_alone(caplog):
    """The sweep says so when it is asked for the best, with that point."""
    sweep = found(lambda row: 1 / (row["n"] - 2))
    assert not caplog.records
    with pytest.raises(nb.ConfigError, match="at point n=2"):
        assert sweep.best
    assert "at point n=2" in repr(sweep)


def test_durations_count_in_days():
    """As statistics and as a function's answer."""
    import pandas as pd

    row = {"max_drawdown_duration": pd.Timedelta(hours=36)}
    assert score_of("max_drawdown_duration", row, {}) == score_of(lambda r: r["max_drawdown_duration"], row, {}) == 1.5


def test_values_that_can_not_be_written_are_shown_by_their_class():
    """In repr, HTML and the heat map of a sweep; in a result, a status and the text of an error."""
    sweep = found("final_equity", grid={"thing": [Mute(), 1], "n": [1, 2]})
    named = "Mute, whose repr raised RuntimeError"
    assert not len(sweep.failed)
    assert named in sweep._repr_html_()
    assert named in sweep.heatmap().to_json()
    repr(sweep)
    result = nb.backtest(days(30), Some, thing=Mute())
    assert named in repr(result)
    assert named in result._repr_html_()
    with pytest.raises(nb.ConfigError, match=named):
        nb.backtest(days(30), Mute())


def test_a_strategy_whose_own_repr_raises_is_run():
    """Its class is named instead."""

    class Own(Some):
        def __repr__(self):
            raise RuntimeError

    assert nb.backtest(days(30), Own).strategies == ("<Own, whose repr raised RuntimeError>",)
    assert "Own" in repr(nb.audit_lookahead(days(30), Own))


def test_an_exception_that_can_not_be_written_keeps_the_result():
    """It is named by its class."""

    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    class Fails(Some):
        def on_bar(self, bar):
            raise MuteError

    with pytest.raises(nb.StrategyError, match="MuteError: its str raised RuntimeError") as raised:
        nb.backtest(days(30), Fails)
    assert raised.value.result.stats["bars"] == 1


def test_a_progress_that_raises_harms_nothing(caplog):
    """It is logged once, and not called again."""
    calls = []

    def progress(done, total):
        calls.append(done)
        raise ValueError("mine")

    assert nb.sweep(days(30), Some, {"n": [1, 2, 3]}, progress=progress).complete
    assert calls == [1]
    assert [record.getMessage()[:8] for record in caplog.records] == ["progress"]


def test_a_where_without_a_signature_is_refused():
    """A built-in function doesn't say what it takes."""
    with pytest.raises(nb.ConfigError, match="doesn't say which parameters"):
        nb.sweep(days(30), Some, {"n": [1, 2]}, where=max, progress=False)
