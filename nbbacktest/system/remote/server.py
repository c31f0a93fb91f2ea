"""The control server of a run: while the run goes on, other processes of its user can find it and command it.

`ConnectionListener` lets connections in, asks each for the key and reads its messages, one thread for each; it knows nothing of
runs. `ControlServer` enters the run in the registry and carries out the commands. It holds its system weakly, so it keeps no
run alive, and a failure to open one fails no run.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import selectors
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import RemoteError
from nbbacktest.core.files import private
from nbbacktest.core.monitor import Flag
from nbbacktest.system.remote.connection import LOOPBACK, SocketConnection, TooLongError, listen
from nbbacktest.system.remote.messages import LIMIT, SESSION, MessageError, answer, read_request, refusal
from nbbacktest.system.remote.registry import (
    KEY_BYTES,
    SessionEntry,
    birth,
    remove,
    sessions_folder,
    socket_name,
    sweep_strays,
    temporary_prefix,
    this_host,
    write_entry,
    write_key,
)
from nbbacktest.system.runner import is_off

if TYPE_CHECKING:
    from nbbacktest.system.manager import SystemManager

logger = logging.getLogger("nbbacktest")

VARIABLE = "NBBACKTEST_REMOTE"
"""The environment variable by which a process opens no control server: ``off``, ``false``, ``no`` or ``0``."""
EXIT_SECONDS = 0.25
"""The most seconds that the process's exit waits for the last answers."""
BACKLOG = 128
"""The most connections that may wait to be accepted."""
LONGEST_PATH = 100
"""The most bytes of a socket's path; the lowest limit of a system is 104, the terminating zero included."""
NAME_SHOWN = 200
MOST_CONNECTIONS = 32
"""The most connections at a time; for one more, the one that has been silent longest is cut."""
PROOF_SECONDS = 5.0
"""The most seconds that a connection may take to prove the key."""
MESSAGE_SECONDS = 5.0
"""The most seconds for a message that has begun, in either direction."""
DRAINED = 64 * 1024 * 1024
"""The most bytes that are read and dropped of a message that is too long, so that its sender can read the refusal."""
TICK_SECONDS = 0.5
"""Seconds between two looks for late clients, while there are clients."""
BREATH_SECONDS = 0.1
"""Seconds without accepting a connection once the system has no descriptor or thread left."""


def control_server_of(system: SystemManager, config: SessionConfig) -> ControlServer | None:
    """The server of a run that is about to start, not open yet; None if the config or the environment allows none."""
    if not config.remote.enabled or is_off(VARIABLE):
        return None
    return ControlServer(system, config.session_name)


