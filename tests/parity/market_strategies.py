"""Strategies that trade at the market, each written the plain way of each engine.

The n-th bar is the first one's `n = 1`; backtesting.py calls its strategies from the second bar on.
"""

from __future__ import annotations

import talib

import nbbacktest as nb
from tests.parity.cases import Case
from tests.parity.engines import Logged
from tests.parity.peers import backtesting, backtrader

# -- long: a cross of moving averages, each engine with an indicator of its own ------------------------------

# Averages that are equal on paper differ in the last bit, by who added up and in which order: below this they tie.
TIE = 1e-9


class LongCross(nb.Strategy):
    def on_start(self):
        self.fast = self.indicator(talib.SMA, "close", 10)
        self.slow = self.indicator(talib.SMA, "close", 30)

    def on_bar(self, bar):
        fast, slow = self.fast, self.slow
        if fast[-1] > slow[-1] + TIE and fast[-2] <= slow[-2] + TIE:
            self.buy(size=100)
        elif fast[-1] < slow[-1] - TIE and fast[-2] >= slow[-2] - TIE:
            self.close()


class LongCrossPy(backtesting.Strategy):
    def init(self):
        self.fast = self.I(talib.SMA, self.data.Close, 10)
        self.slow = self.I(talib.SMA, self.data.Close, 30)

    def next(self):
        fast, slow = self.fast, self.slow
        if fast[-1] > slow[-1] + TIE and fast[-2] <= slow[-2] + TIE:
            self.buy(size=100)
        elif fast[-1] < slow[-1] - TIE and fast[-2] >= slow[-2] - TIE:
            self.position.close()


class LongCrossTrader(Logged):
    def __init__(self):
        super().__init__()
        self.fast = backtrader.indicators.SMA(self.data.close, period=10)
        self.slow = backtrader.indicators.SMA(self.data.close, period=30)

    def next(self):
        fast, slow = self.fast, self.slow
        if fast[0] > slow[0] + TIE and fast[-1] <= slow[-1] + TIE:
            self.buy(size=100)
        elif fast[0] < slow[0] - TIE and fast[-1] >= slow[-1] - TIE:
            self.close()


# -- long and short: always in the market, turned around by one order ----------------------------------------


class Reversal(nb.Strategy):
    def on_bar(self, bar):
        close = self.bars().close
        if len(close) > 20:
            self.order_target_size(50 if close[-1] > close[-21] else -50)


class ReversalPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        close = self.data.Close
        if len(close) > 20:
            missing = (50 if close[-1] > close[-21] else -50) - self.position.size
            if missing > 0:
                self.buy(size=missing)
            elif missing < 0:
                self.sell(size=-missing)


class ReversalTrader(Logged):
    def next(self):
        close = self.data.close
        if len(self) > 20:
            self.order_target_size(target=50 if close[0] > close[-20] else -50)


# -- short only: sold at a new low, covered at a new high ----------------------------------------------------


class ShortOnly(nb.Strategy):
    def on_bar(self, bar):
        bars = self.bars()
        if len(bars) <= 20:
            return
        if not self.position():
            if bar.close < min(bars.low[-21:-1]):
                self.sell(size=40)
        elif bar.close > max(bars.high[-11:-1]):
            self.close()


class ShortOnlyPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        data = self.data
        if len(data) <= 20:
            return
        if not self.position:
            if data.Close[-1] < min(data.Low[-21:-1]):
                self.sell(size=40)
        elif data.Close[-1] > max(data.High[-11:-1]):
            self.position.close()


class ShortOnlyTrader(Logged):
    def next(self):
        data = self.data
        if len(self) <= 20:
            return
        if not self.position:
            if data.close[0] < min(data.low.get(ago=-1, size=20)):
                self.sell(size=40)
        elif data.close[0] > max(data.high.get(ago=-1, size=10)):
            self.close()


# -- a fixed size, for a fixed time ---------------------------------------------------------------------------


