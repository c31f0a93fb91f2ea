"""What trading costs: the config's models as plain functions, made once so that a fill pays for no dispatch."""

from __future__ import annotations

from collections.abc import Callable

from nbbacktest.core.config import Commission, PercentCommission, PercentSlippage, Slippage

Fee = Callable[[float, float], float]
"""(units, price) -> commission, in the account's currency; units are positive."""

Slip = Callable[[float, bool], float]
"""(price, is a buy) -> the worse price that the order fills at."""


def fee_of(model: Commission) -> Fee:
    """The commission that `model` charges.

    Examples
    --------
    >>> fee_of(PercentCommission(rate=0.001))(100.0, 50.0)
    5.0
    """
    if isinstance(model, PercentCommission):
        rate = model.rate
        # abs: a negative price (oil in April 2020) costs commission too, it doesn't earn it.
        return lambda units, price: rate * units * abs(price)
    return lambda units, price: 0.0


def slip_of(model: Slippage) -> Slip | None:
    """How `model` worsens the price of market and stop orders; None where it doesn't.

    Examples
    --------
    >>> slip = slip_of(PercentSlippage(rate=0.01))
    >>> slip(100.0, True), slip(100.0, False)
    (101.0, 99.0)
    """
    if not isinstance(model, PercentSlippage) or model.rate == 0:
        return None
    rate = model.rate
    return lambda price, buy: price + rate * abs(price) if buy else price - rate * abs(price)
