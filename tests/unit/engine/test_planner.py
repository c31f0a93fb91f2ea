"""Which instants come next, how long windows are, and the turns within them."""

from __future__ import annotations

import pytest

from nbbacktest.engine.timeline import Planner, Quantum, Standing, Timeline, Window
from tests.rig import series

USUAL, SLOW = 0.0001, 0.005  # seconds of a handover, alone and beside a busy thread


def learnt(quantum: Quantum, waited: float, windows: int, cost: float = 1e-6) -> Quantum:
    """A quantum that has seen so many windows, at that cost of an instant."""
    for _ in range(windows):
        quantum.learn_wait(waited)
        quantum.learn_cost(cost * quantum.turn, quantum.turn)
    return quantum


@pytest.mark.parametrize(
    ("cost", "turn", "length"), [(1e-6, 1_500, 50_000), (1e-4, 15, 500), (1e-2, 1, 5), (1.0, 1, 1)]
)
def test_windows_and_turns_take_about_their_time(cost, turn, length):
    """The lengths settle where a window takes `WINDOW` seconds and a turn `TURN`, whatever an instant costs; never at 0."""
    quantum = learnt(Quantum(), USUAL, 20, cost)
    assert (quantum.turn, quantum.length) == (pytest.approx(turn, abs=1), pytest.approx(length, abs=1))


def test_windows_are_longer_beside_a_busy_thread():
    """Where handovers stay slow, windows grow so that few of them are needed, and turns don't; quick again, they shrink."""
    quantum = learnt(Quantum(), USUAL, 20)
    assert learnt(quantum, SLOW, 20).length == pytest.approx(1_000_000, abs=1)
    assert quantum.turn == pytest.approx(1_500, abs=1)
    assert learnt(quantum, USUAL, 20).length == pytest.approx(50_000, abs=1)


def test_a_single_slow_handover_changes_nothing():
    """A click or a frame of a panel is no busy thread: only slow handovers in a row count."""
    quantum = learnt(Quantum(), USUAL, 20)
    settled = quantum.length
    for _ in range(10):
        learnt(quantum, SLOW, 2)
        assert learnt(quantum, USUAL, 1).length == settled


def test_lengths_grow_slowly_and_shrink_at_once():
    """A few cheap instants at the beginning don't make the first dear ones a window that others wait long for."""
    quantum = Quantum()
    first = quantum.turn
    quantum.learn_cost(1e-9, 1)
    assert quantum.turn == 4 * first
    quantum.learn_cost(1.0, 1)
    assert quantum.turn == quantum.length == 1


def test_a_fixed_length_stays():
    """A length that was asked for isn't learnt away."""
    quantum = learnt(Quantum(7), SLOW, 20)
    assert quantum.length == quantum.turn == 7


# -- windows ------------------------------------------------------------------------------------------------


def planner(minutes=5):
    """A planner over bars of a minute, whose instants are 60 s of open market apart."""
    return Planner(Timeline([series("A", range(minutes))]))


def standing(cursor=0, generation=0, since=100.0, before=0.0, *, steps=False):
    return Standing(cursor, generation, steps, since, before)


def test_without_a_clock_a_window_has_its_length_and_ends_with_the_data():
    """It begins at the cursor; behind the last instant there is none."""
    plan = planner()
    assert plan.next_window(standing(0, 7), 0.0, 3) == Window(0, 3, 7, None)
    assert plan.next_window(standing(3, 7), 0.0, 3) == Window(3, 5, 7, None)
    assert plan.next_window(standing(5, 7), 0.0, 3) is None


def test_a_paced_window_is_one_instant_with_its_deadline():
    """At 60 a minute of market is a second; the first instant is due when the run is set in motion."""
    plan = planner()
    for cursor in range(3):
        window = plan.next_window(standing(cursor), 60.0, 100)
        assert (window.start, window.stop) == (cursor, cursor + 1)
        assert window.pace.deadline(cursor) == 100.0 + cursor


def test_what_a_hold_takes_isnt_simulated():
    """Simulated time goes on where the hold began: only what is left of the wait is waited for after it."""
    plan = planner()
    plan.next_window(standing(1), 60.0, 1)  # due at 101
    window = plan.next_window(standing(1, 1, since=500.0, before=0.75), 60.0, 1)
    assert window.pace.deadline(1) == pytest.approx(500.25)


def test_holds_that_no_plan_was_made_between_take_nothing_either():
    """Motion counts, and not when somebody planned: two short holds are as good as one."""
    plan = planner()
    plan.next_window(standing(1), 60.0, 1)
    window = plan.next_window(standing(1, 9, since=900.0, before=0.9), 60.0, 1)
    assert window.pace.deadline(1) == pytest.approx(900.1)


def test_a_change_of_speed_goes_on_from_where_simulated_time_is():
    """Half a minute of market was waited for at 60; the other half takes a tenth at 600."""
    plan = planner()
    plan.next_window(standing(1), 60.0, 1)
    window = plan.next_window(standing(1, 1, since=100.5, before=0.5), 600.0, 1)
    assert window.pace.deadline(1) == pytest.approx(100.55)


def test_a_step_waits_for_no_clock_and_takes_simulated_time_along():
    """After it, the next instant is a whole bar away."""
    plan = planner()
    plan.next_window(standing(0), 60.0, 1)
    assert plan.next_window(standing(1, 1, steps=True), 60.0, 100) == Window(1, 2, 1, None)
    window = plan.next_window(standing(2, 2, since=300.0, before=4.0), 60.0, 1)
    assert window.pace.deadline(2) == 301.0


def test_simulated_time_never_passes_the_next_instant():
    """However late the strategies are, the next instant is due at once, and not before."""
    plan = planner()
    plan.next_window(standing(0), 60.0, 1)
    window = plan.next_window(standing(1, 1, since=800.0, before=700.0), 60.0, 1)
    assert window.pace.deadline(1) == 800.0


def test_a_live_window_is_one_instant_by_the_feeds_time():
    """As long as the feed has completed one."""
    plan = Planner(Timeline([series("A", range(2))]), live := object())
    assert plan.next_window(standing(1), 0.0, 100) == Window(1, 2, 0, live)
    assert plan.next_window(standing(2), 0.0, 100) is None
