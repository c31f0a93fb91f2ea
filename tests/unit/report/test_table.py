"""Statistics as a table."""

from __future__ import annotations

import math

import pytest

from nbbacktest.report.table import GROUPS, Stats, written
from nbbacktest.trading.stats import statistics
from tests.records import run


def test_every_statistic_has_a_label():
    """The table shows all of them, and nothing else."""
    labelled = [name for group in GROUPS.values() for name in group]
    assert sorted(labelled) == sorted(statistics(run([])))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("return", 0.1234, "12.34%"),
        ("max_drawdown", -1.5, "-150.00%"),
        ("final_equity", 1234567.891, "1,234,567.89"),
        ("bars", 1_000_000, "1,000,000"),
        ("sharpe", math.nan, "n/a"),
        ("cagr", math.inf, "beyond any number"),
        ("turnover", 2.0, "2.00 x"),
        ("max_drawdown", -0.0, "0.00%"),
        ("expectancy", -0.00001, "0.00"),
    ],
)
def test_values_have_units(name, value, text):
    """Percent, separators, and no minus before a zero."""
    assert written(name, value) == text


def test_stats_are_read_only_and_whole():
    """A mapping in every respect but writing."""
    stats = Stats({"sharpe": 1.0})
    assert dict(stats) == {"sharpe": 1.0}
    assert len(stats) == 1
    assert not hasattr(stats, "__setitem__")
