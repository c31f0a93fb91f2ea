"""Views end at the cursor: what has not completed can't be reached."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import Stamps
from nbbacktest.data.calendar import session_table
from nbbacktest.data.resample import derive
from nbbacktest.engine.series import BarsView, Series
from tests.rig import series


@given(st.integers(0, 20), st.integers(-25, 25))
def test_an_index_reaches_completed_bars_only(visible, index):
    """An index works as on a list of the completed bars, and raises IndexError beyond."""
    one = series("A", range(20))
    one.n = visible
    view = BarsView(one)
    truth = one.columns.close[:visible].tolist()
    if -visible <= index < visible:
        assert view.close[index] == truth[index]
        assert view[index].close == truth[index]
        assert view.time[index] == one.stamps.stamp(int(one.columns.time[:visible][index]))
    else:
        for read in (view.close.__getitem__, view.__getitem__, view.time.__getitem__):
            with pytest.raises(IndexError):
                read(index)


@given(st.integers(0, 20), st.slices(20))
def test_a_slice_is_cut_at_the_cursor(visible, cut):
    """A slice is that of the completed bars, whatever it asks for."""
    one = series("A", range(20))
    one.n = visible
    view = BarsView(one)
    assert view.close[cut].tolist() == one.columns.close[:visible][cut].tolist()
    assert list(view.time[cut]) == list(one.stamps.index(one.columns.time[:visible][cut]))


def test_a_view_grows_with_the_run():
    """A kept view shows each bar as soon as it is completed, in all of its forms."""
    one = series("A", range(10), first=2)
    view = BarsView(one)
    assert len(view) == len(view.close) == 2
    one.n = 3
    assert view.close[-1] == 102.0
    assert view.to_frame()["close"].tolist() == [100.0, 101.0, 102.0]
    assert np.asarray(view.close).tolist() == [100.0, 101.0, 102.0]
    assert repr(view) == "<3 bars of A 1m>"


def test_columns_can_not_be_written():
    """What a strategy gets is read-only, so that it can't rewrite history."""
    one = series("A", range(3))
    one.n = 3
    with pytest.raises(ValueError, match="read-only"):
        BarsView(one).close[:][0] = 1.0


def test_values_are_plain_floats():
    """Single values are Python floats, not numpy scalars."""
    one = series("A", range(3))
    one.n = 3
    assert type(BarsView(one).close[-1]) is float
    assert type(BarsView(one)[-1].volume) is float


def test_columns_that_begin_earlier_take_the_place_of_others():
    """Before the first instant a series may get more warm-up; a renewed view and its kept columns show it."""
    whole = series("A", range(10)).columns
    one = Series(whole.slice(4, 10), Stamps("UTC"), is_base=True)
    view = BarsView(one)
    close = view.close
    one.show_earlier(whole.slice(1, 10), 3)
    view.renew()
    assert (one.n, one.first, one.last_close) == (3, 3, 103.0)
    assert close[:].tolist() == [101.0, 102.0, 103.0]
    assert (close[-1], view.time[0]) == (103.0, one.stamps.stamp(int(whole.time[1])))


def test_derived_bars_show_their_counts():
    """As bars and in the frame; base bars have no such columns."""
    base = series("A", range(7)).columns
    sessions = session_table("24/7", date(2024, 1, 2), date(2024, 1, 2))
    one = Series(derive(base, Interval.parse("5m"), sessions), Stamps("UTC"), is_base=False, first=2)
    frame = BarsView(one).to_frame()
    assert frame[["base_count", "expected_count"]].to_numpy().tolist() == [[5, 5], [2, 5]]
    assert [one.bar(row).is_complete for row in (0, 1)] == [True, False]
    assert "base_count" not in BarsView(series("A", range(3), first=3)).to_frame()
