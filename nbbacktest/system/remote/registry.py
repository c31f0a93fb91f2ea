"""The registry of sessions: a private folder with an entry and a key for each session. Files of dead processes are removed."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from nbbacktest.core.files import write_whole

VERSION = 1
KEY_BYTES = 32
UNASKED = "unasked"
GONE = "gone"
SILENT = "silent"
LINGER_SECONDS = 60.0
"""The age from which a file without an entry is swept: a younger one may belong to a server that opens just now."""

_ID = re.compile(r"[a-z0-9]{4,16}")
_TEMPORARY = "nbbt-"  # the beginning of the names of folders that are made for one socket


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """The entry of a run that can be reached, or could be until its process died.

    Attributes
    ----------
    id, name : str
        A few letters and digits; and the config's `session_name`.
    pid, born, host
        The process, its start (None if unknown), and its machine.
    address : str
        The socket's path, or ``127.0.0.1:port``.
    opened : str
        The time at which the run began, ISO 8601, UTC.
    state : str
        ``"running"``, ``"paused"`` or ``"stopped"``; ``"silent"`` of a process that lives and doesn't answer;
        ``"gone"`` of one that has died, whose entry has just been removed;
        ``"unasked"`` as it is written down.
    sim_time : str or None
        The last completed instant, ISO 8601; None before the first, or if the session doesn't answer.
    progress : float
        Completed share of the run, from 0 to 1.
    """

    id: str
    name: str
    pid: int
    born: str | None
    host: str
    address: str
    opened: str
    state: str = UNASKED
    sim_time: str | None = None
    progress: float = 0.0

    @property
    def alive(self) -> bool:
        """True if it answered."""
        return self.state not in (GONE, SILENT, UNASKED)


_WRITTEN = {"id": str, "name": str, "pid": int, "host": str, "address": str, "opened": str}


def write_entry(folder: Path, entry: SessionEntry) -> None:
    """Make a session known; its key and its socket are there already."""
    fields = {key: value for key, value in asdict(entry).items() if key in _WRITTEN or key == "born"}
    text = json.dumps({"version": VERSION, **fields}, indent=1)

    def fill(file: BinaryIO) -> None:
        Path(file.name).chmod(0o600)
        file.write(text.encode())

    write_whole(folder / f"{entry.id}.json", fill)


def write_key(folder: Path, session: str, key: bytes) -> None:
    """Write a key to a new file that only the user may read."""
    descriptor = os.open(folder / f"{session}.key", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)


def read_key(folder: Path, session: str) -> bytes:
    """The key of a session.

    Raises
    ------
    OSError
        There is none, or it isn't whole.
    """
    key = (folder / f"{session}.key").read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"the key of session {session} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def entries(folder: Path) -> Iterator[SessionEntry]:
    """The entries of the folder, oldest run first; other files are passed over."""
    found = [entry for path in folder.glob("*.json") if (entry := _read(path)) is not None]
    yield from sorted(found, key=lambda entry: (entry.opened, entry.id))


def is_listed(folder: Path, session: str) -> bool:
    """True if the entry is still there: a run that ends removes its own."""
    return (folder / f"{session}.json").exists()


def remove(folder: Path, session: str, address: str) -> None:
    """Remove a session's files, the entry first; those that are gone already are no error."""
    place = Path(address)
    files = [folder / f"{session}.json", folder / f"{session}.key"]
    temporary = place.parent.name.startswith(_TEMPORARY)
    if place.name == socket_name(session) and (place.parent == folder or temporary):
        files.append(place)
    for path in files:
        with suppress(OSError):
            path.unlink()
    if temporary:
        with suppress(OSError):
            place.parent.rmdir()


def sweep_strays(folder: Path) -> None:
    """Remove keys and sockets without an entry, of processes that were killed before they had written it."""
    for path in [*folder.glob("*.key"), *folder.glob("*.sock"), *folder.glob(".*.json.*")]:
        with suppress(OSError):
            old = time.time() - path.lstat().st_mtime > LINGER_SECONDS
            if old and (path.name.startswith(".") or not is_listed(folder, path.stem)):
                path.unlink()


def socket_name(session: str) -> str:
    """The name of a session's socket in its folder."""
    return f"{session}.sock"


def temporary_prefix() -> str:
    """The beginning of the name of a folder for one socket."""
    return _TEMPORARY


def this_host() -> str:
    """The machine's name: the runtime folder may be shared with others, whose processes can't be seen from here."""
    return socket.gethostname()


def _read(path: Path) -> SessionEntry | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("version") != VERSION or not _ID.fullmatch(path.stem):
        return None
    fields: dict[str, Any] = {key: found.get(key) for key in _WRITTEN}
    if any(type(value) is not _WRITTEN[key] for key, value in fields.items()) or fields["id"] != path.stem:
        return None
    if not 0 < fields["pid"] < 2**31:
        return None
    born = found.get("born")
    return SessionEntry(**fields, born=born) if born is None or isinstance(born, str) else None


NAME = "nbbacktest"


def sessions_folder() -> Path:
    """The folder of the sessions' files; it need not be there."""
    return _runtime_folder() / NAME


def _runtime_folder() -> Path:
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return _without_jupyter()
    return Path(jupyter_runtime_dir())


def _without_jupyter() -> Path:
    """The folder that Jupyter would use, so that a terminal without it finds a kernel that has it."""
    environment = os.environ.get
    if runtime := environment("JUPYTER_RUNTIME_DIR"):
        return Path(runtime)
    if data := environment("JUPYTER_DATA_DIR"):
        return Path(data, "runtime")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter" / "runtime"
    if sys.platform == "win32":
        appdata = environment("APPDATA")
        return Path(appdata, "jupyter", "runtime") if appdata else Path.home() / ".jupyter" / "data" / "runtime"
    return Path(environment("XDG_DATA_HOME") or Path.home() / ".local" / "share", "jupyter", "runtime")


def birth(pid: int) -> str | None:
    """The start of a process, as a text that tells two processes of one number apart; None if there is none, or no way to know."""
    if sys.platform == "linux":
        try:
            # The name, in parentheses, may hold anything; the fields behind it don't.
            fields = (
                Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            return None
        # A killed process stays in the table of processes until its parent has waited for it.
        return None if fields[0] in "ZX" else fields[19]
    try:
        psutil = import_module("psutil")  # comes with ipykernel
    except ImportError:
        return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def lives(pid: int, born: str | None) -> bool:
    """True if the process `pid` that began at `born` lives; also if there is no way to know."""
    now = birth(pid)
    if now is not None and born is not None:
        return now == born
    if sys.platform == "linux":
        return now is not None
    if sys.platform == "win32":  # os.kill with signal 0 would be a Ctrl-C on this system
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
