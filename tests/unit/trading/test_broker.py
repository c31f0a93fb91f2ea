"""When and how much orders fill, what is rejected, and the laws that hold for every run."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.enums import OrderStatus, Side
from nbbacktest.core.errors import OrderWarning
from nbbacktest.data.calendar import SessionTable
from nbbacktest.trading.strategy import Strategy
from tests.drivers import OPENING, desk_for, flat, run, run_inline, series_of


class Script(Strategy):
    """Does what it is told at the numbered bars: {bar: function of the strategy}."""

    plan: dict

    def on_bar(self, bar):
        act = self.plan.get((bar.symbol, len(self.bars(bar.symbol))), self.plan.get(len(self.bars(bar.symbol))))
        if act:
            act(self)


def scripted(plan, *series, **account):
    return run(Script(plan=plan), *series, **account)


def test_market_fills_at_the_next_open():
    """An order never fills on the bar that it was decided on."""
    desk = scripted({1: lambda s: s.buy(size=1)}, series_of([(1, 1, 1, 1), (2, 3, 2, 3)]))
    (fill,) = desk.fills
    assert (fill.index, fill.price, fill.order_id) == (1, 2.0, 1)
    assert fill.time_ns == int(desk.series["EXE", "1m"].columns.time[1])
    assert desk.orders[0].status is OrderStatus.FILLED
    assert desk.orders[0].fill_price == 2.0
    assert not desk.pending


def test_all_the_cash():
    """Without a size, as many whole units are bought as the fill's price and the commission allow."""
    desk = scripted({1: lambda s: s.buy()}, series_of(flat([10, 30])), cash=1000, commission=0.1)
    assert [f.size for f in desk.fills] == [30]  # 30 * 33 = 990, 31 * 33 = 1023
    assert desk.orders[0].size == 30


def test_all_the_cash_to_the_last_unit():
    """Cash for exactly a number of units buys that number, whatever the last bit says."""
    desk = scripted({1: lambda s: s.buy()}, series_of(flat([0.1, 0.1])), cash=0.3)
    assert [f.size for f in desk.fills] == [3]


def test_turn_around():
    """Without a size, the opposite side closes the position and takes what is then allowed."""
    plan = {1: lambda s: s.buy(), 2: lambda s: s.sell(), 3: lambda s: s.buy()}
    desk = scripted(plan, series_of(flat([10, 10, 20, 10])), cash=100)
    assert [f.signed_size for f in desk.fills] == [10, -20, 40]  # worth 100, 200, and 300 after a short that earned 100
    assert desk.portfolio.equity == 300


def test_too_little_for_one_unit():
    """Cash that doesn't buy a unit is a rejection that says so."""
    with pytest.warns(OrderWarning, match="order 1: 20.00 available"):
        desk = scripted({1: lambda s: s.buy()}, series_of(flat([10, 30])), cash=20)
    assert desk.orders[0].status is OrderStatus.REJECTED
    assert desk.orders[0].reason == (
        "20.00 available doesn't pay for one unit at 30 with commission; give a fractional size, or set broker.lot_size"
    )


def test_rejected_never_shrunk():
    """An order that can't be paid is rejected whole, with the numbers, and changes nothing."""
    desk = scripted({1: lambda s: s.buy(size=11)}, series_of(flat([10, 10])), cash=100)
    order = desk.orders[0]
    assert order.status is OrderStatus.REJECTED
    assert order.reason == "11 units at 10 need 110.00 with commission, 100.00 available; ask for fewer units"
    assert order.closed_ns > order.submitted_ns
    assert (desk.portfolio.cash, desk.fills, desk.pending) == (100, [], {})


def test_short_ties_up_its_worth():
    """The proceeds of a short sale can't be spent, and reducing it is always allowed."""
    plan = {1: lambda s: s.sell(size=6), 2: lambda s: s.sell(size=5), 3: lambda s: s.buy(size=6)}
    desk = scripted(plan, series_of(flat([10, 10, 10, 90])), cash=100)
    assert [o.status for o in desk.orders] == ["filled", "rejected", "filled"]
    assert desk.portfolio.cash == 100 - 6 * 80


def test_close_never_turns_around():
    """A close that finds the position already closed is cancelled, and one that finds less closes that."""

    def both(s):
        s.sell(size=6, stop=10.0)
        s.close()

    desk = scripted({1: lambda s: s.buy(size=10), 2: both}, series_of(flat([10, 10, 10])))
    assert [f.signed_size for f in desk.fills] == [10, -6, -4]

    def twice(s):
        s.close()
        s.close()

    desk = scripted({1: lambda s: s.buy(size=10), 2: twice}, series_of(flat([10, 10, 10])))
    assert [o.status for o in desk.orders] == ["filled", "filled", "cancelled"]
    assert desk.orders[2].reason == "nothing left to close: 0 held"


