"""The JSON status: one versioned mapping, its schema, and its text; snapshots as text. Seconds are floats, times ISO 8601."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from nbbacktest.core.config import config_schema
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import nearest
from nbbacktest.core.formats import brief, change, money, number, speed
from nbbacktest.core.records import Stamps
from nbbacktest.engine.metrics import TimingSeries
from nbbacktest.system.run import Run
from nbbacktest.trading.snapshot import PositionRow, Snapshot

VERSION = "1.0"

_NO_TIMING = TimingSeries().summary()
_NO_STREAM = {
    "mode": "data-driven", "signals": 0, "waits": 0, "cycles": 0, "wait_seconds": 0.0, "overruns": 0, "ready": False,
}  # fmt: skip


def status(state: SystemState, run: Run | None, next_start: str | None = None) -> dict[str, Any]:
    """Describe a system: the present run, or the last one, or none; all of it as of one instant.

    `next_start` tells which run a start without arguments would begin.
    """
    shot = run.published() if run else None
    return {
        "system_manager": {
            "_state": state.value,
            "_mode": run.config.mode if run else "backtest",
            "timezone": run.stamps.timezone if run else None,
            "next_start": next_start,
        },
        "performance_metrics": _performance(run, shot),
        "subscriptions": _subscriptions(run),
        "session": _session(run, shot),
        "portfolio": _portfolio(shot),
        "error": _error(run),
        "_metadata": {"generated_at": datetime.now(UTC).isoformat(), "version": VERSION},
    }


def _performance(run: Run | None, shot: Snapshot | None) -> dict[str, Any]:
    if run is None or shot is None:
        timings = dict.fromkeys(
            ("processor_timing", "analysis_timing", "coordinator_timing", "pause_timing", "lateness"), _NO_TIMING
        )
        return {"session_duration": 0.0, "bars_processed": 0, "bars_per_second": 0.0, **timings}
    bars, seconds, stages = sum(shot.counts.values()), run.duration, run.stages
    return {
        "session_duration": seconds,
        "bars_processed": bars,
        "bars_per_second": bars / seconds if seconds > 0 else 0.0,
        "processor_timing": stages.processor.timing.summary(),
        "analysis_timing": stages.analysis.timing.summary(),
        "coordinator_timing": stages.coordinator.timing.summary(),
        "pause_timing": stages.gate.pause_timing.summary(),
        "lateness": stages.analysis.lateness.summary(),
    }


def _subscriptions(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"coordinator->processor": dict(_NO_STREAM), "processor->analysis": dict(_NO_STREAM)}
    return {stream.get_stream_id(): stream.statistics() for stream in run.stages.streams}


def _session(run: Run | None, shot: Snapshot | None) -> dict[str, Any]:
    if run is None or shot is None:
        return {
            "name": "", "source": "", "session_date": None, "sim_time": None, "progress": 0.0, "speed_multiplier": 0.0,
            "achieved_speed": 0.0, "lag_seconds": 0.0, "symbols": {}, "warmup": {}, "disagreements": 0,
            "lag": {"entered": 0, "left": 0, "events": []}, "feed": None, "breakpoints": [],
            "place": {"cursor": 0, "inputs": 0, "horizon": 0, "in_past": False, "travelling": None},
        }  # fmt: skip
    moment, stages = run.moment(shot.cursor), run.stages
    return {
        "name": run.config.session_name,
        "source": run.source,
        "session_date": run.session_date(shot.cursor),
        "sim_time": moment,
        "progress": shot.progress,
        "place": _place(run, shot),
        "speed_multiplier": stages.coordinator.speed,
        "achieved_speed": run.achieved_speed,
        "lag_seconds": stages.analysis.lag if stages.coordinator.speed > 0 or run.is_live else 0.0,
        "symbols": {
            symbol: {
                "bars": count,
                "last_close": shot.bars[symbol].close if symbol in shot.bars else None,
                "lag_seconds": stages.lag.seconds.get(symbol, 0.0),
                "quality": run.quality.get(symbol),
            }
            | _moves(run, symbol)
            for symbol, count in shot.counts.items()
        },
        "lag": _lag(run),
        "feed": _feed(run),
        "warmup": run.world.desk.warmup.table(),
        "disagreements": run.disagreements,
        "breakpoints": [f"{one.number}: {one.terms}" for one in run.held_by],
    }


def _place(run: Run, shot: Snapshot) -> dict[str, Any]:
    """The place of the run in the line that it has come along; `travelling` while it is on its way to another place."""
    horizon, way = max(run.horizon, shot.cursor), run.journey.travelling
    return {
        "cursor": shot.cursor,
        "inputs": run.world.n_inputs,
        "horizon": horizon,
        "in_past": shot.cursor < horizon,
        "travelling": None if way is None else {"at": way[0], "to": way[1]},
    }


def _lag(run: Run) -> dict[str, Any]:
    watch, aware = run.stages.lag, Stamps(run.stamps.timezone)
    return {
        "entered": watch.entered,
        "left": watch.left,
        "events": [
            {
                "symbol": event.symbol,
                "kind": event.kind,
                "time": aware.stamp(event.time).isoformat(),
                "sim_time": None if event.sim_time is None else aware.stamp(event.sim_time).isoformat(),
                "lag_seconds": event.seconds,
            }
            for event in watch.events
        ],
    }


def _feed(run: Run) -> dict[str, Any] | None:
    if run.inbox is None:
        return None
    return {"source": run.source, **run.inbox.status(), "overruns": run.coordinator.overruns}


def _moves(run: Run, symbol: str) -> dict[str, str | None]:
    """The times at which symbols joined or left the run: the last instant before, null before the first one."""
    aware = Stamps(run.stamps.timezone)
    return {
        "joined" if move.joined else "left": None if move.time is None else aware.stamp(move.time).isoformat()
        for move in run.world.universe.moves
        if move.symbol == symbol
    }


def _portfolio(shot: Snapshot | None) -> dict[str, Any]:
    if shot is None:
        return {"cash": 0.0, "equity": 0.0, "positions": {}}
    held: dict[str, float] = {}
    for position in shot.positions:
        held[position.symbol] = held.get(position.symbol, 0.0) + position.size
    return {"cash": _finite(shot.cash), "equity": _finite(shot.equity), "positions": held}


def _error(run: Run | None) -> dict[str, Any] | None:
    error = run.error if run else None
    if error is None:
        return None
    where = {name: getattr(error, name, None) for name in ("strategy", "callback", "symbol", "interval")}
    time = getattr(error, "time", None)
    return {
        "type": type(error).__name__,
        "message": str(error),
        **where,
        "time": None if time is None else str(time),
        "traceback": run.traceback if run else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def status_schema() -> dict[str, Any]:
    """The JSON schema of the status, version 1.0; keys may be added, none is removed."""
    number, whole, text = {"type": "number"}, {"type": "integer"}, {"type": "string"}
    maybe = {"type": ["string", "null"]}
    timing = _object({"count": whole} | dict.fromkeys(("min", "avg", "p50", "p99", "max", "total"), number))
    stream = _object(
        {
            "mode": {"enum": ["data-driven", "clock-driven", "live"]},
            **dict.fromkeys(("signals", "waits", "cycles", "overruns"), whole),
            "wait_seconds": number,
            "ready": {"type": "boolean"},
        }
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nbbacktest status",
        **_object(
            {
                "system_manager": _object(
                    {
                        "_state": {"enum": ["running", "paused", "stopped"]},
                        "_mode": {"enum": ["backtest", "live"]},
                        "timezone": maybe,
                        "next_start": maybe,
                    }
                ),
                "performance_metrics": _object(
                    {
                        "session_duration": number,
                        "bars_processed": whole,
                        "bars_per_second": number,
                        **dict.fromkeys(
                            ("processor_timing", "analysis_timing", "coordinator_timing", "pause_timing", "lateness"),
                            timing,
                        ),
                    }
                ),
                "subscriptions": _object({"coordinator->processor": stream, "processor->analysis": stream}),
                "session": _object(
                    {
                        "name": text,
                        "source": text,
                        "session_date": maybe,
                        "sim_time": maybe,
                        "place": _object(
                            {
                                **dict.fromkeys(("cursor", "inputs", "horizon"), whole),
                                "in_past": {"type": "boolean"},
                                "travelling": {"type": ["object", "null"]},
                            }
                        ),
                        **dict.fromkeys(("progress", "speed_multiplier", "achieved_speed", "lag_seconds"), number),
                        "symbols": {"type": "object"},
                        "lag": _object({"entered": whole, "left": whole, "events": {"type": "array"}}),
                        "feed": {"type": ["object", "null"]},
                        "warmup": {
                            "type": "object",
                            "additionalProperties": {
                                "type": "object",
                                "additionalProperties": _object({"asked": whole, "got": whole}),
                            },
                        },
                        "disagreements": whole,
                        "breakpoints": {"type": "array", "items": text},
                    }
                ),
                "portfolio": _object(
                    {
                        "cash": {"type": ["number", "null"]},
                        "equity": {"type": ["number", "null"]},
                        "positions": {"type": "object", "additionalProperties": number},
                    }
                ),
                "error": {"type": ["object", "null"]},
                "_metadata": _object({"generated_at": text, "version": {"const": VERSION}}),
            }
        ),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_SCHEMAS = {"config": config_schema, "status": status_schema}


def schema(name: str = "config") -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``"config"``, the session config, or ``"status"``, the JSON status.

    Raises
    ------
    ValueError
        For any other name.
    """
    if name not in _SCHEMAS:
        raise ValueError(f"there is no schema {name!r}; {nearest(name, _SCHEMAS)}")
    return _SCHEMAS[name]()


