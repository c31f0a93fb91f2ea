"""The state of a run's trading as one value: what moves with the cursor, saved at rest and restored in a fresh world.

A fresh world is a desk over the same bars whose strategies were made and started anew. The value belongs to no world: orders
are linked by their ids, positions name their symbols. What only grows, such as the list of fills, is kept as the list and its
length, so that saving costs nothing for the past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.engine.series import Series
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.blotter import Blotter
from nbbacktest.trading.orders.order import blank_order

if TYPE_CHECKING:
    from nbbacktest.trading.broker import BrokerState
    from nbbacktest.trading.indicators import IndicatorState
    from nbbacktest.trading.portfolio import PortfolioState
    from nbbacktest.trading.record import RunNotes
    from nbbacktest.trading.timetable import SessionState


class Past(NamedTuple):
    """The first entries of a list that only ever grows."""

    entries: list[Any]
    length: int

    @classmethod
    def of(cls, entries: list[Any]) -> Past:
        """What the list holds now."""
        return cls(entries, len(entries))

    def restore(self, entries: list[Any]) -> None:
        """Make `entries` hold the same."""
        entries[:] = self.entries[: self.length]


class SeriesState(NamedTuple):
    """How much of one series can be seen, and its columns, for symbols that joined or left."""

    columns: BarColumns
    n: int
    first: int
    is_base: bool
    is_open: bool
    stamps: Stamps


class ContextState(NamedTuple):
    """What one strategy trades."""

    symbols: tuple[str, ...]
    takes_all: bool


class OrderState(NamedTuple):
    """An order without its links, and the ids of the orders that it is linked to."""

    fields: dict[str, Any]
    parent: int | None
    children: tuple[int, ...]
    oco: tuple[int, ...] | None


class BlotterState(NamedTuple):
    """The orders of a run.

    Attributes
    ----------
    orders : Past
        All of them; those that had ended, and are linked to none that waits, never change again.
    changing : dict
        By id, the others.
    waiting, news : tuple of int
        Ids of the open ones, symbol by symbol, and of those that something happened to.
    is_watched : bool
        Whether every instant is matched though no order waits.
    """

    orders: Past
    changing: dict[int, OrderState]
    waiting: tuple[int, ...]
    news: tuple[int, ...]
    is_watched: bool


@dataclass(frozen=True, slots=True)
class TradingState:
    """Everything of a run's trading that moves with its cursor, between two instants.

    Attributes
    ----------
    index : int
        The instant that was completed last.
    series : tuple of SeriesState
        In the order of the timeline.
    actions : tuple of CorporateAction
        Those of symbols that joined included.
    fills, flows, splits, log : Past
    strategies : bytes
        What the strategies keep in themselves; see `nbbacktest.trading.strategy_state`.
    """

    index: int
    lag: float
    is_revised: bool
    series: tuple[SeriesState, ...]
    actions: tuple[CorporateAction, ...]
    leaving: frozenset[str]
    contexts: tuple[ContextState, ...]
    portfolio: PortfolioState
    broker: BrokerState
    blotter: BlotterState
    sessions: SessionState
    indicators: IndicatorState
    fills: Past
    flows: Past
    splits: Past
    log: Past
    notes: RunNotes
    warned: frozenset[str]
    strategies: bytes


# -- series -------------------------------------------------------------------------------------------------


def saved_series(series: Iterable[Series]) -> tuple[SeriesState, ...]:
    """What can be seen of these series."""
    return tuple(SeriesState(s.whole, s.n, s.first, s.is_base, s.is_open, s.stamps) for s in series)


def restored_series(saved: Iterable[SeriesState], present: Mapping[tuple[str, str], Series]) -> list[Series]:
    """The series of a fresh world, as they were when `saved` was; those of symbols that had joined are made."""
    every = []
    for state in saved:
        columns = state.columns
        series = present.get((columns.symbol, columns.interval.name))
        if series is None:
            series = Series(columns, state.stamps, is_base=state.is_base, is_open=state.is_open)
        elif len(columns) < len(series.whole):  # the symbol had left
            series.hold(columns)
            series.is_open = state.is_open
        series.first, series.n = state.first, state.n
        every.append(series)
    return every


# -- orders -------------------------------------------------------------------------------------------------


def saved_orders(blotter: Blotter) -> BlotterState:
    """The orders of a run as a value."""
    waiting = tuple(order.id for orders in blotter.pending.values() for order in orders)
    changing: dict[int, OrderState] = {}
    todo = deque(blotter.orders[number - 1] for number in waiting)
    while todo:
        order = todo.popleft()
        if order.id not in changing:
            linked = (*order.children, *(order.oco or ()), *(() if order.parent is None else (order.parent,)))
            changing[order.id] = _saved_order(order)
            todo.extend(linked)
    news = tuple(order.id for order in blotter.news or ())
    return BlotterState(Past.of(blotter.orders), changing, waiting, news, "" in blotter.pending)


def restore_orders(blotter: Blotter, saved: BlotterState) -> None:
    """Put the orders of a fresh run in the state that was saved."""
    every: list[Order] = saved.orders.entries[: saved.orders.length]
    for number in saved.changing:
        every[number - 1] = blank_order()
    groups: dict[tuple[int, ...], list[Order]] = {}
    for number, state in saved.changing.items():
        order = every[number - 1]
        for name, value in state.fields.items():
            setattr(order, name, list(value) if isinstance(value, list) else value)
        order.parent = None if state.parent is None else every[state.parent - 1]
        order.children = tuple(every[child - 1] for child in state.children)
        if state.oco is not None:
            # The members of a group share one list.
            order.oco = groups.setdefault(state.oco, [every[member - 1] for member in state.oco])
    blotter.resume(every, [every[number - 1] for number in saved.waiting], is_watched=saved.is_watched)
    if blotter.news is not None:
        blotter.news[:] = [every[number - 1] for number in saved.news]


_LINKS = ("parent", "children", "oco")


def _saved_order(order: Order) -> OrderState:
    values = {name: getattr(order, name) for name in order.__struct_fields__ if name not in _LINKS}
    fields = {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
    parent = None if order.parent is None else order.parent.id
    oco = None if order.oco is None else _ids(order.oco)
    return OrderState(fields, parent, _ids(order.children), oco)


def _ids(orders: Sequence[Order]) -> tuple[int, ...]:
    return tuple(order.id for order in orders)
