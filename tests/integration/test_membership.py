"""Symbols that join and leave a run on its way."""

from __future__ import annotations

import threading

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from tests.integration.test_same_result import CONFIG, Busy
from tests.markets import minutes

BARS = 90
FRAMES = {"A": minutes(BARS, seed=1), "B": minutes(BARS, seed=2, gaps=0.4), "C": minutes(BARS, seed=3, gaps=0.2)}
SETTINGS = CONFIG.overlaid({"data": {"derived_intervals": ["5m", "15m"]}}, "test")


class Joining(Busy):
    """Takes every symbol that joins."""

    def on_start(self):
        self.fast, self.slow, self.count = {}, {}, 0
        for symbol in self.symbols:
            self.on_symbol_added(symbol)

    def on_symbol_added(self, symbol):
        import talib

        self.fast[symbol] = self.indicator(talib.SMA, "close", 3, symbol=symbol)
        self.slow[symbol] = self.indicator(talib.stream.SMA, "close", 8, symbol=symbol)


class Adding(Joining):
    """Adds a symbol itself, in the first callback of an instant."""

    at: object = None
    symbol: str = "B"

    def on_bar(self, bar):
        if self.symbol not in self.fast and self.now >= self.at:
            self.at = pd.Timestamp.max.tz_localize("UTC")
            self.add_symbol(self.symbol)
        super().on_bar(bar)


class Silent(Joining):
    """Has the symbol from the start, and doesn't look at it before its time."""

    late: str = "B"
    since: object = None

    def on_start(self):
        self.fast, self.slow, self.count = {}, {}, 0
        for symbol in self.symbols:
            if symbol != self.late:
                self.on_symbol_added(symbol)

    def on_bar(self, bar):
        if bar.symbol == self.late:
            if bar.end <= self.since:
                return
            if self.late not in self.fast:
                self.on_symbol_added(self.late)
        super().on_bar(bar)


def outcome_of(result, since):
    """Fills of the whole run, and equity from `since` on."""
    fills = result.fills.drop(columns=["order_id", "strategy"])
    return fills.to_dict("records"), result.equity


def assert_same(added, silent, since):
    """The run with a symbol added at `since` is, from then on, the one that had it silent until then."""
    (fills, equity), (other_fills, other_equity) = outcome_of(added, since), outcome_of(silent, since)
    assert fills == other_fills
    equity, other_equity = equity[equity.index > since], other_equity[other_equity.index > since]
    pd.testing.assert_series_equal(equity, other_equity, check_freq=False)


def without_late(frames, late):
    """The other symbols in their order, the late one behind them, as it will stand."""
    return {name: frame for name, frame in frames.items() if name != late} | {late: frames[late]}


def silent_run(late, since):
    return nb.backtest(without_late(FRAMES, late), Silent(late=late, since=since), config=SETTINGS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    late=st.sampled_from(["A", "B", "C"]),
    at=st.integers(0, BARS - 20),
    speed=st.sampled_from([0.0, 0.0, 1e6]),
    paused=st.booleans(),
    extra=st.integers(0, 3),
)
def test_a_symbol_added_on_the_way_equals_one_that_was_silent_until_then(late, at, speed, paused, extra):
    """Added from outside, paused or between two moves, in lockstep or by the clock, with any steps around it."""
    frames = without_late(FRAMES, late)
    own = frames.pop(late)
    system = nb.SystemManager()
    config = SETTINGS.overlaid({"backtest": {"speed_multiplier": speed}}, "test")
    system.start(config, data=frames, strategies=Joining, paused=True)
    try:
        if at:
            assert system.step(at)
        since = system.snapshot().time or own.index[0]
        assert system.add_symbol(late, own)
        assert system.is_paused()
        assert system.snapshot().cursor == at
        assert late in system.snapshot().counts
        if extra:
            system.step(extra)
        system.resume()
        if paused:
            system.pause() if system.is_running() else None
            system.resume() if system.is_paused() else None
        result = system.wait()
    except nb.InvalidTransition:
        result = system.wait()  # it was at its end before the pause came
    finally:
        system.stop()
    assert_same(result, silent_run(late, since), since)


