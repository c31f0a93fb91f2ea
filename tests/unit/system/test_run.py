"""A run's end, as those see it that wait for the run: no answer before it has ended, and nothing of it kept after that."""

from __future__ import annotations

import threading

import pytest

import nbbacktest as nb
from tests.held import await_hold, in_thread, started


class Ending(nb.Strategy):
    """Ends its run in the bar numbered `at`, and holds its end up until somebody was answered, for 0.1 s at most."""

    at: int = 100
    how: str = "raises"

    def on_start(self):
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.ending, self.answered = threading.Event(), threading.Event()

    def on_bar(self, bar):
        if len(self.bars()) == self.at:
            self.entered.set()
            assert self.go_on.wait(20)
            if self.how == "raises":
                raise ValueError("mistake")
            self.stop_run()

    def on_stop(self):
        self.ending.set()
        self.answered.wait(0.1)


def ending(how="raises"):
    """A system that is paused before the first bar of such a run, and its strategy."""
    system = started(Ending, paused=True, how=how)
    strategy = system.strategies[0]
    strategy.stop_run = system.stop
    return system, strategy


MOVES = {
    "step": lambda system: system.step(150),
    "run_until a time": lambda system: system.run_until("12:20"),
    "run_until a condition": lambda system: system.run_until(lambda shot: shot.cursor == 150),
    "pause": lambda system: system.resume() and system.strategies[0].entered.wait(10) and system.pause(),
}


@pytest.mark.parametrize("how", ["raises", "stops"])
@pytest.mark.parametrize("move", MOVES)
def test_a_command_that_the_end_cuts_short_answers_when_the_run_has_ended(move, how):
    """False comes with the state STOPPED, the error, and a snapshot of the last completed instant, never before."""
    system, strategy = ending(how)

    def answer():
        value = MOVES[move](system)
        seen = value, system.get_state(), system.snapshot().cursor, type(system.error)
        strategy.answered.set()
        return seen

    thread, answers = in_thread(answer)
    assert strategy.entered.wait(10)
    if move == "pause":
        await_hold(system)
    strategy.go_on.set()
    thread.join(10)
    error = nb.StrategyError if how == "raises" else type(None)
    assert answers == [(False, nb.SystemState.STOPPED, 100, error)]


LATE = {
    "pause": lambda system: system.pause(),
    "coordinator.pause_backtest": lambda system: system.get_coordinator().pause_backtest(),
    "run_until": lambda system: system.run_until(lambda shot: shot.cursor == 150),
}


@pytest.mark.parametrize("command", LATE)
def test_a_command_for_a_run_that_is_ending_answers_when_it_has_ended(command):
    """Between the error and the end the state allows commands still; they answer as the end has it."""
    system, strategy = ending()
    system.resume()
    strategy.go_on.set()
    assert strategy.ending.wait(10)
    seen = LATE[command](system), system.get_state(), system.snapshot().cursor
    strategy.answered.set()
    assert seen == (False, nb.SystemState.STOPPED, 100)


def test_a_look_at_a_run_that_is_ending_shows_its_last_instant():
    """Between the error and the end, snapshot and status wait for what the run publishes last, as at any other time."""
    system, strategy = ending()
    system.resume()
    strategy.go_on.set()
    assert strategy.ending.wait(10)
    shot, status = system.snapshot(), system.status()
    strategy.answered.set()
    assert (shot.cursor, shot.time.strftime("%H:%M")) == (100, "11:10")
    assert status["performance_metrics"]["bars_processed"] == 100
    assert status["system_manager"]["_state"] == "stopped"
