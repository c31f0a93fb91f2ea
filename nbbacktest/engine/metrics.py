"""Measures durations of the engine's work, and watches for symbols that lag."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from math import exp, log
from typing import Literal, NamedTuple

import numpy as np

from nbbacktest.core.clock import Clock
from nbbacktest.data.live_market import Now
from nbbacktest.engine.timeline import Axis, Deadlines

_STEPS = 50.0  # the number of buckets for each factor of e: a bucket is 2% wide, and its middle 1% off at most
KEPT = 100
"""The number of events that are kept; all are counted."""


class TimingSeries:
    """Durations in seconds, kept as a histogram of logarithmic buckets.

    One thread adds; others may call `summary` at any time and see a count that is at most one behind.
    """

    __slots__ = ("_buckets", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration; one below a nanosecond counts as a nanosecond in the percentiles."""
        self.count += 1
        self.total += seconds
        self.smallest = min(self.smallest, seconds)
        self.largest = max(self.largest, seconds)
        self._buckets[int(log(max(seconds, 1e-9)) * _STEPS // 1)] += 1

    def percentile(self, fraction: float) -> float:
        """The duration that `fraction` of all stay at or below, in seconds; 0 if there are none."""
        buckets = sorted(self._buckets.copy().items())
        left = fraction * sum(count for _, count in buckets)
        for bucket, count in buckets:
            left -= count
            if left <= 0:
                middle = exp((bucket + 0.5) / _STEPS)
                return min(max(middle, self.smallest), self.largest)
        return self.largest

    def summary(self) -> dict[str, float]:
        """Count, min, avg, p50, p99, max and total; seconds, zeros if nothing was counted."""
        if not self.count:
            return {"count": 0, "min": 0.0, "avg": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0, "total": 0.0}
        return {
            "count": self.count,
            "min": self.smallest,
            "avg": self.total / self.count,
            "p50": self.percentile(0.50),
            "p99": self.percentile(0.99),
            "max": self.largest,
            "total": self.total,
        }


class LagEvent(NamedTuple):
    """A symbol began or ceased to lag.

    Attributes
    ----------
    time : int
        The time at which that was found, nanoseconds UTC of the wall clock, or of the feed's.
    sim_time : int or None
        The last completed instant then, nanoseconds UTC.
    seconds : float
        Seconds that it was behind then.
    """

    symbol: str
    kind: Literal["entered", "left"]
    time: int
    sim_time: int | None
    seconds: float


class LagWatch:
    """Looks for symbols that lag, once an interval. The coordinator's thread calls it; any thread may read.

    A symbol's lag is the wall seconds for which its oldest unhandled bar has been due; 0 if none is.

    Parameters
    ----------
    threshold, interval
        Wall seconds.
    clock
        The run's.
    now
        Gives the time with which events are stamped.

    Attributes
    ----------
    due : float
        The clock's time at which the next look is due.
    seconds : Mapping
        By symbol, as of the last look. Replaced as a whole.
    events : tuple of LagEvent
        The newest `KEPT`, oldest first. Replaced as a whole.
    entered, left : int
        The numbers of these events in all.
    """

    def __init__(self, threshold: float, interval: float, clock: Clock, now: Now = time.time_ns) -> None:
        self._threshold = threshold
        self._interval = interval
        self._clock = clock
        self._now = now
        self._lagging: set[str] = set()
        self._recent: deque[LagEvent] = deque(maxlen=KEPT)
        self.due = clock.now() + interval
        self.seconds: Mapping[str, float] = {}
        self.events: tuple[LagEvent, ...] = ()
        self.entered = self.left = 0

    @property
    def is_quiet(self) -> bool:
        """True if no symbol was behind since the last `forget`."""
        return not self.seconds

    def ask(
        self, axis: Axis, schedule: Deadlines, cursor: int, arrived: Callable[[], Mapping[str, float]] | None = None
    ) -> None:
        """Look for lag if it is time.

        Parameters
        ----------
        axis, schedule
            The run's instants, and when each is due.
        cursor
            Completed instants.
        arrived
            Gives, by symbol, the seconds by which its bars came in late. The larger lag counts.
        """
        now = self._clock.now()
        if now < self.due:
            return
        seconds = overdue(axis, schedule, now)
        if arrived is not None:
            came = arrived()
            seconds = {symbol: max(late, came.get(symbol, 0.0)) for symbol, late in seconds.items()}
        self.look(seconds, int(axis.instants[cursor - 1]) if cursor else None)

    def look(self, seconds: Mapping[str, float], sim_time: int | None) -> None:
        """Replace the lags of all symbols by the present ones."""
        self.due = self._clock.now() + self._interval
        self.seconds = dict(seconds)
        for symbol, lag in seconds.items():
            if (lag >= self._threshold) is not (symbol in self._lagging):
                self._turn(symbol, lag, sim_time)

    def forget(self, sim_time: int | None) -> None:
        """Forget all lags: no clock paces the run from now on."""
        for symbol in sorted(self._lagging):
            self._turn(symbol, 0.0, sim_time)
        self.seconds = {}

    def _turn(self, symbol: str, lag: float, sim_time: int | None) -> None:
        if symbol in self._lagging:
            self._lagging.remove(symbol)
            self.left += 1
            kind: Literal["entered", "left"] = "left"
        else:
            self._lagging.add(symbol)
            self.entered += 1
            kind = "entered"
        self._recent.append(LagEvent(symbol, kind, self._now(), sim_time, lag))
        self.events = tuple(self._recent)


def overdue(axis: Axis, schedule: Deadlines, now: float) -> dict[str, float]:
    """For each base series, the seconds for which its next bar has been due by `schedule` when the clock shows `now`."""
    found = {}
    for one in axis.series:
        if one.is_base:
            ends, n = one.columns.end, one.n
            late = 0.0
            if n < len(ends):
                late = now - schedule.deadline(int(np.searchsorted(axis.instants, ends[n])))
            found[one.symbol] = max(late, 0.0)
    return found
