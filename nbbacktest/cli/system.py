"""`nbbacktest system ...` and `nbbacktest sessions`: a run in the foreground, and the runs of this user's other processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import nbbacktest as nb
from nbbacktest.cli.output import DONE, FAILED, INTERRUPTED, complain, show_answer
from nbbacktest.cli.run import find_local_modules
from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import printed
from nbbacktest.grammar import JSON, SESSION, Option, system_app
from nbbacktest.report.console import console
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.status import shown_time

if TYPE_CHECKING:
    from nbbacktest.display.foreground_run import Ended
    from nbbacktest.system.remote.registry import SessionEntry

_COLOURS = {SystemState.RUNNING.value: "green", SystemState.PAUSED.value: "yellow", "gone": "red", "silent": "red"}
_EVENTS = Option("json_", bool, "Write events as JSON lines: start, state, progress, end.")


def call(name: str, arguments: dict[str, Any]) -> int:
    """Carry out a command of a terminal: `start` in this process, in the foreground, others on a run of another process."""
    as_json = arguments.pop("json_")
    if name == "start":
        return _start(arguments, as_json=as_json)
    return elsewhere(name, arguments, arguments.pop("session"), as_json=as_json)


def elsewhere(name: str, arguments: dict[str, Any], session: str | None, *, as_json: bool) -> int:
    """Carry out a command on a run of another process; `status` with several runs lists them."""
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
    from nbbacktest.display.foreground_run import run_in_foreground

    find_local_modules()
    return exit_status(run_in_foreground(nb.get_system_manager(), as_json=as_json, console=console(), **arguments))


def exit_status(ended: Ended) -> int:
    """Complain of how a run in the foreground ended; returns the exit status."""
    if ended.error is not None:
        return complain(str(ended.error), FAILED)
    if ended.interrupted:
        return complain("interrupted: this is what was run until then", INTERRUPTED)
    return DONE


def sessions(*, json_: Annotated[bool, Parameter(name="--json", negative="", help="List as JSON.")] = False) -> int:
    """List the runs that go on in your notebooks and terminals."""
    from nbbacktest.system.remote.client import sessions as present

    return show_sessions(present(), as_json=json_)


def show_sessions(entries: Sequence[SessionEntry], *, as_json: bool = False) -> int:
    """Print a list of sessions; returns the exit status."""
    if as_json:
        sys.stdout.write(json.dumps({"sessions": [asdict(entry) for entry in entries]}, indent=2) + "\n")
        return DONE
    if not entries:
        sys.stdout.write("no session is running\n")
        return DONE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for heading in ("ID", "STATE", "NAME", "SIM TIME"):
        table.add_column(heading, no_wrap=heading != "NAME", overflow="fold")
    for heading in ("DONE", "PROCESS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        state = Text(entry.state, style=_COLOURS.get(entry.state, ""))
        time, done = (shown_time(entry.sim_time), f"{entry.progress:.1%}") if entry.alive else ("-", "-")
        table.add_row(Text(entry.id, style="bold"), state, Text(entry.name), time, done, str(entry.pid))
    console().print(table, markup=False)
    return DONE


def show_gone(entries: Sequence[SessionEntry]) -> None:
    """Print a line for each session whose process died and whose entry was removed."""
    for entry in entries:
        gone = f"session {entry.id} ({entry.name}) is gone: process {entry.pid} died; its entry is removed"
        sys.stdout.write(printed(gone) + "\n")


app = system_app(call, {name: ((_EVENTS,) if name == "start" else (SESSION, JSON)) for name in COMMANDS})
