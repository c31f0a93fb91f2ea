"""Which trading day a time belongs to: of markets by day, in the evening, without sessions, and while they are closed."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError
from nbbacktest.core.intervals import DAY, HOUR, MINUTE
from nbbacktest.data.calendar import RollingSessions, exchange_timezone, session_table
from nbbacktest.data.trading_days import TradingDays, day_zone, number_of
from tests.sessions import EXCHANGES, ZONES

CHICAGO = "America/Chicago"


def days_of(exchange: str) -> TradingDays:
    return TradingDays(exchange_timezone(exchange), RollingSessions(exchange).covering)


def day(exchange: str, text: str) -> str:
    moment = pd.Timestamp(text, tz=exchange_timezone(exchange)).tz_convert("UTC").as_unit("ns")
    return str(days_of(exchange).day(moment.value))


def test_evening_sessions_are_one_day():
    """Futures trade for five days a week: Monday's begins on Sunday evening, and no date has two of them."""
    moments = pd.date_range("2024-03-03 17:00", "2024-03-08 15:59", freq="1min", tz=CHICAGO)
    moments = moments[moments.hour != 16]
    found, counts = np.unique(days_of("CMES").of(moments.tz_convert("UTC").as_unit("ns").asi8), return_counts=True)
    assert found.astype("datetime64[D]").tolist() == [date(2024, 3, 4 + n) for n in range(5)]
    assert counts.tolist() == [23 * 60] * 5


@pytest.mark.parametrize(
    ("exchange", "moment", "expected"),
    [
        ("XNYS", "2024-10-03 04:00", "2024-10-03"),  # before the open
        ("XNYS", "2024-10-03 19:00", "2024-10-03"),  # after the close
        ("XNYS", "2024-10-05 12:00", "2024-10-07"),  # on a Saturday
        ("XNYS", "2024-11-28 12:00", "2024-11-28"),  # on Thanksgiving
        ("XTKS", "2024-10-03 12:00", "2024-10-03"),  # in the lunch break
        ("CMES", "2024-03-04 16:30", "2024-03-04"),  # in the pause before Tuesday's session
        ("CMES", "2024-03-03 16:00", "2024-03-04"),  # on Sunday, before the open
        ("CMES", "2024-03-29 09:00", "2024-03-29"),  # on Good Friday
        ("CMES", "2024-03-28 18:00", "2024-03-28"),  # on the evening before it
    ],
)
def test_closed_hours_belong_to_a_day(exchange: str, moment: str, expected: str):
    """To their date at the exchange, a weekend's to the next weekday."""
    assert day(exchange, moment) == expected


@settings(max_examples=300)
@given(st.sampled_from(EXCHANGES), st.lists(st.integers(0, 120 * 24 * 60), min_size=1, max_size=60), st.data())
def test_days_never_fall(exchange: str, offsets: list[int], data: st.DataObject):
    """Nor do they depend on which other moments are asked about; each one in a session has that session's date."""
    first = data.draw(st.dates(date(2019, 1, 1), date(2025, 6, 30)))
    start = int(np.datetime64(first, "ns").astype(np.int64))
    moments = np.sort(start + np.array(offsets, dtype=np.int64) * MINUTE)
    days = days_of(exchange)
    found = days.of(moments)
    assert (np.diff(found) >= 0).all()
    some = moments[:: data.draw(st.integers(1, 5))]
    assert found[:: len(moments) // len(some) or 1].tolist()[:1] == days.of(some).tolist()[:1]
    assert [number_of(days.day(int(moment))) for moment in moments[:5]] == found[:5].tolist()
    table = session_table(
        exchange, first - pd.Timedelta(days=9).to_pytimedelta(), first + pd.Timedelta(days=130).to_pytimedelta()
    )
    row = np.searchsorted(table.close, moments, side="right")
    inside = (table.open[row] <= moments) & (moments < table.close[row])
    assert (found[inside] == table.dates[row[inside]].astype(np.int64)).all()
    weekday = (found + 3) % 7
    assert exchange == "24/7" or (weekday < 5).all()


def test_a_market_without_sessions_has_dates():
    """Of UTC for one that never closes, of the data where no exchange was named, of another zone where one is set."""
    evening = pd.Timestamp("2024-10-03 23:30", tz="UTC").value
    assert TradingDays("UTC").day(evening) == date(2024, 10, 3)
    assert TradingDays("Asia/Tokyo").day(evening) == date(2024, 10, 4)
    always, unsaid = SessionConfig(exchange="24/7"), SessionConfig()
    assert day_zone(always, "Asia/Tokyo", is_named=True) == "UTC"
    assert day_zone(unsaid, "Asia/Tokyo", is_named=False) == "Asia/Tokyo"
    assert day_zone(unsaid, None, is_named=False) == "UTC"
    assert day_zone(SessionConfig(exchange="24/7", day_zone="Asia/Kolkata"), None, is_named=True) == "Asia/Kolkata"


def test_sessions_leave_no_choice_of_days():
    """An exchange's sessions are its days; a zone for them is refused with the reason."""
    with pytest.raises(
        ConfigError, match=r"day_zone = 'Asia/Tokyo': XNYS has sessions, and these are its trading days"
    ):
        SessionConfig.load({"exchange": "XNYS", "day_zone": "Asia/Tokyo"})
    with pytest.raises(ConfigError, match=r"day_zone = 'Asia/Tokio': no such time zone; did you mean 'Asia/Tokyo'"):
        SessionConfig.load({"exchange": "24/7", "day_zone": "Asia/Tokio"})


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_begins_at_midnight_or_at_an_earlier_open(zone: str):
    """Dates begin by their zone's clocks, sessions of the evening with their open."""
    begin = pd.Timestamp(TradingDays(zone).begin(date(2024, 10, 4)), tz="UTC").tz_convert(zone)
    assert str(begin.tz_localize(None)) == "2024-10-04 00:00:00"
    monday = days_of("CMES").begin(date(2024, 3, 4))
    assert pd.Timestamp(monday, tz="UTC").tz_convert(CHICAGO) == pd.Timestamp("2024-03-03 17:00", tz=CHICAGO)


def test_no_moments_have_no_days():
    """Nothing in, nothing out."""
    assert days_of("XNYS").of(np.empty(0, dtype=np.int64)).tolist() == []
    assert TradingDays("UTC").of(np.array([DAY, DAY + HOUR])).tolist() == [1, 1]
