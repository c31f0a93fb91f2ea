"""Indicators over whole columns, seen up to the cursor, and the list of a run's indicators. Streaming ones are in `streams`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import nan
from operator import index
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

import numpy as np

from nbbacktest.core.errors import IndicatorError, StateError
from nbbacktest.core.formats import cut, said, shown
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.engine.series import BarsView, ColumnView, Series
from nbbacktest.trading.outside import is_users

if TYPE_CHECKING:
    import pandas as pd

Value = float | tuple[float, ...]

COLUMNS = ("open", "high", "low", "close", "volume")


class Indicator:
    """Values of one indicator, one for each completed bar; NaN if it isn't defined yet.

    ``[-1]`` is the newest value, ``[-20:]`` an array of the last 20. Nothing later than the last completed
    bar can be reached: an index beyond it raises IndexError. ``float(ind)`` is the newest value too.

    Attributes
    ----------
    name : str
        Such as ``"SMA(close, 10)"``.
    """

    __slots__ = ("_again", "_fast", "_series", "_values", "name")

    def __init__(
        self, series: Series, values: Float64, name: str, again: Callable[[BarColumns], Float64] | None = None
    ) -> None:
        self._series = series
        self._values = values
        self._again = again  # computes the values anew if the columns have grown since
        # Plain floats, three times as fast as numpy's scalars.
        self._fast = values.data
        self.name = name

    def renew(self) -> None:
        """Compute the values anew, after `Series.show_earlier`."""
        if self._again is not None:
            self._values = self._again(self._series.columns)
            self._fast = self._values.data

    def over(self, columns: BarColumns) -> Float64 | None:
        """The indicator's values over `columns` alone; None if it wasn't computed from columns.

        Raises
        ------
        IndicatorError
            As when it was made.
        """
        return None if self._again is None else self._again(columns)

    @property
    def series(self) -> Series:
        """The bars that it is computed from."""
        return self._series

    @property
    def is_settled(self) -> bool:
        """True if all values are computed, those of later bars too, so that reading changes nothing."""
        return not self._series.is_open

    @property
    def feed(self) -> BarFeed | None:
        """None: the values are computed at once, and not fed bar by bar."""
        return None

    def newest_of(self, n: int) -> float:
        """The value of ``[-1]`` at `n` completed bars; NaN for 0. Any thread may ask a settled indicator."""
        return self._fast[n - 1] if n else nan

    @property
    def symbol(self) -> str:
        """The symbol of the bars that the indicator is computed from."""
        return self._series.symbol

    @property
    def interval(self) -> str:
        """The interval of the bars that the indicator is computed from."""
        return self._series.interval

    def __len__(self) -> int:
        return self._series.n

    @overload
    def __getitem__(self, key: int) -> float: ...
    @overload
    def __getitem__(self, key: slice) -> Float64: ...
    def __getitem__(self, key: int | slice) -> float | Float64:
        # Strategies read ind[-1] most often: it comes first and makes no call. Any other key, such as a slice, fails
        # here and is looked up later; testing the key's type first would cost 14 ns of 84.
        try:
            if key < 0:  # type: ignore[operator]
                row = self._series.n + key  # type: ignore[operator]
                if row >= 0:
                    return self._fast[row]
        except (IndexError, TypeError):  # IndexError: the columns have grown since
            pass
        return self._lookup(key)  # type: ignore[no-any-return]

    def _lookup(self, key: Any) -> Any:
        n = self._series.n
        values = self._until(n)
        return values[:n][key] if isinstance(key, slice) else float(values[bounded(key, n, self.name)])

    def _until(self, n: int) -> Float64:
        """The values of at least the first `n` bars; all are computed anew if bars have come that it lacks."""
        if len(self._values) < n:
            self.renew()
        return self._values

    def __iter__(self) -> Iterator[float]:
        return iter(self[:].tolist())

    def __float__(self) -> float:
        return float(self[-1])

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def to_series(self) -> pd.Series:
        """The values up to now as a pandas Series, indexed by the bars' stamps."""
        import pandas as pd

        stamps = self._series.stamps.begins(self._series.columns.time[: self._series.n])
        return pd.Series(list(self[:]), index=stamps.rename("time"), name=self.name, dtype=None if len(self) else float)

    def __repr__(self) -> str:
        newest = self[-1] if len(self) else "no value yet"
        return f"<{self.name} of {self.symbol} {self.interval}: {newest}>"


class IndicatorEntry(NamedTuple):
    """An indicator and its name in snapshots."""

    key: str
    strategy: str
    handle: Indicator


