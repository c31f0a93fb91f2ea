"""Coarser bars that are loaded beside the base bars of the same symbols, and how well both agree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.bases import Disagreement, disagreements
from nbbacktest.data.calendar import session_table
from nbbacktest.data.files import read_file
from nbbacktest.data.frames import RawBars, read_frame
from nbbacktest.data.market import MarketData
from nbbacktest.data.periods import whole_periods
from nbbacktest.data.spans import agree, place, reach, unknown_mark


def load_others(
    config: SessionConfig,
    given: Mapping[str, Mapping[str, Any]],
    symbols: tuple[str, ...],
    base: Interval,
    stamps: Stamps,
    exchange: str,
) -> dict[str, dict[str, BarColumns]]:
    """Read the coarser bars that were given or that the config names; checked and placed as the base bars are.

    Parameters
    ----------
    given
        Frames by interval and symbol.
    symbols
        The run's, for the files that the config names.
    base
        The interval that orders fill on.
    stamps, exchange
        As found for the base bars; daily bars end with the exchange's sessions.

    Returns
    -------
    dict
        By interval, rising, and symbol.

    Raises
    ------
    ConfigError, DataError
        Where an interval doesn't fit beside the base bars or the derived ones; where bars are wrong or missing.
    """
    settings = config.data
    raws: dict[str, list[RawBars]] = {}
    for name, frames in given.items():
        raws[name] = [read_frame(frame, symbol) for symbol, frame in frames.items()]
    for name, other in settings.other_bases.items():
        if name in raws:
            cure = "was given as a frame too; leave one of them out"
            raise ConfigError([Problem(f"data.other_bases.{name}", other.path, cure)])
        if len(symbols) > 1 and "{symbol}" not in other.path:
            cure = f"is one file for {len(symbols)} symbols; put {{symbol}} in it"
            raise ConfigError([Problem(f"data.other_bases.{name}.path", other.path, cure)])
        paths = {symbol: other.path.replace("{symbol}", symbol) for symbol in symbols}
        raws[name] = [read_frame(read_file(path, other.source), symbol, path) for symbol, path in paths.items()]
    placed: dict[str, dict[str, BarColumns]] = {}
    for interval in sorted(map(Interval.parse, raws)):
        own, file = raws[interval.name], settings.other_bases.get(interval.name)
        if interval <= base or interval.ns > Interval.parse("1d").ns:
            raise DataError(
                f"{own[0].label}: bars of {interval} can't stand beside the {base} bars that orders fill on; other bases "
                "are longer than those, and 1d at most: weeks and months are derived"
            )
        if interval.name in settings.derived_intervals:
            cure = f"is loaded already: the data has {interval} bars of its own; leave it out, or leave those out"
            raise ConfigError([Problem("data.derived_intervals", interval.name, cure)])
        mark = (file.stamp if file else None) or settings.stamp
        if mark is None and file and not interval.is_daily:
            raise unknown_mark(own[0], interval)
        agree(own, interval)
        sessions = session_table(exchange, *reach(own), stamps.timezone)
        placed[interval.name] = {
            raw.symbol: place(raw, interval, stamps, timezone=config.timezone, mark=mark or "open", sessions=sessions)
            for raw in own
        }
    return placed


def compared(market: MarketData) -> tuple[Disagreement, ...]:
    """Find where the coarser bars and the base bars tell different things; warn where they do."""
    coarser = [(symbol, columns) for part in market.others.values() for symbol, columns in part.items()]
    every = [columns for columns in (*market.bars.values(), *(columns for _, columns in coarser)) if len(columns)]
    first, last = min(int(c.time[0]) for c in every), max(int(c.end[-1]) for c in every)
    sessions = whole_periods(market.exchange, first, last, market.stamps.timezone)
    found = [one for symbol, columns in coarser for one in disagreements(market.bars[symbol], columns, sessions)]
    if found:
        one = found[0]
        places = "in one place" if len(found) == 1 else f"in {len(found)} places"
        warnings.warn(
            f"bars of several lengths disagree {places}, first {one.symbol} on {one.session}: {one.field} "
            f"{one.finer:g} by the {market.interval} bars, {one.coarser:g} by the {one.interval} bars; "
            "MarketData.disagreements lists them",
            DataQualityWarning,
            stacklevel=2,
        )
    return tuple(found)
