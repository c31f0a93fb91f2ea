"""Live runs: what is pushed is run, as a backtest of the same bars would have been; what makes no sense is refused."""

from __future__ import annotations

import gc
import json
import logging
import random
import threading
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.clock import ManualClock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, FeedError, LiveRunError, StrategyError
from nbbacktest.core.intervals import MINUTE
from nbbacktest.data.live_market import written
from nbbacktest.data.sources import load
from nbbacktest.system import run
from tests.live import OPENING, Trader, bars_of, fields, live_of, push_all, run_live
from tests.markets import minutes

FRAMES = {f"S{number}": minutes(90, seed=number, gaps=0.25 * (number % 2)) for number in range(3)}
BACKTEST = {
    "exchange": "XNYS",
    "timezone": "America/New_York",
    "data": {"symbols": list(FRAMES), "interval": "1m", "stamp": "open", "derived_intervals": ["5m", "15m"]},
    "broker": {"commission": {"model": "percent", "rate": 0.0005}},
}
MARKET = load(SessionConfig.load(BACKTEST), FRAMES)
BARS = bars_of(MARKET)
LIVE = live_of(BACKTEST)
ONE = {"mode": "live", "data": {"symbols": ["A"]}}


class Quiet(nb.Strategy):
    def on_start(self):
        self.came = threading.Event()
        self.seen = []

    def on_bar(self, bar):
        self.seen.append(bar)
        self.came.set()


@pytest.fixture(scope="module")
def expected() -> tuple[str, list]:
    """What the backtest of the same bars gives: its fingerprint, and every bar that its strategy saw."""
    trader = Trader()
    result = nb.backtest(MARKET, trader, config=BACKTEST)
    assert len(result.fills) > 50
    return result.fingerprint, trader.seen


@pytest.fixture
def system():
    """A manager whose run is ended."""
    made = nb.SystemManager()
    yield made
    made.stop()


# -- the same as the backtest -------------------------------------------------------------------------------


def test_live_equals_the_backtest_of_the_same_bars(expected):
    """Pushed in order, the bars give the backtest's fingerprint, and strategies see the same bars to the bit."""
    trader = Trader()
    result = run_live(LIVE, lambda feed: push_all(feed, BARS), trader)
    assert (result.fingerprint, trader.seen) == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), heartbeats=st.floats(0, 1), again=st.floats(0, 0.5))
