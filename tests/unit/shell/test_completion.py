"""What Tab offers."""

from __future__ import annotations

from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.core.config import EXAMPLE
from nbbacktest.shell.completion import candidates
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.shell.terminal import history_file
from nbbacktest.system.commands import COMMANDS


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """The words that fit at the end of a line, in a folder with configs."""
    monkeypatch.chdir(tmp_path)
    Path("session_configs").mkdir()
    for name in ("mine.json", "notes.txt", "session_configs/example.json", "session_configs/schema.json"):
        Path(name).write_text("{}", encoding="utf-8")
    app = Interpreter(nb.SystemManager()).app
    return lambda line, shot=None: [found.text for found in candidates(app, line, shot)]


def test_commands(offered):
    """At the start all commands, after `system` its own; those that begin as what is typed."""
    assert set(offered("")) >= {"system", "run", "help", "exit", *COMMANDS}
    assert offered("sys") == ["system"]
    assert offered("system ") == list(COMMANDS)
    assert offered("system st") == ["start", "step", "stop", "status"]
    assert offered("system nonsense ") == []
    assert offered("help system ") == list(COMMANDS)


@pytest.mark.parametrize("line", ["system start ", "start ", "run ", "validate "])
def test_configs(offered, line):
    """JSON files here and in the usual folder, without the schema."""
    assert offered(line) == ["mine.json", str(Path("session_configs", "example.json"))]


def test_configs_by_their_folder(offered):
    """A path that is begun goes on, folders with their slash."""
    assert offered("start mi") == ["mine.json"]
    assert offered("start ses") == [str(Path("session_configs")) + "/"]
    assert offered("start session_configs/e") == ["session_configs/example.json"]
    assert offered("start nowhere/e") == []
    assert offered("start mine.json ") == []


def test_options(offered):
    """Those of the command, and help."""
    assert set(offered("start mine.json --")) == {"--speed", "--paused", "--json", "--help"}
    assert offered("system pause --s") == ["--session"]


def test_times(offered):
    """Events at any time; half hours from where the run is."""
    assert offered("until ") == ["next fill", "next session"]
    assert offered("until next f") == ["next fill"]
    assert offered("back-until s") == ["session", "session end"]
    assert offered("rewind last f") == ["last fill"]
    assert "--before" in offered("rewind 10:30 --")
    system = nb.SystemManager()
    system.start(EXAMPLE, paused=True)
    system.step(5)
    shot = system.snapshot()
    system.stop()
    assert offered("until ", shot)[2:5] == ["10:00", "10:30", "11:00"]
    assert offered("until 11", shot) == ["11:00", "11:30"]


def test_a_candidate_takes_the_place_of_what_is_typed(tmp_path, monkeypatch):
    """Of several words where the value has several."""
    app = Interpreter(nb.SystemManager()).app
    [found] = candidates(app, "system until next f", None)
    assert found.replaces == len("next f")


def test_schemas_and_sessions(offered, monkeypatch):
    """Choices are offered, and nobody is there to be reached."""
    assert offered("schema ") == ["config", "status"]
    monkeypatch.setattr("nbbacktest.system.remote.client.sessions", list)
    assert offered("pause --session ") == []


def test_the_history_is_its_user_s_alone(tmp_path, monkeypatch):
    """A file that nobody else can read; where it can't be made, nothing is remembered."""
    monkeypatch.setattr("nbbacktest.shell.terminal._state_folder", lambda: tmp_path / "state")
    path = history_file()
    assert path == tmp_path / "state" / "nbbacktest" / "history"
    assert path.stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr("nbbacktest.shell.terminal._state_folder", lambda: tmp_path / "file")
    assert history_file() is None
