"""What snapshots say of indicators: what they read then, whenever it is asked for."""

from __future__ import annotations

import numpy as np
import talib
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.trading.indicators import newest
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, series_of


class Mean:
    """Of all values that it was fed."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, value: float) -> float | None:
        """Not defined for the first two."""
        self.values.append(value)
        return sum(self.values) / len(self.values) if len(self.values) > 2 else None


class Keeps(Strategy):
    """Freezes at each bar, beside what each indicator reads at that time."""

    def on_start(self) -> None:
        self.frozen, self.read = [], []
        self.indicator(talib.SMA, "close", 3)
        self.indicator(talib.BBANDS, "close", 3)
        self.indicator(Mean(), "close", name="mean")

    def on_bar(self, bar) -> None:
        if bar.close > 50 and len(self.frozen) == 2:
            self.indicator(np.cumsum, "close")
        desk = self._strategy_context._desk
        self.frozen.append(desk.freeze())
        self.read.append({key: newest(handle) for key, _, handle in desk.indicators})


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_values_are_of_their_instant(closes):
    """Read when the run is over, they are what they were; an indicator that was made later isn't among them."""
    (strategy,) = run(Keeps(), series_of(flat([float(close) for close in closes]))).strategies
    assert len(strategy.frozen) == len(closes)
    for frozen, read in zip(strategy.frozen, strategy.read, strict=True):
        assert len(frozen.indicators) == len(read)
        assert list(frozen.indicators) == list(read)
        np.testing.assert_array_equal([frozen.indicators[key] for key in read], list(read.values()))


def test_nothing_is_read_before_the_first_bar():
    """Then all are NaN."""

    class First(Strategy):
        def on_start(self):
            self.indicator(np.cumsum, "close")
            self.frozen = self._strategy_context._desk.freeze()

    desk = run(First(), series_of(flat([1.0, 2.0])))
    assert np.isnan(desk.strategies[0].frozen.indicators["cumsum(close)"])
    assert repr(desk.freeze().indicators) == "{'cumsum(close)': 3.0}"
