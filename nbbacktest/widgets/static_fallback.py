"""The panel without a kernel: a picture of the ended run as SVG, and a summary in words."""

from __future__ import annotations

import threading
import weakref
from html import escape
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.report.plotting import BUY, DOWN, EQUITY, INK, LOSS, SELL, UP, choose, extremes, join, local_time
from nbbacktest.report.table import written
from nbbacktest.trading.stats import drawdowns

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

    from nbbacktest.report.result import Result
    from nbbacktest.system.manager import SystemManager
    from nbbacktest.system.run import Run

_WIDTH, _HEIGHT, _EDGE = 900, 470, 14
_DRAWN = _WIDTH - 2 * _EDGE - 58
"""The width of the curves: right of them stand the highest and the lowest price."""
_CANDLES = 160
_SHOWN = ("return", "final_equity", "max_drawdown", "sharpe", "trades", "win_rate", "fees")
_NAMES = {"return": "Return", "final_equity": "Final equity", "max_drawdown": "Max drawdown", "sharpe": "Sharpe",
          "trades": "Closed trades", "win_rate": "Win rate", "fees": "Fees"}  # fmt: skip


def in_words(system: SystemManager) -> dict[str, str]:
    """A line for viewers that can't show widgets, as plain text and as HTML."""
    run = system.run
    what = "no run yet" if run is None else f"{run.config.session_name}, {system.snapshot()}"
    text = f"nbbacktest control panel: {what}"
    return {"text/plain": text, "text/html": f"<p><em>{escape(text)}. It is live in a notebook with a kernel.</em></p>"}


