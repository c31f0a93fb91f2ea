"""The bars of a run and the facts about them, in one type for all sources; `data.quality` is applied to it here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.data_config import QualityConfig
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.calendar import ALWAYS_OPEN, RollingSessions, SessionTable, local_dates, session_table, utc_date
from nbbacktest.data.coverage import Coverage, Grid, cover, quality
from nbbacktest.data.streaming import Streamed
from nbbacktest.data.trading_days import TradingDays, sessions_count, whole_periods
from nbbacktest.data.warmup import Need

if TYPE_CHECKING:
    import pandas as pd


class Disagreement(NamedTuple):
    """A value of one session on which bars of two lengths disagree.

    Attributes
    ----------
    symbol : str
    session : date
    interval : str
        Of the coarser bars.
    field : str
        open, high, low, close or volume; or bars, if one of the two has none in that session.
    finer, coarser : float
        The sum of the session's bars of each length; for ``bars``, their number.
    """

    symbol: str
    session: date
    interval: str
    field: str
    finer: float
    coarser: float


@dataclass(frozen=True, eq=False)
class MarketData:
    """Checked bars, ready to run.

    Attributes
    ----------
    bars : dict
        Base bars by symbol, in the config's order, warm-up included.
    interval : Interval
        Length of the base bars; the same for all symbols.
    stamps : Stamps
        The labels of instants.
    source : str
        The source's name in reports: ``"synthetic, seed 7"``, ``"data.csv"``.
    synthetic : bool
        True if the bars were invented.
    start : int
        Nanoseconds UTC at which trading begins; bars with ``end <= start`` are warm-up.
    exchange : str
        The calendar's code, or ``"24/7"``.
    actions : tuple of CorporateAction
        Splits and dividends of raw prices; delistings.
    hours : OwnHours or None
        The sessions' hours; None: the calendar's own.
    left_out : dict
        By symbol and reason, the begins (nanoseconds UTC) of the rows that were left out: kinds of
        `nbbacktest.data.frames`, ``"outside"`` the sessions, and ``"thin"`` for sessions with too few bars.
    days_asked : tuple
        The first and the last day that the config asks for; None: the data's own.
    placed : bool
        True if the exchange's sessions were needed to place the bars, so that counting against them costs little.
    is_named : bool
        True if the exchange was named, or brings the data: its sessions are the trading days. Else dates are.
    streamed : Streamed or None
        The source of values that come chunk by chunk; those of `bars` count for nothing then.
    others : dict
        Coarser bars that were loaded and not derived, by interval and then by symbol; a symbol may lack them.
    earlier : dict
        The source's bars of each symbol and interval before these: a strategy may ask for more warm-up.
    disagreements : tuple of Disagreement
        The values on which coarser bars and base bars disagree.
    asked : tuple of Need
        The warm-up that was asked for when the bars were loaded, counted in bars.
    """

    bars: dict[str, BarColumns]
    interval: Interval
    stamps: Stamps
    source: str
    synthetic: bool
    start: int
    exchange: str
    actions: tuple[CorporateAction, ...] = ()
    hours: OwnHours | None = None
    left_out: Mapping[str, Mapping[str, Int64]] = field(default_factory=dict)
    days_asked: tuple[date | None, date | None] = (None, None)
    placed: bool = False
    is_named: bool = False
    streamed: Streamed | None = None
    others: dict[str, dict[str, BarColumns]] = field(default_factory=dict)
    earlier: dict[tuple[str, str], BarColumns] = field(default_factory=dict)
    disagreements: tuple[Disagreement, ...] = ()
    asked: tuple[Need, ...] = ()

    def sessions(self) -> SessionTable:
        """The exchange's sessions from the first bar to the last. Built when first asked for, then kept.

        Raises
        ------
        ConfigError
            If the exchange is unknown.
        DataError
            If the exchange has no session there.
        """
        return self._sessions

    def periods(self) -> SessionTable:
        """The sessions of all the weeks and months that have a part in the bars, to their ends.

        Built when first asked for, then kept. A week's or a month's room and end depend on sessions beyond the first and the
        last bar.
        """
        return self._periods

    @property
    def reach(self) -> tuple[int, int]:
        """The first bar's begin and the last one's end, over all symbols, nanoseconds UTC."""
        return (
            min(int(columns.time[0]) for columns in self.bars.values() if len(columns)),
            max(int(columns.end[-1]) for columns in self.bars.values() if len(columns)),
        )

    @property
    def end(self) -> int:
        """The close of the last session that has bars, nanoseconds UTC: a bar that would complete later never does."""
        _, last = self.reach
        row = int(np.searchsorted(self.sessions().open, last)) - 1
        return max(last, int(self.sessions().close[row]))

    @cached_property
    def days(self) -> TradingDays:
        """The rule for the trading day of a time."""
        zone = self.stamps.day_zone
        if not sessions_count(self.exchange, is_named=self.is_named):
            return TradingDays(zone)
        return TradingDays(zone, RollingSessions(self.exchange, zone, self.hours).covering)

    def trading_days(self, first: int, last: int) -> int | None:
        """The number of trading days from one to another (days since 1970-01-01); None if no exchange was named."""
        if not self.is_named or self.interval.ns > DAY:
            return None
        if self.exchange == ALWAYS_OPEN:
            return last - first + 1
        low, high = np.array([first, last]).astype("datetime64[D]").tolist()
        try:
            return len(self._table(low, high))
        except DataError:
            return None  # all bars lie outside of the sessions

    def disagreement_frame(self) -> pd.DataFrame:
        """`disagreements` as a table: symbol, session, interval, field, finer and coarser."""
        import pandas as pd

        return pd.DataFrame(self.disagreements, columns=list(Disagreement._fields))

    @cached_property
    def quality(self) -> dict[str, dict[str, Any]]:
        """Totals of the completeness and soundness of bars, by symbol, over all sessions, warm-up included.

        ``interval``, ``present``, ``left_out`` (rows, for whatever reason), ``outside``, ``zero_volume``; ``expected``,
        ``missing`` and ``quality`` (percent) are None unless the sessions were needed to place the bars. So is `zero_volume` of
        streamed bars. The whole report is `nbbacktest.data_quality`. Counted when first asked for, then kept.
        """
        grid = None
        if self.placed and self.interval.ns <= DAY:
            with suppress(DataError):  # no bar is in a session, so that none is expected
                grid = Grid(self.due(), self.interval)
        return {symbol: self._totals(symbol, grid) for symbol in self.bars}

    def _totals(self, symbol: str, grid: Grid | None) -> dict[str, Any]:
        columns, left_out = self.bars[symbol], self.left_out.get(symbol, {})
        found: dict[str, Any] = {
            "interval": self.interval.name,
            "expected": None,
            "present": len(columns),
            "missing": None,
            "left_out": sum(map(len, left_out.values())),
            "outside": len(left_out.get("outside", ())) + len(left_out.get("closed", ())),
            "zero_volume": None if self.streamed is not None else int(np.count_nonzero(columns.volume == 0)),
            "quality": None,
        }
        if grid is not None:
            expected, present = int(grid.expected.sum()), grid.filled(columns.time)
            found["outside"] += len(columns) - present
            found |= {"expected": expected, "present": present, "missing": expected - present}
            found["quality"] = quality(present, expected, len(left_out.get("duplicates", ())))
        return found

    def due(self) -> SessionTable:
        """The sessions that bars should fill: `sessions`, and those of the asked days beyond them.

        Raises
        ------
        ConfigError, DataError
            As `sessions`; days beyond what the calendar knows are left out.
        """
        wanted = [day for day in self.days_asked if day is not None]
        if any(len(columns) for columns in self.bars.values()):
            try:
                own = self.sessions()
            except DataError:
                if not wanted:
                    raise
            else:
                first, last = own.dates[0].item(), own.dates[-1].item()
                if all(first <= day <= last for day in wanted):
                    return own
                wanted += [first, last]
        try:
            return self._table(min(wanted), max(wanted))
        except DataError:
            return self.sessions()

    def _table(self, first: date, last: date) -> SessionTable:
        return session_table(self.exchange, first, last, self.stamps.day_zone, self.hours)

    @cached_property
    def _sessions(self) -> SessionTable:
        first, last = self.reach
        # A session's date may be a day off its instants' UTC date, either way.
        day = timedelta(days=1)
        table = self._table(utc_date(first) - day, utc_date(last) + day).between(first, last)
        if not len(table):
            raise DataError(
                f"{self.exchange} has no session between the first bar at {self.stamps.stamp(first)} and the last one's "
                f'end at {self.stamps.stamp(last)}; set exchange in the config to one that trades then, such as "24/7"'
            )
        return table

    @cached_property
    def _periods(self) -> SessionTable:
        return whole_periods(self.exchange, *self.reach, self.stamps.day_zone, self.hours)


def hold_to_quality(market: MarketData, wanted: QualityConfig, notes: Mapping[str, tuple[str, ...]]) -> MarketData:
    """Apply `data.quality` to a market without faulty rows; all warnings are given as one.

    A symbol's share is the part of its expected bars that exists, over all sessions that are due, warm-up included.
    If one is below `minimum`: ``refuse`` refuses; ``warn`` warns and changes nothing; ``drop`` leaves every session
    whose own share is below it out for that symbol, and counts these bars as ``"thin"``. It is known only at
    its end if a session is thin, so that dropping it is hindsight.

    Parameters
    ----------
    notes
        The warnings about rows that were left out, by the name of a symbol's bars in errors.

    Raises
    ------
    DataError
        If a symbol has too few bars and that is refused, or no session is left.
    DataQualityWarning
        As a warning, if `data.quality` wants one.
    """
    said = [f"{label}: {'; '.join(texts)}" for label, texts in notes.items() if texts]
    if wanted.minimum:
        due = market.due()
        grid = Grid(due, market.interval)
        # Bars that are left out from here on still count as expected.
        market = replace(market, placed=True, days_asked=(due.dates[0].item(), due.dates[-1].item()))
        for symbol, columns in tuple(market.bars.items()):
            counted = cover(grid, columns.time, columns.volume, {})
            share = counted.total("present") / counted.total("expected")
            if wanted.faults == "drop":
                market = _without_thin(market, symbol, counted, wanted.minimum)
            elif share < wanted.minimum:
                text = _too_few(symbol, counted, share, wanted.minimum)
                if wanted.faults == "refuse":
                    raise DataError(
                        f"{text}; bring the missing bars, lower data.quality.minimum, or drop such sessions"
                    )
                said.append(text)
    if said:
        warnings.warn("\n".join(said), DataQualityWarning, stacklevel=callers_level())
    return market


def _too_few(symbol: str, counted: Coverage, share: float, minimum: float) -> str:
    expected, present = counted.counts["expected"], counted.counts["present"]
    own = np.where(expected > 0, present / np.maximum(expected, 1), np.inf)
    worst = int(np.argmin(own))
    return (
        f"{symbol} has {counted.total('present')} of {counted.total('expected')} expected bars, {share:.1%}, and "
        f"data.quality.minimum is {minimum:g}; the worst session is {counted.dates[worst]} with {present[worst]} of "
        f"{expected[worst]}"
    )


def _without_thin(market: MarketData, symbol: str, counted: Coverage, minimum: float) -> MarketData:
    columns = market.bars[symbol]
    expected, present = counted.counts["expected"], counted.counts["present"]
    thin = counted.dates[(present < minimum * expected) & (present > 0)]
    if not len(thin):
        return market
    table = market.due()
    row = table.session_of(columns.time)
    dates = local_dates(columns.time, table.timezone).astype("datetime64[D]")
    dates[row >= 0] = table.dates[row[row >= 0]]
    keep = ~np.isin(dates, thin)
    if not keep.any() or not (columns.end[keep] > market.start).any():
        raise DataError(
            f"{symbol} has no session with at least {minimum:g} of its expected bars; lower data.quality.minimum, or "
            "leave the symbol out"
        )
    left_out = {name: dict(kinds) for name, kinds in market.left_out.items()}
    known = left_out.setdefault(symbol, {})
    known["thin"] = np.union1d(known.get("thin", columns.time[:0]), columns.time[~keep])
    return replace(market, bars=market.bars | {symbol: columns.taken(keep)}, left_out=left_out)
