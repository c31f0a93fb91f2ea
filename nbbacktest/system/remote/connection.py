"""One connection: messages of bytes, proof of the key from both sides, deadlines. Knows nothing of the messages' content."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from time import monotonic, sleep
from typing import Any, cast

LOOPBACK = "127.0.0.1"
RETRY_SECONDS = 0.005
"""Seconds between two tries while the server's queue of connections is full."""


class TooLongError(Exception):
    """A message is longer than it may be; it was not read."""


class SocketConnection:
    """A `multiprocessing` connection over a socket of its own, that another thread can cut.

    Attributes
    ----------
    deadline : float or None
        The time (`time.monotonic`) at which a wait for a message to begin ends in a TimeoutError. Written by the thread
        that uses the connection.
    """

    def __init__(self, own: socket.socket) -> None:
        own.setblocking(True)
        self.deadline: float | None = None
        self._family = own.family
        # One object alone owns the descriptor: if two close it, it may belong to another file at the second time.
        self._connection: Connection[Any, Any] = Connection(own.detach())
        self._closing = threading.Lock()  # guards `_closed`: after close, the descriptor's number may be another file's
        self._closed = False

    def send_bytes(self, message: bytes) -> None:
        """Send a message whole."""
        self._connection.send_bytes(message)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Wait for a message.

        Raises
        ------
        TooLongError
            It is longer than `maxlength`; nothing more can be read.
        TimeoutError
            None came until the deadline.
        EOFError, OSError
            The other side has gone, or the connection was cut.
        """
        self.await_message()
        try:
            return self._connection.recv_bytes(maxlength)
        except OSError:
            if not self._closed and not self._connection.readable:
                raise TooLongError from None
            raise

    def await_message(self) -> None:
        """Wait for the first byte of a message, or the end of the other side."""
        left = None if self.deadline is None else max(self.deadline - monotonic(), 0.0)
        if not self._connection.poll(left):
            raise TimeoutError("no answer within the time")

    def prove_first(self, key: bytes) -> None:
        """Have the other side prove that it has the key, then prove it to that one; raises AuthenticationError."""
        deliver_challenge(cast("Any", self), key)
        answer_challenge(cast("Any", self), key)

    def prove_second(self, key: bytes) -> None:
        """Prove to the other side that this one has the key, then have it prove the same; raises AuthenticationError."""
        answer_challenge(cast("Any", self), key)
        deliver_challenge(cast("Any", self), key)

    def drain(self, most: int) -> None:
        """End the sending side, then drop what the other side still sends: after that it reads what was sent to it."""
        with self._duplicate() as own:
            own.shutdown(socket.SHUT_WR)
            while most > 0 and (part := own.recv(65_536)):
                most -= len(part)

    def cut(self) -> None:
        """End the connection from any thread: every wait on it, here and on the other side, wakes."""
        with self._closing, suppress(OSError):
            if not self._closed:
                with self._duplicate() as own:
                    own.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; for the thread that uses the connection."""
        with self._closing:
            self.forget()

    def forget(self) -> None:
        """Close without the lock: for a forked child, in which the thread that held it doesn't exist."""
        if not self._closed:
            self._closed = True
            self._connection.close()

    def _duplicate(self) -> socket.socket:
        return socket.fromfd(self._connection.fileno(), self._family, socket.SOCK_STREAM)


def listen(address: str, backlog: int) -> socket.socket:
    """Listen on a path, or on a port of this machine; the path's file is the user's alone before a client can connect."""
    place = _place(address)
    own = socket.socket(socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.bind(place)
        if isinstance(place, str):
            Path(place).chmod(0o600)
        own.listen(backlog)
        own.setblocking(False)
    except BaseException:
        own.close()
        raise
    return own


def connect(address: str, timeout: float) -> SocketConnection:
    """Connect to such an address.

    Raises
    ------
    OSError
        Nothing listens there (ConnectionRefusedError, FileNotFoundError), or not in time (TimeoutError).
    """
    place, deadline = _place(address), monotonic() + timeout
    own = socket.socket(socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.settimeout(timeout)
        _connect(own, place, deadline)
        connection = SocketConnection(own)
    except BaseException:
        own.close()
        raise
    connection.deadline = deadline
    return connection


def _connect(own: socket.socket, place: str | tuple[str, int], deadline: float) -> None:
    while True:
        try:
            own.connect(place)
        except BlockingIOError:  # the server's queue of connections is full
            if monotonic() > deadline:
                raise TimeoutError("too many connect at the same time") from None
            sleep(RETRY_SECONDS)
        else:
            return


def _place(address: str) -> str | tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if colon and host == LOOPBACK and port.isdecimal():
        return host, int(port)
    return address
