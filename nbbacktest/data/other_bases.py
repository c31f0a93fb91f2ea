"""Coarser bars that are loaded beside the base bars of the same symbols: taken apart, read, and compared with the base bars."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Float64, Stamps
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.bar_spans import agree, full_stamps, place, reach, time_faults, unknown_mark
from nbbacktest.data.calendar import SessionTable, local_midnights, session_table
from nbbacktest.data.files import read_file
from nbbacktest.data.frames import RawBars, judged, read_frame, refuse_empty
from nbbacktest.data.interval_inference import on_grid
from nbbacktest.data.market import Disagreement, MarketData
from nbbacktest.data.resample import derive
from nbbacktest.data.trading_days import whole_periods

PRICE_TOLERANCE = 1e-4
"""Prices that differ by more than this share of the finer one disagree: a cent in a hundred."""
VOLUME_TOLERANCE = 1e-2
"""Volumes that differ by more than this share of the finer one disagree."""
_DAY = Interval.parse("1d")


class Bases(NamedTuple):
    """Frames of a nested mapping, taken apart.

    Attributes
    ----------
    frames : dict
        The finest ones, by symbol.
    interval : Interval
        The interval of these frames.
    others : dict
        The coarser ones, by interval and symbol.
    """

    frames: dict[Any, Any]
    interval: Interval
    others: dict[str, dict[str, Any]]


def is_nested(data: Any) -> bool:
    """True if `data` is a mapping in which a symbol has bars of several lengths."""
    return isinstance(data, Mapping) and any(isinstance(value, Mapping) for value in data.values())


def taken_apart(data: Mapping[Any, Any]) -> Bases:
    """Take ``{symbol: {interval: frame}}`` apart; a symbol may have a frame alone, which is of the finest interval.

    Raises
    ------
    DataError
        If a key is no interval, or a symbol lacks the finest one.
    """
    nested: dict[Any, dict[Interval, Any]] = {}
    for symbol, value in data.items():
        if isinstance(value, Mapping):
            nested[symbol] = _by_interval(symbol, value)
    finest = min((interval for parts in nested.values() for interval in parts), default=None)
    if finest is None:
        raise DataError("the mapping has no frame; give {symbol: {interval: DataFrame}}")
    frames: dict[Any, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    for symbol, value in data.items():
        if symbol not in nested:
            frames[symbol] = value
            continue
        parts = nested[symbol]
        if finest not in parts:
            raise DataError(
                f"{symbol} has no {finest} bars, only {', '.join(map(str, sorted(parts)))}; orders fill on the shortest "
                "interval, which every symbol needs"
            )
        frames[symbol] = parts.pop(finest)
        for interval, frame in sorted(parts.items(), key=lambda part: part[0]):
            others.setdefault(interval.name, {})[symbol] = frame
    return Bases(frames, finest, others)


def _by_interval(symbol: Any, parts: Mapping[Any, Any]) -> dict[Interval, Any]:
    try:
        return {Interval.parse(key): frame for key, frame in parts.items()}
    except DataError as error:
        raise DataError(f"{symbol}: {error}") from None


def disagreements(base: BarColumns, coarser: BarColumns, sessions: SessionTable) -> list[Disagreement]:
    """Compare two lengths of bars session by session, over the sessions that both reach.

    Raises
    ------
    DataError
        If bars lie outside every session.
    """
    if not len(base) or not len(coarser):
        return []
    fine = derive(base, _DAY, sessions)
    coarse = coarser if coarser.interval == _DAY else derive(coarser, _DAY, sessions)
    low, high = max(fine.time[0], coarse.time[0]), min(fine.time[-1], coarse.time[-1])
    fine, coarse = (bars.taken((bars.time >= low) & (bars.time <= high)) for bars in (fine, coarse))
    name, symbol = coarser.interval.name, base.symbol
    dates = _dates(sessions)
    found: list[Disagreement] = []
    for one, other, counts in ((fine, coarse, (1.0, 0.0)), (coarse, fine, (0.0, 1.0))):
        alone = np.setdiff1d(one.time, other.time).tolist()
        found += [Disagreement(symbol, dates[time], name, "bars", *counts) for time in alone]
    _, left, right = np.intersect1d(fine.time, coarse.time, assume_unique=True, return_indices=True)
    for field in ("open", "high", "low", "close", "volume"):
        a, b = getattr(fine, field)[left], getattr(coarse, field)[right]
        if not (a.any() and b.any()):
            continue  # a source without volume can't disagree about it
        for row in np.flatnonzero(_differ(a, b, VOLUME_TOLERANCE if field == "volume" else PRICE_TOLERANCE)).tolist():
            when = dates[int(fine.time[left[row]])]
            found.append(Disagreement(symbol, when, name, field, float(a[row]), float(b[row])))
    order = ("bars", "open", "high", "low", "close", "volume")
    return sorted(found, key=lambda one: (one.session, order.index(one.field)))


def _differ(fine: Float64, coarse: Float64, tolerance: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    # A hair more than the tolerance, which decimal prices meet exactly.
    return np.abs(coarse - fine) > tolerance * np.abs(fine) * (1 + 1e-9)


def _dates(sessions: SessionTable) -> dict[int, date]:
    """The sessions' dates by the stamps of their daily bars."""
    stamps = local_midnights(sessions.dates, sessions.timezone).tolist()
    return dict(zip(stamps, sessions.dates.tolist(), strict=True))


class Others(NamedTuple):
    """Coarser bars, and the rows that were left out of them.

    Attributes
    ----------
    bars : dict
        By interval, rising, and symbol.
    notes : dict
        The faults of rows that were left out, by the name of their bars in errors.
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

    Raises
    ------
    ConfigError, DataError
        If an interval doesn't fit beside the base bars or the derived ones; if bars are wrong or missing.
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
    """Find the values on which coarser bars and base bars disagree; warn of the first."""
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
            stacklevel=callers_level(),
        )
    return tuple(found)
