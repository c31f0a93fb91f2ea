"""Reads the terms of a strategy's order, refuses terms that make no sense, and makes the order. It opens no order."""

from __future__ import annotations

import math
import numbers
from typing import Any

import msgspec

from nbbacktest.core.enums import OrderStatus, OrderType, Side, TimeInForce
from nbbacktest.core.errors import OrderError, nearest
from nbbacktest.core.records import Stamps
from nbbacktest.trading.orders.order import LEVELS, Order
from nbbacktest.trading.orders.rules import OrderExpiry, TradingRules
from nbbacktest.trading.orders.types import BY_TERMS, PRICES, RULES, behind

_MARKET = OrderType.MARKET
_GTC, _DAY, _GTD = TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD
_WORDS = {str(tif) for tif in TimeInForce}
_PLAIN = (float, int)


class OrderRequest(msgspec.Struct, frozen=True, gc=False):
    """The checked terms of an order: plain numbers, one type.

    Attributes
    ----------
    trail : float or None
        A price; a fraction if `trail_is_fraction`.
    until : object
        As the user wrote it.
    """

    side: Side
    size: float | None
    type: OrderType
    limit: float | None = None
    stop: float | None = None
    tag: str | None = None
    trail: float | None = None
    trail_is_fraction: bool = False
    stop_loss: float | None = None
    take_profit: float | None = None
    tif: TimeInForce = _GTC
    until: Any = None
    reduce_only: bool = False
    touch: float | None = None

    @property
    def entry_level(self) -> float | None:
        """The level that the order is meant to fill at; None for a market order."""
        return entry_level(self.side, self.limit, self.stop, self.touch)


def market_request(
    side: Side, size: float | None, tag: str | None = None, *, reduce_only: bool = False
) -> OrderRequest:
    """The terms of a plain market order, which need no check."""
    return OrderRequest(side, size, _MARKET, tag=tag, reduce_only=reduce_only)


def read_request(
    side: Side,
    size: Any,
    limit: Any = None,
    stop: Any = None,
    trail: Any = None,
    stop_loss: Any = None,
    take_profit: Any = None,
    at: Any = None,
    tif: Any = "gtc",
    until: Any = None,
    *,
    touch: Any = None,
    reduce_only: Any = False,
    tag: Any = None,
) -> OrderRequest:
    """Check the terms of an order.

    Raises
    ------
    OrderError
        For a size that isn't a finite number above 0, a level that isn't a finite number, an unknown word, or
        terms that exclude each other; with the value and the cure.
    """
    if size is not None:
        # Checked before any message is put together, which costs more than the check.
        size = float(size) if size.__class__ in _PLAIN and 0 < size < math.inf else finite(f"{side}(size=...)", size)
        if size <= 0:
            other = "sell" if side is Side.BUY else "buy"
            cure = f"use {other} for the other direction" if size < 0 else "place no order instead"
            raise OrderError(f"{side}(size={size:g}): a size is above 0; {cure}")
    tag = None if tag is None else str(tag)
    if (
        limit is stop is touch is trail is stop_loss is take_profit is at is until is None
        and tif == "gtc"
        and not reduce_only
    ):
        # Most orders are such.
        return market_request(side, size, tag)
    limit, stop, touch = _level(side, "limit", limit), _level(side, "stop", stop), _level(side, "touch", touch)
    stop_loss, take_profit = _level(side, "stop_loss", stop_loss), _level(side, "take_profit", take_profit)
    kind = _kind(side, at, limit, stop, touch, trail)
    fraction = False
    if trail is not None:
        trail, fraction = read_trail(f"{side}(trail={trail!r})", trail)
    if _flag(side, reduce_only) and (stop_loss is not None or take_profit is not None):
        raise OrderError(f"{side}(reduce_only=True) opens nothing that a stop_loss or take_profit could close")
    return OrderRequest(
        side, size, kind, limit, stop, tag, trail, fraction, stop_loss, take_profit,
        _time_in_force(side, kind, tif, until), until, reduce_only, touch,
    )  # fmt: skip


