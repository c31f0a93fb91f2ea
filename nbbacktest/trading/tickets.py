"""Reads what a strategy wrote into an order, and refuses what makes no sense. Changes nothing."""

from __future__ import annotations

import math
import numbers
from typing import Any

import msgspec

from nbbacktest.core.enums import OrderType, Side, TimeInForce
from nbbacktest.core.errors import OrderError, nearest

_MARKET = OrderType.MARKET
_GTC, _DAY, _GTD = TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD
_MOMENTS = {"open": OrderType.MARKET_ON_OPEN, "close": OrderType.MARKET_ON_CLOSE}
_ON_SESSION = tuple(_MOMENTS.values())
_WORDS = {str(tif) for tif in TimeInForce}
_PLAIN = (float, int)


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """The terms of an order that makes sense: plain numbers, one type.

    Attributes
    ----------
    trail : float or None
        A price; a fraction where `trail_is_fraction`.
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

    @property
    def entry_level(self) -> float | None:
        """Where it is meant to fill; None at the market."""
        return self.stop if self.limit is None else self.limit


def market_ticket(side: Side, size: float | None, tag: str | None = None, *, reduce_only: bool = False) -> Ticket:
    """The terms of a plain market order, which nothing is wrong with."""
    return Ticket(side, size, _MARKET, tag=tag, reduce_only=reduce_only)


def read_ticket(
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
    reduce_only: Any = False,
    tag: Any = None,
) -> Ticket:
    """Check the terms of an order.

    Raises
    ------
    OrderError
        For a size that isn't a finite number above 0, a level that isn't a finite number, an unknown word, or
        terms that exclude each other; with the value and what to do instead.
    """
    if size is not None:
        # Words for a complaint cost more than the look that finds nothing to complain about.
        size = float(size) if size.__class__ in _PLAIN and 0 < size < math.inf else finite(f"{side}(size=...)", size)
        if size <= 0:
            other = "sell" if side is Side.BUY else "buy"
            cure = f"use {other} for the other direction" if size < 0 else "place no order instead"
            raise OrderError(f"{side}(size={size:g}): a size is above 0; {cure}")
    tag = None if tag is None else str(tag)
    if limit is stop is trail is stop_loss is take_profit is at is until is None and tif == "gtc" and not reduce_only:
        # What most orders are.
        return market_ticket(side, size, tag)
    limit, stop = _level(side, "limit", limit), _level(side, "stop", stop)
    stop_loss, take_profit = _level(side, "stop_loss", stop_loss), _level(side, "take_profit", take_profit)
    kind = _kind(side, limit, stop, trail, at)
    fraction = False
    if trail is not None:
        trail, fraction = read_trail(f"{side}(trail={trail!r})", trail)
    if _flag(side, reduce_only) and (stop_loss is not None or take_profit is not None):
        raise OrderError(f"{side}(reduce_only=True) opens nothing that a stop_loss or take_profit could close")
    return Ticket(
        side, size, kind, limit, stop, tag, trail, fraction, stop_loss, take_profit,
        _time_in_force(side, kind, tif, until), until, reduce_only,
    )  # fmt: skip


def read_trail(what: str, trail: Any) -> tuple[float, bool]:
    """A trailing distance: a number is a price, ``"2%"`` a share of it.

    Returns
    -------
    distance, is_fraction

    Raises
    ------
    OrderError
        Where it is neither, or not above 0, or not below 100%.
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
        Where it is no number, or NaN, or infinite; `what` says where it was written.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise OrderError(f"{what} got {value!r}, a {type(value).__name__}; give a number")
    number = float(value)
    if not math.isfinite(number):
        raise OrderError(f"{what} got {number}; give a finite number (is an indicator still warming up?)")
    return number


def _flag(side: Side, reduce_only: Any) -> bool:
    if not isinstance(reduce_only, bool):
        raise OrderError(f"{side}(reduce_only={reduce_only!r}): give True or False")
    return reduce_only


def _level(side: Side, name: str, value: Any) -> float | None:
    if value is None or (value.__class__ is float and math.isfinite(value)):
        return value
    return finite(f"{side}({name}=...)", value)


def _kind(side: Side, limit: float | None, stop: float | None, trail: Any, at: Any) -> OrderType:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    if stop is not None:
        kind = OrderType.STOP if limit is None else OrderType.STOP_LIMIT
    if trail is not None:
        if kind is not OrderType.MARKET:
            raise OrderError(f"{side}(trail={trail!r}): a trailing stop has no limit and no stop of its own; give one")
        kind = OrderType.TRAILING_STOP
    if at is None:
        return kind
    if at not in _MOMENTS:
        raise OrderError(f"{side}(at={at!r}): {nearest(str(at), _MOMENTS)}")
    if kind is not OrderType.MARKET:
        raise OrderError(
            f"{side}(at={at!r}): orders on open or close are market orders; leave out limit, stop and trail"
        )
    return _MOMENTS[at]


def _time_in_force(side: Side, kind: OrderType, tif: Any, until: Any) -> TimeInForce:
    if tif == "gtc" and until is None:
        return _DAY if kind in _ON_SESSION else _GTC
    if tif not in _WORDS:
        raise OrderError(f"{side}(tif={tif!r}) is no time in force; {nearest(str(tif), _WORDS)}")
    word = TimeInForce(tif)
    if until is not None and word in (_GTC, _GTD):
        word = _GTD
    elif until is not None:
        raise OrderError(f"{side}(tif={tif!r}, until={until!r}): until is for gtd; leave tif out")
    elif word is _GTD:
        raise OrderError(f"{side}(tif='gtd') needs the time: until=...")
    if kind in _ON_SESSION:
        if word is not _DAY:
            raise OrderError(f"{side}(tif={tif!r}): orders on open or close live for their session; leave tif out")
    elif word in (TimeInForce.IOC, TimeInForce.FOK) and kind not in (OrderType.MARKET, OrderType.LIMIT):
        raise OrderError(f"{side}(tif={tif!r}): a {kind} waits by its nature; use gtc, day or gtd")
    return word
