"""The files that make a run known: what they hold, who may read them, and when they are swept."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from nbbacktest.core.errors import RemoteError
from nbbacktest.core.files import private
from nbbacktest.system.remote import client, registry, sessions
from nbbacktest.system.remote.registry import SessionEntry, birth, lives, sessions_folder
from tests.control_servers import held, runtime_folder, the_entry

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, owners and socket files are of POSIX")
KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def runtime():
    with runtime_folder() as place:
        yield place


@pytest.fixture
def place():
    private(sessions_folder(), make=True)
    return sessions_folder()


def entry(**changes) -> SessionEntry:
    plain = SessionEntry(
        "abc123", "A", os.getpid(), birth(os.getpid()), registry.this_host(), str(sessions_folder() / "abc123.sock"),
        "2024-10-03T14:00:00+00:00",
    )  # fmt: skip
    return replace(plain, **changes)


def test_an_entry_is_read_as_it_was_written(place):
    """All that finds a run again goes through its file; its state is asked of the run itself."""
    registry.write_entry(place, entry(state="running"))
    assert list(registry.entries(place)) == [entry()]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 9_000, "{}", '{"version": 1}', '{"version": 9}', "\xff"],
)
def test_a_file_that_is_no_entry_is_passed_over(place, text):
    """Broken files, and those of other versions, are neither an error nor a session."""
    (place / "abc123.json").write_text(text, encoding="latin-1")
    assert sessions() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pid", -1),
        ("pid", 0),
        ("pid", 10**30),
        ("pid", "1"),
        ("pid", True),
        ("name", None),
        ("id", "other1"),
        ("born", 5),
        ("address", 80),
    ],
)
def test_an_entry_with_a_wrong_value_is_passed_over(place, key, value):
    """Each value has its type, and the id is the file's own."""
    registry.write_entry(place, entry())
    path = place / "abc123.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert list(registry.entries(place)) == []


@posix
def test_folder_and_files_are_the_users_alone():
    """The folder is 0700; entry, key and socket are 0600; the key has 32 random bytes."""
    with held():
        first = the_entry()
        assert stat.S_IMODE(sessions_folder().stat().st_mode) == 0o700
        modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in sessions_folder().iterdir()}
        assert modes == {".json": 0o600, ".key": 0o600, ".sock": 0o600}
        key = registry.read_key(sessions_folder(), first.id)
    with held():
        assert registry.read_key(sessions_folder(), the_entry().id) != key


@posix
def test_a_folder_that_others_may_enter_is_closed_to_them(place):
    """Where the folder was opened to others, the next look closes it."""
    place.chmod(0o755)
    assert sessions() == []
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_trusted(place):
    """A folder that belongs to another user is an error that says so, not a list of that user's making."""
    os.chown(place, 65_534, 65_534)
    with pytest.raises(RemoteError, match="belongs to user 65534"):
        sessions()


@posix
def test_a_link_in_the_folders_place_is_not_followed(runtime, tmp_path):
    """A symbolic link is no folder of ours."""
    (runtime / "nbbacktest").symlink_to(tmp_path)
    with pytest.raises(RemoteError, match="is no folder"):
        sessions()


def test_no_folder_is_no_session(runtime):
    """Looking makes no folder."""
    assert sessions() == []
    assert list(runtime.iterdir()) == []


@posix
def test_an_entry_that_nobody_listens_for_is_told_as_gone_once(place):
    """The first look says that it died and removes all its files; the second finds nothing."""
    registry.write_key(place, "abc123", KEY)
    registry.write_entry(place, entry())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "abc123.sock"))
    listener.close()
    [found] = sessions()
    assert (found.id, found.state, found.alive) == ("abc123", "gone", False)
    assert list(place.iterdir()) == []
    assert sessions() == []


