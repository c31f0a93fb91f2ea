"""A live feed over a WebSocket: connects, receives, and finds its way back; see docs/live.md for the messages."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from nbbacktest.core.errors import (
    HIDDEN,
    ConfigError,
    DataError,
    FeedError,
    MissingExtraError,
    OutsideRunError,
    Problem,
)
from nbbacktest.core.formats import cut, printed, said
from nbbacktest.core.intervals import DAY
from nbbacktest.core.live_config import check_url, check_waits, clean_token
from nbbacktest.core.monitor import Flag
from nbbacktest.data.live_market import read_instant, written
from nbbacktest.engine.feed import Inbox, PushFeed

logger = logging.getLogger("nbbacktest")

VERSION = 1
"""The version of the messages; both sides tell theirs."""
LARGEST = 1 << 20
"""The most bytes of one message; a larger one ends the connection."""
CONNECT_SECONDS = 5.0
FASTEST = 1e9
"""The highest speed of a replay that has a clock, in seconds a second. 0 stands for as fast as it goes."""
_LONGEST_STRIDE = 365 * DAY
"""The longest time for which a replay's clock runs on without a message of its server."""
KEEPALIVE_SECONDS = 20.0
"""Seconds between two pings, and for the answer of each: a dead network is noticed within twice that."""
T = TypeVar("T")
R = TypeVar("R")
_TOO_BIG = 1009  # the WebSocket close code for a message that is too big


