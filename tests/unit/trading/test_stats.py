"""Statistics, against empyrical where the definitions coincide and by hand where they don't."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.trading import stats
from nbbacktest.trading.equity import equity_curve
from nbbacktest.trading.stats import statistics
from tests.records import bars, daily_bars, minute_sessions, minutes, run

NAMES = [
    "start", "end", "bars", "final_equity", "return", "cagr", "volatility", "sharpe", "sortino", "calmar",
    "max_drawdown", "max_drawdown_duration", "exposure", "turnover", "trades", "win_rate", "profit_factor",
    "expectancy", "sqn", "best_trade", "worst_trade", "average_trade", "fees",
    "average_mae", "average_mfe",
]  # fmt: skip


def held(closes, **changes):
    """A daily run that buys at the first close and holds: its equity moves as the closes do."""
    return run([daily_bars("A", closes)], [(0, "A", 100, float(closes[0]))], cash=100 * float(closes[0]), **changes)


def walk(count, seed=1):
    """A random walk of prices around 100."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0005, 0.01, count)))


def test_names_and_order_are_the_contracts():
    """Every name that users may rely on is there, in its order."""
    assert list(statistics(held([10, 11, 12]))) == NAMES


# Returns close to a float's last bit have no digits to agree on: basis points have.
@given(st.lists(st.integers(-5_000, 5_000).map(lambda points: points / 10_000), min_size=2, max_size=60))
def test_daily_statistics_agree_with_empyrical(returns):
    """Growth, volatility, Sharpe, Sortino, drawdown and Calmar are empyrical's to 12 digits, where its own are finite."""
    closes = 100 * np.cumprod([1.0, *(1 + r for r in returns)])
    ours = statistics(held(closes))
    daily = np.array([0.0, *(closes[1:] / closes[:-1] - 1)])
    theirs = {
        "cagr": empyrical.annual_return(daily),
        "volatility": empyrical.annual_volatility(daily),
        "sharpe": empyrical.sharpe_ratio(daily),
        "sortino": empyrical.sortino_ratio(daily),
        "max_drawdown": empyrical.max_drawdown(daily),
        "calmar": empyrical.calmar_ratio(daily),
    }
    for name, value in theirs.items():
        # A deviation of mere rounding has no digits to agree on.
        if math.isfinite(value) and abs(value) < 1e9:
            assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_real_walk_agrees_with_empyrical_to_twelve_digits():
    """On a year of ordinary returns nothing but the last bits differ."""
    closes = walk(252)
    ours = statistics(held(closes))
    daily = np.diff(closes, prepend=closes[0]) / np.concatenate((closes[:1], closes[:-1]))
    assert ours["sharpe"] == pytest.approx(empyrical.sharpe_ratio(daily), rel=1e-12)
    assert ours["sortino"] == pytest.approx(empyrical.sortino_ratio(daily), rel=1e-12)
    assert ours["volatility"] == pytest.approx(empyrical.annual_volatility(daily), rel=1e-12)
    assert ours["max_drawdown"] == pytest.approx(empyrical.max_drawdown(daily), rel=1e-12)
    assert ours["cagr"] == pytest.approx(empyrical.annual_return(daily), rel=1e-12)


def test_markets_that_never_close_have_365_days_a_year():
    """The Sharpe ratio of the same curve grows by the root of 365/252."""
    closes = walk(100)
    usual, always = statistics(held(closes)), statistics(held(closes, trades_every_day=True))
    assert always["sharpe"] == pytest.approx(usual["sharpe"] * math.sqrt(365 / 252))


