"""Order types: for each, when a bar fills it, at which price, in which part of the bar, and in which words. Pure; knows no cash.

| order | rule |
|---|---|
| market | the open; by choice the close |
| limit buy L | low <= L: min(open, L); sell mirrored; by choice only if low < L |
| stop buy S | high >= S: max(open, S), so that a gap fills at the open; sell mirrored |
| stop-limit | triggers as a stop does, then is a limit; in one bar only if its path leaves no doubt |
| trailing stop | a stop at the level that earlier bars have set |
| market if touched T | of a buy order low <= T: min(open, T); sell mirrored |
| limit if touched | triggers as market if touched does, then is a limit, in that bar too |
| on open, on close | the open of the session's first bar; the close of the bar that ends it |

To add a type, write its member of `OrderType`, the class of its rule, and its line in `RULES`. The rule says which of
``limit``, ``stop``, ``touch``, ``trail`` and ``at`` ask for the type, too; everything else asks `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from nbbacktest.core.enums import OrderType, Phase, Side, TimeInForce
from nbbacktest.core.records import Bar
from nbbacktest.trading.orders.order import Order

_BUY, _IOC, _FOK = (
    Side.BUY,
    TimeInForce.IOC,
    TimeInForce.FOK,
)  # names of their own, since looking up an enum's member costs as much as a rule
AT_OPEN, INSIDE, AT_CLOSE = range(3)
PHASES = (Phase.OPEN, Phase.INSIDE, Phase.CLOSE)

Reach = tuple[float, float]
"""A bar concerns an order if its low is at or under the first, or its high at or over the second."""
EVERY_BAR: Reach = (inf, inf)
NO_BAR: Reach = (-inf, inf)


class FillRules(NamedTuple):
    """The choices of the config that hold for all orders of a run.

    Attributes
    ----------
    at_close : bool
        True if market orders fill at the close of their bar instead of its open.
    strict : bool
        True if a price beyond a limit is needed, not one at it.
    sequence : str
        The rule for which of two linked orders comes first if one bar reaches both.
    """

    at_close: bool = False
    strict: bool = False
    sequence: Literal["pessimistic", "path", "finer"] = "pessimistic"

    @classmethod
    def of(cls, fill: str, limit_fill: str, stop_and_target: Literal["pessimistic", "path", "finer"]) -> FillRules:
        """The rules that a config's broker section names."""
        return cls(fill == "next_close", limit_fill == "cross", stop_and_target)


class Missed(NamedTuple):
    """The change that a bar brings to an order that it concerns and doesn't fill.

    Attributes
    ----------
    cancelled : str or None
        The reason why the order ends with this bar; None if it doesn't.
    triggered : bool
        True if the bar has triggered the order.
    trailed : tuple or None
        The new level of a trailing stop, before rounding to the tick, and the best price that it has followed.
    """

    cancelled: str | None = None
    triggered: bool = False
    trailed: tuple[float, float] | None = None


class MissWords(NamedTuple):
    """An order that a bar didn't fill, in words.

    Attributes
    ----------
    outcome : str
        ``missed``, ``triggered`` or ``waits``.
    missed_by : float or None
        The distance between the bar and the level; 0 if the level was touched and had to be crossed.
    why : str
    """

    outcome: str
    missed_by: float | None
    why: str


