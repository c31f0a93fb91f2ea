"""Warm-up counted in bars: asked for in the config, by a strategy's class and in `on_start`; seen, and never traded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

import nbbacktest as nb
from nbbacktest.core.records import Bar
from nbbacktest.data import synthetic

BARS = synthetic.bars(["EXE", "SW"], "2024-09-03", "2024-10-08")
RUN = {"exchange": "XNYS", "backtest": {"start_date": "2024-10-07"}}


class Look(nb.Strategy):
    """Asks for warm-up in on_start, and keeps what it sees then."""

    ask: Any = ()

    def on_start(self) -> None:
        self.view = self.bars("EXE")
        self.close = self.view.close
        self.sma = self.indicator(talib.SMA, "close", 30, symbol="EXE")
        self.smooth = self.indicator(talib.EMA, self.sma, 5)
        self.stream = self.indicator(talib.stream.SMA, "close", 30, symbol="EXE")
        self.got = [self.warmup(*one) for one in self.ask]
        self.first = [len(self.view), len(self.close), len(self.sma)]
        self.begin = (self.view.close[0], self.sma[-1], self.smooth[-1], self.stream[-1]) if len(self.view) else None

    def on_bar(self, bar: Bar) -> None:
        self.last = (self.sma[-1], self.stream[-1])


def test_a_number_is_of_base_bars():
    """So many before the start, of every symbol; the status says what was asked for and what there is."""
    look = Look()
    result = nb.backtest(BARS, look, config={**RUN, "data": {"warmup_bars": 200}})
    assert look.first == [200, 200, 200]
    warm = {"1m": {"asked": 200, "got": 200}}
    assert result.metrics["session"]["warmup"] == {"EXE": warm, "SW": warm}
    assert result.metrics["performance_metrics"]["bars_processed"] == 4 * 390
    assert result.equity.index[0] == pd.Timestamp("2024-10-07 09:31", tz="America/New_York")


@pytest.mark.parametrize(
    ("warmup", "expected"),  # the week that loading starts in is there too, and says that it isn't complete
    [
        ({"warmup_bars": {"1m": 10, "1d": 3}}, {"1m": 1170, "1d": 3, "1w": 1}),
        ({"warmup_bars": {"1w": 2}}, {"1m": 10 * 390, "1d": 10, "1w": 2}),
        ({"warmup_bars": 10, "warmup_days": 2}, {"1m": 780, "1d": 2, "1w": 1}),
        ({"warmup_bars": 800, "warmup_days": 2}, {"1m": 800, "1d": 3, "1w": 1}),
        ({"warmup_bars": 0}, {"1m": 0, "1d": 0, "1w": 0}),
    ],
)
def test_the_longest_reach_wins(warmup: dict[str, Any], expected: dict[str, int]):
    """Counts of bars, by interval, and days: what reaches furthest back says where loading starts, for all."""
    counts: dict[str, int] = {}

    class Count(nb.Strategy):
        def on_start(self) -> None:
            counts.update({interval: len(self.bars(interval=interval)) for interval in expected})

    config = {**RUN, "data": {"derived_intervals": ["1d", "1w"], **warmup}}
    nb.backtest(BARS["EXE"], Count, config=config)
    assert counts == expected


def test_complete_bars_are_counted_where_those_alone_are_seen():
    """With require_complete a day that lacks a minute is no day of warm-up."""
    frame = BARS["EXE"].drop(pd.Timestamp("2024-10-03 10:00", tz="America/New_York"))
    counts: list[int] = []

    class Count(nb.Strategy):
        def on_start(self) -> None:
            counts.append(len(self.bars(interval="1d")))
            counts.append(len(self.bars()))

    data = {"derived_intervals": ["1d"], "warmup_bars": {"1d": 3}, "require_complete": True}
    nb.backtest(frame, Count, config={**RUN, "data": data})
    assert counts == [3, 4 * 390 - 1]


def test_a_class_says_what_it_needs():
    """A class attribute is a parameter; a property may follow from others; both are read before anything is loaded."""

    class Fixed(Look):
        warmup_bars: int = 40

    class Follows(Look):
        slow: int = 50

        @property
        def warmup_bars(self) -> dict[str, int]:
            return {"1m": 2 * self.slow}

    for strategy, expected in ((Fixed(), 40), (Fixed(warmup_bars=60), 60), (Follows(slow=35), 70)):
        nb.backtest(BARS, strategy, config=RUN)
        assert strategy.first[0] == expected


@pytest.mark.parametrize("value", [-1, "many", {"1x": 3}, 1.5])
def test_needs_that_make_no_sense_are_refused(value: Any):
    """Before anything is loaded, under the class's name."""

    class Wrong(nb.Strategy):
        @property
        def warmup_bars(self) -> Any:
            return value

    with pytest.raises(nb.ConfigError, match="Wrong.warmup_bars = "):
        nb.backtest(BARS, Wrong, config=RUN)


def test_bars_that_the_run_does_not_have_are_refused():
    """Warm-up is counted in the run's own intervals."""
    with pytest.raises(nb.ConfigError, match=r"data.warmup_bars = '1d': is no interval of this run, which has 1m"):
        nb.backtest(BARS, Look, config={**RUN, "data": {"warmup_bars": {"1d": 3}}})


