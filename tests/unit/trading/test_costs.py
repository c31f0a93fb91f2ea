"""Commission and slippage, as functions: each model by a worked example."""

import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.costs import (
    BasisPointsSlippage,
    CallableCommission,
    FixedSlippage,
    MakerTakerCommission,
    NoCommission,
    NoSlippage,
    PercentCommission,
    PercentSlippage,
    PerContractCommission,
    PerShareCommission,
    PerTradeCommission,
    SpreadSlippage,
    Tier,
    TieredCommission,
    VolumeShareSlippage,
)
from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.errors import ConfigError, OrderError
from nbbacktest.core.records import Bar, Stamps
from nbbacktest.trading.costs import fee_of, slip_of
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, series_of


def bar(opened=100.0, volume=1000.0):
    return Bar("A", "1m", 0, 60, opened, opened + 10, opened - 10, opened, volume, Stamps())


def order(side=Side.BUY, limit=None, number=1):
    return Order(number, "S", "A", side, 1, OrderType.MARKET if limit is None else OrderType.LIMIT, limit=limit)


def fee(model, size, price, *, fills=(), of=None, at=None):
    return fee_of(model, fills)(of or order(), size, price, at or bar())


def filled(size, price, commission, order_id=1):
    return Fill(0, 0, "A", Side.BUY, size, price, commission, order_id, None, "S")


def test_nothing_costs_nothing():
    """Without models trading is free, and the hot path is told that there is no slippage at all."""
    assert fee(NoCommission(), 100, 50) == 0
    nothing = (NoSlippage(), PercentSlippage(rate=0), FixedSlippage(amount=0), BasisPointsSlippage(points=0),
               SpreadSlippage(spread=0), VolumeShareSlippage(impact=0))  # fmt: skip
    assert [slip_of(model) for model in nothing] == [None] * 6


def test_percent_commission():
    """A percent commission is a share of the notional, of a negative price too."""
    assert fee(PercentCommission(rate=0.001), 100, 50) == pytest.approx(5.0)
    assert fee(PercentCommission(rate=0.001), 100, -50) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("size", "price", "due"),
    [
        (1000, 25.0, 5.0),  # 1,000 shares at half a cent
        (100, 25.0, 1.0),  # 0.50 is below the minimum of 1.00
        (1000, 0.25, 2.5),  # 5.00 is above 1% of 250
        (10, 2.0, 0.2),  # the minimum of 1.00 is above 1% of 20: the maximum wins
    ],
)
def test_per_share_commission_within_bounds(size, price, due):
    """Half a cent a share, at least 1.00 and at most 1% of the notional."""
    assert fee(PerShareCommission(rate=0.005, minimum=1.0, maximum=0.01), size, price) == pytest.approx(due)


def test_per_share_commission_without_bounds():
    """Only the rate is left."""
    assert fee(PerShareCommission(rate=0.005), 30, 25.0) == pytest.approx(0.15)


def test_per_contract_and_per_trade():
    """A contract's fee grows with the size, a trade's doesn't."""
    assert fee(PerContractCommission(rate=2.25), 4, 5000.0) == 9.0
    assert fee(PerTradeCommission(amount=4.95), 4, 5000.0) == 4.95


def test_an_order_in_parts_pays_as_one():
    """Minimum and flat fee are an order's: later parts pay what the whole still owes, other orders begin anew."""
    fills = [filled(100, 10.0, 1.0)]
    per_share = fee_of(PerShareCommission(rate=0.005, minimum=1.0), fills)
    assert per_share(order(), 50, 10.0, bar()) == 0.0  # 150 shares owe 0.75, and 1.00 is paid
    assert per_share(order(), 300, 10.0, bar()) == pytest.approx(1.0)  # 400 shares owe 2.00
    fills.append(filled(50, 10.0, 0.0))
    assert per_share(order(), 250, 10.0, bar()) == pytest.approx(1.0)
    assert per_share(order(number=2), 50, 10.0, bar()) == 1.0
    per_trade = fee_of(PerTradeCommission(amount=5), [filled(100, 10.0, 5.0)])
    assert per_trade(order(), 50, 10.0, bar()) == 0.0
    assert per_trade(order(number=2), 50, 10.0, bar()) == 5.0


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(1, 50)), min_size=1, max_size=6))
def test_parts_add_up_to_the_whole(parts):
    """By trade and by tier, filling in parts costs what filling at once does at the same notional."""
    tiers = (Tier(above=0, rate=0.002), Tier(above=1_000, rate=0.001), Tier(above=5_000, rate=0.0))
    for model in (PerTradeCommission(amount=3), TieredCommission(tiers=tiers)):
        fills = []
        charge = fee_of(model, fills)
        for size, price in parts:
            fills.append(filled(size, price, charge(order(), size, price, bar())))
        whole = sum(size * price for size, price in parts)
        assert sum(f.commission for f in fills) == pytest.approx(fee(model, 1, whole))


