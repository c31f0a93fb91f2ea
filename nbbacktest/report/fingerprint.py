"""One number for a result: equal for equal fills and equity, whatever the machine, the mode or the pauses."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.trading.record import RunRecord

HEADER = b"nbbacktest result 1\n"


def fingerprint(record: RunRecord, equity: Float64) -> str:
    """SHA-256 of fills and equity, in hex.

    The bytes are: the header ``nbbacktest result 1`` and a newline; the number of fills; each fill's index, time, symbol,
    side, size, price, commission, order id, tag and strategy; the number of instants; all instants; all
    equity values. Integers are 8 bytes, floats IEEE 754 doubles with -0.0 as 0.0, both little-endian. A text is the length
    of its UTF-8 in 8 bytes, and that; a tag is preceded by one byte, 0 for none (then nothing follows), else 1.
    """
    digest = hashlib.sha256(HEADER)
    digest.update(struct.pack("<q", len(record.fills)))
    for fill in record.fills:
        tag = b"\0" if fill.tag is None else b"\1" + _text(fill.tag)
        digest.update(
            struct.pack("<qq", fill.index, fill.time_ns)
            + _text(fill.symbol)
            + _text(fill.side)
            + struct.pack("<ddd", fill.size + 0.0, fill.price + 0.0, fill.commission + 0.0)
            + struct.pack("<q", fill.order_id)
            + tag
            + _text(fill.strategy)
        )
    digest.update(struct.pack("<q", len(record.instants)))
    digest.update(np.ascontiguousarray(record.instants, dtype="<i8").data)
    digest.update(np.ascontiguousarray(equity + 0.0, dtype="<f8").data)
    return digest.hexdigest()


def _text(text: str) -> bytes:
    # surrogatepass: a tag may hold what a file name can, and must not end the run's report.
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<q", len(encoded)) + encoded
