"""The record of a run as plain data, from which a result is computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from nbbacktest.core.digests import CodeDigests
from nbbacktest.core.enums import Phase, Side
from nbbacktest.core.errors import OrderWarning
from nbbacktest.core.inputs import Input
from nbbacktest.core.records import BarColumns, Float64, Int64, Stamps
from nbbacktest.trading.indicators import Indicator, IndicatorEntry
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.order import EVENT_FIELDS
from nbbacktest.trading.streams import StreamIndicator

_BUY = Side.BUY
_PHASES = {None: -1, Phase.OPEN: 0, Phase.INSIDE: 1, Phase.CLOSE: 2}
_Name = TypeVar("_Name", bound=Hashable)


class Executions:
    """The fills of a run as columns of one value a fill, in the order in which they happened.

    Attributes
    ----------
    index : int64 array
        The instant of each, counted from 0; never falling.
    time : int64 array
        The stamps of the bars that they happened in, nanoseconds UTC.
    signed, price, commission : float64 arrays
        Units, negative if sold; price of a unit; commission. In the account's currency.
    order : int64 array
        The numbers of their orders.
    symbols, strategies : tuple of str
    """

    __slots__ = ("_fills", "_rows", "commission", "index", "order", "price", "signed", "strategies", "symbols", "time")

    def __init__(self, fills: Sequence[Fill]) -> None:
        self.index, self.time, self.order = (
            np.fromiter(map(attrgetter(name), fills), np.int64, len(fills)) for name in ("index", "time_ns", "order_id")
        )
        size, self.price, self.commission = (
            np.fromiter(map(attrgetter(name), fills), np.float64, len(fills))
            for name in ("size", "price", "commission")
        )
        bought = np.fromiter((fill.side is _BUY for fill in fills), bool, len(fills))
        self.signed: Float64 = np.where(bought, size, -size)
        self._fills = fills
        self.symbols: tuple[str, ...] = tuple(map(attrgetter("symbol"), fills))
        self.strategies: tuple[str, ...] = tuple(map(attrgetter("strategy"), fills))
        self._rows: dict[str, Int64] | None = None

    @property
    def phase(self) -> npt.NDArray[np.int8]:
        """The phase of each fill: 0 at the open, 1 inside, 2 at the close; -1 in results from before phases were kept."""
        return np.fromiter((_PHASES[fill.phase] for fill in self._fills), np.int8, len(self._fills))

    @property
    def traded(self) -> Float64:
        """``size * |price|`` of each fill, also at a price below zero."""
        return np.abs(self.signed * self.price)

    @property
    def rows(self) -> dict[str, Int64]:
        """The rows of each symbol that has fills; the symbol that filled first is first."""
        if self._rows is None:
            self._rows = places_of(self.symbols)
        return self._rows

    @property
    def positions(self) -> Iterable[Int64]:
        """The rows of each strategy and symbol that has fills."""
        if len(set(self.strategies)) < 2:
            return self.rows.values()
        return places_of(tuple(zip(self.strategies, self.symbols, strict=True))).values()


class CashFlow(NamedTuple):
    """Cash that came or went without a fill.

    Attributes
    ----------
    index : int
        The run's instant that it was booked at, counted from 0; before that instant's fills.
    time : int
        That instant, nanoseconds UTC.
    amount : float
        In the account's currency, negative if it was paid.
    symbol, strategy : str or None
        The position that it belongs to; None for interest, which the account pays as a whole.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, as a fill's does
    time: int
    amount: float
    kind: Literal["dividend", "borrow", "interest"]
    symbol: str | None = None
    strategy: str | None = None


