"""Money, percent, numbers, times and counts as text: each way of writing a value stands here, and nowhere else.

The functions know no face: they write plain text, for HTML and for a terminal.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MISSING = "n/a"
"""The text in place of a value that isn't defined."""
DASH = "–"
"""The sign in place of `MISSING` in a tile or a cell of a live face, which has no room for a word."""


def money(value: float | None, missing: str = MISSING) -> str:
    """An amount with two decimals.

    Examples
    --------
    >>> money(1234567.891), money(-0.001), money(float("nan"))
    ('1,234,567.89', '0.00', 'n/a')
    """
    return _decimal(value, 2, "", missing)


def change(value: float, missing: str = MISSING) -> str:
    """An amount with two decimals and its sign.

    Examples
    --------
    >>> change(12.5), change(-3.0)
    ('+12.50', '-3.00')
    """
    return f"{value:+,.2f}" if math.isfinite(value) else missing


def percent(value: float, digits: int = 2) -> str:
    """A fraction as percent.

    Examples
    --------
    >>> percent(0.1234), percent(-0.00001), percent(0.056, 1), percent(float("inf"))
    ('12.34%', '0.00%', '5.6%', 'beyond any number')
    """
    return _decimal(value, digits, "%", MISSING)


def number(value: float | None, missing: str = MISSING) -> str:
    """A price or a reading without the residue of its arithmetic: ten digits at most.

    Examples
    --------
    >>> number(1234.5), number(0.010000000000005)
    ('1,234.5', '0.01')
    """
    return missing if value is None or math.isnan(value) else f"{value:,.10g}"


def brief(value: float) -> str:
    """A size or a price to look at, in six digits at most.

    Examples
    --------
    >>> brief(1234.56789), brief(100.0)
    ('1,234.57', '100')
    """
    return f"{value:,.6g}"


def price(value: float) -> str:
    """A price with cents, and with up to four more digits if it has them.

    Examples
    --------
    >>> price(12.5), price(1.23456)
    ('12.50', '1.23456')
    """
    whole, _, part = f"{value:,.6f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    Examples
    --------
    >>> counted(1, "order"), counted(2500, "order")
    ('1 order', '2,500 orders')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def compact(value: float) -> str:
    """A number in about three digits.

    Examples
    --------
    >>> compact(12), compact(4500), compact(45_000), compact(1_234_567)
    ('12', '4,500', '45k', '1.23M')
    """
    if not math.isfinite(value):
        return DASH
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:,.0f}{unit}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def speed(multiplier: float) -> str:
    """A speed with as many digits as can be read at a glance.

    Examples
    --------
    >>> speed(59.84), speed(12_400.2), speed(9.55e6)
    ('59.8x', '12,400x', '9.55 million x')
    """
    scale, unit = (1e9, " billion x") if multiplier >= 1e9 else (1e6, " million x") if multiplier >= 1e6 else (1.0, "x")
    scaled = multiplier / scale
    return (f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:,.3g}") + unit


def timestamp(stamp: Any, *, zone: bool = True) -> str:
    """A Timestamp without the parts that are zero: midnight is a date, a whole minute has no seconds.

    Parameters
    ----------
    zone
        False leaves the time zone out, for a column whose heading says it.
    """
    if stamp != stamp:  # noqa: PLR0124 - NaT alone differs from itself
        return MISSING
    if stamp == stamp.normalize():
        return f"{stamp:%Y-%m-%d}"
    clock = f"{stamp:%Y-%m-%d %H:%M:%S}" if stamp.second else f"{stamp:%Y-%m-%d %H:%M}"
    return f"{clock} {stamp:%Z}".rstrip() if zone else clock


def span(duration: Any) -> str:
    """A Timedelta in days, or in days, hours and minutes: ``41 days``, ``2 days 3 h 05 min``."""
    days, minutes = duration.days, duration.seconds // 60
    count = counted(days, "day")
    if not minutes:
        return count
    rest = f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
    return f"{count} {rest}" if days else rest


def wall_time(seconds: float, *, whole: bool = False) -> str:
    """Seconds as a clock shows them.

    Parameters
    ----------
    whole
        True rounds up to whole seconds, for a time that is left.

    Examples
    --------
    >>> wall_time(1.25), wall_time(0.2, whole=True), wall_time(185), wall_time(7385), wall_time(183_600)
    ('1.2 s', '1 s', '3:05', '2:03:05', '2 d 3 h')
    """
    if not math.isfinite(seconds):
        return DASH
    seconds = math.ceil(seconds) if whole else seconds
    if seconds < 60:
        return f"{seconds} s" if whole else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def work_time(seconds: float) -> str:
    """A short time in the unit that suits it.

    Examples
    --------
    >>> work_time(2e-6), work_time(0.0123), work_time(4.5)
    ('2 µs', '12.3 ms', '4.5 s')
    """
    if seconds <= 0:
        return "0"
    for factor, unit in ((1e6, "µs"), (1e3, "ms"), (1, "s")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:,.0f} s" if seconds < 1e4 else wall_time(seconds)


def _decimal(value: float | None, digits: int, unit: str, missing: str) -> str:
    if value is None or math.isnan(value):
        return missing
    if math.isinf(value):
        return "beyond any number"
    # A value that rounds to nothing is no loss: it is never written as -0.00.
    least = 0.5 * 10.0 ** -(digits + 2 if unit else digits)
    return f"{value if abs(value) >= least else 0.0:,.{digits}{unit or 'f'}}"


# -- values of users and text of others: errors of their own code never hide the message that shows them ------------

_UNPRINTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that a terminal obeys instead of showing, except for line ends and tabs: C0, C1, bidi controls, invisible ones."""


def shown(value: object) -> str:
    """The `repr` of any value; if that raises, the classes of the value and of the error."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def cut(text: str, most: int) -> str:
    """The text if it has at most `most` characters; else its beginning, which ends with three dots.

    Examples
    --------
    >>> cut("a long word", 8), cut("short", 8)
    ('a lon...', 'short')
    """
    return text if len(text) <= most else text[: most - 3] + "..."


def spoken(value: Any) -> Any:
    """The value itself if it can be written, else the text of `shown`."""
    try:
        str(value)
    except Exception:  # noqa: BLE001 - as above
        return shown(value)
    return value


def said(error: BaseException) -> str:
    """An exception's class and message; if its `str` raises, the class of that error as the message."""
    try:
        message = str(error)
    except Exception as other:  # noqa: BLE001 - as above
        message = f"its str raised {type(other).__name__}"
    return f"{type(error).__name__}: {message}"


def printed(text: str) -> str:
    r"""The text with control characters escaped, which a terminal would obey, except for line ends and tabs.

    Examples
    --------
    >>> print(printed("red: \x1b[31m"))
    red: \x1b[31m
    """
    return _UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printed_json(text: str) -> str:
    """A JSON text with control characters escaped as `printed` does it; it has the same meaning as JSON."""
    return _UNPRINTED.sub(lambda found: json.dumps(found[0])[1:-1], text)
