"""The state of a run's trading as one value: everything that moves with the cursor, saved at rest, restored in a fresh world.

A fresh world is a desk over the same bars whose strategies were made and started anew. The value belongs to no world: orders
are linked by their ids, positions name their symbols. A list that only grows, such as that of fills, is kept with its
length, so that saving costs nothing for the past.

The attributes of strategies are written as bytes, with the run's own objects by name. An order, an
indicator or a view of bars in an attribute is written as its number or name, and read as the fresh world's. Everything else is
copied by pickle if it is of a kind that pickle copies whole: no generators, locks, open files, sets, iterators, functions that were made
inside others. State outside of a strategy (globals, class attributes) isn't copied: it must be the same when the state is restored, see
`nbbacktest.trading.outside`. The numbers of `random` aren't seen. The bytes stay in the process: they are no
file format.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.errors import StateError
from nbbacktest.core.formats import said
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.engine.series import BarsView, ColumnView, Series, TimeView
from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.blotter import Blotter
from nbbacktest.trading.orders.order import blank_order
from nbbacktest.trading.outside import Outside, Room, is_changeable, is_users, outside_of, refusal
from nbbacktest.trading.schedule import Scheduled
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from nbbacktest.trading.broker import BrokerState
    from nbbacktest.trading.callbacks import SessionState
    from nbbacktest.trading.indicators import IndicatorState
    from nbbacktest.trading.portfolio import PortfolioState
    from nbbacktest.trading.record import RunNotes


class Past(NamedTuple):
    """The first entries of a list that only ever grows."""

    entries: list[Any]
    length: int

    @classmethod
    def of(cls, entries: list[Any]) -> Past:
        """The entries that the list has now."""
        return cls(entries, len(entries))

    def restore(self, entries: list[Any]) -> None:
        """Make `entries` hold these entries and no others."""
        entries[:] = self.entries[: self.length]


class SeriesState(NamedTuple):
    """The visible rows of one series, and its columns, for symbols that joined or left."""

    columns: BarColumns
    n: int
    first: int
    is_base: bool
    is_open: bool
    stamps: Stamps


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
        All orders; those that had ended, and are linked to no open one, never change again.
    changing : dict
        The other orders, by id.
    waiting, news : tuple of int
        Ids of the open orders, symbol by symbol, and of the orders with new events.
    is_watched : bool
        True if orders are matched at every instant even if none waits.
    """

    orders: Past
    changing: dict[int, OrderState]
    waiting: tuple[int, ...]
    news: tuple[int, ...]
    is_watched: bool


