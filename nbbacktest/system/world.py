"""The world of a run: the timeline, the desk with its strategies and the run's symbols, all at one place of the run.

A world is made of bars that are loaded and of strategies that were in no run yet. All worlds of the same bars share the
objects that never change: columns, the merged axis, stamps, session tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.digests import CodeDigests
from nbbacktest.core.inputs import Input
from nbbacktest.data.market import MarketData
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.loader import ShownChunks
from nbbacktest.engine.series import Warmup
from nbbacktest.engine.timeline import Timeline
from nbbacktest.system.run_bars import RunBars
from nbbacktest.system.universe import FixedUniverse, Supply, SymbolUniverse, supply_of
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.record import RunRecord, indicator_records
from nbbacktest.trading.snapshot import TradingSnapshot
from nbbacktest.trading.strategy import Strategy
from nbbacktest.trading.streams import StreamIndicator

StrategyList = Sequence[tuple[Strategy, tuple[str, ...] | None]]
"""The strategies of a run, each with the symbols that it trades; None: all."""


@dataclass
class World:
    """Timeline, desk and symbols at one place of a run. `Run.world` is the present one; stages move it, and another can take its place.

    Attributes
    ----------
    market : MarketData
        The bars that it was made of.
    timeline : Timeline
        With the series that the cursor reveals.
    desk : TradingDesk
        With the strategies, orders, positions and cash.
    bars : RunBars or None
        Those that a symbol may join; None in a live run.
    supply : callable or None
        Loads a symbol that joins; None in a live run.
    chunks : ShownChunks or None
        Shows the series what is loaded, if bars are streamed.
    universe : SymbolUniverse or FixedUniverse
        Lets symbols join and leave. Set when the world is put on its stages.
    n_inputs : int
        The number of inputs by hand that were done in it.
    """

    market: MarketData
    timeline: Timeline
    desk: TradingDesk
    bars: RunBars | None = None
    supply: Supply | None = None
    chunks: ShownChunks | None = None
    universe: SymbolUniverse | FixedUniverse = field(default_factory=FixedUniverse)
    n_inputs: int = 0


def world_of(config: SessionConfig, strategies: StrategyList, bars: RunBars, *, data: Any = None) -> World:
    """A world before its first instant.

    Parameters
    ----------
    strategies
        Strategies that were in no run yet; see `builder.strategies_of`.
    bars
        As far back as these strategies need; no other world has this object, see `RunBars.fresh`.
    data
        The source of symbols that join; None: the config's.

    Raises
    ------
    ConfigError, DataError
        These bars can't be run with this config.
    """
    market = bars.market
    series = bars.series()
    chunks = bars.chunks(series)
    warmup = Warmup(series, market.asked, bars.more)
    timeline = bars.timeline(series)
    desk = TradingDesk(
        strategies,
        series=series,
        instants=timeline.instants,
        broker=config.broker,
        limits=config.limits,
        stamps=market.stamps,
        actions=market.actions,
        sessions=market.sessions,
        days=market.days,
        periods=bars.periods,
        warmup=warmup,
        seed=config.seed,
    )
    return World(market, timeline, desk, bars, supply_of(config, data, bars), chunks)


def record_of(
    config: SessionConfig,
    world: World,
    frame: Frame[TradingSnapshot],
    *,
    source: str,
    synthetic: bool,
    metrics: dict[str, Any] | None,
    live_sections: Mapping[str, Any] = MappingProxyType({}),
    inputs: tuple[Input, ...] = (),
) -> RunRecord:
    """The record of a run that has ended, up to its last completed instant.

    Without `metrics`, if only statistics are asked for, it leaves out the config and the indicators' values. `live_sections`
    are the sections that the recorded config shows in place of its own.
    """
    market, desk = world.market, world.desk
    instants = frame.axis.instants[: frame.cursor]
    bars, first, coarser = {}, {}, []
    for series, n in zip(frame.axis.series, frame.rows, strict=True):
        if series.is_base:
            bars[series.symbol] = series.columns.slice(0, n)
            first[series.symbol] = series.first
        else:
            coarser.append(series.columns.slice(0, n))
    whole = metrics is not None
    days = market.days.of(instants - 1)
    narrow = [handle.narrow if isinstance(handle, StreamIndicator) else 0 for _, _, handle in desk.indicators]
    return RunRecord(
        name=config.session_name,
        source=source,
        synthetic=synthetic,
        stamps=market.stamps,
        daily=market.interval.is_daily,
        trades_every_day=market.exchange == "24/7",
        cash=config.broker.cash,
        instants=instants,
        bars=bars,
        first=first,
        fills=tuple(desk.fills),
        orders=tuple(desk.orders),
        strategies=tuple(desk.descriptions),
        metrics=metrics or {},
        config=_written(config, live_sections) if whole else {},
        log=tuple(desk.log),
        flows=tuple(desk.flows),
        splits=tuple(desk.splits),
        indicators=indicator_records(desk.indicators, int(instants[-1]) if len(instants) else 0) if whole else (),
        days=days,
        coarser=tuple(coarser) if whole else (),
        notes=replace(desk.notes, narrow=narrow) if whole else None,
        inputs=inputs,
        code=CodeDigests(tuple(map(type, desk.strategies))),
        trading_days=market.trading_days(int(days[0]), int(days[-1])) if len(days) else None,
    )


def _written(config: SessionConfig, live_sections: Mapping[str, Any]) -> dict[str, Any]:
    written = config.to_dict()
    for section, own in live_sections.items():
        written[section] = {**written[section], **own} if isinstance(own, dict) else own
    return written
