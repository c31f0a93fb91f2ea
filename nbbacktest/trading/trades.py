"""Round trips from fills, by strategy and symbol: units that were bought first are sold first.

Pure functions; a trade is known by its fills alone, an open one also by its symbol's last close.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
import numpy as np

from nbbacktest.core.records import Float64, Int64, Stamps
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.portfolio import Tally, add_sizes, scaled
from nbbacktest.trading.record import Executions, RunRecord, Split

if TYPE_CHECKING:
    import pandas as pd

_NONE = np.empty(0, dtype=np.int64)


class Trade(NamedTuple):
    """One round trip, or the open part of one.

    Attributes
    ----------
    size : float
        Units, negative if it was short.
    entry_time, exit_time : Timestamp or None
        Stamps of the bars that the fills happened in; `exit_time` is None while it is open. `entry_ns` and `exit_ns` are the
        same in nanoseconds UTC.
    entry_price, exit_price : float
        As filled, slippage included; `exit_price` is NaN while it is open.
    pnl : float
        In the account's currency, net of `commission`. An open trade's is valued at the last close, so that all
        trades and cash flows together explain the whole change of equity.
    return_ : float
        ``pnl / (|size| * entry_price)``, a fraction; NaN if that notional is zero.
    commission : float
        The trade's share of its fills' commissions, by size; an open trade has paid its entry's alone.
    tag : str or None
        The entry's.
    entry_id, exit_id : int
        The orders that opened and closed it; `exit_id` is None while it is open.
    """

    symbol: str
    size: float
    entry_ns: int
    exit_ns: int | None
    entry_price: float
    exit_price: float
    pnl: float
    return_: float
    commission: float
    tag: str | None
    strategy: str
    entry_id: int = 0
    exit_id: int | None = None
    stamps: Stamps = Stamps()

    @property
    def entry_time(self) -> pd.Timestamp:
        """The stamp of the bar that it was opened in."""
        return self.stamps.begin(self.entry_ns)

    @property
    def exit_time(self) -> pd.Timestamp | None:
        """The stamp of the bar that it was closed in; None while it is open."""
        return None if self.exit_ns is None else self.stamps.begin(self.exit_ns)

    @property
    def is_open(self) -> bool:
        """True if the trade has no exit; such a trade counts in no trade statistic."""
        return self.exit_ns is None


class Trades(Sequence[Trade]):
    """Round trips as columns; a `Trade` is made when one is asked for.

    Attributes
    ----------
    entry, exit : int64 arrays
        The numbers of the run's fills that opened and closed each; `exit` is -1 while it is open.
    size, entry_price, exit_price, pnl, return_, commission : float64 arrays
        As of `Trade`.
    """

    __slots__ = ("_fills", "commission", "entry", "entry_price", "exit", "exit_price", "pnl", "return_", "size")

    def __init__(self, fills: Sequence[Fill], matches: Matches, marks: Float64, prices: Float64) -> None:
        """Value `matches`; `marks` are the prices of open trades' units, `prices` those of `fills`."""
        self._fills = fills
        self.entry, self.exit, self.size, self.entry_price, self.commission = matches
        closed = self.exit >= 0
        self.exit_price: Float64 = np.where(closed, prices[self.exit], np.nan)
        worth = self.exit_price.copy()
        worth[~closed] = marks
        self.pnl: Float64 = self.size * (worth - self.entry_price) - self.commission
        notional = np.abs(self.size * self.entry_price)
        notional[notional == 0.0] = np.nan
        self.return_: Float64 = self.pnl / notional

    @property
    def closed(self) -> Trades:
        """The trades that have an exit."""
        return self.take(self.exit >= 0)

    def take(self, rows: Any) -> Trades:
        """The trades at `rows`: numbers, a mask, or a slice."""
        some = copy.copy(self)
        for name in _COLUMNS:
            setattr(some, name, getattr(self, name)[rows])
        return some

    def __len__(self) -> int:
        return len(self.entry)

    def __iter__(self) -> Iterator[Trade]:
        fills = self._fills
        for entry, exit_, size, price, left, pnl, return_, commission in zip(
            *(getattr(self, name).tolist() for name in _COLUMNS), strict=True
        ):
            first, last = fills[entry], fills[exit_] if exit_ >= 0 else None
            yield Trade(
                first.symbol, size, first.time_ns, None if last is None else last.time_ns, price, left, pnl, return_,
                commission, first.tag, first.strategy, first.order_id, None if last is None else last.order_id,
                first._stamps,  # noqa: SLF001 - hidden from strategies only
            )  # fmt: skip

    @overload
    def __getitem__(self, key: int) -> Trade: ...
    @overload
    def __getitem__(self, key: slice) -> Trades: ...
    def __getitem__(self, key: int | slice) -> Trade | Trades:
        if isinstance(key, slice):
            return self.take(key)
        (trade,) = self.take([key])
        return trade


_COLUMNS = ("entry", "exit", "size", "entry_price", "exit_price", "pnl", "return_", "commission")


class Matches(NamedTuple):
    """Entries and their exits, as of `Trades`: the closed ones in the order of their exits, then the open ones."""

    entry: Int64
    exit: Int64
    size: Float64
    entry_price: Float64
    commission: Float64


