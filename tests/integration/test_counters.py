"""What is counted is what happened: every timing against a clock that stands beside the engine, every count recounted."""

from __future__ import annotations

import threading
from math import ceil
from time import monotonic, perf_counter, sleep

import pytest

import nbbacktest as nb
from tests.markets import minutes
from tests.rig import Recorder, Rig, series

WITHIN = 0.05  # of the truth


class Stopwatch:
    """Makes a call last longer than anything that could disturb it, and measures it with a clock of its own."""

    def __init__(self, work, seconds=0.02):
        self.work, self.seconds, self.total, self.count = work, seconds, 0.0, 0

    def __call__(self, *arguments):
        began = monotonic()
        sleep(self.seconds)
        answer = self.work(*arguments)
        self.total += monotonic() - began
        self.count += 1
        return answer


def close(name, counted, truth):
    """Whether both are the same within the bound; how far apart they are is shown by ``pytest -rP``."""
    print(f"{name}: counted {counted:.4f} s, truth {truth:.4f} s, {counted / truth - 1:+.2%}")
    return counted == pytest.approx(truth, rel=WITHIN)


def windowed(count=70, window=7, **options):
    """An engine whose windows have a fixed length."""
    return Rig(series("A", range(count)), window=window, **options)


def test_analysis_timing_is_the_strategies_time():
    """What strategies take, by their own watch, is what the analysis publishes; a pause in between isn't counted."""
    agent = Recorder()
    agent.on_bar = watch = Stopwatch(lambda bar: None, 0.004)
    with windowed(agent=agent, paused=True) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(31, 10)
        sleep(0.3)  # longer than 5% of it all
        rig.gate.resume()
        rig.join()
    assert watch.count == 70
    assert close("analysis timing", rig.analysis.timing.total, watch.total)


def test_processor_timing_is_the_time_that_cutting_takes():
    """What the processor takes to cut windows is published; waiting for a slow strategy isn't."""
    agent = Recorder()
    agent.on_bar = lambda bar: sleep(0.004)
    rig = windowed(agent=agent)
    rig.processor.prepare = watch = Stopwatch(rig.processor.prepare)
    with rig:
        rig.join()
    assert watch.count == rig.processor.timing.count == ceil(70 / 7)
    assert close("processor timing", rig.processor.timing.total, watch.total)


def test_coordinator_timing_is_the_time_that_releasing_takes():
    """What the coordinator takes to release windows is published; waiting until they are done isn't."""
    agent = Recorder()
    agent.on_bar = lambda bar: sleep(0.004)
    rig = windowed(agent=agent)
    link = rig.coordinator._link
    link.open = watch = Stopwatch(link.open)
    with rig:
        rig.join()
    assert watch.count == rig.coordinator.timing.count == ceil(70 / 7)
    assert close("coordinator timing", rig.coordinator.timing.total, watch.total)


def test_pause_timing_is_the_time_from_the_call_to_rest():
    """From the call of pause to the return of the callback that it met, by their own watch, is what is published."""
    agent, inside, returned, truth = Recorder(), threading.Semaphore(0), [], 0.0
    agent.on_bar = lambda bar: (inside.release(), sleep(0.1), returned.append(perf_counter()))
    with windowed(agent=agent) as rig:
        for number in range(5):
            assert inside.acquire(timeout=10)
            called = perf_counter()
            assert rig.gate.pause(10)
            assert len(returned) == number + 1
            truth += returned[-1] - called
            rig.gate.resume()
    assert rig.gate.pause_timing.count == 5
    assert close("pause timing", rig.gate.pause_timing.total, truth)


def test_wait_seconds_are_the_time_that_was_waited():
    """The seconds that a subscription says it was waited for are those that the one who waited measured."""
    subscription = nb.StreamSubscription("data-driven", "a->b")
    waited = 0.0

    def take():
        nonlocal waited
        for _ in range(5):
            began = monotonic()
            assert subscription.wait_until_ready()
            waited += monotonic() - began
            subscription.reset()

    taker = threading.Thread(target=take)
    taker.start()
    for _ in range(5):
        sleep(0.05)
        subscription.signal_ready()
        subscription.wait_until_reset()
    taker.join(10)
    assert close("wait seconds", subscription.statistics()["wait_seconds"], waited)


