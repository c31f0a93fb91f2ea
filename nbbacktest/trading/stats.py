"""The statistics of a run: one small pure function each, whose docstring is its exact definition.

Rules for all of them. Fractions, not percent. Net of commission and slippage. A *daily return* is the change of equity
from one trading day's last instant to the next one's, the first against the starting cash; of weekly and monthly bars
it is that of a week or a month. A trading day is the exchange's session; a date if no exchange was named, or the market
never closes. The annual factor is 252 returns a year, 365 if the market trades every day, 52 of weeks, 12 of months.
A statistic that isn't defined (too few values, or a denominator of zero) is NaN, and `Stats.reasons` says why: never
infinite by division, never a warning, never an exception. Growth from an equity of zero or less isn't defined, so an
account that goes on after its ruin has NaN for statistics of daily returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import Float64, Int64
from nbbacktest.data.trading_days import period_starts
from nbbacktest.trading.equity import day_ends, equity_curve, invested, local_days
from nbbacktest.trading.excursions import Excursions, excursions
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.record import Executions, RunRecord
from nbbacktest.trading.trades import Trade, Trades, round_trips

NAN = math.nan

TRADING_DAYS = 252
CALENDAR_DAYS = 365
WEEKS = 52
MONTHS = 12
_YEAR = 365.25  # days, of the calendar
_FULL = 0.9
"""If at least this share of the trading days that a stretch has on average have a return, none counts as missing."""

_RATIOS = ("volatility", "sharpe", "sortino")

COLUMNS = (
    "trades", "open_trades", "pnl", "win_rate", "profit_factor", "expectancy", "sqn", "best_trade", "worst_trade",
    "average_trade", "fees", "traded",
)  # fmt: skip


def statistics(
    record: RunRecord, equity: Float64 | None = None, trades: Trades | None = None, far: Excursions | None = None
) -> dict[str, Any]:
    """Every statistic of a run, in the order in which reports show them.

    Parameters
    ----------
    record
        The run.
    equity, trades, far
        The results of `equity_curve`, `round_trips` and `excursions`, if they are at hand.

    Returns
    -------
    dict
        `start` and `end` are Timestamps (NaT for a run without an instant), `max_drawdown_duration` is a Timedelta,
        `bars` and `trades` are ints, everything else is a float.
    """
    import pandas as pd

    equity = equity_curve(record) if equity is None else equity
    trades = round_trips(record) if trades is None else trades
    days = local_days(record)
    factor = annual_factor(record)
    ends = day_ends(days)
    daily = daily_returns(equity[ends], record.cash)
    closed = trades.closed
    pnl, returns = closed.pnl, closed.return_
    far = excursions(record, closed) if far is None else far
    final = final_equity(equity, record.cash)
    growth = cagr(final, record.cash, period_count(record, days[ends]), factor)
    # Sessions of unlike length and clock changes shouldn't show in a count of days.
    clock = days * DAY if record.daily else record.instants
    peak = _peaks(equity, record.cash)
    longest = _longest(equity, clock, peak)
    drawdown = _deepest(equity, peak)  # last, since it is written over the peaks
    return {
        "start": start(record),
        "end": end(record, days),
        "bars": bars(record),
        "final_equity": final,
        "return": total_return(final, record.cash),
        "cagr": growth,
        "volatility": volatility(daily, factor),
        "sharpe": sharpe(daily, factor),
        "sortino": sortino(daily, factor),
        "calmar": calmar(growth, drawdown),
        "max_drawdown": drawdown,
        "max_drawdown_duration": pd.Timedelta(longest, unit="ns"),
        "exposure": exposure(record),
        "turnover": turnover(record.executions.traded, equity),
        "trades": len(closed),
        "win_rate": win_rate(pnl),
        "profit_factor": profit_factor(pnl),
        "expectancy": expectancy(pnl),
        "sqn": sqn(pnl),
        "best_trade": best_trade(returns),
        "worst_trade": worst_trade(returns),
        "average_trade": average_trade(returns),
        "fees": fees(record.executions.commission),
        "average_mae": average_mae(far.mae[: len(closed)]),
        "average_mfe": average_mfe(far.mfe[: len(closed)]),
    }


def daily_returns(closing: Float64, cash: float) -> Float64:
    """Arithmetic returns of equity at each day's last instant; the first against the starting cash.

    NaN for a day that began with an equity of zero or less.
    """
    if not len(closing):
        return np.empty(0, dtype=np.float64)
    before = np.concatenate(([cash], closing[:-1]))
    before[before <= 0] = np.nan
    return closing / before - 1.0


def start(record: RunRecord) -> Any:
    """The stamp of the first traded bar: where it opened, or its session's date. NaT without an instant."""
    import pandas as pd

    if not len(record.instants):
        return pd.NaT
    first = (int(b.time[n]) for s, b in record.bars.items() if (n := record.first.get(s, 0)) < len(b))
    return record.stamps.begin(min(first, default=int(record.instants[0])))


