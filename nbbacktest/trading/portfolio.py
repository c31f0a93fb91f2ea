"""Cash and positions: what is owned, what it is worth, and what can still be afforded. Knows no order.

Positions are kept by strategy and symbol, so that several strategies may trade one symbol; the cash is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from nbbacktest.engine.series import Series
from nbbacktest.trading.sizes import add_sizes, scaled


class Position(msgspec.Struct, frozen=True, gc=False):
    """What one strategy holds of one symbol; true where that is something.

    Immutable: a fill makes a new one. Only `last` and `unrealized_pnl` move with the bars.

    Attributes
    ----------
    size : float
        Units, negative where short.
    average_price : float
        What a unit was bought (or sold short) at on average, without commission; 0 where flat.
    noise : float
        By how much rounding may have moved `size`; see `nbbacktest.trading.sizes`.
    """

    strategy: str
    symbol: str
    size: float
    average_price: float
    series: Series
    noise: float = 0.0

    def __bool__(self) -> bool:
        return self.size != 0

    @property
    def last(self) -> float | None:
        """The newest close of a completed bar, or None before the first."""
        return self.series.last_close

    @property
    def unrealized_pnl(self) -> float:
        """What closing at the newest close would earn, before costs."""
        last = self.series.last_close
        return 0.0 if last is None or not self.size else (last - self.average_price) * self.size

    def __repr__(self) -> str:
        if not self.size:
            return f"<Position {self.symbol}: flat>"
        return (
            f"<Position {self.symbol}: {self.size:g} at {self.average_price:g}, unrealized {self.unrealized_pnl:+.2f}>"
        )


class PositionState(NamedTuple):
    """A position without its bars."""

    strategy: str
    symbol: str
    size: float
    average_price: float
    noise: float


class PortfolioState(NamedTuple):
    """An account as a value.

    Attributes
    ----------
    positions : tuple of PositionState
        Flat ones included, in their order.
    held : tuple of (strategy, symbol)
        Those that aren't flat, in the order in which they were opened.
    """

    cash: float
    positions: tuple[PositionState, ...]
    held: tuple[tuple[str, str], ...]
    may_fall_below_0: bool | None


class Portfolio:
    """One account: cash, and the positions of every strategy.

    Attributes
    ----------
    cash : float
        What isn't invested; the proceeds of short sales are in it.
    positions : dict
        By strategy and then symbol, flat ones included.
    held : dict
        By (strategy, symbol) those that aren't flat, in the order in which they were opened.
    may_fall_below_0 : bool or None
        Whether a price of these symbols may, so that a long could be worth less than nothing; None: it is to be found out,
        as where a symbol has joined.
    """

    __slots__ = ("_shorts", "cash", "held", "may_fall_below_0", "positions")

    def __init__(self, cash: float) -> None:
        self.cash = cash
        self.positions: dict[str, dict[str, Position]] = {}
        self.held: dict[tuple[str, str], Position] = {}
        self._shorts = 0  # how many of `held` are short
        self.may_fall_below_0: bool | None = None

    def open_account(self, strategy: str, series: list[Series]) -> dict[str, Position]:
        """Give `strategy` a flat position in each of `series`; returns them by symbol, kept current."""
        own = {s.symbol: Position(strategy, s.symbol, 0.0, 0.0, s) for s in series}
        self.positions[strategy] = own
        return own

    def save(self) -> PortfolioState:
        """The account as it is now."""
        positions = tuple(
            PositionState(p.strategy, p.symbol, p.size, p.average_price, p.noise)
            for own in self.positions.values()
            for p in own.values()
        )
        return PortfolioState(self.cash, positions, tuple(self.held), self.may_fall_below_0)

    def restore(self, saved: PortfolioState, series: Mapping[str, Series]) -> None:
        """Go on from what `save` gave, over these base bars by symbol; the strategies' accounts are open."""
        for own in self.positions.values():
            own.clear()
        for strategy, symbol, size, average, noise in saved.positions:
            self.positions[strategy][symbol] = Position(strategy, symbol, size, average, series[symbol], noise)
        self.held.clear()
        self.held.update({(strategy, symbol): self.positions[strategy][symbol] for strategy, symbol in saved.held})
        self._shorts = sum(position.size < 0 for position in self.held.values())
        self.cash, self.may_fall_below_0 = saved.cash, saved.may_fall_below_0

    @property
    def equity(self) -> float:
        """Cash and all positions at their newest closes."""
        total = self.cash
        for position in self.held.values():
            total += position.size * position.series.close_at[position.series.n - 1]
        return total

    def buying_power(self, symbol: str, price: float) -> float:
        """What may be spent: cash, less twice the worth of all shorts; `symbol` counts at `price`.

        Cash + sum(size * price) - sum(abs(size * price)): for longs alone it is the cash. A short's
        proceeds don't count, and its worth is tied up beside them; so it is with a long at a price below zero.
        """
        power = self.cash
        if not self._shorts:
            if self.may_fall_below_0 is None:
                every = {id(p.series): p.series for own in self.positions.values() for p in own.values()}.values()
                self.may_fall_below_0 = any(s.is_open or bool((s.columns.low < 0).any()) for s in every)
            if not self.may_fall_below_0:
                return power
        for position in self.held.values():
            last = price if position.symbol == symbol else position.series.close_at[position.series.n - 1]
            worth = position.size * last
            if worth < 0:
                power += 2.0 * worth
        return power

    def symbols_held(self) -> set[str]:
        """Symbols that any strategy has a position in."""
        return {symbol for _, symbol in self.held}

    def exposure(self, symbol: str, price: float) -> float:
        """The worth at `price` of all positions in `symbol`, longs and shorts both counted as positive."""
        return sum(abs(p.size * price) for p in self.held.values() if p.symbol == symbol)

    def split(self, symbol: str, ratio: float) -> None:
        """Turn every unit held of `symbol` into `ratio` units; what was paid for a unit becomes as much less.

        Fractions are kept, since any size may be fractional: nothing is paid out in cash instead.
        """
        for strategy, own in self.positions.items():
            position = own.get(symbol)
            if position:
                (size, noise), average = scaled(position.size, ratio, position.noise), position.average_price / ratio
                own[symbol] = self.held[strategy, symbol] = msgspec.structs.replace(
                    position, size=size, average_price=average, noise=noise
                )

    def record(self, position: Position, signed: float, price: float, commission: float) -> None:
        """Book a fill of `signed` units (negative: sold) into `position`."""
        strategy, symbol, size, average = position.strategy, position.symbol, position.size, position.average_price
        self.cash -= signed * price + commission
        new, noise = size + signed, 0.0
        if size and new:
            new, noise = add_sizes(size, signed, position.noise)
        if not size:
            average = price
        elif not new:
            average = 0.0
        elif size * signed > 0:
            average = (size * average + signed * price) / new
        elif new * size < 0:
            average = price
        changed = Position(strategy, symbol, new, average, position.series, noise)
        self.positions[strategy][symbol] = changed
        self._shorts += (new < 0) - (size < 0)
        if new:
            self.held[strategy, symbol] = changed
        else:
            del self.held[strategy, symbol]
