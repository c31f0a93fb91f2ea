"""The laws of forks: without a change a fork is its parent, with one it is the run to which that was done, and the parent stays as it is."""

from __future__ import annotations

import gc
import random
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.erratic import brokers, events, markets, parts, random_market
from tests.integration.test_inputs import Settable, headless, play
from tests.integration.test_rewind import Hidden, Restless
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}
DEAR = {"commission": {"model": "percent", "rate": 0.002}}


def ended(system):
    """The fingerprint at the end, and what was done by hand."""
    if system.is_paused():
        system.resume()
    return system.wait(20).fingerprint, [one._replace(time=None, by="") for one in system.inputs]


def workers():
    """The threads of runs; that of callbacks ends by itself."""
    return {one for one in threading.enumerate() if one.name.startswith("nbbacktest-") and "callback" not in one.name}


def has_more_than(threads):
    """True if another thread of a run goes on than these."""
    for one in workers() - threads:
        one.join(5)
    return bool(workers() - threads)


def face(system):
    """All that is seen of a system that rests."""
    status = system.status()
    state = [status[name] for name in ("portfolio", "error")]
    return system.get_state(), system.horizon, system.inputs, parts(system.snapshot()), state


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=20)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.sampled_from(["stop", "pause"]),
)  # fmt: skip
def test_a_fork_without_a_change_is_its_parent(threads, market, broker, actions, seed, sessions, joining, on_error):
    """Law 6, over orders, accounts, sessions, actions, symbols that join and leave, and inputs of each kind."""
    config, data, late = random_market(market, broker, actions, seed)
    config["on_error"] = on_error
    dice = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        if threads == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        system = nb.SystemManager(reachable=False)
        strategies = [Restless(seed=seed, sessions=sessions, late=late), Settable()]
        system.start(config, data=data, strategies=strategies, paused=True)
        others = []
        try:
            play(system, dice, 15, ("Restless", "Settable"), late if joining else None)
            before = face(system)
            other = system.fork()
            others.append(other)
            assert face(system) == before
            assert other.is_paused()
            assert parts(other.snapshot()) == before[3]
            assert other.inputs == before[2][: system.run.world.n_inputs]
            assert not other.in_past
            # a fork goes its own way, and so does a fork of it
            play(other, dice, 8, ("Restless", "Settable"))
            other.rewind("end")
            others.append(other.fork())
            assert parts(others[1].snapshot()) == parts(other.snapshot())
            assert face(system) == before
            assert ended(others[1]) == ended(other)
            assert face(system) == before
            if not system.in_past:
                others.append(system.fork())
                assert ended(others[2]) == ended(system)
            else:
                _, line = ended(system)
                assert line == [one._replace(time=None, by="") for one in before[2]]
        finally:
            for one in (system, *others):
                if not one.is_stopped():
                    one.stop()


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=20)
@given(markets, brokers, st.integers(0, 10**6), st.booleans())
def test_a_fork_with_a_change_is_the_run_to_which_that_was_done(market, broker, seed, dearer):
    """And with other costs from the start on it is the run with these costs."""
    config, data, _ = random_market(market, broker, [], seed)
    dice = random.Random(seed)
    system = nb.SystemManager(reachable=False)
    system.start(config, data=data, strategies=Settable, paused=True)
    others = []
    costs = {
        "commission": dice.choice(
            (DEAR["commission"], {"model": "per_trade", "amount": 1.0}, {"model": "tiered", "tiers": [{"above": 0.0, "rate": 0.001}]})
        ),
        "slippage": {"model": "fixed", "amount": 0.01},
        "borrow": {"model": "annual", "rate": 0.1},
        "interest": {"model": "annual", "rate": 0.1},
    }  # fmt: skip
    try:
        if dearer:
            others.append(system.fork(costs=costs))
            whole = nb.backtest(data, Settable, config={**config, "broker": {**config["broker"], **costs}})
            result = ended(others[0]) and others[0].wait()
            assert result.fills.equals(whole.fills)
            assert result.equity.equals(whole.equity)
            assert result.flows.equals(whole.flows)
        play(system, dice, 10, ("Settable",))
        system.rewind("end")
        others.append(system.fork(params={"every": 4, "size": 2.0}))
        before = system.inputs
        system.change(every=4, size=2.0)
        assert parts(system.snapshot()) == parts(others[-1].snapshot())
        assert others[-1].inputs[:-1] == before
        # a post-mortem of a fork: its line is repeated, and comes to the same end
        assert ended(others[-1]) == ended(system)
        others[-1].rewind("start")
        assert ended(others[-1]) == ended(system)
        again, _, _ = headless(config, data, Settable, others[-1].inputs)
        assert again.fingerprint == system.wait().fingerprint
    finally:
        for one in (system, *others):
            if not one.is_stopped():
                one.stop()


