"""The open orders of one symbol, and what a bar must reach to concern any of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.trading.orders import Order

_LIMIT, _STOP_LIMIT, _BUY = OrderType.LIMIT, OrderType.STOP_LIMIT, Side.BUY


class Book(list[Order]):
    """Open orders of one symbol, in order of submission.

    A bar concerns them where its low is at or under `falls_to`, or its high at or over `rises_to`; all others
    can be passed over, however many orders wait.

    Attributes
    ----------
    falls_to, rises_to : float
        As of the last `measure`.
    stale : bool
        Whether an order was taken out or changed since then.
    """

    __slots__ = ("falls_to", "rises_to", "stale")

    def __init__(self) -> None:
        super().__init__()
        self.falls_to, self.rises_to, self.stale = -inf, inf, False

    def start(self, order: Order) -> None:
        """Put the first `order` into an empty book."""
        self.append(order)
        self.falls_to, self.rises_to, self.stale = inf if order.is_eager else -inf, inf, not order.is_eager

    def add(self, order: Order) -> None:
        """Put `order` behind the others."""
        self.append(order)
        self._widen(order)

    def discard(self, order: Order) -> None:
        """Take `order` out."""
        self.remove(order)
        self.stale = True

    def measure(self) -> None:
        """Find the bounds anew."""
        self.falls_to, self.rises_to, self.stale = -inf, inf, False
        for order in self:
            self._widen(order)

    def _widen(self, order: Order) -> None:
        if order.is_eager:
            self.falls_to = inf
            return
        limited = order.type is _LIMIT or (order.type is _STOP_LIMIT and order.triggered)
        level = order.limit if limited else order.stop
        if level is None:
            return
        if (order.side is _BUY) is limited:
            self.falls_to = max(self.falls_to, level)
        else:
            self.rises_to = min(self.rises_to, level)


def open_orders(agenda: Mapping[str, list[Order]], strategy: str | None, symbol: str | None) -> list[Order]:
    """The waiting orders of one strategy or of all, of one symbol or of all, in order of submission."""
    books = agenda.values() if symbol is None else (agenda.get(symbol, ()),)
    found = [order for book in books for order in book if strategy is None or order.strategy == strategy]
    return sorted(found, key=lambda order: order.id)
