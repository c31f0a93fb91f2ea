"""The rules by which bars that arrive one by one become instants."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import MINUTE
from nbbacktest.engine import live_bars
from nbbacktest.engine.live_bars import NEVER, Arrivals
from tests.live import OPENING, STAMPS, incoming


def made(*symbols: str, grace: float = 2.0, watermark: int = NEVER) -> Arrivals:
    return Arrivals(symbols or ("A", "B"), grace, STAMPS, watermark)


def ends(bars: list) -> list[tuple[str, int]]:
    """Which bars these are: symbol, and the minute after the opening that they end at."""
    return [(bar.symbol, (bar.end - OPENING) // MINUTE) for bar in bars]


def released(box: Arrivals, now: float = 0.0) -> list[tuple[str, int]]:
    return ends(box.release(now).bars)


def test_an_instant_goes_on_when_every_symbol_has_come_to_it() -> None:
    """A bar waits for the other symbols' bars of its instant, and the instant then has all of them, in symbol order."""
    box = made()
    box.add(incoming("B", 0), 0.0)
    assert released(box) == []
    box.add(incoming("A", 0), 0.0)
    assert released(box) == [("A", 1), ("B", 1)]
    assert released(box) == []


def test_a_later_bar_says_that_earlier_ones_have_been_sent() -> None:
    """A symbol that has sent a later bar isn't waited for at earlier instants."""
    box = made()
    for minute in range(3):
        box.add(incoming("A", minute), 0.0)
    box.add(incoming("B", 1), 0.0)
    assert released(box) == [("A", 1), ("A", 2), ("B", 2)]


def test_one_symbol_waits_for_nobody() -> None:
    """A run of one symbol handles each bar as it comes."""
    box = made("A")
    box.add(incoming("A", 0), 0.0)
    assert released(box) == [("A", 1)]


def test_a_heartbeat_lets_instants_go_on() -> None:
    """A heartbeat releases what ends up to it and nothing later; an older one changes nothing."""
    box = made()
    for minute in range(3):
        box.add(incoming("A", minute), 0.0)
    box.heartbeat(OPENING + 2 * MINUTE)
    assert released(box) == [("A", 1), ("A", 2)]
    box.heartbeat(OPENING)
    assert box.release(0.0).watermark == OPENING + 2 * MINUTE


def test_a_bar_waits_for_others_as_long_as_the_grace() -> None:
    """After the grace a bar's instant, with all before it, goes on without the other symbols; not before."""
    box = made(grace=2.0)
    box.add(incoming("A", 0), 10.0)
    box.add(incoming("A", 1), 11.0)
    assert box.deadline == 12.0
    assert released(box, 11.9) == []
    assert released(box, 12.0) == [("A", 1)]
    assert box.deadline == 13.0
    assert not box.add(incoming("B", 0), 12.5)
    assert box.late == 1
    assert released(box, 13.0) == [("A", 2)]
    assert box.deadline is None


def test_late_bars_are_dropped_and_counted() -> None:
    """History never changes: a bar for an instant that has been released is dropped."""
    box = made()
    box.heartbeat(OPENING + 3 * MINUTE)
    released(box)
    assert not box.add(incoming("A", 2), 0.0)
    assert box.add(incoming("A", 3), 0.0)
    assert (box.late, box.received) == (1, 1)


def test_history_can_be_given() -> None:
    """What ends up to the history's end is late from the beginning."""
    box = made("A", watermark=OPENING + 5 * MINUTE)
    assert not box.add(incoming("A", 4), 0.0)
    assert box.add(incoming("A", 5), 0.0)


@pytest.mark.parametrize("release_first", [False, True])
def test_identical_duplicates_are_ignored_and_counted(release_first: bool) -> None:
    """The same bar again is no error, released or not: it is what comes after a reconnect."""
    box = made("A", "B")
    box.add(incoming("A", 0), 0.0)
    if release_first:
        box.heartbeat(OPENING + MINUTE)
        released(box)
    assert not box.add(incoming("A", 0), 0.0)
    assert (box.duplicate, box.late, box.received) == (1, 0, 1)


@pytest.mark.parametrize("release_first", [False, True])
def test_differing_duplicates_are_refused(release_first: bool) -> None:
    """Another bar for the same time is refused, with both in the message, and the first one stays."""
    box = made("A")
    box.add(incoming("A", 0, 100.0), 0.0)
    if release_first:
        released(box)
    with pytest.raises(DataError, match=r"A at 2024-10-03 09:30.*close 100 .*close 101 .*final"):
        box.add(incoming("A", 0, 101.0), 0.0)
    if not release_first:
        assert [bar.close for bar in box.release(0.0).bars] == [100.0]


def test_out_of_order_bars_are_put_in_order_and_counted() -> None:
    """Bars that come after a later one of their symbol are in their place when their instant is released."""
    box = made()
    for minute in (2, 0, 1):
        box.add(incoming("A", minute), 0.0)
    box.heartbeat(OPENING + 3 * MINUTE)
    assert released(box) == [("A", 1), ("A", 2), ("A", 3)]
    assert box.out_of_order == 2


def test_the_end_releases_everything() -> None:
    """Where nothing comes any more, nothing waits any more."""
    box = made()
    box.add(incoming("A", 5), 0.0)
    box.finish()
    assert released(box) == [("A", 6)]
    assert box.waiting == 0


def test_memory_for_duplicates_is_bounded_and_keeps_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old bars are forgotten, and are then late instead of duplicates; bars that wait are never forgotten."""
    monkeypatch.setattr(live_bars, "KEPT", 3)
    box = made("A", "B")
    for minute in range(6):
        box.add(incoming("A", minute), 0.0)
    assert not box.add(incoming("A", 0), 0.0)
    assert box.duplicate == 1
    box.heartbeat(OPENING + 6 * MINUTE)
    assert len(released(box)) == 6
    for minute in range(6, 12):
        box.add(incoming("A", minute), 0.0)
        box.heartbeat(OPENING + (minute + 1) * MINUTE)
        released(box)
    assert len(box._known["A"]) <= 7
    assert not box.add(incoming("A", 0), 0.0)


@given(st.data())
def test_every_bar_is_released_once_in_order_or_counted(data: st.DataObject) -> None:
    """Whatever comes in whatever order: instants only rise, and every bar is released, or counted as late or duplicate."""
    box = made("A", "B", "C", grace=5.0)
    now, seen = 0.0, []
    counted = 0
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.sampled_from([0.0, 1.0, 6.0]))
        symbol, minute = data.draw(st.sampled_from("ABC")), data.draw(st.integers(0, 12))
        box.add(incoming(symbol, minute), now)
        counted += 1
        if data.draw(st.booleans()):
            box.heartbeat(OPENING + data.draw(st.integers(0, 12)) * MINUTE)
        seen += box.release(now).bars
    box.finish()
    seen += box.release(now).bars
    assert [bar.end for bar in seen] == sorted(bar.end for bar in seen)
    assert len({(bar.symbol, bar.end) for bar in seen}) == len(seen) == box.received
    assert box.received + box.late + box.duplicate == counted
    for _, group in itertools.groupby(seen, key=lambda bar: bar.end):
        symbols = [bar.symbol for bar in group]
        assert symbols == sorted(symbols)
