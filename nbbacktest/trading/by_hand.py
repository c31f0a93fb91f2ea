"""The seat of orders by hand at the desk of a run; and `ByHand`, the strategy that does nothing."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.errors import OrderError, nearest
from nbbacktest.core.formats import shown
from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.strategy import Strategy

HAND = "hand"
"""The name under which orders by hand are placed, if they are in no strategy's name."""


class ByHand(Strategy):
    """The strategy of a run that is traded by hand alone, with `SystemManager.buy` and the like: it does nothing.

    Examples
    --------
    >>> import nbbacktest as nb
    >>> system = nb.SystemManager(reachable=False)
    >>> system.start(strategies=nb.ByHand, paused=True)
    True
    >>> system.step(10)
    True
    >>> system.buy("EXE", 5)
    <Order 1 buy 5 EXE market: open>
    >>> system.step()
    True
    >>> system.snapshot().positions[0].size
    5.0
    >>> system.stop()
    True
    """


def hand_seat(desk: TradingDesk) -> Strategy:
    """The seat of orders by hand: it trades all symbols of the run, has its own positions, and shares the cash."""
    if desk.hand is None:
        taken = [context.name for _, context in desk.contexts]
        name = HAND if HAND not in taken else f"{HAND} #2"
        base = [one for one in desk.series.values() if one.is_base]
        positions = desk.portfolio.open_account(name, base)
        context = StrategyContext(desk, name, tuple(one.symbol for one in base), positions, takes_all=True)
        desk.hand = ByHand(), context
        desk.hand[0]._strategy_context = context  # noqa: SLF001 - hidden from strategies only
    return desk.hand[0]


def reopen(desk: TradingDesk, symbols: tuple[str, ...] | None) -> None:
    """Open the hand's seat as it was saved, with these symbols; None: it was not open."""
    if symbols is not None:
        hand_seat(desk)._strategy_context.trade(symbols)  # noqa: SLF001 - as above


def seat_of(desk: TradingDesk, name: str) -> Strategy:
    """The strategy of that name, as orders and fills have it.

    Raises
    ------
    OrderError
        If there is none.
    """
    for strategy, context in desk.seats:
        if context.name == name:
            return strategy
    names = [context.name for _, context in desk.contexts]
    raise OrderError(f"the run has no strategy {name!r}; {nearest(str(name), names)}")


def describe_change(desk: TradingDesk, strategy: Strategy, changed: dict[str, Any]) -> None:
    """Show the parameters that were changed by hand in the description of `strategy`."""
    words = ", ".join(f"{name}={shown(value)}" for name, value in changed.items())
    desk.descriptions = tuple(
        f"{text} -> {words}" if one is strategy else text
        for one, text in zip(desk.strategies, desk.descriptions, strict=True)
    )
