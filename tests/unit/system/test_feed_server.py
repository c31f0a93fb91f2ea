"""The replay server: what it sends and when, and whom it lets in."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

import nbbacktest as nb
from nbbacktest.core.clock import ManualClock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, FeedError
from nbbacktest.data.live_market import read_instant
from nbbacktest.data.sources import load
from nbbacktest.system.feeds import server as feeds
from nbbacktest.system.feeds.client import growing_waits
from nbbacktest.system.feeds.server import ALIVE_SECONDS, FeedServer, Replay, ReplayClock, serve
from nbbacktest.system.live_builder import read_token, token_of
from tests.control_servers import until
from tests.live import deaf_client
from tests.markets import minutes

CONFIG: dict[str, Any] = {
    "exchange": "XNYS",
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"},
    "data": {"source": "synthetic", "symbols": ["A", "B"], "interval": "30m", "warmup_days": 1},
}
MARKET = load(SessionConfig.load(CONFIG))
HELLO = {"type": "hello", "version": 1, "symbols": ["A", "B"], "interval": "30m", "since": None}


def conversation(server: FeedServer, hello: Any = HELLO, **options: Any) -> list[dict[str, Any]]:
    """All that a client is sent who says this."""
    with connect(server.url, compression=None, **options) as connection:
        connection.send(hello if isinstance(hello, str) else json.dumps(hello))
        said = []
        with suppress(ConnectionClosedError):  # raised after the last message where the server refused
            said.extend(json.loads(message) for message in connection)
        return said


@pytest.fixture(scope="module")
def server() -> Iterator[FeedServer]:
    """One that is as fast as its clients."""
    with FeedServer(MARKET, speed=0) as made:
        yield made


def test_a_session_is_sent_instant_by_instant(server: FeedServer) -> None:
    """Welcome; for each instant its bars in symbol order and a heartbeat; then the end. Warm-up isn't sent."""
    welcome, *rest, end = conversation(server)
    assert (welcome["type"], welcome["speed"], welcome["synthetic"], end) == ("welcome", 0.0, True, {"type": "end"})
    instants = Replay(MARKET).instants
    assert len(rest) == 3 * len(instants) == 3 * 26
    for at, (first, second, heartbeat) in enumerate(zip(*[iter(rest)] * 3, strict=True)):
        assert [first["symbol"], second["symbol"], heartbeat["type"]] == ["A", "B", "heartbeat"]
        assert read_instant(heartbeat["time"], "time") == instants[at] == read_instant(first["now"], "now")
    assert rest[0]["time"] == "2024-10-03T13:30:00+00:00"
    c = MARKET.bars["B"]
    row = int((c.end <= MARKET.start).sum())
    names = ("open", "high", "low", "close", "volume")
    assert [rest[1][name] for name in names] == [float(getattr(c, name)[row]) for name in names]


def test_only_what_was_missed_is_sent(server: FeedServer) -> None:
    """With `since`, what ends up to it isn't sent again; only the symbols that were asked for are."""
    since = conversation(server)[9]["time"]
    _, *rest, _ = conversation(server, HELLO | {"since": since, "symbols": ["B"]})
    assert {bar["symbol"] for bar in rest if bar["type"] == "bar"} == {"B"}
    assert all(read_instant(one["now"], "now") > read_instant(since, "since") for one in rest)
    assert [one["type"] for one in conversation(server, HELLO | {"since": "2030-01-01T00:00:00+00:00"})] == [
        "welcome", "end",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ("no json", "say hello first"),
        ("[" * 10_000, "say hello first"),
        ([1], "say hello first"),
        (HELLO | {"version": 2}, "say hello first"),
        (HELLO | {"symbols": []}, "names no symbols; here are A, B"),
        (HELLO | {"symbols": "A"}, "names no symbols"),
        (HELLO | {"symbols": ["A", "Bb"]}, "no symbol 'Bb' here"),
        (HELLO | {"symbols": [["A"]]}, "no symbol"),
        (HELLO | {"interval": "1m"}, "bars here are 30m, and '1m' was asked for"),
        (HELLO | {"since": 7}, "is no time"),
    ],
)
def test_wrong_wishes_are_answered_with_an_error(server: FeedServer, hello: Any, message: str) -> None:
    """The answer says what is wrong, and the server goes on for the others."""
    (answer,) = conversation(server, hello)
    assert answer["type"] == "error"
    assert message in answer["message"]


