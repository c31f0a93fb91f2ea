"""A result as one plotly figure: prices with fills and levels, the account, trades and months, each in its panel.

It draws a bounded number of points however long the run was, and holds no state.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import Int64
from nbbacktest.report.benchmark import BenchmarkSource, read_benchmark
from nbbacktest.report.frames import MONTHS
from nbbacktest.report.plotting import EQUITY, GRID, INK, MILLISECOND, Binning, breaks, choose, local_time
from nbbacktest.report.traces import (
    LEVELS,
    Panel,
    drawdown_panel,
    equity_panel,
    level_orders,
    level_traces,
    months_panel,
    price_traces,
    rolling_panel,
    trades_panel,
)
from nbbacktest.trading.orders import Order

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from nbbacktest.report.analysis import RunAnalysis


_PRICE, _EQUITY, _DRAWDOWN, _TRADES, _ROLLING, _YEAR = 330, 120, 90, 140, 90, 26
"""Heights in pixels of the panels, and of one year in the heat map."""
_BETWEEN, _ABOVE, _BELOW = 44, 126, 16
"""Pixels between two panels, above the first and below the last."""
_HEADING = 24
"""Pixels for a panel's heading, or for the menu in its place."""
_TIMES = 40
"""Pixels for the time axis's labels, under the last of its panels."""


def draw(
    run: RunAnalysis, symbol: str | None = None, benchmark: BenchmarkSource | None = None, *, months: bool = True
) -> go.Figure:
    """The figure of a finished run.

    Parameters
    ----------
    run
        A finished run.
    symbol
        The symbol whose prices are drawn; None: all symbols', one shown at a time, chosen by a menu.
    benchmark
        The benchmark to draw beside the equity.
    months
        True to draw the heat map of monthly returns.

    Raises
    ------
    DataError
        For a symbol that wasn't run, and for a benchmark that can't be lined up with the run.
    """
    import plotly.graph_objects as go

    record = run.record
    if symbol is not None and symbol not in record.bars:
        raise DataError(f"symbol {symbol!r} was not run; {nearest(symbol, record.bars)}")
    beside = None if benchmark is None else read_benchmark(record, benchmark)
    shown = list(record.bars) if symbol is None else [symbol]
    local = {s: local_time(record.stamps, b.time[record.first.get(s, 0) :]) for s, b in record.bars.items()}
    base = next((bars.interval for bars in record.bars.values()), None)
    figure = go.Figure()
    notes = []
    owners: list[int | None] = []
    orders = level_orders(record)
    if base is not None:
        binning = choose([local[s] for s in shown], base)
        notes = [f"candles of {binning.name}", *_capped(orders, shown)]
        for number, name in enumerate(shown):
            traces = price_traces(run, name, local[name], binning)
            figure.add_traces([trace.update(visible=number == 0) for trace in traces])
            owners += [number] * len(traces)
        closed = breaks(base, list(local.values()), binning)
        figure.update_xaxes(rangebreaks=closed, range=_span(base, list(local.values()), binning))
    account = [equity_panel(run, beside), drawdown_panel(run)]
    for panel in account:
        figure.add_traces(panel.traces)
        owners += [None] * len(panel.traces)
    for number, name in enumerate(shown):
        levels = level_traces(run, orders.get(name, []))
        figure.add_traces([trace.update(visible=number == 0) for trace in levels])
        owners += [number] * len(levels)
    trades, rolling = trades_panel(run, "y4"), rolling_panel(run, "y5")
    heat = months_panel(run, ("x2", "y6")) if months else None
    for extra in (trades, rolling, heat):
        if extra is not None:
            figure.add_traces(extra.traces)
            owners += [None] * len(extra.traces)
    figure.update_layout(_layout(run, notes))
    years = 0 if heat is None else len(heat.traces[0].y)
    _place(figure, shown, [*account, trades, rolling], heat, years)
    if len(shown) > 1:
        figure.update_layout(updatemenus=[_menu(shown, owners)])
    return figure


def _capped(orders: dict[str, list[Order]], shown: list[str]) -> list[str]:
    count = max((len(orders.get(name, [])) for name in shown), default=0)
    return [f"levels of the newest {LEVELS} of {count:,} orders"] if count > LEVELS else []


