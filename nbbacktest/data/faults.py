"""Finds what is wrong with rows of bars: pure functions from columns to masks. What becomes of them, `judge` decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import Float64

Bools = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close")

FaultKind = Literal[
    "bad_time", "not_finite", "bad_ohlc", "bad_volume", "out_of_order", "duplicates", "off_grid", "closed"
]
KINDS: tuple[FaultKind, ...] = (
    "bad_time", "not_finite", "bad_ohlc", "bad_volume", "out_of_order", "duplicates", "off_grid", "closed",
)  # fmt: skip
"""What may be wrong with a row: no stamp, or a local time that doesn't exist or exists twice; a price or volume that
is no finite number; prices that contradict each other; a negative volume; a stamp that goes back and is another row's,
or lies beyond all others; one that came before, or lies inside the bar before it; one that fits no bar of the interval;
a daily bar on a day without a session."""


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One thing that may be wrong with rows, and which rows have it.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    rows : bool array
        True where a row has it; may be all False.
    what : str
        In words, for messages.
    columns : tuple of str
        The columns that show it.
    refusal : str
        The whole message where this is refused; "" where it follows from the rest.
    """

    kind: FaultKind
    rows: Bools
    what: str
    columns: tuple[str, ...] = ()
    refusal: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows.any())


def value_faults(columns: dict[str, Float64]) -> Iterator[Fault]:
    """What is wrong with prices and volumes, each row for itself.

    Prices may be negative, as those of futures have been.
    """
    for name in PRICES:
        yield Fault("not_finite", ~np.isfinite(columns[name]), f"{name} is not a finite number", (name,))
    o, h, l, c = (columns[name] for name in PRICES)  # noqa: E741 - the field's letters
    yield Fault("bad_ohlc", h < l, "high is below low", ("high", "low"))
    yield Fault("bad_ohlc", (o > h) | (o < l), "open is outside of low to high", ("open", "low", "high"))
    yield Fault("bad_ohlc", (c > h) | (c < l), "close is outside of low to high", ("close", "low", "high"))
    volume = columns["volume"]
    finite = np.isfinite(volume)
    yield Fault("not_finite", ~finite, "volume is negative or not a finite number", ("volume",))
    yield Fault("bad_volume", finite & (volume < 0), "volume is negative or not a finite number", ("volume",))


def first_kinds(faults: Sequence[Fault], rows: int) -> dict[FaultKind, Bools]:
    """Which rows have which kind, each row at the first of the faults that it has."""
    left = np.ones(rows, dtype=np.bool_)
    found: dict[FaultKind, Bools] = {}
    for fault in faults:
        mine = fault.rows & left
        left &= ~fault.rows
        if mine.any():
            found[fault.kind] = found.get(fault.kind, np.zeros(rows, dtype=np.bool_)) | mine
    return found
