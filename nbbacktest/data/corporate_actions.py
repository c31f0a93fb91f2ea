"""Splits, dividends and delistings: read from a CSV, the config or the source; and whether prices have them in."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from nbbacktest.core.actions import COUNTED_TWICE, ActionKind, ActionRow, CorporateAction
from nbbacktest.core.calls import callers_level
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataNotFoundError, DataQualityWarning, Problem, nearest
from nbbacktest.core.refusals import problems_of
from nbbacktest.data.datasource import DataSource, Prices

_COLUMNS = ("symbol", "date", "kind", "value")


def read_actions(
    given: str | Sequence[ActionRow] | None, symbols: Sequence[str], *, required: bool = True, adjusted: bool = False
) -> tuple[CorporateAction, ...]:
    """The corporate actions of `symbols`, as a config gives them.

    Parameters
    ----------
    given
        A CSV's path, with the columns date (ISO), kind (split, dividend or delist), value and, for several symbols,
        symbol; or such rows. One file may serve many runs: other symbols' rows are passed over.
    required
        Whether it is a mistake that no row is of these symbols.
    adjusted
        Whether prices have splits and dividends in them, so that delistings alone are left.

    Raises
    ------
    DataNotFoundError
        Where there is no such file.
    DataError
        For a row that makes no sense, with its line; for two splits of one symbol on one date, and two delistings; where
        no row is of a symbol that is run.
    ConfigError
        For a split or a dividend of a symbol whose prices are adjusted.
    """
    if given is None:
        return ()
    rows = list(_from_file(Path(given)) if isinstance(given, str) else enumerate(given))
    where = f"{given} line" if isinstance(given, str) else "data.actions row"
    found: list[CorporateAction] = []
    once: set[tuple[Any, ...]] = set()
    named: set[str] = set()
    for number, row in rows:
        symbol = row.symbol
        if symbol is None:
            if len(symbols) > 1:
                raise DataError(f"{where} {number} names no symbol, and {len(symbols)} are run: {', '.join(symbols)}")
            symbol = symbols[0]
        named.add(symbol)
        if symbol not in symbols:
            continue
        if adjusted and row.kind != "delist":
            raise ConfigError([Problem("data.actions", str(given), f"{where} {number}: {COUNTED_TWICE}")])
        _check_once(symbol, row, f"{where} {number}", once)
        found.append(CorporateAction(symbol, row.date, row.kind, row.value))
    if rows and not found and required:
        other = min(named)
        raise DataError(
            f"no row of the corporate actions is of a symbol that is run; {other!r}: {nearest(other, symbols)}"
        )
    return tuple(found)


def _check_once(symbol: str, row: ActionRow, where: str, once: set[tuple[Any, ...]]) -> None:
    """Refuse a second split of one date and a second delisting; dividends of one date add up."""
    if row.kind == "dividend":
        return
    key: tuple[Any, ...] = (symbol, row.kind)
    what = f"delisting of {symbol}"
    if row.kind == "split":
        key, what = (*key, row.date), f"split of {symbol} on {row.date}"
    if key in once:
        raise DataError(f"{where} is a second {what}; keep one of them")
    once.add(key)


def _from_file(path: Path) -> Iterable[tuple[int, ActionRow]]:
    if not path.is_file():
        raise DataNotFoundError(f"there is no file of corporate actions at {path}; correct data.actions")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}; give a CSV in UTF-8") from None
    reader = csv.DictReader(lines, restkey="more")
    for row in reader:
        values = {str(key).strip().lower(): _read(text) for key, text in row.items()}
        if all(value is None for value in values.values()):
            continue
        try:
            yield reader.line_num, ActionRow.model_validate_json(json.dumps(values))
        except ValidationError as error:
            problems = "; ".join(str(problem) for problem in problems_of(ActionRow, error))
            raise DataError(
                f"{path} line {reader.line_num}: {problems} (the columns are {', '.join(_COLUMNS)})"
            ) from None


def _read(text: Any) -> Any:
    """A cell as JSON would hold it."""
    text = text.strip() if isinstance(text, str) else text
    if not text:
        return None
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


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
