"""A breakpoint and its terms, from keywords or from words."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.user_code import unrun
from nbbacktest.trading.snapshot import Snapshot

Predicate = Callable[[Snapshot], object]
EVENTS = ("fill", "order", "rejected")
"""The kinds that a symbol and a strategy narrow."""
_EDGES = ("start", "end")
_HINT = (
    "write a time such as 10:30, 'fill', 'order', 'order 17', 'rejected' (each also with a symbol), 'session', 'session end', "
    "'error', 'drawdown 10%' or 'equity 95000'"
)


class BreakTerms(NamedTuple):
    """The terms at which a run is to rest.

    Attributes
    ----------
    kind : str
        ``"when"``, ``"time"``, ``"fill"``, ``"order"``, ``"rejected"``, ``"session"``, ``"error"``, ``"drawdown"`` or
        ``"equity"``.
    value : object
        The predicate; the time; True, or an order's number; ``"start"`` or ``"end"``; the fraction; the account's currency.
    symbol, strategy : str or None
        Of fills, orders and rejections, those of one symbol or strategy alone.
    """

    kind: str
    value: Any
    symbol: str | None = None
    strategy: str | None = None

    def __str__(self) -> str:
        kind, value = self.kind, self.value
        if kind == "when":
            text = getattr(value, "__name__", repr(value))
        elif kind == "time":
            text = str(value)
        elif kind == "drawdown":
            text = f"drawdown {value:.6g}" if value * 100 != round(value * 100, 4) else f"drawdown {value * 100:g}%"
        elif kind == "equity":
            text = f"equity {value:,.10g}"
        else:
            text = kind if value is True else f"{kind} {value}"
        of = f" of {self.symbol}" if self.symbol else ""
        by = f" by {self.strategy}" if self.strategy else ""
        return text + of + by


class Breakpoint:
    """A condition at which runs are held.

    Attributes
    ----------
    number : int
        From 1 on; never used again.
    terms : BreakTerms
        The event that it waits for.
    once : bool
        True if it goes with its first hit.
    hits : int
        The number of times that it has held a run. Written by the analysis thread.
    error : BaseException or None
        What its condition raised last: a run is held there too.
    """

    def __init__(self, number: int, terms: BreakTerms, *, once: bool) -> None:
        self.number = number
        self.terms = terms
        self.once = once
        self.hits = 0
        self.error: BaseException | None = None

    def __str__(self) -> str:
        return f"breakpoint {self.number} ({self.terms})"

    def __repr__(self) -> str:
        once = ", once" if self.once else ""
        times = f", hit {self.hits:,} {'time' if self.hits == 1 else 'times'}" if self.hits else ""
        return f"<Breakpoint {self.number}: {self.terms}{once}{times}>"


def read_terms(when: Any = None, *, symbol: Any = None, strategy: Any = None, **kinds: Any) -> BreakTerms:
    """The terms that keywords name; `when` may also be words.

    Raises
    ------
    ValueError
        No kind, or several, or a value that a kind doesn't take.
    """
    given = {name: value for name, value in {"when": when, **kinds}.items() if value is not None}
    if not given:
        raise ValueError(
            "a breakpoint needs a condition: when=, time=, fill=True, order=, rejected=True, session=, error=True, drawdown= or equity="
        )
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'{name}=' for name in given)}: a breakpoint has one kind; add one for each")
    ((kind, value),) = given.items()
    if kind == "when" and isinstance(value, str):
        terms = terms_of(value)
        if terms.symbol is not None and symbol is not None:
            raise ValueError(f"{value!r} names a symbol, and symbol={symbol!r} is given")
        kind, value, symbol = terms.kind, terms.value, terms.symbol or symbol
    else:
        value = _READERS[kind](value)
    for name, one in (("symbol", symbol), ("strategy", strategy)):
        if one is None:
            continue
        if not isinstance(one, str):
            raise ValueError(f"{name}={one!r}: give its name")  # noqa: TRY004 - as the others
        if kind not in EVENTS:
            raise ValueError(f"{name}={one!r} narrows {', '.join(EVENTS)}; it doesn't go with {kind}")
    return BreakTerms(kind, value, symbol, strategy)


def terms_of(text: str) -> BreakTerms:
    """The terms that words name, such as ``"last fill"``, ``"fill EXE"``, ``"drawdown 10%"`` or a time.

    Raises
    ------
    ValueError
        Words that say no place.
    """
    words = text.split()
    event = words[1:] if words and words[0].lower() in ("next", "last") else words
    kind = event[0].lower() if event else ""
    reader = _WORDS.get(kind)
    if reader is None:
        if event != words or not words or words[0][0].isalpha():
            raise ValueError(f"{text!r} is no place; {_HINT}")
        return BreakTerms("time", text.strip())
    try:
        return reader(kind, *event[1:])
    except TypeError:
        raise ValueError(f"{text!r} has too {'few' if len(event) == 1 else 'many'} words; {_HINT}") from None


def _of_symbol(kind: str, symbol: str | None = None) -> BreakTerms:
    return BreakTerms(kind, True, symbol)


def _of_order(kind: str, which: str | None = None) -> BreakTerms:
    if which is not None and which.isdecimal():
        return BreakTerms(kind, _order(int(which)))
    return BreakTerms(kind, True, which)


def _of_session(kind: str, edge: str = "start") -> BreakTerms:
    return BreakTerms(kind, _session(edge.lower()))


def _of_error(kind: str) -> BreakTerms:
    return BreakTerms(kind, True)


def _of_number(kind: str, number: str) -> BreakTerms:
    try:
        value = float(number.rstrip("%").replace(",", ""))
    except ValueError:
        raise ValueError(f"'{kind} {number}': {number!r} is no number") from None
    return BreakTerms(kind, _READERS[kind](value / 100 if number.endswith("%") else value))


def read_predicate(when: Any, command: str) -> Predicate:
    """`when`, if it is a function that a call runs.

    Raises
    ------
    ValueError
        Anything else.
    """
    if not callable(when):
        raise ValueError(f"{command}({when!r}): give a function of a Snapshot; or {_HINT}")  # noqa: TRY004 - as `run_until`
    if (reason := unrun(when)) is not None:
        raise ValueError(f"{command}({getattr(when, '__name__', when)}): it {reason}")
    return when  # type: ignore[no-any-return]


def _time(value: Any) -> Any:
    if isinstance(value, (str, date, np.datetime64)):
        return value
    raise ValueError(f"time={value!r} is no time; write '10:30', '2024-10-03 10:30', or give a datetime")


def _true(name: str) -> Callable[[Any], bool]:
    def read(value: Any) -> bool:
        if value is not True:
            raise ValueError(f"{name}={value!r}: give True, or leave it out")
        return True

    return read


def _order(value: Any) -> Any:
    if value is True or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"order={value!r}: give True for any order, or the number of one, from 1 on")


def _session(value: Any) -> str:
    if value is True:
        return "start"
    if value in _EDGES:
        return str(value)
    raise ValueError(f"session={value!r}: give 'start', which True means too, or 'end'")


def _drawdown(value: Any) -> float:
    number = _finite("drawdown", value)
    if not 0 < number <= 1:
        raise ValueError(
            f"drawdown={value!r}: give the fraction of the highest equity that is lost, such as 0.1 for 10%"
        )
    return number


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is no number")
    return float(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "when": lambda value: read_predicate(value, "breakpoints.add"),
    "time": _time,
    "fill": _true("fill"),
    "order": _order,
    "rejected": _true("rejected"),
    "session": _session,
    "error": _true("error"),
    "drawdown": _drawdown,
    "equity": lambda value: _finite("equity", value),
}
_WORDS: dict[str, Callable[..., BreakTerms]] = {
    "fill": _of_symbol,
    "order": _of_order,
    "rejected": _of_symbol,
    "session": _of_session,
    "error": _of_error,
    "drawdown": _of_number,
    "equity": _of_number,
}
KINDS = MappingProxyType(
    {
        "fill": "or of a symbol: fill EXE",
        "order": "submitted, or of a number: order 17",
        "rejected": "by the broker",
        "session": "its first instant",
        "session end": "its last instant",
        "error": "of a strategy",
        "drawdown": "a fraction of the highest equity: drawdown 10%",
        "equity": "crossed either way: equity 95000",
    }
)
"""The terms that can be said in words, each with a note."""
