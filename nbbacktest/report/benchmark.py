"""A benchmark: prices by date, lined up with the run's own days, and the comparison with the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from nbbacktest.core.errors import DataError, nearest
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.calendar import local_dates
from nbbacktest.report.table import AGAINST, Stats
from nbbacktest.trading.equity import day_ends, local_days
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.returns import comparison
from nbbacktest.trading.stats import annual_factor, daily_returns

if TYPE_CHECKING:
    import pandas as pd

BenchmarkSource: TypeAlias = Union[str, "pd.Series[Any]", "pd.DataFrame"]
"""A symbol of the run, a Series of prices, or a DataFrame with a column ``close``."""

_STALE = 10
"""A benchmark may start from a price that is so many days older than the run: a long holiday."""


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Prices at the run's days.

    Attributes
    ----------
    name : str
    days : int64 array
        The run's local dates that the benchmark has a price of, as days since 1970-01-01.
    rows : int64 array
        Those dates' last instants in the run.
    prices : float64 array
        The benchmark's last price of each.
    before : float or None
        Its last price before the run's first day; None if there is none in the ten days before.
    """

    name: str
    days: Int64
    rows: Int64
    prices: Float64
    before: float | None

    def curve(self, cash: float) -> Float64:
        """The starting cash held in the benchmark from its first price on: its worth at those days."""
        return cash * (self.prices / (self.prices[0] if self.before is None else self.before))


class Comparison(Stats):
    """A run against a benchmark: a mapping that prints as a table; `nbbacktest.trading.returns` defines each.

    Attributes
    ----------
    name : str
        The benchmark's.
    """

    __slots__ = ("name",)

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        super().__init__(values, AGAINST)
        self.name = name

    def __repr__(self) -> str:
        return f"Benchmark: {self.name}\n{super().__repr__()}"


def compare(record: RunRecord, equity: Float64, benchmark: Benchmark) -> Comparison:
    """The run against the benchmark, by daily returns between the dates that both have.

    If the benchmark has no price before the run's first day, that day only gives the level to start from.
    """
    own = equity[benchmark.rows]
    if benchmark.before is None:
        own_daily, other = (
            daily_returns(own[1:], float(own[0])),
            daily_returns(benchmark.prices[1:], benchmark.prices[0]),
        )
    else:
        own_daily, other = daily_returns(own, record.cash), daily_returns(benchmark.prices, benchmark.before)
    return Comparison(benchmark.name, {"days": len(own_daily)} | comparison(own_daily, other, annual_factor(record)))


def read_benchmark(record: RunRecord, source: BenchmarkSource) -> Benchmark:
    """Line `source` up with the days of the run.

    A Series' or DataFrame's index are dates or times; a naive one is in the exchange's time zone, and one whose times are
    all midnight holds dates, whatever its zone.

    Raises
    ------
    DataError
        For an unknown symbol, an index that isn't of dates, a price that isn't above zero, or no date in common.
    """
    name, dates, prices = _of_symbol(record, source) if isinstance(source, str) else _of_pandas(record, source)
    known = np.isfinite(prices)
    dates, prices = dates[known], prices[known]
    if len(prices) and not prices.min() > 0:
        raise DataError(f"benchmark {name!r} has a price of {prices.min():g}; growth needs prices above 0")
    order = np.argsort(dates, kind="stable")
    dates, prices = dates[order], prices[order]
    last = day_ends(dates)
    dates, prices = dates[last], prices[last]
    days = local_days(record)
    ends = day_ends(days)
    own = days[ends]
    common, at, where = np.intersect1d(own, dates, assume_unique=True, return_indices=True)
    if not len(common):
        spans = [f"{d[0].astype('datetime64[D]')} to {d[-1].astype('datetime64[D]')}" if len(d) else "nothing"
                 for d in (own, dates)]  # fmt: skip
        raise DataError(f"benchmark {name!r} has no date in common with the run: it has {spans[1]}, the run {spans[0]}")
    earlier = int(np.searchsorted(dates, own[0]))
    fresh = earlier > 0 and own[0] - dates[earlier - 1] <= _STALE
    return Benchmark(name, common, ends[at], prices[where], float(prices[earlier - 1]) if fresh else None)


def _of_symbol(record: RunRecord, symbol: str) -> tuple[str, Int64, Float64]:
    if symbol not in record.bars:
        raise DataError(
            f"benchmark {symbol!r} is no symbol of the run; {nearest(symbol, record.bars)} "
            "Or give its prices as a Series"
        )
    bars = record.bars[symbol]
    # Bars of the run have its own days; bars of the warm-up have dates alone.
    days, own = local_dates(bars.end - 1, record.stamps.day_zone), local_days(record)
    at = np.searchsorted(record.instants, bars.end)
    traded = (at < len(own)) & (bars.end >= (record.instants[0] if len(own) else 0))
    days[traded] = own[at[traded]]
    return symbol, days, bars.close


def _of_pandas(record: RunRecord, source: Any) -> tuple[str, Int64, Float64]:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        found = [column for column in source.columns if str(column).lower() == "close"]
        if len(found) != 1:
            raise DataError(
                f"a benchmark's DataFrame needs one column 'close'; it has {', '.join(map(str, source.columns)) or 'none'}"
            )
        source = source[found[0]].rename("benchmark")
    if not isinstance(source, pd.Series):
        raise DataError(
            f"a benchmark is a symbol of the run, a Series of prices or a DataFrame with close, not {type(source).__name__}"
        )
    name = "benchmark" if source.name is None else str(source.name)
    index = source.index
    if not isinstance(index, pd.DatetimeIndex):
        raise DataError(
            f"benchmark {name!r} is indexed by {type(index).__name__}; a DatetimeIndex lines it up with the run: "
            "series.index = pd.to_datetime(series.index)"
        )
    if index.tz is not None:
        midnights = index == index.normalize()
        index = (
            index.tz_localize(None) if midnights.all() else index.tz_convert(record.stamps.day_zone).tz_localize(None)
        )
    try:
        prices = source.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"benchmark {name!r} holds what is no number: {error}") from error
    # Through ns, since an index may be of seconds or microseconds.
    return name, index.as_unit("ns").asi8 // DAY, prices
