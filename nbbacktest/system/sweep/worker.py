"""The sweep worker: runs one point after the other over bars that were loaded once, in this process or in another one.

A worker is written once to a file that processes map into memory, so that none of them loads bars. A thread finds the worker
in its own process; another machine, which doesn't see the file, is sent its content with the points.
"""

from __future__ import annotations

import mmap
import pickle
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, NbBacktestError, Problem
from nbbacktest.core.formats import said
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import Bar, BarColumns
from nbbacktest.data.sources import is_source, load
from nbbacktest.data.warmup import Need
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.engine.processor import bars_of
from nbbacktest.engine.series import Series
from nbbacktest.system.builder import strategies_of
from nbbacktest.system.origin import copied
from nbbacktest.system.run_bars import RunBars, needs_of, warn_of_lack
from nbbacktest.system.runner import raise_interrupt
from nbbacktest.system.stages import wire
from nbbacktest.system.world import record_of, world_of
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import statistics
from nbbacktest.trading.strategy import Strategy

Point = dict[str, Any]
"""The values of a run's parameters by name."""
Row = dict[str, Any]
"""The outcome of a point: its statistics by name, or its error."""
ERROR = "error"
"""The key of a row's error; None if the point didn't fail."""
_KEPT = 100_000  # bars of all series, some 300 bytes each
_WINDOW = 65_536  # instants of a window: many, since no thread waits for one here, and each costs 25 us


