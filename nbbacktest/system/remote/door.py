"""The run's side: while a run goes on, other processes of its user can find it and command it.

Holds its system weakly: a door keeps no run alive. Opening one fails no run.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import RemoteError
from nbbacktest.system.remote.channel import LOOPBACK, listen
from nbbacktest.system.remote.folder import folder, private
from nbbacktest.system.remote.messages import SESSION, MessageError, answer, read_request, refusal
from nbbacktest.system.remote.processes import birth
from nbbacktest.system.remote.reception import Reception
from nbbacktest.system.remote.registry import (
    KEY_BYTES,
    SessionEntry,
    remove,
    socket_name,
    sweep_strays,
    temporary_prefix,
    this_host,
    write_entry,
    write_key,
)

if TYPE_CHECKING:
    from nbbacktest.system.manager import SystemManager

logger = logging.getLogger("nbbacktest")

VARIABLE = "NBBACKTEST_REMOTE"
"""The environment variable that keeps all doors of a process shut: ``off``, ``false``, ``no`` or ``0``."""
EXIT_SECONDS = 0.25
"""How long the process's exit waits for the last answers to go out."""
BACKLOG = 128
"""How many may wait to be let in."""
LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes; the shortest limit is 104 with its end."""
NAME_SHOWN = 200


def door_of(system: SystemManager, config: SessionConfig) -> Door | None:
    """The door of a run that is about to start, still shut; None where the config or the environment wants none."""
    if not config.remote.enabled or os.environ.get(VARIABLE, "").strip().lower() in ("off", "false", "no", "0"):
        return None
    return Door(system, config.session_name)


class Door:
    """One run's door: opened once, closed once."""

    def __init__(self, system: SystemManager, name: str) -> None:
        self._system = weakref.ref(system)
        self._name = name[:NAME_SHOWN]
        self._process = os.getpid()
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._reception: Reception | None = None
        self._entry: SessionEntry | None = None
        self._folder = Path()

    @property
    def entry(self) -> SessionEntry | None:
        """What others find; None where the door isn't open."""
        return self._entry

    def open(self) -> None:
        """Let others in from now on. Where that can't be, say so once in the log: the run matters more."""
        with self._lock:
            if self._closed:
                return  # the run is over already
            try:
                self._open()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without a door
                _warn(f"this run can't be reached from other terminals: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Remove the files and let nobody in any more; waits for nobody. Any thread, any number of times."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            entry, self._entry = self._entry, None
            if entry is not None:
                remove(self._folder, entry.id, entry.address)
            if self._reception is not None:
                self._reception.close()

    def join(self, timeout: float) -> bool:
        """After `close`, wait for the threads; False where some go on."""
        return self._process != os.getpid() or self._reception is None or self._reception.join(timeout)

    def forget(self) -> None:
        """In a forked child: give back what was inherited, and leave the parent's files and connections alone."""
        if self._reception is not None:
            self._reception.forget()

    # -- opening --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = folder()
        private(self._folder, make=True)
        sweep_strays(self._folder)
        key = secrets.token_bytes(KEY_BYTES)
        session = self._unused(key)
        address = ""
        try:
            listener, address = _listen(self._folder, session)
            self._reception = Reception(listener, key, self._reply)
            self._reception.open()
            pid = os.getpid()
            entry = SessionEntry(
                session, self._name, pid, birth(pid), this_host(), address, datetime.now(UTC).isoformat("T", "seconds")
            )
            write_entry(self._folder, entry)
            self._entry = entry
        except BaseException:
            if self._reception is not None:
                self._reception.close()
            remove(self._folder, session, address)
            raise
        _doors.add(self)

    def _unused(self, key: bytes) -> str:
        while True:
            session = secrets.token_hex(3)
            with suppress(FileExistsError):
                write_key(self._folder, session, key)
                return session

    # -- a guest's thread -----------------------------------------------------------------------------------

    def _reply(self, message: bytes) -> bytes:
        reception = self._reception
        try:
            command, arguments = read_request(message)
            return answer(self._done(command, arguments))
        except MessageError as error:
            if reception is not None:
                reception.count_broken()
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - told to who asked; it is nobody else's
            return refusal(error)

    def _done(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        system = self._system()
        if system is None:
            raise RemoteError("the session has ended")
        if command != SESSION:
            from nbbacktest.system.commands import COMMANDS

            return COMMANDS[command](system, **arguments).to_dict()
        status, reception = system.status(), self._reception
        return {
            "name": self._name,
            "state": status["system_manager"]["_state"],
            "sim_time": status["session"]["sim_time"],
            "progress": status["session"]["progress"],
            "refused": reception.refused if reception else 0,
            "broken": reception.broken if reception else 0,
        }


def _listen(base: Path, session: str) -> tuple[socket.socket, str]:
    if sys.platform == "win32":
        own = listen(f"{LOOPBACK}:0", BACKLOG)
        return own, f"{LOOPBACK}:{own.getsockname()[1]}"
    problem = OSError(
        f"there is no folder with a path short enough for a socket: {base} is too long, and so are others"
    )
    for place in _places(base):
        address = str(place / socket_name(session))
        try:
            if len(os.fsencode(address)) <= LONGEST_PATH:
                return listen(address, BACKLOG), address
        except OSError as error:  # not every file system has sockets
            problem = error
        if place != base:
            place.rmdir()
    raise problem


def _places(base: Path) -> Iterator[Path]:
    yield base
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - in a folder of its own
        if parent and Path(parent).is_dir():
            with suppress(OSError):
                yield Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=parent))


@lru_cache(maxsize=16)
def _warn(text: str) -> None:
    logger.warning(text)


# -- the ends of the process, and its forks -----------------------------------------------------------------

_doors: weakref.WeakSet[Door] = weakref.WeakSet()  # those that were opened, for these two alone


@atexit.register
def _close_all() -> None:
    doors, deadline = list(_doors), monotonic() + EXIT_SECONDS
    for door in doors:
        door.close()
    for door in doors:
        door.join(max(deadline - monotonic(), 0.0))


def _forget_all() -> None:
    for door in list(_doors):
        door.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