class IndicatorCall(NamedTuple):
    """One call of `Strategy.indicator`, and the number of indicators that it made."""

    strategy: str
    func: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    series: Series
    name: str | None
    outputs: int


class IndicatorAt(NamedTuple):
    """Stands for an indicator among the inputs of another one: its number in the run."""

    number: int


class StreamState(NamedTuple):
    """The number of bars that a streaming object was fed, and its answers: the stores, which only grow."""

    filled: int
    narrow: int
    stores: tuple[Any, ...]


class IndicatorState(NamedTuple):
    """The indicators of a run.

    Attributes
    ----------
    calls : tuple of IndicatorCall
        With `IndicatorAt` in place of indicators.
    keys : tuple of str
        The names of all indicators.
    feeds : dict
        By number of the call, the states of the indicators that are fed bar by bar.
    """

    calls: tuple[IndicatorCall, ...]
    keys: tuple[str, ...]
    feeds: dict[int, StreamState]


class BarFeed(Protocol):
    """The feed of a streaming indicator, as the list of a run needs it.

    Attributes
    ----------
    func : object
        The user's object whose `update` is called; None if there is none.
    """

    @property
    def func(self) -> Any:
        """The user's object."""
        ...

    def save(self) -> StreamState:
        """The number of bars that the object was fed, and its answers."""
        ...

    def resume(self, saved: StreamState, func: Any) -> None:
        """Go on with the copy `func` of the object that was fed so far; None: feed the fresh one anew."""
        ...


class IndicatorList(list[IndicatorEntry]):
    """The indicators of a run, in the order in which strategies made them; it only grows.

    A run publishes the newest values of all indicators. For an indicator over whole columns it publishes the number of
    bars, and the value is looked up when it is read: otherwise a run of 500 symbols spent a third of its time on values
    that were never read. Indicators that are fed bar by bar, or whose bars are still to come, are read at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: set[str] = set()
        self._rows: dict[Series, int] = {}  # indicators over whole columns, and their places in `freeze`
        self._fed: list[IndicatorEntry] = []
        self.calls: list[IndicatorCall] = []

    def enter(self, word: str, strategy: str, handle: Indicator) -> None:
        """Enter an indicator under the name `word`, numbered if another one has it already: SMA(close, 10) #2."""
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

    def at(self, count: int, rows: Mapping[Series, int]) -> dict[str, Value]:
        """The values of the first `count` indicators when that many bars of each series were completed."""
        return {key: handle.newest_of(rows[handle.series]) for key, _, handle in self[:count]}

    @property
    def feeds(self) -> list[BarFeed | None]:
        """For each call, the feed of its indicators; None for indicators over whole columns."""
        found, first = [], 0
        for call in self.calls:
            found.append(self[first].handle.feed)
            first += call.outputs
        return found

    def save(self) -> IndicatorState:
        """The state of the list: the calls that made its indicators, and their feeds."""
        numbers = {id(entry.handle): IndicatorAt(number) for number, entry in enumerate(self)}
        calls = [
            call._replace(
                inputs=tuple(numbers.get(id(value), value) for value in call.inputs),
                options={name: numbers.get(id(value), value) for name, value in call.options.items()},
            )
            for call in self.calls
        ]
        feeds = {number: feed.save() for number, feed in enumerate(self.feeds) if feed is not None}
        return IndicatorState(tuple(calls), tuple(entry.key for entry in self), feeds)

    def missing(self, saved: IndicatorState) -> list[IndicatorCall]:
        """The calls of the run `saved` that this fresh run hasn't made: it made them later than at the start.

        Raises
        ------
        StateError
            If the run has made other indicators than that one had, or a call may refer to objects of that one.
        """
        if (keys := [entry.key for entry in self]) != list(saved.keys[: len(keys)]):
            raise StateError(
                f"the fresh run's indicators are {', '.join(keys)}; the saved ones {', '.join(saved.keys)}"
            )
        later = saved.calls[len(self.calls) :]
        for call in later:
            if is_users(call.func) and (getattr(call.func, "__closure__", None) or isinstance(call.func, MethodType)):
                raise StateError(f"{call.func!r}, an indicator's since on_start, may refer to the saved run")
        return [
            call._replace(
                inputs=tuple(self._meant(value) for value in call.inputs),
                options={name: self._meant(value) for name, value in call.options.items()},
            )
            for call in later
        ]

    def _meant(self, value: Any) -> Any:
        return self[value.number].handle if isinstance(value, IndicatorAt) else value

    def resume(self, saved: IndicatorState, copies: Mapping[int, Any], fresh: int) -> None:
        """Let the fed indicators go on, with copies of the users' objects by number of the call.

        The objects of the first `fresh` calls are a fresh run's own: without a copy they are fed anew.

        Raises
        ------
        StateError
            If an object that was first fed after `on_start` has no copy.
        """
        for number, feed in enumerate(self.feeds):
            if feed is not None:
                if feed.func is not None and number >= fresh and number not in copies:
                    raise StateError(f"{feed.func!r}, made after on_start, feeds an indicator and can't be copied")
                feed.resume(saved.feeds[number], copies.get(number))

    def feed(self) -> None:
        """Feed those that are fed bar by bar with all bars that can be seen, as `freeze` does."""
        for _, _, handle in self._fed:
            newest(handle)

    def freeze(self) -> Mapping[str, Value]:
        """The newest values by key; read later, they are still those of now."""
        rows = [series.n for series in self._rows]
        return _Newest(self, len(self), rows, {key: newest(handle) for key, _, handle in self._fed})

    def read(self, count: int, rows: list[int], fed: dict[str, Value]) -> dict[str, Value]:
        """The values of the first `count` indicators, from the keys that `freeze` wrote."""
        found = {}
        for key, _, handle in self[:count]:
            value = fed.get(key)
            found[key] = handle.newest_of(rows[self._rows[handle.series]]) if value is None else value
        return found


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
    """The newest value; NaN before there is one, and if a streaming object raises when it is fed."""
    try:
        return handle[-1]
    except Exception:  # noqa: BLE001 - the strategy that reads it is told, a snapshot isn't the place
        return nan


