"""How CSV files are parted and how their numbers are written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.data.files import read_file

PRICES = st.decimals(min_value=1, max_value=99_999, places=2)


def european(value) -> str:
    return f"{value:,}".replace(",", "_").replace(".", ",").replace("_", ".")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PRICES, min_size=2, max_size=6),
    st.sampled_from(";\t|"),
    st.sampled_from(["plain", "comma", "european", "thousands"]),
)
def test_numbers_come_back_from_each_way_of_writing_them(tmp_path: Path, prices: list, part: str, way: str):
    """Two decimals show what commas and points mean."""
    write = {
        "plain": str,
        "comma": lambda x: str(x).replace(".", ","),
        "european": european,
        "thousands": lambda x: f"{x:,}",
    }[way]
    rows = [part.join(["2024-10-0" + str(n + 1), *[write(price)] * 4]) for n, price in enumerate(prices)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join([part.join(["Date", "Open", "High", "Low", "Close"]), *rows]), encoding="utf-8")
    assert read_file(str(path), "csv")["Close"].tolist() == [float(price) for price in prices]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.zip", "x.csv.xz", "x.csv.bz2"])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/London", "America/New_York"])
def test_offsets_are_read_whatever_the_compression(tmp_path: Path, name: str, zone: str):
    """Over a change of the clocks, with a stamp missing."""
    index = pd.date_range("2024-10-20", periods=20, tz=zone, name="Date")
    frame = pd.DataFrame({"open": range(20)}, index=index)
    frame.to_csv(tmp_path / name)
    assert (read_file(str(tmp_path / name), "csv").index == index).all()
    frame.set_axis(index.where(index != index[3])).rename_axis("Date").to_csv(tmp_path / name)
    found = read_file(str(tmp_path / name), "csv").index
    assert found.isna().tolist() == [n == 3 for n in range(20)]
    assert [str(t)[:10] for t in found.dropna()] == [str(t)[:10] for t in index.delete(3)]


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n"])
def test_files_that_are_no_tables_of_bars_are_refused(tmp_path: Path, text: str):
    """By name, whatever is in them."""
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.csv: "):
        read_file(str(tmp_path / "x.csv"), "csv")