MAKER_TAKER = MakerTakerCommission(maker=-0.0001, taker=0.001)


class BuysTouched(Strategy):
    """Buys after bar 0, once a price is touched, by a limit."""

    touch: float
    limit: float

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=4, touch=self.touch, limit=self.limit)


@pytest.mark.parametrize(
    ("limit", "rows", "terms", "rates"),
    [
        (97.0, [(100, 101, 96, 100, 40)], {}, [0.001]),  # the limit comes at its own price: it takes
        (98.0, [(100, 101, 96, 100, 40)], {}, [0.001]),  # and so at a better one
        (96.5, [(100, 101, 96, 100, 40)], {}, [-0.0001]),  # the market falls on to the limit, which waits by then
        (
            97.0,
            [(100, 101, 97, 100, 40), (100, 101, 96, 100, 40)],
            {"limit_fill": "cross"},
            [-0.0001],
        ),  # touched the bar before
        (
            97.0,
            [(100, 101, 96, 100, 4), (100, 101, 96, 100, 40)],
            {"volume_share": 0.5},
            [0.001, -0.0001],
        ),  # the rest waited
        (97.0, [(96, 101, 95, 100, 40)], {}, [0.001]),  # the open is better
    ],
)
def test_a_touched_limit_takes_if_it_comes_at_its_own_price(limit, rows, terms, rates):
    """A limit if touched waits in the book only once it has been touched; a fill at the moment of its touch takes."""
    desk = run(
        BuysTouched(touch=97.0, limit=limit),
        series_of([(100, 100, 100, 100, 9), *rows]),
        commission=MAKER_TAKER,
        **terms,
    )
    assert [f.commission / (f.size * f.price) for f in desk.fills] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("of", "price", "opened", "rate"),
    [
        (order(), 100.0, 100.0, 0.001),  # a market order takes
        (order(limit=95.0), 95.0, 100.0, -0.0001),  # opened above a buy's limit: it waited, and was met
        (order(limit=105.0), 100.0, 100.0, 0.001),  # the open was already better: it takes
        (order(limit=100.0), 100.0, 100.0, 0.001),  # the open is at the limit: it takes
        (order(Side.SELL, limit=105.0), 105.0, 100.0, -0.0001),
        (order(Side.SELL, limit=95.0), 100.0, 100.0, 0.001),
    ],
)
def test_maker_and_taker(of, price, opened, rate):
    """A limit order that waited in the book is the maker's, everything else takes; a maker may earn."""
    assert fee(MAKER_TAKER, 10, price, of=of, at=bar(opened)) == pytest.approx(rate * 10 * price)


def test_tiers_by_notional_are_marginal():
    """0.2% on the first 1,000 and 0.1% beyond: 800 pays 1.60; 600 more pays 0.40 and 0.40."""
    fills = []
    charge = fee_of(TieredCommission(tiers=(Tier(above=0, rate=0.002), Tier(above=1_000, rate=0.001))), fills)
    assert charge(order(), 8, 100.0, bar()) == pytest.approx(1.6)
    assert charge(order(), 8, 100.0, bar()) == pytest.approx(1.6), "asking twice is not trading twice"
    fills.append(filled(8, 100.0, 1.6))
    assert charge(order(), 6, 100.0, bar()) == pytest.approx(0.4 + 0.4)


