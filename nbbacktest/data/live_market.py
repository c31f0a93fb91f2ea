"""A live market before its bars come: its symbols and sessions, and the history that strategies may read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.records import BarColumns
from nbbacktest.data.calendar import RollingSessions, SessionTable
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.data.trading_days import TradingDays, sessions_count


@dataclass(frozen=True, eq=False, kw_only=True)
class LiveMarket(MarketData):
    """A market before its bars come: symbols, interval, sessions, and perhaps history.

    Attributes
    ----------
    rolling : RollingSessions
    now : callable
        The time by its feed's clock, nanoseconds UTC.
    """

    rolling: RollingSessions
    now: Callable[[], int]

    @cached_property
    def days(self) -> TradingDays:
        """The rule for the trading day of a time."""
        zone = self.stamps.day_zone
        if not sessions_count(self.exchange, is_named=self.is_named):
            return TradingDays(zone)
        return TradingDays(zone, self.rolling.covering)

    def sessions(self) -> SessionTable:
        """The exchange's sessions from a little before the start, or the run's instant, to a year ahead of both."""
        now = self.now()
        return self.rolling.ahead(min(self.start, now), max(self.start, now))


def history(config: SessionConfig, data: Any = None) -> MarketData | None:
    """Load a live run's history, all of it warm-up; None if it isn't asked for.

    Parameters
    ----------
    config
        With `warmup_days`: that many days that have bars, up to the day before `backtest.start_date`, or if that
        isn't set, up to the data's last one. Without, nothing, or all of `data` up to there.
    data
        As for `load`.

    Returns
    -------
    MarketData
        Its `start` is the end of its last bar.

    Raises
    ------
    ConfigError, DataError
        As for `load`.
    """
    days, begin = config.data.warmup_days, config.backtest.start_date
    if data is None and not days:
        return None
    if data is None and config.data.source == "synthetic":
        # a source of invented bars needs both dates, and invents the days before the first one too
        market = load(config)
        bars = {symbol: c.slice(0, int((c.end <= market.start).sum())) for symbol, c in market.bars.items()}
    else:
        before = None if begin is None else (begin - timedelta(days=1)).isoformat()
        market = load(
            config.overlaid({"backtest": {"start_date": None, "end_date": before}, "data": {"warmup_days": 0}}), data
        )
        bars = dict(market.bars)
    if days:
        bars = _newest_days(bars, days, market.days)
    start = max((int(c.end[-1]) for c in bars.values() if len(c)), default=market.start)
    return replace(market, bars=bars, start=start)


def _newest_days(bars: Mapping[str, BarColumns], days: int, trading: TradingDays) -> dict[str, BarColumns]:
    dates = {symbol: trading.of(c.time) for symbol, c in bars.items()}
    known = np.unique(np.concatenate(list(dates.values())))
    if not len(known):
        return dict(bars)
    first = known[-days:][0]
    return {symbol: c.slice(int(np.searchsorted(dates[symbol], first)), len(c)) for symbol, c in bars.items()}
