"""LEAN's OrderTicketDemoAlgorithm: every kind of order, in pairs that follow the market until one of them fills.

LEAN looks at quotes for stop-limits and trailing stops, where we look at trades. `ByLean` has these two pairs filled by
LEAN's rule, so that all that follows from them, such as the size of the order at the close, is LEAN's too.
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
        if at(bar, "07 12:00"):
            self.pairs["limit"] = [self.buy(size=10, limit=close * 0.999), self.sell(size=10, limit=close * 1.001)]
        if self.waiting("limit"):
            long, short = self.pairs["limit"]
            self.replace(long, limit=long.limit + 0.01)
            self.replace(short, limit=short.limit - 0.01)
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


class ByLean(Tickets):
    """Two of the pairs by LEAN's fill model, on quotes; their fills are `booked` as (signed size, price)."""

    quoted: pd.DataFrame = None

    def on_start(self):
        super().on_start()
        self.booked: list[tuple[int, float]] = []
        self.legs: dict[str, list[dict]] = {}

    @property
    def held(self):
        return self.position().size + sum(size for size, _ in self.booked)

    def stop_limits(self, bar):
        legs = self.legs.get("stop_limit", [])
        quote = self.quoted.loc[bar.time]
        for leg in legs:
            side = "a" if leg["way"] > 0 else "b"
            high, low, current = quote[f"{side}h"], quote[f"{side}l"], quote["ask" if side == "a" else "bid"]
            way, far, near = leg["way"], (high if side == "a" else low), current
            leg["triggered"] |= way * (far - leg["stop"]) > 0
            if leg["triggered"] and way * (leg["limit"] - near) > 0:
                self.booked.append((10 * way, way * min(way * far, way * leg["limit"])))
                leg["filled"] = True
        if any(leg.get("filled") for leg in legs):
            self.legs.pop("stop_limit")
        if at(bar, "08 12:01"):
            self.legs["stop_limit"] = [
                {"way": way, "stop": bar.close * (1 + 0.001 * way), "limit": bar.close - 0.03 * way, "triggered": False}
                for way in (1, -1)
            ]
        for leg in self.legs.get("stop_limit", []):
            leg["stop"] -= 0.01 * leg["way"]
            leg["limit"] += 0.01 * leg["way"]

    def trailing(self, bar):
        legs = self.legs.get("trailing", [])
        quote = self.quoted.loc[bar.time]
        for leg in legs:
            way, side = leg["way"], "a" if leg["way"] > 0 else "b"
            worst, best = (quote["ah"], quote["al"]) if way > 0 else (quote["bl"], quote["bh"])
            current = quote["ask" if side == "a" else "bid"]
            if way * (worst - leg["stop"]) >= 0:
                self.booked.append((10 * way, way * max(way * leg["stop"], way * current)))
                leg["filled"] = True
            elif way * (leg["stop"] - best) > best * self.distance:
                leg["stop"] = best * (1 + way * self.distance)
        if any(leg.get("filled") for leg in legs):
            self.legs.pop("trailing")
        if at(bar, "07 12:00"):
            self.distance = 0.0025
            self.legs["trailing"] = [{"way": way, "stop": bar.close * (1 + 0.0025 * way)} for way in (1, -1)]
        elif "trailing" in self.legs and bar.end.minute % 5 == 0:
            self.distance = max(self.distance - 0.0001, 0.0001)


def order_tickets() -> Ran:
    result = backtest(Tickets, "SPY", "1m", *WEEK)
    quoted = quotes("SPY", *WEEK)
    strategy = ByLean(quoted=quoted)
    others = backtest(strategy, "SPY", "1m", *WEEK)
    (last,) = source().bars("SPY", "1m", LAST, LAST, adjusted=True).at_time("15:59")["close"]
    booked = sum(size * (last - price) - 1 for size, price in strategy.booked)
    return Ran(result, at_quotes(others, quoted) + booked)
