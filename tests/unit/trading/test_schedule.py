"""Schedules: which terms make sense, and which moments of which sessions they mean."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.errors import ScheduleError
from nbbacktest.core.intervals import MINUTE, NO_TIME
from nbbacktest.data.calendar import SessionTable, local_clock, session_table
from nbbacktest.trading.schedule import Scheduled, moments, read_terms

# A half day on the 29th, the last session of November and of its week.
NEW_YORK = session_table("XNYS", dt.date(2024, 11, 25), dt.date(2024, 12, 10))


def nothing():
    """Stand for what is called."""


def times(table: SessionTable, **terms) -> dict[str, str]:
    """The local time that each session is called at, by its date; sessions without are left out."""
    given = {"at": None, "before_close": None, "after_open": None, "every": "day"} | terms
    found = moments(read_terms(nothing, **given), table)
    at = pd.DatetimeIndex(np.where(found == NO_TIME, 0, found), tz="UTC").tz_convert(table.local_timezone)
    pairs = zip(table.dates.tolist(), found, at, strict=True)
    return {day.isoformat(): f"{moment:%d %H:%M}" for day, ns, moment in pairs if ns != NO_TIME}


def test_times_are_on_the_exchanges_clocks():
    """On both sides of a change of the clocks, whatever zone is shown; a half day doesn't have the time."""
    change = session_table("XNYS", dt.date(2024, 11, 1), dt.date(2024, 11, 4), "UTC")
    assert times(change, at="15:55") == {"2024-11-01": "01 15:55", "2024-11-04": "04 15:55"}
    assert times(change, at=dt.time(9, 30)) == {"2024-11-01": "01 09:30", "2024-11-04": "04 09:30"}
    assert "2024-11-29" not in times(NEW_YORK, at="15:55")
    assert len(times(NEW_YORK, at="15:55")) == len(NEW_YORK) - 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"), ("Europe/London", "2024-10-27"),
            ("Australia/Lord_Howe", "2024-10-06"), ("Australia/Sydney", "2024-04-07"), ("America/Santiago", "2024-09-08"),
            ("America/Sao_Paulo", "2018-02-18"), ("Africa/Cairo", "2024-04-26"),
        ]
    ),
    st.integers(0, 24 * 60 - 1),
)  # fmt: skip
def test_a_scheduled_time_is_the_first_at_which_the_clock_has_come_so_far(change: tuple[str, str], minute: int):
    """The law over both changes, in both hemispheres: a skipped time is the first after it, of a repeated one the first."""
    zone, day = change[0], dt.date.fromisoformat(change[1])
    table = session_table("24/7", day - dt.timedelta(days=2), day + dt.timedelta(days=2), zone)
    at = dt.time(minute // 60, minute % 60)
    found = moments(read_terms(nothing, at, None, None, "day"), table)
    for date, opened, closed, moment in zip(table.dates, table.open, table.close, found, strict=True):
        scan = np.arange(opened, closed, MINUTE)
        since = local_clock(scan, zone) - date.astype("datetime64[ns]").astype(np.int64)
        reached = scan[since >= minute * MINUTE]
        assert moment == (reached[0] if len(reached) else closed)


def test_minutes_count_from_each_sessions_own_open_and_close():
    """Half days close early; a session too short for it is left out."""
    before = times(NEW_YORK, before_close=5)
    assert (before["2024-11-27"], before["2024-11-29"]) == ("27 15:55", "29 12:55")
    assert times(NEW_YORK, after_open=0)["2024-11-29"] == "29 09:30"
    assert "2024-11-29" not in times(NEW_YORK, after_open=300)
    assert times(NEW_YORK, before_close=0.5)["2024-12-02"] == "02 15:59"


def test_a_session_that_opens_on_the_evening_before_has_its_evening_then():
    """Six in the evening of a futures session is on the date before; its afternoon is on its own."""
    futures = session_table("CMES", dt.date(2024, 9, 4), dt.date(2024, 9, 5))
    assert times(futures, at="18:00") == {"2024-09-04": "03 18:00", "2024-09-05": "04 18:00"}
    assert times(futures, at="15:00") == {"2024-09-04": "04 15:00", "2024-09-05": "05 15:00"}


def test_weeks_and_months_are_those_of_the_exchange():
    """Not those of the run: its first session needn't begin one, and its last one needn't end one."""
    days = {every: list(times(NEW_YORK, after_open=1, every=every)) for every in ("week_start", "week_end")}
    assert days == {
        "week_start": ["2024-11-25", "2024-12-02", "2024-12-09"],
        "week_end": ["2024-11-29", "2024-12-06"],
    }
    assert list(times(NEW_YORK, after_open=1, every="month_start")) == ["2024-12-02"]
    assert list(times(NEW_YORK, after_open=1, every="month_end")) == ["2024-11-29"]
    inside = NEW_YORK.rows(3, 5)
    assert list(times(inside, after_open=1, every="month_end")) == ["2024-11-29"]
    assert times(inside.rows(1, 2), after_open=1, every="month_end") == {}


def test_the_edges_of_a_table_made_by_hand_are_edges():
    """Where nobody knows what is around, the first session begins its week and month and the last one ends them."""
    table = SessionTable("UTC", ["2024-01-03", "2024-01-04"], [0, 10], [9, 19])
    for every, day in (("week_start", "2024-01-03"), ("month_end", "2024-01-04")):
        assert list(times(table, after_open=0, every=every)) == [day]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, r"takes one of at, before_close and after_open, got none of them"),
        ({"at": "10:00", "after_open": 5}, r"got at and after_open; give one"),
        ({"at": "ten"}, r"schedule\(at='ten'\): write a time of day .* such as \"15:55\""),
        ({"at": "24:00"}, r"schedule\(at='24:00'\)"),
        ({"at": 1555}, r"schedule\(at=1555\)"),
        ({"at": dt.time(9, 30, tzinfo=dt.UTC)}, "datetime.time without zone"),
        ({"before_close": "5"}, r"schedule\(before_close='5'\): write how many minutes"),
        ({"before_close": True}, r"before_close=True"),
        ({"after_open": -1}, r"after_open=-1\): write how many minutes, 0 or more"),
        ({"after_open": float("nan")}, r"after_open=nan"),
        ({"at": "10:00", "every": "weekly"}, r"every='weekly'\): no such choice; did you mean 'week_end|week_start'"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms, message: str):
    """With what was written and what to write."""
    with pytest.raises(ScheduleError, match=message):
        times(NEW_YORK, **terms)


