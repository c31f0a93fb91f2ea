"""Which length bars have, in every way in which they come: the grid's, and never the smallest distance."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.intervals import Interval
from nbbacktest.data.frames import read_frame
from nbbacktest.data.interval_inference import inferred

ZONE = "America/New_York"
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def frame(stamps: Any) -> pd.DataFrame:
    index = pd.DatetimeIndex(stamps)
    close = 100.0 + np.arange(len(index))
    return pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0}, index=index)


def each_day(begin: str, end: str, freq: str, days: int = 3) -> list[pd.Timestamp]:
    dates = pd.bdate_range("2024-10-01", periods=days).strftime("%Y-%m-%d ")
    return [stamp for day in dates for stamp in pd.date_range(day + begin, day + end, freq=freq, tz=ZONE)]


HOURS = frame(each_day("09:30", "15:30", "1h"))
STRAY = pd.concat([HOURS, frame([pd.Timestamp("2024-10-03 15:47:23", tz=ZONE)])])
DAYS = pd.bdate_range("2024-09-25", periods=8, tz=ZONE)


def length(*stamps: Any, mark: Any = "open") -> str:
    return inferred([read_frame(frame(one), "EXE") for one in stamps], mark).name


@pytest.mark.parametrize(
    ("stamps", "name"),
    [
        (["2024-10-03 09:30", "2024-10-03 10:00", "2024-10-03 10:05"], "5m"),
        (HOURS.index, "1h"),
        (STRAY.index, "1h"),
        (each_day("09:30", "15:59", "1min"), "1m"),
        (each_day("04:00", "09:00", "1h") + each_day("09:30", "15:30", "1h") + each_day("16:00", "19:00", "1h"), "1h"),
        (each_day("09:30", "15:30", "2h"), "2h"),
        (each_day("09:30", "15:30", "65min"), "65m"),
        (DAYS.append(pd.DatetimeIndex(["2024-10-04 15:59:59"], tz=ZONE)), "1d"),
        (pd.date_range("2024-01-01", periods=10, freq="W-MON").append(pd.DatetimeIndex(["2024-03-08 11:00"])), "7d"),
        (["2024-10-03 09:30", "2024-10-03 09:31"], "1m"),
        (["2024-10-03", "2024-10-07"], "1d"),
    ],
)
def test_the_commonest_distance_that_rows_fit(stamps: Any, name: str):
    """Gaps, strays, several grids in a day, a day under way."""
    assert length(sorted(pd.DatetimeIndex(stamps))) == name


def test_gaps_of_any_size_leave_the_length():
    """Three minutes in four may be missing."""
    rng = np.random.default_rng(3)
    stamps = pd.DatetimeIndex(each_day("09:30", "15:59", "1min", days=10))
    for share in (0.1, 0.5, 0.75):
        assert length(stamps[rng.random(len(stamps)) > share]) == "1m"


@pytest.mark.parametrize(
    "stamps",
    [["2024-10-03 09:30", "2024-10-03 09:47:23"], ["2024-10-03 09:30", "2024-10-03 09:47:23", "2024-10-03 10:30"]],
)
def test_a_distance_that_no_bars_have_is_refused(stamps: list[str]):
    """Bars of 1043 seconds have to be said to be such."""
    with pytest.raises(DataError, match="how long bars are can't be told.*1043s.*set data.interval"):
        length(stamps)
    nb.backtest(frame(stamps[:2]).tz_localize(ZONE), nb.Strategy, config={"data": {"interval": "1043s"}})


def ways(stray: pd.DataFrame, folder: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The same bars, in each way in which bars come."""
    stray = stray.rename_axis("time")
    (folder / "set" / "symbol=EXE").mkdir(parents=True)
    stray.to_parquet(folder / "set" / "symbol=EXE" / "a.parquet")
    stray.to_parquet(folder / "EXE.parquet")
    stray.to_csv(folder / "EXE.csv")

    class Source:
        stamp = "open"
        intervals = ("1h",)
        symbols = ("EXE",)

        def bars(self, *_: Any) -> pd.DataFrame:
            return stray

    minutes = frame(each_day("09:30", "15:59", "1min"))
    minutes = minutes.assign(open=100.0, high=130.0, low=90.0, close=100.0)
    mine = {"data": {"stamp": "open"}}
    return {
        "frame": (stray, mine),
        "interval said": (stray, {"data": {"stamp": "open", "interval": "1h"}}),
        "mapping": ({"EXE": stray, "SW": HOURS}, mine),
        "csv": (folder / "EXE.csv", mine),
        "parquet": (folder / "EXE.parquet", mine),
        "stream": (folder / "set", mine),
        "source": (Source(), {}),
        "beside minutes": ({"EXE": {"1m": minutes, "1h": stray}}, mine),
    }


