"""Reads the bars of a DataFrame: finds faulty rows, and refuses them or leaves them out, by kind.

Every mistake is one error that names the symbol, the row and the cure. Values and their order are judged here; `bar_spans`
gives the stamps their spans of time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import PRICES, Float64, Int64
from nbbacktest.data.columns import names_of, numbers_of, of_symbol, refuse_others
from nbbacktest.data.times import in_a_zone, indexed, name_of, unfolded

if TYPE_CHECKING:
    import pandas as pd

Bools = npt.NDArray[np.bool_]

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


_FEW_OUT_OF_PLACE = 10  # if more than one row in this many is out of place, the rows count as shuffled
_ENOUGH = 10  # with fewer rows in place, the distance of rows isn't known
_FAR = 10  # then a row counts as far off at so many times the span of all
_SMALL_HOURS = 4  # the hour up to which clocks are set back, from midnight on


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


Policy = Literal["refuse", "warn", "drop"]
"""The treatment of faulty rows. Both ``warn`` and ``drop`` leave them out; ``drop`` warns only if they are many."""

_BOTH = 2
_FEW_ROWS = 3

LOUD = 0.1
"""The share of a symbol's rows above which a warning says that they were left out, even if faults are dropped. Up to three rows
are few, of any number."""


@dataclass(frozen=True, slots=True, eq=False)
class RawBars:
    """Checked values with the stamps that the source wrote.

    Attributes
    ----------
    symbol : str
    label : str
        The name of these bars in errors: the symbol, with the file if there is one.
    index : pandas.DatetimeIndex
        Strictly rising stamps, in nanoseconds; naive if the source gave no time zone.
    columns : dict
        float64 arrays of open, high, low, close and volume.
    left_out : dict
        By kind of fault, the stamps of the rows that were left out for it.
    notes : tuple of str
        The faults of the rows that were left out, in words.
    moved : pandas.DatetimeIndex or None
        The stamps of the rows that stood after later ones and were sorted into place.
    """

    symbol: str
    label: str
    index: pd.DatetimeIndex
    columns: dict[str, Float64]
    left_out: dict[FaultKind, pd.DatetimeIndex] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    moved: pd.DatetimeIndex | None = None

    @property
    def is_naive(self) -> bool:
        """True if the stamps name no time zone."""
        return self.index.tz is None

    @property
    def zone(self) -> str | None:
        """The stamps' IANA time zone; None for naive ones."""
        return None if self.index.tz is None else name_of(self.index.tz) or "UTC"

    @property
    def ticks(self) -> Int64:
        """Nanoseconds UTC; of naive stamps, of the local clock."""
        return self.index.asi8

    @property
    def clocks(self) -> Int64:
        """The times that local clocks showed, in nanoseconds."""
        return self.index.asi8 if self.index.tz is None else self.index.tz_localize(None).asi8

    @property
    def disordered(self) -> dict[FaultKind, pd.DatetimeIndex]:
        """The rows that were left out by kind, with the sorted ones counted as out of order."""
        import pandas as pd

        if self.moved is None or not len(self.moved):
            return self.left_out
        gone = self.left_out.get("out_of_order")
        every = self.moved if gone is None else pd.DatetimeIndex(gone.append(self.moved))
        return self.left_out | {"out_of_order": every}

    def told(self, policy: Policy) -> tuple[str, ...]:
        """The warnings about rows that were left out; none if the policy is ``drop`` and they are few."""
        gone = sum(map(len, self.left_out.values()))
        rows = gone + len(self.index)
        if not self.notes or (policy == "drop" and gone <= max(_FEW_ROWS, LOUD * rows)):
            return ()
        head = f"rows left out, {gone} of {rows}: " if gone else ""
        return (head + "; ".join(self.notes),)


