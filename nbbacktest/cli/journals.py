"""`nbbacktest runs`, `resume`, `replay`: the runs that journals are kept of."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import nbbacktest as nb
from nbbacktest.cli.output import DONE, FAILED, complain
from nbbacktest.cli.run import find_local_modules
from nbbacktest.cli.system import exit_status
from nbbacktest.core.config import JournalConfig
from nbbacktest.core.errors import ReplayError
from nbbacktest.report.console import console
from nbbacktest.system.journal.listing import kept_runs

_COLOURS = {"running": "green", "killed": "yellow", "damaged": "red"}


def runs(*, folder: Path | None = None, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """List the runs that are kept on disk: `resume` goes on with one that was killed, `replay` repeats one.

    Parameters
    ----------
    folder
        The folder of the journals, if the config said another one.
    json_
        List as JSON.
    """
    found = kept_runs(JournalConfig(folder=None if folder is None else str(folder)))
    if json_:
        sys.stdout.write(json.dumps({"runs": [one._asdict() for one in found]}, indent=2) + "\n")
        return DONE
    if not found:
        sys.stdout.write("no run is kept\n")
        return DONE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for heading in ("RUN", "STATE", "BEGAN", "STRATEGIES"):
        table.add_column(heading, no_wrap=heading != "STRATEGIES", overflow="fold")
    for heading in ("INSTANTS", "INPUTS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        state = Text(one.state, style=_COLOURS.get(one.state, ""))
        counts = (f"{one.instants:,}", f"{one.inputs:,}") if one.problem is None else ("-", "-")
        began = datetime.fromisoformat(one.at).astimezone().strftime("%Y-%m-%d %H:%M") if one.at else "-"
        table.add_row(Text(one.run, style="bold"), state, began, Text(", ".join(one.strategies) or "-"), *counts)
    console().print(table, markup=False)
    for one in found:
        if one.problem is not None:
            console().print(one.problem, markup=False, soft_wrap=True)
    return DONE


def resume(
    run: str | None = None,
    /,
    *,
    paused: bool = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Go on with a run whose process died, in the foreground: it is executed again to where it was, and verified.

    Parameters
    ----------
    run
        Its id or a part of it, as `runs` lists it, or the path of its journal; without one the newest that was killed.
    paused
        Leave it paused there.
    json_
        Write events as JSON lines: start, state, progress, end.
    """
    from nbbacktest.display.foreground_run import resume_in_foreground

    find_local_modules()
    return exit_status(
        resume_in_foreground(nb.get_system_manager(), run, paused=paused, as_json=json_, console=console())
    )


def replay(journal: str, /, *, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Execute the run of a journal again, and say whether it is the same: exit status 0 if it is, else 1.

    Parameters
    ----------
    journal
        The path of a journal, or the id of a run that is kept, or a part of it.
    json_
        Answer as JSON: same, fingerprint, and if they differ where.
    """
    find_local_modules()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what strategies print
            result = nb.replay(journal)
    except ReplayError as error:
        if not json_:
            return complain(str(error), FAILED)
        sys.stdout.write(json.dumps({"same": False, "fingerprint": None, "difference": str(error)}, indent=2) + "\n")
        return FAILED
    if json_:
        told = {"same": True, "fingerprint": result.fingerprint, "difference": None}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        sys.stdout.write(f"the same: fingerprint {result.fingerprint}\n")
    return DONE
