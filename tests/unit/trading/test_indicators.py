"""Indicators over whole columns: computed once, seen up to the cursor, checked before use."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import IndicatorError
from nbbacktest.trading.indicators import Indicator, compute
from nbbacktest.trading.strategy import Strategy
from tests.drivers import flat, run, series_of

PRICES = [10.0, 11.0, 12.0, 11.5, 13.0, 12.5]


class Pair(NamedTuple):
    low: np.ndarray
    high: np.ndarray


def made(func, *inputs, n=6, name=None, **options):
    """An indicator over PRICES, of which the first n bars are completed."""
    series = series_of(flat(PRICES))
    series.n = n
    return compute(func, series, inputs, options, name)


def test_talib():
    """A TA-Lib function gives its own values, NaN before it is defined."""
    sma = made(talib.SMA, "close", 3)
    np.testing.assert_array_equal(sma[:], talib.SMA(np.array(PRICES), 3))
    assert np.isnan(sma[0])
    assert sma.name == "SMA(close, 3)"
    assert type(sma[-1]) is float


def test_several_outputs():
    """Several outputs are several indicators, named as TA-Lib names them."""
    upper, middle, lower = made(talib.BBANDS, "close", timeperiod=3)
    assert upper[-1] > middle[-1] > lower[-1]
    assert [upper.name, lower.name] == [
        "BBANDS(close, timeperiod=3).upperband", "BBANDS(close, timeperiod=3).lowerband",
    ]  # fmt: skip


@given(st.integers(0, 6), st.integers(-8, 8))
def test_nothing_later_is_reachable(n, key):
    """An index reaches exactly the completed bars, as a list of them would, and a slice the same."""
    whole = made(np.cumsum, "close", n=n)
    seen = list(np.cumsum(PRICES))[:n]
    assert list(whole) == seen == whole[:].tolist()
    assert len(whole) == n
    for cut in (slice(key, None), slice(None, key), slice(None, None, -1), slice(key, 2)):
        assert whole[cut].tolist() == seen[cut]
    try:
        expected = seen[key]
    except IndexError:
        with pytest.raises(IndexError, match=f"{n} bars are completed"):
            whole[key]
    else:
        assert whole[key] == whole[np.int64(key)] == expected


def test_conversions():
    """An indicator is a float, an array and a pandas Series of what is completed."""
    ind = made(np.cumsum, "close", n=3, name="sum")
    assert float(ind) == 33
    assert np.asarray(ind).tolist() == [10, 21, 33]
    assert (np.array(ind) + 1).tolist() == [11, 22, 34]
    assert ind.to_series().tolist() == [10, 21, 33]
    assert ind.to_series().name == "sum"
    assert repr(ind) == "<sum of EXE 1m: 33.0>"
    empty = made(np.cumsum, "close", n=0)
    assert repr(empty) == "<cumsum(close) of EXE 1m: no value yet>"
    assert empty.to_series().empty
    with pytest.raises(ValueError, match="read-only"):
        ind[:][0] = 1


def test_outputs_of_all_kinds():
    """Lists, named tuples, frames, tables of rows or columns, booleans and missing values are understood."""
    low, high = result = made(lambda x: Pair(x - 1, x + 1), "close")
    assert result.low is low
    assert high.name == "lambda(close).high"
    assert [i[-1] for i in made(lambda x: [x, x * 2], "close")] == [12.5, 25.0]
    assert [i[-1] for i in made(lambda x: np.array([x, x * 2, x]), "close")] == [12.5, 25.0, 12.5]
    assert [i[-1] for i in made(lambda x: np.array([x, x * 2, x]).T, "close")] == [12.5, 25.0, 12.5]
    a, b = made(lambda x: pd.DataFrame({"a": x, "b": x * 2}), "close")
    assert (a.name, b[-1]) == ("lambda(close).a", 25.0)
    assert made(lambda x: pd.Series(x).rolling(2).mean(), "close")[-1] == 12.75
    assert made(lambda x: x > 12, "close")[-1] == 1.0
    assert made(lambda x: [None, *x[1:]], "close")[1] == 11.0
    assert made(lambda x: x.tolist(), "close")[-1] == 12.5


def test_inputs():
    """Columns go in by name, indicators with all their values, the rest unchanged; options too."""
    first = made(np.cumsum, "close")
    series = first._series
    second = compute(np.subtract, series, (first, "close"), {}, None)
    assert second[-1] == sum(PRICES[:-1])
    assert second.name == "subtract(cumsum(close), close)"
    third = compute(lambda x, *, base: x - base, series, ("close",), {"base": first}, None)
    assert third[-1] == 12.5 - sum(PRICES)
    assert made(partial(talib.SMA, timeperiod=2), "close", name=None).name == "SMA(close)"
    assert made(lambda x, w: x * w, "close", 0.5).name == "lambda(close, 0.5)"
    assert made(lambda x, w: x + w, "close", np.arange(6.0)).name == "lambda(close, array([0., 1., 2....)"


@pytest.mark.parametrize(
    ("func", "inputs", "says"),
    [
        (np.cumsum, ("closed",), "'closed' is no column; columns are open, high, low, close, volume"),
        (lambda x: x[1:], ("close",), "gave 5 values for 6 bars"),
        (lambda x: x.sum(), ("close",), r"an array of shape \(\) for 6 bars"),
        (lambda x: np.zeros((2, 2, 2)), ("close",), r"shape \(2, 2, 2\)"),
        (lambda x: ["a"] * 6, ("close",), "an indicator is numbers"),
        (lambda x: [{}] * 6, ("close",), "an indicator is numbers"),
        (lambda x: x.astype("M8[s]"), ("close",), "datetime64"),
        (lambda x: 1 / 0, ("close",), "raised on the 6 bars of EXE 1m: ZeroDivisionError"),
        (talib.SMA, ("close", 0), "SMA.* raised .*Bad Parameter"),
        (lambda x: (x, x[1:]), ("close",), r"lambda\(close\).1 gave 5 values"),
        (lambda x: x.__setitem__(0, 1), ("close",), "read-only"),
    ],
)
def test_refused(func, inputs, says):
    """What gives no number for each bar is refused, naming the function and the lengths."""
    with pytest.raises(IndicatorError, match=says):
        made(func, *inputs)


def test_in_a_strategy():
    """Inputs are of the symbol and interval asked for, by default those of the indicators given."""
    seen = []

    class Uses(Strategy):
        def on_start(self):
            coarse = self.indicator(np.cumsum, "close", interval="2m")
            self.twice = self.indicator(np.add, coarse, coarse)
            assert (self.twice.symbol, self.twice.interval) == ("EXE", "2m")
            with pytest.raises(IndicatorError, match="don't line up with EXE 1m"):
                self.indicator(np.add, coarse, "close", interval="1m")
            with pytest.raises(IndicatorError, match=r"self.bars\(\) ends at now; name the column instead"):
                self.indicator(np.cumsum, self.bars().close)

        def on_bar(self, bar):
            seen.append((bar.interval, len(self.twice), float(self.twice) if len(self.twice) else None))

    derived = series_of(flat([11, 11.5, 12.5]), interval="2m", is_base=False)
    run(Uses(), series_of(flat(PRICES[:4])), derived)
    assert seen[:4] == [("1m", 0, None), ("1m", 1, 22.0), ("2m", 1, 22.0), ("1m", 1, 22.0)]


def test_an_indicator_is_made_once():
    """A function of whole columns is called once for a run, with read-only columns."""
    calls = []

    def spy(close):
        calls.append(close.flags.writeable)
        return close

    class Uses(Strategy):
        def on_start(self):
            self.spy = self.indicator(spy, "close")

        def on_bar(self, bar):
            assert self.spy[-1] == bar.close
            assert isinstance(self.spy, Indicator)

    run(Uses(), series_of(flat(PRICES)))
    assert calls == [False]
