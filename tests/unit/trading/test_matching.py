"""The fill rules, on the golden tape that two other engines agree on, and as laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.trading.matching import match, precedence
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.types import FillRules, trailed
from nbbacktest.trading.strategy import Strategy
from tests.drivers import run, series_of

# Bars 0 to 4; orders are decided after bar 2.
TAPE = [(100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99, 100), (102, 104, 96, 103), (95, 97, 94, 96)]


class After2(Strategy):
    """Places one order after bar 2."""

    side: str = "buy"
    limit: float | None = None
    stop: float | None = None

    def on_bar(self, bar):
        if len(self.bars()) == 3:
            self.order = getattr(self, self.side)(size=1, limit=self.limit, stop=self.stop)


@pytest.mark.parametrize(
    ("terms", "bar", "price"),
    [
        ({}, 3, 102.0),
        ({"limit": 101.0}, 3, 101.0),
        ({"limit": 103.0}, 3, 102.0),
        ({"stop": 103.0}, 3, 103.0),
        ({"stop": 101.0}, 3, 102.0),
        ({"limit": 95.5}, 4, 95.0),
        ({"side": "sell", "stop": 95.5}, 4, 95.0),
        ({"side": "sell", "stop": 98.0}, 3, 98.0),
        ({"side": "sell", "limit": 103.5}, 3, 103.5),
        ({"side": "sell", "limit": 101.0}, 3, 102.0),
        ({"side": "sell", "stop": 103.0}, 3, 102.0),
    ],
)
def test_golden_tape(terms, bar, price):
    """Every order of the golden tape fills in the bar and at the price that both reference engines give."""
    desk = run(After2(**terms), series_of(TAPE))
    (fill,) = desk.fills
    assert (fill.index, fill.price) == (bar, price)


@pytest.mark.parametrize("terms", [{"limit": 93.0}, {"stop": 105.0}, {"side": "sell", "limit": 105.0}])
def test_out_of_reach(terms):
    """A level that no bar reaches never fills, and the order stays open to the end."""
    desk = run(After2(**terms), series_of(TAPE))
    assert not desk.fills
    assert desk.orders[0].is_open


prices = st.integers(1, 1000).map(lambda n: n / 8)


@given(st.lists(prices, min_size=4, max_size=4), prices, st.sampled_from(Side), st.sampled_from(["limit", "stop"]))
def test_price_laws(four, level, side, kind):
    """A fill lies within the bar; a limit is never worse than its level, a stop never better."""
    low, *middle, high = sorted(four)
    bar = series_of([(middle[0], high, low, middle[1])]).bar(0)
    price = match(Order(1, "S", "EXE", side, 1.0, OrderType(kind), **{kind: level}), bar)
    reached = low <= level if (side is Side.BUY) is (kind == "limit") else high >= level
    assert (price is not None) is reached
    if price is not None:
        assert low <= price <= high
        below = (side is Side.BUY) is (kind == "limit")
        assert price <= level if below else price >= level


# -- stop-limit, trailing, strictness ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "strict", "price"),
    [
        ((104, 106, 101, 105), False, 102.0),  # triggered at the open: the whole bar is a limit order's
        ((101, 106, 100, 105), False, None),  # up to 103 and above 102 at the end: was it back under it?
        ((101, 106, 100, 102), False, 102.0),  # it ends at 102, so it came back
        ((101, 106, 100, 102), True, None),  # touched, and not crossed
        ((101, 106, 100, 101), True, 102.0),
        ((101, 102, 100, 101), False, None),  # not triggered
    ],
)
def test_stop_limit_in_the_bar_that_triggers_it(row, strict, price):
    """A stop-limit fills in the bar that triggers it only where the bar leaves no doubt that the limit came later."""
    order = Order(1, "S", "EXE", Side.BUY, 1.0, OrderType.STOP_LIMIT, stop=103.0, limit=102.0)
    assert match(order, series_of([row]).bar(0), FillRules(strict=strict)) == price


@pytest.mark.parametrize(
    ("limit", "strict", "price"),
    [(104.0, False, 103.0), (103.0, False, 103.0), (103.0, True, None), (104.0, True, 103.0)],
)
def test_stop_limit_that_is_marketable_at_its_trigger(limit, strict, price):
    """Where the limit allows the trigger's price, it fills there."""
    order = Order(1, "S", "EXE", Side.BUY, 1.0, OrderType.STOP_LIMIT, stop=103.0, limit=limit)
    assert match(order, series_of([(101, 106, 100, 105)]).bar(0), FillRules(strict=strict)) == price