def _place(figure: go.Figure, shown: list[str], panels: list[Panel | None], heat: Panel | None, years: int) -> None:
    """Lay out the panels that exist, from the top down, in pixels; the months have an axis of their own."""
    heights = [_PRICE, _EQUITY, _DRAWDOWN, _TRADES, _ROLLING]
    names = ["yaxis", "yaxis2", "yaxis3", "yaxis4", "yaxis5"]
    headings = [f"{shown[0]} price" if len(shown) == 1 else "", *("" if p is None else p.heading for p in panels)]
    rows = [row for row in range(len(names)) if row == 0 or panels[row - 1] is not None]
    plan = [(names[row], headings[row], heights[row]) for row in rows]
    total = sum(height for _, _, height in plan) + _BETWEEN * (len(plan) - 1) + _TIMES
    if heat is not None:
        total += _BETWEEN + years * _YEAR
    top, notes = float(total), []
    for name, heading, height in plan:
        figure.update_layout({name: {"domain": [max((top - height) / total, 0.0), top / total]}})
        notes.append((heading, top / total))
        top -= height + _BETWEEN
    figure.update_layout(xaxis={"anchor": f"y{names.index(plan[-1][0]) + 1}"})
    if heat is not None:
        top -= _TIMES
        notes.append((heat.heading, top / total))
        figure.update_layout(
            xaxis2={
                "anchor": "y6", "domain": [0, 1], "side": "bottom", "tickvals": list(range(13)), "showgrid": False,
                "ticktext": [*MONTHS, "Year"], "fixedrange": True, "zeroline": False, "range": [-0.5, 12.5],
                "showspikes": False,
            },
            yaxis6={
                "anchor": "x2", "domain": [max((top - years * _YEAR) / total, 0.0), top / total], "type": "category",
                "autorange": "reversed", "fixedrange": True, "showgrid": False, "automargin": True,
            },
        )  # fmt: skip
    height = total + _ABOVE + _BELOW
    figure.update_layout(
        height=height,
        title={"y": 1 - 18 / height},
        legend={"y": 1 + _HEADING / total},
        annotations=[
            {
                "text": f"<b>{escape(text)}</b>", "x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "paper",
                "yanchor": "bottom", "yshift": 2, "showarrow": False,
            }
            for text, y in notes
            if text
        ],
    )  # fmt: skip


def _span(base: Interval, local: list[Int64], binning: Binning) -> list[float] | None:
    """The axis's whole range. It is stated, since plotly's own guess is off if hours are left out."""
    times = [t for t in local if len(t)]
    if not times:
        return None
    first, last = min(int(t[0]) for t in times), max(int(t[-1]) for t in times) + base.ns
    first = int(binning.starts(binning.keys(np.array([first])))[0])
    # The width of one candle is left free: a date on a calendar axis may lie on a weekend, which is left out.
    return [(first - binning.step) / MILLISECOND, (last + binning.step) / MILLISECOND]


def _menu(symbols: list[str], owners: list[int | None]) -> dict[str, Any]:
    buttons = [
        {
            "label": f"{symbol} price",
            "method": "update",
            "args": [{"visible": [owner in (None, number) for owner in owners]}, {"yaxis.autorange": True}],
        }
        for number, symbol in enumerate(symbols)
    ]
    return {
        "buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "pad": {"b": 4, "t": 0},
        "bgcolor": "rgba(128,128,128,0.15)", "bordercolor": GRID, "font": {"color": INK}, "showactive": True,
    }  # fmt: skip


def _layout(run: RunAnalysis, notes: list[str]) -> dict[str, Any]:
    stats = run.stats
    some = len(run.equity_values) > 0
    period = f"{stats['start']:%Y-%m-%d} to {stats['end']:%Y-%m-%d}" if some else "no bars"
    facts = [escape(run.origin), " · ".join([period, *notes])]
    lines = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    dates = run.record.stamps.dates or run.record.daily
    return {
        "title": {
            "text": escape(run.record.name), "x": 0, "xref": "paper", "xanchor": "left", "yanchor": "top",
            "yref": "container", "subtitle": {"text": "<br>".join(facts), "font": {"size": 12}},
        },
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": INK},
        "meta": " · ".join(notes),
        "margin": {"l": 16, "r": 16, "t": _ABOVE, "b": _BELOW},
        "hovermode": "x unified", "hoversubplots": "axis",
        # Dark on every page: a label without a colour of its own is white, also if the page is black.
        "hoverlabel": {"namelength": -1, "bgcolor": "#262c34", "bordercolor": INK, "font": {"color": "#eef1f5"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": EQUITY, "remove": ["lasso", "select"]},
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "yanchor": "bottom"},
        "xaxis": {
            **lines, "type": "date", "rangeslider": {"visible": False},
            "title": {"text": f"{'Session date' if dates else 'Time'} ({run.record.stamps.timezone})"},
            "hoverformat": "%a %Y-%m-%d" if dates else "%a %Y-%m-%d %H:%M",
            "showspikes": False,  # its rim is white, on a dark page too
        },
        "yaxis": lines,
        "yaxis2": {**lines, "tickformat": ",~f", "nticks": 5},
        "yaxis3": {**lines, "tickformat": ".1~%", "nticks": 4, "range": [min(1.05 * stats["max_drawdown"], -0.001), 0]},
        "yaxis4": {**lines, "tickformat": ".1~%", "nticks": 5, "zeroline": True, "zerolinecolor": INK},
        "yaxis5": {**lines, "nticks": 4, "zeroline": True, "zerolinecolor": INK},
    }  # fmt: skip
