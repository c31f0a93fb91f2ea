"""The three stages together: order, exactness, pace, and every way to an end."""

from __future__ import annotations

import threading

import pytest

from nbbacktest.core.clock import ManualClock
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.engine.subscription import Link
from tests.rig import Recorder, Rig, series


def two_symbols():
    """Two symbols, one with gaps, and a derived interval."""
    return (
        series("A", range(30)),
        series("B", [m for m in range(30) if m % 3]),
        series("A", range(0, 30, 5), "5m"),
    )


def everything():
    """What a plain loop over `two_symbols` would deliver."""
    parts = two_symbols()
    ends = sorted({int(e) for p in parts for e in p.columns.end})
    return [
        (index, p.symbol, p.interval, float(p.columns.close[row]))
        for index, end in enumerate(ends)
        for p in parts
        for row in range(len(p.columns))
        if int(p.columns.end[row]) == end
    ]


@pytest.mark.parametrize("window", [1, 7, 1000, None])
@pytest.mark.parametrize("speed", [0.0, 1e9])
def test_every_bar_is_delivered_once_and_in_order(window, speed):
    """Whatever the window and the mode, the agent sees the plain loop's bars, between start and stop."""
    with Rig(*two_symbols(), window=window, speed=speed) as rig:
        rig.join()
    assert rig.agent.seen == everything()
    assert rig.agent.events == ["start", "stop"]


def test_the_inline_driver_delivers_the_same():
    """Without threads the order of events is the same."""
    rig = Rig(*two_symbols())
    run_inline(rig.timeline, rig.gate, rig.quantum, rig.processor, rig.analysis)
    assert rig.agent.seen == everything()
    assert rig.agent.events == ["start", "stop"]


def test_orders_are_matched_once_an_instant_before_its_callbacks():
    """With something pending, orders are matched once an instant, with all its bars, before any callback."""
    agent = Recorder()
    agent.pending.append("an order")
    order = []
    agent.match_orders = lambda bars: order.append(("match", agent.index, len(bars)))
    agent.on_bar = lambda bar: order.append(("bar", agent.index, bar.symbol))
    with Rig(series("A", [0, 1]), series("B", [0]), agent=agent) as rig:
        rig.join()
    assert order == [
        ("match", 0, 2), ("bar", 0, "A"), ("bar", 0, "B"), ("match", 1, 1), ("bar", 1, "A"),
    ]  # fmt: skip


def test_all_bars_of_an_instant_are_visible_before_its_first_callback():
    """A callback for one symbol already sees the other symbol's bar of the same instant."""
    parts = (series("A", [0, 1]), series("B", [0, 1]))
    seen = []
    agent = Recorder()
    agent.on_bar = lambda bar: seen.append(tuple(p.n for p in parts))
    with Rig(*parts, agent=agent) as rig:
        rig.join()
    assert seen == [(1, 1), (1, 1), (2, 2), (2, 2)]


@pytest.mark.parametrize("speed", [0.0, 1e9])
def test_a_step_is_exact(speed):
    """step(n) delivers n instants and rests; the published frame is of that cursor."""
    with Rig(*two_symbols(), paused=True, speed=speed) as rig:
        rig.gate.hold_until_rest(10)
        for n, cursor in ((1, 1), (3, 4), (10, 14)):
            assert rig.gate.step(n, 10) is True
            assert rig.gate.cursor == rig.analysis.frame.cursor == cursor
            assert rig.agent.index == cursor - 1
            assert rig.life.state is SystemState.PAUSED


