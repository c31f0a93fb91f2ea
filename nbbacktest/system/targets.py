"""The targets of `run_until`: times as texts and datetimes, and events by name. A time without a zone is the exchange's."""

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
"""The events by name: each gives, for the snapshot of the present, the predicate of later snapshots."""


def target_of(when: Any, run: Run) -> int | None:
    """The number of instants of `run` at or before `when`; None if `when` is later than all of them.

    Raises
    ------
    ValueError
        A time that can't be read, or lies before the last completed instant.
    """
    shot = run.published()
    moment = _read(when, run, shot.cursor)
    if len(run.world.timeline) and moment.value > run.world.timeline.instants[-1]:
        return None
    target = int(np.searchsorted(run.world.timeline.instants, moment.value, side="right"))
    if target < shot.cursor:
        raise ValueError(f"{moment} has passed: the run stands at {shot.time}")
    return target


def _read(when: Any, run: Run, cursor: int) -> pd.Timestamp:
    import pandas as pd

    zone = _zone(run)
    instants = run.world.timeline.instants
    before = int(instants[cursor - 1]) if cursor else int(instants[0]) - 1 if len(instants) else 0
    if isinstance(when, str) and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", when):
        return Stamps(zone).stamp(next_showing(time_of_day(when) % DAY, zone, before))
    try:
        moment = pd.Timestamp(when)
        moment = moment if pd.isna(moment) else moment.as_unit("ns")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{when!r} is no time; write '10:30', '2024-10-03 10:30', or give a datetime") from error
    if pd.isna(moment):
        raise ValueError(f"{when!r} is no time; write '10:30', '2024-10-03 10:30', or give a datetime")
    if moment.tzinfo is not None:
        return moment
    if moment == moment.normalize():
        if run.stamps.dates:
            moment += pd.Timedelta(days=1)  # a session date is the whole session
        elif not isinstance(when, str) or ":" not in when:
            return Stamps(zone).stamp(run.days.begin(moment.date()))
    return Stamps(zone).stamp(moment_of(moment.value, zone, before))


def _zone(run: Run) -> str:
    """The zone of a time without one: the exchange's, or the one in which times are shown if a market has no clock of its own."""
    config = run.config
    has_no_clock = config.exchange == ALWAYS_OPEN and config.day_zone is None
    return run.stamps.timezone if has_no_clock and not run.stamps.dates else run.stamps.day_zone
