"""What a year is to a run's returns, by the length of its bars and by its exchange."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.data import synthetic
from nbbacktest.data.calendar import session_table
from tests.records import daily_bars, run

PRECISE = 1e-12


class Own(nb.Strategy):
    """All of it from the second bar on."""

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=500)


def frame(index: pd.DatetimeIndex, seed: int = 1) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.002, 0.02, len(index))))
    opened = np.r_[100.0, close[:-1]]
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": 1.0}, index=index)


def returns(result: nb.Result) -> pd.Series:
    equity = result.equity
    return pd.Series(equity.to_numpy() / np.r_[100_000.0, equity.to_numpy()[:-1]] - 1, index=equity.index)


@pytest.mark.parametrize(
    ("index", "interval", "period", "factor"),
    [
        (pd.bdate_range("2021-01-04", periods=400), "1d", "daily", 252),
        (pd.date_range("2021-01-04", periods=157, freq="W-MON"), "1w", "weekly", 52),
        (pd.date_range("2021-01-08", periods=157, freq="W-FRI"), "1w", "weekly", 52),
        (pd.date_range("2021-01-01", periods=37, freq="MS"), "1mo", "monthly", 12),
        (pd.date_range("2021-01-31", periods=37, freq="ME"), "1mo", "monthly", 12),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_longer_bars_agree_with_empyrical(index, interval: str, period: str, factor: int, seed: int):
    """Its `period` names the same years: 252 days, 52 weeks, 12 months; equal to twelve digits."""
    result = nb.backtest(frame(index, seed), Own, config={"data": {"interval": interval}})
    own, stats = returns(result), result.stats
    theirs = {
        "cagr": empyrical.annual_return(own, period=period),
        "volatility": empyrical.annual_volatility(own, period=period),
        "sharpe": empyrical.sharpe_ratio(own, period=period),
        "sortino": empyrical.sortino_ratio(own, period=period),
    }
    assert {name: stats[name] for name in theirs} == {n: pytest.approx(v, rel=PRECISE) for n, v in theirs.items()}
    rolled = result.rolling(days=12)["volatility"].iloc[-1]
    assert rolled == pytest.approx(own.iloc[-12:].std() * math.sqrt(factor), rel=PRECISE)
    own.index = own.index.tz_localize("UTC")
    against = result.against(pd.Series(own.to_numpy().cumsum() + 10, index=result.equity.index))
    assert against["tracking_error"] == pytest.approx(
        (own.to_numpy()[1:] - pd.Series(own.to_numpy().cumsum() + 10).pct_change().to_numpy()[1:]).std(ddof=1)
        * math.sqrt(factor)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.sampled_from(["1d", "1w", "1mo"]))
def test_the_same_prices_have_the_same_years_however_long_bars_are(seed: int, interval: str):
    """Growth a year and risk a year of days, weeks and months made of one curve are near each other."""
    days = frame(pd.bdate_range("2018-01-01", "2021-12-31"), seed)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    rule = {"1d": "B", "1w": "W-FRI", "1mo": "ME"}[interval]
    bars = days.resample(rule).agg(how)
    stats = nb.backtest(bars, Own, config={"data": {"interval": interval}}).stats
    years = 4.0
    growth = stats["final_equity"] / 100_000
    # 261 weekdays are not 252 sessions: a twentieth.
    assert math.log1p(stats["cagr"]) == pytest.approx(math.log(growth) / years, rel=0.05, abs=1e-3)
    assert 0.05 < stats["volatility"] < 0.6


def test_days_without_bars_are_part_of_the_years():
    """A symbol that has bars in every third session still has as many years as the calendar."""
    table = session_table("XNYS", pd.Timestamp("2022-01-03").date(), pd.Timestamp("2023-12-29").date())
    index = pd.DatetimeIndex(table.dates.astype("datetime64[ns]"))
    whole, some = frame(index), frame(index).iloc[::3]
    for config in ({"exchange": "XNYS"}, {}):
        full, thin = (nb.backtest(bars, Own, config=config).stats for bars in (whole, some))
        years = {name: math.log1p(s["return"]) / math.log1p(s["cagr"]) for name, s in (("full", full), ("thin", thin))}
        assert years["full"] == pytest.approx(len(index) / 252)
        assert years["thin"] == pytest.approx(2.0, abs=0.02)


def test_a_market_that_never_closes_counts_dates():
    """365 a year, those without bars included."""
    index = pd.date_range("2022-01-01", "2022-12-31")
    for config in ({"exchange": "24/7"}, {}):
        for bars in (frame(index), frame(index)[lambda f: f.index.day % 4 != 2]):
            stats = nb.backtest(bars, Own, config=config).stats
            assert stats["cagr"] == pytest.approx(stats["return"], rel=0.02)


def test_bars_of_several_days_count_what_fits_into_a_year():
    """Ten days a bar: 36.5 of them."""
    result = nb.backtest(frame(pd.date_range("2020-01-01", periods=73, freq="10D")), Own)
    own = returns(result)
    assert result.stats["sharpe"] == pytest.approx(own.mean() / own.std() * math.sqrt(36.5))
    assert result.stats["cagr"] == pytest.approx((1 + result.stats["return"]) ** 0.5 - 1)


def test_minutes_have_the_years_of_their_sessions():
    """What bars are inside of a day makes no difference to a year."""
    bars = synthetic.bars("EXE", "2024-01-02", "2024-03-28", interval="30m")["EXE"]
    result = nb.backtest(bars, Own, config={"exchange": "XNYS"})
    sessions = session_table("XNYS", pd.Timestamp("2024-01-02").date(), pd.Timestamp("2024-03-28").date())
    assert len(result.rolling(days=2)) == len(sessions)
    assert result.stats["cagr"] == pytest.approx((1 + result.stats["return"]) ** (252 / len(sessions)) - 1)


def test_what_cannot_be_said_has_a_reason():
    """Every statistic that is NaN, and no other, has a sentence that says why."""
    idle, single, ruined = (
        nb.Result(run([daily_bars("A", [100.0] * 5)])),
        nb.Result(run([daily_bars("A", [100.0])])),
        nb.Result(run([daily_bars("A", [100.0, 1.0, 1.0, 1.0])], [(0, "A", 200, 100.0)])),
    )
    for result in (idle, single, ruined):
        missing = {name for name, value in result.stats.items() if isinstance(value, float) and math.isnan(value)}
        assert set(result.stats.reasons) == missing
        assert missing
    assert idle.stats.reasons["sharpe"] == "the returns of all days are equal"
    assert idle.stats.reasons["win_rate"] == "no trade was closed"
    assert single.stats.reasons["volatility"] == "it needs the returns of two days or more, and the run has that of one"
    assert ruined.stats.reasons["sharpe"].startswith("equity was at zero or below")
    assert 'title="no trade was closed"' in idle.stats._repr_html_()
