"""What time costs: fees for borrowed shares and interest on debit cash, charged when a trading day begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbbacktest.core.costs import AnnualBorrow, AnnualInterest, Borrow, Interest
from nbbacktest.core.records import Int64
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow


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
        Which trading day an instant belongs to.

    Attributes
    ----------
    due : sequence of int
        The instants at which a trading day begins, the first one left out; empty where nothing is charged.
    """

    def __init__(
        self, borrow: Borrow, interest: Interest, portfolio: Portfolio, instants: Int64, days: TradingDays
    ) -> None:
        self._borrow = borrow.rate / borrow.days if isinstance(borrow, AnnualBorrow) else 0.0
        self._interest = interest.rate / interest.days if isinstance(interest, AnnualInterest) else 0.0
        self._portfolio = portfolio
        self._instants = instants
        # An instant belongs to the day that it ends, so that a session's end at midnight is of that session.
        self._days = days.of(instants - 1) if self._borrow or self._interest else instants[:0]
        self.due: Sequence[int] = (np.flatnonzero(np.diff(self._days)) + 1).tolist()

    def charge(self, index: int) -> list[CashFlow]:
        """Charge the nights before the instant `index`, which begins a trading day; call it before anything fills.

        Returns
        -------
        list of CashFlow
            Borrow fees in the order in which the shorts were opened, then interest; what costs nothing is left out.
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
