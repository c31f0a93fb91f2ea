"""Statistics by symbol, strategy and month."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from msgspec import structs

from nbbacktest.report.frames import MONTHS
from nbbacktest.report.result import Result
from tests.records import bars, daily_bars, minutes, run, traded_runs


@pytest.fixture
def result():
    """Two symbols traded and one not; the second symbol's trade is another strategy's and still open."""
    record = run(
        [bars(s, minutes(4), [10, 12, 11, 13]) for s in "ABC"],
        [(0, "A", 10, 10.0), (0, "B", -5, 10.0), (1, "A", -10, 12.0), (2, "A", 10, 11.0), (3, "A", -10, 10.0)],
        commission=0.01,
    )
    fills = tuple(structs.replace(f, strategy="Other") if f.symbol == "B" else f for f in record.fills)
    for order in record.orders:
        if order.symbol == "B":
            order.strategy = "Other"
    return Result(replace(record, fills=fills))


def test_by_symbol_has_every_symbol_of_the_run(result):
    """Statistics of each one's own trades; zeros and NaN for one that wasn't traded."""
    table = result.by_symbol
    assert table.index.tolist() == ["A", "B", "C"]
    assert table["trades"].tolist() == [2, 0, 0]
    assert table["open_trades"].tolist() == [0, 1, 0]
    assert table["win_rate"].tolist() == pytest.approx([0.5, float("nan"), float("nan")], nan_ok=True)
    assert table["fees"].tolist() == pytest.approx([4.3, 0.5, 0])
    assert table["traded"].tolist() == [430, 50, 0]


def test_by_strategy_has_every_strategy_that_ordered(result):
    """The same columns by strategy."""
    table = result.by_strategy
    assert table.index.tolist() == ["Hand", "Other"]
    assert list(table) == list(result.by_symbol)
    assert table["pnl"].tolist() == pytest.approx([5.7, -15.5])


@given(traded_runs())
def test_parts_add_up_to_the_run(record):
    """By symbol and by strategy, all profits together are the whole change of equity, all fees those paid."""
    result = Result(record)
    change = result.stats["final_equity"] - record.cash
    for table in (result.by_symbol, result.by_strategy):
        assert table["pnl"].sum() == pytest.approx(change, rel=1e-6, abs=1e-6)
        assert table["fees"].sum() == pytest.approx(result.stats["fees"])
        assert table["trades"].sum() == result.stats["trades"]


def test_months_are_columns_and_years_rows():
    """A year without a day in between stays as a row of NaN; parts of months are months."""
    record = run([daily_bars("A", [100, 110, 121] * 15, "2023-12-28")], [(0, "A", 100, 100.0)], cash=10_000.0)
    table = Result(record).monthly
    assert list(table) == [*MONTHS, "Year"]
    assert table.index.tolist() == [2023, 2024]
    assert table.loc[2023, "Dec"] == pytest.approx(0.1)
    assert table.loc[2023].notna().sum() == 2
    assert (1 + table.loc[2024, ["Jan", "Feb"]]).prod() == pytest.approx(1 + table.loc[2024, "Year"])


def test_an_empty_run_has_empty_parts():
    """No instant is no error."""
    result = Result(run([]))
    assert (len(result.by_symbol), len(result.by_strategy), len(result.monthly), len(result.rolling())) == (0, 0, 0, 0)
    assert list(result.rolling()) == ["return", "volatility", "sharpe", "drawdown"]
