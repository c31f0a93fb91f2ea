"""LEAN's factor and map files: what they tell of splits, dividends and tickers."""

from __future__ import annotations

import datetime as dt
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.data.lean import Factor, Factors, LeanEvents
from tests.lean_folders import write_factors, write_map

DAY = dt.date(2024, 1, 1)  # a Monday


def events(root: Path) -> LeanEvents:
    return LeanEvents(root / "equity" / "usa")


def factors(root: Path, *rows: str) -> Factors:
    write_factors(root, "spy", *rows)
    found = events(root)
    read = found.factors(found.company("SPY"))
    assert read is not None
    return read


happenings = st.lists(
    st.tuples(
        st.sampled_from([2.0, 3.0, 7.0, 1.5, 1.25, 1.05, 0.5, 0.1, 0.05]), st.integers(0, 300), st.integers(1, 9)
    ),
    min_size=1,
    max_size=6,
)


@given(happenings, st.integers(100, 50_000))
def test_what_was_written_into_factors_is_read_out_of_them(found: list[tuple[float, int, int]], cents: int):
    """Splits to the last digit and dividends to the cent, though factors are rounded to 8 and 7 digits as LEAN's are."""
    close = 10_000 + cents / 100
    day, happened, rows = DAY, [], []
    for split, dividend, days in found:
        day = np.busday_offset(np.datetime64(day), days).item()
        happened.append((day, split, dividend / 100))
    price = split_factor = 1.0
    rows = [Factor(dt.date(2050, 12, 31), 1.0, 1.0, 0.0)]
    for day, split, dividend in reversed(happened):
        split_factor = round(split_factor / split, 8)
        price = round(price * (close - dividend) / close, 7)
        rows.insert(0, Factor(day, price, split_factor, close))
    told = list(Factors(tuple(rows), None).actions("SPY"))
    assert [(a.value) for a in told if a.kind == "split"] == pytest.approx(
        [split for _, split, _ in happened], rel=1e-12
    )
    paid = {a.date: a.value for a in told if a.kind == "dividend"}
    for day, split, dividend in happened:
        next_weekday = np.busday_offset(np.datetime64(day) + 1, 0, roll="forward").item()
        # A factor's seventh digit is a tenth of a cent at 10,000.
        assert paid.get(next_weekday, 0.0) * split == pytest.approx(dividend, abs=0.011)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(-3, 40))
def test_a_factor_holds_up_to_its_day(scales: list[float], when: int):
    """The first row of that day or later, as LEAN reads it; none, and the price stays."""
    rows = tuple(Factor(DAY + dt.timedelta(days=5 * n), scale, 1.0, 1.0) for n, scale in enumerate(scales))
    day = DAY + dt.timedelta(days=when)
    by_hand = next((row.dividends * row.splits for row in rows if row.day >= day), 1.0)
    assert Factors(rows, None).of(np.array([day], dtype="datetime64[D]")).tolist() == [by_hand]


def test_a_split_and_a_dividend_of_one_day(tmp_path: Path):
    """The dividend is a new share's, since splits are first."""
    told = list(factors(tmp_path, "20240105,0.99,0.5,100", "20501231,1,1,0").actions("SPY"))
    assert [(a.symbol, a.date, a.kind, a.value) for a in told] == [
        ("SPY", dt.date(2024, 1, 8), "split", 2.0),
        ("SPY", dt.date(2024, 1, 8), "dividend", 0.5),
    ]


def test_a_ratio_that_is_no_split_of_small_numbers_stays_as_it_is(tmp_path: Path):
    """A distribution of shares as Google's of 2015 isn't rounded away."""
    (told,) = factors(tmp_path, "20150424,1,0.997307,565.06", "20501231,1,1,0").actions("GOOG")
    assert told.value == pytest.approx(1.0027, abs=1e-5)


def test_factors_beyond_their_digits_end_what_can_be_adjusted(tmp_path: Path):
    """Older days are left out, not adjusted by a wrong factor."""
    read = factors(tmp_path, "20230101,1,inf,1", "20230601,1,1.6e+6,1", "20240102,1,80,5", "20501231,1,1,0")
    assert (len(read.rows), read.first) == (2, dt.date(2024, 1, 2))


