"""LEAN's regression algorithms on hours, where a market order fills at the close that was just seen."""

from __future__ import annotations

import nbbacktest as nb
from tests.lean.published import Algorithm, Ran, backtest, fraction_in_cash, set_holdings

APPLE = {"adjusted": False}  # raw, with the split that the factor file tells of
BEFORE_SPLIT = 645.57  # AAPL's raw close of 6 June 2014


def at(bar, text):
    """Whether a bar ends at a local time such as ``"01 12:00"``."""
    return f"{bar.end:%d %H:%M}" == text


class StopBelow(nb.Strategy):
    """A stop to buy that lies below the market, so that it fills at the next open."""

    def on_bar(self, bar):
        if at(bar, "01 12:00"):
            self.buy(size=1, stop=bar.close - 2)


class OnClose(nb.Strategy):
    def on_bar(self, bar):
        if at(bar, "02 12:00"):
            self.buy(size=1, at="close")


class OnOpen(nb.Strategy):
    """At midnight LEAN makes a market order one for the open; here both are placed at the close before."""

    def on_bar(self, bar):
        if at(bar, "01 16:00"):
            self.buy(size=1, at="open")
            self.buy(size=1, at="open")


class Short(nb.Strategy):
    def on_bar(self, bar):
        if not self.position():
            self.sell(size=-set_holdings(self.equity, bar.close, -1.0))


class OutAtTheSplit(nb.Strategy):
    """LEAN's is told of the split at its midnight, and sells at the open; here the order waits from the close before."""

    def on_bar(self, bar):
        if at(bar, "06 10:00"):
            self.buy(size=100)
        elif at(bar, "06 16:00"):
            self.sell(size=100, at="open")


class OneShare(nb.Strategy):
    def on_bar(self, bar):
        if bar.end.day == 9 and not self.position():
            self.buy(size=1)


def short() -> Ran:
    result = backtest(Short, "AAPL", "1h", "2014-06-05", "2014-06-11", data=APPLE)
    more = fraction_in_cash(-result.fills["size"].iloc[0], BEFORE_SPLIT, 93.86)
    return Ran(result, result.stats["final_equity"] + more)


def out_at_the_split() -> Ran:
    result = backtest(OutAtTheSplit, "AAPL", "1h", "2014-06-06", "2014-06-11", data=APPLE)
    sold = result.fills.iloc[1]
    fee = 0.005 * (sold["size"] - int(sold["size"] - 0.001))  # of the share that LEAN doesn't sell
    more = fraction_in_cash(100, BEFORE_SPLIT, sold.price)
    return Ran(result, result.stats["final_equity"] + more + fee)


def one_share() -> Ran:
    result = backtest(OneShare, "AAPL", "1h", "2014-06-06", "2014-06-09")
    return Ran(result, result.stats["final_equity"] + result.stats["fees"] - 1.0)


ALGORITHMS = [
    Algorithm(
        "StopMarketOrderRegressionAlgorithm", 1, 1.00, 99_991.05,
        lambda: Ran(backtest(StopBelow, "SPY", "1h", "2021-03-01", "2021-03-03")),
    ),
    Algorithm(
        "MarketOnCloseOrderRegressionAlgorithm", 1, 1.00, 99_993.90,
        lambda: Ran(backtest(OnClose, "SPY", "1h", "2021-03-01", "2021-03-03")),
    ),
    Algorithm(
        "MarketOnOpenOrderRegressionAlgorithm", 2, 2.00, 99_981.16,
        lambda: Ran(backtest(OnOpen, "SPY", "1h", "2021-03-01", "2021-03-03")),
    ),
    Algorithm(
        "EquitySplitHoldingsHourRegressionAlgorithm", 1, 1.00, 98_460.68, short, ours=98_459.00,
        rule="a split is the whole ratio 7 and leaves fractions; LEAN's is 1/0.1428572, and pays the fraction in cash",
    ),
    Algorithm(
        "SplitOnTradeBuilderRegressionAlgorithm", 2, 4.50, 100_092.01, out_at_the_split, ours=100_092.50,
        rule="the same",
    ),
    Algorithm(
        "HourSplitRegressionAlgorithm", 1, 1.00, 99_999.31, one_share, ours=100_000.21, fees_ours=0.10,
        rule="the fee's maximum goes before its minimum, as a broker's does; LEAN's minimum before the maximum",
    ),
]  # fmt: skip
