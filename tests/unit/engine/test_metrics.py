"""TimingSeries: exact sums, percentiles within a bucket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.engine.metrics import TimingSeries


def test_nothing_counted_is_all_zeros():
    """An empty series has a summary of zeros, and no division by its count."""
    assert set(TimingSeries().summary().values()) == {0}


@given(st.lists(st.floats(1e-7, 100.0), min_size=1, max_size=200))
def test_sums_are_exact_and_percentiles_close(durations):
    """Count, total, min and max are exact; p50 and p99 lie within 2% of a value that is one."""
    series = TimingSeries()
    for duration in durations:
        series.add(duration)
    summary = series.summary()
    assert summary["count"] == len(durations)
    assert summary["total"] == pytest.approx(sum(durations))
    assert (summary["min"], summary["max"]) == (min(durations), max(durations))
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        true = np.quantile(durations, fraction, method="inverted_cdf")
        assert summary[name] == pytest.approx(true, rel=0.021)


def test_a_zero_duration_counts():
    """A duration of nothing is counted, as the smallest."""
    series = TimingSeries()
    series.add(0.0)
    assert series.summary()["count"] == 1
    assert series.summary()["p99"] == 0.0
