"""The command line's `data` commands: checks of bars before a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from nbbacktest.cli.output import DONE
from nbbacktest.report.console import console

data = App(name="data", help="Bars, before they are run.", help_format="plaintext", result_action="return_value")


@data.command
def quality(
    path: Path,
    /,
    *,
    exchange: str | None = None,
    interval: str | None = None,
    stamp: Literal["open", "close"] | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Count bars against the sessions that they should fill: gaps, faults, a quality percentage.

    Parameters
    ----------
    path
        A CSV or Parquet file, or a session config.
    exchange
        Whose sessions, such as XNYS or 24/7.
    interval
        The bars' length, such as 1m, if the file leaves a doubt.
    stamp
        What the file's times mark.
    json_
        Print the report as JSON.
    """
    import nbbacktest as nb
    from nbbacktest.report.terminal import show_quality

    report = nb.data_quality(str(path), exchange=exchange, interval=interval, stamp=stamp)
    if json_:
        sys.stdout.write(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        show_quality(report, console())
    return DONE
