"""A run's fills as columns: what sums over them reads arrays, and not the fills one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbbacktest.core.enums import Side
from nbbacktest.core.records import Float64, Int64
from nbbacktest.trading.orders import Fill

_BUY = Side.BUY


class Executions:
    """Columns of one value a fill, in the order in which they happened.

    Attributes
    ----------
    index : int64 array
        The instant of each, counted from 0; never falling.
    signed, price, commission : float64 arrays
        Units, negative where sold; price of a unit; commission. In the account's currency.
    symbols : tuple of str
    """

    __slots__ = ("_rows", "commission", "index", "price", "signed", "symbols")

    def __init__(self, fills: Sequence[Fill]) -> None:
        index, _, symbols, sides, sizes, prices, fees, *_ = zip(*fills, strict=True) if fills else ((),) * 7
        self.index: Int64 = np.array(index, dtype=np.int64)
        self.symbols: tuple[str, ...] = symbols
        size = np.array(sizes, dtype=np.float64)
        self.signed: Float64 = np.where(np.array([side is _BUY for side in sides], dtype=bool), size, -size)
        self.price: Float64 = np.array(prices, dtype=np.float64)
        self.commission: Float64 = np.array(fees, dtype=np.float64)
        self._rows: dict[str, Int64] | None = None

    @property
    def traded(self) -> Float64:
        """``size * price`` of each."""
        return np.abs(self.signed) * self.price

    @property
    def rows(self) -> dict[str, Int64]:
        """By symbol that has fills, where these are, in the order of the first ones."""
        if self._rows is None:
            self._rows = _places(self.symbols)
        return self._rows


def _places(symbols: tuple[str, ...]) -> dict[str, Int64]:
    if len(set(symbols)) == 1:
        return {symbols[0]: np.arange(len(symbols))}
    places: dict[str, list[int]] = {}
    for place, symbol in enumerate(symbols):
        places.setdefault(symbol, []).append(place)
    return {symbol: np.array(rows) for symbol, rows in places.items()}
