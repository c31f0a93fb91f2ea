"""How long a lockstep window is."""

from __future__ import annotations

import pytest

from nbbacktest.engine.window import Quantum

USUAL, SLOW = 0.0001, 0.005  # seconds of a handover, alone and beside a busy thread


def learnt(quantum: Quantum, waited: float, windows: int, cost: float = 1e-6) -> int:
    """The length after so many windows, at that cost of an instant."""
    for _ in range(windows):
        quantum.observe(cost * quantum.length, quantum.length, waited)
    return quantum.length


def test_a_window_takes_about_its_time():
    """The length settles where a window's analysis takes `SECONDS`, whatever an instant costs, and is never 0."""
    assert learnt(Quantum(), USUAL, 20) == pytest.approx(2_000, abs=1)
    assert learnt(Quantum(), USUAL, 20, cost=1e-4) == pytest.approx(20, abs=1)
    assert learnt(Quantum(), USUAL, 20, cost=1.0) == 1


def test_windows_are_longer_beside_a_busy_thread():
    """Where handovers stay slow, windows grow so that few of them are needed; where they get quick again, they shrink."""
    quantum = Quantum()
    learnt(quantum, USUAL, 20)
    assert learnt(quantum, SLOW, 20) == Quantum.LONGEST
    assert learnt(quantum, SLOW, 20, cost=1e-5) == pytest.approx(10_000, abs=1)
    assert learnt(quantum, USUAL, 20) == pytest.approx(2_000, abs=1)


def test_a_single_slow_handover_changes_nothing():
    """A click or a frame of a panel is no busy thread: only slow handovers in a row count."""
    quantum = Quantum()
    settled = learnt(quantum, USUAL, 20)
    for _ in range(10):
        learnt(quantum, SLOW, 2)
        assert learnt(quantum, USUAL, 1) == settled


def test_a_fixed_length_stays():
    """A length that was asked for isn't learnt away."""
    assert learnt(Quantum(7), SLOW, 20) == 7
