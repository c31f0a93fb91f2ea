"""Daily returns by month and over rolling windows. Pure functions of arrays; knows no run and no frame."""

from __future__ import annotations

import math

import numpy as np

from nbbacktest.core.records import Float64, Int64

MONTHS = 12


def monthly_returns(days: Int64, daily: Float64) -> tuple[Int64, Float64]:
    """Returns by calendar month and year: ``prod(1 + r) - 1`` over the daily returns of each.

    Geometric, net; the first and the last month may be parts. A month without a day is NaN.

    Parameters
    ----------
    days
        The trading day of each daily return, as days since 1970-01-01, rising.
    daily
        Arithmetic daily returns.

    Returns
    -------
    years : int64 array
    table : float64 array of shape (years, 13)
        January to December, and the year. Source: empyrical-reloaded 0.7.1, `aggregate_returns`.
    """
    if not len(days):
        return np.empty(0, dtype=np.int64), np.empty((0, MONTHS + 1), dtype=np.float64)
    months = days.view("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    years = np.arange(months[0] // MONTHS, months[-1] // MONTHS + 1)
    table = np.full((len(years), MONTHS + 1), np.nan)
    for keys, column in ((months, months % MONTHS), (months // MONTHS, np.full(len(months), MONTHS))):
        starts = np.concatenate(([0], np.flatnonzero(np.diff(keys)) + 1))
        growth = np.multiply.reduceat(1.0 + daily, starts)
        table[months[starts] // MONTHS - years[0], column[starts]] = growth - 1.0
    return years + 1970, table


def rolling_statistics(daily: Float64, factor: float, window: int) -> dict[str, Float64]:
    """Statistics of the last `window` daily returns at every day; NaN until there are as many.

    Each is defined as over the whole run, by `nbbacktest.trading.stats`, from those daily returns alone:

    * `return`: ``prod(1 + r) - 1``, not annual;
    * `volatility`: standard deviation (ddof=1) times ``sqrt(factor)``;
    * `sharpe`: mean over standard deviation (ddof=1), times ``sqrt(factor)``; NaN where all days are equal;
    * `drawdown`: the deepest fall inside the window, of days' last instants, its first peak the equity before it.

    Source: empyrical-reloaded 0.7.1, `roll_annual_volatility`, `roll_sharpe_ratio`, `roll_max_drawdown`.
    """
    names = ("return", "volatility", "sharpe", "drawdown")
    columns = {name: np.full(len(daily), np.nan) for name in names}
    if len(daily) < window:
        return columns
    views = np.lib.stride_tricks.sliding_window_view(daily, window)
    # In parts, so that a long window over many days doesn't take its memory times over.
    step = max(1_000_000 // window, 1)
    for first in range(0, len(views), step):
        view = views[first : first + step]
        rows = slice(first + window - 1, first + window - 1 + len(view))
        growth = np.cumprod(1.0 + view, axis=1)
        peaks = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
        deviation = np.where(view.min(axis=1) == view.max(axis=1), 0.0, view.std(axis=1, ddof=1))
        columns["return"][rows] = growth[:, -1] - 1.0
        columns["volatility"][rows] = deviation * math.sqrt(factor)
        safe = np.where(deviation == 0.0, np.nan, deviation)
        columns["sharpe"][rows] = view.mean(axis=1) / safe * math.sqrt(factor)
        columns["drawdown"][rows] = np.minimum((growth / peaks - 1.0).min(axis=1), 0.0)
    return columns
