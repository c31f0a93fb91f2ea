"""`data.adjusted` is a promise: a source keeps it, or the run is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.data.sources import load
from nbbacktest.data.yahoo import YahooSource

DATES = pd.bdate_range("2024-04-01", periods=4)


def frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame({"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0, "volume": 1.0, **more}, index=DATES)


class Source:
    """Tells what its prices are."""

    stamp = "open"

    def __init__(self, prices: Any = None, rows: Any = None) -> None:
        self.prices, self.rows, self.asked = prices, rows, []
        if rows is not None:
            self.actions = rows.get

    def bars(self, symbol: str, interval: str, start: object, end: object, **terms: bool) -> pd.DataFrame:
        self.asked.append(terms)
        return frame()


def config(**data: Any) -> nb.SessionConfig:
    return nb.SessionConfig.load({"data": {"symbols": ["A"], "interval": "1d", **data}})


@pytest.mark.parametrize("prices", ["adjusted", "split-adjusted", "raw"])
@pytest.mark.parametrize("adjusted", [True, False])
def test_a_config_that_asks_for_other_prices_is_refused(prices: str, adjusted: bool):
    """Where the config says nothing, the source is believed."""
    load(config(), Source(prices))
    if (prices == "adjusted") == adjusted:
        load(config(adjusted=adjusted), Source(prices))
        return
    with pytest.raises(nb.ConfigError, match=rf"data.adjusted = {adjusted}: Source gives {prices} prices; set it to"):
        load(config(adjusted=adjusted), Source(prices))


def test_a_source_of_both_is_asked_for_what_the_config_wants():
    """By `adjusted`, and reports say which."""
    source = Source("either")
    assert load(config(), source).source == "Source, adjusted prices"
    assert load(config(adjusted=False), source).source == "Source, raw prices"
    assert source.asked == [{"adjusted": True}, {"adjusted": False}]
    silent = Source()
    load(config(adjusted=False), silent)
    assert silent.asked == [{}], "a source that doesn't tell isn't asked"


def test_a_source_of_raw_prices_brings_its_splits_and_dividends():
    """Unless the config gives them; of adjusted prices they aren't asked for."""
    rows = {"A": [{"date": "2024-04-03", "kind": "split", "value": 2}]}
    assert [a.value for a in load(config(), Source("raw", rows)).actions] == [2.0]
    assert load(config(adjusted=False, actions=[]), Source("either", rows)).actions == ()
    with pytest.warns(nb.DataQualityWarning, match="Source knows no splits and dividends of A") as warned:
        load(config(), Source("raw", {}))
    assert warned[0].filename == __file__
    with pytest.raises(nb.DataError, match=r"Source.actions\('A'\): .*kind"):
        load(config(), Source("raw", {"A": [{"date": "2024-04-03", "kind": "spilt", "value": 2}]}))


def test_what_prices_have_in_them_is_left_out():
    """Of adjusted prices a delisting alone is left to happen; a source that doesn't tell is taken by the config."""
    kinds = ("split", "dividend", "delist")
    rows = {"A": [{"date": "2024-04-03", "kind": kind, "value": 2} for kind in kinds]}
    for source, wanted, left in (
        (Source("raw", rows), config(), kinds),
        (Source("split-adjusted", rows), config(), kinds[1:]),
        (Source("adjusted", rows), config(), kinds[2:]),
        (Source("either", rows), config(), kinds[2:]),
        (Source("either", rows), config(adjusted=False), kinds),
        (Source(None, rows), config(), kinds[2:]),
        (Source(None, rows), config(adjusted=False), kinds),
    ):
        assert tuple(action.kind for action in load(wanted, source).actions) == left
    assert load(config(), Source("adjusted", {})).actions == (), "and nothing is missed"


def test_words_for_prices_are_checked():
    """A misspelt one is no promise."""
    with pytest.raises(nb.DataError, match="prices is 'unadjusted'; set it to one of 'adjusted'"):
        load(config(), Source("unadjusted"))


def test_splits_are_not_counted_twice():
    """Where prices have splits in them, dividends alone are left to give."""
    split, dividend = ({"date": "2024-04-03", "kind": kind, "value": 2} for kind in ("split", "dividend"))
    assert len(load(config(adjusted=False, actions=[dividend]), Source("split-adjusted")).actions) == 1
    with pytest.raises(nb.ConfigError, match="gives prices that have splits in them already; leave the splits out"):
        load(config(adjusted=False, actions=[dividend, split]), Source("split-adjusted"))


def test_yahoo_is_held_to_it():
    """Made with other prices than the config sets, it is refused before anything is downloaded."""
    with pytest.raises(nb.ConfigError, match="Yahoo Finance, adjusted gives adjusted prices"):
        load(config(adjusted=False), YahooSource())
    with pytest.raises(nb.ConfigError, match="gives split-adjusted prices"):
        load(config(adjusted=True, source="yfinance", options={"adjusted": False}))


@pytest.mark.parametrize("name", ["Adj Close", "adj_close", "AdjClose", "Adjusted Close"])
def test_a_column_of_adjusted_closes_gives_raw_prices_away(name: str, tmp_path: Path):
    """Refused where adjusted prices are asked for, told where nobody asked; the same in a frame and in a file."""
    apart = frame(**{name: [5.0, 5.0, 10.0, 10.0]})
    apart.to_csv(tmp_path / "A.csv", index_label="date")
    for data in (apart, {"A": apart}, tmp_path / "A.csv"):
        with pytest.warns(nb.DataQualityWarning, match=f"A: prices aren't adjusted, by its column '{name}'.*50.0%"):
            load(config(), data)
        with pytest.raises(nb.DataError, match="A: prices aren't adjusted.*set data.adjusted to false"):
            load(config(adjusted=True), data)
        load(config(adjusted=False), data)
    load(config(adjusted=True), frame(**{name: frame()["close"]}))


def test_a_file_that_is_streamed_is_looked_at_too(tmp_path: Path):
    """By its first rows."""
    apart = frame(**{"Adj Close": 5.0}).tz_localize("America/New_York")
    for symbol in ("A", "B"):
        apart.to_parquet(tmp_path / f"{symbol}.parquet")
    wanted = config(stream=True, stamp="open", source="parquet", path=str(tmp_path / "{symbol}.parquet"))
    with pytest.warns(nb.DataQualityWarning, match="A: prices aren't adjusted, by its column 'Adj Close'"):
        assert load(wanted, stream=True).streamed is not None
    with pytest.raises(nb.DataError, match="set data.adjusted to false"):
        load(wanted.overlaid({"data": {"adjusted": True}}), stream=True)
