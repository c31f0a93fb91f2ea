"""Explains the effect of one bar on an order: from the order's events and the bar, with the rules that the broker fills by.

Pure functions of a `RunRecord`; `nbbacktest.trading.matching` alone decides if a bar fills an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nbbacktest.core.enums import OrderEventKind, OrderType, Side
from nbbacktest.core.records import Bar
from nbbacktest.trading.matching import hit_of, is_over, match
from nbbacktest.trading.order_replay import BrokerRules, life_of, order_before
from nbbacktest.trading.orders import Fill, Order, OrderEvent
from nbbacktest.trading.orders.types import AT_OPEN, RULES, number_words
from nbbacktest.trading.record import RunRecord

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
