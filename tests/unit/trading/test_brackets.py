"""Brackets, OCO and reduce-only: what a fill of one order means to others."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import OrderError, StrategyError
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, scripted, series_of

# A quiet bar, then one that opens at 100 and reaches 90 to 110, nearer to its low.
WIDE = [(100, 101, 99, 100), (100, 111, 90, 100)]


def fills(desk):
    return [(f.index, f.signed_size, f.price) for f in desk.fills]


def test_exits_live_in_the_entry_bar():
    """An entry at the open of its bar has its exits in that very bar: all of it comes later."""
    desk = scripted({1: lambda s: s.buy(size=5, stop_loss=95)}, series_of(WIDE))
    assert fills(desk) == [(1, 5, 100), (1, -5, 95)]
    desk = scripted({1: lambda s: s.sell(size=5, stop_loss=105)}, series_of(WIDE))
    assert fills(desk) == [(1, -5, 100), (1, 5, 105)]


def test_exits_wait_where_the_entry_was_inside():
    """An entry inside a bar, or at its close, has its exits from the next bar on: what the bar reached may be earlier."""
    rows = [*WIDE, (100, 101, 94, 100)]
    desk = scripted({1: lambda s: s.buy(size=5, limit=98, stop_loss=95)}, series_of(rows))
    assert fills(desk) == [(1, 5, 98), (2, -5, 95)]
    desk = scripted({1: lambda s: s.buy(size=5, stop_loss=95)}, series_of(rows), fill="next_close")
    assert fills(desk) == [(1, 5, 100), (2, -5, 95)]
    desk = scripted({2: lambda s: s.buy(size=5, stop_loss=95)}, series_of(rows), fill="this_close")
    assert fills(desk) == [(1, 5, 100), (2, -5, 95)]


@pytest.mark.parametrize(
    ("rule", "row", "price"),
    [
        ("pessimistic", (100, 111, 90, 100), 95),
        ("pessimistic", (100, 106, 90, 100), 95),
        ("path", (100, 106, 90, 100), 105),  # the high is nearer: up first
        ("path", (100, 111, 94, 100), 95),  # the low is nearer: down first
        ("path", (100, 110, 90, 100), 95),  # equally near: pessimistic
    ],
)
def test_stop_and_target_in_one_bar(rule, row, price):
    """Of a stop and a target in one bar the rule decides: the stop, or what the path reaches first."""
    desk = scripted(
        {1: lambda s: s.buy(size=1, stop_loss=95, take_profit=105)}, series_of([(100, 101, 99, 100), row]),
        stop_and_target=rule,
    )  # fmt: skip
    assert fills(desk) == [(1, 1, 100), (1, -1, price)]
    assert [o.status for o in desk.orders] == [
        "filled",
        *(("filled", "cancelled") if price == 95 else ("cancelled", "filled")),
    ]


@pytest.mark.parametrize("rule", ["pessimistic", "path"])
def test_a_gap_over_the_target_is_no_doubt(rule):
    """What fills at the open comes first by every rule: a bar that opens beyond the target fills it there."""
    rows = [(100, 101, 99, 100), (100, 101, 99, 100), (107, 108, 90, 100)]
    desk = scripted({1: lambda s: s.buy(size=1, stop_loss=95, take_profit=105)}, series_of(rows), stop_and_target=rule)
    assert fills(desk) == [(1, 1, 100), (2, -1, 107)]


def test_finer_bars_decide():
    """Orders execute on base bars, so that of a signal's coarser bar the base bars inside it say what came first."""
    base = series_of([(100, 101, 99, 100), (100, 100, 100, 100), (100, 106, 100, 104), (104, 104, 90, 92)])
    coarse = series_of([(100, 101, 99, 100), (100, 106, 90, 92)], interval="2m", is_base=False)

    class Coarse(Strategy):
        def on_bar(self, bar):
            if bar.interval == "2m" and len(self.bars(interval="2m")) == 1:
                self.buy(size=1, stop_loss=95, take_profit=105)

    desk = run(Coarse(), base, coarse, stop_and_target="finer")
    assert fills(desk) == [(2, 1, 100), (2, -1, 105)]


