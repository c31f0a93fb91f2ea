"""A server that replays a session's bars to live runs, in real or accelerated time; see docs/live.md for the messages."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import numbers
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import numpy as np

from nbbacktest.core.clock import Clock, WallClock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import HIDDEN, ConfigError, DataError, FeedError, Problem, nearest
from nbbacktest.core.intervals import SECOND
from nbbacktest.core.live_config import clean_token
from nbbacktest.core.monitor import Monitor, started
from nbbacktest.data.incoming_bars import read_instant, written
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.system.feeds.client import FASTEST, VERSION, quiet, require_websockets
from nbbacktest.system.feeds.replay import Replay, ReplayClock

logger = logging.getLogger("nbbacktest")

LOOPBACK = "127.0.0.1"
ALIVE_SECONDS = 5.0
"""How long the server is silent at most."""
STALLED_SECONDS = 30
"""How long a client may take nothing of what it is sent."""
_LEAVE_SECONDS = 0.5
_HELLO_BYTES = 64 * 1024
_HELLO_SECONDS = 10.0
_NOT_SERVED = 1008  # the close code for it


class FeedServer:
    """Replays a session to whoever connects; a context manager, and any thread may stop it.

    The session's clock begins with the first client's wish, at the bar that it asks for. Whoever comes later, or again,
    is sent at once what it missed until then, and goes along.

    Parameters
    ----------
    market : MarketData
        Its bars, without warm-up, are sent.
    port : int
        0 lets the system choose; `port` and `url` tell.
    speed : float
        Seconds of open market a second; closed hours are skipped. 0: as fast as each client takes it.
    token : str, optional
        Asked of every client.
    host : str
        Where to listen; others than loopback need a token.

    Raises
    ------
    ConfigError
        For a speed or a port that can't be, and for a host that others reach without a token.
    FeedError
        Where the port can't be listened on.
    MissingExtraError
        Where the package websockets isn't installed.

    Examples
    --------
    ::

        with FeedServer(market, speed=60) as server:
            system.start({"mode": "live", "live": {"feed": "websocket", "url": server.url}, ...})
    """

    def __init__(
        self,
        market: MarketData,
        *,
        port: int = 0,
        speed: float = 1.0,
        token: str | None = None,
        host: str = LOOPBACK,
        clock: Clock | None = None,
    ) -> None:
        require_websockets("the feed server")
        token = _check(port, speed, token, host)
        self._replay = Replay(market)
        self._market = market
        self._speed = float(speed)
        self._token = token
        self._changed = Monitor()  # guards the three below, and wakes those who wait for a bar's time
        self._time = ReplayClock(self._replay, self._speed, clock or WallClock())
        self._stopping = False
        self._served: set[socket.socket] = set()  # those of clients that bars are sent to
        self._host = host
        self._server = self._listen(port)
        self.port: int = self._server.socket.getsockname()[1]
        # Threads for connections are made by this one, and are daemons as it is.
        self._thread = threading.Thread(target=self._server.serve_forever, name="nbbacktest-feed-server", daemon=True)
        started(self._thread)

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"ws://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def stop(self) -> None:
        """Hang up on everybody and end; stopping again changes nothing.

        A client that reads nothing is cut off after half a second: what was sent to it may never be taken.
        """
        with self._changed.lock:
            self._stopping = True
            self._changed.notify_all()
        self._changed.until(lambda: not self._served, _LEAVE_SECONDS)
        with self._changed.lock:
            for client in self._served:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join()

    def wait(self) -> None:
        """Wait for the end, in short waits, so that Ctrl-C gets through on every platform."""
        while self._thread.is_alive():
            self._thread.join(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    # -- connections ----------------------------------------------------------------------------------------

    def _listen(self, port: int) -> Any:
        from websockets.sync.server import serve as listen

        try:
            # Browsers say from which page they come; a page has no business here.
            return listen(
                self._converse,
                self._host,
                port,
                process_request=self._refuse_strangers,
                origins=[None],
                max_size=_HELLO_BYTES,
                compression=None,
                logger=_server_logger(),
                open_timeout=_HELLO_SECONDS / 2,
                close_timeout=0.2,
            )
        except OSError as error:
            raise FeedError(f"{self._host} port {port} can't be listened on: {error}; choose another port") from error

    def _refuse_strangers(self, connection: Any, request: Any) -> Any:
        if self._token is None:
            return None
        shown = request.headers.get("Authorization") or ""
        if hmac.compare_digest(shown.encode(errors="surrogateescape"), f"Bearer {self._token}".encode()):
            return None
        logger.warning("feed server: a client from %s showed no token, or a wrong one", connection.remote_address[0])
        return connection.respond(401, "this feed needs its token\n")

    def _converse(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            try:
                symbols, since = self._read_hello(connection.recv(_HELLO_SECONDS))
            except (DataError, TimeoutError, RecursionError) as error:  # the last: lists within lists, to be repeated
                connection.send(json.dumps({"type": "error", "message": str(error) or "no hello came"}))
                connection.close(_NOT_SERVED)
                return
            with self._serving(connection.socket):
                for message in self._messages(symbols, since):
                    connection.send(message)
        except ConnectionClosed:
            logger.info("feed server: a client has gone, or took nothing for %g s", STALLED_SECONDS)

    @contextmanager
    def _serving(self, client: socket.socket) -> Iterator[None]:
        """Have `stop` cut this client off, and its own silence too."""
        if sys.platform != "win32":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STALLED_SECONDS, 0))
        with self._changed.lock:
            self._served.add(client)
        try:
            yield
        finally:
            with self._changed.lock:
                self._served.discard(client)
                self._changed.notify_all()

    def _read_hello(self, text: str | bytes) -> tuple[tuple[str, ...], int | None]:
        try:
            hello = json.loads(text)
        except (ValueError, RecursionError):
            hello = None
        if not isinstance(hello, Mapping) or hello.get("type") != "hello" or hello.get("version") != VERSION:
            raise DataError(f"say hello first: {{'type': 'hello', 'version': {VERSION}, 'symbols': [...], ...}}")
        known, interval = tuple(self._market.bars), self._market.interval.name
        wanted = hello.get("symbols")
        if not isinstance(wanted, list) or not wanted:
            raise DataError(f"hello names no symbols; here are {', '.join(known)}")
        for symbol in wanted:
            if symbol not in known:
                raise DataError(f"there is no symbol {symbol!r} here; {nearest(str(symbol), known)}")
        if hello.get("interval") != interval:
            raise DataError(f"bars here are {interval}, and {hello.get('interval')!r} was asked for; set data.interval")
        since = hello.get("since")
        return tuple(wanted), None if since is None else read_instant(since, "since")

    def _messages(self, symbols: tuple[str, ...], since: int | None) -> Iterator[str]:
        """What one client is sent, each when its time has come."""
        replay, clock = self._replay, self._time
        row = 0 if since is None else int(np.searchsorted(replay.instants, since, side="right"))
        with self._changed.lock:
            clock.begin(row)
        spoke = clock.clock.now()
        yield json.dumps(
            {
                "type": "welcome",
                "version": VERSION,
                "speed": self._speed,
                "source": self._market.source,
                "synthetic": self._market.synthetic,
                "now": written(clock.now(row)),
            }
        )
        for instant in range(row, len(replay.instants)):
            while (shown := self._until_due(instant, spoke + ALIVE_SECONDS)) is not None:
                if not shown:
                    return
                spoke = clock.clock.now()
                yield json.dumps({"type": "heartbeat", "time": written(shown), "now": written(shown)})
            spoke = clock.clock.now()
            end = written(int(replay.instants[instant]))
            for bar in replay.bars(instant, symbols):
                yield json.dumps({"type": "bar", **bar, "now": end})
            yield json.dumps({"type": "heartbeat", "time": end, "now": end})
        yield json.dumps({"type": "end"})

    def _until_due(self, instant: int, alive: float) -> int | None:
        """Wait until an instant is due, then None; 0 where the server stops; what its clock shows where that is to be said."""
        clock = self._time
        with self._changed.lock:
            deadline = clock.deadline(instant)
            while not self._stopping:
                now = clock.clock.now()
                if now >= deadline:
                    return None
                if now >= alive:
                    # Short of the next instant, whose bars are still to be sent.
                    return min(clock.now(instant), int(self._replay.instants[instant]) - SECOND)
                clock.clock.wait(self._changed, min(deadline, alive))
            return 0


def serve(
    config: SessionConfig | str | dict[str, Any],
    port: int = 0,
    speed: float = 1.0,
    token: str | None = None,
    host: str = LOOPBACK,
) -> FeedServer:
    """Load a session's bars and serve them; returns the server, which is listening.

    Parameters
    ----------
    config
        As for a backtest: its `data` and its dates say which bars. Its mode, strategies and broker count for nothing.
    port, speed, token, host
        As for `FeedServer`.

    Raises
    ------
    ConfigError, DataError
        Where the config has no such bars.
    """
    return FeedServer(load(SessionConfig.load(config)), port=port, speed=speed, token=token, host=host)


def _server_logger() -> logging.Logger:
    """The server's own lines; of what is no client, such as a request for a web page, a line and no traceback."""
    made = quiet("server")
    made.addFilter(_told_in_a_line)
    return made


def _told_in_a_line(record: logging.LogRecord) -> bool:
    if record.msg == "opening handshake failed":
        record.msg, record.exc_info, record.levelno = (
            "feed server: a client that speaks no WebSocket",
            None,
            logging.INFO,
        )
        record.levelname = "INFO"
        return logging.getLogger("nbbacktest").isEnabledFor(logging.INFO)
    return True


def _check(port: int, speed: float, token: str | None, host: str) -> str | None:
    """Refuse what can't be; returns the token, cleaned."""
    problems = []
    if isinstance(speed, bool) or not isinstance(speed, numbers.Real) or not 0 <= speed <= FASTEST:
        problems.append(Problem("speed", speed, "can't be; 1 is real time, 60 a minute a second, 0 as fast as it goes"))
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65_536:
        problems.append(Problem("port", port, "is no port; take one from 1024 to 65535, or 0 for any that is free"))
    if token is not None:
        try:
            token = clean_token(token)
        except ValueError as error:
            problems.append(Problem("token", HIDDEN, str(error)))
    if token is None and not _is_loopback(host):
        cure = "others could reach that, and there is no token; give one, or listen on 127.0.0.1"
        problems.append(Problem("host", host, cure))
    if problems:
        raise ConfigError(problems, "the feed server")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