def test_costs_change_from_the_place_on(system):
    system.start(ALWAYS, data=minutes(600), strategies=Settable, paused=True)
    system.step(300)
    other = system.fork(costs=DEAR)
    assert other.run.fork.changes == "commission percent (rate=0.002)"
    other.resume()
    system.resume()
    ours, theirs = system.wait(), other.wait()
    place = ours.equity.index[299]
    early = ours.fills.time < place
    assert early.any()
    assert not early.all()
    assert not ours.fills.commission.any()
    assert not theirs.fills[early].commission.any()
    assert (theirs.fills[~early].commission > 0).all()
    assert list(theirs.log.message) == ["commission percent (rate=0.002) by hand"]
    # taken back and forth over its place, it is the same fork
    assert other.rewind(200)
    assert other.run.fork is not None
    assert ended(other)[0] == theirs.fingerprint


def test_another_strategy_has_a_past_of_its_own(system):
    data = minutes(600)
    system.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    system.step(100)
    system.buy(size=5)
    system.step(200)
    other = system.fork(strategy=Settable, params={"every": 9})
    assert other.snapshot().cursor == 300
    assert other.is_paused()
    assert [(one.what, one.place.cursor) for one in other.inputs] == [("buy", 100)]
    expected, _, _ = headless(ALWAYS, data, Settable(every=9), system.inputs)
    assert ended(other)[0] == expected.fingerprint
    assert system.snapshot().cursor == 300
    assert (other.run.fork.is_whole, other.run.fork.changes) == (True, "Settable, every=9")
    # its next start is its own origin
    other.start(wait=True)
    assert other.wait().fingerprint == nb.backtest(data, Settable(every=9), config=ALWAYS).fingerprint


def test_another_config_goes_to_the_same_time(system):
    """Also of other bars: every five minutes there are fewer instants."""
    data = minutes(600)
    system.start(ALWAYS, data=data, strategies=Settable, paused=True)
    system.step(50)
    system.buy(size=2)
    system.step(250)
    other = system.fork(config={"broker": {"fill": "next_close"}})
    expected, _, _ = headless({**ALWAYS, "broker": {"fill": "next_close"}}, data, Settable, system.inputs)
    assert other.snapshot().time == system.snapshot().time
    assert ended(other)[0] == expected.fingerprint
    later = system.fork(config={"backtest": {"start_date": "2024-10-03"}, "limits": {"max_per_symbol": 150.0}})
    assert later.snapshot().time == system.snapshot().time
    later.stop()


@pytest.mark.parametrize("kind", ["random", "global", "class", "default"])
def test_a_strategy_that_does_not_repeat_itself_is_not_forked_silently(system, kind):
    """Law 9; its parent stays as it was."""
    system.start(ALWAYS, data=minutes(600), strategies=Hidden, kind=kind, paused=True)
    system.step(500)
    before = face(system)
    threads = workers()
    with pytest.raises(nb.ReplayError, match="doesn't repeat itself"):
        system.fork()
    assert face(system) == before
    assert not has_more_than(threads)
    assert system.step()


def test_of_a_run_that_has_ended(system):
    data = minutes(300)
    result = nb.backtest(data, Settable, config=ALWAYS)
    system.start(ALWAYS, data=data, strategies=Settable, wait=True)
    other = system.fork()
    assert (other.is_paused(), other.snapshot().cursor) == (True, 300)
    assert system.is_stopped()
    assert parts(other.snapshot(), "total", "is_open") == parts(system.snapshot(), "total", "is_open")
    assert ended(other)[0] == result.fingerprint
    assert system.wait().fingerprint == result.fingerprint
    # stopped in its past: the fork stands there
    system.rewind(100)
    system.stop()
    other = system.fork()
    assert (other.snapshot().cursor, other.in_past) == (100, False)
    assert ended(other)[0] == result.fingerprint


