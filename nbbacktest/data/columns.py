"""The columns of a table of bars as numbers: found by their names, read, and refused where they are something else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.records import Float64
from nbbacktest.data.faults import PRICES
from nbbacktest.data.shapes import SYMBOL_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d*)?")


def numbers_of(
    frame: pd.DataFrame, names: dict[str, Any], index: pd.DatetimeIndex, label: str, *, coerce: bool
) -> dict[str, Float64]:
    """Open, high, low, close and volume as float64 arrays; volumes are zeros where there are none.

    Parameters
    ----------
    names
        By our names, the frame's; see `names_of`.
    coerce
        Whether text that is no number is NaN, and not refused.

    Raises
    ------
    DataError
        Where a column holds something else than numbers.
    """
    columns = {
        name: _numbers(frame[original], label, original, index, coerce=coerce) for name, original in names.items()
    }
    if "volume" not in columns or (np.isnan(columns["volume"][:1]).all() and np.isnan(columns["volume"]).all()):
        columns["volume"] = np.zeros(len(index))
    return columns


def refuse_others(frame: pd.DataFrame, symbol: str, label: str, *, chosen: bool) -> None:
    """Refuse a column of symbols that says something else.

    Raises
    ------
    DataError
    """
    for original in frame.columns:
        if str(original).strip().strip("<>").lower() not in SYMBOL_COLUMNS:
            continue
        said = [str(value) for value in frame[original].dropna().unique()]
        if len(said) > 1:
            shown = ", ".join(said[:3]) + (", ..." if len(said) > 3 else "")
            raise DataError(
                f"{label}: column {original!r} names {len(said)} symbols ({shown}) and no two rows have one time, so whether "
                f"these are several symbols or one that was renamed can't be known; give each symbol's bars, for example "
                f"dict(list(frame.groupby({original!r}))), or leave the column out"
            )
        if chosen and said and said[0].strip().lower() != symbol.lower():
            raise DataError(
                f"{label}: these are bars of {said[0]!r}, says column {original!r}, and not of {symbol!r}; "
                f"bring those of {symbol!r}, or name the symbol {said[0]!r}"
            )


def names_of(frame: pd.DataFrame, label: str) -> dict[str, Any]:
    """Map our column names to the frame's.

    Raises
    ------
    DataError
        Where one is missing, or there twice.
    """
    found: dict[str, Any] = {}
    bare = {original: str(original).strip().strip("<>").lower() for original in frame.columns}
    for original in frame.columns:
        name = "volume" if bare[original] == "vol" and "volume" not in bare.values() else bare[original]
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
            f"{index[row]}; {_cure(column, name, is_text=text)}"
        )
    # A copy: what its owner does to the frame later must not reach a run.
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _cure(column: pd.Series[Any], name: Any, *, is_text: bool) -> str:
    """What makes numbers of this column."""
    if not is_text:
        return "bars need numbers: bring the column that holds them, or make numbers of it; pd.to_numeric makes them of text"
    known = f"frame[{name!r}]"
    text = column.dropna().astype(str).str.strip()
    with_commas = text[text.str.contains(",")]
    if len(with_commas) and with_commas.map(lambda value: bool(_DECIMAL_COMMA.fullmatch(value))).all():
        point = f'{known} = {known}.str.replace(",", ".").astype(float)'
        if not with_commas.map(lambda value: bool(_THOUSANDS.fullmatch(value))).all():
            return f"these are decimal commas: {point}"
        return f'where the comma is the decimal one, {point}; where it parts thousands, .str.replace(",", "")'
    if len(with_commas) and with_commas.map(lambda value: bool(_THOUSANDS.fullmatch(value))).all():
        return f'commas part thousands: {known} = {known}.str.replace(",", "").astype(float)'
    if text.str.contains(r"\.\d{3},", regex=True).any():
        point = f'{known} = {known}.str.replace(".", "").str.replace(",", ".").astype(float)'
        return f"points part thousands and the comma is the decimal one: {point}"
    return f'convert it with {known} = pd.to_numeric({known}, errors="coerce"), which makes NaN of it, and remove such rows'
