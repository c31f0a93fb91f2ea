"""No bar is told before its last trade can be known, whatever its grid, its zone, its exchange and the clocks do."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.data.resample import derive
from nbbacktest.data.sources import load
from nbbacktest.data.trading_days import whole_periods
from tests.sessions import EXCHANGES, ZONES, bars_of, grouped, open_minutes

LENGTHS = ("5m", "15m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h")
# Quiet weeks, and weeks in which the clocks of some zone change, in either direction and on either half of the earth.
WEEKS = [
    date(2024, month, day)
    for month, day in ((1, 8), (3, 7), (3, 28), (4, 4), (6, 3), (10, 3), (10, 24), (10, 31), (11, 27))
]


def loaded(frame: pd.DataFrame, exchange: str, interval: str, **data):
    config = {"exchange": exchange, "data": {"interval": interval, **data}}
    return load(SessionConfig.load(config), frame).bars["ASSET"]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(EXCHANGES),
    st.sampled_from(LENGTHS),
    st.sampled_from(WEEKS),
    st.none() | st.sampled_from(ZONES),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
)
def test_no_bar_ends_before_its_last_trade(exchange: str, interval: str, first: date, zone: str | None, shown: str):
    """On the grid of sessions or on that of any clock: not before the last minute is over, nor after the length."""
    frame, last = bars_of(exchange, interval, first, 6, zone=zone)
    length = Interval.parse(interval).ns
    assume((np.diff(frame.index.asi8) >= length).all() or zone is None)  # clock changes cut some bars of a local grid
    assume(zone is not None or not (np.diff(frame.index.asi8) < length).any())
    columns = loaded(frame.tz_convert(shown), exchange, interval)
    assert (columns.end >= last).all()
    assert (columns.end <= columns.time + length).all()


@pytest.mark.parametrize("day_zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("interval", ["1h", "4h", "8h", "12h"])
def test_bars_over_midnight_are_whole(interval: str, day_zone: str):
    """A market that never closes has nothing to cut, wherever its days begin."""
    made = bars_of("24/7", interval, date(2024, 6, 1), 5, zone="UTC")
    config = {"exchange": "24/7", "day_zone": day_zone, "timezone": "Asia/Tokyo"}
    columns = load(SessionConfig.load(config), made.frame).bars["ASSET"]
    assert (columns.end == made.last).all()


def test_a_bar_over_a_pause_ends_with_its_length():
    """Four hours from 14:00 in Chicago hold the hour after the pause; those from the open end with the session."""
    for zone, ends in ((None, ["16:00"]), ("America/Chicago", ["20:00", "00:00", "04:00", "08:00", "12:00", "16:00"])):
        made = bars_of("CMES", "4h", date(2024, 3, 5), 2, zone=zone)
        columns = loaded(made.frame, "CMES", "4h")
        local = pd.DatetimeIndex(columns.end, tz="UTC").tz_convert("America/Chicago").strftime("%H:%M")
        assert set(ends) <= set(local)
        assert (columns.end >= made.last).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(EXCHANGES), st.sampled_from(["1w", "1mo"]), st.integers(0, 4), st.sampled_from(WEEKS), st.booleans()
)
def test_base_weeks_are_the_derived_ones(exchange: str, interval: str, stamp: int, first: date, named: bool):
    """Weeks and months that a source brings span what the same ones span that are built, whatever day they are stamped with."""
    minutes, _ = open_minutes(exchange, first.replace(day=1), 80)
    minutes = minutes[::15]
    hours = grouped(minutes, minutes)
    base = loaded(hours.frame, exchange, "15m")
    sessions = whole_periods(
        exchange,
        int(base.time[0]),
        int(base.end[-1]),
        "UTC"
        if exchange in ("24/5", "24/7")
        else load(SessionConfig.load({"exchange": exchange, "data": {"interval": "15m"}}), hours.frame).stamps.day_zone,
    )
    built = derive(base, Interval.parse(interval), sessions)
    dates = pd.DatetimeIndex(built.time, tz="UTC").tz_convert(sessions.timezone).tz_localize(None).normalize()
    if interval == "1w":
        stamps = dates - pd.to_timedelta(dates.day_of_week, "D") + pd.Timedelta(days=stamp)
    else:
        stamps = (dates + pd.offsets.MonthEnd(0)).normalize() if stamp % 2 else dates
    frame = pd.DataFrame(
        {name: getattr(built, name) for name in ("open", "high", "low", "close", "volume")}, index=stamps
    )
    own = loaded(frame, exchange, interval)
    assert (own.time == built.time).all()
    assert (own.end == built.end).all()
    if named:
        plain = load(SessionConfig.load({"data": {"interval": interval}}), frame).bars["ASSET"]
        assert (plain.end - plain.time >= (7 if interval == "1w" else 28) * DAY).all()
        assert (plain.time[1:] >= plain.end[:-1]).all()


def test_weeks_on_weekends_need_a_mark():
    """A Sunday may begin a week or end one: not said, it is refused; said, it is the week after or the week before."""
    sundays = pd.date_range("2024-01-07", periods=4, freq="7D")
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=sundays)
    with pytest.raises(DataError, match=r"4 of 4 weeks are stamped on a weekend.*2024-01-07.*set data.stamp"):
        load(SessionConfig.load({"data": {"interval": "1w"}}), frame)
    for mark, end in (("open", "2024-01-15"), ("close", "2024-01-08")):
        columns = load(SessionConfig.load({"data": {"interval": "1w", "stamp": mark}}), frame).bars["ASSET"]
        assert pd.Timestamp(columns.end[0]) == pd.Timestamp(end)


def test_two_bars_of_one_week_are_refused():
    """With both stamps, and the word for what they share."""
    frame = pd.DataFrame(
        {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=pd.DatetimeIndex(["2024-01-01", "2024-01-05"])
    )
    with pytest.raises(DataError, match="1 bars have the week of another.*keep one bar for each week"):
        load(SessionConfig.load({"data": {"interval": "1w"}}), frame)


def test_a_bar_is_delivered_at_its_end():
    """What the loader says of ends is when strategies see bars."""
    made = bars_of("CMES", "4h", date(2024, 3, 5), 4, zone="UTC")
    seen = []

    class Look(nb.Strategy):
        def on_bar(self, bar):
            seen.append((bar.time, self.now))

    nb.backtest(made.frame, Look, config={"exchange": "CMES", "timezone": "Asia/Kolkata"})
    assert [int(now.as_unit("ns").value) for _, now in seen] >= made.last.tolist()
    assert len(seen) == len(made.last)
