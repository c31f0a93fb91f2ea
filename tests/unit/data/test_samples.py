"""The real daily bars of the extra `samples`."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import DataError, MissingExtraError
from nbbacktest.data import samples


def test_the_samples_are_daily_bars_of_real_stocks():
    """Apple's thirteen years are there, by naive session dates."""
    frame = samples.frames(["AAPL"], adjusted=False)["AAPL"]
    assert len(frame) == 3270
    assert (frame.index[0], frame.index[-1]) == (pd.Timestamp("2000-03-01"), pd.Timestamp("2013-03-01"))
    assert frame.loc["2000-03-01", ["open", "high", "low", "close"]].tolist() == [118.56, 132.06, 118.5, 130.31]


def test_adjusting_takes_the_splits_out():
    """Apple's split of 2005 halves the raw price overnight, and leaves no trace in the adjusted one."""
    raw, adjusted = (
        samples.frames(["AAPL"], adjusted=a)["AAPL"].loc["2005-02-25":"2005-02-28", "close"] for a in (False, True)
    )
    assert raw.iloc[1] / raw.iloc[0] == pytest.approx(0.504, abs=0.001)
    assert adjusted.iloc[1] / adjusted.iloc[0] == pytest.approx(1.008, abs=0.001)


def test_adjusting_keeps_shapes_and_money():
    """Ratios within a bar, and price times volume, are what they were."""
    raw, adjusted = (samples.frames(["MSFT"], adjusted=a)["MSFT"] for a in (False, True))
    np.testing.assert_allclose(adjusted.high / adjusted.low, raw.high / raw.low)
    np.testing.assert_allclose(adjusted.close * adjusted.volume, raw.close * raw.volume)
    assert (adjusted.close <= adjusted.high).all()
    assert (adjusted.close >= adjusted.low).all()


def test_symbols_come_in_the_order_asked_for():
    """The order is the session's."""
    assert list(samples.frames(["MSFT", "AAPL"])) == ["MSFT", "AAPL"]


def test_an_unknown_symbol_names_the_nearest():
    """The five that exist are known."""
    with pytest.raises(DataError, match="no symbol 'APPL'; did you mean 'AAPL'"):
        samples.frames(["APPL"])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    """The error says what to install."""
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "nbbacktest\[samples\]"'):
        samples.frames(["AAPL"])


def test_another_version_of_the_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A package without the file is asked to be upgraded."""
    spec = ModuleSpec("bokeh_sampledata", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(samples, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"no stocks.csv.gz.*upgrade"):
        samples.frames(["AAPL"])
    assert importlib.util.find_spec("bokeh_sampledata") is not None