def summary(status: dict[str, Any]) -> list[str]:
    """The lines of a status besides its state; none for a system that never ran."""
    session, account, error = status["session"], status["portfolio"], status["error"]
    if not session["name"]:
        return []
    rows = [
        ("Session", f"{session['name']} ({session['source']})"),
        ("Sim time", shown_time(session["sim_time"])),
        ("Progress", f"{session['progress']:.1%}, {status['performance_metrics']['bars_processed']:,} bars"),
        *_shown_place(session.get("place")),
        ("Speed", shown_speed(session)),
        ("Equity", f"{money(account['equity'], '-')}, cash {money(account['cash'], '-')}"),
        ("Positions", ", ".join(f"{symbol} {size:+,g}" for symbol, size in account["positions"].items()) or "none"),
    ]
    if session.get("breakpoints"):  # another process may be of an older version
        rows.append(("Breakpoint", "; ".join(session["breakpoints"])))
    if error is not None:
        rows.append(("Error", error["message"]))
    system = status["system_manager"]
    if system["_state"] == SystemState.STOPPED and system.get(
        "next_start"
    ):  # another process may be of an older version
        rows.append(("Next start", system["next_start"]))
    return [f"{label}: {value}" for label, value in rows]


def _shown_place(place: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The rows of a run that was taken back, is on its way, or was traded in by hand; another process may be of an older version."""
    rows = []
    if place and place["in_past"]:
        rows.append(("In the past", f"{place['cursor']:,} of {place['horizon']:,} instants"))
    if place and place["travelling"]:
        rows.append(("On its way", f"{place['travelling']['at']:,} of {place['travelling']['to']:,} instants"))
    if place and place["inputs"]:
        rows.append(("By hand", f"{place['inputs']:,} input{'' if place['inputs'] == 1 else 's'}"))
    return rows


def shown_time(moment: str | None) -> str:
    """A status's time as people read it: ISO 8601 without the T."""
    return moment.replace("T", " ") if moment else "before the first bar"


def shown_speed(session: dict[str, Any], state: str = SystemState.RUNNING.value) -> str:
    """The speed that was asked for, and the one that is achieved."""
    asked, achieved = session["speed_multiplier"], session["achieved_speed"]
    wish = speed(asked) if asked else "as fast as it goes"
    return f"{wish}, achieved {speed(achieved)}" if achieved and state != SystemState.STOPPED.value else wish


# -- a snapshot as text ---------------------------------------------------------------------------------------

SHOWN = 10
"""The number of bars, positions, orders and indicators of a snapshot that its text shows."""


def snapshot_summary(shot: Snapshot) -> list[str]:
    """A snapshot in a few lines: its bars, the account, positions, open orders, indicators."""
    from nbbacktest.report.explain import bar_words, order_words

    place = f"{shot.cursor:,} of {shot.total:,} instants"
    positions = list(map(_position_words, shot.positions))
    orders = [f"{order_words(row)} ({row.strategy})" for row in shot.orders]
    readings = [f"{name} = {_reading(value)}" for name, value in shot.indicators.items()]
    return [
        f"{'Before the first bar' if shot.time is None else f'At {shot.time}'}: {place}",
        *_listed("Bars", [bar_words(bar.symbol, bar) for bar in (*shot.bars.values(), *shot.derived.values())]),
        f"Equity: {money(shot.equity)}, cash {money(shot.cash)}, {shot.n_fills:,} {'fill' if shot.n_fills == 1 else 'fills'}",
        *_listed("Positions", positions),
        *_listed("Orders", orders),
        *(_listed("Indicators", readings) if readings else []),
    ]


def snapshot_data(shot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON can hold it: times in ISO 8601, null for values that aren't defined."""
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
            "type": str(row.type), "limit": row.limit, "stop": row.stop, "touch": row.touch, "filled": row.filled,
            "tag": row.tag,
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
    """The lines of a list under its heading; only the first ones if there are many."""
    if not lines:
        return [f"{heading}: none"]
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [f"{heading}:", *(f"  {line}" for line in lines[:SHOWN]), *more]


def _position_words(row: PositionRow) -> str:
    held = f"{row.symbol} {brief(row.size)} at {number(row.average_price)}"
    return f"{held}, last {number(row.last)}, unrealized {change(row.unrealized_pnl)} ({row.strategy})"


def _reading(value: Any) -> str:
    return f"({', '.join(map(number, value))})" if isinstance(value, tuple) else number(value)


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: numbers that aren't finite become null."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
