"""The way of bars into a live run: the protocol of a feed, the feed that a program pushes into, and the run's inbox."""

from __future__ import annotations

import logging
import threading
import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from nbbacktest.core.clock import Clock
from nbbacktest.core.errors import ConfigError, DataError, FeedError, OutsideRunError, Problem
from nbbacktest.core.formats import cut, printed
from nbbacktest.core.records import Bar
from nbbacktest.data.live_market import BarReader, IncomingBar, Now, read_instant, written
from nbbacktest.engine.live_bars import EVER, NEVER, Arrivals

logger = logging.getLogger("nbbacktest")
_LONGEST = 300


class FeedState(StrEnum):
    """The state of a feed, as the status shows it."""

    CONNECTED = "connected"
    STALE = "stale"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Patience:
    """The most seconds that a live run waits for other symbols' bars and for any message, and that a clock may be off."""

    grace: float = 2.0
    stale: float = 30.0
    future: float = 5.0


class Delivery(NamedTuple):
    """The bars that the coordinator takes out at once, and the watermark."""

    bars: list[IncomingBar]
    watermark: int
    closed: bool


class Inbox:
    """The inbox of one run: reads arriving bars, puts them in order, counts them. Any thread may call any method.

    Parameters
    ----------
    reader
        Checks bars.
    clock
        The run's, for waits.
    nudge
        Called without a lock after every change, to wake the coordinator.
    now
        The feed's clock, nanoseconds UTC.
    begins
        Nanoseconds UTC up to which all bars are history.

    Attributes
    ----------
    serial : int
        Rises with every change. Written under the lock, read anywhere.
    error : BaseException or None
        The error by which the feed failed. Written under the lock, once.
    """

    def __init__(
        self,
        reader: BarReader,
        clock: Clock,
        patience: Patience,
        nudge: Callable[[], None],
        now: Now,
        begins: int = NEVER,
    ) -> None:
        self.reader = reader
        self.serial = 0
        self.error: BaseException | None = None
        self._now = now
        self._clock = clock
        self._patience = patience
        self._nudge = nudge
        self._lock = threading.Lock()  # guards all fields below
        self._arrivals = Arrivals(reader.symbols, patience.grace, reader.stamps, begins)
        self._closed = False
        self._over = False
        self._connected = True
        self._last = clock.now()  # when the last message came
        self._late_by: dict[str, float] = {}
        self._refused = self._heartbeats = self._reconnects = 0
        self._refusal: str | None = None

    # -- what feeds call ------------------------------------------------------------------------------------

    def push(self, fields: Mapping[str, Any] | Bar) -> bool:
        """Take a bar; False if it was dropped as late or as a duplicate.

        Raises
        ------
        DataError
            If it can't be used; it is counted.
        OutsideRunError
            If the feed was closed, or its run is over.
        """
        now = self._now()  # not under the lock, since it may be a user's function
        with self._lock:
            self._must_be_open()
            self._last = self._clock.now()
            try:
                bar = self.reader.read(fields)
                self._not_ahead(f"{bar.symbol} bar", bar.end, now)
                taken = self._arrivals.add(bar, self._last)
            except DataError as error:
                self._count_refusal(str(error))
                raise
            if taken:
                self._late_by[bar.symbol] = max(now - bar.end, 0) / 1e9
                self.serial += 1
        if taken:
            self._nudge()
        return taken

    def heartbeat(self, time: Any = None) -> None:
        """Take the promise that every bar that ends up to `time` has been sent; None is now.

        Raises
        ------
        DataError
            For a value that is no time, or a time ahead of the feed's clock; it is counted.
        """
        now = self._now()
        with self._lock:
            self._must_be_open()
            self._last = self._clock.now()
            try:
                moment = now if time is None else read_instant(time, "time")
                self._not_ahead("heartbeat", moment, now)
            except DataError as error:
                self._count_refusal(str(error))
                raise
            self._heartbeats += 1
            self._arrivals.heartbeat(moment)
            self.serial += 1
        self._nudge()

    def close(self, error: BaseException | None = None) -> None:
        """Say that no bar comes any more. Pushed bars are delivered; with an error, only complete instants."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.error = error
            if error is None:
                self._arrivals.finish()
            self.serial += 1
        self._nudge()

    def refuse(self, reason: str) -> None:
        """Count a message that is no bar at all."""
        with self._lock:
            self._last = self._clock.now()
            self._count_refusal(reason)

    def connected(self, *, again: bool = False) -> None:
        """Say that the other side is there, the first time or `again`."""
        with self._lock:
            self._connected = True
            self._last = self._clock.now()
            self._reconnects += again

    def disconnected(self) -> None:
        """Say that the feed tries to reconnect."""
        with self._lock:
            self._connected = False

    @property
    def since(self) -> int | None:
        """The moment up to which no bar has to be sent again; None at the beginning."""
        with self._lock:
            watermark = self._arrivals.watermark
        return watermark if NEVER < watermark < EVER else None

    # -- what the coordinator calls -------------------------------------------------------------------------

    def take(self) -> Delivery:
        """Take out the bars that may become instants now."""
        with self._lock:
            bars, watermark = self._arrivals.release(self._clock.now())
            return Delivery(bars, watermark, self._closed)

    def end(self) -> None:
        """Refuse everything from now on: the run is over."""
        with self._lock:
            self._over = True

    @property
    def deadline(self) -> float | None:
        """The time at which the bar that has waited longest is released; None if none waits."""
        with self._lock:
            return self._arrivals.deadline

    def lateness(self) -> dict[str, float]:
        """For each symbol, the seconds by which its newest bar arrived late, or its oldest waiting bar is late now."""
        now = self._now()
        with self._lock:
            waiting = {symbol: (now - end) / 1e9 for symbol, end in self._arrivals.oldest_waiting().items()}
            return {
                symbol: max(self._late_by.get(symbol, 0.0), waiting.get(symbol, 0.0)) for symbol in self.reader.symbols
            }

    # -- what is seen ---------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """The state of the feed."""
        with self._lock:
            return self._state()

    def status(self) -> dict[str, Any]:
        """The feed's part of the JSON status."""
        with self._lock:
            arrivals = self._arrivals
            shown = NEVER < arrivals.watermark < EVER
            return {
                "state": self._state().value,
                "last_message_seconds": max(self._clock.now() - self._last, 0.0),
                "watermark": written(arrivals.watermark) if shown else None,
                "waiting": arrivals.waiting,
                "received": arrivals.received,
                "heartbeats": self._heartbeats,
                "refused": self._refused,
                "late": arrivals.late,
                "duplicate": arrivals.duplicate,
                "out_of_order": arrivals.out_of_order,
                "reconnects": self._reconnects,
                "last_refusal": self._refusal,
            }

    # -- under the lock -------------------------------------------------------------------------------------

    def _state(self) -> FeedState:
        if self._closed:
            return FeedState.CLOSED if self.error is None else FeedState.FAILED
        if self._over:
            return FeedState.CLOSED
        if not self._connected:
            return FeedState.RECONNECTING
        silent = self._clock.now() - self._last
        return FeedState.STALE if silent > self._patience.stale else FeedState.CONNECTED

    def _must_be_open(self) -> None:
        if self._closed or self._over:
            what = "its run is over" if self._over else "it was closed"
            raise OutsideRunError(f"this feed takes nothing any more: {what}; make a new one for the next run")

    def _not_ahead(self, what: str, moment: int, now: int) -> None:
        if moment - now > self._patience.future * 1e9:
            stamps = self.reader.stamps
            raise DataError(
                f"{what}: it ends at {stamps.stamp(moment)}, and the feed's clock shows {stamps.stamp(now)}; "
                "bars are sent when they are complete, so correct the stamp or the clock"
            )

    def _count_refusal(self, reason: str) -> None:
        self._refused += 1
        reason = printed(reason[: _LONGEST + 1])
        self._refusal = cut(reason, _LONGEST)
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, ... alone, so that junk can't flood the log
            logger.warning("live feed: %d refused so far, now: %s", self._refused, self._refusal)


