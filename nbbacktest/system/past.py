"""The record of a run up to its horizon, and the verification of a replay against it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from nbbacktest.core.errors import ReplayError
from nbbacktest.core.records import Int64
from nbbacktest.system.world import World
from nbbacktest.trading.orders import Fill, Order

_index = attrgetter("index")


class RunPast(NamedTuple):
    """The record of a run, up to the horizon that it has come to.

    Attributes
    ----------
    horizon : int
        The number of completed instants.
    world : World
        The one that has come that far; it goes on no more.
    is_over : bool
        True if its strategies were stopped, and may have left more in its lists.
    """

    horizon: int
    world: World
    is_over: bool = False

    @property
    def instants(self) -> Int64:
        """The instants of the run, those of symbols that had joined by then included; nanoseconds UTC."""
        return self.world.desk.instants


class Checked:
    """The part of a past that was found to be repeated, so that a step needn't compare it again.

    Attributes
    ----------
    n_fills, n_orders, n_log, n_failures : int
        The first entries of the lists that are equal. Orders count once they are done.
    """

    __slots__ = ("n_failures", "n_fills", "n_log", "n_orders")

    def __init__(self) -> None:
        self.n_fills = self.n_orders = self.n_log = self.n_failures = 0


def difference(
    past: RunPast, world: World, cursor: int, n_fills: int | None = None, checked: Checked | None = None
) -> ReplayError | None:
    """The first thing in which a world that stands at `cursor` differs from the record; None if there is none.

    Events that were recorded at the very instant may have come after it, if the record goes on: a session's beginning has the time of
    the instant before. So it isn't missed there, but at the horizon.

    Parameters
    ----------
    n_fills
        The number of fills that were recorded there; None: those of all instants before.
    checked
        The entries that needn't be compared again; moved on.
    """
    old, desk = past.world.desk, world.desk
    checked = checked or Checked()
    is_whole = cursor >= past.horizon and not past.is_over and n_fills is None
    now = int(world.timeline.instants[cursor - 1]) if cursor else desk.notes.opens
    count = bisect_left(old.fills, cursor, key=_index) if n_fills is None else n_fills
    edge = old.notes.edges.get(cursor)
    if edge is not None and n_fills is None and cursor < past.horizon:
        count = min(count, edge.n_fills)  # the next session began at that very moment, and is still to come
    if past.is_over and cursor >= past.horizon:
        # The log lines of the last instant may come from the calls at the end of the run.
        count = max(bisect_left(old.fills, cursor - 1, key=_index), min(count, len(desk.fills)))
    shown = world.market.stamps.instant
    found = (
        _unlike(old.fills, desk.fills, checked.n_fills, now, is_whole=True, stop=count)
        or _unlike_orders(old.orders, desk.orders, checked.n_orders, now, is_whole=is_whole)
        or _unlike(old.log, desk.log, checked.n_log, now, is_whole=is_whole)
        or _unlike(old.failures, desk.failures, checked.n_failures, now, is_whole=is_whole)
    )
    if found is not None:
        moment, recorded, replayed = found
        return ReplayError(told(str(shown(moment)), recorded, replayed))
    checked.n_fills, checked.n_log, checked.n_failures = len(desk.fills), len(desk.log), len(desk.failures)
    while checked.n_orders < len(desk.orders) and not desk.orders[checked.n_orders].is_open:
        checked.n_orders += 1
    return None


Unlike = tuple[int, str, str]
"""The instant from which two worlds differ, the recorded value, and the replayed one."""


def _unlike(
    recorded: Sequence[Any], replayed: Sequence[Any], first: int, now: int, *, is_whole: bool, stop: int | None = None
) -> Unlike | None:
    """The first entry, from number `first` on, that was replayed otherwise; of those recorded only the first `stop` count."""
    count, total = len(replayed), len(recorded) if stop is None else stop
    if recorded[first : min(count, total)] != replayed[first:total]:
        for old, new in zip(recorded[first:total], replayed[first:], strict=False):
            if old != new:
                return _time_of(new), _words(old), _words(new)
    if count > total:
        return _time_of(replayed[total]), "nothing", _words(replayed[total])
    if total > count and (is_whole or _time_of(recorded[count]) < now):
        return _time_of(recorded[count]), _words(recorded[count]), "nothing"
    return None


def _unlike_orders(
    recorded: Sequence[Order], replayed: Sequence[Order], first: int, now: int, *, is_whole: bool
) -> Unlike | None:
    count, total = len(replayed), len(recorded)
    for number in range(first, min(count, total)):
        was, one = recorded[number], replayed[number]
        if _terms(was) == _terms(one):
            old, new = was.life, one.life
            if old == new:
                continue
            done = len(new)
            if old[:done] == new and not is_whole and old[done] >= now:
                continue
        return one.submitted_ns, _words(was), _words(one)
    if count > total:
        return replayed[total].submitted_ns, "nothing", _words(replayed[total])
    if total > count and (is_whole or recorded[count].submitted_ns < now):
        return recorded[count].submitted_ns, _words(recorded[count]), "nothing"
    return None


def _terms(order: Order) -> tuple[Any, ...]:
    return order.id, order.strategy, order.symbol, order.side, order.type, order.tag, order.submitted_ns


def _words(one: Any) -> str:
    if isinstance(one, Fill):
        return f"{one.strategy} {one.side} {one.size:g} {one.symbol} at {one.price:g}"
    if isinstance(one, Order):
        size = "all" if one.size is None else f"{one.size:g}"
        return f"{one.strategy}'s order {one.id}, {one.side} {size} {one.symbol}"
    return f"{one[1]} logged {one[2]!r}" if len(one) > 2 else f"an error, {one[1]}"


def _time_of(one: Any) -> int:
    return int(one[0] if isinstance(one, tuple) else one.time_ns)


def moment_at(world: World, cursor: int) -> str:
    """The last completed instant at `cursor`, as text."""
    return str(world.market.stamps.instant(int(world.timeline.instants[cursor - 1]))) if cursor else "its start"


def told(where: str, recorded: str, replayed: str) -> str:
    """The text of a `ReplayError`."""
    return (
        f"the run doesn't repeat itself: at {where} it recorded {recorded}, and the replay did {replayed}. Likely causes: random "
        "numbers without a seed, the wall clock, a global or class attribute, a file, an attribute set from outside. "
        "The run stays as it was"
    )
