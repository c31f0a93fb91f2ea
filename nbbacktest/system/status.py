"""The JSON status: one versioned mapping, and its schema. Seconds are floats, times are ISO 8601 with offset."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.records import Stamps
from nbbacktest.system.run import Run
from nbbacktest.trading.snapshot import Snapshot

VERSION = "1.0"

_NO_TIMING = {"count": 0, "min": 0.0, "avg": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0, "total": 0.0}
_NO_STREAM = {
    "mode": "data-driven", "signals": 0, "waits": 0, "cycles": 0, "wait_seconds": 0.0, "overruns": 0, "ready": False,
}  # fmt: skip


def status(state: SystemState, run: Run | None, next_start: str | None = None) -> dict[str, Any]:
    """Describe a system: the present run, or the last one, or none; all of it as of one instant.

    `next_start` says what a start without arguments would run.
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
    bars, seconds = sum(shot.counts.values()), run.duration
    return {
        "session_duration": seconds,
        "bars_processed": bars,
        "bars_per_second": bars / seconds if seconds > 0 else 0.0,
        "processor_timing": run.processor.timing.summary(),
        "analysis_timing": run.analysis.timing.summary(),
        "coordinator_timing": run.coordinator.timing.summary(),
        "pause_timing": run.gate.pause_timing.summary(),
        "lateness": run.analysis.lateness.summary(),
    }


def _subscriptions(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"coordinator->processor": dict(_NO_STREAM), "processor->analysis": dict(_NO_STREAM)}
    return {stream.get_stream_id(): stream.statistics() for stream in run.streams}


def _session(run: Run | None, shot: Snapshot | None) -> dict[str, Any]:
    if run is None or shot is None:
        return {
            "name": "", "source": "", "session_date": None, "sim_time": None, "progress": 0.0, "speed_multiplier": 0.0,
            "achieved_speed": 0.0, "lag_seconds": 0.0, "symbols": {}, "warmup": {}, "disagreements": 0,
            "lag": {"entered": 0, "left": 0, "events": []}, "feed": None,
        }  # fmt: skip
    moment = run.moment(shot.cursor)
    return {
        "name": run.config.session_name,
        "source": run.source,
        "session_date": run.session_date(shot.cursor),
        "sim_time": moment,
        "progress": shot.progress,
        "speed_multiplier": run.coordinator.speed,
        "achieved_speed": run.achieved_speed,
        "lag_seconds": run.analysis.lag if run.coordinator.speed > 0 or run.is_live else 0.0,
        "symbols": {
            symbol: {
                "bars": count,
                "last_close": shot.bars[symbol].close if symbol in shot.bars else None,
                "lag_seconds": run.lag.seconds.get(symbol, 0.0),
                "quality": run.quality.get(symbol),
            }
            | _moves(run, symbol)
            for symbol, count in shot.counts.items()
        },
        "lag": _lag(run),
        "feed": _feed(run),
        "warmup": run.desk.warmup.table(),
        "disagreements": run.disagreements,
    }


def _lag(run: Run) -> dict[str, Any]:
    watch, aware = run.lag, Stamps(run.stamps.timezone)
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
    """When a symbol joined or left the run on its way, each where it did: the last instant before, null for the first."""
    aware = Stamps(run.stamps.timezone)
    return {
        "joined" if move.joined else "left": None if move.time is None else aware.stamp(move.time).isoformat()
        for move in run.membership.moves
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
