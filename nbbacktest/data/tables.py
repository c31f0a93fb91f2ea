"""CSV files as tables: which sign parts their columns, which comes before decimals, how many lines their header has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbbacktest.core.errors import DataError
from nbbacktest.data.faults import PRICES
from nbbacktest.data.times import time_column

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", ";", "\t", "|")
_NOT_ASKED = "\x1f"  # parts nothing, so that lines come whole
_COMMA_NUMBER = re.compile(r"-?\d+(,\d+)?")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+")


def read_csv(file: Path, separator: str | None, decimal: str | None) -> pd.DataFrame:
    """A CSV file as it stands: its times aren't looked for, but told as they were written.

    Two header lines named Price and Ticker, as yfinance writes them, give two levels of columns.

    Raises
    ------
    DataError
        Where commas may be decimal ones or part thousands.
    """
    import pandas as pd

    lines = _first_lines(file)
    part = separator or _separator(lines)
    if len(lines) > 1 and {_cells(line, part)[0] for line in lines[:2]} == {"price", "ticker"}:
        frame: Any = pd.read_csv(file, sep=part, header=[0, 1], index_col=0, float_precision="round_trip")
        return frame  # type: ignore[no-any-return] # a frame, whatever its columns
    if decimal is not None:
        return _with_decimals(file, part, decimal)
    # pyarrow reads numbers exactly and ten times as fast as the default engine.
    frame = pd.read_csv(file, sep=part, engine="pyarrow")
    if part != "," and _has_decimal_commas(frame):
        return _with_decimals(file, part, ",")
    return _as_written(frame, file, part)


def _first_lines(file: Path) -> list[str]:
    import pandas as pd

    try:
        head = pd.read_csv(
            file, sep=_NOT_ASKED, header=None, nrows=2, dtype=str, quoting=3, engine="c", encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        return []
    return head.iloc[:, 0].dropna().tolist()


def _cells(line: str, part: str) -> list[str]:
    return [cell.strip().strip('"').strip("<>").strip().lower() for cell in line.split(part)]


def _separator(lines: list[str]) -> str:
    """The sign that parts the names of prices in the header; a comma where none does."""
    for part in _SEPARATORS:
        if lines and set(PRICES) <= set(_cells(lines[0], part)):
            return part
    return ","


def _with_decimals(file: Path, part: str, decimal: str) -> pd.DataFrame:
    import pandas as pd

    thousands = "." if decimal == "," else ","
    frame = pd.read_csv(file, sep=part, decimal=decimal, thousands=thousands, float_precision="round_trip")
    return _as_written(frame, file, part)


def _as_written(frame: pd.DataFrame, file: Path, part: str) -> pd.DataFrame:
    """The table with the times that have an offset from UTC as text: their offset says which date they are of."""
    import pandas as pd

    name = time_column(frame)
    if name is None and len(frame.columns):
        name = frame.columns[0]
    if (
        name is None
        or not isinstance(frame[name].dtype, pd.DatetimeTZDtype)
        or len(set(frame.columns)) < len(frame.columns)
    ):
        return frame
    place = list(frame.columns).index(name)
    text = pd.read_csv(file, sep=part, usecols=[place], dtype=str).iloc[:, 0]
    # Most are in UTC, and parsed already.
    return frame if text.str.contains(r"(?:Z|[+-]00:?00)$", regex=True).all() else frame.assign(**{name: text})


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    """Whether the prices of a table that isn't parted by commas have decimal ones.

    Raises
    ------
    DataError
        Where they may part thousands as well.
    """
    import pandas as pd

    prices = [
        c
        for c in frame.columns
        if str(c).strip().lower() in PRICES and not pd.api.types.is_numeric_dtype(frame[c].dtype)
    ]
    text = pd.concat([frame[column].dropna().astype(str).str.strip() for column in prices]) if prices else None
    if text is None or not len(text) or not text.map(lambda value: bool(_COMMA_NUMBER.fullmatch(value))).all():
        return False
    commas = text[text.str.contains(",")]
    if len(commas) and commas.map(lambda value: bool(_THOUSANDS.fullmatch(value))).all():
        raise DataError(
            f"whether the commas of {commas.iloc[0]!r} come before decimals or part thousands can't be known; set data.decimal "
            'in the config to "," or "."'
        )
    return bool(len(commas))
