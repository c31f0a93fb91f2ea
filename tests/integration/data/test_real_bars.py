"""Real minute bars: loaded, cut and resampled, against computations that pandas does another way."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns
from nbbacktest.data.market import MarketData
from nbbacktest.data.resample import derive
from nbbacktest.data.sources import load

ZONE = "America/New_York"
SYMBOLS = ("EXE", "SW", "CPAY")


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data


def settings(folder: Path, symbols: tuple[str, ...] = SYMBOLS, **data: Any) -> dict[str, Any]:
    path = str(folder / "{symbol}_1min_2024Q4.csv.gz")
    return {"source": "csv", "path": path, "symbols": list(symbols), "interval": "1m", "stamp": "open"} | data


@pytest.fixture(scope="module")
def quarter(folder: Path) -> MarketData:
    return load(SessionConfig.load({"data": settings(folder)}))


def exactly(folder: Path, symbol: str) -> pd.DataFrame:
    """A file's rows, its numbers read by Python itself."""
    text = pd.read_csv(folder / f"{symbol}_1min_2024Q4.csv.gz", dtype=str)
    return text.assign(**{name: text[name].map(float) for name in ("open", "high", "low", "close", "volume")})


def plainly(folder: Path, symbol: str, step: int) -> pd.DataFrame:
    """Derived bars by pandas: minutes since 09:30 New York time, grouped by day and bucket."""
    frame = exactly(folder, symbol)
    local = pd.to_datetime(frame["timestamp"], utc=True).dt.tz_convert(ZONE)
    since = (local.dt.hour - 9) * 60 + local.dt.minute - 30
    groups = frame.groupby([local.dt.strftime("%Y-%m-%d"), since // step])
    bars = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    bars["count"] = groups.size()
    day = pd.to_datetime(bars.index.get_level_values(0)) + pd.Timedelta("9h30min")
    begin = day + pd.to_timedelta(bars.index.get_level_values(1) * step, unit="min")
    closes = np.where(day.strftime("%m-%d").isin(["11-29", "12-24"]), 13, 16)
    close = day.normalize() + pd.to_timedelta(closes, unit="h")
    bars["time"] = begin.tz_localize(ZONE)
    bars["end"] = np.minimum(begin + pd.Timedelta(minutes=step), close).tz_localize(ZONE)
    return bars.reset_index(drop=True)


def nanoseconds(column: Any) -> list[int]:
    return pd.DatetimeIndex(column).as_unit("ns").asi8.tolist()


def test_the_files_are_read_to_the_last_digit(folder: Path, quarter: MarketData):
    """Every row and value is what an exact reader finds."""
    assert [len(columns) for columns in quarter.bars.values()] == [23_645, 23_865, 14_967]
    for symbol, columns in quarter.bars.items():
        plain = exactly(folder, symbol)
        assert columns.time.tolist() == nanoseconds(pd.to_datetime(plain["timestamp"], utc=True))
        for name in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(getattr(columns, name), plain[name].to_numpy())


def test_sessions_and_half_days(quarter: MarketData):
    """63 sessions, all bars in them, and the two half days end at 13:00."""
    sessions = quarter.sessions()
    assert len(sessions) == 63
    half = (sessions.close - sessions.open) < 6 * 3_600_000_000_000
    assert sessions.dates[half].tolist() == [date(2024, 11, 29), date(2024, 12, 24)]
    for columns in quarter.bars.values():
        row = sessions.session_of(columns.time)
        assert (row >= 0).all()
        assert (columns.end <= sessions.close[row]).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("step", [5, 15, 60, 7])
def test_derived_bars_equal_pandas(folder: Path, quarter: MarketData, symbol: str, step: int):
    """Times, ends, prices, volumes and counts of the quarter, gappy symbols and half days included."""
    derived = derive(quarter.bars[symbol], Interval.from_ns(step * 60_000_000_000), quarter.sessions())
    plain = plainly(folder, symbol, step)
    assert derived.time.tolist() == nanoseconds(plain["time"])
    assert derived.end.tolist() == nanoseconds(plain["end"])
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(derived, name), plain[name].to_numpy())
    assert derived.base_count is not None
    assert derived.base_count.tolist() == plain["count"].tolist()


def test_gaps_stay_gaps(quarter: MarketData):
    """A symbol with missing minutes has fewer bars, and bars that say how few minutes they are made of."""
    derived = derive(quarter.bars["CPAY"], Interval.parse("5m"), quarter.sessions())
    assert derived.base_count is not None
    counts = derived.base_count
    assert (int(counts.min()), int(counts.max()), int(counts.sum())) == (1, 5, 14_967)
    assert len(derived) < 61 * 78 + 2 * 42


def test_days_derived_from_minutes(quarter: MarketData):
    """One bar a session, stamped with its date, complete at its close."""
    sessions = quarter.sessions()
    derived = derive(quarter.bars["EXE"], Interval.parse("1d"), sessions)
    assert (derived.end == sessions.close).all()
    assert [stamp.date() for stamp in quarter.stamps.index(derived.time)] == sessions.dates.tolist()


def test_a_range_with_warmup_over_real_bars(folder: Path):
    """Five sessions before the start, Thanksgiving skipped, and the half day at the end."""
    config = {
        "backtest": {"start_date": "2024-11-27", "end_date": "2024-11-29"},
        "data": settings(folder, ("EXE", "SW"), warmup_days=5),
    }
    market = load(SessionConfig.load(config))
    sessions = market.sessions()
    assert [str(day) for day in sessions.dates] == [
        "2024-11-20", "2024-11-21", "2024-11-22", "2024-11-25", "2024-11-26", "2024-11-27", "2024-11-29",
    ]  # fmt: skip
    for columns in market.bars.values():
        traded: BarColumns = columns.slice(int(np.searchsorted(columns.end, market.start, side="right")), len(columns))
        assert sessions.session_of(traded.time).min() == 5


def test_close_stamps_give_the_same_bars(folder: Path, quarter: MarketData):
    """A file stamped at the close, said to be so, is the same as one stamped at the open."""
    plain = pd.read_csv(folder / "SW_1min_2024Q4.csv.gz", index_col="timestamp", engine="pyarrow")
    plain.index = plain.index + pd.Timedelta(minutes=1)
    market = load(SessionConfig.load({"data": {"symbols": ["SW"], "stamp": "close"}, "exchange": "XNYS"}), plain)
    assert (market.bars["SW"].time == quarter.bars["SW"].time).all()
    assert (market.bars["SW"].end == quarter.bars["SW"].end).all()


def test_spy_of_2011(folder: Path):
    """43 sessions of exactly 390 bars, with February missing."""
    market = load(SessionConfig.load({"data": {"stamp": "open"}}), folder / "SPY_1min_2011-01_2011-03.csv.gz")
    (symbol, columns), *_ = market.bars.items()
    assert symbol == "SPY_1min_2011-01_2011-03"
    derived = derive(columns, Interval.parse("1d"), market.sessions())
    assert derived.base_count is not None
    assert derived.base_count.tolist() == [390] * 43


def test_a_wrong_interval_or_exchange_is_noticed(folder: Path):
    """Minute bars are no five-minute bars, and New York's hours are not Tokyo's."""
    with pytest.raises(DataError, match="are 1m apart, closer than the interval 5m"):
        load(SessionConfig.load({"data": settings(folder, interval="5m")}))
    market = load(SessionConfig.load({"exchange": "XTKS", "data": settings(folder, ("EXE",))}))
    with pytest.raises(DataError, match="outside the sessions of XTKS"):
        derive(market.bars["EXE"], Interval.parse("5m"), market.sessions())
