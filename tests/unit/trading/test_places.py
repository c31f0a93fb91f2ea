"""What a place in a run's past is: a cursor or a time, and which instant each means."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from tests.markets import days, minutes


class Quiet(nb.Strategy):
    """Does nothing."""

    def on_bar(self, bar):
        pass


def two_days(count: int = 20) -> pd.DataFrame:
    """The first minutes of a Thursday and of a Friday, with a hole of three minutes in each."""
    parts = [minutes(count, start=f"2024-10-0{day} 09:30") for day in (3, 4)]
    return pd.concat([part.drop(part.index[5:8]) for part in parts])


@pytest.fixture(scope="module")
def looks():
    """The look of a finished run of these minutes, of its result, and of one that stands at the seventeenth instant."""
    ended, paused = nb.SystemManager(reachable=False), nb.SystemManager(reachable=False)
    ended.start({"exchange": "XNYS"}, data=two_days(), strategies=Quiet)
    result = ended.wait()
    paused.start({"exchange": "XNYS"}, data=two_days(), strategies=Quiet, paused=True)
    paused.step(17)
    yield {"ended": ended.look, "result": result.look, "paused": paused.look}
    paused.stop()


PLACES = [
    (0, 0), (17, 17), (np.int64(3), 3), ("09:31", 1), ("2024-10-03 09:31:59", 1), ("2024-10-03 09:36:30", 5),
    ("2024-10-03 09:38:59", 5), ("2024-10-03 09:39", 6), ("2024-10-03 09:30", 0), ("2024-10-03", 0),
    (dt.datetime(2024, 10, 3, 9, 33), 3), (pd.Timestamp("2024-10-03 13:33", tz="UTC"), 3),
    (np.datetime64("2024-10-03T09:33"), 3), (dt.date(2024, 10, 3), 0), ("2024-10-03 09:50", 17), ("9:36", 5),
    ("2024-10-03 20:00", 17),
]  # fmt: skip


@pytest.mark.parametrize(("at", "cursor"), PLACES, ids=str)
@pytest.mark.parametrize("face", ["paused"])
def test_a_time_is_the_last_instant_up_to_it(looks, face, at, cursor):
    """Between two instants, in a hole and over night the earlier one counts; within the first bar none is complete."""
    assert looks[face](at).cursor == cursor


@pytest.mark.parametrize("face", ["ended", "result"])
def test_a_finished_run_has_the_same_places(looks, face):
    """By the system that ran and by the result alone; a date is where its trading day begins."""
    found = [looks[face](at).cursor for at, _ in PLACES if at not in ("09:31", "9:36")]
    assert found == [cursor for at, cursor in PLACES if at not in ("09:31", "9:36")]
    assert looks[face]("2024-10-04").cursor == 17
    assert looks[face]("2024-10-04 09:50:30").cursor == 34
    assert looks[face](34).time == pd.Timestamp("2024-10-04 09:50", tz="America/New_York")


def test_a_clock_time_is_the_last_that_was_shown(looks):
    """Seen from where the run stands: this morning's, or yesterday's."""
    assert looks["ended"]("09:31").cursor == 18
    assert looks["result"]("09:50").cursor == 34
    assert looks["ended"]("09:50:30").cursor == 17
    assert looks["paused"]("09:45").cursor == 12


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (
            -1,
            r"look\(-1\): 17 instants are completed, up to 2024-10-03 09:50:00-04:00; give a cursor from 0 to 17, or a time",
        ),
        (18, r"look\(18\): 17 instants are completed"),
        (10**30, "17 instants are completed"),
        ("2024-10-02 16:00", "2024-10-02 16:00:00-04:00 is before the run, which begins at 2024-10-03 09:30:00-04:00"),
        ("2024-10-02", "is before the run"),
        ("10:00", "2024-10-02 10:00:00-04:00 is before the run"),
        (
            "2024-10-04 09:31",
            r"is later than the run has come; the last completed instant is 2024-10-03 09:50:00-04:00",
        ),
        ("2030-01-01", "is later than the run has come"),
        ("25:00", "is no time"),
        ("soon", "'soon' is no time; write '10:30', '2024-10-03 10:30', or give a datetime"),
        ("", "is no time"),
        ("NaT", "is no time"),
        (pd.NaT, "is no time"),
        (np.datetime64("NaT"), "is no time"),
        (math.nan, r"look\(nan\): no place in a run; give a cursor such as 1200, or a time"),
        (3.0, "no place in a run"),
        (True, "no place in a run"),
        (None, "no place in a run"),
        ([1], "no place in a run"),
        (b"10:30", "no place in a run"),
        (lambda shot: shot.cursor, "no place in a run"),
    ],
)
def test_what_is_no_place_of_the_past_is_refused(looks, at, words):
    """One clear error: what was asked, where the run is, what to give instead."""
    with pytest.raises(ValueError, match=words):
        looks["paused"](at)


@pytest.mark.parametrize("face", ["ended", "result"])
@pytest.mark.parametrize("at", [35, "2024-10-04 09:51", "2024-10-05", "2024-10-02", -1])
def test_a_finished_run_has_no_places_beyond_its_ends(looks, face, at):
    """As of one that goes on."""
    with pytest.raises(ValueError, match=r"instants are completed|is before the run|later than the run has come"):
        looks[face](at)


def test_a_session_date_is_the_whole_session():
    """Of daily bars with dates: a date's end, a weekend's date the Friday; the one before the first is refused."""
    frame = days(10)
    result = nb.backtest(frame, Quiet)
    assert [result.look(str(date.date())).cursor for date in frame.index] == list(range(1, 11))
    assert result.look("2020-01-05").cursor == result.look("2020-01-03").cursor == 2
    assert result.look(frame.index[3]).time == frame.index[3]
    for at in ("2020-01-01", "2020-01-16"):
        with pytest.raises(ValueError, match=r"before the run|later than the run has come"):
            result.look(at)


def test_a_run_without_an_instant_has_one_place():
    """Its beginning."""
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Quiet, paused=True)
    system.stop()
    for look in (system.look, system.wait().look):
        assert look(0).cursor == 0
        assert look(0).equity == 100_000
        with pytest.raises(ValueError, match="0 instants are completed; give a cursor from 0 to 0"):
            look(1)
        with pytest.raises(ValueError, match="no instant is completed yet"):
            look("2024-10-03 09:45")


@pytest.fixture(scope="module")
def long_night():
    """A result of three days around the end of summer time, a bar each five minutes."""
    index = pd.date_range("2024-11-02 00:00", periods=24 * 12 * 3, freq="5min", tz="America/New_York")
    frame = pd.DataFrame(1.0, index=index, columns=["open", "high", "low", "close", "volume"])
    return nb.backtest(frame, Quiet, config={"exchange": "24/7", "day_zone": "America/New_York"})


@settings(max_examples=60)
@given(st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_means_the_same_instant_as_its_date_and_time(long_night, hour, minute):
    """The last showing, found by its date."""
    end = long_night.look(len(long_night.equity)).time.tz_localize(None)
    today = end.normalize() + pd.Timedelta(hours=hour, minutes=minute)
    shown = today if today <= end else today - pd.Timedelta(days=1)
    assert long_night.look(f"{hour:02}:{minute:02}").cursor == long_night.look(str(shown)).cursor
