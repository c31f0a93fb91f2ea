"""How long orders stay: sessions, dates, and orders that have one chance."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.errors import DataError, StrategyError
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data.calendar import SessionTable
from nbbacktest.engine.series import Series
from nbbacktest.trading.orders.rules import OrderExpiry
from tests.drivers import OPENING, STAMPS, flat, scripted, series_of

MINUTE = 60 * 10**9
DAY = 1440 * MINUTE


def sessions(length=3, count=3):
    """Sessions of a few minutes, one a day, from the drivers' opening on."""
    opens = OPENING + DAY * np.arange(count)
    dates = np.datetime64("2024-01-02") + np.arange(count).astype("timedelta64[D]")
    return lambda: SessionTable("UTC", dates, opens, opens + length * MINUTE)


def two_days(rows, length=3, skip=()):
    """Minute bars in sessions of `length` minutes, but for the `skip`ped ones."""
    minutes = [1440 * (n // length) + n % length for n in range(len(rows))]
    keep = [n for n in range(len(rows)) if n not in skip]
    return series_of([rows[n] for n in keep], minutes=[minutes[n] for n in keep])


def ends(desk):
    return [(o.status, o.reason, (o.closed_ns - OPENING) / MINUTE) for o in desk.orders]


def test_a_day_order_ends_with_its_session():
    """A day order is open until its session's end, the last bar included, and expires there."""
    plan = {1: lambda s: s.buy(size=1, limit=95, tif="day")}
    desk = scripted(plan, two_days(flat([100, 100, 100, 90, 90, 90])), sessions=sessions())
    assert ends(desk) == [("expired", "day order: the session has ended", 3)]
    desk = scripted(plan, two_days(flat([100, 100, 90, 100])), sessions=sessions())
    assert [f.index for f in desk.fills] == [2]


def test_a_day_order_after_the_close_is_for_the_next_session():
    """Decided at the session's last bar, a day order lives through the next session."""
    plan = {3: lambda s: s.buy(size=1, limit=95, tif="day")}
    desk = scripted(plan, two_days(flat([100] * 5 + [90])), sessions=sessions())
    assert [f.index for f in desk.fills] == [5]
    desk = scripted(plan, two_days(flat([100] * 6 + [90])), sessions=sessions())
    assert ends(desk)[0][::2] == ("expired", 1440 + 3)


def test_a_day_order_of_a_symbol_that_is_silent():
    """A session's end is noticed at the first instant after it, though the symbol itself has no bar there."""
    a = two_days(flat([100] * 6), skip=(1, 2))
    b = series_of(flat([1, 1, 1, 1]), "B", minutes=[0, 1, 1440, 1441])
    desk = scripted({1: lambda s: s.buy("EXE", 1, limit=95, tif="day")}, a, b, sessions=sessions())
    assert ends(desk)[0][::2] == ("expired", 1441)


def test_a_session_without_a_calendar_is_a_local_date():
    """Where no sessions are known, or the bars lie outside of them, a session is a date."""

    def none():
        raise DataError("no session there")

    # Opening is at 14:30, so that 570 minutes later a new date begins.
    series = series_of(flat([100, 100, 100, 90]), minutes=[0, 1, 569, 570])
    for source in (None, none):
        desk = scripted({1: lambda s: s.buy(size=1, limit=95, tif="day")}, series, sessions=source)
        assert ends(desk) == [("expired", "day order: the session has ended", 570)]
        series.n = series.first


def test_day_orders_on_daily_bars():
    """With daily bars a day order has exactly the next bar, whether bars end at the close or at midnight."""
    for end in (10 * 60 * MINUTE, DAY):
        midnight = OPENING - OPENING % DAY
        time = midnight + DAY * np.arange(4)
        price = np.array([100.0, 100, 90, 90])
        columns = BarColumns(
            "EXE",
            series_of(flat([1]), interval="1d").columns.interval,
            time,
            time + end,
            price,
            price,
            price,
            price,
            price,
        )
        opens = time + 9 * 60 * MINUTE
        table = SessionTable("UTC", time.astype("datetime64[ns]").astype("datetime64[D]"), opens, opens + 60 * MINUTE)
        series = Series(columns, STAMPS, is_base=True)
        plan = {1: lambda s: (s.buy(size=1, limit=95, tif="day"), s.buy(size=2, limit=100, tif="day"), s.buy(size=3, at="open"), s.buy(size=4, at="close"))}  # fmt: skip
        from tests.drivers import Script, desk_for, run_inline

        desk = desk_for(Script(plan=plan), series, sessions=lambda table=table: table)
        desk.base_interval = "1d"
        desk = run_inline(desk, series)
        assert [(f.index, f.size) for f in desk.fills] == [(1, 2), (1, 3), (1, 4)]
        assert [o.status for o in desk.orders] == ["expired", "filled", "filled", "filled"]


def test_on_open():
    """An order on open fills at the open of the next session's first bar, and of no other."""
    rows = flat([100, 101, 102, 103, 104, 105])
    for bar in (1, 3):
        desk = scripted({bar: lambda s: s.buy(size=1, at="open")}, two_days(rows), sessions=sessions())
        assert [(f.index, f.price) for f in desk.fills] == [(3, 103)]
    desk = scripted({1: lambda s: s.buy(size=1, at="open")}, two_days(rows, skip=(3,)), sessions=sessions())
    assert [f.price for f in desk.fills] == [104]
    desk = scripted(
        {1: lambda s: s.buy(size=1, at="open")}, two_days([*rows, (1, 1, 1, 1)], skip=(3, 4, 5)), sessions=sessions()
    )
    assert ends(desk)[0][:2] == ("expired", "the session ended without a bar of the symbol")


def test_on_close():
    """An order on close fills at the close of the bar that ends the session; where there is none, it expires."""
    rows = [(n, n + 0.5, n, n + 0.5) for n in range(100, 106)]
    desk = scripted({1: lambda s: s.buy(size=1, at="close")}, two_days(rows), sessions=sessions())
    assert [(f.index, f.price) for f in desk.fills] == [(2, 102.5)]
    desk = scripted({3: lambda s: s.buy(size=1, at="close")}, two_days(rows), sessions=sessions())
    assert [(f.index, f.price) for f in desk.fills] == [(5, 105.5)]
    desk = scripted({1: lambda s: s.buy(size=1, at="close")}, two_days(rows, skip=(2,)), sessions=sessions())
    assert ends(desk)[0][:2] == ("expired", "no bar of the symbol closed with the session")


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("2024-01-02 14:33", 2),
        (pd.Timestamp("2024-01-02 14:33", tz="UTC"), 2),
        (pd.Timestamp("2024-01-02 09:33", tz="America/New_York"), 2),
        ("2024-01-02", 5),
        (date(2024, 1, 2), 5),
    ],
)
def test_until(until, last):
    """An order with `until` fills in bars that begin before that time; a date means its end."""
    for at in range(2, 6):
        rows = flat([90 if n == at else 100 for n in range(6)])
        desk = scripted({1: lambda s: s.buy(size=1, limit=95, until=until)}, series_of(rows))
        assert bool(desk.fills) is (at <= last)
        assert desk.orders[0].tif == "gtd"
        if at > last:
            assert desk.orders[0].reason == "its time is over"


