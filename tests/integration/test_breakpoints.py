"""The laws of breakpoints: runs rest where they hold and nowhere else, forwards, backwards and in the past, and end as if there were none."""

from __future__ import annotations

import logging
import random
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.erratic import brokers, events, markets, random_market
from tests.live import live_of
from tests.markets import days, minutes
from tests.witness import Roaming, Witness, kinds

ALWAYS = {"exchange": "24/7"}


@contextmanager
def threads(wanted):
    """Runs with threads, or without."""
    with pytest.MonkeyPatch.context() as patch:
        if wanted == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        yield


@contextmanager
def managed():
    """A manager whose run ends with the block."""
    system = nb.SystemManager(reachable=False)
    try:
        yield system
    finally:
        if not system.is_stopped():
            system.stop()


@pytest.fixture(params=["on", "off"])
def system(request):
    """A manager with threads, and one without."""
    with threads(request.param), managed() as system:
        yield system


def go_on(system):
    """Let the run go on, until it rests again or has ended."""
    rests = threading.Event()
    forget = system.on_state(lambda state: rests.set() if state != "running" else None)
    try:
        system.resume()
        while system.is_running():
            assert rests.wait(30)
            rests.clear()
    finally:
        forget()


def set_all(system, all_terms):
    """A breakpoint for each of the terms."""
    for terms in all_terms:
        system.breakpoints.add(**{terms.kind: terms.value}, symbol=terms.symbol, strategy=terms.strategy)


RUNS = (
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.booleans(), st.lists(kinds(["S0"]), min_size=1, max_size=4),
)  # fmt: skip


