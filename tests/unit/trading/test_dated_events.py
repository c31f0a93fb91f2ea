"""Borrow fees and debit interest, by hand and as laws."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.costs import AnnualBorrow, AnnualInterest, NoBorrow, NoInterest
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.trading_days import TradingDays
from nbbacktest.engine.series import Series
from nbbacktest.trading.dated_events import Accruals
from nbbacktest.trading.equity import cash_curve, equity_curve
from nbbacktest.trading.portfolio import Portfolio
from nbbacktest.trading.trades import round_trips
from tests.markets import minutes as minute_frame
from tests.records import daily_bars, minutes


def series_of(columns: BarColumns, n: int) -> Series:
    series = Series(columns, Stamps("America/New_York", dates=True), is_base=True)
    series.n = n
    return series


def account(cash, *, size=0.0, closes=(50, 50, 50, 50, 50), index=1, first="2024-01-02"):
    """A portfolio as it stands when the bars of the instant `index` have just been shown."""
    columns = daily_bars("A", closes, first)
    portfolio = Portfolio(cash)
    position = portfolio.open_account("S", [series_of(columns, index + 1)])["A"]
    if size:
        portfolio.record(position, size, 0.0, 0.0)
    return portfolio, columns.end


def charges(borrow, interest, portfolio, instants, index):
    accruals = Accruals(borrow, interest, portfolio, instants, TradingDays("America/New_York"))
    assert index in accruals.due
    return [(flow.kind, flow.symbol, flow.strategy, pytest.approx(flow.amount)) for flow in accruals.charge(index)]


BORROW, INTEREST = AnnualBorrow(rate=0.0365), AnnualInterest(rate=0.073)


def test_a_night_short():
    """100 short at 50 at 3.65% a year of 365 days: 5,000 x 0.0001 = 0.50 a night."""
    portfolio, instants = account(20_000, size=-100)
    assert charges(BORROW, NoInterest(), portfolio, instants, 1) == [("borrow", "A", "S", -0.5)]
    assert portfolio.cash == pytest.approx(19_999.5)


def test_a_year_of_360_days_costs_more():
    """The day count is the model's: 5,000 x 0.036 / 360 = 0.50."""
    portfolio, instants = account(20_000, size=-100)
    model = AnnualBorrow(rate=0.036, days=360)
    assert charges(model, NoInterest(), portfolio, instants, 1) == [("borrow", "A", "S", -0.5)]


def test_the_evening_before_sets_the_worth():
    """What the new date's bar closes at doesn't count: 100 x 50, not 100 x 80."""
    portfolio, instants = account(20_000, size=-100, closes=(50, 80, 80))
    assert charges(BORROW, NoInterest(), portfolio, instants, 1) == [("borrow", "A", "S", -0.5)]


def test_a_weekend_is_three_nights():
    """Friday 5 to Monday 8 January 2024: three times 0.50."""
    portfolio, instants = account(20_000, size=-100, index=1, first="2024-01-05")
    assert charges(BORROW, NoInterest(), portfolio, instants, 1) == [("borrow", "A", "S", -1.5)]


def test_debit_cash_pays_interest():
    """A debit of 10,000 at 7.3% a year: 2.00 a night; it belongs to no symbol."""
    portfolio, instants = account(-10_000)
    assert charges(NoBorrow(), INTEREST, portfolio, instants, 1) == [("interest", None, None, -2.0)]
    assert portfolio.cash == pytest.approx(-10_002)


def test_both_are_of_the_same_evening():
    """Interest isn't charged on the borrow fee of the same night."""
    portfolio, instants = account(-10_000, size=-100)
    assert charges(BORROW, INTEREST, portfolio, instants, 1) == [
        ("borrow", "A", "S", -0.5),
        ("interest", None, None, -2.0),
    ]


def test_longs_and_credit_pay_nothing():
    """No fee for what is owned, no interest on what isn't owed."""
    portfolio, instants = account(10_000, size=100)
    assert charges(BORROW, INTEREST, portfolio, instants, 1) == []
    assert portfolio.cash == 10_000


def test_nothing_configured_is_never_due():
    """Models without a rate make no instant due, so that a run pays nothing for them."""
    portfolio, instants = account(-10_000, size=-100)
    for borrow in (NoBorrow(), AnnualBorrow(rate=0)):
        assert Accruals(borrow, NoInterest(), portfolio, instants, TradingDays("UTC")).due == []


