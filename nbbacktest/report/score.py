"""What makes a point of a sweep the best: a statistic by its name, or a user's function of the point's row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from nbbacktest.core.errors import ConfigError, Problem, nearest
from nbbacktest.core.shown import said, shown
from nbbacktest.report.table import GROUPS

STATISTICS = tuple(name for group in GROUPS.values() for name in group)
_TIMES = ("start", "end")

Score = str | Callable[[Mapping[str, Any]], float]


def check_statistic(by: Any) -> None:
    """Refuse what orders no points.

    Raises
    ------
    ConfigError
        It names the nearest statistic.
    """
    if callable(by):
        return
    if by not in STATISTICS or by in _TIMES:
        known = [name for name in STATISTICS if name not in _TIMES]
        raise ConfigError([Problem("statistic", by, f"no such number; {nearest(str(by), known)}")], "sweep()")


def score_of(by: Score, row: Mapping[str, Any], point: Mapping[str, Any], where: str = "maximize") -> float:
    """The score of one point as a number, durations in days; NaN where it isn't defined.

    Parameters
    ----------
    row
        Its statistics by name.
    point
        Its parameters.
    where
        What the user calls `by`, for messages.

    Raises
    ------
    ConfigError
        A function raised, or gave no number: it names the function, the point, and what was meant.
    """
    if isinstance(by, str):
        return _number(row[by])
    whole = {**row, **point}
    try:
        value = by(whole)
    except Exception as error:
        raise _refused(by, f"raised {said(error)}", error, whole, point, where) from error
    try:
        return _number(value)
    except (TypeError, ValueError) as error:
        raise _refused(by, f"gave {shown(value)}, which is no number,", error, whole, point, where) from error


def rehearse(by: Score, point: Mapping[str, Any]) -> None:
    """Ask a function about an invented row before any point is run, to see whether it names what rows have.

    Raises
    ------
    ConfigError
        It asked for something that no row has.
    """
    if isinstance(by, str):
        return
    import pandas as pd

    row: dict[str, Any] = dict.fromkeys(STATISTICS, 1.0)
    row |= {name: pd.Timestamp("2024-01-02", tz="UTC") for name in _TIMES} | {"error": None}
    row |= {name: pd.Timedelta(days=1) for name in STATISTICS if name.endswith("_duration")}
    try:
        score_of(by, row, point)
    except ConfigError as error:
        cause = error.__cause__
        # Anything else may come from the invented values.
        if isinstance(cause, KeyError) and cause.args and cause.args[0] not in {**row, **point}:
            raise


def _number(value: Any) -> float:
    return float(value.total_seconds() / 86_400 if hasattr(value, "total_seconds") else value)


def _refused(
    by: Score, what: str, error: Exception, row: Mapping[str, Any], point: Mapping[str, Any], where: str
) -> ConfigError:
    named = ", ".join(f"{name}={shown(value)}" for name, value in point.items())
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if key is not None and key not in row:
        cure = f"{nearest(str(key).lower().replace(' ', '_'), row)} A row has {', '.join(row)}"
    else:
        cure = f"return a number for every row, {math.nan} where there is none; the rows are in .frame"
    return ConfigError([Problem(where, by, f"{what} at point {named}; {cure}")], "sweep()")
