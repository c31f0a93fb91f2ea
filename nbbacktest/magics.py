"""The magics ``%backtest`` and ``%%backtest``: the commands in a notebook.

`nbbacktest.grammar` parses them. A mistake gives one line and no traceback.
"""

from __future__ import annotations

import ast
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from nbbacktest.cli.output import ending
from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.errors import InvalidTransition, NbBacktestError
from nbbacktest.core.formats import printed, said
from nbbacktest.grammar import JSON, system_app
from nbbacktest.system.answers import Answer
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.session import SystemManager, get_system_manager
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbbacktest.widgets.panel import ControlPanel

_BODY = "the cell's body"


class Status(dict[str, Any]):
    """The JSON status as a mapping, which a notebook shows in one line."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's protocol
        session = self["session"]
        printer.text(f"<status: {self['system_manager']['_state']}, {session['progress']:.1%} of {session['name']!r}>")


@magics_class
class BacktestMagics(Magics):
    """The magics of one IPython."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._ipython = shell
        self._named: dict[str, SystemManager] = {}
        self._cells: dict[int, str] = {}  # for each system, the cell that started its run
        self._panels: dict[int, ControlPanel] = {}  # for each system, the panel that its cell shows
        self._newest: SystemManager | None = None
        self._commands = system_app(self._call, {"status": (JSON,)})
        self._commands.command(self._panel, name="panel")
        self._commands.suppress_keyboard_interrupt = False
        self._cell_app = App(
            name="%%backtest", help="Run the strategies that the cell defines.", help_format="plaintext",
            suppress_keyboard_interrupt=False,
        )  # fmt: skip
        self._cell_app.default(self._run_cell)
        self._body = ""

    @line_cell_magic
    def backtest(self, line: str, cell: str | None = None) -> Any:
        """``%backtest COMMAND ...``, or over a cell that defines strategies ``%%backtest [CONFIG] [OPTIONS]``."""
        try:
            tokens = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{line!r}: {error}; close the quotes") from None
        if cell is None:
            return self._parsed(self._commands, tokens)
        self._body = cell
        return self._parsed(self._cell_app, tokens)

    # -- the line -------------------------------------------------------------------------------------------

    @property
    def system(self) -> SystemManager:
        """The system that line magics command: that of the newest ``%%backtest`` cell, else the process's."""
        return self._newest or get_system_manager()

    @staticmethod
    def _parsed(app: App, tokens: list[str]) -> Any:
        from nbbacktest.report.console import console

        try:
            return app(
                tokens, exit_on_error=False, print_error=False, result_action="return_value",
                console=console(file=sys.stdout),
            )  # fmt: skip
        except UsageError:
            raise
        except (CycloptsError, NbBacktestError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise _in_a_line(error) from None

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        as_json = arguments.pop("json_", False)
        if isinstance(arguments.get("config"), Path):
            arguments["config"] = str(arguments["config"])
        answer: Answer = COMMANDS[name](self.system, **arguments)
        if name == "status":
            sys.stdout.write((json.dumps(answer.data, indent=2) if as_json else printed(str(answer))) + "\n")
            return Status(answer.data or {})
        sys.stdout.write(printed(str(answer)).replace("'system ", "'%backtest ") + "\n")
        return answer.value

    def _panel(self) -> Any:
        """Show the control panel."""
        shown = self._panels.get(id(self.system))
        return shown if shown is not None and not shown.is_closed else self.system.panel()

    # -- the cell -------------------------------------------------------------------------------------------

    def _run_cell(
        self,
        config: str | None = None,
        /,
        *,
        data: str | None = None,
        cash: float | None = None,
        speed: float | None = None,
        wait: Annotated[bool, Parameter(negative="")] = False,
        no_panel: Annotated[bool, Parameter(name="--no-panel", negative="")] = False,
        name: str | None = None,
        fork: str | None = None,
        retry: Annotated[bool, Parameter(negative="")] = False,
    ) -> Any:
        """Run the strategies that the cell defines.

        Parameters
        ----------
        config
            A session config: a JSON file, or the name of a variable.
        data
            Bars in place of the config's: a file, or the name of a variable.
        cash
            Starting cash in place of the config's.
        speed
            0 as fast as it goes, 60 a simulated minute a second.
        wait
            Block until the end; interrupting the kernel then pauses the run.
        no_panel
            Show no panel.
        name
            Give the run a system of its own and keep it in this variable.
        fork
            Fork the present run where it stands, with the cell's strategies in place of its own from its start on, and keep the fork
            in this variable; the run stays as it is.
        retry
            Mend the strategy that has raised with the class of the cell, and pause just before the instant that raised.
        """
        if fork is not None:
            given = {
                "CONFIG": config,
                "--data": data,
                "--cash": cash,
                "--speed": speed,
                "--wait": wait or None,
                "--name": name,
                "--retry": retry or None,
            }
            return self._fork(fork, [word for word, value in given.items() if value is not None], no_panel=no_panel)
        if retry:
            return self._retry(name)
        if name is not None and not name.isidentifier():
            raise UsageError(f"--name {name!r} is no variable's name; write letters, digits and underscores")
        system = self._system_of_cell(name)
        bars = self._variable_or_path(data)
        settings = self._settings(config, cash, speed, has_data=bars is not None)
        strategies = self._strategies()
        if not system.is_stopped():
            system.stop()

        panel = None if no_panel else self._fresh_panel(system)
        system.start(settings, data=bars, strategies=strategies)
        self._newest = system
        self._cells[id(system)] = self._cell_id()
        if name is not None:
            self._named[name] = system
            self._ipython.user_ns[name] = system
        if panel is not None:
            from IPython.display import display

            display(panel)  # type: ignore[no-untyped-call]
        if not wait:
            return None
        result = _awaited(system)
        if panel is not None:
            panel.publish_fallback()
            return None
        return result

    def _fork(self, name: str, given: list[str], *, no_panel: bool) -> None:
        if not name.isidentifier():
            raise UsageError(f"--fork {name!r} is no variable's name; write letters, digits and underscores")
        if given:
            raise UsageError(f"--fork {name} goes on with the run's own bars and rules; leave out {', '.join(given)}")
        system, before = self.system, self._named.get(name)
        if before is system:
            raise UsageError(f"--fork {name}: this variable holds the run that is to be forked; give another one")
        if system.run is None:
            raise UsageError(f"--fork {name}: nothing was started yet; there is no run to fork")
        other = system.fork(strategy=self._strategies())
        if before is not None:
            before.stop()
        self._named[name] = self._ipython.user_ns[name] = other
        where = other.snapshot().time
        sys.stdout.write(
            f"{name} is paused {f'at {where}' if where is not None else 'before the first bar'}: {name}.resume() lets it go on\n"
        )
        if not no_panel:
            from IPython.display import display

            display(self._fresh_panel(other))  # type: ignore[no-untyped-call]

    def _retry(self, name: str | None) -> Any:
        system = self.system if name is None else self._named.get(name)
        if system is None:
            raise UsageError(f"--name {name}: no run was started under that name")
        strategies = self._strategies()
        answer = system.retry(strategies[0] if len(strategies) == 1 else strategies)
        sys.stdout.write(printed(answer.told) + "\n")
        return None

    def _system_of_cell(self, name: str | None) -> SystemManager:
        system = get_system_manager() if name is None else self._named.get(name) or SystemManager()
        if name is None and not system.is_stopped() and self._cells.get(id(system), self._cell_id()) != self._cell_id():
            raise UsageError(
                "the run of another cell is under way; let that cell wait for its end with --wait, stop it with %backtest "
                "stop, or give this one a system of its own with --name VAR"
            )
        return system

    def _fresh_panel(self, system: SystemManager) -> ControlPanel:
        from nbbacktest.widgets.panel import ControlPanel

        before = self._panels.pop(id(system), None)
        if before is not None:
            before.close()
        panel = self._panels[id(system)] = ControlPanel(system)
        return panel

    def _settings(
        self, config: str | None, cash: float | None, speed: float | None, *, has_data: bool
    ) -> SessionConfig:
        if config is None:
            example = {} if has_data else {**EXAMPLE, "strategies": []}
            settings = SessionConfig.load({**example, "session_name": "Notebook"})
        else:
            found = self._ipython.user_ns.get(config) if config.isidentifier() else None
            settings = SessionConfig.load(found if isinstance(found, (dict, SessionConfig)) else config)
        changes: dict[str, Any] = {}
        if cash is not None:
            changes["broker"] = {"cash": cash}
        if speed is not None:
            changes["backtest"] = {"speed_multiplier": speed}
        return settings.overlaid(changes, "%%backtest")

    def _variable_or_path(self, text: str | None) -> Any:
        if text is None:
            return None
        if text.isidentifier() and text in self._ipython.user_ns:
            return self._ipython.user_ns[text]
        if text.isidentifier() and not Path(text).exists():
            raise UsageError(f"--data {text}: there is neither a variable nor a file of that name")
        return text

    def _strategies(self) -> list[type[Strategy]]:
        """Run the body in the user's namespace; returns the Strategy subclasses that it defines, in order."""
        space = self._ipython.user_ns
        before = dict(space)
        source = self._ipython.transform_cell(self._body)  # type: ignore[no-untyped-call]
        # IPython keeps the source, so that a strategy's traceback shows its lines.
        filename = self._ipython.compile.cache(source, self._ipython.execution_count)
        try:
            tree = ast.parse(source, filename)
            code = compile(tree, filename, "exec")
        except SyntaxError as error:
            raise UsageError(f"{_BODY}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}") from None
        try:
            exec(code, space)  # noqa: S102 - the user's own code, in the user's own namespace
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told in a line
            raise UsageError(f"{_BODY}{_line_of(error, filename)} raised {said(error)}") from None
        made = [
            value
            for name, value in space.items()
            if isinstance(value, type)
            and issubclass(value, Strategy)
            and value.__module__ == space.get("__name__")
            and before.get(name) is not value
        ]
        made = [one for one in dict.fromkeys(made) if not any(one in other.__bases__ for other in made)]
        if not made:
            raise UsageError(
                f"{_BODY} defines no strategy; write one, such as: class Mine(nb.Strategy): def on_bar(self, bar): ..."
            )
        return made

    def _cell_id(self) -> str:
        """The identity of the cell that runs: its id, or its text in consoles, whose messages have no id."""
        kernel = getattr(self._ipython, "kernel", None)
        parent: Mapping[str, Any] = kernel.get_parent() if kernel is not None else {}
        found = (parent.get("metadata") or {}).get("cellId")
        return found if isinstance(found, str) else self._body


def _awaited(system: SystemManager) -> Any:
    """Wait for the end of the run; an interrupt pauses it."""
    try:
        while True:
            try:
                return system.wait(timeout=0.1)
            except TimeoutError as error:
                if isinstance(error, NbBacktestError):
                    raise
    except KeyboardInterrupt:
        try:
            ended = not system.pause() and system.is_stopped()
        except InvalidTransition:
            ended = True
        if ended:
            return system.wait()
        sys.stdout.write(f"System paused at {system.snapshot().time}\nUse '%backtest resume' to continue\n")
        return None


def _in_a_line(error: BaseException) -> UsageError:
    known = ending(error)
    text = known[0] if known is not None else said(error)
    return UsageError("; ".join(filter(None, (part.strip() for part in text.splitlines()))).replace(":;", ":"))


def _line_of(error: BaseException, filename: str) -> str:
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            place = f", line {trace.tb_lineno},"
        trace = trace.tb_next
    return place


# -- completion ---------------------------------------------------------------------------------------------

_OPTIONS = ("--data", "--cash", "--speed", "--wait", "--no-panel", "--name", "--fork")


def complete(_shell: Any, event: Any) -> list[str]:
    """The words that may follow ``%backtest`` on its line."""
    words, partial = event.line.split(), event.symbol
    if words and words[0] == "%%backtest":
        return [*_OPTIONS, *_configs(partial)]
    if len(words) < 2 or (len(words) == 2 and not event.line.endswith(" ")):
        return [*COMMANDS, "panel"]
    return {"start": _configs(partial), "until": ["next fill", "next session"], "status": ["--json"]}.get(words[1], [])


def _configs(partial: str) -> list[str]:
    folder = Path(partial or ".")
    folder = folder if folder.is_dir() else folder.parent
    return sorted(path.as_posix() for path in folder.glob("*.json"))[:100]


def register(shell: InteractiveShell) -> None:
    """Add the magics and their completion to an IPython; a second time changes nothing."""
    if "BacktestMagics" in shell.magics_manager.registry:
        return
    shell.register_magics(BacktestMagics)
    for key in ("%backtest", "%%backtest"):
        shell.set_hook("complete_command", complete, str_key=key)  # type: ignore[no-untyped-call]
