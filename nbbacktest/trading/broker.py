"""Executes orders on bars: who fills, how much, and whether it can be paid. Knows no strategy and no thread."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import floor

from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.core.errors import OrderError
from nbbacktest.core.records import Bar
from nbbacktest.trading.costs import fee_of, slip_of
from nbbacktest.trading.matching import match
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.portfolio import Portfolio

_BUY, _LIMIT = Side.BUY, OrderType.LIMIT
_OPEN, _FILLED = OrderStatus.OPEN, OrderStatus.FILLED

# Relative room for rounding: an order for exactly all the cash must not fail by the last bit,
# and one that closes 0.1 + 0.2 where 0.3 is held must not count as opening something.
_DUST = 1e-9
_ROOM = 1.0 + _DUST

_Hit = tuple[int, Order, Bar, float]


class Broker:
    """The order book of one run.

    Attributes
    ----------
    agenda : dict
        Open orders by symbol, in order of submission; no empty lists, so that it is false where nothing waits.
        One and the same object for the whole run.
    orders, fills : list
        All of the run, in order of submission and of execution.
    """

    __slots__ = ("_base", "_fee", "_limits", "_portfolio", "_slip", "agenda", "fills", "orders")

    def __init__(self, portfolio: Portfolio, base_interval: str, broker: BrokerConfig, limits: LimitsConfig) -> None:
        self._portfolio = portfolio
        self._base = base_interval
        self._fee = fee_of(broker.commission)
        self._slip = slip_of(broker.slippage)
        self._limits = limits if limits.max_open_positions or limits.max_per_symbol else None
        self.agenda: dict[str, list[Order]] = {}
        self.orders: list[Order] = []
        self.fills: list[Fill] = []

    def accept(self, order: Order) -> Order:
        """Open `order`; it can fill from its symbol's next base bar on."""
        self.orders.append(order)
        self.agenda.setdefault(order.symbol, []).append(order)
        return order

    def cancel(self, order: Order, now: int) -> None:
        """Take back an open order.

        Raises
        ------
        OrderError
            Where it is no order of this run, or is not open any more.
        """
        if not 0 < order.id <= len(self.orders) or self.orders[order.id - 1] is not order:
            raise OrderError(f"{order!r} is of another run and can't be cancelled in this one")
        if order.status is not _OPEN:
            raise OrderError(f"{order!r} can't be cancelled: only open orders can; test order.is_open before")
        self._end(order, OrderStatus.CANCELLED, "cancelled by the strategy", now)

    def settle(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Execute what waits on the base bars among `bars`, all of one instant, in order of submission.

        Parameters
        ----------
        bars
            All bars that completed; those of derived intervals are passed over.
        index, now
            The instant: its number in the run, and its nanoseconds UTC.
        """
        agenda, base = self.agenda, self._base
        hits: list[_Hit] = []
        symbols = 0
        for bar in bars:
            if bar[1] == base and (orders := agenda.get(bar[0])) is not None:
                symbols += 1
                for order in orders:
                    price = match(order, bar)
                    if price is not None:
                        hits.append((order.id, order, bar, price))
        if not hits:
            return
        if symbols > 1:
            # Symbols share the cash, so their orders take turns by submission; ids differ, nothing else is compared.
            hits.sort()
        for _, order, bar, price in hits:
            self._execute(order, bar, price, index, now)

    # -- one order ------------------------------------------------------------------------------------------

    def _execute(self, order: Order, bar: Bar, price: float, index: int, now: int) -> None:
        portfolio = self._portfolio
        buy = order.side is _BUY
        if self._slip is not None and order.type is not _LIMIT:
            price = self._slip(price, buy)
        position = portfolio.positions[order.strategy][order.symbol]
        held = position.size
        closable = abs(held) if (held < 0) is buy and held else 0.0

        size = order.size
        if order.closing:
            if not closable:
                self._end(order, OrderStatus.CANCELLED, f"nothing left to close: {held:g} held", now)
                return
            size = min(closable, size) if size is not None else closable
        elif size is None:
            size = closable + self._affordable(order.symbol, price, closable)
            if not size:
                self._reject(order, self._too_small(order.symbol, price), now)
                return

        fee = self._fee(size, price)
        opened = size - closable
        if opened > _DUST * size:
            # Without a size of its own, it has just been given one that can be paid.
            reason = None if order.size is None else self._unaffordable(order.symbol, price, closable, opened, fee)
            if reason is None and self._limits is not None:
                reason = self._beyond_limits(self._limits, order.symbol, price, closable, opened)
            if reason is not None:
                self._reject(order, reason, now)
                return

        portfolio.record(position, size if buy else -size, price, fee)
        order.size, order.fill_price = size, price
        order.status, order.closed = _FILLED, now
        self._forget(order)
        self.fills.append(
            Fill(index, bar[2], order.symbol, order.side, size, price, fee, order.id, order.tag, order.strategy)
        )

    def _power_after_closing(self, symbol: str, price: float, closable: float) -> float:
        """Buying power once `closable` units are closed at `price`, before any commission.

        Selling a long brings its price; buying a short back costs its price and frees twice of it.
        Both come to the same: closing sets free what the position is worth.
        """
        power = self._portfolio.buying_power(symbol, price)
        return power + closable * price if closable else power

    def _affordable(self, symbol: str, price: float, closable: float) -> int:
        """The most whole units that can be opened at `price`, commission included."""
        power = self._power_after_closing(symbol, price, closable) * _ROOM
        fee = self._fee
        if price <= 0 or power < price:
            return 0

        def cost(units: int) -> float:
            return units * price + fee(closable + units, price)

        ceiling = floor(power / price)
        base = fee(closable, price) if closable else 0.0
        # Exact for a commission that grows evenly with the units, as most do; the search serves all others.
        guess = floor((power - base) / (cost(ceiling) - base) * ceiling)
        if guess >= 0 and cost(guess + 1) > power and (guess == 0 or cost(guess) <= power):
            return guess
        return max(bisect_right(range(ceiling + 1), power, key=cost) - 1, 0)

    # -- refusals: the words are only put together here, never on the way to a fill ---------------------------

    def _unaffordable(self, symbol: str, price: float, closable: float, opened: float, fee: float) -> str | None:
        power = self._power_after_closing(symbol, price, closable)
        needed = opened * price + fee
        if needed <= power + _DUST * abs(power):
            return None
        return (
            f"{opened:g} units at {price:g} need {needed:.2f} with commission, {max(power, 0.0):.2f} available; "
            "ask for fewer units"
        )

    def _too_small(self, symbol: str, price: float) -> str:
        power = max(self._portfolio.buying_power(symbol, price), 0.0)
        if price <= 0:
            return f"no size follows from cash at a price of {price:g}; give a size"
        return f"{power:.2f} available doesn't pay for one unit at {price:g} with commission; give a fractional size"

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

    def _reject(self, order: Order, reason: str, now: int) -> None:
        self._end(order, OrderStatus.REJECTED, reason, now)

    def _end(self, order: Order, status: OrderStatus, reason: str, now: int) -> None:
        order.status, order.reason, order.closed = status, reason, now
        self._forget(order)

    def _forget(self, order: Order) -> None:
        waiting = self.agenda[order.symbol]
        if len(waiting) == 1:
            del self.agenda[order.symbol]
        else:
            waiting.remove(order)


def open_orders(agenda: Mapping[str, Sequence[Order]], strategy: str | None, symbol: str | None) -> list[Order]:
    """The waiting orders of one strategy or of all, of one symbol or of all, in order of submission."""
    books = agenda.values() if symbol is None else (agenda.get(symbol, ()),)
    found = [order for book in books for order in book if strategy is None or order.strategy == strategy]
    return sorted(found, key=lambda order: order.id)
