"""A panel's charts follow a run whose symbols and instants change: they are those of a panel that is opened now."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from tests.erratic import brokers, markets, random_market
from tests.integration.test_rewind import Restless
from tests.live import Trader, fields, live_of, push_all
from tests.markets import minutes
from tests.panels import drawn, is_same, panel_of

ALWAYS = {"exchange": "24/7", "data": {"derived_intervals": ["5m"]}}
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_as_fresh(panel):
    """What the panel has drawn is what a panel draws that never saw an earlier frame."""
    with panel_of(panel.system) as fresh:
        fresh.charts._span = panel.charts._span
        drawn(fresh)  # its symbols are there now
        for name in ("symbol", "interval", "follow"):
            getattr(fresh.controls, name).value = getattr(panel.controls, name).value
        old, new = drawn(panel), drawn(fresh)
    for (traces, layout), (meant, meant_layout) in zip(old, new, strict=True):
        for number, (shown, trace) in enumerate(zip(traces, meant, strict=True)):
            for name, value in trace.items():
                assert is_same(shown.get(name), value), (number, name, shown.get(name), value)
        hidden = {name.removesuffix(".visible") for name, value in meant_layout.items() if value is False}
        names = [name for name in meant_layout if name.endswith(".visible") or name.partition(".")[0] not in hidden]
        assert {name: layout.get(name) for name in names} == {name: meant_layout[name] for name in names}


# -- symbols that join and leave ----------------------------------------------------------------------------


class Buying(nb.Strategy):
    """Buys each symbol at its first bar."""

    def on_bar(self, bar):
        if bar.interval == "1m" and not self.position(bar.symbol).size:
            self.buy(bar.symbol, size=10)


@pytest.fixture
def joined():
    """A panel that drew a run of A with 5m bars, to which B, with later bars and other prices, has come since."""
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data={"A": minutes(90, seed=1)}, strategies=Buying, paused=True)
    system.step(20)
    with panel_of(system) as panel:
        panel.controls.interval.value = "5m"
        drawn(panel)
        system.add_symbol("B", minutes(150, seed=2) * 3)
        yield panel
    system.stop()


def test_a_chart_keeps_its_symbol_when_another_joins(joined):
    """The 5m bars of A are A's, also after B's series have come between them."""
    joined.system.step(20)
    traces, _ = drawn(joined)[0]
    assert traces[0]["close"].tolist() == joined.system.run.world.desk.series["A", "5m"].columns.close[:8].tolist()
    assert_as_fresh(joined)


def test_a_symbol_that_joined_can_be_chosen(joined):
    """B stands among the symbols; its bars and its benchmark are drawn."""
    drawn(joined)
    joined.controls.symbol.value = "B"
    joined.system.step(20)
    assert drawn(joined)[0][0][0]["close"].min() > 200
    assert_as_fresh(joined)


def test_equity_holds_the_positions_of_a_symbol_that_joined(joined):
    """The curve ends at the account's equity, and at the result's when the run has ended."""
    joined.system.step(30)
    shot = joined.system.snapshot()
    assert {row.symbol for row in shot.positions} == {"A", "B"}
    assert drawn(joined)[1][0][0]["y"][-1] == pytest.approx(shot.equity)
    joined.system.resume()
    result = joined.system.wait(10)
    assert len(result.equity_values) > 90
    assert drawn(joined)[1][0][0]["y"][-1] == result.equity_values[-1]


def test_closed_hours_are_left_out_after_the_first_symbol_has_left():
    """The account chart knows the nights of a run by the bars of a symbol that goes on."""
    system = nb.SystemManager(reachable=False)
    data = {"source": "synthetic", "symbols": ["A", "B"], "interval": "5m"}
    days = {"start_date": "2024-10-07", "end_date": "2024-10-10"}
    system.start({"exchange": "XNYS", "data": data, "backtest": days}, strategies=nb.Strategy, paused=True)
    with panel_of(system) as panel:
        system.step(100)
        drawn(panel)
        system.remove_symbol("A")
        system.step(200)
        assert len(drawn(panel)[1][1]["xaxis.rangebreaks"]) == 3
        assert_as_fresh(panel)
    system.stop()


def erratic_run(market, broker, seed, *, alone):
    config, data, late = random_market(market, broker, [], seed)
    system = nb.SystemManager(reachable=False)
    parameters = {"seed": seed, "pace": 0.5, "late": late, "joining": alone, "leaving": alone}
    strategy = type("Erratic", (Restless,), parameters)
    system.start(config, data=data, strategies=strategy, paused=True)
    return system, late


steps = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 60)),
    st.tuples(st.just("back"), st.integers(1, 60)),
    st.tuples(st.just("rewind"), st.integers(0, 100)),
    st.tuples(st.just("join"), st.just(0)),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("choose"), st.integers(0, 11)),
    st.tuples(st.just("zoom"), st.integers(0, 100)),
)


def take(panel, late, step):
    """Take a step; one that the run refuses changes nothing."""
    system, (what, n) = panel.system, step
    symbols, intervals = panel.controls.symbol, panel.controls.interval
    with suppress(nb.DataError, nb.ReplayError, ValueError):
        match what:
            case "step":
                system.step(n)
            case "back":
                system.back(n)
            case "rewind":
                system.rewind(system.horizon * n // 100)
            case "join":
                system.add_symbol("HAND", late)
            case "leave":
                system.remove_symbol(symbols.options[n % len(symbols.options)], positions="close")
            case "choose":
                symbols.value = symbols.options[n % len(symbols.options)]
                intervals.value = intervals.options[n % len(intervals.options)]
            case "zoom":
                begin = late.index[n].tz_localize(None).value / 1e6
                panel.charts._span = None if n % 3 == 0 else (begin, begin + 3_600_000 * (n % 5 + 1))
                panel.controls.follow.value = n % 4 == 0


@SLOW
@given(
    market=markets, broker=brokers, seed=st.integers(0, 10_000), alone=st.booleans(),
    taken=st.lists(steps, min_size=2, max_size=8),
)  # fmt: skip
def test_a_panel_draws_what_one_draws_that_is_opened_now(market, broker, seed, alone, taken):
    """After any steps forth and back, joins and leaves, by hand and by a strategy: the charts have no past of their own."""
    system, late = erratic_run(market, broker, seed, alone=alone)
    try:
        with panel_of(system) as panel:
            for step in taken:
                take(panel, late, step)
                if system.is_stopped():
                    break
                assert_as_fresh(panel)
    finally:
        system.stop()


# -- live runs ----------------------------------------------------------------------------------------------


def settled(system, count):
    """Wait until a live run has delivered `count` instants and shows them."""
    deadline = time.monotonic() + 10
    while system.snapshot().cursor < count:
        assert time.monotonic() < deadline, system.snapshot()
        time.sleep(0.001)


@contextmanager
def live(symbols, derived, **parts):
    """A live run that waits for bars, its feed, and a panel that has drawn it before its first one."""
    system, feed = nb.SystemManager(reachable=False), nb.PushFeed()
    config = live_of({"exchange": "XNYS", "data": {"symbols": symbols, "derived_intervals": derived}})
    system.start(config, feed=feed, **{"strategies": Trader} | parts)
    try:
        with panel_of(system) as panel:
            drawn(panel)
            yield system, feed, panel
    finally:
        system.stop()


@pytest.mark.parametrize(("symbols", "derived"), [(["A"], []), (["A"], ["5m"]), (["A", "B"], ["5m", "15m"])])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), counts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_after_each_bar_a_live_runs_charts_are_those_of_a_fresh_panel(symbols, derived, seed, counts):
    """Bars, equity, drawdown and benchmark grow with the bars that come, and end as the result does."""
    dice = np.random.default_rng(seed)
    closes = {symbol: 100 + dice.normal(0, 0.1, sum(counts)).cumsum() for symbol in symbols}
    with live(symbols, derived) as (system, feed, panel):
        stop = 0
        for count in counts:
            start, stop = stop, stop + count
            for minute in range(start, stop):
                push_all(feed, [fields(symbol, minute, float(closes[symbol][minute])) for symbol in symbols])
            settled(system, stop)
            traces, _ = drawn(panel)[1]
            assert traces[0]["y"][-1] == pytest.approx(system.snapshot().equity)
            panel.charts._span = (1.7279514e12, 1.7279514e12 + stop * 30_000)
            for follows in (True, False):
                panel.controls.follow.value = follows
                assert_as_fresh(panel)
        feed.close()
        result = system.wait(10)
        panel.controls.follow.value = True
        (bars, _), (account, _) = drawn(panel)
        assert account[0]["y"][-1] == result.equity_values[-1]
        assert bars[0]["close"][-1] == closes[symbols[0]][-1]
        assert_as_fresh(panel)
        samples = panel.charts.sync._shown
        assert samples[0]["visible"]
        assert np.isfinite(samples[0]["x"]).all()


def test_a_symbol_of_a_live_run_without_a_bar_yet():
    """B is silent: nothing is drawn of it; its first bar begins its benchmark."""
    with live(["A", "B"], [], strategies=Buying) as (system, feed, panel):
        panel.controls.symbol.value = "B"
        for minute in range(3):
            push_all(feed, [fields("A", minute)])
        feed.heartbeat(pd.Timestamp("2024-10-03 09:33", tz="America/New_York"))
        settled(system, 3)
        (bars, _), (account, _) = drawn(panel)
        assert not bars[0]["visible"]
        assert np.isnan(account[1]["y"]).all()
        push_all(feed, [fields("A", 3), fields("B", 3, 50.0)])
        settled(system, 4)
        (bars, _), (account, _) = drawn(panel)
        assert bars[0]["close"].tolist() == [50.0]
        assert account[1]["y"].tolist()[3:] == [100_000.0]
        assert_as_fresh(panel)


def test_a_live_runs_progress_has_no_end():
    """Its panel counts bars and sessions, and promises no end, until the run has ended."""
    with live(["A"], [], strategies=Buying) as (system, feed, panel):
        push_all(feed, [fields("A", minute) for minute in range(3)])
        settled(system, 3)
        drawn(panel)
        assert panel.controls.progress_text.value == "<b>Bar 3</b> · session 1"
        assert (panel.controls.bar.value, panel.controls.bar.bar_style) == (0.0, "info")
        feed.close()
        system.wait(10)
        drawn(panel)
        assert panel.controls.progress_text.value == "<b>Bar 3</b> · session 1 · finished"
        assert (panel.controls.bar.value, panel.controls.bar.bar_style) == (1.0, "success")
