"""A finished run as HTML: one file that needs no network, no server and no other file, and the page of a notebook's cell."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.enums import OrderStatus
from nbbacktest.core.errors import DataNotFoundError
from nbbacktest.core.files import try_target, write_whole
from nbbacktest.core.formats import brief, money, percent, price, timestamp
from nbbacktest.core.records import Float64
from nbbacktest.report.benchmark import BenchmarkSource, Comparison
from nbbacktest.report.plotting import extremes
from nbbacktest.report.table import written
from nbbacktest.report.traces import shades
from nbbacktest.trading.stats import annual_factor, period_name

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.report.analysis import RunAnalysis


MOST_TRADES, MOST_REJECTED = 500, 200
"""The most rows of the tables of trades and of rejected orders: a browser lays so many out without a wait."""

# With this policy the browser refuses every request, so that the page can load nothing.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
_SIZE = "@@@@@@"
"""Written in place of the file's size until that is known; of the same length."""
_SIGNED = ("return", "cagr", "max_drawdown", "alpha", "excess_return")


def write(run: RunAnalysis, path: Path, benchmark: BenchmarkSource | None = None) -> Path:
    """Write the page of `result` to the file `path`, in one step: readers see the old file or the new one.

    Equal results make equal files: the page holds no clock of its own.

    Raises
    ------
    DataNotFoundError
        If the folder doesn't exist.
    DataError
        For a benchmark that can't be lined up with the run.
    OSError
        If the file can't be written; nothing is left behind.
    """
    if not path.parent.is_dir():
        raise DataNotFoundError(f"can't write a report to {path}: there is no folder {path.parent}; make it first")
    try_target(path)
    content = page(run, benchmark).encode("utf-8", "replace")
    size = f"{len(content) / 1e6:.1f} MB".rjust(len(_SIZE))
    content = content.replace(_SIZE.encode(), size.encode())
    write_whole(path, lambda file: file.write(content))
    return path


def page(run: RunAnalysis, benchmark: BenchmarkSource | None = None) -> str:
    """The whole page, as text."""
    compared = None if benchmark is None else run.against(benchmark)
    style = files("nbbacktest.report").joinpath("tearsheet.css").read_text(encoding="utf-8")
    body = [
        _heading(run), _tiles(run, compared), _chart(run, benchmark), _statistics(run, compared),
        _months(run), _parts(run), _trades(run), _rejected(run), _config(run), _footer(run),
    ]  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.record.name)}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _heading(run: RunAnalysis) -> str:
    stats = run.stats
    zone = run.record.stamps.timezone
    period = f"{timestamp(stats['start'])} to {timestamp(stats['end'])} ({zone})" if stats["bars"] else "no bars"
    symbols = ", ".join(run.symbols[:12]) + (f" and {len(run.symbols) - 12} more" if len(run.symbols) > 12 else "")
    lines = [
        f"<header><h1>{escape(run.record.name)}</h1>",
        f'<p class="strategies">{escape(", ".join(run.record.strategies) or "no strategy")}</p>',
        f'<p class="facts">{escape(symbols or "no symbol")} · {escape(period)} · {stats["bars"]:,} bars</p>',
        f'<p class="facts">Data: {escape(run.origin)}</p>',
    ]
    if run.record.synthetic:
        lines.append(
            '<p class="notice"><b>Synthetic data.</b> These bars were invented by a program. '
            "The results say nothing about any market.</p>"
        )
    if run.by_hand:
        done = "; ".join(f"{one.time or 'start'}: {one.what}" for one in run.record.inputs[:5])
        more = f"; and {len(run.record.inputs) - 5} more" if len(run.record.inputs) > 5 else ""
        lines.append(f'<p class="notice"><b>Run {run.by_hand}:</b> {escape(done + more)}.</p>')
    error = run.record.metrics.get("error")
    if error:
        said = error.get("message", error) if isinstance(error, dict) else error
        lines.append(f'<p class="notice"><b>The run ended by an error:</b> {escape(str(said).strip())}</p>')
    if (run.equity_values <= 0).any():
        lines.append(
            '<p class="notice"><b>Equity fell to zero or below.</b> '
            "What came after is not a result that an account can have.</p>"
        )
    return "\n".join([*lines, "</header>"])