def players(seed, sessions, joining, leaving, late):
    return [
        Roaming(seed=seed + n, sessions=sessions, joining=joining and not n, leaving=leaving and not n, late=late)
        for n in range(2)
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("wanted", ["on", "off"])
@settings(max_examples=15)
@given(*RUNS, st.sampled_from([0.0, 1e6]))
def test_runs_rest_where_all_snapshots_say(
    wanted, market, broker, actions, seed, sessions, joining, leaving, all_terms, speed
):
    """Forwards, by steps as long as they come; then back from place to place; then on to the result that there would have been."""
    config, data, late = random_market(market, broker, actions, seed)
    many = players(seed, sessions, joining, leaving, late)
    seen = Witness(config, data, many)
    expected = sorted({cursor for terms in all_terms for cursor in seen.places(terms)})
    total = len(seen.shots) - 1
    with threads(wanted), managed() as system:
        system.start(config, data=data, strategies=many, paused=True)
        system.set_speed(speed)
        set_all(system, all_terms)
        rests = []
        while system.is_paused() and system.snapshot().cursor < total:
            before = system.snapshot().cursor
            far = min(100_000, total - before)
            came = system.step(far)
            assert system.is_paused()
            cursor = system.snapshot().cursor
            assert came is (cursor == before + far)
            if system.breakpoints.hit:
                rests.append(cursor)
                held = {one.terms for one in system.breakpoints.hit}
                assert held == {terms for terms in all_terms if cursor in seen.places(terms)}
        assert rests == expected
        system.breakpoints.clear()
        for terms in all_terms:
            made = system.breakpoints.add(**{terms.kind: terms.value}, symbol=terms.symbol, strategy=terms.strategy)
            places = [cursor for cursor in seen.places(terms) if cursor < system.snapshot().cursor]
            for place in places[:-4:-1]:
                assert system.run_back_until(made)
                assert system.snapshot().cursor == place
            if len(places) < 4:
                assert not system.run_back_until(made)
            system.rewind("end")
        system.breakpoints.clear()
        system.resume()
        ended = system.wait(30).fingerprint
    with managed() as reference:
        reference.start(config, data=data, strategies=many)
        assert reference.wait(30).fingerprint == ended


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("wanted", ["on", "off"])
@settings(max_examples=15)
@given(*RUNS)
def test_wandering_runs_rest_at_the_next_place(
    wanted, market, broker, actions, seed, sessions, joining, leaving, all_terms
):
    """Whatever way a run goes to and fro, and whenever breakpoints come and go, each way forward ends at the first place ahead."""
    config, data, late = random_market(market, broker, actions, seed)
    many = players(seed, sessions, joining, leaving, late)
    seen = Witness(config, data, many)
    places = {terms: seen.places(terms) for terms in all_terms}
    total, dice, asked = len(seen.shots) - 1, random.Random(seed), {}
    with threads(wanted), managed() as system:
        system.start(config, data=data, strategies=many, paused=True)
        for _ in range(25):
            if dice.random() < 0.3:
                terms = dice.choice(all_terms)
                if terms in asked:
                    system.breakpoints.remove(asked.pop(terms))
                elif not (terms.symbol or terms.strategy) or system.snapshot().cursor:
                    asked[terms] = system.breakpoints.add(
                        **{terms.kind: terms.value}, symbol=terms.symbol, strategy=terms.strategy
                    )
            cursor = system.snapshot().cursor
            if dice.random() < 0.4 and system.horizon:
                system.rewind(dice.randint(0, system.horizon))
            elif cursor < total - 1:
                n = min(dice.choice((1, 2, 10, 60)), total - 1 - cursor)
                ahead = min((c for terms in asked for c in places[terms] if c > cursor), default=total + 1)
                goal = min(cursor + n, ahead)
                assert system.step(n) is (goal == cursor + n)
                assert system.snapshot().cursor == goal
                assert bool(system.breakpoints.hit) is (goal == ahead)
        system.breakpoints.clear()
        system.resume()
        ended = system.wait(30).fingerprint
    with managed() as reference:
        reference.start(config, data=data, strategies=many)
        assert reference.wait(30).fingerprint == ended


@pytest.mark.parametrize("speed", [0.0, 1e5])
def test_a_run_that_was_resumed_rests_at_a_breakpoint(speed):
    """Data-driven and clock-driven: PAUSED is told, the status and the list say which breakpoint it was."""
    with managed() as system:
        made = [system.breakpoints.add("12:00"), system.breakpoints.add(fill=True, once=True)]
        assert [str(one) for one in made] == ["breakpoint 1 (12:00)", "breakpoint 2 (fill)"]
        system.start(ALWAYS, data=minutes(3_000), strategies=SmaCross, paused=True)
        system.set_speed(speed)
        go_on(system)
        assert system.is_paused()
        assert system.breakpoints.hit == (made[1],)
        assert system.snapshot().n_fills == 1
        assert system.status()["session"]["breakpoints"] == ["2: fill"]
        assert list(system.breakpoints) == [made[0]]
        go_on(system)
        assert str(system.snapshot().time) == "2024-10-03 12:00:00-04:00"
        assert repr(system.breakpoints) == "<Breakpoint 1: 12:00, hit 1 time>"
        system.resume()
        assert system.breakpoints.hit == ()
        go_on(system) if system.is_paused() else None


def test_a_step_that_ends_at_a_breakpoint_has_come_there(system):
    """True where it was to go, False where it was held before; the next one goes on."""
    system.start(ALWAYS, data=minutes(300), strategies=SmaCross, paused=True)
    system.breakpoints.add(lambda shot: shot.cursor in (5, 7))
    assert system.step(5) is True
    assert system.breakpoints.hit
    assert system.step(5) is False
    assert system.snapshot().cursor == 7
    assert system.run_until(lambda shot: shot.cursor == 9) is True
    assert not system.breakpoints.hit
    system.rewind(3)
    assert system.run_until("10:00") is False
    assert system.snapshot().cursor == 5
    assert system.run_until(lambda shot: shot.cursor == 7) is True


def test_breakpoints_outlast_runs(system):
    """As a debugger's do: the next run of the manager rests at them too; those that it can't have are passed over."""
    system.start(ALWAYS, data=minutes(100), strategies=SmaCross, paused=True)
    system.breakpoints.add(time="2024-10-03 10:00")
    system.breakpoints.add("10:05")
    system.step(100)
    system.stop()
    system.start(ALWAYS, data=days(50), strategies=SmaCross, paused=True)
    assert system.step(30)  # daily bars of 2020: neither time is there
    system.stop()
    system.start(ALWAYS, data=minutes(100), strategies=SmaCross, paused=True)
    assert not system.step(100)
    assert system.snapshot().cursor == 30
    assert not system.step(100)
    assert system.snapshot().cursor == 35
    assert nb.SystemManager(reachable=False).breakpoints is not system.breakpoints
    assert len(nb.SystemManager(reachable=False).breakpoints) == 0


class Careless(nb.Strategy):
    """Raises at its 50th bar, and at its 70th."""

    def on_start(self):
        self.n = 0

    def on_bar(self, bar):
        self.n += 1
        if self.n in (50, 70):
            raise ZeroDivisionError(f"bar {self.n}")


def test_an_error_holds_a_run_that_it_would_have_ended(system):
    """As `on_error: "pause"` does; the past is replayed through it; without the breakpoint it ends the run."""
    system.breakpoints.add(error=True)
    system.start(ALWAYS, data=minutes(100), strategies=Careless, paused=True)
    assert not system.step(100)
    assert (system.snapshot().cursor, str(system.error.__cause__)) == (50, "bar 50")
    assert [str(one) for one in system.breakpoints.hit] == ["breakpoint 1 (error)"]
    assert system.step(10)
    assert system.error is None
    assert system.run_back_until("error")
    assert (system.snapshot().cursor, system.strategies[0].n) == (50, 50)
    system.rewind("end")
    assert system.snapshot().cursor == 60
    system.rewind(40)
    assert not system.step(20)
    assert (system.snapshot().cursor, str(system.error.__cause__)) == (50, "bar 50")
    system.breakpoints.clear()
    assert system.step(10)
    assert not system.step(20)
    assert system.is_stopped()
    assert str(system.error.__cause__) == "bar 70"


def test_a_condition_that_raises_holds_the_run_and_says_why(system, caplog):
    """The conservative answer: something is wrong there, whatever it is."""
    made = system.breakpoints.add(lambda shot: shot.cursor > 3 and shot.bars["NONE"])
    with caplog.at_level(logging.WARNING, "nbbacktest"):
        system.start(ALWAYS, data=minutes(20), strategies=SmaCross, paused=True)
        assert not system.step(10)
    assert (system.snapshot().cursor, repr(made.error)) == (4, "KeyError('NONE')")
    assert system.error is None
    assert "breakpoint 1 (<lambda>) raised KeyError: 'NONE'; the run rests there" in caplog.text


def test_a_condition_is_given_the_instant_whole(system):
    """Indicators, orders and all: what it is given is what a snapshot shows, and may be kept."""
    import talib

    class Streams(nb.Strategy):
        def on_start(self):
            self.indicator(talib.stream.SMA, "close", 5)  # never read by the strategy
            self.count = 0

        def on_bar(self, bar):
            self.count += 1
            if self.count % 10 == 0:
                self.buy(size=1, stop_loss=bar.close - 1)

    kept = []
    system.breakpoints.add(lambda shot: kept.append(shot) or shot.cursor % 50 == 0)
    system.start(ALWAYS, data=minutes(200), strategies=Streams, paused=True)
    from tests.erratic import differences

    for stop in (50, 100, 150):
        system.step(100)
        assert (system.snapshot().cursor, kept[-1].cursor) == (stop, stop)
        assert not differences(system.snapshot(), kept[-1])
    assert [shot.cursor for shot in kept] == list(range(1, 151))
    assert not differences(system.look(77), kept[76])


def test_breakpoints_come_and_go_while_the_run_goes_on():
    """Added and removed from another thread, again and again: the run always comes to the one that is left."""
    with managed() as system:
        system.start(ALWAYS, data=minutes(60_000), strategies=SmaCross, paused=True)
        system.resume()
        for _ in range(200):
            made = system.breakpoints.add(equity=-1.0)
            system.breakpoints.add(fill=True, symbol="ASSET", once=True)
            system.breakpoints.remove(made.number)
            if system.is_paused():
                system.resume()
        system.breakpoints.clear()
        while not system.is_stopped():  # a hit of before may still come to rest
            if system.is_paused():
                go_on(system)
        expected = nb.backtest(minutes(60_000), SmaCross, config=ALWAYS).fingerprint
        assert system.wait(60).fingerprint == expected


def test_a_strategy_may_set_a_breakpoint(system):
    """In a callback: it holds from the next instant on."""

    class Sets(nb.Strategy):
        count: int = 0

        def on_bar(self, bar):
            self.count += 1
            if self.count == 5 and not self.is_replay:
                system.breakpoints.add(lambda shot: True, once=True)

    system.start(ALWAYS, data=minutes(20), strategies=Sets, paused=True)
    assert not system.step(10)
    assert system.snapshot().cursor == 6
    assert len(system.breakpoints) == 0


async def later(shot):
    return True


def generator(shot):
    yield True


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({}, "a breakpoint needs a condition: when=, time=, fill=True"),
        ({"fill": True, "order": True}, "fill= and order=: a breakpoint has one kind; add one for each"),
        ({"when": 3}, r"breakpoints.add\(3\): give a function of a Snapshot"),
        ({"when": later}, "is a coroutine function"),
        ({"when": generator}, "is a generator function"),
        ({"when": "noon"}, "'noon' is no place; write a time such as 10:30, 'fill'"),
        ({"time": 5}, "time=5 is no time; write '10:30'"),
        ({"time": "soon"}, "'soon' is no time"),
        (
            {"time": "2031-01-01"},
            r"time='2031-01-01' is outside of the run, which goes from 2024-10-03 09:30:00-04:00 to",
        ),
        ({"time": "2019-01-01"}, "is outside of the run"),
        ({"time": "09:00"}, "is outside of the run"),
        ({"fill": False}, "fill=False: give True, or leave it out"),
        ({"fill": 3}, "fill=3: give True"),
        ({"order": 0}, "order=0: give True for any order, or the number of one"),
        ({"order": "x"}, "order='x'"),
        ({"rejected": "yes"}, "rejected='yes'"),
        ({"session": "noon"}, "session='noon': give 'start', which True means too, or 'end'"),
        ({"error": 1}, "error=1: give True"),
        (
            {"drawdown": -0.1},
            "drawdown=-0.1: give the fraction of the highest equity that is lost, such as 0.1 for 10%",
        ),
        ({"drawdown": 10}, "drawdown=10"),
        ({"drawdown": "10%"}, "drawdown='10%' is no number"),
        ({"drawdown": True}, "drawdown=True is no number"),
        ({"equity": float("nan")}, "equity=nan is no number"),
        ({"fill": True, "symbol": "MSFT"}, "symbol='MSFT' isn't in the run; there are ASSET"),
        ({"fill": True, "strategy": "Other"}, "strategy='Other' isn't in the run; there are SmaCross"),
        ({"fill": True, "symbol": 3}, "symbol=3: give its name"),
        (
            {"drawdown": 0.1, "symbol": "ASSET"},
            "symbol='ASSET' narrows fill, order, rejected; it doesn't go with drawdown",
        ),
        ({"when": "fill ASSET", "symbol": "ASSET"}, "'fill ASSET' names a symbol, and symbol='ASSET' is given"),
        ({"symbol": "ASSET"}, "a breakpoint needs a condition"),
        ({"fill": True, "once": 1}, "once=1: give True or False"),
    ],
)
def test_what_is_no_breakpoint_is_refused(given_, told):
    """One clear error; nothing is set."""
    with managed() as system:
        system.start(ALWAYS, data=minutes(100), strategies=SmaCross, paused=True)
        with pytest.raises(ValueError, match=told):
            system.breakpoints.add(**given_)
        assert len(system.breakpoints) == 0


def test_what_isnt_set_cant_be_removed():
    """By its number or itself."""
    breakpoints = nb.SystemManager(reachable=False).breakpoints
    with pytest.raises(ValueError, match="3 isn't set; no breakpoint is"):
        breakpoints.remove(3)
    one, two = breakpoints.add("fill"), breakpoints.add(drawdown=0.075)
    assert (repr(two), breakpoints[2]) == ("<Breakpoint 2: drawdown 7.5%>", two)
    breakpoints.remove(one)
    with pytest.raises(ValueError, match=r"<Breakpoint 1: fill> isn't set; there are 2"):
        breakpoints.remove(one)
    with pytest.raises(KeyError):
        breakpoints[1]
    breakpoints.clear()
    assert repr(breakpoints) == "<no breakpoints>"
    assert breakpoints.add("error").number == 3


def test_a_live_run_isnt_held():
    """It says so when one is set; those of before stay for the next backtest."""
    with managed() as system:
        system.breakpoints.add("fill")
        system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
        with pytest.raises(nb.LiveRunError, match="can't set a breakpoint in a live run: the market doesn't wait"):
            system.breakpoints.add("order")
        assert system.run.analysis.watch is None
        assert len(system.breakpoints) == 1
        assert system.is_running()
