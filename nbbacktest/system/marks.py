"""The marks of a run that was taken back: states at places of its past, from which a replay begins in place of the start.

A mark is a mere shortcut. The first replay of a run executes it from its start, and is verified; marks are made on its way, and while
the run goes on after it. A replay that begins at a mark is verified like any other, and a mark that fails is given up, with all others.
"""

from __future__ import annotations

import random
import sys
from bisect import insort
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from nbbacktest.core.errors import StateError
from nbbacktest.core.inputs import Input
from nbbacktest.system.inputs import Recorded
from nbbacktest.system.past import Checked
from nbbacktest.system.universe import RunState, SymbolUniverse
from nbbacktest.system.world import World

MOST = 64
"""The most marks of a run."""
MOST_BYTES = 64 << 20
"""The most bytes of all of them."""
SHARE = 0.02
"""The share of a run's time in which its marks are made."""
APART = 0.015
"""Seconds of delivery between two marks at least."""
SLOW = 5e-6
"""Seconds an instant from which marks are worth their making."""
LONG = 300_000
"""Instants from which a run is long enough for marks, however fast it is."""
EVERY: int | None = None
"""For tests: a mark at the first boundary after so many instants."""


class RunMark(NamedTuple):
    """The state of a run at one place.

    Attributes
    ----------
    cursor : int
    moment : int
        The last completed instant, nanoseconds UTC.
    inputs : tuple of Input
        Those that were done by hand until then.
    state : RunState
    """

    cursor: int
    moment: int
    inputs: tuple[Input, ...]
    state: RunState

    @property
    def size(self) -> int:
        """Its bytes, about."""
        trading = self.state.trading
        return 10_000 + len(trading.strategies.attributes) + 1_000 * len(trading.blotter.changing)

    def checked(self) -> Checked:
        """The part of the past that a world has from this mark, and not from its own replay."""
        trading, checked = self.state.trading, Checked()
        checked.n_fills, checked.n_log, checked.n_failures = (
            past.length for past in (trading.fills, trading.log, trading.failures)
        )
        checked.n_orders = min(
            (number - 1 for number in trading.blotter.changing), default=trading.blotter.orders.length
        )
        return checked

    def is_on(self, inputs: Sequence[Recorded]) -> bool:
        """True if a line with these inputs comes to this state at this place."""
        n = len(self.inputs)
        if len(inputs) < n or any(one.input is not own for one, own in zip(inputs, self.inputs, strict=False)):
            return False
        return len(inputs) == n or inputs[n].input.place.cursor >= self.cursor


class RunMarks:
    """The marks of one run. Used by the thread of its analysis alone.

    Attributes
    ----------
    is_off : bool
        True if the run's state can't be copied, or a mark has failed.
    is_doubtful : bool
        True if strategies may have drawn from the numbers that all of them share.
    """

    def __init__(self) -> None:
        self._marks: list[RunMark] = []  # in the order of their cursors
        self.is_off = self.is_doubtful = False

    def __len__(self) -> int:
        return len(self._marks)

    def newest(self, goal: int, inputs: Sequence[Recorded]) -> RunMark | None:
        """The last mark before `goal` on a line of these inputs; None if there is none."""
        return next((one for one in reversed(self._marks) if one.cursor <= goal and one.is_on(inputs)), None)

    def hold_to(self, inputs: Sequence[Recorded]) -> None:
        """Drop the marks that aren't on the line of these inputs."""
        self._marks = [mark for mark in self._marks if mark.is_on(inputs)]

    def add(self, mark: RunMark) -> None:
        """Take a mark, unless they are in doubt; if there are too many then, drop those that are nearest to their neighbours, seen from it."""
        if self.is_doubtful or self.is_off:
            return
        insort(self._marks, mark, key=lambda one: one.cursor)
        while len(self._marks) > MOST or sum(one.size for one in self._marks) > MOST_BYTES:
            if len(self._marks) < 3:
                self.give_up()
                return
            self._marks.pop(self._least(mark.cursor))

    def take(self, others: RunMarks) -> None:
        """Take the marks of a replay, which was verified."""
        if others.is_off or others.is_doubtful:
            self.give_up()
        self.is_doubtful = False
        known = {mark.cursor for mark in self._marks}
        for mark in others._marks:
            if not self.is_off and mark.cursor not in known:
                self.add(mark)

    def doubt(self) -> None:
        """Drop all marks, and take none, until a replay has gone the whole way."""
        self.is_doubtful = True
        self._marks = []

    def give_up(self) -> None:
        """Drop all marks, and make no more."""
        self.is_off = True
        self._marks = []

    def _least(self, here: int) -> int:
        """The number of the mark that is missed least: between its neighbours the way is short, for so far away."""
        cursors = [0, *[one.cursor for one in self._marks]]

        def gap(number: int) -> float:
            return (cursors[number + 1] - cursors[number - 1]) / (1 + abs(here - cursors[number]))

        return min(range(1, len(cursors) - 1), key=gap) - 1


class MarkMaker:
    """Makes the marks of one world while its instants are delivered: so that making them takes `SHARE` of the time.

    Parameters
    ----------
    world
        Gives the world that is delivered.
    inputs
        Gives the inputs by hand of its line.
    marks
        They take what is made; given up if the state can't be copied.
    """

    def __init__(self, world: Callable[[], World], inputs: Callable[[], Sequence[Recorded]], marks: RunMarks) -> None:
        self._world = world
        self._inputs = inputs
        self._marks = marks
        self._random: SharedRandom | None = None
        self._last = 0  # the cursor of the last mark
        self._seconds = 0.0  # of delivery since then
        self._due = APART

    def note(self, cursor: int, seconds: float) -> None:
        """A turn has come to `cursor` and has taken so many seconds: make a mark there if one is due."""
        if self._marks.is_off:
            return
        done = cursor - self._last
        if self._random is None or done <= 0:  # at the beginning, and after the run was taken back
            self._random = self._random or SharedRandom()
            self._last, self._seconds = cursor, 0.0
            return
        self._seconds += seconds
        if EVERY is not None:
            if done >= EVERY:
                self._make(cursor)
        elif self._seconds >= self._due:
            if self._seconds >= SLOW * done or len(self._world().timeline) > LONG:
                self._make(cursor)
            self._last, self._seconds = cursor, 0.0

    def check_random(self) -> None:
        """Drop the marks if strategies may have drawn from the numbers that all of them share."""
        if self._random is not None and self._random.has_moved:
            self._marks.doubt()
            self._random = None

    def _make(self, cursor: int) -> None:
        world, began = self._world(), perf_counter()
        self.check_random()
        universe = world.universe
        if self._random is None or not isinstance(universe, SymbolUniverse) or universe.is_waiting:
            return
        try:
            state = universe.save()
        except StateError:
            self._marks.give_up()
            return
        inputs = tuple([one.input for one in self._inputs()[: world.n_inputs]])
        self._marks.add(RunMark(cursor, int(world.timeline.instants[cursor - 1]), inputs, state))
        self._last = cursor
        self._due = max(APART, (perf_counter() - began) / SHARE)


class SharedRandom:
    """Watches the numbers that all strategies of a process share: those of `random` and of `numpy.random`."""

    def __init__(self) -> None:
        self._before = _random_state()

    @property
    def has_moved(self) -> bool:
        """True if a number was drawn since, or a seed was set."""
        return _random_state() != self._before


def _random_state() -> tuple[Any, ...]:
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return (random.getstate(),)
    name, keys, *rest = numpy_random.get_state()
    return random.getstate(), name, keys.tobytes(), *rest
