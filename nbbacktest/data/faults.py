"""Finds faulty rows of bars: pure functions from columns and stamps to masks. `frames.judged` refuses such rows or leaves them out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64, Int64

if TYPE_CHECKING:
    import pandas as pd

Bools = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close")

FaultKind = Literal[
    "bad_time", "not_finite", "bad_ohlc", "bad_volume", "out_of_order", "duplicates", "off_grid", "closed"
]
KINDS: tuple[FaultKind, ...] = (
    "bad_time", "not_finite", "bad_ohlc", "bad_volume", "out_of_order", "duplicates", "off_grid", "closed",
)  # fmt: skip
"""The faults of a row: no stamp, or a local time that doesn't exist or exists twice; a price or volume that
is no finite number; prices that contradict each other; a negative volume; a stamp that goes back and is another row's,
or lies beyond all others; one that came before, or lies inside the bar before it; one that fits no bar of the interval;
a daily bar on a day without a session."""


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One kind of fault, and the rows that have it.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    rows : bool array
        True if a row has it; may be all False.
    what : str
        The fault in words, for messages.
    columns : tuple of str
        The columns that show it.
    refusal : str
        The whole message if this is refused; "": it follows from the other attributes.
    """

    kind: FaultKind
    rows: Bools
    what: str
    columns: tuple[str, ...] = ()
    refusal: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows.any())


def value_faults(columns: dict[str, Float64]) -> Iterator[Fault]:
    """The faults of prices and volumes, each row for itself.

    Prices may be negative, as those of futures have been.
    """
    for name in PRICES:
        yield Fault("not_finite", ~np.isfinite(columns[name]), f"{name} is not a finite number", (name,))
    o, h, l, c = (columns[name] for name in PRICES)  # noqa: E741 - the field's letters
    yield Fault("bad_ohlc", h < l, "high is below low", ("high", "low"))
    yield Fault("bad_ohlc", (o > h) | (o < l), "open is outside of low to high", ("open", "low", "high"))
    yield Fault("bad_ohlc", (c > h) | (c < l), "close is outside of low to high", ("close", "low", "high"))
    volume = columns["volume"]
    finite = np.isfinite(volume)
    yield Fault("not_finite", ~finite, "volume is negative or not a finite number", ("volume",))
    yield Fault("bad_volume", finite & (volume < 0), "volume is negative or not a finite number", ("volume",))


def first_kinds(faults: Sequence[Fault], rows: int) -> dict[FaultKind, Bools]:
    """Rows by kind of fault; a row counts at the first fault that it has."""
    left = np.ones(rows, dtype=np.bool_)
    found: dict[FaultKind, Bools] = {}
    for fault in faults:
        mine = fault.rows & left
        left &= ~fault.rows
        if mine.any():
            found[fault.kind] = found.get(fault.kind, np.zeros(rows, dtype=np.bool_)) | mine
    return found


_FEW_OUT_OF_PLACE = 10  # one row in this many may be out of place; if more are, the rows count as shuffled
_ENOUGH = 10  # with fewer rows in place, the distance of rows isn't known
_FAR = 10  # for so few rows: a multiple of their whole span
_SMALL_HOURS = 4  # clocks are set back between midnight and then


@dataclass(frozen=True, slots=True, eq=False)
class RowOrder:
    """The order in which rows' stamps rise, and the rows that break it.

    Attributes
    ----------
    rows : int64 array
        The rows that stay, in the order of their stamps.
    moved : bool array
        Rows that come after a later one, and stay: they are only unsorted.
    stray : bool array
        Single rows whose stamp lies beyond all others', in the midst of rows that are in order: a mistyped year.
    back : bool array
        Rows that come after a later one with a stamp that is another row's.
    twice : bool array
        Rows with the stamp of the latest row before them.
    falling : bool
        True if the newest row comes first.
    """

    rows: Int64
    moved: Bools
    stray: Bools
    back: Bools
    twice: Bools
    falling: bool


def order_of(ticks: Int64) -> RowOrder:
    """Sort rows by their stamps; of rows with the same stamp the first stays.

    Examples
    --------
    >>> order_of(np.array([3, 2, 2, 1])).rows.tolist()
    [3, 1, 0]
    """
    count = len(ticks)
    none = np.zeros(count, dtype=np.bool_)
    if (ticks[1:] > ticks[:-1]).all():
        return RowOrder(np.arange(count), none, none, none, none, falling=False)
    kept = np.sort(np.unique(ticks, return_index=True)[1])
    in_place, falling = _in_place(ticks[kept])
    sign = -1 if falling else 1
    latest = np.maximum.accumulate(sign * ticks)
    repeated = ~_mask(kept, count)
    before = np.concatenate((latest[:1], latest[:-1]))
    back = repeated & (sign * ticks < before)
    stray = _mask(kept[_strays(ticks[kept], in_place)], count)
    stays = ~repeated & ~stray
    rows = np.flatnonzero(stays)
    highest = np.maximum.accumulate(np.where(stays, ticks, np.iinfo(np.int64).min))
    moved = stays & (ticks < highest)
    return RowOrder(rows[np.argsort(ticks[rows], kind="stable")], moved, stray, back, repeated & ~back, falling=falling)