class ControlServer:
    """The control server of one run: opened once, closed once."""

    def __init__(self, system: SystemManager, name: str) -> None:
        self._system = weakref.ref(system)
        self._name = name[:NAME_SHOWN]
        self._process = os.getpid()
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._listener: ConnectionListener | None = None
        self._entry: SessionEntry | None = None
        self._folder = Path()

    @property
    def entry(self) -> SessionEntry | None:
        """The entry in the registry; None if the server isn't open."""
        return self._entry

    def open(self) -> None:
        """Accept connections from now on. A failure is logged once and raises nothing: the run goes on."""
        with self._lock:
            if self._closed:
                return  # the run is over already
            try:
                self._open()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without a server
                _warn(f"this run can't be reached from other terminals: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Remove the files and accept no more connections; waits for nothing. Any thread, any number of times."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            entry, self._entry = self._entry, None
            if entry is not None:
                remove(self._folder, entry.id, entry.address)
            if self._listener is not None:
                self._listener.close()

    def join(self, timeout: float) -> bool:
        """Wait for the threads after `close`; False if some go on."""
        return self._process != os.getpid() or self._listener is None or self._listener.join(timeout)

    def forget(self) -> None:
        """Close the descriptors that a forked child has inherited; the parent's files and connections stay."""
        if self._listener is not None:
            self._listener.forget()

    # -- opening --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = sessions_folder()
        private(self._folder, make=True)
        sweep_strays(self._folder)
        key = secrets.token_bytes(KEY_BYTES)
        session = self._unused(key)
        address = ""
        try:
            listener, address = _listen(self._folder, session)
            self._listener = ConnectionListener(listener, key, self._reply)
            self._listener.open()
            pid = os.getpid()
            entry = SessionEntry(
                session, self._name, pid, birth(pid), this_host(), address, datetime.now(UTC).isoformat("T", "seconds")
            )
            write_entry(self._folder, entry)
            self._entry = entry
        except BaseException:
            if self._listener is not None:
                self._listener.close()
            remove(self._folder, session, address)
            raise
        _servers.add(self)

    def _unused(self, key: bytes) -> str:
        while True:
            session = secrets.token_hex(3)
            with suppress(FileExistsError):
                write_key(self._folder, session, key)
                return session

    # -- a client's thread -----------------------------------------------------------------------------------

    def _reply(self, message: bytes) -> bytes:
        listener = self._listener
        try:
            command, arguments = read_request(message)
            return answer(self._done(command, arguments))
        except MessageError as error:
            if listener is not None:
                listener.count_broken()
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - sent to the client: the error is of its own command
            return refusal(error)

    def _done(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        system = self._system()
        if system is None:
            raise RemoteError("the session has ended")
        if command != SESSION:
            from nbbacktest.system.commands import COMMANDS

            return COMMANDS[command](system, **arguments).to_dict()
        status, listener = system.status(), self._listener
        return {
            "name": self._name,
            "state": status["system_manager"]["_state"],
            "sim_time": status["session"]["sim_time"],
            "progress": status["session"]["progress"],
            "refused": listener.refused if listener else 0,
            "broken": listener.broken if listener else 0,
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

# The servers that are open, for the two functions below.
_servers: weakref.WeakSet[ControlServer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    servers, deadline = list(_servers), monotonic() + EXIT_SECONDS
    for server in servers:
        server.close()
    for server in servers:
        server.join(max(deadline - monotonic(), 0.0))


def _forget_all() -> None:
    for server in list(_servers):
        server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


@dataclass(eq=False)
class ClientConnection:
    """A client of the listener. Its lock guards all fields but `connection`, which never changes.

    Attributes
    ----------
    heard : float
        The time at which its last message was answered.
    deadline : float or None
        The time at which it is cut, unless it has sent or read its message by then.
    known, working, leaving : bool
        It has proved the key; its command is under way; it was cut.
    """

    connection: SocketConnection
    heard: float
    deadline: float | None
    known: bool = False
    working: bool = False
    leaving: bool = False
    thread: threading.Thread | None = None


class ConnectionListener:
    """The threads behind one listening socket.

    Attributes
    ----------
    refused, broken : int
        Connections without the right key, and messages that can't be carried out. Written under `_lock`.
    """

    def __init__(self, listener: socket.socket, key: bytes, reply: Callable[[bytes], bytes]) -> None:
        self.refused = self.broken = 0
        self._socket, self._key, self._reply = listener, key, reply
        self._woken, self._wake = socket.socketpair()
        self._lock = threading.Lock()  # guards the clients and the counts; nothing is called while it is held
        self._clients: set[ClientConnection] = set()
        self._closing = Flag()
        self._thread = threading.Thread(target=self._receive, name="nbbacktest-control-server", daemon=True)

    def open(self) -> None:
        """Start to listen; if no thread can be started, nothing stays open."""
        try:
            self._thread.start()
        except BaseException:
            self._closing.set()
            self._close_sockets()
            raise

    def close(self) -> None:
        """Accept no more connections, and cut those without a command under way. Returns at once; any thread, any number of times."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            idle = [client for client in self._clients if not client.working]
            self._wake.send(b"x")
        for client in idle:
            client.connection.cut()

    def join(self, timeout: float) -> bool:
        """Wait for the threads after `close`, those of clients with a command under way included."""
        deadline = monotonic() + timeout
        with self._lock:
            threads = [self._thread, *(client.thread for client in self._clients if client.thread is not None)]
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(deadline - monotonic(), 0.0))
        return not any(thread.is_alive() for thread in threads)

    def forget(self) -> None:
        """Close the descriptors and nothing else, in a forked child: the parent goes on with its own."""
        self._close_sockets()
        for client in self._clients:
            client.connection.forget()

    def count_broken(self) -> None:
        """Count a message that can't be carried out."""
        with self._lock:
            self.broken += 1

    # -- the listening thread -------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self._closing.is_set():
                    ready = selector.select(TICK_SECONDS if self._clients else None)
                    if not self._closing.is_set() and any(key.fileobj is self._socket for key, _ in ready):
                        self._accept()
                    self._cut_late()
        finally:
            with self._lock:
                self._closing.set()
                self._close_sockets()

    def _accept(self) -> None:
        try:
            own, _ = self._socket.accept()
        except BlockingIOError:
            return  # the client has gone again
        except OSError:  # no descriptor left
            self._closing.wait(BREATH_SECONDS)
            return
        if not self._has_room():
            own.close()
            return
        now = monotonic()
        client = ClientConnection(SocketConnection(own), now, now + PROOF_SECONDS)
        client.thread = threading.Thread(
            target=self._attend, args=(client,), name="nbbacktest-control-connection", daemon=True
        )
        with self._lock:
            self._clients.add(client)
        try:
            client.thread.start()
        except RuntimeError:  # no thread to be had
            self._leave(client)
            self._closing.wait(BREATH_SECONDS)

    def _has_room(self) -> bool:
        with self._lock:
            if sum(not client.leaving for client in self._clients) < MOST_CONNECTIONS:
                return True
            idle = [client for client in self._clients if not (client.working or client.leaving)]
            if not idle or len(self._clients) >= 2 * MOST_CONNECTIONS:
                return False
            longest = min(idle, key=lambda client: (client.known, client.heard))
            longest.leaving = True
        longest.connection.cut()
        return True

    def _cut_late(self) -> None:
        now = monotonic()
        with self._lock:
            late = [client for client in self._clients if client.deadline is not None and client.deadline < now]
        for client in late:
            client.connection.cut()

    def _close_sockets(self) -> None:
        for own in (self._socket, self._woken, self._wake):
            own.close()

    # -- a client's thread -----------------------------------------------------------------------------------

    def _attend(self, client: ClientConnection) -> None:
        try:
            if self._proves(client.connection):
                with self._lock:
                    client.known = True
                while self._serve_one(client):
                    pass
        except (EOFError, OSError):
            pass  # the client has gone, or was cut
        finally:
            self._leave(client)

    def _proves(self, connection: SocketConnection) -> bool:
        """True if the client proves the key; a client without it, or with another protocol, is counted."""
        try:
            connection.prove_first(self._key)
        except (EOFError, OSError):
            raise
        except Exception:  # noqa: BLE001 - what multiprocessing raises for bytes of others: assertions, ValueErrors
            with self._lock:
                self.refused += 1
                count = self.refused
            level = logging.WARNING if count == 1 else logging.DEBUG
            logger.log(level, "a connection to this session was refused: it hasn't the session's key")
            return False
        return True

    def _serve_one(self, client: ClientConnection) -> bool:
        """Read one message and answer it; False if it was the last one."""
        with self._lock:
            client.working, client.deadline, client.heard = False, None, monotonic()
            if self._closing.is_set():
                return False
        client.connection.await_message()
        with self._lock:
            client.deadline = monotonic() + MESSAGE_SECONDS
        try:
            message = client.connection.recv_bytes(LIMIT)
        except TooLongError:
            self.count_broken()
            client.connection.send_bytes(
                refusal(MessageError(f"a message may have {LIMIT:,} bytes, and this one has more"))
            )
            client.connection.drain(DRAINED)
            return False
        with self._lock:
            if self._closing.is_set():
                return False
            client.working, client.deadline = True, None
        answer = self._reply(message)
        with self._lock:
            client.deadline = monotonic() + MESSAGE_SECONDS
        client.connection.send_bytes(answer)
        return True

    def _leave(self, client: ClientConnection) -> None:
        client.connection.close()
        with self._lock:
            self._clients.discard(client)
