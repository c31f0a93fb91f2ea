"""Sources of a user's own: asked for what is needed, and told apart from what is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data import synthetic
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load


class Minutes:
    """Invented minutes, and what they were asked for."""

    stamp: Any = "open"

    def __init__(self, first: str = "2024-10-01", last: str = "2024-10-04"):
        self.days = (first, last)
        self.asked: list[tuple[Any, ...]] = []

    def bars(self, symbol, interval, start, end):
        self.asked.append((symbol, interval, start, end))
        return synthetic.bars(symbol, *self.days, interval=interval)[symbol]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module that a config can name."""
    made = ModuleType("their_prices")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def loaded(source: Any, symbols: Any = ("EXE",), **sections: Any) -> MarketData:
    data = sections.pop("data", {})
    return load(SessionConfig.load({**sections, "data": {"symbols": list(symbols), **data}}), source)


def test_it_is_asked_once_a_symbol():
    """For the config's interval and days; without any for all there is."""
    source = Minutes()
    market = loaded(source, ("EXE", "SW"), data={"interval": "5m"})
    assert source.asked == [("EXE", "5m", None, None), ("SW", "5m", None, None)]
    assert (list(market.bars), market.interval.name, market.source) == (["EXE", "SW"], "5m", "Minutes")
    loaded(source, backtest={"start_date": "2024-10-03", "end_date": "2024-10-04"})
    assert source.asked[-1] == ("EXE", "1m", date(2024, 10, 3), date(2024, 10, 4))


def test_warm_up_is_reckoned_in():
    """The first day asked for is early enough; what is too much is cut off."""
    source = Minutes()
    market = loaded(source, backtest={"start_date": "2024-10-04"}, data={"warmup_days": 2})
    assert source.asked[0][2] <= date(2024, 10, 2)
    assert len(market.bars["EXE"]) == 3 * 390
    assert int((market.bars["EXE"].end <= market.start).sum()) == 2 * 390


def test_warm_up_in_bars_is_reckoned_in():
    """The first day asked for is early enough for bars of every length, and what is too much is kept aside."""
    source = Minutes()
    wanted = {"warmup_bars": {"1m": 500, "1d": 2}, "derived_intervals": ["1d"]}
    market = loaded(source, backtest={"start_date": "2024-10-04"}, data=wanted)
    assert source.asked[0][2] <= date(2024, 10, 2)
    assert int((market.bars["EXE"].end <= market.start).sum()) == 2 * 390
    assert len(market.earlier["EXE", "1m"]) == 390


def test_a_source_is_asked_again_for_earlier_bars():
    """A source that gives no more than it is asked for has the warm-up that a strategy wants when it starts."""

    class Ranged(Minutes):
        def bars(self, *asked):
            return super().bars(*asked)[str(asked[2]) : str(asked[3])]

    counts = []

    class Asking(nb.Strategy):
        def on_start(self):
            counts.extend((len(self.bars()), self.warmup(500), len(self.bars())))

    source = Ranged()
    days = {"start_date": "2024-10-04", "end_date": "2024-10-04"}
    result = nb.backtest(source, Asking, config={"backtest": days, "data": {"symbols": ["EXE"]}})
    assert counts == [0, 500, 500]
    assert source.asked[0][2] == date(2024, 10, 4)
    assert result.stats["bars"] == 390


def test_a_source_says_its_zone_and_stamp():
    """Naive stamps are local there, whatever zone the run is shown in; a close is no open."""

    class Naive(Minutes):
        stamp = "close"
        timezone = "America/New_York"

        def bars(self, *asked):
            return super().bars(*asked).tz_localize(None)

    plain = loaded(Minutes()).bars["EXE"].time
    for sections in ({}, {"timezone": "Asia/Tokyo"}):
        naive = loaded(Naive(), **sections).bars["EXE"].time
        assert (naive == plain - 60_000_000_000).all()
    assert loaded(Naive()).stamps.timezone == "America/New_York"


def test_all_it_has_to_be_is_a_method():
    """What else there is has defaults, which `nb.DataSource` gives; the stamp alone is never guessed."""

    class Bare:
        def bars(self, symbol, interval, start, end):
            return synthetic.bars(symbol, "2024-10-03", "2024-10-03", interval=interval)[symbol]

    class Derived(nb.DataSource):
        symbols = ("SW",)
        intervals = ("5m",)
        name = "their minutes"

        def bars(self, symbol, interval, start, end):
            return Bare().bars(symbol, interval, start, end)

    with pytest.raises(nb.DataError, match=r"Bare: whether .* set stamp in the class, or data.stamp"):
        loaded(Bare())
    assert len(loaded(Bare(), data={"stamp": "open"}).bars["EXE"]) == 390
    assert len(loaded(Bare(), data={"interval": "1d"}).bars["EXE"]) == 1
    market = load(SessionConfig.load({"data": {"stamp": "open"}}), Derived())
    assert (list(market.bars), market.interval.name, market.source) == (["SW"], "5m", "their minutes")


