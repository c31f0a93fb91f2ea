"""Days, weeks and months as derived bars: their laws, their room, and where they begin and end."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import HOUR, MINUTE, Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import SessionTable, local_midnights, session_table
from nbbacktest.data.resample import Forming, derive
from nbbacktest.data.trading_days import whole_periods

ZONE = "America/New_York"
# Thanksgiving week with its half day, and the turn of the month inside the week after the next.
SESSIONS = session_table("XNYS", date(2024, 11, 1), date(2025, 1, 31))
COARSE = [Interval.parse(text) for text in ("5m", "15m", "7m", "1h", "1d", "1w", "1mo")]
OPENINGS = np.concatenate(
    [np.arange(a, b, MINUTE) for a, b in zip(SESSIONS.open.tolist(), SESSIONS.close.tolist(), strict=True)]
)


def columns(time: np.ndarray, seed: int = 0) -> BarColumns:
    random = np.random.default_rng(seed)
    low, high = np.sort(random.uniform(1, 1000, (2, len(time))), axis=0)
    open_, close = random.uniform(low, high), random.uniform(low, high)
    volume = random.uniform(0, 99, len(time))  # fractions, as coins trade: sums must agree to the last digit
    return BarColumns("EXE", Interval.parse("1m"), time, time + MINUTE, open_, high, low, close, volume)


def daily(dates: np.ndarray, end: np.ndarray | None = None) -> BarColumns:
    time = local_midnights(dates, ZONE)
    close = np.arange(1.0, len(dates) + 1)
    end = SESSIONS.close[np.searchsorted(SESSIONS.dates, dates)] if end is None else end
    return BarColumns("EXE", Interval.parse("1d"), time, end, close, close, close, close, close)


def texts(ns: np.ndarray) -> list[str]:
    return [Stamps(ZONE).stamp(int(x)).strftime("%m-%d %H:%M") for x in ns]


@st.composite
def bars(draw: st.DrawFn) -> BarColumns:
    """A stretch of minutes in which some are missing."""
    begin = draw(st.integers(0, len(OPENINGS) - 2))
    stop = draw(st.integers(begin + 1, min(begin + 3000, len(OPENINGS))))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    keep = random.uniform(size=stop - begin) < draw(st.sampled_from([0.02, 0.5, 0.95, 1.0]))
    keep[0] = True
    return columns(OPENINGS[begin:stop][keep], draw(st.integers(0, 9)))


def same(a: BarColumns, b: BarColumns, *, exactly: bool = True) -> bool:
    names = ("time", "end", "open", "high", "low", "close", "base_count", "expected_count")
    close = np.array_equal if exactly else np.allclose
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names) and bool(close(a.volume, b.volume))


@given(bars(), st.sampled_from([("5m", "1d"), ("7m", "1w"), ("1h", "1mo"), ("1d", "1w"), ("1d", "1mo")]))
def test_derived_of_derived_is_derived(base: BarColumns, names: tuple[str, str]):
    """By way of a finer interval or directly: the same weeks and months, and the same room for base bars."""
    fine, coarse = (Interval.parse(name) for name in names)
    assert same(derive(derive(base, fine, SESSIONS), coarse, SESSIONS), derive(base, coarse, SESSIONS), exactly=False)


@given(bars(), st.sampled_from(COARSE))
def test_a_forming_bar_becomes_the_derived_bar(base: BarColumns, interval: Interval):
    """With the last base bar of a bucket the forming bar has every value of the completed one."""
    derived = derive(base, interval, SESSIONS)
    assert derived.base_count is not None
    assert derived.expected_count is not None
    forming = Forming(interval, SESSIONS, Stamps(ZONE))
    for row, n in enumerate(np.cumsum(derived.base_count).tolist()):
        bar = forming.at(base, n)
        assert bar is not None
        assert (bar.time_ns, bar.closes_ns) == (derived.time[row], derived.end[row])
        for name in ("open", "high", "low", "close", "volume", "base_count", "expected_count"):
            assert getattr(bar, name) == getattr(derived, name)[row], name
        assert not bar.is_complete


@given(bars(), st.sampled_from(COARSE), st.data())
def test_nothing_depends_on_later_bars(base: BarColumns, interval: Interval, data: st.DataObject):
    """Completed bars and the forming one are the same, whatever comes after, or where nothing does."""
    n = data.draw(st.integers(1, len(base)))
    part = base.slice(0, n)
    assert Forming(interval, SESSIONS, Stamps(ZONE)).at(base, n) == Forming(interval, SESSIONS, Stamps(ZONE)).at(
        part, n
    )
    whole, cut = derive(base, interval, SESSIONS), derive(part, interval, SESSIONS)
    done = len(cut) - 1
    assert same(whole.slice(0, done), cut.slice(0, done))


@given(bars(), st.sampled_from(COARSE))
def test_no_bar_has_more_base_bars_than_room(base: BarColumns, interval: Interval):
    """Missing minutes make a bar incomplete, and nothing makes it more than complete."""
    derived = derive(base, interval, SESSIONS)
    assert derived.base_count is not None
    assert derived.expected_count is not None
    assert (derived.base_count <= derived.expected_count).all()
    assert derived.root == Interval.parse("1m")


def test_room_follows_the_calendar():
    """Half days, holidays and the close cut what a bucket has room for."""
    base = columns(OPENINGS)
    week, month, hour = (derive(base, Interval.parse(text), SESSIONS) for text in ("1w", "1mo", "1h"))
    thanksgiving = texts(week.time).index("11-25 00:00")
    assert week.expected_count[thanksgiving] == 3 * 390 + 210
    assert month.expected_count.tolist() == [19 * 390 + 210, 20 * 390 + 210, 20 * 390]
    assert hour.expected_count[:7].tolist() == [60] * 6 + [30]
    assert all((b.base_count == b.expected_count).all() for b in (week, month, hour))


def test_a_week_begins_with_its_first_session_and_ends_with_its_last():
    """ISO weeks of the sessions' dates: a half day on Friday ends one, and New Year doesn't."""
    week = derive(columns(OPENINGS), Interval.parse("1w"), SESSIONS)
    assert texts(week.time)[3:6] == ["11-18 00:00", "11-25 00:00", "12-02 00:00"]
    assert texts(week.end)[3:6] == ["11-22 16:00", "11-29 13:00", "12-06 16:00"]
    turn = texts(week.time).index("12-30 00:00")
    assert texts(week.end)[turn] == "01-03 16:00"


def test_a_month_begins_with_its_first_session():
    """December begins on Monday the 2nd, and January on the 2nd."""
    month = derive(columns(OPENINGS), Interval.parse("1mo"), SESSIONS)
    assert texts(month.time) == ["11-01 00:00", "12-02 00:00", "01-02 00:00"]
    assert texts(month.end) == ["11-29 16:00".replace("16", "13"), "12-31 16:00", "01-31 16:00"]


def test_a_week_ends_with_the_calendar_s_last_session_whether_that_has_bars_or_not():
    """Without bars on Friday the week is complete at Friday's close all the same, and says what it lacks."""
    monday = columns(OPENINGS[SESSIONS.close[2] > OPENINGS])  # Friday the 1st, Monday the 4th, Tuesday
    week = derive(monday, Interval.parse("1w"), SESSIONS)
    assert texts(week.end) == ["11-01 16:00", "11-08 16:00"]
    assert week.base_count.tolist() == [390, 780]
    assert week.expected_count.tolist() == [390, 5 * 390]  # the table begins on Friday the 1st


