"""Holds the present run of a manager: puts it in place, sets it going, and ends it with its manager or the process."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.system.event_dispatcher import EventDispatcher
from nbbacktest.system.journey import Destination, Line
from nbbacktest.system.origin import Origin
from nbbacktest.system.run import Run
from nbbacktest.system.runner import uninterrupted
from nbbacktest.system.stages import Stages
from nbbacktest.system.status import status

if TYPE_CHECKING:
    from nbbacktest.system.breakpoints import Breakpoints
    from nbbacktest.system.journal.writer import RunJournal

STOP_SECONDS = 5.0
"""The most seconds that the end of a run waits for a strategy's call."""
EXIT_SECONDS = 1.0
"""The most seconds that the process's exit waits for strategies' calls, for all runs together."""


class JournalPlace(NamedTuple):
    """The place of a run's journal.

    Attributes
    ----------
    path : Path or None
        The file; it is written from the first rest on. None: the run has none.
    """

    path: Path | None


class OpenedRun(Protocol):
    """An object that is opened beside a run, such as its control server, and closed at the run's end."""

    def open(self) -> None:
        """Called once the run has started."""

    def close(self) -> None:
        """Called at the end of the run, in the coordinator's thread; it must not wait."""


def journal_of(origin: Origin, stages: Stages) -> RunJournal | None:
    """The journal of a run that is about to start; None if it has none: arrivals of a live run aren't recorded."""
    if not origin.config.journal.enabled or stages.feed is not None:
        return None
    from nbbacktest.system.journal.facts import beginning
    from nbbacktest.system.journal.writer import begun

    return begun(beginning(origin, stages.world.market, stages.world.desk.strategies))


def reopened_journal(journal: RunJournal) -> RunJournal | None:
    """The journal of a run that has ended, for one that goes on with it."""
    from nbbacktest.system.journal.recovery import reopened

    return reopened(journal)


