"""LEAN's folder format: what is written in it is read back."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.data import synthetic
from nbbacktest.data.lean import LeanSource
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load

ZONE = "America/New_York"
REAL = Path(__file__).parents[4] / "shared" / "data"


def lines(bars: pd.DataFrame, time: list[str]) -> str:
    """Bars as LEAN writes them: prices times 10,000, no header."""
    prices = (bars[["open", "high", "low", "close"]] * 10_000).round().astype("int64")
    rows = prices.assign(volume=bars["volume"].astype("int64")).to_numpy().tolist()
    return "".join(f"{when},{','.join(map(str, row))}\n" for when, row in zip(time, rows, strict=True))


def zipped(file: Path, member: str, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)


def write_minutes(root: Path, ticker: str, bars: pd.DataFrame) -> None:
    local = bars.tz_convert(ZONE)
    for day, part in local.groupby(local.index.date):
        since = (part.index.tz_localize(None) - pd.Timestamp(day)) // pd.Timedelta(milliseconds=1)
        folder = root / "equity" / "usa" / "minute" / ticker
        zipped(
            folder / f"{day:%Y%m%d}_trade.zip",
            f"{day:%Y%m%d}_{ticker}_minute_trade.csv",
            lines(part, list(map(str, since))),
        )


def write_days(root: Path, ticker: str, bars: pd.DataFrame) -> None:
    text = lines(bars, [f"{day:%Y%m%d} 00:00" for day in bars.index])
    zipped(root / "equity" / "usa" / "daily" / f"{ticker}.zip", f"{ticker}.csv", text)


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
    return tmp_path


def test_minutes_come_back(root: Path):
    """Times over a change of clocks, prices and volumes to the last digit."""
    market = load(config(root))
    same(market, "SPY", minutes())
    assert (market.source, market.exchange, market.stamps.timezone) == ("LEAN trades, raw prices", "XNYS", ZONE)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real bars beside the repository")
@pytest.mark.parametrize("symbol", ["EXE", "CPAY"])
def test_real_minutes_and_days_come_back(symbol: str, tmp_path: Path):
    """A quarter of real minutes, and daily bars made of them."""
    bars = pd.read_csv(REAL / f"{symbol}_1min_2024Q4.csv.gz", index_col=0, parse_dates=True, engine="pyarrow").loc[
        :"2024-11-15"
    ]
    bars = bars.round(dict.fromkeys(("open", "high", "low", "close"), 4))  # what the format can hold
    write_minutes(tmp_path, symbol.lower(), bars)
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
    refused(root, "data.interval = '5m'", "gives 1m, 1d; use one of them", interval="5m")
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
