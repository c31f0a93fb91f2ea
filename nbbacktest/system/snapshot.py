"""A run at one instant, frozen: what a user, a predicate or a face may look at while the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbbacktest.core.records import Bar, Stamps
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.analysis import Frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Snapshot:
    """The run as of its cursor. Everything in it belongs to one and the same instant, and never changes.

    Attributes
    ----------
    cursor, total : int
        Completed instants, and how many the run has.
    is_open : bool
        Whether more may come than anybody knows of: in a live run.
    """

    cursor: int
    total: int
    _frame: Frame
    _stamps: Stamps
    _days: TradingDays
    is_open: bool = False

    @property
    def time(self) -> pd.Timestamp | None:
        """The last completed instant; None before the first."""
        return self._stamps.instant(int(self._frame.axis.instants[self.cursor - 1])) if self.cursor else None

    @property
    def session_date(self) -> date | None:
        """The trading day of that instant, which belongs to the day that it ends; None before the first."""
        return self._days.day(int(self._frame.axis.instants[self.cursor - 1]) - 1) if self.cursor else None

    @property
    def progress(self) -> float:
        """Completed share of the run, from 0 to 1; 0 in a live run, whose end nobody knows."""
        if self.is_open:
            return 0.0
        return self.cursor / self.total if self.total else 1.0

    @cached_property
    def bars(self) -> dict[str, Bar]:
        """The newest completed base bar of each symbol that has one."""
        return {bar.symbol: bar for bar, is_base in self._newest() if is_base}

    @cached_property
    def derived(self) -> dict[tuple[str, str], Bar]:
        """The newest completed derived bar by symbol and interval."""
        return {(bar.symbol, bar.interval): bar for bar, is_base in self._newest() if not is_base}

    def _newest(self) -> list[tuple[Bar, bool]]:
        pairs = zip(self._frame.axis.series, self._frame.rows, strict=True)
        return [(series.bar(n - 1), series.is_base) for series, n in pairs if n]

    @property
    def counts(self) -> dict[str, int]:
        """How many base bars of each symbol were delivered; warm-up isn't counted."""
        pairs = zip(self._frame.axis.series, self._frame.rows, strict=True)
        return {series.symbol: n - series.first for series, n in pairs if series.is_base}

    @property
    def cash(self) -> float:
        """Cash in the account."""
        return float(self._frame.agent.cash)

    @property
    def equity(self) -> float:
        """Cash and positions at their newest closes."""
        return float(self._frame.agent.equity)

    @property
    def positions(self) -> tuple[Any, ...]:
        """The positions that aren't flat, frozen."""
        return tuple(self._frame.agent.positions)

    @property
    def orders(self) -> tuple[Any, ...]:
        """The open orders, frozen."""
        return tuple(self._frame.agent.orders)

    @property
    def n_fills(self) -> int:
        """How many fills there were since the start."""
        return int(self._frame.agent.n_fills)

    @property
    def last_fills(self) -> tuple[Any, ...]:
        """The newest five fills, oldest first."""
        return tuple(self._frame.agent.last_fills)

    def stamp(self, ns: int) -> pd.Timestamp:
        """A time in nanoseconds UTC, such as a bar's `time_ns`, as the run shows times."""
        return self._stamps.begin(ns)

    @property
    def indicators(self) -> dict[str, float]:
        """The newest value of each indicator by name."""
        return dict(self._frame.agent.indicators)

    def __repr__(self) -> str:
        return f"<Snapshot {self.cursor} of {self.total} instants, {self.time}, equity {self.equity:,.2f}>"
