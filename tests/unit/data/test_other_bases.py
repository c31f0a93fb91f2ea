"""Bars of several lengths for one symbol: taken apart, refused where they don't fit, compared."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataQualityWarning
from nbbacktest.data import synthetic
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load

HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
MINUTES = synthetic.bars("EXE", "2024-11-25", "2024-11-29")["EXE"]
DAYS = MINUTES.groupby(MINUTES.index.normalize().tz_localize(None)).agg(HOW)


def loaded(bars: Any, /, **settings: Any) -> MarketData:
    return load(SessionConfig.load({"exchange": "XNYS", **settings}), bars)


def test_the_shortest_is_the_base():
    """Orders fill on it; the others stand beside it, by interval, and end with their sessions."""
    market = loaded({"EXE": {"1d": DAYS, "1m": MINUTES}})
    assert (market.interval.name, list(market.bars), list(market.others)) == ("1m", ["EXE"], ["1d"])
    assert market.others["1d"]["EXE"].end.tolist() == market.sessions().close.tolist()
    assert market.disagreements == ()


def test_a_symbol_may_have_fewer_lengths():
    """A frame alone is of the base interval."""
    market = loaded({"EXE": {"1m": MINUTES, "1d": DAYS}, "SW": MINUTES})
    assert list(market.bars) == ["EXE", "SW"]
    assert list(market.others["1d"]) == ["EXE"]


@pytest.mark.parametrize(
    ("change", "field", "coarser"),
    [
        ({"open": 1.001}, "open", DAYS["open"].iloc[1] * 1.001),
        ({"high": 1.001}, "high", DAYS["high"].iloc[1] * 1.001),
        ({"volume": 0.9}, "volume", DAYS["volume"].iloc[1] * 0.9),
    ],
)
def test_differences_beyond_a_tolerance_are_listed(change: dict[str, float], field: str, coarser: float):
    """By symbol, session, interval and field, with both values; loading warns."""
    days = DAYS.copy()
    if "open" in change:
        days.loc[days.index[1], "high"] = max(days["high"].iloc[1], coarser)
    for name, factor in change.items():
        days.loc[days.index[1], name] = days[name].iloc[1] * factor
    with pytest.warns(DataQualityWarning, match="disagree .*first EXE on 2024-11-26"):
        market = loaded({"EXE": {"1m": MINUTES, "1d": days}})
    found = {one.field: one for one in market.disagreements}
    assert found[field][:4] == ("EXE", date(2024, 11, 26), "1d", field)
    assert (found[field].finer, found[field].coarser) == (DAYS[field].iloc[1], pytest.approx(coarser))
    frame = market.disagreement_frame()
    assert list(frame.columns) == ["symbol", "session", "interval", "field", "finer", "coarser"]
    assert len(frame) == len(market.disagreements)


def test_differences_within_the_tolerance_are_none():
    """A hundredth of a percent in prices and one percent in volume pass."""
    days = DAYS.assign(close=DAYS["close"] * 1.00005, volume=DAYS["volume"] * 1.009)
    days["high"] = days[["high", "close"]].max(axis=1)
    days["low"] = days[["low", "close"]].min(axis=1)
    assert loaded({"EXE": {"1m": MINUTES, "1d": days}}).disagreements == ()


def test_a_session_that_one_of_them_lacks_is_listed():
    """As a difference in bars; sessions that only one of them reaches are none."""
    with pytest.warns(DataQualityWarning, match="in one place.*bars 1 by the 1m bars, 0 by the 1d bars"):
        market = loaded({"EXE": {"1m": MINUTES, "1d": DAYS.drop(DAYS.index[2])}})
    assert [one.field for one in market.disagreements] == ["bars"]
    assert loaded({"EXE": {"1m": MINUTES, "1d": DAYS.iloc[1:]}}).disagreements == ()


def test_intraday_bars_are_compared_by_session():
    """Hourly bars of the same minutes agree, the cut one at the close included; bars that are wrong don't."""
    since = MINUTES.index - MINUTES.index.normalize() - pd.Timedelta("9h30min")
    hours = MINUTES.groupby(MINUTES.index - since % pd.Timedelta("1h")).agg(HOW)
    market = loaded({"EXE": {"1m": MINUTES, "1h": hours}})
    assert market.disagreements == ()
    assert market.others["1h"]["EXE"].end[-1] == market.sessions().close[-1]
    with pytest.warns(DataQualityWarning):
        assert loaded({"EXE": {"1m": MINUTES, "1h": hours * 1.01}}).disagreements


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        ({"EXE": {"1x": MINUTES}}, {}, "EXE: '1x' is no interval"),
        ({"EXE": {"1m": MINUTES}, "SW": {"1d": DAYS}}, {}, "SW has no 1m bars, only 1d"),
        ({"EXE": {}}, {}, "the mapping has no frame"),
        ({"EXE": {"1m": MINUTES, "1w": DAYS.iloc[:1]}}, {}, "bars of 1w can't stand beside the 1m bars"),
        ({"EXE": {"1m": MINUTES, "1h": MINUTES}}, {}, "closer than the interval 1h"),
        (
            {"EXE": {"1m": MINUTES, "1d": DAYS}},
            {"data": {"interval": "5m"}},
            "data.interval = '5m': isn't the shortest",
        ),
        (
            {"EXE": {"1m": MINUTES, "1d": DAYS}},
            {"data": {"derived_intervals": ["1d"]}},
            "data.derived_intervals = '1d': is loaded already",
        ),
        (
            {"EXE": {"1m": MINUTES, "1d": DAYS}},
            {"data": {"other_bases": {"1d": {"path": "x.csv"}}}},
            "data.other_bases.1d = 'x.csv': was given as a frame too",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(data: Any, settings: dict[str, Any], words: str):
    """One clear error, before anything runs."""
    with pytest.raises((DataError, ConfigError), match=words):
        loaded(data, **settings)


def test_other_bases_of_a_config(tmp_path: Path):
    """Files by interval, beside the base bars of any source."""
    MINUTES.to_csv(tmp_path / "EXE_1m.csv")
    DAYS.to_csv(tmp_path / "EXE_1d.csv", index_label="date")
    config = {
        "exchange": "XNYS",
        "data": {
            "source": "csv", "path": str(tmp_path / "{symbol}_1m.csv"), "symbols": ["EXE"], "stamp": "open",
            "other_bases": {"1d": {"path": str(tmp_path / "{symbol}_1d.csv")}},
        },
    }  # fmt: skip
    market = load(SessionConfig.load(config))
    assert (len(market.others["1d"]["EXE"]), market.disagreements) == (5 - 1, ())
    with pytest.raises(ConfigError, match="data.other_bases.1d.path = .*one file for 2 symbols"):
        loaded({"EXE": MINUTES, "SW": MINUTES}, data={"other_bases": {"1d": {"path": "days.csv"}}})
    path = str(tmp_path / "EXE_1m.csv")
    with pytest.raises(DataError, match="5m bars mark their open or their close"):
        loaded(MINUTES, data={"other_bases": {"5m": {"path": path}}})


def test_coarser_bars_before_the_run_are_warm_up_on_demand():
    """Without a need they begin with the run; with one they reach back as far as it wants."""
    early = pd.bdate_range("2024-11-01", "2024-11-22")
    long = pd.concat([pd.DataFrame(dict.fromkeys(HOW, 20.0), index=early), DAYS])
    assert len(loaded({"EXE": {"1m": MINUTES, "1d": long}}).others["1d"]["EXE"]) == 4
    market = loaded({"EXE": {"1m": MINUTES, "1d": long}}, data={"warmup_bars": {"1d": 10}})
    assert len(market.others["1d"]["EXE"]) == 14
    assert len(market.earlier["EXE", "1d"]) == 6
