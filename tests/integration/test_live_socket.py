"""Live over a real socket: the same result as the backtest, whatever happens to the server on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as listen

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import FeedError
from nbbacktest.data.sources import load
from nbbacktest.system.feeds.server import FeedServer, serve
from tests.live import Trader, fields, live_of

SYNTHETIC: dict[str, Any] = {
    "exchange": "XNYS",
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"},
    "data": {"source": "synthetic", "symbols": ["A", "B", "C"], "interval": "1m", "derived_intervals": ["5m", "15m"]},
    "broker": {"commission": {"model": "percent", "rate": 0.0005}},
}
SWIFT = (0.01, 0.05)


@pytest.fixture
def system() -> Iterator[nb.SystemManager]:
    """A manager whose run is ended, and the proof that no socket is left open."""
    before = sockets()
    made = nb.SystemManager()
    yield made
    made.stop()
    deadline = time.monotonic() + 5
    while sockets() - before and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert not sockets() - before


def sockets() -> set[int]:
    """The descriptors of this process's sockets, those of its event loops and pipes included."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no /proc here to count sockets in")
    found = set()
    for entry in folder.iterdir():
        with suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                found.add(int(entry.name))
    return found


def feed_of(server: Any, token: str | None = None) -> nb.WebSocketFeed:
    return nb.WebSocketFeed(server if isinstance(server, str) else server.url, token=token, reconnect_seconds=SWIFT)


def counts(system: nb.SystemManager) -> dict[str, Any]:
    return system.status()["session"]["feed"]


class CutOff(FeedServer):
    """Sends so many messages to its first client, says so, and is silent until it is stopped."""

    def __init__(self, market: Any, messages: int, **options: Any) -> None:
        self.reached = threading.Event()
        self.left = messages
        super().__init__(market, speed=0, **options)

    def _messages(self, symbols: tuple[str, ...], since: int | None) -> Iterator[str]:
        for message in super()._messages(symbols, since):
            if self.left == 0:
                self.reached.set()
                with self._changed.lock:
                    self._changed.wait_for(lambda: self._stopping)
                return
            self.left -= 1
            yield message


# -- the same as the backtest -------------------------------------------------------------------------------


def real(folder: Path) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        # A week with a holiday and a half day, after a day of warm-up.
        "backtest": {"start_date": "2024-11-26", "end_date": "2024-12-03"},
        "data": {
            "source": "csv", "path": str(folder / "{symbol}_1min_2024Q4.csv.gz"), "symbols": ["EXE", "SW", "CPAY"],
            "interval": "1m", "stamp": "open", "derived_intervals": ["5m", "15m"], "warmup_days": 1,
        },
        "broker": {"cash": 1_000_000, "commission": {"model": "percent", "rate": 0.0005}},
    }  # fmt: skip


def test_real_bars_over_a_socket_equal_their_backtest(system: nb.SystemManager, shared_data: Path) -> None:
    """Three real symbols, one full of gaps, five sessions and a half day: fingerprint and every bar are the same."""
    config = real(shared_data)
    back, live = Trader(), Trader()
    expected = nb.backtest(None, back, config=config)
    with serve(config, speed=0, token="open sesame") as server:
        system.start(live_of(config), feed=feed_of(server, "open sesame"), strategies=live)
        result = system.wait(50)
    assert len(expected.fills) > 100
    assert live.seen == back.seen
    assert result.fingerprint == expected.fingerprint
    shown = counts(system)
    assert [shown[name] for name in ("refused", "late", "duplicate", "reconnects")] == [0, 0, 0, 0]
    assert shown["received"] == expected.stats["bars"]


@pytest.mark.parametrize("messages", [[1], [2], [1000], [777, 778, 1500]])
def test_a_server_that_is_killed_and_comes_back_changes_nothing(system: nb.SystemManager, messages: list[int]) -> None:
    """Cut off after the welcome, within an instant, between two, several times: the client finds back, nothing is lost."""
    market = load(SessionConfig.load(SYNTHETIC))
    back, live = Trader(), Trader()
    expected = nb.backtest(market, back, config=SYNTHETIC)
    server = CutOff(market, messages[0])
    port = server.port
    try:
        system.start(live_of(SYNTHETIC), feed=feed_of(server), strategies=live)
        for following in [*messages[1:], None]:
            assert server.reached.wait(20)
            server.stop()
            if following is None:
                server = FeedServer(market, speed=0, port=port)
            else:
                server = CutOff(market, following, port=port)
        result = system.wait(30)
    finally:
        server.stop()
    assert live.seen == back.seen
    assert result.fingerprint == expected.fingerprint
    shown = counts(system)
    assert shown["reconnects"] == len(messages)
    assert [shown["refused"], shown["late"], shown["received"]] == [0, 0, len(back.seen) - derived(back)]


