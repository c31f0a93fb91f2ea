"""Where a feed puts bars, from any thread, and a live run's coordinator takes them out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from nbbacktest.core.clock import Clock
from nbbacktest.core.errors import DataError, OutsideRunError
from nbbacktest.core.records import Bar
from nbbacktest.core.shown import printed
from nbbacktest.data.incoming_bars import BarReader, IncomingBar, Now, read_instant, written
from nbbacktest.engine.arrivals import EVER, NEVER, Arrivals

logger = logging.getLogger("nbbacktest")


class FeedState(StrEnum):
    """How a feed is, as the status shows it."""

    CONNECTED = "connected"
    STALE = "stale"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a live run waits, in seconds: for other symbols' bars, for any message; how far a clock may be off."""

    grace: float = 2.0
    stale: float = 30.0
    future: float = 5.0


class Delivery(NamedTuple):
    """What the coordinator takes out at once."""

    bars: list[IncomingBar]
    watermark: int
    closed: bool


class Inbox:
    """One run's: reads what arrives, puts it in order, counts it. Any thread may call any method.

    Parameters
    ----------
    reader
        Checks bars.
    clock
        The run's, for waits.
    nudge
        Called without a lock after every change, to wake the coordinator.
    begins
        Nanoseconds UTC up to which all is history.

    Attributes
    ----------
    serial : int
        Rises with every change. Written under the lock, read anywhere.
    error : BaseException or None
        Why the feed failed. Written under the lock, once.
    """

    def __init__(
        self, reader: BarReader, clock: Clock, patience: Patience, nudge: Callable[[], None], begins: int = NEVER
    ) -> None:
        self.reader = reader
        self.serial = 0
        self.error: BaseException | None = None
        self.now: Now = _unset
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
        """Take a bar; False where it was dropped as late or as a duplicate.

        Raises
        ------
        DataError
            Where it can't be used; it is counted.
        OutsideRunError
            Where the feed was closed, or its run is over.
        """
        now = self.now()  # a user's function may be behind it: not under the lock
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
            For what is no time, and one ahead of the feed's clock; it is counted.
        """
        now = self.now()
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
        """Say that nothing comes any more: what was pushed is delivered; with an error, what is complete of it."""
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
        """Say that it is being looked for."""
        with self._lock:
            self._connected = False

    @property
    def since(self) -> int | None:
        """The moment up to which nothing has to be sent again; None at the beginning."""
        with self._lock:
            watermark = self._arrivals.watermark
        return watermark if NEVER < watermark < EVER else None

    # -- what the coordinator calls -------------------------------------------------------------------------

    def take(self) -> Delivery:
        """Take out all that may become instants now."""
        with self._lock:
            bars, watermark = self._arrivals.release(self._clock.now())
            return Delivery(bars, watermark, self._closed)

    def end(self) -> None:
        """Refuse everything from now on: the run is over."""
        with self._lock:
            self._over = True

    @property
    def deadline(self) -> float | None:
        """What the clock must show for the bar that has waited longest; None where none waits."""
        with self._lock:
            return self._arrivals.deadline

    def lateness(self) -> dict[str, float]:
        """For each symbol, by how many seconds its newest bar arrived late, or its oldest waiting one is late now."""
        now = self.now()
        with self._lock:
            waiting = {symbol: (now - end) / 1e9 for symbol, end in self._arrivals.oldest_waiting().items()}
            return {
                symbol: max(self._late_by.get(symbol, 0.0), waiting.get(symbol, 0.0)) for symbol in self.reader.symbols
            }

    # -- what is seen ---------------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        """How the feed is."""
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
        self._refusal = reason if len(reason) <= _LONGEST else reason[: _LONGEST - 3] + "..."
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, ...: junk can't flood the log
            logger.warning("live feed: %d refused so far, now: %s", self._refused, self._refusal)


_LONGEST = 300


def _unset() -> int:
    return EVER
