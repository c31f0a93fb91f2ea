"""A lock with waits for changes of what it guards, and starts of threads: Ctrl-C at any point leaves the lock free.

Python raises a signal handler's exception in the main thread, and only at some points: where a Python function begins, where a
function written in C has returned, and where a loop goes round. `threading.Condition`, `Event` and `Thread.start` are
Python. If one of them is interrupted between taking its lock and its `try`, the lock is never released.
"""

from __future__ import annotations

import _thread
import contextvars
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Monitor:
    """A lock, and waits for changes of what it guards.

    It can't be entered by itself: `with monitor.lock` enters the lock, whose entry and exit are C code and so one thing.
    A thread that changes what the lock guards calls `notify_all` before it leaves the lock.

    Attributes
    ----------
    lock : threading.RLock
        A thread that holds it may take it again: the garbage collector may end a dropped run inside any call.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        self._tickets: list[threading.Lock] = []  # one for each thread that waits in `until`; guarded by the lock

    def until(self, answer: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `answer()` is true and return its value; after `timeout` seconds return its value at that time.

        For every thread. The caller doesn't hold the lock: it is held while `answer` is called, and not in between.
        """
        with self.lock:
            found = answer()
            if found:
                return found
        deadline = None if timeout is None else monotonic() + timeout
        ticket = threading.Lock()
        ticket.acquire()
        came = True
        try:
            while True:
                with self.lock:
                    found = answer()
                    if found or not came:
                        return found
                    self._tickets.append(ticket)
                left = -1.0 if deadline is None else min(max(deadline - monotonic(), 0.0), threading.TIMEOUT_MAX)
                came = ticket.acquire(timeout=left)
        finally:
            with self.lock:
                if ticket in self._tickets:
                    self._tickets.remove(ticket)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for news with the lock held, as a condition does; False after `timeout` seconds.

        For the package's own threads, which no signal interrupts.
        """
        return self._news.wait(timeout)

    def notify_all(self) -> None:
        """Wake all waiting threads; the caller holds the lock. If it is interrupted, calling it again wakes the rest."""
        self._news.notify_all()
        for ticket in self._tickets:
            if ticket.locked():
                ticket.release()
        self._tickets.clear()


class Flag:
    """A `threading.Event` that interrupts can't break; it may be set again and again, and any thread may wait for it."""

    def __init__(self) -> None:
        self._monitor = Monitor()
        self._up = False  # written under the lock, read anywhere

    def is_set(self) -> bool:
        """True if it is up."""
        return self._up

    def set(self) -> None:
        """Raise the flag and wake all waiting threads."""
        surely(self._set)

    def clear(self) -> None:
        """Take it down."""
        self._up = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is raised; False after `timeout` seconds."""
        return self._monitor.until(self.is_set, timeout)

    def _set(self) -> None:
        with self._monitor.lock:
            self._up = True
            self._monitor.notify_all()


def surely(change: Callable[[], T]) -> T:
    """Make a change whole: if an interrupt cuts it in two, it is made once more before the interrupt is raised.

    `change` may be made twice, and raises no error of its own.
    """
    try:
        return change()
    except BaseException:
        change()
        raise


def apart(call: Callable[[], T]) -> T:
    """Make a call that no interrupt may cut in two: in a thread of its own, if the caller's is the main one.

    Returns and raises what `call` does. If an interrupt ends the wait for the call, the call still runs to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: _Outcome[T] = _Outcome()
    context = contextvars.copy_context()  # the caller's context variables count in the thread too
    work = threading.Thread(target=context.run, args=(outcome.take, call), name="nbbacktest-command", daemon=True)
    # C code, as the wait is: `Thread.start` is Python, and can be interrupted half-way.
    _thread.start_new_thread(outcome.prepare, (work.start,))
    return outcome.get()


def started(thread: threading.Thread) -> None:
    """Start a thread. An interrupt leaves it started or not, and never half-way.

    Raises
    ------
    RuntimeError
        There is no thread to be had.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    outcome: _Outcome[None] = _Outcome()
    _thread.start_new_thread(outcome.take, (thread.start,))
    outcome.get()


class _Outcome(Generic[T]):
    """The value or the error of another thread's call; a lock alone makes the wait."""

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def take(self, call: Callable[[], T]) -> None:
        try:
            self._value = call()
        except BaseException as error:  # noqa: BLE001 - raised by `get`
            self._error = error
        self._done.release()

    def prepare(self, begin: Callable[[], object]) -> None:
        """Call `begin`, which starts the thread that calls `take`; keep its error."""
        try:
            begin()
        except BaseException as error:  # noqa: BLE001 - raised by `get`
            self._error = error
            self._done.release()

    def get(self) -> T:
        self._done.acquire()
        error, self._error = self._error, None
        if error is None:
            return self._value  # type: ignore[no-any-return]
        try:
            raise error
        finally:
            del error  # so that the error, its traceback and this frame are no cycle
