"""Statistics by part of a run, as pandas frames: by symbol, by strategy, by month, over rolling windows."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Float64
from nbbacktest.trading.equity import day_ends, local_days
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.returns import monthly_returns, rolling_statistics
from nbbacktest.trading.stats import COLUMNS, annual_factor, daily_returns

if TYPE_CHECKING:
    import pandas as pd

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COUNTS = ("trades", "open_trades")


def breakdown_frame(parts: Mapping[str, Mapping[str, Any]], name: str) -> pd.DataFrame:
    """One row a part, the columns of `nbbacktest.trading.stats`."""
    import pandas as pd

    columns = {
        column: np.array([part[column] for part in parts.values()], dtype=np.int64 if column in _COUNTS else np.float64)
        for column in COLUMNS
    }
    return pd.DataFrame(columns, index=pd.Index(list(parts), dtype="object", name=name))


def monthly_frame(record: RunRecord, equity: Float64) -> pd.DataFrame:
    """Returns by year and month, and of the whole year."""
    import pandas as pd

    days = local_days(record)
    ends = day_ends(days)
    years, table = monthly_returns(days[ends], daily_returns(equity[ends], record.cash))
    return pd.DataFrame(table, index=pd.Index(years, name="year"), columns=[*MONTHS, "Year"])


def rolling_frame(record: RunRecord, equity: Float64, window: Any) -> pd.DataFrame:
    """Statistics over the last `window` days, one row a day.

    Raises
    ------
    DataError
        For a window that isn't a whole number of at least two days.
    """
    import pandas as pd

    if isinstance(window, bool) or not isinstance(window, numbers.Integral) or window < 2:
        raise DataError(f"rolling(days={window!r}): give a whole number of days, 2 or more, such as 63 for a quarter")
    days = local_days(record)
    ends = day_ends(days)
    daily = daily_returns(equity[ends], record.cash)
    dates = pd.DatetimeIndex((days[ends] * DAY).view("datetime64[ns]"), name="date")
    return pd.DataFrame(rolling_statistics(daily, annual_factor(record), int(window)), index=dates)