def end(record: RunRecord, days: Int64) -> Any:
    """The last instant, where its bars closed; of a daily run the last session's date. NaT without an instant."""
    import pandas as pd

    if not len(days):
        return pd.NaT
    if not record.daily:
        return record.stamps.stamp(int(record.instants[-1]))
    return record.stamps.dated(pd.DatetimeIndex([days[-1] * DAY]))[0]


def bars(record: RunRecord) -> int:
    """Base bars of all symbols, warm-up not counted."""
    return sum(len(columns) - record.first.get(symbol, 0) for symbol, columns in record.bars.items())


def final_equity(equity: Float64, cash: float) -> float:
    """Equity at the last instant, in the account's currency; the starting cash without an instant."""
    return float(equity[-1]) if len(equity) else cash


def total_return(final: float, cash: float) -> float:
    """Growth over the whole run: ``final / cash - 1``. Net; below -1 if debts were left."""
    return final / cash - 1.0


def cagr(final: float, cash: float, days: int, factor: float) -> float:
    """Compound annual growth rate: ``(final / cash) ** (factor / days) - 1``.

    Geometric; `days` is how many trading days (weeks, months) the calendar has from the run's first to its last, and a
    year is 252 (365, 52, 12) of them. -1 if nothing is left, NaN without a day, infinite only if the power is
    beyond a float. Source: empyrical-reloaded 0.7.1, `annual_return`, which counts returns: the same if bars are
    missing on no day.
    """
    if not days:
        return NAN
    if final <= 0:
        return -1.0
    try:
        return float((final / cash) ** (factor / days)) - 1.0
    except OverflowError:
        return math.inf


def volatility(daily: Float64, factor: float) -> float:
    """Annual volatility: standard deviation (ddof=1) of daily returns times ``sqrt(factor)``.

    Arithmetic returns; NaN under two days. Source: empyrical-reloaded 0.7.1, `annual_volatility`.
    """
    return deviation(daily) * math.sqrt(factor)


def sharpe(daily: Float64, factor: float) -> float:
    """Sharpe ratio: mean over standard deviation (ddof=1) of daily returns, times ``sqrt(factor)``.

    Arithmetic mean, risk-free rate 0. NaN under two days or if all days are equal. Source: Sharpe (1994), as in
    empyrical-reloaded 0.7.1, `sharpe_ratio`.
    """
    return _ratio(_mean(daily), deviation(daily)) * math.sqrt(factor)


def sortino(daily: Float64, factor: float) -> float:
    """Sortino ratio: mean daily return over downside deviation, times ``sqrt(factor)``.

    The downside deviation is ``sqrt(mean(min(r, 0)**2))`` over all days (ddof=0), required return 0. NaN under two
    days or if no day lost. Source: Sortino and Price (1994), as in empyrical-reloaded 0.7.1, `sortino_ratio`.
    """
    if len(daily) < 2:
        return NAN
    downside = math.sqrt(_mean(np.minimum(daily, 0.0) ** 2))
    return _ratio(_mean(daily), downside) * math.sqrt(factor)


def calmar(growth: float, drawdown: float) -> float:
    """Calmar ratio: `cagr` over the size of `max_drawdown`. NaN if there was no drawdown.

    Source: Young (1991), over the whole run; empyrical-reloaded 0.7.1 takes the drawdown of daily returns, ours is that
    of all instants: equal for daily bars.
    """
    return _ratio(growth, -drawdown) if math.isfinite(growth) else NAN


def max_drawdown(equity: Float64, cash: float) -> float:
    """The deepest fall of equity below its highest value until then: ``min(equity / peak - 1)``, never positive.

    Over all instants, not days alone; the starting cash is the first peak. Below -1 if debts were left.
    """
    return _deepest(equity, _peaks(equity, cash))


def drawdowns(equity: Float64, cash: float) -> Float64:
    """``equity / peak - 1`` at every instant: 0 at a peak, negative below it. The starting cash is the first peak."""
    return _falls(equity, _peaks(equity, cash))


def _falls(equity: Float64, peak: Float64) -> Float64:
    """``equity / peak - 1``, written into `peak`."""
    return np.subtract(np.divide(equity, peak, out=peak), 1.0, out=peak)


def _deepest(equity: Float64, peak: Float64) -> float:
    return float(_falls(equity, peak).min(initial=0.0))


def _peaks(equity: Float64, cash: float) -> Float64:
    """The highest value until every instant, the starting cash included."""
    peaks: Float64 = np.maximum.accumulate(equity)
    return np.maximum(peaks, cash, out=peaks)


