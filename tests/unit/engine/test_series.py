"""Views end at the cursor: what has not completed can't be reached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.engine.series import BarsView
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
    one.rewind()
    assert len(view) == 2


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