def bounded(key: Any, n: int, name: str) -> int:
    """The row that `key` means among `n` completed ones.

    Raises
    ------
    IndexError
        If it is not one of them.
    """
    number = index(key)
    row = n + number if number < 0 else number
    if not 0 <= row < n:
        raise IndexError(f"{name}[{number}]: {n} bars are completed; test len() before looking further back")
    return row


def compute(
    func: Callable[..., Any], series: Series, inputs: Sequence[Any], options: dict[str, Any], name: str | None
) -> Indicator | tuple[Indicator, ...]:
    """Call `func` on whole columns, once.

    Parameters
    ----------
    func
        Arrays in, an array (or several) of the same length out.
    inputs
        Names of columns, indicators of the same bars, and anything else that `func` takes.
    options
        Its keyword arguments.
    name
        The name of the result; None makes it from `func` and the inputs.

    Returns
    -------
    Indicator or tuple of Indicator
        A named tuple if `func` gave one.

    Raises
    ------
    IndicatorError
        If `func` raised, or didn't give one number for each bar.
    """
    title = name or title_of(func, inputs, options)
    for value in (*inputs, *(v for v in options.values() if isinstance(v, Indicator))):
        _check_whole(value, series, title)
    computation = _Computation(func, inputs, options, title)
    columns, single, names = computation.outputs(series.columns)
    if single:
        return Indicator(series, columns[0], title, partial(computation.output, number=0))
    made = [
        Indicator(series, column, f"{title}.{word}", partial(computation.output, number=number))
        for number, (column, word) in enumerate(zip(columns, names, strict=True))
    ]
    make = computation.bundle
    return make(made) if make is not None else tuple(made)


class _Computation:
    """One call of a user's function on whole columns, to be made again when they have grown."""

    def __init__(self, func: Callable[..., Any], inputs: Sequence[Any], options: dict[str, Any], title: str) -> None:
        self._func, self._inputs, self._options, self._title = func, inputs, options, title
        self._last: tuple[BarColumns, list[Float64]] | None = None  # kept, since several outputs come from one call
        self.bundle: Callable[[list[Indicator]], Any] | None = None  # makes the named tuple that `func` returns

    def output(self, columns: BarColumns, number: int) -> Float64:
        """Output `number` of the function, over `columns`."""
        if self._last is None or self._last[0] is not columns:
            self._last = columns, self.outputs(columns)[0]
        return self._last[1][number]

    def outputs(self, columns: BarColumns) -> tuple[list[Float64], bool, list[str]]:
        """All outputs of the function over `columns`, True if there is just one, and the names if there are several."""
        title, n = self._title, len(columns)
        arguments = [_whole(value, columns) for value in self._inputs]
        keywords = {
            key: _whole(value, columns) if isinstance(value, Indicator) else value
            for key, value in self._options.items()
        }
        try:
            result = self._func(*arguments, **keywords)
        except Exception as error:
            raise IndicatorError(
                f"{title} raised on the {n} bars of {columns.symbol} {columns.interval}: {said(error)}"
            ) from error
        parts, names = _outputs(self._func, result, n)
        if parts is None:
            return [_column(result, n, title)], True, []
        self.bundle = getattr(result, "_make", None)
        return [_column(part, n, f"{title}.{word}") for part, word in zip(parts, names, strict=True)], False, names


