"""Bars that a cursor reveals: columns hold all loaded bars, views end at the last completed one; `Warmup` loads earlier ones.

Every view and indicator reads through `Series.n`, so none can be read beyond it. A function that gets whole columns could
look ahead: `nbbacktest.system.audit` checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nbbacktest.core.records import Bar, BarColumns, DerivedBar, Float64, Stamps
from nbbacktest.data.warmup import Need

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("open", "high", "low", "close", "volume")


class Series:
    """The bars of one symbol at one interval, which can be seen up to the cursor.

    Attributes
    ----------
    n : int
        The number of bars that can be seen. Written by the analysis thread alone, just before an instant's
        callbacks; another thread reads one int, of the instant under way or the last one.
    first : int
        The number of them that were loaded for warm-up: seen, never traded.
    columns : BarColumns
        Replaced by longer ones when bars are loaded or arrive during the run, before the cursor can come to them; by
        shorter ones when a symbol leaves the run. Rows that can be seen never change once the first instant has come.
    whole : BarColumns
        The columns that the run's instants are made of. The same as `columns`, unless values are loaded during the run:
        then all times are known from the beginning, the loader fills in the values, and `columns` are its first rows.
    made : list of Bar or None
        All bars of `whole`, if they were made before: runs of the same columns may share them.
    is_base : bool
        True for the interval that orders fill on.
    is_open : bool
        True if more bars may come than the columns hold.
    """

    __slots__ = (
        "close_at", "columns", "first", "interval", "is_base", "is_open", "made", "n", "stamps", "symbol", "whole",
    )  # fmt: skip

    def __init__(
        self, columns: BarColumns, stamps: Stamps, *, is_base: bool, first: int = 0, is_open: bool = False
    ) -> None:
        self.columns = self.whole = columns
        self.symbol = columns.symbol
        self.interval = columns.interval.name
        self.stamps = stamps
        self.is_base = is_base
        self.is_open = is_open
        self.made: list[Bar] | None = None
        self.first = first
        self.n = first
        # A memoryview gives plain Python floats, three times as fast as numpy's scalars to work with.
        self.close_at = memoryview(columns.close)

    @property
    def last_close(self) -> float | None:
        """The newest visible close, or None before the first bar."""
        return self.close_at[self.n - 1] if self.n else None

    def bar(self, row: int) -> Bar:
        """The bar at `row`, counted from the start of the columns."""
        c = self.columns
        fields = (
            self.symbol, self.interval, int(c.time[row]), int(c.end[row]), float(c.open[row]), float(c.high[row]),
            float(c.low[row]), float(c.close[row]), float(c.volume[row]), self.stamps,
        )  # fmt: skip
        if c.base_count is None or c.expected_count is None:
            return Bar(*fields)
        return DerivedBar(*fields, int(c.base_count[row]), int(c.expected_count[row]))

    def show_earlier(self, columns: BarColumns, first: int) -> None:
        """Take columns that begin earlier, `first` bars before the run; only before the first instant.

        Rows get other numbers then, so that views and indicators must be renewed (`renew`).
        """
        self.hold(columns)
        self.first = self.n = first

    def hold(self, columns: BarColumns) -> None:
        """Take other columns in place of the present ones; they agree in all rows that can be seen."""
        self.columns = self.whole = columns
        self.made = None
        self.close_at = memoryview(columns.close)

    def hold_part(self, whole: BarColumns, rows: int) -> None:
        """Hold the first `rows` of columns whose other rows have times but no values yet."""
        rows = min(rows, len(whole))
        self.whole = whole
        self.made = None
        self.columns = columns = whole.slice(0, rows)
        self.close_at = memoryview(columns.close)
        self.is_open = rows < len(whole)  # set last, so that a thread that reads False finds all columns whole


class ColumnView:
    """One column of a `BarsView`: ``[-1]`` is the newest completed bar's value, a slice is an array.

    Nothing later than the cursor can be reached: an index beyond it raises IndexError, as a list's does.
    """

    __slots__ = ("_fast", "_name", "_series")

    def __init__(self, series: Series, name: str) -> None:
        self._series = series
        self._name = name
        self._fast = memoryview(getattr(series.columns, name))

    def __len__(self) -> int:
        return self._series.n

    @overload
    def __getitem__(self, key: int) -> float: ...
    @overload
    def __getitem__(self, key: slice) -> Float64: ...
    def __getitem__(self, key: int | slice) -> float | Float64:
        # As in `Indicator`: the newest values come first.
        try:
            if key < 0:  # type: ignore[operator]
                row = self._series.n + key  # type: ignore[operator]
                if row >= 0:
                    return self._fast[row]
        except (IndexError, TypeError):  # IndexError: the columns have grown since
            pass
        return self._lookup(key)

    def _lookup(self, key: int | slice) -> float | Float64:
        n = self._series.n
        if isinstance(key, slice):
            return self._column[:n][key]
        row = n + key if key < 0 else key
        if not 0 <= row < n:
            raise IndexError(f"bar {key} of {n} completed ones")
        if row >= len(self._fast):
            self.renew()
        return self._fast[row]

    def renew(self) -> None:
        """Read the series' column as it is now, after `Series.show_earlier`."""
        self._fast = memoryview(self._column)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._column[: self._series.n], dtype=dtype, copy=copy)

    @property
    def _column(self) -> Float64:
        return getattr(self._series.columns, self._name)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{len(self)} values, newest {self[-1]:g}>" if len(self) else "<no values yet>"


