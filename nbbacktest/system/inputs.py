"""Carries out inputs by hand on a world of a run: one function for each kind. Replays call the same functions."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from nbbacktest.core.enums import InputKind
from nbbacktest.core.errors import NbBacktestError, OrderError, nearest
from nbbacktest.core.formats import shown
from nbbacktest.core.inputs import Input
from nbbacktest.trading.by_hand import HAND, describe_change, hand_seat, seat_of
from nbbacktest.trading.callbacks import blame, overrides
from nbbacktest.trading.orders import Order
from nbbacktest.trading.snapshot import OrderRow
from nbbacktest.trading.strategy import Strategy, new_values

if TYPE_CHECKING:
    from nbbacktest.system.universe import SymbolBars
    from nbbacktest.system.world import World


class Recorded(NamedTuple):
    """One input of a line, with what a replay needs beside it.

    Attributes
    ----------
    bars : SymbolBars or None
        Those of a symbol that joined.
    n_fills : int
        The fills before it.
    refusal : str or None
        The error that it ended with; a replay must end with the same.
    is_last : bool
        True if it ended the run.
    """

    input: Input
    bars: SymbolBars | None
    n_fills: int
    refusal: str | None = None
    is_last: bool = False


def carry_out(world: World, one: Input, bars: SymbolBars | None = None) -> Any:
    """Do to `world` what the input says. The caller holds the world's run at an instant and stands in for its strategies.

    Returns
    -------
    OrderRow or None
        For orders; None if there was nothing to close. For a change the new values by name, for costs None. For symbols True if it has joined
        or left already.

    Raises
    ------
    OrderError
        The terms make no sense.
    ParameterError, DataError, StrategyError
        As for the strategy's own call.
    """
    return _KINDS[one.what](world, one.strategy, dict(one.arguments), bars)


def bound(what: InputKind, *positional: Any, **named: Any) -> dict[str, Any]:
    """The arguments of a strategy's method by name, without those that are left out.

    Raises
    ------
    TypeError
        If the method takes no such arguments.
    """
    method = getattr(Strategy, what)
    try:
        found = inspect.signature(method).bind(None, *positional, **named).arguments
    except TypeError as error:
        raise TypeError(f"{what}(): {error}") from None
    found.pop("self", None)
    return {name: value for name, value in found.items() if value is not None}


def refuse_unknown(world: World, one: Input) -> None:
    """Refuse an input for a strategy, an order or a symbol that doesn't exist: it would change nothing.

    Raises
    ------
    OrderError, ParameterError, DataError
        With the value and the cure.
    """
    if one.strategy is not None and one.what is not InputKind.CHANGE:
        seat_of(world.desk, one.strategy)
    if one.what in (InputKind.BUY, InputKind.SELL, InputKind.CLOSE):
        _check_symbol(world, one.arguments.get("symbol"))
    if one.what in (InputKind.CANCEL, InputKind.REPLACE):
        _order(world, one.arguments["id"])
    if one.what is InputKind.CHANGE:
        new_values(_changed(world, one.strategy), one.arguments)
    if one.what is InputKind.ADD:
        world.universe.check_join(one.arguments["symbol"])
    if one.what is InputKind.REMOVE:
        world.universe.check_leave(one.arguments["symbol"], one.arguments["positions"])


def _check_symbol(world: World, symbol: Any) -> None:
    symbols = [series.symbol for series in world.desk.series.values() if series.is_base]
    if symbol is None and len(symbols) > 1:
        raise OrderError(f"the run has {len(symbols)} symbols; name one of: {', '.join(symbols)}")
    if symbol is not None and symbol not in symbols:
        raise OrderError(f"the run has no symbol {symbol!r}; {nearest(str(symbol), symbols)}")


def _place(what: str) -> Callable[..., Any]:
    def place(world: World, strategy: str | None, arguments: dict[str, Any], _bars: Any) -> OrderRow | None:
        order = getattr(_seat(world, strategy), what)(**arguments)
        return None if order is None else OrderRow.of(order)

    return place


def _cancel(world: World, _strategy: str | None, arguments: dict[str, Any], _bars: Any) -> OrderRow:
    order = _order(world, arguments["id"])
    seat_of(world.desk, order.strategy).cancel(order)
    return OrderRow.of(order)


def _replace(world: World, _strategy: str | None, arguments: dict[str, Any], _bars: Any) -> OrderRow:
    order = _order(world, arguments.pop("id"))
    return OrderRow.of(seat_of(world.desk, order.strategy).replace(order, **arguments))


def _change(world: World, strategy: str | None, arguments: dict[str, Any], _bars: Any) -> dict[str, Any]:
    one = _changed(world, strategy)
    changed = {name: value for name, value in new_values(one, arguments).items() if getattr(one, name) != value}
    for name, value in changed.items():
        setattr(one, name, value)
    if not changed:
        return changed
    desk = world.desk
    describe_change(desk, one, changed)
    name = next(context.name for strategy_, context in desk.contexts if strategy_ is one)
    words = ", ".join(f"{key}={shown(value)}" for key, value in changed.items())
    if not overrides(one, "on_change"):
        text = f"{words} by hand; what on_start made of the old values stays: {type(one).__name__} has no on_change"
        desk.log.note(name, text)
        return changed
    desk.log.note(name, f"{words} by hand")
    try:
        one.on_change(dict(changed))
    except BaseException as error:
        raise blame(one, "on_change", error) from error
    return changed


def _costs(world: World, _strategy: str | None, arguments: dict[str, Any], _bars: Any) -> None:
    desk = world.desk
    given = type(desk.broker.terms).model_validate_json(json.dumps(arguments))
    desk.charge(desk.broker.terms.model_copy(update={name: getattr(given, name) for name in arguments}))
    desk.log.note(HAND, f"{cost_words(arguments)} by hand")


def cost_words(costs: Mapping[str, Any]) -> str:
    """Costs in words, such as ``commission percent (rate=0.002)``."""
    return ", ".join(f"{name} {_model_words(**model)}" for name, model in costs.items())


def _model_words(model: str, **terms: Any) -> str:
    words = ", ".join(f"{name}={shown(value)}" for name, value in terms.items())
    return f"{model} ({words})" if words else model


def _add(world: World, _strategy: str | None, arguments: dict[str, Any], bars: SymbolBars | None) -> bool:
    symbol = arguments["symbol"]
    return world.universe.join(symbol, world.universe.load(symbol) if bars is None else bars)


def _remove(world: World, _strategy: str | None, arguments: dict[str, Any], _bars: Any) -> bool:
    return world.universe.leave(arguments["symbol"], arguments["positions"])


_KINDS: Mapping[InputKind, Callable[..., Any]] = MappingProxyType(
    {
        InputKind.BUY: _place("buy"),
        InputKind.SELL: _place("sell"),
        InputKind.CLOSE: _place("close"),
        InputKind.CANCEL: _cancel,
        InputKind.REPLACE: _replace,
        InputKind.CHANGE: _change,
        InputKind.COSTS: _costs,
        InputKind.ADD: _add,
        InputKind.REMOVE: _remove,
    }
)


def _seat(world: World, strategy: str | None) -> Strategy:
    return hand_seat(world.desk) if strategy is None else seat_of(world.desk, strategy)


def _order(world: World, number: Any) -> Order:
    if isinstance(number, int) and not isinstance(number, bool):
        with suppress(StopIteration):
            return next(order for order in reversed(world.desk.orders) if order.id == number)
    raise OrderError(f"the run has no order {number!r}; give an order's id, as snapshot().orders shows it")


def _changed(world: World, strategy: str | None) -> Strategy:
    desk = world.desk
    if strategy is not None:
        return seat_of(desk, strategy)
    if len(desk.strategies) == 1:
        return desk.strategies[0]
    names = ", ".join(repr(context.name) for _, context in desk.contexts)
    raise OrderError(f"change(): the run has several strategies; give strategy=, one of {names}")


def refusal_of(error: BaseException) -> str | None:
    """The words of a refusal, by which a replay's is compared with the recorded one; None for an error that is no refusal."""
    return f"{type(error).__name__}: {error}" if isinstance(error, NbBacktestError) else None
