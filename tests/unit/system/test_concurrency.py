"""SystemManager at the worst moment: commands that meet, threads that fail, callbacks that raise, processes that end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import nbbacktest as nb
from nbbacktest.core.errors import DataError
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.system import manager as manager_module
from nbbacktest.system.event_dispatcher import EventDispatcher
from tests.held import Gated, Quiet, await_hold, in_thread, started
from tests.markets import minutes


def gated(at=5, **options):
    """A running system whose strategy is inside the call for the bar numbered `at`."""
    system = started(Gated, at=at, **options)
    assert system.strategies[0].inside.wait(10)
    return system, system.strategies[0]


# -- commands -----------------------------------------------------------------------------------------------


def test_a_time_is_read_from_where_a_running_system_really_is():
    """run_until a clock time means the next one after the bar under way, not after what was published last."""
    system, strategy = gated(at=20)
    thread, answers = in_thread(system.run_until, "09:40")
    await_hold(system)
    strategy.go_on.set()
    thread.join(10)
    assert answers == [False]
    assert system.is_stopped()


def test_a_time_that_has_passed_is_refused_while_running():
    """A full time before the bar under way is a ValueError, and the run goes on."""
    system, strategy = gated(at=20)
    thread, answers = in_thread(system.run_until, "2024-10-03 09:40")
    await_hold(system)
    strategy.go_on.set()
    thread.join(10)
    assert "has passed" in str(answers[0])
    assert system.wait(20).stats["bars"] == 200


def test_a_time_for_a_blocked_strategy_is_an_error(monkeypatch):
    """Where the run doesn't come to stand, run_until says which call blocks, and holds nothing."""
    monkeypatch.setattr(manager_module, "REST_SECONDS", 0.05)
    system, strategy = gated()
    with pytest.raises(nb.StrategyBlockedError, match="on_bar"):
        system.run_until("10:30")
    strategy.go_on.set()
    assert system.wait(20).stats["bars"] == 200


def test_a_callback_may_resume_what_a_step_has_reached():
    """A state callback that resumes at every rest doesn't take the step's answer away."""
    system = started(paused=True)
    system.on_state(lambda state: system.resume() if state is nb.SystemState.PAUSED else None)
    assert system.step(5) is True
    assert system.wait(20).stats["bars"] == 200


@pytest.mark.parametrize("callback", ["on_start", "on_bar", "on_fill", "on_stop"])
def test_a_strategy_may_use_every_command_in_every_callback(callback):
    """Looks and commands from inside a callback answer, or raise what is documented; none of them waits for itself."""
    answers = {}

    def command(self, *arguments):
        if answers:
            return
        for name, call in {
            "snapshot": system.snapshot,
            "status": system.status,
            "to_json": system.to_json,
            "speed": lambda: system.set_speed(0.0),
            "start": system.start,
            "resume": system.resume,
            "step": system.step,
            "until": lambda: system.run_until("10:00"),
            "until_found": lambda: system.run_until(lambda shot: True),
            "wait": system.wait,
            "coordinator": lambda: system.get_coordinator().pause_backtest(),
            "pause": system.pause,
            "stop": system.stop,
        }.items():
            try:
                answers[name] = call()
            except Exception as error:  # noqa: BLE001 - as above
                answers[name] = error

    class Commanding(nb.Strategy):
        def on_bar(self, bar):
            self.buy(size=1)

    command.__name__ = callback
    base = Commanding.on_bar
    setattr(
        Commanding, callback, (lambda self, bar: (base(self, bar), command(self))) if callback == "on_bar" else command
    )
    system = nb.SystemManager()
    held = threading.Event()
    with system._condition.lock:  # the strategy's first command waits until start has returned
        system.start({}, data=minutes(), strategies=Commanding)
        held.set()
    system.wait(20)
    late = callback == "on_stop"
    assert isinstance(answers["snapshot"], nb.Snapshot)
    assert answers["status"]["system_manager"]["_state"] == "running"
    assert (answers["start"], answers["resume"], answers["stop"]) == (False, False, True)
    assert (answers["coordinator"], answers["pause"]) == (not late, not late)
    assert isinstance(answers["step"], nb.InvalidTransition)
    for name in ("until", "until_found", "wait"):
        assert isinstance(answers[name], RuntimeError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, ValueError])
