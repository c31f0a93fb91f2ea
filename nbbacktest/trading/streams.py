"""Streaming indicators: objects that are fed one completed bar after the other, and never a later one.

They are fed when they are read, up to the cursor and in order, so that the values don't depend on when that is.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import nan
from typing import Any

import numpy as np

from nbbacktest.core.errors import IndicatorError
from nbbacktest.core.formats import said
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.engine.series import Series
from nbbacktest.trading.indicators import (
    COLUMNS,
    Indicator,
    StreamState,
    bounded,
    check_input,
    compute,
    output_names,
    title_of,
)


class StreamFeed:
    """Feeds one streaming object and keeps its answers.

    Attributes
    ----------
    filled : int
        The number of bars that were fed.
    stores : list
        For each output, one value a fed bar: a compact float array, or a list if values are tuples.
    narrow : int
        The number of values before the first tuple.
    """

    __slots__ = ("_answer", "_title", "filled", "narrow", "stores")

    def __init__(self, answer: _UpdateStream | _TalibStream, outputs: int, title: str) -> None:
        self._answer = answer
        self._title = title
        self.filled = self.narrow = 0
        self.stores: list[Any] = [array("d") for _ in range(outputs)]

    @property
    def func(self) -> Any:
        """The user's object whose `update` is called; None for TA-Lib's."""
        return self._answer.func if isinstance(self._answer, _UpdateStream) else None

    def save(self) -> StreamState:
        """The number of bars that the object was fed, and its answers."""
        return StreamState(self.filled, self.narrow, tuple(self.stores))

    def resume(self, saved: StreamState, func: Any) -> None:
        """Go on with `func`, a copy of the object that was fed so far; None: feed the fresh one anew."""
        if func is None:
            self.catch_up(saved.filled)
            return
        if isinstance(self._answer, _UpdateStream):
            self._answer.func = func
        self.stores = [store[: saved.filled] for store in saved.stores]
        self.filled, self.narrow = saved.filled, saved.narrow

    def catch_up(self, n: int) -> None:
        """Feed the bars that have completed since the last call, up to the first `n`.

        Raises
        ------
        IndicatorError
            If the object raised, or its answer is neither a number, nor None, nor a tuple of numbers.
        """
        for row in range(self.filled, n):
            try:
                self._keep(self._answer(row))
            except Exception as error:
                raise IndicatorError(f"{self._title} failed on bar {row}: {said(error)}") from error
            self.filled = row + 1

    def _keep(self, value: Any) -> None:
        stores = self.stores
        if len(stores) > 1:
            parts = (nan,) * len(stores) if value is None else tuple(value)
            for store, part in zip(stores, map(float, parts), strict=True):
                store.append(part)
            return
        store = stores[0]
        if isinstance(value, tuple):
            value = tuple(map(float, value))
            if isinstance(store, array):
                # The first tuple tells how wide values are: those before it become as wide.
                self.narrow = len(store)
                store = stores[0] = [(nan,) * len(value)] * len(store)
        elif value is None:
            value = nan if isinstance(store, array) else (nan,) * len(store[-1])
        store.append(value)


class StreamIndicator(Indicator):
    """One output of a streaming object; reads like any `Indicator`.

    If the object's `update` answers a tuple, ``[-1]`` is that tuple and a slice has two dimensions.
    """

    __slots__ = ("_feed", "output")

    def __init__(self, series: Series, feed: StreamFeed, output: int, name: str) -> None:
        self._series = series
        self._feed = feed
        self.output = output
        self.name = name

    def renew(self) -> None:
        """Do nothing: no bar has been fed yet, and inputs are looked up when bars are fed."""

    @property
    def is_settled(self) -> bool:
        """False: reading the indicator feeds it."""
        return False

    @property
    def feed(self) -> StreamFeed:
        """Its feed."""
        return self._feed

    @property
    def is_fed(self) -> bool:
        """True once a bar has been fed."""
        return self._feed.filled > 0

    @property
    def narrow(self) -> int:
        """The number of its first values that were plain numbers, if it answers tuples now."""
        return self._feed.narrow

    def newest_of(self, n: int) -> Any:
        """The value of ``[-1]`` when `n` bars were completed; NaN if there was none, or it wasn't fed so far."""
        store = self._feed.stores[self.output]
        return store[n - 1] if self._feed.narrow < n <= len(store) else nan

    def __getitem__(self, key: Any) -> Any:
        n = self._series.n
        feed = self._feed
        if feed.filled < n:
            feed.catch_up(n)
        if key.__class__ is int and key < 0:
            row = n + key
            if row >= 0:
                return feed.stores[self.output][row]
        return self._lookup(key)

    def _lookup(self, key: Any) -> Any:
        n = self._series.n
        store = self._feed.stores[self.output]
        if isinstance(key, slice):
            start, stop, step = key.indices(n)
            # A negative step may end before the first row, which a plain slice writes as None.
            return np.array(store[start : stop if stop >= 0 else None : step], dtype=np.float64)
        return store[bounded(key, n, self.name)]


def make_indicators(
    func: Any, series: Series, inputs: tuple[Any, ...], options: dict[str, Any], name: str | None
) -> Any:
    """One indicator or several, over whole columns or fed bar by bar, as `func` is; see `compute` and `stream`."""
    make = stream if is_streaming(func) else compute
    return make(func, series, inputs, options, name)


