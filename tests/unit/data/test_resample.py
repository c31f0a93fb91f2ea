"""Derived bars: the laws that they keep, and where their buckets lie."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.resample import derive

# Wednesday, a half day on Friday after a holiday, Monday: 390 + 210 + 390 minutes.
SESSIONS = session_table("XNYS", date(2024, 11, 27), date(2024, 12, 2))
OPEN_MINUTES = np.concatenate(
    [np.arange(a, b, MINUTE) for a, b in zip(SESSIONS.open.tolist(), SESSIONS.close.tolist(), strict=True)]
)
INTERVALS = [Interval.parse(text) for text in ("2m", "5m", "7m", "15m", "1h", "1d")]


def columns(time: np.ndarray, seed: int = 0, interval: str = "1m") -> BarColumns:
    random = np.random.default_rng(seed)
    low, high = np.sort(random.integers(1, 1000, (2, len(time))), axis=0).astype(float)
    open_, close = random.uniform(low, high), random.uniform(low, high)
    length = Interval.parse(interval)
    return BarColumns("EXE", length, time, time + length.ns, open_, high, low, close, random.integers(0, 99, len(time)))


def stamps(ns: np.ndarray) -> list[str]:
    return [Stamps("America/New_York").stamp(int(x)).strftime("%d %H:%M") for x in ns]


@st.composite
def bars(draw: st.DrawFn) -> BarColumns:
    """Any of the minutes on which New York was open."""
    rows = draw(st.lists(st.integers(0, len(OPEN_MINUTES) - 1), min_size=1, max_size=120, unique=True))
    return columns(OPEN_MINUTES[np.sort(rows)], draw(st.integers(0, 9)))


def same(a: BarColumns, b: BarColumns) -> bool:
    names = ("time", "end", "open", "high", "low", "close", "volume", "base_count")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@given(bars(), st.sampled_from(INTERVALS))
def test_nothing_is_lost_and_nothing_is_made_up(base: BarColumns, interval: Interval):
    """Volume and number of bars are conserved, the extremes are the base's, first open and last close too."""
    derived = derive(base, interval, SESSIONS)
    assert derived.volume.sum() == base.volume.sum()
    assert derived.base_count.sum() == len(base)
    assert (derived.base_count > 0).all()
    assert (derived.high.max(), derived.low.min()) == (base.high.max(), base.low.min())
    assert (derived.open[0], derived.close[-1]) == (base.open[0], base.close[-1])


@given(bars(), st.sampled_from(INTERVALS))
def test_each_bar_is_made_of_the_bars_that_start_in_it(base: BarColumns, interval: Interval):
    """Row by row: first open, highest high, lowest low, last close, summed volume."""
    derived = derive(base, interval, SESSIONS)
    for row in range(len(derived)):
        inside = (base.time >= derived.time[row]) & (base.time < derived.end[row])
        assert inside.sum() == derived.base_count[row]
        assert derived.open[row] == base.open[inside][0]
        assert derived.high[row] == base.high[inside].max()
        assert derived.low[row] == base.low[inside].min()
        assert derived.close[row] == base.close[inside][-1]
        assert derived.volume[row] == base.volume[inside].sum()


@given(bars(), st.sampled_from(INTERVALS))
def test_no_bar_crosses_a_session(base: BarColumns, interval: Interval):
    """A bar starts and ends in one session, a whole number of intervals after its open, and bars don't overlap."""
    derived = derive(base, interval, SESSIONS)
    row = SESSIONS.session_of(derived.end - 1)
    assert (row >= 0).all()
    assert (derived.end <= SESSIONS.close[row]).all()
    if interval.is_daily:
        assert (derived.end == SESSIONS.close[row]).all()
    else:
        assert ((derived.time - SESSIONS.open[row]) % interval.ns == 0).all()
        assert (derived.time >= SESSIONS.open[row]).all()
    assert (derived.time[1:] >= derived.end[:-1]).all()


@given(bars(), st.sampled_from([("5m", "15m"), ("2m", "1h"), ("15m", "1h"), ("5m", "1d"), ("7m", "1d")]))
def test_derived_of_derived_equals_derived(base: BarColumns, names: tuple[str, str]):
    """By way of a finer interval or directly, the bars are the same, counts of base bars included."""
    fine, coarse = (Interval.parse(name) for name in names)
    assert same(derive(derive(base, fine, SESSIONS), coarse, SESSIONS), derive(base, coarse, SESSIONS))


def test_buckets_begin_at_the_open_and_end_at_the_close():
    """Hours of New York begin at half past, and the last of a day, or half day, is cut."""
    derived = derive(columns(OPEN_MINUTES), Interval.parse("1h"), SESSIONS)
    assert stamps(derived.time[7:11]) == ["29 09:30", "29 10:30", "29 11:30", "29 12:30"]
    assert stamps(derived.end[[6, 10]]) == ["27 16:00", "29 13:00"]
    assert derived.base_count.tolist() == [60] * 6 + [30] + [60] * 3 + [30] + [60] * 6 + [30]


def test_a_day_is_one_bar_stamped_with_its_date():
    """It begins at local midnight, as daily bars do, and is complete at the close."""
    derived = derive(columns(OPEN_MINUTES), Interval.parse("1d"), SESSIONS)
    assert stamps(derived.time) == ["27 00:00", "29 00:00", "02 00:00"]
    assert (derived.end == SESSIONS.close).all()
    assert derived.base_count.tolist() == [390, 210, 390]


