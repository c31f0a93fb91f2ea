"""A run as a page of a terminal: readings of it, and one reading drawn as state, progress, equity, account and synchronization.

Readings are frozen values, so that drawing needs no lock of the engine.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.enums import Side, SystemState
from nbbacktest.core.formats import change, money, printed, speed, wall_time
from nbbacktest.report.terminal import columns_chart
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.run import MovingTime

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.panel import Panel
    from rich.text import Text

_PACE_SECONDS = 3.0
"""Seconds over which the pace is measured, from which the time left follows."""
_POINTS = 2_000
"""The most points of the equity's line; beyond that every other one is dropped."""


@dataclass(frozen=True)
class RunReading:
    """A run at one instant.

    Attributes
    ----------
    seconds : float
        Of wall time in which the run moved; `bars_per_second` counts by them.
    seconds_left : float or None
        Of wall time, at the present pace; None if it stands still.
    achieved : float
        Simulated seconds a second.
    curve : tuple of (float, float)
        Progress and equity, from the start until now, as often as it was looked at.
    fills : tuple
        The newest, oldest first: the stamp of the bar that each happened in, and the fill.
    """

    state: SystemState
    name: str
    source: str
    time: pd.Timestamp | None
    progress: float
    cursor: int
    total: int
    seconds_left: float | None
    seconds: float
    bars: int
    bars_per_second: float
    asked: float
    achieved: float
    lag: float
    overruns: int
    wait_seconds: float
    start_equity: float
    equity: float
    cash: float
    curve: tuple[tuple[float, float], ...]
    positions: tuple[Any, ...]
    orders: int
    n_fills: int
    fills: tuple[Any, ...]
    error: str | None

    @property
    def gain(self) -> float:
        """The change of equity since the start, as a fraction."""
        return self.equity / self.start_equity - 1 if self.start_equity else 0.0


class RunMeter:
    """Takes readings of a system, and keeps the past values that the pace and the equity line need.

    Parameters
    ----------
    system
        One whose run has started.
    cash : float
        The starting cash of the account.
    """

    def __init__(self, system: SystemManager, cash: float) -> None:
        self._system = system
        self._cash = cash
        self._watch = MovingTime()
        self._pace: deque[tuple[float, float]] = deque()  # wall seconds, progress
        self._curve = [(0.0, cash)]
        self._every = 1  # the number of readings for one point of the line
        self._readings = 0

    def read(self) -> RunReading:
        """Take a reading; waits for the bar that is being processed."""
        status = self._system.status()
        shot = self._system.snapshot()
        state = SystemState(status["system_manager"]["_state"])
        bars, session = status["performance_metrics"]["bars_processed"], status["session"]
        run = self._system.run
        seconds = self._watch.seconds(run, state) if run is not None else 0.0
        streams = status["subscriptions"].values()
        if math.isfinite(shot.equity):
            self._remember(shot.progress, shot.equity)
        return RunReading(
            state=state,
            name=printed(session["name"]),
            source=printed(session["source"]),
            time=shot.time,
            progress=shot.progress,
            cursor=shot.cursor,
            total=shot.total,
            seconds_left=self._left(state, shot.progress),
            seconds=seconds,
            bars=bars,
            bars_per_second=bars / seconds if seconds > 0 else 0.0,
            asked=session["speed_multiplier"],
            achieved=session["achieved_speed"],
            lag=session["lag_seconds"],
            overruns=sum(stream["overruns"] for stream in streams),
            wait_seconds=sum(stream["wait_seconds"] for stream in streams),
            start_equity=self._cash,
            equity=shot.equity,
            cash=shot.cash,
            curve=tuple(self._curve),
            positions=shot.positions,
            orders=len(shot.orders),
            n_fills=shot.n_fills,
            fills=tuple((fill.time, fill) for fill in shot.last_fills),
            error=printed(status["error"]["message"]) if status["error"] else None,
        )

    def _remember(self, progress: float, equity: float) -> None:
        if progress < self._curve[-1][0]:
            # The run was taken back: the points beyond its cursor are ahead of it again.
            self._curve = [point for point in self._curve if point[0] <= progress]
        if progress <= self._curve[-1][0]:
            return
        if self._readings % self._every == 0:
            self._curve.append((progress, equity))
        self._readings += 1
        if len(self._curve) > _POINTS:
            del self._curve[1::2]
            self._every *= 2

    def _left(self, state: SystemState, progress: float) -> float | None:
        now = monotonic()
        if state is not SystemState.RUNNING:
            self._pace.clear()
            return None
        if self._pace and progress < self._pace[-1][1]:
            self._pace.clear()
        self._pace.append((now, progress))
        while now - self._pace[0][0] > _PACE_SECONDS and len(self._pace) > 2:
            self._pace.popleft()
        seconds, done = now - self._pace[0][0], progress - self._pace[0][1]
        return (1.0 - progress) * seconds / done if done > 0 else None


