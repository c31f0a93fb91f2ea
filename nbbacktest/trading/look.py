"""A run at any instant that it has completed, computed from its record. Nothing is run again.

The run's own `Portfolio` computes the account from fills, cash flows and splits; open orders are read from their lives, a
trailing stop from the bars that moved it, bars and indicators from their columns. Not for several threads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from nbbacktest.core.enums import OrderEventKind
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data.trading_days import TradingDays, number_of
from nbbacktest.engine.analysis import Frame
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Axis, in_callback_order
from nbbacktest.trading.indicators import IndicatorList, Value
from nbbacktest.trading.order_replay import BrokerRules, trailed_until
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.orders.order import EVENT_FIELDS
from nbbacktest.trading.places import Place, RunTimes, past_place, zone_of
from nbbacktest.trading.portfolio import Portfolio, Position
from nbbacktest.trading.record import CashFlow, RunNotes, RunRecord, Split
from nbbacktest.trading.snapshot import LAST_FILLS, Days, OrderRow, Snapshot, TradingLists, TradingSnapshot

_EVERY = 128
"""The account is kept after each so many changes, and the list of open orders after each so many orders."""
NEVER = 1 << 62
"""An instant that no run has."""
_TERMS = 5 - EVENT_FIELDS  # the place of an event's first term, counted from the event's end
_ACCEPTED, _TRIGGERED = OrderEventKind.ACCEPTED, OrderEventKind.TRIGGERED
_PART, _REPLACED = OrderEventKind.PARTIALLY_FILLED, OrderEventKind.REPLACED
_index = attrgetter("index")
_submitted = attrgetter("submitted_ns")

Change = Fill | CashFlow | Split
Newest = Callable[[int, Mapping[Series, int]], Mapping[str, Value]]
"""(number of indicators, completed bars of each series) -> the newest values of these first indicators."""


class RunTraces(NamedTuple):
    """The record of a run until now; its lists may still grow."""

    cash: float
    lists: TradingLists
    notes: RunNotes
    rules: BrokerRules

    @property
    def n_changes(self) -> int:
        """The number of changes of the account so far."""
        lists = self.lists
        return len(lists.fills) + len(lists.flows) + len(lists.splits)


class PastInstants:
    """Snapshots of one run's completed instants.

    Results are kept: the first look reads the whole record, later looks read only the new part.

    Parameters
    ----------
    traces
    newest
        Reads the indicators.
    stamps, days
        The format of times, and the trading days that times belong to.

    Attributes
    ----------
    traces : RunTraces
    notes : RunNotes
    """

    def __init__(self, traces: RunTraces, newest: Newest, stamps: Stamps, days: Days) -> None:
        self.traces = traces
        self._newest = newest
        self.notes = traces.notes
        self.stamps = stamps
        self.days = days
        self._account = _AccountHistory(traces)
        self._orders = _OrderHistory(traces)

    def at(self, cursor: int, axis: Axis) -> Snapshot:
        """The run when `cursor` instants were completed; `axis` has them all, and all their series."""
        notes, joined = self.traces.notes, self.traces.notes.joined
        series = axis.series
        if joined:
            series = tuple(one for one in series if joined.get(one.symbol, 0) <= cursor)
        if cursor:
            moment = axis.instants[cursor - 1]
            rows = tuple([int(one.whole.end.searchsorted(moment, side="right")) for one in series])
        else:
            rows = tuple([one.first for one in series])
        seen = dict(zip(series, rows, strict=True))
        base = {one.symbol: one for one in axis.series if one.is_base}
        _, _, (cash, held, n_fills) = self._account.around(cursor, base)
        closes = tuple([position.series.close_at[seen[position.series] - 1] for position in held])
        equity = cash
        for position, close in zip(held, closes, strict=True):
            equity += position.size * close
        agent = TradingSnapshot(
            cash=cash,
            equity=equity,
            held=held,
            closes=closes,
            orders=self._orders.at(cursor, axis.instants, base),
            n_fills=n_fills,
            last_fills=self.last_fills(n_fills),
            indicators=self.newest(cursor, seen),
            lists=self.traces.lists,
        )
        total = next((total for since, total in reversed(notes.totals) if since <= cursor), cursor)
        frame = Frame(cursor, Axis(series, axis.instants, None, None), rows, agent)
        return Snapshot(cursor, total, frame, self.stamps, self.days, is_open=not notes.totals)

    def account_around(self, cursor: int, axis: Axis) -> tuple[int, int, AccountAt]:
        """The account at `cursor`, and the instants with the same one: the first, and the first with another.

        The latter is `NEVER` until there are more changes, and may be too early.
        """
        return self._account.around(cursor, {one.symbol: one for one in axis.series if one.is_base})

    def orders_at(self, cursor: int, axis: Axis) -> tuple[OrderRow, ...]:
        """The open orders, in order of submission."""
        return self._orders.at(cursor, axis.instants, {one.symbol: one for one in axis.series if one.is_base})

    def newest(self, cursor: int, rows: Mapping[Series, int]) -> Mapping[str, Value]:
        """The newest values of the indicators that existed at `cursor`."""
        return self._newest(bisect_right(self.notes.since, cursor), rows)

    def last_fills(self, n_fills: int) -> tuple[Fill, ...]:
        """The newest of the first `n_fills` fills."""
        return tuple(self.traces.lists.fills[max(n_fills - LAST_FILLS, 0) : n_fills])


class AccountAt(NamedTuple):
    """Cash, positions in the order in which they were opened, and the number of fills."""

    cash: float
    held: tuple[Position, ...]
    n_fills: int


class _AccountHistory:
    """Cash and positions after each change, in the order in which they happened."""

    def __init__(self, traces: RunTraces) -> None:
        self._traces = traces
        self._changes: list[Change] = []
        self._taken = [0, 0, 0]  # the numbers of flows, splits and fills that are among the changes
        self._indices: list[int] = []  # the instant of each
        self._kept: list[tuple[float, dict[tuple[str, str], Position]]] = []
        self._head = Portfolio(traces.cash)
        # the number of a part of the changes, the account after them, and what it was before each and after the last one
        self._part: tuple[int, Portfolio, list[tuple[float, tuple[Position, ...]]]] = (-1, Portfolio(0.0), [])

    def around(self, cursor: int, base: Mapping[str, Series]) -> tuple[int, int, AccountAt]:
        """The account at `cursor`, and the instants with the same one: the first, and the first with another."""
        traces, indices = self._traces, self._indices
        self._advance(cursor, base)
        count = bisect_left(indices, cursor)
        n_fills = bisect_left(traces.lists.fills, cursor, key=_index)
        first = indices[count - 1] + 1 if count else 0
        later = NEVER if count == traces.n_changes else cursor + 1
        stop = indices[count] + 1 if count < len(indices) else later
        edge = traces.notes.edges.get(cursor)
        if edge is not None:
            count -= n_fills - edge.n_fills  # fills are the last changes of an instant
            n_fills, first, stop = edge.n_fills, cursor, cursor + 1
        cash, held = self._states(count // _EVERY, base)[count % _EVERY]
        return first, stop, AccountAt(cash, held, n_fills)

    def _states(self, number: int, base: Mapping[str, Series]) -> list[tuple[float, tuple[Position, ...]]]:
        """The account before each change of the part of that number, and after its last one."""
        kept, portfolio, states = self._part
        if kept != number:
            cash, held = self._kept[number]
            portfolio = Portfolio(cash)
            portfolio.held = dict(held)
            for (strategy, symbol), position in held.items():
                portfolio.positions.setdefault(strategy, {})[symbol] = position
            states = [(cash, tuple(held.values()))]
        for change in self._changes[number * _EVERY + len(states) - 1 : (number + 1) * _EVERY]:
            _book(portfolio, change, base)
            states.append((portfolio.cash, tuple(portfolio.held.values())))
        self._part = number, portfolio, states
        return states

    def _advance(self, cursor: int, base: Mapping[str, Series]) -> None:
        """Take in the changes of the instants before `cursor` that weren't known yet."""
        traces, changes, head = self._traces, self._changes, self._head
        fresh: list[Change] = []
        every: tuple[Sequence[Change], ...] = (traces.lists.flows, traces.lists.splits, traces.lists.fills)
        for place, known in enumerate(every):
            first = self._taken[place]
            stop = bisect_left(known, cursor, lo=first, key=_index)
            fresh += known[first:stop]
            self._taken[place] = stop
        # Stable: of an instant's changes, flows and splits come before fills.
        fresh.sort(key=_index)
        for change in fresh:
            if len(self._kept) * _EVERY <= len(changes):
                self._kept.append((head.cash, dict(head.held)))
            changes.append(change)
            self._indices.append(change.index)
            _book(head, change, base)
        if len(self._kept) * _EVERY <= len(changes):
            self._kept.append((head.cash, dict(head.held)))


