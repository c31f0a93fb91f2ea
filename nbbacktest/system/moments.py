"""What users mean by a time: texts and datetimes. One without a zone is the exchange's, however times are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.hours import time_of_day
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Stamps
from nbbacktest.data.calendar import ALWAYS_OPEN, moment_of, next_showing
from nbbacktest.system.run import Run
from nbbacktest.trading.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

# A pandas Timestamp is a datetime.
Until = str | datetime | np.datetime64 | Callable[[Snapshot], object]


def _next_fill(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.n_fills > shot.n_fills


def _next_session(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.session_date != shot.session_date


EVENTS: Mapping[str, Callable[[Snapshot], Callable[[Snapshot], bool]]] = MappingProxyType(
    {"next fill": _next_fill, "next session": _next_session}
)
"""What may be awaited by name: from where the run is, the predicate of the snapshots that come."""


def target_of(when: Any, run: Run) -> int | None:
    """How many instants of `run` lie at or before `when`; None where it is later than all of them.

    Raises
    ------
    ValueError
        A time that can't be read, or lies before the last completed instant.
    """
    shot, instants = run.published(), run.timeline.instants
    now = int(instants[shot.cursor - 1]) if shot.cursor else int(instants[0]) - 1 if len(instants) else 0
    moment = read_time(when, times_of(run), now)
    if len(run.timeline) and moment.value > run.timeline.instants[-1]:
        return None
    target = int(np.searchsorted(run.timeline.instants, moment.value, side="right"))
    if target < shot.cursor:
        raise ValueError(f"{moment} has passed: the run stands at {shot.time}")
    return target


def times_of(run: Run) -> RunTimes:
    """What a time means in `run`."""
    config, opens, step = run.config, run.desk.notes.opens, run.base_step
    zone = zone_of(run.stamps, config.exchange, config.day_zone)
    return RunTimes(run.timeline.instants, opens, step, run.stamps, zone, run.days.begin)
