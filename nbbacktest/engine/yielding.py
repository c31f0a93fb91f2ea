"""Yields the interpreter's lock to other threads while the engine works, if one of them seems to wait for it.

A thread that waits for the lock gets it after 5 ms by itself, and at once if the thread that has it sleeps. A sleep costs
the engine 0.1 ms, which is too much for a mere chance that a thread waits. Python doesn't tell if one does, but the
system counts how often threads have blocked: if no other thread has blocked since the last look, none has run, and so
none has begun to wait. A look costs 1 us.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import perf_counter, sleep

if sys.platform == "linux":  # other systems don't count per thread
    from resource import RUSAGE_SELF, RUSAGE_THREAD, getrusage


class InterpreterYield:
    """Yields one thread's hold of the interpreter to the others of its process. Used by that thread alone.

    Parameters
    ----------
    nap
        Sleeps so many seconds at most, without the interpreter's lock.
    blocked
        Counts how often other threads have blocked; None is the system's count, or, if it has none, one that rises with
        each look as long as there are other threads.
    clock
        Seconds.
    """

    NAP = 5e-5
    """Seconds of a sleep, which takes 0.1 ms in fact: a sleeping core needs 0.05 ms more to wake."""
    PERIOD = 0.001
    """Seconds between two looks at least; longer if the thread that ran last took longer."""
    LONG = 0.003
    """Seconds from which on the other thread counts as busy: a thread that never rests keeps the lock for 0.005."""
    PATIENCE = 3
    """Busy threads in a row before yielding stops."""
    QUIET = 0.5
    """Seconds without yielding then: the interpreter shares its lock evenly between threads that never rest."""

    def __init__(
        self,
        nap: Callable[[float], object] = sleep,
        blocked: Callable[[], int] | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._nap = nap
        self._blocked = blocked or _counter()
        self._clock = clock
        self._seen = 0
        self._long = 0  # busy threads in a row
        self._quiet_until = 0.0
        self._due = 0.0  # the time of the next look

    def yield_if_wanted(self) -> None:
        """Sleep for a moment, if another thread seems to wait for the interpreter and none has just had it."""
        began = self._clock()
        if began < self._due:
            return
        self._due = began + self.PERIOD
        if (blocked := self._blocked()) == self._seen:
            return
        # from before the sleep: a thread that comes too late blocks again, and is seen at the next look
        self._seen = blocked
        self._nap(self.NAP)
        ended = self._clock()
        self._long = self._long + 1 if ended - began > self.LONG else 0
        if self._long >= self.PATIENCE:
            self._quiet_until = ended + self.QUIET
        self._due = max(ended + max(self.PERIOD, ended - began), self._quiet_until)

    def make_due(self) -> None:
        """Let the next call look at once: a thread has its answer, and waits only for the interpreter."""
        self._due = self._quiet_until

    def note_rest(self) -> None:
        """Note that other threads have just had the interpreter for as long as they wanted."""
        self._due = max(self._due, self._clock() + self.PERIOD)


def _counter() -> Callable[[], int]:
    # This process has read files, and so has blocked: a count of 0 means that the sandbox doesn't count.
    if sys.platform == "linux" and getrusage(RUSAGE_SELF).ru_nvcsw:
        return lambda: getrusage(RUSAGE_SELF).ru_nvcsw - getrusage(RUSAGE_THREAD).ru_nvcsw
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += threading.active_count() > 1
        return looks

    return look