def test_a_run_that_goes_on_is_held_for_it_and_goes_on():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS | {"backtest": {"speed_multiplier": 60_000}}, data=minutes(50_000), strategies=Settable)
    seen = threading.Event()
    forget = system.on_progress(lambda shot: shot.cursor > 20 and seen.set())
    assert seen.wait(20)
    other = system.fork()
    forget()
    assert system.is_running()
    place = other.snapshot().cursor
    assert other.is_paused()
    assert place >= 20
    assert parts(other.snapshot(), "total") == parts(system.look(place), "total")
    other.stop()
    system.set_speed(0)
    assert system.wait().fingerprint == nb.backtest(minutes(50_000), Settable, config=ALWAYS).fingerprint


class Stumbles(Settable):
    """Fails at its bar number `at`."""

    at: int = 200

    def on_bar(self, bar):
        super().on_bar(bar)
        if len(self.bars()) == self.at:
            raise KeyError(self.at)


def test_a_run_that_failed_is_forked_before_the_bar_that_raised(system):
    system.start(ALWAYS, data=minutes(300), strategies=Stumbles, paused=True)
    system.resume()
    with pytest.raises(nb.StrategyError):
        system.wait()
    other = system.fork()
    assert other.snapshot().cursor == 199
    assert parts(other.snapshot()) == parts(system.look(199))
    with pytest.raises(nb.StrategyError):
        ended(other)
    assert system.rewind(150)
    other = system.fork(params={"at": 1000})
    other.resume()
    assert len(other.wait().equity) == 300


def test_a_strategy_that_ends_its_own_past_early_is_told(system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(250)
    with pytest.raises(nb.StrategyError, match="KeyError"):
        system.fork(strategy=Stumbles)
    assert system.step()
    made = []

    class Stops(Settable):
        def on_bar(self, bar):
            if len(self.bars()) == 100:
                made[0].stop()

    real = nb.SystemManager.__init__

    def init(self, **options):
        real(self, **options)
        made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb.SystemManager, "__init__", init)
        with pytest.raises(nb.DataError, match="before it came to the place"):
            system.fork(strategy=Stops)
    assert system.step()