@pytest.mark.parametrize("interval", ["1w", "1mo"])
def test_daily_bars_make_weeks_and_months(interval: str):
    """Room and count are sessions; a session without a bar is one that lacks."""
    base = daily(np.delete(SESSIONS.dates, 8))
    derived = derive(base, Interval.parse(interval), SESSIONS)
    assert derived.expected_count.sum() == len(SESSIONS)
    assert derived.base_count.sum() == len(SESSIONS) - 1
    assert (derived.base_count < derived.expected_count).sum() == 1
    assert (derived.end[-1], derived.close[-1]) == (SESSIONS.close[-1], base.close[-1])


def test_daily_bars_that_end_at_midnight_make_weeks_that_do():
    """Where no calendar ends the days, a week is complete when its last date is over, with Friday's bar or without."""
    dates = SESSIONS.dates[SESSIONS.dates < np.datetime64("2024-11-15")]
    base = daily(dates, local_midnights(dates + np.timedelta64(1, "D"), ZONE))
    assert texts(derive(base, Interval.parse("1w"), SESSIONS).end) == ["11-02 00:00", "11-09 00:00", "11-16 00:00"]


def test_daily_bars_on_closed_days_are_refused():
    """The first is named, with the cure."""
    base = daily(np.array(["2024-11-27", "2024-11-28"], dtype="datetime64[D]"), np.array([1, 2]))
    with pytest.raises(
        DataError, match=r"EXE: 1 of 2 daily bars are on days on which XNYS is closed.*2024-11-28.*24/7"
    ):
        derive(base, Interval.parse("1w"), SESSIONS)


@pytest.mark.parametrize(("base", "coarse"), [("7d", "1mo"), ("1w", "1mo"), ("1d", "1d"), ("1d", "2d"), ("1m", "7d")])
def test_lengths_that_do_not_fit(base: str, coarse: str):
    """Weeks make no months, and there are no bars of several days but weeks and months."""
    assert Interval.parse(coarse).misfit(Interval.parse(base))


@pytest.mark.parametrize(("base", "coarse"), [("1d", "1w"), ("1d", "1mo"), ("7m", "1d"), ("4h", "1w"), ("30s", "1mo")])
def test_whole_sessions_are_made_of_any_bars(base: str, coarse: str):
    """A day, a week and a month need no multiple."""
    assert Interval.parse(coarse).misfit(Interval.parse(base)) is None


