"""The blotter: opens, links, replaces and ends the orders of a run, and keeps the open ones by symbol. Knows no cash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from nbbacktest.core.enums import OrderEventKind, OrderStatus, TimeInForce
from nbbacktest.core.errors import OrderError
from nbbacktest.core.intervals import LATEST
from nbbacktest.trading.orders.order import LEVELS, Order
from nbbacktest.trading.orders.types import RULES
from nbbacktest.trading.portfolio import is_rounding

_OPEN, _HELD = OrderStatus.OPEN, OrderStatus.HELD
_CANCELLED, _FILLED = OrderStatus.CANCELLED, OrderStatus.FILLED
_SUBMITTED, _ACCEPTED = OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED

_ENDED = {
    OrderStatus.FILLED: OrderEventKind.FILLED,
    OrderStatus.CANCELLED: OrderEventKind.CANCELLED,
    OrderStatus.REJECTED: OrderEventKind.REJECTED,
    OrderStatus.EXPIRED: OrderEventKind.EXPIRED,
}
_LATE = {
    TimeInForce.DAY: "day order: the session has ended",
    TimeInForce.GTD: "its time is over",
}


class OpenOrders(list[Order]):
    """Open orders of one symbol, in order of submission.

    A bar concerns them if its low is at or under `falls_to`, or its high at or over `rises_to`. Other bars are passed
    over, however many orders wait.

    Attributes
    ----------
    falls_to, rises_to : float
        As of the last `measure`.
    stale : bool
        True if an order was taken out or changed since then.
    """

    __slots__ = ("falls_to", "rises_to", "stale")

    def __init__(self) -> None:
        super().__init__()
        self.falls_to, self.rises_to, self.stale = -inf, inf, False

    def start(self, order: Order) -> None:
        """Put the first `order` into an empty list."""
        self.append(order)
        self.falls_to, self.rises_to = RULES[order.type].reach(order)
        self.stale = False

    def add(self, order: Order) -> None:
        """Put `order` behind the others."""
        self.append(order)
        falls_to, rises_to = RULES[order.type].reach(order)
        if falls_to > self.falls_to:
            self.falls_to = falls_to
        if rises_to < self.rises_to:
            self.rises_to = rises_to

    def discard(self, order: Order) -> None:
        """Take `order` out."""
        self.remove(order)
        self.stale = True

    def measure(self) -> None:
        """Find the bounds anew: the highest and the lowest of all orders' reach."""
        reaches = [RULES[order.type].reach(order) for order in self]
        self.falls_to = max((falls_to for falls_to, _ in reaches), default=-inf)
        self.rises_to = min((rises_to for _, rises_to in reaches), default=inf)
        self.stale = False