class OrderRule:
    """The rule by which orders of one type fill.

    Attributes
    ----------
    prices : frozenset of str or None
        The prices that a strategy gives to ask for the type: some of ``limit``, ``stop``, ``touch`` and ``trail``, none
        for a market order. None if no strategy can place it.
    at : str or None
        The word that a strategy gives beside them as ``at=``.
    changes_on_a_miss : bool
        True if a bar that concerns the order, and doesn't fill it, changes it.
    is_stop : bool
        True if it is a stop, which comes before limits if the order of prices inside a bar isn't known.
    is_for_a_session : bool
        True if it lives for one session, and fills at one moment of it.
    is_for_the_next_session : bool
        True if that is the next session that opens, not the present one.
    may_be_immediate : bool
        True if ``ioc`` and ``fok`` make sense.
    lateness : str or None
        The reason why it expires, if its time in force doesn't say it.
    """

    prices: frozenset[str] | None = None
    at: str | None = None
    changes_on_a_miss = False
    is_stop = False
    is_for_a_session = False
    is_for_the_next_session = False
    may_be_immediate = False
    lateness: str | None = None

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The price at which `bar` fills `order`, before slippage; None if it doesn't."""
        raise NotImplementedError

    def reach(self, order: Order) -> Reach:
        """The reach of `order`: a bar outside of it neither fills nor changes the order."""
        return EVERY_BAR

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """The part of the bar that a fill at `price` is in: `AT_OPEN`, so that all of the bar follows, `INSIDE` or `AT_CLOSE`.

        `order` is as the bar met it, and `price` the result of `price()`.
        """
        return AT_OPEN if price == bar.open else INSIDE

    def missed(self, order: Order, bar: Bar) -> Missed | None:
        """The change that `bar` brings to `order`, which it concerns and doesn't fill; None for no change."""
        return None

    def fill_words(self, order: Order, bar: Bar, price: float, rules: FillRules) -> str:
        """The reason why `bar` fills `order` at `price`, in words."""
        return "the close" if self.phase(order, bar, price, rules) == AT_CLOSE else "the open"

    def miss_words(self, order: Order, bar: Bar, rules: FillRules) -> MissWords:
        """The reason why `bar` doesn't fill `order`, in words."""
        return MissWords("waits", None, "for its symbol's next bar")


class MarketRule(OrderRule):
    """A market order: the next open, or by choice the next close."""

    prices = frozenset()
    may_be_immediate = True

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The open, or the close."""
        return bar.close if rules.at_close and not order.is_forced else bar.open

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """At the open, or at the close."""
        return AT_CLOSE if rules.at_close and not order.is_forced else AT_OPEN


class OnOpenRule(OrderRule):
    """A market order for the open of the next session's first bar."""

    prices = frozenset()
    at = "open"
    is_for_a_session = True
    is_for_the_next_session = True
    lateness = "the session ended without a bar of the symbol"

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The open of the first bar that ends after the session's open."""
        return bar.open if bar.end_ns > order.begins_ns else None

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """At the open."""
        return AT_OPEN

    def miss_words(self, order: Order, bar: Bar, rules: FillRules) -> MissWords:
        """The words for an order that waits for its session."""
        return MissWords("waits", None, f"for the session that opens at {_moment(order.begins_ns, bar)}")


class OnCloseRule(OrderRule):
    """A market order for the close of the bar that ends its session."""

    prices = frozenset()
    at = "close"
    is_for_a_session = True
    lateness = "no bar of the symbol closed with the session"

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The close of the bar that ends the session."""
        return bar.close if bar.end_ns >= order.expires_ns else None

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """At the close."""
        return AT_CLOSE

    def miss_words(self, order: Order, bar: Bar, rules: FillRules) -> MissWords:
        """The words for an order that waits for its session's close."""
        return MissWords("waits", None, f"for the close of its session at {_moment(order.expires_ns, bar)}")


class DelistingRule(OrderRule):
    """The order that closes a position in a delisted symbol: no bar fills it, the broker does."""

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """Return None: no bar fills it, the broker does."""
        return None

    def reach(self, order: Order) -> Reach:
        """The reach that no bar has."""
        return NO_BAR


