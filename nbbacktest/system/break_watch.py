"""Watches one run for its breakpoints, in the thread of its analysis.

Dates are places at which the gate stops anyway, and events call the gate in: they cost nothing in between. Equity, drawdown and a
user's condition are asked about after each instant.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from nbbacktest.core.enums import OrderStatus
from nbbacktest.core.formats import said
from nbbacktest.engine.gate import RunGate
from nbbacktest.system.break_places import concerns, dated_places, level_watch, scan_of
from nbbacktest.system.break_terms import EVENTS, Breakpoint
from nbbacktest.system.breakpoints import Breakpoints
from nbbacktest.trading.orders import Fill, Order

if TYPE_CHECKING:
    from nbbacktest.engine.timeline import Axis
    from nbbacktest.system.run import Run
    from nbbacktest.system.world import World
    from nbbacktest.trading.past_scan import PastScan

logger = logging.getLogger("nbbacktest")


class BreakWatch:
    """An `nbbacktest.engine.rests.InstantWatch`: holds the run at its manager's breakpoints.

    Attributes
    ----------
    asks_each : bool
        True if some breakpoint has to be asked about after each instant.
    """

    def __init__(self, run: Run, breakpoints: Breakpoints) -> None:
        self._run = run
        self._breakpoints = breakpoints
        self._version = -1
        self._world: World | None = None
        self._axis: Axis | None = None
        self._seen = -1  # the last cursor at which the run has arrived
        self._counts = 0, 0  # the fills and orders until then
        self._alarm: OrderAlarm | None = None
        self._dated: list[tuple[int, Breakpoint]] = []
        self._levels: list[tuple[Breakpoint, Callable[[float], bool]]] = []
        self._conditions: list[Breakpoint] = []
        self._events: list[Breakpoint] = []
        self._errors: list[Breakpoint] = []
        self._found: list[Breakpoint] = []  # by `completed`, at the instant that is just over
        self._is_late = False  # True if that instant is asked about at its boundary
        self._scan: PastScan | None = None
        self.asks_each = False

    # -- as an InstantWatch ---------------------------------------------------------------------------------

    def completed(self, cursor: int) -> None:
        """Ask about equity and conditions, unless something is still to happen at that instant."""
        if self._run.analysis.deferred:
            self._is_late = True
        else:
            self._ask(cursor)
        if self._found or self._is_late:
            self._run.gate.call_in()

    def _ask(self, cursor: int) -> None:
        found, desk = self._found, self._run.journey.world.desk
        if self._levels:
            equity = desk.portfolio.equity
            found += [one for one, comes_there in self._levels if comes_there(equity)]
        if self._conditions and self._scan is not None:
            desk.indicators.feed()
            shot = self._scan.at(cursor)
            for one in self._conditions:
                try:
                    holds = one.terms.value(shot)
                except BaseException as error:  # noqa: BLE001 - kept for its owner; the run rests here
                    self._version = -1  # an interrupt may have cut off what the scan keeps
                    logger.warning("%s raised %s; the run rests there", one, said(error))
                    one.error, holds = error, True
                if holds:
                    found.append(one)

    def arrived(self, cursor: int) -> None:
        """Hold the run if a breakpoint is here, and find the next place to stop at."""
        run = self._run
        is_place = 0 < run.gate.state.stop_at <= cursor
        is_quiet = not (is_place or self._found or self._is_late or self._events or self._errors)
        if is_quiet and not self._is_old():
            self._seen = cursor
            return
        hits: list[Breakpoint] = []
        if run.journey.world is self._world and cursor > self._seen:
            if self._is_late:
                if self._scan is not None and run.journey.world.timeline.axis is not self._axis:
                    self._scan = scan_of(run, whole=True)  # a symbol has joined or left just now
                self._ask(cursor)
            hits = self._hits(cursor)
        self._seen = cursor
        self._found.clear()
        self._is_late = False
        if hits:
            self._breakpoints.count(hits)
            run.held_at = run.analysis.epoch, cursor, tuple(hits)
            run.gate.hold_here()
        self._renew(cursor)
        self._take_note(cursor)

    def renewed(self, cursor: int) -> bool:
        """Look for what is new since the run came here; True if there is anything."""
        is_old = self._is_old()
        if is_old:
            self._renew(cursor)
        if is_old or self._alarm is not None:
            self._take_note(cursor)  # what was done by hand meanwhile is no news
        return is_old

    # -- inside ---------------------------------------------------------------------------------------------

    def _hits(self, cursor: int) -> list[Breakpoint]:
        """The breakpoints that the run has come to, in the order of their numbers."""
        desk, (n_fills, n_orders) = self._run.journey.world.desk, self._counts
        found = {one for place, one in self._dated if place == cursor} | set(self._found)
        if self._events:
            rejected = [] if self._alarm is None else self._alarm.rejected
            news: dict[str, Sequence[Fill | Order]] = {
                "fill": desk.fills[n_fills:],
                "order": desk.orders[n_orders:],
                "rejected": rejected,
            }
            found |= {one for one in self._events if _any_concerns(one, news[one.terms.kind])}
        if self._errors and cursor in self._run.analysis.errors:
            found |= set(self._errors)
        present = set(self._breakpoints)
        return sorted(found & present, key=lambda one: one.number)

    def _take_note(self, cursor: int) -> None:
        """Note what has happened until now, and where the next date is."""
        if self._alarm is not None:
            desk = self._run.journey.world.desk
            self._counts = len(desk.fills), len(desk.orders)
            self._alarm.rejected.clear()
        row = bisect_right(self._dated, cursor, key=lambda pair: pair[0])
        self._run.gate.state.stop_at = self._dated[row][0] if row < len(self._dated) else 0

    def _is_old(self) -> bool:
        world = self._run.journey.world
        if self._version != self._breakpoints.version or world is not self._world:
            return True
        if self._alarm is not None and world.desk.broker.blotter.news is not self._alarm:
            return True
        return world.timeline.axis is not self._axis

    def _renew(self, cursor: int) -> None:
        """Look for the present breakpoints in the present world."""
        if not self._is_old():
            return
        run, world = self._run, self._run.journey.world
        is_other = world is not self._world
        self._version = self._breakpoints.version
        if is_other:
            self._seen = cursor
        self._world, self._axis = world, world.timeline.axis
        present = list(self._breakpoints)
        by_kind = {kind: [one for one in present if one.terms.kind == kind] for kind in {p.terms.kind for p in present}}
        self._dated = sorted(self._places(present), key=lambda pair: pair[0])
        self._events = [one for one in present if one.terms.kind in EVENTS]
        self._errors = by_kind.get("error", [])
        self._conditions = by_kind.get("when", [])
        levels = by_kind.get("equity", []) + by_kind.get("drawdown", [])
        self._scan = scan_of(run, whole=True) if levels or self._conditions else None
        self._levels = (
            [] if self._scan is None else [(one, level_watch(one.terms, self._scan, cursor)) for one in levels]
        )
        self.asks_each = bool(self._levels or self._conditions)
        run.analysis.hold_on_errors(wanted=bool(self._errors))
        self._hear(wanted=bool(self._events))
        if not present:
            self._breakpoints.let_go(run)

    def _places(self, present: list[Breakpoint]) -> Iterator[tuple[int, Breakpoint]]:
        for one in present:
            with suppress(ValueError):  # a time that this run can't have
                for place in dated_places(one.terms, self._run):
                    yield place, one

    def _hear(self, *, wanted: bool) -> None:
        """Be told of order events by the present desk, or by none."""
        blotter = self._run.journey.world.desk.broker.blotter
        heard = blotter.news
        if isinstance(heard, OrderAlarm):
            if wanted:
                return
            blotter.news, self._alarm = heard.inner, None
        elif wanted:
            blotter.news = self._alarm = OrderAlarm(heard, self._run.gate)
        else:
            self._alarm = None


class OrderAlarm(list[Order]):
    """Stands before a blotter's news: passes them on, and calls the gate in.

    Attributes
    ----------
    inner : list of Order or None
        The news that strategies are told of.
    rejected : list of Order
        Those that the broker has rejected since it was emptied.
    """

    def __init__(self, inner: list[Order] | None, gate: RunGate) -> None:
        super().__init__()
        self.inner = inner
        self.rejected: list[Order] = []
        self._gate = gate

    def append(self, order: Order) -> None:
        """Take the newest event of an order."""
        if self.inner is not None:
            self.inner.append(order)
        if order.status is OrderStatus.REJECTED:
            self.rejected.append(order)
        self._gate.call_in()

    def __iter__(self) -> Iterator[Order]:
        return iter(self.inner or ())

    def __len__(self) -> int:
        return len(self.inner or ())


def _any_concerns(one: Breakpoint, news: Sequence[Fill | Order]) -> bool:
    return any(concerns(one.terms, event) for event in news)
