"""The list of a run's indicators: what each is called in snapshots and charts, and what it reads at an instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from typing import NamedTuple

from nbbacktest.engine.series import Series
from nbbacktest.trading.indicators import Indicator

Value = float | tuple[float, ...]


class IndicatorEntry(NamedTuple):
    """An indicator and what it is called in snapshots."""

    key: str
    strategy: str
    handle: Indicator


class IndicatorList(list[IndicatorEntry]):
    """In the order in which strategies made them; it only ever grows.

    Each time that a run publishes, all newest values are. Of an indicator over whole columns that is the number of
    its bars, and its value is looked up by who asks for it: in a run of 500 symbols a third of the time went into values
    that nobody read. What is fed bar by bar, or is of bars that are still to come, is read at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: set[str] = set()
        self._rows: dict[Series, int] = {}  # those of whole columns, and where their numbers stand among `freeze`'s
        self._fed: list[IndicatorEntry] = []

    def enter(self, word: str, strategy: str, handle: Indicator) -> None:
        """Enter one under `word`, numbered where another is called so already: SMA(close, 10) #2."""
        number, key = 1, word
        while key in self._keys:
            number += 1
            key = f"{word} #{number}"
        self._keys.add(key)
        entry = IndicatorEntry(key, strategy, handle)
        if handle.is_settled:
            self._rows.setdefault(handle.series, len(self._rows))
        else:
            self._fed.append(entry)
        self.append(entry)

    def freeze(self) -> Mapping[str, Value]:
        """The newest values by key, as they are now whenever they are read."""
        rows = [series.n for series in self._rows]
        return _Newest(self, len(self), rows, {key: newest(handle) for key, _, handle in self._fed})

    def read(self, count: int, rows: list[int], fed: dict[str, Value]) -> dict[str, Value]:
        """The values of the first `count`, from what `freeze` put down."""
        found = {}
        for key, _, handle in self[:count]:
            value = fed.get(key)
            found[key] = handle.newest_of(rows[self._rows[handle.series]]) if value is None else value
        return found

    def at(self, count: int, rows: Mapping[Series, int]) -> dict[str, Value]:
        """The values of the first `count` when so many bars of each series were completed."""
        return {key: handle.newest_of(rows[handle.series]) for key, _, handle in self[:count]}


class _Newest(Mapping[str, Value]):
    """Values that are looked up when the first one is asked for; rows that were seen never change."""

    __slots__ = ("_count", "_fed", "_list", "_rows", "_values")

    def __init__(self, every: IndicatorList, count: int, rows: list[int], fed: dict[str, Value]) -> None:
        self._list = every
        self._count = count
        self._rows = rows
        self._fed = fed
        self._values: dict[str, Value] | None = None

    def _read(self) -> dict[str, Value]:
        if self._values is None:
            self._values = self._list.read(self._count, self._rows, self._fed)
        return self._values

    def __getitem__(self, key: str) -> Value:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return repr(self._read())


def newest(handle: Indicator) -> Value:
    """The newest value; NaN before there is one, and where a streaming object raises when it is fed."""
    try:
        return handle[-1]
    except Exception:  # noqa: BLE001 - the strategy that reads it is told, a snapshot isn't the place
        return nan
