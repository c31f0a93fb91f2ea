"""Lets connections in, asks each for the key, and hears its messages: a thread for each, none for long without cause.

Knows nothing of runs: what a message means is for the function that it is given.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from nbbacktest.core.monitor import Flag
from nbbacktest.system.remote.channel import Channel, TooLongError
from nbbacktest.system.remote.messages import LIMIT, MessageError, refusal

logger = logging.getLogger("nbbacktest")

MOST_GUESTS = 32
"""How many connections are served at a time; for one more, the one that has been silent longest is cut."""
PROOF_SECONDS = 5.0
"""How long a connection may take to prove that it has the key."""
MESSAGE_SECONDS = 5.0
"""How long a message may take that has begun, either way."""
DRAINED = 64 * 1024 * 1024
"""How much of a message that is too long is read away, for its sender to come to read why it was refused."""
TICK_SECONDS = 0.5
"""How often it is looked for those who take too long, while anybody is connected."""
BREATH_SECONDS = 0.1
"""How long nobody is let in when the system has no descriptor or thread left."""


@dataclass(eq=False)
class Guest:
    """One connection; all fields are guarded by the reception's lock, but `channel`, which never changes."""

    channel: Channel
    heard: float
    deadline: float | None
    known: bool = False
    working: bool = False
    leaving: bool = False
    thread: threading.Thread | None = None


class Reception:
    """The threads behind one listening socket.

    Attributes
    ----------
    refused, broken : int
        Connections without the right key, and messages that said nothing that can be done. Written under `_lock`.
    """

    def __init__(self, listener: socket.socket, key: bytes, reply: Callable[[bytes], bytes]) -> None:
        self.refused = self.broken = 0
        self._listener, self._key, self._reply = listener, key, reply
        self._woken, self._wake = socket.socketpair()
        self._lock = threading.Lock()  # guards the guests and the counts; nothing is called while it is held
        self._guests: set[Guest] = set()
        self._closing = Flag()
        self._thread = threading.Thread(target=self._receive, name="nbbacktest-door", daemon=True)

    def open(self) -> None:
        """Start to listen; where there is no thread to be had, nothing stays open."""
        try:
            self._thread.start()
        except BaseException:
            self._closing.set()
            self._close_sockets()
            raise

    def close(self) -> None:
        """Let nobody in any more, and send away who isn't being served. Returns at once; any thread, any number of times."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            idle = [guest for guest in self._guests if not guest.working]
            self._wake.send(b"x")
        for guest in idle:
            guest.channel.cut()

    def join(self, timeout: float) -> bool:
        """After `close`, wait for the threads to end, those of guests that are being served included."""
        deadline = monotonic() + timeout
        with self._lock:
            threads = [self._thread, *(guest.thread for guest in self._guests if guest.thread is not None)]
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(deadline - monotonic(), 0.0))
        return not any(thread.is_alive() for thread in threads)

    def forget(self) -> None:
        """Give back the descriptors and nothing else: in a forked child, whose parent goes on with its own."""
        self._close_sockets()
        for guest in self._guests:
            guest.channel.forget()

    def count_broken(self) -> None:
        """Note a message that said nothing that can be done."""
        with self._lock:
            self.broken += 1

    # -- the listening thread -------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self._closing.is_set():
                    ready = selector.select(TICK_SECONDS if self._guests else None)
                    if not self._closing.is_set() and any(key.fileobj is self._listener for key, _ in ready):
                        self._let_in()
                    self._cut_late()
        finally:
            with self._lock:
                self._closing.set()
                self._close_sockets()

    def _let_in(self) -> None:
        try:
            own, _ = self._listener.accept()
        except BlockingIOError:
            return  # whoever came has gone again
        except OSError:  # no descriptor left
            self._closing.wait(BREATH_SECONDS)
            return
        if not self._has_room():
            own.close()
            return
        now = monotonic()
        guest = Guest(Channel(own), now, now + PROOF_SECONDS)
        guest.thread = threading.Thread(target=self._attend, args=(guest,), name="nbbacktest-guest", daemon=True)
        with self._lock:
            self._guests.add(guest)
        try:
            guest.thread.start()
        except RuntimeError:  # no thread to be had
            self._leave(guest)
            self._closing.wait(BREATH_SECONDS)

    def _has_room(self) -> bool:
        with self._lock:
            if sum(not guest.leaving for guest in self._guests) < MOST_GUESTS:
                return True
            idle = [guest for guest in self._guests if not (guest.working or guest.leaving)]
            if not idle or len(self._guests) >= 2 * MOST_GUESTS:
                return False
            longest = min(idle, key=lambda guest: (guest.known, guest.heard))
            longest.leaving = True
        longest.channel.cut()
        return True

    def _cut_late(self) -> None:
        now = monotonic()
        with self._lock:
            late = [guest for guest in self._guests if guest.deadline is not None and guest.deadline < now]
        for guest in late:
            guest.channel.cut()

    def _close_sockets(self) -> None:
        for own in (self._listener, self._woken, self._wake):
            own.close()

    # -- a guest's thread -----------------------------------------------------------------------------------

    def _attend(self, guest: Guest) -> None:
        try:
            if self._proves(guest.channel):
                with self._lock:
                    guest.known = True
                while self._hear(guest):
                    pass
        except (EOFError, OSError):
            pass  # it has gone, or was cut
        finally:
            self._leave(guest)

    def _proves(self, channel: Channel) -> bool:
        """Whether the other side has the key; that it hasn't, or speaks something else, is counted."""
        try:
            channel.prove_first(self._key)
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

    def _hear(self, guest: Guest) -> bool:
        """Hear one message and answer it; False where it was the last."""
        with self._lock:
            guest.working, guest.deadline, guest.heard = False, None, monotonic()
            if self._closing.is_set():
                return False
        guest.channel.await_message()
        with self._lock:
            guest.deadline = monotonic() + MESSAGE_SECONDS
        try:
            message = guest.channel.recv_bytes(LIMIT)
        except TooLongError:
            self.count_broken()
            guest.channel.send_bytes(
                refusal(MessageError(f"a message may have {LIMIT:,} bytes, and this one has more"))
            )
            guest.channel.drain(DRAINED)
            return False
        with self._lock:
            if self._closing.is_set():
                return False
            guest.working, guest.deadline = True, None
        answer = self._reply(message)
        with self._lock:
            guest.deadline = monotonic() + MESSAGE_SECONDS
        guest.channel.send_bytes(answer)
        return True

    def _leave(self, guest: Guest) -> None:
        guest.channel.close()
        with self._lock:
            self._guests.discard(guest)