@pytest.mark.parametrize("source", ["frames", "synthetic"])
def test_asking_in_on_start_loads_more(source: str):
    """It equals a run whose config asked: what was made before sees it too, and so does every later value."""
    given = BARS if source == "frames" else None
    config = {
        **RUN,
        "data": {"symbols": ["EXE", "SW"]},
        "backtest": {"start_date": "2024-10-07", "end_date": "2024-10-08"},
    }
    asked, told = Look(ask=((100,), (200,))), Look()
    one = nb.backtest(given, asked, config=config)
    other = nb.backtest(given, told, config={**config, "data": {**config["data"], "warmup_bars": 200}})
    assert asked.got == [100, 200]
    assert asked.first == told.first == [200, 200, 200]
    assert asked.begin == told.begin
    assert asked.last == told.last
    assert not np.isnan(asked.begin[1:]).any()
    assert one.fingerprint == other.fingerprint
    assert one.metrics["session"]["warmup"] == other.metrics["session"]["warmup"]


def test_every_strategy_sees_what_one_asked_for():
    """The reach is the run's; handles that others hold already are kept current."""
    first, second = Look(), Look(ask=((90,),))
    nb.backtest(BARS, [first, second], config=RUN)
    assert (len(first.view), first.first) == (2 * 390 + 90, [0, 0, 0])
    assert first.last == second.last


def test_asking_for_derived_bars():
    """Days are counted as they will be seen."""

    class Days(nb.Strategy):
        def on_start(self) -> None:
            self.got = (self.warmup(5, interval="1d"), self.warmup(20), self.warmup(3, "1d", "EXE"))
            self.range = self.indicator(talib.ATR, "high", "low", "close", 4, interval="1d")

    days = Days()
    result = nb.backtest(BARS["EXE"], days, derived=["1d"], config=RUN | {"data": {"symbols": ["EXE"]}})
    assert days.got == (5, 5 * 390, 5)
    assert result.metrics["session"]["warmup"]["EXE"] == {
        "1m": {"asked": 20, "got": 1950}, "1d": {"asked": 5, "got": 5},
    }  # fmt: skip


def test_less_than_asked_for_is_told():
    """A warning, a line in the run's record, and the numbers in the status; the run goes on with what there is."""
    look = Look(ask=((1_000_000,),))
    with pytest.warns(nb.DataQualityWarning, match=r"Look.warmup\(\): EXE 1m has 9360 of 1000000; SW"):
        result = nb.backtest(BARS, look, config=RUN)
    assert look.got == [9360]
    assert result.metrics["session"]["warmup"]["SW"] == {"1m": {"asked": 1_000_000, "got": 9360}}
    with pytest.warns(
        nb.DataQualityWarning, match="less warm-up than asked for: data.warmup_bars: EXE 1m has 9360"
    ) as told:
        nb.backtest(BARS, Look, config={**RUN, "data": {"warmup_bars": 10_000}})
    assert told[0].filename == __file__


def test_asking_later_only_counts():
    """Once bars have been delivered nothing more is loaded."""

    class Late(nb.Strategy):
        def on_bar(self, bar: Bar) -> None:
            if not hasattr(self, "got"):
                self.got = self.warmup(5)

    late = Late()
    with pytest.warns(nb.DataQualityWarning, match="has 0 of 5"):
        nb.backtest(BARS["EXE"], late, config=RUN)
    assert late.got == 0


@pytest.mark.parametrize("bars", [-1, True, 2.5, "200"])
def test_a_number_of_bars_is_a_whole_one(bars: Any):
    """Anything else is refused where it is written."""
    with pytest.raises(nb.StrategyError, match="a number of bars, 0 or more"):
        nb.backtest(BARS, Look(ask=((bars,),)), config=RUN)


def test_a_streaming_indicator_that_was_read_can_not_begin_earlier():
    """It has been fed already: the error says how to ask in time."""

    class Hasty(nb.Strategy):
        def on_start(self) -> None:
            average = self.indicator(talib.stream.SMA, "close", 2, symbol="EXE")
            self.warmup(10)
            _ = average[-1]
            self.warmup(20)

    with pytest.raises(nb.StrategyError, match="call warmup.. before indicators are read, or set warmup_bars"):
        nb.backtest(BARS, Hasty, config=RUN)


def test_warm_up_is_never_traded():
    """No callback and no order sees it: the first bar that comes is the first after the start."""

    class Trade(nb.Strategy):
        warmup_bars: int = 100

        def on_bar(self, bar: Bar) -> None:
            if not self.orders() and not self.position("EXE"):
                self.buy("EXE", size=1)

    result = nb.backtest(BARS, Trade, config=RUN)
    assert result.fills["time"].iloc[0] == pd.Timestamp("2024-10-07 09:31", tz="America/New_York")


def test_an_audit_keeps_the_warm_up():
    """What is asked for in on_start is there in every run of the audit."""

    class Cross(nb.Strategy):
        def on_start(self) -> None:
            self.warmup(60)
            self.slow = self.indicator(talib.SMA, "close", 50)

        def on_bar(self, bar: Bar) -> None:
            self.order_target_size(1.0 if bar.close > self.slow[-1] else 0.0)

    report = nb.audit_lookahead(BARS["EXE"], Cross, config=RUN, cuts=4)
    assert report.clear, report


def test_an_audit_of_made_bars_has_the_warm_up_of_the_class():
    """Where bars are made by range, what a class needs is made before the audit cuts them."""
    got = set()

    class Needy(nb.Strategy):
        warmup_bars: int = 60

        def on_start(self) -> None:
            got.add(len(self.bars()))

        def on_bar(self, bar: Bar) -> None:
            """Do nothing."""

    config = {"data": {"symbols": ["EXE"]}, "backtest": {"start_date": "2024-10-07", "end_date": "2024-10-07"}}
    assert nb.audit_lookahead(None, Needy, config=config, cuts=2).clear
    assert got == {60}
