"""The fill rules: whether a bar fills an order, and at which price. Pure; knows no cash and no position.

| order | rule |
|---|---|
| market | the open |
| limit buy L | low <= L: min(open, L); sell mirrored |
| stop buy S | high >= S: max(open, S), so that a gap fills at the open; sell mirrored |
"""

from __future__ import annotations

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.records import Bar
from nbbacktest.trading.orders import Order

# Looking a member up in its enum costs as much as the rule itself.
_MARKET, _LIMIT, _BUY = OrderType.MARKET, OrderType.LIMIT, Side.BUY


def match(order: Order, bar: Bar) -> float | None:
    """The price at which `bar` fills `order`, before slippage; None where it doesn't."""
    kind = order.type
    if kind is _MARKET:
        return bar[4]  # type: ignore[no-any-return]
    # By position, as the engine makes them: 4 open, 5 high, 6 low. A property costs three times as much.
    if kind is _LIMIT:
        level = order.limit
        if order.side is _BUY:
            if bar[6] > level:
                return None
            return bar[4] if bar[4] < level else level
        if bar[5] < level:
            return None
        return bar[4] if bar[4] > level else level
    level = order.stop
    if order.side is _BUY:
        if bar[5] < level:
            return None
        return bar[4] if bar[4] > level else level
    if bar[6] > level:
        return None
    return bar[4] if bar[4] < level else level