@pytest.mark.parametrize("row", ["20240102", "2024-01-02,1,1,1", "20240102,x,1,1", "20240102,nan,1,1"])
def test_a_row_that_cant_be_read_is_named(row: str, tmp_path: Path):
    """With its file and line."""
    write_factors(tmp_path, "spy", "20200101,1,1,1", row)
    found = events(tmp_path)
    with pytest.raises(nb.DataError, match=r"spy\.csv: line 2 can't be read: .*; replace the file"):
        found.factors(found.company("SPY"))


def test_a_file_that_tells_too_little_is_refused(tmp_path: Path):
    """Without any factor, or without the close that a dividend was taken off."""
    write_factors(tmp_path, "spy", "20240102,0,1,1")
    found = events(tmp_path)
    with pytest.raises(nb.DataError, match="holds no factor"):
        found.factors(found.company("SPY"))
    with pytest.raises(nb.DataError, match="no close of 2024-01-02"):
        list(factors(tmp_path, "20240102,0.99,1", "20501231,1,1").actions("SPY"))


def test_a_symbol_is_who_has_the_ticker_now_or_had_it_last(tmp_path: Path):
    """Else the company whose files are called so; else a ticker without a past."""
    write_map(tmp_path, "new", "20100101,old", "20150101,old", "20501231,new")
    write_map(tmp_path, "old.1", "20000101,old", "20050101,old")
    found = events(tmp_path)
    assert [found.company(s).name for s in ("NEW", "old", "OLD.1", "OTHER")] == ["new", "new", "old.1", "other"]
    assert [tuple(part) for part in found.company("NEW").stretches(None, dt.date(2016, 1, 1))] == [
        ("old", dt.date(2010, 1, 1), dt.date(2015, 1, 1)),
        ("new", dt.date(2015, 1, 2), dt.date(2016, 1, 1)),
    ]


def test_a_ticker_is_looked_for_in_a_zip_too(tmp_path: Path):
    """An old one, of a company whose files are called otherwise; and a source goes to another process with what it read."""
    folder = tmp_path / "equity" / "usa" / "map_files"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "map_files_20240101.zip", "w") as archive:
        archive.writestr("new.csv", "20100101,old\n20150101,old\n20501231,new")
        archive.writestr("third.csv", "20100101,third\n20501231,third")
    found = events(tmp_path)
    assert [found.company(symbol).name for symbol in ("OLD", "THIRD", "NONE")] == ["new", "third", "none"]
    assert pickle.loads(pickle.dumps(found)).company("OLD").name == "new"
    write_map(tmp_path, "old.1", "20000101,old", "20160101,old")
    assert events(tmp_path).company("OLD").name == "old.1", "the last one to bear it, wherever its file lies"


def test_all_companies_may_lie_in_one_zip(tmp_path: Path):
    """The newest counts, and a file beside it before that."""
    for folder, rows in (
        ("factor_files", "20240102,1,{},1\n20501231,1,1,0"),
        ("map_files", "20240102,a\n20501231,spy"),
    ):
        (tmp_path / "equity" / "usa" / folder).mkdir(parents=True)
        for day, split in (("20240101", 0.5), ("20240202", 0.25)):
            with zipfile.ZipFile(tmp_path / "equity" / "usa" / folder / f"{folder}_{day}.zip", "w") as archive:
                archive.writestr("spy.csv", rows.format(split))
    found = events(tmp_path)
    read = found.factors(found.company("SPY"))
    assert read is not None
    assert read.rows[0].splits == 0.25
    assert [row.ticker for row in found.company("SPY").tickers] == ["a", "spy"]
    assert factors(tmp_path, "20501231,1,1,0").rows[0].splits == 1
    (tmp_path / "equity/usa/factor_files/factor_files_20250101.zip").write_bytes(b"none")
    company = found.company("SPY")
    with pytest.raises(nb.DataError, match=r"factor_files_20250101\.zip can't be read as a zip"):
        events(tmp_path).factors(company)
