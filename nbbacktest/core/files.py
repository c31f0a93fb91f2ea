"""Writes a file whole or not at all, appends to one, refuses to write to anything but a file; makes folders private."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill the file `path`, in one step: readers see the old file or the new one.

    A link stays, and the file that it leads to is written. A file that is there keeps its mode and its owner. If it can't
    be replaced without losing these or a second name of it (a hard link), or its folder takes no new file, it is written over,
    once the content is complete.

    Raises
    ------
    OSError
        If it can't be written; nothing is left behind, even if `write` raises. `try_target` raises it in advance.
    """
    target, before = _target(path)
    beside = _new_file(target, before)
    if beside is None:
        _write_over(target, write)
        return
    try:
        with beside.open("r+b") as file:
            write(file)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def try_target(path: Path) -> None:
    """Raise the error that `write_whole` would raise for a place that can't be written to; nothing changes there.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, PermissionError, OSError
        It is a folder, a device, a pipe or a socket, is read-only, or its folder is missing or takes no file.
    """
    target, before = _target(path)
    beside = _new_file(target, before)
    if beside is not None:
        beside.unlink()


def append(descriptor: int, content: bytes, *, sync: bool) -> None:
    """Write `content` behind all that a file, opened to be appended to, has; it is whole there, or cut off at the end.

    Parameters
    ----------
    sync
        Return only when the disk has it, so that not even a power cut takes it away.

    Raises
    ------
    OSError
        The disk is full, or fails.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    if sync:
        getattr(os, "fdatasync", os.fsync)(descriptor)


def private(path: Path, *, make: bool = False) -> bool:
    """Make sure that a folder is the user's alone: the rights of others are taken away.

    Parameters
    ----------
    make
        Make it, and the folders above it, if it isn't there.

    Returns
    -------
    bool
        False if there is no such folder.

    Raises
    ------
    PermissionError
        It belongs to another user.
    OSError
        It can't be made, or is no folder.
    """
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is no folder; remove it")
    if sys.platform != "win32":
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to user {found.st_uid}, not to user {os.geteuid()}; remove it")
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    return True


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """The file that `path` leads to, and its status if it exists."""
    target = Path(os.path.realpath(path))
    try:
        before = path.stat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {target.parent}; make it first") from None
        return target, None
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not stat.S_ISREG(before.st_mode):
        kind = _KINDS.get(stat.S_IFMT(before.st_mode), "no regular file")
        raise OSError(f"{path} is {kind} and stays as it is; name a file")
    # Root may write everything, but a read-only file isn't meant to be written.
    if not before.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise PermissionError(f"{path} is read-only; make it writable, or name another file")
    return target, before


def _new_file(target: Path, before: os.stat_result | None) -> Path | None:
    """An empty file beside `target` with its mode and owner; None if `target` itself has to be written over."""
    if before is not None and before.st_nlink > 1:
        return None
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        beside.open("xb").close()
    except PermissionError:
        if before is None:
            raise PermissionError(f"the folder {target.parent} takes no new file; choose another") from None
        return None
    try:
        if before is not None:
            if hasattr(os, "chown"):
                made = beside.stat()
                if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                    os.chown(beside, before.st_uid, before.st_gid)
            beside.chmod(stat.S_IMODE(before.st_mode))
    except PermissionError:
        beside.unlink()
        return None
    except BaseException:
        beside.unlink()
        raise
    return beside


def _write_over(target: Path, write: Callable[[BinaryIO], object]) -> None:
    with tempfile.TemporaryFile() as whole, target.open("r+b") as file:
        write(whole)
        whole.seek(0)
        shutil.copyfileobj(whole, file)
        file.truncate()
