"""Spreads points over an executor and brings their rows back, in order; ends the processes that it started in every case."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from nbbacktest.core.errors import NbBacktestError
from nbbacktest.system.sweep.worker import (
    ERROR,
    Point,
    Row,
    SweepWorker,
    WorkerHandle,
    hold,
    packed,
    release,
    run_points,
)

CHUNK_SECONDS = 0.2
"""The work of one chunk: enough to make handing it over cheap, little enough to show progress."""
START_SECONDS = 0.7
"""The seconds that a process takes to start and import. If all points take less, the caller alone runs them."""
ALONG_SECONDS = 10.0
"""The most seconds of work for which the caller runs points too, instead of starting one more process."""
_LOOK_SECONDS = 0.2  # the length of one wait: short, so that Ctrl-C gets through on every platform
_AHEAD = 2  # chunks that a process has at hand while the caller runs points too
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Told = Callable[[int, Row], None]
"""Called with the number and the row of each point that is done."""


def run_all(worker: SweepWorker, points: Sequence[Point], executor: Executor | None, told: Told) -> None:
    """Run all points: the first one here, so that shared data is loaded once, then the others by the executor.

    Parameters
    ----------
    executor
        None takes processes of its own, which end with the call, and the caller itself if the work is little.

    Raises
    ------
    ConfigError
        The strategy can't be sent to other processes; no point was run.
    NbBacktestError
        Workers can't take up the work at all.
    """
    token = uuid.uuid4().hex
    threads = isinstance(executor, ThreadPoolExecutor)
    if not (len(points) == 1 or threads):
        packed(worker)  # an error is raised before anything starts; packed again after the first point has loaded more
    left = _Left(worker, points, told)
    left.run_here()
    while executor is None and left and left.seconds < START_SECONDS:
        left.run_here()
    if not left:
        return
    hold(token, worker)
    try:
        with _folder(threads=threads) as folder:
            file = Path(folder) / "worker"
            if not threads:
                file.write_bytes(packed(worker))
            handle = WorkerHandle(token, str(file))
            along = executor is None and left.seconds < ALONG_SECONDS and _cores() > 1
            try:
                many = min(_cores() - along, len(left.waiting))
                with _theirs(executor) if executor is not None else _processes(many) as pool:
                    _spread(pool, handle, left, along=along)
            except BrokenExecutor:
                _one_by_one(handle, left)
    finally:
        release(token)


class _Left:
    """The points without a row yet, and the time that one takes. False if there are none."""

    def __init__(self, worker: SweepWorker, points: Sequence[Point], told: Told) -> None:
        self._worker = worker
        self._told = told
        self._took = self._count = 0.0
        self.points = points
        self.waiting = deque(range(len(points)))
        """The numbers of the points that aren't begun."""
        self.open = dict.fromkeys(self.waiting)
        """The numbers of the points that aren't done."""

    def __bool__(self) -> bool:
        return bool(self.open)

    @property
    def seconds(self) -> float:
        """The seconds that the waiting points would take one after the other, estimated from those that were run here."""
        return self._took / self._count * len(self.waiting)

    def run_here(self) -> None:
        """Run the next point in this process."""
        number = self.waiting.popleft()
        began = perf_counter()
        row = self._worker.run(self.points[number])
        self._took += perf_counter() - began
        self._count += 1
        self.note(number, row)

    def note(self, number: int, row: Row) -> None:
        """Note the row of a point."""
        del self.open[number]
        self._told(number, row)

    def draw(self, workers: int) -> list[int]:
        """A chunk of the waiting points: smaller towards the end, so that all workers end together."""
        many = int(CHUNK_SECONDS * self._count / max(self._took, 1e-9))
        length = max(1, min(many, len(self.waiting) // (4 * workers)))
        return [self.waiting.popleft() for _ in range(length)]


def _spread(pool: _Pool, handle: WorkerHandle, left: _Left, *, along: bool) -> None:
    """Hand out the points in chunks and take the rows as they come; run some here meanwhile, if `along`."""
    workers = getattr(pool.executor, "_max_workers", None) or _cores()
    running: dict[Future[Any], list[int]] = {}

    def submit(chunk: list[int]) -> None:
        running[pool.submit(run_points, handle, [left.points[number] for number in chunk])] = chunk

    while left:
        while left.waiting and (not along or len(running) < _AHEAD * workers):
            submit(left.draw(workers + along))
        joins = along and bool(left.waiting)
        if joins:
            left.run_here()
        done, _ = wait(running, timeout=0 if joins else _LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = running.pop(future)
            rows = _rows(future)
            if rows is None:
                handle = handle._replace(content=handle.content or Path(handle.path).read_bytes())
                submit(chunk)
                continue
            for number, row in zip(chunk, rows, strict=True):
                left.note(number, row)


def _rows(future: Future[Any]) -> list[Row] | None:
    try:
        rows: list[Row] | None = future.result()
    except BrokenExecutor:
        raise
    except Exception as error:
        raise NbBacktestError(
            f"the sweep's workers can't do their work: {type(error).__name__}: {error}; where a module is missing, have it "
            "installed or in the folder that the workers run in, or sweep with threads"
        ) from error
    return rows


def _one_by_one(handle: WorkerHandle, left: _Left) -> None:
    """Run each point alone, to find the point that kills its process."""
    waiting = deque(left.open)
    while waiting:
        with _processes(1) as own:
            while waiting:
                try:
                    rows = own.submit(run_points, handle, [left.points[waiting[0]]]).result()
                except BrokenExecutor:
                    left.note(waiting.popleft(), {ERROR: "its process died: out of memory, or a library that crashed"})
                    break
                left.note(waiting.popleft(), rows[0])


class _Pool:
    """An executor, and the futures of this sweep."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.futures: list[Future[Any]] = []

    def submit(self, *task: Any) -> Future[Any]:
        self.futures.append(self.executor.submit(*task))
        return self.futures[-1]


@contextmanager
def _theirs(executor: Executor) -> Iterator[_Pool]:
    """The user's executor; if it is left early, points that have begun aren't waited for, and no other begins."""
    pool = _Pool(executor)
    try:
        yield pool
    finally:
        for future in pool.futures:
            future.cancel()


@contextmanager
def _processes(count: int) -> Iterator[_Pool]:
    """Fresh processes that share nothing with this one, not even a lock that a thread of a notebook's kernel may hold."""
    from loky import ProcessPoolExecutor

    env = {name: "1" for name in _THREADS if name not in os.environ}
    executor = ProcessPoolExecutor(count, initializer=_begin, initargs=(os.getpid(),), env=env)
    try:
        yield _Pool(executor)
    finally:
        executor.shutdown(wait=True, kill_workers=True)  # all rows have come: don't wait for the processes


def _begin(caller: int) -> None:
    """Set up a process of the pool, in that process."""
    # Ctrl-C in a terminal reaches this process too; the caller alone handles it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(caller)
    import pandas as pd  # noqa: F401 - every point needs it

    gc.freeze()  # The modules stay: the garbage collector would take 50 ms to look through them, each hundred short points.


@contextmanager
def _folder(*, threads: bool) -> Iterator[str]:
    """A folder for the worker's file; if this process is killed, loky's tracker, which outlives it, removes the folder."""
    with tempfile.TemporaryDirectory(prefix="nbbacktest-sweep-", ignore_cleanup_errors=True) as folder:
        if threads:
            yield folder
            return
        from loky.backend import resource_tracker

        resource_tracker.register(folder, "folder")
        try:
            yield folder
        finally:
            resource_tracker.unregister(folder, "folder")


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_PARENT_SECONDS = 1.0  # seconds between two looks for the parent process
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def end_with(parent: int) -> None:
    """End this process when process `parent`, which started it, is gone.

    Linux does it by a signal. Elsewhere on POSIX a thread looks once a second; on Windows nothing is done.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    elif sys.platform != "win32":
        threading.Thread(target=_watch, args=(parent,), name="nbbacktest-parent", daemon=True).start()
    if sys.platform != "win32" and os.getppid() != parent:  # the parent died before the signal was requested
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)
