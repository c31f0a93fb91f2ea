"""Reads the splits, dividends and delistings of a run: from a CSV or the config's rows to checked actions of its symbols."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nbbacktest.core.actions import COUNTED_TWICE, ActionRow, CorporateAction
from nbbacktest.core.errors import ConfigError, DataError, DataNotFoundError, Problem, nearest
from nbbacktest.core.model import problems_of

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
        True if it is an error that no row is of these symbols.
    adjusted
        True if prices have splits and dividends in them, so that delistings alone are left.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    DataError
        For a row that makes no sense, with its line; for two splits of one symbol on one date, and two delistings; if
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
