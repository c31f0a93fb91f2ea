"""Reads CSV and Parquet files, and folders of them, as DataFrames indexed by time. `bar_spans` interprets their stamps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from urllib.parse import unquote

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, DataNotFoundError, nearest
from nbbacktest.core.intervals import MINUTE
from nbbacktest.core.records import PRICES
from nbbacktest.data.columns import by_symbol
from nbbacktest.data.datasource import SourceBars
from nbbacktest.data.times import by_time, plain_name, time_column, told
from nbbacktest.data.warmup import Need

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", ";", "\t", "|")
_NOT_ASKED = "\x1f"  # a separator that no line has, so that lines come whole
_DECIMAL_COMMA = re.compile(r"-?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_OFFSET_SIGNS = 6  # of +09:00
_UNKNOWN_TO_ARROW = (".zip", ".xz")
_EXACT_FROM = (3, 1)  # of pandas


def read_csv(file: Path, separator: str | None, decimal: str | None) -> pd.DataFrame:
    """The table of a CSV file, with its times as they were written.

    Two header lines named Price and Ticker, as yfinance writes them, give two levels of columns.

    Raises
    ------
    DataError
        If commas may be decimal ones or part thousands.
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
    """The option by which pandas' own engine reads numbers to the last digit, which it does by itself from 3.1 on."""
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
    """The sign that parts the names of prices in the header; a comma if none does."""
    for part in _SEPARATORS:
        if lines and set(PRICES) <= set(_cells(lines[0], part)):
            return part
    return ","


def _as_written(frame: pd.DataFrame, file: Path, part: str) -> pd.DataFrame:
    """The table with its times as they were written, since their offsets tell their dates; reading had turned them into UTC."""
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
    behind = np.append(offsets, 0)[ends.cat.codes]  # missing values have code -1
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
    # pandas skips the lines before the header.
    return pd.read_csv(file, sep=part, usecols=[place], dtype=str).iloc[:, 0]


def _offset(text: str) -> int:
    """Nanoseconds that local clocks are ahead of UTC, by the end of a time such as ``00+09:00``."""
    found = re.search(r"([+-])(\d\d):?(\d\d)?$", text)
    if found is None:
        return 0
    minutes = 60 * int(found[2]) + int(found[3] or 0)
    return (-1 if found[1] == "-" else 1) * minutes * MINUTE


def _decimal(frame: pd.DataFrame) -> str | None:
    """The sign before decimals of a table whose numbers weren't read since there are commas in them; None if they were.

    Raises
    ------
    DataError
        If commas may part thousands as well.
    """
    import pandas as pd

    def is_text(column: Any) -> bool:
        return not pd.api.types.is_numeric_dtype(frame[column].dtype)

    prices = [column for column in frame.columns if plain_name(column) in PRICES]
    volume = [column for column in frame.columns if plain_name(column) == "volume" and is_text(column)]
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


FileKind = Literal["csv", "parquet"]

_KINDS: dict[str, FileKind] = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_COMPRESSION = (".gz", ".bz2", ".xz", ".zip", ".zst")


def kind_of(path: str) -> FileKind:
    """Tell CSV from Parquet by the file's name.

    Raises
    ------
    DataError
        If the name ends in neither.
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
        If there is no such file; it names the nearest that exists.
    DataError
        If it can't be read, or has no column of times.
    """
    import pandas as pd

    file = Path(path).expanduser()
    if not file.is_file():
        raise not_found(path, file)
    try:
        frame = pd.read_parquet(file, engine="pyarrow") if kind == "parquet" else read_csv(file, separator, decimal)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # the file is at fault, whatever a decompressor or parser raises
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


_SUFFIXES = (".parquet", ".pq")
_SYMBOL_KEYS = ("symbol", "ticker")


def is_dataset(path: str, symbols: tuple[str, ...]) -> bool:
    """True if the path is a folder of Parquet files; ``{symbol}`` in it is the first of the symbols."""
    return _of(path, symbols[0] if symbols else "").is_dir()


def symbols_in(path: str) -> tuple[str, ...]:
    """The symbols that a folder is partitioned by, in alphabetical order.

    Raises
    ------
    DataError
        If it isn't.
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
        If there is none.
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
        If one can't be read, or has no column of times.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    frames = []
    for path in paths:
        try:
            # Not pandas' own way: that makes columns out of folders' names.
            frame = pq.ParquetFile(path).read().to_pandas()
        except Exception as error:  # the file is at fault, whatever a decompressor or parser raises
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
        If it is one.
    """
    if len(symbols) > 1 and "{symbol}" not in path and not Path(path).expanduser().is_dir():
        kind_of(path)
        raise DataError(f"{path} is one file for {len(symbols)} symbols; put {{symbol}} in the path")


def _of(path: str, symbol: str) -> Path:
    return Path(path.replace("{symbol}", symbol)).expanduser()


def _parquet_below(root: Path) -> list[Path]:
    # Files whose names start with a dot or an underscore belong to a writer.
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


class FileSource:
    """The config's sources ``"csv"`` and ``"parquet"``, and a path that is handed over.

    Parameters
    ----------
    path
        A file, in which ``{symbol}`` stands for each symbol's name; of Parquet a folder too.
    symbols
    chosen
        True if the config or the caller named the symbols; else the file may hold any.
    """

    def __init__(self, path: str, kind: FileKind, symbols: tuple[str, ...], *, chosen: bool = True) -> None:
        self._path, self._kind, self._symbols, self._chosen = path, kind, symbols, chosen

    @classmethod
    def of_config(cls, config: SessionConfig) -> Self:
        """The files that the config names."""
        return cls(config.data.path or "", cast("FileKind", config.data.source), config.data.symbols)

    @classmethod
    def at(cls, path: str | Path, config: SessionConfig) -> Self:
        """The files at a path that is handed over."""
        chosen = config.data.chosen_symbols
        return cls(*given_path(path, chosen), chosen=bool(chosen))

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:  # noqa: ARG002 - as sources have it
        """The files' tables, whole.

        Raises
        ------
        DataNotFoundError, DataError
            As `read_file`.
        """
        path, settings = self._path, config.data
        paths = {symbol: path.replace("{symbol}", symbol) for symbol in self._symbols}
        if self._kind == "parquet" and is_dataset(path, self._symbols):
            frames = {symbol: read_files(files_of(path, symbol)) for symbol in self._symbols}
        else:
            refuse_one_for_all(path, self._symbols)
            frames = {
                symbol: read_file(file, self._kind, settings.separator, settings.decimal)
                for symbol, file in paths.items()
            }
            if not self._chosen and (parts := by_symbol(next(iter(frames.values())))):
                frames, paths = parts, dict.fromkeys(parts, path)
        return SourceBars(frames, Path(path).name, paths, chosen=self._chosen)


def given_path(data: str | Path, symbols: tuple[str, ...] | None) -> tuple[str, FileKind, tuple[str, ...]]:
    """The path, kind and symbols of files that a Python user names by a path.

    Raises
    ------
    DataError
        If the symbols aren't known, or it is one file for several.
    """
    path = str(data)
    if "{symbol}" in path and not symbols:
        raise DataError(f"{path}: no symbols are set; name them in the config's data.symbols")
    if is_dataset(path, symbols or ()):
        return path, "parquet", symbols or symbols_in(path)
    if "{symbol}" not in path and symbols and len(symbols) > 1:
        raise DataError(f"{path} is one file for {len(symbols)} symbols; put {{symbol}} in the path")
    return path, kind_of(path), symbols or (stem_of(path),)
