"""Snapshots of many completed instants, for a search: each computes what is read of it, and nothing else.

Any thread may read them, also later: what they are computed from never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.records import Bar
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Axis
from nbbacktest.trading.look import NEVER, AccountAt, PastInstants
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.snapshot import OrderRow, PositionRow, Snapshot

if TYPE_CHECKING:
    import pandas as pd


class PastSnapshot(Snapshot):
    """A snapshot of the past whose fields are computed when they are read."""

    def __init__(self, cursor: int, scan: PastScan) -> None:
        fields = self.__dict__  # a frozen dataclass sets no attribute, and a search makes one of these an instant
        fields["cursor"] = cursor
        fields["_scan"] = scan
        fields["is_open"] = scan.is_open

    def __getattr__(self, name: str) -> Any:
        """Compute the fields that nothing below does without the others; they are there from then on."""
        fields = self.__dict__
        if name not in ("total", "_frame", "_stamps", "_days") or "_scan" not in fields:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        whole = self._scan.whole(self.cursor)
        fields.update({field: getattr(whole, field) for field in ("total", "_frame", "_stamps", "_days")})
        return fields[name]

    _scan: PastScan

    @property
    def time(self) -> pd.Timestamp | None:
        """The last completed instant."""
        return self._scan.time(self.cursor)

    @property
    def session_date(self) -> date | None:
        """Its trading day."""
        return self._scan.session_date(self.cursor)

    @property
    def bars(self) -> dict[str, Bar]:
        """The newest base bar of each symbol."""
        return self._scan.bars(self.cursor)

    @property
    def cash(self) -> float:
        """Cash in the account."""
        return self._scan.account(self.cursor).cash

    @property
    def equity(self) -> float:
        """Cash and positions at their newest closes."""
        return self._scan.equity(self.cursor)

    @property
    def positions(self) -> tuple[PositionRow, ...]:
        """The positions that aren't flat."""
        scan, cursor = self._scan, self.cursor
        return tuple([PositionRow.of(one, scan.close(one.series, cursor)) for one in scan.account(cursor).held])

    @property
    def orders(self) -> tuple[OrderRow, ...]:
        """The open orders."""
        return self._scan.orders(self.cursor)

    @property
    def n_fills(self) -> int:
        """The number of fills."""
        return self._scan.account(self.cursor).n_fills

    @property
    def last_fills(self) -> tuple[Fill, ...]:
        """The newest five fills."""
        return self._scan.last_fills(self.cursor)

    @property
    def indicators(self) -> dict[str, float | tuple[float, ...]]:
        """The newest value of each indicator."""
        return self._scan.indicators(self.cursor)


class PastScan:
    """The completed instants of one run, up to the one at which the scan was made.

    Parameters
    ----------
    past
        Not used by anything else.
    axis
        The run's instants and series.
    stop
        The number of completed instants.
    lock
        Guards `past`.

    Attributes
    ----------
    stop : int
    is_open : bool
        As of its snapshots.
    """

    def __init__(self, past: PastInstants, axis: Axis, stop: int, lock: AbstractContextManager[Any]) -> None:
        self._past = past
        self._axis = axis
        self.stop = stop
        self._instants = axis.instants[:stop]
        self._lock = lock
        self._base = [one for one in axis.series if one.is_base]
        self._joined = past.notes.joined
        self._edges = past.notes.edges
        self._rows: dict[Series, memoryview] = {}
        self._bars: dict[Series, tuple[memoryview, ...]] = {}
        # the number of changes, and the account of some instants: from the first on, and before the other
        self._span: tuple[int, int, int, AccountAt] = (-1, 0, 0, AccountAt(0.0, (), 0))
        self.is_open = not past.notes.totals

    def at(self, cursor: int) -> PastSnapshot:
        """The run when `cursor` instants were completed."""
        return PastSnapshot(cursor, self)

    def backwards(self) -> Iterator[PastSnapshot]:
        """The snapshots of the instants before the last one, the newest first."""
        for cursor in range(self.stop - 1, 0, -1):
            yield PastSnapshot(cursor, self)

    def whole(self, cursor: int) -> Snapshot:
        """All of a snapshot."""
        with self._lock:
            return self._past.at(cursor, self._axis)

    def time(self, cursor: int) -> pd.Timestamp | None:
        """The last completed instant."""
        return self._past.stamps.instant(int(self._instants[cursor - 1])) if cursor else None

    def session_date(self, cursor: int) -> date | None:
        """Its trading day."""
        return self._past.days.day(int(self._instants[cursor - 1]) - 1) if cursor else None

    def account(self, cursor: int) -> AccountAt:
        """Cash, positions and the number of fills."""
        past = self._past
        n_changes, first, stop, state = self._span
        is_known = first <= cursor < stop and (stop != NEVER or n_changes == past.traces.n_changes)
        if is_known and not (self._edges and cursor in self._edges):
            return state
        with self._lock:
            n_changes = past.traces.n_changes
            first, stop, state = past.account_around(cursor, self._axis)
        self._span = n_changes, first, stop, state
        return state

    def equity(self, cursor: int) -> float:
        """Cash and positions at their newest closes."""
        account = self.account(cursor)
        equity = account.cash
        for position in account.held:
            equity += position.size * self.close(position.series, cursor)
        return equity

    def close(self, series: Series, cursor: int) -> float:
        """The newest close of `series`."""
        return series.close_at[self.rows(series, cursor) - 1]

    def rows(self, series: Series, cursor: int) -> int:
        """The number of bars of `series` that could be seen."""
        if not cursor:
            return series.first
        rows = self._rows.get(series)
        if rows is None:
            rows = self._rows[series] = memoryview(
                np.searchsorted(series.whole.end, self._instants, side="right").astype(np.int64)
            )
        return rows[cursor - 1]

    def bars(self, cursor: int) -> dict[str, Bar]:
        """The newest base bar of each symbol."""
        found, joined = {}, self._joined
        for series in self._base:
            row = self.rows(series, cursor) - 1
            if row >= 0 and not (joined and joined.get(series.symbol, 0) > cursor):
                found[series.symbol] = self._bar(series, row)
        return found

    def _bar(self, series: Series, row: int) -> Bar:
        columns = self._bars.get(series)
        if columns is None or row >= len(columns[0]):
            c = series.columns
            if c.base_count is not None:
                return series.bar(row)
            columns = tuple(map(memoryview, (c.time, c.end, c.open, c.high, c.low, c.close, c.volume)))
            self._bars[series] = columns
        time, end, open_, high, low, close, volume = columns
        return Bar(
            series.symbol, series.interval, time[row], end[row], open_[row], high[row], low[row], close[row],
            volume[row], series.stamps,
        )  # fmt: skip

    def orders(self, cursor: int) -> tuple[OrderRow, ...]:
        """The open orders."""
        with self._lock:
            return self._past.orders_at(cursor, self._axis)

    def last_fills(self, cursor: int) -> tuple[Fill, ...]:
        """The newest five fills."""
        return self._past.last_fills(self.account(cursor).n_fills)

    def indicators(self, cursor: int) -> dict[str, float | tuple[float, ...]]:
        """The newest value of each indicator."""
        rows = {series: self.rows(series, cursor) for series in self._axis.series}
        return dict(self._past.newest(cursor, rows))
