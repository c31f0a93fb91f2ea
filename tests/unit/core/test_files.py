"""Writing a file whole or not at all."""

from __future__ import annotations

import threading

import pytest

from nbbacktest.core.files import write_whole


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
