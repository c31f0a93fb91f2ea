"""Goes on with a run that was killed, or repeats one: its journal is followed from the start to where the run was, and verified."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbbacktest.core.config import JournalConfig
from nbbacktest.core.enums import InputKind
from nbbacktest.core.errors import ConfigError, DataError, JournalError, NbBacktestError, ReplayError
from nbbacktest.core.formats import said
from nbbacktest.report.result import Result
from nbbacktest.system.journal.course import Course, claimed, course_of, origin_again, refuse_other_bars, verify
from nbbacktest.system.journal.folder import found_run, killed_runs, runs_folder
from nbbacktest.system.journal.lines import JournalFile, read_journal
from nbbacktest.system.journal.writer import RunJournal
from nbbacktest.system.journey import Destination
from nbbacktest.system.origin import Strategies
from nbbacktest.system.run import Run
from nbbacktest.system.stages import Stages

logger = logging.getLogger("nbbacktest")


class Recovery:
    """Takes a fresh run to where the run of a journal was.

    Parameters
    ----------
    journal
        As it was read.
    data, strategies
        In place of what the journal doesn't hold.
    descriptor
        Of the locked journal, which is to be gone on with; None: it is only repeated.

    Attributes
    ----------
    origin : Origin
        The origin of the run.
    course : Course
        The place at which it was.

    Raises
    ------
    JournalError
        The run can't be begun again.
    """

    def __init__(
        self, journal: JournalFile, data: Any = None, strategies: Strategies = None, descriptor: int | None = None
    ) -> None:
        self._journal = journal
        self._descriptor = descriptor
        try:
            self.course: Course = course_of(journal)
            added = {one["args"].get("symbol") for one in self.course.inputs if one["what"] == InputKind.ADD}
            added -= {one.symbol for one in journal.origin.bars}
            self._added = {symbol: data[symbol] for symbol in added if isinstance(data, Mapping) and symbol in data}
            if self._added:
                data = {symbol: bars for symbol, bars in data.items() if symbol not in self._added} or None
            self.origin = origin_again(journal, data, strategies)
        except BaseException:
            self.close()
            raise

    def check(self, stages: Stages) -> None:
        """Refuse other bars than the run had; called before the fresh run starts.

        Raises
        ------
        JournalError
            With the symbol.
        """
        refuse_other_bars(self._journal, stages.world.market)
        stages.world.desk.is_replay = True

    def follow(self, system: Any) -> bool:
        """Have a SystemManager begin the run, and pause it where it was; False if another run is under way.

        Raises
        ------
        ReplayError
            The run doesn't repeat itself; it is stopped.
        """
        if not system.begin(self.origin, paused=True, recovery=self):
            return False
        try:
            self.lead(system.run)
        except BaseException:
            system.stop()
            raise
        return True

    def lead(self, run: Run) -> None:
        """Take the run, which is held before its first instant, to where it was, and let it go on with its journal there.

        Raises
        ------
        ReplayError
            It doesn't repeat itself.
        """
        course, coordinator, desk = self.course, run.coordinator, run.world.desk
        speed = coordinator.speed
        coordinator.set_speed(0.0)
        for one in course.inputs:
            self._deliver(run, one["cursor"])
            self._do(run, one)
        self._deliver(run, course.horizon)
        verify(self._journal, course, desk.fills, desk.strategies)
        desk.is_replay = False
        if (course.cursor, course.applied) != (course.horizon, len(course.inputs)):
            run.rewind(lambda _cursor: Destination(course.cursor, course.applied))
        coordinator.set_speed(speed)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            run.keep(_writer(self._journal.path, descriptor, self.origin.config.journal, course))

    def judge(self, result: Result) -> None:
        """Hold the end of a repeated run against that of its journal, if it came to one.

        Raises
        ------
        ReplayError
            They differ.
        """
        end = self.course.end
        if end is not None and end.fingerprint != result.fingerprint:
            raise ReplayError(
                f"the run of {self._journal.path} doesn't repeat itself: up to its last known place, at instant "
                f"{self.course.stands[-1].cursor if self.course.stands else 0:,}, it is the same, and the end has another "
                f"fingerprint, {result.fingerprint} and not {end.fingerprint}"
            )

    def close(self) -> None:
        """Leave the journal as it is, for another try."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _deliver(self, run: Run, goal: int) -> None:
        while run.gate.cursor < goal:
            if run.done or goal > len(run.world.timeline):
                raise self._ended(run, goal)
            run.gate.run_until(
                goal, None
            )  # False if a strategy has paused the run, or it is held at an error, as it was then

    def _do(self, run: Run, one: dict[str, Any]) -> None:
        """Do an input again."""
        symbol, bars = one["args"].get("symbol"), None
        try:
            kind = InputKind(one["what"])
        except ValueError:
            cause = f"has an input by hand, {one['what']!r}, that this version doesn't know"
            raise JournalError(self._journal.path, None, cause, "read it with the version that wrote it") from None
        if kind is InputKind.ADD:
            try:
                bars = run.world.universe.load(symbol, self._added.get(symbol))
            except (ConfigError, DataError) as error:
                cause = f"has the symbol {symbol}, which joined by hand, and its bars can't be had: {error}"
                raise JournalError(self._journal.path, None, cause, "add them to data=") from error
        try:  # it may have been refused, and is again
            run.act(kind, one["strategy"], one["args"], bars, one["by"])
        except NbBacktestError:
            end = self.course.end
            if run.done and (end is None or end.how != "failed" or self._descriptor is not None):
                raise  # it has ended the run, which was alive after it

    def _ended(self, run: Run, goal: int) -> ReplayError:
        why = f"ended with {said(run.error)}" if run.error is not None else "has ended"
        problem = ReplayError(
            f"the run of {self._journal.path} doesn't repeat itself: it {why} after {run.gate.cursor:,} instants, and had "
            f"completed {goal:,}"
        )
        problem.__cause__ = run.error
        return problem


def claimed_recovery(run: str | Path | None, settings: JournalConfig, data: Any, strategies: Strategies) -> Recovery:
    """The recovery of a run that no living process has; None: of the newest that was killed.

    Raises
    ------
    JournalError
        There is none, it can't be read or written, or not begun again.
    """
    folder = runs_folder(settings)
    path = next(killed_runs(folder), None) if run is None else found_run(run, folder)
    if path is None:
        cause = "has no run whose process died before its end"
        cure = "`nbbacktest runs` lists the runs that are kept, and any of them can be named; live runs aren't kept"
        raise JournalError(folder, None, cause, cure)
    claim = claimed(path)
    return Recovery(claim.journal, data, strategies, claim.descriptor)


def reopened(journal: RunJournal) -> RunJournal | None:
    """The journal of a run that has ended, to be gone on with; None, with a warning in the log, if it can't be."""
    try:
        claim = claimed(journal.path)
        course = course_of(claim.journal)
    except JournalError as error:
        logger.warning("the run goes on without its journal: %s", error)
        return None
    return _writer(journal.path, claim.descriptor, journal.settings, course)


def _writer(path: Path, descriptor: int, settings: JournalConfig, course: Course) -> RunJournal:
    return RunJournal(path, descriptor, None, settings, seq=course.seq, line=course.inputs)


def repeat_of(journal: str | Path, settings: JournalConfig, data: Any, strategies: Strategies) -> Recovery:
    """The recovery of a journal that is only read.

    Raises
    ------
    JournalError
        It can't be read, or its run not begun again.
    """
    return Recovery(read_journal(found_run(journal, runs_folder(settings))), data, strategies)
