"""The part of `Strategy` that has functions called at a time of each session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from nbbacktest.trading.schedule import Scheduled

if TYPE_CHECKING:
    from nbbacktest.trading.seat import Seat


class Scheduling:
    """What strategies can have called in sessions."""

    _seat: Seat

    def schedule(
        self,
        callback: Callable[[], object],
        *,
        at: str | dt.time | None = None,
        before_close: float | None = None,
        after_open: float | None = None,
        every: str = "day",
    ) -> Scheduled:
        """Have `callback` called once a session, at a time of it; for `on_start`.

        It is called after all callbacks of the first instant at or after that time, at the session's end where no bar
        completes in between, and in no session that doesn't have that time (15:55 on a half day).

        Parameters
        ----------
        callback
            A function or method without arguments.
        at
            Time of day on the exchange's clocks, such as ``"15:55"``.
        before_close, after_open
            Minutes; half days have their own close. Give one of these three.
        every
            ``"day"``, or the first or last session of each week or month, by the exchange's calendar:
            ``"week_start"``, ``"week_end"``, ``"month_start"``, ``"month_end"``.

        Returns
        -------
        Scheduled
            Its `cancel()` ends it.

        Raises
        ------
        ScheduleError
            For terms that make no sense, for a time that no session of the run has, and outside of `on_start`.

        Examples
        --------
        ::

            def on_start(self):
                self.schedule(self.flatten, before_close=5)
                self.schedule(self.rebalance, at="10:00", every="month_start")
        """
        return self._seat.schedule(callback, at, before_close, after_open, every)
