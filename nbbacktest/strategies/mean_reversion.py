"""Mean reversion: buys a symbol that has fallen far below its average."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.records import Bar
from nbbacktest.strategies.equal_shares import EqualShares
from nbbacktest.trading.indicators import Indicator


class MeanReversion(EqualShares):
    """Buy below the lower Bollinger band, sell back at the middle one.

    Buys with all the cash (several symbols: an equal share each) when a bar closes below the lower band, and
    closes when one closes at the middle band or above. Never short. The bands are fed bar by bar, through
    TA-Lib's streaming interface; the values are those of `talib.BBANDS` to the last bit.

    Attributes
    ----------
    period : int
        Length of the bands' moving average, in bars.
    width : float
        Distance of the bands from it, in standard deviations.
    """

    period: int = 20
    width: float = 2.0

    def on_start(self) -> None:
        """Open the bands of every symbol."""
        self.bands: dict[str, tuple[Indicator, ...]] = {}
        for symbol in self.symbols:
            self.on_symbol_added(symbol)

    def on_symbol_added(self, symbol: str) -> None:
        """Open the bands of the new symbol too."""
        from talib import stream

        self.bands[symbol] = self.indicator(stream.BBANDS, "close", self.period, self.width, self.width, symbol=symbol)

    def on_change(self, changed: dict[str, Any]) -> None:  # noqa: ARG002 - as a Strategy has it
        """Open the bands of the new lengths."""
        for symbol in self.bands:
            self.on_symbol_added(symbol)

    def on_bar(self, bar: Bar) -> None:
        """Enter below the lower band, leave at the middle one."""
        if bar.interval != self.base_interval:
            return
        _, middle, lower = self.bands[bar.symbol]
        if bar.close >= middle[-1]:
            self.leave(bar.symbol)
        elif bar.close < lower[-1] and not self.is_in(bar.symbol):
            self.enter(bar.symbol)
