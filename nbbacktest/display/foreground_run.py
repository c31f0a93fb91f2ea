"""A run in the foreground, from its start to its report, for `nbbacktest system start`.

It is shown as a live page, which is drawn ten times a second and takes commands as single keys; as plain lines if there
is no terminal; or as JSON lines for programs.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import NbBacktestError, StrategyError
from nbbacktest.core.formats import money, printed, speed, wall_time
from nbbacktest.display.run_page import Keys, RunMeter, RunPage, RunReading
from nbbacktest.display.terminal_input import Interrupts, Keyboard, Leaving, Suspension, leaving_in_order
from nbbacktest.report.result import Result
from nbbacktest.report.terminal import print_report
from nbbacktest.system import commands
from nbbacktest.system.answers import Answer
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.manager import SystemManager

if TYPE_CHECKING:
    from rich.console import Console

FRAME_SECONDS = 0.1
NOTICE_SECONDS = 4.0

_RUNNING: Keys = (("p", "pause"), ("q", "stop and report"), ("space", "pause, resume"))
_PAUSED: Keys = (("r", "resume"), ("s", "step"), ("q", "stop and report"), ("space", "pause, resume"))
_ASKED: Keys = (("r", "resume"), ("s", "step"), ("q", "stop and report"), ("Ctrl-C", "the same"))
_WITHOUT_KEYS: Keys = (("Ctrl-C", "pause"),)
_WITHOUT_KEYS_ASKED: Keys = (("Ctrl-C", "stop and report"),)
_QUESTION = "Paused. Go on, or stop here?"


class LiveTerminal:
    """Shows a started run until it ends.

    Parameters
    ----------
    system
        The run.
    cash : float
        The starting cash of its account.
    console
        A terminal.
    """

    def __init__(self, system: SystemManager, cash: float, console: Console) -> None:
        self._system = system
        self._meter = RunMeter(system, cash)
        self._console = console
        self._notice, self._until = "", 0.0
        self._asked = False  # a Ctrl-C has paused the run; the next one stops it

    def show(self) -> bool:
        """Draw the page and carry out keys until the run has ended; returns True if Ctrl-C ended it."""
        from rich.live import Live

        live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        keyboard = Keyboard()

        def leave() -> None:
            live.stop()
            keyboard.release()

        def back() -> None:
            keyboard.take()
            live.start()

        with Interrupts() as interrupts, keyboard, live, Suspension(leave, back) as suspension:
            while not self._system.is_stopped():
                suspension.heed()
                live.update(self._page(keyboard), refresh=True)
                key = keyboard.read(FRAME_SECONDS)
                interrupted = interrupts.taken()
                try:
                    if interrupted and interrupts.waiting(self._interrupt):
                        return True
                    if key is not None:
                        interrupts.waiting(partial(self._press, key))
                except KeyboardInterrupt:  # it was pressed while a command waited for the engine
                    self._system.stop()
                    return True
        return False

    # -- inside ---------------------------------------------------------------------------------------------

    def _page(self, keyboard: Keyboard) -> RunPage:
        reading = self._meter.read()
        if reading.state is not SystemState.PAUSED:
            self._asked = False
        if self._asked:
            return RunPage(reading, _ASKED if keyboard.present else _WITHOUT_KEYS_ASKED, _QUESTION)
        keys = _PAUSED if reading.state is SystemState.PAUSED else _RUNNING
        notice = self._notice if monotonic() < self._until else ""
        return RunPage(reading, keys if keyboard.present else _WITHOUT_KEYS, notice)

    def _interrupt(self) -> bool:
        """The first Ctrl-C pauses and asks, the second stops; returns True for the second."""
        if self._asked or self._system.is_stopped():
            self._command("stop")
            return True
        if not self._system.is_paused():
            self._command("pause")
        self._asked = True
        return False

    def _press(self, key: str) -> None:
        paused = self._system.is_paused()
        name = {"p": "pause", "r": "resume", "s": "step", "q": "stop", " ": "resume" if paused else "pause"}.get(key)
        if name is not None:
            self._command(name)
        elif key.isprintable():
            self._say(f"{key!r} is no key here")

    def _command(self, name: str) -> None:
        try:
            answer = COMMANDS[name](self._system)
        except NbBacktestError as error:
            self._say(str(error).partition(" Last events")[0])
            return
        self._asked = self._asked and name == "step"
        self._say(answer.message)

    def _say(self, text: str) -> None:
        self._notice, self._until = text.splitlines()[0], monotonic() + NOTICE_SECONDS


LINE_SECONDS = 2.0
EVENT_SECONDS = 0.25
_LOOK_SECONDS = 0.1


class Ended(NamedTuple):
    """The end of a run in the foreground.

    Attributes
    ----------
    error
        The error of a strategy; None if none raised.
    interrupted
        True if Ctrl-C ended the run.
    """

    error: StrategyError | None
    interrupted: bool


def run_in_foreground(
    system: SystemManager, config: Path | None, *, speed: float | None, paused: bool, as_json: bool, console: Console
) -> Ended:
    """Start a run, show it until it ends, and report it. The run is stopped also if this raises.

    Raises
    ------
    Leaving
        SIGTERM, or a closed terminal, after the result until then is reported.
    """
    settings = SessionConfig.load(config if config is not None else EXAMPLE)
    begin = partial(commands.start, system, settings, speed=speed, paused=paused)
    return _in_foreground(system, begin, as_json=as_json, console=console)


def resume_in_foreground(
    system: SystemManager, run: str | None, *, paused: bool, as_json: bool, console: Console
) -> Ended:
    """Go on with a run whose process died, and show it as `run_in_foreground` does.

    Raises
    ------
    JournalError, ReplayError
        There is no such run, or it can't be gone on with.
    """

    def begin() -> Answer:
        system.recover(run)
        at = system.snapshot()
        if not paused:
            system.resume()
        message = f"Goes on with {system.next_start} after {at.cursor:,} instants, at {at.time}"
        return Answer("resume", True, str(system.get_state()), message)

    return _in_foreground(system, begin, as_json=as_json, console=console)


def _in_foreground(system: SystemManager, begin: Callable[[], Answer], *, as_json: bool, console: Console) -> Ended:
    out, left, interrupted = sys.stdout, None, False
    # Strategies' own output goes to stderr, so that stdout holds JSON alone.
    with leaving_in_order(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        try:
            answer = begin()
            try:
                _announce(answer, as_json=as_json, console=console, out=out)
                interrupted = _show(system, as_json=as_json, console=console, out=out)
            except Leaving as leaving:
                left = leaving
                system.stop()
            result, error = _outcome(system)
        finally:
            system.stop()
    if as_json:
        out.write(end_event(result, system.status()) + "\n")
    else:
        print_report(result.analysis, console)
    if left is not None:
        raise left
    return Ended(error, interrupted)


def _announce(answer: Answer, *, as_json: bool, console: Console, out: TextIO) -> None:
    if as_json:
        out.write(event("start", state=answer.state, message=answer.message) + "\n")
        out.flush()
        return
    console.print(str(answer), markup=False)


def _show(system: SystemManager, *, as_json: bool, console: Console, out: TextIO) -> bool:
    run = system.run
    cash = run.config.broker.cash if run is not None else 0.0
    if as_json:
        return follow_in_events(system, cash, out)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveTerminal(system, cash, console).show()
    return follow_in_lines(system, cash, out)


def _outcome(system: SystemManager) -> tuple[Result, StrategyError | None]:
    try:
        return system.wait(), None
    except StrategyError as error:
        return error.result, error


def follow_in_lines(system: SystemManager, cash: float, out: TextIO) -> bool:
    """Write a line at every change of state and every two seconds; returns True if Ctrl-C ended the run."""
    return _follow(system, cash, LINE_SECONDS, lambda _kind, reading: _write(out, printed(_line(reading))))


def follow_in_events(system: SystemManager, cash: float, out: TextIO) -> bool:
    """Write a JSON object a line: ``state`` at every change, ``progress`` four times a second while it runs."""
    return _follow(system, cash, EVENT_SECONDS, lambda kind, reading: _write(out, event(kind, **_facts(reading))))


def event(kind: str, **facts: Any) -> str:
    """One event as a line of JSON, with the wall time in UTC."""
    return json.dumps({"event": kind, "wall_time": datetime.now(UTC).isoformat(), **facts}, default=str)


def end_event(result: Result, status: dict[str, Any]) -> str:
    """The last event: the statistics, the fingerprint, and the status at the end."""
    document = json.loads(result.to_json())
    facts = {name: document[name] for name in ("name", "fingerprint", "stats")}
    return event("end", **facts, status=status)


def _follow(system: SystemManager, cash: float, every: float, tell: Callable[[str, RunReading], None]) -> bool:
    states: queue.SimpleQueue[SystemState] = queue.SimpleQueue()
    forget = system.on_state(states.put)
    meter, told = RunMeter(system, cash), monotonic()
    try:
        with Interrupts() as interrupts:
            while not system.is_stopped():
                if interrupts.taken():
                    interrupts.waiting(system.stop)
                    return True
                try:
                    state = states.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    state = None
                if state is not None and state is not SystemState.STOPPED:
                    tell("state", meter.read())
                elif system.is_running() and monotonic() - told >= every:
                    told = monotonic()
                    tell("progress", meter.read())
    except KeyboardInterrupt:
        return True
    finally:
        forget()
    return False


def _write(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


def _line(r: RunReading) -> str:
    moment = str(r.time) if r.time is not None else "before the first bar"
    parts = [f"{r.state:<7}", moment, f"{r.progress:6.1%}", f"equity {money(r.equity)} ({r.gain:+.2%})", _pace(r)]
    if r.overruns:
        parts.append(f"{r.overruns:,} overruns")
    if r.seconds_left is not None:
        parts.append(f"{wall_time(r.seconds_left, whole=True)} left")
    if r.error:
        parts.append(r.error.splitlines()[0])
    return "  ".join(parts)


def _pace(r: RunReading) -> str:
    if r.asked:
        return f"{speed(r.asked)} asked, {speed(r.achieved)} achieved"
    return f"{r.bars_per_second:,.0f} bars/s"


def _facts(r: RunReading) -> dict[str, Any]:
    return {
        "state": r.state.value,
        "sim_time": r.time.isoformat() if r.time is not None else None,
        "progress": r.progress,
        "bars_processed": r.bars,
        "equity": r.equity if math.isfinite(r.equity) else None,  # JSON has no infinity
        "cash": r.cash if math.isfinite(r.cash) else None,
        "positions": {position.symbol: position.size for position in r.positions},
        "fills": r.n_fills,
        "speed_multiplier": r.asked,
        "achieved_speed": r.achieved,
        "lag_seconds": r.lag,
        "overruns": r.overruns,
        "error": r.error,
    }
