"""LEAN's folder format: what is written in it is read back."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data import synthetic
from nbbacktest.data.lean import LeanSource
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from tests.lean_folders import ZONE, write_days, write_factors, write_map, write_minutes, zipped

REAL = Path(__file__).parents[4] / "shared" / "data"


def config(root: Path, **data: object) -> SessionConfig:
    return SessionConfig.load({"data": {"source": "lean", "path": str(root), "symbols": ["SPY"], **data}})


def minutes(first: str = "2024-10-31", last: str = "2024-11-04") -> pd.DataFrame:
    """Around the end of summer time."""
    return synthetic.bars("SPY", first, last)["SPY"]


def same(market: MarketData, symbol: str, bars: pd.DataFrame) -> None:
    columns = market.bars[symbol]
    assert (columns.time == bars.index.as_unit("ns").asi8).all()
    for name in ("open", "high", "low", "close", "volume"):
        assert (getattr(columns, name) == bars[name].to_numpy(dtype=float)).all(), name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_minutes(tmp_path, "spy", minutes())
    write_factors(tmp_path, "spy")
    return tmp_path


def test_minutes_come_back(root: Path):
    """Times over a change of clocks, prices and volumes to the last digit."""
    market = load(config(root))
    same(market, "SPY", minutes())
    assert (market.source, market.exchange, market.stamps.timezone) == ("LEAN trades, adjusted prices", "XNYS", ZONE)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real bars beside the repository")
@pytest.mark.parametrize("symbol", ["EXE", "CPAY"])
def test_real_minutes_and_days_come_back(symbol: str, tmp_path: Path):
    """A quarter of real minutes, and daily bars made of them."""
    bars = pd.read_csv(REAL / f"{symbol}_1min_2024Q4.csv.gz", index_col=0, parse_dates=True, engine="pyarrow").loc[
        :"2024-11-15"
    ]
    bars = bars.round(dict.fromkeys(("open", "high", "low", "close"), 4))  # what the format can hold
    write_minutes(tmp_path, symbol.lower(), bars)
    write_factors(tmp_path, symbol.lower())
    same(load(config(tmp_path, symbols=[symbol])), symbol, bars)
    local = bars.tz_convert(ZONE)
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    daily = local.groupby(pd.DatetimeIndex(local.index.date)).agg(rule)
    write_days(tmp_path, symbol.lower(), daily)
    market = load(config(tmp_path, symbols=[symbol], interval="1d"))
    same(market, symbol, daily.tz_localize(ZONE))
    assert market.stamps.dates


def test_a_day_without_a_file_has_no_bars(root: Path):
    """The others are read, and the report names the session that is missing."""
    (root / "equity/usa/minute/spy/20241101_trade.zip").unlink()
    same(load(config(root)), "SPY", pd.concat([minutes().loc["2024-10-31"], minutes().loc["2024-11-04"]]))
    report = nb.data_quality(config(root))
    assert report.to_frame()["missing"].tolist() == [0, 390, 0]


def test_only_the_days_asked_for_are_read(root: Path):
    """Another day's corrupt file is no matter."""
    (root / "equity/usa/minute/spy/20241101_trade.zip").write_bytes(b"nothing")
    (root / "equity/usa/minute/spy/20241104_quote.zip").write_bytes(b"of ours")
    days = {"start_date": "2024-11-04", "end_date": "2024-11-04"}
    same(load(config(root).overlaid({"backtest": days})), "SPY", minutes("2024-11-04"))


def test_hours_before_and_after_are_left_out_and_counted(tmp_path: Path):
    """Pre-market minutes are in LEAN's files; a run has regular hours."""
    bars = minutes("2024-10-31", "2024-10-31")
    early = bars.iloc[:30].set_axis(bars.index[:30] - pd.Timedelta(hours=2))
    late = bars.iloc[:10].set_axis(bars.index[:10] + pd.Timedelta(hours=8))
    write_minutes(tmp_path, "spy", pd.concat([early, bars, late]))
    write_factors(tmp_path, "spy")
    market = load(config(tmp_path))
    same(market, "SPY", bars)
    assert market.quality["SPY"] | {"zero_volume": 0} == {
        "interval": "1m", "expected": 390, "present": 390, "missing": 0, "left_out": 40, "outside": 40, "zero_volume": 0,
        "quality": 100.0,
    }  # fmt: skip
    assert nb.data_quality(config(tmp_path)).summary().loc["SPY", "outside"] == 40


