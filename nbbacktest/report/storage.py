"""A result as one file: a zip of JSON and numpy columns, without pickle, written whole or not at all."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from nbbacktest.core.digests import CodeDigests
from nbbacktest.core.enums import OrderEventKind, OrderStatus, OrderType, Phase, Side, TimeInForce
from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.core.files import write_whole
from nbbacktest.core.inputs import Input
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Float64, Stamps
from nbbacktest.report.recipe import recipe_of
from nbbacktest.trading.orders import Fill, Order, OrderEvent, OrderTerms
from nbbacktest.trading.record import CashFlow, IndicatorRecord, RunNotes, RunRecord, SessionEdge, Split

FORMAT = "nbbacktest result"
VERSION = 3
_PLAIN = (
    "name",
    "source",
    "synthetic",
    "daily",
    "trades_every_day",
    "cash",
    "first",
    "strategies",
    "metrics",
    "config",
)
_COLUMNS = ("time", "end", "open", "high", "low", "close", "volume")
_WHOLE = ("time", "end", "base_count", "expected_count")
"""The columns that hold whole numbers."""
_ORDER_1 = (
    "id", "strategy", "symbol", "side", "size", "type", "limit", "stop", "tif", "tag", "submitted", "status", "reason",
    "closed", "fill_price",
)  # fmt: skip
"""The fields of an order in version 1."""
_ORDER = (
    *_ORDER_1, "trail", "trail_is_fraction", "begins", "expires", "reduce_only", "is_forced", "triggered", "filled", "best",
    "touch",
)  # fmt: skip
_GIVEN = (
    "limit", "stop", "tag", "submitted", "trail", "trail_is_fraction", "begins", "expires", "reduce_only", "is_forced",
    "touch",
)  # fmt: skip
_OUTCOME = ("reason", "closed", "fill_price", "triggered", "filled", "best")
_TIMES = ("submitted", "begins", "expires", "closed")
_FILL = 10
"""The number of a fill's values in its row. Newer values stand beside the row, so that an older version can read it."""


def save_record(record: RunRecord, path: Path) -> None:
    """Write `record` to the file `path`, in one step: a reader sees the old file or the new one.

    Equal records give equal bytes, on one machine.

    Raises
    ------
    DataNotFoundError
        If the folder doesn't exist.
    OSError
        If the file can't be written; nothing is left behind.
    """
    if not path.parent.is_dir():
        raise DataNotFoundError(f"can't save a result to {path}: there is no folder {path.parent}; make it first")
    write_whole(path, lambda file: _write(record, file))


def load_record(path: Path) -> RunRecord:
    """Read a file that `save_record` wrote.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    DataError
        If the file isn't a saved result, is damaged, or was written by a newer version.
    """
    if not path.exists():
        raise DataNotFoundError(f"there is no saved result at {path}; Result.save(path) writes one")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"{path} is not a saved result, or is damaged ({type(error).__name__}: {error}); "
            "give a file that Result.save wrote"
        ) from error


_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, KeyError, ValueError, TypeError, AttributeError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


def _write(record: RunRecord, file: BinaryIO) -> None:
    head: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    head |= {name: getattr(record, name) for name in _PLAIN}
    head |= {
        "stamps": asdict(record.stamps),
        "trading_days": record.trading_days,
        "has_days": record.days is not None,
        "symbols": [[symbol, columns.interval.name] for symbol, columns in record.bars.items()],
        "fills": [msgspec.structs.astuple(fill)[:_FILL] for fill in record.fills],
        "fill_phases": [fill.phase for fill in record.fills],
        "order_fields": _ORDER,
        "orders": [[getattr(order, _field(name)) for name in _ORDER] for order in record.orders],
        "order_links": [
            [order.id, None if order.parent is None else order.parent.id, [other.id for other in order.oco or ()]]
            for order in record.orders
            if order.parent is not None or order.oco is not None
        ],
        "order_events": [[order.id, *event[:5], _terms(event)] for order in record.orders for event in order.events],
        "indicators": [[r.name, r.strategy, r.symbol, r.interval] for r in record.indicators],
        "log": record.log,
        "flows": record.flows,
        "splits": record.splits,
        "coarser": [[columns.symbol, columns.interval.name, _counts_of(columns)] for columns in record.coarser],
        "notes": None if record.notes is None else _said(record.notes),
        "inputs": [one.to_dict() for one in record.inputs],
        "recipe": recipe_of(record),
    }
    with zipfile.ZipFile(file, "w") as archive:
        # A parameter may be anything; its text is better than no file.
        _add(archive, "result.json", json.dumps(head, default=str, separators=(",", ":")).encode())
        _add(archive, "instants.npy", _packed(record.instants))
        if record.days is not None:
            _add(archive, "days.npy", _packed(record.days))
        for number, columns in enumerate(record.bars.values()):
            for name in _COLUMNS:
                _add(archive, f"bars/{number}/{name}.npy", _packed(getattr(columns, name)))
        for number, columns in enumerate(record.coarser):
            for name in (*_COLUMNS, *_counts_of(columns)):
                _add(archive, f"coarser/{number}/{name}.npy", _packed(getattr(columns, name)))
        for number, reading in enumerate(record.indicators):
            _add(archive, f"indicators/{number}/end.npy", _packed(reading.end))
            _add(archive, f"indicators/{number}/values.npy", _packed(reading.values))


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # A fixed date, so that equal records give equal files; the fastest level gets most of the gain.
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    archive.writestr(entry, content, compresslevel=1)


