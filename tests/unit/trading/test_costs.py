"""Commission and slippage, as functions and as they show in fills."""

import pytest

from nbbacktest.core.config import NoCommission, NoSlippage, PercentCommission, PercentSlippage
from nbbacktest.trading.costs import fee_of, slip_of
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, series_of


def test_percent_commission():
    """A percent commission is a share of the notional, of a negative price too."""
    fee = fee_of(PercentCommission(rate=0.001))
    assert fee(100, 50) == pytest.approx(5.0)
    assert fee(100, -50) == pytest.approx(5.0)


def test_nothing_costs_nothing():
    """Without models trading is free, and the hot path is told that there is no slippage at all."""
    assert fee_of(NoCommission())(100, 50) == 0
    assert slip_of(NoSlippage()) is None
    assert slip_of(PercentSlippage(rate=0.0)) is None


@pytest.mark.parametrize("price", [100.0, -100.0])
def test_slippage_is_always_worse(price):
    """A buyer pays more and a seller gets less, whatever the sign of the price."""
    slip = slip_of(PercentSlippage(rate=0.01))
    assert slip is not None
    assert slip(price, True) == price + 1
    assert slip(price, False) == price - 1


class Each(Strategy):
    """One order of each type after the first bar."""

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=1, tag="market")
            self.buy(size=1, stop=100.0, tag="stop")
            self.buy(size=1, limit=100.0, tag="limit")
            self.sell(size=1, stop=100.0, tag="stop down")


def test_slippage_spares_limits():
    """Slippage worsens market and stop fills, and never a limit; commission is of the worse price."""
    desk = run(Each(), series_of(flat([100, 100])), slippage=0.01, commission=0.1)
    assert {f.tag: f.price for f in desk.fills} == {"market": 101, "stop": 101, "limit": 100, "stop down": 99}
    assert [f.commission for f in desk.fills] == pytest.approx([10.1, 10.1, 10.0, 9.9])
