"""Carries out the shell's lines one after the other; a mistake gives one line, and the next line is read."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from typing import Any

from cyclopts import App

from nbbacktest.cli.output import DONE, FAILED, INTERRUPTED, complain, ending, show_answer
from nbbacktest.cli.run import find_local_modules, run, schema, validate
from nbbacktest.cli.system import elsewhere, sessions
from nbbacktest.core.errors import InvalidTransition, NbBacktestError, StrategyError
from nbbacktest.core.formats import printed, said
from nbbacktest.grammar import JSON, SESSION, system_app
from nbbacktest.report.console import console
from nbbacktest.system.commands import COMMANDS, parameters
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.remote.messages import WAITING


class Interpreter:
    """The shell without its prompt.

    Parameters
    ----------
    system
        The shell's own; runs of other processes are reached with ``--session``.

    Attributes
    ----------
    over : bool
        `exit` was given.
    worst : int
        The highest exit status of all lines.
    """

    def __init__(self, system: SystemManager) -> None:
        self.system = system
        self.over = False
        self.worst = DONE
        options = {name: (JSON,) if name == "start" else (SESSION, JSON) for name in COMMANDS}
        self.app = App(
            name="nbbacktest", help="Commands; 'system' may be left out before its own. '--help' after any tells more.",
            help_format="plaintext", version_flags=(), result_action="return_value", suppress_keyboard_interrupt=False,
        )  # fmt: skip
        self.app.command(system_app(self._call, options))
        for command in (run, validate, schema, sessions, self.wait, self.report):
            self.app.command(command)
        self.app.command(self.help, name="help")
        self.app.command(self.exit, name=("exit", "quit"))
        find_local_modules()

    def execute(self, line: str) -> int:
        """Carry out one line; returns the exit status that it would have had as a command."""
        status = self._execute(line)
        self.worst = max(self.worst, status)
        return status

    def close(self, *, reporting: bool = False) -> None:
        """Stop a run that is under way; with `reporting`, show its report."""
        if not self.system.is_stopped():
            show_answer(COMMANDS["stop"](self.system).to_dict())
            if reporting:
                self.report()

    # -- commands of the shell alone ------------------------------------------------------------------------

    def wait(self) -> int:
        """Wait for the end of the run; Ctrl-C ends the waiting, not the run."""
        result = self.system.wait()
        sys.stdout.write(f"{printed(outcome(result))}\n")
        return DONE

    def report(self) -> int:
        """Show the report of the last run, when it has ended."""
        from nbbacktest.report.terminal import print_report

        if not self.system.is_stopped():
            return complain(f"the run is {self.system.get_state()}: 'wait' for its end, or stop it", 2)
        try:
            result = self.system.wait()
        except StrategyError as error:
            result = error.result
        print_report(result.analysis)
        return DONE

    def help(self, *words: str) -> int:
        """List the commands that can be typed here.

        Parameters
        ----------
        words
            A command, to be told more of it.
        """
        if words:
            self.app.help_print(_whole(list(words)), console=console())
        else:
            _overview(self.app)
        return DONE

    def exit(self) -> int:
        """Leave the shell; a run that goes on is stopped."""
        self.over = True
        return DONE

    # -- inside ---------------------------------------------------------------------------------------------

    def _execute(self, line: str) -> int:
        try:
            words = _whole(shlex.split(line, comments=True, posix=os.name != "nt"))
        except ValueError as error:
            return complain(f"{str(error).lower()} in: {line.strip()}", 2)
        if not words:
            return DONE
        try:
            status = self.app(words, exit_on_error=False, print_error=False, console=console())
        except KeyboardInterrupt:
            return self._interrupted(words)
        except Exception as error:  # noqa: BLE001 - whatever a line did, the next one is read
            told = ending(error) or (said(error), FAILED)
            return complain(*told)
        return status if isinstance(status, int) else DONE

    def _call(self, name: str, arguments: dict[str, Any]) -> int:
        as_json, session = arguments.pop("json_"), arguments.pop("session", None)
        if session is not None:
            return elsewhere(name, arguments, session, as_json=as_json)
        try:
            answer = COMMANDS[name](self.system, **arguments)
        except InvalidTransition as error:
            if self.system.is_stopped() and (hint := _others()):
                return complain(f"{error}\n{hint}", 2)
            raise
        show_answer(answer.to_dict(), as_json=as_json)
        return DONE

    def _interrupted(self, words: list[str]) -> int:
        if words[0] == "system" and len(words) > 1 and words[1] in WAITING:
            with contextlib.suppress(NbBacktestError):  # the run has ended, or a strategy's call doesn't return
                self.system.pause()
        going = "" if self.system.is_stopped() else f"; the run is {self.system.get_state()}"
        return complain(f"interrupted{going}", INTERRUPTED)


def outcome(result: Any) -> str:
    """A line that says how a run ended."""
    error = result.record.metrics.get("error")
    if error:
        return f"Run failed: {error['message']}"
    stats = result.stats
    if not stats["bars"]:
        return "Run ended without a bar"
    trades = f"{stats['trades']:,} {'trade' if stats['trades'] == 1 else 'trades'}"
    return f"Run ended: return {stats['return']:+.2%}, {trades}; 'report' shows all"


def _overview(app: App) -> None:
    """All commands with a line each, those of the system first."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    for name in COMMANDS:
        wanted = [p.name.upper() if p.default is p.empty else f"[{p.name.upper()}]" for p in parameters(name)
                  if p.kind is not p.KEYWORD_ONLY]  # fmt: skip
        table.add_row(Text(" ".join(["system", name, *wanted]), style="bold"), first_line(app["system"][name]))
    for name in app:
        if not name.startswith("-") and name not in ("system", "quit"):
            table.add_row(Text(name, style="bold"), first_line(app[name]))
    console().print(table)
    console().print("'system' may be left out; 'help COMMAND' tells more.", style="dim")


def first_line(command: App) -> str:
    """The first line of a command's help."""
    return command.help.strip().splitlines()[0]


def _whole(words: list[str]) -> list[str]:
    """The words of a line, with `system` before its commands."""
    return ["system", *words] if words and words[0] in COMMANDS else words


def _others() -> str | None:
    """A hint at the runs of other processes; None if there are none."""
    from nbbacktest.system.remote.client import sessions as present

    try:
        others = [entry for entry in present() if entry.alive and entry.pid != os.getpid()]
    except NbBacktestError:
        return None
    if not others:
        return None
    ids = ", ".join(f"{entry.id} ({entry.name})" for entry in others[:5])
    return f"Running elsewhere: {ids}; reach it with --session ID"
