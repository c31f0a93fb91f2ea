"""From a config, or what a Python user hands over, to checked bars."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataNotFoundError, DataQualityWarning
from nbbacktest.core.intervals import DAY, HOUR
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data import synthetic
from nbbacktest.data.sources import load, on_weekends

ZONE = "America/New_York"


def config(**sections: Any) -> SessionConfig:
    return SessionConfig.load(sections)


def days(first: str = "2024-10-01", count: int = 10, tz: str | None = None) -> pd.DataFrame:
    index = pd.date_range(first, periods=count, freq="B", tz=tz)
    return pd.DataFrame({"open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}, index=index)


def minutes(symbol: str = "EXE", first: str = "2024-10-03", last: str = "2024-10-04") -> pd.DataFrame:
    return synthetic.bars(symbol, first, last)[symbol]


def dates(columns: BarColumns, zone: str = ZONE) -> list[date]:
    return sorted({stamp.date() for stamp in Stamps(zone).index(columns.time)})


def test_a_plain_daily_frame():
    """Naive dates stay dates, the bars are called ASSET, and nothing is warm-up."""
    market = load(SessionConfig(), days())
    assert list(market.bars) == ["ASSET"]
    assert (market.interval.name, market.stamps, market.source) == ("1d", Stamps("UTC", dates=True), "DataFrame")
    assert market.synthetic is False
    assert market.start == market.bars["ASSET"].time[0]
    assert market.stamps.stamp(market.bars["ASSET"].time[0]) == pd.Timestamp("2024-10-01")


def test_an_aware_frame_keeps_its_zone():
    """Unless a time zone or an exchange is named."""
    assert load(SessionConfig(), minutes()).stamps == Stamps(ZONE)
    assert load(config(timezone="Asia/Tokyo"), minutes()).stamps == Stamps("Asia/Tokyo", day_zone=ZONE)
    assert load(config(exchange="XNYS"), minutes().tz_convert("UTC")).stamps == Stamps(ZONE)
    assert load(config(exchange="24/7"), minutes()).stamps == Stamps(ZONE, day_zone="UTC")


def test_a_named_exchange_gives_daily_bars_their_close():
    """Without one they end at the next midnight."""
    bar = load(config(exchange="XNYS"), days())
    assert bar.stamps == Stamps(ZONE, dates=True)
    assert str(bar.stamps.stamp(bar.bars["ASSET"].end[0])) == "2024-10-01 16:00:00"
    plain = load(SessionConfig(), days())
    assert str(plain.stamps.stamp(plain.bars["ASSET"].end[0])) == "2024-10-02 00:00:00"


def test_frames_with_both_weekend_days_never_close():
    """Unless an exchange is named, bars on Saturdays and Sundays make it 24/7."""
    index = pd.date_range("2024-10-01", periods=10)
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    assert load(SessionConfig(), frame).exchange == "24/7"
    assert load(SessionConfig(), days()).exchange == "XNYS"
    with pytest.raises(DataError, match="XNYS is closed, the first is 2024-10-05"):
        load(config(exchange="XNYS"), frame)


def test_the_one_symbol_that_is_configured_names_a_frame():
    """With more than one, which it is would be a guess."""
    assert list(load(config(data={"symbols": ["AAPL"]}), days()).bars) == ["AAPL"]
    with pytest.raises(DataError, match=r"one DataFrame for 2 symbols \(A, B\); pass a mapping"):
        load(config(data={"symbols": ["A", "B"]}), days())


def test_a_mapping_keeps_its_order_or_takes_the_configured_one():
    """Configured symbols choose and order."""
    data = {"B": days(), "A": days(), "C": days()}
    market = load(SessionConfig(), data)
    assert list(market.bars) == ["B", "A", "C"]
    assert market.source == "DataFrames"
    assert list(load(config(data={"symbols": ["C", "B"]}), data).bars) == ["C", "B"]


def test_a_configured_symbol_that_the_data_lacks_names_the_nearest():
    """The cure is the symbol that may have been meant."""
    with pytest.raises(DataError, match="no symbol 'APPL', which the config names; did you mean 'AAPL'"):
        load(config(data={"symbols": ["APPL"]}), {"AAPL": days(), "MSFT": days()})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "the mapping is empty"),
        ({"": days()}, "'' is no symbol"),
        ({1: days()}, "1 is no symbol"),
        ({"A": days().to_numpy()}, "A: a ndarray is no DataFrame"),
        ([days()], "data is a list; pass a DataFrame"),
        ({"A": minutes(), "B": days(count=5, tz=ZONE)}, "B has bars 1d apart and A has 1m bars"),
    ],
)
def test_data_of_the_wrong_kind_is_refused(data: Any, words: str):
    """What came and what is wanted is told."""
    with pytest.raises(DataError, match=words):
        load(SessionConfig(), data)


def test_market_data_is_taken_as_it_is():
    """Bars that are checked already are not checked again."""
    market = load(SessionConfig(), days())
    assert load(config(timezone=ZONE), market) is market


def test_naive_intraday_stamps_need_a_time_zone():
    """A frame's and a file's alike; the exchange alone doesn't say what its clocks were set to."""
    naive = minutes().tz_localize(None)
    for settings in (SessionConfig(), config(exchange="XNYS")):
        with pytest.raises(DataError, match="ASSET: the stamps name no time zone"):
            load(settings, naive)
    market = load(config(timezone=ZONE), naive)
    assert (market.bars["ASSET"].time == load(SessionConfig(), minutes()).bars["ASSET"].time).all()


