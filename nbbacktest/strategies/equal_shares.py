"""Equal shares of one account for several symbols, as the examples use them; orders may fill in parts."""

from __future__ import annotations

from nbbacktest.core.enums import Side
from nbbacktest.trading.strategy import Strategy

# A market order fills at the next open, which may be higher than the close that its size was computed with.
_SPENT = 0.95


class EqualShares(Strategy):
    """The base of the examples: `enter` buys an equal share of the cash (all of it with one symbol), `leave` sells."""

    def enter(self, symbol: str) -> None:
        """Buy `symbol` with an equal share of the cash, in addition to units that are still being sold.

        The cash is split between the symbols that aren't held; 5% of a share is kept back for a gap up, so
        that the next symbol can be paid too. The last one gets all that is left. A symbol whose order has filled in
        part counts as not held yet, and the money paid for it counts as cash.
        """
        self.take_back(symbol)
        cash, sharing = self.cash, {other for other in self.symbols if other == symbol or not self.position(other)}
        for order in self.orders():
            if order.side is Side.BUY:
                sharing.add(order.symbol)
                cash += order.filled * (order.fill_price or 0.0)
        if len(sharing) == 1:
            self.buy(symbol)
        elif cash > 0:
            held = self.position(symbol).size * self.bars(symbol).close[-1]
            self.order_target_value(symbol, held + _SPENT * cash / len(sharing))

    def leave(self, symbol: str) -> None:
        """Sell all units of `symbol`, and cancel the orders that still buy it."""
        self.take_back(symbol)
        self.close(symbol)

    def is_in(self, symbol: str) -> bool:
        """True if `symbol` is held or being bought, and isn't being sold."""
        sides = {order.side for order in self.orders(symbol)}
        return Side.SELL not in sides and (Side.BUY in sides or bool(self.position(symbol)))

    def take_back(self, symbol: str) -> None:
        """Cancel this strategy's open orders for `symbol`, except for those of a margin call, which are the broker's."""
        for order in self.orders(symbol):
            if not order.is_forced:
                self.cancel(order)
