"""Clocks: wall time for the engine, and one that tests move by hand; its waits follow its time."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from nbbacktest.core.monitor import Monitor


class Clock(Protocol):
    """Seconds that only rise, and a wait on a condition that ends when they have passed."""

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        ...

    def wait(self, condition: Monitor, until: float | None) -> None:
        """Wait for a notification, at most until the clock shows `until`; the caller holds `condition`.

        It may return early: callers test their condition again.
        """
        ...


class WallClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def wait(self, condition: Monitor, until: float | None) -> None:
        """Wait for a notification, at most until the clock shows `until`."""
        if until is None:
            condition.wait()
        elif (left := until - time.monotonic()) > 0:
            condition.wait(min(left, threading.TIMEOUT_MAX))


class ManualClock:
    """A clock that stands still until told otherwise, for tests that are exact and never sleep."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._waiting: dict[Monitor, float | None] = {}
        self._changed = Monitor()  # guards the two above

    def now(self) -> float:
        """The time that was set last."""
        with self._changed.lock:
            return self._now

    def wait(self, condition: Monitor, until: float | None) -> None:
        """Wait for a notification or for `advance` to reach `until`."""
        with self._changed.lock:
            if until is not None and self._now >= until:
                return
            self._waiting[condition] = until
            self._changed.notify_all()
        try:
            condition.wait()
        finally:
            with self._changed.lock:
                self._waiting.pop(condition, None)
                self._changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Move the clock on and wake the threads whose time has come. The caller may hold none of their conditions."""
        with self._changed.lock:
            self._now += seconds
            due = [c for c, until in self._waiting.items() if until is not None and until <= self._now]
        for condition in due:
            with condition.lock:
                condition.notify_all()

    def wait_for_sleepers(self, count: int = 1, timeout: float = 10.0) -> None:
        """Block until `count` threads sleep towards a deadline to come (not just for a notification)."""
        asleep = self._changed.until(
            lambda: sum(until is not None and until > self._now for until in self._waiting.values()) >= count, timeout
        )
        if not asleep:
            raise TimeoutError(f"fewer than {count} threads slept on the clock within {timeout} s")
