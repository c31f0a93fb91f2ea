"""The folder of runs: a private folder with a journal for each run. Old runs are removed; a run that goes on and foreign files stay."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from nbbacktest.core.config import JournalConfig
from nbbacktest.core.errors import JournalError, nearest
from nbbacktest.core.files import private
from nbbacktest.system.journal.lines import InputEntry, JournalFile, StandEntry, read_journal

NAME = "journal"
"""The name of the file in a run's folder."""
KEPT_DAYS = 90
"""Days after its last line from which on a run is removed."""
LINGER_SECONDS = 60.0
"""The age from which a run without a line is removed: a younger one may begin just now."""

WRITING = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)  # Windows would write a carriage return into each line
"""The flags with which its writer opens a journal."""

_ID = re.compile(r"\d{8}-\d{6}-\d{4}")
_BARS = re.compile(r"bars-\d+\.parquet")
_TAIL = 4096  # bytes at the end of a file that surely hold its last line, if that tells of an end
_LOCKED_BYTE = 1 << 40  # far behind the end of the file, since no other process can read a byte that Windows locks


def runs_folder(settings: JournalConfig) -> Path:
    """The folder of all runs; it need not exist."""
    if settings.folder is not None:
        return Path(settings.folder).expanduser()
    state, home = os.environ.get("XDG_STATE_HOME"), Path.home()
    if not state and sys.platform == "darwin":
        state = str(home / "Library" / "Application Support")
    elif not state and sys.platform == "win32":
        state = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    return Path(state or home / ".local" / "state", "nbbacktest", "runs")


def new_run(settings: JournalConfig) -> Path:
    """Make the folder of a new run; its name, the run's id, begins with the time.

    Raises
    ------
    OSError
        It can't be made, or the folder for runs is another user's.
    """
    folder = runs_folder(settings)
    if settings.folder is None:
        private(folder.parent, make=True)
        private(folder, make=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)  # the user's own, with the rights that it has
    while True:
        at = time.time()
        made = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}-{int(at % 1 * 10_000):04}"
        with suppress(FileExistsError):
            made.mkdir(mode=0o700)
            return made


def runs_in(folder: Path) -> list[Path]:
    """The folders of all runs, oldest first; what else lies there is passed over.

    Raises
    ------
    JournalError
        There is such a folder, and it can't be read.
    """
    try:
        found = [one for one in folder.iterdir() if _ID.fullmatch(one.name) and not one.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise JournalError(folder, None, f"can't be looked for: {error.strerror}", "name another folder") from None
    return sorted(found)


def found_run(run: str | Path, folder: Path) -> Path:
    """The journal that `run` means: a run's id or a part of it, or the path of a journal or of its folder.

    Raises
    ------
    JournalError
        There is none, or several.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        return path / NAME
    if path.exists() or len(path.parts) != 1:
        return path
    every = [one.name for one in runs_in(folder)]
    meant = [name for name in every if str(run) in name]
    if len(meant) == 1:
        return folder / meant[0] / NAME
    cause = f"of run {run!r} isn't there" if not meant else f"of run {run!r} may be any of {', '.join(meant)}"
    raise JournalError(folder, None, cause, nearest(str(run), every) if not meant else "write more of its name")


def lock(descriptor: int) -> bool:
    """Lock an opened journal for its writer; False if another one has it.

    The lock is the system's own, on the open file: it is gone with the process, however that ends.

    Raises
    ------
    OSError
        The file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        elif sys.platform != "emscripten":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_written(journal: Path, meanwhile: Callable[[], object] | None = None) -> bool:
    """True if a living process writes this journal; also if there is no way to know.

    If none does, `meanwhile` is called, and none can begin to before it has returned.
    """
    try:
        descriptor = os.open(journal, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if not lock(descriptor):
            return True
        if meanwhile is not None:
            if sys.platform == "win32":  # no open file can be removed there
                os.close(descriptor)
                descriptor = -1
            meanwhile()
        return False
    except OSError:
        return True
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def has_ended(journal: Path) -> bool:
    """True if the run came to its end; the rest of the file isn't judged."""
    try:
        with journal.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _TAIL, 0))
            return b'{"kind":"end",' in file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
    except OSError:
        return False


def killed_runs(folder: Path) -> Iterator[Path]:
    """The journals of runs whose process is gone and that didn't end, newest first; of those that did anything at all."""
    for run in reversed(runs_in(folder)):
        journal = run / NAME
        with suppress(JournalError):
            if not has_ended(journal) and not is_written(journal) and _has_moved(read_journal(journal)):
                yield journal


def _has_moved(journal: JournalFile) -> bool:
    return any(isinstance(one, InputEntry) or (isinstance(one, StandEntry) and one.horizon) for one in journal.entries)


def state_of(journal: Path) -> str:
    """The state of a journal's run: ``"running"``, ``"killed"`` or ``"ended"``."""
    if is_written(journal):
        return "running"
    return "ended" if has_ended(journal) else "killed"


def make_room(folder: Path, keep: int, present: Path) -> None:
    """Remove runs until at most `keep` are left, and those that are old; never `present`, nor one that goes on."""
    with suppress(JournalError):
        others = [one for one in runs_in(folder) if one != present]
        ended = [one for one in others if has_ended(one / NAME)]
        removed = 0
        for run in ended + [one for one in others if one not in ended]:
            is_old = time.time() - _touched(run) > KEPT_DAYS * 86_400
            if is_old or len(others) + 1 - removed > keep:
                removed += remove_run(run)


def remove_run(run: Path, *, linger: bool = True) -> bool:
    """Remove a run's folder; False if its process lives, another file lies in it, or it was made just now.

    Parameters
    ----------
    linger
        False for one's own run, whatever its age.
    """
    journal = run / NAME
    try:
        names = [one.name for one in run.iterdir()]
        if any(name != NAME and not _BARS.fullmatch(name) for name in names):
            return False
        if not linger:
            journal.unlink(missing_ok=True)
        elif NAME not in names or not journal.stat().st_size:
            if time.time() - _touched(run) < LINGER_SECONDS:
                return False  # about to be locked and written
        elif is_written(journal, meanwhile=journal.unlink):
            return False
        for name in names:
            (run / name).unlink(missing_ok=True)
        run.rmdir()
    except OSError:
        return False
    return True


def _touched(run: Path) -> float:
    try:
        return (run / NAME).stat().st_mtime
    except OSError:
        return run.stat().st_mtime
