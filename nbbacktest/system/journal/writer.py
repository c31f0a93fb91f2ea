"""The writer of the present run's journal. A journal that can't be written is given up, and the run goes on without it."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nbbacktest.core.config import JournalConfig
from nbbacktest.core.files import append
from nbbacktest.core.inputs import Input
from nbbacktest.core.monitor import Flag, started
from nbbacktest.core.user_code import callers_level
from nbbacktest.engine.analysis import AnalysisEngine, Frame
from nbbacktest.report.analysis import fill_bytes
from nbbacktest.system.journal.facts import Beginning, now
from nbbacktest.system.journal.folder import NAME, WRITING, lock, make_room, new_run, remove_run
from nbbacktest.system.journal.lines import CutEntry, EndEntry, Entry, InputEntry, OriginEntry, StandEntry, line_of
from nbbacktest.system.runner import has_threads
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.snapshot import TradingSnapshot

if TYPE_CHECKING:
    from nbbacktest.report.result import Result

logger = logging.getLogger("nbbacktest")

EVERY_SECONDS = 1.0
"""Seconds after which a run that goes on has its place written again."""
_LONGEST = 500  # characters of an error


class EndedRun(Protocol):
    """The end of a run, as its journal has it."""

    @property
    def analysis(self) -> AnalysisEngine[TradingSnapshot]:
        """Has the last frame."""

    @property
    def error(self) -> BaseException | None:
        """The cause of the end."""

    def result(self) -> Result:
        """Has the fingerprint."""


class RunJournal:
    """Writes one run's journal; every method may be called from any thread.

    The file is made and locked when the run starts. Its first line is written with the first one that needs it: in a thread of its own if
    that is a place, since the digest of many bars takes a while.

    Attributes
    ----------
    path : Path
        The file.
    settings : JournalConfig
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        origin: Callable[[], OriginEntry] | None,
        settings: JournalConfig,
        *,
        seq: int = 0,
        line: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.path = path
        self._descriptor = descriptor
        self._origin = origin  # None once the first line is written
        self.settings = settings
        self._seq = seq
        self._line = list(line)  # the inputs that were written and stand
        self._lock = threading.RLock()  # guards all fields below and the file
        self._prepared, self._made_room = Flag(), Flag()
        self._is_preparing = False
        self._is_lost = self._is_closed = False
        self._waiting: StandEntry | None = None  # the newest place, until the first line is written
        self._stood: tuple[int, ...] | None = None
        self._fills = FillsDigest()
        self._due = perf_counter() + EVERY_SECONDS
        if origin is None:
            self._prepared.set()
            self._made_room.set()
        _open.add(self)

    # -- what is written ------------------------------------------------------------------------------------

    def note(
        self, frame: Frame[TradingSnapshot], course: tuple[int, int, int], *, rests: bool, is_last: bool = False
    ) -> None:
        """Write where the run stands, if it rests there, goes no further, or hasn't said so for a second.

        `course` has the horizon, the inputs that were done, and those of the whole line.
        """
        if is_last:
            self._begun()
        elif not rests and perf_counter() < self._due:
            return
        place = (frame.cursor, *course, frame.epoch)
        if place == self._stood:
            return
        horizon, inputs, line = course
        with self._lock:
            self._stood = place
            self._due = perf_counter() + EVERY_SECONDS
            trading = frame.agent
            digest = self._fills.upto(trading.lists.fills, trading.n_fills, frame.epoch)
            stand = StandEntry(
                cursor=frame.cursor, horizon=horizon, inputs=inputs, line=line, fills=trading.n_fills, digest=digest
            )
            if self._prepared.is_set():
                self._write(stand)
                return
            self._waiting = stand
            begins, self._is_preparing = not self._is_preparing, True
        if begins:
            self._prepare_beside()

    def input(self, one: Input, keep: int) -> None:
        """Write what a hand is about to do, when the first `keep` inputs of the line stand; it is on the disk when this returns."""
        said = journalled(one)
        with self._begun():
            self._seq += 1
            entry = InputEntry(keep=keep, seq=self._seq, at=now(), **said)
            self._write(entry, sync=self.settings.sync == "input")
            self._line = [*self._line[:keep], said]

    def take(self, inputs: Sequence[Input], cursor: int) -> None:
        """Write that the run is about to go on with another line, at `cursor`: these inputs, and nothing ahead of them."""
        line = [journalled(one) for one in inputs]
        with self._begun():
            keep = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(line, self._line, strict=False)))
            self._seq += 1
            entry = CutEntry(keep=keep, cursor=cursor, seq=self._seq, at=now(), again=line[keep:])
            self._write(entry, sync=self.settings.sync == "input")
            self._line = line

    def leave(self, run: EndedRun, course: tuple[int, int, int], how: Literal["finished", "stopped"] | None) -> None:
        """Write the end of a run, and close.

        `how` is None if it ended with its manager or its process: it hasn't come to its end, and may be gone on with.
        """
        horizon, inputs, line = course
        has_moved = bool(run.analysis.frame.cursor or horizon or line)
        try:
            if has_moved and (how is not None or run.error is not None):
                self._end(run, inputs, how or "stopped")
            elif has_moved:
                self.note(run.analysis.frame, course, rests=True, is_last=True)
        finally:
            self.close(discard=not has_moved)

    def _end(self, run: EndedRun, inputs: int, how: Literal["finished", "stopped"]) -> None:
        cursor, error, fingerprint = run.analysis.frame.cursor, run.error, run.result().fingerprint
        told = None if error is None else f"{type(error).__name__}: {error}"[:_LONGEST]
        entry = EndEntry(
            how=how if error is None else "failed", cursor=cursor, inputs=inputs, fingerprint=fingerprint, error=told,
            at=now(),
        )  # fmt: skip
        with self._begun():
            self._write(entry)

    def close(self, *, discard: bool = False) -> None:
        """Write no more, and let another process go on with the run. A journal without a line is removed, or at will."""
        if self._is_preparing:
            self._made_room.wait()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            is_gone = discard or not os.fstat(self._descriptor).st_size
            os.close(self._descriptor)
        _open.discard(self)
        if is_gone:
            remove_run(self.path.parent, linger=False)

    # -- inside ---------------------------------------------------------------------------------------------

    def _begun(self) -> threading.RLock:
        """The lock, once the first line is written."""
        with self._lock:
            begins, self._is_preparing = not (self._is_preparing or self._prepared.is_set()), True
        if begins:
            self._prepare()
        self._prepared.wait()
        return self._lock

    def _prepare_beside(self) -> None:
        if not has_threads():
            self._prepare()
            return
        try:
            started(threading.Thread(target=self._prepare, name="nbbacktest-journal", daemon=True))
        except RuntimeError:  # no thread to be had
            self._prepare()

    def _prepare(self) -> None:
        """Write the first line, and the place that waits for it; once."""
        try:
            if self._origin is not None:
                entry = self._origin()
                with self._lock:
                    self._write(entry)
                    if self._waiting is not None:
                        self._write(self._waiting)
                    self._origin = self._waiting = None
                    self._prepared.set()
                with suppress(OSError):
                    make_room(self.path.parent.parent, self.settings.keep, self.path.parent)
        except Exception as error:  # noqa: BLE001 - a frame that no file takes, a config that JSON doesn't hold
            self._lose(error)
        except BaseException as interrupt:
            self._lose(interrupt)
            raise
        finally:
            self._prepared.set()
            self._made_room.set()

    def _write(self, entry: Entry, *, sync: bool = False) -> None:
        if self._is_lost or self._is_closed:
            return
        size = -1
        try:
            size = os.fstat(self._descriptor).st_size
            append(self._descriptor, line_of(entry), sync=sync)
        except BaseException as error:
            if size >= 0:
                with suppress(OSError):  # the part of a line that was written would count as damage
                    os.ftruncate(self._descriptor, size)
            if not isinstance(error, Exception):
                raise  # an interrupt: what was to be written doesn't happen either
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        """Give the journal up. Its lock stays: no other process is to go on with a run that goes on here."""
        if not self._is_lost:
            self._is_lost = True
            logger.warning(
                "the journal %s can't be written (%s); the run goes on, and what happens from here on can't be recovered",
                self.path, error,
            )  # fmt: skip

    def _forked(self) -> None:
        """In a forked child: the parent writes on, and the child has no part in its lock."""
        self._is_closed = True
        self._lock = threading.RLock()
        with suppress(OSError):
            os.close(self._descriptor)


