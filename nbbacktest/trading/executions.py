"""A run's fills as columns: what sums over them reads arrays, and not the fills one by one."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from nbbacktest.core.enums import Side
from nbbacktest.core.records import Float64, Int64
from nbbacktest.trading.orders import Fill

_BUY = Side.BUY
_INDEX, _SYMBOL, _SIDE, _SIZE, _PRICE, _FEE = map(
    Fill._fields.index, ("index", "symbol", "side", "size", "price", "commission")
)


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
        # One field after the other: zip(*fills) would make an iterator of every fill, which sets the garbage collector off.
        self.index: Int64 = np.fromiter(map(itemgetter(_INDEX), fills), np.int64, len(fills))
        self.symbols: tuple[str, ...] = tuple(map(itemgetter(_SYMBOL), fills))
        size, self.price, self.commission = (
            np.fromiter(map(itemgetter(field), fills), np.float64, len(fills)) for field in (_SIZE, _PRICE, _FEE)
        )
        bought = np.fromiter((fill[_SIDE] is _BUY for fill in fills), bool, len(fills))
        self.signed: Float64 = np.where(bought, size, -size)
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
