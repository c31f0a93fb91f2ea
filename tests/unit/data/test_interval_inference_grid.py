"""The law of the grid: no bar is over before its last trade can be known, whatever stamps, sessions, clocks and stray rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load

SESSIONS = {
    "XNYS": ("America/New_York", [("09:30", "16:00")]),
    "extended": ("America/New_York", [("04:00", "09:30"), ("09:30", "16:00"), ("16:00", "20:00")]),
    "XTKS": ("Asia/Tokyo", [("09:00", "11:30"), ("12:30", "15:00")]),
    "XHKG": ("Asia/Hong_Kong", [("09:30", "12:00"), ("13:00", "16:00")]),
    "XLON": ("Europe/London", [("08:00", "16:30")]),
    "clock": ("America/New_York", [("09:30", "10:00"), ("10:00", "16:00")]),
    "always": ("Europe/Berlin", [("00:00", "24:00")]),
    "XSES": ("Australia/Sydney", [("10:00", "16:00")]),
}
"""Parts of a day, by local clocks; the grid begins with each."""

LENGTHS = ("1m", "5m", "10m", "15m", "30m", "1h", "65m", "90m", "2h", "4h")
FINE = ("1m", "5m", "10m", "15m")
FIRST = ("2024-03-04", "2024-03-07", "2024-03-27", "2024-10-02", "2024-10-24", "2024-10-30", "2024-11-25")
"""Days before a change of some clocks, and days without one."""


@dataclass(frozen=True)
class Bars:
    """True bars: where each begins and ends, nanoseconds UTC; rising."""

    opens: np.ndarray
    ends: np.ndarray
    zone: str


def true_bars(sessions: str, length: str, first: str, days: int, half: int) -> Bars:
    """All bars of some days; day number `half` ends at noon or with its last part's first hour."""
    zone, parts = SESSIONS[sessions]
    step = pd.Timedelta(Interval.parse(length).ns, "ns")
    opens, ends = [], []
    every = pd.date_range(first, periods=days, freq="D" if sessions == "always" else "B")
    for number, day in enumerate(every):
        for begin, end in parts:
            opened = (day + pd.Timedelta(f"{begin}:00")).tz_localize(zone)
            closed = (day + pd.Timedelta(f"{end}:00")).tz_localize(zone)
            if number == half and sessions != "always":
                closed = min(closed, (day + pd.Timedelta("13:00:00")).tz_localize(zone))
            at = opened
            while at < closed:
                opens.append(at.tz_convert("UTC"))
                ends.append(min(at + step, closed).tz_convert("UTC"))
                at += step
    return Bars(*(pd.DatetimeIndex(x).as_unit("ns").asi8 for x in (opens, ends)), zone)


def frame_of(stamps: np.ndarray, zone: str | None) -> pd.DataFrame:
    """Bars that know which row they were by their close."""
    close = 1000.0 + np.arange(len(stamps))
    index = pd.DatetimeIndex(stamps.astype("datetime64[ns]")).tz_localize("UTC").tz_convert(zone or "UTC")
    return pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0}, index=index)


def loaded(frame: pd.DataFrame, **data: Any) -> MarketData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return load(SessionConfig.load({"data": data}), frame)


@st.composite
def markets(draw: st.DrawFn) -> tuple[Bars, str, str, pd.DataFrame, np.ndarray, np.ndarray]:
    """True bars, their length, what stamps mark, the frame of them with gaps and stray rows, and which of its rows are strays."""
    sessions, length = draw(st.sampled_from(sorted(SESSIONS))), draw(st.sampled_from(LENGTHS))
    days = draw(st.integers(1 if length in ("1m", "5m") else 3, 3 if length == "1m" else 7))
    bars = true_bars(sessions, length, draw(st.sampled_from(FIRST)), days, draw(st.integers(-1, days - 1)))
    mark = draw(st.sampled_from(["open", "close"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = draw(st.sampled_from([0.0, 0.0, 0.1, 0.3]))
    kept = rng.random(len(bars.opens)) >= gaps
    stamps = (bars.opens if mark == "open" else bars.ends)[kept]
    rows = np.flatnonzero(kept)
    assume(len(rows) >= 6)
    unit = draw(st.sampled_from([10**9, MINUTE, 5 * MINUTE]))
    count = draw(st.integers(0, 2))
    strays = rng.integers(stamps[0] // unit, stamps[-1] // unit + 30 * MINUTE // unit, count) * unit
    strays = np.setdiff1d(strays, stamps)
    every = np.concatenate((stamps, strays))
    order = np.argsort(every, kind="stable")
    which = np.concatenate((rows, np.full(len(strays), -1)))[order]
    zone = draw(st.sampled_from([bars.zone, "UTC", "Asia/Kolkata"]))
    return bars, length, mark, frame_of(every[order], zone), which, np.sort(strays)


def is_told_apart(length: str, stamps: np.ndarray, times_as_often: float = 1.0) -> bool:
    """True if every second row follows the one before by the bars' length, and no other distance is as common."""
    values, times = np.unique(np.diff(stamps), return_counts=True)
    own = times[values == Interval.parse(length).ns]
    others = times[values != Interval.parse(length).ns]
    is_usual = bool(len(own)) and int(own[0]) > 2 and 2 * int(own[0]) >= times.sum()
    return is_usual and bool((times_as_often * others < own[0]).all())


@settings(max_examples=400)
@given(markets(), st.booleans(), st.sampled_from(["refuse", "warn", "drop"]))
def test_no_bar_is_over_before_its_last_trade(market: Any, said: bool, policy: str):
    """With whatever rows among them: bars are told at their ends or later, or refused; data_quality and the run agree."""
    bars, length, mark, frame, which, _ = market
    if not said:
        assume(is_told_apart(length, frame.index.as_unit("ns").asi8))
    data: dict[str, Any] = {"stamp": mark, "quality": {"faults": policy}} | ({"interval": length} if said else {})
    try:
        columns = loaded(frame, **data).bars["ASSET"]
    except DataError:
        return
    true = which[(columns.close - 1000.0).astype(int)]
    ends = bars.ends[true[true >= 0]]
    assert (columns.end[true >= 0] >= ends).all()
    assert columns.interval.name == length or not is_told_apart(length, frame.index.as_unit("ns").asi8, 1.5)
    report = nb.data_quality(frame, config={"data": data}, exchange="24/7")
    assert report.interval == columns.interval


@settings(max_examples=300)
@given(markets(), st.booleans())
def test_bars_without_stray_rows_are_all_taken(market: Any, said: bool):
    """Gaps, half days, lunch breaks, several grids in a day and changes of the clocks are no faults."""
    bars, length, mark, frame, which, _ = market
    frame, which = frame[which >= 0], which[which >= 0]
    # Where a day has a handful of bars and some are missing, what is left may show its pattern once.
    assume(len(frame) == len(bars.opens) or length in FINE)
    if not said:
        assume(is_told_apart(length, frame.index.as_unit("ns").asi8, 1.5))
    data: dict[str, Any] = {"stamp": mark} | ({"interval": length} if said else {})
    columns = loaded(frame, **data).bars["ASSET"]
    assert len(columns) == len(frame)
    if mark == "close":
        assert columns.end.tolist() == bars.ends[which].tolist()
    else:
        assert columns.time.tolist() == bars.opens[which].tolist()
