"""The shipped examples: they trade as their docstrings say, with one symbol and with several."""

import subprocess
import sys

import numpy as np
import pytest
import talib

import nbbacktest.strategies as shipped
from nbbacktest.strategies import BuyAndHold, MeanReversion, SmaCross
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, series_of


def walk(seed, n=400):
    """A random walk whose opens are the last closes."""
    closes = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, n).cumsum())
    opens = np.r_[100, closes[:-1]]
    return [(o, max(o, c), min(o, c), c) for o, c in zip(opens, closes, strict=True)]


def held_by_bar(desk, symbol):
    """Units held at each bar's close."""
    sizes = np.zeros(len(desk.series[symbol, "1m"].columns))
    for fill in desk.fills:
        if fill.symbol == symbol:
            sizes[fill.index :] += fill.signed_size
    return sizes


def test_sma_cross_holds_while_above():
    """SmaCross is long exactly in the bars after those where the fast average was above the slow one."""
    series = series_of(walk(1))
    desk = run(SmaCross(fast=5, slow=20), series)
    close = series.columns.close
    above = talib.SMA(close, 5) > talib.SMA(close, 20)
    assert ((held_by_bar(desk, "EXE") > 0)[1:] == above[:-1]).all()
    assert all(order.status == "filled" or order.is_open for order in desk.orders)
    assert len(desk.fills) > 10


def test_mean_reversion_waits_for_the_band():
    """MeanReversion buys after a close below the lower band, and sells after one at the middle band."""
    series = series_of(walk(2))
    desk = run(MeanReversion(period=15), series)
    close = series.columns.close
    _, middle, lower = talib.BBANDS(close, 15, 2.0, 2.0)
    assert len(desk.fills) > 10
    for fill in desk.fills:
        before = fill.index - 1
        assert close[before] < lower[before] if fill.side == "buy" else close[before] >= middle[before]


def test_buy_and_hold():
    """BuyAndHold buys once, after the first bar, with all the cash."""
    desk = run(BuyAndHold(), series_of(flat([10, 20, 30])), cash=100)
    assert [(f.index, f.size) for f in desk.fills] == [(1, 5)]


@pytest.mark.parametrize("strategy", [BuyAndHold, MeanReversion, SmaCross])
def test_several_symbols_share_the_cash(strategy):
    """With several symbols each gets an equal share, every order can be paid, and derived bars change nothing."""
    series = [series_of(walk(seed), symbol) for seed, symbol in enumerate("ABC")]
    derived = series_of(walk(9, 80), "A", interval="5m", is_base=False)
    desk = run(strategy(), *series, derived, commission=0.001)
    assert {fill.symbol for fill in desk.fills} == {"A", "B", "C"}
    assert not [order for order in desk.orders if order.status == "rejected"]
    alone = [series_of(walk(seed), symbol) for seed, symbol in enumerate("ABC")]
    assert run(strategy(), *alone, commission=0.001).fills == desk.fills
    first = desk.fills[0]
    assert first.size * first.price == pytest.approx(100_000 * 0.95 / 3, rel=0.02)


def test_exports():
    """Every example can be imported by name from the package, and nothing else can."""
    assert dir(shipped) == shipped.__all__
    assert all(issubclass(getattr(shipped, name), Strategy) for name in shipped.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = shipped.Nothing


def test_imports_are_light():
    """Importing the examples loads neither TA-Lib nor pandas."""
    code = (
        "import sys, nbbacktest.strategies as s; s.SmaCross, s.MeanReversion, s.BuyAndHold; "
        "sys.exit(int('talib' in sys.modules or 'pandas' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
