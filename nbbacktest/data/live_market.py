"""The data of a live run: its symbols, sessions and history before its bars come, and the bars, read and checked as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import PRICES, Bar, BarColumns, Stamps
from nbbacktest.data.bar_spans import intraday_ends, meant_end
from nbbacktest.data.calendar import RollingSessions, SessionTable, local_midnights
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.data.trading_days import TradingDays, sessions_count


@dataclass(frozen=True, eq=False, kw_only=True)
class LiveMarket(MarketData):
    """A market before its bars come: symbols, interval, sessions, and perhaps history.

    Attributes
    ----------
    rolling : RollingSessions
    now : callable
        The time by its feed's clock, nanoseconds UTC.
    """

    rolling: RollingSessions
    now: Callable[[], int]

    @cached_property
    def days(self) -> TradingDays:
        """The rule for the trading day of a time."""
        zone = self.stamps.day_zone
        if not sessions_count(self.exchange, is_named=self.is_named):
            return TradingDays(zone)
        return TradingDays(zone, self.rolling.covering)

    def sessions(self) -> SessionTable:
        """The exchange's sessions from a little before the start, or the run's instant, to a year ahead of both."""
        now = self.now()
        return self.rolling.ahead(min(self.start, now), max(self.start, now))


def history(config: SessionConfig, data: Any = None) -> MarketData | None:
    """Load a live run's history, all of it warm-up; None if it isn't asked for.

    Parameters
    ----------
    config
        With `warmup_days`: that many days that have bars, up to the day before `backtest.start_date`, or if that
        isn't set, up to the data's last one. Without, nothing, or all of `data` up to there.
    data
        As for `load`.

    Returns
    -------
    MarketData
        Its `start` is the end of its last bar.

    Raises
    ------
    ConfigError, DataError
        As for `load`.
    """
    days, begin = config.data.warmup_days, config.backtest.start_date
    if data is None and not days:
        return None
    if data is None and config.data.source == "synthetic":
        # a source of invented bars needs both dates, and invents the days before the first one too
        market = load(config)
        bars = {symbol: c.slice(0, int((c.end <= market.start).sum())) for symbol, c in market.bars.items()}
    else:
        before = None if begin is None else (begin - timedelta(days=1)).isoformat()
        market = load(
            config.overlaid({"backtest": {"start_date": None, "end_date": before}, "data": {"warmup_days": 0}}), data
        )
        bars = dict(market.bars)
    if days:
        bars = _newest_days(bars, days, market.days)
    start = max((int(c.end[-1]) for c in bars.values() if len(c)), default=market.start)
    return replace(market, bars=bars, start=start)


def _newest_days(bars: Mapping[str, BarColumns], days: int, trading: TradingDays) -> dict[str, BarColumns]:
    dates = {symbol: trading.of(c.time) for symbol, c in bars.items()}
    known = np.unique(np.concatenate(list(dates.values())))
    if not len(known):
        return dict(bars)
    first = known[-days:][0]
    return {symbol: c.slice(int(np.searchsorted(dates[symbol], first)), len(c)) for symbol, c in bars.items()}


FIELDS = ("symbol", "time", "end", *PRICES, "volume")
_MICROSECOND = 1_000


class IncomingBar(NamedTuple):
    """A checked bar, not yet part of any column; times in nanoseconds UTC."""

    symbol: str
    time: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class BarReader:
    """Turns mappings into `IncomingBar`, or refuses them; knows no order among bars and no clock.

    Parameters
    ----------
    symbols
        Those of the run.
    interval
        The interval of the base bars: a day at most.
    stamps
        For messages.
    derived
        True if coarser bars are built: then all bars must lie in sessions, on the grid that begins at their open.
    """

    def __init__(
        self, symbols: tuple[str, ...], interval: Interval, stamps: Stamps, sessions: RollingSessions, *, derived: bool
    ) -> None:
        self.symbols = symbols
        self.interval = interval
        self.stamps = stamps
        self._sessions = sessions
        self._derived = derived

    def read(self, fields: Mapping[str, Any] | Bar) -> IncomingBar:
        """Check one bar.

        Parameters
        ----------
        fields
            `symbol`, `time` (where the bar opens) or `end` (where it closes), `open`, `high`, `low`, `close` and, by
            choice, `volume`. Times are datetimes with a time zone, or ISO 8601 texts with an offset; for daily bars
            dates.

        Raises
        ------
        DataError
            For fields that are missing, unknown or wrong, with the value and the cure.
        """
        if isinstance(fields, Bar):
            fields = _of_bar(fields)
        if not isinstance(fields, Mapping):
            raise DataError(f"a {type(fields).__name__} is no bar; give a mapping with {', '.join(FIELDS)}")
        for key in fields:
            if key not in FIELDS:
                raise DataError(f"a bar has no {key!r}; {nearest(str(key), FIELDS)}")
        symbol = fields.get("symbol")
        if symbol not in self.symbols:
            word = symbol if isinstance(symbol, str) else repr(symbol)
            raise DataError(f"the run has no symbol {symbol!r}; {nearest(word, self.symbols)}")
        time, end = self._span(symbol, fields.get("time"), fields.get("end"))
        label = f"{symbol} at {self.stamps.begin(time)}"
        o, h, l, c = (_price(label, name, fields) for name in PRICES)  # noqa: E741 - the field's letters
        volume = _number(label, "volume", fields["volume"]) if "volume" in fields else 0.0
        if not l <= min(o, c) <= max(o, c) <= h:
            raise DataError(
                f"{label}: open {o:.12g} and close {c:.12g} must lie between low {l:.12g} and high {h:.12g}; "
                "correct the bar"
            )
        if volume < 0:
            raise DataError(f"{label}: volume {volume:g} is negative; correct the bar")
        return IncomingBar(symbol, time, end, o, h, l, c, volume)

    # -- spans ----------------------------------------------------------------------------------------------

    def _span(self, symbol: str, time: Any, end: Any) -> tuple[int, int]:
        if time is None and end is None:
            raise DataError(f"a bar of {symbol} has neither time nor end; give one, such as 2024-10-03T09:30:00-04:00")
        place = self._daily if self.interval.is_daily else self._intraday
        spans = [
            place(symbol, value, at_end=at_end) for value, at_end in ((time, False), (end, True)) if value is not None
        ]
        if spans[0] != spans[-1]:
            raise DataError(
                f"a bar of {symbol} from {time} can't end at {end} where bars are {self.interval}; give one"
            )
        return spans[0]

    def _intraday(self, symbol: str, value: Any, *, at_end: bool) -> tuple[int, int]:
        ns, step = read_instant(value, "end" if at_end else "time"), self.interval.ns
        if at_end:
            ns = meant_end(ns, step)
        session = self._sessions.ending(ns) if at_end else self._sessions.at(ns)
        if session is None:
            if self._derived:
                raise DataError(
                    f"{symbol} at {self.stamps.stamp(ns)}: that is outside of the sessions of {self._sessions.exchange}; "
                    "derived bars are anchored to sessions, so set exchange in the config to one that trades then"
                )
            if ns % step:
                raise self._off_grid(symbol, ns)
            return (ns - step, ns) if at_end else (ns, ns + step)
        opened, _ = session
        time = opened + (ns - opened - at_end) // step * step
        end = self._end(time, is_anchored=True)
        if ns == (end if at_end else time):
            return time, end
        if self._derived or ns % step:
            raise self._off_grid(symbol, ns)
        # On the clock's grid instead of the session's, as vendors' hours from 10:00 on are.
        time = ns - step if at_end else ns
        return time, self._end(time, is_anchored=False)

    def _end(self, time: int, *, is_anchored: bool) -> int:
        step = self.interval.ns
        sessions = self._sessions.covering(time, time + step)
        return int(intraday_ends(np.array([time], dtype=np.int64), step, sessions, is_anchored=is_anchored)[0])

    def _daily(self, symbol: str, value: Any, *, at_end: bool) -> tuple[int, int]:
        if self.interval.ns != DAY:
            raise DataError(f"live bars are a day long at most, and {symbol}'s are {self.interval}")
        day = self._date(symbol, value, at_end=at_end)
        session = self._sessions.dated(day)
        if session is None:
            raise DataError(f"{symbol} on {day}: {self._sessions.exchange} is closed then; correct the date")
        return int(local_midnights(np.array([day], "datetime64[D]"), self.stamps.day_zone)[0]), session[1]

    def _date(self, symbol: str, value: Any, *, at_end: bool) -> date:
        if not at_end:
            if isinstance(value, str) and len(value) == 10:
                try:
                    return date.fromisoformat(value)
                except ValueError:
                    raise DataError(f"{symbol}: time {value!r} is no date; write 2024-10-03") from None
            if isinstance(value, date) and not isinstance(value, datetime):
                return value
        ns = read_instant(value, "end" if at_end else "time")
        stamp = Stamps(self.stamps.day_zone).stamp(ns - at_end)
        if not at_end and stamp != stamp.normalize():
            raise DataError(f"{symbol}: time {value} is within a day, and bars are {self.interval}; give the date")
        return stamp.date()

    def _off_grid(self, symbol: str, ns: int) -> DataError:
        return DataError(
            f"{symbol} at {self.stamps.stamp(ns)}: no {self.interval} bar begins or ends there; "
            "set data.interval in the config to what the bars are"
        )


def read_instant(value: Any, name: str) -> int:
    """The nanoseconds UTC of a datetime with a time zone, or of its ISO text.

    Raises
    ------
    DataError
        For anything else: numbers, whose unit can't be known, and times without a zone.

    Examples
    --------
    >>> read_instant("1970-01-01T00:00:01+00:00", "time")
    1000000000
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime) or moment != moment:  # noqa: PLR0124 - NaT isn't itself
        cure = "write it as 2024-10-03T09:30:00-04:00, or give a datetime with a time zone"
        raise DataError(f"{name} {value!r} is no time; {cure}")
    if moment.tzinfo is None:
        raise DataError(f"{name} {value!s} names no time zone; add its offset, such as 2024-10-03T09:30:00-04:00")
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise DataError(f"{name} {value!s} is not a year of {_YEARS[0]} to {_YEARS[1]}; correct the stamp")
    past = moment.astimezone(UTC).replace(tzinfo=None) - _EPOCH
    whole = (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
    return whole * _MICROSECOND + int(getattr(moment, "nanosecond", 0))


_YEARS = (1900, 2200)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what is taken from it was brought to UTC

Now = Callable[[], int]
"""A clock: nanoseconds UTC."""


def written(ns: int) -> str:
    """An instant as messages carry it: ISO 8601 in UTC, to the microsecond.

    Examples
    --------
    >>> written(1_000_000_000)
    '1970-01-01T00:00:01+00:00'
    """
    seconds, rest = divmod(int(ns), 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // _MICROSECOND).isoformat()


def _price(label: str, name: str, fields: Mapping[str, Any]) -> float:
    if name not in fields:
        raise DataError(f"{label}: {name} is missing; a bar has open, high, low and close")
    return _number(label, name, fields[name])


def _number(label: str, name: str, value: Any) -> float:
    kind = getattr(getattr(value, "dtype", None), "kind", None)  # numpy's scalars
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or kind in {"f", "i", "u"}):
        raise DataError(f"{label}: {name} is {value!r} and not a number; give a number")
    try:
        number = float(value)
    except (OverflowError, TypeError):
        number = float("inf")
    if not isfinite(number):
        raise DataError(f"{label}: {name} is not a finite number; correct the bar")
    return number


def _of_bar(bar: Bar) -> dict[str, Any]:
    return {
        "symbol": bar.symbol, "time": written(bar.time_ns), "open": bar.open, "high": bar.high, "low": bar.low,
        "close": bar.close, "volume": bar.volume,
    }  # fmt: skip
