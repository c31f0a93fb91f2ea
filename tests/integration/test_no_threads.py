"""A host without threads: one call runs to its end all the same, and what can't be done says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import nbbacktest as nb
from nbbacktest.strategies import SmaCross

CONFIG = {
    "data": {"derived_intervals": ["5m"]},
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"},
}

REFUSING = """
import threading

def refuse(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
import nbbacktest as nb
from nbbacktest.strategies import SmaCross

config = {"data": {"derived_intervals": ["5m"]},
          "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04", "speed_multiplier": %s}}
print(nb.backtest(None, SmaCross, config=config).fingerprint)
try:
    nb.SystemManager().start()
except nb.NoThreadsError as error:
    print(error)
"""


@pytest.mark.parametrize("speed", [0, 1])
def test_one_call_starts_no_thread_and_gives_the_same_result(speed):
    """With every thread refused the fingerprint is that of the run with threads, and a speed doesn't hold it up."""
    whole = nb.backtest(None, SmaCross, config=CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", REFUSING % speed],
        env={**os.environ, "NBBACKTEST_THREADS": "off"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    fingerprint, refusal = done.stdout.splitlines()
    assert len(whole.fills) > 0
    assert fingerprint == whole.fingerprint
    assert "NBBACKTEST_THREADS=off" in refusal


def test_a_browser_has_none(monkeypatch):
    """There a run beside its caller is refused, and nothing has begun."""
    monkeypatch.setattr(sys, "platform", "emscripten")
    system = nb.SystemManager()
    with pytest.raises(nb.NoThreadsError, match="emscripten"):
        system.start()
    assert system.is_stopped()


class Interrupted(nb.Strategy):
    """Is under way when its user interrupts."""

    def on_bar(self, bar):
        raise KeyboardInterrupt


class Wrong(nb.Strategy):
    """Has a mistake in it."""

    def on_bar(self, bar):
        raise ValueError("wrong")


def test_what_ends_a_run_is_raised(monkeypatch):
    """A mistake comes as a StrategyError with the result until then."""
    monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    with pytest.raises(nb.StrategyError, match="wrong") as caught:
        nb.backtest(None, Wrong, config=CONFIG)
    assert caught.value.result is not None


def test_ctrl_c_ends_the_call(monkeypatch):
    """An interrupt gets through to the caller, as in any blocking call."""
    monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    with pytest.raises(KeyboardInterrupt):
        nb.backtest(None, Interrupted, config=CONFIG)
