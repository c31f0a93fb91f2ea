"""A run at one instant, as immutable values that any thread may keep. Reads, never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nbbacktest.core.enums import OrderStatus, OrderType, Side, TimeInForce
from nbbacktest.core.formats import money
from nbbacktest.core.records import Bar, Stamps
from nbbacktest.engine.analysis import Frame
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.order import levels_of
from nbbacktest.trading.portfolio import Position

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.trading.indicators import IndicatorList
    from nbbacktest.trading.record import CashFlow, Split


LAST_FILLS = 5
"""The number of the newest fills that a snapshot has."""


class PositionRow(NamedTuple):
    """A position that isn't flat.

    Attributes
    ----------
    size : float
        Units, negative if short.
    average_price : float
        Without commission.
    last : float
        The newest close.
    unrealized_pnl : float
        At that close, before costs.
    """

    strategy: str
    symbol: str
    size: float
    average_price: float
    last: float
    unrealized_pnl: float

    @classmethod
    def of(cls, position: Position, last: float) -> PositionRow:
        """The position at the close `last`."""
        size, average = position.size, position.average_price
        return cls(position.strategy, position.symbol, size, average, last, (last - average) * size)

    def __repr__(self) -> str:
        profit = f"last {self.last:g}, unrealized {self.unrealized_pnl:+.2f}"
        return f"<Position {self.symbol}: {self.size:g} at {self.average_price:g}, {profit}>"


class OrderRow(NamedTuple):
    """An order at one instant, frozen; its fields are those of `Order`. Those of a snapshot are open."""

    id: int
    strategy: str
    symbol: str
    side: Side
    size: float | None
    type: OrderType
    limit: float | None
    stop: float | None
    tag: str | None
    submitted_ns: int
    filled: float
    tif: TimeInForce
    reduce_only: bool
    stamps: Stamps = Stamps()
    touch: float | None = None
    status: OrderStatus = OrderStatus.OPEN
    reason: str | None = None

    @property
    def submitted(self) -> pd.Timestamp:
        """The instant of its submission."""
        return self.stamps.instant(self.submitted_ns)

    @classmethod
    def of(cls, order: Order) -> OrderRow:
        """The order as it is now."""
        return cls(
            order.id, order.strategy, order.symbol, order.side, order.size, order.type, order.limit, order.stop,
            order.tag, order.submitted_ns, order.filled, order.tif, order.reduce_only,
            order._stamps, order.touch, order.status, order.reason,  # noqa: SLF001 - hidden from strategies only
        )  # fmt: skip

    def __repr__(self) -> str:
        size = "all" if self.size is None else f"{self.size:g}"
        levels = "".join(f" {name} {level:g}" for name, level in levels_of(self))
        part = f", {self.filled:g} filled" if self.filled else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"<Order {self.id} {self.side} {size} {self.symbol} {self.type}{levels}: {self.status}{part}{reason}>"


class TradingLists(NamedTuple):
    """The lists of one desk, which only grow: a snapshot covers their first entries.

    Attributes
    ----------
    indicators : IndicatorList
        In the order in which strategies made them.
    """

    fills: list[Fill]
    orders: list[Order]
    flows: list[CashFlow]
    splits: list[Split]
    indicators: IndicatorList


@dataclass(frozen=True, slots=True)
class TradingSnapshot:
    """Everything that changes with trading, as of the last completed instant.

    Attributes
    ----------
    cash, equity : float
        In the account's currency; equity at the newest closes.
    held : tuple of Position
        The positions that aren't flat, in the order in which they were opened.
    closes : tuple of float
        The newest close for each of them.
    orders : tuple of OrderRow
        The open ones, in order of submission.
    n_fills : int
        Fills since the start.
    last_fills : tuple of Fill
        The newest five, oldest first.
    indicators : mapping
        By name, the newest value; NaN if there is none yet. Of several symbols or strategies, the name
        says which one it is.
    lists : TradingLists
        The lists of the desk.
    """

    cash: float
    equity: float
    held: tuple[Position, ...]
    closes: tuple[float, ...]
    orders: tuple[OrderRow, ...]
    n_fills: int
    last_fills: tuple[Fill, ...]
    indicators: Mapping[str, float | tuple[float, ...]]
    lists: TradingLists

    @property
    def positions(self) -> tuple[PositionRow, ...]:
        """The positions that aren't flat, as rows; made when asked for, since most snapshots aren't read."""
        return tuple(map(PositionRow.of, self.held, self.closes))


class Days(Protocol):
    """Knows the trading day of an instant."""

    def day(self, moment: int) -> date:
        """The trading day of one moment, nanoseconds UTC."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """The run as of its cursor. Everything in it belongs to one and the same instant, and never changes.

    Attributes
    ----------
    cursor, total : int
        The numbers of completed instants and of all instants.
    is_open : bool
        True in a live run, which may get more instants than are known.
    """

    cursor: int
    total: int
    _frame: Frame[TradingSnapshot]
    _stamps: Stamps
    _days: Days
    is_open: bool = False

    @property
    def time(self) -> pd.Timestamp | None:
        """The last completed instant; None before the first."""
        return self._stamps.instant(int(self._frame.axis.instants[self.cursor - 1])) if self.cursor else None

    @property
    def session_date(self) -> date | None:
        """The trading day of that instant, which belongs to the day that it ends; None before the first."""
        return self._days.day(int(self._frame.axis.instants[self.cursor - 1]) - 1) if self.cursor else None

    @property
    def progress(self) -> float:
        """Completed share of the run, from 0 to 1; 0 in a live run, whose end isn't known."""
        if self.is_open:
            return 0.0
        return self.cursor / self.total if self.total else 1.0

    @cached_property
    def bars(self) -> dict[str, Bar]:
        """The newest completed base bar of each symbol that has one."""
        return {bar.symbol: bar for bar, is_base in self._newest() if is_base}

    @cached_property
    def derived(self) -> dict[tuple[str, str], Bar]:
        """The newest completed derived bar by symbol and interval."""
        return {(bar.symbol, bar.interval): bar for bar, is_base in self._newest() if not is_base}

    def _newest(self) -> list[tuple[Bar, bool]]:
        pairs = zip(self._frame.axis.series, self._frame.rows, strict=True)
        return [(series.bar(n - 1), series.is_base) for series, n in pairs if n]

    @property
    def counts(self) -> dict[str, int]:
        """The number of base bars of each symbol that were delivered; warm-up isn't counted."""
        pairs = zip(self._frame.axis.series, self._frame.rows, strict=True)
        return {series.symbol: n - series.first for series, n in pairs if series.is_base}

    @property
    def cash(self) -> float:
        """Cash in the account."""
        return self._frame.agent.cash

    @property
    def equity(self) -> float:
        """Cash and positions at their newest closes."""
        return self._frame.agent.equity

    @property
    def positions(self) -> tuple[PositionRow, ...]:
        """The positions that aren't flat, frozen."""
        return self._frame.agent.positions

    @property
    def orders(self) -> tuple[OrderRow, ...]:
        """The open orders, frozen."""
        return self._frame.agent.orders

    @property
    def n_fills(self) -> int:
        """The number of fills since the start."""
        return self._frame.agent.n_fills

    @property
    def last_fills(self) -> tuple[Fill, ...]:
        """The newest five fills, oldest first."""
        return self._frame.agent.last_fills

    def stamp(self, ns: int) -> pd.Timestamp:
        """A time in nanoseconds UTC, such as a bar's `time_ns`, as the run shows times."""
        return self._stamps.begin(ns)

    @property
    def indicators(self) -> dict[str, float | tuple[float, ...]]:
        """The newest value of each indicator by name."""
        return dict(self._frame.agent.indicators)

    def __repr__(self) -> str:
        return f"<Snapshot {self.cursor} of {self.total} instants, {self.time}, equity {money(self.equity)}>"
