"""The orders of a run and their lives: opened, linked, replaced, ended. Knows no cash; what a fill costs is the broker's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from nbbacktest.core.enums import OrderEventKind, OrderStatus, OrderType, Side, TimeInForce
from nbbacktest.core.errors import OrderError
from nbbacktest.core.intervals import LATEST
from nbbacktest.trading.orders.order import Order
from nbbacktest.trading.sizes import is_rounding

_LIMIT, _STOP_LIMIT, _BUY = OrderType.LIMIT, OrderType.STOP_LIMIT, Side.BUY
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


class Blotter:
    """All orders of one run.

    Attributes
    ----------
    pending : dict
        Open orders by symbol, in order of submission; no empty books but the one of `watch`, so that it is false
        where nothing waits. One and the same object for the whole run.
    orders : list
        All of the run, in order of submission.
    news : list or None
        Orders that something happened to, once for each event; None where nobody listens. Emptied by the desk.
    """

    __slots__ = ("_books", "_next_expiry", "news", "orders", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, OpenOrders] = {}
        self.orders: list[Order] = []
        self.news: list[Order] | None = None
        self._books: dict[str, OpenOrders] = {}
        self._next_expiry = LATEST

    def watch(self, *, wanted: bool) -> None:
        """Whether `pending` is to be true though no order waits, so that every instant is matched."""
        if wanted:
            self.pending.setdefault("", OpenOrders())
        else:
            self.pending.pop("", None)

    def resume(self, orders: Iterable[Order], waiting: Iterable[Order], *, is_watched: bool) -> None:
        """Go on with other orders: all of a run, and those of them that wait, symbol by symbol."""
        self.orders[:] = orders
        self.pending.clear()
        self._books.clear()
        self._next_expiry = LATEST
        for order in waiting:
            self._work(order)
        for book in self.pending.values():
            book.stale = True
        self.watch(wanted=is_watched)

    # -- beginnings -----------------------------------------------------------------------------------------

    def accept(self, order: Order, now: int) -> None:
        """Take in an order of a strategy and let it fill from its symbol's next bar on."""
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
        """Take in `order`, and the exits that come with it; these are held until it fills."""
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
        words = [f"{name} {_written(getattr(order, name))} -> {_written(value)}" for name, value in changes.items()]
        for name, value in changes.items():
            setattr(order, name, value)
        self.note(order, OrderEventKind.REPLACED, now, ", ".join(words))
        if order.status is _OPEN:
            self.pending[order.symbol].stale = True

    def trigger(self, order: Order, now: int, price: float | None) -> None:
        """Its stop has been reached: it is a market or a limit order from here on."""
        order.triggered = True
        self.pending[order.symbol].stale = True
        self.note(order, OrderEventKind.TRIGGERED, now, None, None, price)

    def split(self, symbol: str, ratio: float, now: int) -> None:
        """Count the open orders of `symbol`, and the exits that they hold, in units of after a split."""
        book = self.pending.get(symbol)
        waiting = list(book or ())
        for order in waiting + [child for entry in waiting for child in entry.children if child.status is _HELD]:
            for name in ("size", "filled"):
                if (units := getattr(order, name)) is not None:
                    setattr(order, name, units * ratio)
            for name in ("limit", "stop", "fill_price", "best"):
                if (price := getattr(order, name)) is not None:
                    setattr(order, name, price / ratio)
            if order.trail is not None and not order.trail_is_fraction:
                order.trail /= ratio
            self.note(order, OrderEventKind.REPLACED, now, f"split: {ratio:g} new units for an old one")
        if book is not None:
            book.stale = True

    # -- ends -----------------------------------------------------------------------------------------------

    def end(self, order: Order, status: OrderStatus, reason: str, now: int) -> None:
        """End an open order unfilled, or what is left of it; exits that were never opened end with it."""
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
        """End the orders whose time is over; costs nothing where there are none."""
        if now < self._next_expiry:
            return
        waiting = [order for book in self.pending.values() for order in book if order.expires_ns]
        for order in waiting:
            if order.expires_ns <= now:
                self.end(order, OrderStatus.EXPIRED, _lateness(order), now)
        self._next_expiry = min((order.expires_ns for order in waiting if order.is_open), default=LATEST)

    def cancel(self, order: Order, now: int) -> None:
        """Take back an open order.

        Raises
        ------
        OrderError
            Where it is no order of this run, is not open any more, or is a margin call's.
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
        """Give an entry's exits what it has just opened; returns those that come to life with it."""
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
        """Cancel, or make smaller, what is linked to an order that has filled `size` units."""
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
        """Cancel the brackets of a position that `order` has closed, and what is left of their entries."""
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
        book = self.pending.get(order.symbol)
        if book is None:
            book = self._books.get(order.symbol)
            if book is None:
                book = self._books[order.symbol] = OpenOrders()
            self.pending[order.symbol] = book
            book.start(order)
        else:
            book.add(order)
        if order.expires_ns and order.expires_ns < self._next_expiry:
            self._next_expiry = order.expires_ns

    def _close(self, order: Order) -> None:
        if order.status is _OPEN:
            book = self.pending[order.symbol]
            if len(book) == 1:
                book.clear()
                del self.pending[order.symbol]
            else:
                book.discard(order)

    def _drop_held(self, order: Order, now: int) -> None:
        for child in order.children:
            if child.status is _HELD:
                self.end(child, _CANCELLED, f"its entry, order {order.id}, opened nothing: {order.status}", now)


def _lateness(order: Order) -> str:
    if order.type is OrderType.MARKET_ON_OPEN:
        return "the session ended without a bar of the symbol"
    if order.type is OrderType.MARKET_ON_CLOSE:
        return "no bar of the symbol closed with the session"
    return _LATE[order.tif]


def _written(value: float | None) -> str:
    return "all" if value is None else f"{value:g}"


def open_orders(pending: Mapping[str, list[Order]], strategy: str | None, symbol: str | None) -> list[Order]:
    """The waiting orders of one strategy or of all, of one symbol or of all, in order of submission."""
    books = pending.values() if symbol is None else (pending.get(symbol, ()),)
    found = [order for book in books for order in book if strategy is None or order.strategy == strategy]
    return sorted(found, key=lambda order: order.id)
