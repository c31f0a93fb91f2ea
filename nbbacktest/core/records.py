"""Bars: one immutable record for strategies, and columns of them for everything else."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from nbbacktest.core.intervals import DAY, Interval

if TYPE_CHECKING:
    import pandas as pd

Int64 = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
"""The names of the prices of a bar."""
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stamps:
    """The labels of a run's times; they don't affect the run. `day_zone` decides the day that a time belongs to.

    Attributes
    ----------
    timezone : str
        IANA name of the zone in which times are shown, such as ``"America/New_York"``.
    dates : bool
        True if the source gave naive session dates: labels are then naive, and in `day_zone`.
    day_zone : str
        IANA name of the zone in which dates begin at midnight; `timezone` if left out.
    daily : bool
        True if bars are whole sessions, so that where one begins is shown as its session's date.
    """

    timezone: str = "UTC"
    dates: bool = False
    day_zone: str = ""
    daily: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "day_zone", self.day_zone or self.timezone)
        object.__setattr__(self, "daily", self.daily or self.dates)

    def of(self, interval: Interval) -> Stamps:
        """These labels for bars of length `interval`."""
        return self if self.daily is interval.is_daily else replace(self, daily=interval.is_daily)

    def stamp(self, ns: int) -> pd.Timestamp:
        """The instant `ns` (nanoseconds UTC) as a timestamp."""
        import pandas as pd

        stamp = pd.Timestamp(int(ns), unit="ns", tz="UTC")
        return stamp.tz_convert(self.day_zone).tz_localize(None) if self.dates else stamp.tz_convert(self.timezone)

    def index(self, ns: Int64) -> pd.DatetimeIndex:
        """Many instants as an index."""
        import pandas as pd

        index = pd.DatetimeIndex(np.asarray(ns, dtype="datetime64[ns]"), tz="UTC")
        return index.tz_convert(self.day_zone).tz_localize(None) if self.dates else index.tz_convert(self.timezone)

    def begin(self, ns: int) -> pd.Timestamp:
        """The stamp of a bar that begins at `ns`: that instant, or of a session-long bar the midnight of its date."""
        return self.begins(np.array([ns], dtype=np.int64))[0] if self._are_moved else self.stamp(ns)

    def begins(self, ns: Int64) -> pd.DatetimeIndex:
        """The stamps of many bars."""
        if not self._are_moved:
            return self.index(ns)
        import pandas as pd

        index = pd.DatetimeIndex(np.asarray(ns, dtype="datetime64[ns]"), tz="UTC")
        return self.dated(index.tz_convert(self.day_zone).tz_localize(None))

    def dated(self, days: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Dates, as naive timestamps, as they are shown: the midnights that begin them, or the first time after those."""
        import pandas as pd

        days = pd.DatetimeIndex((days.as_unit("ns").asi8 // DAY * DAY).view("datetime64[ns]"))
        if self.dates:
            return days
        first = np.ones(len(days), dtype=np.bool_)
        return days.tz_localize(self.timezone, ambiguous=first, nonexistent="shift_forward")

    @property
    def _are_moved(self) -> bool:
        """True if dates are shown as the midnights of another zone than their own."""
        return self.daily and not self.dates and self.day_zone != self.timezone

    def instant(self, ns: int) -> pd.Timestamp:
        """The instant at which bars complete; in a run that shows dates, the session date that it ends."""
        import pandas as pd

        return (self.stamp(ns) - pd.Timedelta(1, "ns")).normalize() if self.dates else self.stamp(ns)

    def instants(self, ns: Int64) -> pd.DatetimeIndex:
        """Many such instants as an index."""
        import pandas as pd

        return (self.index(ns) - pd.Timedelta(1, "ns")).normalize() if self.dates else self.index(ns)


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One completed bar. It spans ``[time, end)`` and is seen at `end`.

    Immutable and safe to keep. Prices and volume are plain floats.
    """

    # A struct is made by C code straight from columns, in a quarter of the time of an object with an __init__, and read in a
    # fifth of a property's. The garbage collector has nothing to find in it.

    symbol: str
    interval: str
    time_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    _stamps: Stamps

    @property
    def time(self) -> pd.Timestamp:
        """The stamp: where the bar starts, or its session's date."""
        return self._stamps.begin(self.time_ns)

    @property
    def end(self) -> pd.Timestamp:
        """The instant at which the bar is complete and can be seen."""
        return self._stamps.stamp(self.end_ns)

    def __repr__(self) -> str:
        return (
            f"Bar({self.symbol} {self.interval} {self.time} open={self.open:g} high={self.high:g} "
            f"low={self.low:g} close={self.close:g} volume={self.volume:g})"
        )

    # Base bars are made by the million, so that values that are the same for all of them aren't stored in each.

    @property
    def base_count(self) -> int:
        """The number of base bars that it was built from; 1 for a base bar."""
        return 1

    @property
    def expected_count(self) -> int:
        """The number of base bars that the calendar has room for in it; 1 for a base bar."""
        return 1

    @property
    def is_complete(self) -> bool:
        """True if none of its base bars is missing."""
        return self.base_count >= self.expected_count


class DerivedBar(Bar, frozen=True, gc=False):
    """A completed bar that was built from base bars; it has their number."""

    base_count: int
    expected_count: int

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]} from {self.base_count} of {self.expected_count})"