def test_a_set_stamp_moves_a_frame():
    """Without one, a frame's stamps mark opens."""
    market = load(config(data={"stamp": "close"}), minutes())
    assert market.bars["ASSET"].end[0] == minutes().index[0].as_unit("ns").value


@pytest.mark.parametrize("name", ["EXE.csv", "EXE.csv.gz", "EXE.parquet"])
def test_a_path_is_read_by_its_name(tmp_path: Path, name: str):
    """The bars equal the frame's, are called by the file, and no calendar cuts them."""
    frame = minutes()
    frame.to_parquet(tmp_path / name) if name.endswith("parquet") else frame.to_csv(tmp_path / name)
    market = load(config(timezone=ZONE, data={"stamp": "open"}), tmp_path / name)
    assert (list(market.bars), market.source, market.interval.name) == (["EXE"], name, "1m")
    for column in ("open", "high", "low", "close", "volume"):
        assert (getattr(market.bars["EXE"], column) == frame[column].to_numpy()).all()


def test_a_path_for_several_symbols(tmp_path: Path):
    """{symbol} stands for each of the symbols that are set."""
    for symbol in ("EXE", "SW"):
        minutes(symbol).to_csv(tmp_path / f"{symbol}_1min.csv")
    path = str(tmp_path / "{symbol}_1min.csv")
    market = load(config(data={"symbols": ["SW", "EXE"], "stamp": "open"}), path)
    assert list(market.bars) == ["SW", "EXE"]
    with pytest.raises(DataError, match="no symbols are set"):
        load(config(data={"stamp": "open"}), path)
    with pytest.raises(DataError, match="one file for 2 symbols"):
        load(config(data={"symbols": ["SW", "EXE"], "stamp": "open"}), str(tmp_path / "SW_1min.csv"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_from_a_config(tmp_path: Path, kind: str):
    """The exchange's zone and calendar count, and errors name symbol and file."""
    for symbol in ("EXE", "SW"):
        frame = minutes(symbol).tz_convert("UTC")
        path = tmp_path / f"{symbol}.{kind}"
        frame.to_csv(path) if kind == "csv" else frame.to_parquet(path)
    settings = {"source": kind, "path": str(tmp_path / f"{{symbol}}.{kind}"), "symbols": ["EXE", "SW"], "stamp": "open"}
    market = load(config(data=settings))
    assert market.stamps == Stamps(ZONE)
    assert market.source == f"{{symbol}}.{kind}"
    assert [len(c) for c in market.bars.values()] == [780, 780]
    with pytest.raises(DataNotFoundError, match=rf"CPAY.{kind}: no such file"):
        load(config(data=settings | {"symbols": ["CPAY"]}))
    with pytest.raises(DataError, match=rf"EXE \(.*EXE.{kind}\): .*set data.stamp in the config"):
        load(config(data=settings | {"stamp": None}))


def test_daily_files_need_no_stamp(tmp_path: Path):
    """A date is a session's date."""
    days().to_csv(tmp_path / "X.csv", index_label="Date")
    market = load(config(data={"source": "csv", "path": str(tmp_path / "X.csv"), "symbols": ["X"]}))
    assert market.stamps == Stamps(ZONE, dates=True)
    assert str(market.stamps.stamp(market.bars["X"].end[-1])) == "2024-10-14 16:00:00"


def test_the_range_of_dates_is_inclusive():
    """Both days are in, in the exchange's time."""
    frame = minutes(last="2024-10-10")
    market = load(config(backtest={"start_date": "2024-10-04", "end_date": "2024-10-08"}), frame)
    assert dates(market.bars["ASSET"]) == [date(2024, 10, d) for d in (4, 7, 8)]
    assert market.start == pd.Timestamp("2024-10-04", tz=ZONE).as_unit("ns").value


@pytest.mark.parametrize("exchange", [None, "XNYS"])
@pytest.mark.parametrize("warmup", [1, 2, 50])
def test_warmup_days_come_before_the_start(exchange: str | None, warmup: int):
    """So many sessions that have bars, or all there are, with a warning; they end before trading begins."""
    frame = minutes(last="2024-10-10")
    settings: dict[str, Any] = {"backtest": {"start_date": "2024-10-08"}, "data": {"warmup_days": warmup}}
    lacking = pytest.warns(DataQualityWarning, match="is 50, and the source has 3 sessions")
    with lacking if warmup > 3 else nullcontext():
        market = load(config(**settings, **({"exchange": exchange} if exchange else {})), frame)
    columns = market.bars["ASSET"]
    warm = int(np.searchsorted(columns.end, market.start, side="right"))
    assert warm == 390 * min(warmup, 3)
    assert dates(columns.slice(0, warm)) == [date(2024, 10, d) for d in (3, 4, 7)][-warmup:]
    assert dates(columns.slice(warm, len(columns)))[0] == date(2024, 10, 8)


def test_warmup_of_daily_bars():
    """The same for bars that are whole sessions, weekends skipped."""
    market = load(config(backtest={"start_date": "2024-10-08"}, data={"warmup_days": 3}), days())
    columns = market.bars["ASSET"]
    assert dates(columns, "UTC")[:4] == [date(2024, 10, d) for d in (3, 4, 7, 8)]
    assert (columns.end <= market.start).sum() == 3


def test_a_start_before_the_data_is_the_data_s_first():
    """As far as the data goes."""
    market = load(config(backtest={"start_date": "1500-01-01", "end_date": "9999-12-31"}), days())
    assert len(market.bars["ASSET"]) == 10
    assert market.start == market.bars["ASSET"].time[0]


@pytest.mark.parametrize(
    "span", [("2023-01-01", "2023-02-01"), ("2030-01-01", None), (None, "2020-01-01"), ("9999-01-01", None)]
)
def test_a_range_without_bars_says_what_there_is(span: tuple[str | None, str | None]):
    """The data's own range is named."""
    with pytest.raises(DataError, match=r"ASSET has no bars from .*its bars go from 2024-10-01 to 2024-10-14"):
        load(config(backtest={"start_date": span[0], "end_date": span[1]}), days())


def test_each_symbol_needs_bars_in_the_range():
    """The one without is named."""
    data = {"A": days(), "B": days("2024-12-02")}
    with pytest.raises(DataError, match="B has no bars from its first to 2024-10-14"):
        load(config(backtest={"end_date": "2024-10-14"}), data)


def test_the_day_of_a_futures_session_begins_on_the_evening_before():
    """A start date's session is in whole."""
    index = pd.date_range("2024-09-08 17:00", "2024-09-10 15:00", freq="h", tz="America/Chicago")
    index = index[(index.hour != 16)]
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    market = load(config(exchange="CMES", backtest={"start_date": "2024-09-10"}), frame)
    assert str(market.stamps.stamp(market.bars["ASSET"].time[0])) == "2024-09-09 17:00:00-05:00"
    market = load(config(exchange="CMES", backtest={"end_date": "2024-09-09"}), frame)
    assert str(market.stamps.stamp(market.bars["ASSET"].time[-1])) == "2024-09-09 15:00:00-05:00"


def test_synthetic_bars_from_a_config():
    """They say what they are, and warm-up is made before the start."""
    settings: dict[str, Any] = {"backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"}}
    plain = load(config(**settings, data={"stamp": "close"}))
    assert (plain.synthetic, plain.source, list(plain.bars)) == (True, "synthetic, seed 7", ["EXE", "SW"])
    warm = load(config(**settings, data={"warmup_days": 5, "seed": 7}))
    assert (len(plain.bars["SW"]), len(warm.bars["SW"])) == (780, 7 * 390)
    assert (warm.bars["SW"].close[5 * 390 :] == plain.bars["SW"].close).all()
    assert warm.bars["SW"].end[5 * 390 - 1] <= warm.start < warm.bars["SW"].end[5 * 390]
    assert plain.bars["SW"].close.tolist() == minutes("SW").close.tolist()


def test_synthetic_daily_bars_end_at_the_close():
    """Half days too."""
    span = {"start_date": "2024-11-27", "end_date": "2024-11-29"}
    market = load(config(backtest=span, data={"interval": "1d"}))
    ends = [str(market.stamps.stamp(ns)) for ns in market.bars["EXE"].end]
    assert ends == ["2024-11-27 16:00:00-05:00", "2024-11-29 13:00:00-05:00"]


def test_synthetic_bars_need_their_dates():
    """Both missing ones are told at once; a weekend has no session."""
    with pytest.raises(ConfigError, match=r"(?s)backtest.start_date = None.*backtest.end_date = None"):
        load(SessionConfig())
    with pytest.raises(DataError, match="XNYS has no session between 2024-10-05 and 2024-10-06"):
        load(config(backtest={"start_date": "2024-10-05", "end_date": "2024-10-06"}, data={"warmup_days": 3}))
    with pytest.raises(ConfigError, match="exchange = 'XNYSS'"):
        load(config(exchange="XNYSS", backtest={"start_date": "2024-10-03", "end_date": "2024-10-06"}))


def test_sample_bars_from_a_config():
    """Real daily bars, adjusted or not, that end at New York's close."""
    settings: dict[str, Any] = {"source": "sample", "symbols": ["AAPL"]}
    market = load(config(data=settings))
    assert (market.source, market.synthetic, market.interval.name) == ("sample daily bars, adjusted", False, "1d")
    assert market.stamps == Stamps(ZONE, dates=True)
    assert str(market.stamps.stamp(market.bars["AAPL"].end[0])) == "2000-03-01 16:00:00"
    assert load(config(data=settings | {"adjusted": False})).source == "sample daily bars, unadjusted"
    with pytest.raises(ConfigError, match=r"data.interval = '1m': sample bars are daily"):
        load(config(data=settings | {"interval": "1m"}))
    with pytest.raises(DataError, match="FB has no bars"):
        load(config(data=settings | {"symbols": ["AAPL", "FB"]}, backtest={"end_date": "2010-01-01"}))


@pytest.mark.parametrize(
    ("first", "last", "traded"),
    [
        ("2024-10-05", "2024-10-08", [7, 8]),  # from a Saturday
        ("2024-10-03", "2024-10-06", [3, 4]),  # to a Sunday
        ("2024-10-04", "2024-10-04", [4]),  # both included
    ],
)
def test_dates_are_inclusive_and_move_to_trading_days(first: str, last: str, traded: list[int]):
    """A range begins with the first session in it and ends with the last one."""
    data = minutes(last="2024-10-10")
    market = load(config(exchange="XNYS", backtest={"start_date": first, "end_date": last}), data)
    assert dates(market.bars["ASSET"]) == [date(2024, 10, day) for day in traded]


def test_a_range_without_a_session_is_refused():
    """A weekend and a holiday, in what the data covers: the error names the sessions around."""
    weekend = {"start_date": "2024-10-05", "end_date": "2024-10-06"}
    with pytest.raises(DataError, match="XNYS has no session from 2024-10-05 to 2024-10-06.*2024-10-04 and 2024-10-07"):
        load(config(exchange="XNYS", backtest=weekend), minutes(last="2024-10-10"))
    with pytest.raises(DataError, match="XNYS has no session between 2024-10-05 and 2024-10-06"):
        load(config(backtest=weekend))


def test_extended_hours_need_the_exchange_of_the_data():
    """They are the exchange's, which is XNYS where nobody says: bars before the open belong to the session then."""
    early = minutes().tz_convert("UTC")
    early.index = early.index - pd.Timedelta(hours=3)
    hours = {"open": "04:00", "close": "20:00"}
    market = load(config(hours=hours), early)
    assert (market.exchange, market.stamps.timezone) == ("XNYS", ZONE)
    assert (market.sessions().session_of(market.bars["ASSET"].time) >= 0).all()
    daytime = load(config(hours=hours, exchange="24/7"), early).sessions()
    assert set((daytime.close - daytime.open).tolist()) == {16 * HOUR}


@given(st.lists(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 30 * DAY), max_size=12), max_size=3))
def test_weekends_are_told_by_their_days(several: list[list[int]]):
    """Whether any bar is on a Saturday and any on a Sunday, of whatever symbol and century."""
    times = [np.sort(np.array(one, dtype=np.int64)) for one in several]
    names = set(pd.DatetimeIndex(np.concatenate([[], *times]).astype(np.int64)).day_name())
    assert on_weekends(times) is ({"Saturday", "Sunday"} <= names)