def _book(portfolio: Portfolio, change: Change, base: Mapping[str, Series]) -> None:
    if isinstance(change, Fill):
        strategy, symbol = change.strategy, change.symbol
        own = portfolio.positions.setdefault(strategy, {})
        position = own.get(symbol) or Position(strategy, symbol, 0.0, 0.0, base[symbol])
        portfolio.record(position, change.signed_size, change.price, change.commission)
    elif isinstance(change, CashFlow):
        portfolio.cash += change.amount
    else:
        portfolio.split(change.symbol, change.ratio)


class _OrderHistory:
    """The orders that were open at an instant, with their terms at that time."""

    def __init__(self, traces: RunTraces) -> None:
        self._traces = traces
        self._open: list[list[Order]] = [[]]  # when the order of each `_EVERY`th number was submitted

    def at(self, cursor: int, instants: Int64, base: Mapping[str, Series]) -> tuple[OrderRow, ...]:
        """The open orders, in order of submission."""
        traces = self._traces
        edge = traces.notes.edges.get(cursor)
        moment = int(instants[cursor - 1]) if cursor else traces.notes.opens
        found: list[tuple[Order, int | None]]
        if edge is None:
            found = [(order, None) for order in self._near(moment)]
        else:
            found = [(traces.lists.orders[number - 1], count) for number, count in edge.orders]
        rows = (self._row(order, moment, count, instants, base) for order, count in found)
        return tuple([row for row in rows if row is not None])

    def _near(self, moment: int) -> list[Order]:
        """The orders that may have been open then, by their numbers and ends."""
        orders, kept = self._traces.lists.orders, self._open
        stop = bisect_right(orders, moment, key=_submitted)
        while len(kept) * _EVERY < stop:
            number = len(kept) * _EVERY
            since = orders[number].submitted_ns
            before = [*kept[-1], *orders[number - _EVERY : number]]
            kept.append([one for one in before if not one.closed_ns or one.closed_ns >= since])
        start = max(stop - 1, 0) // _EVERY
        near = [*kept[start], *orders[start * _EVERY : stop]]
        return [one for one in near if not one.closed_ns or one.closed_ns > moment]

    def _row(
        self, order: Order, moment: int, count: int | None, instants: Int64, base: Mapping[str, Series]
    ) -> OrderRow | None:
        """The order after its first `count` events, or after those until `moment`; None if it wasn't open."""
        life = order.life
        if not life:  # an order that an old version saved without events
            return OrderRow.of(order)
        if count is None:
            count = bisect_right(range(len(life) // EVENT_FIELDS), moment, key=lambda n: life[n * EVENT_FIELDS])
        life = life[: count * EVENT_FIELDS]
        kinds = life[1::EVENT_FIELDS]
        if _ACCEPTED not in kinds:
            return None  # a bracket's exit, whose entry waits
        size, limit, stop, trail, touch = life[_TERMS:]
        if trail is not None and stop is not None and _TRIGGERED not in kinds:
            # A split comes before the bar of its instant, which moves the level after it.
            since = life[-EVENT_FIELDS] - _is_split(kinds[-1], life[-EVENT_FIELDS + 2])
            then = Order(
                order.id, order.strategy, order.symbol, order.side, size, order.type, stop=stop, trail=trail,
                trail_is_fraction=order.trail_is_fraction,
            )  # fmt: skip
            stop = trailed_until(base[order.symbol].columns, then, since, moment + 1, self._traces.rules)
        filled = self._filled(order, life, instants) if _PART in kinds else 0.0
        return OrderRow(
            order.id, order.strategy, order.symbol, order.side, size, order.type, limit, stop, order.tag,
            order.submitted_ns, filled, order.tif, order.reduce_only,
            order._stamps, touch,  # noqa: SLF001 - hidden from strategies only
        )  # fmt: skip

    def _filled(self, order: Order, life: Sequence[Any], instants: Int64) -> float:
        """Units so far: its partial fills, in units of after the splits since."""
        filled = 0.0
        done: dict[int, int] = {}  # the number of splits by instant: several may come at one
        for at in range(0, len(life), EVENT_FIELDS):
            time, kind, reason, size = life[at : at + 4]
            if kind is _PART:
                filled += size
            elif _is_split(kind, reason):
                ratios = [
                    split.ratio
                    for split in self._traces.lists.splits
                    if split.symbol == order.symbol and instants[split.index] == time
                ]
                number = done.get(time, 0)
                done[time] = number + 1
                filled *= ratios[number]
        return filled


def _is_split(kind: OrderEventKind, reason: str | None) -> bool:
    return kind is _REPLACED and reason is not None and reason.startswith("split: ")


# -- of a finished run ----------------------------------------------------------------------------------------


class RecordedDays:
    """The trading days of a record's instants."""

    def __init__(self, instants: Int64, days: Int64) -> None:
        self._instants = instants
        self._days = days

    def day(self, moment: int) -> date:
        """The trading day of the instant that ends just after `moment`."""
        number = self._days[self._instants.searchsorted(moment, side="right")]
        return number.astype("datetime64[D]").item()  # type: ignore[no-any-return]


class RecordedPast:
    """The completed instants of a finished run."""

    def __init__(self, record: RunRecord) -> None:
        instants, stamps, notes = record.instants, record.stamps, _notes_of(record)
        series = [_series_of(record, columns, is_base=True) for columns in record.bars.values()]
        series += [_series_of(record, columns, is_base=False) for columns in record.coarser]
        self._axis = Axis(tuple(in_callback_order(series)), instants, None, None)
        days: Days = TradingDays(stamps.day_zone) if record.days is None else RecordedDays(instants, record.days)
        self._times = _times_of(record, notes, days)
        lists = TradingLists(
            list(record.fills), list(record.orders), list(record.flows), list(record.splits), IndicatorList()
        )
        traces = RunTraces(record.cash, lists, notes, BrokerRules.of(record.config))
        places = {(one.symbol, one.interval): one for one in series}
        narrow = notes.narrow or [0] * len(record.indicators)

        def newest(count: int, rows: Mapping[Series, int]) -> dict[str, Value]:
            return {
                one.name: one.newest_of(rows[places[one.symbol, one.interval]], plain)
                for one, plain in zip(record.indicators[:count], narrow, strict=False)
            }

        self._past = PastInstants(traces, newest, stamps, days)

    def look(self, at: Place) -> Snapshot:
        """The run at a place of its past.

        Raises
        ------
        ValueError
            If `at` is no place, or lies before the start or after the end.
        """
        return self._past.at(past_place(at, self._times, len(self._axis.instants)), self._axis)


def _series_of(record: RunRecord, columns: BarColumns, *, is_base: bool) -> Series:
    first = record.first.get(columns.symbol, 0)
    if not is_base:
        first = int(columns.end.searchsorted(record.instants[0])) if len(record.instants) else len(columns)
    return Series(columns, record.stamps.of(columns.interval), is_base=is_base, first=first)


def _notes_of(record: RunRecord) -> RunNotes:
    """The record's notes; if it has none, notes as if no symbol had joined and all indicators were made at the start."""
    if record.notes is not None:
        return record.notes
    begins = [int(c.time[record.first.get(s, 0)]) for s, c in record.bars.items() if record.first.get(s, 0) < len(c)]
    return RunNotes(min(begins, default=0), [(0, len(record.instants))], since=[0] * len(record.indicators))


def _times_of(record: RunRecord, notes: RunNotes, days: Days) -> RunTimes:
    stamps, config, instants = record.stamps, record.config, record.instants
    step = next(iter(record.bars.values())).interval.ns
    zone = zone_of(stamps, config.get("exchange", ""), config.get("day_zone"))
    dates, known = TradingDays(stamps.day_zone), record.days

    def begin(day: date) -> int:
        """The begin of a trading day: within the run the end of the day before, outside of it midnight."""
        number = number_of(day)
        if known is None or not len(instants) or not known[0] <= number <= known[-1]:
            return dates.begin(day)
        row = int(known.searchsorted(number))
        return int(instants[row - 1]) if row else min(notes.opens, dates.begin(day))

    return RunTimes(instants, notes.opens, step, stamps, zone, days.day, begin)