def read_trail(what: str, trail: Any) -> tuple[float, bool]:
    """A trailing distance: a number is a price, ``"2%"`` a share of it.

    Returns
    -------
    distance, is_fraction

    Raises
    ------
    OrderError
        If it is neither, or not above 0, or not below 100%.
    """
    if isinstance(trail, str):
        text = trail.strip()
        try:
            share = float(text.removesuffix("%")) / 100 if text.endswith("%") else math.nan
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise OrderError(f"{what}: a trail is a price such as 1.5, or a share above 0% and below 100% such as '2%'")
        return share, True
    distance = finite(what, trail)
    if distance <= 0:
        raise OrderError(f"{what}: a trail is above 0; it is a distance, not a level")
    return distance, False


def finite(what: str, value: Any) -> float:
    """`value` as a plain float.

    Raises
    ------
    OrderError
        If it is no number, or NaN, or infinite; the message begins with `what`, the call as the user wrote it.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise OrderError(f"{what} got {value!r}, a {type(value).__name__}; give a number")
    number = float(value)
    if not math.isfinite(number):
        raise OrderError(f"{what} got {number}; give a finite number (is an indicator still warming up?)")
    return number


def check_request(request: OrderRequest, rules: TradingRules, last: float) -> None:
    """Refuse a request that the market doesn't accept; `last` is the newest close.

    Raises
    ------
    OrderError
        With the value and the cure.
    """
    side = request.side
    if not request.reduce_only:
        rules.check_size(side, request.size)
    if request.type is not _MARKET:
        for name in LEVELS:
            rules.check_level(side, name, getattr(request, name), last)
        if not request.trail_is_fraction:
            rules.check_level(side, "trail", request.trail, last)
    if request.stop_loss is not None or request.take_profit is not None:
        rules.check_level(side, "stop_loss", request.stop_loss, last)
        rules.check_level(side, "take_profit", request.take_profit, last)
        check_bracket(side, request.entry_level, last, request.stop_loss, request.take_profit)


def entry_level(side: Side, limit: float | None, stop: float | None, touch: float | None) -> float | None:
    """The level that an entry with these levels is meant to fill at; None for a market order.

    One that waits for a touch fills there if its limit allows that price, else at its limit.
    """
    if limit is None:
        return stop if touch is None else touch
    if touch is None:
        return limit
    return min(limit, touch) if side is Side.BUY else max(limit, touch)


def check_bracket(
    side: Side, entry: float | None, last: float, stop_loss: float | None, take_profit: float | None
) -> None:
    """Refuse exits that are out of order, or on the wrong side of the entry.

    Raises
    ------
    OrderError
        With all the levels.
    """
    sign = 1.0 if side is Side.BUY else -1.0
    below, above = ("below", "above") if side is Side.BUY else ("above", "below")
    reference = last if entry is None else entry
    where = f"the newest close of {last:g}" if entry is None else f"the entry at {entry:g}"
    if stop_loss is not None and take_profit is not None and (take_profit - stop_loss) * sign <= 0:
        raise OrderError(
            f"{side}(stop_loss={stop_loss:g}, take_profit={take_profit:g}): out of order; of a {side} the stop_loss is "
            f"{below} the take_profit"
        )
    if stop_loss is not None and (reference - stop_loss) * sign <= 0:
        raise OrderError(f"{side}(stop_loss={stop_loss:g}): on the wrong side; it belongs {below} {where}")
    if take_profit is not None and (take_profit - reference) * sign <= 0:
        raise OrderError(f"{side}(take_profit={take_profit:g}): on the wrong side; it belongs {above} {where}")


def order_of(
    request: OrderRequest,
    strategy: str,
    symbol: str,
    last: float,
    now: int,
    expiry: OrderExpiry,
    rules: TradingRules,
    stamps: Stamps,
) -> Order:
    """The order that `request` asks for, with its session and its trailing level settled; `last` is the newest close."""
    if request.type is _MARKET and request.tif is _GTC:
        return Order(
            0, strategy, symbol, request.side, request.size, _MARKET, stamps, tag=request.tag, submitted_ns=now,
            reduce_only=request.reduce_only,
        )  # fmt: skip
    begins = expires = 0
    if RULES[request.type].is_for_the_next_session:
        begins, expires = expiry.next_session(now)
    elif request.tif is TimeInForce.DAY:
        expires = expiry.session_end(now)
    elif request.tif is TimeInForce.GTD:
        expires = expiry.read(request.until, now)
    stop, best = request.stop, None
    if request.trail is not None:
        best = last
        stop = rules.outward(
            behind(request.side, best, request.trail, is_fraction=request.trail_is_fraction), request.side
        )
    return Order(
        0, strategy, symbol, request.side, request.size, request.type, limit=request.limit, stop=stop,
        touch=request.touch, trail=request.trail, trail_is_fraction=request.trail_is_fraction, tif=request.tif,
        tag=request.tag, submitted_ns=now, begins_ns=begins, expires_ns=expires, reduce_only=request.reduce_only,
        best=best, _stamps=stamps,
    )  # fmt: skip


def exits_of(request: OrderRequest, entry: Order) -> tuple[Order, ...]:
    """A bracket's exits: the stop first."""
    side = Side.SELL if entry.side is Side.BUY else Side.BUY

    def exit_of(kind: OrderType, *, stop: float | None = None, limit: float | None = None) -> Order:
        return Order(
            0, entry.strategy, entry.symbol, side, None, kind, limit=limit, stop=stop, tag=entry.tag,
            submitted_ns=entry.submitted_ns, reduce_only=True, _stamps=entry._stamps,  # noqa: SLF001 - hidden from strategies only
        )  # fmt: skip

    exits = []
    if request.stop_loss is not None:
        exits.append(exit_of(OrderType.STOP, stop=request.stop_loss))
    if request.take_profit is not None:
        exits.append(exit_of(OrderType.LIMIT, limit=request.take_profit))
    return tuple(exits)


