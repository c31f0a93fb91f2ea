"""Invented bars that look like a market's: seeded, reproducible day by day, and never to be taken for real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Self
from zlib import crc32

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.core.intervals import DAY, MINUTE, Interval
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.calendar import ALWAYS_OPEN, Days, SessionTable, local_midnights, session_table
from nbbacktest.data.datasource import INVENTED, SourceBars
from nbbacktest.data.warmup import Need, reach_in_days

if TYPE_CHECKING:
    import pandas as pd

_EPOCH = np.datetime64("1900-01-01", "D")
_OVERNIGHT = 0.2  # share of a day's variance that falls between close and open
_WEEKEND = 0.15  # variance of a Saturday or Sunday against a weekday's, if the market closes
_REVERSION = 0.998  # pulls price levels back over years, so that none ends at a cent or a million
_STREAMS = {"level": 1, "path": 2}


@dataclass(frozen=True, slots=True)
class _Character:
    """The traits of a symbol's bars; a function of its name alone."""

    key: int
    price: float
    daily_volatility: float
    market_share: float
    minute_volume: float

    @classmethod
    def of(cls, symbol: str) -> _Character:
        key = crc32(symbol.encode())
        u = np.random.default_rng(key).random(4)
        return cls(key, 20 + 180 * u[0] ** 2, 0.010 + 0.012 * u[1], 0.5 + 0.3 * u[2], 500 * 20 ** u[3])


def bars(
    symbols: str | Sequence[str],
    start: date | str,
    end: date | str,
    *,
    interval: str = "1m",
    seed: int = 7,
    exchange: str = "XNYS",
) -> dict[str, pd.DataFrame]:
    """Invent bars for the sessions of an exchange.

    Volume and volatility are U-shaped through the day, prices lie on a cent grid, gap overnight, and
    go along with one common factor: returns of two symbols correlate by 0.25 to 0.64. A symbol's bars
    of a day depend on seed, symbol, exchange and interval alone: not on the other symbols nor on start and end.

    Parameters
    ----------
    symbols
        One name or several.
    start, end
        First and last session date, inclusive; a date or ISO text.
    interval
        An intraday interval that divides the exchange's usual session (half days cut the last bar
        short), or ``"1d"``.
    seed
        The same seed gives the same bars.
    exchange
        A calendar code, or ``"24/7"``.

    Returns
    -------
    dict
        By symbol, a DataFrame of open, high, low, close and volume by the bars' opening times in the
        exchange's time zone (local midnight for daily bars). Its `attrs` say that it is synthetic, and so
        does the result of a run over it.

    Raises
    ------
    ConfigError
        If the exchange is unknown, or the interval doesn't divide the session.
    DataError
        If the interval can't be read, or there is no session between start and end.

    Examples
    --------
    >>> from nbbacktest.data import synthetic
    >>> len(synthetic.bars("EXE", "2024-10-03", "2024-10-04")["EXE"])
    780
    """
    names = (symbols,) if isinstance(symbols, str) else tuple(symbols)
    sessions = session_table(exchange, _date(start, "start"), _date(end, "end"))
    return frames(names, sessions, Interval.parse(interval), seed)


class SyntheticSource:
    """The config's source ``"synthetic"``."""

    @classmethod
    def of_config(cls, config: SessionConfig) -> Self:  # noqa: ARG003 - as sources have it
        """Make the source; it needs nothing of the config."""
        return cls()

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:
        """Invented bars of the config's days, and of the days before them that the warm-up needs.

        Raises
        ------
        ConfigError
            If the config has no first or no last day; as `frames`.
        DataError
            If there is no session on these days.
        """
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
        found = frames(settings.symbols, kept, interval, settings.seed)
        source = f"synthetic, seed {settings.seed}"
        return SourceBars(found, source, interval=interval, synthetic=True, stamp="open")


