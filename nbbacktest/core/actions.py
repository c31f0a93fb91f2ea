"""Splits, dividends and delistings: the corporate actions of a run, and their form in the session config."""

from __future__ import annotations

import datetime as dt
import math
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from nbbacktest.core.model import Model

COUNTED_TWICE = (
    "adjusted prices have splits and dividends in them already, and actions would count them twice; "
    "set adjusted to false where prices are raw, or leave such actions out (a delisting may stay)"
)
ActionKind = Literal["split", "dividend", "delist"]


class ActionRow(Model):
    """One split, dividend or delisting."""

    symbol: str | None = Field(None, min_length=1, description="null: the run's only symbol")
    date: dt.date = Field(
        description="the ex-date: the first day that trades without it; of a delisting the last one, or one after it"
    )
    kind: ActionKind
    value: float = Field(
        ge=0,
        description="split: new shares for an old one, 2 is 2:1; dividend: money a share; "
        "delist: money that is paid for each share held, 0 where it is worth nothing",
    )

    @field_validator("value")
    @classmethod
    def _above_0(cls, value: float, info: ValidationInfo) -> float:
        if not value and info.data.get("kind") in ("split", "dividend"):
            raise ValueError(f"a {info.data['kind']} is above 0; leave the row out")
        return value

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.kind != "delist" and not math.isfinite(1 / self.value):
            raise ValueError(f"a {self.kind} of {self.value!r} is beyond what can be computed with; correct it")
        return self


Actions = Annotated[
    Annotated[str, Tag("path")] | Annotated[tuple[ActionRow, ...], Tag("rows")],
    Discriminator(lambda value: "path" if isinstance(value, str) else "rows"),
]
"""Corporate actions in a config: the path of a CSV, or rows."""


class CorporateAction(NamedTuple):
    """One split, dividend or delisting of a symbol that is run.

    Attributes
    ----------
    date : datetime.date
        The ex-date, local.
    value : float
        Of a split the new shares for an old one, 2 for 2:1 and 0.1 for 1:10; of a dividend money a share, as
        shares are counted on the ex-date; of a delisting money that each share's holder gets.
    """

    symbol: str
    date: dt.date
    kind: ActionKind
    value: float
