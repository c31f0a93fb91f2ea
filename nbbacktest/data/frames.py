"""A DataFrame's bars, read and judged: every mistake is one error that names the symbol, the row and the cure.

It knows values and their order; which spans of time the stamps mean is `spans`' duty. What is wrong with rows is found
by `faults`; where faults aren't refused, the rows that have them are left out here, and kept apart by kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.faults import PRICES, Fault, FaultKind, first_kinds, order_faults, value_faults

if TYPE_CHECKING:
    import pandas as pd

Policy = Literal["refuse", "warn", "drop"]
"""What becomes of a faulty row; to warn and to drop leave it out alike, and differ in what is said."""

_SYMBOL_COLUMNS = ("symbol", "ticker")


@dataclass(frozen=True, slots=True, eq=False)
class RawBars:
    """Checked values whose stamps still are what the source wrote.

    Attributes
    ----------
    symbol : str
    label : str
        How errors call these bars: the symbol, and the file where there is one.
    index : pandas.DatetimeIndex
        Strictly rising stamps, in nanoseconds; naive where the source gave no time zone.
    columns : dict
        float64 arrays of open, high, low, close and volume.
    left_out : dict
        By kind of fault, the stamps of the rows that were left out for it.
    notes : tuple of str
        What was wrong with them, in words.
    """

    symbol: str
    label: str
    index: pd.DatetimeIndex
    columns: dict[str, Float64]
    left_out: dict[FaultKind, pd.DatetimeIndex] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_naive(self) -> bool:
        """Whether the stamps name no time zone."""
        return self.index.tz is None

    @property
    def zone(self) -> str | None:
        """The stamps' IANA time zone; None for naive ones, UTC for plain offsets."""
        tz: Any = self.index.tz
        if tz is None:
            return None
        return str(getattr(tz, "key", None) or getattr(tz, "zone", None) or "UTC")

    @property
    def ticks(self) -> Int64:
        """Nanoseconds: UTC, or of the local clock where naive."""
        return self.index.asi8

    @property
    def spacing(self) -> int | None:
        """The smallest distance between two stamps in nanoseconds; None for a single row."""
        return int(np.diff(self.ticks).min()) if len(self.index) > 1 else None


def read_frame(
    frame: Any, symbol: str, file: str | None = None, *, faults: Policy = "refuse", chosen: bool = False
) -> RawBars:
    """Read a DataFrame's bars and judge their values and order.

    Parameters
    ----------
    frame
        Columns open, high, low, close and, by choice, volume (zeros where it is missing), in any
        case and order, indexed by stamp. Other columns are left alone. Prices may be negative, as
        those of futures have been; NaN and infinite ones are faults.
    symbol
        Whose bars these are.
    file
        Named in errors.
    faults
        ``"refuse"`` refuses the first kind of fault found; otherwise faulty rows are left out.
    chosen
        Whether somebody said that these are `symbol`'s bars, so that a column which says otherwise is a mistake.

    Raises
    ------
    DataError
        Where this is no frame of bars, or one of another symbol, or of several; at the first kind of fault, with the
        first row that has it and how many have, where faults are refused.
    """
    raw = parse_frame(frame, symbol, file, faults=faults, chosen=chosen)
    for batch in (_stamp_faults, _order_faults, _value_faults) if faults == "refuse" else _TOLERANT:
        raw = judged(raw, batch(raw), faults)
    return raw


def refuse_empty(raw: RawBars) -> None:
    """Refuse bars of which none is left.

    Raises
    ------
    DataError
        With what was wrong with them.
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
    names = _names(frame, label)
    if not len(frame):
        raise DataError(f"{label}: the frame is empty; give it at least one bar")
    _refuse_others(frame, symbol, label, chosen=chosen)
    index = _index(frame, label)
    coerce = faults != "refuse"
    columns = {
        name: _numbers(frame[original], label, original, index, coerce=coerce) for name, original in names.items()
    }
    columns.setdefault("volume", np.zeros(len(index)))
    return RawBars(symbol, label, index, columns)


def judged(raw: RawBars, faults: Iterable[Fault], policy: Policy) -> RawBars:
    """What is left of the bars where these faults are refused, or the rows that have them left out.

    Raises
    ------
    DataError
        At the first fault, where faults are refused.
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


def _order_faults(raw: RawBars) -> Iterator[Fault]:
    return order_faults(raw.ticks)


def _value_faults(raw: RawBars) -> Iterator[Fault]:
    return value_faults(raw.columns)


# A row without a price must not push out the sound one that has the same stamp.
_TOLERANT = (_stamp_faults, _value_faults, _order_faults)