def _packed(column: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, column.astype(column.dtype.newbyteorder("<"), copy=False), allow_pickle=False)
    return buffer.getvalue()


def _read(archive: zipfile.ZipFile, path: Path) -> RunRecord:
    head = json.loads(archive.read("result.json"))
    if head["format"] != FORMAT:
        raise DataError(f"{path} is not a saved result; its format is {head['format']!r} and not {FORMAT!r}")
    if head["version"] > VERSION:
        raise DataError(
            f"{path} was saved in version {head['version']} of the format and this nbbacktest reads up to "
            f"{VERSION}; upgrade nbbacktest"
        )
    instants = _column(archive, "instants", np.int64)
    bars = {
        symbol: _bars(archive, f"bars/{number}", symbol, interval)
        for number, (symbol, interval) in enumerate(head["symbols"])
    }
    values: dict[str, Any] = {name: head[name] for name in _PLAIN} | {
        "strategies": tuple(head["strategies"]),
        "stamps": Stamps(**{"daily": head["daily"]} | head["stamps"]),
        "days": _column(archive, "days", np.int64) if head.get("has_days") else None,
        "trading_days": head.get("trading_days"),
        "instants": instants,
        "bars": bars,
        "fills": tuple(_fills(head)),
        "orders": _orders(head),
        "indicators": tuple(_reading(archive, n, row) for n, row in enumerate(head.get("indicators", ()))),
        # Results that were saved by older versions have no such columns.
        "flows": tuple(CashFlow(*row) for row in head.get("flows", ())),
        "splits": tuple(Split(*row) for row in head.get("splits", ())),
        "coarser": tuple(_bars(archive, f"coarser/{n}", *row) for n, row in enumerate(head.get("coarser", ()))),
        "notes": _notes(head.get("notes")),
        "inputs": tuple(Input.from_dict(one) for one in head.get("inputs", ())),
        "code": CodeDigests(),
        "recipe": str(head.get("recipe", "")),
        "log": tuple((int(moment), str(name), str(text)) for moment, name, text in head["log"]),
    }
    record = RunRecord(**{field.name: values[field.name] for field in fields(RunRecord)})
    _check(record)
    return record


def _column(archive: zipfile.ZipFile, name: str, dtype: Any) -> np.ndarray[Any, Any]:
    column = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    if column.ndim != 1 or column.dtype != dtype:
        raise ValueError(f"column {name} is {column.dtype} with shape {column.shape}")
    return np.asarray(column, dtype=dtype)


def _bars(archive: zipfile.ZipFile, folder: str, symbol: str, interval: str, counts: Sequence[str] = ()) -> BarColumns:
    columns = [_column(archive, f"{folder}/{n}", np.int64 if n in _WHOLE else np.float64) for n in (*_COLUMNS, *counts)]
    return BarColumns(symbol, Interval.parse(interval), *columns)


def _counts_of(columns: BarColumns) -> list[str]:
    """The columns that derived bars have besides those of base bars."""
    return [] if columns.base_count is None or columns.expected_count is None else ["base_count", "expected_count"]