class FixedSize(nb.Strategy):
    def on_bar(self, bar):
        n = len(self.bars())
        if n % 25 == 10:
            self.buy(size=25)
        elif n % 25 == 20:
            self.close()


class FixedSizePy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        n = len(self.data)
        if n % 25 == 10:
            self.buy(size=25)
        elif n % 25 == 20:
            self.position.close()


class FixedSizeTrader(Logged):
    def next(self):
        if len(self) % 25 == 10:
            self.buy(size=25)
        elif len(self) % 25 == 20:
            self.close()


# -- half of the equity at the newest close, in whole units ----------------------------------------------------


class Fraction(nb.Strategy):
    def on_bar(self, bar):
        n = len(self.bars())
        if n % 40 == 10:
            self.order_target_percent(0.5)
        elif n % 40 == 30:
            self.close()


class FractionPy(backtesting.Strategy):
    # Its own fractions are of the cash at the fill: the size is worked out here.
    def init(self):
        pass

    def next(self):
        n = len(self.data)
        if n % 40 == 10:
            self.buy(size=int(0.5 * self.equity / self.data.Close[-1]))
        elif n % 40 == 30:
            self.position.close()


class FractionTrader(Logged):
    def next(self):
        if len(self) % 40 == 10:
            self.order_target_percent(target=0.5)
        elif len(self) % 40 == 30:
            self.close()


# -- all the cash, commission included, at the price of the fill -------------------------------------------------


class AllIn(nb.Strategy):
    def on_bar(self, bar):
        n = len(self.bars())
        if n % 40 == 10:
            self.buy()
        elif n % 40 == 30:
            self.close()


class AllInPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        n = len(self.data)
        if n % 40 == 10:
            self.buy()
        elif n % 40 == 30:
            self.position.close()


# -- several entries, several exits, each of a part --------------------------------------------------------------

PARTS = {5: 30, 10: 20, 15: -25, 20: -10, 25: -15}


class Parts(nb.Strategy):
    def on_bar(self, bar):
        units = PARTS.get(len(self.bars()) % 30, 0)
        if units > 0:
            self.buy(size=units)
        elif units < 0:
            self.sell(size=-units)


class PartsPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        units = PARTS.get(len(self.data) % 30, 0)
        if units > 0:
            self.buy(size=units)
        elif units < 0:
            self.sell(size=-units)


class PartsTrader(Logged):
    def next(self):
        units = PARTS.get(len(self) % 30, 0)
        if units > 0:
            self.buy(size=units)
        elif units < 0:
            self.sell(size=-units)


# -- two orders of one bar, through zero and back ------------------------------------------------------------------

TURNS = {4: (30, 20), 8: (-60, -10), 12: (5,), 16: (40, -15), 20: (-10,)}


class Turns(nb.Strategy):
    def on_bar(self, bar):
        for units in TURNS.get(len(self.bars()) % 24, ()):
            (self.buy if units > 0 else self.sell)(size=abs(units))


class TurnsPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        for units in TURNS.get(len(self.data) % 24, ()):
            (self.buy if units > 0 else self.sell)(size=abs(units))


class TurnsTrader(Logged):
    def next(self):
        for units in TURNS.get(len(self) % 24, ()):
            (self.buy if units > 0 else self.sell)(size=abs(units))


CASES = (
    Case("long: cross of moving averages", LongCross, LongCrossPy, LongCrossTrader),
    Case("long and short: reversal", Reversal, ReversalPy, ReversalTrader),
    Case("short only", ShortOnly, ShortOnlyPy, ShortOnlyTrader),
    Case("fixed size at the market", FixedSize, FixedSizePy, FixedSizeTrader),
    Case("half of the equity", Fraction, FractionPy, FractionTrader),
    Case("all the cash", AllIn, AllInPy, None),
    Case("parts: several entries and exits", Parts, PartsPy, PartsTrader),
    Case("turns: two orders a bar, through zero", Turns, TurnsPy, TurnsTrader),
)
