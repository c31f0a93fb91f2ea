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
LATEST = 2**63 - 1
"""Later than any instant and any day, as an int64: the time of an event that never comes."""
SATURDAY = 5
"""The first day of a weekend, Mondays being 0."""
NO_TIME = -(2**63)
"""No instant and no day, as an int64: the value that pandas has for NaT."""

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
# Nominal lengths, to sort by: real weeks and months have as many sessions as the calendar gives them.
_CALENDAR = {"1w": 7 * DAY, "1mo": 30 * DAY}


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A bar length. Ordered by length; `str()` is the text that users write.

    ``1w`` and ``1mo`` are the calendar's weeks (ISO, Monday to Sunday) and months; ``7d`` and ``30d`` are bars of
    that length, wherever they begin.

    Attributes
    ----------
    ns : int
        Length in nanoseconds; a daily bar counts as 24 hours, whatever its session's length, a week as 7 days and a
        month as 30.
    name : str
        The text, such as ``"1m"``.
    """

    ns: int
    name: str

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `text`: a whole number and one of s, m, h, d; or ``1w``, ``1mo``.

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
        """The interval of `ns` nanoseconds, written in its largest whole unit of s, m, h and d."""
        for unit in ("d", "h", "m", "s"):
            if ns > 0 and ns % _UNITS[unit] == 0:
                return cls(ns, f"{ns // _UNITS[unit]}{unit}")
        raise DataError(f"a spacing of {ns / SECOND:g} s is no interval; intervals are whole seconds")

    @property
    def is_daily(self) -> bool:
        """True if its bars are whole sessions, or several, stamped with a date."""
        return self.ns >= DAY

    @property
    def is_calendar(self) -> bool:
        """True if its bars are the calendar's weeks or months, which differ in length."""
        return self.name in _CALENDAR

    def misfit(self, base: Interval) -> str | None:
        """The reason why bars of this length can't be built from those of `base`, and the lengths that can; None if they can.

        A session, a week and a month are built from any bars that lie in one session.
        """
        if self.ns > DAY and not self.is_calendar:
            return "is longer than a session; beyond 1d there are 1w and 1mo"
        if base.is_daily and (base.ns > DAY or self.ns <= DAY):
            return f"can't be built from {base} bars; leave it out, or bring finer bars"
        if self.ns <= base.ns or (self.ns < DAY and self.ns % base.ns):
            return f"is not a multiple of interval {base}; use one, such as {Interval.from_ns(base.ns * 5)}"
        return None

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=256)
def _parse(text: str) -> Interval:
    if isinstance(text, str) and text in _CALENDAR:
        return Interval(_CALENDAR[text], text)
    match = re.fullmatch(r"([1-9]\d*)([smhd])", text) if isinstance(text, str) else None
    if match is None:
        raise DataError(
            f"{text!r} is no interval; write a whole number and s, m, h or d, such as '1m', '15m', '1d', or '1w', '1mo'"
        )
    return Interval.from_ns(int(match[1]) * _UNITS[match[2]])
