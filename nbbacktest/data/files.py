"""CSV and Parquet files as DataFrames indexed by time. What their stamps mean is decided further on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nbbacktest.core.errors import DataError, DataNotFoundError, nearest
from nbbacktest.data.tables import read_csv
from nbbacktest.data.times import by_time

if TYPE_CHECKING:
    import pandas as pd

FileKind = Literal["csv", "parquet"]

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


def read_file(path: str, kind: FileKind, separator: str | None = None, decimal: str | None = None) -> pd.DataFrame:
    """Read a file and index it by its times; see `nbbacktest.data.times.by_time`.

    Parameters
    ----------
    separator, decimal
        Of a CSV's columns, and the sign before its decimals; None: as the header and the numbers show without a doubt.

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
        frame = pd.read_parquet(file, engine="pyarrow") if kind == "parquet" else read_csv(file, separator, decimal)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # whatever a decompressor or parser raises, the file is what is wrong
        raise DataError(f"{path}: can't be read as {kind}: {type(error).__name__}: {error}; check the file") from error
    return by_time(frame, path) if frame.columns.nlevels == 1 else frame


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
