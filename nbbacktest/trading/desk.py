"""The trading desk: what the engine calls. Seats the strategies, settles their orders, tells them, names who failed."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from math import nan
from types import MappingProxyType
from typing import TYPE_CHECKING

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem, StrategyError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import Bar, FormingBar, Int64, Stamps
from nbbacktest.data.forming import Forming
from nbbacktest.data.warmup import Need
from nbbacktest.engine.agent import Handler
from nbbacktest.engine.series import Series
from nbbacktest.trading.accruals import Accruals
from nbbacktest.trading.agenda import Agenda, dated_events
from nbbacktest.trading.book import open_orders
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.callbacks import Callbacks, blame, overrides
from nbbacktest.trading.corporate import CorporateActions
from nbbacktest.trading.horizon import Horizon
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.record import CashFlow, Split
from nbbacktest.trading.seat import IndicatorEntry, Seat
from nbbacktest.trading.snapshot import OrderRow, PositionRow, TradingSnapshot
from nbbacktest.trading.strategy import Strategy
from nbbacktest.trading.warmup import Warmup

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.data.calendar import SessionTable

_LAST_FILLS = 5


class TradingDesk:
    """One run's trading: an `nbbacktest.engine.agent.Agent`. Not for several threads.

    Parameters
    ----------
    strategies
        Instances, each with the symbols that it trades, in the order of their callbacks.
    series
        All symbols and intervals, in the order of events.
    instants
        The run's, nanoseconds UTC, rising; warm-up not included.
    sessions
        The exchange's, called when the first order needs them; None: a session is a local date.
    periods
        The same for whole weeks and months, called when the first forming bar needs them.
    warmup
        What was loaded as such; None: nothing was asked for, and nothing more can be.

    Raises
    ------
    ConfigError
        Where one instance is given twice, or is still in another run; where the broker's rules need what the bars
        don't have.

    Attributes
    ----------
    agenda : sized
        Open orders by symbol, and what the run's dates bring; false where nothing waits.
    index : int
        The instant under way or completed last, -1 before the first. Written by the engine.
    is_open : bool
        Whether orders are taken: from `start` until the strategies' `on_stop`.
    fills, orders, log, flows, splits : list
        All of the run, in the order in which they happened.
    indicators : list of IndicatorEntry
        In the order in which strategies made them.
    warmup : Warmup
        What was asked for and what there is.
    strategies : tuple of Strategy
    descriptions : tuple of str
        Each strategy as ``Name(param=value, ...)``, as the run began.
    """

    def __init__(
        self,
        strategies: Sequence[tuple[Strategy, Sequence[str]]],
        series: Sequence[Series],
        instants: Int64,
        broker: BrokerConfig,
        limits: LimitsConfig,
        stamps: Stamps,
        actions: Sequence[CorporateAction] = (),
        sessions: Callable[[], SessionTable] | None = None,
        periods: Callable[[], SessionTable] | None = None,
        warmup: Warmup | None = None,
    ) -> None:
        _refuse_doubles([strategy for strategy, _ in strategies])
        base = [s for s in series if s.is_base]
        _refuse_what_bars_lack(broker, series, base)
        self.series: dict[tuple[str, str], Series] = {(s.symbol, s.interval): s for s in series}
        self.base_interval = base[0].interval
        self.portfolio = Portfolio(broker.cash)
        self.horizon = Horizon(stamps, sessions)
        self.broker = Broker(self.portfolio, self.base_interval, broker, limits)
        self.agenda: Sized = self.broker.agenda
        self.fills: list[Fill] = self.broker.fills
        self.orders: list[Order] = self.broker.orders
        self.log: list[tuple[int, str, str]] = []
        self.indicators: list[IndicatorEntry] = []
        self.index = -1
        self.is_open = False
        self.warmup = warmup or Warmup(series)
        self._periods = periods or sessions
        self._forming: dict[tuple[str, str], Forming] = {}
        self._instants = instants
        self._stamps = stamps
        self._stamp: tuple[int, pd.Timestamp] | None = None
        self._before = _instant_before(base)
        self.strategies = tuple(strategy for strategy, _ in strategies)
        self.descriptions = tuple(map(repr, self.strategies))
        self._started: list[Strategy] = []
        names = _unique([type(strategy).__name__ for strategy in self.strategies])
        self._seats: dict[str, Seat] = {}
        for name, (_, symbols) in zip(names, strategies, strict=True):
            own = [s for s in base if s.symbol in symbols]
            positions = self.portfolio.open_account(name, own)
            self._seats[name] = Seat(self, name, tuple(s.symbol for s in own), positions)
        named = dict(zip(names, self.strategies, strict=True))
        callbacks = Callbacks(named, self.broker, self.base_interval, stamps)
        self._callbacks = callbacks if callbacks.is_needed else None
        self._dated = dated_events(
            Accruals(broker.borrow, broker.interest, self.portfolio, instants, stamps.timezone),
            CorporateActions(actions, {s.symbol: s for s in base}, instants, self.portfolio, self),
        )
        self.flows: list[CashFlow] = []
        self.splits: list[Split] = []
        if self._dated is not None:
            self.flows, self.splits = self._dated.flows, self._dated.splits
            self.agenda = Agenda(self.broker.agenda, self._dated, self)

    # -- called by the engine -------------------------------------------------------------------------------

    def start(self) -> None:
        """Seat the strategies and call their `on_start`, in order.

        Raises
        ------
        StrategyError
            Where one of them raised; the desk is closed then.
        """
        self.is_open = True
        for strategy, seat in zip(self.strategies, self._seats.values(), strict=True):
            strategy._seat = seat  # noqa: SLF001 - hidden from strategies only
        for strategy in self.strategies:
            try:
                strategy.on_start()
            except BaseException as error:
                self.is_open = False
                raise blame(strategy, "on_start", error) from error
            self._started.append(strategy)

    def settle(self, bars: Sequence[Bar]) -> None:
        """Execute what waits on these bars; then, all fills done, tell the strategies, in order of the fills.

        Raises
        ------
        StrategyError
            Where an `on_fill` or `on_order` raised: the first one, after all were called.
        """
        callbacks, before = self._callbacks, len(self.fills)
        if callbacks is not None:
            callbacks.forget()
        if self._dated is not None:
            self._dated.happen(self.index)
        self.broker.settle(bars, self.index, self.now_ns)
        if callbacks is not None:
            callbacks.tell(before)

    def handlers(self, series: Series) -> tuple[Handler, ...]:
        """The `on_bar` of every strategy that trades the symbol and has one, in order."""
        return tuple(
            strategy.on_bar
            for strategy, seat in zip(self.strategies, self._seats.values(), strict=True)
            if series.symbol in seat.positions and overrides(strategy, "on_bar")
        )

    def failed(self, error: BaseException, handler: Handler | None, bar: Bar | None) -> Exception:
        """`error` as the StrategyError of the handler's strategy, the original as its cause."""
        if isinstance(error, StrategyError):
            return error
        strategy = getattr(handler, "__self__", None)
        if not isinstance(strategy, Strategy):
            return error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        if bar is None:
            return blame(strategy, getattr(handler, "__name__", "on_bar"), error)
        return blame(strategy, getattr(handler, "__name__", "on_bar"), error, bar.symbol, bar.interval, bar.time)

    def stop(self) -> None:
        """Take no more orders and call the `on_stop` of every strategy that was started, in order.

        Raises
        ------
        StrategyError
            Where one raised: the first one, after all were called.
        """
        self.is_open = False
        failure: StrategyError | None = None
        started, self._started = self._started, []
        for strategy in started:
            try:
                strategy.on_stop()
            except BaseException as error:  # noqa: BLE001 - kept, raised below
                failure = failure or blame(strategy, "on_stop", error)
        if failure is not None:
            raise failure

    def freeze(self) -> TradingSnapshot:
        """Everything that changes with trading, as an immutable value."""
        portfolio = self.portfolio
        return TradingSnapshot(
            cash=portfolio.cash,
            equity=portfolio.equity,
            positions=tuple([PositionRow.of(position) for position in portfolio.held.values()]),
            orders=tuple([OrderRow.of(order) for order in open_orders(self.broker.agenda, None, None)]),
            n_fills=len(self.fills),
            last_fills=tuple(self.fills[-_LAST_FILLS:]),
            indicators=MappingProxyType({key: _newest(handle) for key, _, handle in self.indicators}),
        )

    def split(self, symbol: str, ratio: float) -> None:
        """Count the open orders of `symbol` in units of after a split; corporate actions ask for it."""
        self.broker.register.split(symbol, ratio, self.now_ns)

    # -- called by seats ------------------------------------------------------------------------------------

    def submit(self, order: Order, series: Series, now: int) -> None:
        """Hand `order` to the broker; where that has filled it at once, its strategy is told before this returns."""
        broker = self.broker
        if series.n == len(series.close_at) and (ended := int(series.columns.end[-1])) < now:
            when = series.stamps.stamp(ended)
            broker.refuse(order, f"{order.symbol} has no bar any more: its last one closed at {when}", now)
            return
        callbacks, before = self._callbacks, len(self.fills)
        if callbacks is None:
            broker.accept(order, self.index, now)
            return
        callbacks.forget()
        broker.accept(order, self.index, now)
        if len(self.fills) > before or not order.is_open:
            callbacks.tell(before)

    @property
    def now_ns(self) -> int:
        """The instant under way, nanoseconds UTC; before the first one, the moment at which trading opens."""
        return int(self._instants[self.index]) if self.index >= 0 else self._before

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way as users see it."""
        ns = self.now_ns
        if self._stamp is None or self._stamp[0] != ns:
            self._stamp = (ns, self._stamps.instant(ns))
        return self._stamp[1]

    @property
    def has_begun(self) -> bool:
        """Whether the first instant has come: from then on the columns begin where they begin."""
        return self.index >= 0

    def ask_warmup(self, need: Need, name: str) -> None:
        """Have warm-up bars, where it is time yet and the source has them; warn and log where there are fewer."""
        if not self.has_begun:
            self.warmup.ask(need, self._refuse_fed, self._renew)
        lacking = self.warmup.lacking(need)
        if lacking:
            text = f"{need.where}: {'; '.join(lacking)} bars of warm-up"
            self.log.append((self.now_ns, name, text))
            warnings.warn(text, DataQualityWarning, stacklevel=4)

    def forming(self, base: Series, interval: str | None) -> FormingBar | None:
        """The bar of `interval` that the newest base bars are part of; None where it is complete by now.

        Raises
        ------
        DataError
            Where no such bar can be built from the base bars, or the interval isn't named and can't be known.
        """
        if interval is None:
            derived = [name for (symbol, name), one in self.series.items() if symbol == base.symbol and one is not base]
            if len(derived) != 1:
                known = f"the run has {', '.join(derived)}" if derived else "the run has no derived ones"
                raise DataError(f"forming() needs an interval, such as forming('1d'): {known}")
            interval = derived[0]
        key = (base.symbol, interval)
        found = self._forming.get(key)
        if found is None:
            length = Interval.parse(interval)
            why = length.misfit(base.columns.interval)
            if why is not None or self._periods is None:
                raise DataError(f"forming({interval!r}) {why or 'needs the sessions of an exchange'}")
            found = self._forming[key] = Forming(length, self._periods(), self._stamps)
        bar = found.at(base.columns, base.n)
        return None if bar is None or bar.closes_ns <= self.now_ns else bar

    def _refuse_fed(self) -> None:
        for seat in self._seats.values():
            seat.refuse_fed()

    def _renew(self) -> None:
        self._forming.clear()  # the weeks and months of the earlier bars may be others
        for seat in self._seats.values():
            seat.renew()

    def enter(self, seat: Seat, handle: Indicator) -> None:
        """List an indicator under a name of its own, as short as the run allows."""
        key = handle.name
        if handle.interval != self.base_interval:
            key = f"{handle.interval} {key}"
        if len({symbol for symbol, _ in self.series}) > 1:
            key = f"{handle.symbol} {key}"
        if len(self._seats) > 1:
            key = f"{seat.name}: {key}"
        taken = {entry.key for entry in self.indicators}
        number, free = 1, key
        while free in taken:
            number += 1
            free = f"{key} #{number}"
        self.indicators.append(IndicatorEntry(free, seat.name, handle))


def _instant_before(base: Sequence[Series]) -> int:
    """When the first bar that is traded begins: what "now" is before any has completed."""
    begins = [int(s.columns.time[s.first]) for s in base if s.first < len(s.columns)]
    return min(begins, default=0)


def _unique(words: list[str]) -> list[str]:
    """Number what would be called the same: Cross, Cross #2."""
    seen: Counter[str] = Counter()
    names = []
    for word in words:
        seen[word] += 1
        names.append(word if seen[word] == 1 else f"{word} #{seen[word]}")
    return names