def _tiles(run: RunAnalysis, compared: Comparison | None) -> str:
    stats = run.stats
    shown: list[tuple[str, str, Any]] = [
        (label, name, stats[name])
        for label, name in (
            ("Return", "return"), ("CAGR", "cagr"), ("Sharpe", "sharpe"), ("Max drawdown", "max_drawdown"),
            ("Closed trades", "trades"), ("Win rate", "win_rate"),
        )
    ]  # fmt: skip
    if compared is not None:
        shown += [("Alpha a year", "alpha", compared["alpha"]), ("Beta", "beta", compared["beta"])]
    tiles = "".join(
        f'<div class="tile"><span>{label}</span><b{_sign(name, value)}>{escape(written(name, value))}</b></div>'
        for label, name, value in shown
    )
    return f'<div class="tiles">{tiles}</div>'


def _sign(name: str, value: Any) -> str:
    return _coloured(value) if name in _SIGNED else ""


def _coloured(value: float) -> str:
    if not math.isfinite(value) or abs(value) < 5e-5:
        return ""
    return ' class="gain"' if value > 0 else ' class="loss"'


def _chart(run: RunAnalysis, benchmark: BenchmarkSource | None) -> str:
    if not len(run.equity_values):
        return '<p class="notice">No instant was completed, so there is nothing to draw or to measure.</p>'
    from nbbacktest.report.figure import draw

    figure = draw(run, benchmark=benchmark, months=False)
    # The page has the title already.
    figure.update_layout(title=None, height=figure.layout.height - 42, margin={"t": 84})
    drawing = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id="chart", config={"displaylogo": False, "responsive": True}
    )
    notes = figure.layout.meta or ""
    return f'<div class="chart">{drawing}</div>' + (f'<p class="note">{escape(notes)}</p>' if notes else "")


def _statistics(run: RunAnalysis, compared: Comparison | None) -> str:
    sheets = [_sheet(heading, rows) for heading, rows in run.stats.groups.items()]
    if compared is not None:
        named = {heading.replace("The benchmark", f"Benchmark: {compared.name}"): rows
                 for heading, rows in compared.groups.items()}  # fmt: skip
        sheets.append("".join(_sheet(heading, rows) for heading, rows in named.items()))
    cards = "".join(f'<div class="sheet">{sheet}</div>' for sheet in sheets)
    return (
        f'<h2>Statistics</h2><div class="sheets">{cards}</div>'
        '<p class="note">Net of commission and slippage; ratios from returns of each '
        f"{period_name(run.record)} with a risk-free rate of 0, {annual_factor(run.record):g} a year. Drawdown is of all instants.</p>"
    )


