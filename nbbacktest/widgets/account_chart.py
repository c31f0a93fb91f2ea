"""The account chart: equity, its drawdown, and the starting cash held in one symbol.

`AccountCurves` computes the values of new instants only, and `ThinnedCurve` keeps them at a size that can be drawn.
"""

from __future__ import annotations

from itertools import accumulate
from math import nan
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64, Int64
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.live_bars import GrowingArray
from nbbacktest.engine.series import Series
from nbbacktest.report.plotting import EQUITY, LOSS, OTHER, axis, breaks, choose, extremes, local_time
from nbbacktest.trading.portfolio import Tally
from nbbacktest.trading.snapshot import TradingSnapshot
from nbbacktest.widgets.live_figure import AXIS, EMPTY, FigureProps, LiveFigure, axes_visible, base_layout

POINTS = 400
"""The approximate number of highs and lows that a curve is drawn with."""
_RUN = 64
"""Values of which the lowest and the highest are kept."""


class AccountChart:
    """Makes the account chart of frames over the same series. For one thread.

    Parameters
    ----------
    cash
        The starting cash.
    series
        The series of the frames' axes.
    """

    def __init__(self, cash: float, series: tuple[Series, ...]) -> None:
        self._curves = AccountCurves(cash, series)
        bases = [number for number, one in enumerate(series) if one.is_base]
        # A symbol that has left knows no later closed hours.
        self._number = max(bases, key=lambda number: _last_day(series[number]))
        self._base = series[self._number]

    def props(self, frame: Frame[TradingSnapshot], symbol: str) -> FigureProps:
        """The chart as of `frame`; `symbol` is the benchmark."""
        self._curves.grow(frame)
        if not frame.cursor:
            return FigureProps((EMPTY,) * 3, axes_visible(False, 2))
        held = self._curves.holding(symbol)
        traces = (
            {**self._curve(frame, self._curves.equity), "name": "Equity"},
            {**self._curve(frame, held), "name": f"Cash held in {symbol}"},
            {**self._curve(frame, self._curves.drawdown), "name": "Drawdown"},
        )
        return FigureProps(traces, {**axes_visible(True, 2), "xaxis.rangebreaks": self._breaks(frame)})

    def _curve(self, frame: Frame[TradingSnapshot], curve: ThinnedCurve) -> dict[str, Any]:
        rows = curve.rows(POINTS, frame.cursor)
        return {"x": axis(self._moments(frame.axis.instants[rows])), "y": curve.values[rows], "visible": True}

    def _moments(self, instants: Int64) -> Int64:
        stamps = self._base.stamps
        if not self._base.columns.interval.is_daily:
            return local_time(stamps, instants)
        return local_time(stamps, instants - 1) // DAY * DAY + DAY // 2

    def _breaks(self, frame: Frame[TradingSnapshot]) -> list[dict[str, Any]]:
        """The closed hours so far, which the chart leaves out; none on long runs, if they are too narrow to be seen."""
        columns, stop = self._base.columns, frame.rows[self._number]
        if frame.cursor > 20_000 or columns.interval.is_daily:
            return []
        start = int(np.searchsorted(columns.end[:stop], frame.axis.instants[0]))
        if stop <= start:
            return []
        local = local_time(self._base.stamps, columns.time[start:stop])
        return breaks(columns.interval, [local], choose([local], columns.interval))


def _last_day(series: Series) -> int:
    ends = series.whole.end
    return int(ends[-1]) // DAY if len(ends) else 0


class ThinnedCurve:
    """A growing column that is drawn by its highs and lows alone."""

    def __init__(self) -> None:
        self._values = GrowingArray(np.empty(0, dtype=np.float64))
        self._kept: list[Int64] = []
        self._until = 0  # highs and lows of all values before it are in `_kept`

    @property
    def count(self) -> int:
        """The number of its values."""
        return self._values.count

    @property
    def values(self) -> Float64:
        """All values so far."""
        return self._values.view  # type: ignore[return-value]

    def extend(self, values: Float64) -> None:
        """Append values."""
        self._values.extend(values)
        stop = self.count // _RUN * _RUN
        if stop > self._until:
            runs = self.values[self._until : stop].reshape(-1, _RUN)
            starts = np.arange(self._until, stop, _RUN)
            pairs = np.column_stack((runs.argmin(axis=1) + starts, runs.argmax(axis=1) + starts))
            self._kept.append(np.sort(pairs, axis=1).ravel().astype(np.int64))
            self._until = stop
            if len(self._kept) > 64:
                self._kept = [np.concatenate(self._kept)]

    def rows(self, most: int, count: int) -> Int64:
        """Row numbers, rising, of about `most` of the first `count` values, with every high and low."""
        if count <= most * _RUN:
            return extremes(self.values[:count], most)
        whole = count // _RUN * _RUN
        kept = np.concatenate(self._kept)
        rows = np.concatenate((kept[: np.searchsorted(kept, whole)], np.arange(whole, count, dtype=np.int64)))
        rows = rows[extremes(self.values[rows], most)]
        ends = np.array([0, count - 1], dtype=np.int64)
        return np.union1d(rows, ends).astype(np.int64)


