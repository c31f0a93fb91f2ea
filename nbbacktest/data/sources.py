"""The one way to bars: from a session config, or from what a Python user hands over, to checked `MarketData`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns
from nbbacktest.data import files, samples, synthetic
from nbbacktest.data.actions import read_actions
from nbbacktest.data.bases import is_nested, taken_apart
from nbbacktest.data.calendar import ALWAYS_OPEN, session_table
from nbbacktest.data.cut import cut_bars
from nbbacktest.data.frames import read_frame
from nbbacktest.data.market import MarketData
from nbbacktest.data.others import compared, load_others
from nbbacktest.data.spans import agree, place, reach, shown, unknown_mark
from nbbacktest.data.warmup import Need, check_intervals, reach_in_days, read_needs

if TYPE_CHECKING:
    import pandas as pd

LONE_SYMBOL = "ASSET"
"""What a single DataFrame's bars are called where no symbol is configured."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Frames by symbol, and what is known about where they came from."""

    frames: Mapping[str, Any]
    source: str
    files: Mapping[str, str]
    interval: Interval | None = None
    synthetic: bool = False
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(
    config: SessionConfig,
    data: pd.DataFrame | Mapping[str, Any] | str | Path | MarketData | None = None,
    *,
    needs: Sequence[Need] = (),
) -> MarketData:
    """Read, check and cut the bars of a run.

    Parameters
    ----------
    config
        What to load. Where `data` is given, its source and path count for nothing, and its symbols,
        interval and exchange only where they were set and not left at their defaults.
    data
        A DataFrame (called by the one symbol set in the config, else ``"ASSET"``), DataFrames by
        symbol, or by symbol and interval where there are several lengths of bars; a CSV's or Parquet file's path (called by the symbol set, else by the file's name), or
        `MarketData`, which is returned as it is.
    needs
        What strategies need as warm-up, beside what the config asks for.

    Returns
    -------
    MarketData
        From `warmup_days` sessions and `warmup_bars` bars before the start date, as far as the data goes, to the end
        date; what there is before that is in `earlier`.
        Stamps are shown in the config's time zone; else in the exchange's, where `data` is None or an
        exchange was set; else in the data's own. In the second case daily bars end at their session's
        close, and otherwise at the next midnight, without building a calendar.

    Raises
    ------
    ConfigError
        Where the config asks for what the source can't do, or names an unknown exchange.
    DataError
        Where bars are wrong, missing, or not in the range of dates.
    MissingExtraError
        Where sample data isn't installed.
    """
    if isinstance(data, MarketData):
        return data
    needs = (*read_needs(config.data.warmup_bars, "data.warmup_bars"), *needs)
    found = _from_config(config, needs) if data is None else _given(config, data)
    raws = [read_frame(frame, symbol, found.files.get(symbol)) for symbol, frame in found.frames.items()]
    interval = agree(raws, found.interval or _set_interval(config))
    sessions = None
    if data is None or "exchange" in config.model_fields_set:
        # A market that never closes has no time zone of its own: its days are the data's.
        zone = config.timezone or (raws[0].zone if config.exchange == ALWAYS_OPEN else None)
        sessions = session_table(config.exchange, *reach(raws), zone)
    stamps = shown(raws, interval, sessions.timezone if sessions else config.timezone)
    mark = "open" if found.synthetic and data is None else config.data.stamp
    if mark is None and found.files and not interval.is_daily:
        raise unknown_mark(raws[0], interval)
    bars = {
        raw.symbol: place(raw, interval, stamps, timezone=config.timezone, mark=mark or "open", sessions=sessions)
        for raw in raws
    }
    exchange = config.exchange if sessions is not None or not _on_weekends(bars) else ALWAYS_OPEN
    others = load_others(config, found.others, tuple(bars), interval, stamps, exchange)
    known = (interval.name, *others, *config.data.derived_intervals)
    check_intervals(needs, tuple(dict.fromkeys(known)))
    every = {(symbol, interval.name): columns for symbol, columns in bars.items()}
    every |= {(symbol, name): columns for name, part in others.items() for symbol, columns in part.items()}
    cut = cut_bars(every, interval.name, config, stamps, sessions, exchange, needs)
    market = MarketData(
        {symbol: cut.bars[symbol, interval.name] for symbol in bars},
        interval,
        stamps,
        found.source,
        found.synthetic,
        cut.start,
        exchange,
        read_actions(config.data.actions, tuple(bars)),
        {name: {symbol: cut.bars[symbol, name] for symbol in part} for name, part in others.items()},
        cut.earlier,
        asked=needs,
    )
    return replace(market, disagreements=compared(market)) if others else market


