"""Turns on a host without threads: calls that an event loop makes between cells, and a waiting call in between."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from itertools import count
from time import monotonic

logger = logging.getLogger("nbbacktest")


class Turns:
    """A queue of calls by the time that they are due; each is made once, by whoever comes by first.

    The running event loop comes by on time: a notebook's runs on between cells. A call that waits comes by again and
    again (`take`). Where there is neither, nothing moves. One thread uses it.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have `call` made in that many seconds, or as soon after that as somebody comes by."""
        heapq.heappush(self._queue, (monotonic() + seconds, next(self._numbers), call))
        self._ask_loop(seconds)

    def take(self) -> None:
        """Make the calls that are due by now; what they have made later isn't waited for. What one raises is logged."""
        now = monotonic()
        due = []
        while self._queue and self._queue[0][0] <= now:
            due.append(heapq.heappop(self._queue)[2])
        for call in due:
            try:
                call()
            except Exception:
                logger.exception("%r raised in its turn", call)

    def attend(self) -> None:
        """Have the running loop come by for all that was asked for before it ran."""
        for due, _, _ in self._queue:
            self._ask_loop(due - monotonic())

    def _ask_loop(self, seconds: float) -> None:
        import asyncio  # 15 ms of a terminal's first run, which has no loop

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # none: whoever waits next comes by
            return
        # Never at once: the loop is to hear its messages first. A millisecond more, so that the time has come.
        loop.call_later(max(seconds, 0.0) + 0.001, self.take)


TURNS = Turns()
"""The process's."""
