"""The bar chart: candles of any series and span, at most 600, with volume, indicators, fills and open orders' levels.

`BarChart` computes what the figure shows from a frozen frame, with numpy alone. Columns are contiguous float64: this form
goes to the browser fastest.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nbbacktest.core.enums import Side
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.live_bars import GrowingArray
from nbbacktest.engine.series import Series
from nbbacktest.report.plotting import (
    BUY,
    DOWN,
    LEVEL_LINES,
    MOST,
    SELL,
    UP,
    Binning,
    axis,
    breaks,
    choose,
    join,
    local_time,
    period,
)
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.snapshot import TradingSnapshot
from nbbacktest.trading.streams import StreamIndicator
from nbbacktest.widgets.live_figure import AXIS, EMPTY, FigureProps, LiveFigure, base_layout

FOLLOWED = 180
"""The number of newest bars that are shown while the chart follows."""
OVERLAYS, STUDIES = 6, 3
"""The most indicators that are drawn over the prices, and under them."""
_ENOUGH = 20
"""The number of an indicator's first values that decide if it is drawn over the prices or under them."""
CANDLES, VOLUME, BOUGHT, SOLD = range(4)
COUNT = 4 + len(LEVEL_LINES) + OVERLAYS + STUDIES

_COLOURS = ("#f2a541", "#9b7bea", "#2bb3c0", "#d96c9f", "#7fa650", "#b0875b")
"""The colours of indicators; each can be read on white and on black."""

_MILLISECOND = 1_000_000
_NONE = np.empty(0, dtype=np.float64)
_NO_CANDLES = {**dict.fromkeys(("x", "open", "high", "low", "close"), _NONE), "visible": False}


@dataclass(frozen=True, slots=True)
class ChartSelection:
    """The series and the span that the user chose.

    Attributes
    ----------
    follows : bool
        True: the newest bars are shown as they come.
    span : tuple of float or None
        The span if it doesn't follow, in milliseconds on the exchange's clock; None for all bars.
    """

    symbol: str
    interval: str
    follows: bool = True
    span: tuple[float, float] | None = None


_HIDDEN = {f"{name}.visible": False for name in ("xaxis", "yaxis", "yaxis2", "yaxis3")}
NOTHING = FigureProps((_NO_CANDLES, *[EMPTY] * (COUNT - 1)), _HIDDEN)


class FillMarkers:
    """The fills of a run so far, by symbol and side. For one thread."""

    def __init__(self) -> None:
        self._count = 0
        self._rows: dict[tuple[str, Side], tuple[array[int], array[int], array[float], array[float]]] = {}

    def grow(self, frame: Frame[TradingSnapshot]) -> None:
        """Take in the fills of the run up to `frame`."""
        fills: list[Fill] = frame.agent.lists.fills[self._count : frame.agent.n_fills]
        for number, fill in enumerate(fills, self._count):
            key = (fill.symbol, fill.side)
            if key not in self._rows:
                self._rows[key] = (array("q"), array("q"), array("d"), array("d"))
            numbers, times, sizes, prices = self._rows[key]
            numbers.append(number)
            times.append(fill.time_ns)
            sizes.append(fill.size)
            prices.append(fill.price)
        self._count += len(fills)

    def between(self, symbol: str, side: Side, first: int, last: int, count: int) -> tuple[Int64, Float64, Float64]:
        """Times, sizes and prices of those of the first `count` fills in bars stamped from `first` up to `last`, nanoseconds UTC."""
        if (symbol, side) not in self._rows:
            return np.empty(0, np.int64), _NONE, _NONE
        numbers, times, sizes, prices = self._rows[symbol, side]
        cut = slice(bisect_left(times, first), min(bisect_left(times, last), bisect_left(numbers, count)))
        return np.array(times[cut], np.int64), np.array(sizes[cut], np.float64), np.array(prices[cut], np.float64)