def test_finer_needs_a_coarser_interval():
    """Without derived intervals there is nothing that base bars could be finer than."""
    with pytest.raises(ValueError, match=r"broker.stop_and_target = 'finer': there is no coarser interval"):
        scripted({}, series_of(flat([1])), stop_and_target="finer")


def test_a_cancelled_entry_takes_its_exits_along():
    """Exits of an entry that never fills are held, and end with it."""

    def place(s):
        order = s.buy(size=1, limit=50, stop_loss=40, take_profit=60)
        assert [child.status for child in order.children] == ["held", "held"]
        assert s.orders() == [order]
        return order

    desk = scripted({1: place, 2: lambda s: s.cancel(s.made[0])}, series_of(flat([100] * 3)))
    assert [o.status for o in desk.orders] == ["cancelled"] * 3
    assert desk.orders[1].reason == "its entry, order 1, opened nothing: cancelled"
    assert not desk.pending


def test_a_rejected_entry_takes_its_exits_along():
    """The same for one that can't be paid."""
    desk = scripted({1: lambda s: s.buy(size=100, stop_loss=90)}, series_of(flat([100] * 3)), cash=1000)
    assert [o.status for o in desk.orders] == ["rejected", "cancelled"]


def test_an_entry_that_turns_around_has_exits_for_what_it_opened():
    """Exits are sized to what the entry opened, not to what it closed before."""
    plan = {1: lambda s: s.sell(size=4), 2: lambda s: s.buy(size=10, stop_loss=90)}
    desk = scripted(plan, series_of([*flat([100] * 3), (100, 100, 80, 85)]))
    assert fills(desk) == [(1, -4, 100), (2, 10, 100), (3, -6, 90)]


def test_an_entry_that_opens_nothing_has_no_exits():
    """An order that only closes has nothing to exit from."""
    plan = {1: lambda s: s.sell(size=4), 2: lambda s: s.buy(size=4, stop_loss=90)}
    desk = scripted(plan, series_of(flat([100, 100, 100, 80])))
    assert fills(desk) == [(1, -4, 100), (2, 4, 100)]
    assert desk.orders[2].reason == "its entry, order 2, opened nothing: filled"


def test_closing_by_hand_ends_the_exits():
    """When the position is closed, its brackets go: they must not meet a later position."""
    plan = {
        1: lambda s: s.buy(size=4, stop_loss=90, take_profit=120),
        2: lambda s: s.close(),
        3: lambda s: s.buy(size=4),
    }
    desk = scripted(plan, series_of(flat([100, 100, 100, 100, 80])))
    assert fills(desk) == [(1, 4, 100), (2, -4, 100), (3, 4, 100)]
    assert [o.status for o in desk.orders[1:3]] == ["cancelled", "cancelled"]
    assert desk.orders[1].reason == "order 4 closed the position"


def test_two_brackets_keep_apart():
    """Each entry's exits close what that entry opened."""
    plan = {1: lambda s: (s.buy(size=4, stop_loss=90), s.buy(size=3, stop_loss=80))}
    desk = scripted(plan, series_of(flat([100, 100, 85, 75])))
    assert fills(desk) == [(1, 4, 100), (1, 3, 100), (2, -4, 85), (3, -3, 75)]


def test_an_exit_ends_the_rest_of_its_entry():
    """Where an exit fills while its entry still waits for volume, the entry's rest is cancelled."""
    rows = [(100, 100, 100, 100, 10), (100, 100, 100, 100, 10), (106, 106, 106, 106, 100), (90, 90, 90, 90, 100)]
    desk = scripted({1: lambda s: s.buy(size=30, limit=100, take_profit=105)}, series_of(rows), volume_share=0.5)
    assert fills(desk) == [(1, 5, 100), (2, -5, 106)]
    assert (desk.orders[0].status, desk.orders[0].filled) == ("cancelled", 5)
    assert desk.orders[0].reason == "its exit, order 2, was filled"


