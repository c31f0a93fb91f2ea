"""The state that a panel's controls show: one frozen `ViewState`, and the differences of two. Knows no widget and no thread."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import timestamp
from nbbacktest.core.lifecycle import TABLE, Command
from nbbacktest.system.run import Run
from nbbacktest.system.status import status
from nbbacktest.trading.snapshot import Snapshot

USERS = (
    Command.START, Command.PAUSE, Command.RESUME, Command.STEP, Command.RUN_UNTIL, Command.REWIND, Command.STOP,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShownPosition:
    """A row of the table of open positions."""

    symbol: str
    size: float
    average: float
    last: float
    profit: float


@dataclass(frozen=True, slots=True)
class ShownFill:
    """A row of the table of last fills; `time` is formatted."""

    time: str
    symbol: str
    side: str
    size: float
    price: float


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Seconds a window that one stage of the engine took: number of windows, mean, 99th percentile, total."""

    name: str
    count: int
    mean: float
    p99: float
    total: float


@dataclass(frozen=True, slots=True)
class WaitCounts:
    """Counts of a subscription between two stages, and the seconds waited at it."""

    name: str
    mode: str
    signals: int
    cycles: int
    overruns: int
    waited: float


@dataclass(frozen=True, slots=True)
class RunFailure:
    """The error that ended a run, or holds it."""

    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class ViewState:
    """Everything that a panel's controls show, as of one instant.

    Attributes
    ----------
    run : int
        The run's number in this process, counted from 1; 0 before the first.
    epoch : int
        How often the run was taken to another place.
    allowed : frozenset of Command
        The commands that the state allows.
    cursor, total : int
        Completed instants, and how many the run has. All values of the account, bars and times are as of this cursor.
    stands, horizon : int
        Instants completed where the run stands, and at most so far. `cursor` differs from `stands` while a user looks at
        another instant.
    by_hand : int
        The number of inputs by hand.
    is_open : bool
        True in a live run: its end isn't known while it goes on.
    session, sessions : int
        Trading days begun, and how many the run has.
    wall, left : float
        Wall seconds in which the run moved, and those left at the present pace; `left` is None if it isn't known.
    rate : float
        Bars a second: lately while it runs, else over `wall`.
    """

    run: int = 0
    epoch: int = 0
    state: SystemState = SystemState.STOPPED
    allowed: frozenset[Command] = field(default_factory=lambda: allowed_in(SystemState.STOPPED))
    name: str = ""
    source: str = ""
    symbols: tuple[str, ...] = ()
    intervals: tuple[str, ...] = ()
    cursor: int = 0
    total: int = 0
    stands: int = 0
    horizon: int = 0
    by_hand: int = 0
    is_open: bool = False
    session: int = 0
    sessions: int = 0
    time: str = ""
    day: str = ""
    wall: float = 0.0
    left: float | None = None
    bars: int = 0
    rate: float = 0.0
    speed: float = 0.0
    achieved: float = 0.0
    lag: float = 0.0
    window: int = 0
    cash: float = 0.0
    equity: float = 0.0
    start_cash: float = 0.0
    holdings: tuple[ShownPosition, ...] = ()
    fills: tuple[ShownFill, ...] = ()
    n_fills: int = 0
    streams: tuple[WaitCounts, ...] = ()
    stages: tuple[StageTiming, ...] = ()
    failure: RunFailure | None = None

    @property
    def progress(self) -> float:
        """Completed share of the run, from 0 to 1; 0 in a live run that goes on."""
        if self.is_open and self.state is not SystemState.STOPPED:
            return 0.0
        return self.cursor / self.total if self.total else 0.0

    @property
    def in_past(self) -> bool:
        """True if the run was taken back, and hasn't come to its horizon again."""
        return self.stands < self.horizon

    @property
    def is_looking(self) -> bool:
        """True while a user looks at another instant than that at which the run stands."""
        return self.cursor != self.stands

    @property
    def overruns(self) -> int:
        """Overruns of all subscriptions."""
        return sum(stream.overruns for stream in self.streams)


def allowed_in(state: SystemState, run: Run | None = None) -> frozenset[Command]:
    """The commands of a panel that the state and the run allow; without a run, and in a live one, there is no way back."""
    goes_back = run is not None and not run.is_live
    commands = USERS if goes_back else (one for one in USERS if one is not Command.REWIND)
    return frozenset(command for command in commands if (state, command) in TABLE)


def differences(old: ViewState | None, new: ViewState) -> frozenset[str]:
    """The names of the fields that differ; all names if `old` is None."""
    names = (entry.name for entry in fields(ViewState))
    return frozenset(name for name in names if old is None or getattr(old, name) != getattr(new, name))