def test_a_source_can_be_handed_over(root: Path):
    """As data, without a config."""
    result = nb.backtest(LeanSource(root), nb.Strategy, config={"data": {"symbols": ["SPY"]}})
    assert result.stats["bars"] == 3 * 390


def refused(root: Path, *words: str, **data: object) -> None:
    with pytest.raises(nb.NbBacktestError) as caught:
        load(config(root, **data))
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value).count("\n") <= isinstance(caught.value, nb.ConfigError)


def test_a_folder_that_is_none_of_lean_is_refused(root: Path):
    """The folder, the symbol and the interval are named with what there is."""
    refused(root / "equity", "no folder", "the one that holds 'equity'")
    refused(root, "SPX: LEAN's folder has no 'spx'", "did you mean 'spy'?", symbols=["SPX"])
    refused(root, "SPY: LEAN's folder has no 'spy'", "there is nothing in", interval="1d")
    refused(root, "data.interval = '5m'", "gives 1s, 1m, 1h, 1d; use one of them", interval="5m")
    (root / "equity/usa/minute/abc").mkdir()
    refused(root, "ABC:", "has no day from the first to the last", symbols=["ABC"])


def test_a_zip_of_something_else_is_refused(root: Path):
    """Of another symbol, of another day, of nothing, of two files, or no zip at all: one error that names it."""
    file = root / "equity/usa/minute/spy/20241101_trade.zip"
    good = zipfile.ZipFile(file).read("20241101_spy_minute_trade.csv").decode()
    zipped(file, "20241101_aapl_minute_trade.csv", good)
    refused(
        root,
        "SPY:",
        "holds 20241101_aapl_minute_trade.csv and not 20241101_spy_minute_trade.csv",
        "bring the zip of SPY",
    )
    zipped(file, "20241102_spy_minute_trade.csv", good)
    refused(root, "holds 20241102_spy_minute_trade.csv")
    with zipfile.ZipFile(file, "w"):
        pass
    refused(root, "holds nothing and not")
    file.write_bytes(b"not a zip")
    refused(root, "SPY:", "20241101_trade.zip can't be read as a zip of CSV: BadZipFile", "replace it")
    zipped(file, "20241101_spy_minute_trade.csv", good)
    broken = bytearray(file.read_bytes())
    broken[200:260] = np.random.default_rng(1).bytes(60)
    file.write_bytes(broken)
    refused(root, "20241101_trade.zip can't be read as a zip of CSV")


def test_lines_that_are_no_bars_are_refused(root: Path):
    """Empty, of too few columns, at a time that no day has, on a date that is none; text among prices is judged as a fault."""
    file, member = root / "equity/usa/minute/spy/20241101_trade.zip", "20241101_spy_minute_trade.csv"
    for text, words in (
        ("", "can't be read as a zip of CSV: EmptyDataError"),
        ("34200000,1,2\n", "has 3 columns, and bars have 6"),
        ("86400000,10000,10000,10000,10000,5\n", "'86400000' in line 1 is no time of day"),
        ("x,10000,10000,10000,10000,5\n", "'x' in line 1 is no time of day"),
        ("34200000,10000,10000,10000,x,5\n", "close is not a finite number"),
    ):
        zipped(file, member, text)
        refused(root, words)
    zipped(root / "equity/usa/daily/spy.zip", "spy.csv", "2024-11-01,10000,10000,10000,10000,5\n")
    refused(root, "'2024-11-01' in line 1 is no date such as '20131007 00:00'", interval="1d")
    file.rename(file.with_name("20241301_trade.zip"))
    refused(root, "20241301 is no date")


