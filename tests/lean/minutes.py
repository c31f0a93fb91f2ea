"""LEAN's regression algorithms on minutes. LEAN fills market orders at quotes; here it is the close that was just seen."""

from __future__ import annotations

import nbbacktest as nb
from tests.lean.hours import APPLE, BEFORE_SPLIT, at
from tests.lean.published import Algorithm, Ran, at_quotes, backtest, fraction_in_cash, quotes, set_holdings
from tests.lean.tickets import order_tickets

WEEK = ("2013-10-07", "2013-10-11")
SPLIT = ("2014-06-05", "2014-06-09")
LAST = 93.70  # AAPL's raw close of 9 June 2014
QUOTES = "a market order fills at the close that was seen; LEAN's at the bid or the ask of that moment"


class Invested(nb.Strategy):
    target: float = 1.0

    def on_bar(self, bar):
        if not self.position():
            size = set_holdings(self.equity, bar.close, self.target)
            (self.buy if size > 0 else self.sell)(size=abs(size))


class Short(Invested):
    target = -1.0


class OneShare(nb.Strategy):
    def on_bar(self, bar):
        if not self.position():
            self.buy(size=1)


class StopLoss(nb.Strategy):
    """A short entry, and at its fill a stop that lies below the market, so that it fills at the next open."""

    def on_bar(self, bar):
        if at(bar, "07 09:31"):
            self.sell(size=100, tag="Entry")

    def on_fill(self, fill):
        if fill.tag == "Entry":
            self.buy(size=fill.size, stop=fill.price - 2, tag="StopLoss")


class TimesInForce(nb.Strategy):
    """Two orders of each kind: one out of reach, which its time ends or the run, and one that fills at once."""

    def on_bar(self, bar):
        if at(bar, "07 09:31"):
            for terms, far, near in (({}, 100, 160), ({"tif": "day"}, 140, 180), ({"until": "2013-10-10"}, 100, 160)):
                self.buy(size=10, limit=far, **terms)
                self.buy(size=10, limit=near, **terms)


def basic() -> Ran:
    result = backtest(Invested, "SPY", "1m", *WEEK)
    return Ran(result, at_quotes(result, quotes("SPY", *WEEK)))


def short() -> Ran:
    result = backtest(Short, "AAPL", "1m", *SPLIT, data=APPLE)
    more = fraction_in_cash(-result.fills["size"].iloc[0], BEFORE_SPLIT, LAST)
    return Ran(result, at_quotes(result, quotes("AAPL", *SPLIT, adjusted=False)) + more)


def one_share() -> Ran:
    result = backtest(OneShare, "AAPL", "1m", *SPLIT, data=APPLE)
    more = fraction_in_cash(1, BEFORE_SPLIT, LAST)
    return Ran(result, at_quotes(result, quotes("AAPL", *SPLIT, adjusted=False)) + more)


ALGORITHMS = [
    Algorithm("BasicTemplateAlgorithm", 1, 3.44, 101_691.92, basic, ours=101_697.87, rule=QUOTES),
    Algorithm(
        "StopLossOnOrderEventRegressionAlgorithm", 2, 2.00, 99_995.41,
        lambda: Ran(backtest(StopLoss, "SPY", "1m", *WEEK)),
    ),
    Algorithm(
        "TimeInForceAlgorithm", 6, 3.00, 100_070.41,
        lambda: Ran(backtest(TimesInForce, "SPY", "1m", *WEEK)), filled=3,
    ),
    Algorithm(
        "EquitySplitHoldingsMinuteRegressionAlgorithm", 1, 1.00, 98_502.10, short, ours=98_514.44,
        rule=f"{QUOTES}; and the fraction of the split",
    ),
    Algorithm(
        "SplitPartialShareRegressionAlgorithm", 1, 1.00, 100_007.16, one_share, ours=100_008.64,
        rule=f"{QUOTES}; and the fraction of the split",
    ),
    Algorithm(
        "OrderTicketDemoAlgorithm", 12, 9.00, 100_709.93, order_tickets, ours=100_710.46, filled=9,
        rule=f"{QUOTES}; stop-limits and trailing stops go by trades, LEAN's by quotes, and a changed order waits for the next bar",
    ),
]  # fmt: skip
