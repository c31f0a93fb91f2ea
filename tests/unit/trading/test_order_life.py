"""What an order's record tells of its life, who is told, and how it can be changed."""

import pandas as pd
import pytest

from nbbacktest.core.errors import OrderError, StrategyError
from nbbacktest.trading.orders import OrderEvent, OrderTerms
from nbbacktest.trading.strategy import Strategy
from tests.drivers import OPENING, flat, run, scripted, series_of

MINUTE = 60 * 10**9


def life(order):
    return [(str(e.kind), (e.time_ns - OPENING) // MINUTE) for e in order.events]


def test_a_filled_order():
    """A fill is the end of submitted, accepted, filled, with size and price."""
    order = scripted({1: lambda s: s.buy(size=2)}, series_of(flat([10, 11]))).orders[0]
    assert life(order) == [("submitted", 1), ("accepted", 1), ("filled", 2)]
    assert order.events[-1] == OrderEvent(order.closed_ns, "filled", None, 2, 11, OrderTerms(2))
    assert (order.filled, order.fill_price, order.remaining) == (2, 11, 0)


def test_all_the_cash_is_settled_at_the_fill():
    """An order for all the cash was submitted without a size; its later events have it."""
    order = scripted({1: lambda s: s.buy()}, series_of(flat([10, 10])), cash=100).orders[0]
    assert [e.terms.size for e in order.events] == [None, None, 10]


def test_a_close_of_more_than_is_held():
    """It was submitted with the size that was asked for; its fill has what was held."""
    plan = {1: lambda s: (s.buy(size=2), s.sell(size=5, reduce_only=True))}
    order = scripted(plan, series_of(flat([10, 10]))).orders[1]
    assert [e.terms.size for e in order.events] == [5, 5, 2]
    assert order.events[-1].size == 2


def test_a_stop_triggers():
    """A stop is triggered, then filled; a stop-limit may be triggered bars before."""
    desk = scripted(
        {1: lambda s: (s.buy(size=1, stop=12), s.buy(size=1, stop=12, limit=11))}, series_of(flat([10, 11, 12, 13, 11]))
    )
    assert life(desk.orders[0]) == [("submitted", 1), ("accepted", 1), ("triggered", 3), ("filled", 3)]
    assert life(desk.orders[1]) == [("submitted", 1), ("accepted", 1), ("triggered", 3), ("filled", 5)]


def test_parts():
    """Each part is an event; the price is the average."""
    rows = [(10, 10, 10, 10, 4), (10, 10, 10, 10, 4), (16, 16, 16, 16, 4)]
    order = scripted({1: lambda s: s.buy(size=6)}, series_of(rows), volume_share=1.0).orders[0]
    assert [(str(e.kind), e.size, e.price) for e in order.events[2:]] == [
        ("partially_filled", 4, 10),
        ("filled", 2, 16),
    ]
    assert order.fill_price == 12


def test_ends_without_a_fill():
    """Cancelled, rejected and expired orders say when and why."""

    def act(s):
        s.buy(size=99)
        s.buy(size=1, limit=5, tif="day")
        return s.buy(size=1, limit=5)

    plan = {1: act, 2: lambda s: s.cancel(s.made[0])}
    desk = scripted(plan, series_of(flat([10] * 3), minutes=[0, 1, 600]), cash=50)
    assert [life(o)[-1] for o in desk.orders] == [("rejected", 2), ("expired", 601), ("cancelled", 2)]
    assert [o.events[-1].reason for o in desk.orders] == [o.reason for o in desk.orders]


def test_exits_are_accepted_with_their_entry():
    """A bracket's exits are submitted with it, and accepted at its fill."""
    desk = scripted({1: lambda s: s.buy(size=1, limit=9, stop_loss=5)}, series_of(flat([10, 10, 8, 8])))
    assert life(desk.orders[1]) == [("submitted", 1), ("accepted", 3)]


# -- who is told ----------------------------------------------------------------------------------------------


class Told(Strategy):
    """Writes down what it is told, and in which order."""

    def on_start(self):
        self.said = []

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.first = self.buy(size=1, stop=12, tag="stop")
            self.buy(size=1, limit=12, tag="limit")
            self.cancel(self.buy(size=1, limit=1, tag="never"))
            self.oco(self.sell(size=1, stop=5, tag="low"), self.sell(size=1, limit=12, tag="high"))

    def on_fill(self, fill):
        self.said.append(("fill", fill.tag))

    def on_order(self, order):
        self.said.append((str(order.status), order.tag))


def test_on_order():
    """on_order comes after all on_fill of the instant, once an order, in the order of last events; own deeds aren't told."""
    told = Told()
    run(told, series_of([(10, 10, 10, 10), (11, 13, 11, 13)]))
    # The limit fills at the open, the others inside the bar.
    assert told.said == [
        ("fill", "limit"), ("fill", "stop"), ("fill", "high"),
        ("filled", "limit"), ("filled", "stop"), ("filled", "high"), ("cancelled", "low"),
    ]  # fmt: skip


def test_on_order_may_fail():
    """What on_order raises is the strategy's error, with the callback's name and the bar's symbol."""

    class Fails(Told):
        def on_order(self, order):
            raise KeyError(order.tag)

    with pytest.raises(StrategyError) as caught:
        run(Fails(), series_of([(10, 10, 10, 10), (11, 13, 11, 13)]))
    assert (caught.value.callback, caught.value.symbol) == ("on_order", "EXE")


@pytest.mark.parametrize("interval", ["1m", "1d"])
def test_an_error_names_the_bar_at_which_the_order_changed(interval):
    """`on_fill` and `on_order` of one fill name the same bar: that at whose instant the order changed."""
    stamps = []
    for callback in ("on_fill", "on_order"):

        class Fails(Strategy):
            def on_bar(self, bar):
                if len(self.bars()) == 2:
                    self.buy(size=1)

        def fail(self, _item):
            stamps.append(self.bars()[-1].time)
            raise KeyError("no")

        setattr(Fails, callback, fail)
        with pytest.raises(StrategyError) as caught:
            run(Fails(), series_of(flat([10, 11, 12, 13]), interval=interval))
        stamps.append(caught.value.time)
        assert f"at the {interval} bar of EXE stamped {stamps[-1]}" in str(caught.value)
    assert len(set(stamps)) == 1


def test_an_error_where_no_bar_was_names_the_instant():
    """An order whose symbol had no bar when it expired: the instant is told, and no bar that the run never saw."""

    class Fails(Strategy):
        def on_bar(self, bar):
            if bar.symbol == "SW" and len(self.bars("SW")) == 1:
                self.buy("SW", size=1, limit=1.0, tif="gtd", until=self.now + pd.Timedelta(minutes=2))

        def on_order(self, order):
            raise KeyError(order.status)

    with pytest.raises(StrategyError) as caught:
        run(
            Fails(),
            series_of(flat([10] * 8), "EXE", minutes=range(8)),
            series_of(flat([10, 10]), "SW", minutes=[0, 7]),
        )
    error = caught.value
    assert (error.symbol, error.interval) == ("SW", None)
    assert f"on_order raised for SW at {error.time}: KeyError" in str(error)


def test_this_close_tells_at_once():
    """By this_close the fill is told before buy() returns, and what that brings about after it."""

    class Chain(Told):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                order = self.buy(size=1, tag="a")
                assert order.status == "filled"
                assert self.position().size == 2

        def on_fill(self, fill):
            super().on_fill(fill)
            if fill.tag == "a":
                assert self.buy(size=1, tag="b").status == "filled"
                self.said.append("returned")

    chain = Chain()
    desk = run(chain, series_of(flat([10, 11])), fill="this_close")
    assert chain.said == [("fill", "a"), "returned", ("filled", "a"), ("fill", "b"), ("filled", "b")]
    assert [(f.index, f.price) for f in desk.fills] == [(0, 10), (0, 10)]


def test_this_close_without_a_bar_waits():
    """A symbol that has no bar at the instant isn't filled forward: its order fills at its next open."""
    a = series_of(flat([10, 10, 10]), "A")
    b = series_of([(1, 1, 1, 1), (3, 4, 3, 4)], "B", minutes=[0, 2])
    desk = scripted({2: lambda s: s.buy("B", 1)}, a, b, fill="this_close")
    assert [(f.index, f.price) for f in desk.fills] == [(2, 3)]


# -- replace --------------------------------------------------------------------------------------------------


def test_replace():
    """A replaced order fills by its new terms, keeps its place, and says what was changed."""

    def change(s):
        limit, stop, trail = s.made[0]
        assert s.replace(limit, limit=12, size=3) is limit
        s.replace(stop, stop=15)
        s.replace(trail, trail="10%")

    plan = {1: lambda s: (s.buy(size=1, limit=5), s.buy(size=1, stop=11), s.sell(size=1, trail=1)), 2: change}
    desk = scripted(plan, series_of([*[(10, 10, 10, 10)] * 2, (12, 13, 12, 12), (11, 11, 11, 11)]))
    assert [(f.index, f.size, f.price, f.order_id) for f in desk.fills] == [(2, 3, 12, 1), (3, 1, 11, 3)]
    assert desk.orders[0].events[2].reason == "size 1 -> 3, limit 5 -> 12"
    assert desk.orders[2].stop == pytest.approx(13 * 0.9)


def test_replace_an_exit():
    """An exit can be moved, before its entry fills and after."""
    plan = {
        1: lambda s: s.buy(size=1, stop_loss=5, take_profit=20),
        2: lambda s: s.replace(s.made[0].children[0], stop=9),
    }
    desk = scripted(plan, series_of(flat([10, 10, 8])))
    assert [f.price for f in desk.fills] == [10, 8]


@pytest.mark.parametrize(
    ("order", "change", "says"),
    [
        ({"limit": 5}, {}, "changes nothing"),
        ({"limit": 5}, {"stop": 5}, "has no stop that could be replaced"),
        ({"limit": 5}, {"trail": 5}, "has no trail that could be replaced"),
        ({"stop": 15}, {"limit": 5}, "has no limit"),
        ({"trail": 5}, {"stop": 5}, "has no stop"),
        ({"limit": 5}, {"limit": float("nan")}, "got nan"),
        ({"limit": 5}, {"limit": -5}, "below 0, and the newest close is 10"),
        ({"limit": 5}, {"size": 0}, "0 of order 1 are filled; give more, or cancel it"),
        ({"limit": 5, "stop_loss": 4}, {"limit": 3}, "stop_loss=4.*below the entry at 3"),
        ({"trail": 5}, {"trail": "-1%"}, "a share above 0%"),
    ],
)
def test_replace_refusals(order, change, says):
    """A term that the order doesn't have, or a value that makes no sense, is refused."""

    def act(s):
        with pytest.raises(OrderError, match=says):
            s.replace(s.buy(size=1, **order), **change)
        return True

    scripted({1: act}, series_of(flat([10])))


def test_replace_exits_out_of_order():
    """Exits can't be moved past each other, nor be given a size of their own."""

    def act(s):
        stop, target = s.buy(size=1, stop_loss=5, take_profit=20).children
        with pytest.raises(OrderError, match="stop 25 and target 20 of order 1 would be out of order"):
            s.replace(stop, stop=25)
        with pytest.raises(OrderError, match="takes its size from its entry's fill"):
            s.replace(target, size=4)
        return True

    scripted({1: act}, series_of(flat([10])))


def test_a_closed_order_stays_as_it_is():
    """A filled order can be neither cancelled nor replaced."""

    def late(s):
        for change in (s.cancel, lambda o: s.replace(o, size=3)):
            with pytest.raises(OrderError, match="only open orders can; test order.is_open before"):
                change(s.made[0])
        return True

    scripted({1: lambda s: s.buy(size=1), 2: late}, series_of(flat([10, 10])))


def test_triggered_stops_have_no_stop_any_more():
    """A stop-limit that has triggered is a limit order; its stop can't be replaced."""

    def late(s):
        with pytest.raises(OrderError, match="has triggered already"):
            s.replace(s.made[0], stop=15)
        s.replace(s.made[0], limit=14)

    rows = [(10, 10, 10, 10), (11.5, 13, 11.5, 13), *flat([13, 13])]
    desk = scripted({1: lambda s: s.buy(size=1, stop=12, limit=11), 2: late}, series_of(rows))
    assert [(f.index, f.price) for f in desk.fills] == [(2, 13)]