def test_exits_grow_with_their_entry():
    """An entry that fills in parts gives its exits each part."""
    rows = [(100, 100, 100, 100, 10)] * 4 + [(90, 90, 90, 90, 100)]
    desk = scripted({1: lambda s: s.buy(size=12, stop_loss=95)}, series_of(rows), volume_share=0.5)
    assert fills(desk) == [(1, 5, 100), (2, 5, 100), (3, 2, 100), (4, -12, 90)]


# -- OCO ------------------------------------------------------------------------------------------------------


def both(s, **first):
    up, down = s.buy(size=4, **(first or {"stop": 105})), s.sell(size=4, stop=95)
    s.oco(up, down)
    return up, down


def test_one_cancels_the_other():
    """A fill of one order of an OCO group cancels the others, with the reason."""
    desk = scripted({1: both}, series_of(flat([100, 106, 90])))
    assert fills(desk) == [(1, 4, 106)]
    assert desk.orders[1].reason == "one cancels the other: order 1 was filled"


def test_oco_in_one_bar():
    """Where one bar reaches both, one fills: at the open first, else the one submitted first, or by the path."""
    wide = [(100, 101, 99, 100), (100, 111, 90, 100)]
    assert fills(scripted({1: both}, series_of(wide))) == [(1, 4, 105)]
    assert fills(scripted({1: both}, series_of(wide), stop_and_target="path")) == [(1, -4, 95)]
    gap = [(100, 101, 99, 100), (94, 111, 90, 100)]
    assert fills(scripted({1: both}, series_of(gap))) == [(1, -4, 94)]


def test_oco_in_parts():
    """A part of one makes the others as much smaller: together they never fill more than one of them."""
    rows = [(100, 100, 100, 100, 9), (106, 106, 106, 106, 3), (90, 90, 90, 90, 99), (90, 90, 90, 90, 99)]
    desk = scripted({1: lambda s: both(s, limit=200)}, series_of(rows), volume_share=1.0)
    # The buy fills 3 of 4 and its rest in the bar after; of the sell 1 was left, and then nothing.
    assert [f.signed_size for f in desk.fills] == [3, 1]
    assert desk.orders[1].status == "cancelled"
    assert desk.orders[1].size == 1


def test_oco_refusals():
    """An OCO group has two or more open orders of the strategy, each in no other group."""

    def act(s):
        a, b, c = (s.buy(size=1, limit=level) for level in (50, 51, 52))
        s.oco(a, b)
        with pytest.raises(OrderError, match="is linked with 2 already"):
            s.oco(a, c)
        with pytest.raises(OrderError, match="got 1 orders; give two or more"):
            s.oco(c)
        with pytest.raises(OrderError, match="give two or more, each once"):
            s.oco(c, c)
        s.cancel(c)
        with pytest.raises(OrderError, match="can't be linked: only open orders"):
            s.oco(c, s.buy(size=1, limit=50))
        return True

    scripted({1: act}, series_of(flat([100, 100])))


@pytest.mark.parametrize("copied", [lambda orders: pickle.loads(pickle.dumps(orders)), copy.deepcopy])
def test_linked_orders_are_copied_with_their_links(copied):
    """A bracket's entry and exits refer to each other; in another process, and in a copy, they do so too."""
    desk = scripted({1: lambda s: s.buy(size=5, stop_loss=95, take_profit=120)}, series_of(flat([100, 100, 94])))
    entry, stop, target = copied(desk.orders)
    assert entry.children == (stop, target)
    assert stop.parent is target.parent is entry
    assert stop.oco is target.oco == [stop, target]
    assert [order.events for order in (entry, stop, target)] == [order.events for order in desk.orders]
    assert [(o.status, o.fill_price, o.reason) for o in (entry, stop, target)] == [
        (o.status, o.fill_price, o.reason) for o in desk.orders
    ]


# -- reduce only ----------------------------------------------------------------------------------------------


def test_reduce_only():
    """A reduce-only order trades what is held at most, and ends where nothing is."""
    plan = {1: lambda s: s.buy(size=3), 2: lambda s: s.sell(size=10, stop=95, reduce_only=True),
            4: lambda s: s.sell(size=1, reduce_only=True)}  # fmt: skip
    desk = scripted(plan, series_of(flat([100, 100, 100, 90, 90])))
    assert fills(desk) == [(1, 3, 100), (3, -3, 90)]
    assert [(o.status, o.size) for o in desk.orders] == [("filled", 3), ("filled", 3), ("cancelled", 1)]
    assert desk.orders[2].reason == "nothing left to close: 0 held"


