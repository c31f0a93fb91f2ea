"""Parts of the session config for bars of other lengths than those that orders fill on."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.model import Model


def bar_counts(value: Any) -> Any:
    """Check a number of bars, or such numbers by interval, which are written in the usual way.

    Raises
    ------
    ValueError
        Where it is neither.
    """
    if not isinstance(value, Mapping):
        return _count(value)
    counts = {}
    for text, count in value.items():
        try:
            counts[Interval.parse(text).name] = _count(count)
        except DataError as error:
            raise ValueError(str(error)) from None
    return counts


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError('is a number of bars, 0 or more, or such numbers by interval: {"1m": 200, "1d": 50}')
    return int(value)


BarCounts = Annotated[Annotated[int, Field(ge=0)] | dict[str, Annotated[int, Field(ge=0)]], BeforeValidator(bar_counts)]
"""Numbers of bars: of the base interval, or by interval."""


class OtherBase(Model):
    """Where coarser bars of the session's symbols come from; orders fill on the base interval alone."""

    source: Literal["csv", "parquet"] = Field("csv", description="kind of source")
    path: str = Field(min_length=1, description="file; may hold {symbol}")
    stamp: Literal["open", "close"] | None = Field(None, description="as data.stamp; null: what that says")