def changed(order: Order, terms: dict[str, Any], rules: TradingRules, last: float) -> dict[str, Any]:
    """The fields of `order` that `terms` change, checked as a new order's would be; none for terms that it has already.

    The order keeps its fills, its trigger and its best price: a trailing stop's new distance counts from the best price that it has followed.

    Raises
    ------
    OrderError
        For a term that the order doesn't have, a value that makes no sense, or no change at all.
    """
    given = {name: value for name, value in terms.items() if value is not None}
    if not given:
        raise OrderError(f"replace({order!r}) changes nothing; give size, limit, stop, touch or trail")
    changes: dict[str, Any] = {}
    if "size" in given and (size := _size(order, given["size"], rules)) != order.size:
        changes["size"] = size
    if "trail" in given:
        if order.trail is None or order.triggered:
            raise OrderError(f"{order!r} {_lack(order, 'trail')}; cancel it and place another")
        changes |= _trail(order, given["trail"], rules, last)
    for name in LEVELS:
        if name in given:
            if getattr(order, name) is None or order.trail is not None or (name != "limit" and order.triggered):
                raise OrderError(f"{order!r} {_lack(order, name)}; cancel it and place another")
            level = finite(f"replace({name}=...)", given[name])
            # A level that a split has moved off the tick may stay as it is.
            if level != getattr(order, name):
                rules.check_level(order.side, name, level, last)
                changes[name] = level
    if not changes.keys().isdisjoint(LEVELS):
        _check_family(order, changes, last)
    return changes


def _trail(order: Order, trail: Any, rules: TradingRules, last: float) -> dict[str, Any]:
    distance, is_fraction = read_trail(f"replace(trail={trail!r})", trail)
    if (distance, is_fraction) == (order.trail, order.trail_is_fraction):
        return {}
    if not is_fraction:
        rules.check_level(order.side, "trail", distance, last)
    side, stop = order.side, order.stop
    best = last if order.best is None else order.best
    level = rules.outward(behind(side, best, distance, is_fraction=is_fraction), side)
    before = behind(side, best, order.trail or 0.0, is_fraction=order.trail_is_fraction)
    after = behind(side, best, distance, is_fraction=is_fraction)
    if stop is not None and (after <= before if side is Side.BUY else after >= before):
        # The tighter of the two: rounding to the tick, before and after a split, must not move it away from the market.
        level = min(level, stop) if side is Side.BUY else max(level, stop)
    return {"trail": distance, "trail_is_fraction": is_fraction, "stop": level}


