"""What is rounding and what is a holding: no unit and no lot is ever lost, and no residue is ever held."""

from math import fsum, ulp

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.enums import Side
from nbbacktest.trading.equity import position_curve
from nbbacktest.trading.orders.rules import TradingRules
from nbbacktest.trading.portfolio import Portfolio, Tally, is_rounding
from nbbacktest.trading.trades import round_trips
from tests.drivers import flat, scripted, series_of
from tests.records import bars, minutes, run

LOTS = st.sampled_from([1e-8, 1e-6, 0.001, 0.01, 0.05, 0.1, 0.25, 0.3, 1.0, 7.0, 100.0])


@st.composite
def parts(draw, count=12):
    """A lot, and whole numbers of it, bought and sold: up to 1e15 units, as far as floats can tell such lots apart."""
    lot = draw(LOTS)
    most = int(min(1e15 / lot, 2**52 / (16 * count)))
    number = st.one_of(
        st.integers(1, 20), st.integers(1, most // count), st.integers(most // count - 20, most // count)
    )
    signed = draw(st.lists(st.tuples(number, st.sampled_from([1, -1])), min_size=1, max_size=count))
    lots = [n * sign for n, sign in signed]
    if draw(st.booleans()) and sum(lots):
        lots.append(-sum(lots) - draw(st.sampled_from([0, 0, 1, -1])))
    assume(all(lots))
    return lot, lots


@settings(max_examples=500)
@given(st.lists(st.integers(-(10**15), 10**15), max_size=8))
def test_whole_units_are_counted_one_by_one(sizes):
    """However large the trades, what is left is what integers leave."""
    tally = Tally()
    for size in sizes:
        tally.add(float(size))
    assert tally.units == sum(sizes)


@settings(max_examples=500)
@given(parts())
def test_lots_are_neither_lost_nor_made_of_rounding(drawn):
    """Sizes of 1e-8 to 1e15 units in lots: flat exactly where their number is 0, and else off by less than a lot's quarter."""
    lot, lots = drawn
    tally, number = Tally(), 0
    for n in lots:
        number += n
        units = tally.add(n * lot)
        assert (units == 0) is (number == 0)
        assert abs(units - number * lot) < lot / 4


@settings(max_examples=300)
@given(parts())
def test_positions_curves_and_trades_agree(drawn):
    """The account, the curve that is computed afterwards and the open trades hold the same, and no trade is a residue."""
    lot, lots = drawn
    sizes = [n * lot for n in lots]
    count = len(sizes) + 1
    record = run(
        [bars("A", minutes(count), [1.0] * count)], [(at + 1, "A", size, 1.0) for at, size in enumerate(sizes)]
    )
    portfolio = Portfolio(1e18)
    own = portfolio.open_account("Hand", [series_of(flat([1.0]), "A")])
    held = [0.0]
    for size in sizes:
        portfolio.record(own["A"], size, 1.0, 0.0)
        held.append(own["A"].size)
    assert position_curve(record, "A").tolist() == held
    trades = round_trips(record)
    assert all(abs(trade.size) > lot / 4 for trade in trades)
    still_open = fsum(trade.size for trade in trades if trade.is_open)
    assert abs(still_open - held[-1]) < lot / 4
    assert (not [trade for trade in trades if trade.is_open]) is (held[-1] == 0)


@settings(max_examples=150)
@given(parts(count=5), st.booleans())
@example((0.1, [-5, 7, -2091, -2091, 4180]), True)
@example((0.01, [-255, -9788035427746, 9788035428001]), True)
def test_orders_of_lots_leave_what_their_numbers_leave(drawn, is_capped):
    """Whole or in parts: each order fills in whole, and the positions are what their numbers add up to."""
    lot, lots = drawn
    volume = max(map(abs, lots)) * lot / 2
    rows = [(*row, volume) for row in flat([1.0] * (3 * len(lots) + 2))]
    plan = {}
    for at, n in enumerate(lots):
        plan[3 * at + 1] = lambda s, n=n: (s.buy if n > 0 else s.sell)(size=abs(n) * lot)
    rules = {"volume_share": 1.0} if is_capped else {}
    desk = scripted(plan, series_of(rows), cash=1e18, lot_size=lot, **rules)
    held = desk.portfolio.positions["Script"]["EXE"].size
    if all(str(order.status) == "filled" for order in desk.orders):
        assert (held == 0) is (sum(lots) == 0)
        assert abs(held - sum(lots) * lot) < lot / 4
    assert is_capped or all(str(order.status) == "filled" for order in desk.orders)
    assert all(fill.size > lot / 4 for fill in desk.fills)


@given(LOTS, st.integers(1, 10**15))
def test_computed_sizes_are_never_a_lot_more(lot, number):
    """A number of lots is found again from its worth, allowed, and never rounded up to another."""
    assume(lot > 16 * ulp(number * lot))
    rules = TradingRules(BrokerConfig(lot_size=lot))
    size = number * lot
    rules.check_size(Side.BUY, size)
    assert abs(rules.whole(size) - size) < lot / 4
    assert rules.whole(size - lot / 4) < size - lot / 2


def test_decimals_that_cancel_leave_nothing():
    """0.1 bought a thousand times and 100 sold is flat, as is 0.1 + 0.2 - 0.3; 1e-9 of a large trade is not."""
    tally = Tally()
    for _ in range(1000):
        tally.add(0.1)
    assert tally.add(-100.0) == 0
    for size in (0.1, 0.2, -0.3):
        tally.add(size)
    assert tally.units == 0
    tally.add(1e9)
    assert tally.add(-1e9 + 1) == 1


def test_the_money_that_pays_for_units_is_counted_to_the_unit():
    """With 1e15 in cash one unit more than it pays for is refused, and all the cash buys no more than it pays for."""
    plan = {1: lambda s: s.buy(size=1e15 + 1), 2: lambda s: s.buy()}
    desk = scripted(plan, series_of(flat([1.0] * 3)), cash=1e15)
    assert [(str(o.status), o.filled) for o in desk.orders] == [("rejected", 0), ("filled", 1e15)]


def test_a_target_that_is_held_but_for_rounding_is_met():
    """0.1 + 0.2 held is a target of 0.3: nothing is ordered."""
    plan = {
        1: lambda s: (s.buy(size=0.1), s.buy(size=0.2)),
        3: lambda s: s.order_target_size(0.3),
    }
    desk = scripted(plan, series_of(flat([10.0] * 4)))
    assert len(desk.orders) == 2


def test_a_volume_cap_that_rounds_leaves_no_residue():
    """Three tenths of a volume of 10 pay for 3 units, though the product is an ulp less."""
    assert is_rounding(3 - 2.9999999999999996, 3.0)
    plan = {1: lambda s: s.buy(size=0.1 * 3), 3: lambda s: s.sell(size=0.3)}
    rows = [(1.0, 1.0, 1.0, 1.0, 1.0)] * 6
    desk = scripted(plan, series_of(rows), volume_share=0.3)
    assert [str(order.status) for order in desk.orders] == ["filled", "filled"]
    assert not desk.portfolio.held
