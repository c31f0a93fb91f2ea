"""`backtest`: what it adds to a start and a wait."""

from __future__ import annotations

import pytest

import nbbacktest as nb
from tests.markets import minutes


class Quiet(nb.Strategy):
    """Does nothing."""


class Raises(nb.Strategy):
    """Fails at its third bar."""

    def on_bar(self, bar):
        if len(self.bars()) == 3:
            raise ValueError("boom")


class BadInit(nb.Strategy):
    """Can't be made."""

    def __init__(self, **params):
        super().__init__(**params)
        raise KeyError("secret")


def test_a_raising_strategy_ends_it_even_where_the_config_would_hold_it():
    """Nobody could resume a headless run: on_error pause counts as stop, and the error comes out."""
    with pytest.raises(nb.StrategyError, match="boom") as caught:
        nb.backtest(minutes(), Raises, config={"on_error": "pause"})
    assert caught.value.result.stats["bars"] == 3


def test_a_strategy_that_can_not_be_made_is_named():
    """An exception in a strategy's own __init__ comes out as a StrategyError, nothing started."""
    with pytest.raises(nb.StrategyError, match=r"BadInit\.__init__ raised: KeyError"):
        nb.backtest(minutes(), BadInit)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": None, "strategy": Quiet}, "data = None"),
        ({"data": minutes(), "strategy": None}, "strategy = None"),
        ({"data": minutes(), "strategy": Quiet, "derived": 5}, "derived = 5"),
        ({"data": minutes(), "strategy": Quiet, "cash": -5}, "cash = -5"),
        ({"data": minutes(), "strategy": Quiet, "commission": "cheap"}, "commission = 'cheap'"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments, words):
    """Each bad argument is one error that names it and its value."""
    data, strategy = arguments.pop("data"), arguments.pop("strategy")
    with pytest.raises(nb.ConfigError) as caught:
        nb.backtest(data, strategy, **arguments)
    assert words in str(caught.value)


def test_a_config_may_bring_data_and_strategy():
    """None for both means what the config says."""
    config = {
        "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"},
        "data": {"source": "synthetic", "symbols": ["EXE"]},
        "strategies": [{"class": "nbbacktest.strategies:BuyAndHold"}],
    }
    assert nb.backtest(None, None, config=config).stats["bars"] == 390


def test_arguments_win_over_the_config():
    """Cash and costs given in the call are laid over the config; what the call leaves out stays."""
    config = {"broker": {"cash": 5_000, "commission": {"model": "percent", "rate": 0.01}}, "session_name": "Mine"}
    result = nb.backtest(minutes(), Quiet, cash=7_000, slippage=nb.PercentSlippage(rate=0.001), config=config)
    assert result.config["broker"]["cash"] == 7_000
    assert result.config["broker"]["commission"] == {"model": "percent", "rate": 0.01}
    assert result.config["broker"]["slippage"] == {"model": "percent", "rate": 0.001}
    assert result.name == "Mine"
