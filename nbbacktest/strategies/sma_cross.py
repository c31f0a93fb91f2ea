"""The crossing of two moving averages."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.records import Bar
from nbbacktest.strategies.equal_shares import EqualShares
from nbbacktest.trading.indicators import Indicator


class SmaCross(EqualShares):
    """Long while the fast simple moving average of the closes is above the slow one; out of the market else.

    Buys with all the cash (several symbols: an equal share each) when the fast average comes above the slow
    one, also if it already is when both are first defined; closes when it is above no more. Never short.

    Attributes
    ----------
    fast, slow : int
        Lengths of the averages, in bars.
    """

    fast: int = 10
    slow: int = 30

    def on_start(self) -> None:
        """Compute both averages for every symbol."""
        self.averages: dict[str, tuple[Indicator, Indicator]] = {}
        self.above: dict[str, bool] = {}
        for symbol in self.symbols:
            self.on_symbol_added(symbol)

    def on_symbol_added(self, symbol: str) -> None:
        """Compute both averages for the new symbol too."""
        self.averages[symbol] = self._averages(symbol)
        self.above[symbol] = False

    def on_change(self, changed: dict[str, Any]) -> None:  # noqa: ARG002 - as a Strategy has it
        """Compute the averages of the new lengths; the next bar tells if they stand otherwise."""
        self.averages = {symbol: self._averages(symbol) for symbol in self.averages}

    def _averages(self, symbol: str) -> tuple[Indicator, Indicator]:
        import talib

        return (
            self.indicator(talib.SMA, "close", self.fast, symbol=symbol),
            self.indicator(talib.SMA, "close", self.slow, symbol=symbol),
        )

    def on_bar(self, bar: Bar) -> None:
        """Enter or leave when the averages have crossed."""
        if bar.interval != self.base_interval:
            return
        fast, slow = self.averages[bar.symbol]
        above = fast[-1] > slow[-1]  # both comparisons are False while an average isn't defined yet
        if above == self.above[bar.symbol]:
            return
        self.above[bar.symbol] = above
        if above:
            self.enter(bar.symbol)
        else:
            self.leave(bar.symbol)
