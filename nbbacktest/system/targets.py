"""The places of a run that commands name: times as texts and datetimes, events by name, cursors of its past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from nbbacktest.system.run import Run
from nbbacktest.trading.places import RunTimes, past_place, read_time, zone_of
from nbbacktest.trading.snapshot import Snapshot

# a pandas Timestamp is a datetime too
Until = str | datetime | np.datetime64 | Callable[[Snapshot], object]


def _next_fill(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.n_fills > shot.n_fills


def _next_session(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.session_date != shot.session_date


EVENTS: Mapping[str, Callable[[Snapshot], Callable[[Snapshot], bool]]] = MappingProxyType(
    {"next fill": _next_fill, "next session": _next_session}
)
"""The events by name: each gives, for the snapshot of the present, the predicate of later snapshots."""


def target_of(when: Any, run: Run) -> int | None:
    """The number of instants of `run` at or before `when`; None if `when` is later than all of them.

    Raises
    ------
    ValueError
        A time that can't be read, or lies before the last completed instant.
    """
    shot, instants = run.published(), run.world.timeline.instants
    now = int(instants[shot.cursor - 1]) if shot.cursor else int(instants[0]) - 1 if len(instants) else 0
    moment = read_time(when, times_of(run), now)
    if len(run.world.timeline) and moment.value > run.world.timeline.instants[-1]:
        return None
    target = int(np.searchsorted(run.world.timeline.instants, moment.value, side="right"))
    if target < shot.cursor:
        raise ValueError(f"{moment} has passed: the run stands at {shot.time}")
    return target


def times_of(run: Run) -> RunTimes:
    """The times of `run`, by which a user's time is read."""
    config, days = run.config, run.days
    zone = zone_of(run.stamps, config.exchange, config.day_zone)
    step = run.world.timeline.series[0].columns.interval.ns
    return RunTimes(
        run.world.timeline.instants, run.world.desk.notes.opens, step, run.stamps, zone, days.day, days.begin
    )


def place_of(to: Any, run: Run, cursor: int) -> int:
    """The number of instants of `run` that are completed at the place `to` of its line; it stands at `cursor`.

    Raises
    ------
    ValueError
        What is no place, and a place before the start or beyond the horizon.
    """
    horizon = max(run.horizon, cursor)
    if to in ("start", "end") and isinstance(to, str):
        return 0 if to == "start" else horizon
    return past_place(to, times_of(run), horizon, "rewind")


def past_cursor(at: Any, run: Run) -> int:
    """The number of instants of `run` that were completed at the place `at`, which lies in its past.

    Raises
    ------
    ValueError
        If `at` is no place, lies before the start, or is later than the run has come.
    """
    shot = run.published()
    if not (type(at) is int and at <= shot.cursor):
        shot = run.snapshot()
    return past_place(at, times_of(run), shot.cursor)