@pytest.mark.parametrize(
    ("bad", "error", "why"),
    [
        ({"params": {"fastt": 5}}, nb.ConfigError, "fastt"),
        ({"params": {"every": "x"}}, nb.ConfigError, "every"),
        ({"params": 5}, TypeError, r"params=5\): give a mapping"),
        ({"params": {"Settable": {"every": 3}, "size": 2}}, nb.OrderError, "stands beside"),
        ({"costs": {"comission": DEAR["commission"]}}, nb.ConfigError, "did you mean 'commission'"),
        ({"costs": {"fill": "next_close"}}, nb.ConfigError, "is no cost"),
        ({"costs": {"commission": {"model": "percent", "rate": -1}}}, nb.ConfigError, "rate"),
        ({"costs": {"commission": nb.PercentCommission}}, nb.ConfigError, "commission"),
        ({"costs": {"commission": {"model": "callable", "function": len}}}, nb.ConfigError, "name it as"),
        ({"costs": 0.1}, TypeError, "give a mapping"),
        ({"config": {"brokr": {}}}, nb.ConfigError, "brokr"),
        ({"config": {"mode": "live"}}, nb.ConfigError, "mode"),
        ({"config": "x.json"}, TypeError, "give a mapping"),
        ({"strategy": int}, nb.ConfigError, "no Strategy"),
        ({"strategy": Settable, "params": {"fast": 3}}, nb.ConfigError, "fast"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_happens(system, bad, error, why):
    system.start(ALWAYS, data=minutes(100), strategies=Settable, paused=True)
    system.step(50)
    before, threads = face(system), workers()
    with pytest.raises(error, match=why):
        system.fork(**bad)
    assert face(system) == before
    assert not has_more_than(threads)
    assert system.step()


def test_where_there_is_nothing_to_fork():
    with pytest.raises(RuntimeError, match="nothing was started"):
        nb.SystemManager(reachable=False).fork()
    told = []
    system = nb.SystemManager(reachable=False)

    class Forks(Settable):
        def on_bar(self, bar):
            with suppress(RuntimeError):
                system.fork()
                told.append("forked")

    system.start(ALWAYS, data=minutes(20), strategies=Forks, wait=True)
    assert told == []


def test_an_input_that_means_an_order_by_its_id_is_of_one_past_only(system):
    system.start(ALWAYS, data=minutes(100), strategies=Settable(every=1000), paused=True)
    system.step(10)
    row = system.buy(size=2, limit=1.0)
    system.cancel(row)
    system.step()
    with pytest.raises(nb.OrderError, match="by its id"):
        system.fork(strategy=SmaCross)
    assert ended(system.fork())[0] == ended(system)[0]


def test_a_symbol_that_joined_by_hand_joins_the_fork(system):
    system.start(ALWAYS, data={"A": minutes(300)}, strategies=Settable, paused=True)
    system.step(50)
    system.add_symbol("B", minutes(300, seed=5))
    system.step(50)
    forks = [system.fork(), system.fork(strategy=Settable)]
    assert [list(one.snapshot().counts) for one in forks] == [["A", "B"]] * 2
    assert len({ended(one)[0] for one in (system, *forks)}) == 1


def test_a_live_run_cant_be_forked():
    system = nb.SystemManager(reachable=False)
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        with pytest.raises(nb.LiveRunError, match="can't fork a live run"):
            system.fork()
    finally:
        system.stop()


@pytest.mark.parametrize("at", [0, 300])
@pytest.mark.parametrize(
    "changes",
    [{}, {"params": {"every": 4}}, {"costs": DEAR}, {"strategy": Settable}, {"params": {"every": 3}, "costs": DEAR}],
)
def test_a_fork_has_a_journal_of_its_own(tmp_path, monkeypatch, changes, at):
    """It is gone on with if its process dies, and repeated to the same fingerprint; the run's journal is as it was."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    data = minutes(600)
    system = nb.SystemManager()
    system.start(ALWAYS, data=data, strategies=Settable, paused=True)
    if at:
        system.step(100)
        system.buy(size=3)
        system.step(at - 100)
    kept = system.journal.path.read_bytes() if at else b""
    other = system.fork(**changes)
    assert other.journal.path not in (None, system.journal.path)
    other.step(50)
    assert (system.journal.path.read_bytes() if at else b"") == kept
    shown, path, inputs, run = parts(other.snapshot()), other.journal.path, other.inputs, other.run
    del other
    gc.collect()
    assert run.wait(10)
    again = nb.SystemManager()
    assert again.recover(path, data=data, strategies=[Settable])
    assert parts(again.snapshot()) == shown
    assert [(one.place, one.what) for one in again.inputs] == [(one.place, one.what) for one in inputs]
    again.resume()
    result = again.wait()
    assert nb.replay(path, data=data, strategies=[Settable]).fingerprint == result.fingerprint
    system.stop()


class Shorts(nb.Strategy):
    """Is short from its fifth bar on."""

    def on_bar(self, bar):
        if len(self.bars()) == 5:
            self.sell(size=100)


def test_what_short_positions_pay_counts_from_the_place_on(system):
    config = {**ALWAYS, "broker": {"account": "margin"}}
    borrow = {"borrow": {"model": "annual", "rate": 0.5}}
    data = minutes(4_500)
    whole = nb.backtest(data, Shorts, config={**ALWAYS, "broker": {"account": "margin", **borrow}}).flows
    system.start(config, data=data, strategies=Shorts, paused=True)
    first = system.fork(costs=borrow)
    system.step(2_000)
    later = system.fork(costs=borrow)
    place = later.snapshot().time
    for one in (system, first, later):
        ended(one)
    assert system.wait().flows.empty
    assert first.wait().flows.equals(whole)
    assert len(whole) > 2
    assert later.wait().flows.time.tolist() == [time for time in whole.time if time > place]
    assert not later.wait().flows.empty