class Split(NamedTuple):
    """A split that positions went through: `ratio` new units for an old one, before the instant's fills."""

    index: int  # type: ignore[assignment]  # as above
    symbol: str
    ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorRecord:
    """One indicator of one strategy.

    Attributes
    ----------
    name : str
        Its name in snapshots.
    strategy, symbol, interval : str
        The strategy that made it, and the bars that it is computed from.
    end : int64 array
        The time at which each bar closed, nanoseconds UTC, rising: from this instant on its value could be read.
    values : float64 array
        One a bar, or one row a bar if the indicator answers tuples. A streaming one that wasn't read to the end has
        fewer than there are bars.
    """

    name: str
    strategy: str
    symbol: str
    interval: str
    end: Int64
    values: Float64

    def newest_of(self, n: int, narrow: int = 0) -> float | tuple[float, ...]:
        """The newest value when `n` bars were completed; NaN if there was none, or if it was a number and later values are tuples."""
        if not narrow < n <= len(self.values):
            return float("nan")
        value = self.values[n - 1]
        return tuple(value.tolist()) if self.values.ndim > 1 else float(value)

    def at(self, instant: int) -> float | tuple[float, ...]:
        """The newest value at `instant`; NaN if there was none yet, or if it was never read."""
        return self.newest_of(int(np.searchsorted(self.end, instant, side="right")))


class SessionEdge(NamedTuple):
    """The state of a run at an instant at whose very moment the next session began.

    Events of the session's start have the time of that instant, but belong to the next one.

    Attributes
    ----------
    n_fills : int
        Fills until then.
    orders : tuple of (int, int)
        The open orders: the id of each, and the number of events in its life.
    n_orders : int
        Orders until then, open or not.
    """

    n_fills: int
    orders: tuple[tuple[int, int], ...]
    n_orders: int


