"""Which interval bars have, and where each begins and ends."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.bar_spans import agree, place, shown
from nbbacktest.data.calendar import SessionTable, session_table
from nbbacktest.data.frames import RawBars, read_frame

NEW_YORK = "America/New_York"


def raw(stamps: pd.DatetimeIndex | list[str], symbol: str = "EXE") -> RawBars:
    index = pd.DatetimeIndex(stamps)
    return read_frame(pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index), symbol)


def minutes(count: int, step: int = 1, symbol: str = "EXE", first: str = "2024-10-03 09:30") -> RawBars:
    return raw(pd.date_range(first, periods=count, freq=f"{step}min", tz=NEW_YORK), symbol)


def placed(
    bars: RawBars,
    interval: str,
    *,
    zone: str | None = None,
    timezone: str | None = None,
    mark: StampMeaning = "open",
    sessions: SessionTable | None = None,
) -> BarColumns:
    length = Interval.parse(interval)
    return place(bars, length, labels([bars], length, zone, zone), timezone=timezone, mark=mark, sessions=sessions)


def labels(bars: list[RawBars], length: Interval, zone: str | None = None, days: str | None = None) -> Stamps:
    return shown(bars, length, SessionConfig(timezone=zone, day_zone=days), None, is_named=False)


def local(ns: np.ndarray, zone: str = NEW_YORK) -> list[str]:
    return [Stamps(zone).stamp(int(x)).strftime("%Y-%m-%d %H:%M") for x in ns]


def test_the_interval_is_the_smallest_spacing():
    """Gaps don't matter as long as two bars stand side by side."""
    assert (
        agree([raw(pd.DatetimeIndex(["2024-10-03 09:30", "2024-10-03 10:00", "2024-10-03 10:05"]))], None).name == "5m"
    )


@pytest.mark.parametrize(
    ("stamps", "name"),
    [
        (["2024-10-03", "2024-10-04"], "1d"),
        (["2024-10-04", "2024-10-07"], "1d"),
        (["2024-10-04 16:00", "2024-10-07 16:00"], "1d"),
        (["2024-10-07", "2024-10-14", "2024-10-21"], "1w"),
        (["2024-10-06", "2024-10-13", "2024-10-20"], "7d"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "1mo"),
        (["2024-10-04"], "1d"),
    ],
)
def test_bars_a_day_apart_are_daily(stamps: list[str], name: str):
    """A weekend between two bars makes them daily, a week or more makes them longer."""
    assert agree([raw(stamps)], None).name == name


def test_days_of_23_hours_are_days():
    """Daily bars stay daily where summer time begins."""
    days = pd.DatetimeIndex(["2024-03-09", "2024-03-10", "2024-03-11"]).tz_localize(NEW_YORK)
    assert agree([raw(days)], None).name == "1d"
    assert agree([raw(days)], Interval.parse("1d")).name == "1d"


def test_one_intraday_bar_does_not_tell_its_interval():
    """It has to be set, and then is."""
    with pytest.raises(DataError, match="set data.interval"):
        agree([minutes(1)], None)
    assert agree([minutes(1)], Interval.parse("1m")).name == "1m"


def test_stamps_finer_than_the_interval_are_refused():
    """Bars that overlap are no bars of that interval."""
    with pytest.raises(DataError, match=r"09:30:00.*09:31:00.* are 1m apart, closer than the interval 5m"):
        agree([minutes(5)], Interval.parse("5m"))
    with pytest.raises(DataError, match="closer than the interval 1d"):
        agree([minutes(5)], Interval.parse("1d"))


def test_bars_coarser_than_the_interval_are_refused():
    """Five-minute bars called one-minute ones would be seen four minutes early."""
    with pytest.raises(DataError, match="5m apart or more.*before they are complete"):
        agree([minutes(20, 5)], Interval.parse("1m"))


def test_gaps_are_not_coarser_bars():
    """Where a minute is missing here and there, bars still are one-minute bars."""
    gappy = raw(
        pd.DatetimeIndex(["2024-10-03 09:30"]).repeat(12)
        + pd.to_timedelta(np.arange(12) ** 2 * 2 + np.arange(12), "min")
    )
    assert agree([gappy], Interval.parse("1m")).name == "1m"
    assert agree([minutes(10), minutes(3, 3, "SW")], Interval.parse("1m")).name == "1m"