def is_streaming(func: Any) -> bool:
    """True if `func` is fed bar by bar: TA-Lib's stream functions, and objects with an `update`."""
    return _is_talib_stream(func) or hasattr(func, "update")


def stream(
    func: Any, series: Series, inputs: Sequence[Any], options: dict[str, Any], name: str | None
) -> StreamIndicator | tuple[StreamIndicator, ...]:
    """An indicator fed by the completed bars of `series`.

    Parameters
    ----------
    func
        A function of `talib.stream`, or an object whose ``update(*inputs)`` answers a number, a tuple of
        them, or None if it isn't defined yet. An object with several outputs may name them in
        `output_names`; each is then an indicator of its own.
    inputs
        Names of columns and indicators of the same bars; anything else is given along unchanged.

    Raises
    ------
    IndicatorError
        If `func` is a class instead of an object, or no input changes with the bars.
    """
    title = name or title_of(func, inputs, options)
    for value in inputs:
        check_input(value, series, title)
    moving = _Moving(series, {place: v for place, v in enumerate(inputs) if isinstance(v, (str, Indicator))})
    if not moving.places:
        raise IndicatorError(f"{title} has no input that changes with the bars; name a column: {', '.join(COLUMNS)}")
    answer: _UpdateStream | _TalibStream
    if _is_talib_stream(func):
        names = output_names(func)
        answer = _TalibStream(func, inputs, options, moving)
    elif isinstance(func, type):
        raise IndicatorError(f"{title}: {func.__name__} is a class; give an object, {func.__name__}(...)")
    else:
        names = tuple(getattr(func, "output_names", ()))
        answer = _UpdateStream(func, inputs, options, moving)
    feed = StreamFeed(answer, max(len(names), 1), title)
    if len(names) < 2:
        return StreamIndicator(series, feed, 0, title)
    return tuple(StreamIndicator(series, feed, number, f"{title}.{word}") for number, word in enumerate(names))


class _Moving:
    """The inputs that change with the bars, by their places among all."""

    __slots__ = ("_columns", "_fast", "_series", "places")

    def __init__(self, series: Series, places: dict[int, str | Indicator]) -> None:
        self._series = series
        self.places = places
        self._columns: BarColumns | None = None
        self._fast: dict[int, Any] = {}

    def by_row(self) -> dict[int, Any]:
        """The inputs as sequences of plain floats: memoryviews of columns and values, streaming indicators as they are."""
        columns = self._series.columns
        if columns is not self._columns:  # true the first time, and when the columns have grown
            whole = self._arrays(columns)
            self._fast = {p: v if isinstance(v, StreamIndicator) else v.data for p, v in whole.items()}
            self._columns = columns
        return self._fast

    def until(self, row: int) -> dict[int, Float64]:
        """Arrays that end with the bar at `row`."""
        return {place: np.asarray(values[: row + 1]) for place, values in self._arrays(self._series.columns).items()}

    def _arrays(self, columns: BarColumns) -> dict[int, Any]:
        return {place: self._array(value, columns) for place, value in self.places.items()}

    @staticmethod
    def _array(value: str | Indicator, columns: BarColumns) -> Any:
        if isinstance(value, str):
            return getattr(columns, value)
        return value if isinstance(value, StreamIndicator) else value._until(len(columns))  # noqa: SLF001


class _UpdateStream:
    """Calls the `update` of a user's object with each completed bar."""

    __slots__ = ("_func", "_inputs", "_moving", "_options", "_update")

    def __init__(self, func: Any, inputs: Sequence[Any], options: dict[str, Any], moving: _Moving) -> None:
        self.func = func
        self._inputs, self._options = inputs, options
        self._moving = moving

    @property
    def func(self) -> Any:
        """The user's object."""
        return self._func

    @func.setter
    def func(self, func: Any) -> None:
        self._func, self._update = func, func.update

    def __call__(self, row: int) -> Any:
        fast = self._moving.by_row()
        arguments = [fast[place][row] if place in fast else value for place, value in enumerate(self._inputs)]
        value = self._update(*arguments, **self._options)
        return value if value is None or isinstance(value, tuple) else float(value)


class _TalibStream:
    """Opens a handle of TA-Lib as soon as there is history enough, and carries it on by one bar at a time."""

    __slots__ = ("_func", "_handle", "_inputs", "_moving", "_options")

    def __init__(self, func: Any, inputs: Sequence[Any], options: dict[str, Any], moving: _Moving) -> None:
        self._func, self._inputs, self._options = func, inputs, options
        self._moving = moving
        self._handle: Any = None

    def __call__(self, row: int) -> Any:
        if self._handle is not None:
            return self._handle.update(*[column[row] for column in self._moving.by_row().values()])
        from talib import InsufficientHistory  # type: ignore[attr-defined] # its stubs lack it

        seen: dict[int, Any] = self._moving.until(row)
        try:
            self._handle = self._func(*[seen.get(p, value) for p, value in enumerate(self._inputs)], **self._options)
        except InsufficientHistory:
            return None
        return self._handle.value


def _is_talib_stream(func: Any) -> bool:
    return isinstance(func, type) and hasattr(func, "open_and_fill")
