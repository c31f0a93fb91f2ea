"""What becomes of faulty rows and of data with gaps, as `data.quality` says."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data import market as market_module
from nbbacktest.data import synthetic
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load


def minutes(last: str = "2024-11-29") -> pd.DataFrame:
    return synthetic.bars("EXE", "2024-11-27", last)["EXE"]


def loaded(data: Any, **quality: Any) -> MarketData:
    return load(SessionConfig.load({"data": {"quality": quality}}), data)


def faulty() -> pd.DataFrame:
    """Four rows of 600 that can't be used: no number, bad prices, twice, and one that goes back."""
    bars = minutes()
    bars.iloc[5, 0] = np.nan
    bars.iloc[6, 1] = 0
    return pd.concat([bars.iloc[:100], bars.iloc[[99]], bars.iloc[[10]], bars.iloc[100:]])


def thin() -> pd.DataFrame:
    """A whole day with half of its bars, and a half day that is complete."""
    return minutes().drop(minutes().index[0:390:2])


def test_faults_follow_the_policy():
    """Refused by default, left out with one warning, or left out and counted."""
    with pytest.raises(nb.DataError, match="stamps must rise, and 1 go back"):
        loaded(faulty())
    with pytest.warns(nb.DataQualityWarning) as caught:
        warned = loaded(faulty(), faults="warn")
    assert len(caught) == 1
    for words in (
        "ASSET: rows left out",
        "open is not a finite number in 1 bar",
        "high is below low",
        "go back",
        "dupl",
    ):
        assert words in str(caught[0].message)
    assert caught[0].filename == __file__
    dropped = loaded(faulty(), faults="drop")
    for market in (warned, dropped):
        assert (
            market.bars["ASSET"].time.tolist()
            == loaded(minutes()).bars["ASSET"].time[[*range(5), *range(7, 600)]].tolist()
        )
        assert market.quality["ASSET"]["left_out"] == 4
        assert {kind: len(ns) for kind, ns in market.left_out["ASSET"].items()} == {
            "not_finite": 1, "bad_ohlc": 1, "duplicates": 1, "out_of_order": 1
        }  # fmt: skip


def test_sound_bars_meet_no_policy():
    """Nothing is said or left out, and the bars are the same under each."""
    for faults in ("refuse", "warn", "drop"):
        market = loaded(minutes(), faults=faults, minimum=1)
        assert len(market.bars["ASSET"]) == 600
        assert market.left_out == {"ASSET": {}}


def test_nothing_is_filled_in():
    """What is missing or left out is missing in the run."""
    result = nb.backtest(faulty(), nb.Strategy, config={"data": {"quality": {"faults": "drop"}}})
    assert result.stats["bars"] == 598


def test_the_first_sound_row_of_a_stamp_stays():
    """A faulty one with the same stamp doesn't push it out, nor does one that comes late."""
    bars = minutes()
    other = bars.iloc[[7]] + 1
    market = loaded(
        pd.concat([bars.iloc[:7], bars.iloc[[7]] * np.nan, bars.iloc[[7]], other, bars.iloc[8:]]), faults="drop"
    )
    assert market.bars["ASSET"].close.tolist() == bars["close"].tolist()
    late = pd.concat([bars.iloc[:20], other, bars.iloc[20:]])
    assert loaded(late, faults="drop").bars["ASSET"].close.tolist() == bars["close"].tolist()


def test_daily_bars_on_closed_days_are_left_out():
    """And so is a date that comes twice, where a calendar is there to tell."""
    dates = pd.DatetimeIndex(["2024-10-03", "2024-10-04", "2024-10-05", "2024-10-07", "2024-10-07"])
    dates = dates + pd.to_timedelta([0, 0, 0, 0, 1], unit="h")
    bars = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=dates)
    config = {"exchange": "XNYS", "data": {"interval": "1d"}}
    with pytest.raises(nb.DataError, match="have the date of another"):
        load(SessionConfig.load(config), bars)
    config["data"]["quality"] = {"faults": "drop"}
    market = load(SessionConfig.load(config), bars)
    assert len(market.bars["ASSET"]) == 3
    assert market.quality["ASSET"] | {"quality": 0} == {
        "interval": "1d", "expected": 3, "present": 3, "missing": 0, "left_out": 2, "outside": 1, "zero_volume": 3,
        "quality": 0,
    }  # fmt: skip


