"""Matches orders with a bar: finds the fills, their prices and their turn. Pure; knows no cash.

The rule of an order's type, in `nbbacktest.trading.orders.types`, alone decides if and how the order fills.
"""

from __future__ import annotations

from nbbacktest.core.records import Bar
from nbbacktest.trading.orders.order import Order
from nbbacktest.trading.orders.types import AT_OPEN, INSIDE, RULES, FillRules

USUAL = FillRules()


Turn = tuple[int, int]
"""The place of a hit among those of its instant: the part of the bar, and the number of an order."""
Hit = tuple[Turn, Order, Bar, float, int]
"""The turn of a fill, the order, the bar that fills it, the price before slippage, and the part of the bar."""


def is_over(order: Order, bar: Bar) -> bool:
    """True if `bar` begins after the end of `order`: it neither fills nor changes it."""
    return bool(order.expires_ns) and bar.time_ns >= order.expires_ns


def hit_of(order: Order, bar: Bar, rules: FillRules) -> Hit | None:
    """The fill of `order` by `bar`; None if it doesn't fill it."""
    if order.expires_ns and is_over(order, bar):
        return None
    rule = RULES[order.type]
    price = rule.price(order, bar, rules)
    if price is None:
        return None
    phase = rule.phase(order, bar, price, rules)
    return (phase, order.id), order, bar, price, phase


def match(order: Order, bar: Bar, rules: FillRules = USUAL) -> float | None:
    """The price at which `bar` fills `order`, before slippage; None if it doesn't."""
    hit = hit_of(order, bar, rules)
    return None if hit is None else hit[3]


def precedence(order: Order, bar: Bar, price: float, rules: FillRules) -> tuple[int, float]:
    """The sort key of linked orders that one bar reaches: the order with the least key comes first.

    By every rule a fill at the open is first: nothing comes before it. Then, ``pessimistic``: stops
    before limits. ``path``: the bar is taken to go from its open to the nearer of high and low, on to the other one,
    and to its close; if both are equally near, it is pessimistic.
    """
    opened, up, down = bar.open, bar.high - bar.open, bar.open - bar.low
    phase = RULES[order.type].phase(order, bar, price, rules)
    if phase != INSIDE:
        return (0 if phase == AT_OPEN else 3), 0.0
    if rules.sequence != "path" or up == down:
        return (1 if RULES[order.type].is_stop else 2), 0.0
    return (1 if (price > opened) is (up < down) else 2), abs(price - opened)


def in_turn(hits: list[Hit], rules: FillRules) -> list[Hit]:
    """Hits of one instant in turn: at the open, inside the bar, at its close, and within each by submission.

    The turns are those of all symbols together, since they share the cash. `precedence` orders linked orders among the
    turns that they have.
    """
    groups: dict[int, list[Hit]] = {}
    for hit in hits:
        order = hit[1]
        key = order.id if order.oco is None else -min(one.id for one in order.oco)
        groups.setdefault(key, []).append(hit)
    ordered: list[Hit] = []
    for members in groups.values():
        turns = sorted(hit[0] for hit in members)
        if len(members) > 1:
            members.sort(key=lambda hit: (*precedence(hit[1], hit[2], hit[3], rules), hit[1].id))
        ordered += [(turn, *hit[1:]) for turn, hit in zip(turns, members, strict=True)]
    # No two turns are equal, so that nothing else is compared.
    ordered.sort()
    return ordered
