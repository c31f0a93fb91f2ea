"""The trading desk of a live run, which doesn't know the instants to come: it handles dates as they begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.costs import NoBorrow, NoInterest
from nbbacktest.core.errors import LiveRunError
from nbbacktest.core.records import Bar, Int64
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.series import Series
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.dated_events import Accruals, CloseOut, DatedEvents, Say, apply_actions, delistings_of, in_order
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow

Instants = Callable[[], Int64]
"""The instants of the run so far, nanoseconds UTC, the one under way included."""


class LiveDesk(TradingDesk):
    """A `TradingDesk` whose instants come one by one.

    Parameters
    ----------
    so_far
        Gives the run's instants so far.
    opens
        The moment that strategies see before the first one, nanoseconds UTC.
    **parts
        The arguments of a `TradingDesk` other than its instants.
    """

    def __init__(self, so_far: Instants, opens: int, **parts: Any) -> None:
        self._so_far = so_far
        super().__init__(instants=so_far(), opens=opens, **parts)
        self.notes.totals.clear()  # the total number of instants isn't known

    @property
    def instants(self) -> Int64:
        """The instants of the run so far, the one under way included."""
        return self._so_far()

    @property
    def now_ns(self) -> int:
        """The instant under way, nanoseconds UTC; before the first one, the moment at which trading opens."""
        if self.moment is not None:
            return self.moment.ns
        return self._so_far().item(self.index) if self.index >= 0 else self._opens

    def save(self, series: Sequence[Series]) -> NoReturn:  # noqa: ARG002 - as a backtest's
        """Refused: raises `LiveRunError`, since bars can't arrive again."""
        raise LiveRunError("save the state of")

    def _found_events(self) -> tuple[DatedEvents | None, LiveDelistings | None]:
        terms = self.broker.terms
        base = {s.symbol: s for s in self.series.values() if s.is_base}
        has_costs = not (isinstance(terms.borrow, NoBorrow) and isinstance(terms.interest, NoInterest))
        actions = LiveActions(self._actions, base, self.days)
        gone = LiveDelistings(self._actions, base, self.days, self.broker, self.portfolio, self.log.note)
        if not (has_costs or actions.is_expected or gone.is_expected):
            return None, None
        events = LiveEvents(terms if has_costs else None, actions, self._so_far, self.days, self.portfolio, self)
        return events, gone if gone.is_expected else None


class LiveEvents:
    """The dated events of a live run: looked up at every instant, since no date is known beforehand.

    Attributes
    ----------
    next : int
        Always due.
    """

    next = -1

    def __init__(
        self,
        costs: BrokerConfig | None,
        actions: LiveActions,
        so_far: Instants,
        days: TradingDays,
        portfolio: Portfolio,
        desk: LiveDesk,
    ) -> None:
        self._costs = costs
        self._actions = actions
        self._so_far = so_far
        self._days = days
        self._portfolio = portfolio
        self._desk = desk

    def happen(self, index: int) -> None:
        """Apply the events of the instant: the costs of the nights before it, then its splits and dividends."""
        desk = self._desk
        if index and self._costs is not None:
            desk.flows += self._charge(index, self._costs)
        if self._actions.is_expected:
            now = self._so_far().item(index)
            flows, splits = apply_actions(self._actions.due(now), index, now, self._portfolio, desk)
            desk.flows += flows
            desk.splits += splits

    def _charge(self, index: int, costs: BrokerConfig) -> list[CashFlow]:
        """The costs of the nights before the instant `index`; none if it begins no trading day."""
        pair = self._so_far()[index - 1 : index + 1]
        accruals = Accruals(costs.borrow, costs.interest, self._portfolio, pair, self._days)
        return [flow._replace(index=index) for flow in accruals.charge(1)] if accruals.due else []


class LiveActions:
    """Splits and dividends that happen with the bars that come.

    Attributes
    ----------
    is_expected : bool
        True if any is still to come.
    """

    def __init__(self, actions: Iterable[CorporateAction], series: Mapping[str, Series], days: TradingDays) -> None:
        self._days = days
        self._series = series
        self._expected: dict[str, deque[tuple[int, CorporateAction]]] = {}
        for place, action in enumerate(in_order(actions)):
            own = None if action.kind == "delist" else series.get(action.symbol)
            # No position was held yet in history.
            if own is not None and not (len(own.columns) and days.day(int(own.columns.time[-1])) >= action.date):
                self._expected.setdefault(action.symbol, deque()).append((place, action))

    @property
    def is_expected(self) -> bool:
        """True if any is still to come."""
        return bool(self._expected)

    def due(self, now: int) -> list[CorporateAction]:
        """The actions that the instant `now`, whose bars can be seen, brings; each is returned once."""
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
        return [action for _, action in sorted(due)]


class LiveDelistings(CloseOut):
    """The delistings of a live run: each at the first instant from its date on without a bar of the symbol, or on a later date.

    Attributes
    ----------
    is_expected : bool
        True if any is still to come.
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
        super().__init__(broker, portfolio, say)
        self._days = days
        self._series = series
        self._expected = delistings_of(actions, series, days, broker)

    @property
    def is_expected(self) -> bool:
        """True if any is still to come."""
        return bool(self._expected)

    def expects(self, symbol: str) -> bool:
        """True if the symbol is still to be delisted."""
        return any(action.symbol == symbol for action in self._expected)

    def happen(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Carry out the delistings whose date has come."""
        for action in list(self._expected):
            own = self._series[action.symbol]
            day = self._days.day(now - 1)
            has_bar = bool(own.n) and int(own.columns.end[own.n - 1]) == now
            if day > action.date or (day == action.date and not has_bar):
                self._expected.remove(action)
                self.carry_out(action, bars, index, now)
