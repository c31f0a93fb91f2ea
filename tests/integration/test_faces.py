"""Every face offers every command, with the same parameters and the same help: none drifts from the others."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cyclopts import App

import nbbacktest as nb
from nbbacktest.cli import app as command_line
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.system.commands import COMMANDS, parameters

OWN = {"--json", "--session", "--help", "-h", "--version"}
"""What a face adds for itself."""
"""Needs files of the machine that it is typed at, and a process of its own: not for the channel."""


def _cli() -> App:
    return command_line["system"]


def _shell() -> App:
    return Interpreter(nb.SystemManager()).app["system"]


def _magic() -> App:
    if importlib.util.find_spec("nbbacktest.magics") is None:
        pytest.skip("there are no magics here")
    found: App = importlib.import_module("nbbacktest.magics").BacktestMagics(None)._commands
    return found


FACES: dict[str, Callable[[], App]] = {"command line": _cli, "shell": _shell, "magic": _magic}


def typed(command: App) -> Iterator[tuple[str, Any]]:
    """What a command of a face takes from the system's command: each parameter's name and help."""
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if not OWN & set(argument.names):
            yield argument.field_info.name, argument.parameter.help


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("face", list(FACES))
def test_every_face_has_every_command_with_the_same_parameters(face, name):
    """By name, in order; what is an option in one is an option in all."""
    app = FACES[face]()
    wanted = [parameter.name for parameter in parameters(name)]
    assert [parameter for parameter, _ in typed(app[name])] == wanted


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("face", list(FACES))
def test_every_face_tells_the_same_of_a_command(face, name):
    """The function's docstring is the help, of the command and of each parameter."""
    told = inspect.getdoc(COMMANDS[name])
    app = FACES[face]()
    assert app[name].help.splitlines()[0] == told.splitlines()[0]
    for parameter, text in typed(app[name]):
        assert text, parameter
        assert " ".join(text.split()) in " ".join(told.split())


@pytest.mark.parametrize("face", list(FACES))
def test_no_face_has_commands_of_its_own_under_system(face):
    """What the table lacks, can't be typed; the magic alone has `panel`, which draws."""
    found = {name for name in FACES[face]() if not name.startswith("-")}
    assert found - {"panel"} == set(COMMANDS)
    assert face == "magic" or "panel" not in found


def test_the_panel_has_a_control_for_every_command_that_moves_a_run():
    """All but the status, which it shows, and those that are typed: symbols, orders and breakpoints; by the same functions."""
    panel = importlib.import_module("nbbacktest.widgets.panel")
    symbols, places = {"add", "remove"}, {"look", "back-until", "break", "breaks"}
    by_hand = {"buy", "sell", "close", "cancel", "change", "redo", "inputs"}
    assert set(panel.OFFERED) == set(COMMANDS) - {"status"} - symbols - places - by_hand


@pytest.mark.parametrize("name", ["pause", "resume", "stop"])
def test_the_panel_calls_the_command_itself(name, monkeypatch):
    """A click is the same function call as a typed word."""
    from nbbacktest.widgets.panel import ControlPanel

    called = threading.Event()
    answer = COMMANDS["status"](nb.SystemManager())
    monkeypatch.setattr(
        "nbbacktest.system.commands.COMMANDS", dict(COMMANDS) | {name: lambda _system: called.set() or answer}
    )
    panel = ControlPanel(nb.SystemManager())
    panel.controls.buttons[name].click()
    assert called.wait(10)
    panel.close()