def test_whatever_a_strategy_raises_is_its_error(kind):
    """With on_error pause or stop, any exception is a StrategyError with its cause; stop then keeps it."""

    class Raising(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 5:
                raise kind("boom")

    system = nb.SystemManager()
    paused = threading.Event()
    system.on_state(lambda state: paused.set() if state is nb.SystemState.PAUSED else None)
    system.start({"on_error": "pause"}, data=minutes(), strategies=Raising)
    assert paused.wait(10)
    assert isinstance(system.error, nb.StrategyError)
    assert isinstance(system.error.__cause__, kind)
    assert system.step(3)
    assert system.error is None
    assert system.stop()
    assert system.wait(20).stats["bars"] == 8
    system.start({}, data=minutes(), strategies=Raising)
    with pytest.raises(nb.StrategyError) as caught:
        system.wait(20)
    assert isinstance(caught.value.__cause__, kind)
    assert caught.value.result.stats["bars"] == 5


def test_what_a_blocked_run_did_is_kept_whole(monkeypatch):
    """The result of a run that was given up holds its bars, fills and equity up to the blocked call's instant."""
    monkeypatch.setattr(manager_module, "STOP_SECONDS", 0.05)

    class Trading(Gated):
        def on_bar(self, bar):
            self.buy(size=1)
            super().on_bar(bar)

    system = started(Trading, at=50)
    strategy = system.strategies[0]
    assert strategy.inside.wait(10)
    with pytest.raises(nb.StrategyBlockedError):
        system.stop()
    result = system._holder.run.result()
    assert (result.stats["bars"], len(result.fills), len(result.equity)) == (50, 49, 50)
    strategy.go_on.set()


@pytest.mark.parametrize("paused", [False, True])
def test_bars_that_can_not_be_made_fail_the_run_however_late_their_thread_ends(paused, monkeypatch):
    """The other stages may see the processor's streams closed, and end, before its thread has said why it failed."""
    over, close = threading.Event(), StreamSubscription.close

    def closed(stream):
        close(stream)
        if (threading.current_thread().name, stream.get_stream_id()) == ("nbbacktest-processor", "processor->analysis"):
            over.wait(10)  # it has closed both

    def broken(processor, window):
        raise DataError("a chunk can't be read")

    monkeypatch.setattr(StreamSubscription, "close", closed)
    monkeypatch.setattr(DataProcessor, "batches", broken)
    system = nb.SystemManager()
    try:
        system.start(data=minutes(10), strategies=Quiet, paused=paused)
        with pytest.raises(DataError, match="can't be read"):
            system.wait(5)
        assert system.is_stopped()
        assert system.status()["error"]["message"] == "a chunk can't be read"
    finally:
        over.set()
    system.stop()


def test_waiting_from_many_threads_gives_all_the_same_result():
    """Every wait returns the one result."""
    system, strategy = gated()
    waiting = [in_thread(system.wait, 20) for _ in range(5)]
    strategy.go_on.set()
    for thread, _ in waiting:
        thread.join(20)
    assert [answers for _, answers in waiting] == [[system.wait()]] * 5


# -- threads that fail --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["analysis", "processor", "coordinator"])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_start_that_is_cut_short_leaves_a_stopped_system(stage, kind, monkeypatch):
    """Where a thread can't be started, or Ctrl-C comes then, start raises; nothing runs; the next start works."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == f"nbbacktest-{stage}":
            raise kind("no thread")
        start(thread)

    system = nb.SystemManager()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(kind, match="no thread"):
        system.start({}, data=minutes(), strategies=Quiet)
    monkeypatch.undo()
    assert system.is_stopped()
    assert system.start({}, data=minutes(), strategies=Quiet, wait=True)


def test_callbacks_that_can_not_be_called_do_not_hang_the_run(monkeypatch, caplog):
    """Where the callbacks' thread can't be started the run still starts, pauses, ends; the failure is logged."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "nbbacktest-events":
            raise RuntimeError("no thread")
        start(thread)

    told = []
    system = nb.SystemManager()
    system.on_state(told.append)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    assert system.step(3)
    system.resume()
    assert system.wait(20).stats["bars"] == 200
    assert "callbacks can't be called now" in caplog.text
    assert told == []
    monkeypatch.undo()
    system.start({}, data=minutes(), strategies=Quiet, wait=True)
    assert told[-1] is nb.SystemState.STOPPED


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
def test_whatever_a_callback_raises_harms_no_other(kind, caplog):
    """Even SystemExit is logged, and all later events are told."""

    def leave(state):
        raise kind("bye")

    states = []
    system = nb.SystemManager()
    system.on_state(leave)
    system.on_state(states.append)
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    system.resume()
    system.wait(20)
    assert states == ["running", "paused", "running", "stopped"]
    assert "bye" in caplog.text


def test_the_end_of_a_run_leaves_the_next_ones_progress_alone():
    """Progress belongs to a run: an end that is told late doesn't silence the run that was started meanwhile."""

    class Ended:
        def __init__(self):
            self.result = None

        def followed(self):
            return self

    old, new = Ended(), Ended()
    seen, enough = [], threading.Event()
    dispatcher = EventDispatcher()
    dispatcher.poll_progress(old.followed)
    dispatcher.poll_progress(new.followed)
    dispatcher.run_ended(old)
    dispatcher.subscribe("progress", lambda shot: (seen.append(shot), enough.set()))
    assert enough.wait(10)
    dispatcher.run_ended(new)
    assert dispatcher.flush(10)
    assert set(seen) == {new}


def test_a_finished_that_is_cancelled_leaves_nothing_with_the_run():
    """Polling with wait_for(finished()) adds up to nothing."""

    async def poll(system):
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(system.finished(), 0.001)
        return len(system._holder.run._listeners)

    system = started(paused=True)
    assert asyncio.run(poll(system)) == 0
    system.stop()


# -- the end of managers and processes ----------------------------------------------------------------------


def test_dropping_a_manager_never_waits():
    """The collector may come at any time in any thread: it ends the run and waits for nobody."""
    gc.collect()
    gc.freeze()  # what other tests have left in memory is none of its business
    try:
        system, strategy = gated()
        began = time.perf_counter()
        del system
        gc.collect()
        assert time.perf_counter() - began < 0.7
        strategy.go_on.set()
    finally:
        gc.unfreeze()


def test_dozens_of_managers_at_once():
    """Each has its own run, state and threads; all end when told."""
    systems = [started(count=50, paused=True) for _ in range(24)]
    for number, system in enumerate(systems):
        assert system.step(1 + number)
    assert [system.snapshot().cursor for system in systems] == list(range(1, 25))
    for system in systems:
        assert system.stop()
    assert {system.wait(10).stats["bars"] for system in systems} == set(range(1, 25))


def python(code, timeout=20.0):
    """Run a script with this package; returns the completed process, and how long its exit took."""
    prelude = """
        import atexit, os, sys, threading, time, warnings
        import nbbacktest as nb
        from tests.markets import minutes
        class Slow(nb.Strategy):
            def on_bar(self, bar): time.sleep(0.001)
        class Blocked(nb.Strategy):
            def on_bar(self, bar): time.sleep(600)
        class Spinning(nb.Strategy):
            def on_bar(self, bar):
                while True: pass
        def started(strategy, speed=0.0, **options):
            system = nb.SystemManager()
            system.set_speed(speed)
            system.start({}, data=minutes(5000), strategies=strategy, **options)
            return system
    """
    script = textwrap.dedent(prelude) + textwrap.dedent(code) + "\nprint(time.time(), flush=True)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, check=False)
    ended = time.time()
    return done, ended - float(done.stdout.split()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "system = started(Slow, paused=True)",
        "system = started(Slow, speed=1.0)",
        "system = started(Spinning)",
        "systems = [started(Blocked) for _ in range(8)]",
        "system = started(Slow); system.on_state(lambda state: None); system.on_progress(lambda shot: None)",
        "system = started(Slow); threading.Thread(target=system.wait, daemon=True).start()",
    ],
    ids=["paused", "paced", "spinning", "many blocked", "with callbacks", "waited for"],
)
def test_the_interpreter_exits_while_a_run_goes_on(code):
    """Within 2 s of the script's last line, with status 0 and nothing on stderr."""
    done, seconds = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert seconds < 8  # as long as the machine is busy; one that waited would wait for ever


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_exits_and_runs_its_own():
    """A child of a process with a run under way makes its own runs and exits at once; the parent's goes on."""
    done, _ = python("""
        system = started(Slow)
        began = time.time()
        with warnings.catch_warnings(action="ignore"):  # from Python 3.12 on: what it warns of is what is tested
            child = os.fork()
        if not child:
            result = nb.backtest(minutes(50), Slow)
            sys.exit(7 if result.stats["bars"] == 50 else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert time.time() - began < 8.0, time.time() - began  # and not until the parent's run ends
        assert system.pause()
        system.stop()
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("parent", ["paused", "running", "held by a thread", "ended"])
def test_a_forked_child_sees_a_stopped_manager(parent):
    """Whatever the parent's run does, and whichever lock a thread holds: the child's manager is stopped, and runs anew."""
    done, _ = python(f"""
        parent = {parent!r}
        system = nb.get_system_manager()
        system.set_speed(0 if parent == "ended" else 1)
        system.start({{}}, data=minutes(60), strategies=Slow, paused=parent == "paused")
        if parent == "ended":
            system.stop()
        held, over = threading.Event(), threading.Event()
        def hold():
            with system._condition.lock, system._events._changed.lock:
                held.set()
                over.wait(60)
        if parent == "held by a thread":
            threading.Thread(target=hold, daemon=True).start()
            held.wait(30)
        with warnings.catch_warnings(action="ignore"):  # from Python 3.12 on: what it warns of is what is tested
            child = os.fork()
        if not child:
            assert nb.get_system_manager() is system
            assert system.is_stopped()
            assert system.stop() is False
            if parent != "ended":
                try:
                    system.wait(1)
                except RuntimeError as error:
                    assert "nothing was started yet" in str(error)
            assert system.start({{}}, data=minutes(50), strategies=Slow)
            os._exit(7 if system.wait(30).stats["bars"] == 50 else 1)
        over.set()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert system.is_stopped() is (parent == "ended")
        system.stop()
    """)
    assert (done.returncode, done.stderr) == (0, "")
