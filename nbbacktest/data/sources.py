"""The one way to bars: from a session config, or from what a Python user hands over, to checked `MarketData`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.actions import ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import DataConfig, StampMeaning
from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import Int64, Stamps
from nbbacktest.data import files, samples, synthetic
from nbbacktest.data.bar_spans import (
    agree,
    begins_left_out,
    full_stamps,
    place,
    reach,
    shown,
    time_faults,
    unknown_mark,
)
from nbbacktest.data.calendar import ALWAYS_OPEN, SessionTable, session_table
from nbbacktest.data.calendar_periods import whole_periods
from nbbacktest.data.columns import by_symbol
from nbbacktest.data.corporate_actions import check_columns, own_actions, prices_of, read_actions
from nbbacktest.data.datasource import DataSource, Prices, ask, is_source, name_of, source_of
from nbbacktest.data.demands import demanded, of_the_days, within
from nbbacktest.data.files import files_of, is_dataset, read_files, refuse_one_for_all
from nbbacktest.data.frames import Policy, RawBars, as_one, judged, read_frame, refuse_empty
from nbbacktest.data.interval_inference import on_grid
from nbbacktest.data.market import MarketData
from nbbacktest.data.other_bases import compared, is_nested, load_others, taken_apart
from nbbacktest.data.streaming import given_path, streamed_bars
from nbbacktest.data.warmup import Need, check_intervals, cut_bars, reach_in_days, read_needs

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
    stamp: StampMeaning | None = None
    timezone: str | None = None
    all_hours: bool = False
    chosen: bool = True  # whether somebody said which symbols these are
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prices: Prices | None = None  # as the source tells
    actions: tuple[ActionRow, ...] | None = None  # the source's own


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
        What to load. Where `data` is given, its source and path count for nothing, and its symbols,
        interval and exchange only where they were set and not left at their defaults.
    data
        A DataFrame (called by the one symbol set in the config, else ``"ASSET"``), DataFrames by
        symbol, or by symbol and interval where there are several lengths of bars; a CSV's or Parquet file's path
        (called by the symbol set, else by the file's name), a folder of Parquet files, a `DataSource`, or `MarketData`,
        which is returned as it is.
    needs
        What strategies need as warm-up, beside what the config asks for.
    stream
        Whether the caller can do with bars whose values come later, where the config wants that or they are many.

    Returns
    -------
    MarketData
        From `warmup_days` sessions and `warmup_bars` bars before the start date, as far as the data goes, to the end
        date; what there is before that is in `earlier`.
        Stamps are shown in the config's time zone; else in the exchange's, where `data` is None or an
        exchange was set; else in the data's own. Where an exchange was set, its sessions are the trading days, and daily
        bars end at their session's close; otherwise dates are, and they end at the next midnight, without
        building a calendar.

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
    needs = (*read_needs(config.data.warmup_bars, "data.warmup_bars"), *needs)
    policy = config.data.quality.faults
    lazy = streamed_bars(config, data) if stream else None
    if lazy is None:
        found = find(config, data, needs)
        if found.prices is None:
            check_columns(found.frames, config)
        raws = read(found, policy, zone_of_naive(found, config))
    else:
        found = Found(lazy.sources, lazy.source, lazy.files)
        raws = [source.raw() for source in lazy.sources.values()]
        check_columns(lazy.heads(), config)
    for raw in raws:
        refuse_empty(raw)
    given, said = found.interval or set_interval(config), found.stamp or config.data.stamp or "open"
    raws = [full_stamps(raw, given, said) for raw in raws]
    interval = agree(raws, given, said)
    raws = [on_grid(raw, interval, said, policy, streamed=lazy is not None) for raw in raws]
    is_named = exchange_is_named(found, config, data)
    stamps = shown(raws, interval, config, found.timezone, is_named=is_named)
    sessions = sessions_around(raws, interval, config, stamps) if is_named else None
    mark, zone = mark_of(found, config, interval), zone_of_naive(found, config)
    if policy != "refuse":
        raws = [
            judged(raw, time_faults(raw, interval, stamps, timezone=zone, sessions=sessions, mark=mark), policy)
            for raw in raws
        ]
    for raw in raws:
        refuse_empty(raw)
    bars = {raw.symbol: place(raw, interval, stamps, timezone=zone, mark=mark, sessions=sessions) for raw in raws}
    left_out = {raw.symbol: begins_left_out(raw, interval, stamps, timezone=zone, mark=mark) for raw in raws}
    if found.all_hours and sessions is not None and not interval.is_daily:
        bars = {symbol: within(columns, sessions, left_out[symbol]) for symbol, columns in bars.items()}
    whole = bars
    exchange = (
        config.exchange if is_named or not on_weekends([columns.time for columns in bars.values()]) else ALWAYS_OPEN
    )
    others, notes = load_others(config, found.others, tuple(bars), interval, stamps, exchange)
    known = (interval.name, *others, *config.data.derived_intervals)
    check_intervals(needs, tuple(dict.fromkeys(known)))
    every = {(symbol, interval.name): columns for symbol, columns in bars.items()}
    every |= {(symbol, name): columns for name, part in others.items() for symbol, columns in part.items()}
    cut = cut_bars(every, interval.name, config, stamps, sessions, exchange, needs)
    bars = {symbol: cut.bars[symbol, interval.name] for symbol in bars}
    market = MarketData(
        bars,
        interval,
        stamps,
        found.source,
        found.synthetic,
        cut.start,
        exchange,
        read_actions(found.actions, tuple(bars))
        if config.data.actions is None
        else read_actions(config.data.actions, tuple(bars), adjusted=config.data.adjusted),
        hours=config.own_hours,
        left_out=of_the_days(left_out, bars, config.backtest, stamps),
        days_asked=(config.backtest.start_date, config.backtest.end_date),
        placed=is_named,
        is_named=is_named,
        streamed=lazy.cut(whole, bars) if lazy is not None else None,
        others={name: {symbol: cut.bars[symbol, name] for symbol in part} for name, part in others.items()},
        earlier=cut.earlier if lazy is None else {},  # bars without values are no good for more warm-up
        asked=needs,
    )
    if others:
        market = replace(market, disagreements=compared(market))
    return demanded(market, config.data.quality, {raw.label: raw.told(policy) for raw in raws} | notes)


def find(config: SessionConfig, data: Any, needs: Sequence[Need] = ()) -> Found:
    """What a config or a user's `data` has to give, unread; see `load`."""
    return _from_config(config, needs) if data is None else _given(config, data, needs)


