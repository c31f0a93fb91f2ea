"""A session's bars in the order in which they completed, and the clock that replays them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nbbacktest.core.clock import Clock
from nbbacktest.core.errors import DataError
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.data.incoming_bars import written
from nbbacktest.data.market import MarketData


class Replay:
    """Base bars of a market from its start on, warm-up left out.

    Attributes
    ----------
    instants : int64 array
        When bars complete, nanoseconds UTC, rising, each once.

    Raises
    ------
    DataError
        Where there are none.
    """

    def __init__(self, market: MarketData) -> None:
        self._daily = market.interval.is_daily
        self._market = market
        self._first = {symbol: int((c.end <= market.start).sum()) for symbol, c in market.bars.items()}
        ends = [c.end[self._first[symbol] :] for symbol, c in market.bars.items()]
        self.instants = np.unique(np.concatenate(ends))
        if not len(self.instants):
            raise DataError(
                "there are no bars to replay after the start date; set backtest.start_date to an earlier one"
            )

    def bars(self, instant: int, symbols: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """The bars of `symbols` that complete at the instant numbered `instant`, as messages carry them."""
        moment = self.instants[instant]
        for symbol, columns in self._market.bars.items():
            if symbol in symbols:
                row = int(np.searchsorted(columns.end, moment))
                if self._first[symbol] <= row < len(columns) and columns.end[row] == moment:
                    yield self._message(columns, row)

    def seconds(self) -> Float64:
        """Seconds of open market before each instant; closed hours count nothing."""
        return self._market.sessions().elapsed(self.instants)

    def _message(self, columns: BarColumns, row: int) -> dict[str, Any]:
        ns = int(columns.time[row])
        time = self._market.stamps.begin(ns).date().isoformat() if self._daily else written(ns)
        return {
            "symbol": columns.symbol,
            "time": time,
            "open": float(columns.open[row]),
            "high": float(columns.high[row]),
            "low": float(columns.low[row]),
            "close": float(columns.close[row]),
            "volume": float(columns.volume[row]),
        }


class ReplayClock:
    """Wall deadlines of a replay's instants. Whoever uses it guards it; it begins once.

    Parameters
    ----------
    speed
        Seconds of open market a second; 0: everything is due at once.
    """

    def __init__(self, replay: Replay, speed: float, clock: Clock) -> None:
        self.clock = clock
        self._instants = replay.instants
        self._speed = speed
        self._seconds = replay.seconds() if speed else None
        self._began: tuple[float, float] | None = None  # wall seconds, and seconds of open market

    def begin(self, instant: int) -> None:
        """Start the clock so that `instant` is due now; where it runs already, this changes nothing."""
        if self._began is None and self._seconds is not None:
            at = float(self._seconds[min(instant, len(self._seconds) - 1)])
            self._began = self.clock.now(), at

    def deadline(self, instant: int) -> float:
        """What the wall clock shows when the instant is due."""
        if self._began is None or self._seconds is None:
            return 0.0
        wall, at = self._began
        return wall + (float(self._seconds[instant]) - at) / self._speed

    def now(self, instant: int) -> int:
        """What the session's clock shows while the instant is the next one, nanoseconds UTC."""
        instant = min(instant, len(self._instants) - 1)
        left = max(self.deadline(instant) - self.clock.now(), 0.0) * self._speed
        return int(self._instants[instant]) - int(left * 1e9)
