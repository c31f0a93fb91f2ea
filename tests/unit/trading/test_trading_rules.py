"""Lots, ticks, whole units, the volume cap, and orders that the market has no place for."""

import pytest

from nbbacktest.core.errors import OrderWarning, StrategyError
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, scripted, series_of


@pytest.mark.parametrize(
    ("rules", "order", "says"),
    [
        (
            {"tick_size": 0.01},
            {"limit": 99.995},
            r"limit=99.995\): off the tick of 0.01; the nearest are 99.99 and 100",
        ),
        ({"tick_size": 0.25}, {"stop": 100.1}, r"stop=100.1\): off the tick of 0.25; the nearest are 100 and 100.25"),
        ({"tick_size": 0.25}, {"stop_loss": 90.1}, "stop_loss=90.1.*off the tick"),
        ({"tick_size": 0.25}, {"take_profit": 110.1}, "take_profit=110.1.*off the tick"),
        ({"tick_size": 0.25}, {"touch": 95.1}, "touch=95.1.*off the tick"),
        ({}, {"touch": -1.0}, "touch=-1.*below 0"),
        ({"tick_size": 0.25}, {"trail": 0.3}, "trail=0.3.*off the tick"),
        ({"lot_size": 100.0}, {"size": 150}, "size=150.*multiple of the lot of 100; use 100 or 200"),
        ({"lot_size": 100.0}, {"size": 50}, "use 100"),
        ({"fractional": False}, {"size": 1.5}, "size=1.5.*whole, and fractional is false; use 1 or 2"),
        ({}, {"limit": -5}, r"limit=-5\): below 0, and the newest close is 100"),
        ({}, {"stop": -5}, r"stop=-5\): below 0"),
    ],
)
def test_off_the_grid(rules, order, says):
    """A price off the tick, a size off the lot and a negative level are refused with what would do."""
    with pytest.raises(StrategyError, match=says):
        scripted({1: lambda s: s.buy(**{"size": 100, **order})}, series_of(flat([100, 100])), **rules)


def test_on_the_grid():
    """Multiples of the tick are taken as what they mean, whatever the last bit says."""
    desk = scripted(
        {1: lambda s: s.buy(size=0.1 + 0.2, limit=0.1 * 3)}, series_of(flat([1, 0.2])), tick_size=0.1, lot_size=0.1
    )
    assert desk.fills[0].price == 0.2


def test_negative_levels_where_prices_are_negative():
    """Where the market itself is below 0, levels may be."""
    desk = scripted({1: lambda s: s.buy(size=1, limit=-5)}, series_of(flat([-3, -6])))
    assert desk.fills[0].price == -6


def test_sizes_that_are_computed_are_in_lots():
    """All the cash, targets and risk give whole lots, rounded toward 0."""
    seen = []
    plan = {
        1: lambda s: s.buy(),
        2: lambda s: seen.append(s.order_target_value(2700).size),
        3: lambda s: seen.append(s.size_for_risk(risk=0.1, stop=5)),
    }
    desk = scripted(plan, series_of(flat([10] * 4)), cash=5990, lot_size=100.0)
    assert [f.size for f in desk.fills] == [500, 300]
    assert seen == [300, 100]
    with pytest.warns(OrderWarning, match="set a smaller broker.lot_size"):
        desk = scripted({1: lambda s: s.buy()}, series_of(flat([10] * 2)), cash=990, lot_size=100.0)
    assert desk.orders[0].reason == (
        "990.00 available doesn't pay for a lot of 100 at 10 with commission; set a smaller broker.lot_size"
    )


def test_odd_lots_can_be_closed():
    """A position that is no whole number of lots can be closed as it is."""
    rows = [(10, 10, 10, 10, 99)] * 5
    plan = {
        1: lambda s: s.buy(size=100),
        2: lambda s: s._strategy_context._desk.portfolio.split("EXE", 0.333),
        3: lambda s: s.close(),
    }
    desk = scripted(plan, series_of(rows), lot_size=100.0)
    assert not desk.portfolio.held


def test_trailing_levels_are_on_the_tick():
    """A level that trails by a share of the price is rounded to the tick away from the market."""
    plan = {1: lambda s: (s.sell(size=1, trail="3.3%"), s.buy(size=1, trail="3.3%"))}
    desk = scripted(plan, series_of([(100, 100, 100, 100), (100, 101, 99, 100)]), tick_size=0.5)
    assert [o.events[0].terms.stop for o in desk.orders] == [96.5, 103.5]
    assert [o.stop for o in desk.orders] == [97.5, 102.5]  # 101 * 0.967 = 97.67, 99 * 1.033 = 102.27


