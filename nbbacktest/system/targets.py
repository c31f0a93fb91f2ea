"""The places of a run that commands name: times as texts and datetimes, events by name, cursors of its past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.system.journey import Destination
from nbbacktest.system.run import Run
from nbbacktest.trading.places import RunTimes, past_place, read_time, zone_of
from nbbacktest.trading.snapshot import Snapshot

# a pandas Timestamp is a datetime too
Until = str | datetime | np.datetime64 | Callable[[Snapshot], object]


def _next_fill(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.n_fills > shot.n_fills


def _next_session(shot: Snapshot) -> Callable[[Snapshot], bool]:
    return lambda later: later.session_date != shot.session_date


EVENTS: Mapping[str, Callable[[Snapshot], Callable[[Snapshot], bool]]] = MappingProxyType(
    {"next fill": _next_fill, "next session": _next_session}
)
"""The events by name: each gives, for the snapshot of the present, the predicate of later snapshots."""


def target_of(when: Any, run: Run) -> int | None:
    """The number of instants of `run` at or before `when`; None if `when` is later than all of them.

    Raises
    ------
    ValueError
        A time that can't be read, or lies before the last completed instant.
    """
    shot, instants = run.published(), run.world.timeline.instants
    now = int(instants[shot.cursor - 1]) if shot.cursor else int(instants[0]) - 1 if len(instants) else 0
    moment = read_time(when, times_of(run), now)
    if len(run.world.timeline) and moment.value > run.world.timeline.instants[-1]:
        return None
    target = int(np.searchsorted(run.world.timeline.instants, moment.value, side="right"))
    if target < shot.cursor:
        raise ValueError(f"{moment} has passed: the run stands at {shot.time}")
    return target


def times_of(run: Run) -> RunTimes:
    """The times of `run`, by which a user's time is read."""
    config, days = run.config, run.days
    zone = zone_of(run.stamps, config.exchange, config.day_zone)
    step = run.world.timeline.series[0].columns.interval.ns
    return RunTimes(run.instants, run.world.desk.notes.opens, step, run.stamps, zone, days.day, days.begin)


class Goal(NamedTuple):
    """The place that a rewind was asked for: `what` is ``"to"``, ``"fill"``, ``"order"``, ``"trade"`` or ``"input"``."""

    what: str
    which: Any
    before: bool


NUMBERED = ("fill", "order", "trade", "input")
"""The events that a rewind names by their numbers."""


def words_of_goal(text: str) -> dict[str, Any]:
    """The arguments of `rewind` that words name: ``"10:30"``, ``"1200"``, ``"last fill"``, ``"order 17"``."""
    words = text.split()
    if len(words) == 2 and words[0] == "last" and words[1] in NUMBERED:
        return {words[1]: -1}
    if len(words) == 2 and words[0] in NUMBERED and words[1].removeprefix("-").isdecimal():
        return {words[0]: int(words[1])}
    return {"to": int(text) if text.strip().isdecimal() else text.strip()}


def goal_of(to: Any, before: Any, **events: Any) -> Goal:
    """The goal that arguments of `rewind` name.

    Raises
    ------
    ValueError
        None or several, or an event's number that is none.
    """
    given = [(what, which) for what, which in (("to", to), *events.items()) if which is not None]
    if len(given) != 1:
        named = " and ".join(what for what, _ in given) or "nothing"
        raise ValueError(f"rewind takes one place: to, fill=, order=, trade= or input=; {named} is given")
    if not isinstance(before, bool):
        raise ValueError(f"before={before!r}: give True or False")  # noqa: TRY004 - as for the others
    what, which = given[0]
    if what != "to" and (isinstance(which, bool) or not isinstance(which, (int, np.integer))):
        raise ValueError(f"rewind({what}={which!r}): give its number")
    return Goal(what, which, before)


def place_of(goal: Goal, run: Run, cursor: int) -> int | Destination:
    """A place of the line of `run`, as a number of completed instants or with its inputs; the run stands at `cursor`.

    Raises
    ------
    ValueError
        A `to` that is no place, and a place before the start or beyond the horizon.
    """
    if goal.what == "input":
        return _place_of_input(goal, run)
    place = _named_place(goal, run, run.horizon if run.done else max(run.horizon, cursor))
    if goal.before and not place:
        raise ValueError(f"rewind({goal.what}={goal.which!r}, before=True): nothing is before the start")
    return place - goal.before


def _named_place(goal: Goal, run: Run, horizon: int) -> int:
    what, which, _ = goal
    if what == "to":
        if which in ("start", "end") and isinstance(which, str):
            return 0 if which == "start" else horizon
        return past_place(which, times_of(run), horizon, "rewind")
    from nbbacktest.trading.event_places import place_of_fill, place_of_order
    from nbbacktest.trading.trades import entries

    line = run.journey.farthest.desk
    if what == "order":
        row = _row(what, which, len(line.orders), first=1)
        return place_of_order(line.orders[row - 1], line.instants, line.notes)
    if what == "fill":
        row = _row(what, which, len(line.fills))
    else:
        opened = entries(line.fills, line.splits)
        row = int(opened[_row(what, which, len(opened))])
    return place_of_fill(line.fills, row, line.notes)


def _place_of_input(goal: Goal, run: Run) -> Destination:
    row = _row(goal.what, goal.which, len(run.inputs))
    return Destination(run.inputs[row].place.cursor, row + (not goal.before))


def _row(what: str, which: int, count: int, first: int = 0) -> int:
    """The number of an event; -1 is the last one."""
    row = int(which) + (count + first if which < 0 else 0)
    if first <= row < count + first:
        return row
    have = f"{what}s are numbered {first} to {count + first - 1} so far" if count else f"there is no {what} yet"
    raise ValueError(f"rewind({what}={which}): {have}")


def past_cursor(at: Any, run: Run) -> int:
    """The number of instants of `run` that were completed at the place `at`, which lies in its past.

    Raises
    ------
    ValueError
        If `at` is no place, lies before the start, or is later than the run has come.
    """
    cursor = run.published().cursor
    if not (type(at) is int and at <= cursor):
        cursor = max(run.snapshot().cursor, run.horizon)
    return past_place(at, times_of(run), cursor)
