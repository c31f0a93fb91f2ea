"""The traces of a figure: candles, fills, orders' levels, the account, trades, months. Each has a bounded number of points.

Pure functions of a `RunAnalysis`. `figure` places the panels; a trace only knows the name of its axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.enums import Side
from nbbacktest.core.formats import brief, change, percent
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64, Int64
from nbbacktest.report.benchmark import Benchmark
from nbbacktest.report.plotting import (
    BUY,
    DOWN,
    EQUITY,
    LEVEL_LINES,
    LOSS,
    MOST,
    OTHER,
    SELL,
    UP,
    Binning,
    axis,
    extremes,
    join,
    local_time,
    moments,
    period,
)
from nbbacktest.trading.equity import day_ends, local_days
from nbbacktest.trading.excursions import excursions
from nbbacktest.trading.order_replay import level_path, stop_path
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.order import levels_of
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import drawdowns

if TYPE_CHECKING:
    from nbbacktest.report.analysis import RunAnalysis

LEVELS = 200
"""The most orders of a symbol whose levels are drawn: the newest ones."""
YEARS = 25
"""The most years that a heat map shows: the newest ones."""
WINDOW = 63
"""Days of the rolling panel: a quarter of a year."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Traces that share a vertical axis, under one heading."""

    heading: str
    traces: tuple[Any, ...]


def price_traces(run: RunAnalysis, symbol: str, local: Int64, binning: Binning) -> list[Any]:
    """Candles, purchases and sales of one symbol."""
    import plotly.graph_objects as go

    record = run.record
    candles = join(record.bars[symbol], record.first.get(symbol, 0), local, binning)
    traces: list[Any] = [
        go.Candlestick(
            x=axis(candles.start), **period(binning),
            open=candles.open, high=candles.high, low=candles.low, close=candles.close,
            name=escape(symbol), showlegend=False,
            increasing={"line": {"color": UP, "width": 1}, "fillcolor": UP},
            decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
        )
    ]  # fmt: skip
    for side, colour, shape in ((Side.BUY, BUY, "triangle-up"), (Side.SELL, SELL, "triangle-down")):
        x, price, text = _marks(run, symbol, side, binning)
        traces.append(
            go.Scatter(
                x=x, y=price, text=text, mode="markers", name=side.value.capitalize(), **period(binning),
                hovertemplate="%{text}<extra></extra>",
                marker={"symbol": shape, "size": 10, "color": colour, "line": {"width": 1, "color": "white"}},
            )
        )  # fmt: skip
    return traces


def _marks(run: RunAnalysis, symbol: str, side: Side, binning: Binning) -> tuple[Float64, Float64, list[str]]:
    """The marks of fills, one for each candle that has some: its place, mean price and text."""
    done, none = run.record.executions, np.empty(0, dtype=np.float64)
    rows = done.rows.get(symbol, none.astype(np.int64))
    rows = rows[done.signed[rows] > 0 if side is Side.BUY else done.signed[rows] < 0]
    if not len(rows):
        return none, none, []
    keys, group = np.unique(binning.keys(local_time(run.record.stamps, done.time[rows])), return_inverse=True)
    sizes = np.abs(done.signed[rows])
    size = np.bincount(group, sizes)
    price = np.bincount(group, sizes * done.price[rows]) / size
    count = np.bincount(group)
    verb = {Side.BUY: "bought", Side.SELL: "sold"}[side]
    text = [
        f"{verb} {brief(units)} at {'' if n == 1 else 'an average of '}{brief(p)}" + (f" in {n} fills" if n > 1 else "")
        for units, p, n in zip(size, price, count, strict=True)
    ]
    return axis(binning.starts(keys)), price, text


# -- orders' levels -----------------------------------------------------------------------------------------


def level_traces(run: RunAnalysis, orders: Sequence[Order]) -> list[Any]:
    """The levels of the newest of a symbol's orders, each as a line from its submission to its end."""
    import plotly.graph_objects as go

    record = run.record
    traces = []
    for name, colour, dash in LEVEL_LINES:
        spans = [span for order in orders[-LEVELS:] for span in _spans(record, order, name)]
        if not spans:
            continue
        edges = np.array([(start, stop) for start, stop, _ in spans], dtype=np.int64)
        x = np.full((len(spans), 3), np.nan)
        x[:, :2] = axis(moments(record, edges.ravel())).reshape(-1, 2)
        y = np.full((len(spans), 3), np.nan)
        y[:, :2] = np.array([level for _, _, level in spans])[:, None]
        traces.append(
            go.Scatter(
                x=x.ravel(), y=y.ravel(), mode="lines", name=f"{name.capitalize()} level", connectgaps=False,
                line={"color": colour, "width": 1.5, "dash": dash}, hoverinfo="skip",
            )
        )  # fmt: skip
    return traces