@pytest.mark.parametrize(
    ("now", "until", "means"),
    [
        ("2024-03-10 00:00-05:00", "2024-03-10 02:30", "2024-03-10 03:00-04:00"),
        ("2024-11-03 00:00-04:00", "2024-11-03 01:30", "2024-11-03 01:30-04:00"),
        ("2024-11-03 01:30-04:00", "2024-11-03 01:30", "2024-11-03 01:30-05:00"),
        ("2024-11-02 00:00-04:00", "2024-11-03 22:00", "2024-11-03 22:00-05:00"),
        ("2024-11-02 00:00-04:00", "2024-11-03", "2024-11-04 00:00-05:00"),
    ],
)
def test_until_over_changes_of_the_clocks(now: str, until: str, means: str):
    """A skipped time is the first that exists after it, a repeated one its first showing that is still to come."""
    expiry = OrderExpiry(Stamps("Asia/Tokyo", day_zone="America/New_York"))
    assert expiry.read(until, pd.Timestamp(now).as_unit("ns").value) == pd.Timestamp(means).as_unit("ns").value


@pytest.mark.parametrize("until", ["9999-01-01 10:00", "2024-01-02 14:31", "2024-01-01", "soon", None.__class__, "NaT"])
def test_until_must_be_a_later_time(until):
    """A time that has passed, or is none, is refused."""
    with pytest.raises(StrategyError, match="until=.*(later time|a date or its text)"):
        scripted({1: lambda s: s.buy(size=1, limit=95, until=until)}, series_of(flat([1, 1])))


def test_immediate_or_cancel():
    """An ioc limit fills at its symbol's next open or is cancelled: waiting inside the bar isn't immediate."""
    rows = [(100, 100, 100, 100), (100, 100, 90, 95), (90, 90, 90, 90)]
    desk = scripted({1: lambda s: s.buy(size=1, limit=95, tif="ioc")}, series_of(rows))
    assert ends(desk)[0][:2] == ("cancelled", "ioc: the open of 100 is beyond the limit of 95")
    desk = scripted({2: lambda s: s.buy(size=1, limit=95, tif="fok")}, series_of(rows))
    assert [f.price for f in desk.fills] == [90]


@pytest.mark.parametrize(
    ("tif", "sizes", "status"), [("gtc", [5, 5, 2], "filled"), ("ioc", [5], "cancelled"), ("fok", [], "cancelled")]
)
def test_in_part_or_whole(tif, sizes, status):
    """Where the volume cap leaves too little, ioc takes what there is, fok nothing, and gtc waits for more."""
    desk = scripted({1: lambda s: s.buy(size=12, tif=tif)}, series_of([(9, 9, 9, 9, 10)] * 5), volume_share=0.5)
    assert [f.size for f in desk.fills] == sizes
    assert desk.orders[0].status == status


def test_orders_expire_past_the_last_session():
    """After the last known session, dates take over."""
    expiry = OrderExpiry(STAMPS, sessions(count=1))
    late = OPENING + 5 * DAY
    assert expiry.session_end(OPENING) == OPENING + 3 * MINUTE
    assert expiry.session_end(late) == late - late % DAY + DAY
    assert expiry.next_session(late) == (late - late % DAY + DAY, late - late % DAY + 2 * DAY)
    midnight = late - late % DAY
    assert expiry.next_session(midnight) == (midnight, midnight + DAY)
