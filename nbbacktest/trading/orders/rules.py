"""Trading rules: sizes in lots, levels on the tick, and the sessions that an order lives in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from math import ceil, floor, ulp
from typing import Any

import numpy as np

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.enums import Side
from nbbacktest.core.errors import DataError, OrderError
from nbbacktest.core.records import Stamps
from nbbacktest.data.calendar import SessionTable, local_dates, local_midnights, moment_of
from nbbacktest.data.trading_days import TradingDays

# The distance from a multiple at which a float still counts as it: 0.1 * 3 is on a tick of 0.1.
_SLACK = 1e-6


class TradingRules:
    """The config's lot, tick and whole units."""

    __slots__ = ("_lot", "_tick", "_unit")

    def __init__(self, broker: BrokerConfig) -> None:
        self._lot = broker.lot_size
        self._tick = broker.tick_size
        self._unit = broker.lot_size or (None if broker.fractional else 1.0)

    # -- sizes ----------------------------------------------------------------------------------------------

    def whole(self, size: float) -> float:
        """`size` in whole lots, or in whole units if the config has no lot, rounded toward 0."""
        lot = self._lot or 1.0
        lots = abs(size) / lot
        # A number that only rounding keeps from being whole counts as whole; the slack is too small to add a lot.
        whole = int(lots + max(min(lots * 1e-12, _SLACK), 2 * ulp(lots))) * lot
        return whole if size > 0 else -whole

    def too_little(self, symbol: str, units: float, of: str) -> str:
        """The reason why no whole unit or lot is left of `units` of `symbol`, with the cure; `of` says where they come from."""
        made = "whole units make" if self._lot is None else f"lots of {self._lot:g} make"
        if self._lot is not None:
            cure = "set a smaller broker.lot_size"
        elif self._unit is None:
            cure = "set a broker.lot_size (such as 0.001)"
        else:
            cure = "set broker.fractional to true and a broker.lot_size (such as 0.001)"
        return f"{of} is {units:.6g} units of {symbol}, and {made} 0 of them; {cure}, or ask for more"

    def in_lots(self, size: float) -> float:
        """The part of `size` that may be traded: whole lots, or all of it if fractions are allowed."""
        return size if self._unit is None else floor(size / self._unit + _SLACK) * self._unit

    def rest(self, size: float, filled: float) -> float:
        """The rest of an order of `size` units of which `filled` have filled; whole lots if only rounding makes a difference."""
        left = size - filled
        if self._unit is None:
            return left
        lots = round(left / self._unit) * self._unit
        return lots if abs(lots - left) <= 2 * (ulp(size) + ulp(filled)) else left

    def check_size(self, side: Side, size: float | None) -> None:
        """Refuse a size that isn't a multiple of the lot, or not whole."""
        unit = self._unit
        if unit is None or size is None or _is_multiple(size, unit):
            return
        down = floor(size / unit) * unit
        near = f"{down:.15g} or {down + unit:.15g}" if down else f"{unit:.15g}"
        what = f"a multiple of the lot of {unit:g}" if self._lot else "whole, and fractional is false"
        raise OrderError(f"{side}(size={size:.15g}): the size isn't {what}; use {near}")

    # -- levels ---------------------------------------------------------------------------------------------

    def check_level(self, side: Side, name: str, level: float | None, last: float) -> None:
        """Refuse a level off the tick, or a negative one if the market is at a positive price."""
        if level is None:
            return
        if level < 0 < last:
            raise OrderError(f"{side}({name}={level:g}): below 0, and the newest close is {last:g}; correct the level")
        tick = self._tick
        if tick is not None and not _is_multiple(level, tick):
            down = floor(level / tick) * tick
            raise OrderError(
                f"{side}({name}={level:.10g}): off the tick of {tick:g}; the nearest are {down:.10g} and {down + tick:.10g}"
            )

    def outward(self, level: float, side: Side) -> float:
        """A computed stop level, rounded to the tick in the direction away from the market."""
        tick = self._tick
        if tick is None:
            return level
        steps = level / tick
        return (ceil(steps - _SLACK) if side is Side.BUY else floor(steps + _SLACK)) * tick


class OrderExpiry:
    """Finds the session that an order belongs to.

    Parameters
    ----------
    stamps
        The format of times, and the zone of times without one: the exchange's.
    sessions
        Gives the sessions, called when the first order needs them; if it is None or finds none, a session is a date.
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
        """The end of the first session that ends after `now`, nanoseconds UTC."""
        table = self.sessions()
        if table is not None:
            row = int(np.searchsorted(table.close, now, side="right"))
            if row < len(table):
                return int(table.close[row])
        return self._midnight(now, 1)

    def next_session(self, now: int) -> tuple[int, int]:
        """The open and the end of the first session that opens at `now` or later, nanoseconds UTC."""
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
            If it is no time, or not after `now`.
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
        """The exchange's sessions; None if it has none for the bars."""
        if self._sessions is not None:
            try:
                self._table = self._sessions()
            except DataError:
                # The bars lie outside of the exchange's sessions: dates take the place of sessions.
                self._table = None
            self._sessions = None
        return self._table

    def _midnight(self, now: int, days: int) -> int:
        zone = self._stamps.day_zone
        today = local_dates(np.array([now], dtype=np.int64), zone)
        return int(local_midnights((today + days).astype("datetime64[D]"), zone)[0])


def _is_multiple(value: float, unit: float) -> bool:
    ratio = value / unit
    return abs(ratio - round(ratio)) <= max(_SLACK, 2 * ulp(ratio))
