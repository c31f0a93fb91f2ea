"""How values are written."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from nbbacktest.core.formats import (
    DASH,
    change,
    compact,
    counted,
    money,
    number,
    percent,
    price,
    span,
    speed,
    timestamp,
    wall_time,
    work_time,
)

NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (pd.Timestamp("2024-01-02"), "2024-01-02"),
        (pd.Timestamp("2024-01-02 09:30", tz=NEW_YORK), "2024-01-02 09:30 EST"),
        (pd.Timestamp("2024-01-02 09:30:05"), "2024-01-02 09:30:05"),
        (pd.NaT, "n/a"),
    ],
)
def test_times_show_what_they_have(stamp, text):
    """A date is a date, an instant has its zone."""
    assert timestamp(stamp) == text


def test_a_column_of_times_leaves_the_zone_to_its_heading():
    """The rest is as everywhere: seconds where there are some."""
    stamps = [pd.Timestamp(f"2024-01-02 {clock}", tz=NEW_YORK) for clock in ("00:00", "09:30", "09:30:05")]
    assert [timestamp(stamp, zone=False) for stamp in stamps] == [
        "2024-01-02", "2024-01-02 09:30", "2024-01-02 09:30:05",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        ("41 days", "41 days"),
        ("1 day", "1 day"),
        ("0 days", "0 days"),
        ("2 days 03:05:00", "2 days 3 h 05 min"),
        ("00:45:00", "45 min"),
    ],
)
def test_durations_are_in_days_and_hours(duration, text):
    """Nobody counts nanoseconds."""
    assert span(pd.Timedelta(duration)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (42, "42 s"), (59.5, "1:00"), (185, "3:05"), (7385, "2:03:05"), (183_600, "2 d 3 h")],
)
def test_a_time_that_is_left_is_never_told_too_short(seconds, text):
    """It is rounded up."""
    assert wall_time(seconds, whole=True) == text


def test_a_time_that_passed_has_tenths():
    """Under a minute alone."""
    assert [wall_time(x) for x in (1.25, 75, 3_725, math.nan)] == ["1.2 s", "1:15", "1:02:05", DASH]


def test_work_is_told_in_its_unit():
    """Microseconds to seconds; what takes hours is told as a clock shows it."""
    told = [work_time(x) for x in (0, 2e-6, 0.0123, 4.5, 1234.0, 36_000)]
    assert told == ["0", "2 µs", "12.3 ms", "4.5 s", "1,234 s", "10:00:00"]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0x"),
        (0.5, "0.5x"),
        (59.84, "59.8x"),
        (12_400.2, "12,400x"),
        (9.55e6, "9.55 million x"),
        (9.999e8, "1,000 million x"),
        (3e13, "30,000 billion x"),
    ],
)
def test_speeds(x, text):
    """With the digits that can be read at a glance."""
    assert speed(x) == text


def test_counts_are_short():
    """Three digits or so, and the noun agrees with its number."""
    assert [compact(x) for x in (0, 12, 4500, 45_000, 1_234_567)] == ["0", "12", "4,500", "45k", "1.23M"]
    assert [counted(n, "fill") for n in (0, 1, 2_000)] == ["0 fills", "1 fill", "2,000 fills"]


def test_nothing_is_no_loss():
    """A value that rounds to zero has no minus."""
    assert [money(-0.004), percent(-0.00004), percent(-0.0004, 1)] == ["0.00", "0.00%", "0.0%"]


def test_values_that_are_not_defined_are_told_so():
    """In a word, or by what the caller has for it."""
    assert [money(None), money(math.nan, DASH), percent(math.nan), change(math.nan), number(None, "all")] == [
        "n/a", DASH, "n/a", "n/a", "all",
    ]  # fmt: skip
    assert percent(math.inf) == "beyond any number"


def test_prices_keep_the_digits_that_they_have():
    """Cents always, and no residue of arithmetic."""
    assert [price(12.5), price(1.23456), number(0.010000000000005)] == ["12.50", "1.23456", "0.01"]