def test_symbols_must_have_one_interval():
    """The two that differ are named, intraday against daily too."""
    with pytest.raises(DataError, match="SW has bars 5m apart and EXE has 1m bars"):
        agree([minutes(10), minutes(10, 5, "SW")], None)
    with pytest.raises(DataError, match="SW has bars 1d apart and EXE has 1m bars"):
        agree([minutes(10), raw(pd.date_range("2024-10-01", periods=3, tz=NEW_YORK), "SW")], None)


def test_spacings_below_a_second_are_refused():
    """Intervals are whole seconds."""
    with pytest.raises(DataError, match=r"EXE: a spacing of 0.5 s"):
        agree([raw(pd.date_range("2024-10-03 09:30", periods=3, freq="500ms"))], None)


def test_naive_and_aware_symbols_do_not_mix():
    """What the naive ones mean would be a guess."""
    with pytest.raises(DataError, match="SW name no time zone and those of EXE are in America/New_York"):
        labels([minutes(3), raw(pd.date_range("2024-10-03 09:30", periods=3, freq="min"), "SW")], Interval.parse("1m"))


def test_how_stamps_are_shown():
    """The zone of labels wins over the bars' own and leaves their days alone; naive dates stay naive."""
    day, minute, dates = Interval.parse("1d"), Interval.parse("1m"), [raw(["2024-10-03", "2024-10-04"])]
    assert labels([minutes(3)], minute) == Stamps(NEW_YORK)
    assert labels([minutes(3)], minute, "Asia/Tokyo") == Stamps("Asia/Tokyo", day_zone=NEW_YORK)
    assert labels(dates, day) == Stamps("UTC", dates=True)
    assert labels(dates, day, NEW_YORK) == Stamps(NEW_YORK, dates=True, day_zone="UTC")


def test_intraday_bars_span_their_interval():
    """A stamp marks the open unless it is said to mark the close."""
    bars = placed(minutes(2, 5), "5m")
    assert (local(bars.time), local(bars.end)) == (
        ["2024-10-03 09:30", "2024-10-03 09:35"],
        ["2024-10-03 09:35", "2024-10-03 09:40"],
    )
    closing = placed(minutes(2, 5, first="2024-10-03 09:35"), "5m", mark="close")
    assert (closing.time == bars.time).all()
    assert (closing.end == bars.end).all()


def test_intraday_bars_end_at_their_sessions_close():
    """The last hour of a New York day is half an hour; before the open nothing is cut."""
    sessions = session_table("XNYS", date(2024, 10, 3), date(2024, 10, 4))
    hours = raw(pd.DatetimeIndex(["2024-10-03 08:30", "2024-10-03 14:30", "2024-10-03 15:30"]).tz_localize(NEW_YORK))
    assert local(placed(hours, "1h", sessions=sessions).end) == [
        "2024-10-03 09:30",
        "2024-10-03 15:30",
        "2024-10-03 16:00",
    ]


def test_naive_intraday_stamps_need_a_time_zone():
    """With one they are local times in it, without they are refused."""
    naive = raw(pd.date_range("2024-10-03 09:30", periods=3, freq="min"))
    with pytest.raises(DataError, match=r"EXE: the stamps name no time zone.*2024-10-03 09:30:00; set data.timezone"):
        placed(naive, "1m")
    assert (placed(naive, "1m", timezone=NEW_YORK).time == minutes(3).ticks).all()


@pytest.mark.parametrize("stamp", ["2024-11-03 01:30", "2024-03-10 02:30"])
def test_local_times_that_are_double_or_missing_are_refused(stamp: str):
    """Where clocks change, a naive stamp may mean two instants or none."""
    with pytest.raises(DataError, match=f"twice in America/New_York, where clocks change, the first is {stamp}"):
        placed(raw([stamp]), "1m", timezone=NEW_YORK)


def test_daily_bars_span_their_local_day():
    """Without a calendar they end at the next midnight, whatever weekends lie between."""
    bars = placed(raw(["2024-10-04", "2024-10-07"]), "1d", zone=NEW_YORK)
    assert local(bars.time) == ["2024-10-04 00:00", "2024-10-07 00:00"]
    assert local(bars.end) == ["2024-10-05 00:00", "2024-10-08 00:00"]


