"""Executes orders on bars: finds the orders that fill, and the sizes that the account can pay. Knows no strategy, no thread."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from math import copysign
from typing import Any, NamedTuple, Protocol

from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.enums import OrderEventKind, OrderStatus, OrderType, Phase, Side, TimeInForce
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.core.records import Bar
from nbbacktest.engine.series import Series
from nbbacktest.trading.costs import RunningFee, fee_of, slip_of
from nbbacktest.trading.matching import Hit, hit_of, in_turn, is_over
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.blotter import Blotter, OpenOrders
from nbbacktest.trading.orders.order import EVENT_FIELDS
from nbbacktest.trading.orders.rules import TradingRules
from nbbacktest.trading.orders.types import AT_OPEN, PHASES, RULES, FillRules
from nbbacktest.trading.portfolio import Allowance, Portfolio, Position, add_sizes, is_rounding

_BUY, _MARKET = Side.BUY, OrderType.MARKET
_OPEN, _CANCELLED, _REJECTED = OrderStatus.OPEN, OrderStatus.CANCELLED, OrderStatus.REJECTED


class SymbolEnds(Protocol):
    """Knows when symbols cease to exist."""

    def happen(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Delist the symbols whose date the instant brings; called after its fills."""
        ...

    def expects(self, symbol: str) -> bool:
        """True if the symbol is still to be delisted."""
        ...


Notice = Callable[[str, str, str], None]
"""Called with (strategy, symbol, text) if an order came to nothing."""


class BrokerState(NamedTuple):
    """The state of a broker beside its orders.

    Attributes
    ----------
    used : dict
        Units by symbol that have filled at the instant `used_at`; they count towards the volume cap.
    terms : BrokerConfig
    fees : object
        The counts of a commission that depends on earlier fills; None for the others.
    delisted : dict
        By delisted symbol, the reason that an order for it is rejected with.
    """

    used: dict[str, float]
    used_at: int
    terms: BrokerConfig
    fees: Any
    delisted: dict[str, str]


