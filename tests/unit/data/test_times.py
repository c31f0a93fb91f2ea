"""Which columns hold times, and what they say."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.data.times import by_time, indexed, read_times

DATES = st.dates(pd.Timestamp("1900-01-01").date(), pd.Timestamp("2199-12-31").date())
FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y%m%d %H%M%S")


@given(st.lists(DATES, min_size=1, max_size=20), st.sampled_from(FORMS), st.booleans())
def test_the_year_first_has_one_meaning(dates: list, form: str, number: bool):
    """Dates come back from each way of writing them, as text and, where they are digits, as numbers."""
    column = pd.Series([date.strftime(form) for date in dates], name="date")
    if number and form == "%Y%m%d":
        column = column.astype("int64")
    assert read_times(column).tolist() == [pd.Timestamp(date) for date in dates]


@pytest.mark.parametrize(
    "value", ["03/10/2024", "10-03-2024", "3.10.24", "Oct 3 2024", "09:30", 1727962200, 45568, 7.5, 20241301, 0]
)
def test_what_has_more_than_one_meaning_is_not_read(value):
    """Days first, months in words, numbers that count something."""
    assert read_times(pd.Series([value, value])) is None


def test_a_part_without_an_offset_is_no_column_of_times():
    """Half the offsets missing is a mistake."""
    assert read_times(pd.Series(["2024-07-01 09:30:00-04:00", "2024-12-02 09:30:00"])) is None


def test_missing_stamps_stay_missing():
    """In each kind of column."""
    for column in (
        pd.Series(["2024-10-03", None]),
        pd.Series([20241003, None]),
        pd.Series(["2024-10-03T00:00+09:00", None]),
    ):
        times = read_times(column)
        assert times.isna().tolist() == [False, True]
        assert str(times[0].date()) == "2024-10-03"


def test_two_columns_are_one_time():
    """The date's and the time's; a date that has a time of its own is refused."""
    frame = pd.DataFrame({"Date": ["2024-10-03"], "x": [1], "Time": ["09:30:15.5"]})
    assert by_time(frame, "f").index.tolist() == [pd.Timestamp("2024-10-03 09:30:15.5")]
    with pytest.raises(DataError, match="column 'Date' beside 'Time' holds more than dates; write 2024-01-31"):
        by_time(frame.assign(Date=["2024-10-03 01:00"]), "f")
    with pytest.raises(DataError, match="f: column 'Time' holds times of day and no column is named date"):
        by_time(frame.drop(columns="Date"), "f")


def test_a_column_named_time_that_has_dates_too_is_enough():
    """A date beside it is left alone."""
    frame = pd.DataFrame({"date": ["2024-10-03"], "time": ["2024-10-04 09:30"], "x": [1]})
    assert by_time(frame, "f").index.tolist() == [pd.Timestamp("2024-10-04 09:30")]


def test_an_index_that_counts_rows_gives_way_to_a_column_of_times():
    """One that holds times itself doesn't."""
    frame = pd.DataFrame({"date": ["2024-10-03", "2024-10-04"], "x": [1, 2]})
    assert indexed(frame[::-1], "f").index.tolist() == [pd.Timestamp("2024-10-04"), pd.Timestamp("2024-10-03")]
    assert indexed(frame.set_axis(["2023-10-03", "2023-10-04"]), "f").tolist()[0] == pd.Timestamp("2023-10-03")
