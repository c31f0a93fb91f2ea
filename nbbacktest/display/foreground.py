"""A run in the foreground, from its start to its report: what `nbbacktest system start` does."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.errors import StrategyError
from nbbacktest.display.follow import end_event, event, follow_in_events, follow_in_lines
from nbbacktest.display.interrupts import Leaving, leaving_in_order
from nbbacktest.display.live import LivePage
from nbbacktest.report.result import Result
from nbbacktest.report.terminal import print_report
from nbbacktest.system import commands
from nbbacktest.system.manager import SystemManager

if TYPE_CHECKING:
    from rich.console import Console


class Ended(NamedTuple):
    """How a run in the foreground ended.

    Attributes
    ----------
    error
        Of the strategy; None where none raised.
    interrupted
        By Ctrl-C.
    """

    error: StrategyError | None
    interrupted: bool


def run_in_foreground(
    system: SystemManager, config: Path | None, *, speed: float | None, paused: bool, as_json: bool, console: Console
) -> Ended:
    """Start a run, show it until it ends, and report what was run; whatever happens, nothing goes on after it.

    Raises
    ------
    Leaving
        SIGTERM, or a closed terminal, once what was run until then is reported.
    """
    settings = SessionConfig.load(config if config is not None else EXAMPLE)
    out, left, interrupted = sys.stdout, None, False
    # What strategies print must not come between the events.
    with leaving_in_order(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        try:
            answer = commands.start(system, settings, speed=speed, paused=paused)
            try:
                _announce(answer, as_json=as_json, console=console, out=out)
                interrupted = _show(system, settings, as_json=as_json, console=console, out=out)
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


def _announce(answer: commands.Answer, *, as_json: bool, console: Console, out: TextIO) -> None:
    if as_json:
        out.write(event("start", state=answer.state, message=answer.message) + "\n")
        out.flush()
        return
    console.print(str(answer), markup=False)


def _show(system: SystemManager, settings: SessionConfig, *, as_json: bool, console: Console, out: TextIO) -> bool:
    cash = settings.broker.cash
    if as_json:
        return follow_in_events(system, cash, out)
    if console.is_terminal and not console.is_dumb_terminal:
        return LivePage(system, cash, console).show()
    return follow_in_lines(system, cash, out)


def _outcome(system: SystemManager) -> tuple[Result, StrategyError | None]:
    try:
        return system.wait(), None
    except StrategyError as error:
        return error.result, error
