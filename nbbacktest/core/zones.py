"""Names of time zones as users write them."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator

from nbbacktest.core.errors import closest


def known_zone(name: str) -> str:
    """`name`, where it is an IANA name of a time zone.

    Raises
    ------
    ValueError
        Where it isn't, with the nearest name that is.
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
