"""`Strategy`, the class that users derive from. Its `StrategyContext` does the work of its methods."""

from __future__ import annotations

import copy
import datetime as dt
import inspect
import numbers
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Union, cast, get_args, get_origin

from nbbacktest.core.enums import Side
from nbbacktest.core.errors import MISSING, ConfigError, ParameterError, Problem, nearest
from nbbacktest.core.formats import shown
from nbbacktest.core.records import Bar, FormingBar
from nbbacktest.engine.series import BarsView
from nbbacktest.trading.context import NoContext, StrategyContext
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.request import read_request
from nbbacktest.trading.portfolio import Position
from nbbacktest.trading.schedule import Scheduled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_BUY, _SELL = Side.BUY, Side.SELL
_PLAIN: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_EXAMPLES: dict[type, str] = {int: "such as 10", float: "such as 0.5", bool: "True or False", str: "in quotes"}


class _RandomNumbers:
    """The attribute `Strategy.random`: a numpy Generator, begun with the config's `seed` and the strategy's name.

    Every run, and every replay of its past, draws the same numbers. A strategy may keep something else under this name.
    """

    def __get__(self, strategy: Strategy | None, kind: type | None = None) -> np.random.Generator:
        if strategy is None:
            return self  # type: ignore[return-value]  # for documentation tools
        return strategy._strategy_context.random  # noqa: SLF001 - hidden from strategies only


