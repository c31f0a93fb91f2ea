"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest

from nbbacktest.core.files import try_target, write_whole

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, owners and pipes are of POSIX")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_the_file_is_what_was_written(tmp_path):
    """The content is there, and nothing beside it."""
    write_whole(tmp_path / "out.json", lambda file: file.write(b"new"))
    assert (tmp_path / "out.json").read_bytes() == b"new"
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    """Whatever the writer raises comes out; the old content stays, and no half of the new."""
    target = tmp_path / "out.json"
    target.write_bytes(b"old")

    def half(file):
        file.write(b"ne")
        raise error

    with pytest.raises(error):
        write_whole(target, half)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.json"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    """Where it can't be written, OSError says so."""
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "out.json", lambda file: None)


def test_a_folder_in_the_way_leaves_nothing(tmp_path):
    """A folder of that name is an OSError, and no temporary file stays."""
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "out", lambda file: file.write(b"x"))
    assert names(tmp_path) == ["out"]


def test_readers_and_other_writers_never_see_half(tmp_path):
    """Two writers at once: each read is one or the other content, complete."""
    target, contents = tmp_path / "out", (b"a" * 100_000, b"b" * 100_000)
    write_whole(target, lambda file: file.write(contents[0]))

    def write(content):
        for _ in range(20):
            write_whole(target, lambda file: file.write(content))

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert target.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["out"]


def write(target: Path, content: bytes = b"new") -> None:
    write_whole(target, lambda file: file.write(content))


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_file_is_written(tmp_path, exists):
    """Through several links, also to a file that isn't there yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "second").symlink_to("real/out")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    if exists:
        (tmp_path / "real" / "out").write_bytes(b"old")
    try_target(tmp_path / "first")
    assert (tmp_path / "real" / "out").exists() is exists
    write(tmp_path / "first")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "real" / "out").read_bytes() == b"new"
    assert names(tmp_path / "real") == ["out"]


def pipe(folder: Path):
    os.mkfifo(folder / "out")


def heard(folder: Path):
    os.chdir(folder)  # a socket's path may be 108 bytes long
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("out")


def folder_itself(folder: Path):
    (folder / "out").mkdir()


def link_to_a_pipe(folder: Path):
    os.mkfifo(folder / "pipe")
    (folder / "out").symlink_to("pipe")


def circle(folder: Path):
    (folder / "out").symlink_to("out")


def read_only(folder: Path):
    (folder / "out").write_bytes(b"keep")
    (folder / "out").chmod(0o444)


def nowhere(folder: Path):
    (folder / "out").symlink_to("missing/out")


@posix
@pytest.mark.parametrize("attempt", [write, try_target])
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (pipe, "is a pipe and stays as it is; name a file"), (heard, "is a socket and stays"),
        (folder_itself, "is a folder; name a file in it"), (link_to_a_pipe, "is a pipe and stays"),
        (circle, "symbolic links"), (read_only, "is read-only; make it writable"), (nowhere, "there is no folder"),
    ],
)  # fmt: skip
def test_what_is_no_file_to_write_is_refused_and_stays(tmp_path, monkeypatch, attempt, made, words):
    """At once, by the trial as by the writing itself, and nothing is made beside it."""
    monkeypatch.chdir(tmp_path)
    made(tmp_path)
    before, all_names = os.lstat(tmp_path / "out"), names(tmp_path)
    with pytest.raises(OSError, match=words):
        attempt(tmp_path / "out")
    assert os.lstat(tmp_path / "out") == before
    assert names(tmp_path) == all_names


@posix
def test_a_device_is_refused_and_stays(tmp_path):
    """A terminal's, reached through a link."""
    master, slave = os.openpty()
    try:
        (tmp_path / "out").symlink_to(os.ttyname(slave))
        with pytest.raises(OSError, match="is a device and stays as it is"):
            write(tmp_path / "out")
        assert stat.S_ISCHR((tmp_path / "out").stat().st_mode)
    finally:
        os.close(master)
        os.close(slave)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640, 0o200])
def test_a_file_keeps_its_mode(tmp_path, mode):
    """Whatever the process's own mask is."""
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "out").chmod(mode)
    try_target(tmp_path / "out")
    write(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    (tmp_path / "out").chmod(0o600)
    assert (tmp_path / "out").read_bytes() == b"new"


@as_root
def test_a_file_keeps_its_owner(tmp_path):
    """And its group."""
    (tmp_path / "out").write_bytes(b"old")
    os.chown(tmp_path / "out", 65534, 65533)
    write(tmp_path / "out")
    found = (tmp_path / "out").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65533)


@posix
def test_a_second_name_of_a_file_stays_one(tmp_path):
    """A hard link: both names have the new content, and a shorter one leaves nothing of the old."""
    (tmp_path / "out").write_bytes(b"old and long")
    os.link(tmp_path / "out", tmp_path / "other")
    write(tmp_path / "out")
    assert (tmp_path / "other").read_bytes() == b"new"
    assert names(tmp_path) == ["other", "out"]


@posix
@pytest.mark.parametrize("is_owner", [True, False])
def test_a_file_that_cannot_be_replaced_is_written_over(tmp_path, monkeypatch, is_owner):
    """Its folder takes no new file, or its owner can't be given to one; a failing writer leaves the old content."""
    (tmp_path / "out").write_bytes(b"old and long")

    def refuse(*args, **options):
        raise PermissionError(1, "Operation not permitted")

    if is_owner:
        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda path, mode="r": refuse() if mode == "xb" else opened(path, mode))
    else:
        monkeypatch.setattr(Path, "chmod", refuse)
    try_target(tmp_path / "out")

    def half(file):
        file.write(b"ne")
        raise ValueError

    with pytest.raises(ValueError):
        write_whole(tmp_path / "out", half)
    assert (tmp_path / "out").read_bytes() == b"old and long"
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"new"
    assert names(tmp_path) == ["out"]
    if is_owner:
        with pytest.raises(PermissionError, match="takes no new file"):
            try_target(tmp_path / "another")
