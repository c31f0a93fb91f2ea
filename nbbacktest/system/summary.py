"""The JSON status in a few lines of text, for whoever reads it in a terminal or a message."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import money, speed


def summary(status: dict[str, Any]) -> list[str]:
    """What is worth saying of a status besides its state; nothing of a system that never ran."""
    session, account, error = status["session"], status["portfolio"], status["error"]
    if not session["name"]:
        return []
    rows = [
        ("Session", f"{session['name']} ({session['source']})"),
        ("Sim time", shown_time(session["sim_time"])),
        ("Progress", f"{session['progress']:.1%}, {status['performance_metrics']['bars_processed']:,} bars"),
        ("Speed", shown_speed(session)),
        ("Equity", f"{money(account['equity'], '-')}, cash {money(account['cash'], '-')}"),
        ("Positions", ", ".join(f"{symbol} {size:+,g}" for symbol, size in account["positions"].items()) or "none"),
    ]
    if error is not None:
        rows.append(("Error", error["message"]))
    system = status["system_manager"]
    if system["_state"] == SystemState.STOPPED and system.get(
        "next_start"
    ):  # another process may be of an older version
        rows.append(("Next start", system["next_start"]))
    return [f"{label}: {value}" for label, value in rows]


def shown_time(moment: str | None) -> str:
    """A status's time as people read it: ISO 8601 without the T."""
    return moment.replace("T", " ") if moment else "before the first bar"


def shown_speed(session: dict[str, Any], state: str = SystemState.RUNNING.value) -> str:
    """The speed that was asked for, and the one that is achieved."""
    asked, achieved = session["speed_multiplier"], session["achieved_speed"]
    wish = speed(asked) if asked else "as fast as it goes"
    return f"{wish}, achieved {speed(achieved)}" if achieved and state != SystemState.STOPPED.value else wish
