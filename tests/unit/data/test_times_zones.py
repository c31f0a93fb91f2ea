"""The zone that offsets are told in, and the hour that clocks repeat."""

from __future__ import annotations

from zoneinfo import available_timezones

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.data.times import in_a_zone, told, unfolded

ZONES = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/"))


@given(
    st.sampled_from(ZONES),
    st.dates(pd.Timestamp("1990-01-01").date(), pd.Timestamp("2024-12-01").date()),
    st.integers(1, 400),
)
def test_offsets_are_told_with_the_clocks_that_had_them(zone: str, first, count: int):
    """Whatever zone stamps were written in: the same instants, and the same times of day."""
    index = pd.date_range(pd.Timestamp(first, tz="UTC"), periods=count, freq="7h").tz_convert(zone)
    found = told(index.tz_convert("UTC"), index.tz_localize(None))
    assert (found == index).all()
    assert found.tz_localize(None).tolist() == index.tz_localize(None).tolist()


def test_plain_offsets_get_a_name():
    """A market's where one had it then; else that of the offset itself; zones with a name keep it."""
    index = pd.date_range("2024-06-03", periods=3, tz="UTC")
    assert str(in_a_zone(index.tz_convert("+09:00")).tz) == "Asia/Tokyo"
    assert str(in_a_zone(index.tz_convert("-02:00")).tz) == "Etc/GMT+2"
    assert str(in_a_zone(index.tz_convert("+00:00")).tz) == "UTC"
    assert in_a_zone(index.tz_convert("Europe/Paris")).tz is index.tz_convert("Europe/Paris").tz
    assert in_a_zone(index.tz_localize(None)).tz is None


def test_offsets_that_no_clocks_had_are_dates_or_utc():
    """Midnights stay the dates that were written; times of day are told in UTC."""
    utc = pd.DatetimeIndex(["2024-06-03 22:13", "2024-06-04 03:13"], tz="UTC")
    local = pd.DatetimeIndex(["2024-06-04", "2024-06-05"])
    assert told(utc, local).tolist() == local.tolist()
    assert str(told(utc, local + pd.Timedelta("1min")).tz) == "UTC"


@given(st.sampled_from(["5min", "15min", "30min", "1h"]), st.integers(0, 3))
def test_an_hour_that_is_there_twice_is_told_apart(freq: str, gone: int):
    """In the order in which it was; missing rows elsewhere don't matter."""
    index = pd.date_range("2024-10-26 20:00", "2024-10-27 06:00", freq=freq, tz="Europe/Berlin").delete(range(gone))
    assert (unfolded(index.tz_localize(None), "Europe/Berlin") == index).all()


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_other_disorder_is_left_as_it_is(zone: str | None):
    """Without a zone, in one whose clocks don't change, and where the copies aren't in order."""
    index = pd.date_range("2024-10-27", periods=20, freq="15min", tz="Europe/Berlin").tz_localize(None)
    assert unfolded(index, zone) is index
    mixed = index[np.r_[0:8, 12, 8, 13, 9:12, 14:20]]
    assert unfolded(mixed, "Europe/Berlin") is mixed