def level_orders(record: RunRecord) -> dict[str, list[Order]]:
    """The orders that had a level by symbol, in order of submission."""
    found: dict[str, list[Order]] = {}
    for order in record.orders:
        if levels_of(order):
            found.setdefault(order.symbol, []).append(order)
    return found


def _spans(record: RunRecord, order: Order, name: str) -> Iterator[tuple[int, int, float]]:
    """The levels of an order, each with its first and last instant."""
    if not len(record.instants):
        return
    first, last = int(record.instants[0]), int(record.instants[-1])
    stop = min(order.closed_ns or last, last)
    moved = order.trail is not None and name == "stop"
    steps = stop_path(record, order) if moved else level_path(order, name)
    # A trailing stop may move with every bar: its path is thinned like any other curve.
    steps = steps[:: -(-len(steps) // MOST)] if len(steps) > MOST else steps
    for number, (since, level) in enumerate(steps):
        until = steps[number + 1][0] if number + 1 < len(steps) else stop
        if level is not None and until >= first:
            yield max(since, first), max(min(until, stop), first), level


# -- the account --------------------------------------------------------------------------------------------


def equity_panel(run: RunAnalysis, benchmark: Benchmark | None) -> Panel:
    """The panel of the equity, and of the starting cash held in the benchmark."""
    import plotly.graph_objects as go

    record, equity = run.record, run.equity_values
    where = moments(record, record.instants)
    rows = extremes(equity)
    traces = [
        go.Scatter(
            x=axis(where[rows]), y=equity[rows], yaxis="y2", name="Equity", mode="lines",
            showlegend=benchmark is not None, line={"color": EQUITY, "width": 1.5}, hovertemplate="%{y:,.2f}",
        )
    ]  # fmt: skip
    if benchmark is not None:
        curve = benchmark.curve(record.cash if benchmark.before is not None else float(equity[benchmark.rows[0]]))
        kept = extremes(curve)
        traces.append(
            go.Scatter(
                x=axis(where[benchmark.rows[kept]]), y=curve[kept], yaxis="y2", name=escape(benchmark.name),
                mode="lines", line={"color": OTHER, "width": 1.5, "dash": "dot"}, hovertemplate="%{y:,.2f}",
            )
        )  # fmt: skip
    heading = "Equity" if benchmark is None else f"Equity, and the same cash in {benchmark.name}"
    return Panel(heading, tuple(traces))


def drawdown_panel(run: RunAnalysis) -> Panel:
    """The fall below the highest equity until then."""
    import plotly.graph_objects as go

    record = run.record
    fall = drawdowns(run.equity_values, record.cash)
    rows = extremes(fall)
    return Panel(
        "Drawdown from the peak",
        (
            go.Scatter(
                x=axis(moments(record, record.instants[rows])), y=fall[rows], yaxis="y3", name="Drawdown", mode="lines",
                showlegend=False, line={"color": LOSS, "width": 1}, fill="tozeroy", fillcolor="rgba(226,103,74,0.25)",
                hovertemplate="%{y:.2%}",
            ),
        ),
    )  # fmt: skip


def trades_panel(run: RunAnalysis, yaxis: str) -> Panel | None:
    """Each closed trade at its exit: its net return, MAE and MFE."""
    import plotly.graph_objects as go

    record = run.record
    closed = run.round_trips.closed
    if not closed:
        return None
    rows = np.flatnonzero(np.isfinite(closed.return_))
    shown = closed.take(rows[extremes(closed.return_[rows], MOST // 2)])
    returns, far, stamps = shown.return_, excursions(record, shown), record.executions.time[shown.exit]
    x = axis(
        local_time(record.stamps, stamps) // DAY * DAY + DAY // 2 if record.daily else local_time(record.stamps, stamps)
    )
    text = [
        f"{escape(t.symbol)} {'long' if t.size > 0 else 'short'} {brief(abs(t.size))}: {t.return_:+.2%} ({change(t.pnl)})"
        f", MAE {percent(worst)}, MFE {best:+.2%}"
        for t, worst, best in zip(shown, far.mae, far.mfe, strict=True)
    ]
    heading = "Trades: net return at the exit; the bar reaches from MAE to MFE"
    if len(shown) < len(closed):
        heading += f" ({len(shown):,} of {len(closed):,} drawn)"
    return Panel(
        heading,
        (
            go.Scatter(
                x=_gapped(x, x), y=_gapped(far.mae, far.mfe), yaxis=yaxis, mode="lines", name="MAE to MFE",
                showlegend=False, hoverinfo="skip", line={"color": "rgba(128,128,128,0.45)", "width": 2},
            ),
            go.Scatter(
                x=x, y=returns, yaxis=yaxis, mode="markers", name="Trade", showlegend=False, text=text,
                hovertemplate="%{text}<extra></extra>",
                marker={"size": 7, "color": np.where(returns > 0, UP, DOWN).tolist()},
            ),
        ),
    )  # fmt: skip


def _gapped(first: Float64, second: Float64) -> Float64:
    """One column of all pairs with a gap after each, so that one trace draws many strokes."""
    return np.column_stack((first, second, np.full(len(first), np.nan))).ravel()


def rolling_panel(run: RunAnalysis, yaxis: str) -> Panel | None:
    """The Sharpe ratio of the last quarter of a year, if there are at least two of them."""
    import plotly.graph_objects as go

    record = run.record
    ends = day_ends(local_days(record))
    if len(ends) < 2 * WINDOW:
        return None
    values = run.rolling(WINDOW)["sharpe"].to_numpy()
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return None
    rows = known[extremes(values[known])]
    # A quarter without a trade has no Sharpe ratio (NaN). One NaN for each such stretch is kept, so that the line has a gap there.
    unknown = np.flatnonzero(~np.isfinite(values))
    rows = np.union1d(rows, unknown[np.append(True, np.diff(unknown) > 1)]) if len(unknown) else rows
    return Panel(
        f"Sharpe ratio of the last {WINDOW} days",
        (
            go.Scatter(
                x=axis(moments(record, record.instants[ends[rows]])), y=values[rows], yaxis=yaxis, mode="lines",
                name="Rolling Sharpe", showlegend=False, line={"color": OTHER, "width": 1.2}, hovertemplate="%{y:.2f}",
                connectgaps=False,
            ),
        ),
    )  # fmt: skip


# -- months -------------------------------------------------------------------------------------------------


def shades(values: npt.ArrayLike) -> float:
    """The return that has the full colour in a heat map: the 95% quantile, so that one month doesn't pale the rest."""
    known = np.abs(np.asarray(values, dtype=np.float64))
    known = known[np.isfinite(known)]
    return max(float(np.quantile(known, 0.95)), 0.005) if len(known) else 0.005


def months_panel(run: RunAnalysis, axes: Sequence[str]) -> Panel | None:
    """Returns by year and month as a heat map."""
    import plotly.graph_objects as go

    table = run.monthly
    if table.empty:
        return None
    shown = table.tail(YEARS)
    values = shown.to_numpy()
    full = shades(table.iloc[:, :-1])
    text = [["" if np.isnan(v) else percent(v, 1) for v in row] for row in values]
    heading = "Net return by month" + (f" (the newest {YEARS} of {len(table)} years)" if len(table) > YEARS else "")
    return Panel(
        heading,
        (
            go.Heatmap(
                x=np.arange(13.0), y=[str(year) for year in shown.index], z=values, text=text, xaxis=axes[0],
                yaxis=axes[1], texttemplate="%{text}", zmid=0, zmin=-full, zmax=full, showscale=False, xgap=2, ygap=2,
                colorscale=[[0, DOWN], [0.5, "#e4e7ea"], [1, UP]], hoverongaps=False, name="Month",
                customdata=[[f"{name} {year}" if name != "Year" else str(year) for name in shown.columns]
                            for year in shown.index],
                hovertemplate="%{customdata}: %{z:.2%}<extra></extra>",
            ),
        ),
    )  # fmt: skip
