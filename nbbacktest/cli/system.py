"""`nbbacktest system ...`: a run in the foreground, and a hand on the runs of other processes."""

from __future__ import annotations

import sys
from typing import Any

import nbbacktest as nb
from nbbacktest.cli.answers import show_answer
from nbbacktest.cli.exits import DONE, FAILED, INTERRUPTED, complain
from nbbacktest.cli.run import find_local_modules
from nbbacktest.cli.sessions import show_gone, show_sessions
from nbbacktest.grammar import JSON, SESSION, Option, system_app
from nbbacktest.report.console import console
from nbbacktest.system.commands import COMMANDS

_EVENTS = Option("json_", bool, "Write events as JSON lines: start, state, progress, end.")


def call(name: str, arguments: dict[str, Any]) -> int:
    """Carry out a command as a terminal does: `start` here, in the foreground, all others on a run elsewhere."""
    as_json = arguments.pop("json_")
    if name == "start":
        return _start(arguments, as_json=as_json)
    return elsewhere(name, arguments, arguments.pop("session"), as_json=as_json)


def elsewhere(name: str, arguments: dict[str, Any], session: str | None, *, as_json: bool) -> int:
    """Carry out a command on a run of another process; a status of several is their list."""
    from nbbacktest.system.remote.client import reach, sessions

    if name == "status" and session is None:
        entries = sessions()
        alive = [entry for entry in entries if entry.state != "gone"]
        if len(alive) > 1:
            return show_sessions(entries, as_json=as_json)
        if not as_json:
            show_gone([entry for entry in entries if entry.state == "gone"])
    with reach(session) as client:
        if name == "status" and not as_json:
            sys.stdout.write(f"Session {client.entry.id}, process {client.entry.pid}\n")
        answer = client.command(name, **arguments)
    show_answer(answer, as_json=as_json)
    return DONE


def _start(arguments: dict[str, Any], *, as_json: bool) -> int:
    from nbbacktest.display.foreground import run_in_foreground

    find_local_modules()
    ended = run_in_foreground(nb.get_system_manager(), as_json=as_json, console=console(), **arguments)
    if ended.error is not None:
        return complain(str(ended.error), FAILED)
    if ended.interrupted:
        return complain("interrupted: this is what was run until then", INTERRUPTED)
    return DONE


app = system_app(call, {name: ((_EVENTS,) if name == "start" else (SESSION, JSON)) for name in COMMANDS})
