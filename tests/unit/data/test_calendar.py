"""When exchanges are open, and open market time."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.core.hours import OwnHours
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


def test_a_lunch_break_belongs_to_no_session():
    """Tokyo trades from nine to half past eleven and from half past twelve to three; nothing lies in between."""
    table = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 3))
    assert table.timezone == "Asia/Tokyo"
    noon = [ns(f"2024-09-02 {time}", "Asia/Tokyo") for time in ("11:29", "11:30", "12:00", "12:29", "12:30")]
    assert table.session_of(noon).tolist() == [0, -1, -1, -1, 0]
    assert table.part_of(noon).tolist() == [0, -1, -1, -1, 1]
    assert table.part_row.tolist() == [0, 0, 1, 1]
    assert (table.elapsed(noon) / 60).tolist() == [149, 150, 150, 150, 150]
    assert (table.elapsed(table.close) / 3600).tolist() == [5, 10]


def test_a_half_day_may_end_before_the_break():
    """Hong Kong's Christmas Eve is a morning alone."""
    table = session_table("XHKG", date(2024, 12, 23), date(2024, 12, 27))
    assert table.part_row.tolist() == [0, 0, 1, 2, 2]
    assert (table.elapsed(table.close) / 60).tolist() == [330, 480, 810]


@pytest.mark.parametrize(
    ("exchange", "first", "last", "opens"),
    [
        ("XNYS", date(2024, 3, 8), date(2024, 3, 11), ["14:30", "13:30"]),
        ("XNYS", date(2024, 11, 1), date(2024, 11, 4), ["13:30", "14:30"]),
        ("XLON", date(2024, 3, 28), date(2024, 4, 2), ["08:00", "07:00"]),
        ("XLON", date(2024, 10, 25), date(2024, 10, 28), ["07:00", "08:00"]),
        ("XTKS", date(2024, 3, 8), date(2024, 3, 11), ["00:00", "00:00"]),
        ("XTKS", date(2024, 11, 1), date(2024, 11, 5), ["00:00", "00:00"]),
    ],
)
def test_opens_keep_local_time_over_clock_changes(exchange: str, first: date, last: date, opens: list[str]):
    """In UTC, New York and London open an hour earlier in summer and Tokyo doesn't; extended hours move along."""
    table = session_table(exchange, first, last)
    at = pd.DatetimeIndex(table.open, tz="UTC")
    assert at.strftime("%H:%M").tolist() == opens
    zone = table.local_timezone
    local = at.tz_convert(zone).strftime("%H:%M")
    assert len(set(local)) == 1
    long = session_table(exchange, first, last, hours=OwnHours(open="04:00", close="20:00"))
    for column, time in ((long.open, "04:00"), (long.close, "20:00")):
        assert set(pd.DatetimeIndex(column, tz="UTC").tz_convert(zone).strftime("%H:%M")) == {time}


@pytest.mark.parametrize(
    ("zone", "spring", "autumn", "hours"),
    [
        ("America/New_York", date(2024, 3, 10), date(2024, 11, 3), [23, 25]),
        ("Europe/London", date(2024, 3, 31), date(2024, 10, 27), [23, 25]),
        ("Asia/Tokyo", date(2024, 3, 31), date(2024, 10, 27), [24, 24]),
    ],
)
def test_days_are_as_long_as_the_clocks_make_them(zone: str, spring: date, autumn: date, hours: list[int]):
    """A market that never closes has a session of 23 and one of 25 hours where clocks change, and time runs evenly."""
    tables = [session_table("24/7", day, day, zone) for day in (spring, autumn)]
    assert [float((table.close - table.open)[0]) / HOUR for table in tables] == hours
    assert [float(table.elapsed(table.close)[0]) / 3600 for table in tables] == hours


def test_extended_hours_are_the_same_on_half_days():
    """All sessions go from the extended open to the extended close, and the days are the calendar's."""
    hours = OwnHours(open="04:00", close="20:00")
    table = session_table("XNYS", date(2024, 11, 27), date(2024, 12, 2), hours=hours)
    assert table.dates.tolist() == [date(2024, 11, 27), date(2024, 11, 29), date(2024, 12, 2)]
    for row, day in enumerate(("2024-11-27", "2024-11-29", "2024-12-02")):
        assert table.open[row] == ns(f"{day} 04:00", "America/New_York")
        assert table.close[row] == ns(f"{day} 20:00", "America/New_York")
    assert (table.elapsed(table.close) / 3600).tolist() == [16, 32, 48]


def test_extended_hours_are_the_exchanges_own():
    """Whatever zone times are shown in; and a lunch break stays."""
    hours = OwnHours(open="08:00", close="24:00")
    table = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2), "UTC", hours)
    assert (table.timezone, table.local_timezone) == ("UTC", "Asia/Tokyo")
    assert table.open[0] == ns("2024-09-02 08:00", "Asia/Tokyo")
    assert table.close[0] == ns("2024-09-03 00:00", "Asia/Tokyo")
    assert table.session_of(ns("2024-09-02 12:00", "Asia/Tokyo")) == -1