@dataclass(slots=True)
class RunNotes:
    """The notes of a run for a later look at any instant: facts that its bars, fills and orders don't tell.

    The number of an instant is that of completed instants: 0 is before the first one.

    Attributes
    ----------
    opens : int
        The time that strategies saw as "now" before the first instant, nanoseconds UTC.
    totals : list of (int, int)
        The number of instants to come, each with the instant from which on it held; empty in a live run.
    joined : dict
        For each symbol that joined during the run, the instant from which on it was in the run.
    edges : dict
        By instant, for instants at which the next session began at the same moment.
    since : list of int
        For each indicator, the instant from which on it existed.
    narrow : list of int
        For each indicator of a finished run, the number of its first values that weren't tuples yet.
    """

    opens: int
    totals: list[tuple[int, int]] = field(default_factory=list)
    joined: dict[str, int] = field(default_factory=dict)
    edges: dict[int, SessionEdge] = field(default_factory=dict)
    since: list[int] = field(default_factory=list)
    narrow: list[int] = field(default_factory=list)

    def note_edge(self, cursor: int, n_fills: int, n_orders: int, waiting: Iterable[Order]) -> None:
        """Note the fills and orders so far, unless they are noted; `waiting` are the open orders."""
        orders = tuple((order.id, len(order.life) // EVENT_FIELDS) for order in waiting)
        self.edges.setdefault(cursor, SessionEdge(n_fills, orders, n_orders))

    def copy(self) -> RunNotes:
        """The notes until now, for another run that goes on from here."""
        return RunNotes(
            self.opens, [*self.totals], {**self.joined}, {**self.edges}, [*self.since], [*self.narrow]
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run up to its last completed instant.

    Attributes
    ----------
    name, source : str
        The session's name, and the source of its bars, as text for readers.
    synthetic : bool
        True if the bars were invented; every report says so.
    daily : bool
        True if base bars are whole sessions.
    trades_every_day : bool
        True if the market has no closed days; sets the annual factor (365, else 252).
    cash : float
        Starting cash.
    instants : int64 array
        The completed instants, nanoseconds UTC, rising.
    bars : dict
        Base bars by symbol, in the session's order, up to the last completed instant; warm-up included.
    first : dict
        By symbol, the number of those bars that were warm-up.
    fills, orders
        The fills as they happened, the orders as they were submitted.
    strategies : tuple of str
        The strategies that ran, as ``Name(param=value, ...)``.
    metrics : dict
        The JSON status at the end.
    config : dict
        The session config that was run.
    log : tuple
        The lines that strategies logged: (instant, strategy, message).
    flows, splits : tuple of CashFlow, tuple of Split
        The changes of cash and positions beside the fills, in the order in which they happened.
    indicators : tuple of IndicatorRecord
        The strategies' indicators with their values, in the order in which they were made.
    days : int64 array or None
        The trading day of every instant, as days since 1970-01-01. None for a record from before 0.2.
    trading_days : int or None
        The number of the exchange's trading days from the first to the last; None if no exchange was named.
    coarser : tuple of BarColumns
        The bars of longer intervals, in the order of their callbacks, up to the last completed instant; warm-up included.
    notes : RunNotes or None
        The notes that `look` needs besides. None for a record from before 0.2.
    inputs : tuple of Input
        The inputs by hand, in order.
    code : CodeDigests
        Those of the strategies' classes; empty in a record that was read from a file.
    recipe : str
        The recipe of a record that was read from a file; see `Result.recipe`.
    """

    name: str
    source: str
    synthetic: bool
    stamps: Stamps
    daily: bool
    trades_every_day: bool
    cash: float
    instants: Int64
    bars: dict[str, BarColumns]
    first: dict[str, int]
    fills: tuple[Fill, ...]
    orders: tuple[Order, ...]
    strategies: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    log: tuple[tuple[int, str, str], ...] = ()
    flows: tuple[CashFlow, ...] = ()
    splits: tuple[Split, ...] = ()
    indicators: tuple[IndicatorRecord, ...] = ()
    days: Int64 | None = None
    trading_days: int | None = None
    coarser: tuple[BarColumns, ...] = ()
    notes: RunNotes | None = None
    inputs: tuple[Input, ...] = ()
    code: CodeDigests = field(default_factory=CodeDigests)
    recipe: str = ""

    @cached_property
    def executions(self) -> Executions:
        """The fills as columns."""
        return Executions(self.fills)


def indicator_records(entries: Sequence[IndicatorEntry], last: int) -> tuple[IndicatorRecord, ...]:
    """The columns of all indicators, up to the instant `last`, in the order in which strategies made them."""
    kept = []
    for key, strategy, handle in entries:
        end = handle._series.columns.end  # noqa: SLF001 - hidden from strategies only
        end = end[: np.searchsorted(end, last, side="right")]
        kept.append(IndicatorRecord(key, strategy, handle.symbol, handle.interval, end, _values(handle, len(end))))
    return tuple(kept)


def _values(handle: Indicator, count: int) -> Float64:
    """Views of whole columns; copies of the values of fed indicators, whose stores may still grow."""
    if not isinstance(handle, StreamIndicator):
        return handle._until(count)[:count]  # noqa: SLF001 - as above
    feed = handle.feed
    return np.array(feed.stores[handle.output][: min(feed.filled, count)], dtype=np.float64)


def places_of(names: Sequence[_Name]) -> dict[_Name, Int64]:
    """The places of each name in `names`, by name; the name that comes first in `names` is first."""
    if len(set(names)) == 1:
        return {names[0]: np.arange(len(names))}
    places: dict[_Name, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return {name: np.array(rows) for name, rows in places.items()}


Line = tuple[int, str, str]
"""(instant in nanoseconds UTC, strategy, text)."""


class RunLog(list[Line]):
    """The lines of a run, in the order in which they were written; `now` gives the instant under way."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__()
        self._now = now
        self.warned: set[str] = set()

    def note(self, name: str, text: str) -> None:
        """Write a line for the strategy `name`."""
        self.append((self._now(), name, text))

    def nothing_comes(self, name: str, symbol: str, text: str) -> None:
        """Write a line: the reason why an order of `name` for `symbol` comes to nothing. Warn once for each symbol."""
        self.note(name, text)
        if symbol not in self.warned:
            self.warned.add(symbol)
            warnings.warn(f"{name}: {text} (said once for {symbol}; see result.log)", OrderWarning, stacklevel=5)
