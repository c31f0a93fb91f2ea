"""Round trips from fills: what was bought first is sold first, by strategy and symbol.

Pure functions; a trade is known by its fills alone, an open one also by its symbol's last close.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from nbbacktest.core.enums import Side
from nbbacktest.trading.equity import FLAT
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.record import RunRecord, Split

_BUY = Side.BUY


class Trade(NamedTuple):
    """One round trip, or the open part of one.

    Attributes
    ----------
    size : float
        Units, negative where it was short.
    entry_time, exit_time : int
        Stamps of the bars that the fills happened in, nanoseconds UTC; `exit_time` is None while it is open.
    entry_price, exit_price : float
        As filled, slippage included; `exit_price` is NaN while it is open.
    pnl : float
        In the account's currency, net of `commission`. An open trade's is valued at the last close, so that all
        trades and cash flows together explain the whole change of equity.
    return_ : float
        ``pnl / (|size| * entry_price)``, a fraction; NaN where that notional is zero.
    commission : float
        The trade's share of its fills' commissions, by size; an open trade has paid its entry's alone.
    tag : str or None
        The entry's.
    entry_id, exit_id : int
        The orders that opened and closed it; `exit_id` is None while it is open.
    """

    symbol: str
    size: float
    entry_time: int
    exit_time: int | None
    entry_price: float
    exit_price: float
    pnl: float
    return_: float
    commission: float
    tag: str | None
    strategy: str
    entry_id: int = 0
    exit_id: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has no exit; such a trade counts in no trade statistic."""
        return self.exit_time is None


def round_trips(record: RunRecord) -> tuple[Trade, ...]:
    """Match every exit with the oldest entries of the same strategy and symbol (FIFO).

    An exit of part of a position splits off a trade; one fill that turns a position round closes the old
    one and opens the new one. Sizes that cancel to within 1e-9 of the larger one are flat. A trade that went through
    a split is told in units and prices of after it, its entry too. Cash flows (dividends, fees for borrowing, interest)
    belong to no trade.

    Returns
    -------
    tuple of Trade
        The closed ones in the order of their exits, then the open ones in the order of their entries.
    """
    books: dict[tuple[str, str], deque[_Lot]] = {}
    closed: list[Trade] = []
    splits = deque(record.splits)
    for order, fill in enumerate(record.fills):
        while splits and splits[0].index <= fill.index:
            _split(books, splits.popleft())
        _, _, symbol, side, units, price, commission, _, _, strategy = fill
        lots = books.get((strategy, symbol))
        if lots is None:
            lots = books[strategy, symbol] = deque()
        signed = units if side is _BUY else -units
        if lots and lots[0].size == -signed:
            # All of the oldest one and nothing else, as most exits go.
            entry = lots.popleft()
            closed.append(_trade(entry.fill, -signed, entry.commission + commission, price, fill))
            continue
        rest = _Lot(fill, order, signed, commission)
        while lots and rest.size and (lots[0].size > 0) != (rest.size > 0):
            closed.append(_match(lots[0], rest))
            if not lots[0].size:
                lots.popleft()
        if rest.size:
            lots.append(rest)
    for split in splits:
        _split(books, split)
    still_open = sorted((lot for lots in books.values() for lot in lots), key=lambda lot: lot.order)
    return (*closed, *(_open_trade(lot, _mark(record, lot.fill)) for lot in still_open))


@dataclass(slots=True)
class _Lot:
    """What is left of one fill: signed units and the commission that goes with them."""

    fill: Fill
    order: int
    size: float
    commission: float

    def take(self, units: float) -> float:
        """Use up `units` of it and return their commission; rounding residue goes along."""
        left = abs(self.size) - units
        if left <= FLAT * self.fill.size:
            paid, self.size, self.commission = self.commission, 0.0, 0.0
            return paid
        paid = self.commission * (units / abs(self.size))
        self.commission -= paid
        self.size = math.copysign(left, self.size)
        return paid


def _split(books: dict[tuple[str, str], deque[_Lot]], split: Split) -> None:
    """Count what is open of the symbol in units of after the split, at prices of after the split."""
    for (_, symbol), lots in books.items():
        if symbol == split.symbol:
            for lot in lots:
                fill = lot.fill
                lot.fill = fill._replace(size=fill.size * split.ratio, price=fill.price / split.ratio)
                lot.size *= split.ratio


def _match(entry: _Lot, exit_: _Lot) -> Trade:
    units = min(abs(entry.size), abs(exit_.size))
    size = math.copysign(units, entry.size)
    commission = entry.take(units) + exit_.take(units)
    return _trade(entry.fill, size, commission, exit_.fill.price, exit_.fill)


def _mark(record: RunRecord, fill: Fill) -> float:
    """The last close of the fill's symbol; its own price where a run broke off before that symbol's first close."""
    closes = record.bars[fill.symbol].close
    return float(closes[-1]) if len(closes) else fill.price


def _open_trade(lot: _Lot, mark: float) -> Trade:
    trade = _trade(lot.fill, lot.size, lot.commission, mark, None)
    return trade._replace(exit_price=math.nan)


def _trade(entry: Fill, size: float, commission: float, price: float, exit_: Fill | None) -> Trade:
    _, time, symbol, _, _, paid, _, order_id, tag, strategy = entry
    pnl = size * (price - paid) - commission
    notional = abs(size * paid)
    return Trade(
        symbol, size, time, None if exit_ is None else exit_.time, paid, price, pnl,
        pnl / notional if notional else math.nan, commission, tag, strategy, order_id,
        None if exit_ is None else exit_.order_id,
    )  # fmt: skip
