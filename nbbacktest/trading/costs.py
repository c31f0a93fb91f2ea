"""What a fill costs: the config's models as plain functions, made once so that a fill pays for no dispatch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

from nbbacktest.core.costs import (
    BasisPointsSlippage,
    CallableCommission,
    Commission,
    CommissionFunction,
    FixedSlippage,
    MakerTakerCommission,
    PercentCommission,
    PercentSlippage,
    PerContractCommission,
    PerShareCommission,
    PerTradeCommission,
    Slippage,
    SpreadSlippage,
    TieredCommission,
    VolumeShareSlippage,
    place_of,
)
from nbbacktest.core.enums import Side
from nbbacktest.core.errors import ConfigError, OrderError, Problem, nearest
from nbbacktest.core.records import Bar
from nbbacktest.core.shown import said
from nbbacktest.trading.orders import Fill, Order

Fee = Callable[[Order, float, float, Bar], float]
"""(order, units, price, bar) -> commission in the account's currency; units are positive.

A question, not an event: the same one has the same answer until the next fill is booked.
"""

Slip = Callable[[Order, float, float, Bar], float]
"""(order, units, price, bar) -> the worse price that the order fills at; units are positive."""

_BUY = Side.BUY


def fee_of(model: Commission, fills: Sequence[Fill] = ()) -> Fee:
    """The commission that `model` charges.

    Parameters
    ----------
    model
    fills
        The run's, a list that grows: what depends on the past (tiers, bounds of an order that fills in parts) is
        read from it.

    Raises
    ------
    ConfigError
        Where a function's place names none.

    Examples
    --------
    >>> fee_of(PercentCommission(rate=0.001))(None, 100.0, 50.0, None)
    5.0
    """
    match model:
        # abs: a negative price (oil in April 2020) costs commission too, it doesn't earn it.
        case PercentCommission(rate=rate):
            return lambda order, units, price, bar: rate * units * abs(price)
        case PerContractCommission(rate=rate):
            return lambda order, units, price, bar: rate * units
        case PerTradeCommission(amount=amount):
            return _by_order(lambda units, notional: amount, fills)
        case PerShareCommission(minimum=0, maximum=None, rate=rate):
            return lambda order, units, price, bar: rate * units
        case PerShareCommission():
            return _by_order(_bounded(model), fills)
        case MakerTakerCommission(maker=maker, taker=taker):
            return lambda order, units, price, bar: (
                (maker if _rested(order, price, bar) else taker) * units * abs(price)
            )
        case TieredCommission():
            return _tiered(model, fills)
        case CallableCommission():
            return _called(model)
        case _:
            return lambda order, units, price, bar: 0.0


def slip_of(model: Slippage) -> Slip | None:
    """How `model` worsens the price of market and stop orders; None where it doesn't.

    Examples
    --------
    >>> slip_of(PercentSlippage(rate=0.0)) is None
    True
    """
    match model:
        case PercentSlippage(rate=rate):
            share = rate
        case BasisPointsSlippage(points=points):
            share = points / 10_000
        case FixedSlippage(amount=amount):
            return _shifted(amount)
        case SpreadSlippage(spread=spread):
            return _shifted(spread / 2)
        case VolumeShareSlippage():
            return _impact(model)
        case _:
            return None
    if not share:
        return None
    return lambda order, units, price, bar: (
        price + share * abs(price) if order.side is _BUY else price - share * abs(price)
    )


# -- slippage -----------------------------------------------------------------------------------------------


def _shifted(amount: float) -> Slip | None:
    if not amount:
        return None
    return lambda order, units, price, bar: price + amount if order.side is _BUY else price - amount


def _impact(model: VolumeShareSlippage) -> Slip | None:
    impact, limit = model.impact, model.limit
    if not impact:
        return None

    def slip(order: Order, units: float, price: float, bar: Bar) -> float:
        volume = bar.volume
        share = min(units / volume, limit) if volume > 0 else limit
        worse = impact * share * share * abs(price)
        return price + worse if order.side is _BUY else price - worse

    return slip


# -- commission ---------------------------------------------------------------------------------------------


def _rested(order: Order, price: float, bar: Bar) -> bool:
    level = order.limit
    if level is None or price != level:
        return False
    opened = bar.open
    return bool(opened > level if order.side is _BUY else opened < level)


def _bounded(model: PerShareCommission) -> Callable[[float, float], float]:
    rate, minimum, maximum = model.rate, model.minimum, model.maximum

    def total(units: float, notional: float) -> float:
        fee = max(rate * units, minimum)
        return fee if maximum is None else min(fee, maximum * notional)

    return total


class _Done(NamedTuple):
    """What an order has filled so far."""

    units: float = 0.0
    notional: float = 0.0
    paid: float = 0.0


def _by_order(total: Callable[[float, float], float], fills: Sequence[Fill]) -> Fee:
    """What is due for a whole order, less what its earlier parts have paid."""
    orders: dict[int, _Done] = {}
    seen = 0
    nothing = _Done()

    def fee(order: Order, units: float, price: float, _bar: Bar) -> float:
        nonlocal seen
        for fill in fills[seen:]:
            units_before, notional, paid = orders.get(fill.order_id, nothing)
            orders[fill.order_id] = _Done(
                units_before + fill.size, notional + fill.size * abs(fill.price), paid + fill.commission
            )
        seen = len(fills)
        done = orders.get(order.id, nothing)
        due = total(done.units + units, done.notional + units * abs(price)) - done.paid
        return max(due, 0.0)

    return fee


def _tiered(model: TieredCommission, fills: Sequence[Fill]) -> Fee:
    edges = [tier.above for tier in model.tiers]
    steps = list(zip(edges, [*edges[1:], float("inf")], [tier.rate for tier in model.tiers], strict=True))
    by_notional = model.by == "notional"
    seen, before = 0, 0.0

    def fee(_order: Order, units: float, price: float, _bar: Bar) -> float:
        nonlocal seen, before
        for fill in fills[seen:]:
            before += fill.size * abs(fill.price) if by_notional else fill.size
        seen = len(fills)
        after = before + (units * abs(price) if by_notional else units)
        return sum(
            rate * (min(after, high) - max(before, low)) for low, high, rate in steps if low < after and high > before
        )

    return fee


def _called(model: CallableCommission) -> Fee:
    function = _found(model.function)
    place = place_of(model.function)

    def fee(order: Order, units: float, price: float, _bar: Bar) -> float:
        try:
            value: Any = function(str(order.side), units, price, order.symbol)
        except Exception as error:
            raise OrderError(
                f"commission function {place} raised for {order.side} {units:g} {order.symbol} at {price:g}: "
                f"{said(error)}"
            ) from error
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise OrderError(
                f"commission function {place} gave {value!r} for {order.side} {units:g} {order.symbol} at {price:g}; "
                "return a finite number"
            )
        return float(value)

    return fee


def _found(function: CommissionFunction | str) -> CommissionFunction:
    if not isinstance(function, str):
        return function
    path = "broker.commission.function"
    module_name, _, name = function.partition(":")
    try:
        module = sys.modules.get(module_name) or import_module(module_name)
    except Exception as error:
        cure = f"module {module_name!r} can't be imported: {said(error)}"
        raise ConfigError([Problem(path, function, cure)]) from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        known = [word for word, value in vars(module).items() if callable(value)]
        raise ConfigError(
            [Problem(path, function, f"module {module_name!r} has no function {name!r}; {nearest(name, known)}")]
        )
    return found  # type: ignore[no-any-return]
