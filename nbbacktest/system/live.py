"""Wires a live run: history and a feed in, stages out. Everything that can be refused is refused here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nbbacktest.core.clock import Clock, WallClock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.live_config import clean_token
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.incoming_bars import BarReader
from nbbacktest.data.live_market import LiveMarket, history
from nbbacktest.data.market import MarketData
from nbbacktest.data.resample import derive
from nbbacktest.data.trading_days import day_zone
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.arrivals import NEVER
from nbbacktest.engine.feed import Feed
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.inbox import Inbox, Patience
from nbbacktest.engine.lag import LagWatch
from nbbacktest.engine.live import LiveCoordinator
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.series import Series
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.tape import Tape
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.window import Link, Quantum
from nbbacktest.system.membership import FixedSymbols
from nbbacktest.system.run import Stages
from nbbacktest.trading.live import LiveDesk
from nbbacktest.trading.strategy import Strategy


def build_live(
    config: SessionConfig,
    lifecycle: Lifecycle,
    condition: Monitor,
    players: Sequence[tuple[Strategy, tuple[str, ...] | None]],
    *,
    feed: Feed | None = None,
    data: Any = None,
    clock: Clock | None = None,
) -> Stages:
    """Load the history and wire the stages; no thread is started, and nobody is connected to.

    Parameters
    ----------
    players
        Strategies, each with its symbols.
    feed
        Where the bars come from; None makes the one that the config names.
    data
        History that takes the place of the config's.

    Raises
    ------
    ConfigError, DataError
        Where the config, the history or the feed can't be used.
    """
    _refuse_keys(config)
    feed = feed if feed is not None else _configured(config)
    clock = clock or WallClock()
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
    gate = RunGate(lifecycle, condition, clock)
    market = LiveMarket(
        bars, interval, stamps, feed.source, feed.synthetic, opens, config.exchange,
        read_actions(config.data.actions, symbols, adjusted=config.data.adjusted), config.own_hours, is_named=True,
        rolling=rolling, now=feed.now,
    )  # fmt: skip
    desk = LiveDesk(
        lambda: timeline.instants,
        opens,
        strategies=players,
        series=series,
        broker=config.broker,
        limits=config.limits,
        stamps=stamps,
        actions=market.actions,
        sessions=market.sessions,
        days=market.days,
    )
    membership = desk.membership = FixedSymbols()
    upstream = StreamSubscription("live", "coordinator->processor")
    downstream = StreamSubscription("live", "processor->analysis")
    link, quantum = Link(upstream), Quantum(1)
    analysis = AnalysisEngine(timeline, desk, gate, downstream, clock, quantum, on_error=config.on_error)
    processor = DataProcessor(timeline, gate, link, downstream)
    reader = BarReader(symbols, interval, stamps, rolling, derived=bool(derived))
    live = config.live
    patience = Patience(live.grace_seconds, live.stale_seconds, live.future_seconds)
    inbox = Inbox(reader, clock, patience, gate.nudge, begins)
    lag = LagWatch(config.lag.threshold_seconds, config.lag.check_interval_seconds, clock, feed.now)
    coordinator = LiveCoordinator(
        timeline, gate, link, quantum,
        feed=feed, inbox=inbox, tape=Tape(timeline, rolling.covering), clock=clock, lag=lag,
    )  # fmt: skip
    feed.attach(inbox)
    return Stages(
        config, market, timeline, desk, gate, quantum, analysis, processor, coordinator, membership,
        (upstream, downstream), lag, clock, feed, inbox,
    )  # fmt: skip


def token_of(config: SessionConfig) -> str | None:
    """The token that the config's feed is to be shown; None where it names none.

    Raises
    ------
    ConfigError
        Where it names a variable or a file that isn't there, or holds nothing.
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
        Where there is none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError([Problem(key, str(path), f"can't be read: {reason}; name a file with the token")]) from None
    return _token(text, key, str(path))


def _token(text: str, key: str, place: str) -> str:
    """The token in a text; an error names the place that the text is from and nothing of the text."""
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
    """Up to when all is history, and what strategies take for now before the first instant."""
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
    """Refuse what only runs over bars that are all there can do."""
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
    """In the order of their callbacks; of coarser bars, those that history completes."""
    made = [Series(c, stamps.of(c.interval), is_base=True, first=len(c), is_open=True) for c in bars.values()]
    for interval in derived:
        for base in bars.values():
            done = _no_bars(base.symbol, interval)
            if len(base):
                whole = derive(base, interval, rolling.covering(int(base.time[0]), int(base.end[-1])))
                done = whole.slice(0, int((whole.end <= begins).sum()))
            made.append(Series(done, stamps.of(interval), is_base=False, first=len(done), is_open=True))
    return made