def _size(order: Order, size: Any, rules: TradingRules) -> float:
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
        rules.check_size(order.side, wanted)
    return wanted


def _lack(order: Order, name: str) -> str:
    return "has triggered already" if order.triggered else f"has no {name} that could be replaced"


def _check_family(order: Order, changes: dict[str, Any], last: float) -> None:
    """Refuse a change that takes an entry out from between its exits, or exits out of order."""
    if order.children:
        stop = next((child.stop for child in order.children if child.stop is not None), None)
        target = next((child.limit for child in order.children if child.limit is not None), None)
        limit, trigger, touch = (changes.get(name, getattr(order, name)) for name in LEVELS)
        entry = entry_level(order.side, limit, trigger, None if order.triggered else touch)
        check_bracket(order.side, entry, last, stop, target)
    elif order.parent is not None and len(order.parent.children) > 1:
        stop, target = (
            changes.get(name, next(getattr(c, name) for c in order.parent.children if getattr(c, name) is not None))
            for name in ("stop", "limit")
        )
        if (target - stop) * (1 if order.side is Side.SELL else -1) <= 0:
            raise OrderError(f"stop {stop:g} and target {target:g} of order {order.parent.id} would be out of order")


def _flag(side: Side, reduce_only: Any) -> bool:
    if not isinstance(reduce_only, bool):
        raise OrderError(f"{side}(reduce_only={reduce_only!r}): give True or False")
    return reduce_only


def _level(side: Side, name: str, value: Any) -> float | None:
    if value is None or (value.__class__ is float and math.isfinite(value)):
        return value
    return finite(f"{side}({name}=...)", value)


def _kind(side: Side, at: Any, limit: float | None, stop: float | None, touch: float | None, trail: Any) -> OrderType:
    """The type of order that has these terms, by what the rules of all types say.

    Raises
    ------
    OrderError
        For terms that no type has together, or an unknown word for `at`.
    """
    try:
        return BY_TERMS[at, limit is not None, stop is not None, touch is not None, trail is not None]
    except (KeyError, TypeError):
        words = sorted({rule.at for rule in RULES.values() if rule.at is not None})
    if at is not None and at not in words:
        raise OrderError(f"{side}(at={at!r}): {nearest(str(at), words)}")
    terms = zip((*PRICES, "at"), (limit, stop, touch, trail, at), strict=True)
    call = ", ".join(f"{name}={value!r}" for name, value in terms if value is not None)
    known = ", ".join(" with ".join(sorted(rule.prices, reverse=True)) for rule in RULES.values() if rule.prices)
    raise OrderError(f"{side}({call}): no order has these terms together; give one of: {known}, at")


def _time_in_force(side: Side, kind: OrderType, tif: Any, until: Any) -> TimeInForce:
    if tif == "gtc" and until is None:
        return _DAY if RULES[kind].is_for_a_session else _GTC
    if tif not in _WORDS:
        raise OrderError(f"{side}(tif={tif!r}) is no time in force; {nearest(str(tif), _WORDS)}")
    word = TimeInForce(tif)
    if until is not None and word in (_GTC, _GTD):
        word = _GTD
    elif until is not None:
        raise OrderError(f"{side}(tif={tif!r}, until={until!r}): until is for gtd; leave tif out")
    elif word is _GTD:
        raise OrderError(f"{side}(tif='gtd') needs the time: until=...")
    if RULES[kind].is_for_a_session:
        if word is not _DAY:
            raise OrderError(f"{side}(tif={tif!r}): orders on open or close live for their session; leave tif out")
    elif word in (TimeInForce.IOC, TimeInForce.FOK) and not RULES[kind].may_be_immediate:
        raise OrderError(f"{side}(tif={tif!r}): a {kind} waits by its nature; use gtc, day or gtd")
    return word
