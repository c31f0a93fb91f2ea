"""A run's end, as those see it that wait for the run: no answer before it has ended, and nothing of it kept after that."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter

import pytest

import nbbacktest as nb
from nbbacktest.core.records import BarColumns
from nbbacktest.engine.gate import RunGate
from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.run import Run
from nbbacktest.trading.desk import TradingDesk
from tests.held import Quiet, await_hold, in_thread, started
from tests.markets import minutes


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


# -- what is left of runs ---------------------------------------------------------------------------------------


class Fails(nb.Strategy):
    """Raises in its third bar, or what it is told to do."""

    does: object = None

    def on_bar(self, bar):
        if len(self.bars()) == 3:
            if self.does is None:
                raise ValueError("mistake")
            self.does()


def failing():
    with pytest.raises(nb.StrategyError):
        nb.backtest(minutes(5), Fails)


def waited_for_again():
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Fails)
    for _ in range(2):
        with pytest.raises(nb.StrategyError):
            system.wait()


def caught_and_kept():
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Fails)
    try:
        system.wait()
    except nb.StrategyError as error:
        system.of_mine = error  # leads back to the manager by its frames


def stopped():
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Quiet, paused=True)
    system.stop()


def stopped_by_its_strategy():
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Fails, does=system.stop)
    system.wait()


def dropped():
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Quiet, paused=True)


def interrupted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb.SystemManager, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            nb.backtest(minutes(5), Quiet)


def interrupt(_system):
    raise KeyboardInterrupt


def audited():
    with pytest.raises(nb.StrategyError):
        nb.audit_lookahead(minutes(5), Fails)
    nb.audit_lookahead(minutes(5), Quiet, cuts=1)


def swept():
    assert len(nb.sweep(minutes(5), Fails, {"does": [None]}, progress=False).failed) == 1


def refused():
    system = nb.SystemManager(reachable=False)
    with pytest.raises(nb.ConfigError):
        system.start({}, data=minutes(5), strategies=Quiet, nothing=1)


ENDS = [failing, waited_for_again, caught_and_kept, stopped, stopped_by_its_strategy, dropped, interrupted, audited, swept,
        refused]  # fmt: skip


@pytest.mark.parametrize("threads", ["on", "off"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_runs_that_have_ended(end, threads, monkeypatch):
    """Runs, managers, desks, bars: none outlives who held them, however the run ended; the two hundredth as the first."""
    monkeypatch.setenv("NBBACKTEST_THREADS", threads)
    before = alive()  # other tests may hold some
    for _ in range(200 if threads == "on" else 20):
        end()
    await_no_runs()
    assert not alive() - before


def alive():
    gc.collect()
    kinds = (Run, nb.SystemManager, TradingDesk, BarColumns, RunGate)
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))


def await_no_runs():
    """Wait for the ends of runs that were told to end and not waited for: their threads, or their turns."""
    CALLS.make_due()
    for thread in threading.enumerate():
        if thread.name.startswith("nbbacktest-"):
            thread.join(10)


def test_a_status_says_the_same_after_every_wait():
    """The traceback is the strategy's, and doesn't grow by who has asked for the result."""
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(5), strategies=Fails)
    told = []
    for _ in range(3):
        with pytest.raises(nb.StrategyError) as raised:
            system.wait()
        assert raised.value.result is not None
        assert isinstance(raised.value.__cause__, ValueError)
        told.append(system.status()["error"])
    assert told[0] == told[1] == told[2]
    assert "test_run.py" in told[0]["traceback"]
    assert "in wait" not in told[0]["traceback"]


def wait_for(condition, seconds=20.0):
    """Ask again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class TurnsSlow(nb.Strategy):
    """Is fast for a hundred bars; then each bar waits for a token."""

    def on_start(self):
        self.tokens, self.count = threading.Semaphore(0), 0

    def on_bar(self, bar):
        self.count += 1
        if self.count > 100:
            self.tokens.acquire(timeout=20)


def test_a_face_that_polls_sees_each_bar_of_a_strategy_that_has_turned_slow():
    """The run's turn has many instants by then, and it would publish at its end alone."""
    system = started(TurnsSlow, count=2000)
    tokens = system.strategies[0].tokens
    try:
        wait_for(lambda: system.strategies[0].count == 101)
        for more in range(1, 6):
            system.run.followed()
            system.run.followed()  # nothing new since the first: it asks
            tokens.release()
            wait_for(lambda more=more: system.run.published().cursor == 100 + more)
    finally:
        tokens.release(2000)
        system.stop()