def frames(symbols: Sequence[str], sessions: SessionTable, interval: Interval, seed: int) -> dict[str, pd.DataFrame]:
    """Invent the bars of these sessions; see `bars`.

    Raises
    ------
    ConfigError
        If the interval is longer than a day or doesn't divide the usual session, or a session is
        before 1900.
    """
    import pandas as pd

    if sessions.dates[0] < _EPOCH:
        raise ConfigError([Problem("backtest.start_date", str(sessions.dates[0]), f"synthetic bars begin at {_EPOCH}")])
    grid = _Grid.of(sessions, interval)
    counts, time, begin, span = grid.counts, grid.time, grid.begin, grid.span
    first = np.cumsum(counts) - counts
    length = np.repeat(grid.length, counts)
    passed = _share_of_variance((begin + span) / length)
    share = passed - _share_of_variance(begin / length)
    minutes = span / MINUTE
    busy = _busyness((begin + span / 2) / length)
    market = _draw(seed, 0, sessions.dates, counts, normals=1, uniforms=0)[1][:, 0]
    index = pd.DatetimeIndex(time, tz="UTC").tz_convert(sessions.timezone).rename("time")
    found: dict[str, pd.DataFrame] = {}
    for symbol in symbols:
        character = _Character.of(symbol)
        noise = _Noise.draw(seed, character.key, sessions.dates, counts)
        opens, moves = _anchors(seed, character, sessions)
        close = _closes(character, market, noise, opens, moves, share, passed, first)
        columns = _prices(character, noise, opens, close, share, first)
        columns["volume"] = _volume(character, noise, minutes * busy, counts)
        found[symbol] = pd.DataFrame(columns, index=index)
        found[symbol].attrs[INVENTED] = f"synthetic, seed {seed}"
    return found


@dataclass(frozen=True, slots=True)
class _Grid:
    """The places and lengths of bars.

    For each session how many bars, and how long it is traded; for each bar its time, and its begin and span in traded
    time, in which a lunch break is nothing.
    """

    counts: Int64
    length: Int64
    time: Int64
    begin: Int64
    span: Int64

    @classmethod
    def of(cls, sessions: SessionTable, interval: Interval) -> _Grid:
        length = sessions.part_close - sessions.part_open
        row = sessions.part_row
        begun = np.searchsorted(row, np.arange(len(sessions)))
        of_session = np.add.reduceat(length, begun)
        if interval.ns == DAY:
            time = local_midnights(sessions.dates, sessions.timezone)
            return cls(np.ones_like(of_session), of_session, time, np.zeros_like(of_session), of_session)
        _must_divide(sessions, length, interval)
        counts = -(-length // interval.ns)
        part = np.repeat(np.arange(len(length)), counts)
        within = (np.arange(len(part)) - (np.cumsum(counts) - counts)[part]) * interval.ns
        before = np.cumsum(length) - length
        before -= before[begun][row]
        # A last bar before a break or a close may be cut short.
        span = np.minimum(interval.ns, length[part] - within)
        return cls(
            np.add.reduceat(counts, begun), of_session, sessions.part_open[part] + within, before[part] + within, span
        )


def _must_divide(sessions: SessionTable, length: Int64, interval: Interval) -> None:
    """Refuse an interval that the usual session, or its usual morning and afternoon, is no multiple of."""
    is_later = np.diff(sessions.part_row, prepend=-1) == 0
    usual = []
    for some in (length[~is_later], length[is_later]):
        values, times = np.unique(some, return_counts=True)
        usual += [int(values[np.argmax(times)])] if len(values) else []
    if interval.ns > DAY or any(one % interval.ns for one in usual):
        fits = [m for m in (1, 5, 10, 15, 30, 60, 240) if not any(one % (m * MINUTE) for one in usual)]
        cure = (
            f"does not divide the session of {sessions.exchange}, {' and '.join(f'{u / MINUTE:g}' for u in usual)} "
            f"minutes; use one that does, such as {', '.join(str(Interval.from_ns(m * MINUTE)) for m in fits)} or 1d"
        )
        raise ConfigError([Problem("data.interval", interval.name, cure)])


@dataclass(frozen=True, slots=True)
class _Noise:
    """A symbol's random numbers: of every bar, and `activity` of every session."""

    step: Float64
    gap: Float64
    high: Float64
    low: Float64
    volume: Float64
    activity: Float64

    @classmethod
    def draw(cls, seed: int, key: int, dates: Days, counts: Int64) -> _Noise:
        activity, normal, uniform = _draw(seed, key, dates, counts, normals=3, uniforms=2)
        return cls(normal[:, 0], normal[:, 1], uniform[:, 0], uniform[:, 1], normal[:, 2], activity)


def _draw(
    seed: int, key: int, dates: Days, counts: Int64, *, normals: int, uniforms: int
) -> tuple[Float64, Float64, Float64]:
    """Random numbers: for each session, and in rows for its bars. Every session has a generator of its own."""
    total = int(counts.sum())
    session, normal, uniform = np.empty(len(dates)), np.empty((total, normals)), np.empty((total, uniforms))
    at = 0
    for row, (day, n) in enumerate(zip(_ordinals(dates).tolist(), counts.tolist(), strict=True)):
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _STREAMS["path"], key, day])))
        session[row] = generator.standard_normal()
        generator.standard_normal(out=normal[at : at + n])
        if uniforms:
            generator.random(out=uniform[at : at + n])
        at += n
    return session, normal, uniform


