"""What stamps mark: opens or closes, to the moment, and where bars begin that are known by their closes."""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, MINUTE, SECOND, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.frames import RawBars

_NEARLY_ALL = 0.8  # of stamps, which lie off the minute alike
_BEFORE_THE_END = (1, 1_000, 1_000_000, SECOND)
"""How far before the end of a bar sources stamp it, so that stamps of two bars differ: 09:30:59.999, in nanoseconds."""


def full_stamps(raw: RawBars, given: Interval | None, mark: StampMeaning) -> RawBars:
    """Bars stamped a moment before their ends, as 09:30:59.999, with the ends that are meant.

    Raises
    ------
    DataError
        Where nearly all stamps lie off the minute in another way, or mark opens.
    """
    if not (raw.ticks % MINUTE).any():
        return raw
    steps = np.diff(raw.ticks)
    step = given.ns if given is not None else _commonest(steps) if len(steps) else DAY
    unit = gcd(step, MINUTE)
    if step >= DAY or unit < SECOND or not (raw.ticks % unit).any():
        return raw
    rest = raw.clocks % unit
    values, times = np.unique(rest, return_counts=True)
    usual_rest = int(values[np.argmax(times)])
    if usual_rest == 0 or times.max() < _NEARLY_ALL * len(rest):
        return raw
    missing = unit - usual_rest
    if missing in _conventions(unit):
        if mark == "close":
            meant = (rest == usual_rest) & (np.append(steps, missing + 1) != missing)  # which is another row's
            return replace(raw, index=raw.index + np.where(meant, missing, 0).astype("timedelta64[ns]"))
        raise DataError(
            f"{raw.label}: stamps lie {missing / 1e9:g} s before the minute, the first is {raw.index[0]}, so they mark ends of bars; "
            'set data.stamp in the config to "close"'
        )
    raise DataError(
        f"{raw.label}: stamps lie {usual_rest / 1e9:g} s after the {'minute' if unit == MINUTE else 'grid of ' + Interval.from_ns(unit).name}, "
        f"the first is {raw.index[0]}, and bars don't; give the stamps that they have, for example with "
        f'frame.index - pd.Timedelta("{usual_rest}ns")'
    )


def meant_end(ns: int, length: int) -> int:
    """Where a bar ends that is stamped a moment before its end, as 09:30:59.999; other instants as they are.

    Examples
    --------
    >>> meant_end(59_999_000_000, 60_000_000_000)
    60000000000
    """
    unit = gcd(length, MINUTE)
    missing = -ns % unit
    return ns + missing if unit >= SECOND and missing in _conventions(unit) else ns


def _conventions(unit: int) -> tuple[int, ...]:
    """A whole second before the end is one of them where bars are whole minutes."""
    return _BEFORE_THE_END if unit == MINUTE else _BEFORE_THE_END[:-1]


def _commonest(spacings: Int64) -> int:
    least = int(spacings.min())
    if 2 * int((spacings == least).sum()) > len(spacings):
        return least  # without sorting
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
