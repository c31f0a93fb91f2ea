"""Which files have a symbol's bars."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.data.files import files_of, is_dataset, read_files, symbols_in
from tests.markets import minutes


def touched(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return str(root)


def below(root: str, files: tuple[str, ...]) -> list[str]:
    return [str(Path(file).relative_to(root)) for file in files]


def test_files_of_a_partition_come_by_date(tmp_path):
    """Folders may be nested either way; what a writer keeps for itself is left alone."""
    root = touched(
        tmp_path,
        "date=2024-10-04/symbol=EXE/b.parquet",
        "date=2024-10-03/symbol=EXE/z.parquet",
        "date=2024-10-03/symbol=SW/a.parquet",
        "symbol=EXE/date=2024-10-02/part-0.parquet",
        "symbol=EXE/date=2024-10-02/_metadata.parquet",
        "symbol=EXE/.tmp/x.parquet",
        "symbol=EXE/date=2024-10-02/notes.txt",
    )
    assert below(root, files_of(root, "EXE")) == [
        "symbol=EXE/date=2024-10-02/part-0.parquet",
        "date=2024-10-03/symbol=EXE/z.parquet",
        "date=2024-10-04/symbol=EXE/b.parquet",
    ]
    assert symbols_in(root) == ("EXE", "SW")
    assert is_dataset(root, ("EXE",))


def test_symbols_are_written_as_in_addresses(tmp_path):
    """A symbol that no folder can be called is found by its quoted name."""
    root = touched(tmp_path, "symbol=BRK%2FB/a.parquet")
    assert symbols_in(root) == ("BRK/B",)
    assert len(files_of(root, "BRK/B")) == 1


def test_a_path_with_symbol_may_name_a_folder(tmp_path):
    """Then all Parquet files in it are the symbol's, by name."""
    root = touched(tmp_path, "EXE/2024.parquet", "EXE/2023.parquet", "SW/x.pq")
    path = str(tmp_path / "{symbol}")
    assert is_dataset(path, ("EXE",))
    assert below(root, files_of(path, "EXE")) == ["EXE/2023.parquet", "EXE/2024.parquet"]
    assert below(root, files_of(path, "SW")) == ["SW/x.pq"]


def test_what_is_not_there_is_said(tmp_path):
    """A symbol without a folder, a folder without a symbol, an empty folder and no folder are four errors."""
    root = touched(tmp_path, "symbol=EXE/a.parquet", "plain/a.parquet", "empty/readme.txt")
    with pytest.raises(DataNotFoundError, match="no Parquet file of 'EXF'; did you mean 'EXE'"):
        files_of(root, "EXF")
    with pytest.raises(DataError, match="no folder in it is named symbol="):
        symbols_in(str(tmp_path / "plain"))
    with pytest.raises(DataNotFoundError, match="has no Parquet file in it"):
        files_of(str(tmp_path / "{symbol}"), "empty")
    with pytest.raises(DataNotFoundError, match="no such file|no directory"):
        files_of(str(tmp_path / "{symbol}.parquet"), "EXE")


def test_several_files_are_read_as_one(tmp_path):
    """One after the other, each by its own column of times; folders' names don't become columns."""
    frame = minutes(100).rename_axis("time")
    paths = [tmp_path / "date=2024-10-03" / f"{number}.parquet" for number in range(2)]
    paths[0].parent.mkdir()
    frame[:60].to_parquet(paths[0])
    frame[60:].reset_index().to_parquet(paths[1], index=False)
    read = read_files(tuple(map(str, paths)))
    assert read.columns.tolist() == frame.columns.tolist()
    assert (read.index == frame.index).all()
    assert (read.to_numpy() == frame.to_numpy()).all()
    paths[1].write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="can't be read as parquet"):
        read_files(tuple(map(str, paths)))
