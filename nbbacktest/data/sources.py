"""Loads bars: `load` finds, reads, checks, places and cuts the bars that a session config or a Python user names.

`source_of` says which source is asked: the one that the config names, or the data that a Python user hands over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import SOURCES, StampMeaning
from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.core.user_code import imported
from nbbacktest.data.bar_spans import (
    agree,
    begins_left_out,
    full_stamps,
    reach,
    shown,
    time_faults,
    unknown_mark,
    within,
)
from nbbacktest.data.bar_spans import place as placed
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, session_table
from nbbacktest.data.columns import by_symbol, check_columns
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.datasource import INVENTED, AskedSource, BarSource, DataSource, SourceBars, made_with
from nbbacktest.data.files import FileSource
from nbbacktest.data.frames import Policy, RawBars, as_one, judged, read_frame, refuse_empty
from nbbacktest.data.interval_inference import on_grid
from nbbacktest.data.market import MarketData, hold_to_quality
from nbbacktest.data.other_bases import compared, is_nested, load_others, taken_apart
from nbbacktest.data.streaming import StreamedBars, streamed_bars
from nbbacktest.data.trading_days import whole_periods
from nbbacktest.data.warmup import Need, check_intervals, cut_bars, of_the_days, read_needs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(slots=True)
class Draft:
    """A run's bars while they are loaded. Each of the steps fills its own fields, and none changes another's but `raws`.

    Attributes
    ----------
    config : SessionConfig
    data
        The data that was handed over; None: the config names the source.
    needs : sequence of Need
        The warm-up that is asked for, counted in bars.
    policy : str
        The treatment of faulty rows.
    found : SourceBars
        `find`: the bars that the source has.
    streamed : StreamedBars or None
        `find`: the files of bars whose values come later.
    raws : list of RawBars
        `read`: the rows by symbol; `check` and `place` leave out faulty ones.
    interval : Interval
        `check`: the length of the bars.
    is_named : bool
        `place`: True if the exchange was set or brings the data, so that its sessions count.
    stamps : Stamps
        `place`: how instants are shown.
    sessions : SessionTable or None
        `place`: the exchange's, around the bars.
    exchange : str
        `place`: the calendar's code.
    bars : dict
        `place`: by symbol, the bars with their spans.
    left_out : dict
        `place`: by symbol and reason, the begins of rows that were left out.
    others : dict
        `place`: coarser bars that are loaded beside them, by interval and symbol.
    notes : dict
        `place`: the notes on rows that were left out, by the name of the bars in errors.
    """

    config: SessionConfig
    data: Any
    needs: Sequence[Need]
    policy: Policy
    found: SourceBars = field(init=False)
    streamed: StreamedBars | None = None
    raws: list[RawBars] = field(init=False)
    interval: Interval = field(init=False)
    is_named: bool = field(init=False)
    stamps: Stamps = field(init=False)
    sessions: SessionTable | None = field(init=False)
    exchange: str = field(init=False)
    bars: dict[str, BarColumns] = field(init=False)
    left_out: dict[str, dict[str, Int64]] = field(init=False)
    others: dict[str, dict[str, BarColumns]] = field(init=False)
    notes: dict[str, tuple[str, ...]] = field(init=False)

    @property
    def known_interval(self) -> Interval | None:
        """The bars' length, if the source or the config says it."""
        return self.found.interval or self.config.data.chosen_interval

    @property
    def stamp(self) -> StampMeaning | None:
        """The moment of a bar that intraday stamps mark, if the source or the config says it."""
        return self.found.stamp or self.config.data.stamp

    @property
    def zone(self) -> str | None:
        """The zone of naive stamps, if the source or the config says it."""
        return self.found.timezone or self.config.data.timezone or self.config.timezone


