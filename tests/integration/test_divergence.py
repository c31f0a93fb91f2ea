"""Two runs side by side: equal runs don't differ, others do from the first fill, order, flow or line on that only one of them has."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.erratic import Erratic, brokers, events, markets, random_market
from tests.integration.test_inputs import Settable
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


def run(strategy=Settable, data=None, *, config=None, **options):
    return nb.backtest(minutes(300) if data is None else data, strategy, config={**ALWAYS, **(config or {})}, **options)


@pytest.fixture
def system():
    system = nb.SystemManager(reachable=False)
    yield system
    if not system.is_stopped():
        system.stop()


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=25)
@given(markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans())
def test_a_run_and_its_fork_part_where_an_order_is_placed_in_one_of_them(market, broker, actions, seed, sessions):
    """And not before; without it they don't differ, wherever either of them stands."""
    config, data, _ = random_market(market, broker, actions, seed)
    dice = random.Random(seed)
    system = nb.SystemManager(reachable=False)
    system.start(config, data=data, strategies=Erratic(seed=seed, sessions=sessions), paused=True)
    other = None
    try:
        system.step(dice.randint(1, 120))
        other = system.fork()
        total = len(system.run.world.timeline)
        for one in (system, other):
            if dice.random() < 0.5:
                one.step(dice.randint(1, total - one.snapshot().cursor))
            found = nb.divergence(system, other)
            assert not found, found
            assert found.first is None
            assert "no difference" in found.sentence
        if other.snapshot().cursor == total:
            other.rewind(total - 1)
            system.rewind("end")
        time = other.snapshot().time
        other.buy("S0", 1, limit=0.05)
        for one in (system, other):
            one.resume()
            one.wait()
        found = nb.divergence(system, other)
        assert found
        assert found.first.time == time
        assert (found.first.kind, found.first.left) == ("order", None)
        assert found.sentence.startswith("forked at ")
        assert "buy(symbol='S0', size=1, limit=0.05) at" in found.causes[0]
        assert "only in the fork" in found.sentence
        assert nb.divergence(other, system).first[2:] == found.first[:1:-1]
    finally:
        for one in (system, other):
            if one is not None and not one.is_stopped():
                one.stop()


