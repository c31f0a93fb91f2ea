"""Bars that come in chunks, whose loading takes others' turns: what a `ChunkLoader` loads from, without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nbbacktest.core.records import BarColumns
from tests.interleavings.threads import point


class Pieces:
    """Columns in chunks of so many rows of the first series; the chunk numbered `fails` raises `error`."""

    def __init__(self, columns: Sequence[BarColumns], rows: int, fails: int | None, error: type[Exception]) -> None:
        self.columns = columns
        ends = columns[0].end
        last = max(int(one.end[-1]) for one in columns)
        self.edges = np.array([*(int(ends[row - 1]) for row in range(rows, len(ends), rows)), last + 1], np.int64)
        self.closed = 0
        self._fails = fails
        self._error = error

    def rows(self, chunk: int) -> list[int]:
        return [int(np.searchsorted(one.end, self.edges[chunk], side="right")) for one in self.columns]

    def load(self, chunk: int, is_over: Callable[[], bool]) -> bool:
        for _ in range(2):
            point("load")
            if is_over():
                return False
        if self._fails == chunk:
            raise self._error(f"chunk {chunk}")
        return True

    def close(self) -> None:
        self.closed += 1