def test_a_step_beyond_the_end_ends_the_run():
    """A step that the data can't fill says False, and the run is over; one that just fills it rests."""
    with Rig(series("A", range(5)), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(5, 10) is True
        assert rig.agent.events == ["start"]
        assert rig.gate.step(1, 10) is False
        rig.join()
    assert rig.agent.events == ["start", "stop"]
    assert len(rig.agent.seen) == 5


def test_a_run_paused_after_its_last_bar_waits_for_its_user():
    """Reaching the end while paused is not the end: resume is."""
    with Rig(series("A", range(5)), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.step(5, 10)
        rig.coordinator.set_speed(100.0)
        rig.coordinator.set_speed(0.0)
        assert rig.life.state is SystemState.PAUSED
        assert "stop" not in rig.agent.events
        assert rig.gate.resume()
        rig.join()
    assert rig.agent.events == ["start", "stop"]


def test_pausing_in_a_callback_rests_at_that_instant():
    """A hold from inside a callback lets the instant finish and delivers nothing after it."""
    agent = Recorder()
    with Rig(*two_symbols(), agent=agent, paused=True) as rig:
        agent.on_bar = lambda bar: rig.gate.hold_here() if agent.index == 7 else None
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        assert rig.gate._changed.until(lambda: rig.life.state is SystemState.PAUSED, 10)
        assert rig.analysis.frame.cursor == 8
        assert agent.seen == [e for e in everything() if e[0] <= 7]


def test_pause_waits_for_the_call_that_is_under_way():
    """pause() returns only when the strategy's call has, and nothing is delivered after that."""
    inside, go_on = threading.Event(), threading.Event()
    agent = Recorder()

    def on_bar(bar):
        if agent.index == 3:
            inside.set()
            go_on.wait(10)

    agent.on_bar = on_bar
    with Rig(series("A", range(100)), agent=agent) as rig:
        assert inside.wait(10)
        answers = []
        pauser = threading.Thread(target=lambda: answers.append(rig.gate.pause(10)))
        pauser.start()
        pauser.join(0.05)
        assert pauser.is_alive()
        go_on.set()
        pauser.join(10)
        assert answers == [True]
        assert rig.agent.index == 3
        assert rig.analysis.frame.cursor == 4


def test_a_pause_that_can_not_rest_says_so_and_stays():
    """After its time limit pause raises TimeoutError; the run rests as soon as the call returns."""
    inside, go_on = threading.Event(), threading.Event()
    agent = Recorder()
    agent.on_bar = lambda bar: (inside.set(), go_on.wait(10))
    with Rig(series("A", range(100)), agent=agent) as rig:
        assert inside.wait(10)
        with pytest.raises(TimeoutError):
            rig.gate.pause(0.01)
        go_on.set()
        assert rig.gate.hold_until_rest(10) is True
        assert rig.analysis.frame.cursor == 1


def test_holds_are_counted_and_leave_the_users_pause_alone():
    """Another holder's release never undoes a user's pause, nor the other way round."""
    with Rig(series("A", range(1000)), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.hold("symbols", 10)
        assert rig.gate.hold("symbols", 10)
        rig.gate.resume()
        rig.gate.release("symbols")
        assert rig.gate.at_rest
        assert rig.agent.seen == []
        assert rig.gate.pause(10)
        rig.gate.release("symbols")
        assert rig.life.state is SystemState.PAUSED
        assert rig.agent.seen == []


def test_run_until_a_target_and_a_watcher():
    """A target rests with the instants below it complete; a watcher at the first instant that it answers for."""
    with Rig(*two_symbols(), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.run_until(6, None, 10) is True
        assert rig.analysis.frame.cursor == 6
        asked = []
        assert rig.gate.run_until(None, lambda frame: asked.append(frame.cursor) or frame.cursor >= 9, 10) is True
        assert asked == [7, 8, 9]
        assert rig.analysis.frame.cursor == 9
        assert rig.gate.run_until(None, lambda frame: False, 10) is False
        rig.join()


def test_a_raising_watcher_rests_the_run_and_raises():
    """What a watcher raises comes out of run_until, and the run is paused there, unharmed."""
    with Rig(*two_symbols(), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        with pytest.raises(ZeroDivisionError):
            rig.gate.run_until(None, lambda frame: 0 / (frame.cursor - 3), 10)
        assert rig.analysis.frame.cursor == 3
        assert rig.life.state is SystemState.PAUSED
        assert rig.analysis.error is None


def test_commands_that_make_no_sense_are_refused():
    """Stepping a running engine, or resuming one that has ended, is an InvalidTransition."""
    with Rig(series("A", range(10)), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        rig.join()
        with pytest.raises(InvalidTransition, match="allowed here"):
            rig.gate.step(1, 1)


@pytest.mark.parametrize("where", ["start", "bar", "match", "stop"])
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_raising_agent_ends_the_run(where, kind):
    """An exception in any callback, SystemExit included, ends the run with the error kept and no thread waiting."""

    def boom(*_):
        if where in ("start", "stop") or agent.index == 3:
            raise kind("boom")

    agent = Recorder()
    if where == "match":
        agent.pending.append(1)
        agent.match_orders = boom
    else:
        setattr(agent, f"on_{where}", boom)
    with Rig(series("A", range(10)), series("B", range(10)), agent=agent) as rig:
        rig.join()
    assert "boom" in str(rig.analysis.error)
    assert len(agent.seen) == {"start": 0, "bar": 7, "match": 6, "stop": 20}[where]
    assert ("stop" in agent.events) is True


def test_an_error_may_hold_the_run_instead():
    """With on_error pause the run rests at that instant, others' callbacks are called, and it can go on."""
    agent = Recorder()

    def on_bar(bar):
        if agent.index == 3 and bar.symbol == "A":
            raise ValueError("boom")

    agent.on_bar = on_bar
    with Rig(series("A", range(10)), series("B", range(10)), agent=agent, on_error="pause", paused=True) as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        assert rig.gate._changed.until(lambda: rig.life.state is SystemState.PAUSED, 10)
        assert "boom" in str(rig.analysis.error)
        assert rig.analysis.frame.cursor == 4
        assert agent.seen[-1][:2] == (3, "B")
        rig.gate.resume()
        rig.join()
    assert len(agent.seen) == 20


@pytest.mark.parametrize("stage", ["coordinator", "processor"])
def test_a_dead_stage_leaves_nobody_waiting(stage, monkeypatch):
    """When a stage dies by a defect of its own, the others end too."""
    target = {"coordinator": (Link, "open"), "processor": (Link, "take")}[stage]

    def broken(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    with Rig(series("A", range(10)), paused=True) as rig:
        rig.gate.hold_until_rest(10)
        monkeypatch.setattr(*target, broken)
        rig.gate.resume()
        rig.threads[1].join(10)
        rig.gate.end()
        rig.join()


# -- paced by a clock ---------------------------------------------------------------------------------------


def paced(agent=None, speed=60.0, minutes=range(10), **options):
    clock = ManualClock()
    return clock, Rig(series("A", minutes), agent=agent, clock=clock, speed=speed, paused=True, **options)


def advance_and_settle(clock, rig, seconds, cursor):
    """Move the clock and wait until the engine has come to `cursor` and the coordinator sleeps again."""
    clock.advance(seconds)
    is_last = cursor == len(rig.timeline)  # after it the analysis rests for a moment only, and ends
    assert rig.gate._changed.until(lambda: rig.gate.cursor == cursor and (is_last or rig.gate.at_rest), 10)
    rig.upstream.wait_until_reset()
    if not is_last:
        clock.wait_for_sleepers(1)


def test_instants_come_at_absolute_deadlines():
    """At 60 times, a minute bar is due each second from the first on; not a moment before."""
    clock, rig = paced()
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        advance_and_settle(clock, rig, 0.0, 1)
        for cursor in range(2, 6):
            advance_and_settle(clock, rig, 0.75, cursor - 1)
            advance_and_settle(clock, rig, 0.25, cursor)
        assert rig.analysis.lateness.largest == pytest.approx(0, abs=1e-6)
        assert rig.upstream.get_overrun_count() == 0


def test_no_drift_over_a_thousand_bars():
    """Deadlines are absolute: after 1,000 bars with ragged clock steps the last is as punctual as the first."""
    clock, rig = paced(minutes=range(1001))
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        advance_and_settle(clock, rig, 0.0, 1)
        for cursor in range(2, 1002):
            advance_and_settle(clock, rig, 1.0, cursor)
        assert rig.analysis.lateness.largest < 1e-6
        rig.join()
    assert clock.now() == pytest.approx(1000.0)


def test_a_pause_stops_the_simulated_clock_where_it_is():
    """Pausing 0.4 s into a second's wait leaves 0.6 s to wait, however long the pause."""
    clock, rig = paced()
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        advance_and_settle(clock, rig, 0.0, 1)
        clock.advance(0.4)
        assert rig.gate.pause(10)
        clock.advance(1000.0)
        rig.gate.resume()
        clock.wait_for_sleepers(1)
        advance_and_settle(clock, rig, 0.59, 1)
        advance_and_settle(clock, rig, 0.02, 2)
        assert rig.analysis.lag == pytest.approx(0.01)


def test_a_speed_change_counts_from_the_present_moment():
    """Half-way through a wait, ten times the speed leaves a tenth of the other half."""
    clock, rig = paced()
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        advance_and_settle(clock, rig, 0.0, 1)
        clock.advance(0.5)
        rig.coordinator.set_speed(600.0)
        clock.wait_for_sleepers(1)
        advance_and_settle(clock, rig, 0.049, 1)
        advance_and_settle(clock, rig, 0.002, 2)
        assert rig.analysis.lag == pytest.approx(0.001)


def test_a_slow_strategy_gives_the_overruns_and_the_lag_that_arithmetic_says():
    """With bars due every second and calls of 2.5 s: each bar due while an earlier one is handled is an overrun."""
    agent = Recorder()
    clock, rig = paced(agent=agent)
    entered, leave = threading.Semaphore(0), threading.Semaphore(0)
    agent.on_bar = lambda bar: (entered.release(), leave.acquire(timeout=10))
    cost, count = 2.5, 10
    lags, overruns, free_at = [], 0, 0.0
    for due in range(count):
        overruns += free_at > due
        begins = max(float(due), free_at)
        lags.append(begins - due)
        free_at = begins + cost
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        seen = []
        for number in range(count):
            assert entered.acquire(timeout=10)
            seen.append(rig.analysis.lag)
            for _ in range(5):  # in half seconds, so that deadlines fall inside the call
                released = rig.upstream.statistics()["signals"]
                if released < count:
                    clock.wait_for_sleepers(1)
                clock.advance(cost / 5)
                due = min(count, int(clock.now() + 1e-9) + 1)
                while rig.upstream.statistics()["signals"] < due:
                    pass
            assert number == agent.index
            leave.release()
        rig.join()
    assert seen == pytest.approx(lags)
    assert rig.upstream.get_overrun_count() == overruns
    assert len(agent.seen) == count


def test_a_step_does_not_wait_for_the_clock():
    """In clock-driven mode a step delivers at once, with the clock standing still."""
    clock, rig = paced()
    with rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(4, 10)
        assert clock.now() == 0.0
        assert rig.analysis.frame.cursor == 4
        rig.gate.resume()
        clock.wait_for_sleepers(1)
        advance_and_settle(clock, rig, 0.999, 4)
        advance_and_settle(clock, rig, 0.002, 5)


def test_lag_is_never_looked_at_in_lockstep():
    """Data-driven runs count no lateness."""
    with Rig(series("A", range(100))) as rig:
        rig.join()
    assert rig.analysis.lateness.count == 0
    assert rig.analysis.lag == 0.0
