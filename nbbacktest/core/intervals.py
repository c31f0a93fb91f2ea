"""Bar lengths: the text that users write (`"5m"`) and the nanoseconds behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from nbbacktest.core.errors import DataError

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A bar length. Ordered by length; `str()` is the text that users write.

    Attributes
    ----------
    ns : int
        Length in nanoseconds; a daily bar counts as 24 hours, whatever its session's length.
    name : str
        The text, such as ``"1m"``.
    """

    ns: int
    name: str

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `text`: a whole number and one of s, m, h, d.

        Raises
        ------
        DataError
            When the text isn't such an interval.

        Examples
        --------
        >>> Interval.parse("5m").ns // MINUTE
        5
        """
        return _parse(text)

    @classmethod
    def from_ns(cls, ns: int) -> Interval:
        """The interval of `ns` nanoseconds, written in its largest whole unit."""
        for unit in ("d", "h", "m", "s"):
            if ns > 0 and ns % _UNITS[unit] == 0:
                return cls(ns, f"{ns // _UNITS[unit]}{unit}")
        raise DataError(f"a spacing of {ns / SECOND:g} s is no interval; intervals are whole seconds")

    @property
    def is_daily(self) -> bool:
        """Whether its bars are whole sessions, stamped with a date."""
        return self.ns >= DAY

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=256)
def _parse(text: str) -> Interval:
    match = re.fullmatch(r"([1-9]\d*)([smhd])", text) if isinstance(text, str) else None
    if match is None:
        raise DataError(f"{text!r} is no interval; write a whole number and s, m, h or d, such as '1m', '15m', '1d'")
    return Interval.from_ns(int(match[1]) * _UNITS[match[2]])
