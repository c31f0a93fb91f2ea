"""One account: cash and positions, their worth, and the limits of cash and margin accounts for new positions.

Positions are kept by strategy and symbol, so that several strategies may trade one symbol; the cash is shared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Mapping
from math import floor, ulp
from typing import NamedTuple, Protocol

import msgspec

from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.records import Bar
from nbbacktest.engine.series import Series
from nbbacktest.trading.costs import Fee
from nbbacktest.trading.orders import Order

# Relative room for rounding: an order for exactly all the cash must not fail by the last bits. Four units in the last place,
# for the few products and sums that lead to it: even of 1e15 in cash that is no unit more.
_ROUNDING = 4 * 2.0**-52
_ROOM = 1.0 + _ROUNDING


class Position(msgspec.Struct, frozen=True, gc=False):
    """The position of one strategy in one symbol; false if flat.

    Immutable: a fill makes a new one. Only `last` and `unrealized_pnl` move with the bars.

    Attributes
    ----------
    size : float
        Units, negative if short.
    average_price : float
        Average price of the units bought (or sold short), without commission; 0 if flat.
    noise : float
        Bound of the rounding error in `size`; see `add_sizes`.
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
        """The profit of closing at the newest close, before costs."""
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
        The positions that aren't flat, in the order in which they were opened.
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
        Money that isn't invested, the proceeds of short sales included.
    positions : dict
        By strategy and then symbol, flat ones included.
    held : dict
        By (strategy, symbol) those that aren't flat, in the order in which they were opened.
    may_fall_below_0 : bool or None
        True if a price of these symbols may, so that a long could have a negative worth; None: not known yet, as after a
        symbol has joined.
    """

    __slots__ = ("_shorts", "cash", "held", "may_fall_below_0", "positions")

    def __init__(self, cash: float) -> None:
        self.cash = cash
        self.positions: dict[str, dict[str, Position]] = {}
        self.held: dict[tuple[str, str], Position] = {}
        self._shorts = 0  # the number of short positions in `held`
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
        """Go on from the state that `save` returned, over these base bars by symbol; the strategies' accounts are open."""
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
        """Buying power: cash, less twice the worth of all shorts; `symbol` counts at `price`.

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
        """Turn each unit held of `symbol` into `ratio` units, and divide its average price by that.

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


class Account(Protocol):
    """The rules by which positions tie up money.

    Attributes
    ----------
    rate : float
        The money that opening a position ties up, as a share of its worth.
    unit : str
        The name of that money in messages.
    """

    rate: float
    unit: str

    def power(self, symbol: str, price: float) -> float:
        """Money that can still be tied up; `symbol` counts at `price`."""
        ...


class CashAccount:
    """Positions are paid in full, and a short's proceeds and worth are tied up."""

    rate = 1.0
    unit = "with commission"

    def __init__(self, portfolio: Portfolio) -> None:
        self.power = portfolio.buying_power


class MarginAccount:
    """Positions tie up a share of their worth; if equity falls below a smaller share, they are taken away.

    Attributes
    ----------
    rate : float
        The initial margin, or ``1 / leverage`` if that is more.
    maintenance : float
        The share below which positions are liquidated.
    """

    unit = "of margin with commission"

    def __init__(self, portfolio: Portfolio, initial: float, maintenance: float, leverage: float | None) -> None:
        self._portfolio = portfolio
        self.rate = max(initial, 1.0 / leverage if leverage else 0.0)
        self.maintenance = maintenance

    def power(self, symbol: str, price: float) -> float:
        """Equity, less the margin of all positions."""
        power = self._portfolio.cash
        for position in self._portfolio.held.values():
            last = price if position.symbol == symbol else position.series.close_at[position.series.n - 1]
            worth = position.size * last
            power += worth - self.rate * abs(worth)
        return power

    def called(self, leaving: Container[tuple[str, str]]) -> tuple[list[Position], str]:
        """Positions to close so that equity covers the maintenance margin of the rest, at the newest closes.

        The position with the largest worth is first; of equal ones the one opened first; each is closed whole. Those in
        `leaving` are being closed already and don't count.

        Returns
        -------
        positions, reason
        """
        equity = self._portfolio.equity
        worths = {
            key: abs(p.size * p.series.close_at[p.series.n - 1])
            for key, p in self._portfolio.held.items()
            if key not in leaving
        }
        needed = self.maintenance * sum(worths.values())
        if equity >= needed:
            return [], ""
        reason = f"margin call: equity {equity:.2f} is below the maintenance margin of {needed:.2f}"
        going = []
        for key in sorted(worths, key=lambda key: -worths[key]):
            if equity >= self.maintenance * sum(worths.values()):
                break
            del worths[key]
            going.append(self._portfolio.held[key])
        return going, reason


