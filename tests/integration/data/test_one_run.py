"""A file is the frame that it was written from: both are one run, and so is what pandas reads of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb

ZONES = (
    "Europe/London", "Europe/Berlin", "Asia/Tokyo", "Australia/Sydney", "America/New_York", "UTC", "Asia/Kolkata",
    "America/St_Johns", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Auckland", "Asia/Kathmandu", "US/Eastern", None,
)  # fmt: skip
STARTS = ("2024-03-07", "2024-03-28", "2024-04-03", "2024-06-03", "2024-10-24", "2024-10-31", "2024-12-27")


class Turns(nb.Strategy):
    """Buys and sells in turn, and holds over nights."""

    def on_bar(self, bar):
        if len(self.bars()) % 3 == 1:
            self.order_target_size(bar.symbol, 0 if self.position() else 10)


def frame_of(index: pd.DatetimeIndex) -> pd.DataFrame:
    rng = np.random.default_rng(len(index))
    close = np.round(100 + np.cumsum(rng.normal(0, 1, len(index))), 2)
    opened = np.round(np.r_[100.0, close[:-1]], 2)
    high, low = np.maximum(opened, close) + 0.25, np.minimum(opened, close) - 0.25
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": 100}, index=index)


def facts(result: nb.Result) -> tuple[Any, ...]:
    return (
        result.fingerprint,
        [str(stamp) for stamp in result.equity.index],
        [str(stamp) for stamp in result.fills["time"]],
        {name: str(value) for name, value in result.stats.items()},
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ZONES),
    st.sampled_from(STARTS),
    st.sampled_from(["B", "D", "1h", "30min", "session"]),
    st.integers(2, 40),
    st.sampled_from(["Date", "time", None]),
)
def test_a_file_is_its_frame(tmp_path: Path, zone: str | None, start: str, freq: str, count: int, name: str | None):
    """CSV, Parquet and three ways in which pandas reads the CSV, in every zone and over clock changes."""
    if freq == "session":
        days = pd.bdate_range(start, periods=3)
        index = pd.DatetimeIndex([day + pd.Timedelta(f"{9 + n}:30:00") for day in days for n in range(7)]).tz_localize(
            zone
        )
    elif freq in "BD" or zone is None:
        # Where clocks skip midnight the day begins at the first time that there is.
        index = pd.date_range(start, periods=count, freq=freq)
        index = index.tz_localize(zone, nonexistent="shift_forward") if zone else index
    else:
        index = pd.date_range(pd.Timestamp(start, tz=zone), periods=count + 60, freq=freq)
    if zone is None:
        index = index.drop_duplicates()
    frame = frame_of(index.rename(name))
    csv, parquet = tmp_path / "ASSET.csv", tmp_path / "ASSET.parquet"
    frame.to_csv(csv)
    frame.to_parquet(parquet)
    config = {"data": {"stamp": "open", "symbols": ["ASSET"]}} | (
        {} if zone or freq in "BD" else {"timezone": "Asia/Tokyo"}
    )
    wanted = facts(nb.backtest(frame, Turns, config=config))
    # A column without a name isn't one of times by itself: the message says how to make it the index.
    unnamed = [] if name is None else [pd.read_csv(csv)]
    for data in (
        csv,
        parquet,
        pd.read_csv(csv, index_col=0, parse_dates=True),
        pd.read_csv(csv, index_col=0),
        *unnamed,
    ):
        assert facts(nb.backtest(data, Turns, config=config)) == wanted


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Tokyo", "Australia/Sydney", "America/New_York"])
def test_a_daily_file_with_offsets_keeps_its_own_dates(tmp_path: Path, zone: str):
    """A split's day is the one that the file says, over a change of the clocks too."""
    frame = frame_of(pd.bdate_range("2024-10-21", periods=15, tz=zone, name="Date"))
    frame.loc["2024-10-30":, ["open", "high", "low", "close"]] /= 2
    frame.to_csv(tmp_path / "X.csv")
    config = {"data": {"adjusted": False, "actions": [{"date": "2024-10-30", "kind": "split", "value": 2}]}}
    result = nb.backtest(tmp_path / "X.csv", Turns, config=config)
    assert [str(stamp)[:10] for stamp in result.equity.index] == [str(stamp)[:10] for stamp in frame.index]
    assert result.equity.tolist() == nb.backtest(frame, Turns, config=config).equity.tolist()
