"""How long a run has moved while a face watched it: its clock stands while the run rests."""

from __future__ import annotations

import weakref

from nbbacktest.core.enums import SystemState
from nbbacktest.system.run import Run


class Watch:
    """Counts the wall seconds of one run after another. For one thread.

    A rest counts from when it is first seen: of a run that rested before, the time until then is part of the count.
    """

    def __init__(self) -> None:
        self._run: weakref.ref[Run] | None = None
        self._rested = 0.0
        self._since: float | None = None  # the run's duration when its present rest was first seen

    def seconds(self, run: Run, state: SystemState) -> float:
        """Wall seconds from the run's start to its end or to now, without the rests seen."""
        if self._run is None or self._run() is not run:
            self._run, self._rested, self._since = weakref.ref(run), 0.0, None
        now = run.duration
        if state is SystemState.PAUSED:
            self._since = now if self._since is None else self._since
            return self._since - self._rested
        if self._since is not None:
            self._rested, self._since = self._rested + now - self._since, None
        return now - self._rested