def _mask(rows: Int64, count: int) -> Bools:
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask


def _in_place(ticks: Int64) -> tuple[Bools, bool]:
    """The most of these distinct stamps that rise, or fall, as they stand; and True if they fall."""
    steps = np.diff(ticks)
    if (steps > 0).all() or (steps < 0).all():
        return np.ones(len(ticks), dtype=np.bool_), bool(len(steps) and steps[0] < 0)
    rising, falling = _longest_rise(ticks.tolist()), _longest_rise((-ticks).tolist())
    found = falling if len(falling) > len(rising) else rising
    return _mask(np.array(found, dtype=np.int64), len(ticks)), len(falling) > len(rising)


def _longest_rise(values: Sequence[int]) -> list[int]:
    """The places of a longest rising subsequence (patience sorting)."""
    ends: list[int] = []
    places: list[int] = []
    before = [-1] * len(values)
    for place, value in enumerate(values):
        length = bisect_left(ends, value)
        before[place] = places[length - 1] if length else -1
        if length == len(ends):
            ends.append(value)
            places.append(place)
        else:
            ends[length], places[length] = value, place
    found: list[int] = []
    place = places[-1]
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


def _strays(ticks: Int64, in_place: Bools) -> Bools:
    """Single rows out of place that are farther from all others than these are from each other.

    A stamp on a day of the week that no other row has is one too: a mistyped year that still lies among the others.
    """
    out = ~in_place
    if out.sum() > max(1, len(ticks) // _FEW_OUT_OF_PLACE):
        return np.zeros(len(ticks), dtype=np.bool_)
    alone = out & np.concatenate(([True], in_place[:-1])) & np.concatenate((in_place[1:], [True]))
    others = np.sort(ticks[in_place])
    if len(others) < _ENOUGH:
        reach = _FAR * int(others[-1] - others[0])
        far: Bools = alone & ((ticks < others[0] - reach) | (ticks > others[-1] + reach))
        return far
    reach = int(np.diff(others).max())
    beyond = (ticks < others[0] - reach) | (ticks > others[-1] + reach)
    weekday = (ticks // DAY + 3) % 7  # 1 January 1970 was a Thursday
    found: Bools = alone & (beyond | ~np.isin(weekday, weekday[in_place]))
    return found


def disorder(order: RowOrder, index: pd.DatetimeIndex, zone: str | None) -> str:
    """The message for stamps that don't rise, of the gravest fault."""
    if order.stray.any():
        row = int(np.argmax(order.stray))
        near = [str(index[other]) for other in (row - 1, row + 1) if 0 <= other < len(index)]
        return (
            f"the stamp of row {row}, {index[row]}, lies beyond all others, and its neighbours are of {' and '.join(near)}; "
            f"correct it, or remove the row: frame.drop(frame.index[{row}])"
        )
    if unfolds := _repeated_hour(order, index, zone):
        return unfolds
    if order.moved.any():
        row, count = int(np.argmax(order.moved)), int(order.moved.sum())
        newest = ", the newest comes first" if order.falling else ""
        return (
            f"stamps must rise, and {count} go back{newest}, the first in row {row}: {index[row]} comes after "
            f'{index[row - 1]}; sort with frame.sort_index(), or set data.quality.faults to "warn", which sorts them'
        )
    if order.back.any():
        row, count = int(np.argmax(order.back)), int(order.back.sum())
        return (
            f"stamps must rise, and {count} go back, the first in row {row}: {index[row]} comes after {index[row - 1]} and "
            "is another row's; keep one bar each, for example frame[~frame.index.duplicated()]"
        )
    row, count = int(np.argmax(order.twice)), int(order.twice.sum())
    return (
        f"{count} stamps are duplicates, the first in row {row}: {index[row]}; keep one bar each, "
        "for example frame[~frame.index.duplicated()]"
    )


def _repeated_hour(order: RowOrder, stamps: pd.DatetimeIndex, zone: str | None) -> str | None:
    """The message for stamps that don't rise because local clocks repeated an hour; None if another reason holds."""
    rows = np.flatnonzero(order.moved | order.back | order.twice)
    index = stamps[rows]
    if stamps.tz is not None or not (index.asi8 % DAY).any():
        return None
    if zone is None:
        if not bool((index.hour < _SMALL_HOURS).all()):
            return None
        return (
            f"{len(rows)} stamps go back or come twice in the small hours, the first in row {rows[0]}: {index[0]}, and name no "
            "time zone; where clocks repeat an hour its bars all are real, so set data.timezone in the config, or give "
            "stamps with their offset from UTC"
        )
    twice = index[index.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna()]
    if not len(twice):
        return None
    return (
        f"{len(twice)} stamps go back or come twice in the hour that the clocks of {zone} repeat, the first is {twice[0]}, and "
        "which is of which hour can't be told; all these bars are real, so give stamps in UTC or with their offset"
    )