@pytest.mark.parametrize(
    "kind",
    [OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED],
)
@given(four=st.lists(prices, min_size=4, max_size=4), level=prices, other=prices, strict=st.booleans())
def test_selling_mirrors_buying(kind, four, level, other, strict):
    """On a bar turned upside down, a sell order fills where the buy order did on the bar."""
    low, *middle, high = sorted(four)
    up = (middle[0], high, low, middle[1])
    down = (-middle[0], -low, -high, -middle[1])
    name = "limit" if kind is OrderType.LIMIT else "touch" if kind.endswith("touched") else "stop"
    levels = {name: level}
    if kind in (OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED):
        levels["limit"] = other
    rules = FillRules(strict=strict)
    bought = match(Order(1, "S", "EXE", Side.BUY, 1.0, kind, **levels), series_of([up]).bar(0), rules)
    mirrored = {name: -value for name, value in levels.items()}
    sold = match(Order(1, "S", "EXE", Side.SELL, 1.0, kind, **mirrored), series_of([down]).bar(0), rules)
    assert sold == (None if bought is None else -bought)


@given(st.lists(prices, min_size=4, max_size=4), prices, prices, st.booleans())
def test_stop_limits_keep_their_limit(four, stop, limit, strict):
    """A stop-limit never fills worse than its limit, nor before its stop is reached."""
    low, *middle, high = sorted(four)
    bar = series_of([(middle[0], high, low, middle[1])]).bar(0)
    order = Order(1, "S", "EXE", Side.BUY, 1.0, OrderType.STOP_LIMIT, stop=stop, limit=limit)
    price = match(order, bar, FillRules(strict=strict))
    if price is not None:
        assert low <= price <= limit
        assert high >= stop


# -- market and limit if touched --------------------------------------------------------------------------------


def touched(four, *, touch, limit=None, strict=False, side=Side.BUY):
    """The price at which one bar fills an order with these levels."""
    kind = OrderType.MARKET_IF_TOUCHED if limit is None else OrderType.LIMIT_IF_TOUCHED
    order = Order(1, "S", "EXE", side, 1.0, kind, touch=touch, limit=limit)
    return match(order, series_of([four]).bar(0), FillRules(strict=strict))


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ((101, 104, 97, 103), 97.0),  # touched inside the bar: there
        ((101, 104, 97.1, 103), None),  # not reached
        ((96, 104, 95, 103), 96.0),  # opened below it: at the open
        ((97, 104, 96, 103), 97.0),
    ],
)
def test_market_if_touched(row, price):
    """A buy order is a market order once the price has fallen to its touch: there, or at an open that is below."""
    assert touched(row, touch=97.0) == price
    assert touched(tuple(-value for value in (row[0], row[2], row[1], row[3])), touch=-97.0, side=Side.SELL) == (
        None if price is None else -price
    )


@pytest.mark.parametrize(
    ("limit", "row", "strict", "price"),
    [
        (98.0, (101, 104, 96.5, 103), False, 97.0),  # the limit allows the touch's price
        (97.0, (101, 104, 97, 103), False, 97.0),
        (97.0, (101, 104, 97, 103), True, None),  # touched, and not crossed
        (97.0, (101, 104, 96, 103), True, 97.0),
        (96.0, (101, 104, 96, 103), False, 96.0),  # the price fell through the touch on its way to the limit
        (96.0, (101, 104, 96, 103), True, None),
        (96.0, (101, 104, 96.5, 103), False, None),  # touched: the limit waits
        (96.0, (95, 104, 94, 103), False, 95.0),  # touched at the open, which is better than the limit
        (95.0, (96, 104, 95, 103), False, 95.0),  # touched at the open: a limit for the whole bar
        (98.0, (101, 104, 97.5, 97.5), False, None),  # the limit is reached, and the touch isn't
    ],
)
def test_limit_if_touched(limit, row, strict, price):
    """From its touch at 97 on a buy order is a limit, in the same bar too: what is below the touch came after it."""
    assert touched(row, touch=97.0, limit=limit, strict=strict) == price


def test_a_touched_limit_waits_as_a_limit():
    """Touched in one bar, it is a limit order in the next, and says so in its life."""
    rows = [(100, 100, 100, 100), (100, 101, 96.5, 100), (100, 100, 97, 98), (98, 98, 95, 97)]
    desk = run(Touches(touch=97.0, limit=96.0), series_of(rows))
    assert [(f.index, f.price) for f in desk.fills] == [(3, 96.0)]
    kinds = [str(event.kind) for event in desk.orders[0].events]
    assert kinds == ["submitted", "accepted", "triggered", "filled"]
    assert [event.terms.touch for event in desk.orders[0].events] == [97.0] * 4


