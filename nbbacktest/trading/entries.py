"""The list of a run's indicators: what each is called in snapshots and charts, and what it reads now."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

from nbbacktest.trading.indicators import Indicator


class IndicatorEntry(NamedTuple):
    """An indicator and what it is called in snapshots."""

    key: str
    strategy: str
    handle: Indicator


def free_key(key: str, entries: Sequence[IndicatorEntry]) -> str:
    """`key`, numbered where an entry is called so already: SMA(close, 10) #2."""
    taken = {entry.key for entry in entries}
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key} #{number}"
    return free


def newest(handle: Indicator) -> float | tuple[float, ...]:
    """The newest value; NaN before there is one, and where a streaming object raises when it is fed."""
    try:
        return handle[-1]
    except Exception:  # noqa: BLE001 - the strategy that reads it is told, a snapshot isn't the place
        return nan