class Feed(Protocol):
    """The protocol of a feed of live bars. `PushFeed` is one to derive from.

    Attributes
    ----------
    source : str
        The source of the bars, as text for people.
    synthetic : bool
        True if they are known to be invented.
    is_timed : bool
        True if `now` is a clock that bars can be late against.
    """

    source: str
    synthetic: bool
    is_timed: bool

    def attach(self, inbox: Inbox) -> None:
        """Called once, by the thread that starts the run, before the run's first thread."""
        ...

    def begin(self) -> None:
        """Called once, by the coordinator, when strategies have started. It must return at once."""
        ...

    def end(self) -> None:
        """Called when the run is over, from any thread, maybe twice. It must return within a second."""
        ...

    def now(self) -> int:
        """The feed's clock, nanoseconds UTC."""
        ...


class PushFeed:
    """A live feed that any thread pushes bars into; it serves one run.

    Parameters
    ----------
    now : callable, optional
        The feed's clock, as nanoseconds UTC, if it isn't the machine's, as for replayed bars.
    source : str
        The source of the bars, for reports.

    Examples
    --------
    >>> import nbbacktest as nb
    >>> class Count(nb.Strategy):
    ...     bars_seen = 0
    ...
    ...     def on_bar(self, bar):
    ...         self.bars_seen += 1
    >>> feed, system, count = nb.PushFeed(), nb.SystemManager(), Count()
    >>> system.start({"mode": "live", "data": {"symbols": ["EXE"]}}, feed=feed, strategies=count)
    True
    >>> feed.push(symbol="EXE", time="2024-10-03T09:30:00-04:00", open=80, high=82, low=79, close=81, volume=100)
    True
    >>> feed.close()
    >>> system.wait().stats["bars"], count.bars_seen
    (1, 1)
    """

    is_timed = True
    synthetic = False

    def __init__(self, *, now: Now | None = None, source: str = "live bars, pushed") -> None:
        self.source = source
        self._now: Callable[[], int] = now or clocks.time_ns
        self._inbox: Inbox | None = None  # written once, by the thread that starts the run

    # -- what its user calls --------------------------------------------------------------------------------

    def push(self, bar: Mapping[str, Any] | Bar | None = None, /, **fields: Any) -> bool:
        """Hand over a completed bar: a mapping, a `Bar`, or its fields as keywords. Any thread may call it.

        Parameters
        ----------
        bar, **fields
            `symbol`, `time` (its open) or `end` (its close), `open`, `high`, `low`, `close`, and maybe `volume`. Times
            have a time zone; for daily bars `time` is the session's date.

        Returns
        -------
        bool
            False if it was dropped and counted: its instant has been handled without it, or it is there already.

        Raises
        ------
        DataError
            For a bar that can't be used: another symbol, no number, prices that don't fit together, a time off the
            interval's grid or ahead of the clock, other values than were sent before. It is counted.
        OutsideRunError
            Before the feed's run has started, and after it.
        """
        return self._attached.push(fields if bar is None else bar)

    def heartbeat(self, time: Any = None) -> None:
        """Promise that every bar that ends up to `time` has been pushed; left out, up to now.

        An instant that waits for symbols without a trade goes on at once then, and coarser bars end on time.

        Raises
        ------
        DataError
            For a value that is no time, or a time ahead of the clock.
        OutsideRunError
            As for `push`.
        """
        self._attached.heartbeat(time)

    def close(self, error: BaseException | str | None = None) -> None:
        """End the run after the pushed bars; with an error, fail it. Closing again changes nothing.

        With an error, instants that are complete are handled first.
        """
        reason = FeedError(error) if isinstance(error, str) else error
        self._attached.close(reason)

    def now(self) -> int:
        """The feed's clock, nanoseconds UTC."""
        return self._now()

    @property
    def state(self) -> FeedState | None:
        """connected, stale, reconnecting, closed or failed; None before its run."""
        return None if self._inbox is None else self._inbox.state

    # -- what its run calls ---------------------------------------------------------------------------------

    def attach(self, inbox: Inbox) -> None:
        """Serve a run.

        Raises
        ------
        ConfigError
            If it has served one already.
        """
        if self._inbox is not None:
            cure = "has served a run already; make a new one for each run"
            raise ConfigError([Problem("feed", self, cure)], "start()")
        self._inbox = inbox

    def begin(self) -> None:
        """Do nothing: bars are pushed from outside."""

    def end(self) -> None:
        """Refuse all bars from now on."""
        if self._inbox is not None:
            self._inbox.end()

    @property
    def _attached(self) -> Inbox:
        if self._inbox is None:
            raise OutsideRunError(
                "this feed isn't in a run yet; start one with system.start(config, feed=feed), then push"
            )
        return self._inbox

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.source}, {self.state or 'not in a run yet'}>"
