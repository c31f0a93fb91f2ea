"""The trading desk, which the engine calls: starts the strategies, matches their orders and tells them of their fills."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.costs import NoBorrow, NoInterest
from nbbacktest.core.errors import DataQualityWarning, StateError, StrategyError
from nbbacktest.core.formats import shown
from nbbacktest.core.records import Bar, FormingBar, Int64, Stamps
from nbbacktest.data.resample import FormingBars
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.data.warmup import Need
from nbbacktest.engine.analysis import Handler
from nbbacktest.engine.series import Series, Warmup
from nbbacktest.trading.broker import Broker, SymbolEnds, refuse_what_bars_lack
from nbbacktest.trading.callbacks import Callbacks, Moment, SessionEvents, blame, blamed, overrides, words_of
from nbbacktest.trading.context import StrategyContext, Universe
from nbbacktest.trading.dated_events import (
    Accruals,
    CorporateActions,
    DatedEvents,
    Delistings,
    PendingEvents,
    dated_events,
)
from nbbacktest.trading.indicators import Indicator, IndicatorCall, IndicatorList
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.blotter import open_orders
from nbbacktest.trading.orders.rules import OrderExpiry
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow, RunLog, RunNotes, Split
from nbbacktest.trading.schedule import Scheduled
from nbbacktest.trading.snapshot import LAST_FILLS, OrderRow, TradingLists, TradingSnapshot
from nbbacktest.trading.state import (
    Past,
    RunObjects,
    TradingState,
    restore_orders,
    restore_strategies,
    save_strategies,
    saved_orders,
    saved_series,
)
from nbbacktest.trading.strategy import Strategy, names_of, refuse_doubles
from nbbacktest.trading.streams import make_indicators

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.data.calendar import SessionTable


class TradingDesk:
    """The trading of one run: the `nbbacktest.engine.analysis.Agent` of the engine. For one thread only.

    Parameters
    ----------
    strategies
        Strategy objects in the order of their callbacks, each with the symbols that it trades; None: all symbols, also
        those that join later.
    series
        All symbols and intervals, in the order of events.
    instants
        The instants of the run, nanoseconds UTC, rising; warm-up isn't included.
    sessions
        Gives the exchange's sessions, called when the first order needs them; None: a session is a local date.
    periods
        The same for whole weeks and months, called when the first forming bar needs them.
    days
        The trading day of each time; None: dates in the zone of `stamps`.
    warmup
        The warm-up bars that were loaded; None: there are none, and strategies can't ask for any.
    opens
        The moment that strategies see before the first instant, nanoseconds UTC; None: the first bar's begin.
    seed
        The seed of the strategies' random numbers.

    Raises
    ------
    ConfigError
        If one instance is given twice, or is still in another run; if the broker's rules need what the bars
        don't have.

    Attributes
    ----------
    pending : sized
        Open orders by symbol, with a mark if dates or sessions bring something; false if nothing waits. The same object
        from `start` on.
    index : int
        The instant under way or completed last, -1 before the first. Written by the engine.
    lag : float
        Seconds that the instant under way began late. Written by the engine.
    moment : Moment or None
        The present time if it isn't an instant: a session's start, or an end at which no bar completed.
    is_open : bool
        True if orders are taken: from `start` until the strategies' `on_stop`.
    fills, orders, log, flows, splits : list
        All of the run, in the order in which they happened.
    indicators : IndicatorList
        In the order in which strategies made them.
    warmup : Warmup
        The warm-up bars that strategies asked for, and those that there are.
    seed : int
    is_replay : bool
        True while completed instants are re-executed to come to a place of the past.
    may_act : callable
        True in the calls of this run's strategies and in an input by hand: only there the desk takes orders. Set when the
        desk is put on its stages.
    hand : (Strategy, StrategyContext) or None
        The seat of orders that are placed by hand in no strategy's name; opened by the first one.
    failures : list of (int, str)
        The strategies' errors, each with its time in nanoseconds UTC.
    universe : Universe or None
        Lets symbols join and leave; set by the builder.
    leaving : set of str
        Symbols that are to leave as soon as they are flat; they take orders that reduce a position only.
    days : TradingDays
    notes : RunNotes
        The notes that a later look at an instant needs besides these lists.
    strategies : tuple of Strategy
    descriptions : tuple of str
        Each strategy as ``Name(param=value, ...)``, as the run began; ``-> param=value`` for what was changed by hand.
    """

    def __init__(
        self,
        strategies: Sequence[tuple[Strategy, Sequence[str] | None]],
        series: Sequence[Series],
        instants: Int64,
        broker: BrokerConfig,
        limits: LimitsConfig,
        stamps: Stamps,
        actions: Sequence[CorporateAction] = (),
        sessions: Callable[[], SessionTable] | None = None,
        periods: Callable[[], SessionTable] | None = None,
        days: TradingDays | None = None,
        warmup: Warmup | None = None,
        opens: int | None = None,
        seed: int = 0,
    ) -> None:
        refuse_doubles([strategy for strategy, _ in strategies])
        base = [s for s in series if s.is_base]
        refuse_what_bars_lack(broker, series, base)
        self.series: dict[tuple[str, str], Series] = {(s.symbol, s.interval): s for s in series}
        self.base_interval = base[0].interval
        self.portfolio = Portfolio(broker.cash)
        self.days = days or TradingDays(stamps.day_zone)
        self.expiry = OrderExpiry(stamps, sessions, self.days)
        self.log = RunLog(lambda: self.now_ns)
        self.broker = Broker(self.portfolio, self.base_interval, broker, limits, self.log.nothing_comes)
        self.pending: Sized = self.broker.pending
        self.fills: list[Fill] = self.broker.fills
        self.orders: list[Order] = self.broker.orders
        self.indicators = IndicatorList()
        self.index = -1
        self.lag = 0.0
        self.seed = seed
        self.is_replay = False
        self.moment: Moment | None = None
        self.is_open = False
        self.warmup = warmup or Warmup(series)
        self._periods = periods or sessions
        self._forming: FormingBars | None = None  # made when the first one is asked for
        self._instants = instants
        self._revised = False
        self._stamps = stamps
        self._stamp: tuple[int, pd.Timestamp] | None = None
        self._opens = _instant_before(base) if opens is None else opens
        self.strategies = tuple(strategy for strategy, _ in strategies)
        self.descriptions = tuple(map(shown, self.strategies))
        self._started: list[Strategy] = []
        names = names_of(self.strategies)
        self._contexts: dict[str, StrategyContext] = {}
        for name, (_, symbols) in zip(names, strategies, strict=True):
            own = [s for s in base if symbols is None or s.symbol in symbols]
            positions = self.portfolio.open_account(name, own)
            self._contexts[name] = StrategyContext(
                self, name, tuple(s.symbol for s in own), positions, takes_all=symbols is None
            )
        named = dict(zip(names, self.strategies, strict=True))
        callbacks = Callbacks(named, self.broker, self.series, self.base_interval, stamps)
        self._callbacks = callbacks if callbacks.is_needed else None
        self.session_events = SessionEvents(self, named, stamps, self.expiry.sessions)
        self._keeps_sessions = False
        self.flows: list[CashFlow] = []
        self.splits: list[Split] = []
        self.may_act: Callable[[], bool] = _everywhere
        self.hand: tuple[Strategy, StrategyContext] | None = None
        self.failures: list[tuple[int, str]] = []
        self.universe: Universe | None = None
        self.leaving: set[str] = set()
        self.notes = RunNotes(self._opens, [(0, len(instants))])
        self._actions = tuple(actions)
        self._date_events()

    # -- called by the engine -------------------------------------------------------------------------------

    def start(self) -> None:
        """Give each strategy its context and call its `on_start`, in order.

        Raises
        ------
        StrategyError
            If one of them raised; the desk is closed then.
        """
        self.is_open = True
        for strategy, context in self.contexts:
            strategy._strategy_context = context  # noqa: SLF001 - hidden from strategies only
        for strategy in self.strategies:
            try:
                strategy.on_start()
            except BaseException as error:
                self.is_open = False
                raise blame(strategy, "on_start", error) from error
            self._started.append(strategy)
        try:
            self._keeps_sessions = self.session_events.complete()
        except BaseException:
            self.is_open = False
            raise
        self._add_sessions()

    def match_orders(self, bars: Sequence[Bar]) -> None:
        """Tell strategies of sessions, match the pending orders with these bars, then tell of the fills in their order.

        Raises
        ------
        StrategyError
            If a strategy raised: the first one, after all were called.
        """
        failure = self.session_events.before(bars) if self._keeps_sessions else None
        callbacks, before = self._callbacks, len(self.fills)
        if callbacks is not None:
            callbacks.forget()
        if self._dated is not None:
            self._dated.happen(self.index)
        self.broker.match_orders(bars, self.index, self.now_ns)
        if self.leaving:
            self._see_off()
        if failure is None:
            if callbacks is not None:
                callbacks.tell(before)
            return
        if callbacks is not None:
            with suppress(StrategyError):  # the first one is raised
                callbacks.tell(before)
        raise failure

    def revise(self, instants: Int64, actions: Sequence[CorporateAction] = ()) -> None:
        """Replace the instants to come, and add corporate actions; completed instants stay the same."""
        self._instants = instants
        self.notes.totals.append((self.index + 1, len(instants)))
        self._revised = True
        self._actions += tuple(actions)
        self._date_events()

    def charge(self, terms: BrokerConfig) -> None:
        """Take the costs of `terms` from here on."""
        self.broker.charge(terms)
        self._date_events()

    def _see_off(self) -> None:
        """Let the leaving symbols go whose positions have become flat."""
        held = self.portfolio.symbols_held()
        for symbol in self.leaving - held:
            self.leaving.discard(symbol)
            if self.universe is not None:
                self.universe.dismiss(symbol)

    def _date_events(self) -> None:
        """Find the dated events of the instants to come; called again if the instants change."""
        self._dated, self.broker.delistings = self._found_events()
        self.pending = (
            self.broker.pending if self._dated is None else PendingEvents(self.broker.pending, self._dated, self)
        )
        self._add_sessions()

    def _found_events(self) -> tuple[DatedEvents | None, SymbolEnds | None]:
        """Costs, splits and dividends of the instants to come, and delistings; None if there are none."""
        instants, costs = self._instants, self.broker.terms
        if not self._actions and isinstance(costs.borrow, NoBorrow) and isinstance(costs.interest, NoInterest):
            return None, None
        every = {s.symbol: s for s in self.series.values() if s.is_base}
        gone = Delistings(
            self._actions, every, instants, self.days, self.index, self.broker, self.portfolio, self.log.note
        )
        accruals = Accruals(costs.borrow, costs.interest, self.portfolio, instants, self.days)
        actions = CorporateActions(self._actions, every, instants, self.days, self.portfolio, self)
        return dated_events(accruals, actions, gone.due, self), gone if gone.due else None

    def _add_sessions(self) -> None:
        if self._keeps_sessions:
            self.pending = PendingEvents(self.pending, self.session_events, self)

    def handlers(self, series: Series) -> tuple[Handler, ...]:
        """The `on_bar` methods of the strategies that trade the symbol, in order; then the handler of session events."""
        handlers: list[Handler] = [
            strategy.on_bar
            for strategy, context in self.contexts
            if series.symbol in context.positions and overrides(strategy, "on_bar")
        ]
        return (*handlers, self.session_events.after) if self._keeps_sessions else tuple(handlers)

    def failed(self, error: BaseException, handler: Handler | None, bar: Bar | None) -> Exception:
        """A StrategyError of the handler's strategy, with `error` as its cause."""
        found = blamed(error, handler, bar)
        self.failures.append((self.now_ns, words_of(found)))
        return found

    def stop(self) -> None:
        """End the last session if its bars are over, take no more orders, and call `on_stop` of each started strategy.

        Raises
        ------
        StrategyError
            If one raised: the first one, after all were called.
        """
        failure = self.session_events.finish() if self._keeps_sessions else None
        self.is_open = False
        started, self._started = self._started, []
        for strategy in started:
            try:
                strategy.on_stop()
            except BaseException as error:  # noqa: BLE001 - kept, raised below
                failure = failure or blame(strategy, "on_stop", error)
        if failure is not None:
            raise failure

    @property
    def lists(self) -> TradingLists:
        """The desk's lists that only grow, for snapshots."""
        return TradingLists(self.fills, self.orders, self.flows, self.splits, self.indicators)

    def freeze(self) -> TradingSnapshot:
        """The account, positions, orders and indicators as an immutable value."""
        portfolio = self.portfolio
        held = tuple(portfolio.held.values())
        return TradingSnapshot(
            cash=portfolio.cash,
            equity=portfolio.equity,
            held=held,
            closes=tuple([position.series.close_at[position.series.n - 1] for position in held]),
            orders=tuple([OrderRow.of(order) for order in open_orders(self.broker.pending, None, None)]),
            n_fills=len(self.fills),
            last_fills=tuple(self.fills[-LAST_FILLS:]),
            indicators=self.indicators.freeze(),
            lists=self.lists,
        )

    # -- its state as a value -------------------------------------------------------------------------------

    def save(self, series: Sequence[Series]) -> TradingState:
        """The state of trading between two instants; `series` in the order of the timeline.

        Raises
        ------
        StateError
            If a strategy keeps an object that can't be copied.
        """
        return TradingState(
            index=self.index,
            lag=self.lag,
            is_revised=self._revised,
            series=saved_series(series),
            actions=self._actions,
            leaving=frozenset(self.leaving),
            contexts=tuple(context.symbols for _, context in self.contexts),
            randoms=tuple(context.random_state for _, context in self.contexts),
            hand=None if self.hand is None else self.hand[1].symbols,
            failures=Past.of(self.failures),
            portfolio=self.portfolio.save(),
            broker=self.broker.save(),
            blotter=saved_orders(self.broker.blotter),
            sessions=self.session_events.save(),
            indicators=self.indicators.save(),
            fills=Past.of(self.fills),
            flows=Past.of(self.flows),
            splits=Past.of(self.splits),
            log=Past.of(self.log),
            notes=self.notes.copy(),
            warned=frozenset(self.log.warned),
            strategies=save_strategies(self._objects()),
        )

    def restore(self, state: TradingState, series: Sequence[Series], instants: Int64) -> None:
        """Take over `state`, in a desk that was started anew over the same bars.

        Parameters
        ----------
        series
            As `restored_series` gives them.
        instants
            The run's, those of symbols that had joined included.

        Raises
        ------
        StateError
            If the fresh strategies aren't those that were saved, or what they can reach outside of the run has changed since.
        """
        names = len(state.contexts), len(state.sessions.calls)
        if not self.is_open or self.index >= 0 or names != (len(self.contexts), len(self.session_events.scheduled)):
            raise StateError(
                "a state is restored in a desk of the same strategies, started anew and before any instant"
            )
        missing = self.indicators.missing(state.indicators)
        self.series.clear()
        self.series.update({(one.symbol, one.interval): one for one in series})
        self._instants, self.index, self.lag, self._revised = instants, state.index, state.lag, state.is_revised
        for pairs in ((state.fills, self.fills), (state.flows, self.flows), (state.splits, self.splits)):
            pairs[0].restore(pairs[1])
        state.log.restore(self.log)
        self.log.warned = set(state.warned)
        self.notes = state.notes.copy()
        self.leaving = set(state.leaving)
        for (_, context), symbols, random in zip(self.contexts, state.contexts, state.randoms, strict=True):
            context.trade(symbols)
            context.random_state = random
        state.failures.restore(self.failures)
        self.portfolio.restore(state.portfolio, {one.symbol: one for one in series if one.is_base})
        self.broker.restore(state.broker)
        restore_orders(self.broker.blotter, state.blotter)
        self._actions = state.actions
        self._date_events()
        self.session_events.restore(state.sessions)
        for call in missing:
            made = make_indicators(
                call.func, self.series[call.series.symbol, call.series.interval], *call[2:4], call.name
            )
            self.indicators.calls.append(call)
            for handle in made if isinstance(made, tuple) else (made,):
                self.indicators.enter(state.indicators.keys[len(self.indicators)], call.strategy, handle)
        copies = restore_strategies(self._objects(), state.strategies)
        self.indicators.resume(state.indicators, copies, len(self.indicators.calls) - len(missing))

    def _objects(self) -> RunObjects:
        feeds = self.indicators.feeds
        return RunObjects(
            strategies=self.strategies,
            contexts=[context for _, context in self.contexts],
            orders=self.orders,
            series=self.series,
            indicators=[entry.handle for entry in self.indicators],
            scheduled=self.session_events.scheduled,
            streams=[None if feed is None else feed.func for feed in feeds],
        )

    def split(self, symbol: str, ratio: float) -> None:
        """Convert the open orders of `symbol` to the units after a split; called by corporate actions."""
        self.broker.blotter.split(symbol, ratio, self.now_ns)

    @property
    def contexts(self) -> list[tuple[Strategy, StrategyContext]]:
        """The strategies and their contexts, in order."""
        return list(zip(self.strategies, self._contexts.values(), strict=True))

    # -- by hand ---------------------------------------------------------------------------------------------

    @property
    def seats(self) -> list[tuple[Strategy, StrategyContext]]:
        """The strategies and their contexts, and the hand's if it is open."""
        return self.contexts if self.hand is None else [*self.contexts, self.hand]

    def note_edge(self) -> None:
        """Note the fills and orders so far, if the next session event has the time of the last instant."""
        waiting = open_orders(self.broker.pending, None, None)
        self.notes.note_edge(self.index + 1, len(self.fills), len(self.orders), waiting)

    # -- called by strategies' contexts ------------------------------------------------------------------------------------

    def submit(self, order: Order, series: Series, now: int) -> None:
        """Hand `order` to the broker; if the broker fills it at once, its strategy is told before this returns."""
        broker = self.broker
        if self.leaving or broker.delisted or series.n == len(series.close_at):
            reason = self._refusal(order, series, now)
            if reason is not None:
                broker.refuse(order, reason, now)
                return
        callbacks, before = self._callbacks, len(self.fills)
        if callbacks is None:
            broker.accept(order, self.index, now)
            return
        callbacks.forget()
        broker.accept(order, self.index, now)
        if len(self.fills) > before or not order.is_open:
            callbacks.tell(before)

    def _refusal(self, order: Order, series: Series, now: int) -> str | None:
        """The reason to reject `order`: its symbol leaves, was delisted, or has no more bars; None to accept it."""
        symbol = order.symbol
        if symbol in self.broker.delisted:
            return self.broker.delisted[symbol]
        if symbol in self.leaving and not order.reduce_only:
            return f"{symbol} leaves the run"
        if series.n == len(series.close_at) and not series.is_open and (ended := int(series.columns.end[-1])) < now:
            when = series.stamps.stamp(ended)
            cure = "a delist in data.actions says what its holders got"
            return f"{symbol} has no bar any more: its last one closed at {when}; {cure}"
        return None

    def tell(self, first: int) -> None:
        """Tell strategies of the fills from number `first` on, which happened between two instants."""
        if self._callbacks is not None:
            self._callbacks.tell(first)

    @property
    def instants(self) -> Int64:
        """The instants of the run, nanoseconds UTC, rising."""
        return self._instants

    @property
    def now_ns(self) -> int:
        """The instant under way, nanoseconds UTC; before the first one, the moment at which trading opens."""
        if self.moment is not None:
            return self.moment.ns
        return self._instants.item(self.index) if self.index >= 0 else self._opens

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way as users see it."""
        if self.moment is not None:
            return self.moment.shown
        ns = self.now_ns
        if self._stamp is None or self._stamp[0] != ns:
            self._stamp = (ns, self._stamps.instant(ns))
        return self._stamp[1]

    @property
    def has_begun(self) -> bool:
        """True from the first instant on, or once a symbol has joined or left: then columns can't begin earlier any more."""
        return self.index >= 0 or self._revised

    def ask_warmup(self, need: Need, name: str) -> None:
        """Load warm-up bars before the first instant; warn and log if the source has fewer."""
        if not self.has_begun:
            self.warmup.ask(need, self._refuse_fed, self._renew)
        lacking = self.warmup.lacking(need)
        if lacking:
            text = f"{need.where}: {'; '.join(lacking)} bars of warm-up"
            self.log.note(name, text)
            warnings.warn(text, DataQualityWarning, stacklevel=4)

    def forming(self, base: Series, interval: str) -> FormingBar | None:
        """The bar of `interval` that the newest base bars are part of; see `FormingBars.at`."""
        if self._forming is None:
            self._forming = FormingBars(self._periods, self._stamps)
        return self._forming.at(base.columns, base.n, interval, self.now_ns)

    def _refuse_fed(self) -> None:
        for context in self._contexts.values():
            context.refuse_fed()

    def _renew(self) -> None:
        self._forming = None  # forming weeks and months are made anew, since earlier bars may change them
        for context in self._contexts.values():
            context.renew()

    def enter(self, context: StrategyContext, call: IndicatorCall, handles: Sequence[Indicator]) -> None:
        """Add the indicators of one call of `Strategy.indicator` to the list, under names as short as the run allows."""
        self.indicators.calls.append(call)
        if not self.has_begun:
            context.hold(handles)
        for handle in handles:
            self.indicators.enter(self._word_for(handle, context.name), context.name, handle)
            # Strategies see a session's start as of the instant before it, but it belongs to the next one.
            self.notes.since.append(self.index + 1 + (self.moment is not None))

    def _word_for(self, handle: Indicator, strategy: str) -> str:
        several = len({symbol for symbol, _ in self.series}) > 1
        word = handle.name if handle.interval == self.base_interval else f"{handle.interval} {handle.name}"
        word = f"{handle.symbol} {word}" if several else word
        return f"{strategy}: {word}" if len(self._contexts) > 1 else word

    def schedule(
        self, strategy: str, callback: Any, at: Any, before_close: Any, after_open: Any, every: Any
    ) -> Scheduled:
        """Call `callback` in each session that the terms name; see `SessionEvents.add`."""
        return self.session_events.add(strategy, callback, at, before_close, after_open, every)


def _instant_before(base: Sequence[Series]) -> int:
    """The begin of the first traded bar, which is "now" before any bar has completed."""
    begins = [int(s.whole.time[s.first]) for s in base if s.first < len(s.whole)]
    return min(begins, default=0)


def _everywhere() -> bool:
    return True