@dataclass(frozen=True, slots=True)
class FormingBar:
    """A bar that is not complete: the sum of its base bars so far. It is no `Bar`, so that it can't be taken for one.

    Attributes
    ----------
    symbol, interval : str
    time_ns, closes_ns : int
        The times at which it begins and will be complete, nanoseconds UTC.
    open, high, low, close, volume : float
        Of the base bars seen until now.
    base_count, expected_count : int
        The number of those base bars, and the number that the whole bar has room for.
    """

    symbol: str
    interval: str
    time_ns: int
    closes_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    base_count: int
    expected_count: int
    _stamps: Stamps

    @property
    def is_complete(self) -> bool:
        """Always False."""
        return False

    @property
    def time(self) -> pd.Timestamp:
        """The stamp that the completed bar will have."""
        return self._stamps.begin(self.time_ns)

    @property
    def closes_at(self) -> pd.Timestamp:
        """The instant at which the bar will be complete, by the calendar."""
        return self._stamps.stamp(self.closes_ns)

    def __repr__(self) -> str:
        return (
            f"FormingBar({self.symbol} {self.interval} {self.time} open={self.open:g} high={self.high:g} "
            f"low={self.low:g} close={self.close:g} volume={self.volume:g} from {self.base_count} of "
            f"{self.expected_count}, closes at {self.closes_at})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class BarColumns:
    """The bars of one symbol at one interval, as columns of one length, rising in time.

    Attributes
    ----------
    time, end : int64 arrays
        Nanoseconds UTC; the bar spans ``[time, end)``. For a session-long bar `time` is the
        midnight of the session's date in the exchange's zone and `end` the session's close.
    open, high, low, close, volume : float64 arrays
    base_count : int64 array or None
        For derived bars, the number of base bars that each was built from.
    expected_count : int64 array or None
        For derived bars, the number of base bars that the calendar has room for in each.
    root : Interval or None
        For derived bars, the interval of those base bars.
    """

    symbol: str
    interval: Interval
    time: Int64
    end: Int64
    open: Float64
    high: Float64
    low: Float64
    close: Float64
    volume: Float64
    base_count: Int64 | None = field(default=None)
    expected_count: Int64 | None = field(default=None)
    root: Interval | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("time", "end", "open", "high", "low", "close", "volume", "base_count", "expected_count"):
            column = getattr(self, name)
            if column is None:
                continue
            dtype = np.float64 if name in ("open", "high", "low", "close", "volume") else np.int64
            column = np.ascontiguousarray(column, dtype=dtype)
            if len(column) != len(self.time):
                raise ValueError(f"column {name} has {len(column)} rows and time has {len(self.time)}")
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def is_derived(self) -> bool:
        """True if the bars were built from base bars."""
        return self.root is not None

    def taken(self, rows: builtins.slice | Bools) -> BarColumns:
        """The bars that `rows` picks; with a slice the columns are views."""
        count, expected = self.base_count, self.expected_count
        return BarColumns(
            self.symbol, self.interval, self.time[rows], self.end[rows], self.open[rows], self.high[rows],
            self.low[rows], self.close[rows], self.volume[rows], None if count is None else count[rows],
            None if expected is None else expected[rows], root=self.root,
        )  # fmt: skip

    def slice(self, start: int, stop: int) -> BarColumns:
        """The bars from row `start` up to `stop`; the columns are views."""
        return self.taken(slice(start, stop))

    def preceded_by(self, earlier: BarColumns) -> BarColumns:
        """These bars after those of `earlier`, of the same symbol and interval; copies both."""

        def both(name: str) -> Any:
            return np.concatenate((getattr(earlier, name), getattr(self, name)))

        counts = (both("base_count"), both("expected_count")) if self.is_derived else ()
        return BarColumns(
            self.symbol, self.interval, both("time"), both("end"), both("open"), both("high"), both("low"),
            both("close"), both("volume"), *counts, root=self.root,
        )  # fmt: skip
