"""The one way to bars: from a session config, or from what a Python user hands over, to checked `MarketData`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data import files, samples, synthetic
from nbbacktest.data.actions import read_actions
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, local_midnights, session_table
from nbbacktest.data.dataset import files_of, is_dataset, read_files, refuse_one_for_all
from nbbacktest.data.datasource import DataSource, ask, is_source, source_of
from nbbacktest.data.demands import demanded, of_the_days, within
from nbbacktest.data.frames import Policy, RawBars, judged, read_frame, refuse_empty
from nbbacktest.data.market import MarketData
from nbbacktest.data.spans import Mark, agree, begins_left_out, place, shown, time_faults
from nbbacktest.data.streaming import given_path, streamed_bars

if TYPE_CHECKING:
    import pandas as pd

LONE_SYMBOL = "ASSET"
"""What a single DataFrame's bars are called where no symbol is configured."""


@dataclass(frozen=True, slots=True)
class Found:
    """Frames by symbol, and what is known about where they came from."""

    frames: Mapping[str, Any]
    source: str
    files: Mapping[str, str]
    interval: Interval | None = None
    synthetic: bool = False
    stamp: Mark | None = None
    timezone: str | None = None
    all_hours: bool = False
    chosen: bool = True  # whether somebody said which symbols these are


def load(
    config: SessionConfig,
    data: pd.DataFrame | Mapping[str, pd.DataFrame] | str | Path | DataSource | MarketData | None = None,
    *,
    stream: bool = False,
) -> MarketData:
    """Read, check and cut the bars of a run.

    Parameters
    ----------
    config
        What to load. Where `data` is given, its source and path count for nothing, and its symbols,
        interval and exchange only where they were set and not left at their defaults.
    data
        A DataFrame (called by the one symbol set in the config, else ``"ASSET"``), DataFrames by
        symbol, a CSV's or Parquet file's path (called by the symbol set, else by the file's name), a folder
        of Parquet files, a `DataSource`, or `MarketData`, which is returned as it is.
    stream
        Whether the caller can do with bars whose values come later, where the config wants that or they are many.

    Returns
    -------
    MarketData
        From `warmup_days` sessions before the start date, as far as the data goes, to the end date.
        Stamps are shown in the config's time zone; else in the exchange's, where `data` is None or an
        exchange was set; else in the data's own. In the second case daily bars end at their session's
        close, and otherwise at the next midnight, without building a calendar.

    Raises
    ------
    ConfigError
        Where the config asks for what the source can't do, or names an unknown exchange.
    DataError
        Where bars are missing, not in the range of dates, or can't be read; where they are faulty or too few, and
        `data.quality` refuses that.
    MissingExtraError
        Where the source's package isn't installed.
    """
    if isinstance(data, MarketData):
        return data
    policy = config.data.quality.faults
    lazy = streamed_bars(config, data) if stream else None
    if lazy is None:
        found = find(config, data)
        raws = read(found, policy)
    else:
        found = Found(lazy.sources, lazy.source, lazy.files)
        raws = [source.raw() for source in lazy.sources.values()]
    for raw in raws:
        refuse_empty(raw)
    interval = agree(raws, found.interval or set_interval(config))
    sessions = None
    if data is None or "exchange" in config.model_fields_set or config.extended_hours or found.all_hours:
        # A market that never closes has no time zone of its own: its days are the data's.
        zone = config.timezone or (raws[0].zone if config.exchange == ALWAYS_OPEN else None)
        sessions = session_table(config.exchange, *_reach(raws), zone, config.extended_hours)
    stamps = shown(raws, interval, sessions.timezone if sessions else config.timezone or found.timezone)
    mark, zone = mark_of(found, config, interval), found.timezone or config.timezone
    if policy != "refuse":
        raws = [
            judged(raw, time_faults(raw, interval, stamps, timezone=zone, sessions=sessions), policy) for raw in raws
        ]
    for raw in raws:
        refuse_empty(raw)
    bars = {raw.symbol: place(raw, interval, stamps, timezone=zone, mark=mark, sessions=sessions) for raw in raws}
    left_out = {raw.symbol: begins_left_out(raw, interval, stamps, timezone=zone, mark=mark) for raw in raws}
    if found.all_hours and sessions is not None and not interval.is_daily:
        bars = {symbol: within(columns, sessions, left_out[symbol]) for symbol, columns in bars.items()}
    every = bars
    bars, start = _cut(bars, config, stamps, sessions)
    exchange = (
        config.exchange
        if sessions is not None or not on_weekends([columns.time for columns in bars.values()])
        else ALWAYS_OPEN
    )
    actions = read_actions(config.data.actions, tuple(bars))
    market = MarketData(
        bars, interval, stamps, found.source, found.synthetic, start, exchange, actions, config.extended_hours,
        left_out=of_the_days(left_out, bars, config.backtest, stamps),
        days_asked=(config.backtest.start_date, config.backtest.end_date),
        placed=sessions is not None,
        streamed=lazy.cut(every, bars) if lazy is not None else None,
    )  # fmt: skip
    return demanded(market, config.data.quality, {raw.label: raw.notes for raw in raws})