def load(
    config: SessionConfig,
    data: pd.DataFrame | Mapping[str, Any] | str | Path | DataSource | MarketData | None = None,
    *,
    needs: Sequence[Need] = (),
    stream: bool = False,
) -> MarketData:
    """Read, check and cut the bars of a run.

    Parameters
    ----------
    config
        The config of the run. With `data`, its source and path count for nothing, and its symbols, interval and exchange only if they
        were set and not left at their defaults.
    data
        A DataFrame (its symbol is the one set in the config, else ``"ASSET"``), DataFrames by symbol, or by symbol and
        interval; the path of a CSV or Parquet file (its symbol is the one set, else the file's name), a folder of
        Parquet files, a `DataSource`, or `MarketData`, which is returned as it is.
    needs
        The strategies' warm-up, beside the config's.
    stream
        True if the caller can take bars whose values come later, which the config may ask for, and large files do.

    Returns
    -------
    MarketData
        From `warmup_days` sessions and `warmup_bars` bars before the start date, as far as the data goes, to the end
        date; the bars before them are in `earlier`.
        Stamps are shown in the config's time zone; else in the exchange's, if `data` is None or an exchange was set; else in
        the data's own. If an exchange was set, its sessions are the trading days, and daily bars end at their session's
        close. Otherwise dates are the trading days, daily bars end at the next midnight, and no calendar is built.

    Raises
    ------
    ConfigError
        If the config asks for something that the source can't do, or names an unknown exchange.
    DataError
        If bars are missing, not in the range of dates, or can't be read; if they are faulty or too few and `data.quality`
        refuses that.
    MissingExtraError
        If the source's package isn't installed.
    """
    if isinstance(data, MarketData):
        return data
    every_need = (*read_needs(config.data.warmup_bars, "data.warmup_bars"), *needs)
    draft = Draft(config, data, every_need, config.data.quality.faults)
    find(draft, stream=stream)
    read(draft)
    check(draft)
    place(draft)
    return cut(draft)


def find(draft: Draft, *, stream: bool = False) -> None:
    """Step 1: ask the source for its bars, or decide that its bars are streamed."""
    in_memory = draft.data is not None and not isinstance(draft.data, (str, Path))
    if stream and (not in_memory or draft.config.data.stream):
        draft.streamed = streamed_bars(draft.config, draft.data)
    if draft.streamed is not None:
        draft.found = SourceBars(draft.streamed.sources, draft.streamed.source, draft.streamed.files)
    else:
        draft.found = source_of(draft.config, draft.data).find(draft.config, draft.needs)


def read(draft: Draft) -> None:
    """Step 2: read each symbol's rows, and judge their values and their order."""
    if draft.streamed is not None:
        draft.raws = [source.raw() for source in draft.streamed.sources.values()]
        check_columns(draft.streamed.heads(), draft.config)
    else:
        if draft.found.prices is None:
            check_columns(draft.found.frames, draft.config)
        draft.raws = rows_of(draft)
    for raw in draft.raws:
        refuse_empty(raw)


def rows_of(draft: Draft) -> list[RawBars]:
    """The rows of the bars that were found, judged by values and order."""
    found, zone = draft.found, draft.zone
    raws = [
        read_frame(frame, symbol, found.files.get(symbol), faults=draft.policy, chosen=found.chosen, zone=zone)
        for symbol, frame in found.frames.items()
    ]
    return as_one(raws, zone)


def check(draft: Draft) -> None:
    """Step 3: find the length of the bars, and judge the rows that are no bars of that length."""
    known, stamp = draft.known_interval, draft.stamp or "open"
    raws = [full_stamps(raw, known, stamp) for raw in draft.raws]
    draft.interval = agree(raws, known, stamp)
    streamed = draft.streamed is not None
    draft.raws = [on_grid(raw, draft.interval, stamp, draft.policy, streamed=streamed) for raw in raws]


def place(draft: Draft) -> None:
    """Step 4: place the bars on the calendar: each gets its span, and those of other lengths are loaded beside them."""
    config, found, interval, zone = draft.config, draft.found, draft.interval, draft.zone
    draft.is_named = is_named = exchange_is_named(draft)
    draft.stamps = stamps = shown(draft.raws, interval, config, found.timezone, is_named=is_named)
    draft.sessions = sessions = _sessions_around(draft) if is_named else None
    mark = stamp_of(draft)
    if draft.policy != "refuse":
        draft.raws = [
            judged(raw, time_faults(raw, interval, stamps, timezone=zone, sessions=sessions, mark=mark), draft.policy)
            for raw in draft.raws
        ]
    for raw in draft.raws:
        refuse_empty(raw)
    bars = {
        raw.symbol: placed(raw, interval, stamps, timezone=zone, mark=mark, sessions=sessions) for raw in draft.raws
    }
    left_out = {raw.symbol: begins_left_out(raw, interval, stamps, timezone=zone, mark=mark) for raw in draft.raws}
    if found.all_hours and sessions is not None and not interval.is_daily:
        bars = {symbol: within(columns, sessions, left_out[symbol]) for symbol, columns in bars.items()}
    draft.bars, draft.left_out = bars, left_out
    weekends = not is_named and on_weekends([columns.time for columns in bars.values()])
    draft.exchange = ALWAYS_OPEN if weekends else config.exchange
    draft.others, draft.notes = {}, {raw.label: raw.told(draft.policy) for raw in draft.raws}
    if found.others or config.data.other_bases:
        draft.others, notes = load_others(config, found.others, tuple(bars), interval, stamps, draft.exchange)
        draft.notes |= notes


