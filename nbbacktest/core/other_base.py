"""Parts of the session config for bars of other lengths than those that orders fill on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nbbacktest.core.model import Model

Count = Annotated[int, Field(ge=0)]
"""A number of bars."""


class OtherBase(Model):
    """Where coarser bars of the session's symbols come from; orders fill on the base interval alone."""

    source: Literal["csv", "parquet"] = Field("csv", description="kind of source")
    path: str = Field(min_length=1, description="file; may hold {symbol}")
    stamp: Literal["open", "close"] | None = Field(None, description="as data.stamp; null: what that says")
