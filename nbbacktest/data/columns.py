"""The columns of a table of bars: those of one symbol out of several, found by their names, read as numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, DataQualityWarning, nearest
from nbbacktest.core.records import PRICES, Float64
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.times import TIME_COLUMNS, plain_name

if TYPE_CHECKING:
    import pandas as pd

_ADJUSTED_CLOSES = ("adjclose", "adjustedclose", "closeadj")
_APART = 1e-6  # relative; two closes that differ by less are one close that was rounded
SYMBOL_COLUMNS = ("symbol", "ticker")
"""Names of a column, or of an index's level, that holds the symbol of each bar."""


def by_symbol(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    """One table for each symbol of a table that names several; None if it is one symbol's own.

    Such a table has two levels of columns, of which one holds the names of prices, as yfinance gives them; two levels of
    index, of which one holds times; or a column named symbol or ticker with several names that have bars at one time
    (without such times it may be one symbol that was renamed).
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        return None
    if frame.columns.nlevels == 2:
        return _by_columns(frame)
    if frame.index.nlevels == 2:
        return _by_index(frame)
    for column in frame.columns:
        several = plain_name(column) in SYMBOL_COLUMNS and len(frame[column].dropna().unique()) > 1
        if several and _has_repeated_times(frame):
            parts = frame.groupby(column, sort=False, observed=True)
            return {str(symbol): part.drop(columns=[column]) for symbol, part in parts}
    return None


def _has_repeated_times(frame: pd.DataFrame) -> bool:
    columns = [column for column in frame.columns if plain_name(column) in TIME_COLUMNS]
    return bool((frame.duplicated(subset=columns) if columns else frame.index.duplicated()).any())


def _by_columns(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    fields = [level for level in (0, 1) if set(PRICES) <= {plain_name(name) for name in frame.columns.unique(level)}]
    if len(fields) != 1:
        return None
    level = 1 - fields[0]
    found: dict[str, pd.DataFrame] = {}
    several = len(frame.columns.unique(level)) > 1
    for symbol in frame.columns.unique(level):
        part: Any = frame.xs(symbol, axis=1, level=level)
        prices = [column for column in part.columns if plain_name(column) in PRICES]
        # Tables of several symbols have a row where any of them has a bar.
        found[str(symbol)] = part.dropna(how="all", subset=prices) if several else part
    return found


def _by_index(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    import pandas as pd

    index: Any = frame.index
    timed = [level for level in (0, 1) if isinstance(index.levels[level], pd.DatetimeIndex)]
    if len(timed) != 1:
        named = [level for level, name in enumerate(index.names) if plain_name(name) in SYMBOL_COLUMNS]
        if len(named) != 1:
            return None
        timed = [1 - named[0]]
    level = 1 - timed[0]
    if pd.api.types.infer_dtype(index.levels[level]) != "string":
        return None
    parts = frame.groupby(level=level, sort=False, observed=True)
    return {str(symbol): part.droplevel(level) for symbol, part in parts}


def of_symbol(frame: pd.DataFrame, symbol: str, label: str, *, chosen: bool) -> pd.DataFrame:
    """The bars of one symbol out of a table that may hold several.

    Parameters
    ----------
    chosen
        True if the config or the caller names `symbol`; else a table of one other symbol is taken too.

    Raises
    ------
    DataError
        If it isn't among them, or they can't be told apart.
    """
    parts = by_symbol(frame)
    if parts is None:
        if frame.columns.nlevels > 1:
            raise DataError(
                f"{label}: the columns have {frame.columns.nlevels} levels and none of two holds open, high, low and close; "
                f"select one symbol's columns, for example {_selection(frame)}"
            )
        return frame
    meant = next((name for name in parts if name.lower() == symbol.lower()), None)
    if meant is None and len(parts) == 1 and not chosen:
        meant = next(iter(parts))
    if meant is not None:
        return parts[meant]
    shown = ", ".join(list(parts)[:3]) + (", ..." if len(parts) > 3 else "")
    raise DataError(f"{label}: the table has the bars of {shown} and none of {symbol!r}; {nearest(symbol, parts)}")


def _selection(frame: pd.DataFrame) -> str:
    """A call that selects the columns of the first symbol."""
    first = frame.columns[0]
    level = next(
        (n for n in range(frame.columns.nlevels) if plain_name(first[n]) not in (*PRICES, "volume", "adj close")), 0
    )
    return f"frame.xs({first[level]!r}, axis=1, level={level})"


_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d*)?")


def numbers_of(
    frame: pd.DataFrame, names: dict[str, Any], index: pd.DatetimeIndex, label: str, *, coerce: bool
) -> dict[str, Float64]:
    """Open, high, low, close and volume as float64 arrays; volumes are zeros if there are none.

    Parameters
    ----------
    names
        The frame's names by ours; see `names_of`.
    coerce
        True: text that is no number becomes NaN; False: it is refused.

    Raises
    ------
    DataError
        If a column holds something else than numbers.
    """
    columns = {
        name: _numbers(frame[original], label, original, index, coerce=coerce) for name, original in names.items()
    }
    if "volume" not in columns or (np.isnan(columns["volume"][:1]).all() and np.isnan(columns["volume"]).all()):
        columns["volume"] = np.zeros(len(index))
    return columns


def refuse_others(frame: pd.DataFrame, symbol: str, label: str, *, chosen: bool) -> None:
    """Refuse a column of symbols that names another symbol.

    Raises
    ------
    DataError
    """
    for original in frame.columns:
        if plain_name(original) not in SYMBOL_COLUMNS:
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
        If one is missing, or there twice.
    """
    found: dict[str, Any] = {}
    bare = {original: plain_name(original) for original in frame.columns}
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
    # A copy: later changes of the frame by its owner must not reach a run.
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _cure(column: pd.Series[Any], name: Any, *, is_text: bool) -> str:
    """The cure that makes numbers of this column."""
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


def check_columns(frames: Mapping[str, Any], config: SessionConfig) -> None:
    """Warn of prices that should be adjusted if a column of adjusted closes shows that they aren't.

    Raises
    ------
    DataError
        Instead of a `DataQualityWarning`, if the config sets `data.adjusted`.
    """
    if not config.data.adjusted:
        return
    for symbol, frame in frames.items():
        apart = _apart(frame)
        if apart is None:
            continue
        name, worst = apart
        text = (
            f"{symbol}: prices aren't adjusted, by its column {name!r}, which differs from close by up to {worst:.1%}; "
            "give prices that are, or set data.adjusted to false, and data.actions to the splits and dividends"
        )
        if "adjusted" in config.data.model_fields_set:
            raise DataError(text)
        warnings.warn(text, DataQualityWarning, stacklevel=callers_level())


def _apart(frame: Any) -> tuple[str, float] | None:
    names = {_plain(name): name for name in getattr(frame, "columns", ()) if isinstance(name, str)}
    found = next((names[name] for name in _ADJUSTED_CLOSES if name in names), None)
    if found is None or "close" not in names:
        return None
    try:
        closes, adjusted = (np.asarray(frame[name], dtype=float) for name in (names["close"], found))
    except (TypeError, ValueError):
        return None  # judged as any other column that holds no numbers
    sound = np.isfinite(closes) & np.isfinite(adjusted) & (closes != 0)
    worst = float(np.max(np.abs(adjusted[sound] / closes[sound] - 1), initial=0.0))
    return (found, worst) if worst > _APART else None


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "").replace(".", "")