def test_due_at_changes_of_the_local_date():
    """Within a date nothing is due; the first instant of the next one is, in the market's own time."""
    instants = np.concatenate([minutes(3, "2024-01-02", "20:00"), minutes(3, "2024-01-03", "04:00")])
    made = Accruals(BORROW, NoInterest(), Portfolio(1.0), instants + 60_000_000_000, TradingDays("America/New_York"))
    assert made.due == [3]
    assert Accruals(BORROW, NoInterest(), Portfolio(1.0), instants, TradingDays("UTC")).due == []


class Short(nb.Strategy):
    """Short 100 from the second bar on, and flat again after the fourth."""

    size: float = 100.0

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.sell(size=self.size)
        if len(self.bars()) == 4:
            self.close()


def flat_days(count=8, price=50.0, first="2024-01-02"):
    frame = pd.DataFrame({name: np.full(count, price) for name in ("open", "high", "low", "close")})
    return frame.set_index(pd.bdate_range(first, periods=count))


def test_a_run_pays_every_night_that_it_is_short():
    """Sold on Wednesday, bought back on Monday: the nights to Thursday, to Friday, and three to Monday."""
    result = nb.backtest(flat_days(), Short, config={"broker": {"borrow": {"model": "annual", "rate": 0.0365}}})
    assert result.flows["amount"].tolist() == pytest.approx([-0.5, -0.5, -1.5])
    assert result.flows["kind"].tolist() == ["borrow"] * 3
    assert result.equity.iloc[-1] == pytest.approx(100_000 - 2.5)
    assert result.equity.iloc[2] == pytest.approx(100_000 - 0.5)


def test_saved_and_loaded_flows_are_the_same(tmp_path):
    """A result keeps its cash flows in its file, and its equity with them."""
    result = nb.backtest(flat_days(), Short, config={"broker": {"borrow": {"model": "annual", "rate": 0.0365}}})
    loaded = nb.Result.load(result.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(loaded.flows, result.flows)
    assert loaded.fingerprint == result.fingerprint


def test_a_rate_that_never_bites_changes_nothing():
    """With models but no short and no debit the fingerprint is that of the run without them."""

    class Long(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=1)

    rates = {"borrow": {"model": "annual", "rate": 0.5}, "interest": {"model": "annual", "rate": 0.5}}
    plain = nb.backtest(flat_days(), Long)
    assert nb.backtest(flat_days(), Long, config={"broker": rates}).fingerprint == plain.fingerprint
    assert plain.flows.empty


class Swings(nb.Strategy):
    """Turns between long and short, as its plan says."""

    plan: list = []  # noqa: RUF012 - a parameter's default is copied for each object

    def on_bar(self, bar):
        place = len(self.bars()) // 40
        if len(self.bars()) % 40 == 0 and place < len(self.plan):
            self.order_target_size(self.plan[place])
        self.seen = [*getattr(self, "seen", []), (self.cash, self.equity)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-30, 30), max_size=20), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 0.5]))
def test_cash_law_with_flows(plan, borrow, interest):
    """Cash and equity as the strategy saw them are those of fills and flows; trades and flows explain the gain."""
    two = minute_frame(380, seed=5), minute_frame(380, seed=6, start="2024-10-07 09:30")
    strategy = Swings(plan=plan)
    broker = {"cash": 2_000, "account": "margin", "borrow": {"model": "annual", "rate": borrow},
              "interest": {"model": "annual", "rate": interest}}  # fmt: skip
    result = nb.backtest(pd.concat(two), strategy, config={"broker": broker}, commission=0.001)
    record = result.record
    assert np.allclose(cash_curve(record), [cash for cash, _ in strategy.seen], rtol=1e-12)
    assert np.allclose(equity_curve(record), [equity for _, equity in strategy.seen], rtol=1e-12)
    gain = sum(trade.pnl for trade in round_trips(record)) + sum(flow.amount for flow in record.flows)
    assert math.isclose(record.cash + gain, result.equity.iloc[-1], rel_tol=1e-9)
    assert all(flow.amount < 0 and flow.index == 380 for flow in record.flows)
