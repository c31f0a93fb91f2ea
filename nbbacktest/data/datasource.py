"""What a user's own source of bars is, and how one is found and asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol
from zoneinfo import available_timezones

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import ConfigError, DataError, NbBacktestError, Problem, nearest
from nbbacktest.core.imports import imported
from nbbacktest.core.intervals import HOUR, Interval
from nbbacktest.core.shown import said
from nbbacktest.data.warmup import Need, reach_in_days

if TYPE_CHECKING:
    import pandas as pd


Prices = Literal["adjusted", "split-adjusted", "raw", "either"]
"""What a source's prices may be: adjusted for splits and dividends, for splits alone, not at all, or as it is asked."""

_SHORT_SESSION = 4 * HOUR
"""What is reckoned with before an exchange's own hours are known; few have less."""


class DataSource(Protocol):
    """Where a run may get its bars: any object with `bars`; what else it says about itself is optional.

    Derive from it to have the defaults, or just write the same names. Pass an instance as `data`, or name the class in
    a config, ``"source": "module:Name"``, with what it is made with as ``"options"``.

    Attributes
    ----------
    stamp : "open", "close" or None
        What the times of intraday bars mark. Where it is None the config's `data.stamp` has to say it: it is never
        guessed. Daily bars carry their session's date either way.
    timezone : str or None
        IANA name of the zone in which intraday stamps without one are local; None: they have one.
    intervals : tuple of str or None
        What it can be asked for, such as ``("1m", "1d")``; None: anything.
    symbols : tuple of str or None
        What is run where the config names no symbols.
    all_hours : bool
        Whether there may be bars outside of the exchange's hours. They are then left out, and counted.
    prices : "adjusted", "split-adjusted", "raw", "either" or None
        Whether prices are adjusted for splits and dividends. A config that sets `data.adjusted` otherwise is refused.
        With ``"either"``, `bars` is called with ``adjusted=`` as the config has it. None: it isn't said, and the config
        is believed.
    name : str or None
        What reports call it; None: the class's name.

    A method ``actions(symbol)`` may give splits, dividends and delistings, as rows that `data.actions` would take, or None
    where they aren't known. The run has those that prices don't have in them, unless the config sets `data.actions`.
    """

    stamp: StampMeaning | None = None
    timezone: str | None = None
    intervals: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    all_hours: bool = False
    prices: Prices | None = None
    name: str | None = None

    def bars(self, symbol: str, interval: str, start: date | None, end: date | None) -> pd.DataFrame:
        """The bars of one symbol, as a DataFrame that `nbbacktest.backtest` would take.

        Parameters
        ----------
        symbol
            As the config names it.
        interval
            Such as ``"1m"``.
        start, end
            First and last session wanted, both inclusive and warm-up reckoned in; None: as far as there are bars. What
            lies outside is cut off, so that more is no mistake.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What a source gave, and what it says about it."""

    frames: Mapping[str, Any]
    name: str
    interval: Interval
    stamp: StampMeaning | None
    timezone: str | None
    all_hours: bool


def is_source(value: Any) -> bool:
    """Whether `value` is an object that has bars to give."""
    return not isinstance(value, type) and callable(getattr(value, "bars", None))


def source_of(config: SessionConfig) -> DataSource:
    """The source that a config names: one that is built in, or ``module:Name``, made with the options.

    Raises
    ------
    ConfigError
        Where there is no such class, or the options don't fit it.
    """
    settings = config.data
    if settings.source == "lean":
        from nbbacktest.data.lean import LeanSource

        return LeanSource(settings.path or "")
    if settings.source == "yfinance":
        from nbbacktest.data.yahoo import YahooSource

        asked = {"adjusted": settings.adjusted, "prepost": config.own_hours is not None}
        return _made(YahooSource, asked | settings.options)
    found = imported("data.source", settings.source, _has_bars)
    if is_source(found) and not settings.options:
        return found  # type: ignore[no-any-return] # an instance that stands in the module
    if not (isinstance(found, type) and _has_bars(found)):
        cure = "is no DataSource; name a class that has bars(symbol, interval, start, end)"
        raise ConfigError([Problem("data.source", settings.source, cure)])
    return _made(found, settings.options)


def name_of(source: DataSource) -> str:
    """What reports and errors call a source."""
    return getattr(source, "name", None) or type(source).__name__


