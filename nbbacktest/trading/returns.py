"""Daily returns against a benchmark's, by month, and over rolling windows: pure functions of arrays.

Rules for a comparison. Both arrays hold arithmetic returns between the same dates. The risk-free rate is 0. The annual
factor is the run's (252 returns; 365 if its market trades every day, 52 of weeks, 12 of months). Undefined values are NaN.
"""

from __future__ import annotations

import math

import numpy as np

from nbbacktest.core.records import Float64, Int64
from nbbacktest.trading.stats import NAN, cagr, deviation, sharpe, volatility

MONTHS = 12

_NO_VARIANCE = 1e-30
"""Below it a variance is rounding alone: returns of 1e-15 a day."""


def comparison(own: Float64, benchmark: Float64, factor: float) -> dict[str, float]:
    """Every statistic of a comparison, in the order in which reports show them."""
    slope = beta(own, benchmark)
    growth = total(benchmark)
    return {
        "alpha": alpha(own, benchmark, slope, factor),
        "beta": slope,
        "correlation": correlation(own, benchmark),
        "information_ratio": information_ratio(own, benchmark, factor),
        "tracking_error": tracking_error(own, benchmark, factor),
        "excess_return": excess_return(own, benchmark),
        "benchmark_return": growth,
        "benchmark_cagr": cagr(1.0 + growth, 1.0, len(benchmark), factor),
        "benchmark_volatility": volatility(benchmark, factor),
        "benchmark_sharpe": sharpe(benchmark, factor),
        "benchmark_max_drawdown": deepest_fall(benchmark),
    }


def beta(own: Float64, benchmark: Float64) -> float:
    """Beta: the slope of the least-squares line of the run's daily returns over the benchmark's.

    ``cov(own, benchmark) / var(benchmark)``, the CAPM by ordinary least squares. NaN under two days and for a benchmark
    that doesn't move. Source: Sharpe (1964), as in empyrical-reloaded 0.7.1, `beta`.
    """
    if len(own) < 2:
        return NAN
    apart = benchmark - benchmark.mean()
    variance = float((apart**2).mean())
    return float((apart * own).mean()) / variance if variance >= _NO_VARIANCE else NAN


def alpha(own: Float64, benchmark: Float64, slope: float, factor: float) -> float:
    """Jensen's alpha a year: ``(1 + mean(own - beta * benchmark)) ** factor - 1``.

    The intercept of beta's line, made annual by compounding. NaN if `beta` is. Source: Jensen (1968), as in
    empyrical-reloaded 0.7.1, `alpha`.
    """
    if not math.isfinite(slope):
        return NAN
    growth = 1.0 + float((own - slope * benchmark).mean())
    try:
        return growth**factor - 1.0 if growth > 0 else -1.0
    except OverflowError:
        return math.inf


def correlation(own: Float64, benchmark: Float64) -> float:
    """Pearson's correlation of the daily returns, from -1 to 1. NaN under two days or if one side doesn't move."""
    if len(own) < 2:
        return NAN
    left, right = own - own.mean(), benchmark - benchmark.mean()
    variances = float((left**2).mean()), float((right**2).mean())
    if not min(variances) >= _NO_VARIANCE:
        return NAN
    return float((left * right).mean()) / math.sqrt(variances[0] * variances[1])


def information_ratio(own: Float64, benchmark: Float64, factor: float) -> float:
    """Information ratio: mean over standard deviation (ddof=1) of ``own - benchmark``, times ``sqrt(factor)``.

    NaN if the run is the benchmark. Source: Goodwin (1998); empyrical-reloaded 0.7.1, `excess_sharpe`, is the same
    before the root of the factor.
    """
    error = tracking_error(own, benchmark, factor)
    return float((own - benchmark).mean()) * factor / error if error > 0 else NAN


def tracking_error(own: Float64, benchmark: Float64, factor: float) -> float:
    """Tracking error: standard deviation (ddof=1) of ``own - benchmark``, times ``sqrt(factor)``.

    0 if nothing but rounding lies between the two, NaN under two days.
    """
    spread = deviation(own - benchmark)
    return 0.0 if spread**2 < _NO_VARIANCE else spread * math.sqrt(factor)


def excess_return(own: Float64, benchmark: Float64) -> float:
    """The run's whole return less the benchmark's, over the common days: ``prod(1 + own) - prod(1 + benchmark)``."""
    return total(own) - total(benchmark)


def total(daily: Float64) -> float:
    """Growth over all the days: ``prod(1 + r) - 1``."""
    return float(np.prod(1.0 + daily)) - 1.0


def deepest_fall(daily: Float64) -> float:
    """The deepest fall of ``cumprod(1 + r)`` below its highest value until then, the start included; of days alone."""
    curve = np.concatenate(([1.0], np.cumprod(1.0 + daily)))
    return float((curve / np.maximum.accumulate(curve) - 1.0).min())


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
    * `sharpe`: mean over standard deviation (ddof=1), times ``sqrt(factor)``; NaN if all days are equal;
    * `drawdown`: the deepest fall inside the window, of days' last instants, its first peak the equity before it.

    Source: empyrical-reloaded 0.7.1, `roll_annual_volatility`, `roll_sharpe_ratio`, `roll_max_drawdown`.
    """
    names = ("return", "volatility", "sharpe", "drawdown")
    columns = {name: np.full(len(daily), np.nan) for name in names}
    if len(daily) < window:
        return columns
    views = np.lib.stride_tricks.sliding_window_view(daily, window)
    # In parts: a long window over many days would take many times the memory of the returns.
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