def resolve(
    number: int, state: SystemState, run: Run | None, shot: Snapshot | None, sessions: tuple[int, int], rate: float,
    speed: float = 0.0, wall: float | None = None, looked: Snapshot | None = None,
) -> ViewState:  # fmt: skip
    """The view of a system.

    Parameters
    ----------
    number
        The number of the run.
    shot
        The last published snapshot: reading it needs no lock of the engine.
    sessions
        Trading days begun, and all of them.
    rate
        Bars a second, lately.
    speed
        The speed of the next start, which is shown while nothing runs.
    wall
        Wall seconds in which the run moved; None: those since its start.
    looked
        The instant to show in place of the one at which the run stands, where the user looks.
    """
    if run is None or shot is None:
        return ViewState(state=state, allowed=allowed_in(state), speed=speed)
    facts = status(state, run)
    session, performance = facts["session"], facts["performance_metrics"]
    running = state is SystemState.RUNNING
    wall = run.duration if wall is None else wall
    counts = shot.counts
    bars = sum(counts.values())
    seen = shot if looked is None else looked
    return ViewState(
        run=number,
        epoch=shot._frame.epoch,  # noqa: SLF001 - hidden from users only
        state=state,
        allowed=allowed_in(state, run),
        name=run.config.session_name,
        source=run.source,
        symbols=tuple(counts),
        intervals=tuple(dict.fromkeys(s.interval for s in run.world.timeline.series)),
        cursor=seen.cursor,
        total=seen.total,
        stands=shot.cursor,
        horizon=shot.cursor if run.journey.line.past is None else max(run.horizon, shot.cursor),
        by_hand=len(run.inputs),
        is_open=shot.is_open,
        session=sessions[0],
        sessions=sessions[1],
        time="before the first bar" if seen.time is None else timestamp(seen.time, zone=False),
        day="" if seen.time is None else f"{seen.time:%a}",
        wall=wall,
        left=_left(run, shot, rate) if running and looked is None else None,
        bars=bars,
        rate=rate if running else bars / wall if wall > 0 else 0.0,
        speed=speed if state is SystemState.STOPPED else session["speed_multiplier"],
        achieved=session["achieved_speed"],
        lag=session["lag_seconds"],
        window=run.quantum.length if not run.coordinator.speed else 1,
        cash=seen.cash,
        equity=seen.equity,
        start_cash=float(run.config.broker.cash),
        holdings=tuple(
            ShownPosition(p.symbol, p.size, p.average_price, p.last, p.unrealized_pnl) for p in seen.positions
        ),
        fills=tuple(_execution(fill, run) for fill in reversed(seen.last_fills)),
        n_fills=seen.n_fills,
        streams=tuple(_stream(name, counts) for name, counts in facts["subscriptions"].items()),
        stages=tuple(_stage(name, performance[f"{name}_timing"]) for name in ("coordinator", "processor", "analysis")),
        failure=_failure(facts["error"]),
    )


def _left(run: Run, shot: Snapshot, rate: float) -> float | None:
    """Wall seconds until the end: by the clock of a paced run, else at the recent rate; None in a live run."""
    if shot.is_open:
        return None
    if shot.cursor >= shot.total:
        return 0.0
    if run.coordinator.speed > 0:
        seconds = run.world.timeline.seconds
        return float(seconds[-1] - seconds[max(shot.cursor - 1, 0)]) / run.coordinator.speed
    bars = sum(shot.counts.values())
    if rate <= 0 or not shot.cursor or not bars:
        return None
    return (shot.total - shot.cursor) * (bars / shot.cursor) / rate


def _execution(fill: Any, run: Run) -> ShownFill:
    stamp = run.stamps.begin(fill.time_ns)
    written = f"{stamp:%Y-%m-%d}" if run.stamps.dates else f"{stamp:%m-%d %H:%M}"
    return ShownFill(written, fill.symbol, str(fill.side), fill.size, fill.price)


def _stream(name: str, counts: dict[str, Any]) -> WaitCounts:
    return WaitCounts(
        name, counts["mode"], counts["signals"], counts["cycles"], counts["overruns"], counts["wait_seconds"]
    )


def _stage(name: str, timing: dict[str, float]) -> StageTiming:
    return StageTiming(name, int(timing["count"]), timing["avg"], timing["p99"], timing["total"])


def _failure(error: dict[str, Any] | None) -> RunFailure | None:
    return None if error is None else RunFailure(error["message"], error["traceback"] or "")
