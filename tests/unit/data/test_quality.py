"""What a quality report says, and that it refuses nothing that is merely faulty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data import synthetic
from nbbacktest.data.sources import load

ZONE = "America/New_York"


def minutes(first: str = "2024-11-27", last: str = "2024-11-29") -> pd.DataFrame:
    """A whole day and a half day, complete."""
    return synthetic.bars("EXE", first, last)["EXE"]


def row(report: nb.QualityReport, symbol: str = "ASSET") -> pd.Series:
    return report.summary().loc[symbol]


def test_complete_bars_are_of_full_quality():
    """Half days are expected to be short."""
    report = nb.data_quality(minutes())
    assert report.to_frame()["expected"].tolist() == [390, 210]
    assert row(report)[["sessions", "missing", "gaps", "quality"]].tolist() == [2, 0, 0, 100.0]
    assert report.gaps.empty
    assert (report.exchange, report.timezone, report.interval.name, report.symbols) == ("XNYS", ZONE, "1m", ("ASSET",))


def test_gaps_say_what_is_missing():
    """By their first and last missing bar, with how many there are."""
    bars = minutes()
    report = nb.data_quality(bars.drop(bars.index[[5, 6, 7, 389, 390]]))
    gaps = report.gaps
    assert gaps["count"].tolist() == [3, 1, 1]
    assert gaps["first"].dt.strftime("%m-%d %H:%M").tolist() == ["11-27 09:35", "11-27 15:59", "11-29 09:30"]
    assert gaps["last"].dt.strftime("%H:%M").tolist() == ["09:37", "15:59", "09:30"]
    assert gaps["session"].astype(str).tolist() == ["2024-11-27", "2024-11-27", "2024-11-29"]
    assert row(report)["longest_gap"] == 3


def test_every_fault_is_counted_and_none_refused():
    """Each on its day; a row counts once."""
    bars = minutes()
    bars.iloc[0, bars.columns.get_loc("open")] = np.nan
    bars.iloc[1, bars.columns.get_loc("high")] = 0
    bars.iloc[2, bars.columns.get_loc("volume")] = -1
    bars.iloc[3, bars.columns.get_loc("volume")] = 0
    late = bars.iloc[[599]]
    late.index = late.index + pd.Timedelta(hours=10)
    faulty = pd.concat([bars.iloc[:400], bars.iloc[[399]], bars.iloc[[20]], bars.iloc[400:], late])
    faulty.index = faulty.index.where(np.arange(len(faulty)) != 50, pd.NaT)
    counted = row(nb.data_quality(faulty))
    for name in ("not_finite", "bad_ohlc", "bad_volume", "zero_volume", "duplicates", "out_of_order", "bad_time"):
        assert counted[name] == 1, name
    assert (counted["expected"], counted["present"], counted["outside"]) == (600, 596, 1)
    assert counted["quality"] == 100 * 596 / 601


def test_a_bar_without_a_price_does_not_push_out_its_twin():
    """Of two rows with one stamp the sound one counts."""
    bars = minutes()
    twin = bars.iloc[[7]] * np.nan
    counted = row(nb.data_quality(pd.concat([bars.iloc[:7], twin, bars.iloc[7:]])))
    assert counted[["present", "not_finite", "duplicates", "quality"]].tolist() == [600, 1, 0, 100.0]


def test_bars_closer_than_the_interval_are_duplicates():
    """The interval is the commonest distance, or the one given."""
    bars = minutes()
    stray = bars.iloc[[4]].set_axis(bars.index[[4]] + pd.Timedelta(seconds=30))
    assert row(nb.data_quality(pd.concat([bars, stray]).sort_index()))["duplicates"] == 1
    assert row(nb.data_quality(bars, interval="5m"))[["expected", "present", "duplicates"]].tolist() == [120, 120, 480]


def test_text_among_numbers_is_no_number():
    """One cell that can't be read is one faulty bar."""
    bars = minutes().astype({"close": object})
    bars.iloc[9, bars.columns.get_loc("close")] = "n. a."
    assert row(nb.data_quality(bars))[["present", "not_finite"]].tolist() == [599, 1]


def test_all_bars_may_be_faulty():
    """Nothing is present then, of what is expected on their days."""
    bars = minutes()
    bars["close"] = np.nan
    report = nb.data_quality(bars, interval="1m")
    assert row(report)[["expected", "present", "not_finite", "quality"]].tolist() == [600, 0, 600, 0.0]
    with pytest.raises(nb.DataError, match="no row with a stamp"):
        nb.data_quality(bars.set_axis(pd.DatetimeIndex([pd.NaT] * len(bars))), interval="1m")


def test_daily_bars_count_by_date():
    """A weekend's bar lies outside, a date that comes twice is a duplicate, a missing one a gap."""
    dates = pd.DatetimeIndex(["2024-10-03", "2024-10-04", "2024-10-05", "2024-10-08", "2024-10-08"])
    bars = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, index=dates)
    for source in (bars, bars.tz_localize(ZONE)):
        report = nb.data_quality(source, exchange="XNYS", interval="1d")
        counted = row(report)
        assert counted[["expected", "present", "outside", "duplicates"]].tolist() == [4, 3, 1, 1]
        assert report.gaps["first"].dt.strftime("%Y-%m-%d").tolist() == ["2024-10-07"]
        assert report.to_frame().loc[("ASSET", pd.Timestamp("2024-10-05")), "expected"] == 0


