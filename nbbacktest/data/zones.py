"""The zone that stamps are told in where only offsets from UTC are known, and the hour that local clocks show twice."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np

from nbbacktest.core.intervals import DAY, HOUR
from nbbacktest.core.records import Int64

if TYPE_CHECKING:
    import pandas as pd

_MARKETS = (
    "America/New_York", "America/Chicago", "Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Istanbul",
    "Asia/Jerusalem", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland",
    "America/Toronto", "America/Sao_Paulo", "America/Santiago", "Africa/Cairo",
)  # fmt: skip
"""Tried before all others; of zones with equal clocks the first is taken."""


def name_of(zone: Any) -> str | None:
    """The IANA name of a time zone object; None where it is a plain offset."""
    if zone is None:
        return None
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return str(name) if name else ("UTC" if str(zone) in ("UTC", "UTC+00:00") else None)


def in_a_zone(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The same instants in a zone that has a name: for a plain offset, the zone that has it."""
    if index.tz is None or name_of(index.tz) is not None:
        return index
    return told(index.tz_convert("UTC"), index.tz_localize(None))


def told(utc: pd.DatetimeIndex, local: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Instants with the local times that they were written in, in a zone whose clocks showed these.

    It is the first zone, those of large markets before others, that has had all these offsets at these instants; a whole
    number of hours that none of the markets has is a zone of its own (``Etc/GMT-3`` is UTC+03:00). Where there is none,
    midnights are told as dates without a zone, and other times in UTC.
    """
    known = ~np.asarray(utc.isna())
    instants, clocks = utc.as_unit("ns").asi8[known], local.as_unit("ns").asi8[known]
    name = _zone_with(instants, clocks)
    if name is not None:
        return utc.tz_convert(name)
    return utc if (clocks % DAY).any() else local


def _zone_with(instants: Int64, clocks: Int64) -> str | None:
    offsets = np.unique(clocks - instants)
    if not offsets.any():
        return "UTC"
    # Offsets change once a day at most: a day's first and last stamp are enough to ask about.
    day = instants // DAY
    edge = np.flatnonzero(np.concatenate(([True], (day[1:] != day[:-1]) | (np.diff(clocks - instants) != 0))))
    asked = np.union1d(edge, np.append(edge[1:] - 1, len(instants) - 1))
    facts = tuple(instants[asked].tolist()), tuple(clocks[asked].tolist())
    hours = int(offsets[0]) // HOUR
    plain = f"Etc/GMT{-hours:+d}" if len(offsets) == 1 and offsets[0] % HOUR == 0 and -12 <= hours <= 14 else None
    return _matching(_MARKETS, *facts) or plain or _matching(tuple(sorted(available_timezones())), *facts)


@lru_cache(maxsize=64)
def _matching(names: tuple[str, ...], instants: tuple[int, ...], clocks: tuple[int, ...]) -> str | None:
    import pandas as pd

    utc = pd.DatetimeIndex(np.array(instants, dtype="datetime64[ns]")).tz_localize("UTC")
    wanted = np.array(clocks, dtype=np.int64)

    def shows(name: str, rows: slice) -> bool:
        return bool((utc[rows].tz_convert(name).tz_localize(None).asi8 == wanted[rows]).all())

    regions = (name for name in names if "/" in name and not name.startswith("Etc/"))
    return next((name for name in regions if shows(name, slice(1)) and shows(name, slice(None))), None)


def unfolded(index: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    """Naive local stamps that don't rise, in their zone, where that is since clocks repeated an hour.

    Where the hour is there twice, the stamps go back once in it, so that which copy a row is of needs no guess. Else the
    stamps are given back as they are.
    """
    if zone is None or index.tz is not None or index.hasnans or bool((np.diff(index.asi8) > 0).all()):
        return index
    twice = np.asarray(index.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna())
    if not twice.any():
        return index
    rows = np.flatnonzero(twice)
    run = np.cumsum(np.concatenate(([0], np.diff(rows) > 1)))
    falls = np.concatenate(([False], (np.diff(index.asi8[rows]) <= 0) & (np.diff(run) == 0)))
    per_run = np.bincount(run, falls)
    if (per_run != 1).any():
        return index
    first = np.ones(len(index), dtype=np.bool_)
    after = np.cumsum(falls)
    started = np.concatenate(([0], np.cumsum(per_run)[:-1]))
    first[rows] = after - started[run] == 0
    found = index.tz_localize(zone, ambiguous=first, nonexistent="NaT")
    return index if found.hasnans or not found.is_monotonic_increasing else found
