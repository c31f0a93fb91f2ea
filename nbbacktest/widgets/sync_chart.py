"""The synchronization chart: asked and achieved speed, lag and overruns over wall time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from nbbacktest.core.records import Float64
from nbbacktest.report.plotting import EQUITY, LIMIT, LOSS, OTHER
from nbbacktest.widgets.live_figure import AXIS, EMPTY, FigureProps, LiveFigure, axes_visible, base_layout

SAMPLES = 300
"""The number of samples that the chart keeps."""


@dataclass(frozen=True, slots=True)
class SyncSample:
    """Speed, lag and overruns of a run at one moment.

    Attributes
    ----------
    wall : float
        Seconds since the start.
    asked, achieved : float
        Simulated seconds a second; asked is 0 if no clock paces the run.
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


class SyncChart:
    """Keeps the newest samples of a run and draws them. For one thread."""

    def __init__(self) -> None:
        self._samples: deque[SyncSample] = deque(maxlen=SAMPLES)

    def add(self, sample: SyncSample) -> None:
        """Keep a sample if wall time has passed since the last one."""
        if not self._samples or sample.wall > self._samples[-1].wall:
            self._samples.append(sample)

    def props(self) -> FigureProps:
        """Asked and achieved speed, lag, and overruns over wall time."""
        if not self._samples:
            return FigureProps((EMPTY,) * 4, axes_visible(False, 3))
        table = np.array(
            [(s.wall, s.asked, s.achieved, s.lag * 1e3, s.overruns) for s in self._samples], dtype=np.float64
        )
        wall, asked, achieved, lag, overruns = (np.ascontiguousarray(values) for values in table.T)
        # A line of one point can't be seen.
        column = {"x": wall, "visible": True, "mode": "lines" if len(wall) > 1 else "markers"}
        return FigureProps(
            (
                {**column, "y": _positive(asked)},
                {**column, "y": _positive(achieved)},
                {**column, "y": lag},
                {**column, "y": overruns},
            ),
            axes_visible(True, 3),
        )


def _positive(values: Float64) -> Float64:
    """Values with NaN for those that a logarithmic axis can't show."""
    return np.where(values > 0, values, np.nan)


def sync_figure() -> LiveFigure:
    """The empty figure: asked and achieved speed above, lag and overruns below, over wall time."""
    traces = [
        go.Scatter(
            name=name, mode="lines", visible=False, yaxis=axis, hovertemplate=f"%{{y:{digits}}}",
            line={"color": colour, "width": width, "shape": shape}, marker={"color": colour},
        )
        for name, axis, colour, width, shape, digits in (
            ("Asked speed", "y", OTHER, 1.5, "hv", ",.4g"),
            ("Achieved", "y", EQUITY, 1.6, "linear", ",.4g"),
            ("Lag, ms", "y2", LOSS, 1.5, "linear", ",.3g"),
            ("Overruns", "y3", LIMIT, 1.5, "hv", ","),
        )
    ]  # fmt: skip
    layout = {
        **base_layout(280),
        "xaxis": {**AXIS, "anchor": "y2", "ticksuffix": " s"},
        "yaxis": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.42, 1.0], "type": "log", "nticks": 5,
                  "exponentformat": "SI"},
        "yaxis2": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.34], "nticks": 3,
                   "rangemode": "tozero", "ticksuffix": " ms"},
        "yaxis3": {**AXIS, "fixedrange": True, "side": "left", "overlaying": "y2", "tickformat": ",d", "nticks": 3,
                   "rangemode": "tozero", "showgrid": False},
    }  # fmt: skip
    return LiveFigure("Synchronization: speed, lag and overruns", traces, layout, "nbbt-sync")
