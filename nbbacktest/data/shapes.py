"""Tables that hold several symbols, or one symbol's name beside its columns: taken apart into one table a symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.data.faults import PRICES
from nbbacktest.data.times import TIME_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

SYMBOL_COLUMNS = ("symbol", "ticker")
"""Names of a column, or of an index's level, that says whose bars these are."""


def by_symbol(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    """One table for each symbol of a table that names them; None where it is one symbol's own.

    Two levels of columns, of which one holds the names of prices, as yfinance has them either way round; two levels of
    index, of which one holds times; or a column named symbol or ticker that names several, where they have bars at one
    time: else it may be one symbol that was renamed.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        return None
    if frame.columns.nlevels == 2:
        return _by_columns(frame)
    if frame.index.nlevels == 2:
        return _by_index(frame)
    for column in frame.columns:
        several = _bare(column) in SYMBOL_COLUMNS and len(frame[column].dropna().unique()) > 1
        if several and _has_repeated_times(frame):
            parts = frame.groupby(column, sort=False, observed=True)
            return {str(symbol): part.drop(columns=[column]) for symbol, part in parts}
    return None


def _has_repeated_times(frame: pd.DataFrame) -> bool:
    columns = [column for column in frame.columns if _bare(column) in TIME_COLUMNS]
    return bool((frame.duplicated(subset=columns) if columns else frame.index.duplicated()).any())


def _by_columns(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    fields = [level for level in (0, 1) if set(PRICES) <= {_bare(name) for name in frame.columns.unique(level)}]
    if len(fields) != 1:
        return None
    level = 1 - fields[0]
    found: dict[str, pd.DataFrame] = {}
    several = len(frame.columns.unique(level)) > 1
    for symbol in frame.columns.unique(level):
        part: Any = frame.xs(symbol, axis=1, level=level)
        prices = [column for column in part.columns if _bare(column) in PRICES]
        # Tables of several symbols have a row where any of them has a bar.
        found[str(symbol)] = part.dropna(how="all", subset=prices) if several else part
    return found


def _by_index(frame: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    import pandas as pd

    index: Any = frame.index
    timed = [level for level in (0, 1) if isinstance(index.levels[level], pd.DatetimeIndex)]
    if len(timed) != 1:
        named = [level for level, name in enumerate(index.names) if _bare(name) in SYMBOL_COLUMNS]
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
        Whether somebody said that the bars of `symbol` are meant; else those of the only symbol that there is are.

    Raises
    ------
    DataError
        Where it isn't among them, or they can't be told apart.
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
        (n for n in range(frame.columns.nlevels) if _bare(first[n]) not in (*PRICES, "volume", "adj close")), 0
    )
    return f"frame.xs({first[level]!r}, axis=1, level={level})"


def _bare(name: Any) -> str:
    return str(name).strip().strip("<>").lower()