def _said(notes: RunNotes) -> dict[str, Any]:
    edges = [[cursor, edge.n_fills, edge.orders, edge.n_orders] for cursor, edge in notes.edges.items()]
    return {**asdict(notes), "edges": edges}


def _notes(kept: dict[str, Any] | None) -> RunNotes | None:
    if kept is None:
        return None
    edges = {
        cursor: SessionEdge(fills, tuple(map(tuple, orders)), count) for cursor, fills, orders, count in kept["edges"]
    }
    totals = [(since, total) for since, total in kept["totals"]]
    return RunNotes(kept["opens"], totals, kept["joined"], edges, kept["since"], kept["narrow"])


def _reading(archive: zipfile.ZipFile, number: int, row: list[str]) -> IndicatorRecord:
    name, strategy, symbol, interval = row
    end = _column(archive, f"indicators/{number}/end", np.int64)
    return IndicatorRecord(name, strategy, symbol, interval, end, _table(archive, f"indicators/{number}/values"))


def _table(archive: zipfile.ZipFile, name: str) -> Float64:
    """The values of an indicator as an array: one a bar, or a row of them a bar."""
    table = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    if table.ndim not in (1, 2) or table.dtype != np.float64:
        raise ValueError(f"table {name} is {table.dtype} with shape {table.shape}")
    return np.asarray(table, dtype=np.float64)


def _terms(event: OrderEvent) -> tuple[float | None, ...]:
    """The terms of an order, without `touch` if it has none, so that older versions can read them."""
    return event.terms if event.terms.touch is not None else event.terms[:-1]


def _field(name: str) -> str:
    """The attribute of `Order` that the saved field `name` goes into."""
    return f"{name}_ns" if name in _TIMES else name


def _fills(head: dict[str, Any]) -> Iterator[Fill]:
    stamps, phases = Stamps(**head["stamps"]), head.get("fill_phases") or repeat(None)
    for row, phase in zip(head["fills"], phases, strict=False):
        index, time, symbol, side, *rest = row
        known: tuple[Any, ...] = (index, time, symbol, Side(side), *rest, phase and Phase(phase), stamps)
        yield Fill(*known)


def _orders(head: dict[str, Any]) -> tuple[Order, ...]:
    names = head.get("order_fields", _ORDER_1)
    stamps = Stamps(**head["stamps"])
    orders = {row[0]: _order(dict(zip(names, row, strict=True)), stamps) for row in head["orders"]}
    # Results of version 1 know no links and no events.
    groups: dict[tuple[int, ...], list[Order]] = {}
    for number, parent, linked in head.get("order_links", ()):
        order = orders[number]
        if parent is not None:
            order.parent = orders[parent]
            order.parent.children = (*order.parent.children, order)
        if linked:
            order.oco = groups.setdefault(tuple(linked), [orders[other] for other in linked])
    lives: dict[int, list[OrderEvent]] = {}
    for number, time, kind, reason, size, price, terms in head.get("order_events", ()):
        event = OrderEvent(time, OrderEventKind(kind), reason, size, price, OrderTerms(*terms))
        lives.setdefault(number, []).append(event)
    for number, events in lives.items():
        orders[number].events = events
    return tuple(orders.values())


def _order(kept: dict[str, Any], stamps: Stamps) -> Order:
    given = {_field(name): kept[name] for name in _GIVEN if name in kept}
    order = Order(
        kept["id"], kept["strategy"], kept["symbol"], Side(kept["side"]), kept["size"], OrderType(kept["type"]),
        tif=TimeInForce(kept["tif"]), _stamps=stamps, **given,
    )  # fmt: skip
    order.status = OrderStatus(kept["status"])
    if order.status is OrderStatus.FILLED:
        order.filled = order.size or 0.0
    for name in _OUTCOME:
        if name in kept:
            setattr(order, _field(name), kept[name])
    return order


def _check(record: RunRecord) -> None:
    """Refuse a damaged record now, and not only when a statistic of it is asked for."""
    last = 0
    for fill in record.fills:
        if not last <= fill.index <= len(record.instants) or fill.symbol not in record.bars:
            raise ValueError(f"fill {fill} lies outside of the run")
        last = fill.index
    if len(record.instants) > 1 and not (np.diff(record.instants) > 0).all():
        raise ValueError("instants don't rise")