class Strategy:
    """Derive from this; class attributes are the parameters, and `on_bar` is called with every completed bar.

    Parameters
    ----------
    **parameters
        Values instead of the class's own.

    Raises
    ------
    ParameterError
        For an unknown parameter (the nearest known one is named) and for a value of the wrong type.

    Examples
    --------
    >>> class Dip(Strategy):
    ...     depth: float = 0.02
    ...
    ...     def on_bar(self, bar):
    ...         if bar.close < bar.open * (1 - self.depth):
    ...             self.buy(size=1)
    >>> Dip(depth=0.05)
    Dip(depth=0.05)
    """

    _strategy_context: StrategyContext

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._strategy_context = cast("StrategyContext", NoContext(cls.__name__))
        problems = [
            Problem(name, parameter.default, "every strategy has this already; choose another name")
            for name, parameter in parameters_of(cls, Strategy).items()
            if hasattr(Strategy, name)
        ]
        if problems:
            raise ParameterError(problems, cls.__name__)

    def __init__(self, **parameters: Any) -> None:
        known = parameters_of(type(self), Strategy)
        for name, parameter in known.items():
            # A list in the class would carry the entries of one run over to the next.
            if isinstance(parameter.default, (list, dict, set)):
                setattr(self, name, copy.deepcopy(parameter.default))
        for name, value in check(known, parameters, type(self).__name__).items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        names = parameters_of(type(self), Strategy)
        values = ", ".join(f"{name}={shown(getattr(self, name, MISSING))}" for name in names)
        return f"{type(self).__name__}({values})"

    # -- callbacks: override those that you need; all of them do nothing by themselves -----------------------

    def on_start(self) -> None:
        """Called once, before the first bar: the place for indicators."""

    def on_session_start(self, date: dt.date) -> None:
        """Called at a session's open, before its first bar: `bars()` end with the session before.

        Orders placed here can fill in the session's first bar. `now` is the open, or the run's beginning if that
        is later. It is called only for sessions in which a bar completes; `date` is the exchange's date of the session.
        """

    def on_bar(self, bar: Bar) -> None:
        """Called with every completed bar of the strategy's symbols, derived intervals included."""

    def on_fill(self, fill: Fill) -> None:
        """Called for each fill of this strategy's orders, after all fills of the instant, before its bars."""

    def on_order(self, order: Order) -> None:
        """Called for each of this strategy's orders that has new events, after all `on_fill` of the instant.

        Events by the market and the broker count: triggered, filled (also in part), expired, rejected, cancelled by
        another order's fill. The strategy's own actions (buy, cancel, replace) don't. An order comes once an
        instant, in the order of the last events; `order.events` has all of them.
        """

    def on_symbol_added(self, symbol: str) -> None:
        """Called when a symbol that the strategy trades has joined the run: the place for its indicators.

        The run stands between two instants; `bars(symbol)` shows the bars completed by then. Orders may be placed.
        """

    def on_symbol_removed(self, symbol: str) -> None:
        """Called when a symbol that the strategy trades has left the run; its position is flat then."""

    def on_session_end(self, date: dt.date) -> None:
        """Called at a session's close, after all callbacks of its last bar.

        If no bar completes with the close, it is called before the next bar is seen or filled on, and `now` is the
        close all the same; or, if the bars are over, before `on_stop`. A run that is stopped earlier ends no session.
        """

    def on_change(self, changed: dict[str, Any]) -> None:
        """Called when parameters were changed by hand, with the new values by name; they are set already.

        What `on_start` made of the old values, such as indicators, is made anew here.
        """

    def on_stop(self) -> None:
        """Called once, after the last bar, also if the run was stopped early."""

    # -- orders ----------------------------------------------------------------------------------------------

    def buy(
        self,
        symbol: str | None = None,
        size: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        touch: float | None = None,
        trail: float | str | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        at: str | None = None,
        tif: str = "gtc",
        until: Any = None,
        reduce_only: bool = False,
        tag: str | None = None,
    ) -> Order:
        """Place an order to buy; it can fill from the symbol's next bar on, never on the bar just seen.

        Parameters
        ----------
        symbol
            May be left out if the strategy has one.
        size
            Units, fractions allowed. None: as many whole units as the cash allows at the fill's price,
            commission included, after closing a short.
        limit
            Fill at this price or better.
        stop
            Become a market order once this price is reached (with `limit`: a limit order); a gap fills at the open.
        touch
            Become a market order once this price, which is better than the present one, is reached (with `limit`: a
            limit order); a gap fills at the open.
        trail
            A stop that follows the market at this distance: a price such as 1.5, or a share such as ``"2%"``.
        stop_loss, take_profit
            Levels of exits that live from this order's fill on, cancel each other, and only reduce the position;
            `order.children` are their orders.
        at
            ``"open"`` or ``"close"``: a market order for the next session's first open, or this session's last close.
        tif
            The order's time in force: ``"gtc"`` until it fills or is cancelled, ``"day"`` until the session ends,
            ``"ioc"`` and ``"fok"`` for the next open alone, in part or whole; ``"gtd"`` until `until`.
        until
            A time, or a date, which stands for its end; in the exchange's zone if it names none.
        reduce_only
            Never trade more than closes the position; cancelled if there is none.
        tag
            Your own mark, found again in fills and trades.

        Returns
        -------
        Order
            The open order; later `order.status` and `order.reason` tell its outcome.

        Raises
        ------
        OrderError
            For an order that makes no sense, with the value and the cure.
        """
        request = read_request(
            _BUY, size, limit, stop, trail, stop_loss, take_profit, at, tif, until,
            touch=touch, reduce_only=reduce_only, tag=tag,
        )  # fmt: skip
        return self._strategy_context.place(symbol, request)

    def sell(
        self,
        symbol: str | None = None,
        size: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        touch: float | None = None,
        trail: float | str | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        at: str | None = None,
        tif: str = "gtc",
        until: Any = None,
        reduce_only: bool = False,
        tag: str | None = None,
    ) -> Order:
        """Place an order to sell, or to sell short; the mirror of `buy`, with the same parameters and errors."""
        request = read_request(
            _SELL, size, limit, stop, trail, stop_loss, take_profit, at, tif, until,
            touch=touch, reduce_only=reduce_only, tag=tag,
        )  # fmt: skip
        return self._strategy_context.place(symbol, request)

    def close(self, symbol: str | None = None) -> Order | None:
        """Close the position at the market; None if there is none.

        The order never turns the position around: if another one closed it first, it is cancelled.
        """
        return self._strategy_context.close(symbol)

    def order_target_size(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position of `x` units (negative: short); None if there is none.

        Open orders don't count, although they may still fill. With one symbol, `x` may be given alone.
        """
        return self._strategy_context.target_size(symbol, x)

    def order_target_value(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position worth `x` at the newest close, in whole units, rounded toward 0.

        None if the target is met already; a rejected order, with the reason and the cure, if `x` makes no whole
        unit (lots if the config has them) and nothing is held. Open orders don't count. With one symbol, `x` may be given
        alone.
        """
        return self._strategy_context.target_value(symbol, x)

    def order_target_percent(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position worth the share `x` of the equity (0.5 is half), in whole units.

        As `order_target_value` of that worth: None if the target is met, a rejected order if it makes no unit.
        """
        return self._strategy_context.target_percent(symbol, x)

    def size_for_risk(self, symbol: str | None = None, *, risk: float, stop: float) -> float:
        """The units that lose the share `risk` of the equity, before costs, from the newest close to `stop`.

        ``risk * equity / |close - stop|`` in whole units (lots if the config has them), rounded toward 0, so that
        it may be 0. The cash in the account doesn't limit it.

        Raises
        ------
        OrderError
            For a share that isn't above 0 and up to 1, and a stop at the newest close.

        Examples
        --------
        ::

            size = self.size_for_risk(risk=0.01, stop=bar.low)
            if size:
                self.buy(size=size, stop_loss=bar.low)
        """
        return self._strategy_context.size_for_risk(symbol, risk, stop)

    def oco(self, *orders: Order) -> None:
        """Link orders so that a fill of one cancels the others; a fill in part makes the others as much smaller.

        Raises
        ------
        OrderError
            For fewer than two, and for one that isn't open or is linked already.
        """
        self._strategy_context.link(orders)

    def replace(
        self,
        order: Order,
        size: float | None = None,
        limit: float | None = None,
        stop: float | None = None,
        trail: float | str | None = None,
        touch: float | None = None,
    ) -> Order:
        """Change an open order, which keeps its place in line; `size` is the whole size, filled units included.

        Raises
        ------
        OrderError
            If it isn't open any more, doesn't have that term, or the new value makes no sense.
        """
        terms = {"size": size, "limit": limit, "stop": stop, "trail": trail, "touch": touch}
        return self._strategy_context.replace(order, terms)

    def cancel(self, order: Order) -> None:
        """Take back an open order.

        Raises
        ------
        OrderError
            If it isn't open any more, or isn't one of this strategy and run.
        """
        self._strategy_context.cancel(order)

    def orders(self, symbol: str | None = None) -> list[Order]:
        """The strategy's own open orders, oldest first; all symbols' if `symbol` is left out."""
        return self._strategy_context.orders(symbol)

    # -- sessions --------------------------------------------------------------------------------------------

    def schedule(
        self,
        callback: Callable[[], object],
        *,
        at: str | dt.time | None = None,
        before_close: float | None = None,
        after_open: float | None = None,
        every: str = "day",
    ) -> Scheduled:
        """Have `callback` called once a session, at a time of it; for `on_start`.

        It is called after all callbacks of the first instant at or after that time, at the session's end if no bar
        completes in between, and in no session that doesn't have that time (15:55 on a half day).

        Parameters
        ----------
        callback
            A function or method without arguments.
        at
            Time of day on the exchange's clocks, such as ``"15:55"``.
        before_close, after_open
            Minutes; half days have their own close. Give one of these three.
        every
            ``"day"``, or the first or last session of each week or month, by the exchange's calendar:
            ``"week_start"``, ``"week_end"``, ``"month_start"``, ``"month_end"``.

        Returns
        -------
        Scheduled
            Its `cancel()` ends it.

        Raises
        ------
        ScheduleError
            For terms that make no sense, for a time that no session of the run has, and outside of `on_start`.

        Examples
        --------
        ::

            def on_start(self):
                self.schedule(self.flatten, before_close=5)
                self.schedule(self.rebalance, at="10:00", every="month_start")
        """
        return self._strategy_context.schedule(callback, at, before_close, after_open, every)

    # -- symbols of the run -----------------------------------------------------------------------------------

    def add_symbol(self, symbol: str, data: Any = None) -> None:
        """Let a symbol join the run, as soon as the instant under way is complete.

        Its bars up to then are history, as warm-up is. All strategies that trade all symbols trade it, and are told by
        `on_symbol_added`.

        Parameters
        ----------
        symbol
            The symbol; its bars come from the source of the run's data, and a file's path needs ``{symbol}`` in it.
        data
            A DataFrame, several by interval, or a path instead.

        Raises
        ------
        ConfigError, DataError
            For a symbol that is in the run, one without bars, and after the last instant.
        """
        self._strategy_context.add_symbol(symbol, data)

    def remove_symbol(self, symbol: str, positions: str = "refuse") -> None:
        """Let a symbol leave the run: its open orders are cancelled, and no bar of it comes any more.

        Parameters
        ----------
        positions
            The treatment of open positions: ``"refuse"`` raises if there is one; ``"close"`` closes them at the market,
            and the symbol leaves when all are closed; if its bars have ended, at its last close and at once.

        Raises
        ------
        DataError
            For a symbol that isn't in the run, the only one, and one that is held.
        """
        self._strategy_context.remove_symbol(symbol, positions)

    # -- what is seen ---------------------------------------------------------------------------------------

    def position(self, symbol: str | None = None) -> Position:
        """The strategy's own position: `size`, `average_price`, `unrealized_pnl`; false if flat."""
        context = self._strategy_context
        try:
            return context.positions[context.only if symbol is None else symbol]  # type: ignore[index]
        except (KeyError, TypeError):
            return context.position(symbol)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that the strategy trades."""
        return self._strategy_context.symbols

    @property
    def base_interval(self) -> str:
        """The interval that orders fill on, such as ``"1m"``; bars of longer ones are derived from it."""
        return self._strategy_context.base_interval

    @property
    def cash(self) -> float:
        """The account's cash, shared by all strategies."""
        return self._strategy_context.portfolio.cash

    @property
    def equity(self) -> float:
        """Cash and all positions at their newest closes."""
        return self._strategy_context.portfolio.equity

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way: the end of the bars that are being handled."""
        return self._strategy_context.now

    @property
    def lag(self) -> float:
        """Wall seconds by which the instant under way began late; 0.0 in data-driven runs, which have no due times.

        Clock-driven, an instant is due when the simulated clock comes to it; live, when the feed's clock shows its end.
        """
        return self._strategy_context.lag

    @property
    def is_replay(self) -> bool:
        """True while the run executes completed instants again, to come to a place of its past: guard prints, files and messages by it."""
        return self._strategy_context.is_replay

    random = _RandomNumbers()

    def bars(self, symbol: str | None = None, interval: str | None = None) -> BarsView:
        """The completed bars: columns `open high low close volume time`, ``[-1]`` the newest.

        Parameters
        ----------
        symbol
            Any of the run's; may be left out if the strategy has one.
        interval
            Such as ``"5m"``; None is the base interval.
        """
        return self._strategy_context.bars(symbol, interval)

    def indicator(
        self,
        func: Callable[..., Any],
        *inputs: Any,
        interval: str | None = None,
        symbol: str | None = None,
        name: str | None = None,
        **kw: Any,
    ) -> Any:
        """Compute an indicator over all bars at once, or feed one bar by bar; read it with ``[-1]``.

        Parameters
        ----------
        func
            A function from arrays to an array (or several) of the same length, such as `talib.SMA`; a function
            of `talib.stream`; or an object whose ``update(*inputs)`` is fed each completed bar.
        *inputs
            Columns by name (``"close"``), indicators, and any other arguments of `func`.
        interval, symbol
            The bars to compute from; by default those of the indicators given, else the base interval and the only symbol.
        name
            Its name in snapshots and charts.
        **kw
            Given to `func`.

        Returns
        -------
        Indicator or tuple of Indicator
            One for each output.

        Raises
        ------
        IndicatorError
            If `func` raises, or doesn't give one number for each bar.

        Examples
        --------
        ::

            self.slow = self.indicator(talib.SMA, "close", 30)
            self.upper, self.middle, self.lower = self.indicator(talib.stream.BBANDS, "close", 20)
        """
        return self._strategy_context.indicator(func, inputs, kw, interval, symbol, name)

    def forming(self, interval: str | None = None, symbol: str | None = None) -> FormingBar | None:
        """The forming bar: a coarser bar that isn't complete, made of the base bars so far.

        None if none of its base bars has completed yet, or if it is complete: then `bars` has it.

        Parameters
        ----------
        interval
            Any that can be derived from the base bars, such as ``"1d"`` or ``"1w"``, even if the run doesn't derive it;
            may be left out if the run has one.
        symbol
            Any of the run's; may be left out if the strategy has one.

        Examples
        --------
        ::

            today = self.forming("1d")
            if today is not None and bar.close > today.open:
                self.buy()
        """
        return self._strategy_context.forming(interval, symbol)

    def warmup(self, bars: int, interval: str | None = None, symbol: str | None = None) -> int:
        """Ask in `on_start` for that many bars before the first traded one; returns the number of bars that there are.

        They are loaded if the source has them; if it has fewer, a warning says so. A class attribute or property
        ``warmup_bars``, a number or ``{interval: number}``, asks before anything is loaded. Once bars have been
        delivered this only counts.

        Parameters
        ----------
        interval
            The interval of the bars to count; None is the base interval.
        symbol
            None: all of the strategy's; the fewest that one of them has is returned.

        Raises
        ------
        IndicatorError
            If a streaming indicator has been read already.
        """
        return self._strategy_context.warmup(bars, interval, symbol)

    def log(self, message: object) -> None:
        """Keep a line, with the instant, for the run's record."""
        self._strategy_context.log(message)


Strategy._strategy_context = cast("StrategyContext", NoContext("Strategy"))  # noqa: SLF001 - its own module


def refuse_doubles(strategies: Sequence[Strategy]) -> None:
    """Refuse a strategy object that is given twice, or is in another run.

    Raises
    ------
    ConfigError
        With each of them.
    """
    problems = []
    for number, strategy in enumerate(strategies):
        where = f"strategies[{number}]"
        if any(strategy is other for other in strategies[:number]):
            problems.append(Problem(where, strategy, "the same object twice; make one for each place"))
        context = strategy._strategy_context  # noqa: SLF001 - as above
        if isinstance(context, StrategyContext) and context.is_taken:
            problems.append(Problem(where, strategy, "it is still in another run; stop that one, or make a new object"))
    if problems:
        raise ConfigError(problems, "strategies")


def names_of(strategies: Sequence[Strategy]) -> list[str]:
    """The names of a run's strategies: those of their classes, and equal ones numbered: Cross, Cross #2."""
    seen: Counter[str] = Counter()
    names = []
    for strategy in strategies:
        word = type(strategy).__name__
        seen[word] += 1
        names.append(word if seen[word] == 1 else f"{word} #{seen[word]}")
    return names


# -- parameters ---------------------------------------------------------------------------------------------


class Parameter(NamedTuple):
    """One parameter of a strategy class.

    Attributes
    ----------
    default
        The class attribute, or `MISSING` if there is only an annotation.
    kind : type or None
        int, float, bool or str if the annotation, or else the default, says so; None is anything.
    optional : bool
        True if None is a value too.
    """

    name: str
    default: Any
    kind: type | None
    optional: bool


def parameters_of(cls: type, base: type) -> dict[str, Parameter]:
    """The parameters of `cls`: its public class attributes, those of its parents first.

    Parameters
    ----------
    cls
        The class to look at.
    base
        The class whose attributes, and those of its parents, aren't parameters.

    Notes
    -----
    Functions, properties, other descriptors, classes and `ClassVar`s are no parameters.
    """
    defaults: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for klass in reversed(cls.__mro__):
        if klass in base.__mro__:
            continue
        own = _annotations(klass)
        annotations |= own
        for name in [*vars(klass), *own]:
            if name.startswith("_"):
                continue
            value = vars(klass).get(name, defaults.get(name, MISSING))
            if _is_behaviour(value) or _is_class_variable(annotations.get(name)):
                defaults.pop(name, None)
            else:
                defaults[name] = value
    return {name: Parameter(name, value, *_kind(annotations.get(name), value)) for name, value in defaults.items()}


def check(parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Hold `given` against `parameters`; returns the values, numpy's numbers as Python's.

    Raises
    ------
    ParameterError
        With every unknown name (and the nearest known one), wrong type and missing value.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            problems.append(Problem(name, value, f"no such parameter; {nearest(name, parameters)}"))
            continue
        try:
            values[name] = _fit(parameter, value)
        except TypeError as error:
            problems.append(Problem(name, value, str(error)))
    problems += [
        Problem(name, MISSING, f"it has no default; give it a value, {where}({name}=...)")
        for name, parameter in parameters.items()
        if parameter.default is MISSING and name not in given
    ]
    if problems:
        raise ParameterError(problems, where)
    return values


def new_values(strategy: Strategy, given: Mapping[str, Any]) -> dict[str, Any]:
    """Hold new values of a strategy's parameters against their types; those that aren't given stay as they are.

    Raises
    ------
    ParameterError
        As for `check`.
    """
    kind = type(strategy)
    known = {name: one._replace(default=None) for name, one in parameters_of(kind, Strategy).items()}
    return check(known, given, kind.__name__)


def _fit(parameter: Parameter, value: Any) -> Any:
    kind = parameter.kind
    if kind is None or (value is None and parameter.optional) or type(value) is kind:
        return value
    flag = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    if kind is bool and flag:
        return bool(value)
    if kind is int and isinstance(value, numbers.Integral) and not flag:
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not flag:
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    hint = ""
    if kind is int and isinstance(value, numbers.Real) and not flag:
        hint = f"; for fractions write `{parameter.name}: float` in the class"
    raise TypeError(f"is a {type(value).__name__}, must be {kind.__name__}, {_EXAMPLES[kind]}{hint}")


def _annotations(klass: type) -> dict[str, Any]:
    written = inspect.get_annotations(klass)
    if all(isinstance(word, str) and word in _PLAIN for word in written.values()):
        # A sweep checks each point: usual annotations are read without running code.
        return {name: _PLAIN[word] for name, word in written.items()}
    try:
        return inspect.get_annotations(klass, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation is any code; one that can't be read checks nothing
        return written


def _is_behaviour(value: Any) -> bool:
    return callable(value) or (value is not MISSING and hasattr(type(value), "__get__"))


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _kind(annotation: Any, default: Any) -> tuple[type | None, bool]:
    """The type that values must have, and True if None is allowed."""
    if annotation is None:
        kind = type(default)
        return (kind if kind in _EXAMPLES else None), False
    if isinstance(annotation, str):
        annotation = _PLAIN.get(annotation)
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kinds = [member for member in members if member is not types.NoneType]
    if len(kinds) == 1 and kinds[0] in _EXAMPLES:
        return kinds[0], len(members) == 2 or default is None
    if set(kinds) == {int, float}:
        return float, len(members) == 3 or default is None
    return None, True