def test_a_level_that_is_touched_already_is_an_order_for_the_next_open():
    """A touch on the side that the market has passed already is legal, as such a stop is: it triggers at the next open."""
    rows = [(100, 100, 100, 100), (100.5, 101, 99, 100)]
    desk = run(Touches(touch=105.0), series_of(rows))
    assert [(f.index, f.price) for f in desk.fills] == [(1, 100.5)]


def test_what_the_cap_leaves_of_a_touched_order_is_a_market_order():
    """As with stops: the rest fills at the next open."""
    rows = [(100, 100, 100, 100, 9), (100, 101, 96, 100, 2), (103, 104, 102, 103, 9)]
    desk = run(Touches(touch=97.0, size=3), series_of(rows), volume_share=0.5, fractional=False)
    assert [(f.index, f.price, f.size) for f in desk.fills] == [(1, 97.0, 1.0), (2, 103.0, 2.0)]


def test_slippage_worsens_a_market_if_touched_and_no_limit_if_touched():
    """One is a market order, the other a limit."""
    rows = [(100, 100, 100, 100), (100, 101, 96, 100)]
    assert [f.price for f in run(Touches(touch=97.0), series_of(rows), slippage=0.01).fills] == [97.0 * 1.01]
    assert [f.price for f in run(Touches(touch=97.0, limit=98.0), series_of(rows), slippage=0.01).fills] == [97.0]


class Touches(Strategy):
    """Buys after bar 0, once a price is touched."""

    touch: float
    limit: float | None = None
    size: float = 1.0

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=self.size, touch=self.touch, limit=self.limit)


def test_trailing_is_tested_before_it_is_raised():
    """A bar meets the level that earlier bars have set: its own high can't trigger the stop within it."""
    rows = [(100, 100, 100, 100), (100, 120, 96, 119), (119, 119, 114, 116)]
    desk = run(Trails(), series_of(rows))
    # 95 after bar 0; bar 1 doesn't reach it, though 120 - 5 is far above its low; bar 2 does reach 115.
    assert [(f.index, f.price) for f in desk.fills] == [(2, 115.0)]


class Trails(Strategy):
    """Trails by 5 after bar 0."""

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.sell(size=1, trail=5)


@given(
    st.lists(st.tuples(prices, prices, prices, prices), min_size=1, max_size=8),
    st.sampled_from([2.0, 0.02]),
    st.sampled_from(Side),
)
def test_trailing_levels_only_come_closer(rows, distance, side):
    """A trailing level never moves away from the market, and stays at its distance from the best price."""
    first = 100.0
    fraction = distance < 1
    start = first + (1 if side is Side.BUY else -1) * (first * distance if fraction else distance)
    order = Order(
        1, "S", "EXE", side, 1.0, OrderType.TRAILING_STOP, stop=start, trail=distance, trail_is_fraction=fraction
    )
    best = first
    for four in rows:
        low, *middle, high = sorted(four)
        before = order.stop
        order.stop = trailed(order, series_of([(middle[0], high, low, middle[1])]).bar(0))
        best = min(best, low) if side is Side.BUY else max(best, high)
        away = best * distance if fraction else distance
        if side is Side.BUY:
            assert order.stop <= before
            assert order.stop == pytest.approx(min(start, best + away))
        else:
            assert order.stop >= before
            assert order.stop == pytest.approx(max(start, best - away))


def test_precedence():
    """At the open comes first; then stops before limits, or by the path what it reaches first, nearer levels before farther ones."""
    bar = series_of([(100, 104, 90, 95)]).bar(0)
    orders = {
        "open": Order(1, "S", "EXE", Side.BUY, 1.0, OrderType.LIMIT, limit=101.0),
        "far stop": Order(2, "S", "EXE", Side.SELL, 1.0, OrderType.STOP, stop=92.0),
        "near stop": Order(3, "S", "EXE", Side.SELL, 1.0, OrderType.STOP, stop=95.0),
        "limit": Order(4, "S", "EXE", Side.SELL, 1.0, OrderType.LIMIT, limit=103.0),
        "close": Order(5, "S", "EXE", Side.SELL, 1.0, OrderType.MARKET),
    }

    def ranked(rules):
        price = {name: match(order, bar, rules) for name, order in orders.items()}
        return sorted(orders, key=lambda name: (*precedence(orders[name], bar, price[name], rules), orders[name].id))

    assert ranked(FillRules(at_close=True)) == ["open", "far stop", "near stop", "limit", "close"]
    assert ranked(FillRules(at_close=True, sequence="path")) == ["open", "limit", "near stop", "far stop", "close"]
