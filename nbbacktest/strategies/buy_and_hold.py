"""The yardstick: buy once, never sell."""

from __future__ import annotations

from nbbacktest.core.records import Bar
from nbbacktest.strategies.equal_shares import EqualShares


class BuyAndHold(EqualShares):
    """Buy every symbol after its first bar, and hold it to the end.

    One symbol is bought with all the cash, several with an equal share each. It has no parameters.
    """

    def on_start(self) -> None:
        """Begin with no symbol bought."""
        self.waiting = set(self.symbols)

    def on_symbol_added(self, symbol: str) -> None:
        """Buy the new symbol too, after its next bar."""
        self.waiting.add(symbol)

    def on_bar(self, bar: Bar) -> None:
        """Buy a symbol after its first bar."""
        if bar.symbol in self.waiting:
            self.waiting.remove(bar.symbol)
            self.enter(bar.symbol)