def _refuse_doubles(strategies: Sequence[Strategy]) -> None:
    problems = []
    for number, strategy in enumerate(strategies):
        where = f"strategies[{number}]"
        if any(strategy is other for other in strategies[:number]):
            problems.append(Problem(where, strategy, "the same object twice; make one for each place"))
        seat = strategy._seat  # noqa: SLF001 - as above
        if isinstance(seat, Seat) and seat.is_taken:
            problems.append(Problem(where, strategy, "it is still in another run; stop that one, or make a new object"))
    if problems:
        raise ConfigError(problems, "strategies")


def _refuse_what_bars_lack(broker: BrokerConfig, series: Sequence[Series], base: Sequence[Series]) -> None:
    problems = []
    if broker.volume_share is not None:
        without = [s.symbol for s in base if len(s.columns) and not s.columns.volume.any()]
        if without:
            cure = f"the bars of {', '.join(without)} have no volume, so that nothing would fill; leave the cap out"
            problems.append(Problem("broker.volume_share", broker.volume_share, cure))
    if broker.stop_and_target == "finer" and len(series) == len(base):
        cure = "there is no coarser interval that base bars could lie in; name derived intervals, or use 'pessimistic'"
        problems.append(Problem("broker.stop_and_target", "finer", cure))
    if problems:
        raise ConfigError(problems)


def _newest(handle: Indicator) -> float | tuple[float, ...]:
    # A streaming object may raise when it is fed; the strategy that reads it is told, a snapshot isn't the place.
    try:
        return handle[-1]
    except Exception:  # noqa: BLE001
        return nan
