"""Lets other threads have the interpreter while the engine works, where one seems to wait for it.

A thread that wants the interpreter gets it 5 ms later by itself, and at once where the one that has it sleeps. To sleep
costs the engine 0.1 ms, more than it may spend each time on the chance that somebody waits. Whether somebody does Python
doesn't tell, but the system counts how often threads have blocked: as long as none of the others has, none has run, and
so none has begun to wait. To look costs 1 us.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import perf_counter, sleep

if sys.platform == "linux":  # others don't tell a thread's own count
    from resource import RUSAGE_SELF, RUSAGE_THREAD, getrusage


class Courtesy:
    """One thread's offers to all others of its process. Used by that thread alone.

    Parameters
    ----------
    nap
        Sleeps so many seconds at most, without the interpreter.
    blocked
        Counts how often other threads have blocked; None is the system's count, or, where it has none, one that rises with
        each look as long as there are other threads.
    clock
        Seconds.
    """

    NAP = 5e-5
    """Seconds, which the system makes 0.1 ms: a core that sleeps takes 0.05 to wake, and must be there before us."""
    PERIOD = 0.001
    """Seconds between two looks at least; as many as whoever was let in last has taken, where these were more."""
    LONG = 0.003
    """Seconds that somebody takes who is at work and not just passing by: one who never rests has it for 0.005."""
    PATIENCE = 3
    """Such ones in a row before it is believed."""
    QUIET = 0.5
    """Seconds without offers then: the interpreter shares evenly by itself between those who never rest."""

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
        self._long = 0  # offers in a row that were taken for long
        self._quiet_until = 0.0
        self._due = 0.0  # when the next look is

    def offer(self) -> None:
        """Let others have the interpreter, where one seems to wait for it and none has just had it."""
        began = self._clock()
        if began < self._due:
            return
        self._due = began + self.PERIOD
        if (blocked := self._blocked()) == self._seen:
            return
        self._seen = blocked  # as it was before: who comes too late blocks again, and is seen the next time
        self._nap(self.NAP)
        ended = self._clock()
        self._long = self._long + 1 if ended - began > self.LONG else 0
        if self._long >= self.PATIENCE:
            self._quiet_until = ended + self.QUIET
        self._due = max(ended + max(self.PERIOD, ended - began), self._quiet_until)

    def hurry(self) -> None:
        """Make the next offer at once: somebody has an answer now, and no more to wait for than the interpreter."""
        self._due = self._quiet_until

    def rested(self) -> None:
        """Others have just had the interpreter for as long as they wanted."""
        self._due = max(self._due, self._clock() + self.PERIOD)


def _counter() -> Callable[[], int]:
    # A sandbox that doesn't count shows none for a process that has read files.
    if sys.platform == "linux" and getrusage(RUSAGE_SELF).ru_nvcsw:
        return lambda: getrusage(RUSAGE_SELF).ru_nvcsw - getrusage(RUSAGE_THREAD).ru_nvcsw
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += threading.active_count() > 1
        return looks

    return look
