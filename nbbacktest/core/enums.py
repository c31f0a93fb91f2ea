"""The words that every floor shares. Each is a string, so it reads well in JSON and in a repr."""

from __future__ import annotations

from enum import StrEnum


class SystemState(StrEnum):
    """What a run is doing, as its user sees it. A failed run is `STOPPED` with an error set."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"


class StreamMode(StrEnum):
    """How one engine stage waits for another."""

    DATA_DRIVEN = "data-driven"
    CLOCK_DRIVEN = "clock-driven"
    LIVE = "live"


class Side(StrEnum):
    """The direction of an order or a fill."""

    BUY = "buy"
    SELL = "sell"


class Phase(StrEnum):
    """Which part of its bar a fill happened in: all of the bar comes after its open, nothing after its close."""

    OPEN = "open"
    INSIDE = "inside"
    CLOSE = "close"


class OrderType(StrEnum):
    """How an order becomes a fill; `DELISTING` is nobody's order: what closed a position in a symbol that was delisted."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"
    MARKET_IF_TOUCHED = "market_if_touched"
    LIMIT_IF_TOUCHED = "limit_if_touched"
    MARKET_ON_OPEN = "market_on_open"
    MARKET_ON_CLOSE = "market_on_close"
    DELISTING = "delisting"


class OrderStatus(StrEnum):
    """Where an order is in its life; `FILLED`, `CANCELLED`, `REJECTED` and `EXPIRED` are final.

    `HELD` is a bracket's exit whose entry hasn't filled yet. An order that has filled in part is `OPEN`.
    """

    HELD = "held"
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class OrderEventKind(StrEnum):
    """What can happen to an order."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    REPLACED = "replaced"
    TRIGGERED = "triggered"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class TimeInForce(StrEnum):
    """How long an order stays open: until cancelled, the session's end, its next open (in part, or whole), a time."""

    GTC = "gtc"
    DAY = "day"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"
