"""The JSON status and snapshots in a few lines of text, for a terminal or a message."""

from __future__ import annotations

import math
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import brief, change, money, number, speed
from nbbacktest.core.records import Bar
from nbbacktest.trading.snapshot import OrderRow, PositionRow, Snapshot


def summary(status: dict[str, Any]) -> list[str]:
    """What is worth saying of a status besides its state; nothing of a system that never ran."""
    session, account, error = status["session"], status["portfolio"], status["error"]
    if not session["name"]:
        return []
    rows = [
        ("Session", f"{session['name']} ({session['source']})"),
        ("Sim time", shown_time(session["sim_time"])),
        ("Progress", f"{session['progress']:.1%}, {status['performance_metrics']['bars_processed']:,} bars"),
        ("Speed", shown_speed(session)),
        ("Equity", f"{money(account['equity'], '-')}, cash {money(account['cash'], '-')}"),
        ("Positions", ", ".join(f"{symbol} {size:+,g}" for symbol, size in account["positions"].items()) or "none"),
    ]
    if error is not None:
        rows.append(("Error", error["message"]))
    system = status["system_manager"]
    if system["_state"] == SystemState.STOPPED and system.get(
        "next_start"
    ):  # another process may be of an older version
        rows.append(("Next start", system["next_start"]))
    return [f"{label}: {value}" for label, value in rows]


def shown_time(moment: str | None) -> str:
    """A status's time as people read it: ISO 8601 without the T."""
    return moment.replace("T", " ") if moment else "before the first bar"


def shown_speed(session: dict[str, Any], state: str = SystemState.RUNNING.value) -> str:
    """The speed that was asked for, and the one that is achieved."""
    asked, achieved = session["speed_multiplier"], session["achieved_speed"]
    wish = speed(asked) if asked else "as fast as it goes"
    return f"{wish}, achieved {speed(achieved)}" if achieved and state != SystemState.STOPPED.value else wish


SHOWN = 10
"""How many bars, positions, orders and indicators of a snapshot are shown in text."""


def snapshot_summary(shot: Snapshot) -> list[str]:
    """A snapshot in a few lines: its bars, the account, positions, open orders, indicators."""
    place = f"{shot.cursor:,} of {shot.total:,} instants"
    positions, orders = list(map(_position_words, shot.positions)), list(map(_order_words, shot.orders))
    readings = [f"{name} = {_reading(value)}" for name, value in shot.indicators.items()]
    return [
        f"{'Before the first bar' if shot.time is None else f'At {shot.time}'}: {place}",
        *_listed("Bars", [_bar_words(bar) for bar in (*shot.bars.values(), *shot.derived.values())]),
        f"Equity: {money(shot.equity)}, cash {money(shot.cash)}, {shot.n_fills:,} {'fill' if shot.n_fills == 1 else 'fills'}",
        *_listed("Positions", positions),
        *_listed("Orders", orders),
        *(_listed("Indicators", readings) if readings else []),
    ]


def snapshot_data(shot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON can hold it: times in ISO 8601, null for what isn't defined."""
    bars = [
        {
            "symbol": bar.symbol, "interval": bar.interval, "time": bar.time.isoformat(), "open": bar.open,
            "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume,
        }
        for bar in (*shot.bars.values(), *shot.derived.values())
    ]  # fmt: skip
    orders = [
        {
            "id": row.id, "strategy": row.strategy, "symbol": row.symbol, "side": str(row.side), "size": row.size,
            "type": str(row.type), "limit": row.limit, "stop": row.stop, "filled": row.filled, "tag": row.tag,
        }
        for row in shot.orders
    ]  # fmt: skip
    found = {
        "cursor": shot.cursor,
        "total": shot.total,
        "time": None if shot.time is None else shot.time.isoformat(),
        "cash": shot.cash,
        "equity": shot.equity,
        "fills": shot.n_fills,
        "bars": bars,
        "positions": [row._asdict() for row in shot.positions],
        "orders": orders,
        "indicators": shot.indicators,
    }
    return {name: _plain(value) for name, value in found.items()}


def _listed(heading: str, lines: list[str]) -> list[str]:
    """Lines under a heading, the first ones alone where there are many."""
    if not lines:
        return [f"{heading}: none"]
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [f"{heading}:", *(f"  {line}" for line in lines[:SHOWN]), *more]


def _bar_words(bar: Bar) -> str:
    prices = ", ".join(f"{name} {number(getattr(bar, name))}" for name in ("open", "high", "low", "close", "volume"))
    return f"{bar.symbol} {bar.interval} from {bar.time}: {prices}"


def _position_words(row: PositionRow) -> str:
    held = f"{row.symbol} {brief(row.size)} at {number(row.average_price)}"
    return f"{held}, last {number(row.last)}, unrealized {change(row.unrealized_pnl)} ({row.strategy})"


def _order_words(row: OrderRow) -> str:
    size = "all" if row.size is None else brief(row.size)
    levels = "".join(
        f", {name} {number(level)}" for name, level in (("limit", row.limit), ("stop", row.stop)) if level is not None
    )
    part = f", {brief(row.filled)} filled" if row.filled else ""
    kind = str(row.type).replace("_", " ")
    return f"order {row.id}: {row.side} {size} {row.symbol} {kind}{levels}{part} ({row.strategy})"


def _reading(value: Any) -> str:
    return f"({', '.join(map(number, value))})" if isinstance(value, tuple) else number(value)


def _plain(value: Any) -> Any:
    """`value` as JSON knows it: what isn't finite is null."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