class LimitRule(OrderRule):
    """A limit order: its level or better."""

    prices = frozenset({"limit"})
    may_be_immediate = True

    level: Callable[[Order], float] = staticmethod(attrgetter("limit"))
    """The worst price that it fills at. In C code, since many limits are asked for it at every bar that reaches one."""
    threshold: Callable[[Order], float] = level
    """The price that the market must come to. The methods below ask it, so that a subclass changes the rule here alone."""

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The level, or the open if that is better; an immediate order fills at the open alone."""
        threshold, opened = self.threshold(order), bar.open
        if order.side is _BUY:
            low = bar.low
            if low > threshold or (low == threshold and rules.strict):
                return None
            level = self.level(order)
            price = opened if opened < level else level
        else:
            high = bar.high
            if high < threshold or (high == threshold and rules.strict):
                return None
            level = self.level(order)
            price = opened if opened > level else level
        return price if price == opened or not order.is_immediate else None

    def reach(self, order: Order) -> Reach:
        """Bars that come to the threshold; every bar if the order is immediate."""
        if order.tif is _IOC or order.tif is _FOK:
            return EVERY_BAR
        return (self.threshold(order), inf) if order.side is _BUY else (-inf, self.threshold(order))

    def missed(self, order: Order, bar: Bar) -> Missed | None:
        """An immediate order ends with its first bar."""
        if not order.is_immediate:
            return None
        return Missed(cancelled=f"{order.tif}: the open of {bar.open:g} is beyond the limit of {order.limit:g}")

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """At the open if the price is the open, but inside the bar if the level is the open and has to be crossed."""
        if price != bar.open:
            return INSIDE
        return INSIDE if rules.strict and price == self.level(order) and not order.is_immediate else AT_OPEN

    def fill_words(self, order: Order, bar: Bar, price: float, rules: FillRules) -> str:
        """The price of the bar that reached the level, in words."""
        level = self.level(order)
        if price != level and self.phase(order, bar, price, rules) == AT_OPEN:
            return f"the open {number_words(bar.open)} was better than the limit {number_words(level)} already"
        return f"{_extreme(bar, falls=order.side is _BUY)} reached the limit {number_words(level)}"

    def miss_words(self, order: Order, bar: Bar, rules: FillRules) -> MissWords:
        """The distance by which the bar missed the level, in words."""
        level, buys = self.threshold(order), order.side is _BUY
        away = bar.low - level if buys else level - bar.high
        if away > 0:
            stayed = f"stayed {'above' if buys else 'below'} the limit {number_words(level)}"
            return MissWords("missed", away, f"by {number_words(away)}: {_extreme(bar, falls=buys)} {stayed}")
        if away == 0 and rules.strict:
            why = f"touched, not crossed: {_extreme(bar, falls=buys)} is the limit itself, and limit_fill is 'cross'"
            return MissWords("missed", 0.0, why)
        why = f"its one chance was the open {number_words(bar.open)}, beyond the limit {number_words(level)}"
        return MissWords("missed", abs(bar.open - level), why)


_LIMIT = LimitRule()


class TriggerRule(OrderRule):
    """An order that waits for a trigger, and is a market or a limit order from there on.

    Parameters
    ----------
    name
        The field of `Order` that holds the trigger's level. A market that gets worse reaches a ``stop``, one that gets
        better a ``touch``.
    limited
        True if it is a limit order once it has triggered.
    """

    def __init__(self, name: Literal["stop", "touch"], *, limited: bool = False) -> None:
        self.name = name
        self.prices = frozenset({name, "limit"} if limited else {name})
        self.is_stop = name == "stop"
        self.then = _LIMIT if limited else None
        self.changes_on_a_miss = limited

    def level(self, order: Order) -> float:
        """The trigger's level."""
        return getattr(order, self.name)  # type: ignore[no-any-return]  # orders of the type have one

    def falls(self, order: Order) -> bool:
        """True if the price has to fall to the level; else it has to rise to it."""
        return (order.side is _BUY) is not self.is_stop

    def trigger(self, order: Order, bar: Bar) -> float | None:
        """The price at which `bar` triggers `order`: its level, or the open if that is beyond it; None if it doesn't."""
        level, opened = self.level(order), bar.open
        if self.falls(order):
            if bar.low > level:
                return None
            return opened if opened < level else level
        if bar.high < level:
            return None
        return opened if opened > level else level

    def price(self, order: Order, bar: Bar, rules: FillRules) -> float | None:
        """The trigger's price, or the price that the limit allows after it; for the rest of an order, a later bar's open."""
        then = self.then
        if order.triggered:
            return bar.open if then is None else then.price(order, bar, rules)
        at = self.trigger(order, bar)
        return at if at is None or then is None else self._limited(order, bar, at, then, rules)

    def _limited(self, order: Order, bar: Bar, at: float, then: LimitRule, rules: FillRules) -> float | None:
        """The limit's price in the bar that triggers it at `at`: after the open, only prices that surely follow count."""
        if at == bar.open:
            return then.price(order, bar, rules)
        limit, threshold, sign = then.level(order), then.threshold(order), 1.0 if order.side is _BUY else -1.0
        room = (limit - at) * sign
        if room > 0 or (room == 0 and not rules.strict):
            return at
        back = (threshold - self._surely_after(order, bar)) * sign
        return limit if back > 0 or (back == 0 and not rules.strict) else None

    def _surely_after(self, order: Order, bar: Bar) -> float:
        """The best price that surely follows a trigger inside `bar`.

        Of a stop it is the close. A touch is reached from the worse side, so that the bar's best price follows it.
        """
        return bar.close if self.is_stop else bar.low if order.side is _BUY else bar.high

    def reach(self, order: Order) -> Reach:
        """Bars that come to the level, then those of the limit; every bar for the rest of a market order."""
        if order.triggered:
            return EVERY_BAR if self.then is None else self.then.reach(order)
        return (self.level(order), inf) if self.falls(order) else (-inf, self.level(order))

    def phase(self, order: Order, bar: Bar, price: float, rules: FillRules) -> int:
        """The limit's phase if the whole bar follows the trigger; else inside, and at the open for a market order at that price."""
        if price != bar.open:
            return INSIDE
        if self.then is None:
            return AT_OPEN
        if order.triggered or self.trigger(order, bar) == bar.open:
            return self.then.phase(order, bar, price, rules)
        return INSIDE

    def missed(self, order: Order, bar: Bar) -> Missed | None:
        """The trigger, if the bar reaches it but not the limit."""
        if order.triggered or self.trigger(order, bar) is None:
            return None
        return Missed(triggered=True)

    def fill_words(self, order: Order, bar: Bar, price: float, rules: FillRules) -> str:
        """The price of the bar that reached the trigger, in words."""
        if order.triggered:
            if self.then is not None:
                return self.then.fill_words(order, bar, price, rules)
            return f"the open; its {self.name} had triggered before"
        level = self.level(order)
        if price != level and self.phase(order, bar, price, rules) == AT_OPEN:
            return f"the open {number_words(bar.open)} was beyond the {self.name} {number_words(level)} already"
        reached = f"{_extreme(bar, falls=self.falls(order))} reached the {self.name} {number_words(level)}"
        if self.then is None:
            return reached
        limit = f"the limit {number_words(self.then.level(order))}"
        return f"{reached}, and {f'{limit} allowed it' if price == self.trigger(order, bar) else f'{limit} after it'}"

    def miss_words(self, order: Order, bar: Bar, rules: FillRules) -> MissWords:
        """The distance by which the bar missed the trigger, or the reason why the limit waits on, in words."""
        if order.triggered and self.then is not None:
            return self.then.miss_words(order, bar, rules)
        level, falls = self.level(order), self.falls(order)
        if self.then is not None and self.trigger(order, bar) is not None:
            why = f"{_extreme(bar, falls=falls)} reached the {self.name} {number_words(level)}; "
            return MissWords("triggered", None, f"{why}{self._limit_words(order, bar, self.then, rules)}")
        away = abs(level - (bar.low if falls else bar.high))
        missed = f"missed the {self._level_words(order)} by {number_words(away)}"
        return MissWords("waits", away, f"for the trigger: {_extreme(bar, falls=falls)} {missed}")

    def _level_words(self, order: Order) -> str:
        return f"{self.name} {number_words(self.level(order))}"

    def _limit_words(self, order: Order, bar: Bar, then: LimitRule, rules: FillRules) -> str:
        """The reason why the limit of an order didn't fill in the bar that triggered it, in words."""
        limit, sign = then.level(order), 1.0 if order.side is _BUY else -1.0
        best = bar.low if order.side is _BUY else bar.high
        if self.trigger(order, bar) == bar.open or (not self.is_stop and best == limit):
            why = f"the limit {then.miss_words(order, bar, rules).why}"
        elif not self.is_stop:
            why = f"{_extreme(bar, falls=sign > 0)} did not reach the limit {number_words(limit)}"
        elif (bar.close - limit) * sign > 0:
            where = f"the close {number_words(bar.close)} was {'above' if sign > 0 else 'below'} the limit {number_words(limit)}"
            why = f"{where}, and what came before the trigger is unknown"
        else:
            why = f"the limit {number_words(limit)} was not surely reached after the trigger"
        return f"{why}, so the limit waits for the next bar"