class Broker:
    """Fills the open orders of one run by its bars.

    Attributes
    ----------
    blotter : Blotter
        The orders themselves.
    pending : dict
        Its open orders by symbol; false if nothing is to be matched.
    orders, fills : list
        All of the run: orders by submission, fills by execution.
    delistings : SymbolEnds or None
        Ends the symbols whose date has come; None if no symbol ends.
    delisted : dict
        By delisted symbol, the reason that an order for it is rejected with.
    terms : BrokerConfig
        Their costs are those of the present instant.
    trading_rules : TradingRules
        The sizes and levels that are allowed.
    """

    __slots__ = (
        "_allowance",
        "_at_once",
        "_base",
        "_fee",
        "_portfolio",
        "_rules",
        "_say_nothing",
        "_share",
        "_slip",
        "_used",
        "_used_at",
        "blotter",
        "delisted",
        "delistings",
        "fills",
        "orders",
        "pending",
        "terms",
        "trading_rules",
    )  # fmt: skip

    def __init__(
        self, portfolio: Portfolio, base_interval: str, broker: BrokerConfig, limits: LimitsConfig, say_nothing: Notice
    ) -> None:
        self._portfolio = portfolio
        self._say_nothing = say_nothing
        self._base = base_interval
        self.fills: list[Fill] = []
        self.charge(broker)
        self._rules = FillRules.of(broker.fill, broker.limit_fill, broker.stop_and_target)
        self._at_once = broker.fill == "this_close"
        self._share = broker.volume_share
        self._used: dict[str, float] = {}
        self._used_at = -1
        self._allowance = Allowance(portfolio, broker, limits)
        self.trading_rules = TradingRules(broker)
        self.blotter = Blotter()
        self.pending: dict[str, OpenOrders] = self.blotter.pending
        self.orders = self.blotter.orders
        self.delistings: SymbolEnds | None = None
        self.delisted: dict[str, str] = {}

    def charge(self, terms: BrokerConfig) -> None:
        """Take the commission and the slippage of `terms` from here on."""
        self.terms = terms
        self._fee = fee_of(terms.commission, self.fills)
        self._slip = slip_of(terms.slippage)

    def save(self) -> BrokerState:
        """The volume used, the costs, the fees counted and the symbols that were delisted."""
        fees = self._fee.save() if isinstance(self._fee, RunningFee) else None
        return BrokerState(dict(self._used), self._used_at, self.terms, fees, dict(self.delisted))

    def restore(self, saved: BrokerState) -> None:
        """Go on from the state that `save` returned; the run's fills are those of then."""
        self._used, self._used_at = dict(saved.used), saved.used_at
        self.charge(saved.terms)
        if isinstance(self._fee, RunningFee):
            self._fee.restore(saved.fees)
        self.delisted.clear()
        self.delisted.update(saved.delisted)

    def accept(self, order: Order, index: int, now: int) -> None:
        """Open `order`; it can fill from its symbol's next base bar on, or by ``this_close`` at once."""
        self.blotter.accept(order, now)
        if self._at_once and order.type is _MARKET and index >= 0:
            series = self._portfolio.positions[order.strategy][order.symbol].series
            bar = series.bar(series.n - 1)
            # No bar is filled forward: if the symbol has none at this instant, the order waits for the next one.
            if bar.end_ns == now:
                self._execute(order, bar, bar.close, Phase.CLOSE, index, now)

    def refuse(self, order: Order, reason: str, now: int) -> None:
        """Enter `order` as rejected."""
        self.blotter.enter(order, now)
        self.blotter.end(order, _REJECTED, reason, now)

    def match_orders(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Fill open orders by the base bars of one instant, in the order of the bar, then of submission.

        Parameters
        ----------
        bars
            All bars that completed at the instant; those of derived intervals fill nothing.
        index, now
            The number of the instant in the run, and its nanoseconds UTC.
        """
        if not (len(bars) == 1 and self._is_met_alone(bars[0], index, now)):
            self._meet(bars, index, now)
        if self.delistings is not None:
            self.delistings.happen(bars, index, now)
        self.blotter.expire(now)
        if self._allowance.margin is not None:
            if self._portfolio.held:
                self._call_margin(now)
            elif self.delistings is not None:
                self.blotter.watch(wanted=False)

    # -- one instant ----------------------------------------------------------------------------------------

    def _concerned(self, bar: Bar) -> Sequence[Order]:
        """The open orders of the bar's symbol; none if `bar` is outside of the reach of all."""
        if bar.interval != self._base or (orders := self.pending.get(bar.symbol)) is None:
            return ()
        if orders.stale:
            orders.measure()
        return () if bar.low > orders.falls_to and bar.high < orders.rises_to else orders

    def _is_met_alone(self, bar: Bar, index: int, now: int) -> bool:
        """Fill the only order that the only bar concerns; True if nothing is left to do for `_meet`.

        Most orders fill this way. It finds and fills them as `_meet` does, without its lists, which saves 0.3 us of 5.5 an order.
        """
        orders = self._concerned(bar)
        if len(orders) != 1 or orders[0].children:
            return not orders
        hit = hit_of(orders[0], bar, self._rules)
        if hit is None:
            return False
        _, order, _, price, phase = hit
        self._execute(order, bar, price, PHASES[phase], index, now)
        return True

    def _meet(self, bars: Sequence[Bar], index: int, now: int) -> None:
        """Execute the orders that the bars fill, in turn; then change those that the bars concern without filling them."""
        rules = self._rules
        hits: list[Hit] = []
        misses: list[tuple[Order, Bar]] = []
        for bar in bars:
            for order in self._concerned(bar):
                hit = hit_of(order, bar, rules)
                if hit is not None:
                    hits.append(hit)
                elif (order.is_immediate or RULES[order.type].changes_on_a_miss) and not is_over(order, bar):
                    misses.append((order, bar))
        self._execute_all(in_turn(hits, rules) if len(hits) > 1 else hits, index, now)
        for order, bar in misses:
            if order.status is _OPEN:
                self._miss(order, bar, now)

    def _execute_all(self, hits: list[Hit], index: int, now: int) -> None:
        # The loop appends to its list: exits that open with their entry may fill in the same bar.
        for place, (_, order, bar, price, phase) in enumerate(hits, start=1):
            if order.status is not _OPEN:
                continue
            born = self._execute(order, bar, price, PHASES[phase], index, now)
            if born and phase == AT_OPEN:
                reached = [hit for exit_ in born if (hit := hit_of(exit_, bar, self._rules)) is not None]
                for hit in in_turn(reached, self._rules):
                    insort(hits, hit, lo=place)

    def _miss(self, order: Order, bar: Bar, now: int) -> None:
        """Change `order` by a bar that concerned it, and didn't fill it."""
        missed = RULES[order.type].missed(order, bar)
        if missed is None:
            return
        if missed.cancelled is not None:
            self.blotter.end(order, _CANCELLED, missed.cancelled, now)
            return
        if missed.triggered:
            self.blotter.trigger(order, now)
        if missed.trailed is not None:
            stop, order.best = missed.trailed
            order.stop = self.trading_rules.outward(stop, order.side)

    def _call_margin(self, now: int) -> None:
        margin = self._allowance.margin
        if margin is None:
            return
        leaving = {(o.strategy, o.symbol) for book in self.pending.values() for o in book if o.is_forced}
        positions, reason = margin.called(leaving)
        for position in positions:
            side = Side.SELL if position.size > 0 else _BUY
            order = Order(
                0, position.strategy, position.symbol, side, abs(position.size), _MARKET, tag="margin call",
                submitted_ns=now, reduce_only=True, is_forced=True, _stamps=position.series.stamps,
            )  # fmt: skip
            self.blotter.enter(order, now, reason)
            self.blotter.open(order, now)

    # -- one order ------------------------------------------------------------------------------------------

    def _execute(self, order: Order, bar: Bar, price: float, phase: Phase, index: int, now: int) -> list[Order]:
        """Fill `order` at `price` before slippage, as far as possible; returns the exits that open with it."""
        portfolio, blotter = self._portfolio, self.blotter
        buy = order.side is _BUY
        if not order.triggered and (order.stop is not None or order.touch is not None):
            blotter.trigger(order, now)
        position = portfolio.positions[order.strategy][order.symbol]
        held = position.size
        closable = abs(held) if held and (held < 0) is buy else 0.0

        if order.reduce_only or order.size is None:
            wanted = self._wanted(order, bar, price, closable, held, now)
            if not wanted:
                return []
        else:
            wanted = order.size if not order.filled else self.trading_rules.rest(order.size, order.filled)
        size = wanted
        if self._share is not None:
            size = self._capped(order, bar, wanted, now)
            if not size:
                return []
        if self._slip is not None and order.limit is None:
            price = self._slip(order, size, price, bar)

        fee = self._fee(order, size, price, bar)
        opened = size if not closable else 0.0 if size <= closable else _beyond(position, size)
        if opened:
            reason = self._allowance.objection(
                order.symbol, price, closable, opened, fee, is_sized=order.size is not None
            )
            if reason is not None:
                # Earlier fills of the order stand; only the rest is refused.
                blotter.end(order, _CANCELLED if order.filled else _REJECTED, reason, now)
                return []

        portfolio.record(position, size if buy else -size, price, fee)
        self.fills.append(
            Fill(
                index, bar.time_ns, order.symbol, order.side, size, price, fee, order.id, order.tag, order.strategy,
                phase, bar._stamps,  # noqa: SLF001 - hidden from strategies only
            )
        )  # fmt: skip
        if self._share is not None:
            self._used[order.symbol] = self._used.get(order.symbol, 0.0) + size
        return self._book(order, wanted, size, price, opened, closable, now)

    def _book(
        self, order: Order, wanted: float, size: float, price: float, opened: float, closable: float, now: int
    ) -> list[Order]:
        """Write a fill into its order's life, and tell the orders that are linked to it."""
        blotter, portfolio = self.blotter, self._portfolio
        if order.size is None:
            order.size = wanted
        asked, before = order.size, order.filled
        filled = before + size
        order.fill_price = price if not before else ((order.fill_price or 0.0) * before + price * size) / filled
        if size == wanted or is_rounding(asked - filled, asked):
            order.filled = asked
            blotter.finish(order, now, size, price)
        else:
            order.filled = filled
            blotter.note(order, OrderEventKind.PARTIALLY_FILLED, now, None, size, price)
            if _has_one_chance(order):
                left = order.size - order.filled
                blotter.end(order, _CANCELLED, f"the volume cap left {left:g} of {order.size:g}", now)
        born = blotter.release(order, opened, now) if order.children else []
        if order.oco is not None or order.parent is not None:
            blotter.shrink_linked(order, size, now)
        if closable and order.symbol in self.pending:
            after = portfolio.positions[order.strategy][order.symbol].size
            if opened or not after:
                blotter.drop_exits(order, now)
        if self._allowance.margin is not None:
            blotter.watch(wanted=bool(portfolio.held))
        return born

    def _wanted(self, order: Order, bar: Bar, price: float, closable: float, held: float, now: int) -> float:
        """The units that an order of no fixed size trades; 0 if this ended it with nothing to do."""
        if order.reduce_only:
            if not closable:
                self.blotter.end(order, _CANCELLED, f"nothing left to close: {held:g} held", now)
                return 0.0
            size = closable if order.size is None else min(closable, self.trading_rules.rest(order.size, order.filled))
            order.size = order.filled + size
            return size
        allowance, fee = self._allowance, self._fee
        size = closable + allowance.most(order, price, closable, fee, bar)
        if self._slip is not None and order.limit is None and size:
            # Slippage may grow with the size: assume that of the largest size that the cash could buy.
            price = self._slip(order, size, price, bar)
            size = closable + allowance.most(order, price, closable, fee, bar)
        if not size:
            reason = allowance.too_small(order.symbol, price)
            self.blotter.end(order, _REJECTED, reason, now)
            if allowance.is_below_a_lot(price):
                self._say_nothing(order.strategy, order.symbol, f"order {order.id}: {reason}")
        return size

    def _capped(self, order: Order, bar: Bar, wanted: float, now: int) -> float:
        """The part of `wanted` that the bar's volume allows; 0 if the order waits on, or this ended it."""
        if now != self._used_at:
            self._used_at = now
            self._used.clear()
        room = (self._share or 0.0) * bar.volume - self._used.get(order.symbol, 0.0)
        if wanted <= room or is_rounding(wanted - room, wanted):
            return wanted
        size = self.trading_rules.in_lots(max(room, 0.0))
        if order.tif is TimeInForce.FOK or (_has_one_chance(order) and not size):
            reason = f"{wanted:g} wanted, the volume cap leaves {max(room, 0.0):g} of {bar.volume:g}"
            self.blotter.end(order, _CANCELLED, reason, now)
            return 0.0
        if not size and order.size != order.life[5 - EVENT_FIELDS]:
            # The order waits on for the units that there are to close, and an event of its life tells this.
            order.note(now, OrderEventKind.REPLACED, f"{wanted:g} are left to close")
        return size


def _beyond(position: Position, size: float) -> float:
    """The part of `size` units that is left to open a position after they have closed `position`."""
    return abs(add_sizes(position.size, -copysign(size, position.size), position.noise)[0])


def refuse_what_bars_lack(broker: BrokerConfig, series: Sequence[Series], base: Sequence[Series]) -> None:
    """Refuse rules that need data that the bars lack: volume, or intervals coarser than the base.

    Raises
    ------
    ConfigError
        With each such rule.
    """
    problems = []
    if broker.volume_share is not None:
        without = [s.symbol for s in base if len(s.columns) and not s.is_open and not s.columns.volume.any()]
        if without:
            cure = f"the bars of {', '.join(without)} have no volume, so that nothing would fill; leave the cap out"
            problems.append(Problem("broker.volume_share", broker.volume_share, cure))
    if broker.stop_and_target == "finer" and len(series) == len(base):
        cure = "there is no coarser interval that base bars could lie in; name derived intervals, or use 'pessimistic'"
        problems.append(Problem("broker.stop_and_target", "finer", cure))
    if problems:
        raise ConfigError(problems)


def _has_one_chance(order: Order) -> bool:
    """True if the rest of `order` that the volume cap leaves is cancelled instead of waiting on."""
    return order.is_immediate or RULES[order.type].is_for_a_session
