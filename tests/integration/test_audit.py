"""The look-ahead audit: catches what is planted, clears what is honest, and says what it found."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pandas as pd
import pytest
import talib
from talib import abstract

import nbbacktest as nb
from nbbacktest.strategies import BuyAndHold, MeanReversion, SmaCross
from tests.markets import days, minutes

PLANTED = {
    "shift": lambda close: pd.Series(close).shift(-1),
    "backfill of gaps": lambda close: pd.Series(np.where(np.arange(len(close)) % 25 == 24, close, np.nan)).bfill(),
    "backfill of a warm-up": lambda close: pd.Series(close).rolling(20).mean().bfill(),
    "whole-sample mean": lambda close: close - close.mean(),
    "whole-sample z-score": lambda close: (close - close.mean()) / max(close.std(), 1e-9),
    "centred window": lambda close: pd.Series(close).rolling(11, center=True).mean(),
    "whole-sample rank": lambda close: pd.Series(close).rank(pct=True),
    "reversed order": lambda close: pd.Series(close[::-1]).ewm(span=5).mean().to_numpy()[::-1],
}
HONEST = {
    "rolling mean": lambda close: pd.Series(close).rolling(20).mean(),
    "expanding z-score": lambda close: (
        (close - pd.Series(close).expanding().mean()) / pd.Series(close).expanding().std()
    ),
    "exponential": lambda close: pd.Series(close).ewm(span=9).mean(),
    "forward fill": lambda close: pd.Series(np.where(np.arange(len(close)) % 25 == 24, close, np.nan)).ffill(),
    "cumulated": lambda close: np.cumsum(close) / np.arange(1, len(close) + 1),
}


class Interrupted(nb.Strategy):
    """Is under way when its user presses Ctrl-C, in the run numbered `at`: in its callback, or in an indicator's function."""

    at: int = 0
    where: str = "bar"
    runs = 0

    def on_start(self):
        type(self).runs += 1
        self.indicator(self.computed, "close", name="computed")

    def computed(self, close):
        if self.where == "indicator":
            self.press()
        return close

    def on_bar(self, bar):
        if self.where == "bar":
            self.press()

    def press(self):
        if self.runs > self.at:
            signal.raise_signal(signal.SIGINT)


class Uses(nb.Strategy):
    """Trades on one indicator over whole columns."""

    kind: str = "shift"

    def on_start(self):
        functions = PLANTED | HONEST
        self.signal = {s: self.indicator(functions[self.kind], "close", symbol=s, name=self.kind) for s in self.symbols}

    def on_bar(self, bar):
        if bar.interval != self.base_interval:
            return
        if self.position(bar.symbol):
            self.close(bar.symbol)
        elif self.signal[bar.symbol][-1] > bar.close:
            self.buy(bar.symbol, 1)


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("data", [minutes(300), days(260)], ids=["minutes", "days"])
def test_a_planted_look_ahead_is_caught(kind, data):
    """The first difference is the indicator's, with both values."""
    report = nb.audit_lookahead(data, Uses, kind=kind)
    assert not report.clear
    assert (report.first.kind, report.first.name) == ("indicator", kind)
    assert str(report.first.whole) != str(report.first.cut)
    assert report.first.cut_at in report.cuts


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_indicator_is_cleared(kind):
    """What only looks back is the same with and without the bars that follow."""
    report = nb.audit_lookahead(minutes(300), Uses, kind=kind)
    assert report.clear, report
    assert report.first is None
    assert not report.unfinished


@pytest.mark.parametrize("strategy", [BuyAndHold, SmaCross, MeanReversion])
@pytest.mark.parametrize("symbols", [1, 3])
def test_the_shipped_strategies_are_cleared(strategy, symbols):
    """With one symbol and with several that have gaps, derived intervals beside."""
    data = {f"S{n}": minutes(380, seed=n, gaps=0.2 * n) for n in range(symbols)}
    report = nb.audit_lookahead(data, strategy, config={"data": {"derived_intervals": ["5m", "15m"]}})
    assert report.clear, report
    assert report.compared[2] > 0


class EveryTalib(nb.Strategy):
    """Each function of TA-Lib that takes columns, over whole columns; and some of its streams."""

    def on_start(self):
        for name in talib.get_functions():
            inputs = []
            for value in abstract.Function(name).info["input_names"].values():
                inputs += [value] if isinstance(value, str) else list(value)
            if "periods" not in inputs:
                self.indicator(getattr(talib, name), *inputs)
        for stream in (talib.stream.SMA, talib.stream.RSI, talib.stream.BBANDS):
            self.indicator(stream, "close")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_talib_is_cleared():
    """None of its indicators looks ahead."""
    report = nb.audit_lookahead(minutes(300), EveryTalib)
    assert report.clear, report
    assert report.compared[0] > 150


def test_derived_intervals_are_audited_too():
    """A look-ahead in the 5-minute bars is found there."""

    class Derived(nb.Strategy):
        def on_start(self):
            self.next = self.indicator(lambda close: pd.Series(close).shift(-1), "close", interval="5m", name="next")

    report = nb.audit_lookahead(minutes(300), Derived, config={"data": {"derived_intervals": ["5m"]}})
    assert report.first.name == "5m next"


def test_what_is_decided_with_it_is_named_after_it():
    """Orders and fills that follow from a look-ahead are listed behind their cause."""
    report = nb.audit_lookahead(minutes(300), Uses, cuts=40, kind="centred window")
    assert [one.kind for one in report.differences] == ["indicator", "order", "fill"]
    assert report.differences[1].moment >= report.first.moment