class TrailingStopRule(TriggerRule):
    """A stop that follows the market: a bar meets the level that earlier bars have set, and moves it after that."""

    def __init__(self) -> None:
        super().__init__("stop")
        self.prices = frozenset({"trail"})
        self.changes_on_a_miss = True

    def reach(self, order: Order) -> Reach:
        """Every bar: each one may move the level."""
        return EVERY_BAR

    def missed(self, order: Order, bar: Bar) -> Missed | None:
        """The new level, which has moved with the bar."""
        return None if order.triggered else Missed(trailed=(trailed(order, bar), best_of(order, bar)))

    def _level_words(self, order: Order) -> str:
        return f"{super()._level_words(order)} where it had trailed to"


RULES: dict[OrderType, OrderRule] = {
    OrderType.MARKET: MarketRule(),
    OrderType.LIMIT: _LIMIT,
    OrderType.STOP: TriggerRule("stop"),
    OrderType.STOP_LIMIT: TriggerRule("stop", limited=True),
    OrderType.TRAILING_STOP: TrailingStopRule(),
    OrderType.MARKET_IF_TOUCHED: TriggerRule("touch"),
    OrderType.LIMIT_IF_TOUCHED: TriggerRule("touch", limited=True),
    OrderType.MARKET_ON_OPEN: OnOpenRule(),
    OrderType.MARKET_ON_CLOSE: OnCloseRule(),
    OrderType.DELISTING: DelistingRule(),
}
"""The rule of each type of order: the only place that says how a type fills, and which terms ask for it."""

