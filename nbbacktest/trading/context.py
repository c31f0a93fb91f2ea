"""`StrategyContext`: gives one strategy its symbols, positions, orders, bars and indicators in a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from nbbacktest.core.enums import Side
from nbbacktest.core.errors import DataError, IndicatorError, OrderError, OutsideRunError, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import FormingBar
from nbbacktest.data.warmup import Need
from nbbacktest.engine.series import BarsView, Series
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.indicators import Indicator, IndicatorCall, series_of_inputs
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.blotter import open_orders
from nbbacktest.trading.orders.request import (
    OrderRequest,
    changed,
    check_request,
    exits_of,
    finite,
    market_request,
    order_of,
    read_request,
)
from nbbacktest.trading.orders.rules import OrderExpiry
from nbbacktest.trading.portfolio import Portfolio, add_sizes
from nbbacktest.trading.record import RunLog
from nbbacktest.trading.schedule import Scheduled
from nbbacktest.trading.streams import StreamIndicator, make_indicators

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.trading.portfolio import Position

_BUY, _SELL = Side.BUY, Side.SELL


class Universe(Protocol):
    """Lets symbols join and leave one run."""

    def add(self, symbol: str, data: Any = None) -> bool:
        """Let `symbol` join."""
        ...

    def remove(self, symbol: str, positions: str = "refuse") -> bool:
        """Let `symbol` leave."""
        ...

    def dismiss(self, symbol: str) -> None:
        """Let `symbol`, which has become flat, leave when the instant under way is complete."""
        ...


class Host(Protocol):
    """The desk of a run, as a `StrategyContext` uses it.

    Attributes
    ----------
    series : mapping
        The series of the run, by symbol and interval.
    base_interval : str
        The interval that orders fill on.
    is_open : bool
        True while orders are taken.
    may_act : callable
        True where the caller may place orders: in a call of one of the run's strategies, and in an input by hand.
    seed : int
        The seed of the strategies' random numbers.
    universe : Universe or None
        None if symbols can't join and leave.
    """

    portfolio: Portfolio
    broker: Broker
    expiry: OrderExpiry
    log: RunLog
    series: dict[tuple[str, str], Series]
    base_interval: str
    is_open: bool
    lag: float
    is_replay: bool
    seed: int
    may_act: Callable[[], bool]
    universe: Universe | None

    @property
    def now_ns(self) -> int:
        """The instant under way, nanoseconds UTC."""
        ...

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way, as users see it."""
        ...

    def submit(self, order: Order, series: Series, now: int) -> None:
        """Hand `order` to the broker."""
        ...

    def enter(self, context: StrategyContext, call: IndicatorCall, handles: Sequence[Indicator]) -> None:
        """Add the indicators of one call of `Strategy.indicator` to the list."""
        ...

    def schedule(
        self, strategy: str, callback: Any, at: Any, before_close: Any, after_open: Any, every: Any
    ) -> Scheduled:
        """Call `callback` in each session that the terms name."""
        ...

    def forming(self, base: Series, interval: str) -> FormingBar | None:
        """The bar of `interval` that the newest base bars are part of."""
        ...

    def ask_warmup(self, need: Need, name: str) -> None:
        """Load warm-up bars before the first instant."""
        ...


