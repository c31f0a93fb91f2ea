"""Replays orders of a finished run: the terms and levels of an order at any instant.

Pure functions of a `RunRecord`: they read the order's events, and for a trailing stop the bars that moved it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.enums import OrderEventKind, OrderStatus
from nbbacktest.core.records import Bar, BarColumns, Stamps
from nbbacktest.trading.orders import Order, OrderEvent
from nbbacktest.trading.orders.rules import TradingRules
from nbbacktest.trading.orders.types import FillRules, trailed
from nbbacktest.trading.record import RunRecord

_FILLS = (OrderEventKind.FILLED, OrderEventKind.PARTIALLY_FILLED)


class BrokerRules(NamedTuple):
    """The rules that the broker of a run filled orders by."""

    fill: FillRules
    this_close: bool
    share: float | None
    trading: TradingRules

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BrokerRules:
        """The rules that a session config names; a key that it lacks has its default."""
        broker = config.get("broker", {})
        known = {name: broker[name] for name in ("fractional", "lot_size", "tick_size") if name in broker}
        fill = broker.get("fill", "next_open")
        matching = FillRules.of(fill, broker.get("limit_fill", "touch"), broker.get("stop_and_target", "pessimistic"))
        return cls(matching, fill == "this_close", broker.get("volume_share"), TradingRules(BrokerConfig(**known)))


def life_of(order: Order) -> list[OrderEvent]:
    """The events of `order`; for an order that was saved without events, one event that follows from its end."""
    if order.events or not order.closed_ns:
        return order.events
    kind = {
        OrderStatus.FILLED: OrderEventKind.FILLED,
        OrderStatus.REJECTED: OrderEventKind.REJECTED,
        OrderStatus.EXPIRED: OrderEventKind.EXPIRED,
    }.get(order.status, OrderEventKind.CANCELLED)
    return [OrderEvent(order.closed_ns, kind, order.reason, order.size, order.fill_price)]


def order_before(record: RunRecord, index: int, order: Order, rules: BrokerRules) -> Order:
    """A copy of `order` as the bar met it."""
    instant = int(record.instants[index])
    then = Order(
        order.id, order.strategy, order.symbol, order.side, order.size, order.type, limit=order.limit, stop=order.stop,
        touch=order.touch, trail=order.trail, trail_is_fraction=order.trail_is_fraction, tif=order.tif, tag=order.tag,
        submitted_ns=order.submitted_ns, begins_ns=order.begins_ns, expires_ns=order.expires_ns, reduce_only=order.reduce_only,
        is_forced=order.is_forced, _stamps=order._stamps,  # noqa: SLF001 - hidden from strategies only
    )  # fmt: skip
    then.parent, then.children, then.oco = order.parent, order.children, order.oco
    # Splits change open orders before anything fills at their instant; all else that happens there comes after.
    splits: dict[int, list[float]] = {}  # several ex-dates may come with one bar
    for split in record.splits:
        if split.symbol == order.symbol:
            splits.setdefault(int(record.instants[split.index]), []).append(split.ratio)
    set_at = order.submitted_ns
    for event in order.events:
        if event.time_ns > instant:
            break
        is_first = event.kind is OrderEventKind.SUBMITTED or (
            event.kind is OrderEventKind.ACCEPTED and order.parent is not None
        )
        due = splits.get(event.time_ns) if event.kind is OrderEventKind.REPLACED else None
        ratio = due.pop(0) if due else None
        if event.time_ns < instant or is_first or ratio is not None:
            then.filled *= ratio or 1.0
            then.size, then.limit, then.stop, then.trail, then.touch = event.terms
            # A split comes before the bar of its instant, which moves the level after it.
            set_at = event.time_ns - 1 if ratio is not None else event.time_ns
            if event.kind is OrderEventKind.TRIGGERED:
                then.triggered = True
            if event.kind in _FILLS:
                then.filled += event.size or 0.0
    if then.trail is not None and not then.triggered and then.stop is not None:
        then.stop = trailed_until(record.bars[order.symbol], then, set_at, instant, rules)
    return then


def trailed_until(bars: BarColumns, order: Order, since: int, until: int, rules: BrokerRules) -> float:
    """The level of a trailing stop before the bar that closed at `until`: behind the best of the bars since `since`."""
    first = int(np.searchsorted(bars.end, since, side="right"))
    last = int(np.searchsorted(bars.end, until, side="left"))
    if first >= last:
        return float(order.stop or 0.0)
    # Levels only come closer, and rounding to the tick keeps their order: the furthest price alone decides.
    return rules.trading.outward(trailed(order, _seen(bars, first, last)), order.side)


def _seen(bars: BarColumns, first: int, last: int) -> Bar:
    """The bars from row `first` up to `last` as one bar, which has the same effect on a trailing stop."""
    high, low = float(bars.high[first:last].max()), float(bars.low[first:last].min())
    return Bar(bars.symbol, bars.interval.name, 0, 0, high, high, low, low, 0.0, Stamps())


def level_path(order: Order, name: str) -> list[tuple[int, float | None]]:
    """The path of a level of `order` (one of `LEVELS`): (instant, level from then on), none while it was held."""
    told = [(event.time_ns, getattr(event.terms, name)) for event in order.events]
    if not told:
        return [(order.submitted_ns, getattr(order, name))]
    opened = next((event.time_ns for event in order.events if event.kind is OrderEventKind.ACCEPTED), None)
    if opened is None:
        return []
    path = [(max(time, opened), level) for time, level in told]
    return [step for number, step in enumerate(path) if not number or step[1] != path[number - 1][1]]


def stop_path(record: RunRecord, order: Order) -> list[tuple[int, float | None]]:
    """The path of the level of a trailing stop, which moves with its symbol's bars."""
    bars, rules, path = record.bars[order.symbol], BrokerRules.of(record.config), level_path(order, "stop")
    triggered = next((event.time_ns for event in order.events if event.kind is OrderEventKind.TRIGGERED), None)
    ends = [moment for moment in (triggered, order.closed_ns or None) if moment is not None]
    last = min(ends, default=int(record.instants[-1]))
    split_at = {int(record.instants[split.index]) for split in record.splits if split.symbol == order.symbol}
    whole: list[tuple[int, float | None]] = []
    for number, (since, level) in enumerate(path):
        whole.append((since, level))
        until = path[number + 1][0] if number + 1 < len(path) else last
        first, stop = (
            int(row) for row in np.searchsorted(bars.end, [since - (since in split_at), until], side="right")
        )
        # Its distance may have been replaced since: the distance in these terms counts.
        then = order_before(
            record, min(int(np.searchsorted(record.instants, until)), len(record.instants) - 1), order, rules
        )
        then.stop = level
        for row in range(first, stop):
            if then.expires_ns and bars.time[row] >= then.expires_ns:
                break
            moved = rules.trading.outward(trailed(then, _seen(bars, row, row + 1)), then.side)
            if moved != then.stop:
                then.stop = moved
                whole.append((int(bars.end[row]), moved))
    return whole