WIDE = 120
"""The terminal's width, in columns, from which on the four boxes stand in one row."""
_ROWS = 5
_SCALE = 16
"""The most columns that the scale of the equity takes."""
_BADGE = {
    SystemState.RUNNING: "bold white on dark_green",
    SystemState.PAUSED: "bold black on orange1",
    SystemState.STOPPED: "bold white on grey37",
}

Keys = Sequence[tuple[str, str]]
"""The keys that have an effect now, and their effects."""


class RunPage:
    """A rich renderable of one reading: as wide as the terminal, and of the same height in all states.

    Parameters
    ----------
    reading
        The run.
    keys
        Shown in the last line.
    notice
        The answer to the last command, or a question.
    """

    def __init__(self, reading: RunReading, keys: Keys = (), notice: str = "") -> None:
        self._reading, self._keys, self._notice = reading, keys, notice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the page; rich calls this."""
        from rich.text import Text

        r, width = self._reading, options.max_width
        yield from _head(r, width)
        blocks = console.encoding.lower().startswith("utf")
        if blocks and console.height >= 24:
            yield Text()
            yield from columns_chart(_columns(r, width - _SCALE), width, height=3 if width < WIDE else 6)
        yield Text()
        boxes = [_account(r), _synchronization(r), _positions(r), _fills(r)]
        yield _row(boxes, width) if width >= WIDE else _row(boxes[:2], width)
        if width < WIDE:
            yield _row(boxes[2:], width)
        yield self._foot()

    def _foot(self) -> RenderableType:
        from rich.text import Text

        if self._reading.error:
            notice = Text(self._reading.error.splitlines()[0], style="bold red")
        else:
            notice = Text(self._notice, style="bold")
        keys = Text()
        for key, purpose in self._keys:
            keys.append(f" {key} ", style="reverse").append(f" {purpose}   ", style="dim")
        lines = Text(overflow="ellipsis", no_wrap=True)
        return lines.append_text(Text(" ")).append_text(notice).append("\n ").append_text(keys)


def _head(r: RunReading, width: int) -> Iterable[RenderableType]:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    title = Table.grid(expand=True, padding=(0, 1))
    title.add_column(no_wrap=True)
    title.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    title.add_column(justify="right", no_wrap=True)
    name = Text(r.name, style="bold").append(f"  {r.source}", style="not bold dim")
    title.add_row(Text(f" {r.state.name} ", style=_BADGE[r.state]), name, _moment(r))
    yield title
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    paint = "orange1" if r.state is SystemState.PAUSED else "green"
    ends = Text(f"{r.progress:6.1%}", style="bold")
    if width >= 60:
        ends.append(f"  {r.cursor:,} of {r.total:,} instants", style="not bold dim")
    ends.append(f"  {_left(r)}", style="not bold")
    bar.add_row(ProgressBar(total=1.0, completed=r.progress, complete_style=paint, finished_style=paint), ends)
    yield bar


def _columns(r: RunReading, width: int) -> list[float]:
    """Equity at each column; the line reaches the right edge at the end of the run."""
    marks = [progress for progress, _ in r.curve]
    count = max(round(r.progress * width), 1)
    return [r.curve[max(bisect_right(marks, (j + 1) / width) - 1, 0)][1] for j in range(count)]


def _moment(r: RunReading) -> Text:
    from rich.text import Text

    if r.time is None:
        return Text("before the first bar", style="dim")
    daily = r.time.tzinfo is None
    return Text(f"{r.time:%a %Y-%m-%d}" if daily else f"{r.time:%a %Y-%m-%d %H:%M:%S %Z}", style="bold cyan")


def _left(r: RunReading) -> str:
    if r.state is SystemState.PAUSED:
        return "at rest"
    if r.seconds_left is None:
        return f"{wall_time(r.seconds, whole=True)} so far"
    return f"{wall_time(r.seconds_left, whole=True)} left"


def _row(boxes: Sequence[Panel], width: int) -> RenderableType:
    from rich.table import Table

    row = Table.grid(expand=True)
    for _ in boxes:
        row.add_column(ratio=1)
    row.add_row(*boxes)
    row.width = width
    return row


def _box(title: str, content: RenderableType, height: int) -> Panel:
    from rich.box import ROUNDED
    from rich.panel import Panel

    return Panel(content, title=title, title_align="left", box=ROUNDED, border_style="dim", height=height + 2)


def _account(r: RunReading) -> Panel:
    from rich.text import Text

    gain = Text(f"{r.gain:+.2%}", style=_sign(r.gain))
    unrealized = sum(position.unrealized_pnl for position in r.positions)
    return _figures(
        "Account",
        [
            ("Equity", Text(money(r.equity), style="bold")),
            ("Return", gain),
            ("Cash", Text(money(r.cash))),
            ("Unrealized", Text(change(unrealized), style=_sign(unrealized))),
            ("Open orders", Text(f"{r.orders:,}")),
        ],
    )


def _synchronization(r: RunReading) -> Panel:
    from rich.text import Text

    late = "bold red" if r.overruns else ""
    if r.asked:
        behind = r.state is SystemState.RUNNING and r.achieved < 0.9 * r.asked and r.cursor > 10
        pace = [
            ("Speed asked", Text(speed(r.asked), style="bold")),
            ("achieved", Text(speed(r.achieved), style="yellow" if behind else "")),
            ("Lag", Text(f"{r.lag:,.3f} s")),
        ]
    else:
        pace = [
            ("Speed asked", Text("as fast as it goes", style="bold")),
            ("achieved", Text(speed(r.achieved))),
            ("Bars/s", Text(f"{r.bars_per_second:,.0f}")),
        ]
    rows = [*pace, ("Overruns", Text(f"{r.overruns:,}", style=late)), ("Waited", Text(f"{r.wait_seconds:,.2f} s"))]
    return _figures("Clock" if r.asked else "Speed", rows)


def _figures(title: str, rows: Sequence[tuple[str, Text]]) -> Panel:
    from rich.table import Table

    grid = Table.grid(expand=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1, justify="right", no_wrap=True)
    for label, value in rows:
        grid.add_row(label, value)
    return _box(title, grid, _ROWS)


def _positions(r: RunReading) -> Panel:
    from rich.table import Table
    from rich.text import Text

    if not r.positions:
        return _box("Positions", Text("flat", style="dim"), _ROWS)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for _ in range(2):
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1, justify="right", no_wrap=True)
    rows = r.positions if len(r.positions) <= _ROWS else r.positions[: _ROWS - 1]
    for p in rows:
        gain = Text(change(p.unrealized_pnl), style=_sign(p.unrealized_pnl))
        grid.add_row(Text(printed(p.symbol), style="bold"), f"{p.size:+,g}", Text(money(p.last), style="dim"), gain)
    if len(r.positions) > len(rows):
        grid.add_row(Text(f"and {len(r.positions) - len(rows)} more", style="dim"))
    return _box(f"Positions ({len(r.positions):,})", grid, _ROWS)


def _fills(r: RunReading) -> Panel:
    from rich.table import Table
    from rich.text import Text

    if not r.fills:
        return _box("Fills", Text("none yet", style="dim"), _ROWS)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1, justify="right", no_wrap=True)
    for stamp, fill in reversed(r.fills):
        buys = fill.side is Side.BUY
        grid.add_row(
            f"{stamp:%m-%d}" if stamp.tzinfo is None else f"{stamp:%H:%M}",
            Text(fill.side.value, style="green" if buys else "red"), Text(printed(fill.symbol), style="bold"),
            f"{fill.size:,g}", money(fill.price),
        )  # fmt: skip
    return _box(f"Fills ({r.n_fills:,})", grid, _ROWS)


def _sign(x: float) -> str:
    return "green" if x > 0 else "red" if x < 0 else ""