def test_daily_bars_end_at_the_close_where_there_is_a_calendar():
    """Half days too."""
    sessions = session_table("XNYS", date(2024, 11, 20), date(2024, 12, 10))
    bars = placed(raw(["2024-11-27", "2024-11-29"]), "1d", zone=NEW_YORK, sessions=sessions)
    assert local(bars.end) == ["2024-11-27 16:00", "2024-11-29 13:00"]


def test_daily_bars_on_closed_days_are_refused():
    """The date and the exchange are named, and what to do."""
    sessions = session_table("XNYS", date(2024, 11, 20), date(2024, 12, 10))
    with pytest.raises(DataError, match="1 of 3 daily bars are on days on which XNYS is closed.*2024-11-28.*24/7"):
        placed(raw(["2024-11-27", "2024-11-28", "2024-11-29"]), "1d", zone=NEW_YORK, sessions=sessions)


def test_aware_daily_stamps_keep_their_own_dates():
    """Midnight in UTC means that date, also where New York still has the day before."""
    bars = placed(raw(pd.DatetimeIndex(["2024-10-03", "2024-10-04"]).tz_localize("UTC")), "1d", zone=NEW_YORK)
    assert local(bars.time) == ["2024-10-03 00:00", "2024-10-04 00:00"]


def test_aware_daily_stamps_at_other_hours_have_the_exchange_s_date():
    """Tokyo's midnight written in UTC is a session of Tokyo's date."""
    stamps = pd.DatetimeIndex(["2024-10-03", "2024-10-04"]).tz_localize("Asia/Tokyo").tz_convert("UTC")
    bars = placed(raw(stamps), "1d", zone="Asia/Tokyo")
    assert local(bars.time, "Asia/Tokyo") == ["2024-10-03 00:00", "2024-10-04 00:00"]


def test_two_daily_bars_of_one_date_are_refused():
    """A date has one bar."""
    with pytest.raises(DataError, match="1 daily bars have the date of another"):
        placed(raw(["2024-10-03 00:30", "2024-10-03 23:30"]), "1d")


def test_longer_bars_end_where_the_next_begins():
    """Months differ in length: no bar is seen before the next one begins."""
    bars = placed(raw(["2024-01-31", "2024-02-29", "2024-03-31"]), "29d")
    assert local(bars.end, "UTC") == ["2024-02-29 00:00", "2024-03-31 00:00", "2024-05-01 00:00"]


def test_bars_are_cut_at_a_lunch_break():
    """An hour from eleven in Tokyo is over at half past, and one that begins inside the break is left as it is."""
    tokyo = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2))
    stamps = pd.DatetimeIndex([f"2024-09-02 {time}" for time in ("10:00", "11:00", "12:00", "14:30")], tz="Asia/Tokyo")
    columns = placed(raw(stamps), "1h", sessions=tokyo)
    assert [text[11:] for text in local(columns.end, "Asia/Tokyo")] == ["11:00", "11:30", "13:00", "15:00"]


@pytest.mark.parametrize(
    ("stamps", "interval", "end"),
    [
        (["2024-11-25", "2024-12-02", "2024-12-09"], "1w", "2024-12-16 00:00"),
        (["2024-12-24", "2024-12-30"], "1w", "2025-01-06 00:00"),
        (["2024-12-20", "2024-12-27"], "1w", "2024-12-30 00:00"),
        (["2024-02-01", "2024-03-01"], "1mo", "2024-04-01 00:00"),
        (["2024-02-29", "2024-03-31"], "1mo", "2024-04-01 00:00"),
    ],
)
def test_weeks_and_months_as_base_bars(stamps: list[str], interval: str, end: str):
    """Said to be such, bars are the calendar's, whichever of their days they are stamped with."""
    columns = placed(raw(stamps), interval, zone=NEW_YORK)
    assert (columns.time[1:] == columns.end[:-1]).all()
    assert local(columns.end)[-1] == end
    with pytest.raises(DataError, match="closer than the interval"):
        agree([raw(["2024-02-01", "2024-02-02"])], Interval.parse(interval))
