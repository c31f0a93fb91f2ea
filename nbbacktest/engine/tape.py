"""Columns and instants that grow while a run goes on, bar by bar, coarser bars included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nbbacktest.core.records import BarColumns, Int64
from nbbacktest.data.calendar import SessionTable
from nbbacktest.data.incoming_bars import IncomingBar
from nbbacktest.data.resample import derive
from nbbacktest.engine.arrivals import EVER
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Axis, Timeline

Covering = Callable[[int, int], SessionTable]
"""The sessions that cover a span of time, nanoseconds UTC."""

_FIELDS = ("time", "end", "open", "high", "low", "close", "volume")


class Growing:
    """An array that is appended to in amortised constant time; views of it keep what they show."""

    __slots__ = ("_room", "count")

    def __init__(self, start: npt.NDArray[np.generic]) -> None:
        self._room = np.array(start)
        self.count = len(start)

    def extend(self, values: Sequence[float] | npt.NDArray[np.generic]) -> None:
        """Append values; where the room is used up, it moves to one twice as large."""
        need = self.count + len(values)
        if need > len(self._room):
            room = np.empty(max(need, 2 * len(self._room), 64), self._room.dtype)
            room[: self.count] = self._room[: self.count]
            self._room = room
        self._room[self.count : need] = values
        self.count = need

    @property
    def view(self) -> npt.NDArray[np.generic]:
        """All of it, as it is now."""
        return self._room[: self.count]


class _Store:
    """The growing columns behind one series."""

    def __init__(self, series: Series) -> None:
        columns = series.columns
        self.series = series
        self._fields = {name: Growing(getattr(columns, name)) for name in _FIELDS}
        if not series.is_base and columns.base_count is not None:
            self._fields["base_count"] = Growing(columns.base_count)

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
    """Where the coarser bar that is being built begins among the base bars, and when it ends."""

    __slots__ = ("ends", "row")

    def __init__(self, row: int) -> None:
        self.row = row
        self.ends: int | None = None


class Tape:
    """Appends to the series of a run and to its timeline. The coordinator's thread alone uses it.

    A coarser bar is computed by `derive` from exactly the base bars that complete it, once, when the watermark has come
    to its end: its bits are those that a backtest over all bars would give.

    Parameters
    ----------
    timeline
        Of open series that hold nothing but history; its axis is replaced.
    covering
        Called where coarser bars are built.
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
        self._instants = Growing(axis.instants)
        self._events = Growing(np.empty(0, np.int32)) if axis.events is not None else None
        self._offsets = Growing(np.zeros(1, np.int64))

    def append(self, bars: Sequence[IncomingBar], watermark: int) -> int:
        """Take bars in the order of their ends, complete up to `watermark`; returns how many instants came of it."""
        grown: dict[int, _Store] = {}
        ends: list[tuple[int, int]] = []  # when a bar ends, and its series' number
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
        """The coarser bars that have become complete; None where none has."""
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
        """Append to the axis: all bars of one end are one instant."""
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


def _rows_behind(series: Series) -> int:
    """How many base bars the coarser bars of `series` were built from."""
    count = series.columns.base_count
    return 0 if count is None else int(count.sum())