class SweepWorker:
    """A strategy's class with everything that its runs share. It never changes once it is prepared.

    So it may be sent to other processes, and several threads may use it.
    """

    def __init__(self, config: SessionConfig, data: Any, strategy: type[Strategy], fixed: Mapping[str, Any]) -> None:
        self._config = config
        # Bars in memory are read once, by `prepare`; a source is asked again for symbols that join and for late warm-up.
        self._data = data if data is None or is_source(data) or isinstance(data, (Mapping, str, Path)) else ()
        self.strategy = strategy
        self._fixed = dict(fixed)
        self._loaded: dict[tuple[Need, ...], RunBars] = {}
        self._bars = _SharedBars()

    def prepare(self, data: Any, points: Sequence[Mapping[str, Any]]) -> None:
        """Load the bars as far back as each point needs them, and build the derived ones.

        Points with the same needs share their bars. A strategy that can't be made is its point's error, later.

        Raises
        ------
        ConfigError, DataError
            As a backtest does.
        """
        for point in points:
            try:
                strategies = strategies_of(self._config, self.strategy, {**self._fixed, **point})
                needs = needs_of(strategies)
            except NbBacktestError:
                continue
            if needs in self._loaded:
                continue
            market = load(self._config, data, needs=needs)
            loaded = RunBars(self._config, self._data, market)
            loaded.reach(needs)
            world = world_of(self._config, strategies, loaded, data=self._data)
            warn_of_lack(world.desk.warmup, loaded.market.asked)
            self._loaded[needs] = loaded

    def record(self, point: Mapping[str, Any]) -> RunRecord:
        """Run one point in this thread.

        Raises
        ------
        NbBacktestError
            The error of a backtest of the point.
        """
        strategies = strategies_of(self._config, self.strategy, copied({**self._fixed, **point}))
        loaded = self._loaded[needs_of(strategies)].fresh()
        world = world_of(self._config, strategies, loaded, data=self._data)
        stages = wire(self._config, Lifecycle(), Monitor(), world, window=_WINDOW)
        self._bars.share(world.timeline.series)
        run_inline(world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
        if stages.analysis.error is not None:
            raise stages.analysis.error
        market = world.market
        return record_of(
            self._config, world, stages.analysis.frame, source=market.source, synthetic=market.synthetic, metrics=None
        )

    def run(self, point: Mapping[str, Any]) -> Row:
        """The statistics of one point by name, or its error."""
        try:
            return {**statistics(self.record(point)), ERROR: None}
        except Exception as error:  # noqa: BLE001 - a point that fails is a row, and the others go on
            raise_interrupt(error)
            return {ERROR: str(error) if isinstance(error, NbBacktestError) else said(error)}


class _SharedBars:
    """The `Bar`s of a worker, made once: they can't be changed, and making them takes up to a fifth of a run's time.

    Another process makes its own, which is quicker than to send them.
    """

    def __init__(self) -> None:
        self._made: dict[BarColumns, list[Bar]] = {}
        self._count = 0

    def share(self, every: Sequence[Series]) -> None:
        """Give the shared bars to the series of a run, except for series with too many bars to be kept."""
        for series in every:
            series.made = self._of(series)

    def _of(self, series: Series) -> list[Bar] | None:
        columns = series.whole
        bars = self._made.get(columns)
        if bars is None and self._count + len(columns) <= _KEPT:
            bars = self._made[columns] = list(bars_of(series, 0, len(columns)))
            self._count += len(columns)
        return bars

    def __reduce__(self) -> tuple[type[_SharedBars], tuple[()]]:
        return _SharedBars, ()


_ALIGNED = 64
_HEAD = 8

_held: dict[str, SweepWorker] = {}
"""The workers of this process's sweeps by token; a process of an executor has the newest one that it was given."""
_holding = threading.Lock()  # guards its changes


class WorkerHandle(NamedTuple):
    """Finds the worker of a sweep in any process.

    Attributes
    ----------
    token : str
        The token of the sweep.
    path : str
        The path of the file, on the machine that sweeps.
    content : bytes or None
        The content of the file, for machines that don't have it.
    """

    token: str
    path: str
    content: bytes | None = None


def packed(worker: SweepWorker) -> bytes:
    """The worker as bytes for a file: a head, then the arrays, aligned so that a mapped file can be used without a copy.

    Raises
    ------
    ConfigError
        A part of the worker can't be pickled.
    """
    import cloudpickle  # carries classes that notebooks and functions define

    buffers: list[pickle.PickleBuffer] = []
    try:
        body = cloudpickle.dumps(worker, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        cure = (
            f"can't be sent to other processes ({type(error).__name__}: {error}); leave such things out of what the "
            "strategy refers to, or sweep with threads: executor=concurrent.futures.ThreadPoolExecutor()"
        )
        raise ConfigError([Problem("strategy", worker.strategy, cure)], "sweep()") from error
    raws = [buffer.raw() for buffer in buffers]
    sizes = [raw.nbytes for raw in raws]
    head = pickle.dumps((body, sizes))
    parts: list[bytes | memoryview] = [len(head).to_bytes(_HEAD, "little"), head]
    place = _HEAD + len(head)
    for raw in raws:
        gap = -place % _ALIGNED
        parts += [bytes(gap), raw]
        place += gap + raw.nbytes
    return b"".join(parts)


def unpacked(content: mmap.mmap | bytes) -> SweepWorker:
    """The worker in the content of a file; its arrays are views of the content, not to be written to."""
    view = memoryview(content)
    place = _HEAD + int.from_bytes(view[:_HEAD], "little")
    body, sizes = pickle.loads(view[_HEAD:place])  # noqa: S301 - of this user's own making
    buffers = []
    for size in sizes:
        place += -place % _ALIGNED
        buffers.append(view[place : place + size])
        place += size
    worker: SweepWorker = pickle.loads(body, buffers=buffers)  # noqa: S301 - as above
    return worker


def hold(token: str, worker: SweepWorker) -> None:
    """Keep a worker for the threads of this process."""
    with _holding:
        _held[token] = worker


def release(token: str) -> None:
    """Forget the worker of that sweep."""
    with _holding:
        _held.pop(token, None)


def run_points(handle: WorkerHandle, points: Sequence[Mapping[str, Any]]) -> list[Row] | None:
    """Run these points, in any process; None if it has no access to the worker's file."""
    worker = _held.get(handle.token)
    if worker is None:
        worker = _fetched(handle)
        if worker is None:
            return None
        with _holding:
            _held.clear()
            _held[handle.token] = worker
    return [worker.run(point) for point in points]


def _fetched(handle: WorkerHandle) -> SweepWorker | None:
    if handle.content is not None:
        return unpacked(handle.content)
    try:
        with Path(handle.path).open("rb") as file:
            return unpacked(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        return None