class StaticFallback:
    """The picture of a panel's newest ended run, shared by all cells that show the panel."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # one thread at a time draws; guards the fields below
        self._run: weakref.ref[Run] | None = None  # the run of the picture
        self._drawn: dict[str, Any] = {"text/plain": ""}
        self._handle: DisplayHandle | None = None

    def place(self) -> None:
        """Add the picture to the output of the cell that runs; it is empty until a run has ended."""
        from IPython.display import display

        with self._guard:
            # All cells share one display id: an update reaches each of them, and outputs of cells that ran again cost nothing.
            name = uuid4().hex if self._handle is None else self._handle.display_id
            self._handle = display(self._drawn, raw=True, display_id=name)  # type: ignore[no-untyped-call]

    def show(self, run: Run) -> None:
        """Draw the picture of an ended run; a second call for the same run does nothing."""
        with self._guard:
            if self._handle is None or (self._run is not None and self._run() is run):
                return
            self._run, self._drawn = weakref.ref(run), bundle(run.result())
            self._handle.update(self._drawn, raw=True)  # type: ignore[no-untyped-call]


def bundle(result: Result) -> dict[str, Any]:
    """A result as a picture with its numbers in it, and as text."""
    return {"image/svg+xml": picture(result), "text/plain": repr(result)}


def picture(result: Result) -> str:
    """The result as an SVG without outside resources, readable on light and dark pages."""
    record = result.record
    if not len(record.instants):
        return _svg([_text(_EDGE, 26, result.name, 16, bold=True), _text(_EDGE, 48, "no bars", 12)], 64)

    stats = result.stats
    known = {name: written(name, stats[name]) for name in ("start", "end", "bars", *_SHOWN)}
    symbol = next(iter(record.bars))
    facts = f"{', '.join(result.symbols)} · {known['start']} to {known['end']} · {known['bars']} bars · {result.analysis.origin}"
    parts = [
        _text(_EDGE, 26, result.name, 16, bold=True),
        _text(_EDGE, 45, ", ".join(result.strategies) or "no strategy", 12),
        _text(_EDGE, 62, facts, 11),
    ]
    step = (_WIDTH - 2 * _EDGE) / len(_SHOWN)
    for number, name in enumerate(_SHOWN):
        x = _EDGE + number * step
        parts += [_text(x, 88, _NAMES[name], 11), _text(x, 106, known[name], 15, bold=True)]
    parts += [_text(_EDGE, 134, f"{symbol} price", 11), *_prices(result, symbol, 140, 160)]
    parts += [_text(_EDGE, 320, "Equity", 11), _line(result.equity_values, 325, 75, EQUITY)]
    fall = drawdowns(result.equity_values, record.cash)
    parts += [_text(_EDGE, 418, "Drawdown from the peak", 11), _line(fall, 423, 38, LOSS, top_value=0.0)]
    return _svg(parts, _HEIGHT)


def _prices(result: Result, symbol: str, top: float, height: float) -> list[str]:
    record = result.record
    first = record.first.get(symbol, 0)
    bars = record.bars[symbol]
    if len(bars) <= first:
        return []
    local = local_time(record.stamps, bars.time[first:])
    binning = choose([local], bars.interval, _CANDLES)
    candles = join(bars, first, local, binning)
    low, high = float(candles.low.min()), float(candles.high.max())
    scale = height / (high - low or 1.0)
    step = _DRAWN / len(candles.start)
    rising: list[str] = []
    falling: list[str] = []
    body = max(step * 0.6, 0.8)
    rows = zip(candles.open, candles.high, candles.low, candles.close, strict=True)
    for number, (o, h, lo, c) in enumerate(rows):
        x = _EDGE + (number + 0.5) * step
        y = [top + (high - price) * scale for price in (h, max(o, c), min(o, c), lo)]
        path = f"M{x:.1f} {y[0]:.1f}V{y[3]:.1f}M{x - body / 2:.1f} {y[1]:.1f}h{body:.1f}V{y[2] + 0.5:.1f}h{-body:.1f}z"
        (rising if c >= o else falling).append(path)
    parts = [
        f'<path d="{"".join(paths)}" fill="{colour}" stroke="{colour}" stroke-width="0.8"/>'
        for paths, colour in ((rising, UP), (falling, DOWN))
        if paths
    ]
    keys = {int(key): number for number, key in enumerate(candles.key)}
    fills = [fill for fill in record.fills if fill.symbol == symbol]
    if fills:
        when = binning.keys(local_time(record.stamps, np.array([fill.time_ns for fill in fills], dtype=np.int64)))
        marks = dict.fromkeys((int(key), fill.side.value) for key, fill in zip(when, fills, strict=True))
        price = {(int(key), fill.side.value): fill.price for key, fill in zip(when, fills, strict=True)}
        for key, side in marks:
            if key not in keys:
                continue
            x, at = _EDGE + (keys[key] + 0.5) * step, top + (high - price[key, side]) * scale
            size = 4.5 if side == "buy" else -4.5
            parts.append(
                f'<path d="M{x:.1f} {at - size:.1f}l4.5 {2 * size:.1f}h-9z" fill="{BUY if side == "buy" else SELL}" '
                'stroke="#fff" stroke-width="0.7"/>'
            )
    parts.append(_text(_WIDTH - _EDGE, top + 10, f"{high:,.6g}", 10, right=True))
    parts.append(_text(_WIDTH - _EDGE, top + height, f"{low:,.6g}", 10, right=True))
    return parts


def _line(values: Float64, top: float, height: float, colour: str, *, top_value: float | None = None) -> str:
    rows = extremes(values, 400)
    low, high = float(values.min()), float(values.max()) if top_value is None else top_value
    x = _EDGE + rows * (_DRAWN / max(len(values) - 1, 1))
    y = top + (high - values[rows]) * (height / (high - low or 1.0))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def _text(x: float, y: float, text: str, size: int, *, bold: bool = False, right: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    anchor = ' text-anchor="end"' if right else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{weight}{anchor}>{escape(text)}</text>'


def _svg(parts: list[str], height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'fill="{INK}" font-family="system-ui, sans-serif" role="img">{"".join(parts)}</svg>'
    )