def _anchors(seed: int, character: _Character, sessions: SessionTable) -> tuple[Float64, Float64]:
    """Each session's opening log price, and its log return from open to close.

    Levels are summed from one fixed day on, so that they don't depend on where the bars start.
    """
    days = _ordinals(sessions.dates)
    total = int(days[-1]) + 1
    own, common = (
        np.random.default_rng([seed, _STREAMS["level"], key]).standard_normal(2 * total).reshape(-1, 2)
        for key in (character.key, 0)
    )
    share = character.market_share
    shocks = np.sqrt(share) * common + np.sqrt(1 - share) * own
    size = np.full(total, character.daily_volatility)
    if sessions.exchange != ALWAYS_OPEN:
        # 1 January 1900 was a Monday.
        size[np.arange(total) % 7 >= 5] *= np.sqrt(_WEEKEND)
    gaps = size * np.sqrt(_OVERNIGHT) * shocks[:, 0]
    moves = size * np.sqrt(1 - _OVERNIGHT) * shocks[:, 1]
    level = np.fromiter(
        accumulate((gaps + moves).tolist(), lambda before, change: _REVERSION * before + change), np.float64, total
    )
    before = np.concatenate(([0.0], level[:-1]))
    return np.log(character.price) + _REVERSION * before[days] + gaps[days], moves[days]


def _closes(
    character: _Character,
    market: Float64,
    noise: _Noise,
    opens: Float64,
    moves: Float64,
    share: Float64,
    passed: Float64,
    first: Int64,
) -> Float64:
    """Log closes: a walk that is bent to end at its day's close, which leaves it a Brownian motion."""
    common = character.market_share
    step = np.sqrt(common) * market + np.sqrt(1 - common) * noise.step
    step *= character.daily_volatility * np.sqrt((1 - _OVERNIGHT) * share)
    close: Float64 = np.empty_like(step)
    bounds = [*first.tolist(), len(step)]
    # Day by day, so that a day's rounding can't depend on the days before it.
    for a, b, start, move in zip(bounds, bounds[1:], opens.tolist(), moves.tolist(), strict=False):
        walk = np.cumsum(step[a:b])
        close[a:b] = start + walk + (move - walk[-1]) * passed[a:b]
    return close


def _prices(
    character: _Character, noise: _Noise, opens: Float64, close: Float64, share: Float64, first: Int64
) -> dict[str, Float64]:
    deviation = character.daily_volatility * np.sqrt((1 - _OVERNIGHT) * share)
    open_ = np.append(opens[0], close[:-1]) + 0.1 * deviation * noise.gap
    open_[first] = opens
    # The extremes of a Brownian bridge from open to close: (a + b ± sqrt((b - a)^2 - 2 s^2 ln U)) / 2.
    middle, width = (open_ + close) / 2, (close - open_) ** 2
    variance = 2 * deviation**2
    high = middle + np.sqrt(width - variance * np.log1p(-noise.high)) / 2
    low = middle - np.sqrt(width - variance * np.log1p(-noise.low)) / 2
    on_grid = {"open": _cents(open_), "high": _cents(high), "low": _cents(low), "close": _cents(close)}
    # The square root's rounding may leave an extreme a hair inside of open or close.
    on_grid["high"] = np.maximum(on_grid["high"], np.maximum(on_grid["open"], on_grid["close"]))
    on_grid["low"] = np.minimum(on_grid["low"], np.minimum(on_grid["open"], on_grid["close"]))
    return on_grid


def _cents(log_price: Float64) -> Float64:
    cents: Float64 = np.maximum(np.rint(np.exp(log_price) * 100), 1) / 100
    return cents


def _volume(character: _Character, noise: _Noise, weight: Float64, counts: Int64) -> Float64:
    day = np.exp(0.3 * noise.activity)
    shares = character.minute_volume * weight * np.repeat(day, counts) * np.exp(0.5 * noise.volume)
    units: Float64 = np.maximum(np.rint(shares * (0.6 + 0.5 * np.abs(noise.step))), 1.0)
    return units


def _busyness(at: Float64) -> Float64:
    """Activity at a point of the session (0 to 1): a U whose ends are about 3.5 times its middle, mean 1."""
    return 0.5 + 1.5 * (2 * at - 1) ** 2


def _share_of_variance(at: Float64) -> Float64:
    """The part of a session's variance that has passed: the integral of `_busyness` from 0."""
    return 0.5 * at + 0.25 * ((2 * at - 1) ** 3 + 1)


def _ordinals(dates: Days) -> Int64:
    return (dates - _EPOCH).astype(np.int64)


def _date(value: date | str, name: str) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ConfigError([Problem(name, value, 'is no date; write one such as "2024-10-03"')]) from None