def _sheet(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td>{escape(label)}</td><td>{escape(text)}</td></tr>" for label, text in rows)
    return f"<h3>{escape(heading)}</h3><table>{body}</table>"


def _months(run: RunAnalysis) -> str:
    table = run.monthly
    if table.empty:
        return ""
    full = shades(table.iloc[:, :-1])
    head = "".join(f"<th>{name}</th>" for name in ("", *table.columns))
    rows = "".join(
        f"<tr><td>{year}</td>{''.join(_month(value, full) for value in row[:-1])}"
        f'<td class="scroll-total"><span{_coloured(row[-1])}>{percent(row[-1], 1)}</span></td></tr>'
        for year, row in zip(table.index, table.to_numpy().tolist(), strict=True)
    )
    return (
        f'<h2>Net return by month</h2><div class="scroll months"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _month(value: float, full: float) -> str:
    if math.isnan(value):
        return "<td></td>"
    depth = min(abs(value) / full, 1.0) * 0.6
    hue = "--up" if value > 0 else "--down"
    return f'<td style="background:rgba(var({hue}),{depth:.2f})">{percent(value, 1)}</td>'


def _parts(run: RunAnalysis) -> str:
    tables = [("By symbol", run.by_symbol), ("By strategy", run.by_strategy)]
    return "".join(f"<h2>{heading}</h2>{_part(table)}" for heading, table in tables if len(table) > 1)


def _part(table: pd.DataFrame) -> str:
    heads = ["", "Trades", "Open", "Net profit", "Win rate", "Profit factor", "Average trade", "Best", "Worst", "Fees"]
    rows = [
        [
            (escape(str(name)), ""), (f"{row['trades']:,.0f}", ""), (f"{row['open_trades']:,.0f}", ""),
            (money(row["pnl"]), _coloured(row["pnl"])), (percent(row["win_rate"], 1), ""),
            (money(row["profit_factor"]), ""), (percent(row["average_trade"]), ""), (percent(row["best_trade"]), ""),
            (percent(row["worst_trade"]), ""), (money(row["fees"]), ""),
        ]
        for name, row in zip(table.index, table.to_dict("records"), strict=True)
    ]  # fmt: skip
    return _table(heads, rows)


def _trades(run: RunAnalysis) -> str:
    trades = run.trades
    if trades.empty:
        return "<h2>Trades</h2><p>There was none.</p>"
    shown = trades.tail(MOST_TRADES)
    heads = ["Symbol", "Size", "Entry", "at", "Exit", "at", "Net", "Return", "MAE", "MFE", "Fees"]
    tagged = bool(shown["tag"].notna().any())
    rows = []
    for row in shown.to_dict("records"):
        closed = not math.isnan(row["exit_price"])
        cells = [
            (escape(str(row["symbol"])), ""), (f"{row['size']:+,.6g}", ""), (timestamp(row["entry_time"], zone=False), ""),
            (price(row["entry_price"]), ""), (timestamp(row["exit_time"], zone=False) if closed else "open", ""),
            (price(row["exit_price"]) if closed else "", ""), (money(row["pnl"]), _coloured(row["pnl"])),
            (percent(row["return"]), ""), (percent(row["mae"]), ""), (percent(row["mfe"]), ""),
            (money(row["commission"]), ""),
        ]  # fmt: skip
        if tagged:
            cells.append((escape(str(row["tag"])) if isinstance(row["tag"], str) else "", ""))
        rows.append(cells)
    note = _note(len(shown), len(trades), "trades", "result.trades")
    return f"<h2>Trades</h2>{note}{_table([*heads, *(['Tag'] if tagged else [])], rows, tall=True)}"


def _rejected(run: RunAnalysis) -> str:
    stamps = run.record.stamps
    refused = [o for o in run.record.orders if o.status in (OrderStatus.REJECTED, OrderStatus.EXPIRED)]
    if not refused:
        return ""
    shown = refused[-MOST_REJECTED:]
    rows = [
        [
            (timestamp(stamps.instant(o.closed_ns), zone=False), ""), (escape(o.symbol), ""),
            (f"{o.side} {'all' if o.size is None else brief(o.size)} {o.type}", ""), (escape(str(o.status)), ""),
            (escape(o.reason or ""), ' class="wide"'),
        ]
        for o in shown
    ]  # fmt: skip
    note = _note(len(shown), len(refused), "orders", "result.orders")
    heads = ["Time", "Symbol", "Order", "Status", "Reason"]
    return f"<h2>Orders rejected or expired</h2>{note}{_table(heads, rows, tall=True)}"


def _note(shown: int, of: int, what: str, where: str) -> str:
    if shown == of:
        return f'<p class="note">{of:,} in all.</p>'
    return f'<p class="note">The newest {shown:,} of {of:,} {what}; all of them are in {where}.</p>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]], *, tall: bool = False) -> str:
    """A table from written cells, each with its attributes."""
    head = "".join(f"<th{' class=left' if name == 'Reason' else ''}>{name}</th>" for name in heads)
    cells = ("".join(f"<td{attributes}>{text}</td>" for text, attributes in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    kind = "scroll tall" if tall else "scroll"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _config(run: RunAnalysis) -> str:
    text = json.dumps(run.record.config, indent=2, default=str, ensure_ascii=False)
    return f"<details><summary>Session config</summary><pre>{escape(text)}</pre></details>"


def _footer(run: RunAnalysis) -> str:
    try:
        made = f"nbbacktest {version('nbbacktest')}"
    except PackageNotFoundError:
        made = "nbbacktest"
    return (
        f"<footer>{made} · fingerprint <code>{run.fingerprint}</code><br>This file is {_SIZE} and complete: it loads "
        "nothing from anywhere. Past or simulated performance is no promise.</footer>"
    )


# -- in a notebook ------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 640, 90


def notebook_page(run: RunAnalysis) -> str:
    """The result in a notebook: HTML that takes its colours from the page, so it reads on light and on dark."""
    stats = run.stats
    period = f"{timestamp(stats['start'])} to {timestamp(stats['end'])}" if stats["bars"] else "no bars"
    facts = " · ".join((", ".join(run.symbols), period, f"{stats['bars']:,} bars"))
    strategies = escape(", ".join(run.record.strategies) or "no strategy")
    return (
        '<div class="nbbt-result">'
        f'<div style="font-size:1.2em;font-weight:600">{escape(run.record.name)}</div>'
        f"<div>{strategies}{f', <b>{run.by_hand}</b>' if run.by_hand else ''}</div>"
        f'<div style="opacity:0.75">{escape(run.origin)} · {escape(facts)}</div>'
        f"{_line(run.equity_values)}{stats._repr_html_()}</div>"
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
        f'{money(low)} to {money(high)}" style="width:100%;max-width:{_WIDTH}px;height:{_HEIGHT}px;margin:0.5em 0">'
        f'<polyline points="{points}" fill="none" stroke="#4c8dd6" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
