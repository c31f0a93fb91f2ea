"""What trading looks like at one instant, as immutable values that any thread may keep. Reads, never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nbbacktest.core.enums import OrderType, Side, TimeInForce
from nbbacktest.core.records import Stamps
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.portfolio import Position

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.trading.entries import IndicatorList
    from nbbacktest.trading.record import CashFlow, Split


class PositionRow(NamedTuple):
    """A position that isn't flat.

    Attributes
    ----------
    size : float
        Units, negative where short.
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
    """An open order; what it has is what `Order` has."""

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
            order._stamps,  # noqa: SLF001 - hidden from strategies only
        )  # fmt: skip

    def __repr__(self) -> str:
        size = "all" if self.size is None else f"{self.size:g}"
        levels = "".join(f" {name} {v:g}" for name, v in (("limit", self.limit), ("stop", self.stop)) if v is not None)
        part = f", {self.filled:g} filled" if self.filled else ""
        return f"<Order {self.id} {self.side} {size} {self.symbol} {self.type}{levels}: open{part}>"


class TradingLists(NamedTuple):
    """The lists of one desk, which only grow: what a snapshot counts is their beginning.

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
        Those that aren't flat, in the order in which they were opened.
    closes : tuple of float
        The newest close of each.
    orders : tuple of OrderRow
        The open ones, in order of submission.
    n_fills : int
        Fills since the start.
    last_fills : tuple of Fill
        The newest five, oldest first.
    indicators : mapping
        By name, the newest value; NaN where there is none yet. Of several symbols or strategies, the name
        says which one it is.
    lists : TradingLists
        Of the desk that this is a snapshot of.
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
        """Those that aren't flat, as rows: put together when they are asked for, since few windows' are."""
        return tuple(map(PositionRow.of, self.held, self.closes))