def test_seconds_come_back(tmp_path: Path):
    """With the gaps that seconds have."""
    bars = minutes("2024-10-31", "2024-10-31").iloc[:200]
    start = bars.index[0]
    bars = bars.set_axis(pd.DatetimeIndex([start + pd.Timedelta(seconds=n) for n in range(300) if n % 3]))
    write_minutes(tmp_path, "spy", bars, "second")
    write_factors(tmp_path, "spy")
    same(load(config(tmp_path, interval="1s")), "SPY", bars)


def hours(*days: str) -> pd.DataFrame:
    """As LEAN has them: on the clock's hours, the first stamped 9:00 though trading begins at 9:30."""
    index = pd.DatetimeIndex([pd.Timestamp(f"{day} {hour:02}:00") for day in days for hour in range(9, 16)])
    prices = np.arange(100.0, 100.0 + len(index))
    return pd.DataFrame(
        {"open": prices, "high": prices + 1, "low": prices - 1, "close": prices, "volume": 100.0}, index
    )


def test_hours_lie_on_the_clock_and_the_first_begins_with_trading(tmp_path: Path):
    """Seven a day, each seen at its end; none is missing, and on a half day those until its close are all."""
    bars = hours("2020-11-25", "2020-11-27")
    bars = bars[: -(16 - 13)]  # the 27th closes at 13:00
    write_days(tmp_path, "spy", bars, "hour")
    write_factors(tmp_path, "spy")
    market = load(config(tmp_path, interval="1h"))
    columns = market.bars["SPY"]
    begins, ends = (market.stamps.index(time).strftime("%d %H:%M").tolist() for time in (columns.time, columns.end))
    assert begins == [
        "25 09:30",
        *(f"25 {h}:00" for h in range(10, 16)),
        "27 09:30",
        "27 10:00",
        "27 11:00",
        "27 12:00",
    ]
    assert ends == [f"{day} {h}:00" for day, last in ((25, 17), (27, 14)) for h in range(10, last)]
    assert market.quality["SPY"] | {"zero_volume": 0} == {
        "interval": "1h", "expected": 11, "present": 11, "missing": 0, "left_out": 0, "outside": 0, "zero_volume": 0,
        "quality": 100.0,
    }  # fmt: skip
    assert nb.data_quality(config(tmp_path, interval="1h")).summary().loc["SPY", "quality"] == 100.0


def test_extended_hours_hold_all_of_the_first_hour(tmp_path: Path):
    """Where the session begins at 9:00 by the config, so does the bar."""
    write_days(tmp_path, "spy", hours("2020-11-25"), "hour")
    write_factors(tmp_path, "spy")
    market = load(config(tmp_path, interval="1h").overlaid({"hours": {"open": "09:00", "close": "16:00"}}))
    assert market.stamps.index(market.bars["SPY"].time)[0].strftime("%H:%M") == "09:00"
    assert market.quality["SPY"]["present"] == market.quality["SPY"]["expected"] == 7


def days_of(first: str, count: int, price: float = 100.0) -> pd.DataFrame:
    index = pd.bdate_range(first, periods=count)
    table = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 1000.0}
    return pd.DataFrame(table, index=index)


def dates(root: Path, symbol: str, **more: object) -> list[str]:
    market = load(config(root, symbols=[symbol], interval="1d", adjusted=False, actions=[], **more))
    return market.stamps.index(market.bars[symbol].time).strftime("%m-%d").tolist()


def test_a_renamed_share_is_read_under_each_of_its_tickers(tmp_path: Path):
    """From the day it was listed; another company's bars under the same ticker aren't its own."""
    for ticker, price in (("old", 10.0), ("new", 20.0)):
        write_days(tmp_path, ticker, days_of("2024-04-01", 10, price))
    write_map(tmp_path, "new", "20240403,old", "20240408,old", "20501231,new")
    market = load(config(tmp_path, symbols=["NEW"], interval="1d", adjusted=False, actions=[]))
    found = dict(zip(dates(tmp_path, "NEW"), market.bars["NEW"].close.tolist(), strict=True))
    assert found == {
        "04-03": 10,
        "04-04": 10,
        "04-05": 10,
        "04-08": 10,
        "04-09": 20,
        "04-10": 20,
        "04-11": 20,
        "04-12": 20,
    }
    only = config(tmp_path, symbols=["NEW"], interval="1d", adjusted=False, actions=[]).overlaid(
        {"backtest": {"start_date": "2024-04-05", "end_date": "2024-04-09"}}
    )
    assert load(only).bars["NEW"].close.tolist() == [10, 10, 20]


