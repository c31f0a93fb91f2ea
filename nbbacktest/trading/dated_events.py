"""Events that a date brings to an account: splits, dividends and delistings; borrow fees and debit interest. Each at its instant.

A split or a dividend happens with the symbol's first bar on or after its ex-date (by the trading day that the bar begins in),
before anything fills there:

* a split multiplies every position and every open order's size, and divides average prices and orders' levels; the
  fractions of a unit that come of it are kept, and nothing is paid out instead;
* a dividend is paid at once for every unit held, shorts pay it; levels of open orders stay;
* of several on one date, splits are first: a dividend's value is a share's of that date.

A delisting happens once, at one instant: that of the symbol's last bar on its date, so that this bar still trades; if it has
none on that date, at the run's first instant of that date or later. There, after the fills and before anything is told:

* every position in it is closed at the action's value by a fill without commission or slippage, shorts pay it;
* its open orders are cancelled, and all later ones are rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.costs import AnnualBorrow, AnnualInterest, Borrow, Interest
from nbbacktest.core.enums import OrderStatus, OrderType, Phase, Side
from nbbacktest.core.intervals import LATEST
from nbbacktest.core.records import Bar, Int64
from nbbacktest.data.trading_days import TradingDays, number_of
from nbbacktest.engine.series import Series
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.portfolio import Portfolio, Position
from nbbacktest.trading.record import CashFlow, Split

if TYPE_CHECKING:
    from nbbacktest.engine.analysis import Agent

Say = Callable[[str, str], None]
"""Called with (strategy, text) to write a line into the run's log."""


class SplitOrders(Protocol):
    """The desk, as a split needs it."""

    def split(self, symbol: str, ratio: float) -> None:
        """Convert the open orders of `symbol` to the units after the split."""
        ...


