"""`nbbacktest sessions`: the runs of this user's processes, notebooks and terminals alike."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nbbacktest.cli.exits import DONE
from nbbacktest.core.enums import SystemState
from nbbacktest.core.shown import printed
from nbbacktest.report.console import console
from nbbacktest.system.status import shown_time

if TYPE_CHECKING:
    from nbbacktest.system.remote.registry import SessionEntry

_COLOURS = {SystemState.RUNNING.value: "green", SystemState.PAUSED.value: "yellow", "gone": "red", "silent": "red"}


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
    """Say of sessions whose process died that they are gone, and that their entries are, too."""
    for entry in entries:
        gone = f"session {entry.id} ({entry.name}) is gone: process {entry.pid} died; its entry is removed"
        sys.stdout.write(printed(gone) + "\n")
