"""When exchanges are open, and open market time."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.data.calendar import SessionTable, exchange_timezone, local_midnights, session_table

HOUR = 3_600_000_000_000


def ns(text: str, zone: str = "UTC") -> int:
    return pd.Timestamp(text, tz=zone).as_unit("ns").value


@pytest.fixture(scope="module")
def quarter() -> SessionTable:
    return session_table("XNYS", date(2024, 10, 1), date(2024, 12, 31))


def test_half_days_close_early(quarter: SessionTable):
    """New York closes at 13:00 on the day after Thanksgiving and on Christmas Eve."""
    for day in ("2024-11-29", "2024-12-24"):
        row = quarter.date_index(date.fromisoformat(day))
        assert quarter.open[row] == ns(f"{day} 09:30", "America/New_York")
        assert quarter.close[row] == ns(f"{day} 13:00", "America/New_York")


def test_holidays_and_weekends_have_no_session(quarter: SessionTable):
    """Thanksgiving is no session, and the quarter has 64."""
    assert len(quarter) == 64
    assert np.datetime64("2024-11-28") not in quarter.dates
    assert quarter.dates[quarter.date_index(date(2024, 11, 28))] == np.datetime64("2024-11-29")


def test_sessions_follow_the_local_clock(quarter: SessionTable):
    """Opens move by an hour of UTC when summer time ends."""
    rows = [quarter.date_index(date(2024, 11, d)) for d in (1, 4)]
    assert [int(quarter.open[r] // HOUR % 24) for r in rows] == [13, 14]


def test_session_of_is_half_open(quarter: SessionTable):
    """An open lies in its session, a close doesn't, nor does anything around the table."""
    row = np.arange(len(quarter))
    assert (quarter.session_of(quarter.open) == row).all()
    assert (quarter.session_of(quarter.close - 1) == row).all()
    assert (quarter.session_of(quarter.close) == -1).all()
    assert quarter.session_of([quarter.open[0] - 1, quarter.close[-1] + 1]).tolist() == [-1, -1]


def test_elapsed_counts_open_hours_only(quarter: SessionTable):
    """A night and a weekend add nothing, a close counts its whole session, outside is clamped."""
    assert quarter.elapsed([quarter.open[0] - 5, quarter.open[0], quarter.open[0] + HOUR]).tolist() == [0, 0, 3600]
    assert quarter.elapsed(quarter.close[:2]).tolist() == [23_400, 46_800]
    assert quarter.elapsed([quarter.close[0] + HOUR, quarter.open[1]]).tolist() == [23_400, 23_400]
    total = float((quarter.close - quarter.open).sum()) / 1e9
    assert quarter.elapsed([quarter.close[-1], quarter.close[-1] + HOUR]).tolist() == [total, total]


@given(st.lists(st.integers(ns("2024-09-30"), ns("2025-01-02")), min_size=1, max_size=50))
def test_elapsed_is_monotone(instants: list[int]):
    """Open market time never runs backwards, nor faster than the clock."""
    table = session_table("XNYS", date(2024, 10, 1), date(2024, 12, 31))
    ordered = np.sort(np.array(instants, dtype=np.int64))
    steps = np.diff(table.elapsed(ordered))
    assert (steps >= 0).all()
    assert (steps <= np.diff(ordered) / 1e9 + 1e-6).all()


@given(st.lists(st.integers(ns("2024-09-30"), ns("2025-01-02")), max_size=50))
def test_session_of_agrees_with_a_plain_search(instants: list[int]):
    """The row found is the one session that spans the instant."""
    table = session_table("XNYS", date(2024, 10, 1), date(2024, 12, 31))
    spans = list(zip(table.open.tolist(), table.close.tolist(), strict=True))
    plain = [next((i for i, (a, b) in enumerate(spans) if a <= x < b), -1) for x in instants]
    assert table.session_of(np.array(instants, dtype=np.int64)).tolist() == plain


def test_a_market_that_never_closes():
    """24/7 has a session a day, from local midnight to local midnight, as long as the clock makes it."""
    table = session_table("24/7", date(2024, 3, 9), date(2024, 3, 11), "America/New_York")
    assert ((table.close - table.open) / HOUR).tolist() == [24, 23, 24]
    assert (table.close[:-1] == table.open[1:]).all()
    assert session_table("24/7", date(2024, 3, 9), date(2024, 3, 9)).timezone == "UTC"


