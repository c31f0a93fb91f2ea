"""A run's fills as columns, for sums over arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from nbbacktest.core.enums import Phase, Side
from nbbacktest.core.records import Float64, Int64
from nbbacktest.trading.orders import Fill

_BUY = Side.BUY
_PHASES = {None: -1, Phase.OPEN: 0, Phase.INSIDE: 1, Phase.CLOSE: 2}
_Name = TypeVar("_Name", bound=Hashable)


class Executions:
    """Columns of one value a fill, in the order in which they happened.

    Attributes
    ----------
    index : int64 array
        The instant of each, counted from 0; never falling.
    time : int64 array
        The stamps of the bars that they happened in, nanoseconds UTC.
    signed, price, commission : float64 arrays
        Units, negative where sold; price of a unit; commission. In the account's currency.
    order : int64 array
        The numbers of their orders.
    symbols, strategies : tuple of str
    """

    __slots__ = ("_fills", "_rows", "commission", "index", "order", "price", "signed", "strategies", "symbols", "time")

    def __init__(self, fills: Sequence[Fill]) -> None:
        self.index, self.time, self.order = (
            np.fromiter(map(attrgetter(field), fills), np.int64, len(fills))
            for field in ("index", "time_ns", "order_id")
        )
        size, self.price, self.commission = (
            np.fromiter(map(attrgetter(field), fills), np.float64, len(fills))
            for field in ("size", "price", "commission")
        )
        bought = np.fromiter((fill.side is _BUY for fill in fills), bool, len(fills))
        self.signed: Float64 = np.where(bought, size, -size)
        self._fills = fills
        self.symbols: tuple[str, ...] = tuple(map(attrgetter("symbol"), fills))
        self.strategies: tuple[str, ...] = tuple(map(attrgetter("strategy"), fills))
        self._rows: dict[str, Int64] | None = None

    @property
    def phase(self) -> npt.NDArray[np.int8]:
        """The place in the bar: 0 at the open, 1 inside, 2 at the close; -1 in results of before fills had it."""
        return np.fromiter((_PHASES[fill.phase] for fill in self._fills), np.int8, len(self._fills))

    @property
    def traded(self) -> Float64:
        """``size * |price|`` of each fill, also at a price below zero."""
        return np.abs(self.signed * self.price)

    @property
    def rows(self) -> dict[str, Int64]:
        """The rows of each symbol that has fills, in the order of their first ones."""
        if self._rows is None:
            self._rows = places_of(self.symbols)
        return self._rows

    @property
    def books(self) -> Iterable[Int64]:
        """The rows of each strategy and symbol that has fills."""
        if len(set(self.strategies)) < 2:
            return self.rows.values()
        return places_of(tuple(zip(self.strategies, self.symbols, strict=True))).values()


def places_of(names: Sequence[_Name]) -> dict[_Name, Int64]:
    """The places of each name, in the order of their first ones."""
    if len(set(names)) == 1:
        return {names[0]: np.arange(len(names))}
    places: dict[_Name, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return {name: np.array(rows) for name, rows in places.items()}