class Allowance:
    """Limits how much an order may open."""

    def __init__(self, portfolio: Portfolio, broker: BrokerConfig, limits: LimitsConfig) -> None:
        self._portfolio = portfolio
        self._limits = limits if limits.max_open_positions or limits.max_per_symbol else None
        self._lot = broker.lot_size or 1.0
        self._is_whole = not broker.fractional
        self.margin: MarginAccount | None = None
        if broker.account == "margin":
            self.margin = MarginAccount(
                portfolio, broker.initial_margin, broker.maintenance_margin, broker.leverage
            )  # fmt: skip
        self._account: Account = self.margin or CashAccount(portfolio)

    def most(self, order: Order, price: float, closable: float, fee: Fee, bar: Bar) -> float:
        """The most units, in whole lots (or whole units), that can be opened at `price`, commission included."""
        power = (self._account.power(order.symbol, price) + self._set_free(closable, price)) * _ROOM
        lot = self._lot
        worth = price * lot * self._account.rate
        if price <= 0 or power < worth:
            return 0.0

        def cost(lots: int) -> float:
            return lots * worth + fee(order, closable + lots * lot, price, bar)

        ceiling = floor(power / worth)
        base = fee(order, closable, price, bar) if closable else 0.0
        # Exact for a commission that grows evenly with the units, as most do; the search serves all others.
        whole = cost(ceiling) - base
        guess = floor((power - base) / whole * ceiling) if whole > 0 else ceiling
        if not (guess >= 0 and cost(guess + 1) > power and (guess == 0 or cost(guess) <= power)):
            guess = max(bisect_right(range(ceiling + 1), power, key=cost) - 1, 0)
        return guess * lot

    def objection(
        self, symbol: str, price: float, closable: float, opened: float, fee: float, *, is_sized: bool
    ) -> str | None:
        """The reason that `opened` units can't be opened; None if they can.

        Parameters
        ----------
        is_sized
            False if the size is what `most` has just allowed.
        """
        if is_sized:
            power = self._account.power(symbol, price)
            if closable:
                power += self._set_free(closable, price)
            needed = opened * abs(price) * self._account.rate + fee
            if needed > power + _ROUNDING * abs(power):
                return (
                    f"{opened:g} units at {price:g} need {needed:.2f} {self._account.unit}, {max(power, 0.0):.2f} "
                    "available; ask for fewer units"
                )
        if self._limits is not None:
            return self._beyond_limits(self._limits, symbol, price, closable, opened)
        return None

    def too_small(self, symbol: str, price: float) -> str:
        """The reason that `most` is 0."""
        power = max(self._account.power(symbol, price), 0.0)
        if price <= 0:
            return f"no size follows from cash at a price of {price:g}; give a size"
        if self._lot != 1:
            lacks = f"{power:.2f} available doesn't pay for a lot of {self._lot:g} at {price:g} with commission"
            return f"{lacks}; set a smaller broker.lot_size"
        lacks = f"{power:.2f} available doesn't pay for one unit at {price:g} with commission"
        if self._is_whole:
            return f"{lacks}; set broker.fractional to true, and give a size or a broker.lot_size"
        return f"{lacks}; give a fractional size, or set broker.lot_size"

    def is_below_a_lot(self, price: float) -> bool:
        """True if all of the equity doesn't pay for one lot at `price`, so that no order without a size can fill."""
        return self._portfolio.equity < price * self._lot * self._account.rate

    def _set_free(self, closable: float, price: float) -> float:
        """The buying power that closing so many units at `price` adds, before any commission.

        Selling a long brings its price; buying a short back costs its price and frees twice its price.
        In both cases closing frees the money that the position ties up.
        """
        return closable * abs(price) * self._account.rate

    def _beyond_limits(
        self, limits: LimitsConfig, symbol: str, price: float, closable: float, opened: float
    ) -> str | None:
        portfolio = self._portfolio
        most = limits.max_open_positions
        if most is not None:
            held = portfolio.symbols_held()
            if symbol not in held and len(held) >= most:
                return f"limits.max_open_positions is {most} and {len(held)} symbols are held; close one before"
        ceiling = limits.max_per_symbol
        if ceiling is not None:
            worth = portfolio.exposure(symbol, price) + (opened - closable) * abs(price)
            if worth > ceiling * _ROOM:
                return f"limits.max_per_symbol is {ceiling:g} and {symbol} would be worth {worth:.2f}; ask for less"
        return None


