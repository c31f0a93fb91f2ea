"""Ctrl-C at any point of any command leaves a sound manager: injected at the points where Python raises it, and for real."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.control_servers import runtime_folder
from tests.interrupts import CASES, Case, chosen, tried

ROOT = Path(__file__).parents[2]
MOST = 40
"""How many points of a command are tried; all of them where NBBACKTEST_EVERY_POINT is set."""


# What is cut short while it is cleared away, as a generator is, can't raise, nor what pydantic calls: they say so.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_interrupt_at_any_point_of_a_command_leaves_a_sound_manager(case: Case) -> None:
    """Afterwards the run moves, rests or has ended as its state says; status, stop and the next start work; no thread is left."""
    with runtime_folder():
        assert [problem for at in chosen(case, MOST) for problem in tried(case, at)] == []
    gc.collect()  # what an interrupt has cut off while it was made is closed now, and not in another test


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that interrupts")
def test_real_signals_at_random_moments_leave_a_sound_manager() -> None:
    """The same with signals that come while commands are under way, one after the other, in a process of its own."""
    call = [sys.executable, "-m", "tests.interrupts", "--signals", "5", "7"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
