"""What a strategy can say and see, inside a run and outside one."""

import pydoc

import pandas as pd
import pytest

from nbbacktest.core.errors import DataError, OrderError, OrderWarning, OutsideRunError
from nbbacktest.trading.strategy import Strategy
from tests.drivers import desk_for, flat, run, run_inline, series_of


class Do(Strategy):
    """Calls `act` with itself at bar `at` of the first symbol."""

    act: object
    at: int = 2

    def on_bar(self, bar):
        if bar.symbol == self.symbols[0] and len(self.bars(bar.symbol)) == self.at and bar.interval == "1m":
            self.act_now(self)


def do(act, *series, at=2, **account):
    strategy = Do(act=None, at=at)
    strategy.act_now = act
    return run(strategy, *series, **account)


def one(n=5):
    return series_of(flat(range(10, 10 + n)))


def two(n=5):
    return series_of(flat([10] * n), "EXE"), series_of(flat([20] * n), "SW")


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.buy(), lambda s: s.close(), lambda s: s.position(), lambda s: s.cash, lambda s: s.equity,
        lambda s: s.now, lambda s: s.bars(), lambda s: s.orders(), lambda s: s.indicator(abs, "close"),
        lambda s: s.log("x"), lambda s: s.symbols, lambda s: s.cancel(None), lambda s: s.order_target_size(3),
        lambda s: s.base_interval,
    ],
)  # fmt: skip
def test_outside_a_run(use):
    """Whatever needs a run says so where there is none."""
    with pytest.raises(OutsideRunError, match="Do isn't in a run yet"):
        use(Do(act=None))


def test_the_base_class_is_outside_too():
    """A bare Strategy has no context either."""
    with pytest.raises(OutsideRunError, match="Strategy isn't in a run"):
        _ = Strategy().cash


def test_documentation_tools_may_look_at_a_strategy():
    """What stands in a context's place refuses use, and not to be looked at: `help(Strategy)` works."""
    assert "on_bar" in pydoc.render_doc(Strategy)
    assert not hasattr(Strategy._strategy_context, "__wrapped__")


def test_symbol_must_be_named():
    """With several symbols the error lists them."""
    with pytest.raises(Exception, match="Do trades 2 symbols; name one of: EXE, SW"):
        do(lambda s: s.buy(size=1), *two())


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda s: s.buy("EXF", 1), "doesn't trade 'EXF'; did you mean 'EXE'"),
        (lambda s: s.buy(100), "a symbol is text, got 100; a number of units is written size=100"),
        (lambda s: s.position("XX"), "doesn't trade 'XX'"),
        (lambda s: s.orders("XX"), "doesn't trade 'XX'"),
        (lambda s: s.order_target_size("EXE", "3"), r"order_target_size\(\) got '3'"),
        (lambda s: s.order_target_percent(float("nan")), "got nan"),
        (lambda s: s.cancel(3), r"cancel\(\) got 3; give the Order"),
    ],
)
def test_wrong_words(use, says):
    """A wrong symbol or target is an OrderError that names the cure."""

    def act(s):
        with pytest.raises(OrderError, match=says):
            use(s)
        s.log("seen")

    assert len(do(act, one()).log) == 1


def test_bars():
    """Views of bars are live, cached, and of any symbol and interval of the run; others are refused."""
    five = series_of([(1, 2, 0, 1), (1, 2, 0, 2)], interval="2m", is_base=False)

    def act(s):
        assert s.bars() is s.bars()
        assert s.bars("EXE", "1m").close[-1] == 11
        assert s.bars(interval="120s").interval == "2m"
        assert len(s.bars(interval="2m")) == 1
        with pytest.raises(DataError, match="no 5m bars of EXE, only 1m, 2m; add '5m' to the derived intervals"):
            s.bars(interval="5m")
        with pytest.raises(DataError, match="no symbol 'EXX'; did you mean 'EXE'"):
            s.bars("EXX")
        s.log("seen")

    assert do(act, one(), five).log


