"""Lets symbols join and leave at the trading desk, between two instants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.enums import OrderStatus
from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Int64
from nbbacktest.engine.series import Series
from nbbacktest.trading.broker import refuse_what_bars_lack
from nbbacktest.trading.callbacks import blame
from nbbacktest.trading.dated_events import close_out
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.portfolio import Position

HOLDING = ("refuse", "close")
"""The ways to treat open positions in a symbol that is to leave."""


def check_admission(desk: TradingDesk, joining: Sequence[Series]) -> None:
    """Refuse bars that the broker's rules can't work with.

    Raises
    ------
    ConfigError
        As before a run.
    """
    refuse_what_bars_lack(desk.broker.terms, [*desk.series.values(), *joining], [s for s in joining if s.is_base])


def admit(desk: TradingDesk, joining: Sequence[Series], actions: Sequence[CorporateAction], instants: Int64) -> None:
    """Let the strategies that take all symbols trade the new one, and tell them.

    Parameters
    ----------
    actions
        The corporate actions of the new symbol.
    instants
        The instants of the run, the new symbol's to come included.

    Raises
    ------
    StrategyError
        If an `on_symbol_added` raised: the first one, after all were called.
    """
    for series in joining:
        desk.series[series.symbol, series.interval] = series
    desk.revise(instants, actions)
    desk.portfolio.may_fall_below_0 = None
    base = next(series for series in joining if series.is_base)
    desk.notes.joined[base.symbol] = desk.index + 1
    takers = [(strategy, context) for strategy, context in desk.seats if context.takes_all]
    for _, context in takers:
        context.positions[base.symbol] = Position(context.name, base.symbol, 0.0, 0.0, base)
        context.trade((*context.symbols, base.symbol))
    _tell(desk, [strategy for strategy, _ in takers], "on_symbol_added", base.symbol)


def check_leave(desk: TradingDesk, symbol: str, positions: str) -> None:
    """Refuse to remove a symbol that is held, if `positions` is ``"refuse"``.

    Raises
    ------
    DataError
        It names the strategies that hold it, and their sizes.
    ValueError
        If `positions` is no such wish.
    """
    if positions not in HOLDING:
        raise ValueError(f"positions={positions!r} is no way to leave; use one of {', '.join(map(repr, HOLDING))}")
    held = _held(desk, symbol)
    if held and positions == "refuse":
        holders = ", ".join(f"{position.strategy} {position.size:g}" for position in held)
        raise DataError(f"{symbol} is held ({holders}); close it first, or remove it with positions='close'")


def give_notice(desk: TradingDesk, symbol: str) -> bool:
    """Cancel the open orders of `symbol` and close its positions; True if it can leave at once.

    If its bars have ended, no order can fill: then its positions are closed at its last close at once, unless a
    delisting is still to come.
    """
    blotter, now = desk.broker.blotter, desk.now_ns
    desk.leaving.add(symbol)
    for order in list(desk.broker.pending.get(symbol, ())):
        if order.is_open and not order.is_forced:
            blotter.end(order, OrderStatus.CANCELLED, f"{symbol} leaves the run", now)
    if _has_ended(desk, symbol):
        _write_off(desk, symbol, now)
    holders = {position.strategy for position in _held(desk, symbol)}
    for _, context in desk.seats:
        if context.name in holders:
            context.close(symbol)
    if _held(desk, symbol):
        return False
    desk.leaving.discard(symbol)
    return True


def dismiss(desk: TradingDesk, symbol: str) -> None:
    """Remove `symbol` from the strategies that trade it, and tell them; its bars stay readable.

    Raises
    ------
    StrategyError
        If an `on_symbol_removed` raised: the first one, after all were called.
    """
    traders = [(strategy, context) for strategy, context in desk.seats if symbol in context.symbols]
    for _, context in traders:
        context.trade(tuple(other for other in context.symbols if other != symbol))
    _tell(desk, [strategy for strategy, _ in traders], "on_symbol_removed", symbol)


def _has_ended(desk: TradingDesk, symbol: str) -> bool:
    series = desk.series[symbol, desk.base_interval]
    return 0 < series.n == len(series.close_at) and not series.is_open and int(series.columns.end[-1]) < desk.now_ns


def _write_off(desk: TradingDesk, symbol: str, now: int) -> None:
    broker = desk.broker
    if broker.delistings is not None and broker.delistings.expects(symbol):
        return
    series, before = desk.series[symbol, desk.base_interval], len(desk.fills)
    price = series.close_at[series.n - 1]
    base = [s for s in desk.series.values() if s.is_base and s.n and int(s.columns.end[s.n - 1]) == now]
    stamped = base[0] if base else series
    stamp = int(stamped.columns.time[stamped.n - 1])
    reason = f"{symbol} leaves the run without a bar that could close it: it is closed at its last close"
    for position in _held(desk, symbol):
        close_out(broker, desk.portfolio, position, price, reason, desk.index, stamp, now)
        desk.log.note(position.strategy, f"{reason}, {position.size:g} units at {price:g}")
    desk.tell(before)


def _held(desk: TradingDesk, symbol: str) -> list[Position]:
    return [position for (_, of), position in desk.portfolio.held.items() if of == symbol]


def _tell(desk: TradingDesk, strategies: Sequence[Any], callback: str, symbol: str) -> None:
    failure = None
    for strategy in strategies:
        try:
            getattr(strategy, callback)(symbol)
        except BaseException as error:  # noqa: BLE001 - kept, raised below
            failure = failure or blame(strategy, callback, error, symbol, time=desk.now)
    if failure is not None:
        raise failure