def read(found: Found, policy: Policy, zone: str | None) -> list[RawBars]:
    """The symbols' bars, judged by values and order; `zone` is where naive stamps are local."""
    return as_one(
        [
            read_frame(frame, symbol, found.files.get(symbol), faults=policy, chosen=found.chosen, zone=zone)
            for symbol, frame in found.frames.items()
        ],
        zone,
    )


def exchange_is_named(found: Found, config: SessionConfig, data: Any) -> bool:
    """Whether the exchange was set or brings the data, so that its sessions count; else it is a guess."""
    return data is None or "exchange" in config.model_fields_set or config.own_hours is not None or found.all_hours


def sessions_around(raws: Sequence[RawBars], interval: Interval, config: SessionConfig, stamps: Stamps) -> SessionTable:
    """The exchange's sessions from before the bars until after them; those of whole weeks and months for such bars."""
    first, last = reach(raws)
    if interval.is_calendar:
        low, high = (int(np.datetime64(day, "ns").astype(np.int64)) for day in (first, last))
        return whole_periods(config.exchange, low, high, stamps.day_zone, config.own_hours)
    return session_table(config.exchange, first, last, stamps.day_zone, config.own_hours)


def zone_of_naive(found: Found, config: SessionConfig) -> str | None:
    """The zone that stamps without one are in; None where nobody said."""
    return found.timezone or config.data.timezone or config.timezone


def mark_of(found: Found, config: SessionConfig, interval: Interval) -> StampMeaning | None:
    """What the stamps mark; None where nobody said and it makes no difference, or is their open.

    Raises
    ------
    DataError
        Where nobody said what a file's intraday stamps mark.
    """
    mark = found.stamp or config.data.stamp
    if mark is None and found.files and not interval.is_daily:
        raise unknown_mark(next(f"{symbol} ({file})" for symbol, file in found.files.items()), interval)
    return mark


def _from_config(config: SessionConfig, needs: Sequence[Need]) -> Found:
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
            return _synthetic(config, needs)
        case "csv" | "parquet" as kind:
            return _from_files(settings, settings.path or "", kind, symbols)
        case _:
            return _asked(source_of(config), config, needs)


