"""The places of a run at which the terms of a breakpoint hold: of dates all that there will be, of the rest those so far."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from nbbacktest.core.hours import time_of_day
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import local_clock
from nbbacktest.system.break_terms import Breakpoint, BreakTerms, Predicate, read_predicate, terms_of
from nbbacktest.system.run import Run
from nbbacktest.system.targets import times_of
from nbbacktest.trading.event_places import place_of_fill, place_of_order, place_of_rejection
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.past_scan import PastScan
from nbbacktest.trading.places import RunTimes, read_time

BackUntil = str | Breakpoint | BreakTerms | Predicate
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


def check_terms(terms: BreakTerms, run: Run) -> None:
    """Refuse terms that can't hold in this run.

    Raises
    ------
    ValueError
        A time that can't be read or is outside of the run; a symbol or a strategy that isn't in it.
    """
    world = run.world
    symbols = [one.symbol for one in world.timeline.series if one.is_base]
    strategies = [context.name for _, context in world.desk.contexts]
    for name, one, known in (("symbol", terms.symbol, symbols), ("strategy", terms.strategy, strategies)):
        if one is not None and one not in known:
            raise ValueError(f"{name}={one!r} isn't in the run; there are {', '.join(known)}")
    if terms.kind == "time":
        times = times_of(run)
        if not len(_time_places(terms.value, times)):
            begins, ends = (
                times.stamps.stamp(times.opens),
                times.shown(len(times.instants)) if len(times.instants) else "the start",
            )
            raise ValueError(f"time={str(terms.value)!r} is outside of the run, which goes from {begins} to {ends}")


def dated_places(terms: BreakTerms, run: Run) -> list[int]:
    """The cursors of a time or a session edge, rising, those to come included; none for other kinds."""
    if terms.kind == "time":
        return [int(cursor) for cursor in _time_places(terms.value, times_of(run))]
    if terms.kind != "session":
        return []
    instants = run.world.timeline.instants
    days = run.days.of(instants - 1)
    if not len(days):
        return []
    edges = np.flatnonzero(np.diff(days)) + 1
    found = np.append(edges, len(days)) if terms.value == "end" else np.append(0, edges) + 1
    return [int(cursor) for cursor in found]


def _time_places(when: Any, times: RunTimes) -> Int64:
    instants = times.instants
    if isinstance(when, str) and _CLOCK.fullmatch(when):
        if times.stamps.dates:
            raise ValueError(f"time={when!r}: the bars are whole sessions, and end at no time of day; give a date")
        local = local_clock(instants, times.zone)
        clock = time_of_day(when) % DAY
        before = np.flatnonzero(local % DAY <= clock)
        if len(local) and local[-1] % DAY < clock:
            before = before[local[before] // DAY != local[-1] // DAY]  # the run ends before that
        dates = local[before] // DAY
        found: Int64 = before[np.append(np.diff(dates) != 0, True)[: len(before)]] + 1
        return found
    moment = read_time(when, times, times.opens, is_past=True).value
    if not len(instants) or moment > instants[-1] or moment < instants[0]:
        return np.empty(0, dtype=np.int64)
    return np.array([instants.searchsorted(moment, side="right")], dtype=np.int64)


def concerns(terms: BreakTerms, one: Fill | Order) -> bool:
    """True if a fill or an order is of the terms' symbol and strategy, and of their number."""
    return (
        (terms.symbol is None or one.symbol == terms.symbol)
        and (terms.strategy is None or one.strategy == terms.strategy)
        and (terms.kind != "order" or terms.value is True or (isinstance(one, Order) and one.id == terms.value))
    )


def place_before(when: Any, run: Run) -> int | None:
    """The last place before the present one at which `when` holds: a predicate, the terms of a breakpoint, or words.

    Raises
    ------
    ValueError
        Anything else, and terms that can't hold in this run.
    """
    if isinstance(when, str):
        when = terms_of(when)
    elif isinstance(when, Breakpoint):
        when = when.terms
    terms = when if isinstance(when, BreakTerms) else BreakTerms("when", read_predicate(when, "run_back_until"))
    check_terms(terms, run)
    return last_place(terms, run, scan_of(run))


def scan_of(run: Run, *, whole: bool = False) -> PastScan:
    """The instants that a run has completed so far, for a search; from any thread. `whole`: those to come too, once they are completed."""
    world = run.world
    stop = len(world.timeline) if whole else min(run.snapshot().cursor, world.desk.index + 1)
    return PastScan(run.recorded_past(world.desk), world.timeline.axis, stop, threading.Lock())


def last_place(terms: BreakTerms, run: Run, scan: PastScan) -> int | None:
    """The last place before the one that `scan` ends with; None if there is none after the start."""
    if terms.kind == "when":
        return next((shot.cursor for shot in scan.backwards() if terms.value(shot)), None)
    return max((cursor for cursor in _last_places(terms, run, scan) if 0 < cursor < scan.stop), default=None)


def _last_places(terms: BreakTerms, run: Run, scan: PastScan) -> Iterable[int]:
    """Places of which the last one before the scan's end is the one that is looked for."""
    desk, instants, stop = run.world.desk, run.world.timeline.instants, scan.stop
    notes = desk.notes
    if terms.kind in ("equity", "drawdown"):
        scan.equity(stop - 1)  # the last account first: so all changes until then are known
        side = sides(terms, desk.broker.terms.cash)
        return [cursor for cursor in range(1, stop) if side(scan.equity(cursor))]
    if terms.kind == "fill":
        fills = desk.fills
        places = (place_of_fill(fills, n, notes) for n in range(len(fills) - 1, -1, -1) if concerns(terms, fills[n]))
        return _first_before(places, stop)
    if terms.kind == "order":
        places = (place_of_order(order, instants, notes) for order in reversed(desk.orders) if concerns(terms, order))
        return _first_before(places, stop)
    if terms.kind == "rejected":
        found = (place_of_rejection(order, instants, notes) for order in desk.orders if concerns(terms, order))
        return [cursor for cursor in found if cursor is not None]
    if terms.kind == "error":
        return list(run.analysis.errors)
    return dated_places(terms, run)


def _first_before(places: Iterator[int], stop: int) -> list[int]:
    """The first of falling places that is before `stop`."""
    found = next((cursor for cursor in places if cursor < stop), None)
    return [] if found is None else [found]


def sides(terms: BreakTerms, cash: float) -> Callable[[float], bool]:
    """A function that is called with the equity of each instant, from the first on, and tells if a level is reached there.

    An equity is reached each time that it is crossed. A drawdown is reached once, until equity is higher than ever before.
    """
    level = float(terms.value)
    if terms.kind == "equity":
        was_below = cash < level

        def crosses(equity: float) -> bool:
            nonlocal was_below
            before, was_below = was_below, equity < level
            return before is not was_below

        return crosses
    peak, is_told = cash, False

    def falls(equity: float) -> bool:
        nonlocal peak, is_told
        if equity > peak:
            peak, is_told = equity, False
        if is_told or peak <= 0 or peak - equity < level * peak:
            return False
        is_told = True
        return True

    return falls


def level_watch(terms: BreakTerms, scan: PastScan, cursor: int) -> Callable[[float], bool]:
    """As `sides`, for a run that stands at `cursor`."""
    if terms.kind == "equity":
        return sides(terms, scan.equity(cursor))
    scan.equity(cursor)  # the last account first: so all changes until then are known
    reached = sides(terms, scan.equity(0))
    for earlier in range(1, cursor + 1):
        reached(scan.equity(earlier))
    return reached
