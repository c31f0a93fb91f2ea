"""Clocks: the machine's, and the hand-driven one that makes waits exact."""

from __future__ import annotations

import threading

import pytest

from nbbacktest.core.clock import ManualClock, WallClock
from nbbacktest.core.monitor import Monitor


class Sleeper:
    """A thread that waits on a clock until it shows `until`, and notes when it woke."""

    def __init__(self, clock: ManualClock, until: float | None) -> None:
        self.condition, self.woke_at, self.open = Monitor(), None, False
        self._clock, self._until = clock, until
        self.thread = threading.Thread(target=self._sleep, daemon=True)
        self.thread.start()

    def _sleep(self) -> None:
        with self.condition.lock:
            while not self.open and (self._until is None or self._clock.now() < self._until):
                self._clock.wait(self.condition, self._until)
            self.woke_at = self._clock.now()

    def notify(self) -> None:
        with self.condition.lock:
            self.open = True
            self.condition.notify_all()

    def join(self) -> float | None:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.woke_at


def test_wall_time_rises():
    """The machine's clock never goes back."""
    clock = WallClock()
    before = clock.now()
    assert clock.now() >= before


def test_wall_waits_end_at_their_time():
    """A wait towards a time ends there, one towards the past at once; both without a notification."""
    clock, condition = WallClock(), Monitor()
    with condition.lock:
        clock.wait(condition, clock.now() - 1)
        until = clock.now() + 0.01
        while clock.now() < until:
            clock.wait(condition, until)


def test_wall_waits_end_at_a_notification():
    """Without a time, and with one beyond what the platform can wait for, a notification ends the wait."""
    clock = WallClock()
    for until in (None, clock.now() + 1e12):
        sleeper = Sleeper(clock, until)  # type: ignore[arg-type]
        sleeper.notify()
        sleeper.join()


def test_manual_time_stands_still():
    """The clock shows what it was set to, until it is advanced."""
    clock = ManualClock(5.0)
    assert clock.now() == clock.now() == 5.0
    clock.advance(2.5)
    assert clock.now() == 7.5


def test_advancing_wakes_whoever_is_due():
    """Sleepers wake in the order of their times, exactly when the clock reaches them, and no other does."""
    clock = ManualClock()
    early, late = Sleeper(clock, 1.0), Sleeper(clock, 3.0)
    clock.wait_for_sleepers(2)
    clock.advance(1.0)
    assert early.join() == 1.0
    assert late.woke_at is None
    clock.wait_for_sleepers(1)
    clock.advance(5.0)
    assert late.join() == 6.0


def test_a_time_that_has_come_needs_no_wait():
    """Waiting for now or the past returns at once."""
    clock, condition = ManualClock(10.0), Monitor()
    with condition.lock:
        clock.wait(condition, 10.0)
        clock.wait(condition, 3.0)


def test_a_notification_ends_a_manual_wait():
    """A waiter without a time is no sleeper: advancing leaves it, a notification wakes it."""
    clock = ManualClock()
    waiter = Sleeper(clock, None)
    clock.advance(100.0)
    with pytest.raises(TimeoutError, match="fewer than 1 threads slept on the clock within 0.01 s"):
        clock.wait_for_sleepers(1, timeout=0.01)
    waiter.notify()
    assert waiter.join() == 100.0


def test_nobody_sleeps_on_a_clock_that_was_left():
    """Who has woken isn't counted any more."""
    clock = ManualClock()
    sleeper = Sleeper(clock, 1.0)
    clock.wait_for_sleepers()
    sleeper.notify()
    sleeper.join()
    with pytest.raises(TimeoutError):
        clock.wait_for_sleepers(timeout=0.01)
