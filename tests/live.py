"""Bars pushed into live runs, and the backtests that these must equal."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.records import Stamps
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.live_market import BarReader, IncomingBar, written
from nbbacktest.data.market import MarketData

OPENING = 1_727_962_200 * 10**9
"""2024-10-03 09:30 in New York."""
STAMPS = Stamps("America/New_York")


def reader(*symbols: str, interval: str = "1m", derived: bool = True, exchange: str = "XNYS") -> BarReader:
    """What checks bars of these symbols."""
    sessions = RollingSessions(exchange)
    return BarReader(symbols or ("A",), Interval.parse(interval), STAMPS, sessions, derived=derived)


def incoming(symbol: str, minute: int, close: float = 100.0) -> IncomingBar:
    """A checked bar of that minute after the opening."""
    time = OPENING + minute * MINUTE
    return IncomingBar(symbol, time, time + MINUTE, close, close, close, close, 1.0)


def fields(symbol: str, minute: int, close: float = 100.0, /, **changes: Any) -> dict[str, Any]:
    """The same as a user writes it; a change to None leaves a field out."""
    made = {
        "symbol": symbol, "time": written(OPENING + minute * MINUTE), "open": close, "high": close, "low": close,
        "close": close, "volume": 1.0,
    } | changes  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def bars_of(market: MarketData) -> list[dict[str, Any]]:
    """All traded bars of a market as they are pushed: by their ends, then in symbol order."""
    rows = [
        (int(c.end[row]), place, c, row)
        for place, c in enumerate(market.bars.values())
        for row in range(len(c))
        if c.end[row] > market.start
    ]
    daily = market.interval.is_daily
    return [
        {
            "symbol": c.symbol,
            "time": market.stamps.stamp(int(c.time[row])).date() if daily else written(int(c.time[row])),
            **{name: float(getattr(c, name)[row]) for name in ("open", "high", "low", "close", "volume")},
        }
        for _, _, c, row in sorted(rows, key=lambda one: one[:2])
    ]


def live_of(config: dict[str, Any] | SessionConfig, **live: Any) -> SessionConfig:
    """The same session, live; waiting for other symbols as long as it takes."""
    return SessionConfig.load(config).overlaid({"mode": "live", "live": {"grace_seconds": 1e6, **live}})


def run_live(
    config: SessionConfig, push: Callable[[nb.PushFeed], object], strategies: Any = None, **parts: Any
) -> nb.Result:
    """Start a live run, let `push` feed it from this thread, close the feed and wait."""
    feed, system = parts.pop("feed", None) or nb.PushFeed(), nb.SystemManager()
    system.start(config, feed=feed, strategies=strategies, **parts)
    try:
        push(feed)
        feed.close()
        return system.wait(30)
    finally:
        system.stop()


def push_all(feed: nb.PushFeed, bars: Iterable[dict[str, Any]]) -> None:
    """Push bars one after the other."""
    for bar in bars:
        feed.push(bar)


class Trader(nb.Strategy):
    """Trades a lot, on base and coarser bars, by indicators that are computed and ones that are fed, with orders that expire."""

    def on_start(self) -> None:
        import talib

        self.fast = {s: self.indicator(talib.SMA, "close", 3, symbol=s) for s in self.symbols}
        self.slow = {s: self.indicator(talib.stream.SMA, "close", 8, symbol=s) for s in self.symbols}
        self.seen: list[tuple[Any, ...]] = []

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen.append(structs.astuple(bar)[:9])
        symbol = bar.symbol
        if bar.interval != self.base_interval:
            if len(self.orders(symbol)) < 3:
                self.buy(symbol, 1, limit=bar.low)
                self.sell(symbol, 2, stop=bar.low - 0.05, tif="day")
        elif self.fast[symbol][-1] > self.slow[symbol][-1]:
            if self.position(symbol).size <= 0:
                self.buy(symbol, 10, stop_loss=bar.close - 0.3, take_profit=bar.close + 0.2)
        elif self.position(symbol).size > 0:
            self.close(symbol)


def deaf_client(port: int, symbol: str = "A", interval: str = "1m") -> socket.socket:
    """A client of a feed server that says hello, and reads nothing of what it is sent then."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET / HTTP/1.1\r\nHost: feed\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
    )
    assert b"101" in client.recv(4096)
    hello = {"type": "hello", "version": 1, "symbols": [symbol], "interval": interval, "since": None}
    said = json.dumps(hello).encode()
    assert len(said) < 126  # a longer frame has another head
    client.sendall(bytes([0x81, 0x80 | len(said)]) + bytes(4) + said)  # masked with zeros
    assert client.recv(1, socket.MSG_PEEK)
    return client
