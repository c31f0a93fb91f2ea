"""When orders begin and end: sessions from the exchange's calendar, or dates where there is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np

from nbbacktest.core.errors import DataError, OrderError
from nbbacktest.core.records import Stamps
from nbbacktest.data.calendar import SessionTable, local_dates, local_midnights, moment_of
from nbbacktest.data.trading_days import TradingDays


class Horizon:
    """Finds the session that an order belongs to.

    Parameters
    ----------
    stamps
        How times are labelled, and the zone that times without one are in: the exchange's.
    sessions
        Called when the first order needs it; None, or one that finds no sessions: a session is a date.
    days
        The trading days; None: dates in the zone of `stamps`.
    """

    def __init__(
        self,
        stamps: Stamps,
        sessions: Callable[[], SessionTable] | None = None,
        days: TradingDays | None = None,
    ) -> None:
        self._stamps = stamps
        self._days = days or TradingDays(stamps.day_zone)
        self._sessions = sessions
        self._table: SessionTable | None = None

    def session_end(self, now: int) -> int:
        """When the first session that ends after `now` ends, nanoseconds UTC."""
        table = self.sessions()
        if table is not None:
            row = int(np.searchsorted(table.close, now, side="right"))
            if row < len(table):
                return int(table.close[row])
        return self._midnight(now, 1)

    def next_session(self, now: int) -> tuple[int, int]:
        """When the first session that opens at `now` or later opens and ends, nanoseconds UTC."""
        table = self.sessions()
        if table is not None:
            row = int(np.searchsorted(table.open, now, side="left"))
            if row < len(table):
                return int(table.open[row]), int(table.close[row])
        today = self._midnight(now, 0)
        first = 0 if today == now else 1
        return self._midnight(now, first), self._midnight(now, first + 1)

    def read(self, until: Any, now: int) -> int:
        """The instant that a user's `until` means; a date means that trading day's end, naive times are the exchange's.

        Raises
        ------
        OrderError
            Where it is no time, or not after `now`.
        """
        import pandas as pd

        try:
            moment = pd.Timestamp(until)
            moment = moment if pd.isna(moment) else moment.as_unit("ns")
        except (ValueError, TypeError) as error:
            raise OrderError(f"until={until!r} is no time ({error}); give a timestamp, a date or its text") from None
        if pd.isna(moment):
            raise OrderError(f"until={until!r} is no time; give a timestamp, a date or its text")
        is_date = isinstance(until, date) and not isinstance(until, datetime)
        if is_date or (isinstance(until, str) and ":" not in until):
            ns = self._days.begin(np.datetime64(moment.date(), "D") + np.timedelta64(1, "D"))
        else:
            ns = int(moment.value)
            if moment.tz is None:
                ns = moment_of(ns, self._stamps.day_zone, now + 1)
        if ns <= now:
            raise OrderError(f"until={until!r} is not after now, {self._stamps.stamp(now)}; give a later time")
        return ns

    def sessions(self) -> SessionTable | None:
        """The exchange's sessions; None where there are none for the bars."""
        if self._sessions is not None:
            try:
                self._table = self._sessions()
            except DataError:
                # The bars lie outside of the exchange's sessions; dates serve as well as they can.
                self._table = None
            self._sessions = None
        return self._table

    def _midnight(self, now: int, days: int) -> int:
        zone = self._stamps.day_zone
        today = local_dates(np.array([now], dtype=np.int64), zone)
        return int(local_midnights((today + days).astype("datetime64[D]"), zone)[0])
