"""LEAN's regression algorithms on daily bars, where a market order fills at the next open in both engines."""

from __future__ import annotations

import talib

import nbbacktest as nb
from tests.lean.published import Algorithm, Ran, backtest, fraction_in_cash, set_holdings, source

MANY = "SPY AAPL GOOG GOOGL IBM QQQ FB WM BAC USO IWM EEM BNO AIG"


class Invested(nb.Strategy):
    """Puts a part of the equity into the symbol, once."""

    target: float = 1.0

    def on_bar(self, bar):
        if not self.position() and not self.orders():
            size = set_holdings(self.equity, bar.close, self.target)
            (self.buy if size > 0 else self.sell)(size=abs(size))


class Half(Invested):
    target = 0.5


class Short(Invested):
    target = -1.0


class Macd(nb.Strategy):
    def on_start(self):
        self.fast = self.indicator(talib.EMA, "close", 12)
        self.slow = self.indicator(talib.EMA, "close", 26)
        self.signal = self.indicator(lambda c: talib.EMA(talib.EMA(c, 12) - talib.EMA(c, 26), 9), "close")

    def on_bar(self, bar):
        if self.signal[-1] != self.signal[-1]:
            return
        apart = (self.fast[-1] - self.slow[-1] - self.signal[-1]) / self.fast[-1]
        held = self.position().size
        if held <= 0 and apart > 0.0025:
            self.buy(size=set_holdings(self.equity, bar.close, 1.0, held))
        elif held >= 0 and apart < -0.0025:
            self.close()


class Ribbon(nb.Strategy):
    """LEAN's delays are fed with prices, and not with the average that they are named after."""

    def on_bar(self, bar):
        closes = self.bars().close
        if len(closes) <= 30:
            return
        delayed = [closes[-1 - 5 * n] for n in range(1, 7)]
        held = self.position().size
        if held <= 0 and delayed == sorted(delayed, reverse=True):
            self.buy(size=set_holdings(self.equity, bar.close, 1.0, held))
        elif held > 0 and delayed == sorted(delayed):
            self.close()


class StopLimits(nb.Strategy):
    def on_start(self):
        self.fast = self.indicator(talib.EMA, "close", 30)
        self.slow = self.indicator(talib.EMA, "close", 60)
        self.entry = self.exit = None

    def on_bar(self, bar):
        if self.slow[-1] != self.slow[-1]:
            return
        above = self.fast[-1] > self.slow[-1] * 1.001
        if self.entry is None and above:
            self.entry = self.buy(size=100, stop=bar.high * 1.10, limit=bar.high * 1.11)
        elif self.entry is not None and self.position() and self.exit is None and not above:
            self.exit = self.sell(size=100, stop=bar.low * 0.99, limit=bar.low * 0.98)


class MarginRemaining(nb.Strategy):
    """Seventy percent of one, and in 2009 thirty of the other."""

    def on_bar(self, bar):
        if bar.symbol == self.symbols[-1]:
            self.hold("SPY", 0.7)
            if bar.time.year == 2009:
                self.hold("AAPL", 0.3)

    def hold(self, symbol, target):
        if not self.position(symbol) and not self.orders(symbol):
            self.buy(symbol, set_holdings(self.equity, self.bars(symbol).close[-1], target))


class InAndOut(nb.Strategy):
    """Ten times the equity, spread over sixteen symbols of which two have no bars; all out again the day after."""

    def on_bar(self, bar):
        if bar.symbol != self.symbols[-1]:
            return
        invested = any(self.position(symbol) for symbol in self.symbols)
        for symbol in self.symbols:
            if invested:
                self.close(symbol)
            else:
                self.buy(symbol, set_holdings(self.equity, self.bars(symbol).close[-1], 10 / 16))


def stop_limits() -> Ran:
    """By LEAN's rule the limit order that a stop has become fills where the bar closes within the limit, and at the bar's worst price up to the limit."""
    result = backtest(StopLimits, "SPY", "1d", "2013-01-01", "2017-01-01")
    bought, sold = (result.fills.iloc[n] for n in range(2))
    buy, sell = (result.orders.iloc[n] for n in range(2))
    days = source().bars("SPY", "1d", None, None, adjusted=True)
    entry, out = days.loc[bought.time], days.loc[sold.time]
    assert entry.close < buy.limit, "LEAN fills it in the same bar"
    assert out.close > sell.limit, "and this one"
    better = bought.price - min(entry.high, buy.limit) - (sold.price - max(out.low, sell.limit))
    return Ran(result, result.stats["final_equity"] + 100 * better)


def split_holdings() -> Ran:
    result = backtest(Short, "AAPL", "1d", "2014-06-05", "2014-06-11", data={"adjusted": False})
    more = fraction_in_cash(-result.fills["size"].iloc[0], 645.57, 93.86)
    return Ran(result, result.stats["final_equity"] + more)


ALGORITHMS = [
    Algorithm(
        "BasicTemplateDailyAlgorithm", 1, 3.49, 104_486.22,
        lambda: Ran(backtest(Invested, "SPY", "1d", "2013-10-08", "2013-10-17")),
    ),
    Algorithm(
        "MACDTrendAlgorithm", 85, 468.54, 137_751.04,
        lambda: Ran(backtest(Macd, "SPY", "1d", "2004-01-01", "2015-01-01")), filled=84, again=1,
        rule="LEAN asks at the midnight of a dividend too: an order that waits is cancelled, and placed once more",
    ),
    Algorithm(
        "DisplacedMovingAverageRibbon", 7, 49.40, 253_075.04,
        lambda: Ran(backtest(Ribbon, "SPY", "1d", "2009-01-01", "2015-01-01")),
    ),
    Algorithm(
        "StopLimitOrderRegressionAlgorithm", 2, 2.00, 101_277.61, stop_limits, ours=101_556.07,
        rule="a triggered stop-limit fills at its stop, or at the open beyond it; LEAN's at the bar's worst price up to the limit",
    ),
    Algorithm(
        "DividendRegressionAlgorithm", 1, 2.56, 120_462.08,
        lambda: Ran(backtest(Half, "SPY", "1d", "1998-01-01", "2006-01-01", data={"adjusted": False})),
    ),
    Algorithm(
        "EquitySplitHoldingsDailyRegressionAlgorithm", 1, 1.00, 98_919.60, split_holdings, ours=98_917.92,
        rule="a split is the whole ratio 7 and leaves fractions; LEAN's is 1/0.1428572, and pays the fraction in cash",
    ),
    Algorithm(
        "MarginRemainingRegressionAlgorithm", 2, 45.18, 119_303.75,
        lambda: Ran(backtest(MarginRemaining, "SPY AAPL", "1d", "2007-01-01", "2010-01-01", broker={"account": "cash"})),
    ),
    Algorithm(
        "SetHoldingsMarketOnOpenRegressionAlgorithm", 1, 32.32, 100_660.71,
        lambda: Ran(backtest(Invested, "AAPL", "1d", "2013-10-07", "2013-10-11")),
    ),
    Algorithm(
        "TotalPortfolioValueRegressionAlgorithm", 3752, 18_907.56, 94_814.26,
        lambda: Ran(
            backtest(
                InAndOut, MANY, "1d", "2016-01-01", "2017-01-01",
                broker={"leverage": 100, "initial_margin": 0.01, "maintenance_margin": 0.005},
            )
        ),
        filled=3514, again=16 * 14,
        rule="the same, of 14 orders on each of the 16 dates on which one of the symbols goes ex and all are held",
    ),
]  # fmt: skip
