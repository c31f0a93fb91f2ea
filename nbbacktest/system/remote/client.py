"""The client: finds the runs that can be reached, and sends commands to one of them."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing import AuthenticationError
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from nbbacktest.core.errors import AmbiguousSessionError, NoSessionError, RemoteError, nearest
from nbbacktest.core.files import private
from nbbacktest.system.remote import registry
from nbbacktest.system.remote.connection import SocketConnection, connect
from nbbacktest.system.remote.messages import ANSWER_LIMIT, SESSION, WAITING, read_answer, request
from nbbacktest.system.remote.registry import GONE, SILENT, SessionEntry, lives, sessions_folder

CONNECT_SECONDS = 3.0
"""The most seconds that a process may take to accept the connection."""
ANSWER_SECONDS = 20.0
"""The most seconds to an answer: pause and stop give up on a strategy's call after 10 s and 6 s themselves."""


def sessions() -> list[SessionEntry]:
    """The user's runs that can be reached from here, oldest first, as they are now.

    An entry whose process has died is given one last time, its state ``"gone"``: its files have been removed.

    Raises
    ------
    RemoteError
        The folder of the sessions can't be used: it belongs to another user.
    """
    place = _folder()
    found = []
    for entry in registry.entries(place):
        present = _present(place, entry)
        if present is not None:
            found.append(present)
    return found


def reach(session: str | None = None) -> Client:
    """Connect to a run.

    Parameters
    ----------
    session
        Its id, the beginning of that, or its name; None if there is just one.

    Raises
    ------
    NoSessionError
        No run goes on, or none of that id.
    AmbiguousSessionError
        Several could be meant.
    RemoteError
        It is there and can't be reached.
    """
    written = [entry for entry in registry.entries(_folder()) if entry.host == registry.this_host()]
    meant = _fitting(written, session)
    if len(meant) == 1:  # the usual case: no other session needs to be asked
        with suppress(RemoteError):
            return Client(meant[0])
    return Client(_chosen(sessions(), session))


class Client:
    """A connection to one run; a context manager. One command at a time, from any thread."""

    def __init__(self, entry: SessionEntry) -> None:
        self.entry = entry
        self._asking = threading.Lock()  # held from the sending of a request until its answer has come
        self._connection = _connected(_folder(), entry)

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Have the run's process carry out a command of `nbbacktest.system.commands`, and wait for its answer.

        Parameters
        ----------
        name
            ``"pause"``, ``"resume"``, ``"step"``, ``"until"``, ``"speed"``, ``"add"``, ``"remove"``, ``"stop"`` or ``"status"``.
        **arguments
            Those of the command's function: `n` of `step`, `when` of `until`, `x` of `speed`.

        Returns
        -------
        dict
            `Answer.to_dict()` of its answer.

        Raises
        ------
        InvalidTransition, StrategyBlockedError, ValueError, RemoteCommandError
            The error of the command over there, with the same message.
        RemoteError
            The run's process ended, or didn't answer in time.
        """
        message = request(name, arguments)
        with self._asking:
            self._connection.deadline = None if name in WAITING else monotonic() + ANSWER_SECONDS
            try:
                self._connection.send_bytes(message)
                answer = self._connection.recv_bytes(ANSWER_LIMIT)
            except TimeoutError:
                self.close()  # an answer that comes later must not count for another request
                raise RemoteError(
                    f"session {self.entry.id} (process {self.entry.pid}) has not answered {name!r} "
                    f"for {ANSWER_SECONDS:g} s; it may carry it out yet"
                ) from None
            except (EOFError, OSError):
                self.close()
                raise RemoteError(
                    f"session {self.entry.id} has ended, or closed the connection, before it answered {name!r}"
                ) from None
            except BaseException:  # Ctrl-C
                self.close()
                raise
        return read_answer(answer)

    def close(self) -> None:
        """Give the connection back; the run goes on."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _folder() -> Path:
    place = sessions_folder()
    try:
        private(place)
    except OSError as error:
        raise RemoteError(f"sessions can't be looked up: {error}") from None
    return place


def _present(place: Path, entry: SessionEntry) -> SessionEntry | None:
    """The newest entry of the same run; None if it ended meanwhile, or runs on a machine that isn't seen from here."""
    try:
        with Client(entry) as client:
            now = client.command(SESSION)
    except RemoteError as error:
        if not registry.is_listed(place, entry.id) or entry.host != registry.this_host():
            return None
        nobody = isinstance(error.__cause__, (ConnectionRefusedError, FileNotFoundError))
        if not nobody and lives(entry.pid, entry.born):
            return replace(entry, state=SILENT)
        registry.remove(place, entry.id, entry.address)
        return replace(entry, state=GONE)
    state, sim_time, progress = (now.get(name) for name in ("state", "sim_time", "progress"))
    told = isinstance(state, str) and (sim_time is None or isinstance(sim_time, str))
    if not told or isinstance(progress, bool) or not isinstance(progress, (int, float)) or not 0 <= progress <= 1:
        return replace(entry, state=SILENT)  # its answer is no message of this protocol
    return replace(entry, state=str(state), sim_time=sim_time, progress=float(progress))


def _connected(place: Path, entry: SessionEntry) -> SocketConnection:
    """A connection on which both sides have proved that they have the key."""
    where = f"session {entry.id} (process {entry.pid})"
    try:
        key = registry.read_key(place, entry.id)
        connection = connect(entry.address, CONNECT_SECONDS)
    except OSError as error:
        raise RemoteError(f"{where} can't be reached: {error.strerror or error}") from error
    try:
        connection.prove_second(key)
    except AuthenticationError as error:
        connection.close()
        raise RemoteError(f"{where} doesn't take its own key, or isn't what its entry says") from error
    except (EOFError, OSError, AssertionError) as error:
        connection.close()
        reason = (
            f"doesn't answer within {CONNECT_SECONDS:g} s"
            if isinstance(error, TimeoutError)
            else "closed the connection"
        )
        raise RemoteError(f"{where} {reason}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _chosen(found: list[SessionEntry], session: str | None) -> SessionEntry:
    there = [entry for entry in found if entry.state != GONE]
    if not there:
        gone = [f"{entry.name!r} (process {entry.pid}) died" for entry in found]
        raise NoSessionError(
            "; ".join(["no session is running", *gone]) + "; start one with: nbbacktest system start CONFIG"
        )
    fitting = _fitting([entry for entry in there if entry.alive] or there, session) or _fitting(there, session)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NoSessionError(
            f"no session {session!r} is running; {nearest(str(session), [entry.id for entry in there])}"
        )
    lines = "".join(f"\n  {entry.id}  {entry.name}, {entry.state}, process {entry.pid}" for entry in fitting)
    raise AmbiguousSessionError(f"{len(fitting)} sessions are running; pick one with --session ID:{lines}")


def _fitting(there: list[SessionEntry], session: str | None) -> list[SessionEntry]:
    """The entries that a user may mean: by the id, else by the name, else by the beginning of the id."""
    if session is None:
        return there
    return (
        [entry for entry in there if entry.id == session]
        or [entry for entry in there if entry.name == session]
        or [entry for entry in there if session and entry.id.startswith(session)]
    )