def test_much_is_never_dropped_in_silence():
    """More than a tenth of the rows, and more than three, are told under every policy."""
    bars = minutes()
    for count, told in ((3, False), (60, False), (61, True), (400, True)):
        faulty_rows = bars.copy()
        faulty_rows.iloc[:count, 0] = np.nan
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded(faulty_rows, faults="drop")
        assert [f"rows left out, {count} of 600" in str(one.message) for one in caught] == [True] * told


def test_nothing_sound_is_refused():
    """Under every policy: a run needs bars."""
    bars = minutes()
    bars["close"] = np.nan
    with pytest.raises(nb.DataError, match="none of 600 rows is sound: close is not a finite number in 600 bars"):
        loaded(bars, faults="drop")


def test_too_few_bars_follow_the_policy():
    """Refused with the worst session, warned of and let be, or the thin session left out."""
    with pytest.raises(nb.DataError, match=r"ASSET has 405 of 600 expected bars, 67.5%.*2024-11-27 with 195 of 390"):
        loaded(thin(), minimum=0.9)
    with pytest.warns(nb.DataQualityWarning, match="405 of 600"):
        assert len(loaded(thin(), faults="warn", minimum=0.9).bars["ASSET"]) == 405
    dropped = loaded(thin(), faults="drop", minimum=0.9)
    assert len(dropped.bars["ASSET"]) == 210
    assert len(dropped.left_out["ASSET"]["thin"]) == 195
    assert dropped.quality["ASSET"]["missing"] == 390
    for faults in ("refuse", "drop"):
        assert len(loaded(thin(), faults=faults, minimum=0.5).bars["ASSET"]) == 405
    with pytest.raises(nb.DataError, match="no session with at least 1 of its expected bars"):
        loaded(minutes().iloc[:200], faults="drop", minimum=1)


def test_the_minimum_holds_for_each_symbol():
    """The one that is below it is named."""
    with pytest.raises(nb.DataError, match="^B has 405 of 600"):
        loaded({"A": minutes(), "B": thin()}, minimum=0.9)


def test_faults_beyond_the_days_that_are_run_are_not_counted():
    """What is cut off isn't part of the run."""
    config = {"backtest": {"start_date": "2024-11-29"}, "data": {"quality": {"faults": "drop"}}}
    market = load(SessionConfig.load(config), faulty())
    assert (len(market.bars["ASSET"]), market.quality["ASSET"]["left_out"]) == (210, 0)


def test_a_run_that_needs_no_calendar_builds_none(monkeypatch: pytest.MonkeyPatch):
    """Its status says what can be counted without one; with an exchange it says it all."""
    built = []
    monkeypatch.setattr(market_module, "session_table", lambda *given: built.append(given))
    result = nb.backtest(minutes(), nb.Strategy)
    own = result.metrics["session"]["symbols"]["ASSET"]["quality"]
    assert (own["present"], own["expected"], own["quality"], built) == (600, None, None, [])
    monkeypatch.undo()
    result = nb.backtest(thin(), nb.Strategy, config={"exchange": "XNYS"})
    own = result.metrics["session"]["symbols"]["ASSET"]["quality"]
    assert (own["expected"], own["present"], own["missing"], own["quality"]) == (600, 405, 195, 67.5)


def test_totals_of_the_status_are_those_of_the_report():
    """Counted in two ways, the same."""
    market = load(SessionConfig.load({"exchange": "XNYS", "data": {"quality": {"faults": "drop"}}}), faulty())
    full = nb.data_quality(market).summary().loc["ASSET"]
    for name in ("expected", "present", "missing", "outside", "zero_volume", "quality"):
        if name != "quality":
            assert market.quality["ASSET"][name] == full[name]
    assert full["quality"] <= market.quality["ASSET"]["quality"]


def test_no_warning_without_a_reason():
    """To warn costs nothing where nothing is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded(minutes(), faults="warn", minimum=1)
