"""Where values lie that are loaded on the way: in memory where they are few, else in a file without a name."""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from typing import IO

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Float64

IN_MEMORY = 64_000_000
"""Bytes up to which values stay in memory."""

_DROP = getattr(mmap, "MADV_DONTNEED", None)


class ColumnStore:
    """Columns of float64 that are read as arrays and written by rows. One thread writes.

    A file of them is written with plain writes and only mapped to be read: a full disk is an error then, and no signal
    that kills the process. The system may drop what it has of the file in memory at any time and read it again. The file
    is in the folder for temporary files, has no name there, and is gone with the last array.

    Parameters
    ----------
    lengths
        Of each column.

    Attributes
    ----------
    columns : list of float64 array
        Not to be written to; rows that weren't written hold zeros.

    Raises
    ------
    DataError
        Where the disk has no room for them.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        ends = np.cumsum([0, *lengths], dtype=np.int64).tolist()
        self._starts = ends[:-1]
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        size = 8 * ends[-1]
        if size <= IN_MEMORY:
            self._values = np.zeros(ends[-1])
        else:
            self._file = _file_of(size)
            self._map = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)
            self._values = np.frombuffer(self._map, dtype=np.float64)
        self.columns = [self._values[start:stop] for start, stop in pairwise(ends)]

    def write(self, column: int, row: int, values: Float64) -> None:
        """Put `values` from `row` on into one column.

        Raises
        ------
        DataError
            Where the disk is full.
        """
        place = self._starts[column] + row
        if self._file is None:
            self._values[place : place + len(values)] = values
            return
        try:
            self._file.seek(8 * place)
            left = memoryview(np.ascontiguousarray(values, dtype=np.float64)).cast("B")
            while len(left):
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _no_room(f"{error.strerror}") from error

    def forget(self) -> None:
        """Let the file's pages leave this process's memory; reading brings them back."""
        if self._map is not None and _DROP is not None:
            self._map.madvise(_DROP)

    def close(self) -> None:
        """Write no more; the columns stay."""
        self.forget()
        if self._file is not None:
            self._file.close()


def _file_of(size: int) -> IO[bytes]:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < size:
        raise _no_room(f"it has {free / 1e9:.1f} GB free and needs {size / 1e9:.1f} GB")
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - kept for as long as it is written to
    try:
        file.truncate(size)
    except OSError as error:
        file.close()
        raise _no_room(f"{error.strerror}") from error
    return file


def _no_room(why: str) -> DataError:
    return DataError(
        f"streamed bars are unpacked to the folder for temporary files, {tempfile.gettempdir()}: {why}; make room there, "
        "or set the environment variable TMPDIR to a folder that has it"
    )