def test_a_parameter_tells_what_made_the_difference(system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(60)
    other = system.fork(params={"every": 4})
    for one in (system, other):
        one.resume()
        one.wait()
    found = nb.divergence(system, other)
    assert found.names == ("run", "fork")
    assert found.sentence.startswith("forked at 2024-10-03 10:30 with every=4; first difference at 10:")
    assert repr(found).startswith("Forked at 2024-10-03 10:30 with every=4; first difference at ")
    assert found.equity.columns.tolist() == ["run", "fork"]
    assert found.equity["run"].equals(system.wait().equity.rename("run"))
    assert found.equity["fork"].equals(other.wait().equity.rename("fork"))
    assert (found.equity["run"] == found.equity["fork"])[:60].all()
    gap = found.stats.loc["final_equity", "difference"]
    assert gap == other.wait().stats["final_equity"] - system.wait().stats["final_equity"]


def test_costs_show_in_the_first_fill_that_pays_them(system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(60)
    other = system.fork(costs={"commission": {"model": "percent", "rate": 0.002}})
    for one in (system, other):
        one.resume()
        one.wait()
    found = nb.divergence(system, other)
    assert found.first.kind == "fill"
    assert found.first.left.endswith("commission 0")
    assert "commission 0.59" in found.first.right
    assert found.causes == ("forked at 2024-10-03 10:30 with commission percent (rate=0.002)",)
    same, left, right = found.counts["fill"]
    assert same > 0
    assert left == right > 0


def test_what_on_start_made_of_old_values_is_told(system):

    class Deaf(nb.Strategy):
        size: int = 1

        def on_bar(self, bar):
            self.buy(size=self.size)

    system.start(ALWAYS, data=minutes(300), strategies=Deaf(size=1), paused=True)
    system.step(60)
    other = system.fork(params={"size": 2})
    other.resume()
    other.wait()
    found = nb.divergence(system, other)
    assert not found
    assert any("Deaf has no on_change" in note for note in found.notes)
    assert any("compared up to 2024-10-03 10:30" in note for note in found.notes)


def test_results_are_compared_and_what_differs_in_their_origins_is_named():
    ours, theirs = run(), run(commission=0.001)
    found = nb.divergence(ours, theirs)
    assert found.names == ("left", "right")
    assert found.first.kind == "fill"
    assert "broker.commission.model is 'none' and 'percent'" in found.causes
    assert "in the left run" in found.sentence
    assert not nb.divergence(ours, run())
    assert nb.divergence(ours, run()).sentence == "no difference up to 2024-10-03 14:30 EDT"
    found = nb.divergence(ours, run(SmaCross))
    assert found.causes[0] == "Settable(every=7, size=3.0) against SmaCross(fast=10, slow=30)"


def test_a_saved_result_is_compared_as_the_run(tmp_path, system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(60)
    system.buy(size=2)
    system.resume()
    result = system.wait()
    loaded = nb.Result.load(result.save(tmp_path / "run.nbbt"))
    assert not nb.divergence(system, loaded)
    found = nb.divergence(run(), loaded)
    assert found.causes[0] == "buy(size=2) at 2024-10-03 10:30 by hand only in the right run"
    assert found.first.right == "order to buy 2 ASSET (market) of hand submitted"


def test_runs_of_other_bars_are_compared_as_far_as_they_can_be():
    data = {"A": minutes(300), "B": minutes(300, seed=3)}
    both = nb.backtest(data, Settable, config=ALWAYS)
    one = nb.backtest({"A": minutes(300)}, Settable, config=ALWAYS)
    found = nb.divergence(both, one)
    assert "only the left run has B" in found.notes
    assert "B" in found.first.left
    assert found.first.right is None
    other = nb.divergence(run(), run(data=minutes(300, seed=9)))
    assert "the bars of ASSET aren't the same" in other.notes
    coarse = nb.backtest(
        minutes(300).resample("5min").agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}),
        Settable, config=ALWAYS,
    )  # fmt: skip
    found = nb.divergence(run(), coarse)
    assert any("300 instants up to there, and the right run 60" in note for note in found.notes)
    assert len(found.equity) == 300
    assert found.equity["right"].notna().sum() >= 60
    assert isinstance(found.plot().to_json(), str)


def test_daily_and_intraday_runs_share_an_axis():
    days = pd.date_range("2024-10-01", periods=5, freq="D")
    prices = pd.DataFrame({name: np.arange(5) + 100.0 for name in ("open", "high", "low", "close")}, index=days)
    daily = nb.backtest(prices.assign(volume=1.0), Settable, config=ALWAYS)
    found = nb.divergence(run(), daily)
    assert len(found.equity) >= 300
    assert found.plot() is not None


def test_it_shows_as_html_and_as_a_figure(system):
    system.start({**ALWAYS, "session_name": "<b>"}, data=minutes(300), strategies=Settable, paused=True)
    system.step(60)
    other = system.fork(params={"every": 4})
    for one in (system, other):
        one.step(100)
    found = nb.divergence(system, other)
    page = found._repr_html_()
    assert "Forked at 2024-10-03 10:30 with every=4" in page
    assert "<td" in page
    figure = found.plot()
    assert [trace.name for trace in figure.data] == ["run", "fork", "fork less run"]
    assert [note.text for note in figure.layout.annotations] == ["fork", "first difference"]
    place, first = (shape.x0 for shape in figure.layout.shapes)
    assert figure.data[0].x[0] < place < first < figure.data[0].x[-1]
    assert "<b>" not in figure.layout.title.text
    other.stop()


def test_before_the_first_bar_nothing_differs(system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    other = system.fork(params={"every": 4})
    found = nb.divergence(system, other)
    assert found.sentence == "forked before the first bar with every=4; no difference up to the start"
    assert len(found.equity) == 0
    assert found.plot() is not None
    assert "Final equity" in repr(found)
    other.stop()


def test_what_cant_be_compared_is_refused(system):
    with pytest.raises(TypeError, match="compares SystemManagers and Results"):
        nb.divergence(run(), 5)
    with pytest.raises(RuntimeError, match="nothing was started"):
        nb.divergence(run(), nb.SystemManager(reachable=False))
    told = []

    class Asks(Settable):
        def on_bar(self, bar):
            with pytest.raises(RuntimeError, match="its own run"):
                nb.divergence(system, system)
            told.append(1)

    system.start(ALWAYS, data=minutes(3), strategies=Asks, wait=True)
    assert told == [1] * 3