class AccountCurves:
    """Equity, drawdown, and the starting cash held in one symbol, at every instant so far. For one thread.

    Completed instants stay as they are, and more may come: the curves grow with the frames, whose series are the same. They
    may have more values than a frame has instants, if an earlier frame had them.

    Parameters
    ----------
    cash
        The starting cash.
    series
        The series of the frames' axes.

    Attributes
    ----------
    equity, drawdown : ThinnedCurve
        One value an instant; drawdown as a fraction, negative.
    """

    def __init__(self, cash: float, series: tuple[Series, ...]) -> None:
        self.equity = ThinnedCurve()
        self.drawdown = ThinnedCurve()
        self.held: dict[str, ThinnedCurve] = {}
        self._is_single = len(series) == 1
        self._base = {one.symbol: one for one in series if one.is_base}
        self._instants: Int64 = np.empty(0, dtype=np.int64)
        self._start_cash = self._cash = self._peak = float(cash)
        self._sizes = {symbol: Tally() for symbol in self._base}
        self._fills = self._flows = self._splits = 0  # the number of instants in the curves

    def grow(self, frame: Frame[TradingSnapshot]) -> None:
        """Compute the instants that no call has computed."""
        start, stop = self.equity.count, frame.cursor
        if stop <= start:
            return
        self._instants = frame.axis.instants
        equity = self._cash_and_positions(frame, start, stop)
        peaks = np.maximum(np.maximum.accumulate(equity), self._peak)
        self._peak = float(peaks[-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.drawdown.extend(np.where(peaks > 0, equity / peaks - 1, 0.0))
        self.equity.extend(equity)

    def holding(self, symbol: str) -> ThinnedCurve:
        """The starting cash as a position in `symbol`; NaN before its first close."""
        curve = self.held.get(symbol)
        if curve is None:
            curve = self.held[symbol] = ThinnedCurve()
        start, stop = curve.count, self.equity.count
        if stop > start:
            closes = self._marks(symbol, start, stop)
            curve.extend(closes * (self._start_cash / _first_price(self._base[symbol])))
        return curve

    def _cash_and_positions(self, frame: Frame[TradingSnapshot], start: int, stop: int) -> Float64:
        lists = frame.agent.lists
        flows = [flow for flow in lists.flows[self._flows :] if flow.index < stop]
        splits = [split for split in lists.splits[self._splits :] if split.index < stop]
        fills = lists.fills[self._fills : frame.agent.n_fills]
        self._flows += len(flows)
        self._splits += len(splits)
        self._fills += len(fills)
        changes = [(flow.index, flow.amount) for flow in flows]
        changes += [(fill.index, -fill.signed_size * fill.price - fill.commission) for fill in fills]
        changes.sort(key=lambda change: change[0])  # stable: flows stay before fills
        cash = list(accumulate((amount for _, amount in changes), initial=self._cash))
        equity = _steps(cash, [at for at, _ in changes], start, stop)
        self._cash = cash[-1]
        for symbol in self._base:
            moved = [(s.index, s.ratio, 0.0) for s in splits if s.symbol == symbol]
            moved += [(f.index, 1.0, f.signed_size) for f in fills if f.symbol == symbol]
            moved.sort(key=lambda change: change[0])
            held = self._sizes[symbol]
            if not moved and not held.units:
                continue
            before = held.units
            levels = [before, *(held.add(size) if ratio == 1.0 else held.split(ratio) for _, ratio, size in moved)]
            sizes = _steps(levels, [at for at, *_ in moved], start, stop)
            equity += np.where(sizes == 0.0, 0.0, sizes * self._marks(symbol, start, stop))
        return equity

    def _marks(self, symbol: str, start: int, stop: int) -> Float64:
        """The newest close at or before each of these instants; NaN before the first."""
        series = self._base[symbol]
        columns = series.columns
        if self._is_single:
            return columns.close[series.first + start : series.first + stop]
        if not len(columns):  # in a live run, before the symbol's first bar
            return np.full(stop - start, nan)
        seen = np.searchsorted(columns.end, self._instants[start:stop], side="right")
        values = columns.close[np.maximum(seen - 1, 0)]
        return np.where(seen > 0, values, np.nan)


def _first_price(series: Series) -> float:
    """The price at which a run begins: the last close of its warm-up, else the first open; NaN before there is one."""
    columns = series.columns
    if series.first:
        return float(columns.close[series.first - 1])
    return float(columns.open[0]) if len(columns) else nan


def _steps(levels: list[float], changes: list[int], start: int, stop: int) -> Float64:
    """A level at each instant from `start` up to `stop`: the first level, then that of each change from its instant on."""
    edges = [start, *(max(at, start) for at in changes), stop]
    return np.repeat(np.array(levels, dtype=np.float64), np.diff(edges))


def equity_figure() -> LiveFigure:
    """The empty figure: equity and a benchmark, with the drawdown below."""
    traces = [
        go.Scatter(name="Equity", mode="lines", visible=False, line={"color": EQUITY, "width": 1.6},
                   hovertemplate="%{y:,.2f}"),
        go.Scatter(name="Benchmark", mode="lines", visible=False, line={"color": OTHER, "width": 1.3, "dash": "dot"},
                   hovertemplate="%{y:,.2f}"),
        go.Scatter(name="Drawdown", mode="lines", visible=False, yaxis="y2", showlegend=False, fill="tozeroy",
                   line={"color": LOSS, "width": 1}, fillcolor="rgba(226,103,74,0.25)", hovertemplate="%{y:.2%}"),
    ]  # fmt: skip
    layout = {
        **base_layout(280),
        "xaxis": {**AXIS, "type": "date", "rangebreaks": [], "anchor": "y2", "hoverformat": "%a %Y-%m-%d %H:%M"},
        "yaxis": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.34, 1.0], "tickformat": ",~f", "nticks": 5},
        "yaxis2": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.28], "tickformat": ".1~%",
                   "nticks": 3, "rangemode": "tozero"},
    }  # fmt: skip
    return LiveFigure("Equity, benchmark and drawdown", traces, layout, "nbbt-equity")
