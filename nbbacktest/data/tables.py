"""CSV files as tables: which sign parts their columns, which comes before decimals, how many lines their header has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import MINUTE
from nbbacktest.data.faults import PRICES
from nbbacktest.data.times import time_column
from nbbacktest.data.zones import told

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", ";", "\t", "|")
_NOT_ASKED = "\x1f"  # parts nothing, so that lines come whole
_DECIMAL_COMMA = re.compile(r"-?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_OFFSET_SIGNS = 6  # of +09:00
_UNKNOWN_TO_ARROW = (".zip", ".xz")
_EXACT_FROM = (3, 1)  # of pandas


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
        frame: Any = pd.read_csv(file, sep=part, header=[0, 1], index_col=0, **_exactly())
        return frame  # type: ignore[no-any-return] # a frame, whatever its columns
    if decimal is None:
        # pyarrow reads numbers exactly and ten times as fast as the default engine.
        frame = pd.read_csv(file, sep=part, engine="pyarrow")
        decimal = _decimal(frame)
        if decimal is None:
            return _as_written(frame, file, part)
    thousands = "." if decimal == "," else ","
    frame = pd.read_csv(file, sep=part, decimal=decimal, thousands=thousands, **_exactly())
    return _as_written(frame, file, part)


def _exactly() -> dict[str, Any]:
    """What makes pandas' own engine read numbers to the last digit; from 3.1 on it always does."""
    import pandas as pd

    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    return {"float_precision": "round_trip"} if version < _EXACT_FROM else {}


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


def _as_written(frame: pd.DataFrame, file: Path, part: str) -> pd.DataFrame:
    """The table with its times as they were written: their offsets say which date they are of, and were turned into UTC."""
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
    text = _text_of(file, part, place, len(frame))
    ends = text.str.slice(-_OFFSET_SIGNS).astype("category")
    offsets = np.array([_offset(end) for end in ends.cat.categories], dtype=np.int64)
    if not offsets.any():
        return frame
    utc = pd.DatetimeIndex(frame[name]).as_unit("ns")
    behind = np.append(offsets, 0)[ends.cat.codes]  # what isn't there has code -1
    local = utc.tz_localize(None) + behind.astype("timedelta64[ns]")
    return frame.assign(**{name: told(utc, local)})


def _text_of(file: Path, part: str, place: int, length: int) -> pd.Series[str]:
    """One column of a table of that length as it is written, by its place: an index without a name has an empty header."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv

    if file.suffix.lower() not in _UNKNOWN_TO_ARROW:
        name = f"f{place}"
        rows = csv.ReadOptions(skip_rows=1, autogenerate_column_names=True)
        options = csv.ConvertOptions(include_columns=[name], column_types={name: pa.string()}, strings_can_be_null=True)
        with pa.input_stream(str(file), compression="detect") as stream:
            table = csv.read_csv(stream, rows, csv.ParseOptions(delimiter=part), options)
        if len(table) == length:
            return table.column(0).to_pandas().astype("str")  # type: ignore[no-any-return]
    # Lines before the header are no matter to pandas.
    return pd.read_csv(file, sep=part, usecols=[place], dtype=str).iloc[:, 0]


def _offset(text: str) -> int:
    """Nanoseconds that local clocks are ahead of UTC, by the end of a time such as ``00+09:00``."""
    found = re.search(r"([+-])(\d\d):?(\d\d)?$", text)
    if found is None:
        return 0
    minutes = 60 * int(found[2]) + int(found[3] or 0)
    return (-1 if found[1] == "-" else 1) * minutes * MINUTE


def _decimal(frame: pd.DataFrame) -> str | None:
    """The sign before decimals of a table whose numbers weren't read since there are commas in them; None where they were.

    Raises
    ------
    DataError
        Where commas may part thousands as well.
    """
    import pandas as pd

    def is_text(column: Any) -> bool:
        return not pd.api.types.is_numeric_dtype(frame[column].dtype)

    prices = [column for column in frame.columns if _bare(column) in PRICES]
    volume = [column for column in frame.columns if _bare(column) == "volume" and is_text(column)]
    text = pd.concat(
        [frame[c].dropna().astype(str).str.strip() for c in (*filter(is_text, prices), *volume)]
        or [pd.Series([], dtype=str)]
    )
    commas = text[text.str.contains(",", regex=False)]
    if not len(commas):
        return None
    if all(_THOUSANDS.fullmatch(value) for value in commas):
        known = not any(map(is_text, prices)) or commas.str.contains(".", regex=False).any()
        if known:
            return "."
        raise DataError(
            f"whether the commas of {commas.iloc[0]!r} come before decimals or part thousands can't be known; set data.decimal "
            'in the config to "," or "."'
        )
    return "," if all(_DECIMAL_COMMA.fullmatch(value) for value in text) else None


def _bare(name: Any) -> str:
    return str(name).strip().strip("<>").lower()
