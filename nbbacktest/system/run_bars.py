"""The bars of a run as series: base, coarser and derived ones in the order of their callbacks, and more warm-up on demand."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import SOURCES
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.market import MarketData, hold_to_quality
from nbbacktest.data.resample import period_opens
from nbbacktest.data.sources import is_source, load
from nbbacktest.data.streaming import ColumnChunks, Derived, Streamed, days_of
from nbbacktest.data.trading_days import whole_periods
from nbbacktest.data.warmup import Need, built, read_needs, seen_from
from nbbacktest.engine.loader import ChunkLoader, ShownChunks
from nbbacktest.engine.series import Series, Warmup
from nbbacktest.engine.timeline import Axis, Timeline
from nbbacktest.trading.strategy import Strategy


class RunBars:
    """The market data of one world and the columns built from it.

    Attributes
    ----------
    market : MarketData
        The bars, as far back as was asked for until now; replaced only before the first instant.
    found : dict
        The bars of further symbols of the same source, by symbol, once they were loaded; shared by all worlds.
    """

    def __init__(self, config: SessionConfig, data: Any, market: MarketData) -> None:
        self._config = config
        self._data = data
        self.market = market
        self.found: dict[str, Any] = {}
        self._loaders: list[ChunkLoader] = []  # one or none; shared by all worlds
        self._joined: list[MarketData] = []
        self._built: tuple[MarketData, list[tuple[BarColumns, bool]]] | None = None  # with its market
        self._axis: tuple[MarketData, Axis] | None = None  # with its market

    def fresh(self) -> RunBars:
        """The same bars for another world; data that never changes is shared.

        Warm-up and symbols that are added to one world don't appear in the other.
        """
        other = RunBars(self._config, self._data, self.market)
        other._built, other._axis, other.found = self._built, self._axis, self.found
        other._loaders = self._loaders
        return other

    def series(self) -> list[Series]:
        """All series in the order of their callbacks: base bars by symbol, then coarser ones by rising interval."""
        start, stamps = self.market.start, self.market.stamps
        return [
            Series(columns, stamps.of(columns.interval), is_base=is_base, first=_before(columns, start))
            for columns, is_base in self._columns()
        ]

    def timeline(self, series: Sequence[Series]) -> Timeline:
        """The timeline of these series, which `series` has made; their ends are merged once for all worlds of the same bars."""
        market, known = self.market, self._axis
        axis = known[1] if known is not None and known[0] is market else None
        made = Timeline(series, lambda instants: market.sessions().elapsed(instants), axis)
        self._axis = market, made.axis._replace(series=())
        return made

    def chunks(self, series: Sequence[Series]) -> ShownChunks | None:
        """Show these series the first chunk of bars that are streamed; None if none are. What is loaded is loaded once for all worlds.

        Raises
        ------
        DataError
            The first bars are faulty, or can't be read.
        """
        if self.market.streamed is None:
            return None
        if not self._loaders:
            self._loaders.append(ChunkLoader(self._chunks_of(self.market.streamed, series)))
        return ShownChunks(self._loaders[0], series)

    def renew_loader(self) -> None:
        """Go on with another loader in a further run of these bars: what isn't loaded whole is read from the files again."""
        self._loaders[:] = [other for one in self._loaders if (other := one.again()) is not None]

    def _chunks_of(self, streamed: Streamed, series: Sequence[Series]) -> ColumnChunks:
        market = self.market
        base = {one.symbol: number for number, one in enumerate(series) if one.is_base}

        def derived(one: Series) -> Derived:
            interval = one.whole.interval
            opens = period_opens(market.periods(), interval) if interval.is_calendar else market.sessions().open
            return Derived(base[one.symbol], lambda columns: self.derived(columns, interval), opens)

        further = [derived(one) for one in series if not one.is_base]
        # Without derived bars no calendar is built for this: its sessions begin on other days than these.
        begins = days_of(list(market.bars.values()), market.stamps, market.sessions() if further else None)
        shapes = [one.columns for one in series]
        return ColumnChunks(streamed, shapes, further, market.start, begins)

    def joined(self, other: RunBars) -> list[Series]:
        """The series of a symbol that joins; its bars may end later than those of the others."""
        self._joined.append(other.market)
        return other.series()

    def periods(self) -> SessionTable:
        """The sessions of whole weeks and months over the bars, those of symbols that joined included."""
        own = self.market
        if not self._joined:
            return own.periods()
        every = [market.reach for market in (own, *self._joined)]
        first, last = min(first for first, _ in every), max(last for _, last in every)
        return whole_periods(own.exchange, first, last, own.stamps.day_zone, own.hours)

    def reach(self, needs: Sequence[Need]) -> None:
        """Reach as far back as those of `needs` that weren't known when the market data was loaded."""
        for need in needs:
            if need not in self.market.asked:
                self.market = replace(self._wider(need, self.market), asked=(*self.market.asked, need))

    def more(self, need: Need) -> list[tuple[BarColumns, int]] | None:
        """Reach as far back as `need`: the columns of every series and their warm-up; None if there is no more."""
        if self.market.streamed is not None:
            raise DataError(
                f"{need.where}: bars that are streamed can't be reached back for once they are loaded; set warmup_bars in "
                "the strategy or in data, or data.stream to false"
            )
        asked = (*self.market.asked, need)
        wider = replace(self._wider(need, self.market), asked=asked)
        if not wider.earlier and self._may_have_more:
            # No bar is left.
            wider = replace(load(self._config, self._data, needs=asked), asked=asked)
        if _length(wider) <= _length(self.market):
            return None
        # the earlier sessions are judged as the others were
        wider = hold_to_quality(wider, self._config.data.quality, {})
        self.market = wider
        return [(columns, _before(columns, wider.start)) for columns, _ in self._columns()]

    @property
    def _may_have_more(self) -> bool:
        """True if the source was asked for a range and may have bars before it."""
        if self._data is None:
            built_in = SOURCES.get(self._config.data.source)
            return built_in is None or not built_in.reads_all
        return is_source(self._data)

    def _wider(self, need: Need, market: MarketData) -> MarketData:
        """Move the bars that `need` asks for from `earlier` to the bars; the same market if that changes nothing."""
        kept = {(symbol, market.interval.name): columns for symbol, columns in market.bars.items()}
        kept |= {(symbol, name): columns for name, part in market.others.items() for symbol, columns in part.items()}
        if not market.earlier:
            return market
        whole = {key: c.preceded_by(market.earlier[key]) if key in market.earlier else c for key, c in kept.items()}
        first = min(int(columns.time[0]) for columns in whole.values() if len(columns))
        reach = seen_from(
            [need],
            whole,
            market.interval.name,
            market.start,
            lambda: whole_periods(market.exchange, first, market.start, market.stamps.day_zone, market.hours),
            complete=self._config.data.require_complete,
        )
        earlier: dict[tuple[str, str], BarColumns] = {}
        for key, columns in whole.items():
            row = int(np.searchsorted(columns.end, reach, side="right"))
            row = min(row, len(columns) - len(kept[key]))  # so that no series gets fewer bars than it had
            kept[key] = columns.slice(row, len(columns))
            if row:
                earlier[key] = columns.slice(0, row)
        return replace(
            market,
            bars={symbol: kept[symbol, market.interval.name] for symbol in market.bars},
            others={name: {symbol: kept[symbol, name] for symbol in part} for name, part in market.others.items()},
            earlier=earlier,
        )

    def _columns(self) -> list[tuple[BarColumns, bool]]:
        if self._built is None or self._built[0] is not self.market:
            self._built = self.market, self._all_columns()
        return self._built[1]

    def _all_columns(self) -> list[tuple[BarColumns, bool]]:
        market, settings = self.market, self._config.data
        coarser = {Interval.parse(name): list(part.values()) for name, part in market.others.items()}
        for interval in map(Interval.parse, settings.derived_intervals):
            _check_derived(interval, market)
            coarser[interval] = [self.derived(base, interval) for base in market.bars.values()]
        parts = [(columns, True) for columns in market.bars.values()]
        return parts + [(columns, False) for interval in sorted(coarser) for columns in coarser[interval]]

    def derived(self, base: BarColumns, interval: Interval) -> BarColumns:
        """The bars of `interval` that the run has of these base bars, all or a part of its own."""
        market = self.market
        if not interval.is_calendar:
            return built(base, interval, market.sessions(), complete=self._config.data.require_complete)
        bars = built(base, interval, market.periods(), complete=self._config.data.require_complete)
        # The calendar goes on after the data's end: the week and the month under way there are never completed.
        return bars.slice(0, int(np.searchsorted(bars.end, market.end, side="right")))


