"""The three figures of a panel as they are made: every trace that will ever be shown, empty, and where it stands."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from nbbacktest.report.plotting import BUY, DOWN, EQUITY, GRID, INK, LIMIT, LOSS, OTHER, SELL, STOP, UP
from nbbacktest.widgets.candles import OVERLAYS, STUDIES
from nbbacktest.widgets.figures import LiveFigure

_COLOURS = ("#f2a541", "#9b7bea", "#2bb3c0", "#d96c9f", "#7fa650", "#b0875b")
"""Of indicators; each reads on white and on black."""


def bars_figure() -> LiveFigure:
    """Candles, volume, fills, orders' levels, indicators."""
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
                mode="lines", name=name, visible=False, connectgaps=False, hoverinfo="skip",
                line={"color": colour, "width": 1.5, "dash": dash},
            )
            for name, colour, dash in (("Limit", LIMIT, "dot"), ("Stop", STOP, "dash"))
        ),
        *(_line(_COLOURS[n], "y") for n in range(OVERLAYS)),
        *(_line(_COLOURS[-1 - n], "y3") for n in range(STUDIES)),
    ]  # fmt: skip
    layout = {
        **_layout(400),
        "bargap": 0.25,
        "xaxis": {**_AXIS, "type": "date", "rangeslider": {"visible": False}, "rangebreaks": [], "anchor": "free",
                  "position": 0, "hoverformat": "%a %Y-%m-%d %H:%M"},
        "yaxis": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.16, 1.0]},
        "yaxis2": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.13], "nticks": 3},
        "yaxis3": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.1], "nticks": 4},
    }  # fmt: skip
    return LiveFigure("Bars with fills, orders and indicators", traces, layout, "nbbt-bars", acknowledges=True)


def equity_figure() -> LiveFigure:
    """Equity and a benchmark, with the drawdown below."""
    traces = [
        go.Scatter(name="Equity", mode="lines", visible=False, line={"color": EQUITY, "width": 1.6},
                   hovertemplate="%{y:,.2f}"),
        go.Scatter(name="Benchmark", mode="lines", visible=False, line={"color": OTHER, "width": 1.3, "dash": "dot"},
                   hovertemplate="%{y:,.2f}"),
        go.Scatter(name="Drawdown", mode="lines", visible=False, yaxis="y2", showlegend=False, fill="tozeroy",
                   line={"color": LOSS, "width": 1}, fillcolor="rgba(226,103,74,0.25)", hovertemplate="%{y:.2%}"),
    ]  # fmt: skip
    layout = {
        **_layout(280),
        "xaxis": {**_AXIS, "type": "date", "rangebreaks": [], "anchor": "y2", "hoverformat": "%a %Y-%m-%d %H:%M"},
        "yaxis": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.34, 1.0], "tickformat": ",~f", "nticks": 5},
        "yaxis2": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.28], "tickformat": ".1~%",
                   "nticks": 3, "rangemode": "tozero"},
    }  # fmt: skip
    return LiveFigure("Equity, benchmark and drawdown", traces, layout, "nbbt-equity")


def sync_figure() -> LiveFigure:
    """Asked and achieved speed above, lag and overruns below, over wall time."""
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
        **_layout(280),
        "xaxis": {**_AXIS, "anchor": "y2", "ticksuffix": " s"},
        "yaxis": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.42, 1.0], "type": "log", "nticks": 5,
                  "exponentformat": "SI"},
        "yaxis2": {**_AXIS, "fixedrange": True, "side": "right", "domain": [0.0, 0.34], "nticks": 3,
                   "rangemode": "tozero", "ticksuffix": " ms"},
        "yaxis3": {**_AXIS, "fixedrange": True, "side": "left", "overlaying": "y2", "tickformat": ",d", "nticks": 3,
                   "rangemode": "tozero", "showgrid": False},
    }  # fmt: skip
    return LiveFigure("Synchronization: speed, lag and overruns", traces, layout, "nbbt-sync")


_AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "zeroline": False,
    "automargin": True,
    "showspikes": False,
    "visible": False,
}


def _line(colour: str, axis: str) -> Any:
    return go.Scatter(
        mode="lines", yaxis=axis, visible=False, line={"color": colour, "width": 1.3}, hovertemplate="%{y:,.6g}"
    )


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "uirevision": "kept",  # what the user zoomed to and hid stays
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 11},
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "hovermode": "x unified",
        # Dark on every page: a label without a colour of its own is white, also where the page is black.
        "hoverlabel": {"namelength": -1, "bgcolor": "#262c34", "bordercolor": INK, "font": {"color": "#eef1f5"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": EQUITY, "remove": ["lasso", "select"]},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
    }
