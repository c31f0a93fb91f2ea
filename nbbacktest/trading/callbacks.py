"""Calls strategies back: with their fills and orders, at the starts and ends of sessions, and at the times that they have scheduled.

Sessions without an instant of the run have no events. An event before an instant's fills (a start, or a call that was
due in between) sees its own moment: the instant's bars are hidden until it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from nbbacktest.core.errors import ConfigError, DataError, Problem, ScheduleError, StrategyError
from nbbacktest.core.formats import said
from nbbacktest.core.intervals import DAY, LATEST, NO_TIME
from nbbacktest.core.records import Bar, Int64, Stamps
from nbbacktest.core.user_code import unrun
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, local_midnights, session_table
from nbbacktest.engine.series import Series
from nbbacktest.trading.broker import Broker
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.schedule import Scheduled, ScheduleTerms, moments, read_terms
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd

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
            # Each order stands once, at the place of its last event.
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


class Moment(NamedTuple):
    """A time between instants: nanoseconds UTC, and as users see it."""

    ns: int
    shown: pd.Timestamp


class SessionHost(Protocol):
    """The desk of a run, as its sessions use it.

    Attributes
    ----------
    index : int
        The instant under way or completed last.
    moment : Moment or None
        The present time if it isn't an instant; else None.
    """

    index: int
    moment: Moment | None
    series: dict[tuple[str, str], Series]

    @property
    def instants(self) -> Int64:
        """The instants of the run, nanoseconds UTC, rising."""
        ...

    @property
    def now_ns(self) -> int:
        """The instant under way, nanoseconds UTC."""
        ...

    @property
    def now(self) -> pd.Timestamp:
        """The instant under way, as users see it."""
        ...

    def note_edge(self) -> None:
        """Note the fills and orders so far, if the next session event has the time of the last instant."""
        ...


class _Entry(NamedTuple):
    """A scheduled call, its strategy, and the moment at which it is due in each session."""

    strategy: Strategy
    call: Scheduled
    moments: list[int]


class SessionState(NamedTuple):
    """The sessions of a run as a value.

    Attributes
    ----------
    row : int
        The session under way, -1 between two.
    due : tuple of (moment, number of entry)
        The events that the session still has to bring, rising.
    next : int or None
        The number of the next instant that may bring an event; None if it isn't computed yet.
    calls : tuple of (bool, int)
        For each scheduled call, True if it is active, and the number of times that it was made.
    """

    row: int
    due: tuple[tuple[int, int], ...]
    next: int | None
    calls: tuple[tuple[bool, int], ...]


class SessionEvents:
    """The session callbacks and scheduled calls of one run.

    Parameters
    ----------
    desk
        The desk of the run, with its instants, series and sessions.
    strategies
        The strategies by name, in the order of their callbacks.
    stamps
        The format in which instants are shown.
    calendar
        Gives the exchange's sessions, or None if there are none for the bars. Called when first needed.
    """

    __slots__ = (
        "_calendar", "_desk", "_due", "_ends", "_entries", "_is_complete", "_last", "_next", "_planned", "_row",
        "_stamps", "_starts", "_strategies", "_table",
    )  # fmt: skip

    def __init__(
        self,
        desk: SessionHost,
        strategies: Mapping[str, Strategy],
        stamps: Stamps,
        calendar: Callable[[], SessionTable | None],
    ) -> None:
        self._desk = desk
        self._strategies = strategies
        self._stamps = stamps
        self._calendar = calendar
        self._starts = [one for one in strategies.values() if overrides(one, "on_session_start")]
        self._ends = [one for one in strategies.values() if overrides(one, "on_session_end")]
        self._entries: list[_Entry] = []
        self._is_complete = False
        self._table: SessionTable | None = None
        self._row = -1  # the session under way
        self._due: list[tuple[int, int]] = []  # pending events of the session: moment and number of entry, rising
        self._last: Bar | None = None  # the instant after whose callbacks an event is due
        self._next = 0
        self._planned: Any = None  # the instants that `_next` counts in

    # -- before the first instant ---------------------------------------------------------------------------

    def add(self, strategy: str, callback: Any, at: Any, before_close: Any, after_open: Any, every: Any) -> Scheduled:
        """Call `callback` in each session that the terms name.

        Raises
        ------
        ScheduleError
            If the terms make no sense, no session has that time, or the run is under way already.
        """
        if self._is_complete:
            raise ScheduleError("schedule() is for all sessions to come and belongs in on_start; call it there, once")
        terms: ScheduleTerms = read_terms(callback, at, before_close, after_open, every)
        call = Scheduled(callback, terms.words)
        due = moments(terms, self._sessions()).tolist()
        self._entries.append(_Entry(self._strategies[strategy], call, due))
        return call

    def complete(self) -> bool:
        """Take no more calls; True if the run has any session events.

        Raises
        ------
        DataError, ScheduleError
            If the run's bars have no sessions to tell of.
        """
        self._is_complete = True
        if not (self._starts or self._ends or self._entries):
            return False
        self._sessions()
        return True

    @property
    def scheduled(self) -> list[Scheduled]:
        """The calls that strategies have scheduled, in order."""
        return [entry.call for entry in self._entries]

    def save(self) -> SessionState:
        """The session under way and its pending calls, between two instants."""
        following = self._next if self._planned is self._desk.instants else None
        calls = tuple((call.is_active, call.calls) for call in self.scheduled)
        return SessionState(self._row, tuple(self._due), following, calls)

    def restore(self, saved: SessionState) -> None:
        """Go on from the state that `save` returned; the strategies have scheduled the same calls."""
        self._row, self._due, self._last = saved.row, list(saved.due), None
        self._planned = None
        if saved.next is not None:
            self._next, self._planned = saved.next, self._desk.instants
        for call, (is_active, calls) in zip(self.scheduled, saved.calls, strict=True):
            call.is_active, call.calls = is_active, calls

    # -- at instants ----------------------------------------------------------------------------------------

    @property
    def next(self) -> int:
        """The number of the next instant that may bring an event; beyond every instant if none does."""
        if self._planned is not self._desk.instants:
            # The instants to come have changed; completed ones keep their numbers.
            self._next = self._desk.index
            self._planned = self._desk.instants
        return self._next

    def before(self, bars: Sequence[Bar]) -> StrategyError | None:
        """Tell of session events before the fills of the instant under way, whose bars these are.

        Returns
        -------
        StrategyError or None
            The error of the first one that raised, after all were called.
        """
        desk = self._desk
        if desk.index < self.next:
            return None
        table, now = self._sessions(), desk.now_ns
        failure: StrategyError | None = None
        if self._row >= 0 and now > table.close[self._row]:
            failure = self._as_of(int(table.close[self._row]), bars, self._end)
        row = int(np.searchsorted(table.close, now))
        if row < len(table) and row != self._row and table.open[row] < now:
            failed = self._as_of(int(table.open[row]), bars, lambda: self._start(row), is_start=True)
            failure = failure or failed
        if self._row >= 0 and (now == table.close[self._row] or (self._due and self._due[0][0] <= now)):
            self._last = bars[-1]
        self._next = self._following(now)
        return failure

    def after(self, bar: Bar) -> None:
        """Tell of session events after the callbacks of an instant; called as a handler of every series.

        Raises
        ------
        StrategyError
            If a callback raised: the first error, after all were called.
        """
        if bar is not self._last:
            return
        self._last = None
        now = self._desk.now_ns
        failure = self._call(now)
        if now == self._sessions().close[self._row]:
            failed = self._end()
            failure = failure or failed
        self._next = self._following(now)
        if failure is not None:
            raise failure

    def finish(self) -> StrategyError | None:
        """End the session under way if the run's instants are over."""
        if self._row < 0 or self._desk.index < len(self._desk.instants) - 1:
            return None
        return self._end()

    # -- what happens ---------------------------------------------------------------------------------------

    def _start(self, row: int) -> StrategyError | None:
        self._row = row
        due = [(entry.moments[row], number) for number, entry in enumerate(self._entries)]
        self._due = sorted(one for one in due if one[0] != NO_TIME)
        return self._tell(self._starts, "on_session_start", row)

    def _end(self) -> StrategyError | None:
        """Make the calls that are still due in the session, and tell of its end."""
        failure = self._call(LATEST)
        row, self._row = self._row, -1
        failed = self._tell(self._ends, "on_session_end", row)
        return failure or failed

    def _call(self, until: int) -> StrategyError | None:
        failure: StrategyError | None = None
        while self._due and self._due[0][0] <= until:
            entry = self._entries[self._due.pop(0)[1]]
            if entry.call.is_active:
                try:
                    entry.call()
                except BaseException as error:  # noqa: BLE001 - kept, raised by the caller
                    failure = failure or blame(entry.strategy, entry.call.name, error, time=self._desk.now)
        return failure

    def _tell(self, strategies: Sequence[Strategy], callback: str, row: int) -> StrategyError | None:
        failure: StrategyError | None = None
        date: dt.date = self._sessions().dates[row].item()
        for strategy in strategies:
            try:
                getattr(strategy, callback)(date)
            except BaseException as error:  # noqa: BLE001 - as above
                failure = failure or blame(strategy, callback, error, time=self._desk.now)
        return failure

    def _as_of(
        self, ns: int, bars: Sequence[Bar], act: Callable[[], StrategyError | None], *, is_start: bool = False
    ) -> StrategyError | None:
        """Act at a moment before the instant under way, with its bars hidden and `now` at that moment."""
        desk = self._desk
        hidden = [desk.series[bar.symbol, bar.interval] for bar in bars]
        for series in hidden:
            series.n -= 1
        desk.index -= 1
        # If the run begins inside a session, the session starts with the run.
        if ns <= desk.now_ns:
            ns = desk.now_ns
            desk.note_edge()
        # A start at midnight belongs to the date that begins then; other moments belong to the date that they end.
        begins = is_start and self._stamps.dates
        desk.moment = Moment(ns, self._stamps.instant(ns + begins))
        try:
            return act()
        finally:
            desk.moment = None
            desk.index += 1
            for series in hidden:
                series.n += 1

    # -- when -----------------------------------------------------------------------------------------------

    def _following(self, now: int) -> int:
        """The number of the first instant after `now` that may bring an event."""
        table, instants = self._sessions(), self._desk.instants
        if self._row >= 0:
            close = int(table.close[self._row])
            moment = min(self._due[0][0], close) if self._due else close
            return int(np.searchsorted(instants, moment))
        row = int(np.searchsorted(table.close, now, side="right"))
        return int(np.searchsorted(instants, table.open[row], side="right")) if row < len(table) else LATEST

    def _sessions(self) -> SessionTable:
        if self._table is None:
            self._table = self._found()
        return self._table

    def _found(self) -> SessionTable:
        """The sessions of the run's bars: those of the exchange, or dates if it has none for them.

        Raises
        ------
        ScheduleError
            If bars are longer than a session.
        DataError
            If most of them lie outside of the exchange's.
        """
        base = [series for series in self._desk.series.values() if series.is_base]
        interval = base[0].columns.interval
        if interval.ns > DAY:
            raise ScheduleError(
                f"bars of {interval} are longer than a session; on_session_start, on_session_end and schedule() need "
                "bars of a day or shorter"
            )
        table = self._calendar()
        time, end = (np.concatenate([getattr(s.columns, name) for s in base]) for name in ("time", "end"))
        if table is not None and interval.is_daily and not np.isin(end, table.close).all():
            table = _whole_days(table, time, self._stamps.day_zone)
        if table is None:
            low, high = (np.datetime64(int(ns), "ns").astype("datetime64[D]").item() for ns in (time.min(), end.max()))
            return session_table(ALWAYS_OPEN, low, high, self._stamps.day_zone)
        outside = int((table.session_of(time) < 0).sum())
        if not interval.is_daily and 2 * outside > len(time):
            raise DataError(
                f"{outside} of {len(time)} bars lie outside the sessions of {table.exchange}, so that strategies can't be "
                "told of sessions; set exchange in the config to the one that the bars are from"
            )
        return table


