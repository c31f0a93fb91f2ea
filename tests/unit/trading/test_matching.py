"""The fill rules, on the golden tape that two other engines agree on, and as laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.trading.matching import match
from nbbacktest.trading.orders import Order
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
