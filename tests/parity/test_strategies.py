"""The same strategy on three engines: the same fills in time, price and size, and the same final equity."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.parity import market_strategies, order_strategies
from tests.parity.cases import Case
from tests.parity.conftest import MARKETS
from tests.parity.engines import FREE, PER_SHARE, PERCENT, Run, backtesting_py, backtrader_, ours

CASES = market_strategies.CASES + order_strategies.CASES
COMMISSIONS = (FREE, PERCENT, PER_SHARE)
RELATIVE = 1e-9


def same(one: Run, other: Run) -> None:
    first = next((pair for pair in zip(one.fills, other.fills, strict=False) if pair[0] != pair[1]), None)
    assert first is None, f"the first fills that differ: {first[0]} here, {first[1]} there"
    assert len(one.fills) == len(other.fills)
    assert one.equity == pytest.approx(other.equity, rel=RELATIVE, abs=0)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_fills_and_equity(markets: dict[str, pd.DataFrame], case: Case, market: str) -> None:
    """Three engines trade one strategy to the same cent; commissions take turns over the markets."""
    # Each case meets all three commissions, and each market too.
    commission = COMMISSIONS[(CASES.index(case) + MARKETS.index(market)) % 3]
    frame = markets[market]
    mine = ours(frame, case.ours, commission=commission)
    assert len(mine.fills) >= 10, "too little happens here to prove anything"
    if case.backtesting is not None:
        same(mine, backtesting_py(frame, case.backtesting, commission=commission))
    if case.backtrader is not None:
        same(mine, backtrader_(frame, case.backtrader, commission=commission))
