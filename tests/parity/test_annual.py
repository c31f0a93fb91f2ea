"""Growth a year of daily, weekly and monthly bars, beside backtesting.py's."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from tests.parity.peers import backtesting

CASH = 100_000.0


class Own(nb.Strategy):
    def on_bar(self, bar):
        if len(self.bars()) == 2:  # theirs is first asked there
            self.buy(size=500)


class Theirs(backtesting.Strategy):
    def init(self):
        pass

    def next(self):
        if not self.position:
            self.buy(size=500)


@pytest.mark.parametrize(
    ("index", "interval", "per_year"),
    [
        (pd.bdate_range("2021-01-04", periods=400), "1d", 252),
        (pd.date_range("2021-01-04", periods=157, freq="W-MON"), "1w", 52),
        (pd.date_range("2021-01-31", periods=37, freq="ME"), "1mo", 12),
    ],
)
def test_growth_a_year_is_that_of_backtesting_py(index, interval: str, per_year: int):
    """It leaves out the first bar's return, which is that of the cash: with as many returns both are the same figure."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.002, 0.02, len(index))))
    opened = np.r_[100.0, close[:-1]]
    frame = pd.DataFrame(
        {"Open": opened, "High": np.maximum(opened, close), "Low": np.minimum(opened, close), "Close": close},
        index=index,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = backtesting.Backtest(frame, Theirs, cash=CASH, finalize_trades=False).run()
    ours = nb.backtest(frame, Own, cash=CASH, config={"data": {"interval": interval}})
    count = len(index)
    assert ours.equity.iloc[-1] == pytest.approx(theirs["Equity Final [$]"])
    assert (1 + ours.stats["cagr"]) ** (count / (count - 1)) - 1 == pytest.approx(theirs["Return (Ann.) [%]"] / 100)
    returns = ours.equity.pct_change().dropna()
    growth = np.exp(np.log1p(returns).mean())
    squares = (returns.var(ddof=1) + growth**2) ** per_year - growth ** (2 * per_year)
    assert np.sqrt(squares) == pytest.approx(theirs["Volatility (Ann.) [%]"] / 100)
