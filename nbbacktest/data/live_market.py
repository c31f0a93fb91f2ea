"""What is known of a live market before its bars come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.days import TradingDays, sessions_count
from nbbacktest.data.market import MarketData
from nbbacktest.data.rolling import RollingSessions


@dataclass(frozen=True, eq=False, kw_only=True)
class LiveMarket(MarketData):
    """What is known of a market before its bars come: symbols, interval, sessions, and perhaps history.

    Attributes
    ----------
    rolling : RollingSessions
    now : callable
        What its feed's clock shows, nanoseconds UTC.
    """

    rolling: RollingSessions
    now: Callable[[], int]

    @cached_property
    def days(self) -> TradingDays:
        """Which trading day a time belongs to."""
        zone = self.stamps.day_zone
        if not sessions_count(self.exchange, is_named=self.is_named):
            return TradingDays(zone)
        return TradingDays(zone, self.rolling.covering)

    def sessions(self) -> SessionTable:
        """The exchange's sessions from a little before the start, or the run's instant, to a year ahead of both."""
        now = self.now()
        return self.rolling.ahead(min(self.start, now), max(self.start, now))
