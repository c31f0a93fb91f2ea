"""Whether prices are what `data.adjusted` says: asked of a source that tells, and of columns that give it away."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from nbbacktest.core.actions import ActionKind, ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning, Problem
from nbbacktest.core.refusals import problems_of
from nbbacktest.data.datasource import DataSource, Prices
from nbbacktest.data.demands import callers_level

_ADJUSTED_CLOSES = ("adjclose", "adjustedclose", "closeadj")
_IN_PRICES: dict[str, tuple[ActionKind, ...]] = {"adjusted": ("split", "dividend"), "split-adjusted": ("split",)}
_APART = 1e-6  # relative; below it two closes are one that was rounded


def prices_of(source: DataSource, config: SessionConfig, called: str) -> Prices | None:
    """What a source's prices will be in this run; None where it doesn't say.

    Raises
    ------
    ConfigError
        Where the config asks for other prices than the source has, or gives splits that its prices have in them.
    DataError
        Where the source says something else than the words for it.
    """
    told: Prices | None = getattr(source, "prices", None)
    adjusted, actions = config.data.adjusted, config.data.actions
    if told not in (None, *get_args(Prices)):
        raise DataError(f"{called}: prices is {told!r}; set it to one of {', '.join(map(repr, get_args(Prices)))}")
    if told == "either":
        return "adjusted" if adjusted else "raw"
    if told is not None and "adjusted" in config.data.model_fields_set and (told == "adjusted") != adjusted:
        cure = (
            f"{called} gives {told} prices; set it to {str(not adjusted).lower()}, or ask a source that has the others"
        )
        raise ConfigError([Problem("data.adjusted", adjusted, cure)])
    if told == "split-adjusted" and not isinstance(actions, str) and any(row.kind == "split" for row in actions or ()):
        cure = f"{called} gives prices that have splits in them already; leave the splits out"
        raise ConfigError([Problem("data.actions", "split", cure)])
    return told


def own_actions(
    source: DataSource, config: SessionConfig, called: str, symbols: Iterable[str]
) -> tuple[ActionRow, ...] | None:
    """What a source knows of splits, dividends and delistings, but those that its prices have in them; None: nothing.

    Where prices are raw it warns of symbols of which nothing is known.

    Raises
    ------
    DataError
        Where the source gives what is no such row.
    """
    ask = getattr(source, "actions", None)
    if not callable(ask):
        return None
    prices = prices_of(source, config, called) or ("adjusted" if config.data.adjusted else "raw")
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


def check_columns(frames: Mapping[str, Any], config: SessionConfig) -> None:
    """Say where a frame's column of adjusted closes shows that its other prices aren't adjusted, though they should be.

    Raises
    ------
    DataError
        Where the config sets `data.adjusted`; else a `DataQualityWarning` is given.
    """
    if not config.data.adjusted:
        return
    for symbol, frame in frames.items():
        apart = _apart(frame)
        if apart is None:
            continue
        name, worst = apart
        text = (
            f"{symbol}: prices aren't adjusted, by its column {name!r}, which differs from close by up to {worst:.1%}; "
            "give prices that are, or set data.adjusted to false, and data.actions to the splits and dividends"
        )
        if "adjusted" in config.data.model_fields_set:
            raise DataError(text)
        warnings.warn(text, DataQualityWarning, stacklevel=callers_level())


def _apart(frame: Any) -> tuple[str, float] | None:
    names = {_plain(name): name for name in getattr(frame, "columns", ()) if isinstance(name, str)}
    found = next((names[name] for name in _ADJUSTED_CLOSES if name in names), None)
    if found is None or "close" not in names:
        return None
    try:
        closes, adjusted = (np.asarray(frame[name], dtype=float) for name in (names["close"], found))
    except (TypeError, ValueError):
        return None  # which is judged as any other column that is no number
    sound = np.isfinite(closes) & np.isfinite(adjusted) & (closes != 0)
    worst = float(np.max(np.abs(adjusted[sound] / closes[sound] - 1), initial=0.0))
    return (found, worst) if worst > _APART else None


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "").replace(".", "")
