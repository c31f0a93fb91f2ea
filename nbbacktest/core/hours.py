"""Times of day as users write them, and how the session config says which hours a session has."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from nbbacktest.core.intervals import SECOND
from nbbacktest.core.model import Model

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00")


def time_of_day(text: str) -> int:
    """Nanoseconds from midnight to a time such as ``"15:55"``, on a clock that isn't changed that day.

    Raises
    ------
    ValueError
        Where the text is no such time.

    Examples
    --------
    >>> time_of_day("15:55") // 60_000_000_000
    955
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is no time of day; write hours and minutes, such as "15:55"')
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match[1] else (24, 0, 0)
    return (hours * 3600 + minutes * 60 + seconds) * SECOND


def _checked(text: str) -> str:
    time_of_day(text)
    return text


_TimeText = Annotated[str, AfterValidator(_checked)]


class ExtendedHours(Model):
    """Longer hours than the regular ones, the same on every session day, half days included."""

    open: _TimeText = Field(description='when a session begins, in the exchange\'s local time, such as "04:00"')
    close: _TimeText = Field(description='when it ends, the same day, such as "20:00"; "24:00" is midnight')

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if time_of_day(self.close) <= time_of_day(self.open):
            raise ValueError(f"close {self.close} is not after open {self.open}; both are times of one day")
        return self


def _known(value: Any) -> Any:
    if value != "regular" and not isinstance(value, (dict, ExtendedHours)):
        raise ValueError('must be "regular", or extended hours such as {"open": "04:00", "close": "20:00"}')
    return value


Hours = Annotated[
    Annotated[Literal["regular"], Tag("regular")] | Annotated[ExtendedHours, Tag("extended")],
    Discriminator(lambda value: "regular" if isinstance(value, str) else "extended"),
    BeforeValidator(_known),
]
"""The calendar's own hours, or extended ones."""
