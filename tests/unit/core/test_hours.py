"""Times of day, and the config's hours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError
from nbbacktest.core.hours import OwnHours, time_of_day
from nbbacktest.core.intervals import MINUTE, SECOND

LONG = {"open": "04:00", "close": "20:00"}


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_of_day_is_what_a_clock_shows(hour: int, minute: int, second: int):
    """With or without seconds, with or without the hour's leading zero."""
    assert time_of_day(f"{hour:02}:{minute:02}:{second:02}") == ((hour * 60 + minute) * 60 + second) * SECOND
    assert time_of_day(f"{hour}:{minute:02}") == (hour * 60 + minute) * MINUTE


@pytest.mark.parametrize(
    "text", ["", "4", "04", "4:0", "25:00", "24:01", "12:60", "12:30:60", "4 pm", "-1:00", " 4:00"]
)
def test_other_texts_are_no_times(text: str):
    """The error shows the text and an example."""
    with pytest.raises(ValueError, match='is no time of day; write hours and minutes, such as "15:55"'):
        time_of_day(text)


def test_hours_are_regular_unless_extended():
    """The default and its word are the same; extended ones are read, and written as they were."""
    assert SessionConfig.load({}).own_hours is SessionConfig.load({"hours": "regular"}).own_hours is None
    config = SessionConfig.load({"hours": LONG})
    assert config.own_hours == OwnHours(**LONG)
    assert json.loads(json.dumps(config.to_dict()))["hours"] == LONG
    assert SessionConfig.load(config.to_dict()) == config
    assert SessionConfig.load({}).overlaid({"hours": LONG}) == config


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        ("extended", r"hours = 'extended': must be \"regular\", or hours such as"),
        (5, r"hours = 5: must be \"regular\", or hours such as"),
        ({"open": "04:00"}, r"hours.close = \(missing\): is required"),
        ({"open": "4 am", "close": "20:00"}, r"hours.open = '4 am': '4 am' is no time of day"),
        ({"opens": "04:00", "close": "20:00"}, "hours.opens = '04:00': is not a known key; did you mean 'open'"),
    ],
)
def test_mistaken_hours_are_refused(hours, problem: str):
    """With path, value and cure; nobody sees the labels by which the reader tells the kinds apart."""
    with pytest.raises(ConfigError, match=problem):
        SessionConfig.load({"hours": hours})
