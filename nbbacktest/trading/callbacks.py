"""Calls `on_fill` and `on_order` of the strategies that have them, and wraps their errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbbacktest.core.errors import ConfigError, Problem, StrategyError
from nbbacktest.core.formats import said
from nbbacktest.core.records import Stamps
from nbbacktest.core.user_code import unrun
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from nbbacktest.engine.series import Series


class Callbacks:
    """The `on_fill` and `on_order` of a run's strategies.

    Parameters
    ----------
    strategies
        By name.
    broker
        The broker whose fills and order events they are called with.
    series, base_interval, stamps
        For the words of errors.
    """

    __slots__ = ("_base", "_fills", "_followers", "_is_telling", "_listeners", "_news", "_series", "_stamps", "_untold")

    def __init__(
        self,
        strategies: Mapping[str, Strategy],
        broker: Broker,
        series: Mapping[tuple[str, str], Series],
        base_interval: str,
        stamps: Stamps,
    ) -> None:
        self._series = series
        self._base = base_interval
        self._stamps = stamps
        self._fills = broker.fills
        self._listeners = {name: one for name, one in strategies.items() if overrides(one, "on_fill")}
        self._followers = {name: one for name, one in strategies.items() if overrides(one, "on_order")}
        self._news: list[Order] | None = [] if self._followers else None
        broker.blotter.news = self._news
        self._untold: deque[Fill | Order] = deque()
        self._is_telling = False

    @property
    def is_needed(self) -> bool:
        """True if a strategy has one of these callbacks."""
        return bool(self._listeners or self._followers)

    def forget(self) -> None:
        """Drop the news so far: strategies aren't told of their own actions."""
        if self._news:
            self._news.clear()

    def tell(self, first: int) -> None:
        """Call `on_fill` for the fills from number `first` on, then `on_order` for the orders that are news.

        A strategy's callback may cause more events (by ``this_close``): these are told after those that wait already.

        Raises
        ------
        StrategyError
            If one raised: the first one, after all were called.
        """
        queue, news = self._untold, self._news
        if self._listeners and len(self._fills) > first:
            queue += [fill for fill in self._fills[first:] if fill.strategy in self._listeners]
        if news:
            # Each order once, in the order of their last events.
            latest = dict.fromkeys(order for order in reversed(news) if order.strategy in self._followers)
            queue += reversed(latest)
        if self._is_telling or not queue:
            return
        failure: StrategyError | None = None
        self._is_telling = True
        try:
            while queue:
                failed = self._call(queue.popleft())
                failure = failure or failed
        finally:
            self._is_telling = False
        if failure is not None:
            raise failure

    def _call(self, item: Fill | Order) -> StrategyError | None:
        if isinstance(item, Fill):
            strategy, callback = self._listeners[item.strategy], "on_fill"
        else:
            strategy, callback = self._followers[item.strategy], "on_order"
        try:
            getattr(strategy, callback)(item)
        except BaseException as error:  # noqa: BLE001 - kept, raised by the caller
            return self._blame(strategy, callback, error, item)
        return None

    def _blame(self, strategy: Strategy, callback: str, error: BaseException, item: Fill | Order) -> StrategyError:
        if isinstance(item, Fill):
            return blame(strategy, callback, error, item.symbol, self._base, self._stamps.begin(item.time_ns))
        # A fill has the stamp of its bar, an order's event the instant, at which a bar of the symbol may be complete.
        instant, series = item.events[-1].time_ns, self._series[item.symbol, self._base]
        if series.n and int(series.columns.end[series.n - 1]) == instant:
            stamp = self._stamps.begin(int(series.columns.time[series.n - 1]))
            return blame(strategy, callback, error, item.symbol, self._base, stamp)
        return blame(strategy, callback, error, item.symbol, time=self._stamps.instant(instant))


def check_callbacks(strategy: Strategy | type[Strategy]) -> None:
    """Refuse callbacks that a plain call doesn't run, such as coroutines: the run would do nothing, without an error.

    Raises
    ------
    ConfigError
        With each of them.
    """
    own = {name: getattr(strategy, name) for name in vars(Strategy) if name.startswith("on_")}
    problems = [Problem(name, one, reason) for name, one in own.items() if (reason := unrun(one)) is not None]
    if problems:
        kind = strategy if isinstance(strategy, type) else type(strategy)
        raise ConfigError(problems, kind.__name__)


def overrides(strategy: Strategy, callback: str) -> bool:
    """True if the strategy overrides `callback`."""
    own = getattr(strategy, callback)
    return getattr(own, "__func__", own) is not getattr(Strategy, callback)


def blame(
    strategy: Strategy,
    callback: str,
    error: BaseException,
    symbol: str | None = None,
    interval: str | None = None,
    time: Any = None,
) -> StrategyError:
    """A StrategyError that says that `strategy` raised `error` in `callback`."""
    blamed = StrategyError(type(strategy).__name__, callback, said(error), symbol=symbol, interval=interval, time=time)
    blamed.__cause__ = error
    return blamed
