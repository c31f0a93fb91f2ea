"""Splits and dividends: what a corporate action is, and how the session config writes one."""

from __future__ import annotations

import datetime as dt
import math
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Discriminator, Field, Tag, model_validator

from nbbacktest.core.model import Model

ActionKind = Literal["split", "dividend"]


class ActionRow(Model):
    """One split or dividend."""

    symbol: str | None = Field(None, min_length=1, description="null: the run's only symbol")
    date: dt.date = Field(description="the ex-date: the first day that trades without it")
    kind: ActionKind
    value: float = Field(gt=0, description="split: new shares for an old one, 2 is 2:1; dividend: money a share")

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if not math.isfinite(1 / self.value):
            raise ValueError(f"a {self.kind} of {self.value!r} is beyond what can be computed with; correct it")
        return self


Actions = Annotated[
    Annotated[str, Tag("path")] | Annotated[tuple[ActionRow, ...], Tag("rows")],
    Discriminator(lambda value: "path" if isinstance(value, str) else "rows"),
]
"""A CSV's path, or rows."""


class CorporateAction(NamedTuple):
    """One split or dividend of a symbol that is run.

    Attributes
    ----------
    date : datetime.date
        The ex-date, local.
    value : float
        Of a split the new shares for an old one, 2 for 2:1 and 0.1 for 1:10; of a dividend money a share, as
        shares are counted on the ex-date.
    """

    symbol: str
    date: dt.date
    kind: ActionKind
    value: float
