"""What a DataFrame of bars must be, and how its mistakes are told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import DataError
from nbbacktest.data.frames import read_frame


def frame(rows: int = 5, **columns: object) -> pd.DataFrame:
    """Minute bars in New York that are as they should be, but for `columns`."""
    index = pd.date_range("2024-10-03 09:30", periods=rows, freq="min", tz="America/New_York")
    base: dict[str, object] = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}
    return pd.DataFrame(base | columns, index=index)


def refused(bad: object, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_frame(bad, "EXE", "data/EXE.csv")
    for word in ("EXE (data/EXE.csv)", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_in_any_case_and_order():
    """Names are matched without case, in any order, and others are left alone."""
    odd = frame(Other="x").rename(columns=str.upper)[["CLOSE", "OTHER", "LOW", "HIGH", "OPEN", "VOLUME"]]
    raw = read_frame(odd, "EXE")
    assert [raw.columns[name][0] for name in ("open", "high", "low", "close", "volume")] == [10, 12, 9, 11, 100]


def test_a_missing_volume_is_zero():
    """Bars without volume are bars with none."""
    assert read_frame(frame().drop(columns="volume"), "EXE").columns["volume"].tolist() == [0.0] * 5


def test_later_changes_to_the_frame_do_not_reach_the_bars():
    """The values are copies."""
    mine = frame()
    raw = read_frame(mine, "EXE")
    mine.loc[:, "open"] = 9.5
    assert raw.columns["open"].tolist() == [10.0] * 5


def test_integers_nullable_columns_and_other_units_are_welcome():
    """Any numeric dtype becomes float64, any unit of time nanoseconds."""
    raw = read_frame(frame(open=pd.array([10] * 5, dtype="Int64"), volume=np.arange(5, dtype=np.int32)), "EXE")
    assert raw.columns["open"].dtype == np.float64
    seconds = frame()
    seconds.index = seconds.index.as_unit("s")
    assert (read_frame(seconds, "EXE").ticks == raw.ticks).all()


def test_negative_prices_are_allowed():
    """Futures have traded below zero."""
    raw = read_frame(frame(open=-37.0, high=-30.0, low=-40.0, close=-38.0), "CL")
    assert raw.columns["close"][0] == -38.0


@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prices_that_are_no_number_are_refused(name: str, value: float):
    """NaN and infinite prices are named with column, stamp and count."""
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0}[name]
    column = [values, values, value, values, value]
    refused(frame(**{name: column}), f"{name} is not a finite number in 2 bars of 5", "09:32:00", "remove")


def test_prices_that_contradict_each_other_are_refused():
    """High below low, and open or close outside of them, are told with the values."""
    refused(frame(high=[12, 8, 12, 12, 12]), "high is below low in 1 bar of 5", "09:31:00", "high 8, low 9")
    refused(frame(open=[10, 10, 10, 13, 10]), "open is outside of low to high", "09:33:00", "open 13, low 9, high 12")
    refused(frame(close=[8, 10, 10, 10, 10]), "close is outside of low to high", "09:30:00", "close 8")


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_wrong_volume_is_refused(value: float):
    """Volume is finite and not negative."""
    refused(frame(volume=[1, 1, 1, 1, value]), "volume is negative or not a finite number", "09:34:00")


def test_a_missing_column_names_the_nearest():
    """The cure is the column that may have been meant, or what there is."""
    refused(frame().rename(columns={"close": "closing"}), "column 'close' is missing", "did you mean 'closing'?")
    refused(frame()[["open", "high", "low"]].assign(x=1), "column 'close' is missing", "known are: x")


def test_two_columns_of_one_name_are_refused():
    """Close and close would be a guess."""
    refused(frame(Close=11.0), "'close' and 'Close' both are close")


def test_columns_with_levels_are_refused():
    """Levels of which none has the names of prices are told apart with their cure."""
    bad = frame()
    bad.columns = pd.MultiIndex.from_product([bad.columns, ["AAPL"], ["USD"]])
    refused(bad, "3 levels", "frame.xs('AAPL', axis=1, level=1)")


def test_an_empty_frame_is_refused():
    """No bars are no data."""
    refused(frame(0), "the frame is empty")


def test_what_is_no_frame_is_refused():
    """The type that came is named."""
    refused([1, 2], "a list is no DataFrame")


def test_an_index_that_is_no_time_is_refused():
    """The cure fits what the frame has."""
    refused(frame().reset_index(names="when"), "RangeIndex", "frame.set_index('when')")
    refused(frame().reset_index(drop=True), "first value 0", "pd.to_datetime")
    periods = frame()
    periods.index = pd.period_range("2024-10-03", periods=5, freq="D")
    refused(periods, "PeriodIndex", "to_timestamp()")


def test_missing_stamps_are_refused():
    """NaT has a row, if no stamp."""
    bad = frame()
    bad.index = pd.DatetimeIndex([*bad.index[:2], pd.NaT, *bad.index[3:]])
    refused(bad, "1 stamps are NaT, the first in row 2")


def test_unsorted_stamps_are_refused():
    """The two stamps that are out of order are named."""
    refused(frame().iloc[[0, 1, 3, 2, 4]], "go back", "row 3", "09:32:00", "09:33:00", "sort_index()")


def test_duplicate_stamps_are_refused():
    """The first that is double is named, with how many there are."""
    refused(frame().iloc[[0, 1, 1, 2, 2]], "2 stamps are duplicates", "row 2", "09:31:00", "duplicated()")


def test_stamps_beyond_nanoseconds_are_refused():
    """The year 3000 can't be counted in int64 nanoseconds."""
    bad = frame()
    bad.index = pd.DatetimeIndex(np.array(["3000-01-01"], dtype="datetime64[s]") + np.arange(5))
    refused(bad, "beyond what nanoseconds can count")


@pytest.mark.parametrize(
    "values", [["10", "x", "10", "10", "10"], [True] * 5, [1 + 2j] * 5, pd.date_range("2024", periods=5)]
)
def test_columns_that_hold_no_numbers_are_refused(values: object):
    """Text, truth values, complex numbers and dates aren't prices."""
    refused(frame(open=values), "column 'open' holds", "pd.to_numeric")


def test_the_first_text_that_is_no_number_is_shown():
    """The offending value is named and not just the first one."""
    refused(frame(open=["10", "x", "10", "10", "10"]), "'x'", "09:31:00")


def test_zones_are_named_where_they_have_a_name():
    """A plain offset is told in a zone that had it then, a naive index has no zone at all."""
    assert read_frame(frame(), "EXE").zone == "America/New_York"
    assert read_frame(frame().tz_convert("-05:00"), "EXE").zone == "America/Chicago"
    assert read_frame(frame().tz_convert("+00:00"), "EXE").zone == "UTC"
    assert read_frame(frame().tz_localize(None), "EXE").zone is None