def _refuse_others(frame: pd.DataFrame, symbol: str, label: str, *, chosen: bool) -> None:
    """A column of symbols that says something else."""
    for original in frame.columns:
        if str(original).strip().lower() not in _SYMBOL_COLUMNS:
            continue
        said = [str(value) for value in frame[original].dropna().unique()]
        if len(said) > 1:
            shown = ", ".join(said[:3]) + (", ..." if len(said) > 3 else "")
            raise DataError(
                f"{label}: column {original!r} names {len(said)} symbols ({shown}); give one symbol's bars at a time, "
                f"for example dict(list(frame.groupby({original!r})))"
            )
        if chosen and said and said[0].strip().lower() != symbol.lower():
            raise DataError(
                f"{label}: these are bars of {said[0]!r}, says column {original!r}, and not of {symbol!r}; "
                f"bring those of {symbol!r}, or name the symbol {said[0]!r}"
            )


def _names(frame: pd.DataFrame, label: str) -> dict[str, Any]:
    """Map our column names to the frame's."""
    if frame.columns.nlevels > 1:
        raise DataError(
            f"{label}: the columns have {frame.columns.nlevels} levels; select one symbol's columns, "
            'for example frame.xs("AAPL", axis=1, level=1)'
        )
    found: dict[str, Any] = {}
    for original in frame.columns:
        name = str(original).strip().lower()
        if name not in (*PRICES, "volume"):
            continue
        if name in found:
            raise DataError(f"{label}: columns {found[name]!r} and {original!r} both are {name}; keep one of them")
        found[name] = original
    for name in PRICES:
        if name not in found:
            others = [str(c) for c in frame.columns if c not in found.values()]
            cure = (
                f"of the other columns, {nearest(name, others)}" if others else "add it, or rename the one that is it"
            )
            raise DataError(f"{label}: column {name!r} is missing (bars need open, high, low and close); {cure}")
    return found


def _index(frame: pd.DataFrame, label: str) -> pd.DatetimeIndex:
    import pandas as pd

    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        cure = 'set one, for example frame.set_index(pd.to_datetime(frame["time"]))'
        if isinstance(index, pd.PeriodIndex):
            cure = "turn it into stamps with frame.to_timestamp()"
        elif timed := [c for c in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[c])]:
            cure = f"use the column that holds them: frame.set_index({timed[0]!r})"
        raise DataError(f"{label}: the index is a {type(index).__name__}, first value {index[0]!r}, and not a "
                        f"DatetimeIndex; {cure}")  # fmt: skip
    try:
        index = index.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        raise DataError(
            f"{label}: stamps from {index.min()} to {index.max()} are beyond what nanoseconds can count "
            "(1677 to 2262); correct or remove them"
        ) from None
    return index


def _numbers(column: pd.Series[Any], label: str, name: Any, index: pd.DatetimeIndex, *, coerce: bool) -> Float64:
    import pandas as pd

    kind = column.dtype
    numeric = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    if not numeric or pd.api.types.is_complex_dtype(kind):
        text = pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind)
        parsed = pd.to_numeric(column, errors="coerce") if text else None
        if coerce and parsed is not None and not parsed.isna().all():
            return np.array(parsed.to_numpy(dtype=np.float64, na_value=np.nan))
        bad = np.flatnonzero(parsed.isna()) if parsed is not None else np.zeros(0, dtype=np.intp)
        row = int(bad[0]) if len(bad) else 0
        raise DataError(
            f"{label}: column {name!r} holds {kind} and not numbers, for example {column.iloc[row]!r} at "
            f"{index[row]}; convert it with pd.to_numeric"
        )
    # A copy: what its owner does to the frame later must not reach a run.
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _refusal(fault: Fault, raw: RawBars) -> str:
    rows, index = np.flatnonzero(fault.rows), raw.index
    count, row = len(rows), int(rows[0])
    if fault.refusal:
        return fault.refusal
    if fault.kind == "bad_time":
        return f"{count} stamps are NaT, the first in row {row}; remove these rows"
    if fault.kind == "out_of_order":
        return (
            f"stamps must rise, and {count} go back, the first in row {row}: {index[row]} comes after "
            f"{index[row - 1]}; sort with frame.sort_index()"
        )
    if fault.kind == "duplicates":
        return (
            f"{count} stamps are duplicates, the first in row {row}: {index[row]}; keep one bar each, "
            "for example frame[~frame.index.duplicated()]"
        )
    values = ", ".join(f"{name} {raw.columns[name][row]:.12g}" for name in fault.columns)
    bars = "bar" if count == 1 else "bars"
    return (
        f"{fault.what} in {count} {bars} of {len(index)}, the first at {index[row]}: {values}; "
        "correct or remove the row" + ("" if count == 1 else "s")
    )


def _note(fault: Fault, raw: RawBars) -> str:
    rows = np.flatnonzero(fault.rows)
    stamp = raw.index[rows[0]]
    where = f"in row {rows[0]}" if fault.kind == "bad_time" else f"at {stamp}"
    return f"{fault.what} in {len(rows)} {'bar' if len(rows) == 1 else 'bars'}, the first {where}"
