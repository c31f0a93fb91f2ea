"""Times of day and time zones as users write them, and the hours that the session config gives to sessions."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from nbbacktest.core.errors import closest
from nbbacktest.core.intervals import SECOND
from nbbacktest.core.model import Model


def known_zone(name: str) -> str:
    """Return `name` if it is an IANA name of a time zone.

    Raises
    ------
    ValueError
        If it isn't, with the nearest name that is.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        meant = closest(name, available_timezones())
        cure = f"did you mean {meant!r}?" if meant else "write an IANA name such as 'America/New_York' or 'UTC'"
        raise ValueError(f"no such time zone; {cure}") from None
    return name


ZoneName = Annotated[str, AfterValidator(known_zone)]
"""An IANA name that exists, such as ``"America/New_York"``."""

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00")


def time_of_day(text: str) -> int:
    """Nanoseconds from midnight to a time such as ``"15:55"``, on a clock that isn't changed that day.

    Raises
    ------
    ValueError
        If the text is no such time.

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


class OwnHours(Model):
    """Hours other than the calendar's, the same on every session day."""

    open: _TimeText = Field(
        description='when a session begins, in the exchange\'s local time, such as "04:00"; not before `close`: '
        "on the evening before the session's date"
    )
    close: _TimeText = Field(description='when it ends, on the session\'s date, such as "20:00"; "24:00" is midnight')

    @property
    def opens_before(self) -> bool:
        """True if a session begins on the evening before its date."""
        return time_of_day(self.close) <= time_of_day(self.open)


def _known(value: Any) -> Any:
    if value != "regular" and not isinstance(value, (dict, OwnHours)):
        raise ValueError('must be "regular", or hours such as {"open": "04:00", "close": "20:00"}')
    return value


Hours = Annotated[
    Annotated[Literal["regular"], Tag("regular")] | Annotated[OwnHours, Tag("own")],
    Discriminator(lambda value: "regular" if isinstance(value, str) else "own"),
    BeforeValidator(_known),
]
"""The calendar's hours, or one's own."""
