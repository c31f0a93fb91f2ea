"""The merged order: instants rise, ties keep the order of the series, nothing is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.engine.timeline import Timeline
from tests.rig import series

minutes = st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True).map(sorted)


def test_one_series_is_its_own_timeline():
    """With a single series the instants are its bars' ends, without warm-up, and no copy is made."""
    only = series("A", [0, 1, 2, 5], first=1)
    timeline = Timeline([only])
    assert timeline.axis.events is None
    assert len(timeline) == 3
    assert np.shares_memory(timeline.instants, only.columns.end)


@given(st.lists(minutes, min_size=2, max_size=5))
def test_every_bar_is_in_order_and_once(all_minutes):
    """Bars come by their ends; at one instant in the order of the series; each exactly once."""
    parts = [series(f"S{i}", m) for i, m in enumerate(all_minutes)]
    timeline = Timeline(parts)
    expected = sorted((end, number) for number, part in enumerate(parts) for end in part.columns.end.tolist())
    counts = np.diff(timeline.axis.offsets)
    merged = list(zip(np.repeat(timeline.instants, counts).tolist(), timeline.axis.events.tolist(), strict=True))
    assert merged == expected
    assert (np.diff(timeline.instants) > 0).all()
    assert (counts > 0).all()


@given(st.lists(minutes, min_size=1, max_size=4), st.integers(0, 70))
def test_rows_at_an_instant_are_the_bars_completed_before_it(all_minutes, pick):
    """`rows_at` agrees with counting, up to and beyond the end."""
    parts = [series(f"S{i}", m) for i, m in enumerate(all_minutes)]
    timeline = Timeline(parts)
    instant = min(pick, len(timeline))
    moment = timeline.instants[instant] if instant < len(timeline) else np.iinfo(np.int64).max
    assert timeline.axis.rows_at(instant) == [int((p.columns.end < moment).sum()) for p in parts]


def test_seconds_are_asked_for_once_and_start_at_zero():
    """Open-market seconds come from the calendar's function, called once, counted from the first instant."""
    calls = []

    def elapsed(instants):
        calls.append(len(instants))
        return np.arange(len(instants)) * 30.0 + 1000

    timeline = Timeline([series("A", range(5))], elapsed)
    assert timeline.seconds.tolist() == [0, 30, 60, 90, 120]
    assert timeline.seconds is timeline.seconds
    assert calls == [5]


def test_without_a_calendar_seconds_are_plain_time():
    """A timeline that knows no calendar counts all seconds."""
    assert Timeline([series("A", [0, 1, 10])]).seconds.tolist() == [0, 60, 600]