def test_tiers_by_shares_are_money_a_share():
    """Half a cent for 300 shares, then a fifth of one: 400 shares pay 1.50 and 0.20."""
    model = TieredCommission(by="shares", tiers=(Tier(above=0, rate=0.005), Tier(above=300, rate=0.002)))
    assert fee(model, 400, 10.0) == pytest.approx(1.7)


def test_a_function_of_ones_own():
    """It is given side, size, price and symbol, in plain types."""
    seen = []

    def own(side, size, price, symbol):
        seen.append((side, size, price, symbol))
        return 1 + size * price / 100

    assert fee(CallableCommission(function=own), 5.0, 20.0, of=order(Side.SELL)) == 2.0
    assert seen == [("sell", 5.0, 20.0, "A")]
    assert type(seen[0][0]) is str


@pytest.mark.parametrize("answer", [None, "1", float("nan"), float("inf"), True])
def test_a_function_that_gives_no_number(answer):
    """The error names the function, the fill and the answer."""
    with pytest.raises(OrderError, match=r"test_costs:.*gave .* for buy 5 A at 20; return a finite number"):
        fee(CallableCommission(function=lambda side, size, price, symbol: answer), 5, 20.0)


def test_a_function_that_raises():
    """The error says for what, and keeps the cause."""
    with pytest.raises(OrderError, match="for buy 5 A at 20: ZeroDivisionError") as caught:
        fee(CallableCommission(function=lambda *_: 1 / 0), 5, 20.0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_function_by_its_place(monkeypatch):
    """A config may name a function; what isn't there is refused with the nearest name."""
    module = ModuleType("my_fees")
    module.half = lambda side, size, price, symbol: size / 2
    monkeypatch.setitem(sys.modules, "my_fees", module)
    assert fee(CallableCommission(function="my_fees:half"), 5, 20.0) == 2.5
    with pytest.raises(ConfigError, match="did you mean 'hypot'"):
        fee_of(CallableCommission(function="math:hypott"))
    with pytest.raises(ConfigError, match="can't be imported"):
        fee_of(CallableCommission(function="no_such_module_here:fee"))


@pytest.mark.parametrize(
    ("model", "worse"),
    [
        (PercentSlippage(rate=0.01), 1.0),
        (BasisPointsSlippage(points=5), 0.05),
        (FixedSlippage(amount=0.02), 0.02),
        (SpreadSlippage(spread=0.04), 0.02),
        (VolumeShareSlippage(impact=0.1), 0.1 * 0.2**2 * 100),  # 200 of a volume of 1,000
        (VolumeShareSlippage(impact=0.1, limit=0.025), 0.1 * 0.025**2 * 100),
    ],
)
@pytest.mark.parametrize("price", [100.0, -100.0])
def test_slippage_is_always_worse(model, worse, price):
    """A buyer pays more and a seller gets less, by the same, whatever the sign of the price."""
    slip = slip_of(model)
    assert slip(order(), 200, price, bar()) == pytest.approx(price + worse)
    assert slip(order(Side.SELL), 200, price, bar()) == pytest.approx(price - worse)


def test_volume_share_without_volume():
    """A bar without volume counts as the limit, and no share is more than it."""
    slip = slip_of(VolumeShareSlippage(impact=0.1, limit=0.5))
    assert slip(order(), 1, 100.0, bar(volume=0.0)) == pytest.approx(102.5)
    assert slip(order(), 5_000, 100.0, bar()) == pytest.approx(102.5)


class Each(Strategy):
    """One order of each type after the first bar."""

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=1, tag="market")
            self.buy(size=1, stop=100.0, tag="stop")
            self.buy(size=1, limit=100.0, tag="limit")
            self.sell(size=1, stop=100.0, tag="stop down")


def test_slippage_spares_limits():
    """Slippage worsens market and stop fills, and never a limit; commission is of the worse price."""
    desk = run(Each(), series_of(flat([100, 100])), slippage=0.01, commission=0.1)
    assert {f.tag: f.price for f in desk.fills} == {"market": 101, "stop": 101, "limit": 100, "stop down": 99}
    assert [f.commission for f in desk.fills] == pytest.approx([10.1, 10.1, 10.0, 9.9])
