"""Sources of bars: the protocol that users implement, the one that the loader calls, and the class that joins the two."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args
from zoneinfo import available_timezones

from pydantic import ValidationError

from nbbacktest.core.actions import ActionKind, ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, NbBacktestError, Problem, nearest
from nbbacktest.core.formats import said
from nbbacktest.core.intervals import HOUR, Interval
from nbbacktest.core.model import problems_of
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.warmup import Need, reach_in_days

if TYPE_CHECKING:
    import pandas as pd


Prices = Literal["adjusted", "split-adjusted", "raw", "either"]
"""The prices of a source: adjusted for splits and dividends, for splits alone, not at all, or as the run asks."""

_IN_PRICES: dict[str, tuple[ActionKind, ...]] = {"adjusted": ("split", "dividend"), "split-adjusted": ("split",)}
"""For each word for prices, the kinds of action that these prices include."""

INVENTED = "nbbacktest.synthetic"
"""The key in the `attrs` of an invented frame; a run over it is marked as synthetic."""

_SHORT_SESSION = 4 * HOUR
"""The length of a session to assume before the exchange's own is known; few are shorter."""


class DataSource(Protocol):
    """The protocol of a source of bars: any object with the method `bars`; the attributes are optional.

    Derive from it to have the defaults, or just write the same names. Pass an instance as `data`, or name the class in
    a config, ``"source": "module:Name"``, with the arguments of the class as ``"options"``.

    Attributes
    ----------
    stamp : "open", "close" or None
        The moment of an intraday bar that its time marks. If it is None, the config's `data.stamp` has to say it: it is never
        guessed. Daily bars carry their session's date either way.
    timezone : str or None
        IANA name of the zone in which intraday stamps without one are local; None: they have one.
    intervals : tuple of str or None
        The intervals that it has, such as ``("1m", "1d")``; None: any.
    symbols : tuple of str or None
        The symbols that are run if the config names none.
    all_hours : bool
        True if there may be bars outside of the exchange's hours, which are left out and counted.
    prices : "adjusted", "split-adjusted", "raw", "either" or None
        The kind of prices: adjusted for splits and dividends or not. A config that sets `data.adjusted` otherwise is refused.
        With ``"either"``, `bars` is called with ``adjusted=`` as the config has it. None: it isn't said, and the config
        is believed.
    name : str or None
        Its name in reports; None: the class's name.

    A method ``actions(symbol)`` may give splits, dividends and delistings, as rows that `data.actions` would take, or None
    if they aren't known. The run has those that prices don't have in them, unless the config sets `data.actions`.
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
class SourceBars:
    """A run's bars as a source has them, unread, with the facts that the source tells about them.

    Attributes
    ----------
    frames : dict
        By symbol.
    source : str
        The name of the source in reports.
    files : dict
        By symbol, the file that errors name; empty if the frames aren't of files.
    interval : Interval or None
        The bars' length; None: it is inferred.
    synthetic : bool
        True if the bars are invented.
    stamp : "open", "close" or None
        The moment of a bar that intraday stamps mark; None: the config tells it.
    timezone : str or None
        The zone of naive intraday stamps; None: the config says it.
    all_hours : bool
        True if there may be bars outside of the exchange's hours, which are left out.
    chosen : bool
        True if the config or the caller named the symbols, so that a table that names other ones is refused.
    others : dict
        Frames of coarser bars, by interval and symbol.
    prices : str or None
        One of `Prices`; None: the source doesn't say.
    actions : tuple of ActionRow or None
        The splits, dividends and delistings that the source knows; None: none.
    """

    frames: Mapping[str, Any]
    source: str
    files: Mapping[str, str] = field(default_factory=dict)
    interval: Interval | None = None
    synthetic: bool = False
    stamp: StampMeaning | None = None
    timezone: str | None = None
    all_hours: bool = False
    chosen: bool = True
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prices: Prices | None = None
    actions: tuple[ActionRow, ...] | None = None


class BarSource(Protocol):
    """The protocol that `nbbacktest.data.sources.load` calls: built-in sources, frames and files have it, others are wrapped.

    A built-in source has a classmethod `of_config` too, which makes it from the session config: it gives a `BarSource`, or
    a `DataSource`, which is asked symbol by symbol. Its line in `nbbacktest.core.data_config.SOURCES` gives it its name.
    """

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:
        """The bars of a run, with the warm-up that the config and `needs` ask for."""
        ...


def made_with(found: type[Any], options: Mapping[str, Any]) -> DataSource:
    """An object of a source's class, made with the config's options.

    Raises
    ------
    ConfigError
        If the class refuses them.
    """
    try:
        return found(**options)  # type: ignore[no-any-return] # it has `bars`
    except NbBacktestError:
        raise
    except Exception as error:
        cure = f"{found.__name__} can't be made with them: {said(error)}; correct them"
        raise ConfigError([Problem("data.options", dict(options), cure)]) from error


class AskedSource:
    """A `DataSource`, asked symbol by symbol: a user's own, LEAN's, Yahoo's."""

    def __init__(self, source: DataSource) -> None:
        self._source = source

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:
        """The source's bars, with its prices and corporate actions; see `ask`."""
        source, called = self._source, name_of(self._source)
        prices = prices_of(source, config, called)
        either = getattr(source, "prices", None) == "either"
        bars = ask(source, config, needs, **({"adjusted": prices == "adjusted"} if either else {}))
        actions = (
            own_actions(source, prices or _asked(config), called, bars.frames) if config.data.actions is None else None
        )
        return replace(bars, source=f"{called}, {prices} prices" if either else called, prices=prices, actions=actions)