def test_a_token_is_asked_of_everybody() -> None:
    """Without it, or with another one, HTTP 401; with it, the session."""
    with FeedServer(MARKET, speed=0, token="t0ken") as made:
        for headers in (None, {"Authorization": "t0ken"}, {"Authorization": "Bearer T0ken"}):
            with pytest.raises(InvalidStatus) as refused:
                conversation(made, additional_headers=headers)
            assert refused.value.response.status_code == 401
        assert conversation(made, additional_headers={"Authorization": "Bearer t0ken"})[-1] == {"type": "end"}


def test_web_pages_are_kept_out(server: FeedServer) -> None:
    """A browser says where its page comes from, and none may read a local feed."""
    with pytest.raises(InvalidStatus) as refused:
        conversation(server, origin="https://example.com")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "others could reach that, and there is no token"),
        ({"host": "example.com"}, "others could reach that"),
        ({"speed": -1}, "speed = -1"),
        ({"speed": float("nan")}, "speed = nan"),
        ({"port": 70_000}, "is no port"),
        ({"port": True}, "is no port"),
        ({"token": " "}, r"token = \(not shown\): is empty"),
        ({"token": "first\nsecond"}, r"token = \(not shown\): has more than one line"),
        ({"speed": 1e12}, "speed = 1000000000000.0"),
        ({"speed": 10**400}, "speed = 1000"),
    ],
)
def test_what_cant_be_served_is_refused(options: dict[str, Any], message: str) -> None:
    """Each mistake is a ConfigError, before anybody listens."""
    with pytest.raises(ConfigError, match=message):
        FeedServer(MARKET, **options)


def test_a_port_that_is_taken_is_said_so(server: FeedServer) -> None:
    """The error names host and port."""
    with pytest.raises(FeedError, match=f"127.0.0.1 port {server.port} can't be listened on"):
        FeedServer(MARKET, port=server.port)


def test_a_config_without_bars_is_refused() -> None:
    """A replay of nothing is a mistake of the config."""
    with pytest.raises(DataError, match="no session"):
        serve(CONFIG | {"backtest": {"start_date": "2024-10-05", "end_date": "2024-10-06"}})


def test_bars_have_their_time() -> None:
    """Deadlines follow open market time at the speed; nights cost nothing; the first wish starts the clock."""
    replay, clock = Replay(MARKET), ManualClock(100.0)
    time = ReplayClock(replay, 1800.0, clock)
    time.begin(11)
    time.begin(17)
    assert [time.deadline(n) - 100.0 for n in range(11, 16)] == pytest.approx([0, 1, 2, 3, 4])
    assert time.now(11) == replay.instants[11]
    clock.advance(0.75)
    assert time.now(12) == replay.instants[12] - 450 * 10**9


def test_a_server_that_waits_says_that_it_lives() -> None:
    """Between two instants far apart there are heartbeats, none of which comes up to the next instant."""
    clock = ManualClock()
    with FeedServer(MARKET, speed=60.0, clock=clock) as made:
        messages = made._messages(("A", "B"), None)
        assert json.loads(next(messages))["now"] == "2024-10-03T14:00:00+00:00"
        first = [json.loads(one) for one in islice(messages, 3)]
        assert [one["type"] for one in first] == ["bar", "bar", "heartbeat"]
        clock.advance(ALIVE_SECONDS)
        alive = json.loads(next(messages))
        assert (alive["type"], alive["time"]) == ("heartbeat", "2024-10-03T14:05:00+00:00")


LONG = load(SessionConfig.load({"exchange": "24/7", "data": {"interval": "1m"}}), {"A": minutes(60_000)})
"""More bytes of messages than systems keep for a client."""


def test_a_client_that_reads_nothing_doesnt_keep_the_server() -> None:
    """`stop` returns, and others are served meanwhile."""
    server = FeedServer(LONG, speed=0)
    client = deaf_client(server.port)
    try:
        assert next(iter(conversation(server, {"type": "none"})))["type"] == "error"
        stopping = threading.Thread(target=server.stop, daemon=True)
        stopping.start()
        stopping.join(20)
        assert not stopping.is_alive()
    finally:
        client.close()
        server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="the bound is an option of POSIX sockets")
