"""`Strategy`, the class that users derive from. All that it can do is done by its seat at the trading desk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from nbbacktest.core.errors import MISSING, ParameterError, Problem
from nbbacktest.core.shown import shown
from nbbacktest.engine.series import BarsView
from nbbacktest.trading.hooks import Hooks
from nbbacktest.trading.ordering import Ordering
from nbbacktest.trading.parameters import check, parameters_of
from nbbacktest.trading.portfolio import Position
from nbbacktest.trading.scheduling import Scheduling
from nbbacktest.trading.seat import Seat
from nbbacktest.trading.sight import Sight
from nbbacktest.trading.unseated import Unseated

if TYPE_CHECKING:
    import pandas as pd


class Strategy(Hooks, Ordering, Scheduling, Sight):
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

    _seat: Seat

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._seat = cast("Seat", Unseated(cls.__name__))
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
            # A list in the class would carry what one run put into it over to the next.
            if isinstance(parameter.default, (list, dict, set)):
                setattr(self, name, copy.deepcopy(parameter.default))
        for name, value in check(known, parameters, type(self).__name__).items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        names = parameters_of(type(self), Strategy)
        values = ", ".join(f"{name}={shown(getattr(self, name, MISSING))}" for name in names)
        return f"{type(self).__name__}({values})"

    # -- symbols of the run -----------------------------------------------------------------------------------

    def add_symbol(self, symbol: str, data: Any = None) -> None:
        """Let a symbol join the run, as soon as the instant under way is complete.

        Its bars up to then are history, as warm-up is. All strategies that trade all symbols trade it, and are told by
        `on_symbol_added`.

        Parameters
        ----------
        symbol
            Found where the run's data come from; a file's path has ``{symbol}`` in it.
        data
            A DataFrame, several by interval, or a path instead.

        Raises
        ------
        ConfigError, DataError
            For a symbol that is in the run, one without bars, and after the last instant.
        """
        self._seat.add_symbol(symbol, data)

    def remove_symbol(self, symbol: str, positions: str = "refuse") -> None:
        """Let a symbol leave the run: its open orders are cancelled, and no bar of it comes any more.

        Parameters
        ----------
        positions
            What becomes of open ones: ``"refuse"`` raises where there is one; ``"close"`` closes them at the market,
            and the symbol leaves when all are closed; where its bars have ended, at its last close and at once.

        Raises
        ------
        DataError
            For a symbol that isn't in the run, the only one, and one that is held.
        """
        self._seat.remove_symbol(symbol, positions)

    # -- what is seen ---------------------------------------------------------------------------------------

    def position(self, symbol: str | None = None) -> Position:
        """The strategy's own position: `size`, `average_price`, `unrealized_pnl`; false where flat."""
        seat = self._seat
        try:
            return seat.positions[seat.only if symbol is None else symbol]  # type: ignore[index]
        except (KeyError, TypeError):
            return seat.position(symbol)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the strategy trades."""
        return self._seat.symbols

    @property
    def base_interval(self) -> str:
        """The interval that orders fill on, such as ``"1m"``; bars of longer ones are derived from it."""
        return self._seat.base_interval

    @property
    def cash(self) -> float:
        """The account's cash, shared by all strategies."""
        return self._seat.portfolio.cash

    @property
    def equity(self) -> float:
        """Cash and all positions at their newest closes."""
        return self._seat.portfolio.equity

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way: the end of the bars that are being handled."""
        return self._seat.now

    @property
    def lag(self) -> float:
        """Wall seconds that the instant under way began after it was due; 0.0 in data-driven runs, which have no due times.

        Clock-driven, an instant is due when the simulated clock comes to it; live, when the feed's clock shows its end.
        """
        return self._seat.lag

    def bars(self, symbol: str | None = None, interval: str | None = None) -> BarsView:
        """The completed bars: columns `open high low close volume time`, ``[-1]`` the newest.

        Parameters
        ----------
        symbol
            Any of the run's; may be left out where the strategy has one.
        interval
            Such as ``"5m"``; None is the base interval.
        """
        return self._seat.bars(symbol, interval)

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
            Columns by name (``"close"``), indicators, and whatever else `func` takes.
        interval, symbol
            Whose columns; by default those of the indicators given, else the base interval and the only symbol.
        name
            What to call it in snapshots and charts.
        **kw
            Given to `func`.

        Returns
        -------
        Indicator or tuple of Indicator
            One for each output.

        Raises
        ------
        IndicatorError
            Where `func` raises, or doesn't give one number for each bar.

        Examples
        --------
        ::

            self.slow = self.indicator(talib.SMA, "close", 30)
            self.upper, self.middle, self.lower = self.indicator(talib.stream.BBANDS, "close", 20)
        """
        return self._seat.indicator(func, inputs, kw, interval, symbol, name)

    def log(self, message: object) -> None:
        """Keep a line, with the instant, for the run's record."""
        self._seat.log(message)


Strategy._seat = cast("Seat", Unseated("Strategy"))  # noqa: SLF001 - its own module