@pytest.mark.parametrize("late", ["B", "C"])
@pytest.mark.parametrize("minute", [0, 1, 17, 60])
def test_a_symbol_added_by_a_strategy_joins_when_the_instant_is_complete(late, minute):
    """Added in a callback, it is there from the next instant on, always at the same place."""
    frames = {name: frame for name, frame in FRAMES.items() if name != late}
    source = dict(FRAMES)
    since = frames["A"].index[minute] + pd.Timedelta(minutes=1)
    config = SETTINGS.overlaid({"data": {"symbols": list(frames)}}, "test")
    first, second = (nb.backtest(source, Adding(at=since, symbol=late), config=config) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert_same(first, silent_run(late, since), since)


def test_adding_while_the_run_flies_joins_at_some_instant_and_equals_the_silent_run_from_there():
    """Called from another thread at full speed, it joins between two instants and nothing is lost or seen twice."""
    big = {"A": minutes(4000, seed=5), "B": minutes(4000, seed=6, gaps=0.3)}

    system = nb.SystemManager()
    went = threading.Event()

    class Signalling(Joining):
        def on_bar(self, bar):
            super().on_bar(bar)
            if self.count == 500:
                went.set()

    system.start(SETTINGS, data={"A": big["A"]}, strategies=Signalling)
    assert went.wait(20)
    system.add_symbol("B", big["B"])
    result = system.wait()
    joined = system.status()["session"]["symbols"]["B"]["joined"]
    since = pd.Timestamp(joined)
    silent = nb.backtest(big, Silent(late="B", since=since), config=SETTINGS)
    assert_same(result, silent, since)
    assert result.metrics["session"]["symbols"]["B"]["bars"] == int((big["B"].index + pd.Timedelta("1m") > since).sum())


def test_a_users_pause_stays_a_users_pause():
    """Adding and removing neither resume a paused run nor move it."""
    system = nb.SystemManager()
    system.start(SETTINGS, data={"A": FRAMES["A"]}, strategies=Joining, paused=True)
    try:
        system.step(10)
        system.add_symbol("B", FRAMES["B"])
        assert system.is_paused()
        assert system.snapshot().cursor == 10
        system.remove_symbol("B")
        assert system.is_paused()
        assert system.snapshot().cursor == 10
        assert system.step(1)
        assert system.snapshot().cursor == 11
    finally:
        system.stop()


def test_run_until_rests_at_its_time_though_instants_were_added_before_it():
    """A time stays that time when a symbol that joins on the way there brings instants of its own."""
    sparse = minutes(BARS, seed=1, gaps=0.7)
    target = sparse.index[0].normalize() + pd.Timedelta(hours=sparse.index[0].hour, minutes=60)
    system = nb.SystemManager()
    frames = {"A": sparse, "B": FRAMES["B"]}
    strategy = Adding(at=sparse.index[3], symbol="B")
    config = SETTINGS.overlaid({"data": {"symbols": ["A"]}}, "test")
    system.start(config, data=frames, strategies=strategy, paused=True)
    try:
        assert system.run_until(target)
        assert "B" in system.snapshot().counts
        assert system.snapshot().time <= target
        before = system.snapshot().time
        system.step(1)
        assert system.snapshot().time > target >= before
    finally:
        system.stop()


class Holder(nb.Strategy):
    """Buys one of everything, once, and leaves a limit order far away."""

    def on_start(self):
        self.told = []
        self.bought = set()

    def on_bar(self, bar):
        if bar.interval == self.base_interval and bar.symbol not in self.bought:
            self.bought.add(bar.symbol)
            self.buy(bar.symbol, 1)
            self.buy(bar.symbol, 1, limit=0.01)

    def on_symbol_removed(self, symbol):
        self.told.append((symbol, self.now))


@pytest.fixture
def holding():
    """A paused run that holds one unit of A and of B."""
    system = nb.SystemManager()
    system.start(SETTINGS, data={"A": FRAMES["A"], "B": FRAMES["B"]}, strategies=Holder, paused=True)
    system.step(20)
    yield system
    system.stop()


def test_a_symbol_that_is_held_does_not_leave_unless_it_is_closed(holding):
    """Refusing is the default, says who holds what, and changes nothing."""
    with pytest.raises(nb.DataError, match=r"B is held \(Holder 1\); close it first"):
        holding.remove_symbol("B")
    assert len(holding.snapshot().orders) == 2


def test_a_symbol_that_is_to_be_closed_leaves_when_it_is_flat(holding):
    """Its orders are cancelled, its position is closed at its next bar's open, and no bar of it comes after that."""
    assert holding.remove_symbol("B", positions="close") is False
    cursor = holding.snapshot().counts["B"]
    holding.resume()
    result = holding.wait()
    (last,) = result.fills[(result.fills.symbol == "B") & (result.fills.side == "sell")].to_dict("records")
    next_bar = FRAMES["B"].iloc[cursor]
    assert last["time"] == next_bar.name
    assert result.metrics["session"]["symbols"]["B"]["bars"] == cursor + 1
    assert [symbol for symbol, _ in holding.strategies[0].told] == ["B"]
    assert result.orders[result.orders.symbol == "B"].status.tolist() == ["filled", "cancelled", "filled"]
    assert result.metrics["session"]["symbols"]["A"]["bars"] == BARS


def test_a_flat_symbol_leaves_at_once_and_takes_its_instants_with_it():
    """What is left of the run is the run of the other symbols."""
    system = nb.SystemManager()
    system.start(SETTINGS, data={"A": FRAMES["B"], "B": FRAMES["A"]}, strategies=Joining(), paused=True)
    total = system.snapshot().total
    assert system.remove_symbol("B") is True
    assert system.snapshot().total < total
    system.resume()
    result = system.wait()
    alone = nb.backtest({"A": FRAMES["B"]}, Joining, config=SETTINGS)
    # The fingerprint tells of the command, which is an input by hand; all that was traded is the same.
    assert result.fingerprint != alone.fingerprint
    assert result.fills.equals(alone.fills)
    assert result.equity.equals(alone.equity)


def test_a_strategy_may_let_a_symbol_go():
    """Asked for in a callback, it is gone from the next instant on."""

    class Letting(nb.Strategy):
        def on_start(self):
            self.seen = []

        def on_bar(self, bar):
            self.seen.append((bar.symbol, bar.end))
            if len(self.seen) == 5:
                self.remove_symbol("B")
                self.until = self.now

    strategy = Letting()
    nb.backtest({"A": FRAMES["A"], "B": FRAMES["B"]}, strategy)
    assert max(end for symbol, end in strategy.seen if symbol == "B") <= strategy.until
    assert strategy.symbols == ("A",)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.add_symbol("A"), nb.DataError, "A is in the run already"),
        (lambda s: s.add_symbol(""), nb.DataError, "is no symbol"),
        (lambda s: s.add_symbol(5), nb.DataError, "5 is no symbol"),
        (lambda s: s.add_symbol("Z"), nb.DataError, "no symbol 'Z'"),
        (
            lambda s: s.add_symbol("H", FRAMES["A"].resample("1h").first()),
            nb.DataError,
            "has 1h bars and the run has 1m",
        ),
        (lambda s: s.remove_symbol("Z"), nb.DataError, "no symbol 'Z'"),
        (lambda s: s.remove_symbol("B", positions="keep"), ValueError, "no way to leave; use one of 'refuse', 'close'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(holding, call, error, message):
    """One clear error, and the run goes on as it was."""
    before = holding.snapshot()
    with pytest.raises(error, match=message):
        call(holding)
    after = holding.snapshot()
    assert holding.is_paused()
    assert (after.cursor, after.total, after.counts) == (before.cursor, before.total, before.counts)


def test_the_only_symbol_stays_and_one_that_left_stays_away(holding):
    """A run has a symbol at least, and a symbol's stay is one piece."""
    holding.remove_symbol("A", positions="close")
    holding.step(2)
    with pytest.raises(nb.DataError, match="B is the only symbol"):
        holding.remove_symbol("B")
    with pytest.raises(nb.DataError, match="A has left this run"):
        holding.add_symbol("A", FRAMES["A"])


def test_nothing_joins_before_a_run_or_after_it(holding):
    """Without a run the error says what is allowed; at its last instant, that it is too late."""
    with pytest.raises(nb.InvalidTransition, match="add_symbol"):
        nb.SystemManager().add_symbol("B")
    total = holding.snapshot().total
    holding.step(total - 20)
    with pytest.raises(nb.DataError, match="last instant"):
        holding.add_symbol("C", FRAMES["C"])
    holding.stop()
    with pytest.raises(nb.InvalidTransition, match="add_symbol"):
        holding.add_symbol("C", FRAMES["C"])


@pytest.mark.parametrize("on_error", ["stop", "pause"])
def test_a_strategy_that_raises_when_a_symbol_joins_is_named(on_error):
    """The run ends, or is held, with the callback and the symbol in the error."""

    class Fussy(nb.Strategy):
        def on_symbol_added(self, symbol):
            raise RuntimeError("no more")

    system = nb.SystemManager()
    config = SETTINGS.overlaid({"on_error": on_error}, "test")
    system.start(config, data={"A": FRAMES["A"]}, strategies=Fussy, paused=True)
    try:
        with pytest.raises(nb.StrategyError, match=r"Fussy.*on_symbol_added.*no more"):
            system.add_symbol("B", FRAMES["B"])
        if on_error == "pause":
            assert system.is_paused()
            assert isinstance(system.error, nb.StrategyError)
            system.resume()
            assert system.wait().metrics["session"]["symbols"]["B"]["bars"] > 0
        else:
            with pytest.raises(nb.StrategyError):
                system.wait(10)
            assert system.is_stopped()
    finally:
        system.stop()


def test_shipped_strategies_take_symbols_that_join():
    """Each of them trades a symbol that was added."""
    from nbbacktest.strategies import BuyAndHold, MeanReversion, SmaCross

    for strategy in (SmaCross(fast=2, slow=4), MeanReversion(period=4, width=1.0), BuyAndHold()):
        system = nb.SystemManager()
        system.start(data={"A": FRAMES["A"]}, strategies=strategy, paused=True)
        system.add_symbol("C", FRAMES["C"])
        system.resume()
        assert "C" in set(system.wait().fills.symbol), strategy


def test_costs_of_time_are_charged_on_the_nights_of_the_new_instants():
    """Borrow fees and splits fall on the right dates though the instants to come were laid anew."""
    nights = {
        name: minutes(60, seed=i).set_index(pd.date_range("2024-10-03 02:00", periods=60, freq="4h", tz="UTC"))
        for i, name in enumerate("AB")
    }

    class Short(Joining):
        def on_bar(self, bar):
            if bar.interval == self.base_interval and not self.position(bar.symbol) and not self.orders(bar.symbol):
                self.sell(bar.symbol, 10)

    class LateShort(Short, Silent):
        def on_bar(self, bar):
            if bar.symbol == "B" and bar.end <= self.since:
                return
            Short.on_bar(self, bar)

    actions = [
        {"symbol": name, "date": str(nights[name].index[row].date()), "kind": "split", "value": 2}
        for name, row in (("A", 8), ("B", 40))
    ]
    config = nb.SessionConfig.load(
        {
            "exchange": "24/7",
            "broker": {"account": "margin", "borrow": {"model": "annual", "rate": 0.1}},
            "data": {"adjusted": False, "actions": actions},
        }
    )
    system = nb.SystemManager()
    system.start(config, data={"A": nights["A"]}, strategies=Short, paused=True)
    system.step(9)
    since = system.snapshot().time
    system.add_symbol("B", nights["B"])
    system.resume()
    result = system.wait()
    silent = nb.backtest(nights, LateShort(since=since), config=config)
    assert_same(result, silent, since)
    assert [split.symbol for split in result.record.splits] == ["A", "B"]
    assert {flow.kind for flow in result.record.flows} == {"borrow"}
    assert [flow._replace(index=0) for flow in result.record.flows] == [
        flow._replace(index=0, strategy=flow.strategy.replace("LateShort", "Short")) for flow in silent.record.flows
    ]


def test_a_symbol_that_joins_brings_what_its_source_knows_of_it():
    """Splits that a source of raw prices tells of happen to a symbol that is added, as to those of the start."""
    frames = {
        name: minutes(30, seed=i).set_index(pd.bdate_range("2024-10-01", periods=30)) for i, name in enumerate("AB")
    }

    class Raw:
        stamp, prices, intervals = "open", "raw", ("1d",)

        def bars(self, symbol, interval, start, end):
            return frames[symbol]

        def actions(self, symbol):
            return [{"date": frames[symbol].index[20].date(), "kind": "split", "value": 2}]

    class Hold(nb.Strategy):
        def on_bar(self, bar):
            if not self.position(bar.symbol) and not self.orders(bar.symbol):
                self.buy(bar.symbol, 10)

    system = nb.SystemManager()
    config = {"data": {"symbols": ["A"], "interval": "1d"}}
    system.start(config, data=Raw(), strategies=Hold, paused=True)
    system.step(9)
    system.add_symbol("B")
    system.resume()
    result = system.wait()
    assert sorted(split.symbol for split in result.record.splits) == ["A", "B"]
    assert result.trades.set_index("symbol")["size"].to_dict() == {"A": 20, "B": 20}


def test_symbols_added_as_the_run_starts_are_there_before_its_first_bar():
    """Asked for in on_start, a symbol's bars are traded from the first on."""

    class Starting(Joining):
        def on_start(self):
            super().on_start()
            self.add_symbol("B")

    config = SETTINGS.overlaid({"data": {"symbols": ["A"]}}, "test")
    result = nb.backtest(FRAMES, Starting, config=config)
    both = nb.backtest({"A": FRAMES["A"], "B": FRAMES["B"]}, Joining, config=SETTINGS)
    assert result.metrics["session"]["symbols"]["B"]["bars"] == len(FRAMES["B"])
    assert_same(result, both, FRAMES["A"].index[0])


def test_a_symbol_that_joins_may_bring_another():
    """What on_symbol_added asks for happens at the same instant, whoever added the first one."""

    class Chain(nb.Strategy):
        def on_symbol_added(self, symbol):
            if symbol == "B":
                self.add_symbol("C")

    system = nb.SystemManager()
    config = SETTINGS.overlaid({"data": {"symbols": ["A"]}}, "test")
    system.start(config, data=FRAMES, strategies=Chain, paused=True)
    try:
        system.step(5)
        system.add_symbol("B")
        assert set(system.snapshot().counts) == {"A", "B", "C"}
        assert system.snapshot().cursor == 5
    finally:
        system.stop()


def test_a_callback_cannot_wait_for_its_own_run():
    """A step asked for in on_symbol_added is refused, as in any callback, instead of waiting for ever."""
    system = nb.SystemManager()

    class Stepping(nb.Strategy):
        def on_symbol_added(self, symbol):
            system.step()

    system.start(SETTINGS, data={"A": FRAMES["A"]}, strategies=Stepping, paused=True)
    try:
        with pytest.raises(nb.StrategyError, match="a strategy can't step its own run"):
            system.add_symbol("B", FRAMES["B"])
    finally:
        system.stop()


def test_nothing_joins_when_strategies_say_goodbye():
    """In on_stop it is too late, and said so."""

    class Late(nb.Strategy):
        def on_stop(self):
            self.add_symbol("B")

    with pytest.raises(nb.StrategyError, match="the run is over"):
        nb.backtest({"A": FRAMES["A"]}, Late)
