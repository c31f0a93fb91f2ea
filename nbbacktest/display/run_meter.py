"""Readings of a run for the display: frozen values, so that drawing needs no lock of the engine."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import printed
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.run import MovingTime

if TYPE_CHECKING:
    import pandas as pd

_PACE_SECONDS = 3.0
"""Seconds over which the pace is measured, from which the time left follows."""
_POINTS = 2_000
"""The most points of the equity's line; beyond that every other one is dropped."""


@dataclass(frozen=True)
class RunReading:
    """A run at one instant.

    Attributes
    ----------
    seconds : float
        Of wall time in which the run moved; `bars_per_second` counts by them.
    seconds_left : float or None
        Of wall time, at the present pace; None if it stands still.
    achieved : float
        Simulated seconds a second.
    curve : tuple of (float, float)
        Progress and equity, from the start until now, as often as it was looked at.
    fills : tuple
        The newest, oldest first: the stamp of the bar that each happened in, and the fill.
    """

    state: SystemState
    name: str
    source: str
    time: pd.Timestamp | None
    progress: float
    cursor: int
    total: int
    seconds_left: float | None
    seconds: float
    bars: int
    bars_per_second: float
    asked: float
    achieved: float
    lag: float
    overruns: int
    wait_seconds: float
    start_equity: float
    equity: float
    cash: float
    curve: tuple[tuple[float, float], ...]
    positions: tuple[Any, ...]
    orders: int
    n_fills: int
    fills: tuple[Any, ...]
    error: str | None

    @property
    def gain(self) -> float:
        """The change of equity since the start, as a fraction."""
        return self.equity / self.start_equity - 1 if self.start_equity else 0.0


class RunMeter:
    """Takes readings of a system, and keeps the past values that the pace and the equity line need.

    Parameters
    ----------
    system
        One whose run has started.
    cash : float
        The starting cash of the account.
    """

    def __init__(self, system: SystemManager, cash: float) -> None:
        self._system = system
        self._cash = cash
        self._watch = MovingTime()
        self._pace: deque[tuple[float, float]] = deque()  # wall seconds, progress
        self._curve = [(0.0, cash)]
        self._every = 1  # the number of readings for one point of the line
        self._readings = 0

    def read(self) -> RunReading:
        """Take a reading; waits for the bar that is being processed."""
        status = self._system.status()
        shot = self._system.snapshot()
        state = SystemState(status["system_manager"]["_state"])
        bars, session = status["performance_metrics"]["bars_processed"], status["session"]
        run = self._system.run
        seconds = self._watch.seconds(run, state) if run is not None else 0.0
        streams = status["subscriptions"].values()
        if math.isfinite(shot.equity):
            self._remember(shot.progress, shot.equity)
        return RunReading(
            state=state,
            name=printed(session["name"]),
            source=printed(session["source"]),
            time=shot.time,
            progress=shot.progress,
            cursor=shot.cursor,
            total=shot.total,
            seconds_left=self._left(state, shot.progress),
            seconds=seconds,
            bars=bars,
            bars_per_second=bars / seconds if seconds > 0 else 0.0,
            asked=session["speed_multiplier"],
            achieved=session["achieved_speed"],
            lag=session["lag_seconds"],
            overruns=sum(stream["overruns"] for stream in streams),
            wait_seconds=sum(stream["wait_seconds"] for stream in streams),
            start_equity=self._cash,
            equity=shot.equity,
            cash=shot.cash,
            curve=tuple(self._curve),
            positions=shot.positions,
            orders=len(shot.orders),
            n_fills=shot.n_fills,
            fills=tuple((fill.time, fill) for fill in shot.last_fills),
            error=printed(status["error"]["message"]) if status["error"] else None,
        )

    def _remember(self, progress: float, equity: float) -> None:
        if progress < self._curve[-1][0]:
            # The run was taken back: the points beyond its cursor are ahead of it again.
            self._curve = [point for point in self._curve if point[0] <= progress]
        if progress <= self._curve[-1][0]:
            return
        if self._readings % self._every == 0:
            self._curve.append((progress, equity))
        self._readings += 1
        if len(self._curve) > _POINTS:
            del self._curve[1::2]
            self._every *= 2

    def _left(self, state: SystemState, progress: float) -> float | None:
        now = monotonic()
        if state is not SystemState.RUNNING:
            self._pace.clear()
            return None
        if self._pace and progress < self._pace[-1][1]:
            self._pace.clear()
        self._pace.append((now, progress))
        while now - self._pace[0][0] > _PACE_SECONDS and len(self._pace) > 2:
            self._pace.popleft()
        seconds, done = now - self._pace[0][0], progress - self._pace[0][1]
        return (1.0 - progress) * seconds / done if done > 0 else None