def name_of(source: DataSource) -> str:
    """The source's name for reports and errors."""
    return getattr(source, "name", None) or type(source).__name__


def ask(source: DataSource, config: SessionConfig, needs: Sequence[Need] = (), **terms: bool) -> SourceBars:
    """The bars of a run, by symbol, with the warm-up that the config and `needs` ask for.

    Parameters
    ----------
    terms
        The arguments of `bars` beside symbol, interval and days.

    Raises
    ------
    ConfigError
        If the config asks for bars that the source can't give, or contradicts the source.
    DataError
        If the source lacks a necessary fact, or raised.
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
    all_hours = bool(getattr(source, "all_hours", False))
    return SourceBars(frames, called, interval=interval, stamp=stamp, timezone=timezone, all_hours=all_hours)


def first_needed(config: SessionConfig, interval: Interval, needs: Sequence[Need] = ()) -> date | None:
    """The first day to ask for, early enough for the warm-up; None: the source's first."""
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


def prices_of(source: DataSource, config: SessionConfig, called: str) -> Prices | None:
    """The prices that a source gives in this run; None if it doesn't say.

    Raises
    ------
    ConfigError
        If the config asks for other prices than the source has, or gives splits that its prices have in them.
    DataError
        If the source's `prices` is none of the allowed words.
    """
    told: Prices | None = getattr(source, "prices", None)
    adjusted, actions = config.data.adjusted, config.data.actions
    if told not in (None, *get_args(Prices)):
        raise DataError(f"{called}: prices is {told!r}; set it to one of {', '.join(map(repr, get_args(Prices)))}")
    if told == "either":
        return _asked(config)
    if told is not None and "adjusted" in config.data.model_fields_set and (told == "adjusted") != adjusted:
        cure = (
            f"{called} gives {told} prices; set it to {str(not adjusted).lower()}, or ask a source that has the others"
        )
        raise ConfigError([Problem("data.adjusted", adjusted, cure)])
    if told == "split-adjusted" and not isinstance(actions, str) and any(row.kind == "split" for row in actions or ()):
        cure = f"{called} gives prices that have splits in them already; leave the splits out"
        raise ConfigError([Problem("data.actions", "split", cure)])
    return told


def _asked(config: SessionConfig) -> Prices:
    return "adjusted" if config.data.adjusted else "raw"


def own_actions(
    source: DataSource, prices: Prices, called: str, symbols: Iterable[str]
) -> tuple[ActionRow, ...] | None:
    """The splits, dividends and delistings that a source knows and its prices don't have in them; None: it knows none.

    It warns of symbols with raw prices of which the source knows nothing.

    Raises
    ------
    DataError
        If the source gives a row that is no such action.
    """
    ask = getattr(source, "actions", None)
    if not callable(ask):
        return None
    found: list[ActionRow] = []
    unknown = []
    for symbol in symbols:
        rows = ask(symbol)
        if rows is None:
            unknown.append(symbol)
        for row in rows or ():
            try:
                read = ActionRow.model_validate(row, strict=False)
            except ValidationError as error:
                problems = "; ".join(str(problem) for problem in problems_of(ActionRow, error))
                raise DataError(f"{called}.actions({symbol!r}): {problems}") from None
            if read.kind not in _IN_PRICES.get(prices, ()):
                found.append(read.model_copy(update={"symbol": symbol}))
    if unknown and prices == "raw":
        warnings.warn(
            f"{called} knows no splits and dividends of {', '.join(unknown)}, whose prices are raw; give data.actions, "
            "[] where there are none",
            DataQualityWarning,
            stacklevel=callers_level(),
        )
    return tuple(found)