def derived(trader: Trader) -> int:
    return sum(bar[1] != "1m" for bar in trader.seen)


def test_a_server_process_that_is_killed_mid_session(system: nb.SystemManager, tmp_path: Path) -> None:
    """`nbbacktest feed serve` in a process of its own, shot in the middle and started again: the same fingerprint."""
    config = SYNTHETIC | {"backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"}}
    path, token = tmp_path / "session.json", tmp_path / "token"
    path.write_text(json.dumps(config))
    token.write_text("s3cret\n")
    halfway = threading.Event()

    class Watched(Trader):
        def on_bar(self, bar: nb.Bar) -> None:
            super().on_bar(bar)
            if len(self.seen) == 300:
                halfway.set()

    expected = nb.backtest(None, Watched, config=config)
    halfway.clear()
    with served(path, "--port", "0", "--speed", "20000", "--token-file", str(token)) as (first, url):
        system.start(
            live_of(config, feed="websocket", url=url, token_file=str(token), reconnect_seconds=SWIFT),
            strategies=Watched,
        )
        assert halfway.wait(30)
        os.kill(first.pid, signal.SIGKILL)
    port = url.rpartition(":")[2]
    with served(path, "--port", port, "--speed", "0", "--token-file", str(token)):
        result = system.wait(30)
    assert result.fingerprint == expected.fingerprint
    assert counts(system)["reconnects"] == 1


@contextmanager
def served(config: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, when it listens."""
    command = [sys.executable, "-m", "nbbacktest", "feed", "serve", str(config), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serving" in line
        yield process, line.split(" at ")[1].partition(",")[0]
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_two_runs_at_one_server_and_one_that_comes_late(system: nb.SystemManager) -> None:
    """Clients don't disturb each other, and each gets the session from its beginning, with the symbols that it asked for."""
    market = load(SessionConfig.load(SYNTHETIC))
    alone = SYNTHETIC | {"data": SYNTHETIC["data"] | {"symbols": ["B"]}}
    expected = nb.backtest({"B": frame_of(market, "B")}, Trader, config=alone)
    other = nb.SystemManager()
    with FeedServer(market, speed=0) as server:
        system.start(live_of(SYNTHETIC), feed=feed_of(server), strategies=Trader)
        other.start(live_of(alone), feed=feed_of(server), strategies=Trader)
        both = system.wait(30), other.wait(30)
        other.start(live_of(alone), feed=feed_of(server), strategies=Trader)
        again = other.wait(30)
    assert both[1].fingerprint == again.fingerprint == expected.fingerprint
    assert both[0].fingerprint == nb.backtest(market, Trader, config=SYNTHETIC).fingerprint


def frame_of(market: Any, symbol: str) -> Any:
    import pandas as pd

    c = market.bars[symbol]
    columns = {name: getattr(c, name) for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=market.stamps.index(c.time))


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "wrong", "open sesame "])
def test_a_wrong_token_is_a_clear_error_at_once(system: nb.SystemManager, token: str | None) -> None:
    """The run fails without a second try; the message says what to do, and shows no token."""
    with serve(SYNTHETIC, speed=0, token="open sesame x") as server:
        system.start(live_of(SYNTHETIC), feed=feed_of(server, token), strategies=Trader)
        with pytest.raises(FeedError, match=r"HTTP 401: (no token was sent|the token was refused); give the server's"):
            system.wait(10)
    text = system.to_json()
    assert "open sesame" not in text
    assert counts(system)["state"] == "failed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ["A", "Z"]}, "there is no symbol 'Z' here"),
        ({"interval": "5m", "derived_intervals": []}, "bars here are 1m, and '5m' was asked for"),
    ],
)
def test_what_a_server_doesnt_have_ends_the_run(
    system: nb.SystemManager, changes: dict[str, Any], message: str
) -> None:
    """Symbols and intervals that aren't there are an error with the server's own words, not an endless wait."""
    wanted = SYNTHETIC | {"data": SYNTHETIC["data"] | changes}
    with serve(SYNTHETIC, speed=0) as server:
        system.start(live_of(wanted), feed=feed_of(server), strategies=Trader)
        with pytest.raises(FeedError, match=message):
            system.wait(10)


