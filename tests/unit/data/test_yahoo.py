"""The yfinance source, against frames of the shapes that ``yfinance.download`` gives. No network."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data.sources import load

ZONE = "America/New_York"
FIELDS = ["Close", "High", "Low", "Open", "Volume"]


def frame(index: pd.DatetimeIndex, ticker: str = "AAPL", *, adjusted: bool = True, levels: bool = True) -> pd.DataFrame:
    """What ``download([ticker], multi_level_index=levels, auto_adjust=adjusted)`` gives, in its order of columns."""
    fields = FIELDS if adjusted else ["Adj Close", *FIELDS]
    close = 100 + np.arange(len(index)) / 4
    values = {
        "Adj Close": close / 2,
        "Close": close,
        "High": close + 1,
        "Low": close - 1,
        "Open": close,
        "Volume": 1000,
    }
    made = pd.DataFrame({name: values[name] for name in fields}, index=index).astype({"Volume": "int64"})
    if levels:
        made.columns = pd.MultiIndex.from_product([fields, [ticker]], names=["Price", "Ticker"])
    return made


def days(first: str = "2024-10-01", count: int = 5) -> pd.DatetimeIndex:
    """Daily stamps are naive dates."""
    return pd.bdate_range(first, periods=count, name="Date").as_unit("s")


def minutes(zone: str = "UTC") -> pd.DatetimeIndex:
    """Intraday stamps are aware: in UTC up to yfinance 1.3, in the exchange's zone from 1.4 on."""
    return pd.date_range("2024-10-03 09:30", periods=390, freq="min", tz=ZONE, name="Datetime").tz_convert(zone)


class Yahoo:
    """Stands for the module: records what it is asked, gives what it was made with."""

    def __init__(self, *answers: Any):
        self.answers, self.asked = list(answers), []

    def download(self, tickers: list[str], **how: Any) -> Any:
        self.asked.append((tickers, how))
        return self.answers.pop(0)


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts one in yfinance's place."""

    def put(*answers: Any) -> Yahoo:
        made = Yahoo(*answers)
        monkeypatch.setitem(sys.modules, "yfinance", SimpleNamespace(download=made.download))
        return made

    return put


def config(**sections: Any) -> SessionConfig:
    data = {"source": "yfinance", "symbols": ["AAPL"], "interval": "1d"} | sections.pop("data", {})
    return SessionConfig.load({**sections, "data": data})


def test_daily_bars(yahoo: Any):
    """Naive dates are session dates; the end is inclusive here and exclusive there."""
    made = yahoo(frame(days()))
    market = load(config(backtest={"start_date": "2024-10-01", "end_date": "2024-10-07"}))
    assert made.asked[0][0] == ["AAPL"]
    how = made.asked[0][1]
    assert (how["start"], how["end"], how["interval"]) == ("2024-10-01", "2024-10-08", "1d")
    assert (how["auto_adjust"], how["actions"], how["progress"], how["multi_level_index"]) == (True, False, False, True)
    assert market.stamps.dates
    assert market.bars["AAPL"].close.tolist() == [100, 100.25, 100.5, 100.75, 101]
    assert market.source == "Yahoo Finance, adjusted"


@pytest.mark.parametrize("zone", ["UTC", ZONE])
def test_minute_bars(yahoo: Any, zone: str):
    """Whichever zone the version of yfinance has stamped them in."""
    yahoo(frame(minutes(zone)))
    market = load(config(data={"interval": "1m"}))
    assert (market.bars["AAPL"].time == minutes().as_unit("ns").asi8).all()
    assert market.quality["AAPL"]["quality"] == 100


def test_levels_either_way_round_or_none(yahoo: Any):
    """Columns by price and ticker, by ticker and price, and plain ones are the same bars."""
    plain = frame(days(), levels=False)
    swapped = frame(days()).swaplevel(axis=1)
    for answer in (plain, swapped):
        yahoo(answer)
        assert load(config()).bars["AAPL"].open.tolist() == plain["Open"].tolist()


def test_unadjusted_prices(yahoo: Any):
    """`data.adjusted` decides; the column of adjusted closes is left alone."""
    made = yahoo(frame(days(), adjusted=False))
    market = load(config(data={"adjusted": False}))
    assert made.asked[0][1]["auto_adjust"] is False
    assert market.bars["AAPL"].close[0] == 100
    assert market.source == "Yahoo Finance, unadjusted"


def test_all_there_is(yahoo: Any):
    """Without dates the longest period is asked for; with an end alone, from long ago."""
    made = yahoo(frame(days()), frame(days()))
    load(config())
    assert made.asked[0][1]["period"] == "max"
    assert "start" not in made.asked[0][1]
    load(config(backtest={"end_date": "2024-10-03"}))
    assert (made.asked[1][1]["start"], made.asked[1][1].get("period")) == ("1900-01-01", None)


def test_a_forming_bar_is_left_out(yahoo: Any):
    """Intraday one that ends in the future, daily one of today."""
    now = pd.Timestamp.now("UTC").floor("min")
    index = pd.date_range(now - pd.Timedelta(minutes=5), periods=6, freq="min", name="Datetime")
    yahoo(frame(index))
    always = {"exchange": "24/7", "data": {"interval": "1m"}}
    assert len(load(config(**always)).bars["AAPL"]) == 5
    yahoo(frame(pd.date_range(end=now.normalize().tz_localize(None), periods=4, name="Date")))
    assert len(load(config(exchange="24/7")).bars["AAPL"]) == 3


def test_options_reach_it(yahoo: Any):
    """Those that it has; others are refused."""
    made = yahoo(frame(minutes()))
    load(config(data={"interval": "1m", "options": {"prepost": True, "timeout": 5}}))
    assert (made.asked[0][1]["prepost"], made.asked[0][1]["timeout"]) == (True, 5)
    with pytest.raises(nb.ConfigError, match=r"data.options = .*YahooSource can't be made with them"):
        load(config(data={"options": {"proxy": "x"}}))


def test_longer_hours_are_asked_for(yahoo: Any):
    """A config's hours that are longer than the exchange's bring the bars before and after; an option has the last word."""
    made = yahoo(frame(minutes()), frame(minutes()), frame(minutes()))
    longer = {"open": "04:00", "close": "20:00"}
    load(config(data={"interval": "1m"}))
    load(config(data={"interval": "1m"}, hours=longer))
    load(config(data={"interval": "1m", "options": {"prepost": False}}, hours=longer))
    assert [how["prepost"] for _, how in made.asked] == [False, True, False]


def test_what_yahoo_does_not_have(yahoo: Any):
    """No bars, bars of another ticker and an interval that it doesn't know are one error each."""
    empty = frame(days()).iloc[:0]
    yahoo(empty)
    with pytest.raises(nb.DataError, match=r"AAPL: Yahoo gave no 1d bars from the first to the last; check the symbol"):
        load(config())
    yahoo(empty)
    with pytest.raises(nb.DataError, match="1m bars reach back about 30 days"):
        load(config(data={"interval": "1m"}))
    yahoo(frame(days(), "MSFT"))
    with pytest.raises(nb.DataError, match="AAPL: Yahoo gave bars of MSFT"):
        load(config())
    with pytest.raises(nb.ConfigError, match=r"data.interval = '3m': Yahoo Finance, adjusted gives 1m, 2m"):
        load(config(data={"interval": "3m"}))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(nb.MissingExtraError, match=r'pip install "nbbacktest\[yfinance\]"'):
        load(config())
