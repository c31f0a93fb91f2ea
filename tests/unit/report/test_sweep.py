"""What a sweep's result tells: its table, its best point, its heat map."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.report.sweep import STATISTICS, SweepResult


def made(maximize="sharpe", failed=()) -> tuple[SweepResult, list[dict]]:
    """A sweep of a, b and trades whose Sharpe ratio is 100 a + 10 b - trades."""
    ran: list[dict] = []
    rows = []
    for a, b, trades in product([1, 2], [1, 2, 3], [0, 5]):
        stats = dict.fromkeys(STATISTICS, 1.0) | {
            "sharpe": 100.0 * a + 10 * b - trades, "return": float(-a), "start": pd.Timestamp("2024-01-01"),
            "end": pd.Timestamp("2024-01-02"), "max_drawdown_duration": pd.Timedelta(days=b), "error": None,
        }  # fmt: skip
        rows.append(({"a": a, "b": b, "trades": trades}, {"error": "bad"} if (a, b) in failed else stats))
    return SweepResult(rows, ["a", "b", "trades"], maximize, ran.append, total=12, strategy="S"), ran


def test_the_best_point_is_run_again() -> None:
    """Alone, with other values, or any row by its number."""
    sweep, ran = made()
    assert sweep.best == {"a": 2, "b": 3, "trades": 0}
    sweep.run()
    sweep.run({"b": 9})
    sweep.run(0)
    assert ran == [sweep.best, {**sweep.best, "b": 9}, {"a": 1, "b": 1, "trades": 0}]
    with pytest.raises(DataError, match="none of this sweep's 12 rows"):
        sweep.run(12)


def test_the_best_can_be_a_function() -> None:
    """It sees parameters and statistics of a row."""
    sweep, _ = made(lambda row: row["return"] - row["b"])
    assert sweep.best == {"a": 1, "b": 1, "trades": 0}


def test_failed_points_are_never_the_best() -> None:
    """They have no statistics; where all failed, that is said."""
    sweep, _ = made(failed=[(2, 3)])
    assert sweep.best["b"] == 2
    assert len(sweep.top(99)) == 10
    assert sweep.failed["error"].tolist() == ["bad", "bad"]
    none, _ = made(failed=list(product([1, 2], [1, 2, 3])))
    with pytest.raises(DataError, match="of which 12 failed"):
        none.run()
    assert "12 failed" in repr(none)


def test_a_parameter_may_be_called_as_a_statistic_is() -> None:
    """Its column says so, and the statistic keeps its own."""
    sweep, _ = made()
    assert list(sweep.frame)[:3] == ["a", "b", "parameter.trades"]
    assert list(sweep.frame)[3:] == [*STATISTICS, "error"]


def test_heatmap_shows_the_best_of_the_others() -> None:
    """Cells are in the order of the values; others are at their best, or fixed."""
    sweep, _ = made()
    assert sweep.heatmap("b", "a").data[0].z.tolist() == [[110, 120, 130], [210, 220, 230]]
    assert sweep.heatmap("b", "a", fixed={"trades": 5}).data[0].z.tolist() == [[105, 115, 125], [205, 215, 225]]
    assert sweep.heatmap("b", "a", "max_drawdown_duration").data[0].z.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_heatmap_leaves_out_what_was_not_run() -> None:
    """A failed cell is empty."""
    sweep, _ = made(failed=[(1, 2)])
    z = sweep.heatmap().data[0].z
    assert math.isnan(z[1][0])
    assert np.isnan(z).sum() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": "aa"}, "no parameter"),
        ({"x": "a", "y": "a"}, "differ"),
        ({"fixed": {"a": 7}}, "no point of this sweep"),
        ({"fixed": {"a": 1, "b": 1}}, "needs two"),
    ],
)
def test_heatmap_refuses(arguments, message) -> None:
    """It names what it doesn't know."""
    sweep, _ = made()
    with pytest.raises(DataError, match=message):
        sweep.heatmap(**arguments)


def test_unknown_statistics_are_refused() -> None:
    """The nearest is named."""
    sweep, _ = made()
    with pytest.raises(ConfigError, match="sharpe"):
        sweep.top(by="shrape")


def test_it_shows_itself() -> None:
    """As text and as a table, with the best point first."""
    sweep, _ = made()
    assert repr(sweep) == "SweepResult of S: 12 points, 0 failed\n  best sharpe 230: a=2, b=3, trades=0"
    assert "<table" in sweep._repr_html_()
