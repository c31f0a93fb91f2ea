"""The panel's three charts: draws them in turn, and follows the user's zooms."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nbbacktest.core.enums import SystemState
from nbbacktest.core.intervals import NO_TIME
from nbbacktest.core.records import Int64
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.live_bars import GrowingArray
from nbbacktest.system.run import Run
from nbbacktest.trading.snapshot import TradingSnapshot
from nbbacktest.widgets.account_chart import AccountChart, equity_figure
from nbbacktest.widgets.bar_chart import BarChart, ChartSelection, bars_figure
from nbbacktest.widgets.controls import Controls
from nbbacktest.widgets.live_figure import FigureProps, LiveFigure
from nbbacktest.widgets.sync_chart import SyncChart, SyncSample, sync_figure
from nbbacktest.widgets.view import ViewState


class Charts:
    """Draws the three charts in the pump's thread; zooms and choices arrive in the kernel's.

    Parameters
    ----------
    controls
        The controls for symbol, interval and following.
    poke
        Asks the pump for a frame at once.

    Attributes
    ----------
    bars, equity, sync : LiveFigure
    """

    def __init__(self, controls: Controls, poke: Callable[[], object]) -> None:
        self.bars, self.equity, self.sync = bars_figure(), equity_figure(), sync_figure()
        self._controls = controls
        self._poke = poke
        self._guard = threading.Lock()  # guards the span, which a zoom writes and a frame reads
        self._span: tuple[float, float] | None = None
        self._drawing: _Drawing | None = None
        self._turn = 0
        self.bars.listen(poke, self._zoomed)
        for figure in (self.equity, self.sync):
            figure.listen(poke, lambda _changes: None)
        for choice in (controls.symbol, controls.interval, controls.follow):
            choice.observe(lambda _change: poke(), "value")

    @property
    def drawing_seconds(self) -> float:
        """Seconds that the page took to draw the last bar chart."""
        return self.bars.drawing_seconds

    def starts(self, run: Run, frame: Frame[TradingSnapshot]) -> Int64:
        """The places at which trading days begin, those ahead included."""
        return self._of(run, frame).starts(frame)

    def beat(self, run: Run, frame: Frame[TradingSnapshot], view: ViewState) -> None:
        """Add a sample to the synchronization chart."""
        self._of(run, frame).sync.add(SyncSample(view.wall, view.speed, view.achieved, view.lag, view.overruns))

    def draw(self, run: Run, frame: Frame[TradingSnapshot], view: ViewState) -> bool:
        """Draw the changes; returns True if the page is still drawing the last frame, and nothing was sent."""
        if self.bars.is_behind:
            return True
        drawing, selection = self._of(run, frame), self._selection(frame)
        drawings: list[tuple[LiveFigure, Callable[[], FigureProps]]] = [
            (self.equity, lambda: drawing.account.props(frame, selection.symbol)),
            (self.sync, drawing.sync.props),
            (self.bars, lambda: drawing.bars.props(frame, selection)),  # last: its acknowledgement counts for all three
        ]
        if view.state is SystemState.RUNNING and view.speed == 0 and not view.is_looking:
            # One chart a frame: a page hears no click while it draws.
            self._turn += 1
            drawings = [drawings[2 if self._turn % 2 else self._turn // 2 % 2]]
        for figure, make_props in drawings:
            made = make_props()
            figure.draw(made.traces, made.layout)
        return False

    def answer(self) -> None:
        """Send pages the figures that they lack, even if there is no run to draw."""
        for figure in (self.bars, self.equity, self.sync):
            figure.answer()

    def _of(self, run: Run, frame: Frame[TradingSnapshot]) -> _Drawing:
        drawing = self._drawing
        if drawing is None or drawing.run is not run:
            drawing = self._drawing = _Drawing(run, frame)
        elif not drawing.is_of(run, frame):
            drawing = self._drawing = _Drawing(run, frame, drawing.sync)
        return drawing

    def _selection(self, frame: Frame[TradingSnapshot]) -> ChartSelection:
        names = [(series.symbol, series.interval) for series in frame.axis.series]
        chosen = (self._controls.symbol.value, self._controls.interval.value)
        symbol, interval = chosen if chosen in names else names[0]
        follows = bool(self._controls.follow.value)
        with self._guard:
            return ChartSelection(symbol, interval, follows, None if follows else self._span)

    def _zoomed(self, changes: Mapping[str, Any]) -> None:
        """Stop following when the user has moved the time axis."""
        span = span_of(changes)
        if span is None and not changes.get("xaxis.autorange"):
            return
        with self._guard:
            self._span = span
        self._controls.follow.value = False
        self._poke()


def looked_at(run: Run, frame: Frame[TradingSnapshot], looked: Frame[TradingSnapshot]) -> Frame[TradingSnapshot]:
    """The looked-at frame of a run that is at `frame`, with the series of all its world: none has bars before it has joined."""
    is_ahead = looked.agent.lists.fills is not frame.agent.lists.fills
    axis = run.journey.farthest.timeline.axis if is_ahead else frame.axis
    rows = dict(zip(looked.axis.series, looked.rows, strict=True))
    return looked._replace(axis=axis, rows=tuple([rows.get(one, 0) for one in axis.series]), epoch=frame.epoch)


def _basis(run: Run, frame: Frame[TradingSnapshot]) -> object:
    """The object that stays the same between two jumps while what was computed of earlier frames stays right.

    A backtest's axis is another one after a symbol has joined or left. A live run's axis is another one after each bar, but
    only grows: its series stay.
    """
    return frame.axis.series if run.is_live else frame.axis


class _Drawing:
    """The three charts of one run, as long as its frames have one basis and one future; `sync` goes on from one to the next."""

    def __init__(self, run: Run, frame: Frame[TradingSnapshot], sync: SyncChart | None = None) -> None:
        self.run = run
        self._epoch, self._basis, self._farthest = frame.epoch, _basis(run, frame), run.journey.farthest
        series = frame.axis.series
        self.bars, self.account = BarChart(series), AccountChart(run.config.broker.cash, series)
        self.sync = sync or SyncChart()
        self._starts = GrowingArray(np.empty(0, dtype=np.int64))  # the instants at which trading days begin
        self._looked, self._day = 0, NO_TIME  # instants whose days are known, and the last of these days

    def is_of(self, run: Run, frame: Frame[TradingSnapshot]) -> bool:
        """True if what was computed of earlier frames is right for this one."""
        is_same_past = self._epoch == frame.epoch and self._basis is _basis(run, frame)
        return is_same_past and self._farthest is run.journey.farthest

    def starts(self, frame: Frame[TradingSnapshot]) -> Int64:
        """The places at which trading days begin."""
        fresh = frame.axis.instants[self._looked :]
        if len(fresh):
            days = self.run.days.of(fresh - 1)
            self._starts.extend(np.flatnonzero(days != np.append(self._day, days[:-1])) + self._looked)
            self._looked, self._day = self._looked + len(fresh), int(days[-1])
        return self._starts.view  # type: ignore[return-value]


def span_of(changes: Mapping[str, Any]) -> tuple[float, float] | None:
    """The new range of the time axis, in milliseconds; None if `changes` hold none."""
    low, high = changes.get("xaxis.range[0]"), changes.get("xaxis.range[1]")
    if low is None or high is None:
        low, high = changes.get("xaxis.range") or (None, None)
    if low is None or high is None:
        return None
    return _milliseconds(low), _milliseconds(high)


def _milliseconds(edge: float | str) -> float:
    if isinstance(edge, str):
        return float(np.datetime64(edge.replace(" ", "T"), "us").astype(np.int64)) / 1e3
    return float(edge)