def test_any_interleaving_of_symbols_gives_the_same(expected, seed, heartbeats, again):
    """However symbols overtake each other, with heartbeats and repeated bars in between, the result is the backtest's."""
    rng = random.Random(seed)
    queues = {symbol: [bar for bar in BARS if bar["symbol"] == symbol] for symbol in FRAMES}

    def push(feed):
        sent = []
        while waiting := [symbol for symbol, queue in queues.items() if queue]:
            bar = queues[rng.choice(waiting)].pop(0)
            assert feed.push(bar)
            sent.append(bar)
            if rng.random() < again:
                assert not feed.push(rng.choice(sent))
            if rng.random() < heartbeats and (left := [queue[0]["time"] for queue in queues.values() if queue]):
                feed.heartbeat(min(left))  # the begin of the first bar that hasn't been sent

    trader = Trader()
    assert (run_live(LIVE, push, trader).fingerprint, trader.seen) == expected


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_order_gives_the_same_while_one_symbol_holds_back(expected, seed):
    """Bars of the other symbols may come in any order at all, as long as a silent symbol keeps their instants waiting."""
    rng = random.Random(seed)
    last = [bar for bar in BARS if bar["symbol"] == "S2"]
    others = [bar for bar in BARS if bar["symbol"] != "S2"]
    rng.shuffle(others)
    trader = Trader()
    result = run_live(LIVE, lambda feed: push_all(feed, others + last), trader)
    assert (result.fingerprint, trader.seen) == expected


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_threads_may_push_side_by_side(expected, data):
    """A thread for each symbol, as fast as each goes: the same result."""
    del data

    def push(feed):
        threads = [
            threading.Thread(target=push_all, args=(feed, [b for b in BARS if b["symbol"] == symbol]), daemon=True)
            for symbol in FRAMES
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    trader = Trader()
    assert (run_live(LIVE, push, trader).fingerprint, trader.seen) == expected


def test_one_symbol_and_daily_bars():
    """A single symbol, and bars that are whole sessions, equal their backtests too."""
    frame = minutes(55, seed=5).set_index(pd.bdate_range("2024-10-03", periods=56).drop("2024-11-28"))
    config = {**BACKTEST, "data": {"symbols": ["A"], "interval": "1d"}}
    market = load(SessionConfig.load(config), frame)
    trader, other = Trader(), Trader()
    back = nb.backtest(market, other, config=config)
    result = run_live(live_of(config), lambda feed: push_all(feed, bars_of(market)), trader)
    assert (result.fingerprint, trader.seen) == (back.fingerprint, other.seen)


COSTS = {
    "borrow": {"broker": {"borrow": {"model": "annual", "rate": 0.5}}},
    "interest": {
        "broker": {
            "interest": {"model": "annual", "rate": 0.5}, "account": "margin", "initial_margin": 0.1,
            "maintenance_margin": 0.05,
        }
    },
    "actions": {
        "data": {
            **BACKTEST["data"], "adjusted": False, "actions": [
                {"symbol": "S0", "date": "2024-10-04", "kind": "split", "value": 2},
                {"symbol": "S0", "date": "2024-10-04", "kind": "dividend", "value": 0.5},
                {"symbol": "S1", "date": "2024-10-05", "kind": "dividend", "value": 0.25},
                {"symbol": "S2", "date": "2024-10-03", "kind": "dividend", "value": 1},
                {"symbol": "S2", "date": "2025-10-03", "kind": "dividend", "value": 1},
            ],
        }
    },
}  # fmt: skip


class Holder(nb.Strategy):
    """Is long in one, short in another, beyond its cash where it may."""

    def on_bar(self, bar):
        if len(self.bars(bar.symbol)) == 3 and bar.interval == "1m":
            if bar.symbol == "S1":
                self.sell("S1", 100)
            else:
                self.buy(bar.symbol, 700)


@pytest.mark.parametrize("kind", COSTS)
def test_what_dates_bring_comes_in_live_too(kind):
    """Borrow fees, interest, splits and dividends happen at the instants and to the cent that a backtest has them."""
    frames = {}
    for number, symbol in enumerate(FRAMES):
        days = [minutes(40, seed=number * 10 + d, start=f"{day} 09:30") for d, day in
                enumerate(("2024-10-03", "2024-10-04", "2024-10-07", "2024-10-08"))]  # fmt: skip
        frames[symbol] = pd.concat(days)
    config = {**BACKTEST, **COSTS[kind]}
    market = load(SessionConfig.load(config), frames)
    back = nb.backtest(market, Holder, config=config)
    live = run_live(live_of(config), lambda feed: push_all(feed, bars_of(market)), Holder)
    assert live.fingerprint == back.fingerprint
    assert live.record.flows == back.record.flows
    assert live.record.flows
    assert live.record.splits == back.record.splits


@pytest.mark.parametrize("adjusted", [True, False])
def test_a_delisting_comes_in_live_too(adjusted):
    """At the first instant of its date, the symbol's bars being over: the fills and the equity are those of the backtest."""
    frames, second = {}, list(FRAMES)[1]
    for number, symbol in enumerate(FRAMES):
        days = [minutes(40, seed=number * 10 + d, start=f"{day} 09:30") for d, day in
                enumerate(("2024-10-03", "2024-10-04", "2024-10-07"))]  # fmt: skip
        frames[symbol] = pd.concat(days if symbol != second else days[:2])
    actions = [{"symbol": second, "date": "2024-10-07", "kind": "delist", "value": 12.5}]
    config = {**BACKTEST, "data": {**BACKTEST.get("data", {}), "adjusted": adjusted, "actions": actions}}
    market = load(SessionConfig.load(config), frames)
    back = nb.backtest(market, Holder, config=config)
    live = run_live(live_of(config), lambda feed: push_all(feed, bars_of(market)), Holder)
    assert live.fingerprint == back.fingerprint
    assert [fill.price for fill in live.record.fills if fill.tag == "delisting"] == [12.5]


class Dated(nb.Strategy):
    """Writes down what it is told of sessions, with the time and what can be seen then."""

    def on_start(self):
        self.told = []
        self.schedule(lambda: self.note("before the close"), before_close=30)
        self.schedule(lambda: self.note("at ten"), at="10:00")

    def note(self, what):
        self.told.append((what, str(self.now), *(len(self.bars(symbol)) for symbol in self.symbols)))

    def on_session_start(self, date):
        self.note(f"start {date}")
        if len(self.bars(self.symbols[0])):
            self.buy(self.symbols[0], 1)

    def on_session_end(self, date):
        self.note(f"end {date}")


@pytest.mark.parametrize(
    ("exchange", "zone", "hours"),
    [
        ("XNYS", "America/New_York", "regular"),
        ("XTKS", "Asia/Tokyo", "regular"),
        ("XNYS", "America/New_York", {"open": "04:00", "close": "20:00"}),
    ],
)
def test_sessions_are_told_of_as_in_a_backtest(exchange, zone, hours):
    """Starts, ends and scheduled calls come at the same instants, with the same bars in sight, lunch breaks and all."""
    config = {
        "exchange": exchange, "timezone": zone, "hours": hours,
        "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-07"},
        "data": {"source": "synthetic", "symbols": ["A", "B"], "interval": "5m", "derived_intervals": ["1h"]},
    }  # fmt: skip
    market = load(SessionConfig.load(config))
    told, shown = Dated(), Dated()
    back = nb.backtest(market, told, config=config)
    live = run_live(live_of(config), lambda feed: push_all(feed, bars_of(market)), shown)
    assert len(told.told) == 3 * 4
    assert shown.told == told.told
    assert live.fingerprint == back.fingerprint


