"""Coarser bars that are loaded beside the base bars of the same symbols, and how well both agree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.bases import Disagreement, disagreements
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.files import read_file
from nbbacktest.data.frames import RawBars, judged, read_frame, refuse_empty
from nbbacktest.data.grid import on_grid
from nbbacktest.data.market import MarketData
from nbbacktest.data.marks import full_stamps
from nbbacktest.data.periods import whole_periods
from nbbacktest.data.spans import agree, place, reach, time_faults, unknown_mark


class Others(NamedTuple):
    """Coarser bars, and what was left out of them.

    Attributes
    ----------
    bars : dict
        By interval, rising, and symbol.
    notes : dict
        By what some bars are called, what was wrong with the rows that were left out.
    """

    bars: dict[str, dict[str, BarColumns]]
    notes: dict[str, tuple[str, ...]]


def load_others(
    config: SessionConfig,
    given: Mapping[str, Mapping[str, Any]],
    symbols: tuple[str, ...],
    base: Interval,
    stamps: Stamps,
    exchange: str,
) -> Others:
    """Read the coarser bars that were given or that the config names; judged and placed as the base bars are.

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
    Others
        None where there are none.

    Raises
    ------
    ConfigError, DataError
        Where an interval doesn't fit beside the base bars or the derived ones; where bars are wrong or missing.
    """
    settings = config.data
    raws = _read(config, given, symbols)
    placed: dict[str, dict[str, BarColumns]] = {}
    notes: dict[str, tuple[str, ...]] = {}
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
            raise unknown_mark(own[0].label, interval)
        said = mark or "open"
        own = [full_stamps(raw, interval, said) for raw in own]
        agree(own, interval, said)
        own = [on_grid(raw, interval, said, settings.quality.faults) for raw in own]
        sessions = session_table(exchange, *reach(own), stamps.day_zone, config.own_hours)
        sound = [_judged(raw, interval, stamps, config, sessions) for raw in own]
        zone = config.data.timezone or config.timezone
        placed[interval.name] = {
            raw.symbol: place(raw, interval, stamps, timezone=zone, mark=mark, sessions=sessions) for raw in sound
        }
        notes |= {f"{raw.label}, its {interval} bars": raw.told(settings.quality.faults) for raw in sound}
    return Others(placed, notes)


def _read(
    config: SessionConfig, given: Mapping[str, Mapping[str, Any]], symbols: tuple[str, ...]
) -> dict[str, list[RawBars]]:
    """The bars by interval, judged by values and order."""
    policy = config.data.quality.faults
    raws: dict[str, list[RawBars]] = {}
    for name, frames in given.items():
        raws[name] = [
            read_frame(frame, symbol, faults=policy, chosen=True, zone=config.data.timezone or config.timezone)
            for symbol, frame in frames.items()
        ]
    for name, other in config.data.other_bases.items():
        if name in raws:
            cure = "was given as a frame too; leave one of them out"
            raise ConfigError([Problem(f"data.other_bases.{name}", other.path, cure)])
        if len(symbols) > 1 and "{symbol}" not in other.path:
            cure = f"is one file for {len(symbols)} symbols; put {{symbol}} in it"
            raise ConfigError([Problem(f"data.other_bases.{name}.path", other.path, cure)])
        paths = {symbol: other.path.replace("{symbol}", symbol) for symbol in symbols}
        raws[name] = [
            read_frame(
                read_file(path, other.source, config.data.separator, config.data.decimal),
                symbol,
                path,
                faults=policy,
                chosen=True,
                zone=config.data.timezone or config.timezone,
            )
            for symbol, path in paths.items()
        ]
    for own in raws.values():
        for raw in own:
            refuse_empty(raw)
    return raws


def _judged(raw: RawBars, interval: Interval, stamps: Stamps, config: SessionConfig, sessions: SessionTable) -> RawBars:
    zone = config.data.timezone or config.timezone
    faults = time_faults(raw, interval, stamps, timezone=zone, sessions=sessions)
    sound = judged(raw, faults, config.data.quality.faults)
    refuse_empty(sound)
    return sound


def compared(market: MarketData) -> tuple[Disagreement, ...]:
    """Find where the coarser bars and the base bars tell different things; warn where they do."""
    coarser = [(symbol, columns) for part in market.others.values() for symbol, columns in part.items()]
    every = [columns for columns in (*market.bars.values(), *(columns for _, columns in coarser)) if len(columns)]
    first, last = min(int(c.time[0]) for c in every), max(int(c.end[-1]) for c in every)
    sessions = whole_periods(market.exchange, first, last, market.stamps.day_zone, market.hours)
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