def read_frame(
    frame: Any,
    symbol: str,
    file: str | None = None,
    *,
    faults: Policy = "refuse",
    chosen: bool = False,
    zone: str | None = None,
) -> RawBars:
    """Read a DataFrame's bars; refuse or leave out rows with wrong values or in a wrong order.

    Parameters
    ----------
    frame
        Columns open, high, low, close and, by choice, volume (zeros if it is missing or has no value at all), in any
        case and order, indexed by stamp, or with a column of stamps. Other columns are ignored. Prices may be negative,
        as those of futures have been; NaN and infinite ones are faults.
    symbol
        The symbol of these bars; out of a table of several symbols, the one to take.
    file
        Named in errors.
    faults
        ``"refuse"`` refuses the first kind of fault found; otherwise faulty rows are left out, and rows that are only
        unsorted are sorted.
    chosen
        True if the config or the caller says that these are `symbol`'s bars, so that a column which says otherwise is a mistake.
    zone
        The zone of naive intraday stamps, if known: it tells the two hours apart that its clocks repeat.

    Raises
    ------
    DataError
        If this is no frame of bars, or one of another symbol, or of several; if faults are refused, at the first kind of fault, with
        its first row and the number of rows.
    """
    raw = parse_frame(frame, symbol, file, faults=faults, chosen=chosen)
    raw = judged(raw, _stamp_faults(raw), faults)
    raw = replace(raw, index=unfolded(raw.index, zone))
    if faults != "refuse":
        # A row without a price must not push out the sound one that has the same stamp.
        raw = judged(raw, value_faults(raw.columns), faults)
    raw = in_order(raw, faults, zone)
    return judged(raw, value_faults(raw.columns), faults)


def as_one(raws: list[RawBars], zone: str | None) -> list[RawBars]:
    """Give all symbols' naive stamps their zone if some symbol's have got it by an hour that clocks repeat."""
    if zone is None or len({raw.is_naive for raw in raws}) < _BOTH:
        return raws
    found = []
    for raw in raws:
        local = raw.index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT") if raw.is_naive else raw.index
        found.append(raw if local.hasnans else replace(raw, index=local))
    return found


def refuse_empty(raw: RawBars) -> None:
    """Refuse bars without a sound row.

    Raises
    ------
    DataError
        With the faults of the rows.
    """
    if not len(raw.index):
        rows = sum(map(len, raw.left_out.values()))
        raise DataError(f"{raw.label}: none of {rows} rows is sound: {'; '.join(raw.notes)}; correct them")


def parse_frame(frame: Any, symbol: str, file: str | None, *, faults: Policy, chosen: bool) -> RawBars:
    """A DataFrame's rows as they are; see `read_frame`."""
    import pandas as pd

    label = f"{symbol} ({file})" if file else symbol
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{label}: a {type(frame).__name__} is no DataFrame; pass a pandas DataFrame of bars")
    frame = of_symbol(frame, symbol, label, chosen=chosen)
    if len(frame):
        # The times come first: if columns are missing as well, the error is about the times.
        frame = frame if isinstance(frame.index, pd.DatetimeIndex) else _timed(frame, label)
    names = names_of(frame, label)
    if not len(frame):
        raise DataError(f"{label}: the frame is empty; give it at least one bar")
    refuse_others(frame, symbol, label, chosen=chosen)
    index = _nanoseconds(in_a_zone(frame.index), label)
    columns = numbers_of(frame, names, index, label, coerce=faults != "refuse")
    return RawBars(symbol, label, index, columns)


def judged(raw: RawBars, faults: Iterable[Fault], policy: Policy) -> RawBars:
    """Refuse rows with these faults, or leave them out.

    Raises
    ------
    DataError
        At the first fault, if faults are refused.
    """
    found = [fault for fault in faults if fault]
    if not found:
        return raw
    if policy == "refuse":
        raise DataError(f"{raw.label}: {_refusal(found[0], raw)}")
    import pandas as pd

    kinds = first_kinds(found, len(raw.index))
    keep = ~np.logical_or.reduce(list(kinds.values()))
    left_out = dict(raw.left_out)
    for kind, rows in kinds.items():
        stamps = raw.index[rows]
        left_out[kind] = pd.DatetimeIndex(left_out[kind].append(stamps)) if kind in left_out else stamps
    return replace(
        raw,
        index=raw.index[keep],
        columns={name: column[keep] for name, column in raw.columns.items()},
        left_out=left_out,
        notes=(*raw.notes, *(_note(fault, raw) for fault in found)),
    )