def test_local_times_that_clocks_skip_are_bad():
    """As are those that they repeat: which of the two was meant can't be known."""
    index = pd.date_range("2024-11-03 00:00", "2024-11-03 03:00", freq="30min")
    bars = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, index=index)
    counted = row(nb.data_quality(bars, exchange="24/7", config={"timezone": ZONE}))
    assert counted[["bad_time", "present"]].tolist() == [2, 5]


def test_the_sessions_are_those_of_all_symbols():
    """A symbol that begins late or ends early lacks the sessions that others have."""
    bars = minutes()
    report = nb.data_quality({"A": bars, "B": bars.iloc[390:]})
    assert report.summary()["expected"].tolist() == [600, 600]
    assert report.summary()["missing"].tolist() == [0, 390]


def test_days_that_are_asked_for_are_expected():
    """Dates of the config count where there are no bars, and cut where there are more."""
    config = {"backtest": {"start_date": "2024-11-29", "end_date": "2024-12-02"}}
    report = nb.data_quality(minutes(), config=config)
    assert report.to_frame()["expected"].tolist() == [210, 390]
    assert report.to_frame()["present"].tolist() == [210, 0]


def test_what_it_takes(tmp_path: Path):
    """A frame, a mapping, a file, a config in each form, and loaded data count alike."""
    bars = minutes()
    bars.to_csv(tmp_path / "EXE.csv", index_label="time")
    config = {
        "exchange": "XNYS",
        "data": {"source": "csv", "path": str(tmp_path / "{symbol}.csv"), "symbols": ["EXE"], "stamp": "open"},
    }
    (tmp_path / "session.json").write_text(json.dumps(config))
    loaded = load(SessionConfig.load(config))
    counted = [
        nb.data_quality(source, stamp=stamp).to_frame()
        for source, stamp in (
            ({"EXE": bars}, None),
            (tmp_path / "EXE.csv", "open"),
            (config, None),
            (SessionConfig.load(config), None),
            (str(tmp_path / "session.json"), None),
            (loaded, None),
        )
    ]
    for other in counted[1:]:
        pd.testing.assert_frame_equal(other, counted[0])


def test_two_configs_are_refused():
    """And so is what loaded data knows already."""
    with pytest.raises(nb.ConfigError, match="give one of them"):
        nb.data_quality({"exchange": "XNYS"}, config={"exchange": "XNYS"})
    with pytest.raises(nb.ConfigError, match=r"interval = '1m': is known from the MarketData"):
        nb.data_quality(load(SessionConfig(), minutes()), interval="1m")


def test_what_is_no_table_of_bars_is_refused():
    """A missing column, an unknown stamp of a file, a calendar that doesn't exist."""
    with pytest.raises(nb.DataError, match="column 'close' is missing"):
        nb.data_quality(minutes().drop(columns="close"))
    with pytest.raises(nb.ConfigError, match="exchange = 'XNYZ': is not a known"):
        nb.data_quality(minutes(), exchange="XNYZ")


def test_it_shows_itself():
    """As text and HTML with what is to be known, without columns of faults that there aren't."""
    bars = minutes()
    report = nb.data_quality(bars.drop(bars.index[3]))
    assert "Quality of 1m bars of DataFrame, synthetic, seed 7 against the sessions of XNYS" in repr(report)
    assert "99.83" in repr(report)
    assert "out_of_order" not in repr(report)
    assert "<table" in report._repr_html_()
    assert "99.83" in report._repr_html_()


def test_as_a_dict_it_is_json():
    """With the sessions and the gaps of each symbol."""
    bars = minutes()
    told = json.loads(json.dumps(nb.data_quality(bars.drop(bars.index[3])).to_dict()))
    own = told["symbols"]["ASSET"]
    assert (told["exchange"], told["interval"], own["expected"], own["missing"]) == ("XNYS", "1m", 600, 1)
    assert [part["session"] for part in own["by_session"]] == ["2024-11-27", "2024-11-29"]
    assert own["runs"] == [
        {"session": "2024-11-27", "first": "2024-11-27T09:33:00-05:00", "last": "2024-11-27T09:33:00-05:00", "count": 1}
    ]


def test_a_report_is_frozen():
    """It says what was; nothing can be set on it."""
    with pytest.raises(AttributeError):
        nb.data_quality(minutes()).exchange = "24/7"


def test_the_status_and_the_report_agree():
    """Both say the same percentage of the same bars, rows that came twice included."""
    good = synthetic.bars("EXE", "2024-10-03", "2024-10-03")["EXE"]
    doubled = pd.concat([good.iloc[:100], good.iloc[99:200], good.iloc[230:]])
    config = {"exchange": "XNYS", "data": {"quality": {"faults": "drop"}}}
    result = nb.backtest(doubled, nb.Strategy(), config=config)
    told = result.metrics["session"]["symbols"]["ASSET"]["quality"]
    report = nb.data_quality(doubled, config=config).to_dict()["symbols"]["ASSET"]
    assert {key: told[key] for key in ("expected", "present", "missing", "quality")} == {
        key: report[key] for key in ("expected", "present", "missing", "quality")
    }
