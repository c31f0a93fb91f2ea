"""What a run's indicators read, kept for afterwards: columns up to the last completed instant.

Whole-column indicators are kept as views of the arrays that exist already. Streaming ones are copied, as far as they were
fed: their own stores may grow on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbbacktest.core.records import Float64, Int64
from nbbacktest.trading.entries import IndicatorEntry
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.streams import StreamIndicator


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One indicator of one strategy.

    Attributes
    ----------
    name : str
        As snapshots call it.
    strategy, symbol, interval : str
        Whose it is, and of which bars.
    end : int64 array
        When each bar closed, nanoseconds UTC, rising: the instant from which on its value could be read.
    values : float64 array
        One a bar, or one row a bar where the indicator answers tuples. A streaming one that wasn't read to the end has
        fewer than there are bars.
    """

    name: str
    strategy: str
    symbol: str
    interval: str
    end: Int64
    values: Float64

    def newest_of(self, n: int, narrow: int = 0) -> float | tuple[float, ...]:
        """The newest value when `n` bars were completed; NaN for none, as for the first `narrow`, which were no tuples yet."""
        if not narrow < n <= len(self.values):
            return float("nan")
        value = self.values[n - 1]
        return tuple(value.tolist()) if self.values.ndim > 1 else float(value)

    def at(self, instant: int) -> float | tuple[float, ...]:
        """The newest value at `instant`; NaN where there was none yet, or where it was never read."""
        row = int(np.searchsorted(self.end, instant, side="right")) - 1
        if not 0 <= row < len(self.values):
            return float("nan")
        value = self.values[row]
        return tuple(value.tolist()) if self.values.ndim > 1 else float(value)


def readings(entries: Sequence[IndicatorEntry], last: int) -> tuple[Reading, ...]:
    """The columns of all indicators, up to the instant `last`, in the order in which strategies made them."""
    kept = []
    for key, strategy, handle in entries:
        end = handle._series.columns.end  # noqa: SLF001 - hidden from strategies only
        end = end[: np.searchsorted(end, last, side="right")]
        kept.append(Reading(key, strategy, handle.symbol, handle.interval, end, _values(handle, len(end))))
    return tuple(kept)


def _values(handle: Indicator, count: int) -> Float64:
    if not isinstance(handle, StreamIndicator):
        return handle._until(count)[:count]  # noqa: SLF001 - as above
    feed = handle._feed  # noqa: SLF001 - as above
    return np.array(feed.stores[handle._output][: min(feed.filled, count)], dtype=np.float64)  # noqa: SLF001 - as above