class StrategiesState(NamedTuple):
    """The attributes of the strategies, and the state that they can reach and that no run owns; see `save_strategies`."""

    attributes: bytes
    outside: Outside


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
    randoms : tuple
        For each strategy, the state of its random numbers; None: it has drawn none.
    hand : tuple of str or None
        The symbols of the hand's seat, if it is open.
    fills, flows, splits, log, failures : Past
    strategies : StrategiesState
    """

    index: int
    lag: float
    is_revised: bool
    series: tuple[SeriesState, ...]
    actions: tuple[CorporateAction, ...]
    leaving: frozenset[str]
    contexts: tuple[tuple[str, ...], ...]
    randoms: tuple[dict[str, Any] | None, ...]
    hand: tuple[str, ...] | None
    failures: Past
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
    strategies: StrategiesState


# -- series -------------------------------------------------------------------------------------------------


def saved_series(series: Iterable[Series]) -> tuple[SeriesState, ...]:
    """The state of each of `series`."""
    return tuple(SeriesState(s.whole, s.n, s.first, s.is_base, s.is_open, s.stamps) for s in series)


def restored_series(saved: Iterable[SeriesState], present: Mapping[tuple[str, str], Series]) -> list[Series]:
    """The series of a fresh world, as they were when `saved` was; those of symbols that had joined are made.

    Raises
    ------
    StateError
        If bars that were seen aren't loaded yet, as in a fresh run of streamed bars.
    """
    every = []
    for state in saved:
        columns = state.columns
        series = present.get((columns.symbol, columns.interval.name))
        if series is None:
            series = Series(columns, state.stamps, is_base=state.is_base, is_open=state.is_open)
        elif len(columns) < len(series.whole):  # the symbol had left
            series.hold(columns)
            series.is_open = state.is_open
        if len(series.columns) < state.n:
            rows = f"{len(series.columns)} of the {state.n} bars of {series.symbol} {series.interval}"
            raise StateError(f"the fresh run has loaded {rows} that were seen; restore it when it has more")
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


# -- strategies ---------------------------------------------------------------------------------------------

_PLAIN = frozenset({int, float, str, bool, bytes, type(None), tuple, list, dict})
_NOT_ITS_OWN = ("_strategy_context", "_as_given")


@dataclass(frozen=True, eq=False)
class RunObjects:
    """The objects of one run that strategies may refer to, in the order in which they were made.

    Attributes
    ----------
    streams : sequence
        The objects that users' streaming indicators feed, and None for the other indicators' calls.
    reached : dict
        The users' classes and functions that were met while attributes were written, by identity.
    changeable : list
        The objects that were copied and may be changed.
    """

    strategies: Sequence[Strategy]
    contexts: Sequence[StrategyContext]
    orders: Sequence[Order]
    series: Mapping[tuple[str, str], Series]
    indicators: Sequence[Indicator]
    scheduled: Sequence[Scheduled]
    streams: Sequence[Any]
    reached: dict[int, Any] = field(default_factory=dict)
    changeable: list[Any] = field(default_factory=list)
    _names: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("strategies", "contexts", "indicators", "scheduled"):
            self._names.update({id(one): (kind, number) for number, one in enumerate(getattr(self, kind))})

    def name_of(self, value: Any) -> Any:
        """The name that is written in place of `value`; None if it is copied.

        Raises
        ------
        StateError
            If it is another run's, or would be shared instead of copied.
        """
        kind = type(value)
        if kind in _PLAIN:
            if kind in (list, dict):
                self.changeable.append(value)
            return None
        name = self._names.get(id(value)) or self._name_by_kind(value)
        if name is None:
            if (reason := refusal(value)) is not None:
                raise StateError(reason)
            if is_changeable(value):
                self.changeable.append(value)
            met = value if isinstance(value, (type, FunctionType)) else kind
            if is_users(met):
                self.reached[id(met)] = met
        return name

    def _name_by_kind(self, value: Any) -> Any:
        match value:
            case Order() if 0 < value.id <= len(self.orders) and self.orders[value.id - 1] is value:
                return "orders", value.id - 1
            case Strategy() | StrategyContext() | Indicator() | Scheduled() | Order():
                raise StateError(f"{value!r} is of another run")
            case Series():
                return "series", (value.symbol, value.interval)
            case BarsView():
                return "bars", (value.symbol, value.interval)
            case ColumnView() | TimeView():
                series = value._series  # noqa: SLF001 - hidden from strategies only
                return "column", (series.symbol, series.interval), getattr(value, "_name", "time")
            case ModuleType():
                return "module", value.__name__
        return None

    def called(self, name: Any) -> Any:
        """The object of the run that `name` means."""
        match name:
            case "series", key:
                return self.series[key]
            case "bars", key:
                return BarsView(self.series[key])
            case "column", key, column:
                return getattr(BarsView(self.series[key]), column)
            case "module", module:
                return sys.modules[module]
            case kind, number:
                return getattr(self, kind)[number]
        raise StateError(f"{name!r} names nothing")


def save_strategies(objects: RunObjects) -> StrategiesState:
    """Save the strategies' attributes, the objects that their streaming indicators feed, and their scheduled calls.

    Raises
    ------
    StateError
        If an attribute, a streaming object or a scheduled function can't be copied, or what they can reach can't be known: it says
        which, and why.
    """
    attributes = [_attributes(strategy) for strategy in objects.strategies]
    streams = {number: one for number, one in enumerate(objects.streams) if one is not None}
    callbacks = {
        number: call.callback for number, call in enumerate(objects.scheduled) if not _is_own(call.callback, objects)
    }
    try:
        saved = _pickled(objects, (attributes, streams, callbacks))
    except Exception as error:
        for strategy, own in zip(objects.strategies, attributes, strict=True):
            for name, value in own.items():
                if (reason := _refusal(objects, value)) is not None:
                    raise StateError(f"{type(strategy).__name__}.{name} can't be copied: {reason}") from error
        for number, callback in callbacks.items():
            if (reason := _refusal(objects, callback)) is not None:
                raise StateError(f"{objects.scheduled[number]!r} can't be copied: {reason}") from error
        for one in streams.values():
            if (reason := _refusal(objects, one)) is not None:
                raise StateError(f"{one!r} feeds an indicator and can't be copied: {reason}") from error
        raise StateError(f"the strategies' attributes can't be copied: {said(error)}") from error
    reached = *map(type, objects.strategies), *objects.reached.values()
    return StrategiesState(saved, outside_of(reached, objects.changeable))


def restore_strategies(objects: RunObjects, saved: StrategiesState) -> dict[int, Any]:
    """Give a fresh run's strategies the attributes that were saved; returns the copied streaming objects by number.

    Raises
    ------
    StateError
        If what they can reach outside of the run has changed since.
    """
    if not saved.outside.is_unchanged:
        raise StateError("a class attribute, a global, a default or a closure of the strategies has changed since")
    attributes, streams, callbacks = _Reader(io.BytesIO(saved.attributes), objects).load()
    for strategy, own in zip(objects.strategies, attributes, strict=True):
        for name in _attributes(strategy):
            delattr(strategy, name)
        vars(strategy).update(own)
    for number, callback in callbacks.items():
        objects.scheduled[number].callback = callback
    return streams  # type: ignore[no-any-return]


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, objects: RunObjects) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._objects = objects

    def persistent_id(self, obj: Any) -> Any:
        """The name of `obj` among the objects of its run; None if pickle is to copy it."""
        return self._objects.name_of(obj)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, objects: RunObjects) -> None:
        super().__init__(file)
        self._objects = objects

    def persistent_load(self, pid: Any) -> Any:
        """The object of the fresh run with that name."""
        return self._objects.called(pid)


def _pickled(objects: RunObjects, value: Any) -> bytes:
    file = Room()
    _Writer(file, objects).dump(value)
    return file.getvalue()


def _refusal(objects: RunObjects, value: Any) -> str | None:
    """The reason that `value` can't be copied; None if it can."""
    try:
        _pickled(objects, value)
    except Exception as error:  # noqa: BLE001 - what is copied is the user's, and may raise anything
        return said(error)
    return None


def _attributes(strategy: Strategy) -> dict[str, Any]:
    return {name: value for name, value in vars(strategy).items() if name not in _NOT_ITS_OWN}


def _is_own(callback: Callable[[], object], objects: RunObjects) -> bool:
    """True if a fresh run's `callback` needs no copy: it is made of strategies of the run and of nothing else."""
    function = getattr(callback, "__func__", callback)
    if not isinstance(function, FunctionType) or function.__defaults__:
        return False
    try:
        held = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return False
    if function is not callback:
        held.append(callback.__self__)  # type: ignore[attr-defined]
    return all(any(one is strategy for strategy in objects.strategies) for one in held)
