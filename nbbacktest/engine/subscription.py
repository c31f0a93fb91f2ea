"""The handshake between two stages of the engine: the producer raises a flag, and the consumer takes it down."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import NamedTuple

from nbbacktest.core.enums import StreamMode
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.timeline import Deadlines, Window


class StreamSubscription:
    """A two-way handshake between a producer and a consumer, with its counts.

    The producer calls `signal_ready` and, if it must not run ahead, `wait_until_reset`. The consumer calls
    `wait_until_ready`, works, and calls `reset`, which is its acknowledgement. Any thread may call any method.

    Parameters
    ----------
    mode : str
        ``"data-driven"``: waits block until signalled or closed, and ignore their timeout.
        ``"clock-driven"`` and ``"live"``: waits return False on timeout. In clock-driven mode a second signal
        before `reset` is one overrun: the producer's clock didn't wait for the consumer.
    stream_id : str
        The name under which statistics are published.

    Raises
    ------
    ValueError
        For any other mode.

    Examples
    --------
    >>> sub = StreamSubscription("clock-driven", "coordinator->processor")
    >>> sub.signal_ready(); sub.signal_ready(); sub.get_overrun_count()
    1
    >>> sub.wait_until_ready(timeout=0.1)
    True
    >>> sub.reset(); sub.wait_until_ready(timeout=0.001)
    False
    """

    def __init__(self, mode: str, stream_id: str) -> None:
        self._mode = _mode(mode)
        self._id = stream_id
        # All fields below are guarded by its lock.
        self._changed = Monitor()
        self._ready = False
        self._closed = False
        self._nudged = False
        self._signals = 0
        self._waits = 0
        self._cycles = 0
        self._overruns = 0
        self._wait_seconds = 0.0

    def signal_ready(self) -> None:
        """Raise the flag and wake the consumer; after `close` it does nothing."""
        with self._changed.lock:
            if self._closed:
                return
            self._signals += 1
            if self._ready:
                if self._mode is StreamMode.CLOCK_DRIVEN:
                    self._overruns += 1
                return
            self._ready = True
            self._changed.notify_all()

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Wait for the flag.

        Parameters
        ----------
        timeout : float, optional
            Seconds; ignored in data-driven mode.

        Returns
        -------
        bool
            True once the flag is up, or at a nudge; False when closed or, outside data-driven mode, after `timeout`.
        """
        with self._changed.lock:
            self._waits += 1
            if self._ready or self._closed or self._nudged:
                self._nudged = False
                return not self._closed
            limit = None if self._mode is StreamMode.DATA_DRIVEN else timeout
        began = perf_counter()
        answer = self._changed.until(self._news, limit)
        with self._changed.lock:
            self._wait_seconds += perf_counter() - began
            self._nudged = False
        return answer in ("ready", "nudged")

    def nudge(self) -> None:
        """Make one wait of the consumer return, with the flag as it is."""
        with self._changed.lock:
            self._nudged = True
            self._changed.notify_all()

    def reset(self) -> None:
        """Take the flag down: the consumer has done the signalled work, and the producer may go on."""
        with self._changed.lock:
            if self._ready:
                self._ready = False
                self._cycles += 1
                self._changed.notify_all()

    def wait_until_reset(self) -> bool:
        """Wait, as the producer, until the flag is down; False when closed."""
        self._changed.until(lambda: self._closed or not self._ready)
        return not self._closed

    def is_ready(self) -> bool:
        """True if the flag is up."""
        return self._ready

    def get_overrun_count(self) -> int:
        """Signals that came before the last one was reset, in clock-driven mode."""
        return self._overruns

    def get_mode(self) -> str:
        """The mode, as it is written in configs and statistics."""
        return self._mode.value

    def set_mode(self, mode: str) -> None:
        """Change the mode; waits that have begun follow the mode in which they began."""
        checked = _mode(mode)
        with self._changed.lock:
            self._mode = checked

    def get_stream_id(self) -> str:
        """The name given at creation."""
        return self._id

    def close(self) -> None:
        """Wake every waiter, now and for good; each then gets False."""
        with self._changed.lock:
            self._closed = True
            self._changed.notify_all()

    def statistics(self) -> dict[str, str | int | float | bool]:
        """The counts, taken at one moment."""
        with self._changed.lock:
            return {
                "mode": self._mode.value,
                "signals": self._signals,
                "waits": self._waits,
                "cycles": self._cycles,
                "wait_seconds": self._wait_seconds,
                "overruns": self._overruns,
                "ready": self._ready,
            }

    def _news(self) -> str:
        """The news that ends a consumer's wait; empty if it waits on."""
        return "closed" if self._closed else "ready" if self._ready else "nudged" if self._nudged else ""


class Plan(NamedTuple):
    """The instants that the coordinator has released, from `start` up to `stop`, paced by a clock or not."""

    serial: int
    start: int
    stop: int
    generation: int
    pace: Deadlines | None


class Link:
    """The link between coordinator and processor: tells how far the processor may go, and when it is done."""

    def __init__(self, subscription: StreamSubscription) -> None:
        self.subscription = subscription
        # Held for a release with its signal, and for finding nothing left with its acknowledgement: no
        # signal is taken down unseen, and the flag is up as long as anything released is under way.
        self._lock = threading.Lock()
        self._plan = Plan(0, 0, 0, 0, None)
        self._serial = 0
        self._taken = 0

    def open(self, start: int, stop: int, generation: int, pace: Deadlines | None = None) -> None:
        """Release the instants from `start` up to `stop`, under a new plan."""
        with self._lock:
            self._plan = Plan(self._plan.serial + 1, start, stop, generation, pace)
            if stop > start:
                self.subscription.signal_ready()

    def release(self) -> None:
        """Release one instant more of the present plan."""
        with self._lock:
            plan = self._plan
            self._plan = plan._replace(stop=plan.stop + 1)
            self.subscription.signal_ready()

    def take(self, generation: int) -> Window | None:
        """Take the instants that were released; one at a time if a clock paces them.

        None if nothing is left, which acknowledges the signal. Instants that were planned in another generation than the
        present one aren't handed out any more.
        """
        with self._lock:
            plan = self._plan
            if plan.serial != self._serial:
                self._serial, self._taken = plan.serial, plan.start
            start, stop = self._taken, plan.stop
            if start >= stop or plan.generation != generation:
                self.subscription.reset()
                return None
            stop = stop if plan.pace is None else start + 1
            self._taken = stop
            return Window(start, stop, plan.generation, plan.pace)


def _mode(text: str) -> StreamMode:
    try:
        return StreamMode(text)
    except ValueError:
        known = ", ".join(repr(m.value) for m in StreamMode)
        raise ValueError(f"{text!r} is no subscription mode; use one of {known}") from None
