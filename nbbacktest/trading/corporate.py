"""Splits and dividends of raw prices: what they do to positions, open orders and cash on their ex-dates.

Each happens with the symbol's first bar on or after its ex-date (by the trading day that the bar begins in), before anything
fills there:

* a split multiplies every position and every open order's size, and divides average prices and orders' levels; the
  fractions of a unit that come of it are kept, and nothing is paid out instead;
* a dividend is paid at once for every unit held, shorts pay it; levels of open orders stay;
* of several on one date, splits are first: a dividend's value is a share's of that date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Protocol

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.records import Int64
from nbbacktest.data.trading_days import TradingDays, number_of
from nbbacktest.engine.series import Series
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow, Split


class OrderBook(Protocol):
    """What a split asks of those who keep the orders, at the instant under way."""

    def split(self, symbol: str, ratio: float) -> None:
        """Count the waiting orders of `symbol` in units of after the split."""
        ...


class CorporateActions:
    """Applies one run's splits and dividends.

    Parameters
    ----------
    actions
        Those of symbols that aren't among `series`, or that fall before the first traded bar or after the last, change
        nothing.
    series
        Base bars by symbol.
    instants
        The run's, nanoseconds UTC.
    days
        Which trading day a bar begins in.

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
        orders: OrderBook,
    ) -> None:
        self._portfolio = portfolio
        self._orders = orders
        self._instants = instants
        self._by_instant: dict[int, list[CorporateAction]] = {}
        for action in sorted(actions, key=lambda a: (a.date, a.kind != "split")):
            own = None if action.kind == "delist" else series.get(action.symbol)
            row = None if own is None else _first_row(own, action.date, days)
            if own is not None and row is not None:
                index = int(np.searchsorted(instants, own.whole.end[row]))
                self._by_instant.setdefault(index, []).append(action)
        self.due: Sequence[int] = sorted(self._by_instant)

    def apply(self, index: int) -> tuple[list[CashFlow], list[Split]]:
        """Bring about what is due at the instant `index`."""
        portfolio, now = self._portfolio, int(self._instants[index])
        flows: list[CashFlow] = []
        splits: list[Split] = []
        for symbol, _, kind, value in self._by_instant.get(index, ()):
            if kind == "split":
                portfolio.split(symbol, value)
                self._orders.split(symbol, value)
                splits.append(Split(index, symbol, value))
                continue
            for (strategy, of), position in portfolio.held.items():
                if of == symbol:
                    flows.append(CashFlow(index, now, position.size * value, "dividend", symbol, strategy))
                    portfolio.cash += flows[-1].amount
        return flows, splits


def _first_row(series: Series, day: date, days: TradingDays) -> int | None:
    """The first bar of that trading day or later; None where it is no traded one, or there is none before it."""
    dates = days.of(series.whole.time)
    row = int(np.searchsorted(dates, number_of(day)))
    return row if max(series.first, 1) <= row < len(dates) else None
