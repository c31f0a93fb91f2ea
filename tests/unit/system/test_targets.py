"""What a time means that a user types: on the exchange's clock, over both changes of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb


class Quiet(nb.Strategy):
    """Does nothing."""

    def on_bar(self, bar):
        pass


def always_open(first: str, zone: str, minutes: int = 5, days: int = 5) -> pd.DataFrame:
    begin = pd.Timestamp(first).tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    index = pd.date_range(begin, periods=days * 1440 // minutes, freq=f"{minutes}min")
    price = np.full(len(index), 100.0)
    return pd.DataFrame({"open": price, "high": price, "low": price, "close": price, "volume": 1.0}, index=index)


def paused(config: dict, frame: pd.DataFrame) -> nb.SystemManager:
    system = nb.SystemManager(reachable=False)
    system.start(config, data=frame, strategies=Quiet, paused=True)
    return system


CHANGES = (
    ("America/New_York", "2024-03-09"), ("America/New_York", "2024-11-02"), ("Europe/London", "2024-10-26"),
    ("Australia/Sydney", "2024-04-06"), ("Australia/Sydney", "2024-10-05"), ("America/Santiago", "2024-09-07"),
    ("America/Sao_Paulo", "2018-11-03"), ("Asia/Tokyo", "2024-03-09"),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CHANGES),
    st.integers(0, 2 * 288 - 1),
    st.integers(0, 287),
    st.sampled_from(["UTC", "Asia/Tokyo", None]),
)
def test_a_clock_time_rests_at_the_first_instant_that_shows_it(
    change: tuple[str, str], steps: int, five: int, shown: str | None
):
    """The law: from anywhere around a change, in both hemispheres, whatever zone times are shown in."""
    zone, first = change
    frame = always_open(first, zone)
    system = paused({"exchange": "24/7", "day_zone": zone, "timezone": shown}, frame)
    try:
        system.step(steps + 1)
        clock = f"{five // 12:02}:{five % 12 * 5:02}"
        assert system.run_until(clock) is True
        ends = frame.index[steps + 1 :] + pd.Timedelta(minutes=5)
        assert system.snapshot().time == ends[ends.strftime("%H:%M") == clock][0]
    finally:
        system.stop()


@pytest.mark.parametrize(
    ("until", "rests"),
    [
        ("2024-03-10 02:30", "2024-03-10 03:00:00-04:00"),
        ("2024-03-10 01:30", "2024-03-10 01:30:00-05:00"),
        ("2024-03-10 22:00", "2024-03-10 22:00:00-04:00"),
    ],
)
def test_a_skipped_time_with_its_date_is_the_first_that_exists_after(until: str, rests: str):
    """A full time names its day, so that the next day's can't be meant."""
    system = paused({"exchange": "24/7", "day_zone": "America/New_York"}, always_open("2024-03-09", "America/New_York"))
    assert system.run_until(until) is True
    assert str(system.snapshot().time) == rests
    system.stop()


def test_a_repeated_time_with_its_date_is_the_first_showing_to_come():
    """From before the repeated hour its first showing, from in between the second, and once both are over an error."""
    system = paused({"exchange": "24/7", "day_zone": "America/New_York"}, always_open("2024-11-02", "America/New_York"))
    assert system.run_until("2024-11-03 01:30") is True
    assert str(system.snapshot().time) == "2024-11-03 01:30:00-04:00"
    system.step()
    assert system.run_until("2024-11-03 01:30") is True
    assert str(system.snapshot().time) == "2024-11-03 01:30:00-05:00"
    system.step()
    with pytest.raises(ValueError, match="has passed"):
        system.run_until("2024-11-03 01:30")
    system.stop()


def test_a_market_without_a_clock_of_its_own_has_the_one_that_is_shown():
    """`24/7` has UTC's dates and no place; the zone of labels says which clock is meant, but for `day_zone`."""
    frame = always_open("2024-03-09", "America/New_York")
    for more, rests in (
        ({"timezone": "America/New_York"}, "2024-03-09 22:00:00-05:00"),
        ({}, "2024-03-09 22:00:00-05:00"),
        ({"timezone": "UTC"}, "2024-03-09 22:00:00+00:00"),
        ({"timezone": "UTC", "day_zone": "Asia/Tokyo"}, "2024-03-09 13:00:00+00:00"),
    ):
        system = paused({"exchange": "24/7", **more}, frame)
        assert system.run_until("22:00") is True
        assert str(system.snapshot().time) == rests
        system.stop()


def test_the_exchanges_clock_counts_whatever_is_shown():
    """Minutes of New York, shown in Tokyo: 10:30 is New York's."""
    system = nb.SystemManager(reachable=False)
    days = {"start_date": "2024-10-03", "end_date": "2024-10-03"}
    system.start({"exchange": "XNYS", "timezone": "Asia/Tokyo", "backtest": days}, strategies=Quiet, paused=True)
    assert system.run_until("10:30") is True
    assert system.snapshot().time.tz_convert("America/New_York").strftime("%H:%M") == "10:30"
    system.stop()


@pytest.mark.parametrize("when", ["25:00", "12:60", "9999-01-01 10:00", "1600-01-01 10:00"])
def test_what_is_no_time_is_said_so(when: str):
    """Also where no count of nanoseconds reaches."""
    system = paused({"exchange": "24/7"}, always_open("2024-03-09", "UTC", days=1))
    with pytest.raises(ValueError, match="is no time"):
        system.run_until(when)
    system.stop()
