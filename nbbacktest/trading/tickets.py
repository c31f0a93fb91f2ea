"""Reads what a strategy wrote into an order, and refuses what makes no sense. Changes nothing."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.errors import OrderError

_LATER = {
    "trail": "raise a stop order by hand: cancel it and place a new one",
    "stop_loss": "place a stop order of the opposite side in on_fill",
    "take_profit": "place a limit order of the opposite side in on_fill",
}


class Ticket(NamedTuple):
    """The terms of an order that makes sense: plain numbers, one type."""

    side: Side
    size: float | None
    type: OrderType
    limit: float | None
    stop: float | None
    tag: str | None


def read_ticket(
    side: Side,
    size: Any,
    *,
    limit: Any = None,
    stop: Any = None,
    trail: Any = None,
    stop_loss: Any = None,
    take_profit: Any = None,
    tif: Any = "gtc",
    tag: Any = None,
) -> Ticket:
    """Check the terms of an order.

    Raises
    ------
    OrderError
        For a size that isn't a finite number above 0, a level that isn't a finite number, or a feature
        that this version doesn't offer; with the value and what to do instead.
    """
    for name, value in (("trail", trail), ("stop_loss", stop_loss), ("take_profit", take_profit)):
        if value is not None:
            raise OrderError(f"{side}({name}={value!r}): {name} is not offered yet; {_LATER[name]}")
    if limit is not None and stop is not None:
        raise OrderError(
            f"{side}(limit={limit!r}, stop={stop!r}): stop-limit orders are not offered yet; give one of the two"
        )
    if tif != "gtc":
        raise OrderError(f"{side}(tif={tif!r}) is not offered yet; leave it out ('gtc') and cancel the order yourself")
    if size is not None:
        size = finite(f"{side}(size=...)", size)
        if size <= 0:
            other = "sell" if side is Side.BUY else "buy"
            cure = f"use {other} for the other direction" if size < 0 else "place no order instead"
            raise OrderError(f"{side}(size={size:g}): a size is above 0; {cure}")
    kind = OrderType.MARKET
    if limit is not None:
        kind, limit = OrderType.LIMIT, finite(f"{side}(limit=...)", limit)
    elif stop is not None:
        kind, stop = OrderType.STOP, finite(f"{side}(stop=...)", stop)
    return Ticket(side, size, kind, limit, stop, None if tag is None else str(tag))


def finite(what: str, value: Any) -> float:
    """`value` as a plain float.

    Raises
    ------
    OrderError
        Where it is no number, or NaN, or infinite; `what` says where it was written.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise OrderError(f"{what} got {value!r}, a {type(value).__name__}; give a number")
    number = float(value)
    if not math.isfinite(number):
        raise OrderError(f"{what} got {number}; give a finite number (is an indicator still warming up?)")
    return number
