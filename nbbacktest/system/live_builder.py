"""Builds the world of a live run from its history and its feed. Everything that can be refused is refused here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.live_config import clean_token
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.live_market import BarReader, LiveMarket, history
from nbbacktest.data.market import MarketData
from nbbacktest.data.resample import derive
from nbbacktest.data.trading_days import day_zone
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.live_bars import NEVER
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Timeline
from nbbacktest.system.stages import LiveBars
from nbbacktest.system.world import StrategyList, World
from nbbacktest.trading.live import LiveDesk


def live_world(
    config: SessionConfig, strategies: StrategyList, *, feed: Feed | None = None, data: Any = None
) -> tuple[World, LiveBars]:
    """Load the history and make the world of a live run, and its feed; no connection is made.

    Parameters
    ----------
    strategies
        The strategies, each with its symbols.
    feed
        The source of the bars; None makes the one that the config names.
    data
        History that takes the place of the config's.

    Raises
    ------
    ConfigError, DataError
        The config, the history or the feed can't be used.
    """
    _refuse_keys(config)
    feed = feed if feed is not None else _configured(config)
    past = history(config, data)
    zone = past.stamps.day_zone if past is not None else day_zone(config, None, is_named=True)
    rolling = RollingSessions(config.exchange, zone, config.own_hours)
    interval = past.interval if past is not None else Interval.parse(config.data.interval)
    derived = sorted(Interval.parse(text) for text in config.data.derived_intervals)
    _check_intervals(interval, derived)
    stamps = (
        past.stamps if past is not None else Stamps(config.timezone or zone, dates=interval.is_daily, day_zone=zone)
    )
    symbols = tuple(past.bars) if past is not None else config.data.symbols
    bars = dict(past.bars) if past is not None else {symbol: _no_bars(symbol, interval) for symbol in symbols}
    begins, opens = _beginning(config, past, rolling, feed)

    series = _series(bars, derived, stamps, rolling, begins)
    timeline = Timeline(series)
    market = LiveMarket(
        bars, interval, stamps, feed.source, feed.synthetic, opens, config.exchange,
        read_actions(config.data.actions, symbols, adjusted=config.data.adjusted), config.own_hours, is_named=True,
        rolling=rolling, now=feed.now,
    )  # fmt: skip
    desk = LiveDesk(
        lambda: timeline.instants,
        opens,
        strategies=strategies,
        series=series,
        broker=config.broker,
        seed=config.seed,
        limits=config.limits,
        stamps=stamps,
        actions=market.actions,
        sessions=market.sessions,
        days=market.days,
    )
    reader = BarReader(symbols, interval, stamps, rolling, derived=bool(derived))
    return World(market, timeline, desk), LiveBars(feed, reader, rolling, begins)


def token_of(config: SessionConfig) -> str | None:
    """The token for the config's feed; None if the config names none.

    Raises
    ------
    ConfigError
        The variable or file that it names doesn't exist, or is empty.
    """
    name, path = config.live.token_env, config.live.token_file
    if name is not None:
        if not (text := os.environ.get(name, "")).strip():
            cure = "this environment variable isn't set, or is empty; set it to the feed's token"
            raise ConfigError([Problem("live.token_env", name, cure)])
        return _token(text, "live.token_env", name)
    return None if path is None else read_token(path, "live.token_file")


def read_token(path: str | Path, key: str) -> str:
    """The token in a file.

    Raises
    ------
    ConfigError
        There is none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError([Problem(key, str(path), f"can't be read: {reason}; name a file with the token")]) from None
    return _token(text, key, str(path))


def _token(text: str, key: str, place: str) -> str:
    """The token in a text; an error names the place of the text, and shows nothing of it."""
    try:
        return clean_token(text)
    except ValueError as error:
        raise ConfigError([Problem(key, place, str(error))]) from None


def _configured(config: SessionConfig) -> Feed:
    if config.live.feed == "websocket" and config.live.url is not None:
        from nbbacktest.system.feeds.client import WebSocketFeed

        first, longest = config.live.reconnect_seconds
        return WebSocketFeed(config.live.url, token=token_of(config), reconnect_seconds=(first, longest))
    cure = (
        "needs the feed that bars are pushed into: start(config, feed=nbbacktest.PushFeed()); or name a websocket feed"
    )
    raise ConfigError([Problem("live.feed", config.live.feed, cure)])


def _beginning(config: SessionConfig, past: MarketData | None, rolling: RollingSessions, feed: Feed) -> tuple[int, int]:
    """The end of history, and the time that strategies see before the first instant."""
    begins = past.start if past is not None else NEVER
    first = config.backtest.start_date
    if first is None:
        return begins, past.start if past is not None else feed.now()
    noon = int(np.datetime64(first, "ns").astype(np.int64)) + DAY // 2
    sessions = rolling.covering(noon - DAY, noon + 10 * DAY)
    begins = max(begins, sessions.day_start(first))
    row = sessions.date_index(first)
    return begins, int(sessions.open[row]) if row < len(sessions) else begins


def _refuse_keys(config: SessionConfig) -> None:
    """Refuse the keys of the config that only a run over complete data can have."""
    cures = {
        "warmup_bars": "live runs count warm-up in days; set data.warmup_days",
        "require_complete": "live runs deliver derived bars as they are; test bar.is_complete, and leave this out",
        "other_bases": "live runs have bars of one length and those derived from them; leave this out",
    }
    known = type(config.data).model_fields
    problems = [
        Problem(f"data.{key}", getattr(config.data, key), cure)
        for key, cure in cures.items()
        if getattr(config.data, key) != known[key].get_default(call_default_factory=True)
    ]
    if problems:
        raise ConfigError(problems)


def _check_intervals(base: Interval, derived: Sequence[Interval]) -> None:
    if base.ns > DAY:
        raise ConfigError([Problem("data.interval", base.name, "live bars are a day long at most; use 1d or shorter")])
    for interval in derived:
        if interval.is_calendar:
            cure = "weeks and months aren't built in live runs; the longest is 1d"
            raise ConfigError([Problem("data.derived_intervals", interval.name, cure)])
        if interval.ns <= base.ns or interval.ns % base.ns or base.is_daily:
            cure = f"is not a multiple of the data's interval {base}; leave it out, or bring finer bars"
            raise ConfigError([Problem("data.derived_intervals", interval.name, cure)])


def _no_bars(symbol: str, interval: Interval) -> BarColumns:
    none, nothing = np.empty(0, np.int64), np.empty(0, np.float64)
    return BarColumns(symbol, interval, none, none, nothing, nothing, nothing, nothing, nothing, none)


def _series(
    bars: dict[str, BarColumns], derived: Sequence[Interval], stamps: Stamps, rolling: RollingSessions, begins: int
) -> list[Series]:
    """The series in the order of their callbacks; coarser ones have the bars that history completes."""
    made = [Series(c, stamps.of(c.interval), is_base=True, first=len(c), is_open=True) for c in bars.values()]
    for interval in derived:
        for base in bars.values():
            done = _no_bars(base.symbol, interval)
            if len(base):
                whole = derive(base, interval, rolling.covering(int(base.time[0]), int(base.end[-1])))
                done = whole.slice(0, int((whole.end <= begins).sum()))
            made.append(Series(done, stamps.of(interval), is_base=False, first=len(done), is_open=True))
    return made
