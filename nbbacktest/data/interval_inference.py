"""The length of bars, and the rows that are bars of that length: inferred from stamps alone, without a calendar.

Sessions and lunch breaks begin a grid anew, clocks shift it, gaps leave it as it is; single rows that fit neither the rows
before nor the rows after them are off it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, HOUR, LATEST, MINUTE, SATURDAY, SECOND, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.frames import Bools, Fault, Policy, RawBars, judged
from nbbacktest.data.trading_days import period_starts

FEW = 0.2
"""The largest share of rows that may lie off the grid; with more it is another grid."""

_FAR = 1 << 62
_OVERLAPS = 0.6  # if a larger share of rows begin inside the bar before them, bars are shorter
_REGULAR = 0.2  # the share of days on which a time of day must recur to belong to the grid
_ROUNDS = 4
_LONGEST_WEEK = 7 * DAY


def fits(raw: RawBars, length: int, mark: StampMeaning) -> bool:
    """True if nearly all rows are bars of that length, gaps aside."""
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
    # A close or a break may cut one bar short, so that two bars are closer. If three in a row are, all bars are shorter.
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
    """A mask of stray rows: a whole number of lengths from none of two neighbours on either side, and of no pattern.

    In the first round it is `lenient`: other rows may seem odd because of those that are still among them.
    """
    count = len(ticks)
    alone = np.ones(count, dtype=np.bool_)
    for apart in (1, 2):
        joined = (ticks[apart:] - ticks[:-apart]) % length == 0
        joined |= (clocks[apart:] - clocks[:-apart]) % length == 0  # across a change of the clocks
        alone[apart:] &= ~joined
        alone[:-apart] &= ~joined
    if count == 1 or not alone.any():
        return np.zeros(count, dtype=np.bool_)
    steps, day = np.diff(ticks), clocks // DAY
    before, after = np.append(_FAR, steps), np.append(steps, _FAR)
    first, last = np.append(True, np.diff(day) > 0), np.append(np.diff(day) > 0, True)
    close = (before < length) | (after < length)
    sound = first & last & ~close  # the only row of its day
    days = int(first.sum())
    enough = max(2.0, _REGULAR * days)
    sound |= _times(clocks % DAY) >= enough
    # After a change of the clocks a row is an hour off, and has the same place among its neighbours as on other days.
    place = np.stack((clocks % HOUR, np.minimum(before, length), np.minimum(after, length)), axis=1)
    sound |= _times(place) >= enough
    sound |= (_times(clocks % DAY % length) > 1) & ~close  # rows of a grid that another part of the day has
    if mark == "close":
        # A bar that its session's close, or a lunch break, has cut short ends sooner than the others.
        sound |= (after >= length) & (last | ((before < length) & ((days == 1) | lenient)))
    found: Bools = alone & ~sound
    return found


def _times(values: Int64) -> Int64:
    """The number of times that each value, or row of values, is there."""
    _, number, times = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    found: Int64 = times[number.reshape(-1)]
    return found


def _off_days(clocks: Int64) -> Bools:
    """Rows whose time of day isn't that of the other days: they belong to a day that is still under way."""
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
    """The last row, if it is of a week or a longer time that is still under way: too close to the row before it."""
    off = np.zeros(len(clocks), dtype=np.bool_)
    if len(clocks) > 1:
        weekday = clocks // DAY % 7
        odd = length > _LONGEST_WEEK or weekday[-1] != np.bincount(weekday).argmax()
        off[-1] = odd and 7 * int(clocks[-1] - clocks[-2]) < 5 * length
    return off


