"""The fill rules: whether a bar fills an order, at which price, and what a bar reaches first. Pure; knows no cash.

| order | rule |
|---|---|
| market | the open; by choice the close |
| limit buy L | low <= L: min(open, L); sell mirrored; by choice only where low < L |
| stop buy S | high >= S: max(open, S), so that a gap fills at the open; sell mirrored |
| stop-limit | triggers as a stop does, then is a limit; in one bar only where its path leaves no doubt |
| trailing stop | a stop at the level that earlier bars have set |
| on open, on close | the open of the session's first bar; the close of the one that ends it |
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from nbbacktest.core.enums import OrderType, Phase, Side
from nbbacktest.core.records import Bar
from nbbacktest.trading.orders import Order

# Looking a member up in its enum costs as much as the rule itself.
_MARKET, _LIMIT, _STOP_LIMIT, _BUY = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LIMIT, Side.BUY
_ON_OPEN, _ON_CLOSE = OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_CLOSE
AT_OPEN, _INSIDE, AT_CLOSE = range(3)
PHASES = (Phase.OPEN, Phase.INSIDE, Phase.CLOSE)
_STOPS = (OrderType.STOP, OrderType.TRAILING_STOP, OrderType.STOP_LIMIT)


class FillRules(NamedTuple):
    """What the config chooses.

    Attributes
    ----------
    at_close : bool
        Whether market orders fill at the close of their bar instead of its open.
    strict : bool
        Whether a limit has to be crossed, not just touched.
    sequence : str
        How one bar's reaching two linked orders is decided.
    """

    at_close: bool = False
    strict: bool = False
    sequence: Literal["pessimistic", "path", "finer"] = "pessimistic"


USUAL = FillRules()


def match(order: Order, bar: Bar, rules: FillRules = USUAL) -> float | None:
    """The price at which `bar` fills `order`, before slippage; None where it doesn't."""
    kind = order.type
    if order.expires_ns and bar.time_ns >= order.expires_ns:
        return None
    if kind is _MARKET:
        return bar.close if rules.at_close and not order.is_forced else bar.open
    if kind is _LIMIT or (kind is _STOP_LIMIT and order.triggered):
        price = _limit(order, bar, rules.strict)
        return price if price == bar.open or not order.is_immediate else None
    if kind is _ON_OPEN:
        return bar.open if bar.end_ns > order.begins_ns else None
    if kind is _ON_CLOSE:
        return bar.close if bar.end_ns >= order.expires_ns else None
    if order.triggered:
        return bar.open
    if not reaches_stop(order, bar):
        return None
    return _stop_limit(order, bar, rules.strict) if kind is _STOP_LIMIT else _beyond(order, bar)


def part_of_bar(order: Order, bar: Bar, price: float, rules: FillRules) -> int:
    """When in the bar a match at `price` is: `AT_OPEN`, so that all of the bar comes after it, inside, or `AT_CLOSE`.

    `order` is as the bar met it, and `price` what `match` gave.
    """
    kind = order.type
    if kind is _ON_CLOSE or (kind is _MARKET and rules.at_close and not order.is_forced):
        return AT_CLOSE
    if price != bar.open:
        return _INSIDE
    # Two that come to the open's price later in the bar: a stop-limit that is triggered inside it, and a limit that has to be
    # crossed and is the open itself.
    if kind is _STOP_LIMIT and not order.triggered:
        return AT_OPEN if _beyond(order, bar) == bar.open else _INSIDE
    if kind is _LIMIT or kind is _STOP_LIMIT:
        return _INSIDE if rules.strict and price == order.limit and not order.is_immediate else AT_OPEN
    return AT_OPEN


def at_open(order: Order, bar: Bar, price: float, rules: FillRules) -> bool:
    """Whether a match at `price` is one at the bar's open."""
    return part_of_bar(order, bar, price, rules) == AT_OPEN


def reaches_stop(order: Order, bar: Bar) -> bool:
    """Whether the bar reaches the order's stop level."""
    if order.side is _BUY:
        return bar.high >= order.stop  # type: ignore[operator]  # who asks has an order that has one
    return bar.low <= order.stop  # type: ignore[operator]  # as above


def behind(side: Side, best: float, distance: float, *, is_fraction: bool) -> float:
    """The level of a trailing stop of that side and distance, the best price being `best`."""
    away = abs(best) * distance if is_fraction else distance
    return best + away if side is _BUY else best - away


def trailed(order: Order, bar: Bar) -> float:
    """Where a trailing stop is after `bar`: it only ever comes closer to the market."""
    distance: float = order.trail  # type: ignore[assignment]  # the type of order has one
    stop: float = order.stop  # type: ignore[assignment]
    if order.side is _BUY:
        return min(stop, behind(order.side, bar.low, distance, is_fraction=order.trail_is_fraction))
    return max(stop, behind(order.side, bar.high, distance, is_fraction=order.trail_is_fraction))


def best_of(order: Order, bar: Bar) -> float:
    """The best price that a trailing stop has followed after `bar`."""
    best: float = order.best  # type: ignore[assignment]  # as above
    return min(best, bar.low) if order.side is _BUY else max(best, bar.high)


def precedence(order: Order, bar: Bar, price: float, rules: FillRules) -> tuple[int, float]:
    """Which of several linked orders that one bar reaches comes first: the one with the least of this.

    What fills at the open is first, whatever the rule: nothing comes before it. Then, ``pessimistic``: stops
    before limits. ``path``: the bar is taken to go from its open to the nearer of high and low, on to the other one,
    and to its close; where both are equally near, it is pessimistic.
    """
    opened, up, down = bar.open, bar.high - bar.open, bar.open - bar.low
    part = part_of_bar(order, bar, price, rules)
    if part != _INSIDE:
        return (0 if part == AT_OPEN else 3), 0.0
    if rules.sequence != "path" or up == down:
        return (1 if order.type in _STOPS else 2), 0.0
    return (1 if (price > opened) is (up < down) else 2), abs(price - opened)


def _limit(order: Order, bar: Bar, strict: bool) -> float | None:  # noqa: FBT001 - one of the rules
    level: float = order.limit  # type: ignore[assignment]
    opened: float = bar.open
    if order.side is _BUY:
        low = bar.low
        if low > level or (strict and low == level):
            return None
        return opened if opened < level else level
    high = bar.high
    if high < level or (strict and high == level):
        return None
    return opened if opened > level else level


def _beyond(order: Order, bar: Bar) -> float:
    level: float = order.stop  # type: ignore[assignment]
    opened: float = bar.open
    if order.side is _BUY:
        return opened if opened > level else level
    return opened if opened < level else level


def _stop_limit(order: Order, bar: Bar, strict: bool) -> float | None:  # noqa: FBT001 - as above
    """The bar that triggers it: at the open it is a limit for the whole bar; within it, only what must come later counts."""
    trigger = _beyond(order, bar)
    if trigger == bar.open:
        return _limit(order, bar, strict)
    limit: float = order.limit  # type: ignore[assignment]
    sign = 1.0 if order.side is _BUY else -1.0
    room = (limit - trigger) * sign
    if room > 0 or (room == 0 and not strict):
        return trigger
    # The price was at the trigger, beyond the limit; ending at the limit or better it must have come back to it.
    back = (limit - bar.close) * sign
    return limit if back > 0 or (back == 0 and not strict) else None
