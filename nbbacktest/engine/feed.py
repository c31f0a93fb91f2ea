"""What brings a live run its bars: the protocol, and the feed that a program pushes into."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nbbacktest.core.errors import ConfigError, FeedError, OutsideRunError, Problem
from nbbacktest.core.records import Bar
from nbbacktest.data.incoming_bars import Now
from nbbacktest.engine.inbox import FeedState, Inbox


class Feed(Protocol):
    """What a live run asks of its feed. `PushFeed` is one to derive from.

    Attributes
    ----------
    source : str
        Where the bars come from, for people to judge.
    synthetic : bool
        Whether they are known to be invented.
    is_timed : bool
        Whether `now` is a clock that bars can be late against.
    """

    source: str
    synthetic: bool
    is_timed: bool

    def attach(self, inbox: Inbox) -> None:
        """Called once, by whoever starts the run, before its first thread."""
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
        The feed's clock, as nanoseconds UTC, where it isn't the machine's: that of bars that are replayed.
    source : str
        Where the bars come from, for reports.

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
        self._inbox: Inbox | None = None  # written once, by whoever starts the run

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
            False where it was dropped and counted: its instant has been handled without it, or it is there already.

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

        It lets an instant go on at once that would wait for symbols without a trade, and coarser bars end on time.

        Raises
        ------
        DataError
            For what is no time, or ahead of the clock.
        OutsideRunError
            As for `push`.
        """
        self._attached.heartbeat(time)

    def close(self, error: BaseException | str | None = None) -> None:
        """End the run after what was pushed; with an error, fail it. Closing again changes nothing.

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
            Where it has served one already.
        """
        if self._inbox is not None:
            cure = "has served a run already; make a new one for each run"
            raise ConfigError([Problem("feed", self, cure)], "start()")
        inbox.now = self.now
        self._inbox = inbox

    def begin(self) -> None:
        """Nothing to do here: whoever pushes does it from outside."""

    def end(self) -> None:
        """Take nothing any more."""
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
