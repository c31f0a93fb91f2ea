"""A server that replays the bars of a session to live runs, in real or accelerated time; see docs/live.md for the messages."""

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
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.data.live_market import read_instant, written
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.system.feeds.client import FASTEST, VERSION, quiet, require_websockets

logger = logging.getLogger("nbbacktest")

LOOPBACK = "127.0.0.1"
ALIVE_SECONDS = 5.0
"""The most seconds for which the server is silent."""
STALLED_SECONDS = 30
"""The most seconds for which a client may read nothing."""
_LEAVE_SECONDS = 0.5
_HELLO_BYTES = 64 * 1024
_HELLO_SECONDS = 10.0
_NOT_SERVED = 1008  # the WebSocket close code for a client that isn't served


class FeedServer:
    """Replays a session to all clients that connect; a context manager, and any thread may stop it.

    The first client starts the session's clock, at the bar that it asks for. A client that comes later, or again, is sent
    at once the bars that it missed, and then each when it is due.

    Parameters
    ----------
    market : MarketData
        Its bars, without warm-up, are sent.
    port : int
        0 lets the system choose; `port` and `url` tell.
    speed : float
        Seconds of open market a second; closed hours are skipped. 0: as fast as each client takes it.
    token : str, optional
        The token that every client must show.
    host : str
        The address to listen on; all but loopback need a token.

    Raises
    ------
    ConfigError
        For a speed or a port that can't be, and for a host that others reach without a token.
    FeedError
        The port can't be listened on.
    MissingExtraError
        The package websockets isn't installed.

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
        self._changed = Monitor()  # guards the three fields below, and wakes the threads that wait for a bar's time
        self._time = ReplayClock(self._replay, self._speed, clock or WallClock())
        self._stopping = False
        self._served: set[socket.socket] = set()  # the connections of clients that bars are sent to
        self._host = host
        self._server = self._listen(port)
        self.port: int = self._server.socket.getsockname()[1]
        # This thread starts those of the connections, which are daemons as it is.
        self._thread = threading.Thread(target=self._server.serve_forever, name="nbbacktest-feed-server", daemon=True)
        started(self._thread)

    @property
    def url(self) -> str:
        """The URL that clients connect to."""
        return f"ws://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def stop(self) -> None:
        """Close all connections and end; stopping again changes nothing.

        A client that doesn't read is cut off after half a second.
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
            # A browser sends the origin of its page: no page may connect.
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
            except (DataError, TimeoutError, RecursionError) as error:  # RecursionError: lists within lists
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
        """Let `stop` cut this client off, and also its own silence."""
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
        """The messages for one client, each when its time has come."""
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
        """Wait until an instant is due: None then, 0 if the server stops, or the clock's time if clients are to be told of it."""
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
        The config has no such bars.
    """
    return FeedServer(load(SessionConfig.load(config)), port=port, speed=speed, token=token, host=host)


def _server_logger() -> logging.Logger:
    """The logger of the server: for a peer that is no client, such as a web browser, it writes a line and no traceback."""
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
    """Refuse an impossible speed, port, host or token; returns the token, cleaned."""
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


class Replay:
    """Base bars of a market from its start on, warm-up left out.

    Attributes
    ----------
    instants : int64 array
        The times at which bars complete, nanoseconds UTC, rising, each once.

    Raises
    ------
    DataError
        There are none.
    """

    def __init__(self, market: MarketData) -> None:
        self._daily = market.interval.is_daily
        self._market = market
        self._first = {symbol: int((c.end <= market.start).sum()) for symbol, c in market.bars.items()}
        ends = [c.end[self._first[symbol] :] for symbol, c in market.bars.items()]
        self.instants = np.unique(np.concatenate(ends))
        if not len(self.instants):
            raise DataError(
                "there are no bars to replay after the start date; set backtest.start_date to an earlier one"
            )

    def bars(self, instant: int, symbols: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """The bars of `symbols` that complete at the instant numbered `instant`, as messages carry them."""
        moment = self.instants[instant]
        for symbol, columns in self._market.bars.items():
            if symbol in symbols:
                row = int(np.searchsorted(columns.end, moment))
                if self._first[symbol] <= row < len(columns) and columns.end[row] == moment:
                    yield self._message(columns, row)

    def seconds(self) -> Float64:
        """Seconds of open market before each instant; closed hours count nothing."""
        return self._market.sessions().elapsed(self.instants)

    def _message(self, columns: BarColumns, row: int) -> dict[str, Any]:
        ns = int(columns.time[row])
        time = self._market.stamps.begin(ns).date().isoformat() if self._daily else written(ns)
        return {
            "symbol": columns.symbol,
            "time": time,
            "open": float(columns.open[row]),
            "high": float(columns.high[row]),
            "low": float(columns.low[row]),
            "close": float(columns.close[row]),
            "volume": float(columns.volume[row]),
        }


class ReplayClock:
    """Wall deadlines of a replay's instants. The caller guards it with a lock; it begins once.

    Parameters
    ----------
    speed
        Seconds of open market a second; 0: everything is due at once.
    """

    def __init__(self, replay: Replay, speed: float, clock: Clock) -> None:
        self.clock = clock
        self._instants = replay.instants
        self._speed = speed
        self._seconds = replay.seconds() if speed else None
        self._began: tuple[float, float] | None = None  # wall seconds, and seconds of open market

    def begin(self, instant: int) -> None:
        """Start the clock so that `instant` is due now; a clock that runs already stays as it is."""
        if self._began is None and self._seconds is not None:
            at = float(self._seconds[min(instant, len(self._seconds) - 1)])
            self._began = self.clock.now(), at

    def deadline(self, instant: int) -> float:
        """The time of the wall clock at which the instant is due."""
        if self._began is None or self._seconds is None:
            return 0.0
        wall, at = self._began
        return wall + (float(self._seconds[instant]) - at) / self._speed

    def now(self, instant: int) -> int:
        """The time of the session's clock while the instant is the next one, nanoseconds UTC."""
        instant = min(instant, len(self._instants) - 1)
        left = max(self.deadline(instant) - self.clock.now(), 0.0) * self._speed
        return int(self._instants[instant]) - int(left * 1e9)
