"""Commission and slippage: turns the config's models into functions, once, so that no fill has to look its model up.

Those that depend on earlier fills are objects, whose state can be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

from nbbacktest.core.costs import (
    BasisPointsSlippage,
    CallableCommission,
    Commission,
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
from nbbacktest.core.enums import OrderEventKind, Side
from nbbacktest.core.errors import ConfigError, OrderError, Problem
from nbbacktest.core.formats import said
from nbbacktest.core.records import Bar
from nbbacktest.core.user_code import imported
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
        The fills of the run, a list that grows: tiers, and the bounds of an order that fills in parts, are computed
        from it.

    Raises
    ------
    ConfigError
        If a function's place names none.

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
            return OrderFee(lambda units, notional: amount, fills)
        case PerShareCommission(minimum=0, maximum=None, rate=rate):
            return lambda order, units, price, bar: rate * units
        case PerShareCommission():
            return OrderFee(_bounded(model), fills)
        case MakerTakerCommission(maker=maker, taker=taker):
            return lambda order, units, price, bar: (
                (maker if _rested(order, price, bar) else taker) * units * abs(price)
            )
        case TieredCommission():
            return TieredFee(model, fills)
        case CallableCommission():
            return _called(model)
        case _:
            return lambda order, units, price, bar: 0.0


def slip_of(model: Slippage) -> Slip | None:
    """The slippage of market, stop and market-if-touched orders by `model`; None if there is none.

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
    if not (opened > level if order.side is _BUY else opened < level):
        return False
    # A touch at the limit's own price makes a limit order that takes what is there, unless it came with an earlier bar.
    return order.touch != level or not any(
        event.kind is OrderEventKind.TRIGGERED and event.time_ns == bar.end_ns for event in order.events
    )


def _bounded(model: PerShareCommission) -> Callable[[float, float], float]:
    rate, minimum, maximum = model.rate, model.minimum, model.maximum

    def total(units: float, notional: float) -> float:
        fee = max(rate * units, minimum)
        return fee if maximum is None else min(fee, maximum * notional)

    return total


class RunningFee:
    """A commission that depends on the fills so far; it counts them itself, from the run's growing list."""

    __slots__ = ("_counted", "_fills")

    def __init__(self, fills: Sequence[Fill]) -> None:
        self._fills = fills
        self._counted = 0

    def __call__(self, order: Order, units: float, price: float, bar: Bar) -> float:
        """The commission of a fill that isn't booked yet."""
        raise NotImplementedError

    def save(self) -> Any:
        """The counts of this commission as a value."""
        raise NotImplementedError

    def restore(self, saved: Any) -> None:
        """Go on from the state that `save` returned; the run's fills are those of then."""
        raise NotImplementedError

    def _uncounted(self) -> Sequence[Fill]:
        """The fills of the run since the last call."""
        found = self._fills[self._counted :]
        self._counted = len(self._fills)
        return found


class _Done(NamedTuple):
    """The fills of one order so far, as totals."""

    units: float = 0.0
    notional: float = 0.0
    paid: float = 0.0


_NOTHING = _Done()


class OrderFee(RunningFee):
    """The commission of a whole order, less the commission of its earlier fills."""

    __slots__ = ("_orders", "_total")

    def __init__(self, total: Callable[[float, float], float], fills: Sequence[Fill]) -> None:
        super().__init__(fills)
        self._total = total
        self._orders: dict[int, _Done] = {}

    def __call__(self, order: Order, units: float, price: float, bar: Bar) -> float:  # noqa: ARG002 - as the others have it
        """The commission of the order with `units` more, less the commission that it has paid; at least 0."""
        orders = self._orders
        for fill in self._uncounted():
            units_before, notional, paid = orders.get(fill.order_id, _NOTHING)
            orders[fill.order_id] = _Done(
                units_before + fill.size, notional + fill.size * abs(fill.price), paid + fill.commission
            )
        done = orders.get(order.id, _NOTHING)
        due = self._total(done.units + units, done.notional + units * abs(price)) - done.paid
        return max(due, 0.0)

    def save(self) -> tuple[int, dict[int, _Done]]:
        """The number of counted fills, and the totals of each order."""
        return self._counted, dict(self._orders)

    def restore(self, saved: tuple[int, dict[int, _Done]]) -> None:
        """Go on from the state that `save` returned."""
        self._counted, self._orders = saved[0], dict(saved[1])


class TieredFee(RunningFee):
    """A commission with a rate for each slice of the volume that the run has traded so far."""

    __slots__ = ("_before", "_by_notional", "_steps")

    def __init__(self, model: TieredCommission, fills: Sequence[Fill]) -> None:
        super().__init__(fills)
        edges = [tier.above for tier in model.tiers]
        rates = [tier.rate for tier in model.tiers]
        self._steps = list(zip(edges, [*edges[1:], float("inf")], rates, strict=True))
        self._by_notional = model.by == "notional"
        self._before = 0.0

    def __call__(self, order: Order, units: float, price: float, bar: Bar) -> float:  # noqa: ARG002 - as the others have it
        """The commission of `units` more, at the rates of the tiers that they fall into."""
        for fill in self._uncounted():
            self._before += fill.size * abs(fill.price) if self._by_notional else fill.size
        before = self._before
        after = before + (units * abs(price) if self._by_notional else units)
        return sum(
            rate * (min(after, high) - max(before, low))
            for low, high, rate in self._steps
            if low < after and high > before
        )

    def save(self) -> tuple[int, float]:
        """The number of counted fills, and their volume."""
        return self._counted, self._before

    def restore(self, saved: tuple[int, float]) -> None:
        """Go on from the state that `save` returned."""
        self._counted, self._before = saved


def _called(model: CallableCommission) -> Fee:
    function, place = model.function, place_of(model.function)
    if isinstance(function, str):
        path = "broker.commission.function"
        found = imported(path, function, callable)
        if not callable(found):
            raise ConfigError([Problem(path, function, "is no function; name one")])
        function = found

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
