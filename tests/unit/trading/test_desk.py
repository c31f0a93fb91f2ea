"""The desk as the engine sees it: callbacks, their order, failures, and frozen states."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.errors import ConfigError, StrategyError
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.snapshot import OrderRow
from nbbacktest.trading.strategy import Strategy
from tests.drivers import desk_for, flat, run, run_inline, series_of
from tests.markets import days, minutes


class Quiet(Strategy):
    """Listens to nothing."""


class Deaf(Strategy):
    """Trades, and doesn't listen to its fills."""

    def on_bar(self, bar):
        self.buy(size=1)


class Loud(Strategy):
    """Raises where it is told to."""

    where: str = ""

    def on_start(self):
        self.said = []
        self._maybe("on_start")

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=1)
        self._maybe("on_bar")

    def on_fill(self, fill):
        self.said.append((fill.symbol, self.position(fill.symbol).size))
        self._maybe("on_fill")

    def on_stop(self):
        self.said.append("stopped")
        self._maybe("on_stop")

    def _maybe(self, where):
        if where == self.where:
            raise KeyError("boo")


def bars(n=4, symbol="EXE"):
    return series_of(flat([10] * n), symbol)


@pytest.mark.parametrize("where", ["on_start", "on_bar", "on_fill", "on_stop"])
def test_failures_name_the_callback(where):
    """What a strategy raises becomes a StrategyError with its class, callback, bar and cause."""
    with pytest.raises(StrategyError) as caught:
        run(Loud(where=where), bars())
    error = caught.value
    assert (error.strategy, error.callback) == ("Loud", where)
    assert isinstance(error.__cause__, KeyError)
    assert "KeyError: 'boo'" in str(error)
    if where in ("on_bar", "on_fill"):
        assert (error.symbol, error.interval) == ("EXE", "1m")
        assert str(error.time) == {"on_bar": "2024-01-02 14:30:00+00:00", "on_fill": "2024-01-02 14:31:00+00:00"}[where]
    else:
        assert error.symbol is None


def test_one_failure_spares_the_others():
    """All on_fill and on_stop are called though one raised; the first error is the one reported."""
    series = bars()
    first, second = Loud(where="on_fill"), Loud()
    desk = desk_for([(first, ("EXE",)), (Deaf(), ("EXE",)), (second, ("EXE",))], series)
    with pytest.raises(StrategyError):
        run_inline(desk, series)
    assert second.said == [("EXE", 1), "stopped"]
    first, second = Loud(where="on_stop"), Loud(where="on_stop")
    with pytest.raises(StrategyError):
        run_inline(desk_for([(first, ("EXE",)), (second, ("EXE",))], bars()), bars(0))
    assert "stopped" in second.said


def test_a_failed_start_stops_the_started():
    """Where an on_start raises, on_stop is called for those that were started, and for no other."""
    good, bad, never = Loud(), Loud(where="on_start"), Loud()
    desk = desk_for([(s, ("EXE",)) for s in (good, bad, never)], bars())
    with pytest.raises(StrategyError):
        desk.start()
    desk.stop()
    assert good.said == ["stopped"]
    assert bad.said == []
    assert not hasattr(never, "said")


def test_failed_leaves_other_errors_alone():
    """An error that is no strategy's stays what it is; one from outside any bar has no bar."""
    desk = desk_for(Loud(), bars())
    error = ValueError("x")
    assert desk.failed(error, None, None) is error
    assert isinstance(desk.failed(SystemExit(1), None, None), RuntimeError)
    named = desk.failed(error, desk.strategies[0].on_bar, None)
    assert isinstance(named, StrategyError)
    assert desk.failed(named, None, None) is named


def test_handlers():
    """Handlers are the strategies that trade the symbol and have an on_bar, in order."""
    a, b = bars(symbol="A"), bars(symbol="B")
    first, second = Loud(), Loud()
    desk = desk_for([(first, ("A",)), (Quiet(), ("A", "B")), (second, ("B", "A"))], a, b)
    assert desk.handlers(a) == (first.on_bar, second.on_bar)
    assert desk.handlers(b) == (second.on_bar,)
    desk.start()
    assert second.symbols == ("A", "B"), "in the session's order"


def test_fills_before_callbacks():
    """All fills of an instant are done before the first on_fill, which come in the order of the fills."""

    class Pair(Loud):
        def on_bar(self, bar):
            if bar.symbol == "B" and len(self.bars("B")) == 1:
                self.buy("B", size=1)
                self.buy("A", size=1)

        def on_fill(self, fill):
            self.said.append((fill.symbol, self.position("A").size, self.position("B").size))

    pair = Pair()
    run(pair, bars(symbol="A"), bars(symbol="B"))
    assert pair.said == [("B", 1, 1), ("A", 1, 1), "stopped"]


def test_what_is_pending_is_one_object():
    """What is pending is the same object for the whole run, and false where nothing waits."""
    desk = desk_for(Loud(), series_of(flat([10] * 4), first=1))
    pending = desk.pending
    assert not pending
    desk.start()
    desk.strategies[0].buy(size=1, limit=1.0)
    assert desk.pending is pending
    assert len(pending) == 1


def test_names_are_unique():
    """Strategies of one class are numbered; descriptions show the parameters."""
    series = bars()
    desk = desk_for([(Loud(), ("EXE",)), (Loud(), ("EXE",))], series)
    run_inline(desk, series)
    assert [order.strategy for order in desk.orders] == ["Loud", "Loud #2"]
    assert desk.descriptions == ("Loud(where='')", "Loud(where='')")


