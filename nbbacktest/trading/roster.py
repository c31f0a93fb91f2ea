"""What it means for a desk that a symbol joins or leaves its run, between two instants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.enums import OrderStatus
from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Int64
from nbbacktest.engine.series import Series
from nbbacktest.trading.admission import refuse_what_bars_lack
from nbbacktest.trading.callbacks import blame
from nbbacktest.trading.portfolio import Position

if TYPE_CHECKING:
    from nbbacktest.trading.desk import TradingDesk

HOLDING = ("refuse", "close")
"""What may become of open positions in a symbol that is to leave."""


class Membership(Protocol):
    """Who lets symbols in and out; the system has one for each run."""

    def add(self, symbol: str, data: Any = None) -> bool:
        """Let `symbol` join."""
        ...

    def remove(self, symbol: str, positions: str = "refuse") -> bool:
        """Let `symbol` leave."""
        ...

    def dismiss(self, symbol: str) -> None:
        """Let `symbol`, which has become flat, leave when the instant under way is complete."""
        ...


def check_admission(desk: TradingDesk, joining: Sequence[Series]) -> None:
    """Refuse bars that the broker's rules can't work with.

    Raises
    ------
    ConfigError
        As before a run.
    """
    refuse_what_bars_lack(desk.terms, [*desk.series.values(), *joining], [s for s in joining if s.is_base])


def admit(desk: TradingDesk, joining: Sequence[Series], actions: Sequence[CorporateAction], instants: Int64) -> None:
    """Seat the strategies that take all symbols at the new one, and tell them.

    Parameters
    ----------
    actions
        The new symbol's.
    instants
        The run's, with the new symbol's among those to come.

    Raises
    ------
    StrategyError
        Where an `on_symbol_added` raised: the first one, after all were called.
    """
    for series in joining:
        desk.series[series.symbol, series.interval] = series
    desk.revise(instants, actions)
    base = next(series for series in joining if series.is_base)
    takers = [(strategy, seat) for strategy, seat in desk.seated if seat.takes_all]
    for _, seat in takers:
        seat.positions[base.symbol] = Position(seat.name, base.symbol, 0.0, 0.0, base)
        seat.trade((*seat.symbols, base.symbol))
    _tell(desk, [strategy for strategy, _ in takers], "on_symbol_added", base.symbol)


def check_leave(desk: TradingDesk, symbol: str, positions: str) -> None:
    """Refuse to let go of a symbol that is held, where that was asked for.

    Raises
    ------
    DataError
        It names who holds how much.
    ValueError
        Where `positions` is no such wish.
    """
    if positions not in HOLDING:
        raise ValueError(f"positions={positions!r} is no way to leave; use one of {', '.join(map(repr, HOLDING))}")
    held = _held(desk, symbol)
    if held and positions == "refuse":
        holders = ", ".join(f"{position.strategy} {position.size:g}" for position in held)
        raise DataError(f"{symbol} is held ({holders}); close it first, or remove it with positions='close'")


def give_notice(desk: TradingDesk, symbol: str) -> bool:
    """Cancel the open orders of `symbol` and close what is held; True where that leaves nothing to wait for."""
    register, now = desk.broker.register, desk.now_ns
    desk.leaving.add(symbol)
    for order in list(desk.broker.agenda.get(symbol, ())):
        if order.is_open and not order.is_forced:
            register.end(order, OrderStatus.CANCELLED, f"{symbol} leaves the run", now)
    holders = {position.strategy for position in _held(desk, symbol)}
    for _, seat in desk.seated:
        if seat.name in holders:
            seat.close(symbol)
    if _held(desk, symbol):
        return False
    desk.leaving.discard(symbol)
    return True


def dismiss(desk: TradingDesk, symbol: str) -> None:
    """Take `symbol` from the strategies that trade it, and tell them; its past stays readable.

    Raises
    ------
    StrategyError
        Where an `on_symbol_removed` raised: the first one, after all were called.
    """
    traders = [(strategy, seat) for strategy, seat in desk.seated if symbol in seat.symbols]
    for _, seat in traders:
        seat.trade(tuple(other for other in seat.symbols if other != symbol))
    _tell(desk, [strategy for strategy, _ in traders], "on_symbol_removed", symbol)


def _held(desk: TradingDesk, symbol: str) -> list[Position]:
    return [position for (_, of), position in desk.portfolio.held.items() if of == symbol]


def _tell(desk: TradingDesk, strategies: Sequence[Any], callback: str, symbol: str) -> None:
    failure = None
    for strategy in strategies:
        try:
            getattr(strategy, callback)(symbol)
        except BaseException as error:  # noqa: BLE001 - kept, raised below
            failure = failure or blame(strategy, callback, error, symbol, desk.base_interval, desk.now)
    if failure is not None:
        raise failure
