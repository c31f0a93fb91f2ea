"""Replays orders of a finished run: their terms and levels at any instant, and the effect of one bar on them, in words.

Pure functions of a `RunRecord`: they read the order's events, and for a trailing stop the bars that moved it.
`nbbacktest.trading.matching` alone decides if a bar fills an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.enums import OrderEventKind, OrderStatus, OrderType, Side
from nbbacktest.core.records import Bar, BarColumns, Stamps
from nbbacktest.trading.matching import hit_of, is_over, match
from nbbacktest.trading.orders import Fill, Order, OrderEvent
from nbbacktest.trading.orders.rules import TradingRules
from nbbacktest.trading.orders.types import AT_OPEN, RULES, FillRules, number_words, trailed
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


_ENDS = (OrderEventKind.REJECTED, OrderEventKind.CANCELLED, OrderEventKind.EXPIRED)
_LINKED = "one cancels the other"


class OrderOutcome(NamedTuple):
    """One order on one bar.

    Attributes
    ----------
    then : Order
        The order as it was before the bar: its terms, whether it had triggered, how much of it was filled.
    outcome : str
        ``filled``, ``partially filled``, ``rejected``, ``cancelled``, ``expired``, ``triggered``, ``missed``, ``capped``,
        ``not yet live``, ``held`` or ``waits``.
    missed_by : float or None
        The distance between the bar and the level of the order; 0 if the level was touched and had to be crossed.
    why : str
        The reason in words, with the numbers.
    """

    then: Order
    outcome: str
    missed_by: float | None
    why: str


def explain_orders(record: RunRecord, index: int, bars: Mapping[str, Bar | None]) -> list[OrderOutcome]:
    """The outcome of every order that was open, or was placed, at the instant of that number, in order of submission.

    Parameters
    ----------
    index
        The run's instant, counted from 0.
    bars
        The symbols to explain, each with its base bar that closed at the instant, or None.
    """
    rules, instant = BrokerRules.of(record.config), int(record.instants[index])
    present = [
        order
        for order in record.orders
        if order.symbol in bars
        and order.submitted_ns <= instant
        and (not order.closed_ns or order.closed_ns >= instant)
    ]
    return [_explain(record, index, order, bars[order.symbol], rules) for order in present]


def _explain(record: RunRecord, index: int, order: Order, bar: Bar | None, rules: BrokerRules) -> OrderOutcome:
    instant = int(record.instants[index])
    then = order_before(record, index, order, rules)
    events = [event for event in life_of(order) if event.time_ns == instant]
    fills = [fill for fill in _fills_of(record, index) if fill.order_id == order.id]
    if order.type is OrderType.DELISTING:
        told = next((event.reason for event in events if event.reason), "delisted")
        return OrderOutcome(
            then,
            "filled",
            None,
            f"{number_words(order.filled)} at {number_words(order.fill_price)}: {told}; no order of a strategy",
        )
    if fills and bar is not None:
        return _filled(then, events, fills, bar, rules, is_decided_here=order.submitted_ns == instant)
    life = life_of(order)
    accepted = next((event.time_ns for event in life if event.kind is OrderEventKind.ACCEPTED), None)
    entry = order.parent
    is_held = entry is not None and (accepted is None or accepted > instant)
    is_born = entry is not None and accepted == instant
    met = None if order.submitted_ns == instant or is_held else bar
    if met is not None and entry is not None and is_born and not _entered_at_open(record, index, entry, met, rules):
        met = None
    ending = next((event for event in events if event.kind in _ENDS), None)
    if ending is not None:
        return _ended(then, ending, met, rules)
    if order.submitted_ns == instant:
        because = next((f" ({event.reason})" for event in events if event.reason), "")
        return OrderOutcome(
            then, "not yet live", None, f"placed on this bar{because}; it can fill from the next bar on"
        )
    if entry is not None and is_held:
        return OrderOutcome(then, "held", None, f"until its entry, order {entry.id}, fills")
    if bar is None:
        return OrderOutcome(then, "waits", None, f"{order.symbol} had no bar that closed then; for the next one")
    if met is None:
        born = f"came to life inside this bar, with the fill of its entry, order {entry.id}" if entry else "not live"
        return OrderOutcome(then, "not yet live", None, f"{born}; it can fill from the next bar on")
    price = match(then, met, rules.fill)
    return _missed(then, met, rules) if price is None else _capped(record, index, then, price, met, rules)


def _fills_of(record: RunRecord, index: int) -> list[Fill]:
    return [fill for fill in record.fills if fill.index == index]


def _entered_at_open(record: RunRecord, index: int, entry: Order, bar: Bar, rules: BrokerRules) -> bool:
    before = order_before(record, index, entry, rules)
    hit = hit_of(before, bar, rules.fill)
    return hit is not None and hit[4] == AT_OPEN


# -- the words ----------------------------------------------------------------------------------------------


def _filled(
    then: Order, events: list[OrderEvent], fills: list[Fill], bar: Bar, rules: BrokerRules, *, is_decided_here: bool
) -> OrderOutcome:
    size, fee = sum(fill.size for fill in fills), sum(fill.commission for fill in fills)
    price = fills[0].price
    by_rule = bar.close if is_decided_here and rules.this_close else match(then, bar, rules.fill)
    how = (
        "by this_close, the close of the bar that it was decided on"
        if is_decided_here
        else RULES[then.type].fill_words(then, bar, price if by_rule is None else by_rule, rules.fill)
    )
    words = [f"{number_words(size)} at {number_words(price)}: {how}"]
    if by_rule is not None and price != by_rule:
        worse = (price - by_rule) * _sign(then)
        words.append(
            f"{number_words(abs(worse))} {'worse' if worse > 0 else 'better'} than {number_words(by_rule)} by slippage"
        )
    if fee:
        words.append(f"commission {fee:,.2f}")
    whole = any(event.kind is OrderEventKind.FILLED for event in events)
    asked = then.size
    if not whole:
        left = (asked or 0.0) - then.filled - size
        share = (
            ""
            if rules.share is None
            else f" ({number_words(rules.share)} of the bar's volume of {number_words(bar.volume)})"
        )
        words.append(f"the volume cap{share} left {number_words(left)} of {number_words(asked or 0.0)}")
        words += [event.reason for event in events if event.kind in _ENDS and event.reason]
    return OrderOutcome(then, "filled" if whole else "partially filled", None, "; ".join(words))


def _ended(then: Order, ending: OrderEvent, bar: Bar | None, rules: BrokerRules) -> OrderOutcome:
    reason = ending.reason or str(ending.kind)
    if bar is None or is_over(then, bar):
        return OrderOutcome(then, str(ending.kind), None, reason)
    price = match(then, bar, rules.fill)
    if price is None:
        missed = _missed(then, bar, rules)
        return OrderOutcome(
            then, str(ending.kind), missed.missed_by, f"{reason}; on this bar, before: {missed.outcome} {missed.why}"
        )
    if reason.startswith(_LINKED):
        rule = rules.fill.sequence
        return OrderOutcome(
            then,
            str(ending.kind),
            None,
            f"{reason}; this bar reached it too, at {number_words(price)}, and {rule} put the other first",
        )
    if ending.kind is OrderEventKind.REJECTED:
        reason = f"to be filled at {number_words(price)} ({RULES[then.type].fill_words(then, bar, price, rules.fill)}), but refused: {reason}"
    return OrderOutcome(then, str(ending.kind), None, reason)


def _capped(record: RunRecord, index: int, then: Order, price: float, bar: Bar, rules: BrokerRules) -> OrderOutcome:
    how = RULES[then.type].fill_words(then, bar, price, rules.fill)
    if rules.share is None:
        return OrderOutcome(then, "waits", None, f"{how}, and it did not fill")
    used = sum(fill.size for fill in _fills_of(record, index) if fill.symbol == then.symbol)
    room = max(rules.share * bar.volume - used, 0.0)
    cap = f"{number_words(rules.share)} of the bar's volume of {number_words(bar.volume)}"
    why = f"{how}, but the volume cap, {cap}, left {number_words(room)} beside {number_words(used)} filled for others; it waits on"
    return OrderOutcome(then, "capped", None, why)


def _missed(then: Order, bar: Bar, rules: BrokerRules) -> OrderOutcome:
    if is_over(then, bar):
        return OrderOutcome(then, "waits", None, "the bar began when its time was over already")
    return OrderOutcome(then, *RULES[then.type].miss_words(then, bar, rules.fill))


def _sign(order: Order) -> float:
    return 1.0 if order.side is Side.BUY else -1.0
