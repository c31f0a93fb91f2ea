"""When the desk has something to do before an instant's callbacks: open orders, and dates that bring something."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Protocol

from nbbacktest.trading.accruals import Accruals
from nbbacktest.trading.corporate import CorporateActions
from nbbacktest.trading.record import CashFlow, Split

if TYPE_CHECKING:
    from nbbacktest.engine.agent import Agent


class DatedEvents:
    """Accruals and corporate actions of one run, each at its instant.

    A run that has neither has no such object, so that it pays nothing for them.

    Attributes
    ----------
    next : int
        The next instant that brings something; beyond every instant where none does.
    flows, splits : list
        What came of them, in the order in which it happened.
    """

    __slots__ = ("_accruals", "_charged", "_corporate", "_due", "flows", "next", "splits")

    def __init__(self, accruals: Accruals, corporate: CorporateActions) -> None:
        self._accruals = accruals
        self._corporate = corporate
        self._charged = frozenset(accruals.due)
        self._due = sorted({*accruals.due, *corporate.due}, reverse=True)
        self.next = self._due[-1]
        self.flows: list[CashFlow] = []
        self.splits: list[Split] = []

    def happen(self, index: int) -> None:
        """Bring about what is due at `index`: what the nights before it cost, then its splits and dividends."""
        if index < self.next:
            return
        self._due.pop()
        self.next = self._due[-1] if self._due else _NEVER
        if index in self._charged:
            self.flows += self._accruals.charge(index)
        flows, splits = self._corporate.apply(index)
        self.flows += flows
        self.splits += splits


_NEVER = 2**63 - 1


class Events(Protocol):
    """What knows the number of the next instant that brings something."""

    @property
    def next(self) -> int:
        """The instant; beyond every one where none does."""
        ...


class Agenda:
    """True where something waits already, such as an order, or the instant under way brings something."""

    __slots__ = ("_agent", "_events", "_waiting")

    def __init__(self, waiting: Sized, events: Events, agent: Agent) -> None:
        self._waiting = waiting
        self._events = events
        self._agent = agent

    def __len__(self) -> int:
        return len(self._waiting) + (self._agent.index >= self._events.next)


def dated_events(accruals: Accruals, corporate: CorporateActions) -> DatedEvents | None:
    """What the run's dates bring; None where they bring nothing."""
    return DatedEvents(accruals, corporate) if accruals.due or corporate.due else None
