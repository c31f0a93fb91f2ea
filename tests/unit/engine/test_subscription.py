"""StreamSubscription: who waits for whom, what is counted, and that closing frees everybody."""

from __future__ import annotations

import threading

import pytest

from nbbacktest.engine.subscription import StreamSubscription

MODES = ("data-driven", "clock-driven", "live")


def in_thread(call):
    """Run `call` in a thread; returns the thread and the list that its answer goes to."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    return thread, answers


@pytest.mark.parametrize("mode", MODES)
def test_a_signal_lets_a_waiter_through(mode):
    """In every mode a wait returns True once the other side has signalled."""
    sub = StreamSubscription(mode, "a->b")
    thread, answers = in_thread(lambda: sub.wait_until_ready(10))
    sub.signal_ready()
    thread.join(10)
    assert answers == [True]
    assert sub.is_ready()


@pytest.mark.parametrize("mode", ["clock-driven", "live"])
def test_timed_modes_return_false_on_timeout(mode):
    """Clock-driven and live waits give up after their timeout."""
    assert StreamSubscription(mode, "a->b").wait_until_ready(timeout=0.001) is False


def test_a_data_driven_wait_ignores_its_timeout():
    """A data-driven wait with a timeout goes on until it is signalled."""
    sub = StreamSubscription("data-driven", "a->b")
    thread, answers = in_thread(lambda: sub.wait_until_ready(timeout=0.001))
    thread.join(0.05)
    assert thread.is_alive()
    sub.signal_ready()
    thread.join(10)
    assert answers == [True]


@pytest.mark.parametrize("mode", MODES)
def test_closing_wakes_every_waiter_with_false(mode):
    """All waiters, of both sides, get False when the subscription closes, and so does whoever comes later."""
    sub = StreamSubscription(mode, "a->b")
    waiters = [in_thread(sub.wait_until_ready) for _ in range(3)]
    sub.close()
    for thread, answers in waiters:
        thread.join(10)
        assert answers == [False]
    assert sub.wait_until_ready() is False
    assert sub.wait_until_reset() is False


def test_a_producer_waits_until_its_signal_is_reset():
    """`wait_until_reset` blocks between signal and acknowledgement, and closing frees it."""
    sub = StreamSubscription("data-driven", "a->b")
    sub.signal_ready()
    thread, answers = in_thread(sub.wait_until_reset)
    thread.join(0.05)
    assert thread.is_alive()
    sub.reset()
    thread.join(10)
    assert answers == [True]


@pytest.mark.parametrize(("mode", "overruns"), [("data-driven", 0), ("clock-driven", 2), ("live", 0)])
def test_only_clock_driven_mode_counts_overruns(mode, overruns):
    """Each signal before the last one's reset is an overrun in clock-driven mode, and in no other."""
    sub = StreamSubscription(mode, "a->b")
    for _ in range(3):
        sub.signal_ready()
    assert sub.get_overrun_count() == overruns
    sub.reset()
    sub.signal_ready()
    assert sub.get_overrun_count() == overruns


def test_every_count_counts():
    """Signals, waits, cycles and wait time all move, each with its own event."""
    sub = StreamSubscription("data-driven", "a->b")
    thread, _ = in_thread(sub.wait_until_ready)
    thread.join(0.02)
    sub.signal_ready()
    thread.join(10)
    sub.reset()
    sub.reset()
    counts = sub.statistics()
    assert (counts["signals"], counts["waits"], counts["cycles"]) == (1, 1, 1)
    assert 0.01 < counts["wait_seconds"] < 10
    assert counts["ready"] is False
    assert counts["mode"] == "data-driven"


def test_a_signal_after_close_does_nothing():
    """A closed subscription stays closed: late signals neither raise the flag nor count."""
    sub = StreamSubscription("clock-driven", "a->b")
    sub.close()
    sub.signal_ready()
    assert not sub.is_ready()
    assert sub.statistics()["signals"] == 0


@pytest.mark.parametrize("mode", ["", "Data-Driven", "fast", None, 1])
def test_any_other_mode_is_refused(mode):
    """An unknown mode is a ValueError that names the known ones, at creation and at a change."""
    with pytest.raises(ValueError, match="data-driven"):
        StreamSubscription(mode, "a->b")
    with pytest.raises(ValueError, match="clock-driven"):
        StreamSubscription("live", "a->b").set_mode(mode)


def test_it_knows_its_name_and_mode():
    """The id and the mode are what they were made with, until the mode is changed."""
    sub = StreamSubscription("live", "x->y")
    assert (sub.get_stream_id(), sub.get_mode()) == ("x->y", "live")
    sub.set_mode("clock-driven")
    assert sub.get_mode() == "clock-driven"
