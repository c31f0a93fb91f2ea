"""A result as one plotly figure: prices with fills, equity and drawdown over one axis of trading time.

It draws a bounded number of points however long the run was, and holds no state.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.enums import Side
from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import Float64, Int64
from nbbacktest.report.bins import Binning, choose, closed_spans, extremes, join, local_time
from nbbacktest.trading.equity import local_days
from nbbacktest.trading.stats import drawdowns

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from nbbacktest.report.result import Result

# Each reads on white and on black, and differs to a colour-blind eye.
UP, DOWN, BUY, SELL, EQUITY, LOSS = "#2a9d8f", "#e2674a", "#3b82f6", "#d946ef", "#3b82f6", "#e2674a"
INK, GRID = "#808080", "rgba(128,128,128,0.22)"
_MILLISECOND = 1_000_000
_WEEKEND = (5, 6)


def draw(result: Result, symbol: str | None = None) -> go.Figure:
    """The figure of a result.

    Parameters
    ----------
    result
        A finished run.
    symbol
        Whose prices; None: all symbols', one shown at a time, chosen by a menu.

    Raises
    ------
    DataError
        For a symbol that wasn't run.
    """
    import plotly.graph_objects as go

    record = result.record
    if symbol is not None and symbol not in record.bars:
        raise DataError(f"symbol {symbol!r} was not run; {nearest(symbol, record.bars)}")
    shown = list(record.bars) if symbol is None else [symbol]
    local = {s: local_time(record.stamps, b.time[record.first.get(s, 0) :]) for s, b in record.bars.items()}
    base = next((bars.interval for bars in record.bars.values()), None)
    figure = go.Figure()
    note = ""
    if base is not None:
        binning = choose([local[s] for s in shown], base)
        note = f"candles of {binning.name}"
        for number, name in enumerate(shown):
            for trace in _price_traces(result, name, local[name], binning):
                figure.add_trace(trace.update(visible=number == 0))
        breaks = _breaks(base, list(local.values()), binning)
        figure.update_xaxes(rangebreaks=breaks, range=_span(base, list(local.values()), binning))
    per_symbol = len(figure.data) // max(len(shown), 1)
    figure.add_traces(_account_traces(result))
    figure.update_layout(_layout(result, note, shown))
    if len(shown) > 1:
        figure.update_layout(updatemenus=[_menu(shown, per_symbol, len(figure.data))])
    return figure


def _price_traces(result: Result, symbol: str, local: Int64, binning: Binning) -> list[Any]:
    import plotly.graph_objects as go

    record = result.record
    candles = join(record.bars[symbol], record.first.get(symbol, 0), local, binning)
    traces: list[Any] = [
        go.Candlestick(
            x=_axis(candles.start), **_period(binning),
            open=candles.open, high=candles.high, low=candles.low, close=candles.close,
            name=symbol, showlegend=False,
            increasing={"line": {"color": UP, "width": 1}, "fillcolor": UP},
            decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
        )
    ]  # fmt: skip
    for side, colour, shape in ((Side.BUY, BUY, "triangle-up"), (Side.SELL, SELL, "triangle-down")):
        x, price, text = _marks(result, symbol, side, binning)
        traces.append(
            go.Scatter(
                x=x, y=price, text=text, mode="markers", name=side.value.capitalize(), **_period(binning),
                hovertemplate="%{text}<extra></extra>",
                marker={"symbol": shape, "size": 10, "color": colour, "line": {"width": 1, "color": "white"}},
            )
        )  # fmt: skip
    return traces


def _marks(result: Result, symbol: str, side: Side, binning: Binning) -> tuple[Float64, Float64, list[str]]:
    """Fills by candle: where, at which mean price, and what to say. One mark a candle keeps the drawing bounded."""
    fills = [fill for fill in result.record.fills if fill.symbol == symbol and fill.side is side]
    if not fills:
        none = np.empty(0, dtype=np.float64)
        return none, none, []
    local = local_time(result.record.stamps, np.array([fill.time for fill in fills], dtype=np.int64))
    keys, group = np.unique(binning.keys(local), return_inverse=True)
    size = np.bincount(group, [fill.size for fill in fills])
    price = np.bincount(group, [fill.size * fill.price for fill in fills]) / size
    count = np.bincount(group)
    verb = {Side.BUY: "bought", Side.SELL: "sold"}[side]
    text = [
        f"{verb} {units:,.6g} at {'' if n == 1 else 'an average of '}{p:,.6g}" + (f" in {n} fills" if n > 1 else "")
        for units, p, n in zip(size, price, count, strict=True)
    ]
    return _axis(binning.starts(keys)), price, text


def _account_traces(result: Result) -> list[Any]:
    import plotly.graph_objects as go

    record, equity = result.record, result.equity_values
    # The middle of a date is where its candle stands.
    where = local_days(record) * DAY + DAY // 2 if record.daily else local_time(record.stamps, record.instants)
    fall = drawdowns(equity, record.cash)
    rows, deep = extremes(equity), extremes(fall)
    return [
        go.Scatter(
            x=_axis(where[rows]), y=equity[rows], yaxis="y2", name="Equity", mode="lines", showlegend=False,
            line={"color": EQUITY, "width": 1.5}, hovertemplate="%{y:,.2f}",
        ),
        go.Scatter(
            x=_axis(where[deep]), y=fall[deep], yaxis="y3", name="Drawdown", mode="lines", showlegend=False,
            line={"color": LOSS, "width": 1}, fill="tozeroy", fillcolor="rgba(226,103,74,0.25)",
            hovertemplate="%{y:.2%}",
        ),
    ]  # fmt: skip


def _period(binning: Binning) -> dict[str, Any]:
    """Draws a candle in the middle of its time, which it then covers, and calls it by its start."""
    months = {"M": "M1", "Q": "M3", "Y": "M12"}.get(binning.unit)
    if months:
        return {"xperiod": months, "xperiodalignment": "middle"}
    step = binning.step or {"D": 1, "W": 7}[binning.unit] * DAY
    start = int(binning.starts(np.zeros(1, dtype=np.int64))[0])
    return {"xperiod": step / _MILLISECOND, "xperiod0": start / _MILLISECOND, "xperiodalignment": "middle"}


def _axis(local: Int64) -> Float64:
    """Milliseconds as floats: the one form of dates that plotly sends fast."""
    return local / _MILLISECOND


def _span(base: Interval, local: list[Int64], binning: Binning) -> list[float] | None:
    """The axis's whole range, stated: plotly's own guess is off where hours are left out."""
    times = [t for t in local if len(t)]
    if not times:
        return None
    first, last = min(int(t[0]) for t in times), max(int(t[-1]) for t in times) + base.ns
    first = int(binning.starts(binning.keys(np.array([first])))[0])
    # A candle's width of air; a calendar axis might find it on a weekend, which isn't there.
    return [(first - binning.step) / _MILLISECOND, (last + binning.step) / _MILLISECOND]


def _breaks(base: Interval, local: list[Int64], binning: Binning) -> list[dict[str, Any]]:
    """The closed hours or days, which the axis leaves out; found in the bars, so holidays and half days are right."""
    times = [t for t in local if len(t)]
    if not times or binning.unit not in ("", "D"):
        return []
    if binning.step:
        spans = np.array(closed_spans(np.unique(np.concatenate(times)), base), dtype=np.int64).reshape(-1, 2)
        # Whole candles only, and a moment after the last one: the session's last equity lies on the edge.
        after = binning.starts(binning.keys(spans[:, 0] - 1) + 1)
        before = binning.starts(binning.keys(spans[:, 1]))
        return [{"bounds": [a + 1.0, b]} for a, b in zip(_axis(after), _axis(before), strict=True) if b > a + 1.0]
    days = np.unique(np.concatenate(times) // DAY)
    absent = np.setdiff1d(np.arange(days[0], days[-1] + 1), days)
    if len(absent) > len(days):
        return []
    weekends = not np.isin((days + 3) % 7, _WEEKEND).any()
    single = absent[~np.isin((absent + 3) % 7, _WEEKEND)] if weekends else absent
    breaks: list[dict[str, Any]] = [{"bounds": ["sat", "mon"]}] if weekends else []
    if len(single):
        breaks.append({"values": [str(day) for day in single.view("datetime64[D]")]})
    return breaks


def _menu(symbols: list[str], each: int, total: int) -> dict[str, Any]:
    account = total - each * len(symbols)
    buttons = [
        {
            "label": f"{symbol} price",
            "method": "update",
            "args": [
                {"visible": [n // each == number for n in range(each * len(symbols))] + [True] * account},
                {"yaxis.autorange": True},
            ],
        }
        for number, symbol in enumerate(symbols)
    ]
    return {
        "buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "pad": {"b": 4, "t": 0},
        "bgcolor": "rgba(128,128,128,0.15)", "bordercolor": GRID, "font": {"color": INK}, "showactive": True,
    }  # fmt: skip


def _layout(result: Result, note: str, shown: list[str]) -> dict[str, Any]:
    from nbbacktest.report.result import origin

    stats = result.stats
    some = len(result.equity_values) > 0
    period = f"{stats['start']:%Y-%m-%d} to {stats['end']:%Y-%m-%d}" if some else "no bars"
    facts = [escape(origin(result)), " · ".join(part for part in (period, note) if part)]
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    dates = result.record.stamps.dates or result.record.daily
    headings = {0.16: "Drawdown from the peak", 0.39: "Equity"}
    if len(shown) == 1:
        headings[1.0] = f"{shown[0]} price"
    return {
        "title": {
            "text": escape(result.name), "x": 0, "xref": "paper", "xanchor": "left", "y": 0.97, "yanchor": "top",
            "subtitle": {"text": "<br>".join(facts), "font": {"size": 12}},
        },
        "annotations": [
            {
                "text": f"<b>{escape(text)}</b>", "x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper",
                "yanchor": "bottom", "yshift": 2, "showarrow": False,
            }
            for top, text in headings.items()
        ],
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": INK},
        "height": 680, "margin": {"l": 16, "r": 16, "t": 126, "b": 16},
        "hovermode": "x unified", "hoversubplots": "axis", "hoverlabel": {"namelength": -1},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": EQUITY, "remove": ["lasso", "select"]},
        "legend": {"orientation": "h", "x": 1, "y": 1.0, "xanchor": "right", "yanchor": "bottom"},
        "xaxis": {
            **axis, "type": "date", "anchor": "y3", "rangeslider": {"visible": False},
            "title": {"text": f"{'Session date' if dates else 'Time'} ({result.record.stamps.timezone})"},
            "hoverformat": "%a %Y-%m-%d" if dates else "%a %Y-%m-%d %H:%M",
            "showspikes": False,  # its rim is white whatever the page is
        },
        "yaxis": {**axis, "domain": [0.46, 1]},
        "yaxis2": {**axis, "domain": [0.23, 0.39], "tickformat": ",~f", "nticks": 5},
        "yaxis3": {
            **axis, "domain": [0, 0.16], "tickformat": ".1~%", "nticks": 4,
            "range": [min(1.05 * stats["max_drawdown"], -0.001), 0],
        },
    }  # fmt: skip
