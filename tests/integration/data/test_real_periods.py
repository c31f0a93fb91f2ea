"""A quarter of real minutes as days, weeks and months, against what pandas computes another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.records import Bar

ZONE = "America/New_York"
SYMBOLS = ("EXE", "SW", "CPAY")
HALF_DAYS = ("2024-11-29", "2024-12-24")
CLOSED = ("2024-11-28", "2024-12-25", "2025-01-01")
PERIODS = {"1d": "D", "1w": "W-SUN", "1mo": "M"}


def settings(folder: Path, **data: Any) -> dict[str, Any]:
    path = str(folder / "{symbol}_1min_2024Q4.csv.gz")
    return {"data": {"source": "csv", "path": path, "symbols": list(SYMBOLS), "interval": "1m", "stamp": "open"} | data}


def minutes(folder: Path, symbol: str) -> pd.DataFrame:
    frame = pd.read_csv(folder / f"{symbol}_1min_2024Q4.csv.gz", index_col="timestamp", parse_dates=True)
    return frame.tz_convert(ZONE)


def plainly(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Bars by pandas' own periods of the local dates; what they have room for by a hand-made list of sessions."""
    groups = frame.groupby(frame.index.tz_localize(None).to_period(unit))
    bars = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    bars["base_count"] = groups.size()
    days = pd.bdate_range("2024-09-30", "2025-01-03").difference(pd.DatetimeIndex(CLOSED))
    room = pd.Series(np.where(days.strftime("%Y-%m-%d").isin(HALF_DAYS), 210, 390), days)
    sessions = room.groupby(days.to_period(unit))
    bars["expected_count"] = sessions.sum()
    last = sessions.apply(lambda part: part.index[-1])[bars.index]
    hours = np.where(last.dt.strftime("%Y-%m-%d").isin(HALF_DAYS), 13, 16)
    bars["end"] = (last + pd.to_timedelta(hours, unit="h")).dt.tz_localize(ZONE)
    first = sessions.apply(lambda part: part.index[0])[bars.index]
    return bars.set_index(pd.DatetimeIndex(first).tz_localize(ZONE))


class Keep(nb.Strategy):
    """Keeps derived bars as they come, and the forming ones of the run's last instant."""

    def on_start(self) -> None:
        self.came: list[tuple[pd.Timestamp, Bar]] = []

    def on_bar(self, bar: Bar) -> None:
        if bar.interval != "1m":
            self.came.append((self.now, bar))

    def on_stop(self) -> None:
        self.forming_weeks = {symbol: self.forming("1w", symbol) for symbol in self.symbols}
        self.frames = {bars: self.bars(*bars).to_frame() for bars in {(b.symbol, b.interval) for _, b in self.came}}


@pytest.fixture(scope="module")
def quarter(shared_data: Path) -> Keep:
    keep = Keep()
    nb.backtest(None, keep, config=settings(shared_data, derived_intervals=list(PERIODS)))
    return keep


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("interval", PERIODS)
def test_the_bars_of_a_quarter_equal_pandas(shared_data: Path, quarter: Keep, symbol: str, interval: str):
    """Stamps, ends, values, counts and room, half days and missing minutes included; all but the unfinished last week."""
    plain = plainly(minutes(shared_data, symbol), PERIODS[interval])
    finished = plain[plain["end"] <= pd.Timestamp("2024-12-31 16:00", tz=ZONE)]
    assert len(plain) - len(finished) == (interval == "1w")
    frame = quarter.frames[symbol, interval]
    assert list(frame.index) == list(finished.index)
    for name in ("open", "high", "low", "close", "volume", "base_count", "expected_count"):
        np.testing.assert_array_equal(frame[name], finished[name], err_msg=name)
    came = [(now, bar) for now, bar in quarter.came if (bar.symbol, bar.interval) == (symbol, interval)]
    assert [now for now, _ in came] == list(finished["end"])
    assert [bar.end for _, bar in came] == list(finished["end"])
    assert [bar.is_complete for _, bar in came] == list(finished["base_count"] == finished["expected_count"])


def test_there_are_sessions_weeks_and_months(quarter: Keep):
    """63 sessions, 13 whole weeks, 3 months; the 14th week goes on into January."""
    assert [len(quarter.frames["SW", interval]) for interval in PERIODS] == [63, 13, 3]


def test_the_last_week_is_still_forming(shared_data: Path, quarter: Keep):
    """On New Year's Eve it has two of four sessions, and closes on Friday."""
    for symbol in SYMBOLS:
        own = minutes(shared_data, symbol)["2024-12-30":]
        bar = quarter.forming_weeks[symbol]
        assert bar is not None
        assert (bar.open, bar.close, bar.volume) == (own["open"].iloc[0], own["close"].iloc[-1], own["volume"].sum())
        assert (bar.base_count, bar.expected_count) == (len(own), 4 * 390)
        assert bar.closes_at == pd.Timestamp("2025-01-03 16:00", tz=ZONE)


def test_days_beside_their_minutes_agree(shared_data: Path):
    """Daily bars made by pandas, loaded as bars of their own, don't disagree with the minutes."""
    data = {}
    for symbol in ("EXE", "SW"):
        frame = minutes(shared_data, symbol)
        days = plainly(frame, "D")
        data[symbol] = {"1m": frame, "1d": days.set_index(days.index.tz_localize(None))}
    result = nb.backtest(data, Keep, config={"exchange": "XNYS"})
    assert result.metrics["session"]["disagreements"] == 0
    assert result.stats["bars"] == 23_645 + 23_865


def test_warm_up_of_real_bars_is_counted(shared_data: Path):
    """20 sessions, over Thanksgiving and a half day; CPAY's 400 bars reach back over more than one session."""
    config = settings(shared_data, derived_intervals=["1d"], warmup_bars={"1d": 20})
    result = nb.backtest(None, nb.Strategy, config=config | {"backtest": {"start_date": "2024-12-02"}})
    days = result.metrics["session"]["warmup"]
    assert {symbol: days[symbol]["1d"] for symbol in SYMBOLS} == {key: {"asked": 20, "got": 20} for key in SYMBOLS}
    sparse = settings(shared_data, symbols=["CPAY"], warmup_bars=400)
    warm = nb.backtest(None, nb.Strategy, config=sparse | {"backtest": {"start_date": "2024-12-02"}})
    assert warm.metrics["session"]["warmup"] == {"CPAY": {"1m": {"asked": 400, "got": 400}}}