def test_handovers_are_one_a_window():
    """Signals and cycles of both pairs are as many as there are windows to hand over."""
    with windowed(count=700, window=7) as rig:
        rig.join()
    windows = ceil(700 / 7)
    first, second = rig.upstream.statistics(), rig.downstream.statistics()
    assert (second["signals"], second["cycles"]) == (windows, windows)
    assert (first["signals"], first["cycles"]) == (windows, windows)
    assert first["overruns"] == second["overruns"] == 0
    assert rig.analysis.timing.count == windows


def test_nobody_runs_ahead_of_the_strategies():
    """At every bar: the processor has made its window ready and no other, and the coordinator has released no other."""
    agent, prepared, ahead = Recorder(), [], []
    rig = windowed(count=700, window=7, agent=agent)
    prepare = rig.processor.prepare
    rig.processor.prepare = lambda window: (prepared.append(window.start), prepare(window))[1]

    def look(bar):
        ahead.append(max(prepared) // 7 - agent.index // 7)
        assert rig.upstream.statistics()["signals"] == agent.index // 7 + 1

    agent.on_bar = look
    with rig:
        rig.join()
    assert len(ahead) == 700
    assert set(ahead) == {0}


def test_others_are_let_in_between_turns():
    """After every turn within a window others are offered the interpreter; at a window's end it is free anyway."""
    with windowed(count=700, window=70, paused=True) as rig:
        rig.gate.hold_until_rest(10)
        rig.quantum.turn, offered = 10, []
        rig.analysis._yielding.yield_if_wanted = lambda: offered.append(rig.agent.index + 1)
        rig.gate.resume()
        rig.join()
    assert offered == [done for done in range(10, 700, 10) if done % 70]


@pytest.mark.parametrize(("seconds", "seen"), [(-1.0, set(range(0, 700, 10))), (3600.0, {0, 10})])
def test_a_run_that_goes_on_publishes_as_often_as_is_seen(seconds, seen, monkeypatch):
    """Turns publish where the last publication is too old for a panel, which asks for nothing; not each of them."""
    agent, published = Recorder(), set()
    with windowed(count=700, window=700, agent=agent, paused=True) as rig:
        rig.gate.hold_until_rest(10)
        rig.quantum.turn = 10
        rig.analysis._yielding.yield_if_wanted = lambda: None
        monkeypatch.setattr(rig.analysis, "FRESH", seconds)
        agent.on_bar = lambda bar: published.add(rig.analysis.frame.cursor)
        rig.gate.resume()
        rig.join()
        assert rig.analysis.frame.cursor == 700
    assert published == seen


def test_steps_let_nobody_in_beyond_their_rests():
    """Whoever steps has the interpreter while the engine rests; it doesn't sleep for others after each step too."""
    with windowed(count=70, window=70, paused=True) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(1, 10)  # from here on it rests within a window
        naps, courtesy = [], rig.analysis._yielding
        courtesy._clock, courtesy._blocked, courtesy._nap = lambda: 0.0, iter(range(1, 1_000)).__next__, naps.append
        for _ in range(69):
            assert rig.gate.step(1, 10)
        assert naps == []
        rig.gate.resume()
        rig.join()


class Counting(nb.Strategy):
    """Counts its bars, and when the first and the last of them came."""

    def on_start(self):
        self.bars_seen, self.first = 0, perf_counter()

    def on_bar(self, bar):
        self.bars_seen += bar.interval == "1m"
        self.last = perf_counter()
        if self.bars_seen % 50 == 0:
            sleep(0.02)


def test_bars_and_duration_are_those_of_the_run():
    """Bars processed are the callbacks; the duration lies between the strategy's watch and the caller's."""
    system = nb.SystemManager()
    before = perf_counter()
    system.start({}, data={"A": minutes(400), "B": minutes(400)}, strategies=Counting)
    metrics = system.wait(30).metrics["performance_metrics"]
    after = perf_counter()
    [strategy] = system.strategies
    assert metrics["bars_processed"] == strategy.bars_seen == 800
    assert strategy.last - strategy.first <= metrics["session_duration"] <= after - before
    assert metrics["bars_per_second"] == pytest.approx(800 / metrics["session_duration"])
