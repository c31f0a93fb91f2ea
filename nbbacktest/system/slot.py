"""The present run of a manager, apart from it: so that the manager's end, or the process's, can end the run."""

from __future__ import annotations

import atexit
import os
import weakref
from time import monotonic

from nbbacktest.system.run import Run

EXIT_SECONDS = 1.0
"""How long the process's exit waits for strategies' calls, for all runs together."""


class Slot:
    """Holds one run.

    Attributes
    ----------
    run : Run or None
        The present one, or the last one. Written by `put`.
    leash : Leash
        What the manager's end pulls.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.leash = Leash()
        _slots.add(self)

    def put(self, run: Run) -> None:
        """Hold another run; called under the manager's condition, before the run starts."""
        self.run = self.leash.run = run


class Leash:
    """Holds a run for as long as it goes on, for those that are to end it.

    A finalizer lives as long as its object, and what it holds does too. A run that has ended may lead back to its manager:
    by a strategy that knows it, or by the frames of an error.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self._process = os.getpid()

    def let_go(self, run: Run) -> None:
        """Forget a run that has ended, unless there is another one; told by the run's end."""
        if self.run is run:
            self.run = None

    def end(self) -> Run | None:
        """Tell the run to end and wait for nothing: this may be called by the garbage collector, from any thread.

        Returns the run where it goes on for a moment. A forked child has none of its parent's threads, nor their
        locks in any known state: there it does nothing.
        """
        run = self.run
        if run is None or run.done or self._process != os.getpid():
            return None
        run.gate.end()
        return run


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()  # those of all managers that live, for the exit alone


@atexit.register
def _end_all() -> None:
    """End all runs, first telling each and then waiting, so that many take no longer than one."""
    deadline = monotonic() + EXIT_SECONDS
    ending = [slot.leash.end() for slot in list(_slots)]
    for run in ending:
        if run is not None:
            run.wait(max(deadline - monotonic(), 0.0))