class BarChart:
    """Makes the bar chart of frames over the same series. For one thread.

    Parameters
    ----------
    series
        The series of the frames' axes.
    """

    def __init__(self, series: tuple[Series, ...]) -> None:
        self._series = series
        self._number = {(s.symbol, s.interval): n for n, s in enumerate(series)}
        self._local: dict[int, GrowingArray] = {}
        self._marks = FillMarkers()
        self._places: dict[str, _IndicatorPlace] = {}

    def props(self, frame: Frame[TradingSnapshot], selection: ChartSelection) -> FigureProps:
        """The chart as of `frame`."""
        number = self._number[selection.symbol, selection.interval]
        series, count = self._series[number], frame.rows[number]
        start, stop = self._cut(number, count, selection)
        if stop <= start:
            return NOTHING
        columns = series.columns.slice(start, stop)
        local = local_time(series.stamps, columns.time)
        binning = choose([local], columns.interval, MOST)
        keys = binning.keys(local)
        edges = np.concatenate(([0], np.flatnonzero(np.diff(keys)) + 1))
        candles = join(columns, 0, local, binning)
        x, place = axis(candles.start), period(binning)
        ends = np.append(edges[1:], len(keys)) - 1
        volume = np.add.reduceat(columns.volume, edges)
        traces: list[Mapping[str, Any]] = [
            {"x": x, "open": candles.open, "high": candles.high, "low": candles.low, "close": candles.close,
             "name": selection.symbol, "visible": True, **place},
            {"x": x, "y": volume, "visible": bool(volume.any()), **place},
            *self._fills(frame, series, columns, binning, place),
            *self._levels(frame, series, columns, local),
        ]  # fmt: skip
        overlays, studies = self._indicators(frame, number, start + ends, x, place)
        traces += [*overlays, *[EMPTY] * (OVERLAYS - len(overlays)), *studies, *[EMPTY] * (STUDIES - len(studies))]
        layout: dict[str, Any] = {
            "xaxis.visible": True,
            "xaxis.autorange": False,
            "yaxis.visible": True,
            "xaxis.rangebreaks": breaks(columns.interval, [local], binning),
            **_rows(has_studies=bool(studies), has_volume=bool(volume.any())),
            **_heights(x, candles.low, candles.high, selection),
        }
        if selection.follows or selection.span is None:
            step = _length(binning, x)
            layout["xaxis.range"] = [float(x[0]) - step / 2, float(x[-1]) + step * (1 + 0.04 * len(x))]
        else:
            layout["xaxis.range"] = list(selection.span)
        return FigureProps(tuple(traces), layout)

    def _cut(self, number: int, count: int, selection: ChartSelection) -> tuple[int, int]:
        if selection.follows:
            return max(count - FOLLOWED, 0), count
        if selection.span is None:
            return 0, count
        local = self._local_times(number)
        low, high = (int(edge * _MILLISECOND) for edge in selection.span)
        start, stop = np.searchsorted(local[:count], [low, high])
        # A third more on both sides, so that a drag shows bars at once.
        margin = max(int(stop - start) // 3, 10)
        return max(int(start) - margin, 0), min(int(stop) + margin, count)

    def _local_times(self, number: int) -> Int64:
        local = self._local.setdefault(number, GrowingArray(np.empty(0, dtype=np.int64)))
        series = self._series[number]
        fresh = series.columns.time[local.count :]  # columns grow while bars are loaded or arrive
        if len(fresh):
            local.extend(local_time(series.stamps, fresh))
        return local.view  # type: ignore[return-value]

    # -- what lies over the candles ---------------------------------------------------------------------------

    def _fills(
        self,
        frame: Frame[TradingSnapshot],
        series: Series,
        columns: BarColumns,
        binning: Binning,
        place: Mapping[str, Any],
    ) -> Iterator[Mapping[str, Any]]:
        self._marks.grow(frame)
        first, last = int(columns.time[0]), int(columns.end[-1])
        for side, verb in ((Side.BUY, "bought"), (Side.SELL, "sold")):
            times, sizes, prices = self._marks.between(series.symbol, side, first, last, frame.agent.n_fills)
            if not len(times):
                yield EMPTY
                continue
            keys, group = np.unique(self._keys(times, series, columns, binning), return_inverse=True)
            size = np.bincount(group, sizes)
            price = np.bincount(group, sizes * prices) / size
            text = [f"{verb} {units:,.6g} at {level:,.6g}" for units, level in zip(size, price, strict=True)]
            yield {"x": axis(binning.starts(keys)), "y": price, "text": text, "visible": True, **place}

    @staticmethod
    def _keys(times: Int64, series: Series, columns: BarColumns, binning: Binning) -> Int64:
        """The key of each fill's candle: the candle that holds the bar of the fill."""
        rows = np.clip(np.searchsorted(columns.time, times, side="right") - 1, 0, None)
        return binning.keys(local_time(series.stamps, columns.time[rows]))

    @staticmethod
    def _levels(
        frame: Frame[TradingSnapshot], series: Series, columns: BarColumns, local: Int64
    ) -> Iterator[Mapping[str, Any]]:
        orders = [order for order in frame.agent.orders if order.symbol == series.symbol][-50:]
        for name, _, _ in LEVEL_LINES:
            open_ones = [
                (order.submitted_ns, getattr(order, name)) for order in orders if getattr(order, name) is not None
            ]
            if not open_ones:
                yield EMPTY
                continue
            rows = np.searchsorted(columns.end, [since for since, _ in open_ones], side="left")
            x = np.full((len(open_ones), 3), np.nan)
            x[:, 0] = axis(local[np.minimum(rows, len(local) - 1)])
            x[:, 1] = axis(local[-1:] + columns.interval.ns)
            y = np.full((len(open_ones), 3), np.nan)
            y[:, :2] = np.array([level for _, level in open_ones], dtype=np.float64)[:, None]
            yield {"x": x.ravel(), "y": y.ravel(), "visible": True}

    def _indicators(
        self,
        frame: Frame[TradingSnapshot],
        number: int,
        rows: Int64,
        x: Float64,
        place: Mapping[str, Any],
    ) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        over: list[Mapping[str, Any]] = []
        under: list[Mapping[str, Any]] = []
        series, count = self._series[number], frame.rows[number]
        for key, _, handle in frame.agent.lists.indicators[: len(frame.agent.indicators)]:
            if handle.symbol != series.symbol or handle.interval != series.interval:
                continue
            values = _values(handle, rows)
            if values is None:
                continue
            trace = {"x": x, "y": values, "name": handle.name, "visible": True, **place}
            if self._places.setdefault(key, _IndicatorPlace()).is_under(handle, series, count):
                under.append(trace)
            else:
                over.append(trace)
        return over[:OVERLAYS], under[:STUDIES]


class _IndicatorPlace:
    """Decides if one indicator is drawn under the prices: by its first values, so that all charts of a run decide alike."""

    def __init__(self) -> None:
        self._looked = 0  # bars whose values were looked at
        self._rows: Int64 = np.empty(0, dtype=np.int64)  # the first bars with values
        self._values = self._close = _NONE  # theirs, and their closes

    def is_under(self, handle: Indicator, series: Series, count: int) -> bool:
        """True if it is drawn under the prices, as far as its values at the first `count` bars tell."""
        seen = min(count, handle._feed.filled) if isinstance(handle, StreamIndicator) else count  # noqa: SLF001 - as in `_values`
        while self._looked < seen and len(self._values) < _ENOUGH:
            rows = np.arange(self._looked, min(seen, max(2 * self._looked, 256)))
            values = _values(handle, rows)
            if values is None:
                break
            known = np.flatnonzero(np.isfinite(values))[: _ENOUGH - len(self._values)]
            self._rows = np.append(self._rows, rows[known])
            self._values = np.append(self._values, values[known])
            self._close = np.append(self._close, series.columns.close[rows[known]])
            self._looked = int(rows[-1]) + 1
        there = int(np.searchsorted(self._rows, count))
        return there >= min(_ENOUGH, count) and not _like_prices(self._values[:there], self._close[:there])


def _values(handle: Indicator, rows: Int64) -> Float64 | None:
    """An indicator's values at these bars, NaN if there is none yet; None if it gives more than a number a bar."""
    if not isinstance(handle, StreamIndicator):
        whole = handle._values  # noqa: SLF001 - hidden from strategies only; reading a streaming one would feed it
        if rows[-1] < len(whole):
            return whole[rows]
        # Bars have come, and its function raised since.
        return np.where(rows < len(whole), np.append(whole, np.nan)[np.minimum(rows, len(whole))], np.nan)
    feed = handle._feed  # noqa: SLF001 - as above
    store = feed.stores[handle.output]
    filled = min(feed.filled, len(store))
    if filled and isinstance(store[0], tuple):
        return None
    low, high = int(rows[0]), min(int(rows[-1]) + 1, filled)
    values = np.full(len(rows), np.nan)
    there = rows < high
    if high > low:
        values[there] = np.array(store[low:high], dtype=np.float64)[rows[there] - low]
    return values


def _like_prices(values: Float64, close: Float64) -> bool:
    """True if an indicator lies near the prices, as averages do, and is drawn over them; oscillators are drawn below."""
    away = np.abs(values - close)
    away = away[np.isfinite(away)]
    near = max(3 * float(close.max() - close.min()), 0.05 * float(np.abs(close).mean()))
    return not len(away) or float(np.median(away)) <= near


def _length(binning: Binning, x: Float64) -> float:
    if binning.step:
        return binning.step / _MILLISECOND
    return float(np.median(np.diff(x))) if len(x) > 1 else 86_400_000.0


def _heights(x: Float64, low: Float64, high: Float64, selection: ChartSelection) -> dict[str, Any]:
    """The range of the price axis: that of the shown bars, with a margin."""
    if selection.span is not None and not selection.follows:
        inside = (x >= selection.span[0]) & (x <= selection.span[1])
        if inside.any():
            low, high = low[inside], high[inside]
    bottom, top = float(low.min()), float(high.max())
    air = 0.06 * (top - bottom) or 0.01 * abs(top) or 1.0
    return {"yaxis.range": [bottom - air, top + air]}


def _rows(*, has_studies: bool, has_volume: bool) -> dict[str, Any]:
    """The places of the three price axes, from the bottom up: studies, volume, prices."""
    floor = 0.0
    layout: dict[str, Any] = {"yaxis3.visible": has_studies, "yaxis2.visible": has_volume}
    if has_studies:
        layout["yaxis3.domain"] = [0.0, 0.18]
        floor = 0.22
    if has_volume:
        layout["yaxis2.domain"] = [floor, floor + 0.13]
        floor += 0.16
    layout["yaxis.domain"] = [floor, 1.0]
    return layout


def bars_figure() -> LiveFigure:
    """The empty figure: candles, volume, fills, orders' levels, indicators."""
    traces: list[Any] = [
        go.Candlestick(
            showlegend=False, visible=False,
            increasing={"line": {"color": UP, "width": 1}, "fillcolor": UP},
            decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
        ),
        go.Bar(
            yaxis="y2", name="Volume", showlegend=False, visible=False,
            marker={"color": "rgba(128,128,128,0.45)", "line": {"width": 0}}, hovertemplate="%{y:,.0f}",
        ),
        *(
            go.Scatter(
                mode="markers", name=name, visible=False, hovertemplate="%{text}<extra></extra>",
                marker={"symbol": shape, "size": 10, "color": colour, "line": {"width": 1, "color": "white"}},
            )
            for name, shape, colour in (("Buy", "triangle-up", BUY), ("Sell", "triangle-down", SELL))
        ),
        *(
            go.Scatter(
                mode="lines", name=name.capitalize(), visible=False, connectgaps=False, hoverinfo="skip",
                line={"color": colour, "width": 1.5, "dash": dash},
            )
            for name, colour, dash in LEVEL_LINES
        ),
        *(_line(_COLOURS[n], "y") for n in range(OVERLAYS)),
        *(_line(_COLOURS[-1 - n], "y3") for n in range(STUDIES)),
    ]  # fmt: skip
    layout = {
        **base_layout(400),
        "bargap": 0.25,
        "xaxis": {**AXIS, "type": "date", "rangeslider": {"visible": False}, "rangebreaks": [], "anchor": "free",
                  "position": 0, "hoverformat": "%a %Y-%m-%d %H:%M"},
        "yaxis": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.16, 1.0]},
        "yaxis2": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.13], "nticks": 3},
        "yaxis3": {**AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.1], "nticks": 4},
    }  # fmt: skip
    return LiveFigure("Bars with fills, orders and indicators", traces, layout, "nbbt-bars", acknowledges=True)


def _line(colour: str, axis: str) -> Any:
    return go.Scatter(
        mode="lines", yaxis=axis, visible=False, line={"color": colour, "width": 1.3}, hovertemplate="%{y:,.6g}"
    )
