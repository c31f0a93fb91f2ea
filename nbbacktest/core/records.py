"""What a bar is: one immutable record for strategies, and columns of them for everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stamps:
    """How instants are shown to a user: in the exchange's time zone, or as plain session dates.

    Attributes
    ----------
    timezone : str
        IANA name, such as ``"America/New_York"``.
    dates : bool
        True where the source gave naive session dates: stamps are then shown naive, in local time.
    """

    timezone: str = "UTC"
    dates: bool = False

    def stamp(self, ns: int) -> pd.Timestamp:
        """The instant `ns` (nanoseconds UTC) as a timestamp."""
        import pandas as pd

        stamp = pd.Timestamp(int(ns), unit="ns", tz="UTC").tz_convert(self.timezone)
        return stamp.tz_localize(None) if self.dates else stamp

    def index(self, ns: Int64) -> pd.DatetimeIndex:
        """Many instants as an index."""
        import pandas as pd

        index = pd.DatetimeIndex(np.asarray(ns, dtype="datetime64[ns]"), tz="UTC").tz_convert(self.timezone)
        return index.tz_localize(None) if self.dates else index

    def instant(self, ns: int) -> pd.Timestamp:
        """The moment at which bars complete, for a user who thinks in session dates: the date that it ends."""
        import pandas as pd

        return (self.stamp(ns) - pd.Timedelta(1, "ns")).normalize() if self.dates else self.stamp(ns)

    def instants(self, ns: Int64) -> pd.DatetimeIndex:
        """Many of them as an index."""
        import pandas as pd

        return (self.index(ns) - pd.Timedelta(1, "ns")).normalize() if self.dates else self.index(ns)


class Bar(tuple[Any, ...]):
    """One completed bar. It spans ``[time, end)`` and is seen at `end`.

    Immutable and safe to keep. Prices and volume are plain floats.
    """

    # A tuple made in C from columns costs a third of an object with an __init__.
    __slots__ = ()

    symbol: str = property(itemgetter(0))  # type: ignore[assignment]
    interval: str = property(itemgetter(1))  # type: ignore[assignment]
    time_ns: int = property(itemgetter(2))  # type: ignore[assignment]
    end_ns: int = property(itemgetter(3))  # type: ignore[assignment]
    open: float = property(itemgetter(4))  # type: ignore[assignment]
    high: float = property(itemgetter(5))  # type: ignore[assignment]
    low: float = property(itemgetter(6))  # type: ignore[assignment]
    close: float = property(itemgetter(7))  # type: ignore[assignment]
    volume: float = property(itemgetter(8))  # type: ignore[assignment]

    @property
    def _stamps(self) -> Stamps:
        return self[9]  # type: ignore[no-any-return]

    @property
    def time(self) -> pd.Timestamp:
        """The stamp: where the bar starts, or its session's date."""
        return self._stamps.stamp(self[2])

    @property
    def end(self) -> pd.Timestamp:
        """The instant at which the bar is complete and can be seen."""
        return self._stamps.stamp(self[3])

    def __repr__(self) -> str:
        return (
            f"Bar({self.symbol} {self.interval} {self.time} open={self.open:g} high={self.high:g} "
            f"low={self.low:g} close={self.close:g} volume={self.volume:g})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class BarColumns:
    """The bars of one symbol at one interval, as columns of one length, rising in time.

    Attributes
    ----------
    time, end : int64 arrays
        Nanoseconds UTC; the bar spans ``[time, end)``. For a session-long bar `time` is the
        session's date at local midnight and `end` the session's close.
    open, high, low, close, volume : float64 arrays
    base_count : int64 array or None
        For derived bars, how many base bars each was built from.
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

    def __post_init__(self) -> None:
        for name in ("time", "end", "open", "high", "low", "close", "volume"):
            column = getattr(self, name)
            dtype = np.int64 if name in ("time", "end") else np.float64
            column = np.ascontiguousarray(column, dtype=dtype)
            if len(column) != len(self.time):
                raise ValueError(f"column {name} has {len(column)} rows and time has {len(self.time)}")
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.time)

    def slice(self, start: int, stop: int) -> BarColumns:
        """The bars from row `start` up to `stop`; the columns are views."""
        cut = slice(start, stop)
        count = None if self.base_count is None else self.base_count[cut]
        return BarColumns(
            self.symbol, self.interval, self.time[cut], self.end[cut], self.open[cut], self.high[cut],
            self.low[cut], self.close[cut], self.volume[cut], count,
        )  # fmt: skip
