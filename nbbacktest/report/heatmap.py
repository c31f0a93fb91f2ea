"""Draws a sweep's statistic over two of its parameters. Knows no run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.core.shown import spoken
from nbbacktest.report.table import GROUPS, MISSING, written

if TYPE_CHECKING:
    import plotly.graph_objects as go

_WRITTEN_CELLS = 150
"""Up to so many cells have their values written in them."""


def draw(
    points: Sequence[Mapping[str, Any]],
    rows: Sequence[int],
    x: str,
    y: str,
    statistic: str,
    shown: Float64,
    order: Float64,
) -> go.Figure:
    """The figure: a cell for each pair of values, the best of its points by `order`; the best cell is framed.

    Parameters
    ----------
    points
        All of the sweep.
    rows
        Which of them to look at.
    shown, order
        By point, what is coloured, and what makes one the best.
    """
    import plotly.graph_objects as go

    across, down = (_sorted([points[row][name] for row in rows]) for name in (x, y))
    best: dict[tuple[int, int], int] = {}
    for row in rows:
        cell = (_place(down, points[row][y]), _place(across, points[row][x]))
        if cell not in best or np.nan_to_num(order[row], nan=-np.inf) > np.nan_to_num(order[best[cell]], nan=-np.inf):
            best[cell] = row
    values = np.full((len(down), len(across)), np.nan)
    texts = [["" for _ in across] for _ in down]
    hovers = [["not run" for _ in across] for _ in down]
    for (i, j), row in best.items():
        values[i, j] = shown[row]
        texts[i][j] = _text(statistic, shown[row])
        named = "<br>".join(f"{escape(str(key))} = {escape(_label(value))}" for key, value in points[row].items())
        hovers[i][j] = f"{named}<br><b>{escape(statistic)} {texts[i][j] or 'not defined'}</b>"
    low, high = _ends(values)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(across))),
            y=list(range(len(down))),
            text=texts if values.size <= _WRITTEN_CELLS else None,
            texttemplate="%{text}" if values.size <= _WRITTEN_CELLS else None,
            customdata=hovers,
            hovertemplate="%{customdata}<extra></extra>",
            colorscale="RdBu" if low < 0 < high else "Viridis",
            zmin=-max(-low, high) if low < 0 < high else low,
            zmax=max(-low, high) if low < 0 < high else high,
            colorbar={"title": {"text": escape(statistic)}},
            xgap=1,
            ygap=1,
        )
    )
    if best and not np.isnan(order[list(best.values())]).all():
        i, j = max(best, key=lambda cell: np.nan_to_num(order[best[cell]], nan=-np.inf))
        figure.add_shape(
            type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": "black", "width": 3}
        )
    hidden = [name for name in points[rows[0]] if name not in (x, y)]
    free = [name for name in hidden if len(_sorted([points[row][name] for row in rows])) > 1]
    below = f", the best over {', '.join(free)}" if free else ""
    figure.update_layout(
        title={"text": escape(f"{statistic}{below}")},
        template="plotly_white",
        width=max(480, min(1100, 190 + 52 * len(across))),
        height=max(360, min(900, 150 + 34 * len(down))),
        margin={"l": 70, "r": 20, "t": 60, "b": 60},
    )
    for axis, name, labels in ((figure.update_xaxes, x, across), (figure.update_yaxes, y, down)):
        every = -(-len(labels) // 30)
        ticks = list(range(0, len(labels), every))
        axis(
            title={"text": escape(name)}, tickvals=ticks, ticktext=[escape(_label(labels[i])) for i in ticks],
            showgrid=False, zeroline=False,
        )  # fmt: skip
    return figure


def _sorted(values: Sequence[Any]) -> list[Any]:
    """Each value once: numbers and texts in their order, others as they came."""
    several: list[Any] = []
    for value in values:
        if value not in several:
            several.append(value)
    try:
        return sorted(several)
    except TypeError:
        return several


def _label(value: Any) -> str:
    return str(spoken(value))


def _place(values: Sequence[Any], value: Any) -> int:
    return values.index(value)


def _ends(values: Float64) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _text(statistic: str, value: float) -> str:
    if np.isnan(value):
        return ""
    if statistic == "max_drawdown_duration":
        return f"{value:.0f} d"
    if not any(statistic in group for group in GROUPS.values()):  # a function's
        return f"{value:.3g}"
    text = written(statistic, int(value) if float(value).is_integer() else value)
    return "" if text == MISSING else text