def test_intraday_returns_are_taken_by_day():
    """Sharpe of a minute run comes from one return a session; the first is against the starting cash."""
    time = minute_sessions(["2024-10-03", "2024-10-04", "2024-10-07"], 4)
    closes = [100, 90, 120, 110, 100, 115, 130, 121, 100, 110, 115, 115]
    record = run([bars("A", time, closes)], [(0, "A", 100, 100.0)], cash=10_000.0)
    daily = np.array([0.1, 0.1, 115 / 121 - 1])
    ours = statistics(record)
    assert ours["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))
    assert ours["cagr"] == pytest.approx(1.15 ** (252 / 3) - 1)


def test_drawdown_is_of_all_instants():
    """A fall within one session counts, though the day's end never shows it."""
    record = run([bars("A", minutes(4), [100, 120, 60, 130])], [(0, "A", 100, 100.0)], cash=10_000.0)
    assert statistics(record)["max_drawdown"] == pytest.approx(-0.5)


def test_a_loss_from_the_start_is_a_drawdown():
    """The starting cash is the first peak."""
    assert stats.max_drawdown(np.array([90.0, 95.0]), 100.0) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("equity", "longest"),
    [
        ([100, 101, 102], 0),
        ([100, 99, 100], 2),  # from the peak to the return to it
        ([100, 99, 98], 2),  # never made good: until the end
        ([90, 95, 100], 2),  # below the starting cash from the first instant on
        ([100, 99, 100, 100, 98, 97, 99, 100], 4),
        ([100], 0),
        ([], 0),
    ],
)
def test_the_longest_drawdown_runs_from_the_peak_to_its_recovery(equity, longest):
    """Counted here in instants."""
    clock = np.arange(len(equity), dtype=np.int64)
    assert stats.max_drawdown_duration(np.array(equity, dtype=float), clock, 100.0) == longest


def test_daily_durations_are_between_dates():
    """Four weekdays below the peak, over a weekend, are whole days, whatever the sessions' hours."""
    record = held([100, 90, 90, 90, 101])  # Tuesday to Monday
    assert statistics(record)["max_drawdown_duration"] == pd.Timedelta(days=6)


def test_start_and_end_of_minute_bars_are_the_first_open_and_the_last_close():
    """Three minutes from 09:30 last until 09:33, in the exchange's time."""
    ours = statistics(run([bars("A", minutes(3), [1, 1, 1])]))
    assert str(ours["start"]) == "2024-10-03 09:30:00-04:00"
    assert str(ours["end"]) == "2024-10-03 09:33:00-04:00"


def test_start_and_end_of_daily_bars_are_dates():
    """Session dates are shown as the source gave them: naive."""
    ours = statistics(held([1, 1, 1]))
    assert (str(ours["start"]), str(ours["end"])) == ("2024-01-02 00:00:00", "2024-01-04 00:00:00")


def test_warmup_is_not_counted():
    """Five bars of which two were warm-up: three, starting at the third."""
    ours = statistics(run([bars("A", minutes(5), [1] * 5)], first={"A": 2}))
    assert ours["bars"] == 3
    assert str(ours["start"]) == "2024-10-03 09:32:00-04:00"


def test_exposure_is_the_share_of_instants_with_a_position():
    """Held at the ends of two instants of four."""
    record = run([bars("A", minutes(4), [10] * 4)], [(1, "A", 1, 10.0), (3, "A", -1, 10.0)])
    assert statistics(record)["exposure"] == 0.5


def test_turnover_counts_both_sides_against_mean_equity():
    """All of the cash bought and sold again is a turnover of 2."""
    record = run([bars("A", minutes(4), [10] * 4)], [(1, "A", 1_000, 10.0), (3, "A", -1_000, 10.0)])
    assert statistics(record)["turnover"] == 2.0


def test_trade_statistics_by_hand():
    """Three closed trades of +100, -50 and +25 and one still open, which counts in none."""
    fills = [
        (0, "A", 10, 10.0), (1, "A", -10, 20.0), (2, "A", 10, 20.0), (3, "A", -10, 15.0), (4, "A", 5, 10.0),
        (5, "A", -5, 15.0), (6, "A", 1, 15.0),
    ]  # fmt: skip
    ours = statistics(run([bars("A", minutes(8), [10, 20, 20, 15, 10, 15, 15, 99])], fills))
    pnl = np.array([100.0, -50.0, 25.0])
    assert ours["trades"] == 3
    assert ours["win_rate"] == pytest.approx(2 / 3)
    assert ours["profit_factor"] == 2.5
    assert ours["expectancy"] == 25
    assert ours["sqn"] == pytest.approx(math.sqrt(3) * pnl.mean() / pnl.std(ddof=1))
    assert (ours["best_trade"], ours["worst_trade"]) == (1.0, -0.25)
    assert ours["average_trade"] == pytest.approx((1.0 - 0.25 + 0.5) / 3)