def test_submission_order_across_symbols():
    """Orders of one instant take turns by submission, whatever the order of the symbols' bars."""

    def plan(s):
        s.buy("B", size=8)
        s.buy("A", size=8)

    series = [series_of(flat([10, 10]), "A"), series_of(flat([10, 10]), "B")]
    desk = scripted({("B", 1): plan}, *series, cash=100)
    assert [(o.symbol, o.status) for o in desk.orders] == [("B", "filled"), ("A", "rejected")]


def test_the_open_comes_before_the_bar():
    """What fills at the open is first, then what fills inside the bar, then at its close; by submission within each."""
    rows = [(10, 10, 10, 10), (10, 12, 8, 11)]

    def plan(s):
        s.sell(size=1, stop=9.0, reduce_only=True)
        s.buy(size=5, at="close")
        s.sell(size=1, stop=9.5, reduce_only=True)
        s.buy(size=2)

    table = SessionTable("UTC", ["2024-01-02"], [OPENING], [OPENING + 120 * 10**9])
    desk = scripted({1: plan}, series_of(rows), sessions=lambda: table)
    assert [(f.order_id, f.signed_size, f.price) for f in desk.fills] == [
        (4, 2, 10),
        (1, -1, 9),
        (3, -1, 9.5),
        (2, 5, 11),
    ]


def test_waits_for_the_next_traded_bar():
    """An order waits until its symbol trades again; other symbols' bars don't fill it."""
    a = series_of(flat([10, 11]), "A", minutes=[0, 5])
    b = series_of(flat([1] * 6), "B")
    desk = scripted({("A", 1): lambda s: s.buy("A", size=1)}, a, b)
    assert [(f.index, f.price) for f in desk.fills] == [(5, 11.0)]


def test_derived_bars_fill_nothing():
    """Only base bars fill orders."""
    base = series_of(flat([10, 11, 12, 13]))
    derived = series_of([(99, 99, 99, 99), (99, 99, 99, 99)], interval="2m", is_base=False)
    desk = desk_for([(Script(plan={1: lambda s: s.buy(size=1)}), ("EXE",))], base, derived)
    run_inline(desk, base, derived)
    assert [(f.index, f.price) for f in desk.fills] == [(1, 11.0)]


def test_orders_from_on_fill_wait():
    """An order placed in on_fill can't fill in the bar of that fill."""

    class Chain(Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=1)

        def on_fill(self, fill):
            if fill.side is Side.BUY:
                self.sell(size=1, limit=5.0)

    desk = run(Chain(), series_of(flat([10, 10, 12])))
    assert [(f.index, f.price) for f in desk.fills] == [(1, 10), (2, 12)]


def test_orders_from_on_start():
    """An order placed in on_start fills at the first bar's open, warm-up left out."""

    class Early(Strategy):
        def on_start(self):
            self.order = self.buy(size=1)

    series = series_of(flat([10, 11, 12]), first=1)
    desk = run(Early(), series)
    assert [(f.index, f.price) for f in desk.fills] == [(0, 11)]
    assert desk.orders[0].submitted_ns == int(series.columns.time[1])


def test_max_open_positions():
    """An order that would open one symbol too many is rejected; those held can go on and turn around."""
    series = [series_of(flat([10] * 4), "A"), series_of(flat([10] * 4), "B")]
    plan = {("A", 1): lambda s: s.buy("A", size=1), ("B", 2): lambda s: s.buy("B", size=1),
            ("A", 3): lambda s: s.sell("A", size=2)}  # fmt: skip
    desk = scripted(plan, *series, limits={"max_open_positions": 1})
    assert [o.status for o in desk.orders] == ["filled", "rejected", "filled"]
    assert desk.orders[1].reason == "limits.max_open_positions is 1 and 1 symbols are held; close one before"


def test_max_per_symbol():
    """An order that would make one symbol worth too much is rejected with the numbers; closing is free."""
    plan = {
        1: lambda s: s.buy(size=11),
        2: lambda s: s.buy(size=10),
        3: lambda s: s.sell(size=21),
        4: lambda s: s.close(),
    }
    desk = scripted(plan, series_of(flat([10, 10, 10, 10, 30])), limits={"max_per_symbol": 100})
    assert [o.status for o in desk.orders] == ["rejected", "filled", "rejected", "filled"]
    assert desk.orders[0].reason == "limits.max_per_symbol is 100 and EXE would be worth 110.00; ask for less"


def test_negative_price():
    """At a negative price a size must be given; then the order fills as any other."""
    desk = scripted({1: lambda s: s.buy(), 2: lambda s: s.buy(size=1)}, series_of(flat([-5, -5, -5])))
    assert [o.status for o in desk.orders] == ["rejected", "filled"]
    assert desk.orders[0].reason == "no size follows from cash at a price of -5; give a size"


