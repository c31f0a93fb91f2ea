"""What stamps mark, to the moment: ends that are stamped a moment early, and bars that are cut short."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import HOUR, MINUTE, SECOND, Interval
from nbbacktest.data.bar_spans import full_stamps, meant_end, opens_of
from nbbacktest.data.frames import RawBars, read_frame

ZONE = "America/New_York"
MINUTES = pd.date_range("2024-10-03 09:31", periods=30, freq="min", tz=ZONE)


def raw(index: pd.DatetimeIndex) -> RawBars:
    return read_frame(pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index), "EXE")


@pytest.mark.parametrize("early", ["1ns", "1us", "1ms", "1s"])
@pytest.mark.parametrize("given_", [None, "1m"])
def test_ends_stamped_a_moment_early_are_the_ends(early: str, given_: str | None):
    """09:30:59.999 is 09:31, whatever convention; one row that is off otherwise stays off."""
    stamps = MINUTES.as_unit("ns") - pd.Timedelta(early)
    interval = Interval.parse(given_) if given_ else None
    assert (full_stamps(raw(stamps), interval, "close").index == MINUTES).all()
    odd = stamps.insert(10, stamps[9] + pd.Timedelta("17s"))
    assert (full_stamps(raw(odd), interval, "close").index.delete(10) == MINUTES).all()
    assert full_stamps(raw(odd), interval, "close").index[10] == odd[10]


def test_an_end_that_another_row_has_is_not_taken_twice():
    """Stamps still rise where both ways of writing an end are there."""
    stamps = (MINUTES.as_unit("ns") - pd.Timedelta("1ms")).insert(5, MINUTES[4].as_unit("ns"))
    assert full_stamps(raw(stamps), None, "close").index.is_monotonic_increasing
    assert full_stamps(raw(stamps), None, "close").index.is_unique


def test_ends_that_are_said_to_be_opens_are_refused():
    """The cure, followed, gives the bars."""
    stamps = MINUTES - pd.Timedelta("1ms")
    with pytest.raises(DataError, match=r'1e-03 s|0.001 s before the minute.*set data.stamp in the config to "close"'):
        full_stamps(raw(stamps), None, "open")


@pytest.mark.parametrize("mark", ["open", "close"])
def test_stamps_off_the_minute_are_refused(mark):
    """The advice, followed, puts them onto it."""
    stamps = MINUTES + pd.Timedelta("7s")
    with pytest.raises(DataError, match="stamps lie 7 s after the minute") as caught:
        full_stamps(raw(stamps), None, mark)
    frame = pd.DataFrame({"open": 1.0}, index=stamps)
    moved = eval(str(caught.value).partition("example with ")[2], {"pd": pd, "frame": frame})
    assert (full_stamps(raw(moved), None, mark).index == MINUTES).all()


def test_seconds_lie_on_their_own_grid():
    """Bars of seconds may be stamped at any; those of ten seconds at every tenth."""
    seconds = pd.date_range("2024-10-03 09:30:07", periods=30, freq="s", tz=ZONE)
    assert (full_stamps(raw(seconds), None, "open").index == seconds).all()
    tens = pd.date_range("2024-10-03 09:30:09.999", periods=30, freq="10s", tz=ZONE)
    assert (full_stamps(raw(tens), None, "close").index == tens + pd.Timedelta("1ms")).all()


def test_daily_stamps_are_dates():
    """23:59:59.999 is of that date."""
    days = pd.date_range("2024-10-03 23:59:59.999", periods=5, tz="UTC")
    assert (full_stamps(raw(days), None, "close").index == days).all()
    result = nb.backtest(pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=days), nb.Strategy)
    assert [str(stamp.date()) for stamp in result.equity.index] == [f"2024-10-{day:02}" for day in range(3, 8)]


@given(st.lists(st.integers(1, 10), min_size=1, max_size=40), st.integers(1, 6))
def test_bars_known_by_their_ends_never_overlap(steps: list[int], length: int):
    """Each is as long as said, or begins where the one before it ended, or as late as others at its time of day."""
    ends = np.cumsum(steps) * 10 * MINUTE
    opens = opens_of(ends, length * 10 * MINUTE)
    assert (opens < ends).all()
    assert (ends - opens <= length * 10 * MINUTE).all()
    assert (opens[1:] >= ends[:-1]).all()


def test_a_short_bar_is_as_short_where_the_one_before_it_is_missing():
    """The last half hour of a day, on a day without the hour before it."""
    ends = np.array([14, 15, 15.5, 38, 39, 39.5, 62, 63.5]) * HOUR
    assert (ends - opens_of(ends.astype(np.int64), HOUR)).tolist() == [HOUR, HOUR, HOUR / 2] * 2 + [HOUR, HOUR / 2]


def test_a_feed_s_ends_are_meant_alike():
    """One bar at a time."""
    assert meant_end(59_999_000_000, MINUTE) == MINUTE
    assert meant_end(59 * SECOND, MINUTE) == MINUTE
    assert meant_end(58 * SECOND, MINUTE) == 58 * SECOND
    assert meant_end(59 * SECOND, SECOND) == 59 * SECOND
