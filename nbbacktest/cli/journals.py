"""`nbbacktest runs`: the runs that journals are kept of."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nbbacktest.cli.output import DONE
from nbbacktest.core.config import JournalConfig
from nbbacktest.report.console import console
from nbbacktest.system.journal.listing import kept_runs

_COLOURS = {"running": "green", "killed": "yellow", "damaged": "red"}


def runs(*, folder: Path | None = None, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """List the runs that are kept on disk: `resume` goes on with one that was killed, `replay` repeats one.

    Parameters
    ----------
    folder
        Where they are kept, if the config said another place.
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
