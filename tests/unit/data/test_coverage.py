"""Counting bars against sessions."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import MINUTE, NO_TIME, Interval
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.coverage import COUNTS, Grid, cover, quality

NOTHING: dict[str, np.ndarray] = {}


def sessions(lengths: tuple[int, ...] = (10, 4)) -> SessionTable:
    """Sessions of that many minutes, at midnight UTC of following days."""
    opens = pd.date_range("2024-10-01", periods=len(lengths), tz="UTC").as_unit("ns").asi8
    return SessionTable("UTC", opens.view("M8[ns]").astype("M8[D]"), opens, opens + np.array(lengths) * MINUTE, "X")


def test_a_session_has_room_for_what_fits():
    """The last bar before a close may be cut short."""
    assert Grid(sessions((10, 4)), Interval.parse("1m")).expected.tolist() == [10, 4]
    assert Grid(sessions((10, 4)), Interval.parse("3m")).expected.tolist() == [4, 2]
    assert Grid(sessions((10, 4)), Interval.parse("1d")).expected.tolist() == [1, 1]


def test_half_days_have_fewer():
    """The day after Thanksgiving closes at 13:00 in New York."""
    table = session_table("XNYS", date(2024, 11, 27), date(2024, 11, 29))
    assert Grid(table, Interval.parse("1m")).expected.tolist() == [390, 210]
    assert Grid(table, Interval.parse("1h")).expected.tolist() == [7, 4]


def test_bars_longer_than_a_day_have_no_session():
    """They are refused with the longest that can be counted."""
    with pytest.raises(DataError, match=r"7d can't be counted by session; the longest interval that can is 1d"):
        Grid(sessions(), Interval.parse("7d"))


@given(st.sets(st.integers(0, 13)), st.sets(st.integers(0, 200)), st.booleans())
def test_counts_add_up(slots: set[int], others: set[int], empty: bool):
    """Expected is present and missing; gaps are the missing bars, in runs that no session's end joins."""
    table = sessions()
    begins = [int(table.open[0]) + s * MINUTE if s < 10 else int(table.open[1]) + (s - 10) * MINUTE for s in slots]
    outside = [int(table.close[0]) + o * MINUTE for o in others]
    time = np.array(sorted([*begins, *outside]), dtype=np.int64)
    grid = Grid(table, Interval.parse("1m"))
    volume = np.zeros(len(time)) if empty else np.ones(len(time))
    counted = cover(grid, time, volume, NOTHING)
    totals = counted.totals()
    assert set(totals) == set(COUNTS)
    assert (totals["expected"], totals["present"], totals["outside"]) == (14, len(slots), len(others))
    assert totals["missing"] == 14 - len(slots) == int(counted.gap_count.sum())
    assert totals["zero_volume"] == (len(time) if empty else 0)
    assert totals["present"] == grid.filled(time)
    assert totals["gaps"] == len(counted.gap_count)
    missing = [slot for slot in range(14) if slot not in slots]
    runs = [slot for slot in missing if slot in (0, 10) or slot - 1 not in missing]
    assert totals["gaps"] == len(runs)
    assert ((counted.gap_last - counted.gap_first) // MINUTE + 1 == counted.gap_count).all()


def test_two_bars_in_one_slot_are_one_and_a_duplicate():
    """A bar that begins inside the one before it fills nothing."""
    table = sessions()
    time = table.open[0] + np.array([0, MINUTE, MINUTE + 30_000_000_000])
    counted = cover(Grid(table, Interval.parse("1m")), time, np.ones(3), NOTHING)
    assert (counted.total("present"), counted.total("duplicates"), counted.total("gaps")) == (2, 1, 2)


def test_rows_that_were_left_out_count_on_their_day():
    """Those without a time count in the total alone; a day without a session has a row where something was on it."""
    table = sessions((10,))
    day_after = int(table.open[0]) + 30 * 60 * MINUTE
    left_out = {
        "bad_ohlc": np.array([int(table.open[0])]),
        "bad_time": np.array([NO_TIME, NO_TIME]),
        "closed": np.array([day_after]),
    }
    counted = cover(Grid(table, Interval.parse("1m")), table.open[:0], np.zeros(0), left_out)
    assert counted.dates.astype(str).tolist() == ["2024-10-01", "2024-10-02"]
    assert counted.counts["expected"].tolist() == [10, 0]
    assert counted.counts["bad_ohlc"].tolist() == [1, 0]
    assert counted.counts["outside"].tolist() == [0, 1]
    assert (counted.total("bad_time"), counted.undated) == (2, 2)


def test_quality_is_a_percentage():
    """It is full where each expected bar is there once, and not defined where none is expected."""
    assert quality(390, 390, 0) == 100
    assert quality(195, 390, 0) == 50
    assert quality(390, 390, 390) == 50
    assert quality(0, 0, 0) is None
