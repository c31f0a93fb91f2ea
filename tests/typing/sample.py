"""A user's program as a type checker sees it: never run, only checked."""

from __future__ import annotations

from typing import assert_type

import pandas as pd

import nbbacktest as nb


class Buyer(nb.Strategy):
    """Buys once and holds."""

    def on_bar(self, bar: nb.Bar) -> None:
        assert_type(bar.close, float)
        assert_type(bar.symbol, str)
        if not self.position().size:
            self.buy(size=1)


def run(data: pd.DataFrame) -> nb.Result:
    result = nb.backtest(data, Buyer)
    assert_type(result, nb.Result)
    assert_type(result.equity, "pd.Series[float]")
    return result


assert_type(nb.get_system_manager(), nb.SystemManager)
