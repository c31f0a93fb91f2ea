"""The session: the process's one manager, and what a manager has opened from floors that it doesn't know."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.system.session import SystemManager
from tests.held import Quiet
from tests.markets import minutes

SYSTEM = Path(nb.__file__).parent / "system"


class Beside:
    """Notes that it was opened and closed."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")


def test_nothing_below_the_session_names_the_control_server_or_the_panel():
    """Neither by an import, at any place of a module, nor by a module's name."""
    for path in SYSTEM.glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        above = [name for name in names if name.startswith(("nbbacktest.system.remote", "nbbacktest.widgets"))]
        assert not above or path.name == "session.py", f"{path.name} imports {above}"


@pytest.mark.parametrize("end", ["whole", "stopped", "failed"])
def test_what_is_opened_beside_a_run_is_closed_with_it(monkeypatch, end):
    """Once each, however the run ends."""
    opened: list[Beside] = []
    monkeypatch.setattr(SystemManager, "run_hook", staticmethod(lambda *_: opened.append(Beside()) or opened[-1]))
    system = SystemManager()

    class Failing(nb.Strategy):
        def on_bar(self, bar):
            if end == "failed":
                raise ValueError(bar)

    system.start({}, data=minutes(20), strategies=Failing, paused=True)
    assert [one.calls for one in opened] == [["open"]]
    if end == "stopped":
        system.stop()
    else:
        system.resume()
    if end == "failed":
        with pytest.raises(nb.StrategyError):
            system.wait(20)
    else:
        system.wait(20)
    assert [one.calls for one in opened] == [["open", "close"]]


def test_nothing_is_opened_beside_a_run_that_is_not_reachable(monkeypatch):
    """`backtest` opens no control server."""
    monkeypatch.setattr(SystemManager, "run_hook", staticmethod(lambda *_: pytest.fail("asked")))
    SystemManager(reachable=False).start({}, data=minutes(20), strategies=Quiet, wait=True)


def test_the_process_has_one_manager():
    """Asked for twice, it is the same; a new one is another."""
    assert nb.get_system_manager() is nb.get_system_manager()
    assert nb.SystemManager() is not nb.get_system_manager()
