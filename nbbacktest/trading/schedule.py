"""Scheduled calls of strategies: their terms, and the moments in each session that these mean."""

from __future__ import annotations

import datetime as dt
import inspect
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import ScheduleError, nearest
from nbbacktest.core.hours import time_of_day
from nbbacktest.core.intervals import DAY, MINUTE, NO_TIME
from nbbacktest.core.records import Int64, Stamps
from nbbacktest.core.user_code import unrun
from nbbacktest.data.calendar import SessionTable, local_times

EVERY = ("day", "week_start", "week_end", "month_start", "month_end")


class ScheduleTerms(NamedTuple):
    """The checked terms of a scheduled call.

    Attributes
    ----------
    kind : str
        ``"at"``, ``"before_close"`` or ``"after_open"``.
    ns : int
        Nanoseconds: of ``"at"`` from midnight, on the exchange's clocks.
    every : str
        The sessions that it means: one of `EVERY`.
    words : str
        As the user wrote it.
    """

    kind: str
    ns: int
    every: str
    words: str


class Scheduled:
    """A function that is called once a session; `Strategy.schedule` returns it.

    Attributes
    ----------
    callback : callable
        The function that is called.
    is_active : bool
        False once it was cancelled.
    calls : int
        The number of calls so far.
    """

    __slots__ = ("_words", "callback", "calls", "is_active")

    def __init__(self, callback: Callable[[], object], words: str) -> None:
        self.callback = callback
        self._words = words
        self.is_active = True
        self.calls = 0

    @property
    def name(self) -> str:
        """The name of the called function."""
        return getattr(self.callback, "__name__", repr(self.callback))

    def cancel(self) -> None:
        """End the calls, also for the session under way; cancelling again changes nothing."""
        self.is_active = False

    def __call__(self) -> None:
        """Call the function now, which counts as a call; its return value is dropped."""
        self.calls += 1
        self.callback()

    def __repr__(self) -> str:
        return f"<Scheduled {self.name} {self._words}{'' if self.is_active else ', cancelled'}>"


def read_terms(callback: Any, at: Any, before_close: Any, after_open: Any, every: Any) -> ScheduleTerms:
    """The terms that a user wrote.

    Raises
    ------
    ScheduleError
        If they make no sense, with the value and the cure.
    """
    given = {"at": at, "before_close": before_close, "after_open": after_open}
    given = {name: value for name, value in given.items() if value is not None}
    _check_callback(callback)
    if len(given) != 1:
        named = f"got {' and '.join(given)}" if given else "got none of them"
        raise ScheduleError(f"schedule() takes one of at, before_close and after_open, {named}; give one")
    if every not in EVERY:
        raise ScheduleError(f"schedule(every={every!r}): no such choice; {nearest(str(every), EVERY)}")
    ((kind, value),) = given.items()
    words = f"{kind}={value!r}" + ("" if every == "day" else f", every={every!r}")
    return ScheduleTerms(kind, _time(value) if kind == "at" else _minutes(kind, value), every, words)


def moments(terms: ScheduleTerms, table: SessionTable) -> Int64:
    """The moment at which `terms` come due in each session, nanoseconds UTC; `NO_TIME` in sessions without such a moment.

    Raises
    ------
    ScheduleError
        If no session has that time, whatever its date.
    """
    if terms.kind == "before_close":
        at = table.close - terms.ns
    elif terms.kind == "after_open":
        at = table.open + terms.ns
    else:
        zone = table.local_timezone
        # A session that opens on the evening before has some times on that evening's date, and most on its own date.
        evening = local_times(table.dates - np.timedelta64(1, "D"), terms.ns, zone)
        at = np.where(evening >= table.open, evening, local_times(table.dates, terms.ns, zone))
    has_it = (table.open <= at) & (at <= table.close)
    if len(table) and not has_it.any():
        local = Stamps(table.local_timezone)
        first, last = local.stamp(int(table.open[0])), local.stamp(int(table.close[0]))
        raise ScheduleError(
            f"schedule({terms.words}): no session of this run has that time; that of {table.dates[0]} goes from "
            f"{first:%H:%M} to {last:%H:%M} in {table.local_timezone}; choose a time inside, or extend hours in the config"
        )
    return np.where(has_it & _meant(terms.every, table), at, NO_TIME)


def _meant(every: str, table: SessionTable) -> npt.NDArray[np.bool_]:
    """A mask of the sessions that are the first or last of their week (from Monday on) or month, by the exchange's calendar."""
    if every == "day" or not len(table):
        return np.ones(len(table), dtype=np.bool_)
    period, _, edge = every.partition("_")
    known = np.concatenate((table.around[:1], table.dates, table.around[1:]))
    # 1 January 1970 was a Thursday.
    weeks_or_months = (
        (known.astype(np.int64) + 3) // 7 if period == "week" else known.astype("datetime64[M]").astype(int)
    )
    keys = np.where(np.isnat(known), -(2**62), weeks_or_months)
    changes: npt.NDArray[np.bool_] = np.diff(keys) != 0
    return changes[:-1] if edge == "start" else changes[1:]


def _check_callback(callback: Any) -> None:
    if not callable(callback):
        raise ScheduleError(
            f"schedule({callback!r}): that can't be called; give a function or method, without brackets"
        )
    name = getattr(callback, "__name__", repr(callback))
    if (reason := unrun(callback)) is not None:
        raise ScheduleError(f"schedule({name}): it {reason}")
    try:
        inspect.signature(callback).bind()
    except TypeError as error:
        raise ScheduleError(f"schedule({name}): it is called without arguments, and {error}; change it") from None
    except ValueError:
        return  # some functions written in C have no signature


def _time(value: Any) -> int:
    if isinstance(value, dt.time) and value.tzinfo is None:
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000
    try:
        ns = time_of_day(value)
        if ns < DAY:
            return ns
    except (ValueError, TypeError):
        pass
    raise ScheduleError(
        f'schedule(at={value!r}): write a time of day on the exchange\'s clocks, such as "15:55", or a datetime.time without zone'
    )


def _minutes(kind: str, value: Any) -> int:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value < DAY / MINUTE:
        raise ScheduleError(f"schedule({kind}={value!r}): write how many minutes, 0 or more and less than a day")
    return round(float(value) * MINUTE)