def test_minutes_of_a_renamed_share_are_read_too(tmp_path: Path):
    """A day's file lies in the folder of the ticker that the share had on that day."""
    bars = minutes("2024-10-31", "2024-11-01")
    write_minutes(tmp_path, "old", bars)
    write_minutes(tmp_path, "spy", minutes("2024-11-01", "2024-11-04"))
    write_map(tmp_path, "spy", "20200101,old", "20241031,old", "20501231,spy")
    write_factors(tmp_path, "spy")
    same(load(config(tmp_path)), "SPY", pd.concat([bars.loc["2024-10-31"], minutes("2024-11-01", "2024-11-04")]))


def test_a_delisted_share_ends_with_its_last_day(tmp_path: Path):
    """What its ticker traded for later is another company's, which has the symbol now; the older one has its files' name."""
    write_days(tmp_path, "abc", days_of("2024-04-01", 10))
    write_map(tmp_path, "abc.1", "20240401,abc", "20240403,abc")
    write_map(tmp_path, "abc", "20240409,abc", "20501231,abc")
    assert dates(tmp_path, "ABC") == ["04-09", "04-10", "04-11", "04-12"]
    assert dates(tmp_path, "ABC.1") == ["04-01", "04-02", "04-03"]
    (tmp_path / "equity/usa/map_files/abc.csv").unlink()
    assert dates(tmp_path, "ABC") == ["04-01", "04-02", "04-03"], "it had the ticker last"
    with pytest.raises(nb.DataError, match="map file has from 2024-04-01 to 2024-04-03.*from 2024-05-01"):
        load(config(tmp_path, symbols=["ABC"], interval="1d").overlaid({"backtest": {"start_date": "2024-05-01"}}))


def test_a_member_may_lie_in_a_folder_of_its_zip(tmp_path: Path):
    """As in some of LEAN's own."""
    text = "20240402 00:00,10000,10000,10000,10000,5\n"
    zipped(tmp_path / "equity/usa/daily/spy.zip", "spy/spy.csv", text)
    write_factors(tmp_path, "spy")
    assert load(config(tmp_path, interval="1d")).bars["SPY"].close.tolist() == [1.0]


def test_adjusted_is_kept_or_refused(tmp_path: Path):
    """Without a factor file there are no adjusted prices, by default as when they are asked for; raw ones warn."""
    write_days(tmp_path, "spy", days_of("2024-04-01", 3))
    for asked in ({}, {"adjusted": True}):
        refused(tmp_path, "SPY: there is no factor file spy.csv", "set data.adjusted to false", interval="1d", **asked)
    with pytest.warns(nb.DataQualityWarning, match="knows no splits and dividends of SPY"):
        assert load(config(tmp_path, interval="1d", adjusted=False)).actions == ()
    market = load(config(tmp_path, interval="1d", adjusted=False, actions=[]))
    assert (market.source, market.bars["SPY"].close.tolist()) == ("LEAN trades, raw prices", [100.0] * 3)


def test_adjusted_prices_are_scaled_and_raw_ones_bring_what_happened(tmp_path: Path):
    """A split of 2:1 and a dividend of a dollar: in the prices, with volumes the other way round, or as actions."""
    bars = days_of("2024-04-01", 6)
    bars.loc["2024-04-03":, ["open", "high", "low", "close"]] /= 2
    write_days(tmp_path, "spy", bars)
    write_factors(
        tmp_path, "spy", "20240401,0.98,0.5,1", "20240402,0.98,0.5,100", "20240404,0.98,1,50", "20501231,1,1,0"
    )
    adjusted = load(config(tmp_path, interval="1d")).bars["SPY"]
    assert adjusted.close.tolist() == pytest.approx([49, 49, 49, 49, 50, 50])
    assert adjusted.volume.tolist() == [2041, 2041, 1020, 1020, 1000, 1000]
    raw = load(config(tmp_path, interval="1d", adjusted=False))
    assert raw.bars["SPY"].close.tolist() == [100, 100, 50, 50, 50, 50]
    assert [(a.date.isoformat(), a.kind, a.value) for a in raw.actions] == [
        ("2024-04-03", "split", 2.0),
        ("2024-04-05", "dividend", 1.0),
    ]
    given = [{"date": "2024-04-03", "kind": "split", "value": 3}]
    assert [a.value for a in load(config(tmp_path, interval="1d", adjusted=False, actions=given)).actions] == [3.0]


