"""Sessions around bars that come one by one."""

from __future__ import annotations

from datetime import date

import pytest

from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.core.hours import OwnHours
from nbbacktest.core.intervals import DAY, HOUR, MINUTE
from nbbacktest.data.calendar import RollingSessions, session_table
from tests.live import OPENING

CLOSE = OPENING + 390 * MINUTE


def test_a_bar_finds_its_session_by_its_begin_or_its_end() -> None:
    """The open belongs to the session, the close to the bar that ends there; what lies outside finds none."""
    rolling = RollingSessions("XNYS")
    assert rolling.at(OPENING) == rolling.at(CLOSE - 1) == rolling.ending(CLOSE) == (OPENING, CLOSE)
    assert rolling.at(OPENING - 1) is rolling.at(CLOSE) is rolling.ending(OPENING) is None


def test_lunch_breaks_and_extended_hours_are_kept() -> None:
    """In Tokyo a bar is of the morning or the afternoon; with longer hours one before the open is of the session."""
    table = session_table("XTKS", date(2024, 10, 3), date(2024, 10, 3))
    rolling = RollingSessions("XTKS")
    parts = [(int(a), int(b)) for a, b in zip(table.part_open, table.part_close, strict=True)]
    assert [rolling.at(opened) for opened, _ in parts] == parts
    assert rolling.at(parts[0][1]) is None
    early = RollingSessions("XNYS", None, OwnHours(open="04:00", close="20:00"))
    assert early.at(OPENING - 5 * HOUR) == (OPENING - 5 * HOUR - HOUR // 2, CLOSE + 4 * HOUR)


def test_the_table_grows_with_what_is_asked() -> None:
    """Asked about a later year, what was known before is still there."""
    rolling = RollingSessions("XNYS")
    before = rolling.covering(OPENING, OPENING)
    after = rolling.covering(OPENING + 500 * DAY, OPENING + 500 * DAY)
    assert set(before.dates.tolist()) < set(after.dates.tolist())
    assert after is rolling.covering(OPENING, OPENING + 500 * DAY)


def test_dates_without_a_session_find_none() -> None:
    """A weekend and a holiday have no session; any other day has its own."""
    rolling = RollingSessions("XNYS")
    assert rolling.dated(date(2024, 10, 3)) == (OPENING, CLOSE)
    assert rolling.dated(date(2024, 10, 5)) is rolling.dated(date(2024, 12, 25)) is None


def test_orders_look_a_year_ahead_or_as_far_as_the_calendar_does() -> None:
    """The table reaches a good year beyond the last moment; a calendar that ends before that gives what it has."""
    assert RollingSessions("XNYS").ahead(OPENING, OPENING).close[-1] > OPENING + 400 * DAY
    near = RollingSessions("XNYS")
    near.covering = _only_near(near.covering)  # type: ignore[method-assign]
    assert near.ahead(OPENING, OPENING).close[-1] < OPENING + 60 * DAY


def _only_near(covering):  # type: ignore[no-untyped-def]
    def asked(first: int, last: int) -> object:
        if last > OPENING + 100 * DAY:
            raise DataError("the calendar is known until then")
        return covering(first, last)

    return asked


def test_unknown_exchanges_are_refused_at_once() -> None:
    """The mistake is found when the run is built, not with the first bar."""
    with pytest.raises(ConfigError, match="not a known exchange"):
        RollingSessions("XNYSE")
