"""The places of a run's events, from its record: how many instants were completed when each was first seen.

Events of a session's start may have the time of the instant before; they are seen with the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from nbbacktest.core.enums import OrderStatus
from nbbacktest.core.records import Int64
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.record import RunNotes


def place_of_fill(fills: Sequence[Fill], number: int, notes: RunNotes) -> int:
    """The place of the fill of that number, counted from 0."""
    cursor = fills[number].index + 1
    edge = notes.edges.get(cursor)
    return cursor + (edge is not None and number >= edge.n_fills)


def place_of_order(order: Order, instants: Int64, notes: RunNotes) -> int:
    """The place of an order's submission."""
    cursor = _seen_at(order.submitted_ns, instants, notes)
    edge = notes.edges.get(cursor)
    return cursor + (edge is not None and order.id > edge.n_orders)


def place_of_rejection(order: Order, instants: Int64, notes: RunNotes) -> int | None:
    """The place at which the broker rejected an order; None if it didn't."""
    if order.status is not OrderStatus.REJECTED:
        return None
    cursor = _seen_at(order.closed_ns, instants, notes)
    edge = notes.edges.get(cursor)
    if edge is None:
        return cursor
    was_open = any(number == order.id for number, _ in edge.orders)
    return cursor + (was_open or order.id > edge.n_orders)


def _seen_at(moment: int, instants: Int64, notes: RunNotes) -> int:
    """The place with the instant at that moment, or if it lies between two, with the later one."""
    return 0 if moment <= notes.opens else int(instants.searchsorted(moment, side="left")) + 1
