"""CSV and Parquet files as DataFrames indexed by time. What their stamps mean is decided further on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbbacktest.core.errors import DataError, DataNotFoundError, nearest

if TYPE_CHECKING:
    import pandas as pd

FileKind = Literal["csv", "parquet"]

TIME_COLUMNS = ("timestamp", "time", "datetime", "date")
"""Names that hold a bar's time, in any case; the first of them that a file has counts."""

_KINDS: dict[str, FileKind] = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_COMPRESSION = (".gz", ".bz2", ".xz", ".zip", ".zst")


def kind_of(path: str) -> FileKind:
    """Tell CSV from Parquet by the file's name.

    Raises
    ------
    DataError
        Where the name ends in neither.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix.lower() not in _COMPRESSION]
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise DataError(f"{path}: the name doesn't tell what it is; use .csv (also .csv.gz and the like) or .parquet")
    return kind


def stem_of(path: str) -> str:
    """The file's name without directory and suffixes: ``data/EXE_1min.csv.gz`` is ``EXE_1min``."""
    name = Path(path).name
    for suffix in (*_COMPRESSION, *_KINDS):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
    return name


def read_file(path: str, kind: FileKind) -> pd.DataFrame:
    """Read a file and index it by its time column.

    The time column is named timestamp, time, datetime or date, in any case; else it is a Parquet
    file's DatetimeIndex, else the first column where that holds times. Text must be ISO 8601.

    Raises
    ------
    DataNotFoundError
        Where there is no such file; it names the nearest that exists.
    DataError
        Where it can't be read, or has no column of times.
    """
    import pandas as pd

    file = Path(path).expanduser()
    if not file.is_file():
        raise not_found(path, file)
    try:
        # pyarrow reads numbers exactly and ten times as fast as the default engine.
        frame = pd.read_csv(file, engine="pyarrow") if kind == "csv" else pd.read_parquet(file, engine="pyarrow")
    except Exception as error:  # whatever a decompressor or parser raises, the file is what is wrong
        raise DataError(f"{path}: can't be read as {kind}: {type(error).__name__}: {error}; check the file") from error
    return by_time(frame, path)


def not_found(path: str, file: Path) -> DataNotFoundError:
    """The error for a path that is no file; it names the nearest that is one."""
    if file.is_dir():
        return DataNotFoundError(f"{path} is a directory; name a file in it")
    folder = file.parent
    if not folder.is_dir():
        return DataNotFoundError(f"{path}: there is no directory {folder}; paths start at {Path.cwd()}")
    there = [str(folder / other.name) for other in folder.iterdir() if _looks_like_data(other)]
    cure = nearest(str(file), there) if there else f"there is no CSV or Parquet file in {folder.absolute()}"
    return DataNotFoundError(f"{path}: no such file; {cure}")


def _looks_like_data(file: Path) -> bool:
    return file.is_file() and any(suffix.lower() in _KINDS for suffix in file.suffixes)


def by_time(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    """Index a frame by its column of times; see `read_file`.

    Raises
    ------
    DataError
        Where it has none.
    """
    import pandas as pd

    named = {str(column).strip().lower(): column for column in reversed(frame.columns)}
    name = next((named[known] for known in TIME_COLUMNS if known in named), None)
    if name is None and isinstance(frame.index, pd.DatetimeIndex):
        return frame
    if name is None:
        if not len(frame.columns) or _times(frame.iloc[:, 0]) is None:
            raise DataError(
                f"{path}: no column of times; name it one of {', '.join(TIME_COLUMNS)}, or put it first. "
                f"The columns are: {', '.join(map(str, frame.columns))}"
            )
        name = frame.columns[0]
    if not len(frame):
        # An empty column has no type to go by; that there is no bar is said further on.
        return frame.drop(columns=[name]).set_index(pd.DatetimeIndex([]))
    if pd.api.types.is_numeric_dtype(frame[name].dtype):
        raise DataError(
            f"{path}: column {name!r} holds numbers, the first is {frame[name].iloc[0]}; whether they count "
            "seconds, milliseconds or days can't be known, so write ISO 8601 times, for example with "
            f'pd.to_datetime(frame[{name!r}], unit="s", utc=True)'
        )
    times = _times(frame[name])
    if times is None:
        bare = frame[name].dropna()[~_have_offsets(frame[name])]
        if 0 < len(bare) < frame[name].count():
            raise DataError(
                f"{path}: column {name!r} holds times with an offset from UTC and others without one, for example "
                f"{bare.iloc[0]!r}; write all ISO 8601 times in one of these ways"
            )
        raise DataError(
            f"{path}: column {name!r} holds other things than ISO 8601 times, for example {_odd(frame[name])!r}; "
            "write 2024-01-31 for a date, 2024-01-31 09:30:00-05:00 for a time"
        )
    return frame.drop(columns=[name]).set_index(times)


def _times(column: pd.Series[Any]) -> pd.DatetimeIndex | None:
    """The column's times, or None where it holds something else. Formats are never guessed."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.DatetimeIndex(column)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return None
    # Offsets that change with the seasons have no zone but UTC in common.
    offsets = _have_offsets(column)
    if offsets.any() and not offsets.all():
        return None  # half the zones missing is a mistake; older versions of pandas take it for one zone
    try:
        return pd.DatetimeIndex(pd.to_datetime(column, format="ISO8601", utc=bool(offsets.all())))
    except (ValueError, TypeError):
        return None


def _have_offsets(column: pd.Series[Any]) -> pd.Series[bool]:
    text = column.dropna().astype(str).str.strip()
    return text.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$", regex=True).astype(bool)


def _odd(column: pd.Series[Any]) -> Any:
    import pandas as pd

    parsed = pd.to_datetime(column.astype(str), format="ISO8601", errors="coerce", utc=True)
    bad = column[parsed.isna() & column.notna()]
    return bad.iloc[0] if len(bad) else column.iloc[0]
