"""Quality against the hours that a config sets, and around a lunch break."""

from __future__ import annotations

import pandas as pd

import nbbacktest as nb
from nbbacktest.data import synthetic


def flat(index: pd.DatetimeIndex) -> pd.DataFrame:
    return pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, index=index)


def test_a_lunch_break_has_no_bars_to_miss():
    """Tokyo rests from 11:30 to 12:30: nothing is expected there, and what is there lies outside."""
    bars = synthetic.bars("7203", "2024-10-03", "2024-10-03", exchange="XTKS")["7203"]
    lunch = flat(pd.date_range("2024-10-03 11:40", periods=3, freq="min", tz="Asia/Tokyo"))
    report = nb.data_quality(pd.concat([bars, lunch]).sort_index(), exchange="XTKS")
    assert report.summary().loc["ASSET", ["expected", "present", "outside", "gaps"]].tolist() == [300, 300, 3, 0]
    around = bars.drop(bars.index[148:152])
    gaps = nb.data_quality(around, exchange="XTKS").gaps
    assert gaps["count"].tolist() == [4]
    assert gaps["first"].dt.strftime("%H:%M").tolist() == ["11:28"]
    assert gaps["last"].dt.strftime("%H:%M").tolist() == ["12:31"]


def test_extended_hours_expect_their_bars():
    """The session is as long as the config says, on half days too."""
    index = pd.date_range("2024-11-29 04:00", "2024-11-29 19:59", freq="min", tz="America/New_York")
    config = {"exchange": "XNYS", "hours": {"open": "04:00", "close": "20:00"}}
    whole = nb.data_quality(flat(index), config=config).summary().loc["ASSET"]
    assert whole[["expected", "present", "outside", "quality"]].tolist() == [960, 960, 0, 100.0]
    regular = nb.data_quality(flat(index), exchange="XNYS").summary().loc["ASSET"]
    assert regular[["expected", "present", "outside"]].tolist() == [210, 210, 750]
    own = nb.backtest(flat(index), nb.Strategy, config=config).metrics["session"]["symbols"]["ASSET"]["quality"]
    assert (own["expected"], own["quality"]) == (960, 100.0)


def test_a_source_for_all_hours_obeys_the_config():
    """What the extended session holds stays, what lies beyond it is left out and counted."""

    class All:
        stamp = "open"
        all_hours = True

        def bars(self, symbol, interval, start, end):
            return flat(pd.date_range("2024-10-03 03:00", "2024-10-03 21:59", freq="min", tz="America/New_York"))

    config = {"hours": {"open": "04:00", "close": "20:00"}, "data": {"symbols": ["SPY"]}}
    result = nb.backtest(All(), nb.Strategy, config=config)
    own = result.metrics["session"]["symbols"]["SPY"]["quality"]
    assert (result.stats["bars"], own["outside"], own["quality"]) == (960, 180, 100.0)
