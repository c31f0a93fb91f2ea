"""Bars and their columns: immutable, in one length, with stamps in the exchange's time or as plain dates."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.records import Bar, BarColumns, DerivedBar, Stamps

NS = pd.Timestamp("2024-10-03 09:30", tz="America/New_York").value
ZONED, DATES = Stamps("America/New_York"), Stamps("America/New_York", dates=True)
BAR = Bar("EXE", "1m", NS, NS + MINUTE, 1.0, 2.0, 0.5, 1.5, 100.0, ZONED)


def columns(count: int = 3, **changes) -> BarColumns:
    time = NS + np.arange(count) * MINUTE
    values = {
        "time": time,
        "end": time + MINUTE,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), time * 1.0),
    }
    return BarColumns("EXE", Interval.parse("1m"), **(values | changes))


def test_a_bar_reads_by_name():
    """Every field has its name, prices are plain floats, stamps are in the exchange's time."""
    assert (BAR.symbol, BAR.interval, BAR.time_ns, BAR.end_ns) == ("EXE", "1m", NS, NS + MINUTE)
    assert (BAR.open, BAR.high, BAR.low, BAR.close, BAR.volume) == (1.0, 2.0, 0.5, 1.5, 100.0)
    assert str(BAR.time) == "2024-10-03 09:30:00-04:00"
    assert BAR.end - BAR.time == pd.Timedelta(minutes=1)
    assert repr(BAR) == (
        "Bar(EXE 1m 2024-10-03 09:30:00-04:00 open=1 high=2 low=0.5 close=1.5 volume=100)"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["close", "time", "symbol", "mine"])
def test_a_bar_can_not_be_changed(name):
    """Setting anything is refused: a strategy that kept a bar finds it as it was."""
    with pytest.raises(AttributeError):
        setattr(BAR, name, 1)


@pytest.mark.parametrize("twin", [copy.copy(BAR), copy.deepcopy(BAR), pickle.loads(pickle.dumps(BAR))])
def test_a_bar_can_be_copied_and_sent(twin):
    """A copied or pickled bar is an equal Bar."""
    assert type(twin) is Bar
    assert twin == BAR
    assert twin.end == BAR.end


def test_stamps_of_sessions_are_plain_dates():
    """Where the source gave dates, stamps are shown without a zone, in local time."""
    midnight = pd.Timestamp("2024-10-03", tz="America/New_York").value
    assert DATES.stamp(midnight) == pd.Timestamp("2024-10-03")
    assert DATES.index(np.array([midnight])).tolist() == [pd.Timestamp("2024-10-03")]
    assert ZONED.index(np.array([midnight])).tolist() == [pd.Timestamp("2024-10-03", tz="America/New_York")]


def test_columns_are_read_only():
    """Nobody writes into a run's bars: neither into the arrays, nor into the fields."""
    part = columns()
    for name in ("time", "end", "open", "high", "low", "close", "volume"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(part, name)[0] = 1
    with pytest.raises(AttributeError):
        part.close = part.open


def test_columns_have_one_length():
    """A column of another length is refused by its name."""
    with pytest.raises(ValueError, match="column close has 2 rows and time has 3"):
        columns(close=[1.0, 2.0])


def test_columns_are_of_one_type():
    """Whatever comes in, times are int64 and values float64, contiguous."""
    part = columns(volume=[1, 2, 3])
    assert (part.time.dtype, part.volume.dtype) == (np.int64, np.float64)
    assert columns(close=np.arange(6.0)[::2]).close.flags.c_contiguous


def test_a_slice_is_a_view():
    """Slicing takes no memory, and base counts are cut with the bars."""
    whole = columns()
    part = whole.slice(1, 3)
    assert len(part) == 2
    assert np.shares_memory(part.close, whole.close)
    assert part.base_count is None
    counted = BarColumns(
        "EXE", whole.interval, *(getattr(whole, n) for n in BarColumns.__slots__[2:9]), np.array([5, 4, 3])
    )
    assert counted.slice(1, 3).base_count.tolist() == [4, 3]


def test_an_instant_of_a_daily_run_is_the_date_that_it_ends():
    """A session's close is shown as its date, also where that is the next midnight; elsewhere as the time it is."""
    close, midnight = (pd.Timestamp(t, tz="America/New_York").value for t in ("2024-10-03 16:00", "2024-10-04 00:00"))
    assert DATES.instant(close) == DATES.instant(midnight) == pd.Timestamp("2024-10-03")
    assert DATES.instants(np.array([close, midnight])).tolist() == [pd.Timestamp("2024-10-03")] * 2
    assert ZONED.instant(close) == pd.Timestamp("2024-10-03 16:00", tz="America/New_York")
    assert ZONED.instants(np.array([close])).tolist() == [ZONED.instant(close)]


def test_a_derived_bar_says_what_it_was_built_from():
    """It is a bar with two counts more, and complete where none is missing."""
    fields = ("EXE", "5m", 0, 300 * 10**9, 1.0, 2.0, 0.5, 1.5, 9.0, ZONED)
    bar, whole = DerivedBar(*fields, 4, 5), DerivedBar(*fields, 5, 5)
    assert isinstance(bar, Bar)
    assert (bar.base_count, bar.expected_count, bar.is_complete, whole.is_complete) == (4, 5, False, True)
    assert repr(bar).endswith("volume=9 from 4 of 5)")
    assert pickle.loads(pickle.dumps(bar)) == bar
    assert type(copy.deepcopy(bar)) is DerivedBar


def test_a_base_bar_is_built_from_itself():
    """1 of 1, without a field for it."""
    bar = Bar("EXE", "1m", 0, 60 * 10**9, 1.0, 2.0, 0.5, 1.5, 9.0, ZONED)
    assert (bar.base_count, bar.expected_count, bar.is_complete) == (1, 1, True)
    assert "base_count" not in bar.__struct_fields__


def test_columns_follow_earlier_ones():
    """Joined bars are the earlier ones and then these; counts and what they count come along."""
    whole = columns()
    assert whole.slice(1, 3).preceded_by(whole.slice(0, 1)).close.tolist() == whole.close.tolist()
    parts = (getattr(whole, n) for n in BarColumns.__slots__[2:9])
    counted = BarColumns("EXE", whole.interval, *parts, np.array([5, 4, 3]), np.array([5, 5, 5]), root=whole.interval)
    joined = counted.slice(2, 3).preceded_by(counted.slice(0, 2))
    assert (joined.base_count.tolist(), joined.expected_count.tolist()) == ([5, 4, 3], [5, 5, 5])
    assert joined.is_derived
    assert not whole.is_derived
    assert counted.taken(counted.base_count >= 4).time.tolist() == whole.time[:2].tolist()
