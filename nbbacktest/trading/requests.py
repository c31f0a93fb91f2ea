"""Turns a strategy's tickets into orders, and its changes into changes of them. Opens nothing itself."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.enums import OrderStatus, OrderType, Side, TimeInForce
from nbbacktest.core.errors import OrderError
from nbbacktest.core.records import Stamps
from nbbacktest.trading.horizon import Horizon
from nbbacktest.trading.matching import behind
from nbbacktest.trading.orders import Order
from nbbacktest.trading.tickets import Ticket, finite, read_trail
from nbbacktest.trading.venue import Venue, check_bracket

_MARKET, _GTC = OrderType.MARKET, TimeInForce.GTC


def order_of(
    ticket: Ticket, strategy: str, symbol: str, last: float, now: int, horizon: Horizon, venue: Venue, stamps: Stamps
) -> Order:
    """The order that `ticket` asks for, with its session and its trailing level settled; `last` is the newest close."""
    if ticket.type is _MARKET and ticket.tif is _GTC:
        return Order(
            0, strategy, symbol, ticket.side, ticket.size, _MARKET, stamps, tag=ticket.tag, submitted_ns=now,
            reduce_only=ticket.reduce_only,
        )  # fmt: skip
    begins = expires = 0
    if ticket.type is OrderType.MARKET_ON_OPEN:
        begins, expires = horizon.next_session(now)
    elif ticket.tif is TimeInForce.DAY:
        expires = horizon.session_end(now)
    elif ticket.tif is TimeInForce.GTD:
        expires = horizon.read(ticket.until, now)
    stop, best = ticket.stop, None
    if ticket.trail is not None:
        best = last
        stop = venue.outward(behind(ticket.side, best, ticket.trail, is_fraction=ticket.trail_is_fraction), ticket.side)
    return Order(
        0, strategy, symbol, ticket.side, ticket.size, ticket.type, limit=ticket.limit, stop=stop, trail=ticket.trail,
        trail_is_fraction=ticket.trail_is_fraction, tif=ticket.tif, tag=ticket.tag, submitted_ns=now, begins_ns=begins,
        expires_ns=expires, reduce_only=ticket.reduce_only, best=best,
        _stamps=stamps,
    )  # fmt: skip


def exits_of(ticket: Ticket, entry: Order) -> tuple[Order, ...]:
    """A bracket's exits: the stop first."""
    side = Side.SELL if entry.side is Side.BUY else Side.BUY

    def exit_of(kind: OrderType, *, stop: float | None = None, limit: float | None = None) -> Order:
        return Order(
            0, entry.strategy, entry.symbol, side, None, kind, limit=limit, stop=stop, tag=entry.tag,
            submitted_ns=entry.submitted_ns, reduce_only=True, _stamps=entry._stamps,  # noqa: SLF001 - hidden from strategies only
        )  # fmt: skip

    exits = []
    if ticket.stop_loss is not None:
        exits.append(exit_of(OrderType.STOP, stop=ticket.stop_loss))
    if ticket.take_profit is not None:
        exits.append(exit_of(OrderType.LIMIT, limit=ticket.take_profit))
    return tuple(exits)


def changed(order: Order, terms: dict[str, Any], venue: Venue, last: float) -> dict[str, Any]:
    """The fields of `order` that `terms` change, checked as a new order's would be; none for terms that it has already.

    What the order has gained so far stays: a trailing stop's new distance counts from the best price that it has followed.

    Raises
    ------
    OrderError
        For a term that the order doesn't have, a value that makes no sense, or no change at all.
    """
    given = {name: value for name, value in terms.items() if value is not None}
    if not given:
        raise OrderError(f"replace({order!r}) changes nothing; give size, limit, stop or trail")
    changes: dict[str, Any] = {}
    if "size" in given and (size := _size(order, given["size"], venue)) != order.size:
        changes["size"] = size
    if "trail" in given:
        if order.trail is None or order.triggered:
            raise OrderError(f"{order!r} {_lack(order, 'trail')}; cancel it and place another")
        changes |= _trail(order, given["trail"], venue, last)
    for name in ("limit", "stop"):
        if name in given:
            if getattr(order, name) is None or order.trail is not None or (name == "stop" and order.triggered):
                raise OrderError(f"{order!r} {_lack(order, name)}; cancel it and place another")
            level = finite(f"replace({name}=...)", given[name])
            # A level that a split has moved off the tick may stay as it is.
            if level != getattr(order, name):
                venue.check_level(order.side, name, level, last)
                changes[name] = level
    if changes.keys() & {"limit", "stop"}:
        _check_family(order, changes, last)
    return changes


def _trail(order: Order, trail: Any, venue: Venue, last: float) -> dict[str, Any]:
    distance, is_fraction = read_trail(f"replace(trail={trail!r})", trail)
    if (distance, is_fraction) == (order.trail, order.trail_is_fraction):
        return {}
    if not is_fraction:
        venue.check_level(order.side, "trail", distance, last)
    side, stop = order.side, order.stop
    best = last if order.best is None else order.best
    level = venue.outward(behind(side, best, distance, is_fraction=is_fraction), side)
    before = behind(side, best, order.trail or 0.0, is_fraction=order.trail_is_fraction)
    after = behind(side, best, distance, is_fraction=is_fraction)
    if stop is not None and (after <= before if side is Side.BUY else after >= before):
        # Tightened: rounding to the tick, before and after a split, must not move it away from the market.
        level = min(level, stop) if side is Side.BUY else max(level, stop)
    return {"trail": distance, "trail_is_fraction": is_fraction, "stop": level}


def _size(order: Order, size: Any, venue: Venue) -> float:
    wanted = finite("replace(size=...)", size)
    if wanted == order.size:
        return wanted
    if order.status is OrderStatus.HELD:
        raise OrderError(f"{order!r} takes its size from its entry's fill; replace the size of the entry")
    if wanted <= order.filled or wanted <= 0:
        raise OrderError(
            f"replace(size={wanted:g}): {order.filled:g} of order {order.id} are filled; give more, or cancel it"
        )
    if not order.reduce_only:
        venue.check_size(order.side, wanted)
    return wanted


def _lack(order: Order, name: str) -> str:
    return "has triggered already" if order.triggered else f"has no {name} that could be replaced"


def _check_family(order: Order, changes: dict[str, Any], last: float) -> None:
    """An entry stays between its exits, and exits stay in order."""
    if order.children:
        stop = next((child.stop for child in order.children if child.stop is not None), None)
        target = next((child.limit for child in order.children if child.limit is not None), None)
        entry = changes.get("limit", changes.get("stop", order.limit if order.limit is not None else order.stop))
        if order.limit is not None and "limit" not in changes:
            entry = order.limit
        check_bracket(order.side, entry, last, stop, target)
    elif order.parent is not None and len(order.parent.children) > 1:
        stop, target = (
            changes.get(name, next(getattr(c, name) for c in order.parent.children if getattr(c, name) is not None))
            for name in ("stop", "limit")
        )
        if (target - stop) * (1 if order.side is Side.SELL else -1) <= 0:
            raise OrderError(f"stop {stop:g} and target {target:g} of order {order.parent.id} would be out of order")