def _whole_days(table: SessionTable, time: Int64, timezone: str) -> SessionTable | None:
    """Sessions from midnight to midnight, as bars without a named exchange have them.

    None if some bars have dates that are no sessions.
    """
    midnights = local_midnights(table.dates, timezone)
    if not np.isin(time, midnights).all():
        return None
    after = local_midnights(table.dates + np.timedelta64(1, "D"), timezone)
    return SessionTable(timezone, table.dates, midnights, after, table.exchange, around=table.around)


def blamed(error: BaseException, handler: Any, bar: Bar | None) -> Exception:
    """The error to report for one that `handler` raised at `bar`: it names the strategy."""
    if isinstance(error, StrategyError):
        return error
    strategy = getattr(handler, "__self__", None)
    if not isinstance(strategy, Strategy):
        if isinstance(error, Exception):
            return error
        wrapped = RuntimeError(said(error))
        wrapped.__cause__ = error
        return wrapped
    callback = getattr(handler, "__name__", "on_bar")
    if bar is None:
        return blame(strategy, callback, error)
    return blame(strategy, callback, error, bar.symbol, bar.interval, bar.time)


def words_of(error: Exception) -> str:
    """The kind of an error and the callback that raised it, by which a replay's is held against the recorded one."""
    of = f"{error.strategy}.{error.callback} raised " if isinstance(error, StrategyError) else ""
    return f"{of}{type(error.__cause__ or error).__name__}"