def test_reduce_only_without_a_size():
    """Without a size it closes all that is held."""
    plan = {1: lambda s: s.buy(size=3), 2: lambda s: s.sell(limit=105, reduce_only=True)}
    assert fills(scripted(plan, series_of(flat([100, 100, 110])))) == [(1, 3, 100), (2, -3, 110)]


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (lambda s: s.buy(size=1, stop_loss=110, take_profit=105), "stop_loss=110, take_profit=105.*out of order"),
        (lambda s: s.sell(size=1, stop_loss=95, take_profit=98), "of a sell the stop_loss is above the take_profit"),
        (lambda s: s.buy(size=1, stop_loss=100), "stop_loss=100.*below the newest close of 100"),
        (lambda s: s.buy(size=1, take_profit=99), "take_profit=99.*above the newest close of 100"),
        (lambda s: s.sell(size=1, stop_loss=99), "stop_loss=99.*above the newest close of 100"),
        (lambda s: s.buy(size=1, limit=90, stop_loss=95), "stop_loss=95.*below the entry at 90"),
        (lambda s: s.buy(size=1, stop=110, take_profit=105), "take_profit=105.*above the entry at 110"),
        (lambda s: s.buy(size=1, touch=90, stop_loss=95), "stop_loss=95.*below the entry at 90"),
        (lambda s: s.buy(size=1, touch=90, limit=92, stop_loss=91), "stop_loss=91.*below the entry at 90"),
        (lambda s: s.buy(size=1, touch=90, limit=88, stop_loss=89), "stop_loss=89.*below the entry at 88"),
        (lambda s: s.sell(size=1, touch=110, limit=105, stop_loss=108), "stop_loss=108.*above the entry at 110"),
    ],
)
def test_exits_on_the_wrong_side(order, says):
    """Levels out of order, and on the wrong side of the entry or the market, are refused with all of them."""
    with pytest.raises(StrategyError, match=says):
        scripted({1: order}, series_of(flat([100, 100])))


levels = st.integers(80, 99).map(float)


@given(levels, levels, st.sampled_from([1, -1]))
def test_the_entry_of_a_touch_is_where_it_fills(touch, limit, sign):
    """A bar that comes to both levels from the far side fills there: exits on either side of that price are taken, and open."""
    path = [*flat([100, 100]), (100, 101, 79, 100)]
    rows = (
        path if sign == 1 else [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in path]
    )
    entry = min(touch, limit)
    near, far, loss, gain = (value if sign == 1 else 200 - value for value in (touch, limit, entry - 0.5, entry + 0.5))
    desk = scripted(
        {
            1: lambda s: (s.buy if sign == 1 else s.sell)(
                size=1, touch=near, limit=far, stop_loss=loss, take_profit=gain
            )
        },
        series_of(rows),
        account="margin",
    )
    assert desk.fills[0].price == (entry if sign == 1 else 200 - entry)


def test_a_replaced_touch_stays_between_its_exits():
    """A new touch of an entry is checked as the first one was; once touched, the limit alone is the entry."""

    def moved(s):
        with pytest.raises(OrderError, match="stop_loss=85.*below the entry at 84"):
            s.replace(s.orders()[0], touch=84)
        s.replace(s.orders()[0], touch=86)

    def lowered(s):
        with pytest.raises(OrderError, match="take_profit=97.*above the entry at 98"):
            s.replace(s.orders()[0], limit=98)

    desk = scripted(
        {1: lambda s: s.buy(size=1, touch=90, limit=95, stop_loss=85, take_profit=97), 2: moved},
        series_of(flat([100] * 3)),
    )
    assert desk.orders[0].touch == 86
    plan = {1: lambda s: s.buy(size=1, touch=90, limit=89.5, stop_loss=85, take_profit=97), 3: lowered}
    assert scripted(plan, series_of([*flat([100] * 2), (100, 100, 89.9, 100), *flat([100])])).orders[0].triggered
