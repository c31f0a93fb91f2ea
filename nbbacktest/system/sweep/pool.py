"""Spreads points over an executor and brings their rows back, in order; ends what it started, whatever happens."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from nbbacktest.core.errors import NbBacktestError
from nbbacktest.system.sweep.bench import ERROR, Bench, Row
from nbbacktest.system.sweep.grid import Point
from nbbacktest.system.sweep.share import Ticket, hold, packed, release, work

CHUNK_SECONDS = 0.2
"""How much work is handed out at once: enough to make the handing over cheap, little enough to show progress."""
_LOOK_SECONDS = 0.2  # a wait's length, so that Ctrl-C gets through on every platform

Told = Callable[[int, Row], None]
"""Is given each point's number and row, as they come."""


def play_all(bench: Bench, points: Sequence[Point], executor: Executor | None, told: Told) -> None:
    """Play all points: the first one here, so that what all need is made ready once, then the others by the executor.

    Parameters
    ----------
    executor
        None takes processes of its own, one for each core, which end with the call.

    Raises
    ------
    ConfigError
        Where the strategy can't be sent to other processes; no point was played then.
    NbBacktestError
        Where workers can't take up the work at all.
    """
    token = uuid.uuid4().hex
    alone = len(points) == 1
    threads = isinstance(executor, ThreadPoolExecutor)
    if not (alone or threads):
        packed(bench)  # refuses before anything starts; packed again once the first point has made more ready
    began = perf_counter()
    told(0, bench.play(points[0]))
    took = perf_counter() - began
    if alone:
        return
    hold(token, bench)
    try:
        with tempfile.TemporaryDirectory(prefix="nbbacktest-sweep-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "bench"
            if not threads:
                file.write_bytes(packed(bench))
            ticket = Ticket(token, str(file))
            left = dict.fromkeys(range(1, len(points)))

            def noted(number: int, row: Row) -> None:
                del left[number]
                told(number, row)

            try:
                with _theirs(executor) if executor is not None else _processes(min(_cores(), len(left))) as pool:
                    _spread(pool, ticket, points, list(left), took, noted)
            except BrokenExecutor:
                _one_by_one(ticket, points, list(left), told)
    finally:
        release(token)


def _spread(
    pool: _Pool, ticket: Ticket, points: Sequence[Point], numbers: Sequence[int], took: float, told: Told
) -> None:
    """Hand out the points in chunks, and take the rows as they come."""
    workers = getattr(pool.executor, "_max_workers", None) or _cores()
    length = max(1, min(int(CHUNK_SECONDS / max(took, 1e-6)), -(-len(numbers) // (4 * workers))))
    chunks = [numbers[i : i + length] for i in range(0, len(numbers), length)]
    waiting: dict[Future[Any], Sequence[int]] = {}
    for chunk in chunks:
        waiting[pool.submit(work, ticket, [points[number] for number in chunk])] = chunk
    while waiting:
        done, _ = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = waiting.pop(future)
            rows = _rows(future)
            if rows is None:
                ticket = ticket._replace(content=ticket.content or Path(ticket.path).read_bytes())
                waiting[pool.submit(work, ticket, [points[number] for number in chunk])] = chunk
                continue
            for number, row in zip(chunk, rows, strict=True):
                told(number, row)


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


def _one_by_one(ticket: Ticket, points: Sequence[Point], numbers: Sequence[int], told: Told) -> None:
    """A process died at one of these points: each gets its turn alone, so that the one to blame is known."""
    left = list(numbers)
    while left:
        with _processes(1) as own:
            while left:
                try:
                    rows = own.submit(work, ticket, [points[left[0]]]).result()
                except BrokenExecutor:
                    told(left.pop(0), {ERROR: "its process died: out of memory, or a library that crashed"})
                    break
                told(left.pop(0), rows[0])


class _Pool:
    """An executor, and what was submitted to it."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.futures: list[Future[Any]] = []

    def submit(self, *task: Any) -> Future[Any]:
        self.futures.append(self.executor.submit(*task))
        return self.futures[-1]


@contextmanager
def _theirs(executor: Executor) -> Iterator[_Pool]:
    """The user's; where it is left early, what has begun is waited for by nobody, and nothing else begins."""
    pool = _Pool(executor)
    try:
        yield pool
    finally:
        for future in pool.futures:
            future.cancel()


@contextmanager
def _processes(count: int) -> Iterator[_Pool]:
    """Fresh processes that share nothing with this one: no lock that some thread of a notebook's kernel may hold."""
    from loky import ProcessPoolExecutor

    # Ctrl-C in a terminal reaches them too; it is this process that answers it.
    executor = ProcessPoolExecutor(count, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield _Pool(executor)
    except BaseException:
        executor.shutdown(wait=True, kill_workers=True)
        raise
    executor.shutdown(wait=True)


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