def find(config: SessionConfig, data: Any) -> Found:
    """What a config or a user's `data` has to give, unread; see `load`."""
    return _from_config(config) if data is None else _given(config, data)


def read(found: Found, policy: Policy) -> list[RawBars]:
    """The symbols' bars, judged by values and order."""
    return [
        read_frame(frame, symbol, found.files.get(symbol), faults=policy, chosen=found.chosen)
        for symbol, frame in found.frames.items()
    ]


def mark_of(found: Found, config: SessionConfig, interval: Interval) -> Mark:
    """What the stamps mark.

    Raises
    ------
    DataError
        Where nobody said what a file's intraday stamps mark.
    """
    mark = found.stamp or config.data.stamp
    if mark is None and found.files and not interval.is_daily:
        label = next(f"{symbol} ({file})" for symbol, file in found.files.items())
        raise DataError(
            f"{label}: whether the times of {interval} bars mark their open or their close can't be known from "
            'a file, and the wrong guess looks ahead; set data.stamp in the config to "open" or "close"'
        )
    return mark or "open"


def _from_config(config: SessionConfig) -> Found:
    settings = config.data
    symbols = settings.symbols
    match settings.source:
        case "sample":
            if set_interval(config) not in (None, Interval.parse("1d")):
                raise ConfigError([Problem("data.interval", settings.interval, 'sample bars are daily; use "1d"')])
            kind = "adjusted" if settings.adjusted else "unadjusted"
            found = samples.frames(symbols, adjusted=settings.adjusted)
            return Found(found, f"sample daily bars, {kind}", {}, Interval.parse("1d"))
        case "synthetic":
            return _synthetic(config)
        case "csv" | "parquet" as kind:
            return _from_files(settings.path or "", kind, symbols)
        case _:
            return _asked(source_of(config), config)


def _synthetic(config: SessionConfig) -> Found:
    first, last, settings = config.backtest.start_date, config.backtest.end_date, config.data
    missing = [
        Problem(f"backtest.{name}", None, 'is required for synthetic data; set it, for example "2024-10-03"')
        for name, value in (("start_date", first), ("end_date", last))
        if value is None
    ]
    if first is None or last is None:
        raise ConfigError(missing)
    session_table(config.exchange, first, last)  # so that a range without one is refused
    early = first - timedelta(days=2 * settings.warmup_days + 14) if settings.warmup_days else first
    sessions = session_table(config.exchange, early, last, config.timezone, config.extended_hours)
    row = max(0, sessions.date_index(first) - settings.warmup_days)
    interval = Interval.parse(settings.interval)
    kept = sessions.between(int(sessions.open[row]), int(sessions.close[-1]))
    frames = synthetic.frames(settings.symbols, kept, interval, settings.seed)
    return Found(frames, f"synthetic, seed {settings.seed}", {}, interval, synthetic=True, stamp="open")


def _asked(source: DataSource, config: SessionConfig) -> Found:
    answer = ask(source, config)
    return Found(
        answer.frames, answer.name, {}, answer.interval, stamp=answer.stamp, timezone=answer.timezone,
        all_hours=answer.all_hours,
    )  # fmt: skip


def _from_files(path: str, kind: files.FileKind, symbols: Iterable[str], *, chosen: bool = True) -> Found:
    paths = {symbol: path.replace("{symbol}", symbol) for symbol in symbols}
    if kind == "parquet" and is_dataset(path, tuple(symbols)):
        frames = {symbol: read_files(files_of(path, symbol)) for symbol in symbols}
    else:
        refuse_one_for_all(path, tuple(symbols))
        frames = {symbol: files.read_file(file, kind) for symbol, file in paths.items()}
    return Found(frames, Path(path).name, paths, chosen=chosen)


def _given(config: SessionConfig, data: Any) -> Found:
    import pandas as pd

    symbols = config.data.symbols if "symbols" in config.data.model_fields_set else None
    if isinstance(data, pd.DataFrame):
        if symbols and len(symbols) > 1:
            raise DataError(
                f"one DataFrame for {len(symbols)} symbols ({', '.join(symbols)}); pass a mapping {{symbol: DataFrame}}"
            )
        return _in_memory({symbols[0] if symbols else LONE_SYMBOL: data}, chosen=bool(symbols))
    if isinstance(data, Mapping):
        return _in_memory(_chosen(data, symbols))
    if is_source(data):
        return _asked(data, config)
    if isinstance(data, (str, Path)):
        path, kind, named = given_path(data, symbols)
        return _from_files(path, kind, named, chosen=bool(symbols))
    raise DataError(
        f"data is a {type(data).__name__}; pass a DataFrame, a mapping {{symbol: DataFrame}}, "
        "the path of a CSV or Parquet file or of a folder of Parquet files, or a DataSource"
    )


