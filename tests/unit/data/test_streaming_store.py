"""Where streamed values lie: the same columns in memory and in a file."""

from __future__ import annotations

import shutil

import numpy as np
import psutil
import pytest

from nbbacktest.core.errors import DataError
from nbbacktest.data import streaming
from nbbacktest.data.streaming import ColumnStore


@pytest.fixture(params=["memory", "file"])
def small(request, monkeypatch):
    """Both kinds of store."""
    monkeypatch.setattr(streaming, "IN_MEMORY", 10**9 if request.param == "memory" else 0)


@pytest.mark.usefixtures("small")
def test_what_is_written_is_read_in_place():
    """Values come up in the arrays that were there before, at their rows; forgetting pages loses nothing."""
    made = ColumnStore([1000, 0, 2000])
    first, none, second = made.columns
    assert (len(first), len(none), len(second)) == (1000, 0, 2000)
    made.write(2, 500, np.arange(700.0))
    made.write(0, 990, np.arange(10.0))
    made.forget()
    assert second[500:1200].tolist() == list(range(700))
    assert first[989:].tolist() == [0.0, *range(10)]
    made.close()
    assert second[1199] == 699


def test_file_is_gone_with_its_arrays(monkeypatch):
    """Nothing stays open when store and arrays are dropped."""
    monkeypatch.setattr(streaming, "IN_MEMORY", 0)
    before = psutil.Process().num_fds()
    made = ColumnStore([1000])
    column = made.columns[0]
    made.close()
    del made
    assert column[0] == 0.0
    del column
    assert psutil.Process().num_fds() == before


def test_disk_without_room_is_refused_with_the_cure(monkeypatch):
    """The folder, what it has, what is needed and what to do are said before anything is written."""
    monkeypatch.setattr(streaming, "IN_MEMORY", 0)
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"0\.0 GB free and needs 0\.8 GB.*TMPDIR"):
        ColumnStore([10**8])


def test_disk_that_fills_up_is_an_error(monkeypatch):
    """A write that finds no room raises instead of killing the process."""
    monkeypatch.setattr(streaming, "IN_MEMORY", 0)
    made = ColumnStore([1000])

    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    file, made._file = made._file, Full()
    file.close()
    with pytest.raises(DataError, match="No space left on device"):
        made.write(0, 0, np.ones(5))