class StrategyContext:
    """Does the work of the methods of one strategy, at the desk of its run.

    Attributes
    ----------
    name : str
        The name of the strategy, unique in the run.
    symbols : tuple of str
        The symbols that it trades, in the session's order.
    positions : dict
        Its own positions by symbol, flat ones included. Written by the portfolio alone.
    only : str or None
        The symbol to use if none is named; None if there are several.
    base_interval : str
        The interval that orders fill on.
    takes_all : bool
        True if symbols that join the run are the strategy's too.
    """

    __slots__ = (
        "_desk", "_handles", "_random", "_views", "base_interval", "name", "only", "portfolio", "positions", "symbols", "takes_all",
    )  # fmt: skip

    def __init__(
        self,
        desk: Host,
        name: str,
        symbols: tuple[str, ...],
        positions: dict[str, Position],
        *,
        takes_all: bool = False,
    ) -> None:
        self._desk = desk
        self.takes_all = takes_all
        self.trade(symbols)
        self._views: dict[tuple[str | None, str | None], BarsView] = {}
        self._random: np.random.Generator | None = None
        self._handles: list[Indicator] = []  # indicators that were made before the first instant
        self.base_interval = desk.base_interval
        self.name = name
        self.positions = positions
        self.portfolio: Portfolio = desk.portfolio

    @property
    def is_taken(self) -> bool:
        """True while its run goes on."""
        return self._desk.is_open

    @property
    def is_replay(self) -> bool:
        """True while completed instants are re-executed."""
        return self._desk.is_replay

    @property
    def random(self) -> np.random.Generator:
        """The strategy's random numbers, which every world of the run draws alike."""
        if self._random is None:
            self._random = np.random.default_rng([self._desk.seed, *self.name.encode()])
        return self._random

    @property
    def random_state(self) -> dict[str, Any] | None:
        """The state of `random`; None if no number was drawn."""
        return None if self._random is None else dict(self._random.bit_generator.state)

    @random_state.setter
    def random_state(self, state: dict[str, Any] | None) -> None:
        self._random = None
        if state is not None:
            self.random.bit_generator.state = state

    def trade(self, symbols: tuple[str, ...]) -> None:
        """Set the traded symbols; positions in others stay readable."""
        self.symbols = symbols
        self.only = symbols[0] if len(symbols) == 1 else None

    def add_symbol(self, symbol: str, data: Any) -> None:
        """Ask for a symbol to join the run; see `Strategy.add_symbol`."""
        self._universe("add a symbol").add(symbol, data)

    def remove_symbol(self, symbol: str, positions: str) -> None:
        """Ask for a symbol to leave the run; see `Strategy.remove_symbol`."""
        self._universe("remove a symbol").remove(symbol, positions)

    def _universe(self, what: str) -> Universe:
        self._must_run(what)
        if self._desk.universe is None:
            raise OutsideRunError(f"{self.name} can't {what} here: symbols join and leave runs of a SystemManager only")
        return self._desk.universe

    # -- names ----------------------------------------------------------------------------------------------

    def pick(self, symbol: Any) -> str:
        """The symbol to use for `symbol`; None means the only one.

        Raises
        ------
        OrderError
            If it isn't the strategy's, or was left out with several to choose from.
        """
        if symbol is None:
            if self.only is not None:
                return self.only
            raise OrderError(f"{self.name} trades {len(self.symbols)} symbols; name one of: {', '.join(self.symbols)}")
        if symbol in self.positions:
            return symbol  # type: ignore[no-any-return]
        if not isinstance(symbol, str):
            raise OrderError(f"a symbol is text, got {symbol!r}; a number of units is written size={symbol!r}")
        raise OrderError(f"{self.name} doesn't trade {symbol!r}; {nearest(symbol, self.symbols)}")

    def position(self, symbol: str | None) -> Position:
        """The position in `symbol`, which may be flat."""
        return self.positions[self.pick(symbol)]

    def series(self, symbol: str | None, interval: str | None) -> Series:
        """The bars of any symbol of the run at one of its intervals; None means the only symbol, the base interval.

        Raises
        ------
        OrderError, DataError
            If the symbol has to be named; if the run has no such symbol or interval.
        """
        every = self._desk.series
        symbol = self.pick(None) if symbol is None else symbol
        of_symbol = {name: s for (of, name), s in every.items() if of == symbol}
        if not of_symbol:
            raise DataError(f"the run has no symbol {symbol!r}; {nearest(str(symbol), {of for of, _ in every})}")
        name = self._desk.base_interval if interval is None else Interval.parse(interval).name
        if name not in of_symbol:
            raise DataError(
                f"the run has no {name} bars of {symbol}, only {', '.join(of_symbol)}; add {name!r} to the derived intervals"
            )
        return of_symbol[name]

    # -- orders ---------------------------------------------------------------------------------------------

    def place(self, symbol: str | None, request: OrderRequest) -> Order:
        """Place the order that `request` describes."""
        desk = self._desk
        if not (desk.is_open and desk.may_act()):
            self._must_run("place an order")
        if symbol is None or symbol not in self.positions:
            symbol = self.pick(symbol)
        now, rules, series = desk.now_ns, desk.broker.trading_rules, self.positions[symbol].series
        last = series.close_at[series.n - 1] if series.n else self._last(symbol)
        check_request(request, rules, last)
        order = order_of(request, self.name, symbol, last, now, desk.expiry, rules, series.stamps)
        if request.stop_loss is not None or request.take_profit is not None:
            order.children = exits_of(request, order)
        desk.submit(order, series, now)
        return order

    def close(self, symbol: str | None) -> Order | None:
        """Close the position at the market; None if it is flat."""
        symbol = self.pick(symbol)
        held = self.positions[symbol].size
        if not held:
            return None
        return self.place(symbol, market_request(_SELL if held > 0 else _BUY, abs(held), reduce_only=True))

    def target_size(self, symbol: Any, size: Any) -> Order | None:
        """Order the difference to a position of `size` units."""
        symbol, size = self._target("order_target_size", symbol, size)
        return self._move_to(symbol, size)

    def target_value(self, symbol: Any, value: Any) -> Order | None:
        """Order the difference to a position worth `value` at the newest close."""
        symbol, value = self._target("order_target_value", symbol, value)
        return self._move_to_worth(symbol, value)

    def target_percent(self, symbol: Any, fraction: Any) -> Order | None:
        """Order the difference to a position worth the share `fraction` of the equity."""
        symbol, fraction = self._target("order_target_percent", symbol, fraction)
        return self._move_to_worth(symbol, fraction * self.portfolio.equity)

    def size_for_risk(self, symbol: str | None, risk: Any, stop: Any) -> float:
        """The units that lose the share `risk` of the equity between the newest close and `stop`."""
        symbol = self.pick(symbol)
        risk, stop = finite("size_for_risk(risk=...)", risk), finite("size_for_risk(stop=...)", stop)
        if not 0 < risk <= 1:
            raise OrderError(f"size_for_risk(risk={risk:g}): a share of the equity, above 0 and up to 1; 0.01 is 1%")
        last = self._last(symbol)
        if last == stop:
            raise OrderError(f"size_for_risk(stop={stop:g}): that is {symbol}'s newest close; nothing would be at risk")
        money = max(risk * self.portfolio.equity, 0.0)
        units, rules = money / abs(last - stop), self._desk.broker.trading_rules
        whole = rules.whole(units)
        if units and not whole:
            risked = f"{money:.2f} at risk with {abs(last - stop):g} a unit"
            self.log(rules.too_little(symbol, units, risked))
        return whole

    def cancel(self, order: Any) -> None:
        """Cancel an open order of this strategy."""
        blotter = self._desk.broker.blotter
        blotter.cancel(self._own(order, "cancel"), self._desk.now_ns)

    def replace(self, order: Any, terms: dict[str, Any]) -> Order:
        """Change terms of an open order of this strategy."""
        own, blotter = self._own(order, "replace"), self._desk.broker.blotter
        blotter.must_be_open(own, "replaced")
        changes = changed(own, terms, self._desk.broker.trading_rules, self._last(own.symbol))
        blotter.replace(own, changes, self._desk.now_ns)
        return own

    def link(self, orders: tuple[Any, ...]) -> None:
        """Make open orders of this strategy cancel each other."""
        blotter = self._desk.broker.blotter
        own = [self._own(order, "oco") for order in orders]
        if len({id(order) for order in own}) < max(len(own), 2):
            raise OrderError(f"oco() got {len(own)} orders; give two or more, each once")
        for order in own:
            blotter.must_be_open(order, "linked")
            if order.oco is not None:
                others = ", ".join(str(other.id) for other in order.oco if other is not order)
                raise OrderError(f"{order!r} is linked with {others} already; an order has one such link")
        blotter.link(own)

    def orders(self, symbol: str | None) -> list[Order]:
        """The strategy's open orders, of one symbol or of all."""
        return open_orders(self._desk.broker.pending, self.name, None if symbol is None else self.pick(symbol))

    def _last(self, symbol: str) -> float:
        last = self.positions[symbol].last
        if last is None:
            raise OrderError(
                f"no bar of {symbol} has completed yet, so that its price is unknown; wait until len(self.bars({symbol!r})) > 0"
            )
        return last

    def _own(self, order: Any, what: str) -> Order:
        if not isinstance(order, Order):
            raise OrderError(f"{what}() got {order!r}; give the Order that buy() or sell() returned")
        self._must_run(f"{what} an order")
        if order.strategy != self.name:
            raise OrderError(f"{order!r} was placed by {order.strategy}; {self.name} can {what} its own orders only")
        return order

    def _target(self, what: str, symbol: Any, target: Any) -> tuple[str, float]:
        if target is None:
            symbol, target = None, symbol
        return self.pick(symbol), finite(f"{what}()", target)

    def _move_to_worth(self, symbol: str, value: float) -> Order | None:
        if value == 0:
            return self.close(symbol)
        last = self._last(symbol)
        if last <= 0:
            raise OrderError(f"no size follows from a value at {symbol}'s close of {last:g}; order a size instead")
        desk, units = self._desk, value / last
        target = desk.broker.trading_rules.whole(units)
        if target or self.positions[symbol].size:
            return self._move_to(symbol, target)
        self._must_run("place an order")
        request = market_request(_BUY if value > 0 else _SELL, abs(units))
        stamps = self.positions[symbol].series.stamps
        order = order_of(request, self.name, symbol, last, desk.now_ns, desk.expiry, desk.broker.trading_rules, stamps)
        reason = desk.broker.trading_rules.too_little(symbol, units, f"a target worth {value:.2f} at {last:g}")
        desk.broker.refuse(order, reason, desk.now_ns)
        desk.log.nothing_comes(self.name, symbol, f"order {order.id}: {reason}")
        return order

    def _move_to(self, symbol: str, target: float) -> Order | None:
        held = self.positions[symbol].size
        if target == 0:
            return self.close(symbol)
        missing, _ = add_sizes(target, -held, self.positions[symbol].noise)
        if missing == 0:
            return None
        return self.place(symbol, read_request(_BUY if missing > 0 else _SELL, abs(missing)))

    def _must_run(self, what: str) -> None:
        if not self._desk.is_open:
            raise OrderError(f"{self.name} can't {what}: the run is over, no bar follows any more")
        if not self._desk.may_act():
            raise OrderError(
                f"{self.name} can't {what} from outside of its callbacks: it would change the run, and nothing would record it; "
                f"use system.buy(..., strategy={self.name!r}) and the like, which do"
            )

    # -- what is seen ---------------------------------------------------------------------------------------

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way."""
        return self._desk.now

    @property
    def lag(self) -> float:
        """Seconds by which the instant began late."""
        return self._desk.lag

    def bars(self, symbol: str | None, interval: str | None) -> BarsView:
        """A live view of completed bars; the same object for the same arguments."""
        view = self._views.get((symbol, interval))
        if view is None:
            view = self._views[symbol, interval] = BarsView(self.series(symbol, interval))
        return view

    def indicator(
        self,
        func: Callable[..., Any],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        interval: str | None,
        symbol: str | None,
        name: str | None,
    ) -> Any:
        """Make an indicator and add it to the desk's list."""
        series = series_of_inputs(inputs) if symbol is None and interval is None else None
        if series is None:
            series = self.series(symbol, interval)
        made = make_indicators(func, series, inputs, options, name)
        handles = made if isinstance(made, tuple) else (made,)
        call = IndicatorCall(self.name, func, inputs, options, series, name, len(handles))
        self._desk.enter(self, call, handles)
        return made

    def schedule(self, callback: Any, at: Any, before_close: Any, after_open: Any, every: Any) -> Scheduled:
        """Call `callback` once a session."""
        return self._desk.schedule(self.name, callback, at, before_close, after_open, every)

    def forming(self, interval: str | None, symbol: str | None) -> FormingBar | None:
        """The forming bar of the interval; None if none of its base bars has completed, or all have."""
        base = self.series(symbol, None)
        return self._desk.forming(base, self._only_derived(base) if interval is None else interval)

    def _only_derived(self, base: Series) -> str:
        every = self._desk.series.items()
        derived = [name for (symbol, name), one in every if symbol == base.symbol and one is not base]
        if len(derived) == 1:
            return derived[0]
        known = f"the run has {', '.join(derived)}" if derived else "the run has no derived ones"
        raise DataError(f"forming() needs an interval, such as forming('1d'): {known}")

    def warmup(self, bars: Any, interval: str | None, symbol: str | None) -> int:
        """Ask for warm-up bars; returns their number, for the symbol that has the fewest."""
        if isinstance(bars, bool) or not isinstance(bars, int) or bars < 0:
            raise DataError(f"warmup({bars!r}): a number of bars, 0 or more")
        symbols = self.symbols if symbol is None else (symbol,)
        series = [self.series(one, interval) for one in symbols]
        self._desk.ask_warmup(Need(bars, series[0].interval, symbols, f"{self.name}.warmup()"), self.name)
        return min(one.first for one in series)

    def hold(self, handles: Sequence[Indicator]) -> None:
        """Keep indicators that were made before the first instant, because their columns may still begin earlier."""
        self._handles += handles

    def refuse_fed(self) -> None:
        """Refuse to load earlier bars if a streaming indicator has been fed: it takes bars in order only."""
        for handle in self._handles:
            if isinstance(handle, StreamIndicator) and handle.is_fed:
                raise IndicatorError(
                    f"{self.name} has read {handle.name} before more warm-up was asked for, and can't read it from an "
                    "earlier bar on; call warmup() before indicators are read, or set warmup_bars"
                )

    def renew(self) -> None:
        """Let views and indicators read the columns that now begin earlier."""
        for view in self._views.values():
            view.renew()
        for handle in self._handles:  # in the order in which they were made: inputs come first
            handle.renew()

    def log(self, message: object) -> None:
        """Keep a line for the run's record."""
        self._desk.log.note(self.name, str(message))


class NoContext:
    """Takes the place of the context while a strategy is in no run: each use raises `OutsideRunError`."""

    __slots__ = ("_strategy",)
    is_replay = False

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._strategy,)  # pickled with a class from a notebook, for other processes

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # help(), copies and documentation tools only look for attributes
            raise AttributeError(name)
        raise OutsideRunError(
            f"{self._strategy} isn't in a run yet: orders, positions, bars and indicators exist from on_start on; "
            f"run it with nbbacktest.backtest(data, {self._strategy})"
        )