def _in_memory(frames: Mapping[str, Any], *, chosen: bool = True) -> Found:
    """A user's own frames; invented ones are known by their mark, and stay called so."""
    marks = {mark for frame in frames.values() if (mark := getattr(frame, "attrs", {}).get(synthetic.MARK))}
    source = "DataFrame" if len(frames) == 1 else "DataFrames"
    return Found(frames, ", ".join([source, *sorted(marks)]), {}, synthetic=bool(marks), chosen=chosen)


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


def set_interval(config: SessionConfig) -> Interval | None:
    """The interval where someone chose it; the default of the config says nothing about a file."""
    return Interval.parse(config.data.interval) if "interval" in config.data.model_fields_set else None


def _reach(raws: Sequence[RawBars]) -> tuple[date, date]:
    """Dates that surely cover the bars, whatever the time zone."""
    first, last = min(int(raw.ticks[0]) for raw in raws), max(int(raw.ticks[-1]) for raw in raws)
    slack = timedelta(days=2)
    return _utc_date(first) - slack, _utc_date(last) + slack


def _utc_date(ns: int) -> date:
    day: date = np.datetime64(ns, "ns").astype("datetime64[D]").item()
    return day


def _cut(
    bars: dict[str, BarColumns], config: SessionConfig, stamps: Stamps, sessions: SessionTable | None
) -> tuple[dict[str, BarColumns], int]:
    """Keep the range of dates and the warm-up before it; say where trading begins."""
    begin, stop, warmup = config.backtest.start_date, config.backtest.end_date, config.data.warmup_days
    earliest = min(int(columns.time[0]) for columns in bars.values())
    if begin is None and stop is None:
        return bars, earliest
    latest = max(int(columns.time[-1]) for columns in bars.values())
    low, high = (stamps.stamp(ns).date() for ns in (earliest, latest))
    days = sessions or session_table(ALWAYS_OPEN, low, high + timedelta(days=1), stamps.timezone)
    # Dates far off the data are brought near it: nanoseconds couldn't count the midnights of some.
    day, near = timedelta(days=1), (low - timedelta(days=3), high + timedelta(days=3))
    start = earliest if begin is None or begin < low else days.day_start(min(begin, near[1]))
    after = latest + 1 if stop is None or stop > high else days.day_start(max(stop, near[0]) + day)
    if sessions is not None and begin is not None and stop is not None and low <= begin and stop <= high:
        _must_trade(sessions, begin, stop)
    kept: dict[str, BarColumns] = {}
    seen_from = _warm_from(bars, days, start, warmup)
    for symbol, columns in bars.items():
        end_row = int(np.searchsorted(columns.time, after))
        if end_row <= int(np.searchsorted(columns.end, start, side="right")):
            first, last = (stamps.stamp(int(columns.time[row])).date() for row in (0, -1))
            raise DataError(
                f"{symbol} has no bars from {begin or 'its first'} to {stop or 'its last'}: its bars go from {first} "
                f"to {last}; set backtest.start_date and end_date within them"
            )
        kept[symbol] = columns.slice(int(np.searchsorted(columns.end, seen_from, side="right")), end_row)
    return kept, start


def _must_trade(sessions: SessionTable, begin: date, stop: date) -> None:
    row = sessions.date_index(begin)
    if row < sessions.date_index(stop + timedelta(days=1)):
        return
    near = [str(sessions.dates[r]) for r in (row - 1, row) if 0 <= r < len(sessions)]
    raise DataError(
        f"{sessions.exchange} has no session from {begin} to {stop}; the nearest ones are those of {' and '.join(near)}: "
        "set backtest.start_date and end_date so that they hold one"
    )


def _warm_from(bars: Mapping[str, BarColumns], days: SessionTable, start: int, warmup: int) -> int:
    """Where the warm-up begins: that many days that have bars before `start`, or as many as there are."""
    if not warmup:
        return start
    starts = np.minimum(local_midnights(days.dates, days.timezone), days.open)
    rows = [np.searchsorted(starts, c.time[c.end <= start], side="right") - 1 for c in bars.values()]
    with_bars = np.unique(np.maximum(np.concatenate(rows), 0))
    return int(starts[with_bars[-warmup:][0]]) if len(with_bars) else start


def on_weekends(times: Sequence[Int64]) -> bool:
    """Whether there are bars on Saturdays and on Sundays, in UTC: no calendar but 24/7 has both."""
    # 1 January 1970 was a Thursday.
    weekday = [np.unique((time // 86_400_000_000_000 + 3) % 7) for time in times]
    return {5, 6} <= set(np.concatenate(weekday).tolist())