def test_now_and_log():
    """Now is the end of the bars being handled; a logged line carries it."""

    class Clock(Strategy):
        def on_start(self):
            self.times = [self.now]

        def on_bar(self, bar):
            assert self.now == bar.end
            assert self.now is self.now
            self.times.append(self.now)
            self.log(len(self.times))

    strategy = Clock()
    desk = run(strategy, one(2))
    opening = pd.Timestamp("2024-01-02 14:30", tz="UTC")
    assert strategy.times == [opening + pd.Timedelta(minutes=n) for n in range(3)]
    assert desk.log == [(strategy.times[1].value, "Clock", "2"), (strategy.times[2].value, "Clock", "3")]


def test_position_is_true_where_something_is_held():
    """position() shows size, average price and unrealized profit, and is false where flat."""
    seen = []

    class Look(Strategy):
        def on_bar(self, bar):
            position = self.position()
            seen.append((bool(position), position.size, position.average_price, position.unrealized_pnl))
            if len(seen) == 1:
                self.buy(size=2)

    run(Look(), one(3))
    assert seen == [(False, 0, 0, 0), (True, 2, 11, 0), (True, 2, 11, 2)]


def test_targets():
    """Targets order the difference to the own position, whole units toward 0, and nothing where nothing is missing."""

    class Targets(Strategy):
        def on_bar(self, bar):
            match len(self.bars()):
                case 1:
                    assert self.order_target_size("EXE", 0) is None
                    assert self.order_target_size(7.5).size == 7.5
                case 2:
                    assert self.order_target_size(x=7.5) is None
                    assert repr(self.order_target_value(29)) == "<Order 2 sell 5.5 EXE market: open>"
                case 3:
                    assert self.order_target_percent("EXE", 0.5).size == 48
                case 4:
                    assert self.order_target_percent(-0.5).size == 100
                case 5:
                    order = self.order_target_percent(0.0)
                    assert (order.size, order.side, order.reduce_only) == (50, "buy", True)

    desk = run(Targets(), series_of(flat([10] * 6)), cash=1000)
    assert [f.signed_size for f in desk.fills] == [7.5, -5.5, 48, -100, 50]


def test_value_before_the_first_bar():
    """Before a symbol's first bar its worth is unknown: a target value is refused, a target of nothing isn't."""

    class Early(Strategy):
        def on_start(self):
            assert self.order_target_value(0) is None
            with pytest.raises(OrderError, match="no bar of EXE has completed yet"):
                self.order_target_value(100)

    run(Early(), one())


def test_value_at_a_negative_price():
    """A value says nothing about size at a price of 0 or less."""

    def act(s):
        with pytest.raises(OrderError, match="close of -1"):
            s.order_target_value(100)
        s.log("seen")

    assert do(act, series_of(flat([-1, -1]))).log


def test_cancel():
    """An open order can be taken back once; a closed, foreign or other run's one can't."""
    other = do(lambda s: s.buy(size=1, limit=1.0), one())

    def act(s):
        order, kept = s.buy(size=1, limit=5.0), s.sell(size=1, limit=50.0)
        assert s.orders() == s.orders("EXE") == [order, kept]
        s.cancel(order)
        assert s.orders() == [kept]
        assert (order.status, order.reason) == ("cancelled", "cancelled by the strategy")
        with pytest.raises(OrderError, match="only open orders can"):
            s.cancel(order)
        with pytest.raises(OrderError, match="is of another run"):
            s.cancel(other.orders[0])
        s.cancel(kept)

    desk = do(act, one())
    assert [o.status for o in desk.orders] == ["cancelled", "cancelled"]
    assert not desk.pending