def _stamp_faults(raw: RawBars) -> Iterator[Fault]:
    yield Fault("bad_time", np.asarray(raw.index.isna()), "the stamp is NaT")


def in_order(raw: RawBars, policy: Policy, zone: str | None = None) -> RawBars:
    """Bars with rising stamps: unsorted rows are sorted, and rows that contradict others are left out.

    Raises
    ------
    DataError
        If they don't rise as they stand, and faults are refused.
    """
    if (raw.ticks[1:] > raw.ticks[:-1]).all():
        return raw
    order = order_of(raw.ticks)
    if policy == "refuse":
        raise DataError(f"{raw.label}: {disorder(order, raw.index, zone)}")
    faults = (
        Fault("out_of_order", order.stray, "a stamp lies beyond all others"),
        Fault("out_of_order", order.back, "stamps go back"),
        Fault("duplicates", order.twice, "stamps are duplicates"),
    )
    stays = np.zeros(len(raw.index), dtype=np.int64)
    stays[order.rows] = 1
    left = judged(raw, faults, policy)
    rows = np.cumsum(stays)[order.rows] - 1
    count = int(order.moved.sum())
    note = (
        f"{count} {'row' if count == 1 else 'rows'} sorted into place, the first was that of {raw.index[order.moved][0]}"
        if count
        else ""
    )
    return replace(
        left,
        index=left.index[rows],
        columns={name: column[rows] for name, column in left.columns.items()},
        moved=raw.index[order.moved],
        notes=(*left.notes, note) if note else left.notes,
    )


def _timed(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    import pandas as pd

    found = indexed(frame, label)
    return found if isinstance(found, pd.DataFrame) else frame.set_axis(found)


def _nanoseconds(index: pd.DatetimeIndex, label: str) -> pd.DatetimeIndex:
    import pandas as pd

    try:
        index = index.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        raise DataError(
            f"{label}: stamps from {index.min()} to {index.max()} are beyond what nanoseconds can count "
            "(1677 to 2262); correct or remove them"
        ) from None
    return index


def _refusal(fault: Fault, raw: RawBars) -> str:
    rows, index = np.flatnonzero(fault.rows), raw.index
    count, row = len(rows), int(rows[0])
    if fault.refusal:
        return fault.refusal
    if fault.kind == "bad_time":
        return f"{count} stamps are NaT, the first in row {row}; remove these rows: frame[frame.index.notna()]"
    values = ", ".join(f"{name} {raw.columns[name][row]:.12g}" for name in fault.columns)
    bars = "bar" if count == 1 else "bars"
    return (
        f"{fault.what} in {count} {bars} of {len(index)}, the first at {index[row]}: {values}; "
        "correct or remove the row" + ("" if count == 1 else "s") + _volumes(fault, raw)
    )


def _volumes(fault: Fault, raw: RawBars) -> str:
    unknown = fault.columns == ("volume",) and bool(np.isnan(raw.columns["volume"][fault.rows]).all())
    return '; where volume isn\'t known, leave out the column, frame.drop(columns="volume")' if unknown else ""


def _note(fault: Fault, raw: RawBars) -> str:
    rows = np.flatnonzero(fault.rows)
    stamp = raw.index[rows[0]]
    where = f"in row {rows[0]}" if fault.kind == "bad_time" else f"at {stamp}"
    return f"{fault.what} in {len(rows)} {'bar' if len(rows) == 1 else 'bars'}, the first {where}"
