"""Strategies that leave orders waiting, each written the plain way of each engine.

Levels are set in parts of the newest 20 bars' range, so that days of stocks and minutes alike reach them.
"""

from __future__ import annotations

import nbbacktest as nb
from tests.parity.cases import Case
from tests.parity.engines import Logged
from tests.parity.peers import backtesting, backtrader


class Ranged(nb.Strategy):
    """`n` bars so far; `range` and `top` of the newest 20."""

    def on_bar(self, bar):
        bars = self.bars()
        n = len(bars)
        if n >= 20:
            self.top = max(bars.high[-20:])
            self.range = self.top - min(bars.low[-20:])
            self.act(n, bar.close)


class RangedPy(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        n = len(self.data)
        if n >= 20:
            self.top = max(self.data.High[-20:])
            self.range = self.top - min(self.data.Low[-20:])
            self.act(n, self.data.Close[-1])


class RangedTrader(Logged):
    def next(self):
        n = len(self)
        if n >= 20:
            self.top = max(self.data.high.get(size=20))
            self.range = self.top - min(self.data.low.get(size=20))
            self.act(n, self.data.close[0])


# -- a limit entry, taken back where it hasn't filled after five bars ------------------------------------------


class LimitEntry(Ranged):
    def act(self, n, close):
        if n % 10 == 0 and not self.position():
            self.entry = self.buy(size=10, limit=close - 0.2 * self.range)
        elif n % 10 == 5 and self.orders():
            self.cancel(self.entry)
        elif n % 10 == 9:
            self.close()


class LimitEntryPy(RangedPy):
    def act(self, n, close):
        if n % 10 == 0 and not self.position:
            self.entry = self.buy(size=10, limit=close - 0.2 * self.range)
        elif n % 10 == 5 and self.orders:
            self.entry.cancel()
        elif n % 10 == 9:
            self.position.close()


class LimitEntryTrader(RangedTrader):
    entry = None

    def act(self, n, close):
        if n % 10 == 0 and not self.position:
            self.entry = self.buy(size=10, exectype=backtrader.Order.Limit, price=close - 0.2 * self.range)
        elif n % 10 == 5 and self.entry is not None:
            self.cancel(self.entry)
        elif n % 10 == 9:
            self.close()


# -- a stop entry at the top of the range, a stop exit a third of it below; both renewed every ten bars -----------


class StopEntry(Ranged):
    def act(self, n, close):
        if n % 10 == 0:
            for order in self.orders():
                self.cancel(order)
            if self.position():
                self.sell(size=10, stop=close - 0.3 * self.range)
            else:
                self.buy(size=10, stop=self.top)


class StopEntryPy(RangedPy):
    def act(self, n, close):
        if n % 10 == 0:
            for order in self.orders:
                order.cancel()
            if self.position:
                self.sell(size=10, stop=close - 0.3 * self.range)
            else:
                self.buy(size=10, stop=self.top)


class StopEntryTrader(RangedTrader):
    waiting = None

    def act(self, n, close):
        if n % 10 == 0:
            if self.waiting is not None:
                self.cancel(self.waiting)
            stop = backtrader.Order.Stop
            if self.position:
                self.waiting = self.sell(size=10, exectype=stop, price=close - 0.3 * self.range)
            else:
                self.waiting = self.buy(size=10, exectype=stop, price=self.top)


# -- a stop-limit entry with room between the two, for ten bars ---------------------------------------------------


class StopLimitEntry(Ranged):
    def act(self, n, close):
        if n % 15 == 0 and not self.position():
            self.entry = self.buy(size=10, stop=self.top, limit=self.top + 0.1 * self.range)
        elif n % 15 == 10 and self.orders():
            self.cancel(self.entry)
        elif n % 15 == 14:
            self.close()


class StopLimitEntryTrader(RangedTrader):
    entry = None

    def act(self, n, close):
        if n % 15 == 0 and not self.position:
            self.entry = self.buy(
                size=10,
                exectype=backtrader.Order.StopLimit,
                price=self.top,
                plimit=self.top + 0.1 * self.range,
            )
        elif n % 15 == 10 and self.entry is not None:
            self.cancel(self.entry)
        elif n % 15 == 14:
            self.close()


# -- a stop and a limit as exits, placed by hand once the entry is seen; what is left is taken back -----------------


class ExitPair(Ranged):
    def act(self, n, close):
        if self.position():
            if not self.orders():
                self.sell(size=10, stop=close - 0.3 * self.range)
                self.sell(size=10, limit=close + 0.4 * self.range)
            return
        for order in self.orders():
            self.cancel(order)
        if n % 5 == 0:
            self.buy(size=10)


class ExitPairPy(RangedPy):
    def act(self, n, close):
        if self.position:
            if not self.orders:
                self.sell(size=10, stop=close - 0.3 * self.range)
                self.sell(size=10, limit=close + 0.4 * self.range)
            return
        for order in self.orders:
            order.cancel()
        if n % 5 == 0:
            self.buy(size=10)


class ExitPairTrader(RangedTrader):
    waiting = ()

    def act(self, n, close):
        if self.position:
            if not any(order.alive() for order in self.waiting):
                stop, limit = backtrader.Order.Stop, backtrader.Order.Limit
                self.waiting = (
                    self.sell(size=10, exectype=stop, price=close - 0.3 * self.range),
                    self.sell(size=10, exectype=limit, price=close + 0.4 * self.range),
                )
            return
        for order in self.waiting:
            self.cancel(order)
        if n % 5 == 0:
            self.buy(size=10)


# -- a grid: limits on both sides, each for five bars ------------------------------------------------------------


class Grid(Ranged):
    def on_start(self):
        self.placed = []

    def act(self, n, close):
        if n % 7 == 0:
            self.placed = [
                self.buy(size=10, limit=close - 0.1 * self.range),
                self.buy(size=20, limit=close - 0.3 * self.range),
                self.sell(size=10, limit=close + 0.1 * self.range),
                self.sell(size=20, limit=close + 0.3 * self.range),
            ]
        elif n % 7 == 5:
            for order in self.placed:
                if order.is_open:
                    self.cancel(order)


class GridPy(RangedPy):
    def act(self, n, close):
        if n % 7 == 0:
            self.buy(size=10, limit=close - 0.1 * self.range)
            self.buy(size=20, limit=close - 0.3 * self.range)
            self.sell(size=10, limit=close + 0.1 * self.range)
            self.sell(size=20, limit=close + 0.3 * self.range)
        elif n % 7 == 5:
            for order in self.orders:
                order.cancel()


class GridTrader(RangedTrader):
    placed = ()

    def act(self, n, close):
        limit = backtrader.Order.Limit
        if n % 7 == 0:
            self.placed = (
                self.buy(size=10, exectype=limit, price=close - 0.1 * self.range),
                self.buy(size=20, exectype=limit, price=close - 0.3 * self.range),
                self.sell(size=10, exectype=limit, price=close + 0.1 * self.range),
                self.sell(size=20, exectype=limit, price=close + 0.3 * self.range),
            )
        elif n % 7 == 5:
            for order in self.placed:
                self.cancel(order)


# -- a trailing stop; the peers move a stop by hand, bar by bar, behind the highest price since --------------------


class Trailing(Ranged):
    def act(self, n, close):
        if n % 10 == 0 and not self.position():
            self.buy(size=10)
        elif self.position() and not self.orders():
            self.sell(size=10, trail=0.4 * self.range)


class TrailingPy(RangedPy):
    def act(self, n, close):
        if n % 10 == 0 and not self.position:
            self.buy(size=10)
        elif self.position and not self.orders:
            self.distance = 0.4 * self.range
            self.level = close - self.distance
            self.exit = self.sell(size=10, stop=self.level)
        elif self.position and self.data.High[-1] - self.distance > self.level:
            self.exit.cancel()
            self.level = self.data.High[-1] - self.distance
            self.exit = self.sell(size=10, stop=self.level)


class TrailingTrader(RangedTrader):
    exit = None

    def act(self, n, close):
        waits = self.exit is not None and self.exit.alive()
        if n % 10 == 0 and not self.position:
            self.buy(size=10)
        elif self.position and not waits:
            self.distance = 0.4 * self.range
            self.level = close - self.distance
            self.exit = self.sell(size=10, exectype=backtrader.Order.Stop, price=self.level)
        elif self.position and self.data.high[0] - self.distance > self.level:
            self.cancel(self.exit)
            self.level = self.data.high[0] - self.distance
            self.exit = self.sell(size=10, exectype=backtrader.Order.Stop, price=self.level)


# -- brackets: far levels, which no entry bar reaches, on all engines; near ones where the entry bar counts ----------


class Bracket(Ranged):
    reach: float = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position():
            reach = self.reach * self.range
            self.buy(size=10, stop_loss=close - reach, take_profit=close + reach)


class BracketPy(RangedPy):
    reach = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position:
            reach = self.reach * self.range
            self.buy(size=10, sl=close - reach, tp=close + reach)


class BracketTrader(RangedTrader):
    reach = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position:
            reach = self.reach * self.range
            self.buy_bracket(
                size=10, exectype=backtrader.Order.Market, stopprice=close - reach, limitprice=close + reach
            )


class BracketShort(Ranged):
    reach: float = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position():
            reach = self.reach * self.range
            self.sell(size=10, stop_loss=close + reach, take_profit=close - reach)


class BracketShortPy(RangedPy):
    reach = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position:
            reach = self.reach * self.range
            self.sell(size=10, sl=close + reach, tp=close - reach)


class BracketShortTrader(RangedTrader):
    reach = 0.0

    def act(self, n, close):
        if n % 5 == 0 and not self.position:
            reach = self.reach * self.range
            self.sell_bracket(
                size=10, exectype=backtrader.Order.Market, stopprice=close + reach, limitprice=close - reach
            )


def _reaching(base, reach):
    return type(f"{base.__name__}{reach:g}".replace(".", "_"), (base,), {"reach": reach, "__module__": __name__})


CASES = (
    Case("limit entry", LimitEntry, LimitEntryPy, LimitEntryTrader),
    Case("stop entry, stop exit", StopEntry, StopEntryPy, StopEntryTrader),
    # Real days gap over the stop, where backtesting.py fills outside of the bar; without gaps see the random orders.
    Case("stop-limit entry", StopLimitEntry, None, StopLimitEntryTrader),
    Case("stop and limit exits by hand", ExitPair, ExitPairPy, ExitPairTrader),
    Case("grid of limits, taken back", Grid, GridPy, GridTrader),
    Case("trailing stop", Trailing, TrailingPy, TrailingTrader),
    *(
        Case(name, _reaching(one, reach), _reaching(two, reach), three and _reaching(three, reach))
        for name, one, two, three, reach in (
            ("bracket: far", Bracket, BracketPy, BracketTrader, 1.2),
            ("bracket: near, the entry bar counts", Bracket, BracketPy, None, 0.3),
            ("bracket: far, short", BracketShort, BracketShortPy, BracketShortTrader, 1.2),
            ("bracket: near, short", BracketShort, BracketShortPy, None, 0.3),
        )
    ),
)