class Hold(nb.Strategy):
    size: float = 10.0

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            self.buy(size=self.size)


@pytest.mark.parametrize("adjusted", [True, False])
def test_what_is_held_of_a_delisted_share_is_closed_at_its_last_close(adjusted: bool, tmp_path: Path):
    """While the run goes on with other symbols; not where the map file goes on too, or the config has actions."""
    bars = days_of("2024-04-01", 10)
    bars["close"] = 100.0 + np.arange(10)
    bars["high"] = bars["close"] + 1
    for ticker in ("abc", "spy"):
        write_days(tmp_path, ticker, bars)
        write_factors(tmp_path, ticker)
    write_map(tmp_path, "abc", "20240401,abc", "20240405,abc")
    write_map(tmp_path, "spy", "20240401,spy", "20501231,spy")

    class Both(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars(bar.symbol)) == 1:
                self.buy(bar.symbol, 10)

    data = {"symbols": ["ABC", "SPY"], "interval": "1d", "adjusted": adjusted}
    result = nb.backtest(LeanSource(tmp_path), Both, config={"data": data})
    exits = result.trades.set_index("symbol")["exit_price"]
    assert exits["ABC"] == 104.0
    assert np.isnan(exits["SPY"])
    kept = nb.backtest(LeanSource(tmp_path), Both, config={"data": data | {"actions": []}})
    assert kept.trades["exit_price"].isna().all()


@given(
    st.lists(st.tuples(st.integers(1, 27), st.sampled_from([2, 3, 7, 0.5, 0.25, 1.5])), unique_by=lambda one: one[0]),
    st.integers(0, 9),
)
@settings(max_examples=25, deadline=None)
def test_raw_prices_and_what_happened_are_the_run_of_adjusted_ones(found: list[tuple[int, float]], seed: int):
    """With splits alone, equity is the same at every instant, though no action is given by hand."""
    days = table_of_days(30, seed)
    columns = ["open", "high", "low", "close"]
    factor, rows = 1.0, ["20501231,1,1,0"]
    scale = np.ones(len(days))
    for row, ratio in sorted(found, reverse=True):
        factor /= ratio
        scale[: row + 1] = factor  # up to the day before the ex-date
        rows.insert(0, f"{days.index[row]:%Y%m%d},1,{factor:.12f},100")
    raw = days.copy()
    raw[columns] = days[columns].div(scale, axis=0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_days(root, "spy", raw)
        write_factors(root, "spy", *rows)
        data = {"symbols": ["SPY"], "interval": "1d"}
        adjusted, other = (
            nb.backtest(LeanSource(root), Hold(size=10 / first), config={"data": data | {"adjusted": wanted}})
            for wanted, first in ((True, 1.0), (False, 1 / scale[1]))
        )
    assert len(other.equity) == 30
    # A raw price of the file has four digits, and an adjusted one of them is that times a factor.
    assert np.allclose(other.equity, adjusted.equity, rtol=0, atol=1e-2)
    assert other.equity.std() > 0.1, "it holds something"


def table_of_days(count: int, seed: int) -> pd.DataFrame:
    """Daily bars on multiples of a thousand ten-thousandths, so that splits leave four digits or few more."""
    rng = np.random.default_rng(seed)
    close = 1_000 + np.cumsum(rng.integers(-9, 10, count)).astype(float)
    index = pd.DatetimeIndex([day for day in pd.bdate_range("2024-04-01", periods=count + 5) if day.month < 6])[:count]
    return pd.DataFrame(
        {"open": close, "high": close + 2, "low": close - 2, "close": close, "volume": 1e6}, index=index
    )