def test_bars_outside_of_the_hours_are_left_out():
    """Where the source says that it has all hours; a source that doesn't is taken at its word."""

    class All(Minutes):
        all_hours = True

        def bars(self, symbol, interval, start, end):
            bars = super().bars(symbol, interval, start, end)
            return (
                pd.concat([bars.tz_convert("UTC").shift(freq="-1h"), bars.tz_convert("UTC")]).groupby(level=0).first()
            )

    market = loaded(All("2024-10-03", "2024-10-03"))
    assert (len(market.bars["EXE"]), len(market.left_out["EXE"]["outside"])) == (390, 60)
    assert market.quality["EXE"]["outside"] == 60
    assert market.quality["EXE"]["quality"] == 100
    All.all_hours = False
    assert len(loaded(All("2024-10-03", "2024-10-03")).bars["EXE"]) == 450


def test_a_config_names_it(module: ModuleType):
    """By module and class, made with the options; or an instance that stands there."""
    module.Minutes = Minutes
    module.made = Minutes("2024-10-04")
    options = {"first": "2024-10-03", "last": "2024-10-03"}
    data = {"source": "their_prices:Minutes", "options": options}
    assert len(loaded(None, data=data).bars["EXE"]) == 390
    assert len(loaded(None, data={"source": "their_prices:made"}).bars["EXE"]) == 390
    report = nb.data_quality({"data": data | {"symbols": ["EXE"]}})
    assert report.summary().loc["EXE", "quality"] == 100


def refused(source: Any, *words: str, **sections: Any) -> None:
    with pytest.raises((nb.ConfigError, nb.DataError)) as caught:
        loaded(source, **sections)
    for word in words:
        assert word in str(caught.value)


def test_a_config_that_names_none_is_refused(module: ModuleType):
    """A module or a class that isn't there, a class that is no source, options that don't fit."""
    module.Minutes = Minutes
    module.Other = dict
    refused(None, "data.source", "module 'nowhere_prices' can't be imported", data={"source": "nowhere_prices:X"})
    refused(None, "has no 'Minute'; did you mean 'Minutes'?", data={"source": "their_prices:Minute"})
    refused(None, "is no DataSource; name a class that has bars(", data={"source": "their_prices:Other"})
    bad = {"source": "their_prices:Minutes", "options": {"frist": "x"}}
    refused(None, "data.options = {'frist': 'x'}: Minutes can't be made with them: TypeError", data=bad)


def test_what_it_cannot_give_is_refused():
    """An interval that it doesn't have, symbols that nobody named, days without bars, a contradicted stamp."""

    class Hourly(Minutes):
        intervals = ("1h", "1d")

    class Empty(Minutes):
        def bars(self, *asked):
            return super().bars(*asked).iloc[:0]

    refused(Hourly(), "data.interval = '1m': Hourly gives 1h, 1d; use one of them")
    refused(Empty(), "Empty has no 1m bars of EXE from the first to the last")
    refused(Minutes(), "data.stamp = 'close': Minutes says that its times mark the open", data={"stamp": "close"})
    with pytest.raises(nb.ConfigError, match=r"data.symbols = None: are not set and Minutes names none"):
        load(SessionConfig(), Minutes())


def test_what_it_gets_wrong_is_told():
    """An exception, another thing than a frame, a frame of something else, an attribute that makes no sense."""

    class Broken(Minutes):
        def bars(self, *asked):
            raise KeyError("prices")

    class List(Minutes):
        def bars(self, *asked):
            return [1]

    class Others(Minutes):
        def bars(self, *asked):
            return super().bars(*asked).assign(Symbol="SW")

    odd = Minutes()
    odd.stamp = "middle"
    refused(Broken(), "Broken.bars('EXE', '1m', None, None) raised KeyError: 'prices'")
    refused(List(), "EXE: a list is no DataFrame")
    refused(Others(), "EXE: these are bars of 'SW', says column 'Symbol', and not of 'EXE'")
    refused(odd, "Minutes: stamp is 'middle'")
    zoned = Minutes()
    zoned.timezone = "New_York"
    refused(zoned, "Minutes: timezone is 'New_York', no IANA name; did you mean")


def test_a_file_of_another_symbol_is_refused(tmp_path):
    """By its column of symbols, where somebody said whose it is; with several in it always."""
    bars = synthetic.bars("SW", "2024-10-03", "2024-10-03")["SW"].assign(ticker="SW")
    bars.to_csv(tmp_path / "EXE.csv", index_label="time")
    path = str(tmp_path / "{symbol}.csv")
    data = {"source": "csv", "path": path, "stamp": "open"}
    refused(None, "these are bars of 'SW', says column 'ticker', and not of 'EXE'; bring those", data=data)
    refused({"EXE": bars}, "these are bars of 'SW'")
    assert list(load(SessionConfig.load({"data": {"stamp": "open"}}), tmp_path / "EXE.csv").bars) == ["EXE"]
    assert list(loaded({"sw": bars}, ("sw",)).bars) == ["sw"]
    bars.iloc[3:, -1] = "EXE"
    refused({"SW": bars}, "SW: column 'ticker' names 2 symbols (SW, EXE)", "groupby", symbols=("SW",))
    with pytest.raises(nb.DataError, match="names 2 symbols"):
        nb.data_quality(bars)