@pytest.mark.parametrize(
    ("exchange", "hours", "spans"),
    [
        ("XNYS", ("10:00", "15:30"), ["27 10:00 27 15:30", "29 10:00 29 13:00", "02 10:00 02 15:30"]),
        ("XNYS", ("04:00", "15:00"), ["27 04:00 27 15:00", "29 04:00 29 13:00", "02 04:00 02 15:00"]),
        ("XNYS", ("20:00", "20:00"), ["26 20:00 27 20:00", "28 20:00 29 20:00", "01 20:00 02 20:00"]),
        (
            "CMES",
            ("18:00", "15:00"),
            ["26 18:00 27 15:00", "27 18:00 28 12:00", "28 18:00 29 12:00", "01 18:00 02 15:00"],
        ),
        (
            "CMES",
            ("08:30", "15:00"),
            ["27 08:30 27 15:00", "28 08:30 28 12:00", "29 08:30 29 12:00", "02 08:30 02 15:00"],
        ),
    ],
)
def test_own_hours_may_be_shorter_and_begin_on_the_evening_before(
    exchange: str, hours: tuple[str, str], spans: list[str]
):
    """An early close stays where the hours end before the regular one, and only there."""
    own = OwnHours(open=hours[0], close=hours[1])
    table = session_table(exchange, date(2024, 11, 27), date(2024, 12, 2), hours=own)
    local = [pd.DatetimeIndex(ns, tz="UTC").tz_convert(table.local_timezone) for ns in (table.open, table.close)]
    assert [f"{a:%d %H:%M} {b:%d %H:%M}" for a, b in zip(*local, strict=True)] == spans


def test_own_hours_may_end_in_the_lunch_break():
    """Then the session ends where the break begins, and has none; the same where they begin in it."""
    morning = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2), hours=OwnHours(open="09:00", close="12:00"))
    assert (morning.close[0], len(morning.part_open)) == (ns("2024-09-02 11:30", "Asia/Tokyo"), 1)
    later = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 2), hours=OwnHours(open="12:00", close="15:00"))
    assert (later.open[0], len(later.part_open)) == (ns("2024-09-02 12:30", "Asia/Tokyo"), 1)


def test_a_half_day_that_is_over_before_own_hours_is_no_session():
    """The afternoon alone has none of the day after Thanksgiving."""
    table = session_table("XNYS", date(2024, 11, 27), date(2024, 12, 2), hours=OwnHours(open="14:00", close="16:00"))
    assert table.dates.tolist() == [date(2024, 11, 27), date(2024, 12, 2)]


def test_own_hours_meet_the_regular_ones():
    """Hours that share no time with a session are a mistake, and refused with what is regular."""
    with pytest.raises(
        ConfigError, match="hours = .*share no time with the regular hours of XNYS, which are 20"
    ) as caught:
        session_table("XNYS", date(2024, 9, 3), date(2024, 9, 4), hours=OwnHours(open="17:00", close="20:00"))
    assert caught.value.problems[0].path == "hours"


@pytest.mark.parametrize(
    ("exchange", "zone", "close"), [("CMES", "America/Chicago", 16), ("us_futures", "America/New_York", 17)]
)
def test_futures_pause_for_an_hour_a_day(exchange: str, zone: str, close: int):
    """They close an hour before they open again, whatever the installed calendars say; early closes are the calendar's."""
    table = session_table(exchange, date(2024, 11, 18), date(2024, 12, 6))
    local = pd.DatetimeIndex(table.close, tz="UTC").tz_convert(zone)
    early = {date(2024, 11, 28), date(2024, 11, 29)}
    assert {moment.hour for moment in local if moment.date() not in early} == {close}
    assert (table.part_stop == table.close).all()


def test_trading_stops_where_no_session_follows_at_once():
    """A market that never closes never stops within a table; one with breaks stops at each."""
    always = session_table("24/7", date(2024, 9, 2), date(2024, 9, 4))
    assert always.part_stop.tolist() == [always.close[-1]] * 3
    tokyo = session_table("XTKS", date(2024, 9, 2), date(2024, 9, 3))
    assert (tokyo.part_stop == tokyo.part_close).all()


def test_a_table_knows_the_sessions_around_it(quarter: SessionTable):
    """The dates before its first and after its last one, also where it was cut; one made by hand doesn't."""
    assert quarter.around.tolist() == [date(2024, 9, 30), date(2025, 1, 2)]
    cut = quarter.between(int(quarter.open[1]), int(quarter.close[3]))
    assert cut.around.tolist() == [quarter.dates[0].item(), quarter.dates[4].item()]
    assert session_table("24/7", date(2024, 3, 9), date(2024, 3, 9)).around.tolist() == [
        date(2024, 3, 8), date(2024, 3, 10)
    ]  # fmt: skip
    assert np.isnat(SessionTable("UTC", ["2024-01-02"], [0], [1]).around).all()


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


def test_a_calendar_that_cannot_be_built_is_one_clear_error(monkeypatch: pytest.MonkeyPatch):
    """What goes wrong inside of exchange_calendars is said with the exchange and the cure."""
    import exchange_calendars

    def fails(*_: object, **__: object) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", fails)
    with pytest.raises(DataError, match="can't build the calendar of XASE .NotImplementedError: impl.*name another"):
        session_table("XASE", date(2024, 1, 2), date(2024, 1, 5))


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
