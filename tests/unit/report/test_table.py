"""How values are written."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from nbbacktest.report.table import GROUPS, Stats, written, written_duration, written_time
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


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (pd.Timestamp("2024-01-02"), "2024-01-02"),
        (pd.Timestamp("2024-01-02 09:30", tz="America/New_York"), "2024-01-02 09:30 EST"),
        (pd.Timestamp("2024-01-02 09:30:05"), "2024-01-02 09:30:05"),
        (pd.NaT, "n/a"),
    ],
)
def test_times_show_what_they_have(stamp, text):
    """A date is a date, an instant has its zone."""
    assert written_time(stamp) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        ("41 days", "41 days"),
        ("1 day", "1 day"),
        ("0 days", "0 days"),
        ("2 days 03:05:00", "2 days 3 h 05 min"),
        ("00:45:00", "45 min"),
    ],
)
def test_durations_are_in_days_and_hours(span, text):
    """Nobody counts nanoseconds."""
    assert written_duration(pd.Timedelta(span)) == text


def test_stats_are_read_only_and_whole():
    """A mapping in every respect but writing."""
    stats = Stats({"sharpe": 1.0})
    assert dict(stats) == {"sharpe": 1.0}
    assert len(stats) == 1
    assert not hasattr(stats, "__setitem__")