def test_hours_at_the_close_are_cut():
    """Seven hourly bars a session, the last of half an hour; four on a half day."""
    time = np.concatenate([np.arange(o, c, HOUR) for o, c in zip(SESSIONS.open, SESSIONS.close, strict=True)])
    row = SESSIONS.session_of(time)
    end = np.minimum(time + HOUR, SESSIONS.close[row])
    one = np.ones(len(time))
    base = BarColumns("EXE", Interval.parse("1h"), time, end, one, one, one, one, one)
    day = derive(base, Interval.parse("1d"), SESSIONS)
    assert sorted(set(day.expected_count.tolist())) == [4, 7]
    assert (day.base_count == day.expected_count).all()
    assert (day.end == SESSIONS.close).all()


def test_whole_periods_reach_beyond_the_bars():
    """From the Monday, or the 1st, before the first bar to the end of the last bar's week and month."""
    table: SessionTable = whole_periods("XNYS", int(SESSIONS.open[8]), int(SESSIONS.close[9]), ZONE)
    assert table.dates[0] == np.datetime64("2024-11-01")
    assert table.dates[-1] == np.datetime64("2024-11-29")


def test_weeks_of_a_market_that_never_closes():
    """Seven days from Monday's midnight on, also in the week in which a day has 23 hours."""
    sessions = session_table("24/7", date(2024, 3, 4), date(2024, 3, 17), ZONE)
    time = np.arange(sessions.open[0], sessions.close[-1], HOUR)
    one = np.ones(len(time))
    base = BarColumns("BTC", Interval.parse("1h"), time, time + HOUR, one, one, one, one, one)
    week = derive(base, Interval.parse("1w"), sessions)
    assert week.expected_count.tolist() == [7 * 24 - 1, 7 * 24]
    assert texts(week.end) == ["03-11 00:00", "03-18 00:00"]


@pytest.mark.parametrize(("base", "session"), [("1m", 300), ("7m", 22 + 22), ("15m", 20), ("1h", 3 + 3), ("4h", 2)])
def test_a_lunch_break_has_no_room(base: str, session: int):
    """Tokyo trades from 9 to 11:30 and from 12:30 to 15: each part counts for itself, a bar that it cuts too."""
    tokyo = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 30))
    length = Interval.parse(base)
    time = np.concatenate([np.arange(a, b, length.ns) for a, b in zip(tokyo.part_open, tokyo.part_close, strict=True)])
    one, closes = np.ones(len(time)), tokyo.part_close[tokyo.part_of(time)]
    bars = BarColumns("7203", length, time, np.minimum(time + length.ns, closes), one, one, one, one, one)
    days = derive(bars, Interval.parse("1d"), tokyo)
    assert days.base_count.tolist() == days.expected_count.tolist() == [session] * len(tokyo)
    assert days.end.tolist() == tokyo.close.tolist()
    weeks = derive(bars, Interval.parse("1w"), tokyo)
    # Two Mondays were holidays.
    assert (
        weeks.base_count.tolist()
        == weeks.expected_count.tolist()
        == [5 * session, 5 * session, 4 * session, 4 * session, session]
    )


def test_bars_of_the_afternoon_have_room_from_the_lunch_break_on():
    """An hour is cut at half past eleven, and the next one begins at half past twelve."""
    tokyo = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2))
    time = np.concatenate([np.arange(a, b, MINUTE) for a, b in zip(tokyo.part_open, tokyo.part_close, strict=True)])
    hours = derive(columns(time), Interval.parse("1h"), tokyo)
    local = [Stamps("Asia/Tokyo").stamp(int(ns)).strftime("%H:%M") for ns in hours.time]
    assert local == ["09:00", "10:00", "11:00", "12:30", "13:30", "14:30"]
    assert hours.expected_count.tolist() == hours.base_count.tolist() == [60, 60, 30, 60, 60, 30]


def test_what_is_forming_lasts_over_a_lunch_break():
    """At noon the day is still forming, of the morning's bars; with the first bar of the afternoon it goes on."""
    tokyo = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 6))
    time = np.concatenate([np.arange(a, b, MINUTE) for a, b in zip(tokyo.part_open, tokyo.part_close, strict=True)])
    bars, forming = columns(time), Forming(Interval.parse("1d"), tokyo, Stamps("Asia/Tokyo"))
    for n, count in ((150, 150), (151, 151), (300, 300), (301, 1)):
        bar = forming.at(bars, n)
        assert (bar.base_count, bar.expected_count) == (count, 300)
    assert forming.at(bars, 150).closes_at == Stamps("Asia/Tokyo").stamp(int(tokyo.close[0]))


def test_extended_hours_have_more_room_and_end_later():
    """From four to eight Thanksgiving week has four sessions of sixteen hours, and ends on Friday at eight."""
    hours = OwnHours(open="04:00", close="20:00")
    monday = int(SESSIONS.open[SESSIONS.date_index(date(2024, 11, 25))])
    table = whole_periods("XNYS", monday, monday + 3 * 24 * HOUR, ZONE, hours)
    begin = table.date_index(date(2024, 11, 25))
    time = np.concatenate([np.arange(table.open[row], table.close[row], MINUTE) for row in range(begin, begin + 4)])
    week = derive(columns(time), Interval.parse("1w"), table)
    assert week.base_count.tolist() == week.expected_count.tolist() == [4 * 16 * 60]
    assert texts(week.end) == ["11-29 20:00"]