def cut(draft: Draft) -> MarketData:
    """Step 5: keep the days and the warm-up that are asked for, and apply `data.quality` to these bars."""
    config, base, whole = draft.config, draft.interval.name, draft.bars
    known = (base, *draft.others, *config.data.derived_intervals)
    check_intervals(draft.needs, tuple(dict.fromkeys(known)))
    every = {(symbol, base): columns for symbol, columns in whole.items()}
    every |= {(symbol, name): columns for name, part in draft.others.items() for symbol, columns in part.items()}
    kept = cut_bars(every, base, config, draft.stamps, draft.sessions, draft.exchange, draft.needs)
    bars = {symbol: kept.bars[symbol, base] for symbol in whole}
    market = MarketData(
        bars,
        draft.interval,
        draft.stamps,
        draft.found.source,
        draft.found.synthetic,
        kept.start,
        draft.exchange,
        _actions_of(draft, tuple(bars)),
        hours=config.own_hours,
        left_out=of_the_days(draft.left_out, bars, config.backtest, draft.stamps),
        days_asked=(config.backtest.start_date, config.backtest.end_date),
        placed=draft.is_named,
        is_named=draft.is_named,
        streamed=draft.streamed.cut(whole, bars) if draft.streamed is not None else None,
        others={name: {symbol: kept.bars[symbol, name] for symbol in part} for name, part in draft.others.items()},
        earlier=kept.earlier if draft.streamed is None else {},  # bars without values can't serve as more warm-up
        asked=tuple(draft.needs),
    )
    if draft.others:
        market = replace(market, disagreements=compared(market))
    return hold_to_quality(market, config.data.quality, draft.notes)


def _actions_of(draft: Draft, symbols: tuple[str, ...]) -> tuple[CorporateAction, ...]:
    """The splits, dividends and delistings that the config gives, else those that the source knows."""
    settings, own = draft.config.data, draft.found.actions
    if settings.actions is not None:
        return read_actions(settings.actions, symbols, adjusted=settings.adjusted)
    return read_actions(own, symbols) if own else ()


def exchange_is_named(draft: Draft) -> bool:
    """True if the exchange was set or brings the data, so that its sessions count; else it is a guess."""
    config = draft.config
    is_set = "exchange" in config.model_fields_set or config.own_hours is not None
    return draft.data is None or is_set or draft.found.all_hours


def stamp_of(draft: Draft) -> StampMeaning | None:
    """The moment of a bar that stamps mark; None if neither source nor config says it: it makes no difference, or it is the open.

    Raises
    ------
    DataError
        If neither tells the meaning of a file's intraday stamps.
    """
    if draft.stamp is None and draft.found.files and not draft.interval.is_daily:
        raise unknown_mark(next(f"{symbol} ({file})" for symbol, file in draft.found.files.items()), draft.interval)
    return draft.stamp


def _sessions_around(draft: Draft) -> SessionTable:
    """The exchange's sessions from before the bars until after them; for weeks and months, the sessions of whole periods."""
    (first, last), config, zone = reach(draft.raws), draft.config, draft.stamps.day_zone
    if draft.interval.is_calendar:
        low, high = (int(np.datetime64(day, "ns").astype(np.int64)) for day in (first, last))
        return whole_periods(config.exchange, low, high, zone, config.own_hours)
    return session_table(config.exchange, first, last, zone, config.own_hours)


