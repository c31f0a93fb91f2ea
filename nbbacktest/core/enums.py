"""The words that every floor shares. Each is a string, so it reads well in JSON and in a repr."""

from __future__ import annotations

from enum import StrEnum


class SystemState(StrEnum):
    """The state of a run, as its user sees it. A failed run is `STOPPED` with an error set."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"


class StreamMode(StrEnum):
    """The way in which one engine stage waits for another."""

    DATA_DRIVEN = "data-driven"
    CLOCK_DRIVEN = "clock-driven"
    LIVE = "live"


class Side(StrEnum):
    """The direction of an order or a fill."""

    BUY = "buy"
    SELL = "sell"


class Phase(StrEnum):
    """The part of its bar that a fill happened in: all of the bar comes after its open, nothing after its close."""

    OPEN = "open"
    INSIDE = "inside"
    CLOSE = "close"


class OrderType(StrEnum):
    """The type of an order; `DELISTING` closes a position in a delisted symbol, and no strategy places it."""

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
    """The state of an order; `FILLED`, `CANCELLED`, `REJECTED` and `EXPIRED` are final.

    `HELD` is a bracket's exit whose entry hasn't filled yet. An order that has filled in part is `OPEN`.
    """

    HELD = "held"
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class InputKind(StrEnum):
    """The kind of an input: an act of a user, by hand, that can change the result of a run."""

    BUY = "buy"
    SELL = "sell"
    CLOSE = "close"
    CANCEL = "cancel"
    REPLACE = "replace"
    CHANGE = "change"
    COSTS = "costs"
    ADD = "add_symbol"
    REMOVE = "remove_symbol"


class OrderEventKind(StrEnum):
    """The events of an order's life."""

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
    """The time for which an order stays open: until cancelled, the session's end, its next open (in part, or whole), a time."""

    GTC = "gtc"
    DAY = "day"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"
