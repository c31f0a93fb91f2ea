"""The panel's words and small tables as escaped HTML: pure functions of a `ViewState`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import DASH, brief, change, compact, counted, money, wall_time, work_time
from nbbacktest.widgets.view import RunFailure, StageTiming, ViewState, WaitCounts

WORDS = {SystemState.STOPPED: "Stopped", SystemState.RUNNING: "Running", SystemState.PAUSED: "Paused"}


def badge(view: ViewState) -> str:
    """The state, in one word."""
    failed = " nbbt-failed" if view.failure else ""
    return f'<span class="nbbt-badge nbbt-is-{view.state.value}{failed}">{WORDS[view.state]}</span>'


def heading(view: ViewState) -> str:
    """The run's name and its source."""
    if not view.run:
        return '<span class="nbbt-name">No run yet</span> <span class="nbbt-faint">Start runs the config, or an example</span>'
    return f'<span class="nbbt-name">{escape(view.name)}</span> <span class="nbbt-faint">{escape(view.source)}</span>'


def progress(view: ViewState) -> str:
    """Progress in bars and sessions, and the time left."""
    if not view.run:
        return "Bar 0 of 0"
    if view.is_open:
        parts = [f"<b>Bar {view.cursor:,}</b>", f"session {view.session:,}"]
    else:
        parts = [f"<b>Bar {view.cursor:,} of {view.total:,}</b>", f"session {view.session:,} of {view.sessions:,}"]
    if view.state is SystemState.STOPPED:
        parts.append("finished" if view.stands >= view.total and not view.failure else "ended early")
    elif view.left is not None:
        parts.append(f"{wall_time(view.left)} left")
    return " · ".join(parts)


def past(view: ViewState) -> str:
    """The badge of a run that stands in its past, or of an instant that the user looks at."""
    if not (view.in_past or view.is_looking):
        return ""
    word = "looking at" if view.is_looking else "in the past:"
    return f'<span class="nbbt-in-past">{word} {view.cursor:,} of {view.horizon:,}</span>'


def achieved(view: ViewState) -> str:
    """The achieved speed, which stands beside the asked one."""
    if not view.run or view.achieved <= 0:
        return '<span class="nbbt-faint">achieved –</span>'
    return f"achieved <b>{compact(view.achieved)}×</b>"


def figures(view: ViewState) -> str:
    """Time, speed and account as tiles."""
    change = view.equity - view.start_cash
    share = f"{change / view.start_cash:+.2%}" if view.start_cash else ""
    tiles = [
        ("Sim time", escape(view.time) if view.run else "–", escape(view.day)),
        ("Wall time", wall_time(view.wall) if view.run else "–", ""),
        ("Bars/s", compact(view.rate) if view.run else "–", f"{view.bars:,} bars" if view.run else ""),
        ("Cash", money(view.cash, DASH) if view.run else "–", ""),
        ("Equity", money(view.equity, DASH) if view.run else "–", share if view.run else ""),
        ("Positions", f"{len(view.holdings):,}" if view.run else "–", f"{view.n_fills:,} fills" if view.run else ""),
    ]
    cells = (
        f'<div class="nbbt-tile"><div class="nbbt-label">{label}</div><div class="nbbt-value">{value}</div>'
        f'<div class="nbbt-note">{note or "&nbsp;"}</div></div>'
        for label, value, note in tiles
    )
    return f'<div class="nbbt-tiles">{"".join(cells)}</div>'


def holdings(view: ViewState) -> str:
    """Open positions and the last fills, side by side."""
    positions = [
        (escape(h.symbol), brief(h.size), brief(h.average), brief(h.last), signed(h.profit)) for h in view.holdings[:8]
    ]
    fills = [(f.time, f.side, escape(f.symbol), brief(f.size), brief(f.price)) for f in view.fills]
    more = len(view.holdings) - len(positions)
    left = table("Open positions", ("Symbol", "Size", "Average", "Last", "Profit"), positions, "none")
    left += f'<div class="nbbt-faint">and {more:,} more</div>' if more > 0 else ""
    right = table("Last fills", ("Bar", "Side", "Symbol", "Size", "Price"), fills, "none yet")
    return f'<div class="nbbt-pair"><div>{left}</div><div>{right}</div></div>'


def synchronization(view: ViewState) -> str:
    """Tables of the stages' waits and of their work."""
    streams = [_stream_row(stream) for stream in view.streams]
    stages = [_stage_row(stage) for stage in view.stages]
    paced = f"lag {work_time(view.lag)} · {view.overruns:,} overruns · " if view.speed > 0 else ""
    waits = table("Waits", ("Stream", "Signals", "Cycles", "Overruns", "Waited"), streams, "none")
    work = table("Work a window", ("Stage", "Windows", "Mean", "p99", "Total"), stages, "none")
    return (
        f'<div class="nbbt-pair"><div>{waits}</div><div>{work}</div></div>'
        f'<div class="nbbt-faint">{paced}window {counted(view.window, "instant")}</div>'
    )


def failure(problem: RunFailure | None) -> str:
    """An error's message, with its traceback folded."""
    if problem is None:
        return ""
    return (
        f'<div class="nbbt-failure" role="alert"><b>{escape(problem.message)}</b>'
        f"<details><summary>Traceback</summary><pre>{escape(problem.traceback)}</pre></details></div>"
    )


def notice(message: str, *, is_error: bool) -> str:
    """The last command's message."""
    name = "nbbt-notice nbbt-wrong" if is_error else "nbbt-notice"
    return f'<div class="{name}">{escape(message)}</div>' if message else ""


def table(title: str, columns: Iterable[str], rows: Sequence[tuple[str, ...]], nothing: str) -> str:
    """A small table; `rows` hold escaped HTML."""
    if not rows:
        return f'<div class="nbbt-label">{title}</div><div class="nbbt-faint">{nothing}</div>'
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="nbbt-label">{title}</div>'
        f'<table class="nbbt-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _stream_row(stream: WaitCounts) -> tuple[str, ...]:
    name = escape(stream.name.replace("->", " → "))
    return name, compact(stream.signals), compact(stream.cycles), compact(stream.overruns), work_time(stream.waited)


def _stage_row(stage: StageTiming) -> tuple[str, ...]:
    return stage.name, compact(stage.count), work_time(stage.mean), work_time(stage.p99), work_time(stage.total)


def signed(value: float) -> str:
    """A profit or a loss, coloured as such."""
    if not math.isfinite(value):
        return DASH
    return f'<span class="{"nbbt-gain" if value >= 0 else "nbbt-loss"}">{change(value)}</span>'