def on_weekends(times: Sequence[Int64]) -> bool:
    """True if there are bars on Saturdays and on Sundays, in UTC: no calendar but 24/7 has both. Times rise."""
    bars = np.zeros(7)
    for time in times:
        if not len(time):
            continue
        # Days are few and times rise: looking up where each day begins is quicker than dividing every time.
        days = np.arange(time[0] // DAY, time[-1] // DAY + 1)
        begins = np.concatenate(([0], np.searchsorted(time, days[1:] * DAY), [len(time)]))
        bars += np.bincount((days + 3) % 7, begins[1:] - begins[:-1], minlength=7)  # 1 January 1970 was a Thursday
    return bool(np.all(bars[5:] > 0))


LONE_SYMBOL = "ASSET"
"""The symbol of a single DataFrame's bars if the config names none."""


def is_source(value: Any) -> bool:
    """True if `value` is an object that has bars to give."""
    return not isinstance(value, type) and callable(getattr(value, "bars", None))


def source_of(config: SessionConfig, data: Any) -> BarSource:
    """The source that the config names, or the one that `data` is, if given.

    Raises
    ------
    ConfigError
        If the config names no source, or its options don't fit it.
    DataError
        If `data` is no source of bars.
    """
    import pandas as pd

    if data is None:
        built_in = SOURCES.get(config.data.source)
        if built_in is None:
            return AskedSource(_users_own(config))
        made = imported("data.source", built_in.reference, callable).of_config(config)
        return AskedSource(made) if is_source(made) else made  # a test holds each built-in source to the protocol
    if isinstance(data, (Mapping, pd.DataFrame)):
        return FrameSource(data)
    if is_source(data):
        return AskedSource(data)
    if isinstance(data, (str, Path)):
        return FileSource.at(data, config)
    raise DataError(
        f"data is a {type(data).__name__}; pass a DataFrame, a mapping {{symbol: DataFrame}}, "
        "the path of a CSV or Parquet file or of a folder of Parquet files, or a DataSource"
    )


def _users_own(config: SessionConfig) -> DataSource:
    """The source that the config names as ``module:Name``: an instance, or a class, which is made with the options."""
    settings = config.data
    found = imported("data.source", settings.source, _has_bars)
    if is_source(found) and not settings.options:
        return found  # type: ignore[no-any-return] # an instance that stands in the module
    if not (isinstance(found, type) and _has_bars(found)):
        cure = "is no DataSource; name a class that has bars(symbol, interval, start, end)"
        raise ConfigError([Problem("data.source", settings.source, cure)])
    return made_with(found, settings.options)


def _has_bars(value: Any) -> bool:
    return callable(getattr(value, "bars", None))


class FrameSource:
    """A user's own frames: one, several by symbol, or several by symbol and interval."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:  # noqa: ARG002 - as sources have it
        """The frames by symbol; if the config names symbols, theirs.

        Raises
        ------
        DataError
            If the data has no such symbol, or its keys are no symbols and intervals.
        ConfigError
            If the config names another interval than the shortest of several.
        """
        data, symbols = self._data, config.data.chosen_symbols
        if not isinstance(data, Mapping):
            if parts := by_symbol(data):
                return _in_memory(_chosen(parts, symbols))
            if symbols and len(symbols) > 1:
                raise DataError(
                    f"one DataFrame for {len(symbols)} symbols ({', '.join(symbols)}); pass a mapping {{symbol: DataFrame}}"
                )
            return _in_memory({symbols[0] if symbols else LONE_SYMBOL: data}, chosen=bool(symbols))
        frames = _chosen(data, symbols)
        if not is_nested(data):
            return _in_memory(frames)
        bases = taken_apart(frames)
        if config.data.chosen_interval not in (None, bases.interval):
            cure = f"isn't the shortest interval of the data, {bases.interval}, which orders fill on; leave it out"
            raise ConfigError([Problem("data.interval", config.data.interval, cure)])
        return replace(_in_memory(bases.frames), interval=bases.interval, others=bases.others)


def _in_memory(frames: Mapping[str, Any], *, chosen: bool = True) -> SourceBars:
    """A user's own frames; invented ones are known by their mark, and stay called so."""
    marks = {mark for frame in frames.values() if (mark := getattr(frame, "attrs", {}).get(INVENTED))}
    source = "DataFrame" if len(frames) == 1 else "DataFrames"
    return SourceBars(frames, ", ".join([source, *sorted(marks)]), synthetic=bool(marks), chosen=chosen)


def _chosen(data: Mapping[Any, Any], symbols: tuple[str, ...] | None) -> dict[str, Any]:
    for name in data:
        if not isinstance(name, str) or not name:
            raise DataError(f"{name!r} is no symbol; the mapping's keys are non-empty strings")
    for symbol in symbols or ():
        if symbol not in data:
            raise DataError(f"the data has no symbol {symbol!r}, which the config names; {nearest(symbol, data)}")
    if not data:
        raise DataError("the mapping is empty; give it at least one {symbol: DataFrame}")
    return {symbol: data[symbol] for symbol in symbols or data}
