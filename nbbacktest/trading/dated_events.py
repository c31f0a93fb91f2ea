"""Dated events of a run: borrow fees and debit interest, splits and dividends, each at its instant."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nbbacktest.core.costs import AnnualBorrow, AnnualInterest, Borrow, Interest
from nbbacktest.core.intervals import LATEST
from nbbacktest.core.records import Int64
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.trading.corporate_actions import CorporateActions
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow, Split

if TYPE_CHECKING:
    from nbbacktest.engine.analysis import Agent


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
        debit = -portfolio.cash  # before the fees: both are of the same evening
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
    """True if an order is pending, or the instant under way brings an event."""

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
