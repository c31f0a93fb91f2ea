"""When the desk has something to do before an instant's callbacks: open orders, and dates that bring something."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Protocol

from nbbacktest.core.intervals import LATEST
from nbbacktest.trading.accruals import Accruals
from nbbacktest.trading.corporate import CorporateActions
from nbbacktest.trading.record import CashFlow, Split

if TYPE_CHECKING:
    from nbbacktest.engine.agent import Agent


class Book(Protocol):
    """Where what came of them is written, in the order in which it happened."""

    index: int
    flows: list[CashFlow]
    splits: list[Split]


class DatedEvents:
    """Accruals and corporate actions of one run, each at its instant.

    A run that has neither has no such object, so that it pays nothing for them.

    Attributes
    ----------
    next : int
        The next instant that brings something; beyond every instant where none does.
    """

    __slots__ = ("_accruals", "_book", "_charged", "_corporate", "_due", "next")

    def __init__(self, accruals: Accruals, corporate: CorporateActions, due: list[int], book: Book) -> None:
        self._accruals = accruals
        self._corporate = corporate
        self._charged = frozenset(accruals.due)
        self._due = due
        self._book = book
        self.next = due[-1]

    def happen(self, index: int) -> None:
        """Bring about what is due at `index`: what the nights before it cost, then its splits and dividends."""
        if index < self.next:
            return
        self._due.pop()
        self.next = self._due[-1] if self._due else LATEST
        if index in self._charged:
            self._book.flows += self._accruals.charge(index)
        flows, splits = self._corporate.apply(index)
        self._book.flows += flows
        self._book.splits += splits


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


def dated_events(
    accruals: Accruals, corporate: CorporateActions, others: Sequence[int], book: Book
) -> DatedEvents | None:
    """What the dates of the instants to come bring, `others` being those at which others act; None where they bring nothing."""
    due = sorted({index for index in (*accruals.due, *corporate.due, *others) if index > book.index}, reverse=True)
    return DatedEvents(accruals, corporate, due, book) if due else None
