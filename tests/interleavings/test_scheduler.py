"""The scheduler itself: it repeats a schedule to the step, and sees the faults of small programs whose faults are known."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from nbbacktest.core import monitor
from tests.interleavings import engine_world, live_world, system_world, threadless_world
from tests.interleavings.choices import Departures, drawn
from tests.interleavings.choices import Path as Schedule
from tests.interleavings.explore import FoundError, by_seed, laboratory, try_seeds
from tests.interleavings.mutants import MUTANTS, planted
from tests.interleavings.replaced import ELSEWHERE, SHARED, engine_modules, replaced
from tests.interleavings.scheduler import Scheduler, StuckError
from tests.interleavings.threads import Lock, RLock, Thread, now, point, sleep
from tests.rig import Rig, series

ROOT = Path(__file__).parents[2]
WORLDS = (engine_world, system_world, live_world, threadless_world)


def all_schedules(program, departures=3):
    """What a program's tasks leave behind under every schedule with so many departures: results and complaints."""
    found, waiting = [], deque([Schedule({})])
    while waiting:
        path = waiting.popleft()
        choices = Departures(path.departures)
        with Scheduler(choices) as scheduler:
            result = program(scheduler)
            try:
                scheduler.run()
            except StuckError as error:
                found.append(f"stuck: {error}")
            else:
                undone = [task.name for task in scheduler.tasks if task.state != "done"]
                found.append(
                    f"left: {undone}" if undone else scheduler.complaints[0] if scheduler.complaints else result()
                )
        if len(path.departures) < departures:
            waiting.extend(path.further(choices.asked))
    return found


def counter(lock):
    """Two tasks that add one each, with a lock or without."""

    def program(scheduler):
        state = {"count": 0}

        def add():
            with lock() if lock is not None else Lock():
                before = state["count"]
                point("between reading and writing")
                state["count"] = before + 1

        for name in "ab":
            scheduler.spawn(name, add)
        return lambda: state["count"]

    return program


def test_a_lost_update_is_found_and_a_lock_prevents_it():
    """Some schedule of two unguarded additions loses one; none of two that share a lock does."""
    shared = {}
    assert set(all_schedules(counter(None))) == {1, 2}
    assert set(all_schedules(counter(lambda: shared.setdefault("lock", RLock())))) == {2}


def test_tasks_that_wait_for_each_other_are_seen():
    """Two locks taken in two orders: some schedules end with both tasks waiting, and others don't."""

    def program(scheduler):
        first, second = Lock(), Lock()

        def take(one, other):
            with one, other:
                pass

        scheduler.spawn("a", lambda: take(first, second))
        scheduler.spawn("b", lambda: take(second, first))
        return lambda: "done"

    assert set(all_schedules(program, 2)) == {"done", "left: ['a', 'b']"}


@pytest.mark.parametrize("tells", [True, False])
def test_a_notification_that_is_missing_is_seen(tells):
    """A flag that is raised without a word leaves its waiter asleep, which is said where the lock is left."""

    def program(scheduler):
        changed, flag = monitor.Monitor(), []

        def put():
            with changed.lock:
                flag.append(1)
                if tells:
                    changed.notify_all()

        scheduler.spawn("waiter", lambda: changed.until(lambda: flag, 5.0))
        scheduler.spawn("teller", put)
        return lambda: scheduler.now

    with laboratory():
        found = set(all_schedules(program))
    assert 1000.0 in found
    assert any("isn't notified" in str(one) for one in found) is not tells
    assert (found == {1000.0}) is tells


@pytest.mark.parametrize("timeout", [None, 0.02])
def test_who_waits_in_a_monitor_gets_what_came(timeout):
    """Two that wait in `until`, one on the condition and two that change: each wakes at once, or when its time is up."""

    def program(scheduler):
        changed, state = monitor.Monitor(), {"count": 0}
        answers = []

        def wait(count):
            answers.append((count, changed.until(lambda: state["count"] >= count, timeout)))

        def sleep_on():
            with changed.lock:
                while state["count"] < 2:
                    changed.wait()

        def put():
            with changed.lock:
                state["count"] += 1
                changed.notify_all()

        for name, body in {"one": lambda: wait(1), "two": lambda: wait(2), "condition": sleep_on}.items():
            scheduler.spawn(name, body)
        for name in "ab":
            scheduler.spawn(name, put)
        return lambda: (tuple(sorted(answers)), len(changed._tickets), changed.lock.locked())

    with laboratory():
        found = all_schedules(program, 2)
    assert len(found) > 500
    told = {found for found, _, _ in found}
    assert {(tickets, locked) for _, tickets, locked in found} == {(0, False)}
    assert told == {((1, True), (2, True))} if timeout is None else ((1, True), (2, True)) in told