def begun(beginning: Beginning) -> RunJournal | None:
    """Begin the journal of a run that is about to start; None, with a warning, if it can't be written."""
    settings = beginning.config.journal
    try:
        run = new_run(settings)
        descriptor = os.open(run / NAME, os.O_CREAT | os.O_EXCL | WRITING, 0o600)
    except OSError as error:
        warnings.warn(
            f"the run has no journal, so it can't be gone on with if its process dies: {error}; set journal.folder to a folder "
            "that you may write to, or journal.enabled to false",
            stacklevel=callers_level(),
        )
        return None
    with suppress(OSError):  # a file system without locks
        lock(descriptor)
    return RunJournal(run / NAME, descriptor, lambda: beginning.entry(run), settings)


def journalled(one: Input) -> dict[str, Any]:
    """An input as a line has it."""
    return {
        "cursor": one.place.cursor, "what": str(one.what), "strategy": one.strategy, "args": dict(one.arguments),
        "by": one.by,
    }  # fmt: skip


class FillsDigest:
    """SHA-256 of the first fills of a run, from place to place; for one thread at a time."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0
        self._epoch = 0

    def upto(self, fills: Sequence[Fill], count: int, epoch: int = 0) -> str:
        """The digest of the first `count`, in hex; in another epoch the run has other fills."""
        if epoch != self._epoch or count < self._count:
            self._digest, self._count, self._epoch = hashlib.sha256(), 0, epoch
        for fill in fills[self._count : count]:
            self._digest.update(fill_bytes(fill))
        self._count = count
        return self._digest.hexdigest()


_open: weakref.WeakSet[RunJournal] = (
    weakref.WeakSet()
)  # the journals that this process writes, for a forked child alone


def _leave_all() -> None:
    for journal in list(_open):
        journal._forked()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
