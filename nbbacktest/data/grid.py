"""Which rows are bars of a length: the grid that stamps lie on, found without knowing any calendar.

Sessions and lunch breaks begin a grid anew, clocks shift it, gaps leave it as it is; single rows that fit neither what
comes before nor what comes after them are off it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import gcd

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.intervals import DAY, HOUR, MINUTE, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.faults import Bools, Fault
from nbbacktest.data.frames import Policy, RawBars, judged

FEW = 0.2
"""A larger share of rows off the grid, and it is another grid."""

_FAR = 1 << 62
_OVERLAPS = 0.6  # a larger share of rows that begin inside the bar before them, and bars are shorter
_REGULAR = 0.2  # of all days: a time of day that recurs on so many belongs to the grid
_ROUNDS = 4
_LONGEST_WEEK = 7 * DAY


def fits(raw: RawBars, length: int, mark: StampMeaning) -> bool:
    """Whether nearly all rows are bars of that length, gaps aside."""
    off = off_grid(raw, length, mark)
    if off.sum() > max(1, FEW * len(off)):
        return False
    kept = ~off
    if length >= DAY:
        days = np.diff(raw.clocks[kept] // DAY)
        return (
            bool((days < length // DAY * 5 // 7 + (length > DAY)).sum() <= FEW * len(off))
            if length > DAY
            else bool((days == 0).sum() <= FEW * len(off))
        )
    # Two bars are closer where the first was cut short, by a close or a break; three in a row are shorter bars.
    close = np.diff(raw.ticks[kept]) < length
    return bool((close[1:] & close[:-1]).sum() <= FEW * len(off)) and bool(close.sum() <= _OVERLAPS * len(off))


def off_grid(raw: RawBars, length: int, mark: StampMeaning) -> Bools:
    """The rows that are no bars of that length among their neighbours."""
    ticks = raw.ticks
    if length >= DAY:
        return _off_days(raw.clocks) if length == DAY else _off_weeks(raw.clocks, length)
    unit = gcd(length, MINUTE)
    steps = np.diff(ticks)
    if len(ticks) and ticks[0] % unit == 0 and not (steps[steps != length] % length).any():
        return np.zeros(len(ticks), dtype=np.bool_)
    clocks = raw.clocks
    off: Bools = (clocks % unit != 0) & (ticks % unit != 0)
    rows = np.flatnonzero(~off)
    for number in range(_ROUNDS):
        alone = _alone(ticks[rows], clocks[rows], length, mark, lenient=not number)
        if number and not alone.any():
            break
        off[rows[alone]] = True
        rows = rows[~alone]
    return off


def _alone(ticks: Int64, clocks: Int64, length: int, mark: StampMeaning, *, lenient: bool) -> Bools:
    """Rows that lie a whole number of lengths from none of their two neighbours on either side, and belong to no pattern.

    Until the first of them are out, `lenient`: what seems odd of the others may be since these stood there.
    """
    count = len(ticks)
    alone = np.ones(count, dtype=np.bool_)
    for apart in (1, 2):
        joined = (ticks[apart:] - ticks[:-apart]) % length == 0
        joined |= (clocks[apart:] - clocks[:-apart]) % length == 0  # over a change of the clocks
        alone[apart:] &= ~joined
        alone[:-apart] &= ~joined
    if count == 1 or not alone.any():
        return np.zeros(count, dtype=np.bool_)
    steps, day = np.diff(ticks), clocks // DAY
    before, after = np.append(_FAR, steps), np.append(steps, _FAR)
    first, last = np.append(True, np.diff(day) > 0), np.append(np.diff(day) > 0, True)
    close = (before < length) | (after < length)
    sound = first & last & ~close  # all that there is of its day
    days = int(first.sum())
    enough = max(2.0, _REGULAR * days)
    sound |= _times(clocks % DAY) >= enough
    # Once clocks have changed, the same place among the others an hour off.
    place = np.stack((clocks % HOUR, np.minimum(before, length), np.minimum(after, length)), axis=1)
    sound |= _times(place) >= enough
    sound |= (_times(clocks % DAY % length) > 1) & ~close  # the grid of another part of the day
    if mark == "close":
        # A bar that its session's close, or a lunch break, has cut short ends sooner than the others.
        sound |= (after >= length) & (last | ((before < length) & ((days == 1) | lenient)))
    found: Bools = alone & ~sound
    return found


def _times(values: Int64) -> Int64:
    """How often each value, or row of values, is there."""
    _, number, times = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    found: Int64 = times[number.reshape(-1)]
    return found


def _off_days(clocks: Int64) -> Bools:
    """Rows whose time of day isn't that of the other days: they are of a day that is still under way."""
    time = clocks % DAY
    values, times = np.unique(time, return_counts=True)
    usual = int(values[np.argmax(times)])
    apart = np.abs(time - usual)
    near = np.minimum(apart, DAY - apart) <= HOUR  # clocks change
    if near.mean() < 1 - FEW and (~near).sum() > 1:
        return np.zeros(len(clocks), dtype=np.bool_)
    if usual % (DAY - HOUR) > HOUR:
        near |= time % (5 * MINUTE) == 0  # half days close early
    off: Bools = ~near
    return off