def test_strategies_keep_their_own_orders_and_positions():
    """Two strategies may trade one symbol: positions and orders are apart, the cash is shared."""

    class Buyer(Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.order = self.buy(size=3)
                self.buy(size=1, limit=1.0)

    class Thief(Strategy):
        victim: object

        def on_bar(self, bar):
            assert not self.orders()
            assert not self.position()
            with pytest.raises(OrderError, match="was placed by Buyer"):
                self.cancel(self.victim.order)
            self.log(self.cash)

    buyer, series = Buyer(), one(2)
    desk = desk_for([(buyer, ("EXE",)), (Thief(victim=buyer), ("EXE",))], series, cash=1000)
    run_inline(desk, series)
    assert [message for _, _, message in desk.log] == ["1000.0", "967.0"]


def test_after_the_end():
    """When the run is over orders are refused, and all else can still be read."""

    class Late(Strategy):
        def on_stop(self):
            with pytest.raises(OrderError, match="can't place an order: the run is over"):
                self.buy(size=1)

    strategy = Late()
    run(strategy, one())
    assert strategy.cash == strategy.equity == 100_000
    assert strategy.bars().close[-1] == 14
    with pytest.raises(OrderError, match="the run is over"):
        strategy.close() or strategy.sell(size=1)


# -- orders that come to nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "order", "units", "cure"),
    [
        ({}, lambda s: s.order_target_percent(0.95), "a target worth 9500.00 at 60000 is 0.158333 units", "a broker.lot_size"),
        ({}, lambda s: s.order_target_value(-9500), "a target worth -9500.00 at 60000 is -0.158333 units", "a broker.lot_size"),
        ({"lot_size": 0.5}, lambda s: s.order_target_percent("EXE", 0.5), "lots of 0.5 make 0 of them", "a smaller broker.lot_size"),
        ({"account": "margin", "initial_margin": 1.0}, lambda s: s.buy(), "10000.00 available doesn't pay for one unit at 60000", "set broker.lot_size"),
        ({"lot_size": 0.5}, lambda s: s.sell(), "doesn't pay for a lot of 0.5 at 60000", "a smaller broker.lot_size"),
        ({"fractional": False}, lambda s: s.order_target_percent(0.5), "whole units make 0", "set broker.fractional to true and a"),
        ({"fractional": False}, lambda s: s.buy(), "doesn't pay for one unit", "set broker.fractional to true"),
    ],
)  # fmt: skip
def test_an_order_that_comes_to_nothing_says_why(rules, order, units, cure):
    """Each is in the orders as rejected and in the log, with the cure; one warning is given for the symbol."""

    class Small(Strategy):
        def on_bar(self, bar):
            assert order(self) is not None

    with pytest.warns(OrderWarning) as told:
        desk = run(Small(), series_of(flat([60_000] * 4)), cash=10_000, **rules)
    ended = [one for one in desk.orders if str(one.status) == "rejected"]
    assert len(ended) >= 3
    for one, (_, name, text) in zip(ended, desk.log, strict=True):
        assert units in one.reason
        assert cure in one.reason
        assert (name, text) == ("Small", f"order {one.id}: {one.reason}")
    assert len(told) == 1
    assert f"Small: order 1: {ended[0].reason} (said once for EXE" in str(told[0].message)


def test_a_target_that_is_met_is_no_failure():
    """Nothing is said where nothing is missing: flat for 0, held as far as whole units go."""

    class Met(Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                assert self.order_target_percent(0.0) is self.close() is None
                self.order_target_value(19)
            elif len(self.bars()) == 3:
                assert self.order_target_value(14) is None

    desk = run(Met(), series_of(flat([10] * 4)), cash=100)
    assert (len(desk.orders), desk.log) == (1, [])


def test_cash_that_is_invested_is_no_warning():
    """An order for all the cash that finds none is rejected with its reason; a lot of another size would be no cure."""

    class Again(Strategy):
        def on_bar(self, bar):
            self.buy()

    desk = run(Again(), series_of(flat([10] * 4)), cash=100)
    assert [str(order.status) for order in desk.orders] == ["filled", "rejected", "rejected", "open"]
    assert desk.log == []


def test_a_risk_that_buys_no_unit_is_logged():
    """The size is 0, and the log says of what, and the cure."""

    class Risk(Strategy):
        def on_bar(self, bar):
            assert self.size_for_risk(risk=0.01, stop=50) == 0

    desk = run(Risk(), series_of(flat([100])), cash=1000)
    ((_, name, text),) = desk.log
    assert name == "Risk"
    assert text.startswith("10.00 at risk with 50 a unit is 0.2 units of EXE, and whole units make 0 of them; set a")


@pytest.mark.parametrize("cure", [{"lot_size": 0.001}, {"fractional": True, "lot_size": 0.001}])
def test_the_cure_for_a_target_of_nothing_cures(cure):
    """With the lot that the message names the target is ordered and filled."""

    class Half(Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.order_target_percent(0.5)

    desk = run(Half(), series_of(flat([60_000] * 3)), cash=10_000, **cure)
    assert [fill.size for fill in desk.fills] == [0.083]