def title_of(func: Any, inputs: Sequence[Any], options: dict[str, Any]) -> str:
    """A name for an indicator that reads like the call that made it."""
    target = getattr(func, "func", func)  # of a functools.partial
    word = getattr(target, "__name__", type(target).__name__).removesuffix("_Stream").strip("<>")
    words = [value.name if isinstance(value, Indicator) else _word(value) for value in inputs]
    words += [f"{key}={_word(value)}" for key, value in options.items()]
    return f"{word}({', '.join(words)})"


def output_names(func: Any) -> tuple[str, ...]:
    """TA-Lib's names for the outputs of its function `func`; empty for other functions."""
    word = getattr(func, "__name__", "").removesuffix("_Stream")
    if not word or not str(getattr(func, "__module__", "")).startswith("talib"):
        return ()
    from talib import abstract

    return tuple(abstract.Function(word).output_names)  # type: ignore[attr-defined]


def check_input(value: Any, series: Series, title: str) -> None:
    """Refuse an input that can't be lined up with the bars of `series`.

    Raises
    ------
    IndicatorError
        For an unknown column, an indicator of other bars, or a view that ends at now.
    """
    if isinstance(value, str) and value not in COLUMNS:
        raise IndicatorError(f"{title}: {value!r} is no column; columns are {', '.join(COLUMNS)}")
    if isinstance(value, (ColumnView, BarsView)):
        raise IndicatorError(f"{title}: self.bars() ends at now; name the column instead, such as 'close'")
    if isinstance(value, Indicator) and value._series is not series:  # noqa: SLF001 - hidden from strategies only
        raise IndicatorError(
            f"{title}: {value.name} is of {value.symbol} {value.interval} bars, "
            f"which don't line up with {series.symbol} {series.interval}; combine them in on_bar"
        )


def series_of_inputs(inputs: Sequence[Any]) -> Series | None:
    """The bars that the first indicator among `inputs` is of."""
    return next((value._series for value in inputs if isinstance(value, Indicator)), None)  # noqa: SLF001 - as above


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else cut(shown(value), 20)


def _check_whole(value: Any, series: Series, title: str) -> None:
    check_input(value, series, title)
    if isinstance(value, Indicator) and type(value) is not Indicator:
        raise IndicatorError(
            f"{title}: {value.name} is a streaming indicator, its later values don't exist yet; "
            "compute it from whole columns, or stream this one too"
        )


def _whole(value: Any, columns: BarColumns) -> Any:
    if isinstance(value, str):
        return getattr(columns, value)
    if isinstance(value, Indicator):
        return value._until(len(columns))[: len(columns)]  # noqa: SLF001 - as above
    return value


def _outputs(func: Any, result: Any, n: int) -> tuple[list[Any] | None, list[str]]:
    """Take several outputs apart; None for a single one."""
    if isinstance(result, (tuple, list)) and result and all(np.ndim(part) > 0 for part in result):
        fields = getattr(result, "_fields", ()) or output_names(func)
        parts = list(result)
    elif np.ndim(result) == 2:
        fields = tuple(str(name) for name in getattr(result, "columns", ()))
        table = np.asarray(result)
        # A frame has its outputs in columns; an array has them in rows, unless only its columns fit.
        parts = list(table.T if fields or (table.shape[0] == n and table.shape[1] != n) else table)
    else:
        return None, []
    names = list(fields) if len(fields) == len(parts) else [str(number) for number in range(len(parts))]
    return parts, names


def _column(values: Any, n: int, title: str) -> Float64:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        with suppress(TypeError, ValueError):
            array = array.astype(np.float64)
    if array.dtype.kind not in "fiub":
        raise IndicatorError(f"{title} gave values of type {array.dtype}; an indicator is numbers, NaN where undefined")
    if array.shape != (n,):
        shape = f"{len(array)} values" if array.ndim == 1 else f"an array of shape {array.shape}"
        raise IndicatorError(f"{title} gave {shape} for {n} bars; give one value for each bar, NaN where undefined")
    column = np.ascontiguousarray(array, dtype=np.float64).view()
    column.flags.writeable = False
    return column