Script = Callable[[ServerConnection, int], None]


@contextmanager
def scripted(script: Script) -> Iterator[str]:
    """A server that does what a test says; `script` is given the connection and its number."""
    number = iter(range(1000))

    def converse(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            json.loads(connection.recv(10))
            script(connection, next(number))

    server = listen(converse, "127.0.0.1", 0, compression=None, close_timeout=0.2)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(10)


WELCOME = json.dumps({"type": "welcome", "version": 1})
BAR = {"type": "bar", **fields("A", 0)}
ONE = {"mode": "live", "data": {"symbols": ["A"]}}
JUNK = [
    "no json", "[1, 2]", "null", "{}", '{"type": 7}', '{"type": "dance"}', "[" * 100_000, "9" * 10_000,
    json.dumps(BAR | {"open": "100"}), json.dumps(BAR | {"close": float("nan")}), json.dumps(BAR | {"symbol": "Z"}),
    json.dumps(BAR | {"time": "2999-01-01T00:00:00+00:00"}), json.dumps(BAR | {"time": "2124-10-03T13:30:00+00:00"}),
    json.dumps(BAR | {"time": "2024-10-03T13:30:00.5+00:00"}), json.dumps(BAR | {"now": "yesterday"}),
    json.dumps(BAR | {"now": json.loads("[" * 400 + "]" * 400)}), json.dumps(BAR | {"close": 10**4000}),
    '{"type": "heartbeat", "time": 7}', '{"type": "heartbeat", "time": "2124-10-03T13:30:00+00:00"}', b"\x00\xff\xfe",
]  # fmt: skip


def test_junk_is_counted_and_harms_nothing(system: nb.SystemManager) -> None:
    """Whatever a server sends that is no valid bar, stamps in the future included, is refused and counted; the rest is run."""

    def script(connection: ServerConnection, number: int) -> None:
        connection.send(WELCOME)
        for junk in JUNK:
            connection.send(junk)
        connection.send(json.dumps(BAR))
        connection.send('{"type": "end"}')
        connection.recv(5)

    with scripted(script) as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        result = system.wait(20)
    assert result.stats["bars"] == 1
    shown = counts(system)
    assert (shown["refused"], shown["received"], shown["reconnects"]) == (len(JUNK), 1, 0)


@pytest.mark.parametrize(
    "speed", ["1e12", "1e300", "-1", "NaN", "Infinity", "1" + "0" * 400, "true", '"60"', "[60]", '"\\u001b[31m"']
)
def test_a_speed_that_cant_be_is_refused_and_harms_nothing(system: nb.SystemManager, speed: str) -> None:
    """It is counted and told in harmless words; status, stop and the run's end are as without it."""
    reached = threading.Event()

    def script(connection: ServerConnection, number: int) -> None:
        connection.send(f'{{"type": "welcome", "version": 1, "speed": {speed}, "now": "2024-10-03T20:00:00+00:00"}}')
        for minute in range(3):
            connection.send(json.dumps({"type": "bar", **fields("A", minute)}))
        reached.wait(10)
        connection.send('{"type": "end"}')
        connection.recv(5)

    with scripted(script) as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        deadline = time.monotonic() + 10
        while counts(system)["received"] < 3 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        reached.set()
        assert system.wait(20).stats["bars"] == 3
    shown = counts(system)
    assert shown["refused"] == 1
    assert "of the server can't be: it is a number from 0 to 1,000,000,000" in shown["last_refusal"]
    assert "\x1b" not in shown["last_refusal"]


def test_a_replays_clock_runs_on_for_a_year_at_most() -> None:
    """However fast a server says that it is, and however long it is silent: the time can be shown."""
    feed = feed_of("ws://127.0.0.1:1")
    feed._shown_time("2024-10-03T20:00:00+00:00", 1e9)
    assert feed._clock is not None
    said, at, speed = feed._clock
    feed._clock = said, at - 1e9, speed
    assert feed.now() - said == 365 * 86_400 * 10**9


def test_a_message_of_10_megabytes_costs_a_reconnect(system: nb.SystemManager) -> None:
    """Too large a message is never held in memory: the connection is dropped, that is counted, and the run goes on."""

    def script(connection: ServerConnection, number: int) -> None:
        connection.send(WELCOME)
        if number == 0:
            connection.send(json.dumps(BAR))
            connection.send("x" * 10_000_000)
            connection.recv(5)
        connection.send(json.dumps({"type": "bar", **fields("A", 1)}))
        connection.send('{"type": "end"}')
        connection.recv(5)

    with scripted(script) as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        assert system.wait(20).stats["bars"] == 2
    shown = counts(system)
    assert (shown["refused"], shown["reconnects"]) == (1, 1)


def test_another_version_is_refused(system: nb.SystemManager) -> None:
    """A server that speaks otherwise is named, with both versions."""

    def script(connection: ServerConnection, number: int) -> None:
        connection.send('{"type": "welcome", "version": 2}')
        connection.recv(5)

    with scripted(script) as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        with pytest.raises(FeedError, match="speaks version 2"):
            system.wait(10)


def test_what_is_no_web_socket_is_refused(system: nb.SystemManager) -> None:
    """A web page's 404 ends the run with the cure."""
    with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        with pytest.raises(FeedError, match="HTTP 404: it is no feed; correct live.url"):
            system.wait(10)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that answers every request with the same bytes, or with none at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def work() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    kept.append(connection)
                    if answer:
                        connection.recv(10_000)
                        connection.sendall(answer)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in kept:
                connection.close()


# -- stop ---------------------------------------------------------------------------------------------------


def stopped_quickly(system: nb.SystemManager) -> None:
    began = time.monotonic()
    assert system.stop()
    assert time.monotonic() - began < 1.0
    assert system.is_stopped()


def state_becomes(system: nb.SystemManager, state: str) -> None:
    deadline = time.monotonic() + 10
    while counts(system)["state"] != state and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert counts(system)["state"] == state


def test_stop_while_nobody_answers(system: nb.SystemManager) -> None:
    """Between two attempts, in a wait of half a minute, stop() ends at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    feed = nb.WebSocketFeed(f"ws://127.0.0.1:{port}", reconnect_seconds=(30, 30))
    system.start(ONE, feed=feed, strategies=nb.Strategy)
    state_becomes(system, "reconnecting")
    stopped_quickly(system)


def test_stop_while_the_other_side_is_mute(system: nb.SystemManager) -> None:
    """A server that takes the connection and says nothing holds nobody up."""
    with answering(b"") as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        state_becomes(system, "reconnecting")
        stopped_quickly(system)


def test_stop_while_the_feed_is_silent(system: nb.SystemManager) -> None:
    """Connected, with nothing to come."""

    def script(connection: ServerConnection, number: int) -> None:
        connection.send(WELCOME)
        connection.recv(30)

    with scripted(script) as url:
        system.start(ONE, feed=feed_of(url), strategies=nb.Strategy)
        state_becomes(system, "connected")
        stopped_quickly(system)


def test_stop_in_the_middle_of_a_stream(system: nb.SystemManager) -> None:
    """While bars pour in, stop() ends the run and the thread that receives."""
    came = threading.Event()

    class Some(nb.Strategy):
        def on_bar(self, bar: nb.Bar) -> None:
            came.set()

    with serve(SYNTHETIC, speed=0) as server:
        feed = feed_of(server)
        system.start(live_of(SYNTHETIC), feed=feed, strategies=Some)
        assert came.wait(20)
        stopped_quickly(system)
        feed._thread.join(2)
        assert not feed._thread.is_alive()


def test_a_dead_feed_shows_and_the_run_waits_for_it(system: nb.SystemManager) -> None:
    """The server goes for good: reconnecting is shown, with the bars so far, and stop() gives what was run."""
    market = load(SessionConfig.load(SYNTHETIC))
    came = threading.Event()

    class Watched(nb.Strategy):
        def on_bar(self, bar: nb.Bar) -> None:
            if bar.interval == "1m" and len(self.bars("C")) == 100:
                came.set()

    server = CutOff(market, 401)
    system.start(live_of(SYNTHETIC), feed=feed_of(server), strategies=Watched)
    assert server.reached.wait(20)
    assert came.wait(20)
    server.stop()
    state_becomes(system, "reconnecting")
    assert system.is_running()
    stopped_quickly(system)
    assert system.wait(5).stats["bars"] == 300
