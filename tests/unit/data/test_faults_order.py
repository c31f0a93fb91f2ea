"""Which rows are only unsorted, and which contradict others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.intervals import DAY
from nbbacktest.data.frames import RowOrder, order_of

DATES = np.array([day for day in range(19_700, 20_050) if (day + 3) % 7 < 5]) * DAY  # 250 days of trading


def rows(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def told(order: RowOrder) -> dict[str, list[int]]:
    return {name: rows(getattr(order, name)) for name in ("moved", "stray", "back", "twice")}


def test_rows_that_rise_are_left_as_they_are():
    """Nothing is moved, nothing is wrong."""
    order = order_of(DATES)
    assert order.rows.tolist() == list(range(len(DATES)))
    assert not any(told(order).values())


def test_what_goes_back_is_sorted_and_what_is_there_already_is_not():
    """Of rows with one stamp the first stays; the others are out of order, or duplicates of the latest."""
    order = order_of(np.array([1, 3, 2, 3, 2, 4, 4]))
    assert order.rows.tolist() == [0, 2, 1, 5]
    assert told(order) == {"moved": [2], "stray": [], "back": [4], "twice": [3, 6]}


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_what_stays_rises_and_every_stamp_has_a_row(ticks: list[int]):
    """The rows that stay rise strictly; a row is left out only where its stamp is another's, few as these are."""
    given_ = np.array(ticks, dtype=np.int64)
    order = order_of(given_)
    kept = given_[order.rows]
    assert (np.diff(kept) > 0).all()
    assert set(kept.tolist()) | set(given_[order.stray].tolist()) == set(ticks)
    left = np.ones(len(ticks), dtype=bool)
    left[order.rows] = False
    assert (left == (order.stray | order.back | order.twice)).all()
    assert not (order.moved & left).any()


@given(st.integers(2, 250), st.randoms(use_true_random=False))
def test_what_is_only_shuffled_is_sorted_whole(count: int, random):
    """Whatever the order of the rows, with the newest first too."""
    places = list(range(count))
    random.shuffle(places)
    for order in (places, places[::-1], list(range(count))[::-1]):
        found = order_of(DATES[order])
        if len(rows(found.stray)) == 0:
            assert DATES[order][found.rows].tolist() == DATES[:count].tolist()
    found = order_of(DATES[:count][::-1])
    assert (len(found.rows), found.falling) == (count, True)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("row", [0, 100, 248])
@pytest.mark.parametrize("years", [75, 1, -1, -50])
def test_a_mistyped_year_is_one_row(falling: bool, row: int, years: int):
    """It takes none of the rows after it with it."""
    ticks = DATES[::-1].copy() if falling else DATES.copy()
    ticks[row] += years * 365 * DAY + (DAY if abs(years) == 1 else 0)
    order = order_of(ticks)
    left_out = rows(order.stray | order.back | order.twice)
    if row == 0 and (years < 0) != falling:
        assert left_out == []  # the first of all may be long before the others
    else:
        assert left_out == [row]
    assert len(order.rows) + len(left_out) == len(ticks)


def test_blocks_in_the_wrong_order_are_sorted():
    """Two files one after the other, the later one first; and one whose few oldest rows come last."""
    for first in (100, 245):
        ticks = np.concatenate((DATES[-first:], DATES[:-first]))
        assert ticks[order_of(ticks).rows].tolist() == DATES.tolist()
