"""A small engine on the bench: real threads, real gate, an agent that only writes down what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from nbbacktest.core.clock import Clock, WallClock
from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import Bar, BarColumns, Stamps
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.metrics import LagWatch
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.series import Series
from nbbacktest.engine.subscription import Link, StreamSubscription
from nbbacktest.engine.timeline import Quantum, Timeline

START = 1_704_205_800 * 10**9  # 2024-01-02 14:30 UTC


def columns(symbol: str, minutes: Sequence[int], interval: str = "1m") -> BarColumns:
    """Bars that start at these minutes; each close is the minute's number, so that every bar is its own proof."""
    length = Interval.parse(interval)
    time = START + np.asarray(minutes, dtype=np.int64) * MINUTE
    close = np.asarray(minutes, dtype=np.float64) + 100.0
    return BarColumns(symbol, length, time, time + length.ns, close, close + 1, close - 1, close, np.ones(len(close)))


def series(symbol: str, minutes: Sequence[int], interval: str = "1m", *, first: int = 0) -> Series:
    """A series of such bars, its first `first` ones for warm-up."""
    return Series(columns(symbol, minutes, interval), Stamps("UTC"), is_base=interval == "1m", first=first)


class Recorder:
    """An agent that keeps what it was given; `on_bar` may be replaced to block, raise or command."""

    def __init__(self) -> None:
        self.pending: list[object] = []
        self.index = -1
        self.lag = 0.0
        self.seen: list[tuple[int, str, str, float]] = []
        self.events: list[str] = []
        self.on_bar: Callable[[Bar], None] = lambda bar: None
        self.on_start: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.events.append("start")
        self.on_start()

    def match_orders(self, bars: Sequence[Bar]) -> None:
        self.events.append(f"match {self.index} {len(bars)}")

    def handlers(self, series: Series) -> tuple[Callable[[Bar], None], ...]:
        return (self.handle,)

    def handle(self, bar: Bar) -> None:
        self.seen.append((self.index, bar.symbol, bar.interval, bar.close))
        self.on_bar(bar)

    def failed(self, error: BaseException, handler: object, bar: Bar | None) -> Exception:
        if isinstance(error, Exception):
            error.bar = bar  # type: ignore[attr-defined]
            return error
        return RuntimeError(repr(error))

    def stop(self) -> None:
        self.events.append("stop")
        self.on_stop()

    def freeze(self) -> int:
        return len(self.seen)


class Rig:
    """All three stages over given series; a context manager that ends and joins its threads."""

    def __init__(
        self,
        *parts: Series,
        agent: Recorder | None = None,
        clock: Clock | None = None,
        speed: float = 0.0,
        window: int | None = None,
        on_error: str = "stop",
        paused: bool = False,
        lag: LagWatch | None = None,
    ) -> None:
        self.agent = agent or Recorder()
        self.clock = clock or WallClock()
        self.life = Lifecycle()
        self.gate = RunGate(self.life, Monitor(), self.clock)
        self.timeline = Timeline(parts)
        self.upstream = StreamSubscription("data-driven", "coordinator->processor")
        self.downstream = StreamSubscription("data-driven", "processor->analysis")
        self.quantum = Quantum(window)
        link = Link(self.upstream)
        self.analysis = AnalysisEngine(
            self.timeline,
            self.agent,
            self.gate,
            self.downstream,
            self.clock,
            self.quantum,
            on_error=on_error,  # type: ignore[arg-type]
        )
        self.processor = DataProcessor(self.timeline, self.gate, link, self.downstream)
        self.coordinator = SessionCoordinator(self.timeline, self.gate, link, self.quantum, lag=lag)
        if speed:
            self.coordinator.set_speed(speed)
        self.life.apply(Command.START)
        if paused:
            self.gate.hold_here()
        bodies = {
            "coordinator": self.coordinator.work,
            "processor": self.processor.work,
            "analysis": self._analyse,
        }
        self.threads = [
            threading.Thread(target=body, name=f"nbbacktest-test-{name}", daemon=True) for name, body in bodies.items()
        ]

    def _analyse(self) -> None:
        try:
            self.analysis.work(lambda: self.processor.batch)
        finally:
            self.gate.end(Command.FAIL if self.analysis.error else Command.STOP)

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def join(self, timeout: float = 10.0) -> None:
        """Wait for the end of the data."""
        for thread in self.threads:
            thread.join(timeout)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} still runs after {timeout} s")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.gate.end()
        self.join()