def test_one_object_one_place():
    """A strategy object can't be in a run twice, nor in two that go on; after the end it can run again."""
    strategy = Loud()
    with pytest.raises(ConfigError, match=r"strategies\[1\] = Loud\(where=''\): the same object twice"):
        desk_for([(strategy, ("EXE",)), (strategy, ("EXE",))], bars())
    desk = desk_for(strategy, bars())
    desk.start()
    with pytest.raises(ConfigError, match="still in another run"):
        desk_for(strategy, bars())
    desk.stop()
    assert run(strategy, bars()).fills


def test_freeze():
    """A frozen state holds what changes with trading, and doesn't change with it."""

    class Busy(Strategy):
        def on_start(self):
            self.indicator(np.cumsum, "close", name="sum")

        def on_bar(self, bar):
            self.buy(size=1)
            self.frozen = self._strategy_context._desk.freeze()
            if len(self.bars()) == 8:
                self.buy(size=1, limit=1.0, tag="low")

    series = series_of(flat(range(1, 9)))
    desk = desk_for(Busy(), series)
    before = desk.freeze()
    assert (before.cash, before.equity, before.positions, before.n_fills) == (100_000, 100_000, (), 0)
    run_inline(desk, series)
    middle, end = desk.strategies[0].frozen, desk.freeze()
    (row,) = end.positions
    assert row == ("Busy", "EXE", 7, 5, 8, 21)
    assert end.equity == end.cash + 56 == 100_021
    assert [(o.id, o.size, o.limit, o.tag) for o in end.orders] == [(8, 1, None, None), (9, 1, 1.0, "low")]
    assert (end.n_fills, [f.price for f in end.last_fills]) == (7, [4, 5, 6, 7, 8])
    assert end.indicators == {"sum": 36.0}
    assert len(middle.orders) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        end.cash = 0
    with pytest.raises(TypeError):
        end.indicators["sum"] = 0


def test_indicator_keys_are_unique_and_short():
    """In snapshots an indicator's name says strategy, symbol and interval only where there are several."""

    class Many(Strategy):
        def on_start(self):
            self.indicator(np.cumsum, "close", symbol="A")
            self.indicator(np.cumsum, "close", symbol="A")
            self.indicator(np.cumsum, "close", symbol="B")
            self.indicator(np.cumsum, "close", symbol="A", interval="2m")

    a, b = bars(symbol="A"), bars(symbol="B")
    derived = series_of(flat([1, 2]), "A", interval="2m", is_base=False)
    desk = run(Many(), a, b, derived)
    assert list(desk.freeze().indicators) == [
        "A cumsum(close)", "A cumsum(close) #2", "B cumsum(close)", "A 2m cumsum(close)",
    ]  # fmt: skip
    desk = desk_for([(Many(), ("A", "B")), (Quiet(), ("A",))], a, b, derived)
    desk.start()
    assert desk.indicators[0].key == "Many: A cumsum(close)"
    assert desk.indicators[0].strategy == "Many"


def test_freeze_survives_a_broken_indicator():
    """A streaming indicator that raises is the strategy's error, and NaN in a snapshot."""

    class Broken:
        def update(self, value):
            raise ValueError("broken")

    class Uses(Strategy):
        def on_start(self):
            self.indicator(Broken(), "close", name="broken")

    values = run(Uses(), bars()).freeze().indicators
    assert np.isnan(values["broken"])


def test_it_is_what_the_engine_asks_for():
    """The desk has every member of the engine's Agent."""
    from nbbacktest.engine.analysis import Agent

    members = {name for name in vars(Agent) if not name.startswith("_")} | set(Agent.__annotations__)
    desk = desk_for(Quiet(), bars())
    assert isinstance(desk, TradingDesk)
    assert [name for name in members if not hasattr(desk, name)] == []


@pytest.mark.parametrize("naive", [True, False])
def test_every_time_that_a_strategy_sees_is_a_timestamp_of_one_kind(naive):
    """Bars, fills, orders, their events, snapshots and trades: fills as their bars, instants as `now`."""
    frame = days(6) if naive else minutes(6)
    seen = []

    class Sees(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.asked = self.now
                self.order = self.buy(size=1, until="2030-01-01", limit=float(bar.close) * 2, stop_loss=1.0)
                assert (self.order.submitted, self.order.closed, self.order.begins) == (self.now, None, None)
                assert isinstance(self.order.expires, pd.Timestamp)

        def on_fill(self, fill):
            self.told = fill

        def on_order(self, order):
            seen.append((order.closed, [event.time for event in order.events], self.now))

    strategy = Sees()
    result = nb.backtest(frame, strategy)
    assert strategy.told.time == frame.index[2]
    assert strategy.told.time == result.fills["time"].iloc[0]
    assert str(frame.index[2]) in repr(strategy.told)
    closed, events, now = seen[0]
    assert closed == now == events[-1]
    assert events[0] == strategy.asked
    (trade,) = result.round_trips
    assert (trade.entry_time, trade.exit_time) == (frame.index[2], None)
    (row,) = [OrderRow.of(order) for order in result.record.orders if order.is_open]
    assert row.submitted == strategy.asked
    stamp = type(frame.index[0])
    assert {type(one) for one in (row.submitted, trade.entry_time, closed, *events)} == {stamp}
    assert {one.tzinfo is None for one in (row.submitted, trade.entry_time, closed, *events)} == {naive}
