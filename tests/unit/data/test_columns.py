"""Tables of several symbols, taken apart."""

from __future__ import annotations

import pandas as pd
import pytest

from nbbacktest.core.errors import DataError
from nbbacktest.data.columns import by_symbol, of_symbol

BASE = pd.DataFrame(
    {"Open": 10.0, "High": 11.0, "Low": 9.0, "Close": 10.5}, index=pd.bdate_range("2024-10-01", periods=3, name="date")
)
BOTH = {"A": BASE, "B": BASE * 2}


@pytest.mark.parametrize(
    "table",
    [
        pd.concat(BOTH, axis=1),
        pd.concat(BOTH, axis=1).swaplevel(axis=1),
        pd.concat(BOTH, names=["symbol"]),
        pd.concat(BOTH, names=["symbol"]).swaplevel(),
        pd.concat(BOTH, names=["symbol"]).swaplevel().sort_index(),
        pd.concat(BOTH, names=["Ticker"]).reset_index("Ticker"),
        pd.concat(BOTH, names=["Ticker"]).reset_index("Ticker").astype({"Ticker": "category"}),
        pd.concat(BOTH, names=["Ticker"]).set_axis(
            pd.MultiIndex.from_product([["A", "B"], BASE.index.astype(str)], names=["symbol", None])
        ),
    ],
)
def test_each_symbol_has_its_rows(table: pd.DataFrame):
    """By levels of columns or of the index, in both orders, or by a column."""
    parts = by_symbol(table)
    assert list(parts) == ["A", "B"]
    for symbol, part in parts.items():
        assert part[["Open", "High", "Low", "Close"]].to_numpy().tolist() == BOTH[symbol].to_numpy().tolist()
        assert part.index.nlevels == part.columns.nlevels == 1
    assert of_symbol(table, "b", "b", chosen=True)["Open"].tolist() == [20.0] * 3


@pytest.mark.parametrize(
    "table",
    [
        BASE,
        BASE.assign(symbol="A"),
        BASE.assign(symbol=["A", "A", "B"]),
        pd.concat({("A", "x"): BASE}, axis=1),
        pd.concat({"A": pd.concat({1: BASE, 2: BASE})}),
        [1],
    ],
)
def test_one_symbol_s_table_is_left_whole(table):
    """So is one that may be of a symbol that was renamed, and what has other levels."""
    assert by_symbol(table) is None


def test_a_symbol_that_is_not_there_names_those_that_are():
    """A single one is meant, unless another was chosen."""
    table = pd.concat({"AAPL": BASE}, axis=1)
    assert of_symbol(table, "ASSET", "ASSET", chosen=False)["Open"].tolist() == [10.0] * 3
    with pytest.raises(DataError, match="the bars of AAPL and none of 'APPL'; did you mean 'AAPL'"):
        of_symbol(table, "APPL", "APPL", chosen=True)


def test_rows_of_other_symbols_are_none_of_ours():
    """Where a table has a row since another symbol has a bar, this one has none; its own holes stay faults."""
    table = pd.concat(BOTH, axis=1)
    table.loc[table.index[1], "B"] = float("nan")
    assert len(by_symbol(table)["B"]) == 2
    assert len(by_symbol(table[["B"]])["B"]) == 3
