"""Cash, positions, equity and buying power."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.trading.portfolio import Portfolio
from tests.drivers import flat, series_of


def account(*closes, cash=1000.0):
    """A portfolio of one strategy and one symbol, its newest close being the last one."""
    series = series_of(flat(closes))
    series.n = len(closes)
    portfolio = Portfolio(cash)
    portfolio.open_account("S", [series])
    return portfolio


def trade(portfolio, signed, price, fee=0.0):
    portfolio.record(portfolio.positions["S"]["EXE"], signed, price, fee)
    return portfolio.positions["S"]["EXE"]


def test_average_price():
    """Adding averages the price, reducing keeps it, turning around takes the new price."""
    portfolio = account(10)
    assert trade(portfolio, 10, 8).average_price == 8
    assert trade(portfolio, 10, 10).average_price == 9
    assert trade(portfolio, -5, 20).average_price == 9
    turned = trade(portfolio, -20, 12)
    assert (turned.size, turned.average_price) == (-5, 12)
    assert turned.unrealized_pnl == 10
    assert not trade(portfolio, 5, 12)
    assert not portfolio.held


def test_no_dust():
    """Closing in fractions leaves exactly nothing."""
    portfolio = account(10)
    trade(portfolio, 0.1, 10)
    trade(portfolio, 0.2, 10)
    assert trade(portfolio, -0.3, 10).size == 0


def test_position_is_immutable():
    """A position that a strategy keeps doesn't change under it."""
    portfolio = account(10)
    before = trade(portfolio, 1, 10)
    trade(portfolio, 1, 10)
    assert before.size == 1
    with pytest.raises(AttributeError):
        before.size = 3


def test_reprs():
    """A position reads well, flat or not, and before the first bar."""
    portfolio = account()
    assert repr(portfolio.positions["S"]["EXE"]) == "<Position EXE: flat>"
    assert portfolio.positions["S"]["EXE"].last is None
    assert repr(trade(account(11), 2, 10)) == "<Position EXE: 2 at 10, unrealized +2.00>"


def test_buying_power():
    """A long leaves the cash to spend; a short's proceeds don't count, and its worth is tied up."""
    portfolio = account(10)
    trade(portfolio, 10, 10)
    assert portfolio.buying_power("EXE", 10) == portfolio.cash == 900
    portfolio = account(10)
    trade(portfolio, -10, 10)
    assert portfolio.cash == 1100
    assert portfolio.buying_power("EXE", 10) == 900
    assert portfolio.buying_power("EXE", 20) == 700
    assert portfolio.buying_power("other", 20) == 900


trades = st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 100)), max_size=30)


@given(trades)
def test_equity_is_what_was_put_in_and_earned(log):
    """Cash and position at the market are the start plus every trade's gain at the newest close."""
    portfolio = account(50)
    for signed, price in log:
        trade(portfolio, float(signed), float(price), 1.0)
    assert portfolio.positions["S"]["EXE"].size == sum(signed for signed, _ in log)
    assert portfolio.equity == pytest.approx(1000 + sum(s * (50 - p) - 1 for s, p in log))


@given(trades)
def test_buying_power_is_cash_less_twice_the_shorts(log):
    """Whatever was traded before, turned around and in fractions too: cash less twice what is short now."""
    portfolio = account(50)
    for signed, price in log:
        size = trade(portfolio, signed / 10, float(price)).size
        assert portfolio.buying_power("EXE", 7.0) == portfolio.cash + 2 * 7.0 * min(size, 0.0)
