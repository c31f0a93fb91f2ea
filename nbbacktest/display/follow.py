"""A run followed without a terminal: plain lines for people, JSON lines for programs."""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TextIO

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import money, speed, wall_time
from nbbacktest.core.shown import printed
from nbbacktest.display.interrupts import Interrupts
from nbbacktest.display.reading import Meter, Reading
from nbbacktest.report.result import Result
from nbbacktest.system.manager import SystemManager

LINE_SECONDS = 2.0
EVENT_SECONDS = 0.25
_LOOK_SECONDS = 0.1


def follow_in_lines(system: SystemManager, cash: float, out: TextIO) -> bool:
    """Write a line at every change of state and every two seconds; returns whether Ctrl-C ended the run."""
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


def _follow(system: SystemManager, cash: float, every: float, tell: Callable[[str, Reading], None]) -> bool:
    states: queue.SimpleQueue[SystemState] = queue.SimpleQueue()
    forget = system.on_state(states.put)
    meter, told = Meter(system, cash), monotonic()
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


def _line(r: Reading) -> str:
    moment = str(r.time) if r.time is not None else "before the first bar"
    parts = [f"{r.state:<7}", moment, f"{r.progress:6.1%}", f"equity {money(r.equity)} ({r.gain:+.2%})", _pace(r)]
    if r.overruns:
        parts.append(f"{r.overruns:,} overruns")
    if r.seconds_left is not None:
        parts.append(f"{wall_time(r.seconds_left, whole=True)} left")
    if r.error:
        parts.append(r.error.splitlines()[0])
    return "  ".join(parts)


def _pace(r: Reading) -> str:
    if r.asked:
        return f"{speed(r.asked)} asked, {speed(r.achieved)} achieved"
    return f"{r.bars_per_second:,.0f} bars/s"


def _facts(r: Reading) -> dict[str, Any]:
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
