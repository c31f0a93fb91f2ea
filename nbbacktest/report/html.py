"""A result in a notebook without a chart library: a heading, the equity as a small line, the statistics."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.report.bins import extremes
from nbbacktest.report.table import written_time

if TYPE_CHECKING:
    from nbbacktest.report.result import Result

_WIDTH, _HEIGHT = 640, 90


def page(result: Result) -> str:
    """Self-contained HTML; it takes its colours from the page, so it reads on light and on dark."""
    from nbbacktest.report.result import origin

    stats = result.stats
    period = f"{written_time(stats['start'])} to {written_time(stats['end'])}" if stats["bars"] else "no bars"
    facts = " · ".join((", ".join(result.symbols), period, f"{stats['bars']:,} bars"))
    strategies = escape(", ".join(result.strategies) or "no strategy")
    return (
        '<div class="nbbt-result">'
        f'<div style="font-size:1.2em;font-weight:600">{escape(result.name)}</div>'
        f"<div>{strategies}</div>"
        f'<div style="opacity:0.75">{escape(origin(result))} · {escape(facts)}</div>'
        f"{_line(result.equity_values)}{stats._repr_html_()}</div>"
    )


def _line(equity: Float64) -> str:
    if len(equity) < 2:
        return ""
    rows = extremes(equity, _WIDTH // 2)
    low, high = float(equity.min()), float(equity.max())
    x = rows * ((_WIDTH - 2) / (len(equity) - 1)) + 1
    y = np.full(len(rows), _HEIGHT / 2) if high == low else 2 + (high - equity[rows]) * ((_HEIGHT - 4) / (high - low))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="equity, '
        f'{low:,.2f} to {high:,.2f}" style="width:100%;max-width:{_WIDTH}px;height:{_HEIGHT}px;margin:0.5em 0">'
        f'<polyline points="{points}" fill="none" stroke="#4c8dd6" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
