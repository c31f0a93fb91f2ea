"""Which points a sweep has, and what is refused before anything runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from nbbacktest.system.sweep.sweep import axes_of, points_of


def test_points_come_in_the_order_of_the_grid() -> None:
    """The last parameter changes fastest, and numpy's numbers become Python's."""
    axes = axes_of(SmaCross, {"fast": np.array([1, 2]), "slow": range(3, 5)}, {})
    points = points_of(axes, None, None, 0)
    assert points == [{"fast": f, "slow": s} for f in (1, 2) for s in (3, 4)]
    assert all(type(value) is int for point in points for value in point.values())


def test_a_value_that_stands_twice_is_one() -> None:
    """A lone value is one too."""
    assert axes_of(SmaCross, {"fast": [5, 5, 6, 5], "slow": 9}, {}) == {"fast": [5, 6], "slow": [9]}


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 70), st.integers())
def test_a_sample_is_of_what_where_leaves(fast: int, slow: int, most: int, seed: int) -> None:
    """Every drawn point fits, none comes twice, and the same seed draws the same ones."""
    axes = {"fast": list(range(fast)), "slow": list(range(slow))}
    where = lambda fast, slow: fast <= slow  # noqa: E731
    every = points_of(axes, where, None, seed)
    drawn = points_of(axes, where, most, seed)
    assert len(drawn) == min(most, len(every))
    assert [point for point in every if point in drawn] == drawn
    assert points_of(axes, where, most, seed) == drawn


def test_a_huge_grid_is_sampled() -> None:
    """Of more points than can be looked at, a few may be drawn; all of them are refused."""
    axes = {"fast": range(10**5), "slow": range(10**5)}
    assert len(points_of(axes, lambda fast: fast % 2 == 0, 5, 1)) == 5
    with pytest.raises(nb.ConfigError, match="set max_points"):
        points_of(axes, None, None, 1)


@pytest.mark.parametrize(
    ("strategy", "grid", "more", "message"),
    [
        (SmaCross(), {"fast": [1]}, {}, "instance.*give the class: SmaCross"),
        (object, {"fast": [1]}, {}, "no class derived"),
        (SmaCross, {}, {}, "is no grid"),
        (SmaCross, {"fast": []}, {}, "has no value"),
        (SmaCross, {"fats": [1, 2]}, {}, "did you mean 'fast'"),
        (SmaCross, {"fast": [1, "x"]}, {}, "must be int"),
        (SmaCross, {"fast": [1]}, {"fast": 2}, "in the grid too"),
        (SmaCross, {"fast": [1]}, {"slwo": 2}, "did you mean 'slow'"),
        (SmaCross, {"fast": [1]}, {"maximize": "shrape"}, "did you mean 'sharpe'"),
        (SmaCross, {"fast": [1]}, {"maximize": "start"}, "no such number"),
        (SmaCross, {"fast": [1]}, {"where": lambda fats: True}, "did you mean 'fast'"),
        (SmaCross, {"fast": [1]}, {"where": lambda fast: False}, "leaves none"),
        (SmaCross, {"fast": [1]}, {"where": lambda fast: 1 / 0}, "ZeroDivisionError"),
        (SmaCross, {"fast": [1]}, {"where": 3}, "is no function"),
        (SmaCross, {"fast": [1]}, {"max_points": 0}, "above 0"),
        (SmaCross, {"fast": [1]}, {"executor": 4}, "is no executor"),
        (SmaCross, {"fast": [1]}, {"progress": "yes"}, "no function of two numbers"),
        (SmaCross, {"fast": [1]}, {}, "is no data"),
    ],
)
def test_mistakes_are_refused(strategy, grid, more, message) -> None:
    """One clear error says what is wrong, before any data is looked at."""
    with pytest.raises(nb.ConfigError, match=message):
        nb.sweep(None, strategy, grid, **more)