# -- history ------------------------------------------------------------------------------------------------


def test_history_is_seen_and_never_traded(system):
    """Data given to start() is warm-up: indicators and views have it, no callback does, and what it holds isn't taken again."""

    class Looks(Quiet):
        def on_start(self):
            super().on_start()
            self.before = len(self.bars("S0")), len(self.bars("S0", "5m")), str(self.now)

    strategy, feed = Looks(), nb.PushFeed()
    past = {symbol: frame.iloc[:31] for symbol, frame in FRAMES.items()}
    system.start(LIVE, feed=feed, data=past, strategies=strategy)
    end = max(frame.index[-1] for frame in past.values())
    assert strategy.before == (31, -(-len(past["S0"]) // 5), str(end + pd.Timedelta(minutes=1)))
    assert not feed.push(BARS[0])
    push_all(feed, BARS)
    feed.close()
    result = system.wait(20)
    assert strategy.seen[0].time > end
    assert result.record.first["S0"] == 31
    assert system.status()["session"]["feed"]["late"] > 60


def test_warmup_days_are_loaded_before_the_start_date():
    """The same file serves warm-up and replay: live from its start date on equals the backtest, warm-up included."""
    config = {
        "exchange": "XNYS", "backtest": {"start_date": "2024-10-08", "end_date": "2024-10-08"},
        "data": {"source": "synthetic", "symbols": ["A", "B"], "interval": "5m", "derived_intervals": ["15m"],
                 "warmup_days": 2},
    }  # fmt: skip
    market = load(SessionConfig.load(config))
    back = nb.backtest(market, Trader, config=config)
    live = run_live(live_of(config), lambda feed: push_all(feed, bars_of(market)), Trader)
    assert (live.fingerprint, live.record.first) == (back.fingerprint, back.record.first)
    assert live.record.first == {"A": 156, "B": 156}


# -- commands -----------------------------------------------------------------------------------------------


def test_pause_is_refused_with_a_warning(system, caplog):
    """pause() answers False, says why in the log, and changes nothing: bars go on."""
    feed, strategy = nb.PushFeed(), Quiet()
    system.start(ONE, feed=feed, strategies=strategy)
    with caplog.at_level(logging.WARNING, "nbbacktest"):
        assert system.pause() is False
        assert system.get_coordinator().pause_backtest() is False
    assert sum("pause refused: a live run can't be held" in record.message for record in caplog.records) == 2
    assert (system.is_running(), system.is_paused(), system.mode) == (True, False, "live")
    assert system.resume() is False
    feed.push(fields("A", 0))
    assert strategy.came.wait(10)


def test_commands_that_would_hold_or_hurry_are_refused(system):
    """Steps, run-until, speeds and symbols on the way say that the market doesn't wait."""
    system.start(ONE, feed=nb.PushFeed(), strategies=Quiet())
    for command in (
        system.step,
        lambda: system.run_until("10:00"),
        lambda: system.set_speed(60),
        lambda: system.add_symbol("B"),
        lambda: system.remove_symbol("A"),
        lambda: system.get_coordinator().set_speed(1),
    ):
        with pytest.raises(LiveRunError, match="a live run: the market doesn't wait"):
            command()
    assert system.is_running()
    with pytest.raises(LiveRunError, match="hold"):
        nb.SystemManager().start(ONE, feed=nb.PushFeed(), strategies=Quiet(), paused=True)


def test_a_speed_asked_for_before_waits_for_the_next_backtest(system):
    """set_speed while stopped is for backtests: a live run in between doesn't take it."""
    system.set_speed(60)
    feed = nb.PushFeed()
    system.start(ONE, feed=feed, strategies=Quiet())
    feed.close()
    system.wait(10)
    system.start({"backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"}}, strategies=Quiet(), paused=True)
    assert system.get_coordinator().speed == 60


def test_strategies_may_stop_their_run_and_not_hold_it(system):
    """In a callback pause() answers False too, and stop() ends the run."""
    answers = []

    class Commands(nb.Strategy):
        def on_bar(self, bar):
            answers.append(system.pause())
            answers.append(system.stop())

    feed = nb.PushFeed()
    system.start(ONE, feed=feed, strategies=Commands)
    feed.push(fields("A", 0))
    system.wait(10)
    assert answers == [False, True]


# -- the end ------------------------------------------------------------------------------------------------


def stopped_quickly(system):
    began = time.monotonic()
    assert system.stop()
    assert time.monotonic() - began < 1.0
    assert system.is_stopped()
    system.wait(1)


def test_stop_ends_a_run_that_waits_for_its_first_bar(system):
    """Nothing has come: stop() still ends at once, and the feed says that its run is over."""
    feed = nb.PushFeed()
    system.start(ONE, feed=feed, strategies=Quiet())
    stopped_quickly(system)
    with pytest.raises(RuntimeError, match="its run is over"):
        feed.push(fields("A", 0))


def test_stop_ends_a_run_whose_bars_wait_for_others(system):
    """A bar that waits for another symbol's holds nobody up."""
    feed = nb.PushFeed()
    system.start({"mode": "live", "data": {"symbols": ["A", "B"]}, "live": {"grace_seconds": 1000}}, feed=feed,
                 strategies=Quiet())  # fmt: skip
    feed.push(fields("A", 0))
    assert system.status()["session"]["feed"]["waiting"] == 1
    stopped_quickly(system)


def test_dropping_the_manager_ends_the_run():
    """No reference left: the threads end by themselves."""
    feed = nb.PushFeed()
    system = nb.SystemManager()
    system.start(ONE, feed=feed, strategies=Quiet())
    run = system._holder.run
    del system
    gc.collect()
    assert run.wait(5)


def test_closing_delivers_everything_and_finishes(system):
    """What was pushed before close() is handled, and the run ends well."""
    feed, strategy = nb.PushFeed(), Quiet()
    system.start(ONE, feed=feed, strategies=strategy)
    push_all(feed, [fields("A", minute) for minute in range(200)])
    feed.close()
    assert system.wait(10).stats["bars"] == 200
    assert len(strategy.seen) == 200
    assert system.error is None
    assert system.status()["session"]["feed"]["state"] == "closed"


def test_closing_with_an_error_fails_the_run_after_what_is_complete(system):
    """Complete instants are handled first; then wait() raises what the feed said."""
    feed, strategy = nb.PushFeed(), Quiet()
    system.start({"mode": "live", "data": {"symbols": ["A", "B"]}, "live": {"grace_seconds": 1000}}, feed=feed,
                 strategies=strategy)  # fmt: skip
    push_all(feed, [fields("A", 0), fields("B", 0), fields("A", 1)])
    feed.close("the vendor is gone")
    with pytest.raises(FeedError, match="the vendor is gone"):
        system.wait(10)
    assert len(strategy.seen) == 2
    assert isinstance(system.error, ConnectionError)
    assert system.status()["session"]["feed"]["state"] == "failed"
    assert system.status()["error"]["type"] == "FeedError"


def test_a_raising_strategy_ends_the_run(system):
    """As in a backtest: the error carries the bar, and the feed takes nothing any more."""

    class Breaks(nb.Strategy):
        def on_bar(self, bar):
            raise ZeroDivisionError

    feed = nb.PushFeed()
    system.start(ONE, feed=feed, strategies=Breaks)
    feed.push(fields("A", 0))
    with pytest.raises(StrategyError, match="bar of A stamped 2024-10-03 09:30"):
        system.wait(10)
    with pytest.raises(RuntimeError, match="its run is over"):
        feed.push(fields("A", 1))


def test_a_feed_that_raises_when_it_begins_fails_the_run(system):
    """A broken feed is an error, never a run that hangs."""

    class Broken(nb.PushFeed):
        def begin(self):
            raise FeedError("no cable")

    system.start(ONE, feed=Broken(), strategies=Quiet())
    with pytest.raises(FeedError, match="no cable"):
        system.wait(10)


# -- what is seen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
@pytest.mark.parametrize("ending", ["closed", "stopped", "failed"])
def test_a_feed_that_raises_when_it_ends_keeps_nobody_waiting(system, caplog, ending, raised):
    """However the run ends: who waits gets the result, and the log says what the feed did."""

    class Broken(nb.PushFeed):
        def end(self):
            super().end()
            raise raised("by order")

    class Boom(Quiet):
        def on_bar(self, bar):
            raise KeyError("boom")

    told = threading.Event()
    system.on_end(lambda result: told.set())
    feed = Broken()
    system.start(ONE, feed=feed, strategies=Boom if ending == "failed" else Quiet)
    feed.push(fields("A", 0))
    if ending == "stopped":
        system.stop()
    else:
        feed.close()
    if ending == "failed":
        with pytest.raises(StrategyError, match="boom"):
            system.wait(30)
    else:
        system.wait(30)
    assert system.is_stopped()
    assert told.wait(30)
    assert "raised at the end of a run" in caplog.text
    assert "by order" in caplog.text


def test_a_feed_that_never_ends_keeps_nobody_waiting(system, caplog, monkeypatch):
    """`stop` and `wait` come back, and the log names the feed."""
    monkeypatch.setattr(run, "FEED_SECONDS", 0.05)
    over = threading.Event()

    class Endless(nb.PushFeed):
        def end(self):
            over.wait(60)

    try:
        system.start(ONE, feed=Endless(), strategies=Quiet)
        assert system.stop()
        assert system.wait(30).stats["bars"] == 0
        assert system.is_stopped()
        assert "end() has not returned after 0.05 s" in caplog.text
    finally:
        over.set()


def test_the_status_tells_of_feed_and_lag(system):
    """Mode, the feed's state and counters, and lag by symbol; it is JSON, and its schema has every key."""
    feed, strategy = nb.PushFeed(source="my vendor"), Quiet()
    system.start(ONE, feed=feed, strategies=strategy)
    feed.push(fields("A", 0))
    assert not feed.push(fields("A", 0))
    assert strategy.came.wait(10)
    status = json.loads(system.to_json())
    session = status["session"]
    assert status["system_manager"]["_mode"] == "live"
    assert {stream["mode"] for stream in status["subscriptions"].values()} == {"live"}
    assert (session["source"], session["progress"], session["speed_multiplier"]) == ("my vendor", 0.0, 0.0)
    shown = {key: session["feed"][key] for key in ("state", "received", "duplicate", "refused", "reconnects")}
    assert shown == {"state": "connected", "received": 1, "duplicate": 1, "refused": 0, "reconnects": 0}
    assert session["lag_seconds"] > 0
    assert "lag_seconds" in session["symbols"]["A"]
    known = nb.schema("status")["properties"]["session"]["properties"]
    assert set(session) == set(known)


def test_bars_that_come_late_are_lag_with_events():
    """Against the feed's clock a symbol enters lag when its bar comes in late, and leaves when one is on time."""
    clock, moment = ManualClock(), [OPENING]
    system, strategy, feed = nb.SystemManager(clock=clock), Quiet(), nb.PushFeed(now=lambda: moment[0])
    lags = []
    strategy.on_bar = lambda bar: (lags.append(strategy.lag), strategy.came.set())
    config = {**ONE, "lag": {"threshold_seconds": 5.0, "check_interval_seconds": 1.0}}
    system.start(config, feed=feed, strategies=strategy)
    for minute, late in ((0, 1), (1, 8), (2, 2)):
        moment[0] = OPENING + (minute + 1) * MINUTE + late * 10**9
        feed.push(fields("A", minute))
        assert strategy.came.wait(10)
        strategy.came.clear()
        clock.wait_for_sleepers()
        clock.advance(1.0)
        clock.wait_for_sleepers()
    feed.close()
    system.wait(10)
    lag = system.status()["session"]["lag"]
    assert [round(seconds) for seconds in lags] == [1, 8, 2]
    assert (lag["entered"], lag["left"]) == (1, 1)
    assert [(event["symbol"], event["kind"], event["time"], event["lag_seconds"]) for event in lag["events"]] == [
        ("A", "entered", "2024-10-03T09:32:08-04:00", 8.0), ("A", "left", "2024-10-03T09:33:02-04:00", 2.0),
    ]  # fmt: skip


def test_instants_without_all_symbols_go_on_after_the_grace():
    """The engine's clock decides when a bar has waited for the others long enough."""
    clock = ManualClock()
    system, strategy, feed = nb.SystemManager(clock=clock), Quiet(), nb.PushFeed()
    config = {"mode": "live", "data": {"symbols": ["A", "B"]}, "live": {"grace_seconds": 4.0},
              "lag": {"check_interval_seconds": 100.0}}  # fmt: skip
    system.start(config, feed=feed, strategies=strategy)
    clock.wait_for_sleepers()
    feed.push(fields("A", 0))
    clock.advance(3.9)
    clock.wait_for_sleepers()
    assert not strategy.came.is_set()
    clock.advance(0.1)
    assert strategy.came.wait(10)
    assert not feed.push(fields("B", 0))
    feed.close()
    system.wait(10)
    assert [bar.symbol for bar in strategy.seen] == ["A"]


# -- what is refused before it begins -----------------------------------------------------------------------

REFUSED = {
    "no feed": (ONE, {}, "live.feed = 'push': needs the feed"),
    "a feed for a backtest": ({}, {"feed": nb.PushFeed()}, "a feed is for live runs"),
    "on_error pause": ({**ONE, "on_error": "pause"}, {}, "a live run can't be held"),
    "weekly bars": ({"mode": "live", "data": {"interval": "7d"}}, {"feed": nb.PushFeed()}, "a day long at most"),
    "no url": ({**ONE, "live": {"feed": "websocket"}}, {}, "needs a server"),
    "no web socket": ({**ONE, "live": {"url": "http://x"}}, {}, "is no WebSocket address"),
    "a port that can't be": ({**ONE, "live": {"url": "ws://x:99999"}}, {}, "is no WebSocket address"),
    "a secret in the url": ({**ONE, "live": {"url": "ws://me:secret@x"}}, {}, "user or password"),
    "falling waits": ({**ONE, "live": {"reconnect_seconds": [3, 1]}}, {}, "first, longest"),
    "two tokens": ({**ONE, "live": {"token_env": "A", "token_file": "b"}}, {}, "keep one of them"),
    "an unset token": (
        {**ONE, "live": {"feed": "websocket", "url": "ws://x", "token_env": "NBBT_NOT_SET"}}, {}, "isn't set",
    ),
    "no token file": (
        {**ONE, "live": {"feed": "websocket", "url": "ws://x", "token_file": "no such file"}}, {}, "can't be read",
    ),
    "no such exchange": ({**ONE, "exchange": "XNYSE"}, {"feed": nb.PushFeed()}, "not a known exchange"),
    "a negative grace": ({**ONE, "live": {"grace_seconds": -1}}, {}, "at least 0"),
    "an unknown key": ({**ONE, "live": {"grace": 1}}, {}, "did you mean 'grace_seconds'"),
    "derived weeks": (
        {"mode": "live", "data": {"interval": "1m", "derived_intervals": ["1w"]}}, {"feed": nb.PushFeed()},
        "aren't built in live runs",
    ),
    "warm-up in bars": ({"mode": "live", "data": {"warmup_bars": 5}}, {"feed": nb.PushFeed()}, "count warm-up in days"),
    "complete bars": (
        {"mode": "live", "data": {"require_complete": True}}, {"feed": nb.PushFeed()}, "test bar.is_complete",
    ),
    "no lag interval": ({**ONE, "lag": {"check_interval_seconds": 0}}, {}, "greater than 0"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "parts", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cant_run_is_refused_before_any_thread(config, parts, message):
    """Each mistake is one clear ConfigError at start()."""
    system = nb.SystemManager()
    with pytest.raises(ConfigError, match=message):
        system.start(config, strategies=Quiet(), **parts)
    assert system.is_stopped()


def test_backtest_is_for_backtests():
    """`backtest()` of a live config is refused."""
    with pytest.raises(ConfigError, match="mode = 'live'"):
        nb.backtest(FRAMES, Quiet, config=LIVE)


def test_a_feed_serves_one_run(system):
    """The second run with it is refused."""
    feed = nb.PushFeed()
    system.start(ONE, feed=feed, strategies=Quiet())
    feed.close()
    system.wait(10)
    with pytest.raises(ConfigError, match="has served a run already"):
        system.start(ONE, feed=feed, strategies=Quiet())


def test_pushed_heartbeats_end_coarser_bars_on_time(system):
    """A coarser bar is seen when a heartbeat says that its time is over, without waiting for the next bar."""
    feed, strategy = nb.PushFeed(), Quiet()
    system.start({"mode": "live", "data": {"symbols": ["A"], "derived_intervals": ["5m"]}}, feed=feed,
                 strategies=strategy)  # fmt: skip
    feed.push(fields("A", 0))
    assert strategy.came.wait(10)
    strategy.came.clear()
    feed.heartbeat(written(OPENING + 5 * MINUTE))
    assert strategy.came.wait(10)
    assert [(bar.interval, bar.end_ns) for bar in strategy.seen] == [
        ("1m", OPENING + MINUTE), ("5m", OPENING + 5 * MINUTE),
    ]  # fmt: skip
