"""How long lockstep windows are, and the turns within them."""

from __future__ import annotations

import pytest

from nbbacktest.engine.window import Quantum

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