# -- the volume cap -------------------------------------------------------------------------------------------


def test_the_cap_is_shared():
    """All fills of one bar together stay within the share of its volume, in order of submission."""
    plan = {1: lambda s: (s.buy(size=6), s.buy(size=6), s.buy(size=6))}
    desk = scripted(plan, series_of([(9, 9, 9, 9, 20)] * 4), volume_share=0.5)
    assert [(f.index, f.order_id, f.size) for f in desk.fills] == [
        (1, 1, 6), (1, 2, 4), (2, 2, 2), (2, 3, 6),
    ]  # fmt: skip


def test_parts_are_whole_lots():
    """A part is rounded down to the lot, or to whole units where fractions aren't allowed."""
    rows = [(9, 9, 9, 9, 25)] * 4
    for rules, first in (({}, 12.5), ({"fractional": False}, 12), ({"lot_size": 10.0}, 10)):
        desk = scripted({1: lambda s: s.buy(size=100)}, series_of(rows), volume_share=0.5, **rules)
        assert desk.fills[0].size == first


def test_a_triggered_stop_goes_on_as_a_market_order():
    """What the cap leaves of a stop that has triggered fills at the next open, whatever the level."""
    rows = [(10, 10, 10, 10, 5), (12, 12, 12, 12, 5), (8, 8, 8, 8, 5)]
    desk = scripted({1: lambda s: s.buy(size=8, stop=11)}, series_of(rows), volume_share=1.0)
    assert [(f.size, f.price) for f in desk.fills] == [(5, 12), (3, 8)]


def test_a_bar_without_volume_fills_nothing():
    """With a cap, a bar without volume fills nothing; bars that never have any are refused at the start."""
    rows = [(9, 9, 9, 9, 20), (9, 9, 9, 9, 0), (9, 9, 9, 9, 20)]
    desk = scripted({1: lambda s: s.buy(size=6)}, series_of(rows), volume_share=0.5)
    assert [f.index for f in desk.fills] == [2]
    with pytest.raises(ValueError, match=r"broker.volume_share = 0.5: the bars of EXE have no volume"):
        scripted({}, series_of([(9, 9, 9, 9, 0)]), volume_share=0.5)


def test_what_the_account_refuses_later():
    """Where the rest of an order can't be paid any more, what has filled stands and the rest is cancelled."""
    rows = [(10, 10, 10, 10, 5), (10, 10, 10, 10, 5), (90, 90, 90, 90, 5)]
    desk = scripted({1: lambda s: s.buy(size=8)}, series_of(rows), volume_share=1.0, cash=100)
    order = desk.orders[0]
    assert (order.status, order.filled, order.size) == ("cancelled", 5, 8)
    assert order.reason.startswith("3 units at 90 need 270.00")


# -- no bars --------------------------------------------------------------------------------------------------


def test_a_symbol_that_has_no_bar_yet():
    """An order for a symbol without a completed bar is refused: its price isn't known."""
    a, b = series_of(flat([1, 1]), "A"), series_of(flat([1]), "B", minutes=[1])
    with pytest.raises(StrategyError, match="no bar of B has completed yet, so that its price is unknown"):
        scripted({1: lambda s: s.buy("B", 1)}, a, b)


def test_a_symbol_that_has_no_bar_any_more():
    """An order for a symbol whose bars have ended is rejected at once, and says when the last one closed."""
    a, b = series_of(flat([1] * 4), "A"), series_of(flat([1]), "B")
    desk = scripted({3: lambda s: s.buy("B", 1)}, a, b)
    (order,) = desk.orders
    assert (order.status, order.closed) == ("rejected", order.submitted)
    assert order.reason == (
        "B has no bar any more: its last one closed at 2024-01-02 14:31:00+00:00; a delist in data.actions says what its "
        "holders got"
    )


def test_buying_in_on_stop():
    """After the last bar no order is taken."""

    class Late(Strategy):
        def on_stop(self):
            self.buy(size=1)

    with pytest.raises(StrategyError, match="can't place an order: the run is over, no bar follows"):
        run(Late(), series_of(flat([1])))