def test_missing_bars_leave_gaps():
    """Without a base bar there is no bar, and a lone one makes a bar with the bucket's span."""
    derived = derive(columns(OPEN_MINUTES[[3, 27]]), Interval.parse("5m"), SESSIONS)
    assert stamps(derived.time) == ["27 09:30", "27 09:55"]
    assert stamps(derived.end) == ["27 09:35", "27 10:00"]
    assert derived.base_count.tolist() == [1, 1]


def test_a_bar_is_never_complete_before_its_last_base_bar():
    """Where base bars straddle buckets, the bucket's end waits for them."""
    hours = columns(OPEN_MINUTES[[30, 90]], interval="1h")  # 10:00 and 11:00
    assert stamps(derive(hours, Interval.parse("2h"), SESSIONS).end) == ["27 12:00"]


def test_bars_outside_every_session_are_refused():
    """The first is named, with the exchange and the cure."""
    early = np.concatenate(([OPEN_MINUTES[0] - 90 * MINUTE], OPEN_MINUTES[:5], [SESSIONS.close[0]]))
    with pytest.raises(DataError, match=r"EXE: 2 of 7 bars lie outside the sessions of XNYS.*2024-11-27 08:00.*24/7"):
        derive(columns(early), Interval.parse("5m"), SESSIONS)


@pytest.mark.parametrize("name", ["1m", "30s", "90s", "2d"])
def test_intervals_that_do_not_fit_are_refused(name: str):
    """Only multiples of the base up to a day, weeks and months can be derived."""
    with pytest.raises(DataError, match="EXE has 1m bars.*(not a multiple of interval 1m|longer than a session)"):
        derive(columns(OPEN_MINUTES[:9]), Interval.parse(name), SESSIONS)


def test_no_bars_derive_to_none():
    """An empty column set stays empty."""
    derived = derive(columns(OPEN_MINUTES[:0]), Interval.parse("5m"), SESSIONS)
    assert len(derived) == 0
    assert derived.base_count is not None
    assert derived.interval.name == "5m"


def test_a_market_that_never_closes_is_anchored_to_midnight():
    """Local midnight, also on the day that has 23 hours."""
    sessions: SessionTable = session_table("24/7", date(2024, 3, 9), date(2024, 3, 11), "America/New_York")
    hours = np.arange(sessions.open[0], sessions.close[-1], 60 * MINUTE)
    derived = derive(columns(hours, interval="1h"), Interval.parse("4h"), sessions)
    assert stamps(derived.time[6:13]) == [
        "10 00:00", "10 05:00", "10 09:00", "10 13:00", "10 17:00", "10 21:00", "11 00:00",
    ]  # fmt: skip
    assert derived.base_count[11] == 3


TOKYO = session_table("XTKS", date(2024, 11, 1), date(2024, 11, 5))  # the second one closes half an hour later
TOKYO_MINUTES = np.concatenate(
    [np.arange(a, b, MINUTE) for a, b in zip(TOKYO.part_open.tolist(), TOKYO.part_close.tolist(), strict=True)]
)


def test_a_lunch_break_cuts_bars_and_anchors_anew():
    """Hours of Tokyo: a morning that ends at half past eleven, an afternoon from half past twelve."""
    derived = derive(columns(TOKYO_MINUTES), Interval.parse("1h"), TOKYO)
    local = [Stamps("Asia/Tokyo").stamp(int(x)).strftime("%H:%M") for x in (*derived.time[:6], *derived.end[:6])]
    assert local[:6] == ["09:00", "10:00", "11:00", "12:30", "13:30", "14:30"]
    assert local[6:] == ["10:00", "11:00", "11:30", "13:30", "14:30", "15:00"]
    assert derived.base_count.tolist() == [60, 60, 30, 60, 60, 30, 60, 60, 30, 60, 60, 60]
    days = derive(columns(TOKYO_MINUTES), Interval.parse("1d"), TOKYO)
    assert days.base_count.tolist() == [300, 330]
    assert (days.end == TOKYO.close).all()


@given(
    st.lists(st.integers(0, len(TOKYO_MINUTES) - 1), min_size=1, max_size=80, unique=True), st.sampled_from(INTERVALS)
)
def test_no_bar_spans_a_lunch_break(rows: list[int], interval: Interval):
    """Whatever minutes there are: a bar lies in one part of a session, a whole number of intervals after its begin."""
    derived = derive(columns(TOKYO_MINUTES[np.sort(rows)]), interval, TOKYO)
    assert derived.base_count.sum() == len(rows)
    if not interval.is_daily:
        part = TOKYO.part_of(derived.time)
        assert (part >= 0).all()
        assert (part == TOKYO.part_of(derived.end - 1)).all()
        assert ((derived.time - TOKYO.part_open[part]) % interval.ns == 0).all()


def test_bars_inside_a_lunch_break_are_outside_of_the_session():
    """They are refused like any others that lie outside."""
    noon = np.append(TOKYO_MINUTES[:5], TOKYO.break_start[0])
    with pytest.raises(DataError, match=r"EXE: 1 of 6 bars lie outside the sessions of XTKS.*2024-11-01 11:30"):
        derive(columns(noon), Interval.parse("5m"), TOKYO)


def test_times_of_pandas_agree():
    """A whole plain session equals pandas' own resampling."""
    base = columns(OPEN_MINUTES[:390])
    frame = pd.DataFrame({"close": base.close}, index=pd.DatetimeIndex(base.time))
    plain = frame.resample("15min", origin="start").last()
    assert derive(base, Interval.parse("15m"), SESSIONS).close.tolist() == plain.close.tolist()
