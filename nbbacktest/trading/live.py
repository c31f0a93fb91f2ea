"""The trading desk of a live run: nothing about instants to come is known, so dates are looked at as they begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.costs import NoBorrow, NoInterest
from nbbacktest.core.records import Int64
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.series import Series
from nbbacktest.trading.accruals import Accruals
from nbbacktest.trading.agenda import Agenda, Book, DatedEvents
from nbbacktest.trading.corporate import CorporateActions, OrderBook
from nbbacktest.trading.delisting import LiveDelistings
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import RunNotes

Instants = Callable[[], Int64]
"""The instants of the run so far, nanoseconds UTC, the one under way included."""


class LiveDesk(TradingDesk):
    """As `TradingDesk`, with instants that come one by one.

    Parameters
    ----------
    so_far
        The run's instants.
    opens
        The moment that strategies see before the first one, nanoseconds UTC.
    **parts
        What a `TradingDesk` takes, but for its instants.
    """

    def __init__(self, so_far: Instants, opens: int, **parts: Any) -> None:
        self._so_far = so_far
        super().__init__(instants=so_far(), **parts)
        self._before = opens
        self.notes = RunNotes(opens)

    @property
    def _instants(self) -> Int64:
        """Those of the run so far, always."""
        return self._so_far()

    @_instants.setter
    def _instants(self, instants: Int64) -> None:
        """Nothing to keep: they are asked for."""

    def _date_events(self) -> None:
        terms = self.terms
        base = {s.symbol: s for s in self.series.values() if s.is_base}
        costs = not (isinstance(terms.borrow, NoBorrow) and isinstance(terms.interest, NoInterest))
        actions = LiveActions(self._actions, base, self._so_far, self.days, self.portfolio, self)
        gone = LiveDelistings(self._actions, base, self.days, self.broker, self.portfolio, self.log.note)
        self.broker.delistings = gone if gone.is_expected else None
        self._dated = None
        if costs or actions.is_expected or gone.is_expected:
            night = Nights(terms, self._so_far, self.portfolio, self.days) if costs else None
            self._dated = cast("DatedEvents", LiveEvents(night, actions, self))
            self.pending = Agenda(self.broker.pending, self._dated, self)


class LiveEvents:
    """What `DatedEvents` is in a backtest: asked at every instant, since none is known beforehand.

    Attributes
    ----------
    next : int
        Always due.
    """

    next = -1

    def __init__(self, nights: Nights | None, actions: LiveActions, book: Book) -> None:
        self._nights = nights
        self._actions = actions
        self._book = book

    def happen(self, index: int) -> None:
        """Bring about what the instant brings: what the nights before it cost, then its splits and dividends."""
        if self._nights is not None:
            self._book.flows += self._nights.charge(index)
        if self._actions.is_expected:
            self._actions.look(index)
            flows, splits = self._actions.apply(index)
            self._book.flows += flows
            self._book.splits += splits


class Nights:
    """Charges what `Accruals` charges, at the instants that begin a trading day."""

    def __init__(self, terms: BrokerConfig, so_far: Instants, portfolio: Portfolio, days: TradingDays) -> None:
        self._terms = terms
        self._so_far = so_far
        self._portfolio = portfolio
        self._days = days

    def charge(self, index: int) -> list[Any]:
        """What the nights before the instant `index` cost; nothing where it begins no trading day."""
        if not index:
            return []
        terms, pair = self._terms, self._so_far()[index - 1 : index + 1]
        accruals = Accruals(terms.borrow, terms.interest, self._portfolio, pair, self._days)
        return [flow._replace(index=index) for flow in accruals.charge(1)] if accruals.due else []


class LiveActions(CorporateActions):
    """Splits and dividends that happen with the bars that come.

    Attributes
    ----------
    is_expected : bool
        Whether any is still to come.
    """

    def __init__(
        self,
        actions: Iterable[CorporateAction],
        series: Mapping[str, Series],
        so_far: Instants,
        days: TradingDays,
        portfolio: Portfolio,
        orders: OrderBook,
    ) -> None:
        super().__init__((), series, so_far(), days, portfolio, orders)
        self._days = days
        self._so_far = so_far
        self._series = series
        self._expected: dict[str, deque[tuple[int, CorporateAction]]] = {}
        for place, action in enumerate(sorted(actions, key=lambda a: (a.date, a.kind != "split"))):
            own = None if action.kind == "delist" else series.get(action.symbol)
            # Where history goes that far, nothing was held yet.
            if own is not None and not (len(own.columns) and days.day(int(own.columns.time[-1])) >= action.date):
                self._expected.setdefault(action.symbol, deque()).append((place, action))

    @property
    def is_expected(self) -> bool:
        """Whether any is still to come."""
        return bool(self._expected)

    def look(self, index: int) -> None:
        """See whether one is due at the instant `index`, whose bars can be seen."""
        self._instants = self._so_far()
        now = self._instants[index]
        due: list[tuple[int, CorporateAction]] = []
        for symbol, waiting in list(self._expected.items()):
            series = self._series[symbol]
            row = series.n - 1
            if row < 0 or series.columns.end[row] != now:
                continue
            day = self._days.day(int(series.columns.time[row]))
            while waiting and waiting[0][1].date <= day:
                action = waiting.popleft()
                if row >= max(series.first, 1):
                    due.append(action)
            if not waiting:
                del self._expected[symbol]
        if due:
            self._by_instant[index] = [action for _, action in sorted(due)]