# -- sums of sizes ------------------------------------------------------------------------------------------

# Users write sizes in decimals, which floats are not: 0.1 + 0.2 - 0.3 leaves 5.6e-17. Such a residue is bounded by
# what was really rounded: an ulp of each size that isn't whole, half of it for its decimal or its lot's and half for the product
# with a number of lots; and what each addition lost, which is known exactly. Whole units lose nothing (up to 2**53), and
# so none of them is ever taken for a residue.

_EXACT = 2.0**53


def add_sizes(held: float, signed: float, noise: float = 0.0) -> tuple[float, float]:
    """The position after `signed` more units, and the bound of its rounding error; a rounding residue alone counts as flat.

    Parameters
    ----------
    noise
        The bound that this function returned with `held`; 0 if one fill opened the position.

    Examples
    --------
    >>> held, noise = add_sizes(0.1, 0.2)
    >>> add_sizes(held, -0.3, noise)
    (0.0, 0.0)
    >>> add_sizes(1e12, -(1e12 - 1))
    (1.0, 0.0)
    """
    total = held + signed
    if not held or not total:
        return total, 0.0
    is_whole, adds_whole = not held % 1.0, not signed % 1.0
    if not (is_whole and adds_whole and -_EXACT <= total <= _EXACT):
        if not (noise or is_whole):
            noise = ulp(held)
        if not adds_whole:
            noise += ulp(signed)
        # Exact, by Knuth (1997), The Art of Computer Programming 2, 4.2.2, theorem B.
        part = total - held
        noise += abs((held - (total - part)) + (signed - part))
    return (total, noise) if abs(total) > noise else (0.0, 0.0)


def scaled(held: float, ratio: float, noise: float = 0.0) -> tuple[float, float]:
    """The position and its `noise` after a split into `ratio` new units for an old one."""
    total = held * ratio
    return total, (noise * ratio + ulp(total) if noise else 0.0)


def is_rounding(left: float, of: float) -> bool:
    """True if `left`, the rest of `of` units, is nothing but a rounding error."""
    return left <= 0.0 or (left <= ulp(of) and not (left % 1.0 == 0.0 == of % 1.0))


class Tally:
    """A running sum of sizes.

    Attributes
    ----------
    units : float
        The position, negative if short.
    """

    __slots__ = ("_noise", "units")

    def __init__(self) -> None:
        self.units = self._noise = 0.0

    def add(self, signed: float) -> float:
        """Add `signed` units; returns the position after it."""
        self.units, self._noise = add_sizes(self.units, signed, self._noise)
        return self.units

    def split(self, ratio: float) -> float:
        """Split into `ratio` new units for an old one; returns the position after it."""
        self.units, self._noise = scaled(self.units, ratio, self._noise)
        return self.units