class Blotter:
    """All orders of one run.

    Attributes
    ----------
    pending : dict
        Open orders by symbol, in order of submission; false if no order waits, unless `watch` holds it true. The same
        object for the whole run.
    orders : list
        All of the run, in order of submission.
    news : list or None
        The orders of the newest events, once for each event; None if no strategy has an `on_order`. The desk empties it.
    """

    __slots__ = ("_lists", "_next_expiry", "news", "orders", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, OpenOrders] = {}
        self.orders: list[Order] = []
        self.news: list[Order] | None = None
        self._lists: dict[str, OpenOrders] = {}
        self._next_expiry = LATEST

    def watch(self, *, wanted: bool) -> None:
        """Make `pending` true even if no order waits, so that the broker is called at every instant; or end that."""
        if wanted:
            self.pending.setdefault("", OpenOrders())
        else:
            self.pending.pop("", None)

    def resume(self, orders: Iterable[Order], waiting: Iterable[Order], *, is_watched: bool) -> None:
        """Replace all orders by `orders`; those in `waiting` are open."""
        self.orders[:] = orders
        self.pending.clear()
        self._lists.clear()
        self._next_expiry = LATEST
        for order in waiting:
            self._work(order)
        for book in self.pending.values():
            book.stale = True
        self.watch(wanted=is_watched)

    # -- beginnings -----------------------------------------------------------------------------------------

    def accept(self, order: Order, now: int) -> None:
        """Number a strategy's order, and let it fill from its symbol's next bar on."""
        if order.children:
            self.enter(order, now)
            self.open(order, now)
            return
        self.orders.append(order)
        order.id = len(self.orders)
        order.begin()
        if self.news is not None:
            self.news.append(order)
        self._work(order)

    def enter(self, order: Order, now: int, reason: str | None = None) -> None:
        """Number `order` and its exits; the exits are held until it fills."""
        self.orders.append(order)
        order.id, order.status = len(self.orders), _HELD
        order.note(now, _SUBMITTED, reason)
        for child in order.children:
            self.orders.append(child)
            child.id = len(self.orders)
            child.parent, child.status = order, _HELD
            child.note(now, _SUBMITTED)
        if len(order.children) > 1:
            self.link(order.children)

    def open(self, order: Order, now: int) -> None:
        """Let `order` fill from its symbol's next bar on."""
        order.status = _OPEN
        order.note(now, _ACCEPTED)
        if self.news is not None:
            self.news.append(order)
        self._work(order)

    def link(self, orders: Iterable[Order]) -> None:
        """Make `orders` cancel each other."""
        group = list(orders)
        for order in group:
            order.oco = group

    # -- changes --------------------------------------------------------------------------------------------

    def replace(self, order: Order, changes: dict[str, Any], now: int) -> None:
        """Change terms of an order that waits."""
        if not changes:
            return
        before = {name: getattr(order, name) for name in changes}
        words = [
            f"{name} {_written(before[name])} -> {_written(new)}"
            for name, new in changes.items()
            if new != before[name]
        ]
        for name, value in changes.items():
            setattr(order, name, value)
        self.note(order, OrderEventKind.REPLACED, now, ", ".join(words))
        if order.status is _OPEN:
            self.pending[order.symbol].stale = True

    def trigger(self, order: Order, now: int) -> None:
        """Make a market or a limit order of `order`, whose stop or touch a bar has reached."""
        order.triggered = True
        self.pending[order.symbol].stale = True
        level = order.touch if order.stop is None else order.stop
        self.note(order, OrderEventKind.TRIGGERED, now, None, None, level)

    def split(self, symbol: str, ratio: float, now: int) -> None:
        """Convert the open orders of `symbol`, and the exits that they hold, to the units after a split."""
        orders = self.pending.get(symbol)
        waiting = list(orders or ())
        for order in waiting + [child for entry in waiting for child in entry.children if child.status is _HELD]:
            for name in ("size", "filled"):
                if (units := getattr(order, name)) is not None:
                    setattr(order, name, units * ratio)
            for name in (*LEVELS, "fill_price", "best"):
                if (price := getattr(order, name)) is not None:
                    setattr(order, name, price / ratio)
            if order.trail is not None and not order.trail_is_fraction:
                order.trail /= ratio
            self.note(order, OrderEventKind.REPLACED, now, f"split: {ratio:g} new units for an old one")
        if orders is not None:
            orders.stale = True

    # -- ends -----------------------------------------------------------------------------------------------

    def end(self, order: Order, status: OrderStatus, reason: str, now: int) -> None:
        """End an open order, or the rest of it, without a fill; exits that are still held end with it."""
        self._close(order)
        order.status, order.closed_ns = status, now
        order.reason = reason
        self.note(order, _ENDED[status], now, reason)
        self._drop_held(order, now)

    def finish(self, order: Order, now: int, size: float, price: float) -> None:
        """End an order that has filled."""
        self._close(order)
        order.end_filled(now, size, price)
        if self.news is not None:
            self.news.append(order)

    def expire(self, now: int) -> None:
        """End the orders whose time is over. If there are none, this costs one comparison."""
        if now < self._next_expiry:
            return
        waiting = [order for orders in self.pending.values() for order in orders if order.expires_ns]
        for order in waiting:
            if order.expires_ns <= now:
                self.end(order, OrderStatus.EXPIRED, RULES[order.type].lateness or _LATE[order.tif], now)
        self._next_expiry = min((order.expires_ns for order in waiting if order.is_open), default=LATEST)

    def cancel(self, order: Order, now: int) -> None:
        """Cancel an open order for its strategy.

        Raises
        ------
        OrderError
            If it is no order of this run, is not open any more, or meets a margin call.
        """
        self.must_be_open(order, "cancelled")
        self.end(order, _CANCELLED, "cancelled by the strategy", now)

    def must_be_open(self, order: Order, what: str) -> None:
        """Refuse an order that the strategy can't change any more."""
        if not 0 < order.id <= len(self.orders) or self.orders[order.id - 1] is not order:
            raise OrderError(f"{order!r} is of another run and can't be {what} in this one")
        if not order.is_open:
            raise OrderError(f"{order!r} can't be {what}: only open orders can; test order.is_open before")
        if order.is_forced:
            raise OrderError(f"{order!r} can't be {what}: it meets a margin call, and is the broker's")

    # -- what a fill means to others --------------------------------------------------------------------------

    def release(self, order: Order, opened: float, now: int) -> list[Order]:
        """Give an entry's exits the size that it has just opened; returns the exits that open now."""
        born = []
        for child in order.children:
            if child.status is _HELD and opened > 0:
                child.size = opened
                self.open(child, now)
                born.append(child)
            elif child.status is _OPEN and opened > 0:
                child.size = (child.size or 0.0) + opened
                self.note(child, OrderEventKind.REPLACED, now, f"its entry, order {order.id}, opened {opened:g} more")
        if order.status is not _OPEN:
            self._drop_held(order, now)
        return born

    def shrink_linked(self, order: Order, size: float, now: int) -> None:
        """Make the orders that are linked to one smaller by the `size` units that it has filled, or cancel them."""
        for other in order.oco or ():
            if other is order or not other.is_open:
                continue
            if order.status is _FILLED:
                self.end(other, _CANCELLED, f"one cancels the other: order {order.id} was filled", now)
            elif other.size is None or is_rounding(other.size - size - other.filled, other.size):
                self.end(other, _CANCELLED, f"one cancels the other: order {order.id} filled {size:g}", now)
            else:
                other.size -= size
                reason = f"one cancels the other: order {order.id} filled {size:g}"
                self.note(other, OrderEventKind.REPLACED, now, reason)
        entry = order.parent
        if entry is not None and entry.is_open:
            self.end(entry, _CANCELLED, f"its exit, order {order.id}, was filled", now)

    def drop_exits(self, order: Order, now: int) -> None:
        """Cancel the exits of a position that `order` has closed, and the unfilled rest of their entries."""
        for other in list(self.pending.get(order.symbol, ())):
            entry = other.parent
            if entry is None or other is order or other.strategy != order.strategy or other.side is not order.side:
                continue
            if other.is_open:
                self.end(other, _CANCELLED, f"order {order.id} closed the position", now)
            if entry.is_open:
                self.end(entry, _CANCELLED, f"order {order.id} closed the position", now)

    # -- one order ------------------------------------------------------------------------------------------

    def note(
        self,
        order: Order,
        kind: OrderEventKind,
        now: int,
        reason: str | None = None,
        size: float | None = None,
        price: float | None = None,
    ) -> None:
        """Write an event into the order's life."""
        order.note(now, kind, reason, size, price)
        if self.news is not None:
            self.news.append(order)

    def _work(self, order: Order) -> None:
        orders = self.pending.get(order.symbol)
        if orders is None:
            orders = self._lists.get(order.symbol)
            if orders is None:
                orders = self._lists[order.symbol] = OpenOrders()
            self.pending[order.symbol] = orders
            orders.start(order)
        else:
            orders.add(order)
        if order.expires_ns and order.expires_ns < self._next_expiry:
            self._next_expiry = order.expires_ns

    def _close(self, order: Order) -> None:
        if order.status is _OPEN:
            orders = self.pending[order.symbol]
            if len(orders) == 1:
                orders.clear()
                del self.pending[order.symbol]
            else:
                orders.discard(order)

    def _drop_held(self, order: Order, now: int) -> None:
        for child in order.children:
            if child.status is _HELD:
                self.end(child, _CANCELLED, f"its entry, order {order.id}, opened nothing: {order.status}", now)


def _written(value: float | None) -> str:
    return "all" if value is None else f"{value:g}"


def open_orders(pending: Mapping[str, list[Order]], strategy: str | None, symbol: str | None) -> list[Order]:
    """The waiting orders of one strategy or of all, of one symbol or of all, in order of submission."""
    books = pending.values() if symbol is None else (pending.get(symbol, ()),)
    found = [order for orders in books for order in orders if strategy is None or order.strategy == strategy]
    return sorted(found, key=lambda order: order.id)