def _from_config(config: SessionConfig, needs: Sequence[Need]) -> _Found:
    settings = config.data
    symbols = settings.symbols
    match settings.source:
        case "sample":
            if _set_interval(config) not in (None, Interval.parse("1d")):
                raise ConfigError([Problem("data.interval", settings.interval, 'sample bars are daily; use "1d"')])
            kind = "adjusted" if settings.adjusted else "unadjusted"
            found = samples.frames(symbols, adjusted=settings.adjusted)
            return _Found(found, f"sample daily bars, {kind}", {}, Interval.parse("1d"))
        case "synthetic":
            return _synthetic(config, needs)
        case kind:
            return _from_files(settings.path or "", kind, symbols)


def _synthetic(config: SessionConfig, needs: Sequence[Need]) -> _Found:
    first, last, settings = config.backtest.start_date, config.backtest.end_date, config.data
    missing = [
        Problem(f"backtest.{name}", None, 'is required for synthetic data; set it, for example "2024-10-03"')
        for name, value in (("start_date", first), ("end_date", last))
        if value is None
    ]
    if first is None or last is None:
        raise ConfigError(missing)
    traded = session_table(config.exchange, first, last, config.timezone)  # a range without a session is refused
    interval = Interval.parse(settings.interval)
    usual = int(np.median(traded.close - traded.open))
    days = [reach_in_days(need, interval, usual) for need in needs]
    early = first - timedelta(days=2 * settings.warmup_days + 14) if settings.warmup_days else first
    early = min(early, first - timedelta(days=max(days, default=0)))
    sessions = session_table(config.exchange, early, last, config.timezone)
    row = 0 if days else max(0, sessions.date_index(first) - settings.warmup_days)
    kept = sessions.between(int(sessions.open[row]), int(sessions.close[-1]))
    frames = synthetic.frames(settings.symbols, kept, interval, settings.seed)
    return _Found(frames, f"synthetic, seed {settings.seed}", {}, interval, synthetic=True)


def _from_files(path: str, kind: files.FileKind, symbols: Iterable[str]) -> _Found:
    paths = {symbol: path.replace("{symbol}", symbol) for symbol in symbols}
    frames = {symbol: files.read_file(file, kind) for symbol, file in paths.items()}
    return _Found(frames, Path(path).name, paths)


def _given(config: SessionConfig, data: Any) -> _Found:
    import pandas as pd

    symbols = config.data.symbols if "symbols" in config.data.model_fields_set else None
    if isinstance(data, pd.DataFrame):
        if symbols and len(symbols) > 1:
            raise DataError(
                f"one DataFrame for {len(symbols)} symbols ({', '.join(symbols)}); pass a mapping {{symbol: DataFrame}}"
            )
        return _in_memory({symbols[0] if symbols else LONE_SYMBOL: data})
    if is_nested(data):
        bases = taken_apart(_chosen(data, symbols))
        if _set_interval(config) not in (None, bases.interval):
            cure = f"isn't the shortest interval of the data, {bases.interval}, which orders fill on; leave it out"
            raise ConfigError([Problem("data.interval", config.data.interval, cure)])
        return replace(_in_memory(bases.frames), interval=bases.interval, others=bases.others)
    if isinstance(data, Mapping):
        return _in_memory(_chosen(data, symbols))
    if isinstance(data, (str, Path)):
        path = str(data)
        if "{symbol}" not in path and symbols and len(symbols) > 1:
            raise DataError(f"{path} is one file for {len(symbols)} symbols; put {{symbol}} in the path")
        if "{symbol}" in path and not symbols:
            raise DataError(f"{path}: no symbols are set; name them in the config's data.symbols")
        return _from_files(path, files.kind_of(path), symbols or (files.stem_of(path),))
    raise DataError(
        f"data is a {type(data).__name__}; pass a DataFrame, a mapping {{symbol: DataFrame}}, "
        "or the path of a CSV or Parquet file"
    )


def _in_memory(frames: Mapping[str, Any]) -> _Found:
    """A user's own frames; invented ones are known by their mark, and stay called so."""
    marks = {mark for frame in frames.values() if (mark := getattr(frame, "attrs", {}).get(synthetic.MARK))}
    source = "DataFrame" if len(frames) == 1 else "DataFrames"
    return _Found(frames, ", ".join([source, *sorted(marks)]), {}, synthetic=bool(marks))


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


def _set_interval(config: SessionConfig) -> Interval | None:
    """The interval where someone chose it; the default of the config says nothing about a file."""
    return Interval.parse(config.data.interval) if "interval" in config.data.model_fields_set else None


def _on_weekends(bars: Mapping[str, BarColumns]) -> bool:
    """Whether there are bars on Saturdays and on Sundays, in UTC: no calendar but 24/7 has both."""
    # 1 January 1970 was a Thursday.
    weekday = [np.unique((columns.time // 86_400_000_000_000 + 3) % 7) for columns in bars.values()]
    return {5, 6} <= set(np.concatenate(weekday).tolist())