if without := sorted(set(OrderType) - RULES.keys()):
    raise NotImplementedError(f"no rule in RULES says how orders of these types fill: {', '.join(without)}")


PRICES = ("limit", "stop", "touch", "trail")
"""The prices that a strategy can give with an order."""


def types_by_terms(rules: dict[OrderType, OrderRule]) -> dict[tuple[Any, ...], OrderType]:
    """The type that each set of terms asks for: by the word of `at`, then True for each of `PRICES` that is given.

    Raises
    ------
    NotImplementedError
        If two types have the same terms.
    """
    found: dict[tuple[Any, ...], OrderType] = {}
    for kind, rule in rules.items():
        if rule.prices is not None:
            other = found.setdefault((rule.at, *(name in rule.prices for name in PRICES)), kind)
            if other is not kind:
                raise NotImplementedError(f"the terms of {other} and {kind} are the same; give one of them another")
    return found


BY_TERMS = types_by_terms(RULES)


# -- trailing ---------------------------------------------------------------------------------------------------


def behind(side: Side, best: float, distance: float, *, is_fraction: bool) -> float:
    """The level of a trailing stop of that side and distance, the best price being `best`."""
    away = abs(best) * distance if is_fraction else distance
    return best + away if side is _BUY else best - away


def trailed(order: Order, bar: Bar) -> float:
    """The level of a trailing stop after `bar`: it only ever comes closer to the market."""
    distance: float = order.trail  # type: ignore[assignment]  # orders of the type have one
    stop: float = order.stop  # type: ignore[assignment]
    if order.side is _BUY:
        return min(stop, behind(order.side, bar.low, distance, is_fraction=order.trail_is_fraction))
    return max(stop, behind(order.side, bar.high, distance, is_fraction=order.trail_is_fraction))


def best_of(order: Order, bar: Bar) -> float:
    """The best price that a trailing stop has followed after `bar`."""
    best: float = order.best  # type: ignore[assignment]  # as above
    return min(best, bar.low) if order.side is _BUY else max(best, bar.high)


# -- words ------------------------------------------------------------------------------------------------------


def number_words(value: float | None) -> str:
    """A number without the residue of its arithmetic: 0.01, not 0.010000000000005."""
    return "none" if value is None or abs(value) == inf else f"{value:.10g}" if abs(value) >= 1 else f"{value:.6g}"


def _extreme(bar: Bar, *, falls: bool) -> str:
    return f"the low {number_words(bar.low)}" if falls else f"the high {number_words(bar.high)}"


def _moment(ns: int, bar: Bar) -> str:
    return f"{bar._stamps.stamp(ns):%Y-%m-%d %H:%M}"  # noqa: SLF001 - hidden from strategies only
