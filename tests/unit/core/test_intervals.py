"""Bar lengths: their texts, their order, and what is no interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, HOUR, MINUTE, SECOND, Interval


@pytest.mark.parametrize(
    ("text", "ns", "name"),
    [("1s", SECOND, "1s"), ("60s", MINUTE, "1m"), ("90s", 90 * SECOND, "90s"), ("5m", 5 * MINUTE, "5m"),
     ("60m", HOUR, "1h"), ("4h", 4 * HOUR, "4h"), ("24h", DAY, "1d"), ("7d", 7 * DAY, "7d"),
     ("1w", 7 * DAY, "1w"), ("1mo", 30 * DAY, "1mo"), ("30d", 30 * DAY, "30d")],
)  # fmt: skip
def test_texts_are_read_and_written_in_the_largest_unit(text, ns, name):
    """A whole number and a unit; another spelling of the same length becomes the usual one."""
    interval = Interval.parse(text)
    assert (interval.ns, interval.name, str(interval)) == (ns, name, name)


@pytest.mark.parametrize(
    "text", ["", "m", "0m", "-5m", "1.5m", "5", "5 m", "5M", "2w", "3mo", "1W", "5min", " 5m", "5m\n", "٣m", 5, None]
)
def test_what_is_no_interval_is_refused(text):
    """Anything else is a DataError that shows the value and the form."""
    with pytest.raises(DataError, match="is no interval; write a whole number and s, m, h or d") as caught:
        Interval.parse(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@given(st.integers(1, 10**6))
def test_every_length_of_whole_seconds_has_one_name(seconds):
    """Writing and reading give the same interval."""
    interval = Interval.from_ns(seconds * SECOND)
    assert Interval.parse(interval.name) == interval


@pytest.mark.parametrize("ns", [0, -MINUTE, 1, SECOND // 2])
def test_a_spacing_of_no_whole_seconds_is_refused(ns):
    """Lengths below a second, and none at all, are no interval."""
    with pytest.raises(DataError, match="is no interval; intervals are whole seconds"):
        Interval.from_ns(ns)


def test_intervals_are_ordered_by_length():
    """Sorting puts the shorter first; days and more are daily."""
    texts = ["1d", "90s", "1h", "5m"]
    assert [str(i) for i in sorted(map(Interval.parse, texts))] == ["90s", "5m", "1h", "1d"]
    assert [Interval.parse(t).is_daily for t in texts] == [True, False, False, False]


def test_calendar_intervals_are_told_apart_from_lengths():
    """A week is not 7 days and a month not 30, though they sort beside them."""
    week, month = Interval.parse("1w"), Interval.parse("1mo")
    assert (week.is_calendar, month.is_calendar, Interval.parse("7d").is_calendar) == (True, True, False)
    assert week != Interval.parse("7d")
    assert month != Interval.parse("30d")
    assert Interval.from_ns(7 * DAY).name == "7d"
    assert [str(i) for i in sorted(map(Interval.parse, ["1mo", "1w", "1d", "4h"]))] == ["4h", "1d", "1w", "1mo"]
