"""Why a statistic can't be said: a sentence for each one that is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nbbacktest.core.records import Float64
from nbbacktest.trading.annual import period_name
from nbbacktest.trading.equity import day_ends, local_days
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import daily_returns
from nbbacktest.trading.trades import Trades

_RATIOS = ("volatility", "sharpe", "sortino")


def reasons(values: Mapping[str, Any], record: RunRecord, equity: Float64, trades: Trades) -> dict[str, str]:
    """For each statistic that is NaN, what it lacks.

    Parameters
    ----------
    values
        The statistics by name.
    equity, trades
        What they were computed from: equity by instant, and the round trips.
    """
    daily = daily_returns(equity[day_ends(local_days(record))], record.cash)
    pnl = trades.closed.pnl
    missing = [name for name, value in values.items() if isinstance(value, float) and math.isnan(value)]
    return {name: _reason(name, record, daily, pnl) for name in missing}


def _reason(name: str, record: RunRecord, daily: Float64, pnl: Float64) -> str:
    period = period_name(record)
    if name in ("cagr", "calmar", *_RATIOS):
        if not len(daily):
            return "the run has no instant"
        if not np.isfinite(daily).all() and name != "calmar":
            return "equity was at zero or below, from which growth isn't defined"
        if len(daily) < 2 and name in _RATIOS:
            return f"it needs the returns of two {period}s or more, and the run has that of one"
        if name == "sharpe":
            return f"the returns of all {period}s are equal"
        return f"no {period} had a loss" if name == "sortino" else "there was no drawdown"
    if name == "turnover":
        return "the mean equity isn't above zero"
    if not len(pnl):
        return "no trade was closed"
    if name == "profit_factor":
        return "no closed trade had a loss"
    if name == "sqn":
        return "it needs two closed trades or more" if len(pnl) < 2 else "all closed trades had the same profit"
    return "it isn't defined for these trades, such as at an entry price of zero"