class RunHolder:
    """Holds the present or last run of a manager, so that the manager's end, or the process's, can end the run.

    A finalizer keeps its arguments alive, so it gets a `RunLeash` instead of the run's holder.

    Attributes
    ----------
    run : Run or None
        Written under the condition.
    leash : RunLeash
        The leash of the run that goes on.
    breakpoints : Breakpoints or None
        Those of the manager; None until they are first asked for.
    """

    def __init__(self, lifecycle: Lifecycle, condition: Monitor, events: EventDispatcher) -> None:
        self.run: Run | None = None
        self.leash = RunLeash()
        self.breakpoints: Breakpoints | None = None
        self._life = lifecycle
        self._condition = condition
        self._events = events
        _holders.add(self)

    @property
    def journal(self) -> JournalPlace:
        """The place of the journal of the present or last run."""
        journal = None if self.run is None else self.run.journal
        return JournalPlace(None if journal is None else journal.path)

    def make(
        self,
        stages: Stages,
        beside: OpenedRun | None,
        journal: RunJournal | None = None,
        line: Line | None = None,
    ) -> Run:
        """A run on these stages, with what is opened beside it; nothing is started."""
        events, leash = self._events, self.leash  # the run holds no reference to its manager

        def ended(run: Run) -> None:
            leash.let_go(run)
            if run.is_shown:
                if beside is not None:
                    beside.close()
                events.run_ended(run)

        return Run(stages, lambda ended: status(SystemState.STOPPED, ended), ended, journal, line)

    def begin(self, run: Run, beside: OpenedRun | None, *, paused: bool, placed: Callable[[], object]) -> bool:
        """Put a run in place and start it; False if another one is under way. `placed` is called under the condition."""
        try:
            with self._condition.lock:
                if not self._life.allows(Command.START):
                    return False
                if paused:
                    run.gate.hold_here()
                placed()
                self._put(run)
                self._life.apply(Command.START)
            self._events.poll_progress(run.followed)
            self._watch(run)
            run.start()
            if beside is not None:
                uninterrupted(beside.open)  # its files are written whole, or not at all
        except BaseException as error:
            if self.run is run:
                run.call_off(error, STOP_SECONDS)
            raise
        return True

    def revive(
        self, other: Run, goal: Destination | int, beside: OpenedRun | None, line: Line | None = None,
        journal_for: Callable[[Stages], RunJournal | None] | None = None,
    ) -> None:  # fmt: skip
        """Put a new run in place that goes on with the line of another one, held at `goal`.

        Until it rests there it isn't shown: if anything fails, the run that has ended here stays.

        Parameters
        ----------
        other
            The run that has ended here, or one of another manager.
        line
            The line to go on with; None: that of `other`, which has ended.
        journal_for
            Begins the journal; None: that of the run that has ended here, if there is one.
        """
        life, ended = Lifecycle(), self.run
        stages, line = other.successor(life, self._condition, line)
        run = self.make(stages, beside, line=line)
        journal = None if ended is None or ended.journal is None else reopened_journal(ended.journal)
        if journal_for is not None:
            journal = journal_for(stages)
            if journal is not None:
                journal.take(run.inputs, 0)
        if journal is not None:
            run.journey.journal = journal
        run.gate.hold_here()
        life.apply(Command.START)
        try:
            run.start()
            if not run.rewind(lambda _cursor: goal):
                raise run.error or InvalidTransition(life.state.value, Command.REWIND.value, ["start"], life.history)  # noqa: TRY301
            self._take(run, ended)
            self._watch(run)
            if journal is not None:
                run.keep(journal)
            self._events.poll_progress(run.followed)
            if beside is not None:
                uninterrupted(beside.open)
        except BaseException as error:
            run.call_off(error, STOP_SECONDS)
            if journal is not None:
                journal.close()
            raise

    def _take(self, run: Run, ended: Run | None) -> None:
        with self._condition.lock:
            if self.run is not ended or self._life.state is not SystemState.STOPPED:
                raise InvalidTransition(self._life.state.value, Command.REWIND.value, ["stop"], self._life.history)
            run.fork = ended.fork if ended is not None else None
            run.gate.state.life = self._life
            self._put(run)
            self._life.apply(Command.REWIND)

    def its_breakpoints(self) -> Breakpoints:
        """Those of the manager, made when they are first asked for."""
        from nbbacktest.system.breakpoints import Breakpoints

        with self._condition.lock:
            if self.breakpoints is None:
                self.breakpoints = Breakpoints(lambda: self.run)
        return self.breakpoints

    def _watch(self, run: Run) -> None:
        if self.breakpoints is not None:
            self.breakpoints.follow(run)

    def _put(self, run: Run) -> None:
        self.run = self.leash.run = run
        run.is_shown = True


class RunLeash:
    """Holds a run for as long as it goes on: a run that has ended may lead back to its manager, by a strategy or an error's frames."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self._process = os.getpid()

    def let_go(self, run: Run) -> None:
        """Forget a run that has ended, unless another one has taken its place."""
        if self.run is run:
            self.run = None

    def end(self) -> Run | None:
        """Tell the run to end, and wait for nothing: the garbage collector may call this, in any thread.

        Returns the run if it goes on for a moment. A forked child has none of its parent's threads, and its locks may be
        taken and never released: there this does nothing.
        """
        run = self.run
        if run is None or run.done or self._process != os.getpid():
            return None
        run.gate.end()
        return run


_holders: weakref.WeakSet[RunHolder] = weakref.WeakSet()  # the runs of all managers that live, for the exit alone


@atexit.register
def _end_all() -> None:
    """End all runs: first tell each, then wait, so that many take no longer than one."""
    deadline = monotonic() + EXIT_SECONDS
    ending = [holder.leash.end() for holder in list(_holders)]
    for run in ending:
        if run is not None:
            run.wait(max(deadline - monotonic(), 0.0))
