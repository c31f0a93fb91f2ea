"""Puts the bars of a live run in order as they arrive, and appends them to growing columns. No threads, clocks or I/O."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import DataError
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.live_market import IncomingBar
from nbbacktest.data.resample import derive
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Axis, Timeline

NEVER, EVER = -(1 << 62), 1 << 62
KEPT = 10_000
"""The number of a symbol's newest bars that are remembered, to tell duplicates from late bars."""
Covering = Callable[[int, int], SessionTable]
"""The sessions that cover a span of time, nanoseconds UTC."""

_FIELDS = ("time", "end", "open", "high", "low", "close", "volume")


class Released(NamedTuple):
    """The bars that may become instants now, in order, and the moment up to which no bar can come any more."""

    bars: list[IncomingBar]
    watermark: int


class Arrivals:
    """Bars that wait until their instant is known to be complete.

    An instant is released when the *watermark* has come to it: the newest heartbeat, or the moment up to which every
    symbol has sent bars, whichever is later, or the instant of a bar that has waited `grace` seconds. Once
    released it never changes.

    Parameters
    ----------
    symbols
        The symbols, in the order of their callbacks.
    grace
        Seconds of the caller's clock.
    watermark
        All bars up to it are history: none may arrive.

    Attributes
    ----------
    watermark : int
        Everything up to it has been released. Only rises.
    received, late, duplicate, out_of_order : int
        Bars taken; bars for instants that were released, dropped; bars that were there already; bars that came after
        a later one of their symbol, and were put in order.
    waiting : int
        Bars that were taken and aren't released.
    """

    def __init__(self, symbols: Sequence[str], grace: float, stamps: Stamps, watermark: int = NEVER) -> None:
        self._order = {symbol: number for number, symbol in enumerate(symbols)}
        self._grace = grace
        self._stamps = stamps
        self._known: dict[str, dict[int, IncomingBar]] = {symbol: {} for symbol in symbols}
        self._newest = dict.fromkeys(symbols, NEVER)
        self._pending: dict[int, list[IncomingBar]] = {}
        self._ends: list[int] = []  # the instants of waiting bars, rising
        self._since: deque[tuple[float, int]] = (
            deque()
        )  # for each waiting instant, when its first bar arrived, and the instant; in that order
        self._told = NEVER
        self.watermark = watermark
        self.received = self.late = self.duplicate = self.out_of_order = self.waiting = 0

    def add(self, bar: IncomingBar, now: float) -> bool:
        """Take a bar that arrived when the caller's clock showed `now`; False if it was dropped.

        Raises
        ------
        DataError
            If it differs from the bar that is there already.
        """
        known = self._known[bar.symbol]
        there = known.get(bar.end)
        if there is not None:
            if there != bar:
                raise DataError(
                    f"{bar.symbol} at {self._stamps.begin(bar.time)}: another bar was sent for that time, "
                    f"{_prices(there)}, and now {_prices(bar)}; bars are final once they are sent"
                )
            self.duplicate += 1
            return False
        if bar.end <= self.watermark:
            self.late += 1
            return False
        known[bar.end] = bar
        if len(known) > KEPT and (oldest := next(iter(known))) <= self.watermark:
            del known[oldest]
        if bar.end < self._newest[bar.symbol]:
            self.out_of_order += 1
        else:
            self._newest[bar.symbol] = bar.end
        if bar.end not in self._pending:
            self._pending[bar.end] = []
            insort(self._ends, bar.end)
            self._since.append((now, bar.end))
        self._pending[bar.end].append(bar)
        self.received += 1
        self.waiting += 1
        return True

    def heartbeat(self, moment: int) -> None:
        """Take the promise that every bar that ends up to `moment` has been sent."""
        self._told = max(self._told, moment)

    def release(self, now: float) -> Released:
        """Take out all bars that may become instants when the caller's clock shows `now`."""
        self.watermark = max(self.watermark, self._told, min(self._newest.values()), self._waited_out(now))
        count = 0
        bars: list[IncomingBar] = []
        for end in self._ends:
            if end > self.watermark:
                break
            bars += sorted(self._pending.pop(end), key=lambda bar: self._order[bar.symbol])
            count += 1
        del self._ends[:count]
        while self._since and self._since[0][1] <= self.watermark:
            self._since.popleft()
        self.waiting -= len(bars)
        return Released(bars, self.watermark)

    def finish(self) -> None:
        """Take the promise that no bar comes any more."""
        self._told = EVER

    @property
    def deadline(self) -> float | None:
        """The time of the caller's clock at which the bar that has waited longest is released; None if none waits."""
        return self._since[0][0] + self._grace if self._since else None

    def oldest_waiting(self) -> dict[str, int]:
        """For each symbol that has one, the end of its oldest bar that waits."""
        found: dict[str, int] = {}
        for end in self._ends:
            for bar in self._pending[end]:
                found.setdefault(bar.symbol, end)
        return found

    def _waited_out(self, now: float) -> int:
        reached = NEVER
        for since, end in self._since:
            if since + self._grace > now:
                break
            reached = max(reached, end)
        return reached


class GrowingArray:
    """An array that is appended to in amortised constant time; views of it keep their values."""

    __slots__ = ("_room", "count")

    def __init__(self, start: npt.NDArray[np.generic]) -> None:
        self._room = np.array(start)
        self.count = len(start)

    def extend(self, values: Sequence[float] | npt.NDArray[np.generic]) -> None:
        """Append values; if the room is used up, it moves to one twice as large."""
        need = self.count + len(values)
        if need > len(self._room):
            room = np.empty(max(need, 2 * len(self._room), 64), self._room.dtype)
            room[: self.count] = self._room[: self.count]
            self._room = room
        self._room[self.count : need] = values
        self.count = need

    @property
    def view(self) -> npt.NDArray[np.generic]:
        """A view of all values so far."""
        return self._room[: self.count]


