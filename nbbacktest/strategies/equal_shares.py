"""How the examples split one account between several symbols."""

from __future__ import annotations

from nbbacktest.trading.strategy import Strategy

# A market order fills at the next open, which may be higher than the close that its size was computed with.
_SPENT = 0.95


class EqualShares(Strategy):
    """Derive from this for `enter`, which buys a fair share; with one symbol it is all the cash."""

    def enter(self, symbol: str) -> None:
        """Buy `symbol`, which isn't held, with an equal share of the cash.

        The cash is split between the symbols that aren't held; 5% of a share is kept back for a gap up, so
        that the next symbol can be paid too. The last one gets all that is left.
        """
        flat = sum(not self.position(other) for other in self.symbols)
        if flat == 1:
            self.buy(symbol)
        else:
            self.order_target_value(symbol, _SPENT * self.cash / flat)
