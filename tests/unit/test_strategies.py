"""The shipped examples: they trade as their docstrings say, with one symbol and with several."""

import subprocess
import sys

import numpy as np
import pytest
import talib

import nbbacktest.strategies as shipped
from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.costs import (
    AnnualBorrow,
    AnnualInterest,
    BasisPointsSlippage,
    CallableCommission,
    FixedSlippage,
    MakerTakerCommission,
    PercentCommission,
    PercentSlippage,
    PerContractCommission,
    PerShareCommission,
    PerTradeCommission,
    SpreadSlippage,
    Tier,
    TieredCommission,
    VolumeShareSlippage,
)
from nbbacktest.strategies import BuyAndHold, MeanReversion, SmaCross
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.strategy import Strategy
from tests.drivers import STAMPS, flat, instants_of, run, run_inline, series_of


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


OPTIONS = {
    "usual": {},
    "share of a half": {"volume_share": 0.5},
    "share of a fiftieth": {"volume_share": 0.02},
    "share of a thousandth": {"volume_share": 0.001},
    "next close": {"fill": "next_close"},
    "this close": {"fill": "this_close"},
    "this close in parts": {"fill": "this_close", "volume_share": 0.1},
    "cross": {"limit_fill": "cross"},
    "path": {"stop_and_target": "path"},
    "finer": {"stop_and_target": "finer"},
    "margin": {"account": "margin"},
    "margin in parts": {"account": "margin", "volume_share": 0.05},
    "leverage": {"account": "margin", "leverage": 4.0, "initial_margin": 0.25},
    "lots": {"lot_size": 10.0},
    "lots in parts": {"lot_size": 10.0, "volume_share": 0.1},
    "parts of a unit": {"lot_size": 0.001, "volume_share": 0.1},
    "whole": {"fractional": False, "volume_share": 0.1},
    "tick": {"tick_size": 0.25},
    "little cash": {"cash": 150.0},
    "borrow and interest": {"borrow": AnnualBorrow(rate=0.05), "interest": AnnualInterest(rate=0.05)},
    **{
        f"{model.model} commission": {"commission": model}
        for model in (
            PercentCommission(rate=0.001), PerShareCommission(rate=0.005, minimum=1.0, maximum=0.01),
            PerTradeCommission(amount=1.0), PerContractCommission(rate=0.5),
            MakerTakerCommission(maker=-0.0001, taker=0.0005), TieredCommission(tiers=(Tier(above=0, rate=0.001),)),
            CallableCommission(function=lambda side, size, price, symbol: 0.001 * size * price),
        )
    },
    **{
        f"{model.model} slippage": {"slippage": model, "volume_share": 0.2}
        for model in (
            PercentSlippage(rate=0.001), FixedSlippage(amount=0.01), BasisPointsSlippage(points=2),
            VolumeShareSlippage(), SpreadSlippage(spread=0.02),
        )
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::nbbacktest.core.errors.OrderWarning")
@pytest.mark.parametrize("symbols", ["A", "ABC"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", [name for name in shipped.__all__ if name != "EqualShares"])
def test_every_shipped_strategy_runs_under_every_option(name, option, symbols):
    """Whatever fills in parts or late: never short, at most one order a side works, and the last signal is what is done."""
    series = [series_of([(*row, 400.0) for row in walk(seed, 250)], symbol) for seed, symbol in enumerate(symbols)]
    derived = series_of(walk(9, 50), "A", interval="5m", is_base=False)
    kind = getattr(shipped, name)
    wrong = []

    class Watched(kind):
        def on_bar(self, bar):
            super().on_bar(bar)
            for symbol in self.symbols:
                working = [str(order.side) for order in self.orders(symbol) if not order.is_forced]
                if self.position(symbol).size < 0 or len(working) > 1:
                    wrong.append((bar.time, symbol, working))

    strategy = Watched()
    parts = [*series, derived]
    broker = BrokerConfig(**OPTIONS[option])
    desk = TradingDesk([(strategy, tuple(symbols))], parts, instants_of(parts), broker, LimitsConfig(), STAMPS)
    run_inline(desk, *parts)
    assert not wrong
    if option != "little cash":
        assert {fill.symbol for fill in desk.fills} == set(symbols)
    for one in series:
        own = [order for order in desk.orders if order.symbol == one.symbol and not order.is_forced]
        if name == "BuyAndHold":
            assert {str(order.side) for order in own} <= {"buy"}
        if name == "SmaCross":
            above = talib.SMA(one.columns.close, 10) > talib.SMA(one.columns.close, 30)
            turned = one.columns.end[np.flatnonzero(np.diff(above.astype(int))) + 1]
            # Each turn upwards has its order, and each one down where something was bought; nothing is ordered else.
            assert {order.submitted_ns for order in own} <= set(turned.tolist())
            if not above[-20:].any() and "volume_share" not in OPTIONS[option]:
                assert not desk.portfolio.positions[desk.contexts[0][1].name][one.symbol]


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_shares_are_equal_however_orders_fill(share):
    """A symbol whose order fills in parts still gets its share when the next one enters."""
    rows = flat([100.0] * 60)
    series = [
        series_of([(*row, 1000.0) for row in rows], symbol, minutes=range(at, at + 60))
        for at, symbol in ((0, "A"), (3, "B"), (6, "C"))
    ]
    desk = run(BuyAndHold(), *series, volume_share=share)
    worth = {symbol: desk.portfolio.positions["BuyAndHold"][symbol].size * 100 for symbol in "ABC"}
    assert worth["A"] == pytest.approx(100_000 * 0.95 / 3, rel=0.01)
    assert worth["B"] == pytest.approx(worth["A"], rel=0.03)
    assert worth["C"] >= 0.97 * worth["A"]
    assert not [order for order in desk.orders if order.status == "rejected"]


def test_a_signal_that_turns_while_an_order_works_turns_the_order():
    """Below again before the entry is filled: its rest is taken back, and what was bought is sold."""
    closes = [*[100.0] * 30, *[101.0] * 4, *[90.0] * 30]
    series = series_of([(c, c, c, c, 100.0) for c in closes])
    desk = run(SmaCross(fast=2, slow=30), series, volume_share=0.1)
    assert [str(order.status) for order in desk.orders] == ["cancelled", "filled"]
    assert not desk.portfolio.held