def test_a_lunch_break_counts_as_open():
    """Tokyo's session is one span from its open to its close."""
    table = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2))
    assert table.timezone == "Asia/Tokyo"
    assert float(table.elapsed(table.close)[0]) == 6 * 3600


def test_a_session_that_opens_on_the_evening_before_belongs_to_its_date():
    """A futures day begins at its open, a stock day at midnight, a holiday at midnight."""
    futures = session_table("CMES", date(2024, 9, 3), date(2024, 9, 6))
    assert futures.day_start(date(2024, 9, 4)) == ns("2024-09-03 17:00", "America/Chicago")
    stocks = session_table("XNYS", date(2024, 11, 27), date(2024, 11, 29))
    assert stocks.day_start(date(2024, 11, 28)) == ns("2024-11-28", "America/New_York")
    assert stocks.day_start(date(2024, 12, 2)) == ns("2024-12-02", "America/New_York")


def test_between_keeps_the_sessions_that_have_a_part_in_a_range(quarter: SessionTable):
    """A session that is only touched at its close or open is left out."""
    assert quarter.between(int(quarter.close[0]), int(quarter.open[2])).dates.tolist() == [quarter.dates[1].item()]
    assert len(quarter.between(int(quarter.close[0]) - 1, int(quarter.open[2]) + 1)) == 3


def test_an_unknown_exchange_names_the_nearest():
    """The error is one problem of the config, with path, value and cure."""
    with pytest.raises(ConfigError, match=r"exchange = 'XNYSE'.*did you mean 'XNYS'") as caught:
        session_table("XNYSE", date(2024, 1, 2), date(2024, 1, 5))
    assert caught.value.problems[0].path == "exchange"
    with pytest.raises(ConfigError, match="known are: .*24/7.*XNYS"):
        exchange_timezone("@@@@")


def test_a_range_without_a_session_is_refused():
    """A weekend, or a last day before the first, has no session, and the error says so."""
    for first, last in ((date(2024, 10, 5), date(2024, 10, 6)), (date(2024, 10, 9), date(2024, 10, 8))):
        with pytest.raises(DataError, match="XNYS has no session between"):
            session_table("XNYS", first, last)
    with pytest.raises(DataError, match="24/7 has no session"):
        session_table("24/7", date(2024, 10, 9), date(2024, 10, 1))


def test_days_that_a_calendar_does_not_know_are_refused():
    """They would pass for closed ones; the error says how far the calendar goes."""
    with pytest.raises(DataError, match="calendar of XTKS is known from 1997"):
        session_table("XTKS", date(1996, 6, 3), date(1997, 6, 3))
    with pytest.raises(DataError, match="known from 1997-01-01 and the days needed are in 1979"):
        session_table("XTKS", date(1980, 6, 3), date(1981, 6, 3))
    with pytest.raises(DataError, match="beyond what nanoseconds can count"):
        session_table("XNYS", date(2024, 1, 2), date(9999, 12, 31))


def test_time_zones_of_exchanges():
    """An exchange's zone is its calendar's, and 24/7 is in UTC."""
    assert exchange_timezone("XNYS") == "America/New_York"
    assert exchange_timezone("XSHG") == "Asia/Shanghai"
    assert exchange_timezone("24/7") == "UTC"


def test_a_midnight_that_the_clocks_skip_is_the_first_time_that_exists():
    """São Paulo's day of 4 November 2018 began at one o'clock."""
    days = np.array(["2018-11-03", "2018-11-04"], dtype="datetime64[D]")
    assert local_midnights(days, "America/Sao_Paulo").tolist() == [
        ns("2018-11-03 00:00", "America/Sao_Paulo"),
        ns("2018-11-04 01:00", "America/Sao_Paulo"),
    ]


def test_a_table_cannot_be_changed(quarter: SessionTable):
    """Tables are shared between runs, so their columns are read-only."""
    with pytest.raises(ValueError, match="read-only"):
        quarter.open[0] = 0


def test_an_empty_table_knows_no_session():
    """Nothing lies in it and no time passes in it."""
    none = np.zeros(0, dtype=np.int64)
    table = SessionTable("UTC", none.astype("datetime64[D]"), none, none)
    assert table.session_of([5]).tolist() == [-1]
    assert table.elapsed([5]).tolist() == [0.0]
