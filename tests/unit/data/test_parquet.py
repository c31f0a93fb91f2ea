"""Bars that are read little by little are those of the whole file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.data import parquet
from nbbacktest.data.files import read_file
from nbbacktest.data.frames import read_frame
from nbbacktest.data.parquet import ParquetBars
from tests.markets import minutes

FRAME = minutes(200, gaps=0.2)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The same bars as one file, as one of small row groups, and as several."""
    folder = tmp_path_factory.mktemp("layouts")
    named = FRAME.rename_axis("time")
    named.to_parquet(folder / "one.parquet")
    named.to_parquet(folder / "groups.parquet", row_group_size=17)
    parts = []
    for number, begin in enumerate(range(0, len(named), 37)):
        parts.append(str(folder / f"part{number}.parquet"))
        named[begin : begin + 37].reset_index().to_parquet(parts[-1], index=False, row_group_size=11)
    return [[str(folder / "one.parquet")], [str(folder / "groups.parquet")], parts]


@given(data=st.data())
def test_pieces_are_the_whole(layouts, data):
    """Wherever the cuts are, whatever is skipped, closed in between or unpacked at once."""
    paths = data.draw(st.sampled_from(layouts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(FRAME)), min_size=2, max_size=8)))
    batch, before = data.draw(st.integers(1, 64)), parquet.BATCH_ROWS
    bars = ParquetBars("EXE", paths, "bars")
    raw = bars.raw()
    assert (raw.index == FRAME.index).all()
    parquet.BATCH_ROWS = batch
    try:
        for start, stop in pairwise(cuts):
            if start == stop or data.draw(st.booleans()):
                continue
            read = bars.read(start, stop)
            assert all((read[name] == FRAME[name].to_numpy()[start:stop]).all() for name in FRAME.columns)
            if data.draw(st.booleans()):
                bars.close()
    finally:
        parquet.BATCH_ROWS = before
        bars.close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f.rename_axis("time"), id="index"),
        pytest.param(lambda f: f, id="index-without-a-name"),
        pytest.param(lambda f: f.rename_axis("Timestamp").reset_index(), id="column"),
        pytest.param(lambda f: f.rename_axis("when").reset_index(), id="first-column"),
        pytest.param(lambda f: f.tz_convert("UTC").rename_axis("time"), id="utc"),
        pytest.param(lambda f: f.tz_localize(None).rename_axis("time"), id="naive"),
        pytest.param(lambda f: f.set_index(f.index.astype(str)).rename_axis("time").reset_index(), id="text"),
        pytest.param(lambda f: f.set_index(f.index.as_unit("ms")).rename_axis("time"), id="milliseconds"),
        pytest.param(lambda f: f.drop(columns="volume"), id="without-volume"),
        pytest.param(lambda f: f.astype("float32").rename(columns=str.upper), id="single-precision"),
        pytest.param(lambda f: f.assign(volume=f.volume.astype("Int64"), note="x"), id="integers-and-more"),
    ],
)
def test_files_mean_the_same_as_when_read_whole(tmp_path, change):
    """Times, zone and values follow the same rules."""
    path = str(tmp_path / "bars.parquet")
    change(FRAME).to_parquet(path, index=None)
    whole = read_frame(read_file(path, "parquet"), "EXE", path)
    bars = ParquetBars("EXE", [path], path)
    raw = bars.raw()
    read = bars.read(0, len(raw.index))
    bars.close()
    assert raw.zone == whole.zone
    assert (raw.ticks == whole.ticks).all()
    assert read.keys() == whole.columns.keys()
    assert all((read[name] == whole.columns[name]).all() for name in read)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f[::-1], id="falling"),
        pytest.param(lambda f: pd.concat([f, f[-1:]]), id="twice"),
        pytest.param(lambda f: f.drop(columns="close"), id="missing"),
        pytest.param(lambda f: f[:0], id="empty"),
        pytest.param(lambda f: f.reset_index(drop=True), id="no-times"),
    ],
)
def test_times_and_columns_are_refused_as_when_read_whole(tmp_path, change):
    """What is wrong with the shape of a file is known before any value is read, in the same words."""
    path = str(tmp_path / "bars.parquet")
    change(FRAME.rename_axis("time")).to_parquet(path)
    with pytest.raises(DataError) as whole:
        read_frame(read_file(path, "parquet"), "EXE", path)
    with pytest.raises(DataError) as little:
        ParquetBars("EXE", [path], path).raw()
    assert str(little.value) == str(whole.value)


def test_times_alone_take_little_memory(tmp_path):
    """Before values are read there is one array of zeros for all of them."""
    path = str(tmp_path / "bars.parquet")
    FRAME.to_parquet(path)
    raw = ParquetBars("EXE", [path], path).raw()
    assert len({id(column) for column in raw.columns.values()}) == 1
    assert not np.any(raw.columns["open"])


def test_faulty_values_are_said_with_file_and_row(tmp_path):
    """The file is the one of several that has them."""
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    bad = FRAME[100:].copy()
    bad.iloc[5, bad.columns.get_loc("high")] = 1.0
    FRAME[:100].to_parquet(paths[0])
    bad.to_parquet(paths[1])
    bars = ParquetBars("EXE", paths, "folder")
    bars.raw()
    with pytest.raises(DataError, match=rf"EXE \({paths[1]}\): high is below low in 1 bar of .*{bad.index[5]}"):
        bars.read(0, len(FRAME))
    bars.close()


@pytest.mark.parametrize("opened", [True, False])
def test_file_that_changes_or_goes_is_one_error(tmp_path, opened):
    """Whether it is open already or not."""
    path = tmp_path / "bars.parquet"

    def begun() -> ParquetBars:
        FRAME.to_parquet(path)
        bars = ParquetBars("EXE", [str(path)], str(path))
        bars.raw()
        if opened:
            bars.read(0, 10)
        return bars

    bars = begun()
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="has been changed since the run began"):
        bars.read(10, 20)
    bars.close()
    bars = begun()
    path.unlink()
    with pytest.raises(DataNotFoundError, match="is gone since the run began"):
        bars.read(10, 20)
    bars.close()
