"""A run held by the hand from a fresh Python, as a user does it; and what is left when that Python ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "pandas", "pydantic", "plotly", "pyarrow", "rich", "cyclopts", "exchange_calendars", "talib", "IPython",
         "asyncio")  # fmt: skip

HELD = """
import nbbacktest as nb

config = None  # the example
system = nb.get_system_manager()
assert system is nb.get_system_manager()

system.start(config, wait=True)                     # without interference
whole = system.wait()

assert system.start(config, paused=True) is True
assert system.is_paused() and system.get_state() is nb.SystemState.PAUSED
assert system.step(5) is True
now = system.snapshot()
assert now.cursor == 5 and str(now.time) == "2024-10-03 09:35:00-04:00", now
assert system.status()["performance_metrics"]["bars_processed"] == 10   # two symbols
assert system.get_coordinator().is_paused()

system.set_speed(1e6)
assert system.resume() is True
assert system.pause() is True
held = system.snapshot()
assert held.cursor >= 5
assert system.snapshot().cursor == held.cursor      # not a bar more
assert [len(s.bars("SW")) for s in system.strategies] == [held.counts["SW"]]

assert system.run_until("2024-10-07 10:30") is True
assert str(system.snapshot().time) == "2024-10-07 10:30:00-04:00"
assert system.run_until(lambda shot: shot.cursor % 100 == 0) is True
system.set_speed(0)
system.resume()
assert system.wait(30).fingerprint == whole.fingerprint

system.start(config, paused=True)
system.step(7)
assert system.stop() is True
assert system.wait().stats["bars"] == 14
assert system.is_stopped() and system.error is None
try:
    system.resume()
except nb.InvalidTransition as error:
    assert "STOPPED" in str(error) and "start" in str(error), error
print("done")
"""

ENDINGS = {
    "paused": "system.start(config, paused=True)",
    "paused amid a run": "system.start(config, paused=True); system.step(50)",
    "running by the clock": "system.start(config); system.set_speed(1)",
    "running at full speed": "config['backtest'].update(start_date='2020-01-02'); system.start(config)",
    "with a callback": "system.on_progress(print); system.start(config, paused=True)",
    "in a blocked strategy": """
import threading
inside = threading.Event()
class Blocked(nb.Strategy):
    def on_bar(self, bar):
        inside.set()
        threading.Event().wait()
system.start(config, strategies=Blocked)
inside.wait()
""",
}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )


def test_a_run_is_held_stepped_paced_and_let_go():
    """Start, step, re-speed, pause, run until, resume, stop: each does what it says, and the result is the same."""
    done = python(HELD)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_importing_costs_next_to_nothing():
    """`import nbbacktest` loads none of its dependencies; `dir` shows the public names all the same."""
    done = python(
        "import sys, nbbacktest as nb\n"
        "assert 'SystemManager' in dir(nb) and 'backtest' in nb.__all__\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("ending", ENDINGS)
def test_python_ends_at_once_with_a_run_under_way(ending):
    """The end of the interpreter ends whatever run there is, in less than two seconds, silently, with status 0."""
    code = (
        "import copy, nbbacktest as nb\n"
        "from nbbacktest.core.config import EXAMPLE\n"
        "config, system = copy.deepcopy(EXAMPLE), nb.get_system_manager()\n"
        f"{ENDINGS[ending]}\n"
        "print('bye', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while (line := process.stdout.readline()) and line != "bye\n":
            pass
        begun = time.monotonic()
        status = process.wait(20)
        seconds = time.monotonic() - begun
        error = process.stderr.read()
    assert (status, error) == (0, "")
    assert seconds < 8  # a thread that held the exit up would hold it for ten minutes