class WebSocketFeed(PushFeed):
    """A live feed from a server that speaks JSON over a WebSocket, such as ``nbbacktest feed serve``.

    A broken connection is made again, after waits that double from the first to the longest, and the server
    is asked for what was missed. A token that is refused, and a server that can't serve these symbols, end the run at once.

    Parameters
    ----------
    url : str
        Such as ``"ws://127.0.0.1:8765"``; ``wss`` if others could listen. No secrets in it.
    token : str, optional
        Sent in the header `Authorization` as ``Bearer TOKEN``; never shown.
    reconnect_seconds : (float, float)
        First and longest wait.

    Raises
    ------
    ConfigError
        For a wrong address, or wrong waits.
    MissingExtraError
        The package websockets isn't installed.
    """

    def __init__(
        self, url: str, *, token: str | None = None, reconnect_seconds: tuple[float, float] = (0.5, 30.0)
    ) -> None:
        _checked("url", url, check_url)
        _checked("reconnect_seconds", reconnect_seconds, check_waits)
        require_websockets("a WebSocket feed")
        super().__init__(source=f"live feed {url}")
        self.url = url
        self._token = None if token is None else _checked("token", token, clean_token, shown=HIDDEN)
        self._waits = reconnect_seconds
        self._over = Flag()
        self._thread: threading.Thread | None = None
        # guards the socket: the thread that ends the feed closes it while the feed's thread uses it
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._has_met = False
        # the clock of a replaying server: its time, the moment at which the server told it, its speed
        self._clock: tuple[int, float, float] | None = None

    # -- what its run calls ---------------------------------------------------------------------------------

    def attach(self, inbox: Inbox) -> None:
        """Serve a run; no connection is made yet."""
        super().attach(inbox)
        inbox.disconnected()

    def begin(self) -> None:
        """Start the thread that connects."""
        self._thread = threading.Thread(target=self._work, name="nbbacktest-feed", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Take no more bars, and close the connection, however the thread waits."""
        super().end()
        self._over.set()
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def now(self) -> int:
        """The machine's clock, or that of the session that a server replays."""
        clock = self._clock
        if clock is None:
            return super().now()
        said, at, speed = clock
        return said + int(min((time.monotonic() - at) * speed * 1e9, _LONGEST_STRIDE))

    # -- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        from websockets.exceptions import WebSocketException

        waits, failures = growing_waits(*self._waits), 0
        while not self._over.is_set():
            before = self._attached.since
            try:
                if self._converse() or self._over.is_set():
                    return
                reason = "the server hung up"
            except OutsideRunError:
                return  # the feed was closed meanwhile
            except (WebSocketException, OSError, EOFError) as error:
                if (final := self._final(error)) is not None:
                    self.close(final)
                    return
                reason = _told(error)
            except Exception as error:  # noqa: BLE001 - kept in the inbox: the run ends with it
                self.close(FeedError(f"the feed {self.url} failed: {_told(said(error))}"))
                return
            self._attached.disconnected()
            if self._attached.since != before:
                waits, failures = growing_waits(*self._waits), 0  # the connection worked: begin again with a short wait
            wait, failures = next(waits), failures + 1
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, ...: a long outage can't flood the log
                logger.warning("live feed %s: %s; trying again in %.3g s", self.url, reason, wait)
            self._over.wait(wait)

    def _final(self, error: Exception) -> FeedError | None:
        """The error that ends the run if another try can't help."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus

        if isinstance(error, FeedError):
            return error
        if isinstance(error, ConnectionClosed) and error.sent is not None and error.sent.code == _TOO_BIG:
            self._attached.refuse(f"a message of more than {LARGEST:,} bytes")
        if not isinstance(error, InvalidStatus):
            return None
        status = error.response.status_code
        if status in {401, 403}:
            return FeedError(self._refused_token(status))
        return (
            FeedError(f"{self.url} answered HTTP {status}: it is no feed; correct live.url")
            if 400 <= status < 500
            else None
        )

    def _converse(self) -> bool:
        """Serve one connection, from hello to its end; True if no more bars are to come."""
        from websockets.sync.client import connect

        headers = {"Authorization": f"Bearer {self._token}"} if self._token is not None else None
        with (
            self._connected_socket() as raw,
            connect(
                self.url,
                sock=raw,
                additional_headers=headers,
                open_timeout=CONNECT_SECONDS,
                close_timeout=0.2,
                ping_interval=KEEPALIVE_SECONDS,
                ping_timeout=KEEPALIVE_SECONDS,
                max_size=LARGEST,
                compression=None,  # compression costs more time than its saved bytes are worth here
                logger=quiet("client"),
            ) as connection,
        ):
            inbox = self._attached
            reader, since = inbox.reader, inbox.since
            hello = {
                "type": "hello",
                "version": VERSION,
                "symbols": list(reader.symbols),
                "interval": reader.interval.name,
                "since": None if since is None else written(since),
            }
            connection.send(json.dumps(hello))
            for message in connection:
                if self._over.is_set() or self._handle(message):
                    return True
        return False

    def _connected_socket(self) -> socket.socket:
        """A socket of our own, so that `end` can close it at every stage."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        made = socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS)
        made.settimeout(None)
        with self._lock:
            self._socket = made
            if self._over.is_set():
                made.close()
                raise OSError("the run is over")
        return made

    def _handle(self, text: str | bytes) -> bool:
        """Take one message; True if it was the last one. A message that makes no sense is counted."""
        inbox = self._attached
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            inbox.refuse(f"a message is no JSON: {error}")
            return False
        if not isinstance(message, dict):
            inbox.refuse(f"a message is a {type(message).__name__}, not an object with a type")
            return False
        try:
            if (now := message.pop("now", None)) is not None:
                try:
                    self._shown_time(now, message.get("speed"))
                except DataError as error:
                    inbox.refuse(str(error))
                    return False
            return self._obey(message.pop("type", None), message)
        except DataError:
            pass  # the inbox has counted the message as refused
        except (ArithmeticError, ValueError, TypeError, RecursionError) as error:  # values that no server can mean
            inbox.refuse(f"a message can't be read: {_told(said(error))}")
        return False

    def _obey(self, kind: Any, message: dict[str, Any]) -> bool:
        match kind:
            case "bar":
                self._attached.push(message)
            case "heartbeat":
                self._attached.heartbeat(message.get("time"))
            case "welcome":
                self._welcomed(message)
            case "end":
                self.close()
                return True
            case "error":
                raise FeedError(f"{self.url} can't serve this run: {_told(message.get('message'))}")
            case _:
                self._attached.refuse(f"a message of type {_told(kind)} is none that a feed sends")
        return False

    def _welcomed(self, message: dict[str, Any]) -> None:
        if message.get("version") != VERSION:
            raise FeedError(f"{self.url} speaks version {_told(message.get('version'))} of the messages, not {VERSION}")
        if isinstance(source := message.get("source"), str):
            self.source = f"live feed {self.url}: {printed(source[:200])}"
        self.synthetic = self.synthetic or message.get("synthetic") is True
        self._attached.connected(again=self._has_met)
        self._has_met = True

    def _shown_time(self, said: Any, speed: Any) -> None:
        """Follow the clock of a server that replays: its welcome tells the speed, every message the time."""
        moment = read_instant(said, "now")
        if speed is not None and not (
            isinstance(speed, (int, float)) and not isinstance(speed, bool) and 0 <= speed <= FASTEST
        ):
            self._attached.refuse(
                f"speed {_told(speed)} of the server can't be: it is a number from 0 to {FASTEST:,.0f}; the machine's "
                "clock is taken"
            )
        elif speed is not None:
            self.is_timed = speed > 0
            self._clock = moment, time.monotonic(), float(speed)
        elif self._clock is not None:
            self._clock = moment, time.monotonic(), self._clock[2]

    def _refused_token(self, status: int) -> str:
        what = "no token was sent" if self._token is None else "the token was refused"
        return (
            f"{self.url} answered HTTP {status}: {what}; give the server's token by live.token_env, live.token_file or "
            "WebSocketFeed(url, token=...)"
        )


def quiet(side: str) -> logging.Logger:
    """The logger of websockets without its debug lines, which would show the header with the token."""
    made = logging.getLogger(f"nbbacktest.websockets.{side}")
    made.addFilter(_is_no_detail)
    return made


def _is_no_detail(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def growing_waits(first: float, longest: float) -> Iterator[float]:
    """Seconds before each further attempt: they double, up to the longest.

    Examples
    --------
    >>> from itertools import islice
    >>> list(islice(growing_waits(0.5, 3), 5))
    [0.5, 1.0, 2.0, 3, 3]
    """
    wait = first
    while True:
        yield min(wait, longest)
        wait = min(wait * 2, longest)


def require_websockets(purpose: str) -> None:
    """Raise an error that names the extra, if it is missing.

    Raises
    ------
    MissingExtraError
    """
    try:
        import websockets  # noqa: F401 - is it there?
    except ImportError:
        raise MissingExtraError("websockets", "live", purpose) from None


def _checked(key: str, value: T, check: Callable[[T], R], *, shown: Any = None) -> R:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError([Problem(key, value if shown is None else shown, str(error))], "WebSocketFeed") from None


def _told(reason: Any) -> str:
    """The text of a peer, or of an error of the connection, short and harmless in a terminal."""
    try:
        text = str(reason) or type(reason).__name__
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists
        text = f"a {type(reason).__name__} that can't be written: {type(error).__name__}"
    return printed(cut(text, 200))
