"""Many commands, in any order, from several threads at once: no deadlock, no illegal state, nothing left."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import nbbacktest as nb
from nbbacktest.core.clock import ManualClock
from nbbacktest.core.lifecycle import HOLDS, TABLE, Command
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.system.manager import SystemManager
from tests.markets import minutes

STOPPED, RUNNING, PAUSED = nb.SystemState.STOPPED, nb.SystemState.RUNNING, nb.SystemState.PAUSED
MARKET = {"A": minutes(390, seed=1), "B": minutes(390, seed=2, gaps=0.3)}
FAST = [0.0, 0.0, 1e5, 1e6, 1e9]


class Counting(nb.Strategy):
    """Trades now and then, and counts what it is told."""

    def on_start(self):
        self.count = 0

    def on_bar(self, bar):
        self.count += 1
        if self.count % 25 == 0:
            self.buy(bar.symbol, 1) if self.count % 50 else self.sell(bar.symbol, 1)


def start(system, strategy=Counting, **options):
    return system.start({"data": {"derived_intervals": ["5m"]}}, data=MARKET, strategies=strategy, **options)


def remember_all(system):
    """Keep the whole history, not just the last events."""
    system._life._history = deque()
    return system._life


def check_history(life):
    """Every event is in the table, and each begins where the last one ended."""
    at = STOPPED
    for event in life.history:
        command, _, change = event.partition(": ")
        before, _, after = change.partition(" -> ")
        assert before == at, f"{event} follows a state {at}"
        at = TABLE[nb.SystemState(before), Command(command)]
        assert after == at
    assert at is life.state


# -- several threads ----------------------------------------------------------------------------------------


def beyond(place):
    """A condition that holds from that cursor on."""
    return lambda shot: shot.cursor >= place


def commands(system, rng):
    """All that a user may ask for, each with arguments of its own."""
    return {
        "start": lambda: start(system, paused=rng.random() < 0.5),
        "pause": system.pause,
        "resume": system.resume,
        "step": lambda: system.step(rng.randint(1, 20)),
        "until": lambda: system.run_until(beyond(rng.randint(1, 390))),
        "until_time": lambda: system.run_until(f"{rng.randint(9, 15)}:{rng.randint(10, 59)}"),
        "speed": lambda: system.set_speed(rng.choice(FAST)),
        "stop": system.stop,
        "status": system.status,
        "snapshot": lambda: system.snapshot().equity,
        "json": system.to_json,
        "wait": lambda: system.wait(0.002),
        "coordinator_pause": lambda: system.get_coordinator().pause_backtest(),
        "coordinator_resume": lambda: system.get_coordinator().resume_backtest(),
    }


WEIGHTS = {"start": 6, "pause": 5, "resume": 5, "step": 6, "until": 3, "speed": 4, "status": 3}


def storm(system, seed, count, failures):
    rng = random.Random(seed)
    every = commands(system, rng)
    names = rng.choices(list(every), [WEIGHTS.get(name, 1) for name in every], k=count)
    for name in names:
        try:
            every[name]()
        except (nb.InvalidTransition, TimeoutError):
            pass
        except Exception as error:  # noqa: BLE001 - the test shows it
            failures.append((name, repr(error)))
        if system.get_state() not in {STOPPED, RUNNING, PAUSED}:
            failures.append((name, system.get_state()))


@pytest.mark.parametrize("seed", range(10))
def test_random_commands_from_four_threads(seed):
    """A thousand commands at once: every thread comes back, every state is legal, a last run is as good as a first."""
    system, failures, told = nb.SystemManager(), [], []
    life = remember_all(system)
    if seed % 2:
        system.on_state(told.append)
        system.on_progress(lambda shot: shot.bars)
    start(system, paused=bool(seed % 3))
    threads = [threading.Thread(target=storm, args=(system, 100 * seed + n, 250, failures)) for n in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = [thread for thread in threads if thread.is_alive()]
    system.stop()
    assert alive == []
    assert failures == []
    assert system.is_stopped()
    system.set_speed(0.0)
    assert start(system, wait=True)
    check_history(life)
    assert len(life.history) > 20
    assert system.wait().stats["bars"] == len(MARKET["A"]) + len(MARKET["B"])
    assert system.strategies[0].count >= system.wait().stats["bars"]
    if seed % 2:
        assert told[-1] is STOPPED
        assert len(told) == sum(
            event.split(": ")[1].split(" -> ")[0] != event.split(" -> ")[1] for event in life.history
        )


@pytest.fixture
def lookers():
    """Start threads that look at a system all the time; afterwards none of them has met an error."""
    over, failures, threads = threading.Event(), [], []

    def look(system):
        while not over.is_set():
            try:
                status, shot = system.status(), system.snapshot()
                assert 0 <= status["session"]["progress"] <= 1
                assert shot.time is None or shot.bars
            except Exception as error:  # noqa: BLE001 - as above
                failures.append(repr(error))

    def begin(system, count):
        threads.extend(threading.Thread(target=look, args=(system,)) for _ in range(count))
        for thread in threads:
            thread.start()

    yield begin
    over.set()
    for thread in threads:
        thread.join(10)
    assert failures == []


def sights(system):
    """Everything that moves when a bar is delivered, as seen from several sides."""
    run, shot = system._holder.run, system.snapshot()
    bars = system.status()["performance_metrics"]["bars_processed"]
    return (
        system.get_state(),
        system.strategies[0].count,
        run.world.desk.index,
        run.gate.cursor,
        shot.cursor,
        shot.equity,
        bars,
    )


@pytest.mark.parametrize("speed", [0.0, 1e6])
def test_after_a_pause_nothing_moves_while_others_look(speed, lookers):
    """One thread commands and three look: after every pause that answers True all of them see one standing instant."""
    system, rng, pauses = nb.SystemManager(), random.Random(7), 0
    system.set_speed(speed)
    start(system, paused=True)
    lookers(system, 3)
    for _ in range(120):
        if system.is_stopped():
            system.set_speed(speed)
            start(system, paused=True)
        system.resume()
        for _ in range(rng.randint(0, 200)):
            system.get_state()
        try:
            paused = system.pause()
        except nb.InvalidTransition:
            continue
        if paused:
            pauses += 1
            before = sights(system)
            assert before[0] is PAUSED
            assert before[2] + 1 == before[3] == before[4]
            assert [sights(system) for _ in range(5)] == [before] * 5
    system.stop()
    assert pauses > 20


# -- one thread, every order --------------------------------------------------------------------------------


class Commands(RuleBasedStateMachine):
    """A paced run on a clock that stands still: after its first bar it moves by steps alone, so all is known."""

    @initialize()
    def make(self):
        self.system = SystemManager(clock=ManualClock())
        self.life = remember_all(self.system)
        self.state, self.cursor = STOPPED, None

    def expect(self, command, call):
        """What the table says: True where something changes, False where it holds, else InvalidTransition."""
        if (self.state, command) in TABLE:
            assert call() is True
            return True
        if (self.state, command) in HOLDS:
            assert call() is False
            return False
        with pytest.raises(nb.InvalidTransition) as caught:
            call()
        assert (caught.value.state, caught.value.command) == (self.state, command)
        assert set(caught.value.allowed) <= {c for (state, c) in TABLE if state is self.state}
        return False

    @rule(paused=st.booleans())
    def start(self, paused):
        self.system.set_speed(60.0) if self.state is STOPPED else None
        if self.expect("start", lambda: start(self.system, paused=paused)):
            self.state, self.cursor = (PAUSED, 0) if paused else (RUNNING, None)

    @rule()
    def pause(self):
        if self.expect("pause", self.system.pause):
            at = self.system.snapshot().cursor
            assert at in {0, 1} if self.cursor is None else at in {self.cursor, self.cursor + 1}
            self.state, self.cursor = PAUSED, at

    @rule()
    def resume(self):
        if self.expect("resume", self.system.resume):
            self.state = RUNNING

    @rule(n=st.integers(1, 30))
    def step(self, n):
        if (
            self.cursor is not None
            and self.state is PAUSED
            and self.cursor + n > len(self.system._holder.run.world.timeline)
        ):
            return
        if self.expect("step", lambda: self.system.step(n)):
            self.cursor += n
            assert self.system.snapshot().cursor == self.cursor

    @precondition(lambda self: self.state is not RUNNING)
    @rule()
    def until(self):
        here = self.system.snapshot().time if self.state is PAUSED else None
        if self.expect("run_until", lambda: self.system.run_until(here or "2024-10-03 09:30")):
            assert self.system.snapshot().cursor == self.cursor

    @rule(speed=st.sampled_from([1.0, 60.0, 600.0]))
    def speed(self, speed):
        self.system.set_speed(speed)

    @rule()
    def stop(self):
        if self.expect("stop", self.system.stop):
            self.state, self.cursor = STOPPED, None
            self.system.wait(10)

    @invariant()
    def is_what_the_model_says(self):
        assert self.system.get_state() is self.state
        if self.life.history:
            check_history(self.life)
            status = self.system.status()
            assert status["system_manager"]["_state"] == self.state
            if self.state is PAUSED:
                assert self.system.snapshot().cursor == self.cursor
                assert status["performance_metrics"]["bars_processed"] == sum(self.system.snapshot().counts.values())

    def teardown(self):
        self.system.stop()


Commands.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_every_order_of_commands = Commands.TestCase


# -- stop ---------------------------------------------------------------------------------------------------


class Held(nb.Strategy):
    """Stays in the callback that its `where` names until the test lets it go."""

    where: str = "on_bar"

    def __init__(self, **params):
        super().__init__(**params)
        self.inside, self.leave = threading.Event(), threading.Event()

    def hold(self, where):
        if where == self.where and not self.inside.is_set():
            self.inside.set()
            assert self.leave.wait(20)

    def on_start(self):
        self.hold("on_start")

    def on_bar(self, bar):
        self.buy(bar.symbol, 1)
        self.hold("on_bar")

    def on_fill(self, fill):
        self.hold("on_fill")

    def on_stop(self):
        self.hold("on_stop")


def assert_stops(system, threads=()):
    began = time.monotonic()
    assert system.stop() is True
    assert time.monotonic() - began < 1.0
    assert system.is_stopped()
    for thread in threads:
        thread.join(1.0)
        assert not thread.is_alive()


def in_thread(function, *arguments):
    """A thread that calls it, and lets no error out."""

    def call():
        with contextlib.suppress(nb.NbBacktestError):
            function(*arguments)

    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.mark.parametrize("speed", [0.0, 60.0])
def test_stop_ends_a_paused_run(speed):
    """Within a second, before the first bar, in the middle and after the last one."""
    system = nb.SystemManager()
    for steps in (0, 7, 390):
        system.set_speed(speed)
        start(system, paused=True)
        if steps:
            assert system.step(steps)
        assert system.is_paused()
        assert_stops(system)
        assert system.wait().stats["bars"] == system.snapshot().counts["A"] + system.snapshot().counts["B"]


def test_stop_ends_a_run_that_sleeps_on_the_clock():
    """With the next bar due in a minute, alone and with somebody in run_until and in wait."""
    clock = ManualClock()
    system = SystemManager(clock=clock)
    for waiting in (False, True):
        system.set_speed(1.0)
        start(system)
        clock.wait_for_sleepers(1)
        calls = (lambda: system.run_until(lambda shot: shot.cursor > 300), system.wait) if waiting else ()
        threads = [in_thread(call) for call in calls]
        if waiting:
            assert system._condition.until(lambda: "run_until" in system._life.history[-1], 10)
        assert_stops(system, threads)


@pytest.mark.parametrize("where", ["on_start", "on_bar", "on_fill", "on_stop"])
def test_stop_ends_a_run_when_the_call_returns(where):
    """From inside any callback, and with pause, run_until and wait called meanwhile: all are told within a second."""
    system = nb.SystemManager()
    strategy = Held(where=where)
    start(system, strategy)
    assert strategy.inside.wait(10)
    threads = [
        in_thread(system.wait),
        in_thread(system.run_until, lambda shot: False),
        in_thread(system.run_until, "10:00"),
        in_thread(system.pause),
        in_thread(system.stop),
    ]
    strategy.leave.set()
    began = time.monotonic()
    system.stop()
    assert time.monotonic() - began < 1.0
    for thread in threads:
        thread.join(2.0)
        assert not thread.is_alive()
    assert system.is_stopped()


@pytest.mark.parametrize("stage", [SessionCoordinator, DataProcessor, AnalysisEngine])
@pytest.mark.parametrize("how", ["raises", "returns"])
def test_stop_ends_a_run_with_a_dead_stage(stage, how, monkeypatch):
    """A stage that dies ends the run with its error; one that is silently gone doesn't keep stop waiting."""

    def die(self, *arguments):
        if how == "raises":
            raise MemoryError("gone")

    monkeypatch.setattr(stage, "work", die)
    system = nb.SystemManager()
    start(system)
    if how == "raises":
        with pytest.raises(nb.NbBacktestError, match="gone"):
            system.wait(5)
    else:
        assert_stops(system)
    assert system.is_stopped()
    monkeypatch.undo()
    assert start(system, wait=True)
