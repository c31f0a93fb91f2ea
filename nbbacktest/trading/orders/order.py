"""Orders with their terms and lives, and fills. Records only; the broker changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nbbacktest.core.enums import OrderEventKind, OrderStatus, OrderType, Phase, Side, TimeInForce
from nbbacktest.core.records import Stamps

if TYPE_CHECKING:
    import pandas as pd

_SUBMITTED, _ACCEPTED, _HAS_FILLED = OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED, OrderEventKind.FILLED
LEVELS = ("limit", "stop", "touch")
"""The fields of an order that are prices."""
EVENT_FIELDS = 10  # the number of values of an event, its terms included
_OPEN, _HELD, _FILLED = OrderStatus.OPEN, OrderStatus.HELD, OrderStatus.FILLED
_IOC, _FOK = TimeInForce.IOC, TimeInForce.FOK


class OrderTerms(NamedTuple):
    """The terms of an order at one time, in fields named as those of `Order`."""

    size: float | None = None
    limit: float | None = None
    stop: float | None = None
    trail: float | None = None
    touch: float | None = None


class OrderEvent(NamedTuple):
    """One thing that happened to an order.

    Attributes
    ----------
    time : Timestamp
        The instant, as the run shows it; `time_ns` is the same in nanoseconds UTC.
    kind : OrderEventKind
    reason : str or None
        The reason, if the kind doesn't say it all.
    size : float or None
        Units of a fill, whole or in part.
    price : float or None
        The price of a fill; of a trigger, the level that was reached.
    terms : OrderTerms
        The order's terms from then on.
    """

    time_ns: int
    kind: OrderEventKind
    reason: str | None = None
    size: float | None = None
    price: float | None = None
    terms: OrderTerms = OrderTerms()
    stamps: Stamps = Stamps()

    @property
    def time(self) -> pd.Timestamp:
        """The instant, as the run shows it."""
        return self.stamps.instant(self.time_ns)


class Order(msgspec.Struct, eq=False):
    """One order and its life so far. Compared by identity; changed by the broker alone.

    Attributes
    ----------
    id : int
        Rising from 1 in order of submission.
    strategy : str
        The name of the strategy that placed it, or whose position it liquidates.
    symbol : str
    side : Side
    size : float or None
        Units, positive. None: as many as the cash allows, settled at the first fill; of a bracket's exit, as many as
        the entry opens.
    type : OrderType
    limit, stop, touch : float or None
        The levels that its type has; None for the others. A trailing stop's `stop` is its present level.
    trail : float or None
        The distance of a trailing stop: in price, or a fraction if `trail_is_fraction`.
    best : float or None
        The best price that a trailing stop has followed since it was placed: for a sell order the highest one, for a buy
        order the lowest. Its distance is measured from there, also after it was replaced.
    tif : TimeInForce
    begins, expires : Timestamp or None
        The times from which and until which it can fill; None for no bound.
    tag : str or None
        The user's own mark.
    reduce_only : bool
        True if it may only shrink a position: it never trades more than is held when it fills.
    is_forced : bool
        True if the broker placed it, to meet a margin call.
    parent, children
        A bracket's entry, and its exits.
    oco : list of Order or None
        All orders, itself included, of which one's fill cancels the others.
    status : OrderStatus
    reason : str or None
        The reason why it was rejected, cancelled or expired, or the payment of a delisting.
    triggered : bool
        True if its stop, or its touch, has been reached.
    filled : float
        Units so far.
    fill_price : float or None
        Their average price.
    submitted, closed : Timestamp or None
        Instants of its submission and of its end; `closed` is None while it is open.
    submitted_ns, begins_ns, expires_ns, closed_ns : int
        The same times in nanoseconds UTC, 0 for none.
    """

    id: int
    strategy: str
    symbol: str
    side: Side
    size: float | None
    type: OrderType
    _stamps: Stamps = Stamps()
    limit: float | None = None
    stop: float | None = None
    trail: float | None = None
    trail_is_fraction: bool = False
    touch: float | None = None
    tif: TimeInForce = TimeInForce.GTC
    tag: str | None = None
    submitted_ns: int = 0
    begins_ns: int = 0
    expires_ns: int = 0
    reduce_only: bool = False
    is_forced: bool = False
    parent: Order | None = None
    children: tuple[Order, ...] = ()
    oco: list[Order] | None = None
    status: OrderStatus = OrderStatus.OPEN
    reason: str | None = None
    triggered: bool = False
    filled: float = 0.0
    fill_price: float | None = None
    closed_ns: int = 0
    best: float | None = None
    # Flat, since many orders' events would keep the garbage collector busy; `events` puts them in form. None: the
    # usual life of a market order, accepted at once and filled whole, which its fields tell.
    _life: list[Any] | tuple[()] | None = ()
    _asked: float | None = None  # the size that it was submitted with, if `begin` was called

    def __reduce__(self) -> tuple[Any, ...]:
        # Brackets and their exits refer to each other: an unpickled order must exist before it has its fields.
        return blank_order, (), (None, {name: getattr(self, name) for name in self.__struct_fields__})

    @property
    def submitted(self) -> pd.Timestamp | None:
        """The time at which it was submitted; None before."""
        return self._shown(self.submitted_ns)

    @property
    def closed(self) -> pd.Timestamp | None:
        """The time at which it was filled whole, or ended otherwise; None while it is open."""
        return self._shown(self.closed_ns)

    @property
    def begins(self) -> pd.Timestamp | None:
        """The time from which it can fill; None for no bound."""
        return self._shown(self.begins_ns)

    @property
    def expires(self) -> pd.Timestamp | None:
        """The time until which it can fill; None for no bound."""
        return self._shown(self.expires_ns)

    def _shown(self, ns: int) -> pd.Timestamp | None:
        return self._stamps.instant(ns) if ns else None

    @property
    def life(self) -> Sequence[Any]:
        """The events of the order's life end to end, `EVENT_FIELDS` values each: their fields up to `terms`, then those of the terms."""
        if self._life is not None:
            return self._life
        life = self._beginnings()
        # The broker, in another thread, may have set only one of the two yet.
        if self.status is _FILLED and self.closed_ns:
            levels = (None,) * (len(OrderTerms._fields) - 1)
            life += (self.closed_ns, _HAS_FILLED, None, self.filled, self.fill_price, self.size, *levels)
        return life

    @property
    def events(self) -> list[OrderEvent]:
        """The events of the order's life, oldest first."""
        life = self.life
        starts = range(0, len(life), EVENT_FIELDS)
        return [
            OrderEvent._make((*life[at : at + 5], OrderTerms._make(life[at + 5 : at + EVENT_FIELDS]), self._stamps))
            for at in starts
        ]

    @events.setter
    def events(self, events: list[OrderEvent]) -> None:
        self._life = [value for event in events for value in (*event[:5], *event.terms)]

    def begin(self) -> None:
        """Write into the order's life that it was submitted and accepted at once, as most orders are."""
        self._asked = self.size
        self._life = None if self.limit is self.stop is self.trail is self.touch is None else self._beginnings()

    def _beginnings(self) -> list[Any]:
        time, terms = self.submitted_ns, (self._asked, self.limit, self.stop, self.trail, self.touch)
        return [time, _SUBMITTED, None, None, None, *terms, time, _ACCEPTED, None, None, None, *terms]

    def end_filled(self, time: int, size: float, price: float) -> None:
        """Write into the order's life that its last `size` units have filled."""
        self.status, self.closed_ns = _FILLED, time
        if self._life is not None:
            self.note(time, _HAS_FILLED, None, size, price)

    def note(
        self,
        time: int,
        kind: OrderEventKind,
        reason: str | None = None,
        size: float | None = None,
        price: float | None = None,
    ) -> None:
        """Write an event into its life, with its terms from then on."""
        life = self._life
        if not life:
            life = self._life = self._beginnings() if life is None else []
        life += (time, kind, reason, size, price, self.size, self.limit, self.stop, self.trail, self.touch)

    @property
    def is_open(self) -> bool:
        """True if the order can still fill."""
        return self.status is _OPEN or self.status is _HELD

    @property
    def is_immediate(self) -> bool:
        """True if the order has one chance only, the next open of its symbol."""
        return self.tif is _IOC or self.tif is _FOK

    @property
    def remaining(self) -> float | None:
        """Units still to fill; None if the size isn't settled yet."""
        return None if self.size is None else self.size - self.filled

    def __repr__(self) -> str:
        size = "all" if self.size is None else f"{self.size:g}"
        levels = "".join(f" {name} {level:g}" for name, level in levels_of(self))
        part = f", {self.filled:g} filled" if self.filled and self.status is not OrderStatus.FILLED else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"<Order {self.id} {self.side} {size} {self.symbol} {self.type}{levels}: {self.status}{part}{reason}>"


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One execution.

    Attributes
    ----------
    index : int
        The run's instant that it happened at, counted from 0.
    time : Timestamp
        The stamp of the bar that it happened in, as the bar's own `time`; `time_ns` is the same in nanoseconds UTC.
    size, price : float
        Units (positive) and price per unit, slippage included.
    commission : float
        In the account's currency.
    phase : Phase or None
        The part of that bar that it happened in: at its open, inside it, or at its close. None in results that were saved
        before fills had a phase.
    """

    index: int
    time_ns: int
    symbol: str
    side: Side
    size: float
    price: float
    commission: float
    order_id: int
    tag: str | None
    strategy: str
    phase: Phase | None = None
    _stamps: Stamps = Stamps()

    @property
    def time(self) -> pd.Timestamp:
        """The stamp of the bar that it happened in."""
        return self._stamps.begin(self.time_ns)

    @property
    def signed_size(self) -> float:
        """Units bought, negative if sold."""
        return self.size if self.side is Side.BUY else -self.size

    def __repr__(self) -> str:
        tag = "" if self.tag is None else f" {self.tag!r}"
        fee = f", commission {self.commission:g}" if self.commission else ""
        return f"<Fill of order {self.order_id}{tag} {self.time}: {self.side} {self.size:g} {self.symbol} at {self.price:g}{fee}>"


def blank_order() -> Order:
    """An order whose fields are still to be set."""
    return Order(0, "", "", Side.BUY, None, OrderType.MARKET)


def levels_of(order: Any) -> list[tuple[str, float]]:
    """The levels that an order, or a row that tells of one, has: (name, level)."""
    return [(name, level) for name in LEVELS if (level := getattr(order, name)) is not None]
