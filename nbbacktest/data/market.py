"""The bars of a run and what is to be known about them: the one thing that every source yields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.chunks import Streamed


@dataclass(frozen=True, eq=False)
class MarketData:
    """Checked bars, ready to run.

    Attributes
    ----------
    bars : dict
        Base bars by symbol, in the session's order, warm-up included.
    interval : Interval
        Length of the base bars; the same for all symbols.
    stamps : Stamps
        How instants are shown.
    source : str
        Where the bars came from, for people to judge: ``"synthetic, seed 7"``, ``"data.csv"``.
    synthetic : bool
        Whether the bars were invented.
    start : int
        Nanoseconds UTC at which trading begins; bars with ``end <= start`` are warm-up.
    exchange : str
        The calendar's code, or ``"24/7"``.
    actions : tuple of CorporateAction
        Splits and dividends, where prices are raw.
    streamed : Streamed or None
        Where the bars' values are to be had little by little; those of `bars` count for nothing then.
    """

    bars: dict[str, BarColumns]
    interval: Interval
    stamps: Stamps
    source: str
    synthetic: bool
    start: int
    exchange: str
    actions: tuple[CorporateAction, ...] = ()
    streamed: Streamed | None = None

    def sessions(self) -> SessionTable:
        """The exchange's sessions from the first bar to the last. Built when first asked for, then kept.

        Raises
        ------
        ConfigError
            Where the exchange is unknown.
        DataError
            Where the exchange has no session there.
        """
        return self._sessions

    @cached_property
    def _sessions(self) -> SessionTable:
        first = min(int(columns.time[0]) for columns in self.bars.values())
        last = max(int(columns.end[-1]) for columns in self.bars.values())
        # A session's date may be a day off its instants' UTC date, either way.
        low, high = (np.datetime64(ns, "ns").astype("datetime64[D]").item() for ns in (first, last))
        day = timedelta(days=1)
        table = session_table(self.exchange, low - day, high + day, self.stamps.timezone).between(first, last)
        if not len(table):
            raise DataError(
                f"{self.exchange} has no session between the first bar at {self.stamps.stamp(first)} and the last one's "
                f'end at {self.stamps.stamp(last)}; set exchange in the config to one that trades then, such as "24/7"'
            )
        return table