def grid_faults(raw: RawBars, interval: Interval, mark: StampMeaning) -> Iterator[Fault]:
    """Rows that are no bars of the interval: they lie inside the bar before them, or off the grid."""
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
    """Keep the rows that are bars of the interval; `policy` decides about the others.

    Downloads of daily bars end with the day that is under way, stamped with a time of day, those of weeks and months with a
    day in one: such a last row is no bar yet. It is left out under every policy, and told, but for streamed bars, of which
    none can be left out.

    Raises
    ------
    DataError
        If there are other rows, and faults are refused.
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


_CLOCK_CHANGE = 4 * HOUR  # days are 23 to 25 hours long when clocks change, and may be that much short
_WEEK = 7 * DAY  # below this, days between two bars are weekends and holidays of daily bars
_ENOUGH = 10  # with fewer bars, every other minute may be missing by chance
_MOST = 0.9
_BOTH = 2  # three bars have so many spacings; with more bars, the first or last spacing may stand alone too
_LESS = 0.8  # the weight of a spacing that may come from bars cut short
_RARE = 5  # a spacing that is this many times rarer than the commonest belongs to rows off the grid


def inferred(raws: Sequence[RawBars], mark: StampMeaning) -> Interval:
    """The commonest spacing of all bars that nearly all rows of each symbol fit.

    Raises
    ------
    DataError
        If there is none, or just one intraday bar and nothing to infer from.
    """
    spacings = np.concatenate([np.diff(raw.ticks) for raw in raws])
    if not len(spacings):
        if all(not (raw.clocks % DAY).any() for raw in raws):
            return Interval.parse("1d")
        raise DataError(
            f"{raws[0].label}: one bar at {raws[0].index[0]} doesn't tell how long it is; "
            'set data.interval in the config, for example "1m"'
        )
    least = int(spacings.min())
    if least >= DAY and (period := _calendar_period(raws, spacings)) is not None:
        return period
    if (
        least < DAY - _CLOCK_CHANGE
        and 2 * np.count_nonzero(spacings == least) > len(spacings)
        and _is_usual(least, len(spacings))
        and not (spacings[spacings != least] % least).any()
    ):
        return Interval.from_ns(least)  # the usual case, without sorting
    candidates = _candidates(spacings)
    most, cut = candidates[0][1], _cut_short(raws)
    for length, times in sorted(candidates, key=lambda one: -one[1] * (_LESS if one[0] in cut else 1)):
        if _RARE * times >= most and _is_usual(length, times) and all(fits(raw, length, mark) for raw in raws):
            return Interval.from_ns(length)
    length, times = candidates[0]
    try:
        Interval.from_ns(length)
    except DataError as error:
        raise DataError(f"{raws[0].label}: {error}") from None
    once = "once" if times == 1 else f"{times} times"
    raise DataError(
        f"{raws[0].label}: how long bars are can't be told from their stamps, most often they are {span_text(length)} apart "
        f"({once}); set data.interval in the config to what they are, or remove what is no bar of that length"
    )


def _calendar_period(raws: Sequence[RawBars], spacings: Int64) -> Interval | None:
    """Weeks, if each has one stamp and all are on weekdays; months, if each has one; None for other bars.

    A stamp on a weekend may begin a week or end one, so that such bars are taken for seven days from there on.
    """
    common = round(_candidates(spacings)[0][0] / DAY)
    dates = [(raw.clocks // DAY).astype("datetime64[D]") for raw in raws]
    for name, lengths in (("1w", range(7, 8)), ("1mo", range(28, 32))):
        interval = Interval.parse(name)
        keys = [period_starts(days, interval) for days in dates]
        weekdays = name == "1mo" or all(((days.astype(np.int64) + 3) % 7 < SATURDAY).all() for days in dates)
        if common in lengths and weekdays and all((key[1:] > key[:-1]).all() for key in keys):
            return interval
    return None


def _candidates(spacings: Int64) -> list[tuple[int, int]]:
    """The lengths that bars may have, each with the number of bars that far apart: the commonest first, of equals the shorter."""
    values, times = np.unique(spacings, return_counts=True)
    counted: dict[int, int] = {}
    for value, count in zip(values.tolist(), times.tolist(), strict=True):
        length = value
        if value >= DAY - _CLOCK_CHANGE:
            length = round(value / DAY) * DAY if value >= _WEEK - _CLOCK_CHANGE else DAY
        counted[length] = counted.get(length, 0) + count
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _cut_short(raws: Sequence[RawBars]) -> set[int]:
    """Spacings that nearly always stand alone between longer ones: of bars that a close or a break has cut short."""
    found: dict[int, list[float]] = {}
    for raw in raws:
        steps = np.diff(raw.ticks)
        edge = [LATEST] if len(steps) > _BOTH else [0]
        alone = (steps < np.append(edge, steps[:-1])) & (steps < np.append(steps[1:], edge))
        values, number, times = np.unique(steps, return_inverse=True, return_counts=True)
        for value, count, lone in zip(
            values.tolist(), times.tolist(), np.bincount(number, alone).tolist(), strict=True
        ):
            one = found.setdefault(value, [0.0, 0.0])
            one[0] += count
            one[1] += lone
    return {value for value, (count, lone) in found.items() if lone >= _MOST * count}


def _is_usual(length: int, times: int) -> bool:
    """True if bars may have that length although the config doesn't name it; a spacing seen once has to divide a day."""
    whole = MINUTE % length == 0 if length < MINUTE else length % (MINUTE // 2) == 0
    return length % SECOND == 0 and whole and (times > 1 or DAY % length == 0 or length > DAY)


def check_length(raw: RawBars, interval: Interval, raws: Sequence[RawBars], mark: StampMeaning, *, known: bool) -> None:
    """Refuse bars that have another length than `interval`, which is `known` if it was set and not inferred.

    Raises
    ------
    DataError
    """
    count = len(raw.index)
    if count == 1:
        return
    steps = np.diff(raw.ticks)
    if 2 * int((steps == interval.ns).sum()) > count and not (steps % interval.ns).any():
        return  # the usual case
    least = _least(interval)
    off = off_grid(raw, interval.ns, mark)
    if known and (
        not fits(raw, interval.ns, mark) or off.sum() > FEW * count or (interval.ns > DAY and steps.min() < least)
    ):
        if steps.min() < least:
            row = int(np.argmin(steps))
            raise DataError(
                f"{raw.label}: the bars at {raw.index[row]} and {raw.index[row + 1]} are {span_text(int(steps[row]))} apart, "
                f"closer than the interval {interval}; set data.interval to what the bars are, or remove the extra ones"
            )
        if not interval.is_daily:
            row = int(np.argmax(off))
            raise DataError(
                f"{raw.label}: {int(off.sum())} of {count} stamps fit no grid of {interval} bars, the first is {raw.index[row]}; "
                "set data.interval to what the bars are"
            )
    sound = np.diff(raw.ticks[~off])
    if interval.is_daily or not len(sound) or (sound == interval.ns).mean() > 1 - FEW:
        return
    # Stamps that only ever fall on a coarser grid are coarser bars, which would be shown long before they are complete.
    if _step(sound) > interval.ns and (not known or count >= _ENOUGH):
        apart = span_text(int(sound.min()))
        if not known:
            other = next(r for r in raws if (np.diff(r.ticks) == interval.ns).any())
            raise DataError(
                f"{raw.label} has bars {apart} apart and {other.label} has {interval} bars; "
                "give bars of one interval, or set data.interval in the config where these just have gaps"
            )
        raise DataError(
            f"{raw.label}: bars are {apart} apart or more and the interval is said to be {interval}, so they "
            f"would be seen before they are complete; set data.interval to what the bars are"
        )


def _step(spacings: Int64) -> int:
    """The greatest step of which nine in ten of the spacings, the commonest first, are multiples."""
    values, times = np.unique(spacings, return_counts=True)
    order = np.argsort(-times, kind="stable")
    enough = int(np.searchsorted(np.cumsum(times[order]), _MOST * len(spacings))) + 1
    return int(np.gcd.reduce(values[order][:enough]))


def _least(interval: Interval) -> int:
    """The least distance between the begins of two bars of `interval`."""
    if interval.is_calendar:
        return interval.ns // 2  # stamped with their first sessions, weeks may be 4 days apart, and months 28
    return interval.ns - (_CLOCK_CHANGE if interval.is_daily else 0)


def usual(raws: Sequence[RawBars]) -> Interval:
    """The commonest spacing, to fall back on if no length fits.

    Raises
    ------
    DataError
        If there are no two bars of a symbol, or the spacing is no interval.
    """
    spacings = np.concatenate([np.diff(raw.ticks) for raw in raws])
    return Interval.from_ns(_candidates(spacings)[0][0]) if len(spacings) else inferred(raws, "open")


def span_text(ns: int) -> str:
    """A length of time as an interval is written, or in seconds.

    Examples
    --------
    >>> span_text(90 * 60 * 1_000_000_000), span_text(500_000_000)
    ('90m', '0.5 s')
    """
    try:
        return Interval.from_ns(ns).name
    except DataError:
        return f"{ns / 1e9:g} s"