def _synthetic(config: SessionConfig, needs: Sequence[Need]) -> Found:
    first, last, settings = config.backtest.start_date, config.backtest.end_date, config.data
    missing = [
        Problem(f"backtest.{name}", None, 'is required for synthetic data; set it, for example "2024-10-03"')
        for name, value in (("start_date", first), ("end_date", last))
        if value is None
    ]
    if first is None or last is None:
        raise ConfigError(missing)
    # A range without a session is refused.
    traded = session_table(config.exchange, first, last, config.day_zone, config.own_hours)
    interval = Interval.parse(settings.interval)
    usual = int(np.median(np.bincount(traded.part_row, traded.part_close - traded.part_open)))
    days = [reach_in_days(need, interval, usual) for need in needs]
    early = first - timedelta(days=2 * settings.warmup_days + 14) if settings.warmup_days else first
    early = min(early, first - timedelta(days=max(days, default=0)))
    sessions = session_table(config.exchange, early, last, config.day_zone, config.own_hours)
    row = 0 if days else max(0, sessions.date_index(first) - settings.warmup_days)
    kept = sessions.between(int(sessions.open[row]), int(sessions.close[-1]))
    frames = synthetic.frames(settings.symbols, kept, interval, settings.seed)
    return Found(frames, f"synthetic, seed {settings.seed}", {}, interval, synthetic=True, stamp="open")


def _asked(source: DataSource, config: SessionConfig, needs: Sequence[Need]) -> Found:
    called = name_of(source)
    prices = prices_of(source, config, called)
    either = getattr(source, "prices", None) == "either"
    answer = ask(source, config, needs, **({"adjusted": prices == "adjusted"} if either else {}))
    return Found(
        answer.frames,
        f"{called}, {prices} prices" if either else called,
        {},
        answer.interval,
        stamp=answer.stamp,
        timezone=answer.timezone,
        all_hours=answer.all_hours,
        prices=prices,
        actions=own_actions(source, config, called, answer.frames) if config.data.actions is None else None,
    )


def _from_files(
    settings: DataConfig, path: str, kind: files.FileKind, symbols: Iterable[str], *, chosen: bool = True
) -> Found:
    paths = {symbol: path.replace("{symbol}", symbol) for symbol in symbols}
    if kind == "parquet" and is_dataset(path, tuple(symbols)):
        frames = {symbol: read_files(files_of(path, symbol)) for symbol in symbols}
    else:
        refuse_one_for_all(path, tuple(symbols))
        frames = {
            symbol: files.read_file(file, kind, settings.separator, settings.decimal) for symbol, file in paths.items()
        }
        if not chosen and (parts := by_symbol(next(iter(frames.values())))):
            frames, paths = parts, dict.fromkeys(parts, path)
    return Found(frames, Path(path).name, paths, chosen=chosen)


def _given(config: SessionConfig, data: Any, needs: Sequence[Need]) -> Found:
    import pandas as pd

    symbols = config.data.symbols if "symbols" in config.data.model_fields_set else None
    if isinstance(data, pd.DataFrame) and (parts := by_symbol(data)):
        return _in_memory(_chosen(parts, symbols))
    if isinstance(data, pd.DataFrame):
        if symbols and len(symbols) > 1:
            raise DataError(
                f"one DataFrame for {len(symbols)} symbols ({', '.join(symbols)}); pass a mapping {{symbol: DataFrame}}"
            )
        return _in_memory({symbols[0] if symbols else LONE_SYMBOL: data}, chosen=bool(symbols))
    if is_nested(data):
        bases = taken_apart(_chosen(data, symbols))
        if set_interval(config) not in (None, bases.interval):
            cure = f"isn't the shortest interval of the data, {bases.interval}, which orders fill on; leave it out"
            raise ConfigError([Problem("data.interval", config.data.interval, cure)])
        return replace(_in_memory(bases.frames), interval=bases.interval, others=bases.others)
    if isinstance(data, Mapping):
        return _in_memory(_chosen(data, symbols))
    if is_source(data):
        return _asked(data, config, needs)
    if isinstance(data, (str, Path)):
        path, kind, named = given_path(data, symbols)
        return _from_files(config.data, path, kind, named, chosen=bool(symbols))
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


def on_weekends(times: Sequence[Int64]) -> bool:
    """Whether there are bars on Saturdays and on Sundays, in UTC: no calendar but 24/7 has both. Times rise."""
    bars = np.zeros(7)
    for time in times:
        if not len(time):
            continue
        # The days are few and times rise: to look where each begins is quicker than to divide every time.
        days = np.arange(time[0] // DAY, time[-1] // DAY + 1)
        begins = np.concatenate(([0], np.searchsorted(time, days[1:] * DAY), [len(time)]))
        bars += np.bincount((days + 3) % 7, begins[1:] - begins[:-1], minlength=7)  # 1 January 1970 was a Thursday
    return bool(np.all(bars[5:] > 0))
