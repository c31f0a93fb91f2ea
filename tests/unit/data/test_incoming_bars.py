"""One bar as somebody hands it over: read, checked, laid on the grid."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import HOUR, MINUTE, Interval
from nbbacktest.core.records import Bar, Stamps
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.live_market import BarReader, read_instant, written
from tests.live import OPENING, fields, incoming, reader


@pytest.mark.parametrize(
    "time",
    [
        "2024-10-03T13:30:00+00:00",
        "2024-10-03T13:30:00Z",
        "2024-10-03 09:30:00-04:00",
        datetime(2024, 10, 3, 13, 30, tzinfo=UTC),
        datetime(2024, 10, 3, 9, 30, tzinfo=timezone(timedelta(hours=-4))),
        pd.Timestamp("2024-10-03 09:30", tz="America/New_York"),
    ],
)
def test_times_are_read_in_every_usual_form(time: object) -> None:
    """Texts with an offset, datetimes and Timestamps with a zone all mean the same instant."""
    assert reader("A").read(fields("A", 0, time=time)) == incoming("A", 0)


def test_the_end_may_be_given_instead() -> None:
    """`end` is where the bar closes; both together must agree."""
    end = written(OPENING + MINUTE)
    assert reader("A").read(fields("A", 0, time=None, end=end)) == incoming("A", 0)
    assert reader("A").read(fields("A", 0, end=end)) == incoming("A", 0)
    with pytest.raises(DataError, match="can't end at"):
        reader("A").read(fields("A", 0, end=written(OPENING + 2 * MINUTE)))


@pytest.mark.parametrize("early", [1, 1_000, 1_000_000, 1_000_000_000])
def test_an_end_that_is_a_moment_early_is_the_end(early: int) -> None:
    """Exchanges' feeds stamp 09:30:59.999; other moments are off the grid."""
    stamp = pd.Timestamp(OPENING + MINUTE - early, tz="UTC")
    assert reader("A").read(fields("A", 0, time=None, end=stamp)) == incoming("A", 0)
    with pytest.raises(DataError, match="no 1m bar begins or ends there"):
        reader("A").read(fields("A", 0, time=None, end=pd.Timestamp(OPENING + MINUTE - 2 * early, tz="UTC")))


def test_volume_may_be_left_out() -> None:
    """A bar without volume has none."""
    assert reader("A").read(fields("A", 0, volume=None)).volume == 0.0


def test_bars_of_strategies_can_be_handed_on() -> None:
    """A `Bar` is read as what it is."""
    bar = Bar("A", "1m", OPENING, OPENING + MINUTE, 1.0, 3.0, 0.5, 2.0, 7.0, Stamps("UTC"))
    assert reader("A").read(bar)[1:] == (OPENING, OPENING + MINUTE, 1.0, 3.0, 0.5, 2.0, 7.0)


def test_numbers_of_numpy_are_numbers() -> None:
    """What comes out of a DataFrame's row goes in."""
    assert reader("A").read(fields("A", 0, close=np.float64(100.0), volume=np.int64(1))) == incoming("A", 0)


