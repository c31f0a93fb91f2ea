"""Every statistic that empyrical-reloaded defines too, on ten random curves and four degenerate ones."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest

from nbbacktest.report.result import Result
from nbbacktest.trading.returns import rolling_statistics
from tests.records import daily_bars, run

PRECISE = 1e-12
COUNT = 400


def market(seed):
    """Daily closes of a random walk, seeded."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0003, 0.012, COUNT)))


def held(closes, *, until=None):
    """A run that buys 100 at the first close, and sells at `until` where given."""
    fills = [(0, "A", 100, float(closes[0]))]
    if until is not None:
        fills.append((until, "A", -100, float(closes[until])))
    return Result(run([daily_bars("A", closes)], fills, cash=100 * float(closes[0])))


def ruined():
    """A long whose last day is worth nothing: a return of -1."""
    return np.concatenate((market(3)[:120], [1e-300]))


CURVES = {
    **{f"random {seed}": held(market(seed)) for seed in range(10)},
    "no trade": Result(run([daily_bars("A", market(11))])),
    "one trade": held(market(12), until=200),
    "flat": held(np.full(COUNT, 50.0)),
    "ruin": held(ruined()),
}


def returns(result):
    """Daily returns by date, the first against the starting cash, as a user of empyrical would make them."""
    equity = result.equity
    before = np.concatenate(([result.record.cash], equity.to_numpy()[:-1]))
    return pd.Series(equity.to_numpy() / before - 1, index=equity.index)


def agree(ours, theirs, name):
    """Equal to 12 digits where both are numbers; where theirs is none, or infinite by a division by zero, ours is NaN."""
    if math.isfinite(theirs):
        assert ours == pytest.approx(theirs, rel=PRECISE, abs=PRECISE), name
    else:
        assert math.isnan(ours), name


@pytest.fixture(params=CURVES)
def result(request):
    """Each curve in turn."""
    return CURVES[request.param]


def test_whole_run(result):
    """Growth, volatility, Sharpe, Sortino, drawdown, Calmar and final value."""
    daily, stats = returns(result), result.stats
    agree(stats["cagr"], empyrical.annual_return(daily), "cagr")
    agree(stats["return"], empyrical.cum_returns_final(daily), "return")
    agree(stats["volatility"], empyrical.annual_volatility(daily), "volatility")
    agree(stats["sharpe"], empyrical.sharpe_ratio(daily), "sharpe")
    agree(stats["sortino"], empyrical.sortino_ratio(daily), "sortino")
    agree(stats["max_drawdown"], empyrical.max_drawdown(daily), "max_drawdown")
    agree(stats["calmar"], empyrical.calmar_ratio(daily), "calmar")


def test_against_a_benchmark(result):
    """Alpha, beta, information ratio and the benchmark's own numbers, over a market that the run doesn't hold."""
    daily = returns(result)
    prices = pd.Series(market(99)[: len(daily)], index=daily.index)
    own, other = daily.iloc[1:], prices.pct_change().iloc[1:]
    ours = result.against(prices)
    alpha, beta = empyrical.alpha_beta(own, other)
    assert ours["days"] == len(own)
    agree(ours["alpha"], alpha, "alpha")
    agree(ours["beta"], beta, "beta")
    # Theirs is infinite where the spread is zero, and not annual.
    agree(ours["information_ratio"], empyrical.excess_sharpe(own, other) * math.sqrt(252), "information_ratio")
    agree(ours["tracking_error"], float((own - other).std(ddof=1)) * math.sqrt(252), "tracking_error")
    with np.errstate(invalid="ignore", divide="ignore"):
        agree(ours["correlation"], float(np.corrcoef(own, other)[0, 1]), "correlation")
    agree(ours["benchmark_return"], empyrical.cum_returns_final(other), "benchmark_return")
    agree(ours["benchmark_cagr"], empyrical.annual_return(other), "benchmark_cagr")
    agree(ours["benchmark_volatility"], empyrical.annual_volatility(other), "benchmark_volatility")
    agree(ours["benchmark_sharpe"], empyrical.sharpe_ratio(other), "benchmark_sharpe")
    agree(ours["benchmark_max_drawdown"], empyrical.max_drawdown(other), "benchmark_max_drawdown")
    agree(ours["excess_return"], empyrical.cum_returns_final(own) - empyrical.cum_returns_final(other), "excess_return")


def test_by_month(result):
    """Each month's and each year's return, compounded from days."""
    daily, ours = returns(result), result.monthly
    by_month = empyrical.aggregate_returns(daily, "monthly")
    for (year, month), value in by_month.items():
        agree(ours.loc[year].iloc[month - 1], value, (year, month))
    for year, value in empyrical.aggregate_returns(daily, "yearly").items():
        agree(ours.loc[year, "Year"], value, year)
    assert ours.iloc[:, :12].notna().to_numpy().sum() == len(by_month)


@pytest.mark.parametrize("days", [2, 21, 63])
def test_rolling(result, days):
    """Volatility, Sharpe and drawdown of every full window."""
    daily, ours = returns(result), result.rolling(days)
    assert list(ours.index) == list(daily.index)
    assert ours.iloc[: days - 1].isna().to_numpy().all()
    full = ours.iloc[days - 1 :]
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = {
            "volatility": empyrical.roll_annual_volatility(daily, days),
            "sharpe": empyrical.roll_sharpe_ratio(daily, days),
            "drawdown": empyrical.roll_max_drawdown(daily, days),
        }
    for name, column in theirs.items():
        finite = np.isfinite(column.to_numpy())
        np.testing.assert_allclose(full[name][finite], column[finite], rtol=PRECISE, atol=PRECISE, err_msg=name)
        assert full[name][~finite].isna().all(), name


def test_long_windows_are_the_same_in_parts():
    """A window that is worked off in several parts has the values of one."""
    daily = np.random.default_rng(1).normal(0, 0.01, 5_000)
    ours = rolling_statistics(daily, 252, 1_000)
    np.testing.assert_allclose(ours["volatility"][999:], empyrical.roll_annual_volatility(daily, 1_000), rtol=PRECISE)
    np.testing.assert_allclose(ours["drawdown"][999:], empyrical.roll_max_drawdown(daily, 1_000), rtol=PRECISE)


def test_after_its_ruin_a_run_has_no_growth():
    """A short that ate the account: what follows equity of zero or less is undefined, in every part alike."""
    result = Result(run([daily_bars("A", [10, 30, 40, 35])], [(0, "A", -1_000, 10.0)]))
    assert math.isnan(result.monthly.iloc[0, 0])
    assert math.isnan(result.against("A")["beta"])
    assert result.rolling(2)["volatility"].isna().tolist() == [True, False, True, True]
