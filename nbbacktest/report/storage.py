"""A result as one file: a zip of JSON and numpy columns, without pickle, and whole or not there at all."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nbbacktest.core.enums import OrderStatus, OrderType, Side, TimeInForce
from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.core.files import write_whole
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.record import RunRecord

FORMAT = "nbbacktest result"
VERSION = 1
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
_ORDER = ("id", "strategy", "symbol", "side", "size", "type", "limit", "stop", "tif", "tag", "submitted")
_OUTCOME = ("status", "reason", "closed", "fill_price")


def save_record(record: RunRecord, path: Path) -> None:
    """Write `record` to the file `path`, in one step: whoever reads it sees the old file or the new one.

    Equal records give equal bytes, on one machine.

    Raises
    ------
    DataNotFoundError
        Where the folder doesn't exist.
    OSError
        Where the file can't be written; nothing is left behind.
    """
    if not path.parent.is_dir():
        raise DataNotFoundError(f"can't save a result to {path}: there is no folder {path.parent}; make it first")
    write_whole(path, lambda file: _write(record, file))


def load_record(path: Path) -> RunRecord:
    """Read what `save_record` wrote.

    Raises
    ------
    DataNotFoundError
        Where there is no such file.
    DataError
        Where the file isn't a saved result, is damaged, or was written by a newer version.
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
        "stamps": {"timezone": record.stamps.timezone, "dates": record.stamps.dates},
        "symbols": [[symbol, columns.interval.name] for symbol, columns in record.bars.items()],
        "fills": record.fills,
        "orders": [[getattr(order, name) for name in _ORDER + _OUTCOME] for order in record.orders],
        "log": record.log,
    }
    with zipfile.ZipFile(file, "w") as archive:
        # A parameter may be anything; its text is better than no file.
        _add(archive, "result.json", json.dumps(head, default=str, separators=(",", ":")).encode())
        _add(archive, "instants.npy", _packed(record.instants))
        for number, columns in enumerate(record.bars.values()):
            for name in _COLUMNS:
                _add(archive, f"bars/{number}/{name}.npy", _packed(getattr(columns, name)))


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
    bars = {}
    for number, (symbol, interval) in enumerate(head["symbols"]):
        columns = [
            _column(archive, f"bars/{number}/{n}", np.int64 if n in ("time", "end") else np.float64) for n in _COLUMNS
        ]
        bars[symbol] = BarColumns(symbol, Interval.parse(interval), *columns)
    values = {name: head[name] for name in _PLAIN} | {
        "strategies": tuple(head["strategies"]),
        "stamps": Stamps(**head["stamps"]),
        "instants": instants,
        "bars": bars,
        "fills": tuple(_fill(row) for row in head["fills"]),
        "orders": tuple(_order(row) for row in head["orders"]),
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


def _fill(row: list[Any]) -> Fill:
    fill = Fill(*row)
    return fill._replace(side=Side(fill.side))


def _order(row: list[Any]) -> Order:
    given = dict(zip(_ORDER + _OUTCOME, row, strict=True))
    order = Order(
        given["id"], given["strategy"], given["symbol"], Side(given["side"]), given["size"], OrderType(given["type"]),
        limit=given["limit"], stop=given["stop"], tif=TimeInForce(given["tif"]), tag=given["tag"],
        submitted=given["submitted"],
    )  # fmt: skip
    order.status = OrderStatus(given["status"])
    order.reason, order.closed, order.fill_price = given["reason"], given["closed"], given["fill_price"]
    return order


def _check(record: RunRecord) -> None:
    """Refuse here what would fail, or be wrong, only when a property is asked for."""
    last = 0
    for fill in record.fills:
        if not last <= fill.index <= len(record.instants) or fill.symbol not in record.bars:
            raise ValueError(f"fill {fill} lies outside of the run")
        last = fill.index
    if len(record.instants) > 1 and not (np.diff(record.instants) > 0).all():
        raise ValueError("instants don't rise")