async def later():
    """Runs where it is awaited."""


def yielding():
    """Runs where it is iterated over."""
    yield


def test_what_cannot_be_called_is_refused():
    """A call's result, what a call doesn't run, and a function that wants arguments; with defaults for all it is fine."""
    for callback, message in (
        (None, "can't be called; give a function or method, without brackets"),
        (later, r"schedule\(later\): it is a coroutine function"),
        (yielding, r"schedule\(yielding\): it is a generator function"),
        (lambda bar: bar, "called without arguments, and missing a required argument: 'bar'"),
    ):
        with pytest.raises(ScheduleError, match=message):
            read_terms(callback, "10:00", None, None, "day")
    assert read_terms(lambda bar=1: bar, "10:00", None, None, "day").kind == "at"


@pytest.mark.parametrize("terms", [{"at": "08:00"}, {"at": "16:01"}, {"before_close": 500}])
def test_a_time_that_no_session_has_is_refused(terms):
    """The call would never come; the error says when sessions are."""
    with pytest.raises(
        ScheduleError, match=r"no session of this run has that time; that of 2024-11-25 goes from 09:30"
    ):
        times(NEW_YORK, **terms)


def test_a_handle_tells_what_it_is():
    """What is called, when, how often, and whether it still is."""
    handle = Scheduled(nothing, "at='10:00'")
    handle()
    assert (repr(handle), handle.calls, handle.is_active) == ("<Scheduled nothing at='10:00'>", 1, True)
    handle.cancel()
    handle.cancel()
    assert repr(handle) == "<Scheduled nothing at='10:00', cancelled>"