def test_a_client_that_reads_nothing_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while without taking anything; its thread is free again."""
    monkeypatch.setattr(feeds, "STALLED_SECONDS", 1)
    caplog.set_level("INFO", "nbbacktest")
    with FeedServer(LONG, speed=0) as server, deaf_client(server.port):
        until(lambda: "took nothing for 1 s" in caplog.text)


def test_waits_grow_up_to_the_longest() -> None:
    """Each wait is twice the last one, until there is no more to wait."""
    assert list(islice(growing_waits(0.5, 3.0), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert list(islice(growing_waits(2.0, 2.0), 2)) == [2.0, 2.0]


@pytest.mark.parametrize("url", ["", "http://x", "ws://", "ws://me@host", "ws://x:y", "127.0.0.1:8765"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """An address that can't be connected to, or holds a secret, is refused when the feed is made."""
    with pytest.raises(ConfigError, match="url"):
        nb.WebSocketFeed(url)


def test_a_feed_shows_no_token() -> None:
    """Neither its text nor its source has it."""
    feed = nb.WebSocketFeed("ws://127.0.0.1:1", token="s3cret")
    assert "s3cret" not in repr(feed) + feed.source


SECRET = "s3cret"
SHAPES = {
    "a line end": (f"{SECRET}\r\n", None),
    "a byte order mark": (f"\ufeff{SECRET}\n", None),
    "blanks": (f"  {SECRET}\t", None),
    "a second line": (f"{SECRET}\nX-Other: {SECRET}", "more than one line"),
    "a line separator": (f"{SECRET}\u2028{SECRET}", "more than one line"),
    "a control character": (f"{SECRET}\x1b[31m", "header can't carry"),
    "another alphabet": (f"{SECRET}ä", "header can't carry"),
    "nothing": (" \n", "empty"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_of_any_shape_works_or_is_refused_unseen(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, a variable, and in Python: the same token, or an error that doesn't show it."""
    text, refusal = SHAPES[shape]
    file = tmp_path / "token.txt"
    file.write_bytes(text.encode())
    monkeypatch.setenv("A_TOKEN", text)
    live = {"mode": "live", "live": {"feed": "websocket", "url": "ws://127.0.0.1:1"}}

    def named(**key: str) -> str | None:
        return token_of(SessionConfig.load(live | {"live": live["live"] | key}))

    def served() -> str | None:
        with FeedServer(MARKET, token=text) as server:
            return server._token

    readers = [
        lambda: read_token(file, "--token-file"),
        lambda: named(token_file=str(file)),
        lambda: named(token_env="A_TOKEN"),
        lambda: nb.WebSocketFeed("ws://127.0.0.1:1", token=text)._token,
        served,
    ]
    for read in readers:
        if refusal is None:
            assert read() == SECRET
        else:
            with pytest.raises(ConfigError, match=refusal) as caught:
                read()
            assert SECRET not in str(caught.value)


def test_no_log_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Also where everything is logged, what websockets says of its headers included."""
    caplog.set_level("DEBUG")
    with FeedServer(MARKET, token=SECRET) as server:
        feed = nb.WebSocketFeed(server.url, token=SECRET)
        system = nb.SystemManager()
        live = {"mode": "live", "exchange": "24/7", "data": {"symbols": ["A", "B"], "interval": "1m"}}
        system.start(live, feed=feed, strategies=nb.Strategy)
        until(lambda: "connection open" in caplog.text)
        system.stop()
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02", b"\xff" * 300 + b"\r\n\r\n"]
)
def test_what_is_no_client_leaves_no_traceback(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A request for a web page, or noise: no warning, no traceback, and the next client is served."""
    with FeedServer(MARKET) as server:
        with socket.create_connection(("127.0.0.1", server.port), 5) as stranger:
            stranger.sendall(sent)
            stranger.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while stranger.recv(4096):
                    pass
        assert next(iter(conversation(server, {"type": "none"})))["type"] == "error"
    assert not [record for record in caplog.records if record.exc_info or record.levelname in ("WARNING", "ERROR")]


def test_a_token_of_any_bytes_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no ASCII are a wrong token like any other: 401, and no traceback."""
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer \xff\xe9\r\n\r\n"
    )
    with (
        FeedServer(MARKET, token=SECRET) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as stranger,
    ):
        stranger.sendall(request)
        assert stranger.recv(4096).startswith(b"HTTP/1.1 401")
    assert not [record for record in caplog.records if record.exc_info]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing websockets is one line with what to install, for feed and server."""
    monkeypatch.setitem(__import__("sys").modules, "websockets", None)
    for make in (lambda: nb.WebSocketFeed("ws://127.0.0.1:1"), lambda: FeedServer(MARKET)):
        with pytest.raises(ImportError, match=r'pip install "nbbacktest\[live\]"'):
            make()