def round_trips(record: RunRecord) -> Trades:
    """Match every exit with the oldest entries of the same strategy and symbol (FIFO).

    An exit of part of a position splits off a trade; one fill that turns a position round closes the old
    one and opens the new one. A size that is rounding alone counts as zero (`nbbacktest.trading.portfolio`). A trade that
    went through a split has units and prices after the split, also for its entry. Cash flows (dividends, fees for borrowing, interest)
    belong to no trade.

    Returns
    -------
    Trades
        The closed ones in the order of their exits, then the open ones in the order of their entries.
    """
    matches = _matched(record.executions, record.fills, record.splits)
    still_open = matches.entry[matches.exit < 0].tolist()
    marks = np.array([_mark(record, record.fills[row]) for row in still_open], dtype=np.float64)
    return Trades(record.fills, matches, marks, record.executions.price)


def entries(fills: Sequence[Fill], splits: Sequence[Split]) -> Int64:
    """The number of the fill that opened each trade, in the order of `round_trips`."""
    return _matched(Executions(fills), fills, splits).entry


def _matched(done: Executions, fills: Sequence[Fill], splits: Sequence[Split]) -> Matches:
    return (None if splits else _by_turns(done)) or _first_in_first_out(fills, splits)


def _by_turns(done: Executions) -> Matches | None:
    """The matches if every position was opened and closed whole, by turns; else None."""
    entries, exits, still_open = [_NONE], [_NONE], [_NONE]
    for rows in done.positions:
        ins, outs = rows[: len(rows) // 2 * 2 : 2], rows[1::2]
        if not np.array_equal(done.signed[ins], -done.signed[outs]):
            return None
        entries.append(ins)
        exits.append(outs)
        still_open.append(rows[len(ins) * 2 :])
    entry, exit_, rest = np.concatenate(entries), np.concatenate(exits), np.sort(np.concatenate(still_open))
    order = np.argsort(exit_)
    entry, exit_ = entry[order], exit_[order]
    commission = np.concatenate((done.commission[entry] + done.commission[exit_], done.commission[rest]))
    entry = np.concatenate((entry, rest))
    exit_ = np.concatenate((exit_, np.full(len(rest), -1)))
    return Matches(entry, exit_, done.signed[entry], done.price[entry], commission)


def _first_in_first_out(fills: Sequence[Fill], done: Sequence[Split]) -> Matches:
    books: dict[_Book, deque[_Lot]] = {}
    held: defaultdict[_Book, Tally] = defaultdict(Tally)
    found: list[_Match] = []
    splits = deque(done)
    for row, fill in enumerate(fills):
        while splits and splits[0].index <= fill.index:
            _split(books, held, splits.popleft())
        lots = books.setdefault((fill.strategy, fill.symbol), deque())
        rest = _Lot(fill, row, fill.signed_size, fill.commission)
        while lots and rest.size and (lots[0].size > 0) != (rest.size > 0):
            found.append(_match(lots[0], rest))
            if not lots[0].size:
                lots.popleft()
        if rest.size:
            lots.append(rest)
        if not held[fill.strategy, fill.symbol].add(float(fill.signed_size)) and lots:
            # The position is flat, so that the lots that are left are only rounding errors.
            last = found[-1]
            found[-1] = (*last[:4], last[4] + sum(lot.commission for lot in lots))
            lots.clear()
    for split in splits:
        _split(books, held, split)
    still_open = sorted((lot for lots in books.values() for lot in lots), key=lambda lot: lot.row)
    found += [(lot.row, -1, lot.size, lot.fill.price, lot.commission) for lot in still_open]
    entry, exit_, size, price, commission = zip(*found, strict=True) if found else ((),) * 5
    return Matches(
        np.array(entry, dtype=np.int64), np.array(exit_, dtype=np.int64),
        *(np.array(column, dtype=np.float64) for column in (size, price, commission)),
    )  # fmt: skip


_Match = tuple[int, int, float, float, float]
_Book = tuple[str, str]  # strategy and symbol


@dataclass(slots=True)
class _Lot:
    """The open rest of one fill: signed units, and the commission that goes with them."""

    fill: Fill
    row: int
    size: float
    commission: float
    noise: float = 0.0

    def take(self, other: _Lot) -> float:
        """Take as many units out of this lot as `other` has, rounding residue included; returns their part of the commission."""
        before, (left, noise) = self.size, add_sizes(self.size, other.size, self.noise + other.noise)
        if not left or (left > 0) != (before > 0):
            paid, self.size, self.commission = self.commission, 0.0, 0.0
            return paid
        paid = self.commission * (other.size / -before)
        self.commission -= paid
        self.size, self.noise = left, noise
        return paid


def _split(books: dict[_Book, deque[_Lot]], held: dict[_Book, Tally], split: Split) -> None:
    """Express the symbol's open lots in units and prices of after the split."""
    for (strategy, symbol), lots in books.items():
        if symbol == split.symbol:
            held[strategy, symbol].split(split.ratio)
            for lot in lots:
                fill = lot.fill
                lot.fill = msgspec.structs.replace(fill, size=fill.size * split.ratio, price=fill.price / split.ratio)
                lot.size, lot.noise = scaled(lot.size, split.ratio, lot.noise)


def _match(entry: _Lot, exit_: _Lot) -> _Match:
    units = min(abs(entry.size), abs(exit_.size))
    size = math.copysign(units, entry.size)
    used = copy.copy(entry)
    commission = entry.take(exit_) + exit_.take(used)
    return entry.row, exit_.row, size, entry.fill.price, commission


def _mark(record: RunRecord, fill: Fill) -> float:
    """The last close of the fill's symbol; its own price if a run broke off before that symbol's first close."""
    closes = record.bars[fill.symbol].close
    return float(closes[-1]) if len(closes) else fill.price