class _Store:
    """The growing columns behind one series."""

    def __init__(self, series: Series) -> None:
        columns = series.columns
        self.series = series
        self._fields = {name: GrowingArray(getattr(columns, name)) for name in _FIELDS}
        if not series.is_base and columns.base_count is not None:
            self._fields["base_count"] = GrowingArray(columns.base_count)

    def extend(self, rows: dict[str, Sequence[float] | npt.NDArray[np.generic]]) -> None:
        for name, field in self._fields.items():
            field.extend(rows[name])

    def publish(self) -> None:
        columns = self.series.columns
        views = {name: field.view for name, field in self._fields.items()}
        self.series.hold(BarColumns(columns.symbol, columns.interval, **views))  # type: ignore[arg-type]

    def columns_from(self, row: int) -> BarColumns:
        columns = self.series.columns
        views = {name: field.view[row:] for name, field in self._fields.items()}
        return BarColumns(columns.symbol, columns.interval, **views)  # type: ignore[arg-type]

    @property
    def count(self) -> int:
        return self._fields["end"].count


class _Derived(NamedTuple):
    number: int
    store: _Store
    base: _Store
    bucket: _Bucket


class _Bucket:
    """The coarser bar that is being built: its first base bar, and its end."""

    __slots__ = ("ends", "row")

    def __init__(self, row: int) -> None:
        self.row = row
        self.ends: int | None = None


class LiveColumns:
    """Appends to the series of a run and to its timeline. The coordinator's thread alone uses it.

    A coarser bar is computed by `derive` from exactly the base bars that complete it, once, when the watermark has come
    to its end: its bits are those that a backtest over all bars would give.

    Parameters
    ----------
    timeline
        The run's timeline; its series are open and begin with history alone. Its axis is replaced.
    covering
        Called when coarser bars are built.
    """

    def __init__(self, timeline: Timeline, covering: Covering) -> None:
        self._timeline = timeline
        self._covering = covering
        axis = timeline.axis
        stores = [_Store(series) for series in axis.series]
        self._bases = {s.series.symbol: (number, s) for number, s in enumerate(stores) if s.series.is_base}
        self._derived = [
            _Derived(number, store, self._bases[store.series.symbol][1], _Bucket(_rows_behind(store.series)))
            for number, store in enumerate(stores)
            if not store.series.is_base
        ]
        self._instants = GrowingArray(axis.instants)
        self._events = GrowingArray(np.empty(0, np.int32)) if axis.events is not None else None
        self._offsets = GrowingArray(np.zeros(1, np.int64))

    def append(self, bars: Sequence[IncomingBar], watermark: int) -> int:
        """Take bars in the order of their ends, complete up to `watermark`; returns the number of new instants."""
        grown: dict[int, _Store] = {}
        ends: list[tuple[int, int]] = []  # for each bar, its end and the number of its series
        by_symbol: dict[str, list[IncomingBar]] = {}
        for bar in bars:
            by_symbol.setdefault(bar.symbol, []).append(bar)
        for symbol, own in by_symbol.items():
            number, store = self._bases[symbol]
            store.extend(dict(zip(_FIELDS, list(zip(*own, strict=True))[1:], strict=True)))
            grown[number] = store
            ends += [(bar.end, number) for bar in own]
        for number, store, base, bucket in self._derived:
            finished = self._finished(store, base, bucket, watermark)
            if finished is not None:
                store.extend({name: getattr(finished, name) for name in (*_FIELDS, "base_count")})
                grown[number] = store
                ends += [(end, number) for end in finished.end.tolist()]
        if not ends:
            return 0
        for store in grown.values():
            store.publish()
        return self._lay(sorted(ends))

    def _finished(self, store: _Store, base: _Store, bucket: _Bucket, watermark: int) -> BarColumns | None:
        """The coarser bars that have become complete; None if none has."""
        if base.count == bucket.row or (bucket.ends is not None and bucket.ends > watermark):
            return None
        pending = base.columns_from(bucket.row)
        sessions = self._covering(int(pending.time[0]), int(pending.end[-1]))
        made = derive(pending, store.series.columns.interval, sessions)
        count = len(made) if watermark == EVER else int(np.searchsorted(made.end, watermark, side="right"))
        bucket.ends = int(made.end[count]) if count < len(made) else None
        if not count or made.base_count is None:
            return None
        bucket.row += int(made.base_count[:count].sum())
        return made.slice(0, count)

    def _lay(self, ends: list[tuple[int, int]]) -> int:
        """Append to the axis; bars that end at one time are one instant."""
        fresh = sorted({end for end, _ in ends})
        self._instants.extend(fresh)
        instants: Int64 = self._instants.view  # type: ignore[assignment]
        if self._events is None:
            self._timeline.axis = Axis(self._timeline.series, instants, None, None)
            return len(fresh)
        before, at = self._events.count, np.array([end for end, _ in ends], np.int64)
        self._events.extend([number for _, number in ends])
        self._offsets.extend(before + np.searchsorted(at, np.array(fresh), side="right"))
        self._timeline.axis = Axis(
            self._timeline.series,
            instants,
            self._events.view,  # type: ignore[arg-type]
            self._offsets.view,  # type: ignore[arg-type]
        )
        return len(fresh)


def _prices(bar: IncomingBar) -> str:
    return f"open {bar.open:g} high {bar.high:g} low {bar.low:g} close {bar.close:g} volume {bar.volume:g}"


def _rows_behind(series: Series) -> int:
    """The number of base bars that the coarser bars of `series` were built from."""
    count = series.columns.base_count
    return 0 if count is None else int(count.sum())