WAYS = ("frame", "interval said", "mapping", "csv", "parquet", "stream", "source", "beside minutes")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("faults", ["refuse", "warn", "drop"])
def test_a_stray_row_is_refused_or_left_out_in_every_way(tmp_path: Path, way: str, faults: str):
    """Its row is named; no hour is seen before it is over, and the report agrees."""
    seen: list[tuple[pd.Timestamp, pd.Timestamp]] = []

    class Look(nb.Strategy):
        def on_bar(self, bar):
            if bar.interval == "1h":
                seen.append((bar.time, self.now))

    data, config = ways(STRAY, tmp_path)[way]
    config = {"exchange": "XNYS"} | config | {"data": config.get("data", {}) | {"quality": {"faults": faults}}}
    if faults == "refuse":
        with pytest.raises(
            DataError, match=r"1 row is no bar of 1h among 21 that are, the first is row 21, 2024-10-03 15:47:23"
        ):
            nb.backtest(data, Look, config=config)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = nb.backtest(data, Look, config=config)
    said = [str(one.message) for one in caught if "rows left out" in str(one.message)]
    assert len(said) == (faults == "warn")
    assert all("15:47:23" in text for text in said)
    assert len(seen) == 21 * (2 if way == "mapping" else 1)
    for opened, now in seen:
        assert now >= min(opened + pd.Timedelta("1h"), opened.normalize() + pd.Timedelta("16h"))
    if way != "beside minutes":
        report = nb.data_quality(data, config=config)
        told = result.metrics["session"]["symbols"][result.symbols[0]]["quality"]
        assert told["interval"] == report.interval.name == "1h"
        assert told["left_out"] == report.summary().iloc[0]["duplicates"] == 1
        assert told["quality"] == pytest.approx(report.summary().iloc[0]["quality"])


@pytest.mark.parametrize("last", ["2024-10-04 15:59:59", "2024-10-07 11:12:13"])
def test_a_day_under_way_is_left_out_and_told(last: str):
    """It is no bar yet, under every policy; a row in the midst that is like it is a fault."""
    live = frame(DAYS.append(pd.DatetimeIndex([last], tz=ZONE)))
    with pytest.warns(
        DataQualityWarning, match=rf"rows left out, 1 of 9: the last row, {last}-04:00, is of a bar that is still"
    ):
        result = nb.backtest(live, nb.Strategy)
    assert result.stats["bars"] == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nb.backtest(live, nb.Strategy, config={"data": {"quality": {"faults": "drop"}}}).stats["bars"] == 8
    assert nb.data_quality(live).interval.name == "1d"
    middle = pd.concat([live[:4], frame([pd.Timestamp("2024-09-30 11:12:13", tz=ZONE)]), live[4:8]])
    with pytest.raises(DataError, match="1 row is no bar of 1d among 8 that are, the first is row 4"):
        nb.backtest(middle, nb.Strategy)


@pytest.mark.parametrize(
    "days",
    [
        pd.DatetimeIndex(["2024-11-26 16:00", "2024-11-27 16:00", "2024-11-29 13:00", "2024-12-02 16:00"], tz=ZONE),
        pd.bdate_range("2024-10-21", periods=10, tz="Europe/London").tz_convert("UTC"),
        pd.bdate_range("2024-10-25", periods=10, tz=ZONE).map(lambda day: day + pd.Timedelta("16h")).tz_convert("UTC"),
        pd.date_range("2018-10-30", periods=10).tz_localize("America/Sao_Paulo", nonexistent="shift_forward"),
    ],
)
def test_days_are_stamped_in_many_ways(days: pd.DatetimeIndex):
    """At closes, on half days too, and over changes of the clocks: all are bars."""
    assert nb.backtest(frame(days), nb.Strategy).stats["bars"] == len(days)


def closes(hours: pd.DatetimeIndex, step: str, close: str) -> pd.DatetimeIndex:
    return hours.map(lambda t: min(t + pd.Timedelta(step), t.normalize() + pd.Timedelta(close)))


@pytest.mark.parametrize("said", [None, "given"])
@pytest.mark.parametrize(("step", "close"), [("1h", "16h"), ("2h", "16h"), ("30min", "16h"), ("1min", "16h")])
def test_bars_stamped_at_their_closes_are_those_stamped_at_their_opens(step: str, close: str, said: str | None):
    """The last of a day is cut short; with the length said or not, on a half day and with the exchange named or not."""
    opens = each_day("09:30", "15:59", step)
    opens += list(pd.date_range("2024-11-29 09:30", "2024-11-29 12:59", freq=step, tz=ZONE))  # a half day
    index = pd.DatetimeIndex(opens)
    ends = closes(index, step, close)
    ends = ends[:-1].append(
        pd.DatetimeIndex([min(index[-1] + pd.Timedelta(step), pd.Timestamp("2024-11-29 13:00", tz=ZONE))])
    )
    interval = Interval.from_ns(pd.Timedelta(step).value).name
    data = {"interval": interval} if said else {}

    def spans(bars: pd.DataFrame, settings: dict[str, Any]) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        seen = []

        class Spans(nb.Strategy):
            def on_bar(self, bar):
                seen.append((bar.time, bar.end))

        nb.backtest(bars, Spans, config={"data": data} | settings)
        return seen

    wanted = spans(frame(index), {"exchange": "XNYS"})
    for exchange in ({}, {"exchange": "XNYS"}):
        assert spans(frame(ends), exchange | {"data": data | {"stamp": "close"}}) == wanted


def test_bars_before_lunch_are_cut_short_at_their_closes():
    """Tokyo's mornings end at half past eleven."""
    parts = [("09:00", "11:30"), ("12:30", "15:00")]
    opens, ends = [], []
    for day in ("2024-09-02", "2024-09-03", "2024-09-04"):
        for begin, end in parts:
            stop = pd.Timestamp(f"{day} {end}", tz="Asia/Tokyo")
            for at in pd.date_range(pd.Timestamp(f"{day} {begin}", tz="Asia/Tokyo"), stop, freq="1h", inclusive="left"):
                opens.append(at)
                ends.append(min(at + pd.Timedelta("1h"), stop))
    for exchange in ({}, {"exchange": "XTKS"}):
        seen = []

        class Spans(nb.Strategy):
            def on_bar(self, bar, seen=seen):
                seen.append((bar.time, bar.end))

        nb.backtest(frame(ends), Spans, config=exchange | {"data": {"stamp": "close"}})
        assert seen == list(zip(opens, ends, strict=True))