REFUSED = {
    "another symbol": (fields("B", 0), "no symbol 'B'"),
    "a symbol that is no text": (fields("A", 0, symbol=["A"]), "no symbol"),
    "no symbol": (fields("A", 0, symbol=None), "no symbol None"),
    "an unknown field": (fields("A", 0, clsoe=1.0), "no 'clsoe'; did you mean 'close'"),
    "a missing price": (fields("A", 0, low=None), "low is missing"),
    "no time": (fields("A", 0, time=None), "neither time nor end"),
    "a time without a zone": (fields("A", 0, time="2024-10-03T09:30:00"), "names no time zone"),
    "a naive datetime": (fields("A", 0, time=datetime(2024, 10, 3, 9, 30)), "names no time zone"),
    "a number for a time": (fields("A", 0, time=1727962200), "is no time"),
    "nonsense for a time": (fields("A", 0, time="soon"), "is no time"),
    "NaT": (fields("A", 0, time=pd.NaT), "is no time"),
    "a year far off": (fields("A", 0, time="9999-12-31T23:59:00+00:00"), "not a year of"),
    "text for a price": (fields("A", 0, open="100"), "open is '100' and not a number"),
    "true for a price": (fields("A", 0, open=True), "open is True and not a number"),
    "NaN": (fields("A", 0, close=float("nan")), "close is not a finite number"),
    "infinity": (fields("A", 0, high=float("inf")), "high is not a finite number"),
    "an endless whole number": (fields("A", 0, volume=10**400), "volume is not a finite number"),
    "open above high": (fields("A", 0, open=101.0), "must lie between low 100 and high 100"),
    "close below low": (fields("A", 0, close=99.0), "must lie between"),
    "low above high": (fields("A", 0, low=102.0), "must lie between"),
    "volume below zero": (fields("A", 0, volume=-1), "volume -1 is negative"),
    "off the grid": (fields("A", 0, time=written(OPENING + 1000)), "no 1m bar begins or ends there"),
    "half a minute off": (fields("A", 0, time=written(OPENING + MINUTE // 2)), "no 1m bar begins or ends there"),
    "before the open": (fields("A", -1), "outside of the sessions of XNYS"),
    "after the close": (fields("A", 390), "outside of the sessions of XNYS"),
    "a Saturday": (fields("A", 2 * 1440), "outside of the sessions of XNYS"),
    "a list": ([1, 2], "a list is no bar"),
    "nothing": (None, "a NoneType is no bar"),
}  # fmt: skip


@pytest.mark.parametrize(("bar", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_bar_is_refused_in_one_clear_line(bar: object, message: str) -> None:
    """Each mistake names what is wrong, the value and the cure."""
    with pytest.raises(DataError, match=message):
        reader("A").read(bar)  # type: ignore[arg-type]


def test_without_coarser_bars_sessions_bind_nobody() -> None:
    """Where nothing is derived, a bar may lie outside of sessions, as in a backtest; on the clock's grid all the same."""
    made = reader("A", derived=False)
    assert made.read(fields("A", 400)).time == OPENING + 400 * MINUTE
    assert made.read(fields("A", 400, time=None, end=written(OPENING + 401 * MINUTE))).time == OPENING + 400 * MINUTE
    with pytest.raises(DataError, match="no 1m bar"):
        made.read(fields("A", 400, time=written(OPENING + 400 * MINUTE + 1000)))


@pytest.mark.parametrize(("start", "length"), [(0, HOUR), (5 * HOUR, HOUR), (6 * HOUR, HOUR // 2)])
def test_the_grid_begins_at_the_open_and_is_cut_at_the_close(start: int, length: int) -> None:
    """Hours begin at 09:30, and the last one is as long as the session has left, by its open or its close."""
    made = reader("A", interval="1h")
    begin, end = OPENING + start, OPENING + start + length
    assert made.read(fields("A", 0, time=written(begin)))[1:3] == (begin, end)
    assert made.read(fields("A", 0, time=None, end=written(end)))[1:3] == (begin, end)


def test_vendors_whole_hours_are_taken_where_nothing_is_derived() -> None:
    """Bars on the clock's own grid are taken where no coarser ones have to be anchored."""
    ten = OPENING + HOUR // 2
    assert reader("A", interval="1h", derived=False).read(fields("A", 0, time=written(ten))).end == ten + HOUR
    with pytest.raises(DataError, match="no 1h bar"):
        reader("A", interval="1h").read(fields("A", 0, time=written(ten)))


@pytest.mark.parametrize("time", ["2024-10-03", date(2024, 10, 3), "2024-10-03T00:00:00-04:00"])
def test_daily_bars_have_dates(time: object) -> None:
    """A daily bar is of its session: from the date's midnight to the close."""
    bar = reader("A", interval="1d", derived=False).read(fields("A", 0, time=time))
    assert bar[1:3] == (OPENING - 9 * HOUR - HOUR // 2, OPENING + 6 * HOUR + HOUR // 2)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("2024-10-05", "closed then"),
        ("2024-02-30", "is no date"),
        ("2024-10-03T09:30:00-04:00", "within a day"),
    ],
)
def test_wrong_dates_are_refused(time: str, message: str) -> None:
    """A date without a session, none at all, and a time within a day are mistakes."""
    with pytest.raises(DataError, match=message):
        reader("A", interval="1d", derived=False).read(fields("A", 0, time=time))


@given(st.integers(0, 2 * 10**18 // 1000))
def test_written_instants_read_back(microseconds: int) -> None:
    """Messages carry every instant to the microsecond."""
    ns = microseconds * 1000
    assert read_instant(written(ns), "time") == ns


def test_bars_that_trading_goes_on_in_are_whole() -> None:
    """One over a midnight that nothing stops at, and one that holds the hour after a pause: as a backtest has them."""
    hour = Interval.parse("4h")
    days = BarReader(("A",), hour, Stamps("UTC"), RollingSessions("24/7", "Asia/Kolkata"), derived=False)
    prices = {"symbol": "A", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}
    bar = days.read(prices | {"time": "2024-10-03T16:00:00+00:00"})
    assert bar.end - bar.time == hour.ns
    futures = BarReader(("A",), hour, Stamps("UTC"), RollingSessions("CMES"), derived=False)
    bar = futures.read(prices | {"time": "2024-10-03T20:00:00+00:00"})  # 15:00 in Chicago, over the pause at 16:00
    assert bar.end - bar.time == hour.ns
    bar = futures.read(prices | {"time": "2024-10-03T13:00:00-05:00"})  # from the open on: the session's last
    assert bar.end - bar.time == 3 * hour.ns // 4