def _off_weeks(clocks: Int64, length: int) -> Bools:
    """The last row, where it is of a week or a longer time that is still under way: too close to the one before it."""
    off = np.zeros(len(clocks), dtype=np.bool_)
    if len(clocks) > 1:
        weekday = clocks // DAY % 7
        odd = length > _LONGEST_WEEK or weekday[-1] != np.bincount(weekday).argmax()
        off[-1] = odd and 7 * int(clocks[-1] - clocks[-2]) < 5 * length
    return off


def grid_faults(raw: RawBars, interval: Interval, mark: StampMeaning) -> Iterator[Fault]:
    """Rows that are no bars of the interval: inside the bar before them, or where none begins or ends."""
    off = off_grid(raw, interval.ns, mark)
    if not off.any():
        return
    kept = np.where(off, np.iinfo(np.int64).min // 2, raw.clocks // DAY * DAY if interval.is_daily else raw.ticks)
    latest = np.maximum.accumulate(np.concatenate((kept[:1], kept[:-1])))
    inside = off & ((raw.clocks if interval.is_daily else raw.ticks) - latest < interval.ns)
    row = int(np.argmax(off))
    count = int(off.sum())
    noun = "row is no bar" if count == 1 else "rows are no bars"
    refusal = (
        f"{count} {noun} of {interval} among {len(off) - count} that are, the first is row {row}, {raw.index[row]}"
        + (", and lies inside the bar before it" if inside[row] else "")
        + f'; remove it, frame.drop(frame.index[{row}]), or set data.quality.faults to "warn" or "drop", which leave '
        "such rows out; where bars are shorter and have gaps, set data.interval in the config"
    )
    yield Fault("duplicates", inside, f"a row lies inside the {interval} bar before it", refusal=refusal)
    yield Fault("off_grid", off & ~inside, f"no {interval} bar begins or ends at a stamp", refusal=refusal)


def on_grid(raw: RawBars, interval: Interval, mark: StampMeaning, policy: Policy, *, streamed: bool = False) -> RawBars:
    """The rows that are bars of the interval; what others are, `policy` says.

    Downloads of daily bars end with the day that is under way, stamped with a time of day, those of weeks and months with a
    day in one: such a last row is no bar yet. It is left out under every policy, and told, but for streamed bars, of which
    none can be left out.

    Raises
    ------
    DataError
        Where there are other rows, and faults are refused.
    """
    faults = list(grid_faults(raw, interval, mark))
    if policy == "refuse" and interval.is_daily and not streamed and faults:
        rows = np.flatnonzero(np.logical_or.reduce([fault.rows for fault in faults]))
        if rows.tolist() == [len(raw.index) - 1]:
            left = judged(raw, faults, "warn")
            return replace(
                left, notes=(*raw.notes, f"the last row, {raw.index[-1]}, is of a bar that is still under way")
            )
    return judged(raw, faults, policy)
