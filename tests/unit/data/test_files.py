"""CSV and Parquet files as frames indexed by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.data.files import kind_of, read_file, stem_of

BARS = pd.DataFrame(
    {"open": [1.1, 2.2], "high": [3.0, 3.0], "low": [1.0, 1.0], "close": [2.0, 2.0], "volume": [5, 6]},
    index=pd.DatetimeIndex(["2024-10-03 13:30", "2024-10-03 13:31"], tz="UTC", name="timestamp"),
)


def csv(folder: Path, text: str, name: str = "bars.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz", "bars.csv.bz2", "bars.csv.xz", "bars.csv.zip"])
def test_csv_in_any_compression(tmp_path: Path, name: str):
    """What pandas writes is read back, to the last digit."""
    BARS.to_csv(tmp_path / name)
    read = read_file(str(tmp_path / name), "csv")
    assert (read.index == BARS.index).all()
    assert (read.to_numpy() == BARS.to_numpy()).all()


@pytest.mark.parametrize("index", [True, False])
def test_parquet_by_index_or_column(tmp_path: Path, index: bool):
    """A Parquet file's times are its index or a column."""
    path = tmp_path / "bars.parquet"
    (BARS if index else BARS.reset_index()).to_parquet(path)
    assert (read_file(str(path), "parquet").index == BARS.index).all()


@pytest.mark.parametrize("name", ["timestamp", "Time", "DATETIME", "Date", "", "when"])
def test_the_time_column_is_found(tmp_path: Path, name: str):
    """By its name in any case, else it is the first one."""
    frame = read_file(csv(tmp_path, f"{name},open\n2024-10-03,1\n2024-10-04,2\n"), "csv")
    assert frame.index.tolist() == [pd.Timestamp("2024-10-03"), pd.Timestamp("2024-10-04")]
    assert list(frame.columns) == ["open"]


def test_a_named_time_column_need_not_be_first(tmp_path: Path):
    """Names come before places, and timestamp before date."""
    frame = read_file(csv(tmp_path, "open,date,timestamp\n1,2024-10-03,2024-10-03T09:30\n"), "csv")
    assert frame.index[0] == pd.Timestamp("2024-10-03 09:30")


def test_offsets_that_change_with_the_seasons(tmp_path: Path):
    """Local times with their offsets become the instants that they are."""
    frame = read_file(csv(tmp_path, "time,x\n2024-07-01 09:30:00-04:00,1\n2024-12-02 09:30:00-05:00,1\n"), "csv")
    assert [str(t) for t in frame.index.tz_convert("UTC")] == ["2024-07-01 13:30:00+00:00", "2024-12-02 14:30:00+00:00"]
    text = pd.DataFrame({"time": ["2024-07-01T09:30-04:00", "2024-12-02T09:30-05:00"], "x": 1})
    text.to_parquet(tmp_path / "t.parquet")
    assert (read_file(str(tmp_path / "t.parquet"), "parquet").index == frame.index).all()


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ("1727962200", 'unit="s"'),
        ("1727962200000", 'unit="ms"'),
        ("1727962200000000", 'unit="us"'),
        ("1727962200000000000", 'unit="ns"'),
        ("45568.395833333336", 'unit="D", origin="1899-12-30"'),
    ],
)
def test_numbers_are_no_times(tmp_path: Path, value: str, cure: str):
    """What they would count is told by their size, and the advice, followed, gives the time that was meant."""
    path = csv(tmp_path, f"time,open\n{value},1\n")
    with pytest.raises(DataError, match=rf"bars.csv: column 'time' holds numbers, the first is {value}") as caught:
        read_file(path, "csv")
    assert cure in str(caught.value)
    frame = pd.read_csv(path)
    exec(str(caught.value).partition("example with ")[2], {"pd": pd, "frame": frame})
    assert str(frame["time"].iloc[0]).startswith("2024-10-03 " + ("09:30:00" if "D" in cure else "13:30:00+00:00"))


@pytest.mark.parametrize("value", ["1.5", "7", "20241301", "99999999"])
def test_numbers_that_count_nothing_known_are_refused(tmp_path: Path, value: str):
    """No unit is advised for them."""
    with pytest.raises(
        DataError, match=rf"holds numbers, the first is {value}; what they count can't be known"
    ) as caught:
        read_file(csv(tmp_path, f"time,open\n{value},1\n"), "csv")
    assert "unit" not in str(caught.value)


@pytest.mark.parametrize("value", ["03/10/2024", "soon", "3.10.24"])
def test_times_in_other_forms_are_refused(tmp_path: Path, value: str):
    """Day or month first is never guessed."""
    with pytest.raises(DataError, match=r"bars.csv: column 'time' holds other things than ISO 8601 times.*2024-01-31"):
        read_file(csv(tmp_path, f"time,open\n{value},1\n"), "csv")


def test_mixed_naive_and_aware_times_are_refused(tmp_path: Path):
    """Half the zones missing is a mistake, not UTC."""
    with pytest.raises(DataError, match="others without one, for example '2024-12-02 09:30:00'; write all ISO 8601"):
        read_file(csv(tmp_path, "time,x\n2024-07-01 09:30:00-04:00,1\n2024-12-02 09:30:00,1\n"), "csv")


def test_no_time_column_is_refused(tmp_path: Path):
    """The names that would do and the columns there are are told."""
    with pytest.raises(DataError, match=r"no column of times; name it one of timestamp.*columns are: open, close"):
        read_file(csv(tmp_path, "open,close\n1,2\n"), "csv")


def test_missing_stamps_are_left_for_the_check(tmp_path: Path):
    """An empty time is NaT, which the check of frames refuses with its row."""
    frame = read_file(csv(tmp_path, "time,open\n2024-10-03,1\n,2\n"), "csv")
    assert np.isnat(frame.index.to_numpy()).tolist() == [False, True]


def test_a_missing_file_names_the_nearest(tmp_path: Path):
    """Both this package's error and the builtin one catch it."""
    csv(tmp_path, "time\n", "EXE_1min.csv")
    with pytest.raises(FileNotFoundError, match=r"EXE_1mim.csv: no such file; did you mean '.*EXE_1min.csv'") as caught:
        read_file(str(tmp_path / "EXE_1mim.csv"), "csv")
    assert isinstance(caught.value, DataNotFoundError)
    with pytest.raises(DataNotFoundError, match="is a directory"):
        read_file(str(tmp_path), "csv")
    with pytest.raises(DataNotFoundError, match="there is no directory"):
        read_file(str(tmp_path / "no" / "x.csv"), "csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b""), ("a.csv", b"a,b\n1,2,3\n"), ("a.csv.gz", b"not gzip"), ("a.parquet", b"not parquet")],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes):
    """Whatever the parser says, the error begins with the file."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: can't be read as"):
        read_file(str(tmp_path / name), kind_of(name))


def test_kinds_and_stems_of_names():
    """Compression is no kind, and no part of the name."""
    assert [kind_of(n) for n in ("a.csv", "a.CSV.GZ", "a.b.parquet", "a.pq")] == ["csv", "csv", "parquet", "parquet"]
    assert [stem_of(n) for n in ("d/EXE_1min.csv.gz", "a.b.parquet", "a.CSV")] == ["EXE_1min", "a.b", "a"]
    for name in ("a.txt", "a", "a.gz"):
        with pytest.raises(DataError, match="doesn't tell what it is"):
            kind_of(name)
