"""LEAN's OrderTicketDemoAlgorithm: every kind of order, in pairs that follow the market until one of them fills.

LEAN looks at quotes for stop-limits and trailing stops, where we look at trades; and it holds an order that was changed
against the bar that it was changed at. `ByLean` has three pairs filled by LEAN's rules, so that all that follows from
them, such as the size of the order at the close, is LEAN's too.
"""

from __future__ import annotations

import contextlib
import datetime as dt

import pandas as pd

import nbbacktest as nb
from tests.lean.hours import at
from tests.lean.published import Ran, at_quotes, backtest, quotes, source

WEEK = ("2013-10-07", "2013-10-11")
LAST = dt.date(2013, 10, 11)


class Tickets(nb.Strategy):
    def on_start(self):
        self.pairs: dict[str, list[nb.Order]] = {}
        self.single: dict[str, nb.Order] = {}

    def on_bar(self, bar):
        close = bar.close
        if at(bar, "07 09:31"):
            self.buy(size=10)
            self.buy(size=10)
        self.limits(bar)
        if at(bar, "07 16:00"):
            self.pairs["stop"] = [self.buy(size=10, stop=close * 1.0025), self.sell(size=10, stop=close * 0.9975)]
        if self.waiting("stop"):
            long, short = self.pairs["stop"]
            self.replace(long, stop=long.stop - 0.01)
            self.replace(short, stop=short.stop + 0.01)
        self.stop_limits(bar)
        self.trailing(bar)
        self.at_the_open(bar)
        self.at_the_close(bar)

    def waiting(self, name):
        """Whether both of a pair still wait; where one is filled the other is cancelled, and the pair is done with."""
        pair = self.pairs.get(name, [])
        if any(order.status == "filled" for order in pair):
            for order in self.pairs.pop(name):
                if order.is_open:
                    self.cancel(order)
        return name in self.pairs

    def limits(self, bar):
        close = bar.close
        if at(bar, "07 12:00"):
            self.pairs["limit"] = [self.buy(size=10, limit=close * 0.999), self.sell(size=10, limit=close * 1.001)]
        if self.waiting("limit"):
            long, short = self.pairs["limit"]
            self.replace(long, limit=long.limit + 0.01)
            self.replace(short, limit=short.limit - 0.01)

    def stop_limits(self, bar):
        close = bar.close
        if at(bar, "08 12:01"):
            self.pairs["stop_limit"] = [
                self.buy(size=10, stop=close * 1.001, limit=close - 0.03),
                self.sell(size=10, stop=close * 0.999, limit=close + 0.03),
            ]
        if self.waiting("stop_limit"):
            for order, way in zip(self.pairs["stop_limit"], (1, -1), strict=True):
                # One that has triggered is a limit order, and keeps its terms.
                with contextlib.suppress(nb.OrderError):
                    self.replace(order, stop=order.stop - 0.01 * way, limit=order.limit + 0.01 * way)

    def trailing(self, bar):
        if at(bar, "07 12:00"):
            self.distance = 0.0025
            self.pairs["trailing"] = [self.buy(size=10, trail="0.25%"), self.sell(size=10, trail="0.25%")]
        elif self.waiting("trailing") and bar.end.minute % 5 == 0:
            self.distance = max(self.distance - 0.0001, 0.0001)
            for order in self.pairs["trailing"]:
                self.replace(order, trail=f"{self.distance:.4%}")

    def at_the_open(self, bar):
        if at(bar, "08 16:00"):
            self.single["open"] = self.buy(size=50, at="open")
        self.one_more("open", bar)

    def at_the_close(self, bar):
        if at(bar, "09 12:00"):
            self.single["close"] = self.buy(size=2 * self.held, at="close")
        self.one_more("close", bar)

    def one_more(self, name, bar):
        order = self.single.get(name)
        if order is not None and bar.end.minute == 59:
            if order.status == "filled":
                del self.single[name]
            else:
                self.replace(order, size=order.size + 1)

    @property
    def held(self):
        return self.position().size


