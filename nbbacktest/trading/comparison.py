"""A run's daily returns against a benchmark's: one small pure function each, whose docstring is its definition.

Rules for all of them. Both arrays hold arithmetic returns between the same dates. The risk-free rate is 0. The annual
factor is the run's (252 returns; 365 where its market trades every day, 52 of weeks, 12 of months). What isn't defined is NaN.
"""

from __future__ import annotations

import math

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.trading.stats import NAN, cagr, deviation, sharpe, volatility

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

    The intercept of beta's line, made annual by compounding. NaN where `beta` is. Source: Jensen (1968), as in
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
    """Pearson's correlation of the daily returns, from -1 to 1. NaN under two days or where one side doesn't move."""
    if len(own) < 2:
        return NAN
    left, right = own - own.mean(), benchmark - benchmark.mean()
    variances = float((left**2).mean()), float((right**2).mean())
    if not min(variances) >= _NO_VARIANCE:
        return NAN
    return float((left * right).mean()) / math.sqrt(variances[0] * variances[1])


def information_ratio(own: Float64, benchmark: Float64, factor: float) -> float:
    """Information ratio: mean over standard deviation (ddof=1) of ``own - benchmark``, times ``sqrt(factor)``.

    NaN where the run is the benchmark. Source: Goodwin (1998); empyrical-reloaded 0.7.1, `excess_sharpe`, is the same
    before the root of the factor.
    """
    error = tracking_error(own, benchmark, factor)
    return float((own - benchmark).mean()) * factor / error if error > 0 else NAN


def tracking_error(own: Float64, benchmark: Float64, factor: float) -> float:
    """Tracking error: standard deviation (ddof=1) of ``own - benchmark``, times ``sqrt(factor)``.

    0 where nothing but rounding lies between the two, NaN under two days.
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