def max_drawdown_duration(equity: Float64, clock: Int64, cash: float) -> int:
    """The longest time below a peak, in the unit of `clock`: from the last instant at it to the first one back there.

    A fall that isn't made good counts until the last instant; one from the starting cash counts from the first.
    Time is the calendar's, closed hours included; for daily bars it is between session dates.
    """
    return _longest(equity, clock, _peaks(equity, cash))


def _longest(equity: Float64, clock: Int64, peak: Float64) -> int:
    if not len(equity):
        return 0
    below = equity < peak
    edges = np.diff(np.concatenate(([False], below, [False])).astype(np.int8))
    falls, recoveries = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(falls):
        return 0
    since = clock[np.maximum(falls - 1, 0)]
    until = clock[np.minimum(recoveries, len(clock) - 1)]
    return int((until - since).max())


def exposure(record: RunRecord) -> float:
    """The share of instants at whose end any position was open, long or short. 0 without an instant."""
    return float(invested(record).mean()) if len(record.instants) else 0.0


def turnover(traded: Float64, equity: Float64) -> float:
    """The traded value in proportion to the account: ``sum(size * |price|) / mean(equity)``, from ``size * |price|`` of each fill.

    Both sides count, over the whole run (not annual): buying all and selling it is 2. NaN if mean equity isn't positive.
    """
    total = math.fsum(traded.tolist())
    if not total:
        return 0.0
    mean = _mean(equity)
    return total / mean if mean > 0 else NAN


def win_rate(pnl: Float64) -> float:
    """The share of closed trades with a net profit above zero. NaN without a trade."""
    return _mean((pnl > 0).astype(np.float64))


def profit_factor(pnl: Float64) -> float:
    """Net profits of winning trades over net losses of losing ones. NaN if none lost."""
    return _ratio(math.fsum(pnl[pnl > 0]), -math.fsum(pnl[pnl < 0]))


def expectancy(pnl: Float64) -> float:
    """Arithmetic mean of closed trades' net profit, in the account's currency. NaN without a trade."""
    return _mean(pnl)


def sqn(pnl: Float64) -> float:
    """System quality number: ``sqrt(trades) * mean(pnl) / std(pnl, ddof=1)``, over closed trades, net.

    NaN under two trades or if all are equal. Source: Van Tharp, with profit in the account's currency for R, and
    without his cap at 100 trades.
    """
    return _ratio(_mean(pnl), deviation(pnl)) * math.sqrt(len(pnl))


def best_trade(returns: Float64) -> float:
    """The highest net return of a closed trade, as a fraction of its entry's notional. NaN without a trade."""
    return float(np.max(returns)) if len(returns) else NAN


def worst_trade(returns: Float64) -> float:
    """The lowest net return of a closed trade, as a fraction of its entry's notional. NaN without a trade."""
    return float(np.min(returns)) if len(returns) else NAN


def average_trade(returns: Float64) -> float:
    """Arithmetic mean of closed trades' net returns, each a fraction of its entry's notional. NaN without a trade."""
    return _mean(returns)


def average_mae(mae: Float64) -> float:
    """Arithmetic mean of closed trades' maximum adverse excursions, fractions of the entries' prices; never positive.

    Gross of commission; NaN without a trade. Source: Sweeney (1996); `nbbacktest.trading.excursions` states which bars
    and prices count.
    """
    return _mean(mae)


def average_mfe(mfe: Float64) -> float:
    """Arithmetic mean of closed trades' maximum favourable excursions, fractions of the entries' prices; never negative.

    Gross of commission; NaN without a trade. Source and rule as `average_mae`.
    """
    return _mean(mfe)


def fees(commission: Float64) -> float:
    """All fills' commissions, open trades' too, in the account's currency."""
    return math.fsum(commission.tolist())


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else NAN


def deviation(values: Float64) -> float:
    """Sample standard deviation, with ddof=1; exactly 0 for equal values, whose rounded mean would leave a residue."""
    if len(values) < 2:
        return NAN
    return 0.0 if values.min() == values.max() else float(values.std(ddof=1))


def _ratio(over: float, under: float) -> float:
    return over / under if under else NAN


# -- the year -----------------------------------------------------------------------------------------------


def interval_of(record: RunRecord) -> Interval:
    """The length of the run's base bars; a day if there are none."""
    return next((columns.interval for columns in record.bars.values()), Interval.parse("1d"))


def annual_factor(record: RunRecord) -> float:
    """Returns a year: 252 daily ones, 365 if the market trades every day; 52 of weeks, 12 of months.

    Of bars of several days it is the number that fits into 365 days.
    """
    interval = interval_of(record)
    if interval.is_calendar:
        return WEEKS if interval.name == "1w" else MONTHS
    if interval.ns > DAY:
        return CALENDAR_DAYS * DAY / interval.ns
    return CALENDAR_DAYS if record.trades_every_day else TRADING_DAYS


