"""What a changed order keeps: all that it has gained, whatever term is replaced."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nbbacktest.core.errors import OrderError
from nbbacktest.trading.strategy import Strategy
from tests.drivers import desk_for, flat, run_inline, scripted, series_of

DISTANCES = st.one_of(st.integers(1, 12), st.integers(1, 12).map(lambda n: f"{n}%"))
KINDS = {
    "limit": lambda up, gap: {"limit": 100 - up * gap},
    "stop": lambda up, gap: {"stop": 100 + up * gap},
    "touch": lambda up, gap: {"touch": 100 - up * gap},
    "touch limit": lambda up, gap: {"touch": 100 - up * gap, "limit": 100 - up * (gap + 1)},
    "stop limit": lambda up, gap: {"stop": 100 + up * gap, "limit": 100 + up * (gap - 1)},
    "trail": lambda up, gap: {"trail": gap},
    "percent": lambda up, gap: {"trail": f"{gap}%"},
    "bracket": lambda up, gap: {"limit": 100 - up * gap, "stop_loss": 100 - up * 14, "take_profit": 100 + up * 14},
    "day": lambda up, gap: {"limit": 100 - up * gap, "tif": "day"},
    "until": lambda up, gap: {"limit": 100 - up * gap, "until": "2024-01-02 14:36"},
    "reduce": lambda up, gap: {"stop": 100 + up * gap, "reduce_only": True},
}


@st.composite
def markets(draw):
    """Bars around 100, the first one at it; after a split around 100 in units of before it."""
    count = draw(st.integers(4, 12))
    split = draw(st.sampled_from([0, 0, 2, 3, 5]))
    ratio = draw(st.sampled_from([2.0, 3.0, 0.5])) if split else 1.0
    rows = [(100.0, 100.0, 100.0, 100.0, 100.0)]
    for row in range(1, count):
        low, a, b, high = sorted(draw(st.lists(st.integers(88, 112), min_size=4, max_size=4)))
        unit = ratio if split and row >= split else 1.0
        rows.append((a / unit, high / unit, low / unit, b / unit, draw(st.sampled_from([2.0, 100.0]))))
    return rows, split, ratio


class Replaces(Strategy):
    """Places one order after the first bar; changes all that waits at each later one, in the given way."""

    side: str = "buy"
    terms: dict
    change: object = None
    split: tuple = (0, 1.0)

    def on_start(self):
        self.levels = []

    def on_bar(self, bar):
        count = len(self.bars())
        if count == 1:
            self.first = getattr(self, self.side)(size=6, **self.terms)
        if self.change is not None:
            for order in [*self.orders(), *(child for child in self.first.children if child.status == "held")]:
                before = order.stop
                self.change(self, order, count)
                self.levels.append((order, before, order.stop))
        if count == self.split[0]:
            desk = self._strategy_context._desk
            desk.portfolio.split(bar.symbol, self.split[1])
            desk.split(bar.symbol, self.split[1])


def fills_of(market, rules, **params):
    rows, split, ratio = market
    strategy = Replaces(split=(split, ratio), **params)
    series = series_of(rows)
    desk = run_inline(desk_for(strategy, series, **rules), series)
    said = [(o.side, o.size, o.filled, o.limit, o.stop, o.trail, o.best, str(o.status), o.reason) for o in desk.orders]
    return [(f.index, f.order_id, f.size, f.price) for f in desk.fills], said, strategy


def same(strategy, order, _count):
    """Give an order each of its terms again, one by one and all at once."""
    trail = f"{order.trail * 100!r}%" if order.trail_is_fraction else order.trail
    given_ = {"limit": order.limit, "size": None if order.status == "held" else order.size}
    given_ |= {"trail": trail} if order.trail is not None else {"stop": None if order.triggered else order.stop}
    given_ |= {"touch": None if order.triggered else order.touch}
    terms = {name: value for name, value in given_.items() if value is not None}
    if order.trail_is_fraction and float(trail[:-1]) / 100 != order.trail:
        terms.pop("trail")  # its text doesn't round trip
    if order.triggered:
        terms.pop("trail", None)
    for name, value in terms.items():
        strategy.replace(order, **{name: value})
    if terms:
        strategy.replace(order, **terms)


RULES = st.sampled_from(
    [{}, {"volume_share": 1.0}, {"tick_size": 0.25}, {"fractional": False}, {"fill": "next_close"}, {"lot_size": 2.0}]
)


@settings(max_examples=300)
@given(markets(), st.sampled_from(sorted(KINDS)), st.sampled_from(["buy", "sell"]), st.integers(1, 12), RULES)
def test_a_replace_with_the_same_terms_changes_nothing(market, kind, side, gap, rules):
    """Fills, levels and ends of every kind of order are those without it, through parts, triggers and splits."""
    terms = KINDS[kind](1 if side == "buy" else -1, gap)
    plain, said, _ = fills_of(market, rules, side=side, terms=terms)
    again, said_again, _ = fills_of(market, rules, side=side, terms=terms, change=same)
    assert (again, said_again) == (plain, said)


@settings(max_examples=300)
@given(markets(), st.sampled_from(["buy", "sell"]), st.lists(DISTANCES, min_size=3, max_size=11), RULES)
@example(
    ([(100.0,) * 4 + (9.0,), (109.0, 110.0, 108.0, 110.0, 9.0), (106.0, 107.0, 105.5, 106.0, 9.0)], 0, 1.0),
    "sell",
    ["5%", "5%", "4%"],
    {},
)
def test_a_tighter_trail_never_moves_the_level_away(market, side, distances, rules):
    """However often it is tightened, by price or share: the level stays or comes closer, and nothing fills later."""
    sign = 1 if side == "sell" else -1

    def tighten(strategy, order, count):
        if order.triggered or count > len(distances) - 1:
            return
        distance = distances[count]
        best = order.best
        now = abs(best - (order.stop or 0.0))
        wanted = abs(best) * float(distance[:-1]) / 100 if isinstance(distance, str) else distance
        if wanted <= now:
            strategy.replace(order, trail=distance)

    rules = {name: value for name, value in rules.items() if name != "lot_size"}
    plain, _, _ = fills_of(market, rules, side=side, terms={"trail": distances[0]})
    tight, _, strategy = fills_of(market, rules, side=side, terms={"trail": distances[0]}, change=tighten)
    for _, before, after in strategy.levels:
        assert (after - before) * sign >= 0
    if plain:
        assert tight
        assert tight[0][0] <= plain[0][0]


def test_a_replaced_trail_counts_from_the_best_price():
    """It stands where it would, had the order been placed with this distance; a wider one goes back as far."""
    rows = [*flat([100, 110]), (106, 107, 105.5, 106), (106, 107, 105.9, 106)]
    plan = {
        1: lambda s: s.sell(size=1, trail="6%"),
        3: lambda s: (s.replace(s.made[0], trail=4.2).stop, s.replace(s.made[0], trail="10%").stop),
        4: lambda s: s.replace(s.made[0], trail=4.5).stop,
    }
    desk = scripted(plan, series_of(rows))
    trail = desk.orders[0]
    assert [event.terms.stop for event in trail.events if str(event.kind) == "replaced"] == [105.8, 99, 105.5]
    assert (trail.best, trail.stop) == (110, 105.5)


def test_terms_that_an_order_has_already_are_no_event():
    """A replace with the same level is taken, and leaves no trace; an unknown term is refused still."""

    def act(s):
        order = s.buy(size=1, limit=5)
        assert s.replace(order, limit=5, size=1) is order
        with pytest.raises(OrderError, match="has no stop"):
            s.replace(order, stop=5)
        return order

    (order,) = scripted({1: act}, series_of(flat([10]))).orders
    assert [str(event.kind) for event in order.events] == ["submitted", "accepted"]


def test_a_triggered_stop_limit_stays_triggered():
    """Another limit, or another size, makes no stop of it again."""
    rows = [(10, 10, 10, 10), (11.5, 13, 11.5, 13), *flat([13, 11.5])]
    plan = {
        1: lambda s: s.buy(size=1, stop=12, limit=11),
        2: lambda s: s.replace(s.made[0], size=3),
        3: lambda s: s.replace(s.made[0], limit=11.6),
    }
    desk = scripted(plan, series_of(rows))
    assert [(f.index, f.size, f.price) for f in desk.fills] == [(3, 3, 11.5)]


def test_a_touch_is_moved_until_it_is_reached():
    """A new touch is where the order triggers; once it has, it is a limit order, whose touch can't be replaced."""
    rows = [*flat([100, 100]), (100, 100, 97.5, 100), (100, 100, 96.5, 100), (100, 100, 94, 95)]

    def late(s):
        with pytest.raises(OrderError, match="has triggered already; cancel it"):
            s.replace(s.made[0], touch=90)
        return s.replace(s.made[0], limit=94.5)

    plan = {
        1: lambda s: s.buy(size=1, touch=98, limit=96),
        2: lambda s: s.replace(s.made[0], touch=97),
        4: late,
    }
    desk = scripted(plan, series_of(rows))
    assert [(f.index, f.price) for f in desk.fills] == [(4, 94.5)]
    told = [(str(event.kind), event.reason) for event in desk.orders[0].events]
    assert told[2:5] == [("replaced", "touch 98 -> 97"), ("triggered", None), ("replaced", "limit 96 -> 94.5")]


def test_what_has_no_touch_gets_none_by_a_replace():
    """As with other levels."""

    def act(s):
        order = s.buy(size=1, limit=9)
        with pytest.raises(OrderError, match="has no touch that could be replaced"):
            s.replace(order, touch=5)
        with pytest.raises(OrderError, match="give size, limit, stop, touch or trail"):
            s.replace(order)
        return order

    scripted({1: act}, series_of(flat([10])))
