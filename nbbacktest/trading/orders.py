"""Orders and fills: what was asked for, and what happened. Records only; the broker changes them."""

from __future__ import annotations

from typing import NamedTuple

from nbbacktest.core.enums import OrderStatus, OrderType, Side, TimeInForce


class Order:
    """One order and its life so far. Compared by identity; changed by the broker alone.

    Attributes
    ----------
    id : int
        Rising from 1 in order of submission.
    strategy : str
        The name of the strategy that placed it.
    symbol : str
    side : Side
    size : float or None
        Units, positive. None: as many as the cash allows, settled at the fill.
    type : OrderType
    limit, stop : float or None
        Levels, where the type has them.
    tag : str or None
        The user's own mark.
    status : OrderStatus
    reason : str or None
        Why it was rejected or cancelled.
    submitted, closed : int
        Instants (nanoseconds UTC) of its submission and of its end; `closed` is 0 while it is open.
    fill_price : float or None
    closing : bool
        Whether it may only shrink a position: it never sells more than is held when it fills.
    """

    __slots__ = (
        "closed", "closing", "fill_price", "id", "limit", "reason", "side", "size", "status", "stop", "strategy",
        "submitted", "symbol", "tag", "tif", "type",
    )  # fmt: skip

    def __init__(
        self,
        id: int,  # noqa: A002 - the field's name
        strategy: str,
        symbol: str,
        side: Side,
        size: float | None,
        type: OrderType,  # noqa: A002 - the field's name
        *,
        limit: float | None = None,
        stop: float | None = None,
        tif: TimeInForce = TimeInForce.GTC,
        tag: str | None = None,
        submitted: int = 0,
        closing: bool = False,
    ) -> None:
        self.id, self.strategy, self.symbol, self.side, self.size, self.type = id, strategy, symbol, side, size, type
        self.limit, self.stop, self.tif, self.tag, self.submitted = limit, stop, tif, tag, submitted
        self.status = OrderStatus.OPEN
        self.reason: str | None = None
        self.closed = 0
        self.fill_price: float | None = None
        self.closing = closing

    @property
    def is_open(self) -> bool:
        """Whether it can still fill."""
        return self.status is OrderStatus.OPEN

    def __repr__(self) -> str:
        size = "all" if self.size is None else f"{self.size:g}"
        levels = "".join(f" {name} {v:g}" for name, v in (("limit", self.limit), ("stop", self.stop)) if v is not None)
        reason = f" ({self.reason})" if self.reason else ""
        return f"<Order {self.id} {self.side} {size} {self.symbol} {self.type}{levels}: {self.status}{reason}>"


class Fill(NamedTuple):
    """One execution.

    Attributes
    ----------
    index : int
        The run's instant that it happened at, counted from 0.
    time : int
        Stamp of the bar that it happened in, nanoseconds UTC.
    size, price : float
        Units (positive) and price per unit, slippage included.
    commission : float
        In the account's currency.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks a fill for
    time: int
    symbol: str
    side: Side
    size: float
    price: float
    commission: float
    order_id: int
    tag: str | None
    strategy: str

    @property
    def signed_size(self) -> float:
        """Units bought, negative where sold."""
        return self.size if self.side is Side.BUY else -self.size
