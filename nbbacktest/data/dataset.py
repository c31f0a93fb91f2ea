"""Which Parquet files have a symbol's bars: one file, a folder of them, or folders named ``symbol=EXE/date=2024-10-03``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from nbbacktest.core.errors import DataError, DataNotFoundError, nearest
from nbbacktest.data.files import kind_of, not_found
from nbbacktest.data.times import by_time

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".pq")
_SYMBOL_KEYS = ("symbol", "ticker")


def is_dataset(path: str, symbols: tuple[str, ...]) -> bool:
    """Whether that is a folder of Parquet files; where the path has ``{symbol}``, for the first of the symbols."""
    return _of(path, symbols[0] if symbols else "").is_dir()


def symbols_in(path: str) -> tuple[str, ...]:
    """The symbols that a folder is partitioned by, in alphabetical order.

    Raises
    ------
    DataError
        Where it isn't.
    """
    root = Path(path).expanduser()
    found = {name for file in _parquet_below(root) if (name := _symbol_of(file, root)) is not None}
    if not found:
        raise DataError(
            f"{path}: no folder in it is named symbol=..., so whose bars these are isn't known; partition it by symbol, "
            "or write a path with {symbol} and name the symbols"
        )
    return tuple(sorted(found))


def files_of(path: str, symbol: str) -> tuple[str, ...]:
    """The files with the bars of `symbol`, in the order of their dates or else of their names.

    Raises
    ------
    DataNotFoundError
        Where there is none.
    """
    root = _of(path, symbol)
    if root.is_file():
        return (str(root),)
    if not root.is_dir():
        raise not_found(path.replace("{symbol}", symbol), root)
    below = _parquet_below(root)
    if "{symbol}" not in path:
        whose = {file: _symbol_of(file, root) for file in below}
        known = {name for name in whose.values() if name is not None}
        if symbol not in known:
            cure = nearest(symbol, known) if known else "name its folders symbol=..., or put {symbol} in the path"
            raise DataNotFoundError(f"{path} has no Parquet file of {symbol!r}; {cure}")
        below = [file for file in below if whose[file] == symbol]
    if not below:
        raise DataNotFoundError(f"{root} has no Parquet file in it; bring the bars of {symbol!r} there")
    return tuple(str(file) for file in sorted(below, key=lambda file: (_keys(file, root).get("date", ""), str(file))))


def read_files(paths: tuple[str, ...]) -> pd.DataFrame:
    """The bars of several Parquet files, one after the other, indexed by time.

    Raises
    ------
    DataError
        Where one can't be read, or has no column of times.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    frames = []
    for path in paths:
        try:
            # Not pandas' own way: that makes columns out of folders' names.
            frame = pq.ParquetFile(path).read().to_pandas()
        except Exception as error:  # whatever a decompressor or parser raises, the file is what is wrong
            raise unreadable(path, error) from error
        frames.append(by_time(frame, path))
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled) if filled else frames[0]


def unreadable(path: str, error: Exception) -> DataError:
    """The error for a file that isn't Parquet, or not any more."""
    return DataError(f"{path}: can't be read as parquet: {type(error).__name__}: {error}; check the file")


def refuse_one_for_all(path: str, symbols: tuple[str, ...]) -> None:
    """Refuse a single file for several symbols.

    Raises
    ------
    DataError
        Where it is one.
    """
    if len(symbols) > 1 and "{symbol}" not in path and not Path(path).expanduser().is_dir():
        kind_of(path)
        raise DataError(f"{path} is one file for {len(symbols)} symbols; put {{symbol}} in the path")


def _of(path: str, symbol: str) -> Path:
    return Path(path.replace("{symbol}", symbol)).expanduser()


def _parquet_below(root: Path) -> list[Path]:
    # What starts with a dot or an underscore is a writer's own.
    return [
        file
        for file in root.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    ]


def _keys(file: Path, root: Path) -> dict[str, str]:
    named = (part.partition("=") for part in file.relative_to(root).parts[:-1])
    return {key.lower(): unquote(value) for key, equals, value in named if equals}


def _symbol_of(file: Path, root: Path) -> str | None:
    keys = _keys(file, root)
    return next((keys[key] for key in _SYMBOL_KEYS if key in keys), None)
