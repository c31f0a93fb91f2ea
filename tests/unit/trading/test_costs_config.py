"""Costs as a config writes them, and as a whole run pays them."""

from __future__ import annotations

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError
from tests.markets import days

MODELS = {
    "commission": [
        {"model": "none"},
        {"model": "percent", "rate": 0.001},
        {"model": "per_share", "rate": 0.005, "minimum": 1.0, "maximum": 0.01},
        {"model": "per_trade", "amount": 4.95},
        {"model": "per_contract", "rate": 2.25},
        {"model": "maker_taker", "maker": -0.0001, "taker": 0.0006},
        {"model": "tiered", "by": "shares", "tiers": [{"above": 0, "rate": 0.005}, {"above": 300, "rate": 0.002}]},
        {"model": "callable", "function": "my_fees:fee"},
    ],
    "slippage": [
        {"model": "none"},
        {"model": "percent", "rate": 0.0005},
        {"model": "fixed", "amount": 0.01},
        {"model": "basis_points", "points": 5},
        {"model": "volume_share", "impact": 0.1, "limit": 0.025},
        {"model": "spread", "spread": 0.02},
    ],
    "borrow": [{"model": "none"}, {"model": "annual", "rate": 0.03, "days": 360}],
    "interest": [{"model": "none"}, {"model": "annual", "rate": 0.06, "days": 365}],
}


@pytest.mark.parametrize(("part", "model"), [(part, model) for part, models in MODELS.items() for model in models])
def test_every_model_reads_and_writes_json(part, model):
    """What a file says comes back the same, and the schema knows the model."""
    config = SessionConfig.load({"broker": {part: model}})
    assert config.to_dict()["broker"][part] == model
    assert SessionConfig.load(config.to_dict()) == config
    assert model["model"] in str(nb.schema("config"))


@pytest.mark.parametrize(
    ("broker", "message"),
    [
        ({"commission": {"model": "percnt"}}, r"broker.commission.model = 'percnt': .*did you mean 'percent'"),
        (
            {"commission": {"rate": 1}},
            r"broker.commission.model = \(missing\): is required; add it: 'none', 'percent', 'per_share'",
        ),
        ({"commission": 0.001}, "broker.commission = 0.001: must be a mapping of keys to values, such as"),
        ({"commission": {"model": "per_share", "rte": 1, "rate": 1}}, "broker.commission.rte = 1: .*mean 'rate'"),
        ({"commission": {"model": "per_share", "rate": -1}}, "broker.commission.rate = -1: must be at least 0"),
        ({"commission": {"model": "tiered", "tiers": []}}, "broker.commission.tiers = .*at least one"),
        (
            {"commission": {"model": "tiered", "tiers": [{"above": 5, "rate": 0}]}},
            "the first tier begins above 5; begin at 0",
        ),
        (
            {"commission": {"model": "tiered", "tiers": [{"above": 0, "rate": 0}, {"above": 0, "rate": 0}]}},
            "rising order",
        ),
        ({"commission": {"model": "tiered", "tiers": [{"above": 0, "rate": 2}]}}, "by notional, 0.001 is 0.1%"),
        ({"commission": {"model": "maker_taker", "maker": -0.1, "taker": 0.01}}, "the rebate of 0.1 is more than"),
        ({"commission": {"model": "callable", "function": "fee"}}, "its place as module:name"),
        ({"slippage": {"model": "spred", "spread": 1}}, "did you mean 'spread'"),
        ({"slippage": {"model": "volume_share", "limit": 2}}, "broker.slippage.limit = 2: must be at most 1"),
        ({"borrow": {"model": "annual", "rate": 0.1, "days": 252}}, "broker.borrow.days = 252: .*360 or 365"),
        ({"interst": {"model": "none"}}, "broker.interst = .*did you mean 'interest'"),
    ],
)
def test_a_model_that_makes_no_sense(broker, message):
    """The error gives path, value and cure, and the nearest name."""
    with pytest.raises(ConfigError, match=message) as caught:
        SessionConfig.load({"broker": broker})
    assert len(caught.value.problems) == 1


class Twice(nb.Strategy):
    """In after the first bar, out after the third."""

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=10)
        if len(self.bars()) == 3:
            self.close()


@pytest.mark.parametrize(
    ("commission", "due"),
    [
        (nb.PerTradeCommission(amount=5), [5, 5]),
        (nb.PerShareCommission(rate=0.01, minimum=1), [1, 1]),
        (nb.PerContractCommission(rate=2), [20, 20]),
        (lambda side, size, price, symbol: 1.0 if side == "buy" else 2.0, [1, 2]),
        (nb.CallableCommission(function=lambda side, size, price, symbol: -0.5), [-0.5, -0.5]),
    ],
)
def test_models_and_functions_in_python(commission, due):
    """`backtest` takes a model, or a function, and pays what it says."""
    result = nb.backtest(days(6), Twice, commission=commission)
    assert result.fills["commission"].tolist() == due
    assert result.equity.iloc[-1] == pytest.approx(100_000 + result.trades["pnl"].sum())


def test_a_function_in_a_mapping_lives_through_overlays():
    """A config may hold the function itself, beside arguments that are laid over it; as JSON it is its place."""
    config = {"broker": {"commission": {"model": "callable", "function": lambda side, size, price, symbol: 3.0}}}
    result = nb.backtest(days(6), Twice, config=config, cash=5_000, slippage=nb.FixedSlippage(amount=0.5))
    assert result.fills["commission"].tolist() == [3, 3]
    assert result.config["broker"]["commission"]["function"].endswith("<lambda>")


def test_volume_share_moves_the_price():
    """Buying a tenth of the bar's volume at an impact of 0.1 costs a thousandth more."""
    frame = days(6)
    frame["volume"] = 100.0
    plain = nb.backtest(frame, Twice).fills["price"]
    moved = nb.backtest(frame, Twice, slippage=nb.VolumeShareSlippage(impact=0.1)).fills["price"]
    assert (moved / plain).tolist() == pytest.approx([1.001, 0.999])


def test_all_the_cash_pays_for_its_slippage():
    """An order without a size is never rejected for what its own size does to the price."""

    class AllIn(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy()

    frame = pd.DataFrame({n: [10.0, 10.0, 10.0] for n in ("open", "high", "low", "close")})
    frame = frame.assign(volume=100.0).set_index(pd.bdate_range("2024-01-02", periods=3))
    result = nb.backtest(frame, AllIn, cash=1_000, slippage=nb.VolumeShareSlippage(impact=0.5))
    assert result.orders["status"].tolist() == ["filled"]
    assert result.equity.iloc[-1] > 0