@pytest.mark.parametrize("minimum", [0.0, 7.0, 95.0, 200.0])
def test_any_commission_is_included(minimum):
    """All the cash allows is exact for a commission that doesn't grow evenly with the units, too."""
    series = series_of(flat([10, 10]))
    desk = desk_for(Script(plan={1: lambda s: s.buy()}), series, cash=100)
    desk.broker._fee = lambda order, units, price, bar: max(minimum, 0.1 * units * price)
    run_inline(desk, series)
    best = max((n for n in range(11) if n * 10 + max(minimum, n) <= 100), default=0)
    assert sum(f.size for f in desk.fills) == best


# -- laws -----------------------------------------------------------------------------------------------------

actions = st.tuples(
    st.sampled_from(["buy", "sell", "close", "percent", "cancel"]),
    st.sampled_from(["A", "B"]),
    st.one_of(st.none(), st.integers(1, 40).map(lambda n: n / 4)),
    st.sampled_from(["market", "limit", "stop", "touch"]),
    st.integers(80, 120),
)


class Random(Strategy):
    """Acts as drawn, and writes down what it sees of the account after each instant."""

    plan: list

    def on_start(self):
        self.seen = []

    def on_bar(self, bar):
        if bar.symbol != self.name:
            return
        held = sum(self.position(s).size * self.bars(s).close[-1] for s in self.symbols if len(self.bars(s)))
        others = self._strategy_context._desk.portfolio.held.values()
        worth = sum(p.size * p.last for p in others)
        assert math.isclose(self.cash + worth, self.equity, rel_tol=1e-12)
        self.seen.append((self._strategy_context._desk.index, self.equity, held))
        for action, symbol, size, kind, level in self.plan[len(self.bars(bar.symbol)) - 1 :: 17]:
            if not len(self.bars(symbol)):
                continue
            terms = {} if kind == "market" else {kind: float(level)}
            if action in ("buy", "sell"):
                getattr(self, action)(symbol, size, **terms)
            elif action == "close":
                self.close(symbol)
            elif action == "percent":
                self.order_target_percent(symbol, (level - 100) / 20)
            elif self.orders():
                self.cancel(self.orders()[0])

    name: str = "A"


@st.composite
def markets(draw):
    made = []
    for symbol in "AB":
        minutes = sorted(draw(st.sets(st.integers(0, 25), min_size=4, max_size=16)))
        rows = []
        for _ in minutes:
            low, a, b, high = sorted(draw(st.lists(st.integers(80, 120), min_size=4, max_size=4)))
            rows.append((a, high, low, b))
        made.append(series_of(rows, symbol, minutes=minutes))
    return made


@settings(max_examples=60, deadline=None)
@given(markets(), st.lists(actions, max_size=40), st.lists(actions, max_size=40), st.sampled_from([0.0, 0.01]))
def test_laws(series, plan_a, plan_b, rate):
    """Fills explain cash, positions and equity; none is of the bar of its submission; rejections change nothing."""
    players = [(Random(plan=plan_a, name="A"), ("A", "B")), (Random(plan=plan_b, name="B"), ("A", "B"))]
    desk = desk_for(players, *series, cash=5000, commission=rate, slippage=rate)
    run_inline(desk, *series)
    instants = desk._instants

    cash = 5000 - sum(f.signed_size * f.price + f.commission for f in desk.fills)
    assert math.isclose(cash, desk.portfolio.cash, rel_tol=1e-9)
    for name, positions in desk.portfolio.positions.items():
        for symbol, position in positions.items():
            signed = sum(f.signed_size for f in desk.fills if (f.strategy, f.symbol) == (name, symbol))
            assert math.isclose(signed, position.size, abs_tol=1e-9)

    by_id = {order.id: order for order in desk.orders}
    for fill in desk.fills:
        order = by_id[fill.order_id]
        assert instants[fill.index] > order.submitted_ns
        assert (order.status, order.closed_ns, order.size) == ("filled", instants[fill.index], fill.size)
        columns = desk.series[fill.symbol, "1m"].columns
        row = int(np.searchsorted(columns.end, instants[fill.index]))
        assert columns.end[row] == instants[fill.index], "never filled where the symbol didn't trade"
    filled = {fill.order_id for fill in desk.fills}
    assert all((order.status == "filled") == (order.id in filled) for order in desk.orders)
    assert all(order.reason for order in desk.orders if order.status in ("rejected", "cancelled"))
    assert [o for book in desk.pending.values() for o in book if not o.is_open] == []
    assert all(desk.pending.values())

    for strategy, _ in players:
        for index, equity, _ in strategy.seen:
            done = [f for f in desk.fills if f.index <= index]
            worth = 5000 - sum(f.signed_size * f.price + f.commission for f in done)
            for s in series:
                row = int(np.searchsorted(s.columns.end, instants[index], side="right")) - 1
                size = sum(f.signed_size for f in done if f.symbol == s.symbol)
                worth += size * s.columns.close[row] if size else 0.0
            assert math.isclose(worth, equity, rel_tol=1e-9, abs_tol=1e-6)
