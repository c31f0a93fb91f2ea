"""When local clocks show a time, over both changes of the clocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.intervals import DAY, MINUTE
from nbbacktest.data.calendar import local_clock, moment_of, next_showing

CHANGES = (
    ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"), ("Europe/London", "2024-03-31"),
    ("Europe/Dublin", "2024-10-27"), ("Australia/Sydney", "2024-04-07"), ("Australia/Sydney", "2024-10-06"),
    ("Australia/Lord_Howe", "2024-04-07"), ("Australia/Lord_Howe", "2024-10-06"), ("America/Santiago", "2024-09-08"),
    ("America/Santiago", "2024-04-07"), ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2018-02-18"),
    ("Asia/Beirut", "2024-10-27"), ("Pacific/Apia", "2011-12-30"), ("Asia/Tokyo", "2024-03-10"), ("UTC", "2024-03-10"),
)  # fmt: skip
"""Zones of both hemispheres, and a date near which their clocks change; some skip or repeat a midnight, one a whole date."""


def ns(text: str, zone: str) -> int:
    return pd.Timestamp(text, tz=zone).as_unit("ns").value


changes = st.sampled_from(CHANGES)


@settings(max_examples=300, deadline=None)
@given(changes, st.integers(-36 * 60, 36 * 60), st.integers(0, 24 * 60 - 1))
def test_a_time_of_day_is_the_next_that_the_clock_shows(change: tuple[str, str], away: int, minute: int):
    """The law: no earlier instant than the one found shows the time, and that one does."""
    zone, day = change
    now = ns(f"{day} 00:00", "UTC") + away * MINUTE
    found = next_showing(minute * MINUTE, zone, now)
    scan = local_clock(now + MINUTE * np.arange(1, 4 * 24 * 60), zone) % DAY == minute * MINUTE
    assert found == now + (int(np.argmax(scan)) + 1) * MINUTE


@settings(max_examples=200, deadline=None)
@given(changes, st.integers(-36 * 60, 36 * 60), st.integers(-36 * 60, 36 * 60))
def test_a_date_and_time_is_an_instant_that_shows_it_or_the_first_that_exists_after(
    change: tuple[str, str], away: int, now_away: int
):
    """The law, for every local time around a change and every present."""
    zone, day = change
    local = pd.Timestamp(day).as_unit("ns").value + away * MINUTE
    now = ns(f"{day} 00:00", "UTC") + now_away * MINUTE
    found = moment_of(local, zone, now)
    around = local - 26 * 60 * MINUTE + MINUTE * np.arange(2 * 26 * 60)
    shown = around[local_clock(around, zone) == local]
    if len(shown):
        later = shown[shown >= now]
        assert found == (later[0] if len(later) else shown[0])
    else:
        assert local_clock(np.array([found - 1]), zone)[0] < local < local_clock(np.array([found]), zone)[0]


@pytest.mark.parametrize(
    ("now", "clock", "shown"),
    [
        ("2024-03-09 23:30-05:00", "22:00", "2024-03-10 22:00-04:00"),
        ("2024-03-09 12:30-05:00", "02:30", "2024-03-11 02:30-04:00"),
        ("2024-11-03 00:10-04:00", "01:30", "2024-11-03 01:30-04:00"),
        ("2024-11-03 01:30-04:00", "01:30", "2024-11-03 01:30-05:00"),
        ("2024-11-03 00:10-04:00", "00:05", "2024-11-04 00:05-05:00"),
    ],
)
def test_new_york_around_its_changes(now: str, clock: str, shown: str):
    """A day of 23 or 25 hours, a skipped time, a repeated one."""
    since = pd.Timedelta(f"{clock}:00").as_unit("ns").value
    found = next_showing(since, "America/New_York", pd.Timestamp(now).as_unit("ns").value)
    assert found == pd.Timestamp(shown).as_unit("ns").value