def period_name(record: RunRecord) -> str:
    """The period of one return: ``"day"``, ``"week"``, ``"month"``, or ``"bar"`` of several days."""
    interval = interval_of(record)
    if interval.is_calendar:
        return "week" if interval.name == "1w" else "month"
    return "bar" if interval.ns > DAY else "day"


def period_count(record: RunRecord, days: Int64) -> int:
    """The number of returns that the calendar has from the run's first day to its last, with or without bars.

    Weeks and months are the calendar's. Trading days are those of the exchange, or all dates if the market trades every
    day. If no exchange was named, the number is that of the returns; but if the dates have room for many more (the returns
    are fewer than nine tenths), it is the number that fits: 252 in 365.25 days.

    Parameters
    ----------
    days
        The trading day of each return, as days since 1970-01-01, rising.
    """
    count = len(days)
    if count < 2:
        return count
    interval, first, last = interval_of(record), int(days[0]), int(days[-1])
    if interval.is_calendar:
        starts = period_starts(days[[0, -1]].astype("datetime64[D]"), interval)
        unit = "M" if interval.name == "1mo" else "D"
        begin, end = map(int, starts.astype(f"datetime64[{unit}]").astype(np.int64))
        spanned = (end - begin) // (1 if unit == "M" else 7) + 1
    elif interval.ns > DAY:
        spanned = round((last - first) * DAY / interval.ns) + 1
    elif record.trading_days is not None:
        spanned = record.trading_days
    elif record.trades_every_day:
        spanned = last - first + 1
    else:
        room = (last - first + 1) * TRADING_DAYS / _YEAR
        spanned = round(room) if count < _FULL * room - 1 else count
    return max(spanned, count)


# -- why a statistic is NaN ---------------------------------------------------------------------------------


def reasons(values: Mapping[str, Any], record: RunRecord, equity: Float64, trades: Trades) -> dict[str, str]:
    """For each statistic that is NaN, a sentence that says why.

    Parameters
    ----------
    values
        The statistics by name.
    equity, trades
        Equity by instant and the round trips, from which they were computed.
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


# -- parts of a run -----------------------------------------------------------------------------------------


def by_symbol(record: RunRecord, trades: Sequence[Trade]) -> dict[str, dict[str, Any]]:
    """`breakdown` of every symbol of the run, in the session's order, those without a trade included."""
    return breakdown(list(record.bars), record.fills, trades, lambda part: part.symbol)


def by_strategy(record: RunRecord, trades: Sequence[Trade]) -> dict[str, dict[str, Any]]:
    """`breakdown` of every strategy that placed an order, in the order of their first ones."""
    names = list(dict.fromkeys(order.strategy for order in record.orders))
    return breakdown(names, record.fills, trades, lambda part: part.strategy)


def breakdown(
    keys: Sequence[str], fills: Sequence[Fill], trades: Sequence[Trade], key: Callable[[Trade | Fill], str]
) -> dict[str, dict[str, Any]]:
    """Trade statistics by `key`, each as `nbbacktest.trading.stats` defines it over the whole run.

    Returns
    -------
    dict
        For each of `keys`: `trades` (closed ones), `open_trades`, `pnl` (net, open trades at the last close, so that all
        parts together are the run's whole change of equity by trading), `win_rate`, `profit_factor`, `expectancy`, `sqn`,
        `best_trade`, `worst_trade`, `average_trade` (of closed trades), `fees` and `traded` (``sum(size * |price|)``).
    """
    own_trades: dict[str, list[Trade]] = {name: [] for name in keys}
    own_fills: dict[str, list[Fill]] = {name: [] for name in keys}
    for trade in trades:
        own_trades.setdefault(key(trade), []).append(trade)
    for fill in fills:
        own_fills.setdefault(key(fill), []).append(fill)
    return {name: _row(own_trades[name], own_fills[name]) for name in own_trades}


def _row(trades: Sequence[Trade], fills: Sequence[Fill]) -> dict[str, Any]:
    closed = [trade for trade in trades if not trade.is_open]
    pnl = np.array([trade.pnl for trade in closed], dtype=np.float64)
    returns = np.array([trade.return_ for trade in closed], dtype=np.float64)
    done = Executions(fills)
    values = (
        len(closed), len(trades) - len(closed), math.fsum(trade.pnl for trade in trades), win_rate(pnl),
        profit_factor(pnl), expectancy(pnl), sqn(pnl), best_trade(returns), worst_trade(returns),
        average_trade(returns), fees(done.commission), math.fsum(done.traded.tolist()),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
