"""A host without threads: a run works in slices of the thread that waits for it, and says what it can't do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

import nbbacktest as nb
from nbbacktest.engine.processor import DataProcessor
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
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.strategies import SmaCross

config = {"data": {"derived_intervals": ["5m"]},
          "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"}}
print(nb.backtest(None, SmaCross, config=config).fingerprint)
system = nb.SystemManager()
told = []
system.on_state(told.append)
system.on_end(lambda result: told.append(result.fingerprint))
system.start(config, strategies=SmaCross, paused=True)
system.step(3)
print(system.snapshot().cursor)
system.run_until("11:00")
print(system.snapshot().time.time())
system.set_speed(1e6)
system.resume()
print(system.wait().fingerprint)
print(*told)
"""


@pytest.fixture
def off(monkeypatch):
    """No threads from here on."""
    monkeypatch.setenv("NBBACKTEST_THREADS", "off")


def started(strategy=SmaCross, **options):
    system = nb.SystemManager()
    system.start(CONFIG, strategies=strategy, **options)
    return system


class Interrupted(nb.Strategy):
    """Is under way when its user interrupts, at its tenth bar."""

    def on_bar(self, bar):
        if bar.symbol == self.symbols[0] and bar.interval == "1m" and len(self.bars(bar.symbol)) == 10:
            signal.raise_signal(signal.SIGINT)


class Wrong(nb.Strategy):
    """Has a mistake in it."""

    def on_bar(self, bar):
        raise ValueError("wrong")


def test_no_thread_is_started_and_the_result_is_the_same():
    """With every thread refused, all commands work, callbacks are told in order, and the fingerprint is that of a run with threads."""
    whole = nb.backtest(None, SmaCross, config=CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", REFUSING],
        env={**os.environ, "NBBACKTEST_THREADS": "off"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(whole.fills) > 0
    one_call, cursor, time, by_hand, told = done.stdout.splitlines()
    assert one_call == by_hand == whole.fingerprint
    assert (cursor, time) == ("3", "11:00:00")
    states = ["running", "paused"] * 3
    assert told.split() == [*states, "running", "stopped", whole.fingerprint]


def test_a_browser_has_none_and_no_live_run(monkeypatch):
    """There a backtest runs in slices; a live run is refused before anything has begun."""
    monkeypatch.setattr(sys, "platform", "emscripten")
    system = nb.SystemManager()
    with pytest.raises(nb.NoThreadsError, match=r"a live run needs threads.*emscripten"):
        system.start({"mode": "live"}, strategies=SmaCross)
    assert system.is_stopped()


@pytest.mark.usefixtures("off")
def test_what_ends_a_run_is_raised():
    """A mistake comes as a StrategyError with the result until then."""
    with pytest.raises(nb.StrategyError, match="wrong") as caught:
        nb.backtest(None, Wrong, config=CONFIG)
    assert caught.value.result is not None


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize("move", [lambda s: s.step(500), lambda s: s.run_until("15:00"), lambda s: s.run_until(_never)])
def test_a_command_that_the_end_cuts_short_answers_when_the_run_has_ended(move):
    """False comes with the state STOPPED, the error, and a snapshot of the last completed instant."""

    class Late(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars(bar.symbol)) == 100:
                raise ValueError("late")

    system = started(Late, paused=True)
    assert (move(system), system.get_state()) == (False, nb.SystemState.STOPPED)
    assert isinstance(system.error, nb.StrategyError)
    assert system.snapshot().cursor == 100


def _never(shot):
    return False


@pytest.mark.usefixtures("off")
def test_ctrl_c_pauses_a_run_that_is_waited_for():
    """It isn't the strategy's error: the run is paused between two instants, and goes on to the same result."""
    system = started(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        system.wait()
    assert system.is_paused()
    assert system.snapshot().cursor == 10
    system.resume()
    assert system.wait().stats["bars"] > 10


@pytest.mark.usefixtures("off")
def test_ctrl_c_ends_one_call():
    """An interrupt gets through to the caller of `backtest`, as in any blocking call."""
    with pytest.raises(KeyboardInterrupt):
        nb.backtest(None, Interrupted, config=CONFIG)


@pytest.mark.usefixtures("off")
def test_nobody_waits_for_a_paused_run():
    """Nobody could resume it: waiting is refused, or ends with its time."""
    system = started(paused=True)
    with pytest.raises(nb.NoThreadsError, match="resume"):
        system.wait()
    with pytest.raises(TimeoutError):
        system.wait(0.01)
    assert system.stop()
    assert system.is_stopped()
    assert system.wait().stats["bars"] == 0


@pytest.mark.usefixtures("off")
def test_a_strategy_may_pause_and_stop_but_not_wait():
    """Inside a call the rules are those of the analysis thread."""

    class Commands(nb.Strategy):
        def on_bar(self, bar):
            if bar.symbol == self.symbols[0] and len(self.bars(bar.symbol)) == 5:
                assert system.pause()
                with pytest.raises(RuntimeError, match="its own run"):
                    system.wait()
            elif bar.symbol == self.symbols[0] and len(self.bars(bar.symbol)) == 9:
                assert system.stop()

    system = nb.SystemManager()
    system.start(CONFIG, strategies=Commands, paused=True)
    assert not system.step(20)
    assert system.is_paused()
    assert system.snapshot().cursor == 5
    system.resume()
    system.wait()
    assert system.snapshot().cursor == 9


@pytest.mark.usefixtures("off")
def test_an_event_loop_moves_a_run_that_nobody_waits_for():
    """Between two awaits a resumed run goes on, is paused exactly, and its end can be awaited."""

    async def session():
        system = started(paused=True)
        system.set_speed(60.0)
        system.resume()
        await asyncio.sleep(0.05)
        assert system.pause()
        place = system.snapshot().cursor
        await asyncio.sleep(0.05)
        assert system.snapshot().cursor == place
        system.set_speed(0)
        system.resume()
        return await system.finished()

    assert asyncio.run(session()).fingerprint == nb.backtest(None, SmaCross, config=CONFIG).fingerprint


@pytest.mark.usefixtures("off")
def test_a_slice_ends_near_its_time(monkeypatch):
    """What is delivered before a slice looks at its time is a turn, not a window, which would be longer than the slice."""
    lengths = []
    batches = DataProcessor.batches

    def noted(self, window):
        lengths.append((window.stop - window.start, system.run.quantum.turn, system.run.quantum.length))
        return batches(self, window)

    monkeypatch.setattr(DataProcessor, "batches", noted)
    system = started(SmaCross)
    system.wait()
    assert all(length <= turn < window for length, turn, window in lengths)
    assert len(lengths) > 1
