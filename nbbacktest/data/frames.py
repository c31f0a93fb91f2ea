"""A DataFrame's bars, checked: every mistake is one error that names the symbol, the row and the cure.

It knows values and their order; which spans of time the stamps mean is `spans`' duty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.records import Float64, Int64

if TYPE_CHECKING:
    import pandas as pd

Bools = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close")


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
    """

    symbol: str
    label: str
    index: pd.DatetimeIndex
    columns: dict[str, Float64]

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


def read_frame(frame: Any, symbol: str, file: str | None = None) -> RawBars:
    """Check a DataFrame's values and order.

    Parameters
    ----------
    frame
        Columns open, high, low, close and, by choice, volume (zeros where it is missing), in any
        case and order, indexed by stamp. Other columns are left alone. Prices may be negative, as
        those of futures have been; NaN and infinite ones are refused.
    symbol
        Whose bars these are.
    file
        Named in errors.

    Raises
    ------
    DataError
        At the first kind of mistake found: with the first row that has it, and how many have.
    """
    import pandas as pd

    label = f"{symbol} ({file})" if file else symbol
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{label}: a {type(frame).__name__} is no DataFrame; pass a pandas DataFrame of bars")
    names = _names(frame, label)
    if not len(frame):
        raise DataError(f"{label}: the frame is empty; give it at least one bar")
    index = _index(frame, label)
    columns = {name: _numbers(frame[original], label, original, index) for name, original in names.items()}
    columns.setdefault("volume", np.zeros(len(index)))
    _check_values(columns, label, index)
    return RawBars(symbol, label, index, columns)


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
    missing = np.flatnonzero(index.isna())
    if len(missing):
        raise DataError(f"{label}: {len(missing)} stamps are NaT, the first in row {missing[0]}; remove these rows")
    try:
        index = index.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        raise DataError(
            f"{label}: stamps from {index.min()} to {index.max()} are beyond what nanoseconds can count "
            "(1677 to 2262); correct or remove them"
        ) from None
    steps = np.diff(index.asi8)
    if len(steps) and int(steps.min()) <= 0:
        _refuse_order(index, steps, label)
    return index


def _refuse_order(index: pd.DatetimeIndex, steps: Int64, label: str) -> None:
    back = np.flatnonzero(steps < 0)
    if len(back):
        row = int(back[0]) + 1
        raise DataError(
            f"{label}: stamps must rise, and {len(back)} go back, the first in row {row}: {index[row]} comes after "
            f"{index[row - 1]}; sort with frame.sort_index()"
        )
    twice = np.flatnonzero(steps == 0)
    row = int(twice[0]) + 1
    raise DataError(
        f"{label}: {len(twice)} stamps are duplicates, the first in row {row}: {index[row]}; keep one bar each, "
        "for example frame[~frame.index.duplicated()]"
    )


def _numbers(column: pd.Series[Any], label: str, name: Any, index: pd.DatetimeIndex) -> Float64:
    import pandas as pd

    kind = column.dtype
    numeric = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    if not numeric or pd.api.types.is_complex_dtype(kind):
        parsed = pd.to_numeric(column, errors="coerce") if not pd.api.types.is_datetime64_any_dtype(kind) else None
        bad = np.flatnonzero(parsed.isna()) if parsed is not None else np.zeros(0, dtype=np.intp)
        row = int(bad[0]) if len(bad) else 0
        raise DataError(
            f"{label}: column {name!r} holds {kind} and not numbers, for example {column.iloc[row]!r} at "
            f"{index[row]}; convert it with pd.to_numeric"
        )
    # A copy: what its owner does to the frame later must not reach a run.
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _check_values(columns: dict[str, Float64], label: str, index: pd.DatetimeIndex) -> None:
    for name in PRICES:
        _refuse(~np.isfinite(columns[name]), f"{name} is not a finite number", (name,), columns, label, index)
    o, h, l, c = (columns[name] for name in PRICES)  # noqa: E741 - the field's letters
    _refuse(h < l, "high is below low", ("high", "low"), columns, label, index)
    _refuse((o > h) | (o < l), "open is outside of low to high", ("open", "low", "high"), columns, label, index)
    _refuse((c > h) | (c < l), "close is outside of low to high", ("close", "low", "high"), columns, label, index)
    volume = columns["volume"]
    _refuse(~(np.isfinite(volume) & (volume >= 0)), "volume is negative or not a finite number", ("volume",), columns,
            label, index)  # fmt: skip


def _refuse(
    bad: Bools, what: str, names: tuple[str, ...], columns: dict[str, Float64], label: str, index: pd.DatetimeIndex
) -> None:
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    values = ", ".join(f"{name} {columns[name][rows[0]]:.12g}" for name in names)
    bars = "bar" if len(rows) == 1 else "bars"
    raise DataError(
        f"{label}: {what} in {len(rows)} {bars} of {len(index)}, the first at {index[rows[0]]}: {values}; "
        "correct or remove the row" + ("" if len(rows) == 1 else "s")
    )