def test_fees_are_all_commissions():
    """Open trades' commissions are paid too."""
    record = run([bars("A", minutes(3), [10] * 3)], [(0, "A", 10, 10.0), (1, "A", 10, 10.0)], commission=0.01)
    assert statistics(record)["fees"] == pytest.approx(2)


def undefined(record):
    """The names of the statistics of a run that are NaN."""
    return {name for name, value in statistics(record).items() if pd.isna(value)}


OF_TRADES = {
    "win_rate", "profit_factor", "expectancy", "sqn", "best_trade", "worst_trade", "average_trade",
    "average_mae", "average_mfe",
}  # fmt: skip


def test_a_run_without_trades_is_flat():
    """Nothing gained, nothing at risk: ratios aren't defined, the rest is zero."""
    record = run([daily_bars("A", walk(30))])
    ours = statistics(record)
    assert undefined(record) == OF_TRADES | {"sharpe", "sortino", "calmar"}
    for name in ("return", "cagr", "volatility", "max_drawdown", "exposure", "turnover", "trades", "fees"):
        assert ours[name] == 0, name
    assert ours["max_drawdown_duration"] == pd.Timedelta(0)


def test_a_run_of_one_instant_has_no_deviation():
    """One daily return has growth and no volatility."""
    record = held([10])
    assert {"volatility", "sharpe", "sortino"} <= undefined(record)
    assert statistics(record)["cagr"] == 0


def test_a_run_without_an_instant_has_its_cash():
    """Nothing happened: no dates, no growth rate, all the cash."""
    record = run([], cash=5_000.0)
    ours = statistics(record)
    assert undefined(record) == OF_TRADES | {"start", "end", "cagr", "volatility", "sharpe", "sortino", "calmar"}
    assert (ours["final_equity"], ours["return"], ours["bars"]) == (5_000, 0, 0)


def test_one_winning_trade_has_no_profit_factor_and_no_sqn():
    """There is no loss to divide by, and no deviation of one number."""
    record = run([bars("A", minutes(2), [10, 12])], [(0, "A", 1, 10.0), (1, "A", -1, 12.0)])
    assert {"profit_factor", "sqn"} <= undefined(record)
    assert statistics(record)["win_rate"] == 1


def test_ruin_is_a_total_loss():
    """A short that ate the account: growth of -100% a year, and no ratio from returns on nothing."""
    record = run([daily_bars("A", [10, 30, 40, 35])], [(0, "A", -1_000, 10.0)])
    ours = statistics(record)
    assert equity_curve(record)[-1] < 0
    assert ours["cagr"] == -1
    assert ours["return"] < -1
    assert ours["max_drawdown"] < -1
    assert {"volatility", "sharpe", "sortino"} <= undefined(record)


def test_growth_beyond_a_float_is_infinite_and_no_error():
    """A hundredfold in a day is no annual rate that a float holds."""
    assert stats.cagr(1e6, 1e2, 1, 252) == math.inf
    assert math.isnan(stats.calmar(math.inf, -0.1))


def test_equal_days_have_no_sharpe():
    """The same return every day deviates from its mean by rounding alone, which is no risk."""
    assert math.isnan(stats.sharpe(np.full(10, 0.1), 252))


@given(
    st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12),
    st.sampled_from([-1_000.0, -1.0, 0.5, 1_000.0]),
)
def test_no_run_raises_or_warns(closes, size):
    """Whatever the prices and the position, every statistic is a value or NaN."""
    ours = statistics(run([daily_bars("A", closes)], [(0, "A", size, closes[0])]))
    assert list(ours) == NAMES
