"""Which length bars have: the commonest spacing that their rows fit; and whether it is the one that was said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, HOUR, MINUTE, SECOND, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.frames import RawBars
from nbbacktest.data.grid import FEW, fits, off_grid, on_grid
from nbbacktest.data.marks import full_stamps
from nbbacktest.data.periods import period_starts

_CLOCK_CHANGE = 4 * HOUR  # days are 23 to 25 hours long where clocks change, and may be that much short
_WEEK = 7 * DAY  # below this, days between two bars are weekends and holidays of daily bars
_ENOUGH = 10  # a few bars may all miss every other minute by chance; this many don't
_MOST = 0.9
_SATURDAY = 5
_BOTH = 2  # spacings of three bars; with more, one at an end stands alone too
_LESS = 0.8  # what a spacing counts for that may be of bars cut short
_RARE = 5  # so many times rarer than the commonest, a spacing is that of rows that don't belong there


def inferred(raws: Sequence[RawBars], mark: StampMeaning) -> Interval:
    """The commonest spacing of all bars that nearly all rows of each symbol fit.

    Raises
    ------
    DataError
        Where there is none, or just one intraday bar and nothing to infer from.
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
        and 2 * int((spacings == least).sum()) > len(spacings)
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
    """Weeks, where each has one stamp and all are on weekdays, or months, where each has one; None for other bars.

    A stamp on a weekend may begin a week or end one, so that such bars are taken for seven days from there on.
    """
    common = round(_candidates(spacings)[0][0] / DAY)
    dates = [(raw.clocks // DAY).astype("datetime64[D]") for raw in raws]
    for name, lengths in (("1w", range(7, 8)), ("1mo", range(28, 32))):
        interval = Interval.parse(name)
        keys = [period_starts(days, interval) for days in dates]
        weekdays = name == "1mo" or all(((days.astype(np.int64) + 3) % 7 < _SATURDAY).all() for days in dates)
        if common in lengths and weekdays and all((key[1:] > key[:-1]).all() for key in keys):
            return interval
    return None


def _candidates(spacings: Int64) -> list[tuple[int, int]]:
    """Lengths that bars may have and how often they are apart so far, the commonest first, of equal ones the shorter."""
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
        edge = [np.iinfo(np.int64).max] if len(steps) > _BOTH else [0]
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
    """Whether bars may have that length unsaid: one that is seen just once has to divide a day."""
    whole = MINUTE % length == 0 if length < MINUTE else length % (MINUTE // 2) == 0
    return length % SECOND == 0 and whole and (times > 1 or DAY % length == 0 or length > DAY)


def check_length(raw: RawBars, interval: Interval, raws: Sequence[RawBars], mark: StampMeaning, *, known: bool) -> None:
    """Refuse bars that have another length than `interval`; `known` where it was set and not inferred.

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
    """What nine in ten of the spacings are multiples of, the commonest first."""
    values, times = np.unique(spacings, return_counts=True)
    order = np.argsort(-times, kind="stable")
    enough = int(np.searchsorted(np.cumsum(times[order]), _MOST * len(spacings))) + 1
    return int(np.gcd.reduce(values[order][:enough]))


def _least(interval: Interval) -> int:
    """How close two bars may be."""
    if interval.is_calendar:
        return interval.ns // 2  # stamped with their first sessions, weeks may be 4 days apart, and months 28
    return interval.ns - (_CLOCK_CHANGE if interval.is_daily else 0)


def usual(raws: Sequence[RawBars]) -> Interval:
    """The commonest spacing of all, where nothing better is known.

    Raises
    ------
    DataError
        Where there are no two bars of a symbol, or the spacing is no interval.
    """
    spacings = np.concatenate([np.diff(raw.ticks) for raw in raws])
    return Interval.from_ns(_candidates(spacings)[0][0]) if len(spacings) else inferred(raws, "open")


def surveyed(raws: Sequence[RawBars], given: Interval | None, mark: StampMeaning) -> tuple[Interval, list[RawBars]]:
    """The length of bars, and the rows that fit it, where nothing is refused.

    Raises
    ------
    DataError
        Where not even a spacing is known.
    """
    stamped = list(raws)
    with suppress(DataError):
        stamped = [full_stamps(raw, given, mark) for raw in raws]
    interval = given
    if interval is None:
        with suppress(DataError):
            interval = inferred(stamped, mark)
    interval = interval or usual(stamped)
    return interval, [on_grid(raw, interval, mark, "drop") if fits(raw, interval.ns, mark) else raw for raw in stamped]


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
