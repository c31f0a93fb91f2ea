"""What the account chart and the synchronization chart show, as properties of their traces."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64, Int64
from nbbacktest.engine.analysis import Frame
from nbbacktest.report.bins import choose, local_time
from nbbacktest.report.figure import breaks
from nbbacktest.report.traces import axis
from nbbacktest.system.run import Run
from nbbacktest.widgets.candles import EMPTY, Scene
from nbbacktest.widgets.curves import AccountCurves, Thinned

POINTS = 400
"""About how many highs and lows a curve is drawn with."""
SAMPLES = 300
"""How many moments the synchronization chart remembers."""


class Account:
    """Draws a run's equity, its drawdown, and the same cash held in a symbol. For one thread."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._curves = AccountCurves(run)
        self._base = next(series for series in run.world.timeline.series if series.is_base)

    def scene(self, frame: Frame, symbol: str) -> Scene:
        """The chart as of `frame`; `symbol` is the benchmark."""
        self._curves.grow(frame)
        if not frame.cursor:
            return Scene((EMPTY,) * 3, shown(False, 2))
        held = self._curves.holding(symbol)
        traces = (
            {**self._curve(self._curves.equity), "name": "Equity"},
            {**self._curve(held), "name": f"Cash held in {symbol}"},
            {**self._curve(self._curves.drawdown), "name": "Drawdown"},
        )
        return Scene(traces, {**shown(True, 2), "xaxis.rangebreaks": self._breaks(frame.cursor)})

    def _curve(self, curve: Thinned) -> dict[str, Any]:
        rows = curve.rows(POINTS)
        return {"x": axis(self._moments(rows)), "y": curve.values[rows], "visible": True}

    def _moments(self, rows: Int64) -> Int64:
        instants, stamps = self._run.world.timeline.instants[rows], self._base.stamps
        if not self._base.columns.interval.is_daily:
            return local_time(stamps, instants)
        return local_time(stamps, instants - 1) // DAY * DAY + DAY // 2

    def _breaks(self, cursor: int) -> list[dict[str, Any]]:
        """The closed hours of what has been run; on long runs each is too short to be seen, and dear to draw."""
        columns = self._base.columns
        stop = min(self._base.first + cursor, len(columns))
        if cursor > 20_000 or columns.interval.is_daily or stop <= self._base.first:
            return []
        local = local_time(self._base.stamps, columns.time[self._base.first : stop])
        return breaks(columns.interval, [local], choose([local], columns.interval))


@dataclass(frozen=True, slots=True)
class Beat:
    """How the stages kept up at one moment.

    Attributes
    ----------
    wall : float
        Seconds since the start.
    asked, achieved : float
        Simulated seconds a second; asked is 0 where no clock paces the run.
    lag : float
        Seconds behind the clock.
    overruns : int
        Since the start.
    """

    wall: float
    asked: float
    achieved: float
    lag: float
    overruns: int


class Rhythm:
    """Remembers the newest beats of a run and draws them. For one thread."""

    def __init__(self) -> None:
        self._beats: deque[Beat] = deque(maxlen=SAMPLES)

    def add(self, beat: Beat) -> None:
        """Remember a beat, where time has passed since the last one."""
        if not self._beats or beat.wall > self._beats[-1].wall:
            self._beats.append(beat)

    def scene(self) -> Scene:
        """Asked and achieved speed, lag, and overruns over wall time."""
        if not self._beats:
            return Scene((EMPTY,) * 4, shown(False, 3))
        table = np.array(
            [(b.wall, b.asked, b.achieved, b.lag * 1e3, b.overruns) for b in self._beats], dtype=np.float64
        )
        wall, asked, achieved, lag, overruns = (np.ascontiguousarray(values) for values in table.T)
        # A line of one point can't be seen.
        column = {"x": wall, "visible": True, "mode": "lines" if len(wall) > 1 else "markers"}
        return Scene(
            (
                {**column, "y": _positive(asked)},
                {**column, "y": _positive(achieved)},
                {**column, "y": lag},
                {**column, "y": overruns},
            ),
            shown(True, 3),
        )


def shown(some: bool, count: int) -> dict[str, bool]:  # noqa: FBT001 - read as shown(True, ...)
    """Axes are hidden where there is nothing to draw: plotly would invent numbers for them."""
    return {f"{name}.visible": some for name in ("xaxis", "yaxis", *(f"yaxis{n}" for n in range(2, count + 1)))}


def _positive(values: Float64) -> Float64:
    """What a logarithmic axis can show."""
    return np.where(values > 0, values, np.nan)
