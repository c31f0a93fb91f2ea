"""Bars of several lengths for one symbol: taking them apart, and checking the coarser ones against the finer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.data.calendar import SessionTable, local_midnights
from nbbacktest.data.resample import derive

PRICE_TOLERANCE = 1e-4
"""Prices that differ by more than this share of the finer one disagree: a cent in a hundred."""
VOLUME_TOLERANCE = 1e-2
"""The same for volume."""
_DAY = Interval.parse("1d")


class Disagreement(NamedTuple):
    """One value of one session on which bars of two lengths don't agree.

    Attributes
    ----------
    symbol : str
    session : date
    interval : str
        Of the coarser bars.
    field : str
        open, high, low, close or volume; or bars, where one of the two has none in that session.
    finer, coarser : float
        What the session's bars of each add up to; for bars, how many there are.
    """

    symbol: str
    session: date
    interval: str
    field: str
    finer: float
    coarser: float


class Bases(NamedTuple):
    """Frames of a nested mapping, taken apart.

    Attributes
    ----------
    frames : dict
        The finest ones, by symbol.
    interval : Interval
        Theirs.
    others : dict
        The coarser ones, by interval and symbol.
    """

    frames: dict[Any, Any]
    interval: Interval
    others: dict[str, dict[str, Any]]


def is_nested(data: Any) -> bool:
    """Whether `data` is a mapping in which a symbol has bars of several lengths."""
    return isinstance(data, Mapping) and any(isinstance(value, Mapping) for value in data.values())


def taken_apart(data: Mapping[Any, Any]) -> Bases:
    """Take ``{symbol: {interval: frame}}`` apart; a symbol may have a frame alone, which is of the finest interval.

    Raises
    ------
    DataError
        Where a key is no interval, or a symbol lacks the finest one.
    """
    nested: dict[Any, dict[Interval, Any]] = {}
    for symbol, value in data.items():
        if isinstance(value, Mapping):
            nested[symbol] = _by_interval(symbol, value)
    finest = min((interval for parts in nested.values() for interval in parts), default=None)
    if finest is None:
        raise DataError("the mapping has no frame; give {symbol: {interval: DataFrame}}")
    frames: dict[Any, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    for symbol, value in data.items():
        if symbol not in nested:
            frames[symbol] = value
            continue
        parts = nested[symbol]
        if finest not in parts:
            raise DataError(
                f"{symbol} has no {finest} bars, only {', '.join(map(str, sorted(parts)))}; orders fill on the shortest "
                "interval, which every symbol needs"
            )
        frames[symbol] = parts.pop(finest)
        for interval, frame in sorted(parts.items(), key=lambda part: part[0]):
            others.setdefault(interval.name, {})[symbol] = frame
    return Bases(frames, finest, others)


def _by_interval(symbol: Any, parts: Mapping[Any, Any]) -> dict[Interval, Any]:
    try:
        return {Interval.parse(key): frame for key, frame in parts.items()}
    except DataError as error:
        raise DataError(f"{symbol}: {error}") from None


def disagreements(base: BarColumns, coarser: BarColumns, sessions: SessionTable) -> list[Disagreement]:
    """Compare two lengths of bars session by session, over the sessions that both reach.

    Raises
    ------
    DataError
        Where bars lie outside every session.
    """
    if not len(base) or not len(coarser):
        return []
    fine = derive(base, _DAY, sessions)
    coarse = coarser if coarser.interval == _DAY else derive(coarser, _DAY, sessions)
    low, high = max(fine.time[0], coarse.time[0]), min(fine.time[-1], coarse.time[-1])
    fine, coarse = (bars.taken((bars.time >= low) & (bars.time <= high)) for bars in (fine, coarse))
    name, symbol = coarser.interval.name, base.symbol
    dates = _dates(sessions)
    found: list[Disagreement] = []
    for one, other, counts in ((fine, coarse, (1.0, 0.0)), (coarse, fine, (0.0, 1.0))):
        alone = np.setdiff1d(one.time, other.time).tolist()
        found += [Disagreement(symbol, dates[time], name, "bars", *counts) for time in alone]
    _, left, right = np.intersect1d(fine.time, coarse.time, assume_unique=True, return_indices=True)
    for field in ("open", "high", "low", "close", "volume"):
        a, b = getattr(fine, field)[left], getattr(coarse, field)[right]
        if not (a.any() and b.any()):
            continue  # a source without volume says nothing about it
        for row in np.flatnonzero(_differ(a, b, VOLUME_TOLERANCE if field == "volume" else PRICE_TOLERANCE)).tolist():
            when = dates[int(fine.time[left[row]])]
            found.append(Disagreement(symbol, when, name, field, float(a[row]), float(b[row])))
    order = ("bars", "open", "high", "low", "close", "volume")
    return sorted(found, key=lambda one: (one.session, order.index(one.field)))


def _differ(fine: Float64, coarse: Float64, tolerance: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    # A hair more than the tolerance, which decimal prices meet exactly.
    return np.abs(coarse - fine) > tolerance * np.abs(fine) * (1 + 1e-9)


def _dates(sessions: SessionTable) -> dict[int, date]:
    """The sessions' dates by the stamps of their daily bars."""
    stamps = local_midnights(sessions.dates, sessions.timezone).tolist()
    return dict(zip(stamps, sessions.dates.tolist(), strict=True))