@posix
@pytest.mark.parametrize(("changes", "state"), [({}, "silent"), ({"born": "1"}, "gone"), ({"pid": 2**22 + 1}, "gone")])
def test_a_process_that_says_nothing_is_silent_while_it_lives(place, monkeypatch, changes, state):
    """A stopped process keeps its entry; a dead one, or another process with its number, doesn't."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    registry.write_key(place, "abc123", KEY)
    registry.write_entry(place, entry(**changes))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "abc123.sock"))
        listener.listen()
        [found] = sessions()
    assert found.state == state
    assert bool(list(registry.entries(place))) is (state == "silent")


@pytest.mark.parametrize(
    "told",
    [{}, {"progress": 2.0}, {"progress": -1}, {"progress": float("inf")}, {"progress": 10**400}, {"progress": "1"},
     {"progress": True}, {"sim_time": 5}, {"state": None}],
)  # fmt: skip
def test_a_process_that_says_nothing_of_use_is_silent(place, monkeypatch, told):
    """Whatever numbers another side answers, the list of sessions is made."""
    whole = {"state": "running", "sim_time": None, "progress": 0.5}
    answers = whole | told if told else {}

    class Odd:
        def __init__(self, entry):
            pass

        def command(self, name):
            return answers

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(client, "Client", Odd)
    registry.write_entry(place, entry())
    [found] = sessions()
    assert (found.state, found.progress) == ("silent", 0.0)


def test_an_entry_of_another_machine_is_left_alone(place):
    """A folder that is shared by several machines: theirs can't be seen from here, and isn't swept."""
    registry.write_entry(place, entry(host="elsewhere"))
    assert sessions() == []
    assert registry.is_listed(place, "abc123")


def test_only_what_is_a_sessions_own_is_removed(place, tmp_path):
    """An address that points elsewhere is nobody's reason to delete a file there."""
    other = tmp_path / "abc123.sock"
    other.write_text("mine")
    registry.remove(place, "abc123", str(other))
    assert other.exists()


def test_keys_without_an_entry_are_swept_when_they_are_old(place):
    """What a process left that was killed while it opened goes with the next control server; younger files stay."""
    for name, age in (("aaa111", 3_600), ("bbb222", 0)):
        registry.write_key(place, name, KEY)
        os.utime(place / f"{name}.key", (time.time() - age,) * 2)
    registry.sweep_strays(place)
    assert [path.name for path in place.iterdir()] == ["bbb222.key"]


def test_a_key_that_is_there_already_is_not_written_over(place):
    """Two sessions never share an id."""
    registry.write_key(place, "abc123", KEY)
    with pytest.raises(FileExistsError):
        registry.write_key(place, "abc123", KEY)


def test_a_process_is_told_from_the_next_one_of_its_number():
    """The own process lives; with another birth it doesn't, and neither does one that has ended."""
    own = birth(os.getpid())
    assert lives(os.getpid(), own)
    if own is not None:
        assert not lives(os.getpid(), own + "0")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        born = birth(child.pid)
        assert lives(child.pid, born)
        assert child.stdin is not None
        child.stdin.close()
    if sys.platform != "win32":
        assert not lives(child.pid, born)


@pytest.mark.parametrize(
    ("variables", "end"),
    [
        ({"JUPYTER_RUNTIME_DIR": "/run/me"}, "/run/me"),
        ({"JUPYTER_DATA_DIR": "/data"}, "/data/runtime"),
        ({"XDG_DATA_HOME": "/xdg"}, "/xdg/jupyter/runtime"),
        ({}, ".local/share/jupyter/runtime"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_without_jupyter_the_folder_is_the_same(monkeypatch, variables, end):
    """A terminal whose Python has no Jupyter looks where a kernel writes."""
    from jupyter_core.paths import jupyter_runtime_dir

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_DATA_HOME", "JUPYTER_PLATFORM_DIRS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = jupyter_runtime_dir()
    monkeypatch.setitem(sys.modules, "jupyter_core.paths", None)
    assert str(registry.sessions_folder().parent) == said
    assert said.endswith(end)
