"""What a run leaves behind, gathered from its stages: everything that a result is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.data.market import MarketData
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.record import RunRecord, indicator_records
from nbbacktest.trading.streams import StreamIndicator


def recorded(
    config: SessionConfig,
    market: MarketData,
    analysis: AnalysisEngine,
    desk: TradingDesk,
    *,
    source: str,
    synthetic: bool,
    metrics: dict[str, Any] | None,
    handed: Mapping[str, Any] = MappingProxyType({}),
) -> RunRecord:
    """The record of a run that has ended, up to its last completed instant.

    Without `metrics`, where the statistics alone are asked for, it says nothing of the config and of what indicators
    read. `handed` is what the config is to say in place of its own.
    """
    frame = analysis.frame
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
        config=_said(config, handed) if whole else {},
        log=tuple(desk.log),
        flows=tuple(desk.flows),
        splits=tuple(desk.splits),
        indicators=indicator_records(desk.indicators, int(instants[-1]) if len(instants) else 0) if whole else (),
        days=days,
        coarser=tuple(coarser) if whole else (),
        notes=replace(desk.notes, narrow=narrow) if whole else None,
        trading_days=market.trading_days(int(days[0]), int(days[-1])) if len(days) else None,
    )


def _said(config: SessionConfig, handed: Mapping[str, Any]) -> dict[str, Any]:
    said = config.to_dict()
    for section, own in handed.items():
        said[section] = {**said[section], **own} if isinstance(own, dict) else own
    return said