def test_decisions_that_differ_without_an_indicator():
    """A strategy that knows how much data there is gives itself away by its orders."""
    ends = []

    class Leaves(nb.Strategy):
        def on_start(self):
            self.length = self.indicator(lambda close: np.arange(len(close), dtype=float), "close")
            ends.append(len(self.length._values))

        def on_bar(self, bar):
            if len(self.bars()) == 20 + ends[-1] % 7:
                self.buy(size=1)

    report = nb.audit_lookahead(minutes(200), Leaves)
    assert report.first.kind == "order"
    assert "random numbers without a seed" in repr(report)


def test_all_kinds_of_orders_are_cleared():
    """Brackets, stop-limits, touches, trailing stops, day orders and closing orders are the same up to every cut."""

    class Every(nb.Strategy):
        def on_bar(self, bar):
            n = len(self.bars())
            if n % 20 == 0:
                self.buy(size=2, stop_loss=bar.close - 0.3, take_profit=bar.close + 0.3)
            if n % 30 == 0:
                self.buy(size=1, stop=bar.close + 0.1, limit=bar.close + 0.2, tif="day")
            if n % 35 == 0 and self.position().size > 0:
                self.sell(size=1, trail=0.2)
            if n % 25 == 0:
                self.buy(size=1, touch=bar.close - 0.1)
                self.buy(size=1, touch=bar.close - 0.1, limit=bar.close - 0.15)
            if n % 90 == 0:
                self.close()

    report = nb.audit_lookahead(minutes(380), Every, cuts=30)
    assert report.clear, report
    assert report.compared[1] > 30


def test_it_reads_well():
    """Text and HTML tell the verdict, the first difference, the cuts and the seed."""
    report = nb.audit_lookahead(minutes(300), Uses, kind="shift")
    text, html = repr(report), report._repr_html_()
    for part in ("looks ahead", "shift", "seed 7", "300 instants", "on the whole data", "nan"):
        assert part in text
    for part in ("looks ahead", "indicator shift", "seed 7", "<table>"):
        assert part in html
    clear = nb.audit_lookahead(minutes(300), SmaCross)
    assert "no look-ahead found" in repr(clear)
    assert "<table>" not in clear._repr_html_()
    assert "1 order" in repr(nb.audit_lookahead(minutes(300), BuyAndHold))


def test_the_same_seed_cuts_at_the_same_instants():
    """Cuts are rising instants of the run, the last bar never among them; another seed draws others."""
    one, two, other = (nb.audit_lookahead(minutes(300), BuyAndHold, cuts=20, seed=seed) for seed in (1, 1, 2))
    assert one.cuts == two.cuts != other.cuts
    assert list(one.cuts) == sorted(set(one.cuts))
    last = minutes(300).index[-1]
    assert all(cut <= last for cut in one.cuts)


def test_a_strategy_that_needs_more_data_is_told():
    """A cut at which the strategy raises is named, and the others decide."""

    class Needs(nb.Strategy):
        def on_start(self):
            def fit(close):
                if len(close) < 50:
                    raise ValueError("50 bars are needed")
                return np.cumsum(close)

            self.fitted = self.indicator(fit, "close")

    report = nb.audit_lookahead(minutes(300), Needs)
    assert report.clear
    assert report.unfinished
    assert "not compared at" in repr(report)
    assert "50 bars are needed" in report._repr_html_()


def test_nothing_compared_is_not_clear():
    """A strategy that fails on all cut data is not cleared."""

    class Whole(nb.Strategy):
        def on_start(self):
            def fit(close):
                if len(close) < 300:
                    raise ValueError("give me all")
                return close

            self.fitted = self.indicator(fit, "close")

    report = nb.audit_lookahead(minutes(300), Whole)
    assert not report.clear
    assert "nothing could be compared" in repr(report)


def test_a_strategy_that_fails_on_the_whole_data_raises():
    """As a backtest would."""

    class Fails(nb.Strategy):
        def on_bar(self, bar):
            raise ZeroDivisionError

    with pytest.raises(nb.StrategyError):
        nb.audit_lookahead(minutes(100), Fails)


def test_an_instance_stays_as_it_is():
    """It is copied for every run, and can be run afterwards; no thread is left or made."""
    strategy, before = SmaCross(fast=3, slow=9), threading.active_count()
    assert nb.audit_lookahead(minutes(300), [strategy, BuyAndHold]).clear
    assert threading.active_count() == before
    assert not hasattr(strategy, "averages")
    nb.backtest(minutes(300), strategy)


@pytest.mark.parametrize("cuts", [0, -1, 2.5, True])
def test_cuts_that_make_no_sense(cuts):
    """The error says what to give."""
    with pytest.raises(nb.ConfigError, match="whole number above 0"):
        nb.audit_lookahead(minutes(50), BuyAndHold, cuts=cuts)


def test_too_little_data():
    """One bar can't be cut."""
    with pytest.raises(nb.ConfigError, match="too short to be cut"):
        nb.audit_lookahead(days(1), BuyAndHold)
    assert nb.audit_lookahead(minutes(2), BuyAndHold).clear


@pytest.mark.parametrize("where", ["bar", "indicator"])
@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_an_interrupt_ends_an_audit(at, where, monkeypatch):
    """Ctrl-C is never taken for the strategy's mistake, nor for a cut that couldn't be compared."""
    monkeypatch.setattr(Interrupted, "runs", 0)
    with pytest.raises(KeyboardInterrupt):
        nb.audit_lookahead(days(60), Interrupted, at=at, where=where)
    assert Interrupted.runs == at + 1
