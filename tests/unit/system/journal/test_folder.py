"""The folder of runs: private, limited, found by a part of a name; what goes on and what is foreign stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.core.config import JournalConfig
from nbbacktest.system.journal import folder
from nbbacktest.system.journal.folder import (
    found_run,
    has_ended,
    is_written,
    killed_runs,
    make_room,
    new_run,
    remove_run,
    runs_folder,
    runs_in,
    state_of,
)
from nbbacktest.system.journal.lines import CutEntry, line_of
from tests.unit.system.journal.test_lines import SOME, written

END = SOME[-1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "nbbacktest" / "runs"


def a_run(here: Path, number: int, *, ended: bool = False, age: float = 1_000.0) -> Path:
    """A run as it lies there when its process is gone."""
    run = here / f"20260101-0000{number:02}-0123"
    run.mkdir(parents=True)
    journal = run / "journal"
    journal.write_bytes(written(*SOME[:2], *([END] if ended else [])))
    then = time.time() - age
    os.utime(journal, (then, then))
    return run


def test_the_place_is_the_users_folder_for_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert runs_folder(JournalConfig()) == tmp_path / "nbbacktest" / "runs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    for platform, place in (
        ("linux", ".local/state"),
        ("darwin", "Library/Application Support"),
        ("win32", "AppData/Local"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert runs_folder(JournalConfig()) == tmp_path / place / "nbbacktest" / "runs"
    assert runs_folder(JournalConfig(folder=str(tmp_path / "own"))) == tmp_path / "own"


@pytest.mark.skipif(sys.platform == "win32", reason="other rights there")
def test_folders_are_the_users_alone(here, tmp_path):
    here.mkdir(parents=True, mode=0o755)
    run = new_run(JournalConfig())
    assert [one.stat().st_mode & 0o777 for one in (here.parent, here, run)] == [0o700] * 3
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    run = new_run(JournalConfig(folder=str(own)))
    assert [one.stat().st_mode & 0o777 for one in (own, run)] == [0o755, 0o700]
    assert runs_in(own) == [run]


def test_runs_are_found_by_a_part_of_their_name(here):
    one, other = a_run(here, 1), a_run(here, 2)
    (here / "notes").mkdir()
    assert runs_in(here) == [one, other]
    assert runs_in(here / "nowhere") == []
    assert found_run("0001", here) == one / "journal"
    assert found_run(str(one), here) == found_run(one / "journal", here) == one / "journal"
    with pytest.raises(nb.JournalError, match="may be any of"):
        found_run("2026", here)
    with pytest.raises(nb.JournalError, match="'x9' isn't there; known are: 2026"):
        found_run("x9", here)


def test_an_end_is_seen_behind_a_torn_line(here):
    journal = a_run(here, 1, ended=True) / "journal"
    assert has_ended(journal)
    assert state_of(journal) == "ended"
    with journal.open("ab") as file:
        file.write(line_of(CutEntry(keep=0, cursor=0, seq=5, at=""))[:-1])
    assert has_ended(journal)
    with journal.open("ab") as file:
        file.write(b"\n")
    assert not has_ended(journal)
    assert not has_ended(here / "nowhere")


HOLD = """
import os, sys
from nbbacktest.system.journal.folder import lock
descriptor = os.open(sys.argv[1], os.O_RDWR)
print(lock(descriptor), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(here):
    """A run that another process writes, and that process."""
    run = a_run(here, 0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run / "journal")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "True\n"
        yield run, process
        process.kill()


def test_a_run_goes_on_for_as_long_as_its_process(held, here):
    run, process = held
    journal = run / "journal"
    assert is_written(journal)
    assert state_of(journal) == "running"
    assert list(killed_runs(here)) == []
    assert not remove_run(run)
    make_room(here, 1, here)
    assert journal.exists()
    process.kill()
    process.wait()
    assert state_of(journal) == "killed"
    assert list(killed_runs(here)) == [journal]
    assert remove_run(run)
    assert not run.exists()


def test_ended_runs_go_first_then_the_oldest(here):
    runs = [a_run(here, n, ended=n in (2, 4)) for n in range(6)]
    make_room(here, 5, runs[5])
    assert runs_in(here) == [runs[n] for n in (0, 1, 3, 4, 5)]
    make_room(here, 3, runs[5])
    assert runs_in(here) == [runs[n] for n in (1, 3, 5)]
    make_room(here, 1, runs[1])
    assert runs_in(here) == [runs[1]]


def test_runs_that_nothing_was_written_to_for_long_go_too(here):
    runs = [a_run(here, n, age=n * 30 * 86_400) for n in range(6)]
    make_room(here, 20, here)
    assert runs_in(here) == runs[:3]


def test_what_isnt_a_runs_stays(here):
    """A user's file, a folder of another name, a link, and a run that begins just now."""
    noted, begun, plain = a_run(here, 1), here / "20260101-000002-0123", a_run(here, 3)
    (noted / "notes.txt").write_text("mine")
    begun.mkdir()
    (plain / "bars-0.parquet").write_text("x")
    (here / "other").mkdir()
    (here / "20260101-000004-0123").symlink_to(here / "other", target_is_directory=True)
    make_room(here, 1, here)
    assert sorted(one.name for one in here.iterdir()) == sorted(
        [noted.name, begun.name, "other", "20260101-000004-0123"]
    )
    assert (noted / "journal").exists()
    folder.LINGER_SECONDS, before = -1.0, folder.LINGER_SECONDS
    try:
        assert remove_run(begun)
    finally:
        folder.LINGER_SECONDS = before


def test_a_damaged_run_is_offered_to_nobody(here):
    run = a_run(here, 1)
    (run / "journal").write_bytes(b"junk\n")
    a_run(here, 2)
    assert list(killed_runs(here)) == [here / "20260101-000002-0123" / "journal"]
