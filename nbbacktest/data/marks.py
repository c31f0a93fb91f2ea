"""What stamps mark: opens or closes, to the moment, and where bars begin that are known by their closes."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import Literal

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, MINUTE, SECOND, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.frames import RawBars

Mark = Literal["open", "close"]

_NEARLY_ALL = 0.8  # of stamps, which lie off the minute alike
_BEFORE_THE_END = (1, 1_000, 1_000_000, SECOND)
"""How far before the end of a bar sources stamp it, so that stamps of two bars differ: 09:30:59.999, in nanoseconds."""


def full_stamps(raw: RawBars, given: Interval | None, mark: Mark) -> RawBars:
    """Bars stamped a moment before their ends, as 09:30:59.999, with the ends that are meant.

    Raises
    ------
    DataError
        Where nearly all stamps lie off the minute in another way, or mark opens.
    """
    steps = np.diff(raw.ticks)
    common = _commonest(steps) if len(steps) else DAY
    step = given.ns if given is not None else common
    unit = gcd(step, MINUTE)
    if step >= DAY or unit < SECOND or not len(raw.index):
        return raw
    rest = raw.clocks % unit
    values, times = np.unique(rest, return_counts=True)
    usual_rest = int(values[np.argmax(times)])
    if usual_rest == 0 or times.max() < _NEARLY_ALL * len(rest):
        return raw
    missing = unit - usual_rest
    if missing in _BEFORE_THE_END[: 4 if unit == MINUTE else 3]:
        if mark == "close":
            moved = raw.index.as_unit("ns") + np.where(rest == usual_rest, missing, 0).astype("timedelta64[ns]")
            return replace(raw, index=moved)
        raise DataError(
            f"{raw.label}: stamps lie {missing / 1e9:g} s before the minute, the first is {raw.index[0]}, so they mark ends of bars; "
            'set data.stamp in the config to "close"'
        )
    raise DataError(
        f"{raw.label}: stamps lie {usual_rest / 1e9:g} s after the {'minute' if unit == MINUTE else 'grid of ' + Interval.from_ns(unit).name}, "
        f"the first is {raw.index[0]}, and bars don't; give the stamps that they have, for example with "
        f'frame.index - pd.Timedelta("{usual_rest}ns")'
    )


def _commonest(spacings: Int64) -> int:
    values, times = np.unique(spacings, return_counts=True)
    return int(values[np.argmax(times)])


def opens_of(ends: Int64, length: int) -> Int64:
    """Where bars begin that end at these rising instants: no earlier than the end of the bar before them.

    One that is cut short, by the close or a lunch break, begins where the one before it ended; where that is missing it is
    as short as those that end at the same time of other days.
    """
    opens: Int64 = ends - length
    before = np.diff(ends)
    short = np.flatnonzero(before < length) + 1
    if not len(short):
        return opens
    opens[short] = ends[short - 1]
    _, number = np.unique(ends % DAY, return_inverse=True)
    times = np.bincount(number)
    cut = np.bincount(number[short], minlength=len(times))
    lasting = np.zeros(len(times), dtype=np.int64)
    lasting[number[short]] = before[short - 1]
    whole_ = np.ones(len(ends), dtype=np.bool_)
    whole_[short] = False
    like = whole_ & (2 * cut[number] >= times[number])
    opens[like] = ends[like] - lasting[number[like]]
    return opens