def needs_of(strategies: Sequence[tuple[Strategy, tuple[str, ...] | None]]) -> tuple[Need, ...]:
    """The warm-up that strategies need, by their `warmup_bars`.

    Raises
    ------
    ConfigError
        One is neither a number of bars nor numbers by interval.
    """
    return tuple(
        need
        for strategy, symbols in strategies
        for need in read_needs(getattr(strategy, "warmup_bars", 0), f"{type(strategy).__name__}.warmup_bars", symbols)
    )


def warn_of_lack(warmup: Warmup, needs: Sequence[Need]) -> None:
    """Warn if there are fewer warm-up bars than were asked for."""
    lacking = [f"{need.where}: {text} bars" for need in needs for text in warmup.lacking(need)]
    if lacking:
        warnings.warn(
            f"less warm-up than asked for: {'; '.join(lacking)}; the source has no more before the start",
            DataQualityWarning,
            stacklevel=callers_level(),
        )


def _check_derived(interval: Interval, market: MarketData) -> None:
    why = interval.misfit(market.interval)
    if why is None and interval.name in market.others:
        why = f"is loaded already: the data has {interval} bars of its own; leave it out, or leave those out"
    if why is not None:
        raise ConfigError([Problem("data.derived_intervals", interval.name, why)])


def _before(columns: BarColumns, start: int) -> int:
    return int(np.searchsorted(columns.end, start, side="right"))


def _length(market: MarketData) -> int:
    others = sum(len(columns) for part in market.others.values() for columns in part.values())
    return others + sum(len(columns) for columns in market.bars.values())
