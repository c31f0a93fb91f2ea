"""What users mean by a time: texts and datetimes. One without a zone is the exchange's, however times are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.records import Stamps
from nbbacktest.system.run import Run
from nbbacktest.system.snapshot import Snapshot

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
    shot = run.published()
    moment = _read(when, run, shot.cursor)
    if len(run.timeline) and moment.value > run.timeline.instants[-1]:
        return None
    target = int(np.searchsorted(run.timeline.instants, moment.value, side="right"))
    if target < shot.cursor:
        raise ValueError(f"{moment} has passed: the run stands at {shot.time}")
    return target


def _read(when: Any, run: Run, cursor: int) -> pd.Timestamp:
    import pandas as pd

    zone = run.stamps.day_zone
    if isinstance(when, str) and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", when):
        now = int(run.timeline.instants[cursor - 1]) if cursor else int(run.timeline.instants[0]) - 1
        start = Stamps(zone).stamp(now)
        moment = _at(start, when, zone)
        return moment if moment > start else _at(start + pd.Timedelta(days=1), when, zone)
    try:
        moment = pd.Timestamp(when)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{when!r} is no time; write '10:30', '2024-10-03 10:30', or give a datetime") from error
    if pd.isna(moment):
        raise ValueError(f"{when!r} is no time; write '10:30', '2024-10-03 10:30', or give a datetime")
    if moment.tzinfo is None and moment == moment.normalize():
        if run.stamps.dates:
            moment += pd.Timedelta(days=1)  # a session date is the whole session
        elif not isinstance(when, str) or ":" not in when:
            return pd.Timestamp(run.days.begin(moment.date()), unit="ns", tz="UTC").tz_convert(zone)
    return moment.tz_localize(zone) if moment.tzinfo is None else moment


def _at(day: pd.Timestamp, clock: str, zone: str) -> pd.Timestamp:
    import pandas as pd

    try:
        return pd.Timestamp(f"{day.date()} {clock}", tz=zone)
    except ValueError as error:
        raise ValueError(f"{clock!r} is no time of day; write it as 10:30 or 10:30:00") from error
