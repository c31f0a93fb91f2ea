"""Streaming indicators: fed in order, never with a later bar, whenever they are read."""

import math

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st
from talib import stream as talib_stream

from nbbacktest.core.errors import IndicatorError
from nbbacktest.trading.indicators import compute
from nbbacktest.trading.streams import is_streaming, stream
from tests.drivers import series_of

RNG = np.random.default_rng(3)
CLOSES = 100 + RNG.normal(size=80).cumsum()
ROWS = [(c, c + 1, c - 1, c, 100.0) for c in CLOSES]


class Ema:
    """A streaming object as users write it."""

    def __init__(self, weight=0.5):
        self.weight, self.value, self.fed = weight, None, []

    def update(self, price):
        self.fed.append(price)
        self.value = price if self.value is None else self.value + self.weight * (price - self.value)
        return self.value if len(self.fed) > 2 else None


class Range:
    """One whose answer is a tuple."""

    def update(self, high, low, scale):
        return None if high < 101 else (low * scale, high * scale)


def streamed(func, *inputs, series=None, name=None, **options):
    return stream(func, series or series_of(ROWS), inputs, options, name)


def reveal(handle, n):
    handle._series.n = n
    return handle


@pytest.mark.parametrize(
    ("name", "inputs", "options"),
    [
        ("SMA", ("close", 20), {}), ("EMA", ("close",), {"timeperiod": 10}), ("RSI", ("close", 14), {}),
        ("ATR", ("high", "low", "close", 14), {}), ("BBANDS", ("close", 20, 2.0, 2.0), {}), ("MACD", ("close",), {}),
        ("CDLDOJI", ("open", "high", "low", "close"), {}), ("OBV", ("close", "volume"), {}),
    ],
)  # fmt: skip
def test_talib_stream_is_batch(name, inputs, options):
    """Every value of a TA-Lib stream is the batch function's, to the last bit."""
    series = series_of(ROWS)
    streams = streamed(getattr(talib_stream, name), *inputs, series=series, **options)
    batch = compute(getattr(talib, name), series, inputs, options, None)
    streams, batch = (x if isinstance(x, tuple) else (x,) for x in (streams, batch))
    assert [s.name for s in streams] == [b.name for b in batch]
    for n in range(1, len(ROWS) + 1):
        series.n = n
        for s, b in zip(streams, batch, strict=True):
            # A candle pattern is 0 in batch where it isn't defined yet; a stream has no value there.
            assert s[-1] == b[-1] or (math.isnan(s[-1]) and (math.isnan(b[-1]) or name == "CDLDOJI"))


@given(st.lists(st.integers(1, 80), max_size=8))
def test_values_do_not_depend_on_reading(stops):
    """Whenever it is read, a stream has been fed exactly the completed bars, in order, once."""
    ema = Ema()
    handle = streamed(ema, "close")
    for n in sorted(stops):
        reveal(handle, n)
        _ = handle[-1]
        assert ema.fed == CLOSES[:n].tolist()
    whole = streamed(Ema(), "close")
    np.testing.assert_array_equal(reveal(handle, 80)[:], reveal(whole, 80)[:])


def test_reads_like_any_indicator():
    """Index, slice, length, float and bounds are those of every indicator."""
    handle = reveal(streamed(Ema(1.0), "close", name="ema"), 5)
    assert handle.name == "ema"
    assert np.isnan(handle[:2]).all()
    assert handle[2:].tolist() == CLOSES[2:5].tolist()
    assert handle[::-1][:3].tolist() == CLOSES[4:1:-1].tolist()
    assert handle[3] == handle[-2] == CLOSES[3]
    assert float(handle) == CLOSES[4]
    assert len(handle) == len(list(handle)) == 5
    assert handle.to_series().iloc[-1] == CLOSES[4]
    for key in (5, -6):
        with pytest.raises(IndexError, match="5 bars are completed"):
            handle[key]


def test_tuples():
    """An answer in a tuple is the value; before the first one it is NaNs, as wide."""
    series = series_of([(c, c, c - 1, c) for c in (100, 101, 100, 102)])
    handle = streamed(Range(), "high", "low", 2, series=series)
    assert reveal(handle, 2)[-1] == (200.0, 202.0)
    assert reveal(handle, 4)[-1] == (202.0, 204.0)
    assert np.isnan(handle[-2]).all()
    assert handle[:].shape == (4, 2)


def test_named_outputs():
    """An object that names its outputs gives an indicator for each."""

    class Named(Range):
        output_names = ("low", "high")

    low, high = streamed(Named(), "high", "low", 1, name="range")
    assert (low.name, high.name) == ("range.low", "range.high")
    reveal(low, 1)
    assert [low[-1], high[-1]] == [CLOSES[0] - 1, CLOSES[0] + 1] or np.isnan(low[-1])


def test_streams_of_indicators():
    """A stream can be fed by an indicator of whole columns, or by another stream."""
    series = series_of(ROWS)
    cumulated = compute(np.cumsum, series, ("close",), {}, None)
    first = streamed(Ema(1.0), cumulated, series=series)
    chained = streamed(talib_stream.SMA, streamed(talib_stream.RSI, "close", 5, series=series), 3, series=series)
    batch = talib.SMA(talib.RSI(CLOSES, 5), 3)
    for n in range(1, 30):
        series.n = n
        assert first[-1] == cumulated[-1] or n < 3
        np.testing.assert_array_equal(chained[-1], batch[n - 1])


def test_whole_columns_of_a_stream():
    """A function of whole columns can't take a stream, whose later values don't exist."""
    series = series_of(ROWS)
    with pytest.raises(IndicatorError, match="its later values don't exist yet"):
        compute(np.cumsum, series, (streamed(Ema(), "close", series=series),), {}, None)


@pytest.mark.parametrize(
    ("func", "inputs", "says"),
    [
        (Ema, ("close",), r"Ema is a class; give an object, Ema\(...\)"),
        (Ema(), (), "no input that changes with the bars"),
        (Ema(), (3,), "no input that changes with the bars"),
        (Ema(), ("clsoe",), "is no column"),
        (talib_stream.SMA, (CLOSES, 3), "no input that changes"),
    ],
)
def test_refused(func, inputs, says):
    """What can't be fed is refused when it is made."""
    with pytest.raises(IndicatorError, match=says):
        streamed(func, *inputs)


def test_a_failing_update_is_named():
    """An object that raises, or answers no number, is an error that names it and the bar."""

    class Bad:
        def update(self, price):
            return "x"

    with pytest.raises(IndicatorError, match=r"Bad\(close\) failed on bar 0: ValueError"):
        reveal(streamed(Bad(), "close"), 1)[-1]
    with pytest.raises(IndicatorError, match=r"SMA\(close, 0\) failed on bar 0: .*Bad Parameter"):
        reveal(streamed(talib_stream.SMA, "close", 0), 1)[-1]


def test_what_is_streaming():
    """TA-Lib's stream functions and objects with an update are; functions aren't."""
    assert is_streaming(talib_stream.SMA)
    assert is_streaming(Ema())
    assert not is_streaming(talib.SMA)
    assert not is_streaming(np.cumsum)
