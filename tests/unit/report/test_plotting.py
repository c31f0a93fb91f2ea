"""Fewer points for the same picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbbacktest.core.intervals import DAY, HOUR, MINUTE, Interval
from nbbacktest.core.records import Stamps
from nbbacktest.report.plotting import MOST, choose, closed_spans, extremes, join, local_time
from tests.records import ZONE, bars, daily_bars, minute_sessions, minutes


def wall(ns):
    """Local time of New York."""
    return local_time(Stamps(ZONE), ns)


def test_local_time_is_what_the_exchanges_clock_shows():
    """09:30 is 9.5 hours after midnight, in summer and in winter."""
    for day in ("2024-07-01", "2024-12-02"):
        assert wall(minutes(1, day))[0] % DAY == 9 * HOUR + 30 * MINUTE


def test_few_bars_stay_as_they_are():
    """A short run is drawn bar by bar."""
    binning = choose([wall(minutes(390))], Interval.parse("1m"))
    assert binning.name == "1m"


@pytest.mark.parametrize(
    ("sessions", "name"), [(2, "2m"), (5, "5m"), (40, "30m"), (85, "1h"), (500, "1 day"), (1_000, "1 week")]
)
def test_long_runs_get_usual_candles(sessions, name):
    """The shortest usual length that gives no more than the limit."""
    days = [day.strftime("%Y-%m-%d") for day in pd.bdate_range("2020-01-02", periods=sessions)]
    local = wall(minute_sessions(days))
    binning = choose([local], Interval.parse("1m"))
    assert binning.name == name
    assert len(np.unique(binning.keys(local))) <= MOST


@pytest.mark.parametrize(
    ("count", "name"), [(600, "1 day"), (601, "1 week"), (4_000, "1 month"), (20_000, "1 quarter")]
)
def test_daily_bars_join_by_the_calendar(count, name):
    """Weeks, months, quarters: never eleven days."""
    local = wall(daily_bars("A", np.ones(count), "1950-01-02").time)
    assert choose([local], Interval.parse("1d")).name == name


def test_years_are_the_last_resort():
    """Whatever the length, there is an answer."""
    local = np.arange(0, 700 * 365, 20, dtype=np.int64) * DAY
    assert choose([local], Interval.parse("1d"), most=300).name == "1 year"


def test_long_base_bars_keep_their_name():
    """Bars of five days aren't called days."""
    assert choose([np.arange(3, dtype=np.int64) * 5 * DAY], Interval.parse("5d")).name == "5d"


def test_no_bars_need_no_joining():
    """An empty run has a binning, too."""
    assert choose([], Interval.parse("1m")).name == "1m"


@pytest.mark.parametrize("name", ["15m", "1 day", "1 week", "1 month", "1 quarter", "1 year"])
def test_joined_bars_equal_pandas(name):
    """Open, high, low and close are those of an independent resampling, and each candle starts where its time does."""
    rng = np.random.default_rng(4)
    days = [day.strftime("%Y-%m-%d") for day in pd.bdate_range("2023-11-20", periods=300)]
    time = minute_sessions(days)
    columns = bars("A", time, 100 + rng.normal(size=len(time)).cumsum() * 0.01)
    local = wall(time)
    rule = {"15m": "15min", "1 day": "D", "1 week": "W-MON", "1 month": "MS", "1 quarter": "QS", "1 year": "YS"}[name]
    most = {"15m": 7_800, "1 day": 300, "1 week": 100, "1 month": 20, "1 quarter": 7, "1 year": 3}[name]
    binning = choose([local], columns.interval, most)
    assert binning.name == name
    candles = join(columns, 0, local, binning)
    frame = pd.DataFrame(
        {"open": columns.open, "high": columns.high, "low": columns.low, "close": columns.close},
        index=pd.DatetimeIndex(local.view("datetime64[ns]")),
    )
    side = {"closed": "left", "label": "left"}
    expected = (
        frame.resample(rule, **side).agg({"open": "first", "high": "max", "low": "min", "close": "last"}).dropna()
    )
    assert candles.start.tolist() == expected.index.as_unit("ns").asi8.tolist()
    for column in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(candles, column), expected[column])


def test_warmup_is_not_drawn():
    """Joining starts at the first traded bar."""
    columns = bars("A", minutes(4), [1, 2, 3, 4])
    candles = join(columns, 2, wall(columns.time[2:]), choose([wall(columns.time)], columns.interval))
    assert candles.close.tolist() == [3, 4]


def test_nothing_joins_to_nothing():
    """No bar, no candle."""
    columns = bars("A", minutes(0), [])
    assert len(join(columns, 0, wall(columns.time), choose([], columns.interval)).close) == 0


@given(arrays(np.float64, st.integers(0, 3_000), elements=st.floats(-1e6, 1e6)), st.integers(1, 300))
def test_extremes_keep_the_ends_and_the_highs_and_lows(values, most):
    """However few points remain, the first, the last, the highest and the lowest are among them, in order."""
    rows = extremes(values, most)
    assert len(rows) <= 2 * most + 4
    assert (np.diff(rows) > 0).all()
    if len(values):
        kept = values[rows]
        assert (rows[0], rows[-1]) == (0, len(values) - 1)
        assert (kept.max(), kept.min()) == (values.max(), values.min())


def test_closed_hours_are_found_in_the_bars():
    """A half day's afternoon and the night are closed; a missing minute isn't."""
    half, full = minutes(210, "2024-11-29"), minutes(390, "2024-12-02")
    local = wall(np.concatenate((np.delete(half, 100), full)))
    ((start, end),) = closed_spans(local, Interval.parse("1m"))
    assert (start % DAY, end % DAY) == (13 * HOUR, 9 * HOUR + 30 * MINUTE)
    assert closed_spans(local[:0], Interval.parse("1m")) == []


def test_only_the_longest_closures_are_kept():
    """An axis with thousands of gaps would take seconds to draw."""
    local = np.array([0, 3, 5, 10, 12]) * HOUR
    spans = closed_spans(local, Interval.parse("1m"), most=2)
    assert [end // HOUR for _, end in spans] == [3, 10]
