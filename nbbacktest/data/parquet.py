"""One symbol's bars in Parquet files, read little by little: all times first, values from front to back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.core.records import PRICES, Float64
from nbbacktest.data.files import unreadable
from nbbacktest.data.frames import RawBars, read_frame
from nbbacktest.data.times import by_time

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 8_192
"""Rows that are unpacked at once: a row group may be larger than memory."""

_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was when its times were read."""

    path: str
    rows: int
    size: int
    changed: int


class ParquetBars:
    """The bars of one symbol, in one or several files.

    Parameters
    ----------
    symbol
    paths
        In the order of time.
    name
        The name of all of them together in errors.
    chosen
        True if the config or the caller names `symbol`; see `read_frame`.
    """

    def __init__(self, symbol: str, paths: Sequence[str], name: str, *, chosen: bool = True) -> None:
        self.symbol = symbol
        self._chosen = chosen
        self._paths = tuple(paths)
        self._name = name
        self._files: list[_File] = []
        self._columns: list[str] = []
        self._index: Any = None
        self._number = 0  # the number of the file that is open or comes next
        self._row = 0  # the first row of that file that wasn't taken yet
        self._open: pq.ParquetFile | None = None
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._rest: pa.RecordBatch | None = None  # rows that were unpacked and not taken

    def raw(self) -> RawBars:
        """The times, checked as those of a frame; the values are zeros that take no memory.

        Raises
        ------
        DataError
            As `read_frame`; if a file can't be read or has no column of times.
        """
        import pandas as pd
        import pyarrow as pa

        times: list[pa.Array] = []
        layout: tuple[pa.Schema, str] | None = None
        self._files = []
        for path in self._paths:
            with _opened(path) as file:
                schema = file.schema_arrow.remove_metadata()
                if file.metadata.num_rows and (layout is None or not schema.equals(layout[0])):
                    layout = schema, self._time_column(file, path)
                stat = Path(path).stat()
                self._files.append(_File(path, file.metadata.num_rows, stat.st_size, stat.st_mtime_ns))
                if file.metadata.num_rows and layout is not None:
                    times += _reading(path, lambda f=file, c=layout[1]: f.read([c], use_threads=False).column(0).chunks)
        if layout is None:
            return read_frame(pd.DataFrame(columns=list(PRICES)), self.symbol, self._name)
        try:
            column = pa.chunked_array(times)
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.symbol} ({self._name}): its files hold times of different types: {error}") from None
        del times
        index = by_time(pd.DataFrame({layout[1]: column.to_pandas()}), self._name).index
        blank = pd.DataFrame(dict.fromkeys(self._columns, 0.0), index=index)
        raw = read_frame(blank, self.symbol, self._name)
        self._index = raw.index
        nothing = np.zeros(len(index))  # zeros that are never written to, and so take no memory
        return replace(raw, columns=dict.fromkeys(raw.columns, nothing))

    def read(self, start: int, stop: int) -> dict[str, Float64]:
        """The values of the rows from `start` up to `stop`, which must not lie before the rows that were read last.

        Raises
        ------
        DataError
            As `read_frame`; if a file has been changed since its times were read, or can't be read.
        """
        self._check_unchanged()
        frame = self._frame(self._take(start, stop), start, stop)
        try:
            return read_frame(frame, self.symbol, self._name).columns
        except DataError:
            first = 0
            for file in self._files:  # the error names the first file that has the fault
                part = frame[max(first - start, 0) : max(first + file.rows - start, 0)]
                if len(part):
                    read_frame(part, self.symbol, file.path)
                first += file.rows
            raise

    def fresh(self) -> ParquetBars:
        """The same bars, to be read from the first one on; their times aren't read again."""
        other = ParquetBars(self.symbol, self._paths, self._name, chosen=self._chosen)
        other._files, other._columns, other._index = self._files, self._columns, self._index
        return other

    def close(self) -> None:
        """Close the file that is open; reading may go on and opens it again."""
        self._batches = self._rest = None
        if self._open is not None:
            self._open.close()
            self._open = None

    # -- which columns --------------------------------------------------------------------------------------

    def _time_column(self, file: pq.ParquetFile, path: str) -> str:
        """Find the columns by a first row; they are judged as those of a frame."""
        batch = _reading(path, lambda: next(file.iter_batches(batch_size=1, use_threads=False)))
        import pyarrow as pa

        frame = pa.Table.from_batches([batch]).to_pandas()
        head = by_time(frame, path)
        wanted = {str(name): name for name in head.columns if _is_value(name)}
        self._columns = list(wanted)
        # Values are judged with their chunk; here the columns must exist, and be of this symbol.
        read_frame(head.assign(**dict.fromkeys(wanted, 0.0)), self.symbol, self._name, chosen=self._chosen)
        gone = [str(name) for name in frame.columns if name not in head.columns]
        if len(gone) > 1:
            raise DataError(
                f"{path}: times in two columns, {' and '.join(gone)}, can't be streamed; set data.stream in the config to false"
            )
        return gone[0] if gone else str(file.schema_arrow.pandas_metadata["index_columns"][0])

    # -- rows -----------------------------------------------------------------------------------------------

    def _take(self, start: int, stop: int) -> list[pa.RecordBatch]:
        """The batches that hold the rows from `start` up to `stop`."""
        taken = []
        first = sum(file.rows for file in self._files[: self._number])
        while first + self._row < stop:
            file = self._files[self._number]
            if max(start, first + self._row) >= first + file.rows:  # no more rows of this file are wanted
                self.close()
                first += file.rows
                self._number, self._row = self._number + 1, 0
                continue
            if first + self._row < start:
                self._skip_to(start - first)
            batch = self._next(file)
            count = min(len(batch), stop - first - self._row)
            taken.append(batch.slice(0, count))
            self._row += count
            self._rest = batch.slice(count) if count < len(batch) else None
        return taken

    def _skip_to(self, row: int) -> None:
        if self._open is None:
            self._row = row
            return
        while self._row < row:
            batch = self._next(self._files[self._number])
            count = min(len(batch), row - self._row)
            self._row += count
            self._rest = batch.slice(count) if count < len(batch) else None

    def _next(self, file: _File) -> pa.RecordBatch:
        """The batch at the present row of a file, which is opened there if it isn't open."""
        if self._rest is not None:
            return self._rest
        if self._open is None:
            self._check_unchanged()
            self._open = _opened(file.path)
            groups, passed = self._open.metadata.num_row_groups, 0
            first = 0
            while first < groups and passed + (rows := self._open.metadata.row_group(first).num_rows) <= self._row:
                first, passed = first + 1, passed + rows
            self._batches = self._open.iter_batches(
                BATCH_ROWS, row_groups=list(range(first, groups)), columns=self._columns, use_threads=False
            )
            wanted, self._row = self._row, passed
            self._skip_to(wanted)
            if self._rest is not None:
                return self._rest
        batches = self._batches
        batch = _reading(file.path, lambda: next(batches, None)) if batches is not None else None
        if batch is None:
            raise _changed(self.symbol, file.path)
        return batch

    def _check_unchanged(self) -> None:
        file = self._files[self._number]
        try:
            stat = Path(file.path).stat()
        except FileNotFoundError:
            raise DataNotFoundError(
                f"{self.symbol} ({file.path}): the file is gone since the run began; bring it back and run again"
            ) from None
        if (stat.st_size, stat.st_mtime_ns) != (file.size, file.changed):
            raise _changed(self.symbol, file.path)

    def _frame(self, batches: list[pa.RecordBatch], start: int, stop: int) -> pd.DataFrame:
        import pyarrow as pa

        frame: pd.DataFrame = pa.Table.from_batches(batches).to_pandas(ignore_metadata=True)
        return frame.set_index(self._index[start:stop])


def release() -> None:
    """Give memory that reading no longer needs back to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _is_value(name: Any) -> bool:
    return str(name).strip().lower() in (*PRICES, "volume")


def _opened(path: str) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    # Not mapped into memory: if a mapped file is cut short, the process is killed.
    return _reading(path, lambda: pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=_BUFFER))


def _reading(path: str, read: Any) -> Any:
    try:
        return read()
    except Exception as error:  # the file is at fault, whatever a decompressor or parser raises
        raise unreadable(path, error) from error


def _changed(symbol: str, path: str) -> DataError:
    return DataError(f"{symbol} ({path}): the file has been changed since the run began; run again with what it is now")
