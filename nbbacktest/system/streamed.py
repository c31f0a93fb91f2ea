"""Makes the loader of a run whose bars are streamed: which columns it fills, and how derived ones are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbbacktest.core.records import BarColumns
from nbbacktest.data.market import MarketData
from nbbacktest.data.resample import period_opens
from nbbacktest.data.streaming import ColumnChunks, Derived, days_of
from nbbacktest.engine.loader import ChunkLoader
from nbbacktest.engine.series import Series

Make = Callable[[BarColumns, Series], BarColumns]
"""Makes the bars of a series from base bars that begin with a session."""


def loader_of(market: MarketData, series: Sequence[Series], make: Make) -> ChunkLoader | None:
    """Load the first chunk of what is streamed; None where nothing is.

    Parameters
    ----------
    series
        Base series first; whatever values they have are replaced.

    Raises
    ------
    DataError
        Where the first bars are faulty, or can't be read.
    """
    if market.streamed is None:
        return None
    base = {one.symbol: number for number, one in enumerate(series) if one.is_base}

    def derived(one: Series) -> Derived:
        interval = one.whole.interval
        opens = period_opens(market.periods(), interval) if interval.is_calendar else market.sessions().open
        return Derived(base[one.symbol], lambda columns: make(columns, one), opens)

    further = [derived(one) for one in series if not one.is_base]
    # A calendar that nobody needs isn't built for this: its sessions begin on other days than these.
    begins = days_of(list(market.bars.values()), market.stamps, market.sessions() if further else None)
    shapes = [one.columns for one in series]
    return ChunkLoader(ColumnChunks(market.streamed, shapes, further, market.start, begins), series)
