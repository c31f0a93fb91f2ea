"""How a benchmark is read and lined up with the run's days."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import DataError
from nbbacktest.report.benchmark import read_benchmark
from nbbacktest.report.result import Result
from tests.records import ZONE, bars, daily_bars, minute_sessions, run

CLOSES = [100.0, 110.0, 99.0, 120.0, 118.0]


@pytest.fixture
def result():
    """Five weekdays from 2024-01-02 on, held from the first close."""
    return Result(run([daily_bars("A", CLOSES)], [(0, "A", 100, 100.0)], cash=10_000.0))


DATES = pd.bdate_range("2024-01-02", periods=5)


def test_a_symbol_of_the_run_is_a_benchmark_of_itself(result):
    """Holding it is a beta of 1, an alpha of 0 and no tracking error, so no information ratio."""
    ours = result.against("A")
    assert ours.name == "A"
    assert (ours["beta"], ours["correlation"]) == (pytest.approx(1), pytest.approx(1))
    assert ours["alpha"] == pytest.approx(0, abs=1e-9)
    assert ours["tracking_error"] == 0
    assert math.isnan(ours["information_ratio"])
    assert ours["days"] == 4


@pytest.mark.parametrize(
    "index",
    [DATES, DATES.tz_localize(ZONE), DATES.tz_localize("UTC"), DATES + pd.Timedelta(hours=16), DATES.as_unit("s")],
    ids=["dates", "zoned midnights", "midnights in UTC", "closing times", "seconds"],
)
def test_dates_and_times_are_lined_up_by_local_date(result, index):
    """Midnights are dates whatever their zone; times are the run's own zone's."""
    ours = result.against(pd.Series(CLOSES, index=index))
    assert ours["days"] == 4
    assert ours["beta"] == pytest.approx(1)


def test_times_in_another_zone_are_converted():
    """A Tokyo stamp after midnight is still New York's day before."""
    index = (DATES + pd.Timedelta(hours=16)).tz_localize(ZONE).tz_convert("Asia/Tokyo")
    result = Result(run([daily_bars("A", CLOSES)]))
    assert read_benchmark(result.record, pd.Series(CLOSES, index=index)).prices.tolist() == CLOSES


def test_a_frame_needs_its_close_in_any_case(result):
    """What a data source gives works as it is."""
    assert result.against(pd.DataFrame({"Open": 1.0, "Close": CLOSES}, index=DATES))["beta"] == pytest.approx(1)


def test_a_price_before_the_first_day_makes_that_day_count(result):
    """The benchmark's first return is then against it, the run's against its cash."""
    earlier = pd.Series([80.0, *CLOSES], index=DATES.insert(0, pd.Timestamp("2023-12-29")))
    ours = result.against(earlier)
    assert ours["days"] == 5
    assert ours["benchmark_return"] == pytest.approx(118 / 80 - 1)
    assert ours["excess_return"] == pytest.approx(0.18 - (118 / 80 - 1))


def test_a_price_of_long_ago_is_no_start(result):
    """A year's move is not the first day's."""
    earlier = pd.Series([80.0, *CLOSES], index=DATES.insert(0, pd.Timestamp("2023-01-02")))
    assert result.against(earlier)["days"] == 4


def test_days_that_one_side_lacks_are_left_out_of_both(result):
    """Returns are between common dates: over the gap on both sides."""
    ours = result.against(pd.Series([100.0, 99.0, 120.0, 118.0], index=DATES[[0, 2, 3, 4]]))
    assert ours["days"] == 3
    assert ours["beta"] == pytest.approx(1)


def test_minutes_count_by_their_days_last_price():
    """A run of minutes against a series of minutes."""
    time = minute_sessions(["2024-10-03", "2024-10-04", "2024-10-07"], 3)
    closes = [1.0, 2, 100, 3, 4, 110, 5, 6, 121]
    result = Result(run([bars("A", time, closes)]))
    stamps = result.record.stamps.index(time)
    assert read_benchmark(result.record, pd.Series(closes, index=stamps)).prices.tolist() == [100, 110, 121]
    assert read_benchmark(result.record, "A").prices.tolist() == [100, 110, 121]


def test_missing_prices_are_dropped(result):
    """A NaN is a day without a price."""
    assert result.against(pd.Series([100.0, np.nan, 99.0, 120.0, 118.0], index=DATES))["days"] == 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("AA", "'AA' is no symbol of the run; did you mean 'A'"),
        (pd.Series([1.0]), "indexed by RangeIndex; a DatetimeIndex"),
        (pd.Series([1.0], index=[pd.Timestamp("1999-01-04")]), "has no date in common with the run: it has 1999-01-04"),
        (pd.Series(0.0, index=DATES), "has a price of 0; growth needs prices above 0"),
        (pd.DataFrame({"price": CLOSES}, index=DATES), "needs one column 'close'; it has price"),
        (pd.Series(list("abcde"), index=DATES), "holds what is no number"),
        ([1.0, 2.0], "not list"),
    ],
)
def test_what_cant_be_lined_up_is_refused(result, source, said):
    """One error, with what was found and what to give."""
    with pytest.raises(DataError, match=said):
        result.against(source)


def test_a_comparison_prints_as_a_table(result):
    """The benchmark's name, labels and units."""
    text = repr(result.against(pd.Series(CLOSES, index=DATES, name="Index")))
    assert text.startswith("Benchmark: Index\n")
    assert "  Beta                                    1.00" in text.splitlines()
    assert "<table" in result.against("A")._repr_html_()


@pytest.mark.parametrize("days", [1, 0, -5, 2.5, True, "63"])
def test_a_window_is_a_whole_number_of_days(result, days):
    """The error says what a window is."""
    with pytest.raises(DataError, match="give a whole number of days, 2 or more"):
        result.rolling(days)