class TimeView:
    """The stamps of a `BarsView`: ``[-1]`` is the newest completed bar's, a slice is a DatetimeIndex."""

    __slots__ = ("_series",)

    def __init__(self, series: Series) -> None:
        self._series = series

    def __len__(self) -> int:
        return self._series.n

    @overload
    def __getitem__(self, key: int) -> pd.Timestamp: ...
    @overload
    def __getitem__(self, key: slice) -> pd.DatetimeIndex: ...
    def __getitem__(self, key: int | slice) -> pd.Timestamp | pd.DatetimeIndex:
        series, n = self._series, self._series.n
        if isinstance(key, slice):
            return series.stamps.begins(series.columns.time[:n][key])
        row = n + key if key < 0 else key
        if not 0 <= row < n:
            raise IndexError(f"bar {key} of {n} completed ones")
        return series.stamps.begin(int(series.columns.time[row]))


class BarsView:
    """The completed bars of one symbol and interval, ending at *now*; it grows as the run goes on.

    Attributes
    ----------
    open, high, low, close, volume : ColumnView
        Index and slice like arrays; ``[-1]`` is the newest completed bar.
    time : TimeView
        The bars' stamps.
    """

    __slots__ = ("_series", "close", "high", "low", "open", "time", "volume")

    def __init__(self, series: Series) -> None:
        self._series = series
        self.open = ColumnView(series, "open")
        self.high = ColumnView(series, "high")
        self.low = ColumnView(series, "low")
        self.close = ColumnView(series, "close")
        self.volume = ColumnView(series, "volume")
        self.time = TimeView(series)

    @property
    def symbol(self) -> str:
        """The symbol of these bars."""
        return self._series.symbol

    @property
    def interval(self) -> str:
        """The length of each bar, such as ``"5m"``."""
        return self._series.interval

    def __len__(self) -> int:
        return self._series.n

    def __getitem__(self, key: int) -> Bar:
        n = self._series.n
        row = n + key if key < 0 else key
        if not 0 <= row < n:
            raise IndexError(f"bar {key} of {n} completed ones")
        return self._series.bar(row)

    def renew(self) -> None:
        """Look at the series' columns as they are now, after `Series.show_earlier`."""
        for name in _COLUMNS:
            getattr(self, name).renew()

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame of the completed bars, indexed by stamp; of derived ones `base_count` and `expected_count` too."""
        import pandas as pd

        c, n = self._series.columns, self._series.n
        names = (*_COLUMNS, "base_count", "expected_count") if c.is_derived else _COLUMNS
        return pd.DataFrame(
            {name: getattr(c, name)[:n] for name in names},
            index=self._series.stamps.begins(c.time[:n]).rename("time"),
        )

    def __repr__(self) -> str:
        return f"<{len(self)} bars of {self.symbol} {self.interval}>"


Loader = Callable[[Need], Sequence[tuple[BarColumns, int]] | None]
"""Gives, for every series in order, columns that reach as far back as a need wants, and how many of them are warm-up;
None if the source has nothing more."""


class Warmup:
    """Counts warm-up bars by symbol and interval. Used by the builder, then by the analysis thread alone.

    Parameters
    ----------
    series
        All of the run.
    needs
        The warm-up that was asked for before the bars were loaded.
    more
        None if nothing more can be loaded.
    """

    def __init__(self, series: Sequence[Series], needs: Sequence[Need] = (), more: Loader | None = None) -> None:
        self._series = tuple(series)
        self._more = more
        self._asked: dict[tuple[str, str], int] = {}
        for need in needs:
            self._note(need)

    def ask(self, need: Need, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Have as many bars as `need` wants, if the source has them; the columns then begin earlier.

        `before` is called before the change, and may refuse it; `after` remakes everything that was made from the old ones.
        """
        self._note(need)
        if self._more is None or all(one.first >= need.bars for one in self._meant(need)):
            return
        parts = self._more(need)
        if parts is None:
            return
        before()
        for one, (columns, first) in zip(self._series, parts, strict=True):
            one.show_earlier(columns, first)
        after()

    def lacking(self, need: Need) -> list[str]:
        """The series with fewer bars than were asked for, each as text with the numbers."""
        return [
            f"{one.symbol} {one.interval} has {one.first} of {need.bars}"
            for one in self._meant(need)
            if one.first < need.bars
        ]

    def table(self) -> dict[str, dict[str, dict[str, int]]]:
        """By symbol and interval, the numbers of bars that were asked for and that there are, unless both are 0."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for one in self._series:
            asked = self._asked.get((one.symbol, one.interval), 0)
            if asked or one.first:
                table.setdefault(one.symbol, {})[one.interval] = {"asked": asked, "got": one.first}
        return table

    def _note(self, need: Need) -> None:
        for one in self._meant(need):
            key = (one.symbol, one.interval)
            self._asked[key] = max(self._asked.get(key, 0), need.bars)

    def _meant(self, need: Need) -> list[Series]:
        return [
            one
            for one in self._series
            if (one.is_base if need.interval is None else one.interval == need.interval)
            and (need.symbols is None or one.symbol in need.symbols)
        ]