def ask(source: DataSource, config: SessionConfig, needs: Sequence[Need] = (), **terms: bool) -> SourceAnswer:
    """The bars of a run, by symbol, with the warm-up that the config and `needs` ask for.

    Parameters
    ----------
    terms
        What `bars` is called with beside symbol, interval and days.

    Raises
    ------
    ConfigError
        Where the config asks for what the source can't give, or contradicts it.
    DataError
        Where the source doesn't say what has to be known, or raised.
    """
    called = name_of(source)
    symbols = config.data.symbols if "symbols" in config.data.model_fields_set else getattr(source, "symbols", None)
    if not symbols:
        cure = f"are not set and {called} names none; list them, for example ['EXE']"
        raise ConfigError([Problem("data.symbols", None, cure)])
    interval = _interval(source, config, called)
    stamp, timezone = _said(source, config, called)
    if stamp is None and not interval.is_daily:
        raise DataError(
            f"{called}: whether the times of its {interval} bars mark their open or their close isn't said, and the "
            'wrong guess looks ahead; set stamp in the class, or data.stamp in the config, to "open" or "close"'
        )
    first, last = first_needed(config, interval, needs), config.backtest.end_date
    frames = {symbol: _bars(source, called, symbol, interval.name, first, last, terms) for symbol in symbols}
    return SourceAnswer(frames, called, interval, stamp, timezone, bool(getattr(source, "all_hours", False)))


def first_needed(config: SessionConfig, interval: Interval, needs: Sequence[Need] = ()) -> date | None:
    """A day from which on there surely are the sessions and bars of the warm-up; None: from the first that there is."""
    first, sessions = config.backtest.start_date, config.data.warmup_days
    if first is None:
        return None
    days = [reach_in_days(need, interval, _SHORT_SESSION) for need in needs]
    return first - timedelta(days=max([2 * sessions + 14 if sessions else 0, *days]))


def _interval(source: DataSource, config: SessionConfig, called: str) -> Interval:
    known: tuple[str, ...] | None = getattr(source, "intervals", None)
    wanted = config.data.interval
    if "interval" not in config.data.model_fields_set and known and len(known) == 1:
        wanted = known[0]
    interval = Interval.parse(wanted)
    if known and interval not in [Interval.parse(text) for text in known]:
        cure = f"{called} gives {', '.join(known)}; use one of them, and derived_intervals for coarser bars"
        raise ConfigError([Problem("data.interval", wanted, cure)])
    return interval


def _said(source: DataSource, config: SessionConfig, called: str) -> tuple[StampMeaning | None, str | None]:
    stamp, timezone = getattr(source, "stamp", None), getattr(source, "timezone", None)
    if stamp not in (None, "open", "close"):
        raise DataError(f'{called}: stamp is {stamp!r}; set it to "open" or "close"')
    if timezone is not None and timezone not in available_timezones():
        raise DataError(f"{called}: timezone is {timezone!r}, no IANA name; {nearest(timezone, available_timezones())}")
    if stamp and config.data.stamp and config.data.stamp != stamp:
        cure = f"{called} says that its times mark the {stamp}; remove one of the two"
        raise ConfigError([Problem("data.stamp", config.data.stamp, cure)])
    return config.data.stamp or stamp, timezone


def _bars(
    source: DataSource,
    called: str,
    symbol: str,
    interval: str,
    first: date | None,
    last: date | None,
    terms: Mapping[str, bool],
) -> pd.DataFrame:
    try:
        frame = source.bars(symbol, interval, first, last, **terms)
    except NbBacktestError:
        raise
    except Exception as error:
        raise DataError(f"{called}.bars({symbol!r}, {interval!r}, {first}, {last}) raised {said(error)}") from error
    if hasattr(frame, "columns") and not len(frame):
        asked = f"from {first or 'the first'} to {last or 'the last'}"
        raise DataError(f"{called} has no {interval} bars of {symbol} {asked}; ask for other days, or symbols")
    return frame


def _has_bars(value: Any) -> bool:
    return callable(getattr(value, "bars", None))


def _made(found: type[Any], options: Mapping[str, Any]) -> DataSource:
    try:
        return found(**options)  # type: ignore[no-any-return] # whoever has `bars` is one
    except NbBacktestError:
        raise
    except Exception as error:
        cure = f"{found.__name__} can't be made with them: {said(error)}; correct them"
        raise ConfigError([Problem("data.options", dict(options), cure)]) from error