class CorporateActions:
    """Applies one run's splits and dividends.

    Parameters
    ----------
    actions
        The actions. Those of symbols that aren't among `series`, or that fall before the first traded bar or after the
        last, change nothing.
    series
        Base bars by symbol.
    instants
        The run's, nanoseconds UTC.
    days
        The trading day that each bar begins in.

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
        portfolio: Portfolio,
        orders: SplitOrders,
    ) -> None:
        self._portfolio = portfolio
        self._orders = orders
        self._instants = instants
        self._by_instant: dict[int, list[CorporateAction]] = {}
        for action in in_order(actions):
            own = None if action.kind == "delist" else series.get(action.symbol)
            row = None if own is None else _first_row(own, action.date, days)
            if own is not None and row is not None:
                index = int(np.searchsorted(instants, own.whole.end[row]))
                self._by_instant.setdefault(index, []).append(action)
        self.due: Sequence[int] = sorted(self._by_instant)

    def apply(self, index: int) -> tuple[list[CashFlow], list[Split]]:
        """Apply the actions that are due at the instant `index`."""
        actions, now = self._by_instant.get(index, ()), int(self._instants[index])
        return apply_actions(actions, index, now, self._portfolio, self._orders)


def apply_actions(
    actions: Iterable[CorporateAction], index: int, now: int, portfolio: Portfolio, orders: SplitOrders
) -> tuple[list[CashFlow], list[Split]]:
    """Apply splits and dividends that are due at the instant `index`."""
    flows: list[CashFlow] = []
    splits: list[Split] = []
    for symbol, _, kind, value in actions:
        if kind == "split":
            portfolio.split(symbol, value)
            orders.split(symbol, value)
            splits.append(Split(index, symbol, value))
            continue
        for (strategy, of), position in portfolio.held.items():
            if of == symbol:
                flows.append(CashFlow(index, now, position.size * value, "dividend", symbol, strategy))
                portfolio.cash += flows[-1].amount
    return flows, splits


def in_order(actions: Iterable[CorporateAction]) -> list[CorporateAction]:
    """The actions by date, and splits before dividends."""
    return sorted(actions, key=lambda action: (action.date, action.kind != "split"))


def _first_row(series: Series, day: date, days: TradingDays) -> int | None:
    """The row of the first bar on trading day `day` or later; None without one, and for a warm-up bar or the first of all."""
    dates = days.of(series.whole.time)
    row = int(np.searchsorted(dates, number_of(day)))
    return row if max(series.first, 1) <= row < len(dates) else None


class CloseOut:
    """Closes positions and ends orders of a delisted symbol."""

    def __init__(self, broker: Broker, portfolio: Portfolio, say: Say) -> None:
        self._broker = broker
        self._portfolio = portfolio
        self._say = say

    def carry_out(self, action: CorporateAction, bars: Sequence[Bar], index: int, now: int) -> None:
        """Close the positions in the symbol, and end its orders."""
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


class Delistings(CloseOut):
    """The delistings of a run whose instants are known.

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
        super().__init__(broker, portfolio, say)
        self._by_instant: dict[int, list[CorporateAction]] = {}
        for action in delistings_of(actions, series, days, broker):
            index = _instant_of(action, series[action.symbol], instants, days)
            if index < len(instants):
                # A symbol that joins after its date is delisted at once.
                self._by_instant.setdefault(max(index, begun + 1), []).append(action)
        self.due: Sequence[int] = sorted(self._by_instant)

    def happen(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Carry out the delistings that are due at the instant `index`, whose bars are these."""
        for action in self._by_instant.pop(index, ()):
            self.carry_out(action, bars, index, now)

    def expects(self, symbol: str) -> bool:
        """True if a delisting of the symbol is still to come."""
        return any(action.symbol == symbol for actions in self._by_instant.values() for action in actions)


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
    """The delistings that are still to come, of symbols of the run that have a bar by then."""
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
    """The number of the instant that brings the delisting `action`; the number of instants if none does."""
    day, own_days = number_of(action.date), days.of(own.whole.time)
    row = int(np.searchsorted(own_days, day, side="right")) - 1
    if row >= own.first and own_days[row] == day:
        return int(np.searchsorted(instants, own.whole.end[row]))
    # An instant belongs to the day that it ends: the one at midnight is still of the day before.
    return int(np.searchsorted(days.of(instants - 1), day))


class Accruals:
    """Charges one account, as `AnnualBorrow` and `AnnualInterest` define it.

    Parameters
    ----------
    borrow, interest
    portfolio
        Its cash is changed.
    instants
        The run's, nanoseconds UTC.
    days
        The trading day of each instant.

    Attributes
    ----------
    due : sequence of int
        The instants at which a trading day begins, the first one left out; empty if nothing is charged.
    """

    def __init__(
        self, borrow: Borrow, interest: Interest, portfolio: Portfolio, instants: Int64, days: TradingDays
    ) -> None:
        self._borrow = borrow.rate / borrow.days if isinstance(borrow, AnnualBorrow) else 0.0
        self._interest = interest.rate / interest.days if isinstance(interest, AnnualInterest) else 0.0
        self._portfolio = portfolio
        self._instants = instants
        # An instant belongs to the day that it ends, so that a session's end at midnight belongs to that session.
        self._days = days.of(instants - 1) if self._borrow or self._interest else instants[:0]
        self.due: Sequence[int] = (np.flatnonzero(np.diff(self._days)) + 1).tolist()

    def charge(self, index: int) -> list[CashFlow]:
        """Charge the nights before the instant `index`, which begins a trading day; call it before anything fills.

        Returns
        -------
        list of CashFlow
            Borrow fees in the order in which the shorts were opened, then interest; flows of zero are left out.
        """
        portfolio = self._portfolio
        now = int(self._instants[index])
        nights = int(self._days[index] - self._days[index - 1])
        debit = -portfolio.cash  # taken before the borrow fees are: both charges are of the same evening
        flows = []
        if self._borrow:
            evening = self._instants[index - 1]
            for position in portfolio.held.values():
                if position.size < 0:
                    columns = position.series.columns
                    row = int(np.searchsorted(columns.end, evening, side="right")) - 1
                    worth = -position.size * float(columns.close[row])
                    if worth > 0:
                        fee = self._borrow * nights * worth
                        flows.append(CashFlow(index, now, -fee, "borrow", position.symbol, position.strategy))
        if self._interest and debit > 0:
            flows.append(CashFlow(index, now, -self._interest * nights * debit, "interest"))
        for flow in flows:
            portfolio.cash += flow.amount
        return flows


class Ledger(Protocol):
    """The desk of a run, as dated events write into it; `index` is the instant under way."""

    index: int
    flows: list[CashFlow]
    splits: list[Split]


class KnownEvents:
    """Accruals and corporate actions of one run, each at its instant.

    A run without both has no such object, which would cost time.

    Attributes
    ----------
    next : int
        The next instant that brings an event; beyond every instant if none does.
    """

    __slots__ = ("_accruals", "_charged", "_corporate", "_due", "_ledger", "next")

    def __init__(self, accruals: Accruals, corporate: CorporateActions, due: list[int], ledger: Ledger) -> None:
        self._accruals = accruals
        self._corporate = corporate
        self._charged = frozenset(accruals.due)
        self._due = due
        self._ledger = ledger
        self.next = due[-1]

    def happen(self, index: int) -> None:
        """Charge the nights before the instant `index`, then apply its splits and dividends."""
        if index < self.next:
            return
        self._due.pop()
        self.next = self._due[-1] if self._due else LATEST
        if index in self._charged:
            self._ledger.flows += self._accruals.charge(index)
        flows, splits = self._corporate.apply(index)
        self._ledger.flows += flows
        self._ledger.splits += splits


class NextInstant(Protocol):
    """Knows the number of the next instant that brings an event."""

    @property
    def next(self) -> int:
        """The number of the next instant that brings an event; beyond every instant if none does."""
        ...


class DatedEvents(NextInstant, Protocol):
    """The dated events of a run."""

    def happen(self, index: int) -> None:
        """Apply the events that are due at the instant `index`."""
        ...


class PendingEvents:
    """The pending orders and the events of a run as one object: true if the instant under way has either."""

    __slots__ = ("_agent", "_events", "_waiting")

    def __init__(self, waiting: Sized, events: NextInstant, agent: Agent[Any]) -> None:
        self._waiting = waiting
        self._events = events
        self._agent = agent

    def __len__(self) -> int:
        return len(self._waiting) + (self._agent.index >= self._events.next)


def dated_events(
    accruals: Accruals, corporate: CorporateActions, others: Sequence[int], ledger: Ledger
) -> KnownEvents | None:
    """The dated events of the instants to come, and of the instants `others`; None if there are none."""
    due = sorted({index for index in (*accruals.due, *corporate.due, *others) if index > ledger.index}, reverse=True)
    return KnownEvents(accruals, corporate, due, ledger) if due else None
