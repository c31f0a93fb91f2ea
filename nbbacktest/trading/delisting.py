"""Delistings: what a symbol's holders get when it stops to exist, and what becomes of its orders.

Each happens once, at one instant: that of the symbol's last bar on its date, so that this bar still trades; where it has
none on that date, the run's first instant of that date or later. There, after the fills and before anything is told:

* every position in it is closed at the action's value by a fill without commission or slippage, shorts pay it;
* its open orders are cancelled, and all later ones are rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.enums import OrderStatus, OrderType, Phase, Side
from nbbacktest.core.records import Bar, Int64
from nbbacktest.data.trading_days import TradingDays, number_of
from nbbacktest.engine.series import Series
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.portfolio import Portfolio, Position

Say = Callable[[str, str], None]
"""(strategy, text): a line for the log."""


class Delistings:
    """Those of one run whose instants are known.

    Attributes
    ----------
    due : sequence of int
        The instants that bring one, rising.
    """

    def __init__(
        self,
        actions: Iterable[CorporateAction],
        series: Mapping[str, Series],
        instants: Int64,
        days: TradingDays,
        begun: int,
        broker: Broker,
        portfolio: Portfolio,
        say: Say,
    ) -> None:
        self._days = days
        self._broker = broker
        self._portfolio = portfolio
        self._say = say
        self._by_instant: dict[int, list[CorporateAction]] = {}
        for action in delistings_of(actions, series, days, broker):
            index = _instant_of(action, series[action.symbol], instants, days)
            if index < len(instants):
                # A symbol that joins after its date is delisted at once.
                self._by_instant.setdefault(max(index, begun + 1), []).append(action)
        self.due: Sequence[int] = sorted(self._by_instant)

    def happen(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Bring about what is due at the instant `index`, whose bars are these."""
        for action in self._by_instant.pop(index, ()):
            self.carry_out(action, bars, index, now)

    def carry_out(self, action: CorporateAction, bars: Sequence[Bar], index: int, now: int) -> None:
        """Close what is held of the symbol, and end its orders."""
        broker, symbol, price = self._broker, action.symbol, action.value
        blotter = broker.blotter
        reason = f"{symbol} was delisted on {action.date}, with {price:g} paid for each unit"
        broker.delisted[symbol] = f"{reason}; it can't be traded any more"
        for order in list(blotter.pending.get(symbol, ())):
            if order.is_open:
                blotter.end(order, OrderStatus.CANCELLED, reason, now)
        bar = next((one for one in bars if one.symbol == symbol), bars[0])
        for (strategy, of), position in list(self._portfolio.held.items()):
            if of != symbol:
                continue
            close_out(broker, self._portfolio, position, price, reason, index, bar.time_ns, now)
            self._say(strategy, f"{reason}: {position.size:g} units, {position.size * price:+.2f} in cash")

    def expects(self, symbol: str) -> bool:
        """Whether the symbol is to be delisted still."""
        return any(action.symbol == symbol for actions in self._by_instant.values() for action in actions)


class LiveDelistings(Delistings):
    """Those of a live run: with the first instant of the date or later that brings no bar of the symbol, or of a later date.

    Attributes
    ----------
    is_expected : bool
        Whether any is still to come.
    """

    def __init__(
        self,
        actions: Iterable[CorporateAction],
        series: Mapping[str, Series],
        days: TradingDays,
        broker: Broker,
        portfolio: Portfolio,
        say: Say,
    ) -> None:
        super().__init__((), series, np.empty(0, dtype=np.int64), days, -1, broker, portfolio, say)
        self._series = series
        self._expected = delistings_of(actions, series, days, broker)

    @property
    def is_expected(self) -> bool:
        """Whether any is still to come."""
        return bool(self._expected)

    def expects(self, symbol: str) -> bool:
        """Whether the symbol is to be delisted still."""
        return any(action.symbol == symbol for action in self._expected)

    def happen(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Bring about those whose date has come."""
        for action in list(self._expected):
            own = self._series[action.symbol]
            day = self._days.day(now - 1)
            has_bar = bool(own.n) and int(own.columns.end[own.n - 1]) == now
            if day > action.date or (day == action.date and not has_bar):
                self._expected.remove(action)
                self.carry_out(action, bars, index, now)


def close_out(
    broker: Broker,
    portfolio: Portfolio,
    position: Position,
    price: float,
    reason: str,
    index: int,
    stamp: int,
    now: int,
) -> None:
    """Close a position that no bar can close, by a fill at `price` without costs that bears the time `stamp`."""
    strategy, symbol, size, stamps = position.strategy, position.symbol, abs(position.size), position.series.stamps
    side = Side.SELL if position.size > 0 else Side.BUY
    order = Order(
        0, strategy, symbol, side, size, OrderType.DELISTING, tag="delisting", submitted_ns=now, reduce_only=True,
        is_forced=True, _stamps=stamps,
    )  # fmt: skip
    broker.blotter.enter(order, now, reason)
    portfolio.record(position, -position.size, price, 0.0)
    broker.fills.append(
        Fill(index, stamp, symbol, side, size, price, 0.0, order.id, order.tag, strategy, Phase.CLOSE, stamps)
    )
    order.filled, order.fill_price, order.reason = size, price, reason
    broker.blotter.finish(order, now, size, price)


def delistings_of(
    actions: Iterable[CorporateAction], series: Mapping[str, Series], days: TradingDays, broker: Broker
) -> list[CorporateAction]:
    """Those that can come still: of symbols of the run that had a bar by then, and that haven't been delisted."""
    found = []
    for action in sorted(actions, key=lambda action: action.date):
        own = series.get(action.symbol)
        if action.kind != "delist" or own is None or action.symbol in broker.delisted:
            continue
        first = days.of(own.whole.time[:1])
        # A delisting before the first bar was another company's, of the same name.
        if not len(first) or first[0] <= number_of(action.date):
            found.append(action)
    return found


def _instant_of(action: CorporateAction, own: Series, instants: Int64, days: TradingDays) -> int:
    """The number of the instant that brings it; as many as there are where none does."""
    day, own_days = number_of(action.date), days.of(own.whole.time)
    row = int(np.searchsorted(own_days, day, side="right")) - 1
    if row >= own.first and own_days[row] == day:
        return int(np.searchsorted(instants, own.whole.end[row]))
    # An instant belongs to the day that it ends: the one at midnight is still of the day before.
    return int(np.searchsorted(days.of(instants - 1), day))