@pytest.mark.parametrize("name", ["apart", "started"])
def test_what_the_main_thread_does_apart_is_done_when_it_goes_on(name):
    """In every schedule: the call's value or error comes back, or the thread has begun."""

    def program(scheduler):
        seen = []

        def main():
            if name == "apart":
                seen.append(monitor.apart(lambda: monitor.threading.current_thread().name))
                with pytest.raises(ZeroDivisionError):
                    monitor.apart(lambda: 1 // 0)
            else:
                thread = Thread(target=lambda: point("under way"), name="begun")
                monitor.started(thread)
                seen.append(thread.name if thread.ident else "not begun")
                thread.join()

        scheduler.spawn("main", main, is_users=True)
        scheduler.spawn("another", lambda: [point("another") for _ in range(3)])
        return lambda: tuple(seen)

    with laboratory():
        assert set(all_schedules(program, 2)) == {("nbbacktest-command" if name == "apart" else "begun",)}


def test_time_passes_when_it_is_waited_for():
    """Sleepers wake in the order of their deadlines, at these, and a wait's timeout is exact."""
    seen = []
    with laboratory(), Scheduler(Departures()) as scheduler:
        for seconds in (0.3, 0.1, 0.2):
            scheduler.spawn(str(seconds), lambda seconds=seconds: (sleep(seconds), seen.append((seconds, now()))))
        flag = monitor.Flag()
        scheduler.spawn("patient", lambda: seen.append((flag.wait(0.25), now())))
        scheduler.run()
    assert seen == [(0.1, 1000.1), (0.2, 1000.2), (False, 1000.25), (0.3, 1000.3)]


def test_what_goes_round_in_circles_is_stuck():
    """A task that never ends, and one that only ever sleeps, are told apart from those that wait."""
    with Scheduler(Departures()) as scheduler:
        scheduler.spawn("restless", lambda: [point("again") for _ in iter(int, 1)])
        with pytest.raises(StuckError, match="in circles"):
            scheduler.run()
    with Scheduler(Departures()) as scheduler:
        scheduler.spawn("sleeper", lambda: [sleep(1.0) for _ in iter(int, 1)])
        with pytest.raises(StuckError, match="nothing else does"):
            scheduler.run()


def test_a_thread_is_a_task_of_its_own():
    """It is alive from its start to its end, knows itself, and can be joined."""
    seen = []
    with laboratory(), Scheduler(Departures()) as scheduler:
        thread = Thread(
            target=lambda: seen.append(engine_modules()["nbbacktest.system.runner"].threading.current_thread())
        )
        scheduler.spawn("starter", lambda: (thread.start(), thread.join(), seen.append(thread.is_alive())))
        scheduler.run()
    assert seen == [thread, False]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.NAME)
def test_a_seed_is_one_schedule(world):
    """The same seed gives the same steps and answers, whatever ran in between."""
    with laboratory():
        once = [by_seed(world, seed) for seed in range(20)]
        again = [by_seed(world, seed) for seed in reversed(range(20))]
    assert [(one.trace, one.answers) for one in once] == [(one.trace, one.answers) for one in reversed(again)]
    assert len({tuple(one.trace) for one in once}) == 20


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.NAME)
def test_a_seed_is_the_same_schedule_in_another_process(world):
    """The command that a failing test names shows the very steps that failed, also where strings hash otherwise."""
    with laboratory():
        outcome = by_seed(world, 7)
    shown = subprocess.run(
        [sys.executable, "-m", "tests.interleavings", world.NAME, "--seed", "7"],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown[: len(outcome.trace)] == outcome.trace
    assert shown[-1] == "no fault"


def test_a_fault_is_shown_again_by_the_command_that_it_names():
    """A planted fault fails with its scenario, its answers and a command, which goes the same way in another process."""
    mutant = MUTANTS[0]
    with laboratory(), planted(mutant), pytest.raises(FoundError) as found:
        try_seeds(engine_world, range(200))
    outcome = found.value.outcome
    assert outcome.problems[0] in str(found.value)
    assert found.value.command in str(found.value)
    command = [sys.executable, *found.value.command.split()[1:], "--mutant", mutant.name]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stdout.splitlines()[: len(outcome.trace)] == outcome.trace
    assert outcome.problems[0].splitlines()[0] in again.stdout


def test_everything_is_put_back():
    """After a schedule, modules have their threads and classes their attributes again."""
    modules = [module for module in engine_modules().values() if hasattr(module, "threading")]
    assert len(modules) > 10
    with replaced():
        assert all(module.threading is not threading for module in modules)
    assert all(module.threading is threading for module in modules)
    assert not any("__getattribute__" in vars(kind) or "__setattr__" in vars(kind) for kind in SHARED)


def test_no_module_with_threads_is_forgotten():
    """Whatever in the engine or the system imports threads runs under the scheduler, but for sockets and processes."""
    known, missing = engine_modules(), []
    for floor in ("engine", "system"):
        for path in (ROOT / "nbbacktest" / floor).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            names = {
                node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Import)
            }
            has_threads = any(alias.name == "threading" for node in names for alias in node.names)
            if has_threads and name not in known and not name.startswith(ELSEWHERE):
                missing.append(name)
    assert set(missing) <= {"nbbacktest.system.audit", "nbbacktest.system.session"}  # no run of theirs is here


def test_every_shared_field_exists():
    """A field that was renamed would be no point any more."""
    with laboratory():
        outcome = by_seed(live_world, 3)
        assert not outcome.problems
        scheduler = Scheduler(drawn(random.Random(0)))
        with scheduler:
            bench = live_world._Bench(live_world.CASES["two pushers"], live_world.Judge(Departures(), outcome), None)
            bench.system.start(live_world.config(False, 1.0), feed=bench._feed, strategies=bench._strategy)
            by_the_clock = Rig(series("A", range(2))).coordinator
    run = bench.system.run
    stages = [
        run.gate,
        run.gate.state,
        run.analysis,
        run.processor,
        by_the_clock,
        run.world.timeline,
        run.inbox,
        run.lag,
        run,
    ]
    others = [bench.system._life, bench.system._holder, run._done, run.gate._changed]
    owners = {type(one): one for one in [*stages, *run.streams, *others]}
    for kind, (guard, names) in SHARED.items():
        [owner] = [one for one in owners.values() if isinstance(one, kind)]
        missing = [name for name in {*names, *([guard] if guard else [])} if not hasattr(owner, name)]
        assert missing == [], kind
