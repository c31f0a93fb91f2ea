"""The bars of a run and what is to be known about them: the one thing that every source yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.bases import Disagreement
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.periods import utc_date, whole_periods
from nbbacktest.data.warmup import Need

if TYPE_CHECKING:
    import pandas as pd


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
    others : dict
        Coarser bars that were loaded and not derived: by interval, then by symbol. Not every symbol needs them.
    earlier : dict
        What the source has of each symbol and interval before those bars: there for whoever asks for more warm-up.
    disagreements : tuple of Disagreement
        Where the coarser bars say something else than the base bars.
    asked : tuple of Need
        What was asked for as warm-up when the bars were loaded, counted in bars.
    """

    bars: dict[str, BarColumns]
    interval: Interval
    stamps: Stamps
    source: str
    synthetic: bool
    start: int
    exchange: str
    actions: tuple[CorporateAction, ...] = ()
    others: dict[str, dict[str, BarColumns]] = field(default_factory=dict)
    earlier: dict[tuple[str, str], BarColumns] = field(default_factory=dict)
    disagreements: tuple[Disagreement, ...] = ()
    asked: tuple[Need, ...] = ()

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

    def periods(self) -> SessionTable:
        """The sessions of all the weeks and months that have a part in the bars, to their ends.

        Built when first asked for, then kept. What a week or a month has room for, and when it ends, depends on sessions
        that the bars needn't reach.
        """
        return self._periods

    @property
    def end(self) -> int:
        """Where the last session that has bars closes, nanoseconds UTC: what would complete later never does."""
        last = max(int(columns.end[-1]) for columns in self.bars.values())
        row = int(np.searchsorted(self.sessions().open, last)) - 1
        return max(last, int(self.sessions().close[row]))

    def disagreement_frame(self) -> pd.DataFrame:
        """`disagreements` as a table: symbol, session, interval, field, finer and coarser."""
        import pandas as pd

        return pd.DataFrame(self.disagreements, columns=list(Disagreement._fields))

    @cached_property
    def _sessions(self) -> SessionTable:
        first, last = self._reach()
        # A session's date may be a day off its instants' UTC date, either way.
        day = timedelta(days=1)
        low, high = utc_date(first) - day, utc_date(last) + day
        table = session_table(self.exchange, low, high, self.stamps.timezone).between(first, last)
        if not len(table):
            raise DataError(
                f"{self.exchange} has no session between the first bar at {self.stamps.stamp(first)} and the last one's "
                f'end at {self.stamps.stamp(last)}; set exchange in the config to one that trades then, such as "24/7"'
            )
        return table

    @cached_property
    def _periods(self) -> SessionTable:
        return whole_periods(self.exchange, *self._reach(), self.stamps.timezone)

    def _reach(self) -> tuple[int, int]:
        return (
            min(int(columns.time[0]) for columns in self.bars.values()),
            max(int(columns.end[-1]) for columns in self.bars.values()),
        )