class Leg:
    """One order of a pair by LEAN's fill model.

    A limit is held against trades. What has a stop is held against quotes: the ask to buy, the bid to sell; with a limit
    too it is a stop-limit, else a trailing stop.
    """

    def __init__(self, way: int, *, stop: float | None = None, limit: float | None = None) -> None:
        self.way, self.stop, self.limit = way, stop, limit
        self.triggered = False

    def filled_by(self, bar: nb.Bar, quote: pd.Series, distance: float) -> float | None:
        """The price of a fill; a trailing stop that isn't filled follows the market by `distance`."""
        way = self.way
        if self.stop is None:
            through = way * (self.limit - (bar.low if way > 0 else bar.high)) > 0
            return way * min(way * bar.open, way * self.limit) if through else None
        high, low, close = (quote[["ah", "al", "ask"] if way > 0 else ["bh", "bl", "bid"]]).tolist()
        worst, best = (high, low) if way > 0 else (low, high)
        if self.limit is None:
            if way * (worst - self.stop) >= 0:
                return way * max(way * self.stop, way * close)
            if way * (self.stop - best) > best * distance:
                self.stop = best * (1 + way * distance)
            return None
        self.triggered |= way * (worst - self.stop) > 0
        if self.triggered and way * (self.limit - close) > 0:
            return way * min(way * worst, way * self.limit)
        return None


class ByLean(Tickets):
    """Three of the pairs by LEAN's fill model; their fills are `booked` as (signed size, price).

    LEAN looks at the orders before the algorithm is asked, and once more after it: an order that the algorithm changed is
    held against the same bar again.
    """

    quoted: pd.DataFrame = None

    def on_start(self):
        super().on_start()
        self.booked: list[tuple[int, float]] = []
        self.legs: dict[str, list[Leg]] = {}
        self.distance = 0.0025

    @property
    def held(self):
        return self.position().size + sum(size for size, _ in self.booked)

    def scan(self, name, bar):
        """Fill what fills; a leg that is left is cancelled when the algorithm is asked."""
        left = []
        for leg in self.legs.get(name, []):
            price = leg.filled_by(bar, self.quoted.loc[bar.time], self.distance)
            if price is None:
                left.append(leg)
            else:
                self.booked.append((10 * leg.way, price))
        if name in self.legs:
            self.legs[name] = left

    def both_wait(self, name, bar):
        self.scan(name, bar)
        if len(self.legs.get(name, [])) < 2:
            self.legs.pop(name, None)
        return name in self.legs

    def limits(self, bar):
        waiting = self.both_wait("limit", bar)
        if at(bar, "07 12:00"):
            self.legs["limit"] = [Leg(way, limit=bar.close * (1 - 0.001 * way)) for way in (1, -1)]
        for leg in self.legs.get("limit", []):
            leg.limit += 0.01 * leg.way
        if waiting:
            self.scan("limit", bar)

    def stop_limits(self, bar):
        waiting, close = self.both_wait("stop_limit", bar), bar.close
        if at(bar, "08 12:01"):
            terms = [(way, close * (1 + 0.001 * way), close - 0.03 * way) for way in (1, -1)]
            self.legs["stop_limit"] = [Leg(way, stop=stop, limit=limit) for way, stop, limit in terms]
        for leg in self.legs.get("stop_limit", []):
            leg.stop -= 0.01 * leg.way
            leg.limit += 0.01 * leg.way
        if waiting:
            self.scan("stop_limit", bar)

    def trailing(self, bar):
        waiting = self.both_wait("trailing", bar)
        if at(bar, "07 12:00"):
            self.legs["trailing"] = [Leg(way, stop=bar.close * (1 + self.distance * way)) for way in (1, -1)]
        if waiting:
            if bar.end.minute % 5 == 0:
                self.distance = max(self.distance - 0.0001, 0.0001)
            self.scan("trailing", bar)


def order_tickets() -> Ran:
    result = backtest(Tickets, "SPY", "1m", *WEEK)
    quoted = quotes("SPY", *WEEK)
    strategy = ByLean(quoted=quoted)
    others = backtest(strategy, "SPY", "1m", *WEEK)
    (last,) = source().bars("SPY", "1m", LAST, LAST, adjusted=True).at_time("15:59")["close"]
    booked = sum(size * (last - price) - 1 for size, price in strategy.booked)
    return Ran(result, at_quotes(others, quoted) + booked)
