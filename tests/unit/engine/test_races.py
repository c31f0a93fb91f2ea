"""What happens when commands, callbacks and the stages meet at the worst moment; each meeting is arranged exactly."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from nbbacktest.core.clock import ManualClock
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.gate import RunGate
from tests.rig import Recorder, Rig, series


class Blocking(Recorder):
    """An agent that stays in its call at the given instants until it is let go."""

    def __init__(self, *instants: int) -> None:
        super().__init__()
        self.entered, self.leave = threading.Semaphore(0), threading.Semaphore(0)
        self.on_bar = lambda bar: self.block() if self.index in instants else None

    def block(self) -> None:
        self.entered.release()
        assert self.leave.acquire(timeout=20)


@pytest.fixture
def aside():
    """Run a command in a thread of its own: `aside(function, *arguments)` gives its future."""
    pool = ThreadPoolExecutor(4)
    yield pool.submit
    pool.shutdown()


def paused(*parts, **options):
    """A rig that is at rest before its first instant, as a context manager."""
    return Rig(*(parts or (series("A", range(100)),)), paused=True, **options)


def await_state(rig, state=SystemState.PAUSED):
    assert rig.gate._changed.until(lambda: rig.life.state is state, 10)


def await_hold(rig):
    assert rig.gate._changed.until(lambda: rig.gate.state.holders, 10)


def indices(agent):
    return [seen[0] for seen in agent.seen]


# -- the link between coordinator and processor -------------------------------------------------------------


def test_a_release_during_the_acknowledgement_of_the_last_is_not_lost(monkeypatch):
    """A bar that is due while the processor acknowledges the one before is delivered then, not with the next signal."""
    clock, agent = ManualClock(), Blocking(1)
    rig = Rig(series("A", range(6)), agent=agent, clock=clock, speed=60.0)
    take, dawdled = rig.processor._upstream.take, []

    def take_and_dawdle(*arguments):
        window = take(*arguments)
        if window is None and agent.index == 0 and not dawdled:
            dawdled.append(True)
            clock.wait_for_sleepers(1)
            clock.advance(1.0)
            while rig.upstream.statistics()["signals"] < 2:
                pass
        return window

    monkeypatch.setattr(rig.processor._upstream, "take", take_and_dawdle)
    with rig:
        assert agent.entered.acquire(timeout=10)
        assert rig.analysis.lag == 0.0
        agent.leave.release()


def test_stop_drops_the_backlog_of_a_paced_run():
    """Instants that were released and not delivered when the run ends aren't handed over one by one any more."""
    agent, count = Blocking(0), 3000
    with Rig(series("A", range(count)), agent=agent, speed=1e9) as rig:
        assert agent.entered.acquire(timeout=10)
        while rig.upstream.statistics()["signals"] < count:
            pass
        rig.gate.end()
        agent.leave.release()
        rig.join()
        assert rig.processor.timing.count < 5
    assert indices(agent) == [0]


def test_a_pause_in_a_backlog_rests_at_once_and_loses_nothing():
    """With many instants due, a pause rests at the next boundary; after it each is delivered once, in order."""
    agent = Blocking(3)
    with Rig(series("A", range(500)), series("B", range(0, 500, 7)), agent=agent, speed=1e9) as rig:
        assert agent.entered.acquire(timeout=10)
        while rig.upstream.statistics()["signals"] < 500:
            pass
        rig.gate.hold_here()
        agent.leave.release()
        assert rig.gate.hold_until_rest(10)
        assert (rig.gate.cursor, indices(agent)[-1]) == (4, 3)
        assert rig.gate.step(5, 10)
        assert (rig.gate.cursor, indices(agent)[-1]) == (9, 8)
        rig.gate.resume()
        rig.join()
    assert indices(agent) == sorted(list(range(500)) + list(range(0, 500, 7)))


def test_a_hold_by_others_leaves_no_lag_behind(aside):
    """What was due when another holder stopped the clock is due anew when it lets go."""
    clock, agent = ManualClock(), Blocking(0)
    with Rig(series("A", range(3)), agent=agent, clock=clock, speed=60.0) as rig:
        assert agent.entered.acquire(timeout=10)
        clock.wait_for_sleepers(1)
        clock.advance(1.0)  # the second bar is released and waits behind the first
        while rig.upstream.statistics()["signals"] < 2:
            pass
        holding = aside(rig.gate.hold, "symbols", 10)
        await_hold(rig)
        agent.leave.release()
        assert holding.result(10)
        clock.advance(1000.0)
        rig.gate.release("symbols")
        while len(agent.seen) < 2:
            pass
        assert rig.analysis.lateness.largest == 0.0


def test_speeds_set_by_two_threads_leave_one_of_them_whole(monkeypatch, aside):
    """Whoever comes last wins, with speed, mode and pace of one and the same command."""
    inside, go_on = threading.Event(), threading.Event()
    with paused() as rig:
        set_mode = rig.upstream.set_mode

        def dawdle(mode):
            if mode == "data-driven":
                inside.set()
                assert go_on.wait(10)
            set_mode(mode)

        monkeypatch.setattr(rig.upstream, "set_mode", dawdle)
        slow = aside(rig.coordinator.set_speed, 0.0)
        assert inside.wait(10)
        fast = aside(rig.coordinator.set_speed, 60.0)
        with pytest.raises(TimeoutError):
            fast.result(0.05)
        go_on.set()
        slow.result(10)
        fast.result(10)
        assert (rig.coordinator.speed, rig.upstream.get_mode()) == (60.0, "clock-driven")


def test_a_market_without_hours_refuses_the_speed_and_goes_on():
    """What the clock needs is worked out by who asks for the speed: an error is theirs, the run is unharmed."""

    def boom(instants):
        raise ValueError("no session")

    with paused() as rig:
        rig.timeline._elapsed = boom
        with pytest.raises(ValueError, match="no session"):
            rig.coordinator.set_speed(60.0)
        assert rig.coordinator.speed == 0.0
        rig.gate.resume()
        rig.join()
    assert len(rig.agent.seen) == 100


# -- commands of several threads ----------------------------------------------------------------------------


class Late(Monitor):
    """One of which threads that are named so hear late: they look only when `passed` says so."""

    def __init__(self, present: Monitor) -> None:
        super().__init__()
        self.__dict__.update(vars(present))
        self.passed = threading.Event()

    def until(self, answer, timeout=None):
        if threading.current_thread().name == "late":
            assert self.passed.wait(10)
        return super().until(answer, timeout)


@pytest.mark.parametrize("command", ["step", "run_until"])
def test_who_waits_for_a_place_is_told_though_others_go_on_at_once(command):
    """A step is True when it was reached, even where somebody resumed before its caller woke up."""
    agent, answers = Blocking(50), []
    with paused(agent=agent) as rig:
        rig.gate.hold_until_rest(10)

        def go():
            answers.append(rig.gate.step(3) if command == "step" else rig.gate.run_until(3, None))

        rig.gate._changed = changed = Late(rig.gate._changed)
        late = threading.Thread(target=go, name="late")
        late.start()
        await_hold_at(rig, 3)
        assert rig.gate.resume()
        assert agent.entered.acquire(timeout=10)
        changed.passed.set()
        late.join(5)
        stuck = late.is_alive()
        agent.leave.release()
        rig.join()
        late.join(10)
    assert answers == [True]
    assert not stuck


def await_hold_at(rig, cursor):
    assert rig.gate._changed.until(lambda: rig.gate.cursor == cursor and rig.life.state is SystemState.PAUSED, 10)


def test_a_later_run_until_takes_over_and_the_earlier_is_told(aside):
    """The second wins: the first answers False at once, and what its watcher finds afterwards moves nobody."""
    asked, go_on = threading.Event(), threading.Event()

    def first(frame):
        asked.set()
        assert go_on.wait(10)
        return True

    with paused() as rig:
        rig.gate.hold_until_rest(10)
        early = aside(rig.gate.run_until, None, first, 10)
        assert asked.wait(10)
        late = aside(rig.gate.run_until, None, lambda frame: frame.cursor >= 20, 10)
        assert early.result(10) is False
        go_on.set()
        assert late.result(10) is True
        assert rig.gate.cursor == 20


def test_a_resume_takes_back_a_pause_that_has_not_come_to_rest(aside):
    """While a call is under way, pause and then resume: the pause answers False and the run goes on."""
    agent = Blocking(3)
    with Rig(series("A", range(100)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        pausing: Future[bool] = aside(rig.gate.pause, 10)
        await_hold(rig)
        assert rig.gate.resume() is True
        assert rig.gate.resume() is False
        assert pausing.result(10) is False
        agent.leave.release()
        rig.join()
    assert len(agent.seen) == 100


def test_commands_to_a_run_that_has_ended_leave_the_next_one_alone():
    """One state table serves run after run; a command that got hold of the last one answers False, changes nothing."""
    with paused() as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.end(Command.STOP)
        rig.join()
    life = rig.life
    life.apply(Command.START)
    assert rig.gate.pause(1) is False
    assert rig.gate.run_until(5, None, 1) is False
    rig.gate.hold_here()
    assert life.state is SystemState.RUNNING
    life.apply(Command.REST)
    assert rig.gate.step(1, 1) is False
    assert rig.gate.resume() is False
    assert life.state is SystemState.PAUSED


def test_an_abandoned_start_does_not_pause_the_next_run():
    """A strategy that returns from on_start after its run has ended finds a closed gate, and touches no state."""
    life = Lifecycle()
    gate = RunGate(life, Monitor(), ManualClock())
    life.apply(Command.START)
    gate.hold_here()
    gate.end(Command.STOP)
    life.apply(Command.START)
    gate.started()
    assert life.state is SystemState.RUNNING


def test_a_run_until_that_nobody_waits_for_any_more_rests_at_once():
    """Interrupted while the coordinator sleeps on the clock, run_until leaves a paused run, not one that seems to run."""
    clock = ManualClock()
    with paused(clock=clock, speed=60.0) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(2, 10)
        with pytest.raises(TimeoutError):
            rig.gate.run_until(50, None, 0.01)
        assert rig.life.state is SystemState.PAUSED
        assert rig.gate.resume() is True


def test_a_hold_in_vain_holds_nothing():
    """A holder that gives up waiting for the rest has no hold left."""
    agent = Blocking(0)
    with Rig(series("A", range(10)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        with pytest.raises(TimeoutError):
            rig.gate.hold("symbols", 0.01)
        agent.leave.release()
        rig.join()
    assert len(agent.seen) == 10


@pytest.mark.parametrize("speed", [0.0, 60.0])
def test_going_to_where_the_run_rests_already_keeps_it_there(speed):
    """A run_until the present place is True and moves nothing, be it after the last instant; it waits for no deadline."""
    with paused(series("A", range(5)), clock=ManualClock(), speed=speed) as rig:
        rig.gate.hold_until_rest(10)
        for steps, cursor in ((2, 2), (3, 5)):
            assert rig.gate.step(steps, 10)
            assert rig.gate.run_until(cursor, None, 10) is True
            assert (rig.gate.cursor, rig.life.state) == (cursor, SystemState.PAUSED)
        assert "stop" not in rig.agent.events


# -- commands and errors from inside a call -----------------------------------------------------------------


def test_the_coordinators_pause_from_a_callback_does_not_wait_for_itself():
    """From inside a callback a pause answers True at once, and the run rests when the instant is complete."""
    agent, answers = Recorder(), []
    with paused(agent=agent) as rig:
        rig.gate.hold_until_rest(10)
        agent.on_bar = lambda bar: answers.append(rig.coordinator.pause_backtest()) if agent.index == 3 else None
        rig.gate.resume()
        await_state(rig)
        assert answers == [True]
        assert rig.gate.cursor == 4


def test_a_pause_from_the_last_call_of_all_is_refused():
    """After the last instant there is nothing to rest at: a pause in on_stop answers False and the run ends."""
    agent, answers = Recorder(), []
    with paused(agent=agent) as rig:
        rig.gate.hold_until_rest(10)
        agent.on_stop = lambda: answers.append(rig.gate.pause())
        rig.gate.resume()
        rig.join()
    assert answers == [False]


@pytest.mark.parametrize("command", ["step", "run_until", "hold"])
def test_waiting_for_oneself_is_an_error(command):
    """What would wait for the call that it is called from raises, and the run can go on."""
    agent, caught = Recorder(), []
    arguments = {"step": (1,), "run_until": (50, None), "hold": ("symbols",)}[command]

    def on_bar(bar):
        if agent.index == 3:
            rig.life.apply(Command.REST) if command == "step" else None
            try:
                getattr(rig.gate, command)(*arguments)
            except RuntimeError as error:
                caught.append(error)

    agent.on_bar = on_bar
    with paused(agent=agent) as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        while not caught:
            pass
        if command == "hold":
            rig.join()
        else:
            assert rig.gate.hold_until_rest(10)
    assert "can't wait" in str(caught[0])


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_whatever_a_watcher_raises_comes_out_of_run_until(kind):
    """Even what isn't an Exception: the run rests at that instant, unharmed."""

    def watcher(frame):
        raise kind("look")

    with paused() as rig:
        rig.gate.hold_until_rest(10)
        with pytest.raises(kind, match="look"):
            rig.gate.run_until(None, watcher, 10)
        assert (rig.gate.cursor, rig.life.state, rig.analysis.error) == (1, SystemState.PAUSED, None)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_whatever_a_callback_raises_can_hold_the_run(kind):
    """With on_error pause, any exception rests the run with its handler blamed and the others still called."""
    agent, blamed = Recorder(), []
    failed = agent.failed

    def on_bar(bar):
        if agent.index == 3 and bar.symbol == "A":
            raise kind("boom")

    def remember(error, handler, bar):
        blamed.append(handler)
        return failed(error, handler, bar)

    agent.on_bar, agent.failed = on_bar, remember
    with paused(series("A", range(9)), series("B", range(9)), agent=agent, on_error="pause") as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        await_state(rig)
        assert agent.seen[-1][:2] == (3, "B")
        assert blamed == [agent.handle]
        assert "boom" in str(rig.analysis.error)


def test_an_error_is_shown_for_as_long_as_it_is_why_the_run_is_held():
    """A step or a resume clears it at once; the next error is shown in its turn; stop keeps it."""
    agent = Recorder()

    def on_bar(bar):
        if agent.index in (3, 5):
            raise ValueError(f"boom {agent.index}")

    agent.on_bar = on_bar
    with paused(agent=agent, on_error="pause") as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(10, 10) is False
        assert "boom 3" in str(rig.analysis.error)
        assert rig.gate.step(1, 10) is True
        assert rig.analysis.error is None
        assert rig.gate.step(1, 10) is True
        assert "boom 5" in str(rig.analysis.error)
        rig.coordinator.resume_backtest()
        assert rig.analysis.error is None
        rig.join()
    assert rig.analysis.error is None


def test_an_abandoned_call_handles_no_bar_when_it_returns():
    """A call that was given up may return: the other callbacks of its instant aren't called any more."""
    agent = Blocking(3)
    with Rig(series("A", range(9)), series("B", range(9)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        rig.gate.end()
        rig.analysis.abandon()
        assert (rig.analysis.frame.cursor, rig.analysis.frame.rows) == (4, (4, 4))
        agent.leave.release(2)
        rig.join()
    assert agent.seen[-1][:2] == (3, "A")
    assert "stop" not in agent.events


def test_an_abandoned_call_of_several_handlers_calls_no_other():
    """The same, where one series has several handlers."""
    agent, second = Blocking(3), []
    agent.handlers = lambda series: (agent.handle, lambda bar: second.append(agent.index))
    with Rig(series("A", range(9)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        rig.gate.end()
        rig.analysis.abandon()
        agent.leave.release()
        rig.join()
    assert second == [0, 1, 2]


# -- at the end of the data --------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.0, 1e9])
def test_a_run_that_is_held_behind_its_last_bar_can_be_taken_back(speed):
    """All stages are there; where its cursor is taken back at rest, they deliver the same instants again."""
    parts = (series("A", range(5)), series("B", range(0, 5, 2)))
    with paused(*parts, speed=speed) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(5, 10)
        assert rig.upstream.wait_until_reset()
        assert all(thread.is_alive() for thread in rig.threads)
        before = list(rig.agent.seen)
        take_back(rig, 2)
        assert rig.gate.step(1, 10) is True
        assert rig.gate.step(2, 10) is True
        assert rig.agent.seen == before + [one for one in before if one[0] >= 2]
        assert rig.gate.resume()
        rig.join()
    assert rig.agent.events == ["start", "stop"]


def take_back(rig, cursor):
    """Set a run that rests back by hand, as what goes back in time has to."""
    state = rig.gate.state
    with rig.gate._changed.lock:
        state.cursor = cursor
        rig.agent.index = cursor - 1
        for one, rows in zip(rig.timeline.series, rig.timeline.axis.rows_at(cursor), strict=True):
            one.n = rows
        rig.analysis.adopt(cursor)
    rig.coordinator.replan(int)


@pytest.mark.parametrize("holder", ["user", "another"])
def test_the_end_waits_for_each_holder(holder, aside):
    """A run that comes to its end while it is held ends when the last hold is gone."""
    with paused(series("A", range(5))) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(5, 10)
        if holder == "another":
            assert rig.gate.hold(holder, 10)
            rig.gate.resume()
        assert all(thread.is_alive() for thread in rig.threads)
        assert "stop" not in rig.agent.events
        rig.gate.release(holder) if holder == "another" else rig.gate.resume()
        rig.join()
    assert rig.agent.events == ["start", "stop"]


def test_a_pause_between_the_end_of_the_data_and_that_of_the_run_is_refused(aside):
    """Once it is decided that the run ends there, nothing holds it: a pause answers False when it has ended."""
    inside, go_on = threading.Event(), threading.Event()
    rig = Rig(series("A", range(5)))
    close = rig.upstream.close

    def dawdle():
        inside.set()
        assert go_on.wait(10)
        close()

    rig.upstream.close = dawdle
    with rig:
        assert inside.wait(10)
        pausing = aside(rig.gate.pause, 10)
        await_hold(rig)
        assert rig.life.state is SystemState.RUNNING
        go_on.set()
        assert pausing.result(10) is False
        rig.join()
    assert rig.agent.events == ["start", "stop"]


def test_a_run_that_is_held_behind_its_last_bar_can_be_stopped():
    """The coordinator that waits there is woken."""
    with paused(series("A", range(5))) as rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.step(5, 10)
        rig.gate.end(Command.STOP)
        rig.join()
    assert rig.agent.events == ["start", "stop"]


# -- what is told of a pause --------------------------------------------------------------------------------


def pause_lines(caplog):
    return [record.message.rpartition(", ")[0] for record in caplog.records if record.message.startswith("pause")]


def test_a_pause_has_one_line_in_the_log(caplog, aside):
    """Asked at which instant, met what, at rest at which; once at rest, however often it was asked for."""
    caplog.set_level("DEBUG", "nbbacktest")
    agent = Blocking(3)
    with Rig(series("A", range(100)), agent=agent, window=100) as rig:
        assert agent.entered.acquire(timeout=10)
        pausing = aside(rig.gate.pause, 10)
        await_hold(rig)
        agent.leave.release()
        assert pausing.result(10)
        assert rig.gate.pause(10) is False
        assert rig.gate.pause_timing.count == 1
    assert pause_lines(caplog) == ["pause: asked in instant 4, while strategies were called; at rest after instant 4"]


def test_a_pause_from_a_callback_is_logged_at_its_rest(caplog):
    """By the analysis, which nobody waits for there."""
    caplog.set_level("DEBUG", "nbbacktest")
    agent = Recorder()
    with paused(agent=agent) as rig:
        rig.gate.hold_until_rest(10)
        rig.gate.step(2, 10)
        agent.on_bar = lambda bar: rig.gate.pause() if agent.index == 3 else None
        rig.gate.resume()
        await_state(rig)
        assert rig.gate.step(1, 10)
        assert rig.gate.pause_timing.count == 1
    assert pause_lines(caplog) == ["pause: asked in instant 4, in a strategy's callback; at rest after instant 4"]


def test_a_pause_that_was_waited_for_in_vain_is_logged_at_its_rest(caplog):
    """Its time counts until then, though its caller has gone."""
    caplog.set_level("DEBUG", "nbbacktest")
    agent = Blocking(0)
    with Rig(series("A", range(10)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        with pytest.raises(TimeoutError):
            rig.gate.pause(0.01)
        agent.leave.release()
        await_state(rig)
        assert rig.gate.step(1, 10)
        assert rig.gate.pause_timing.smallest >= 0.01
    assert pause_lines(caplog) == ["pause: asked in instant 1, while strategies were called; at rest after instant 1"]


def test_a_pause_that_is_taken_back_is_not_counted(aside):
    """It never came to rest."""
    agent = Blocking(3)
    with Rig(series("A", range(100)), agent=agent) as rig:
        assert agent.entered.acquire(timeout=10)
        pausing = aside(rig.gate.pause, 10)
        await_hold(rig)
        rig.gate.resume()
        assert pausing.result(10) is False
        agent.leave.release()
        rig.join()
    assert rig.gate.pause_timing.count == 0


# -- between two turns --------------------------------------------------------------------------------------


def dozing(turn=5):
    """A paused rig whose analysis, once let go, lies down for an hour after each turn; and what tells that it has."""
    rig, lain = paused(window=100), threading.Semaphore(0)
    doze = rig.gate.doze

    def lie_down(seconds):
        with rig.gate._changed.lock:  # no command comes before it has lain down
            lain.release()
            doze(seconds)

    rig.quantum.turn = turn
    rig.gate.doze = lie_down
    rig.analysis._yielding.yield_if_wanted = lambda: rig.analysis._let_others_in(3600.0)
    return rig, lain


@pytest.mark.parametrize("command", ["pause", "ask", "step", "hold", "stop"])
def test_whoever_is_let_in_between_turns_finds_the_run_at_rest(command, aside):
    """What others command or ask there is done at once: the nap that was for them isn't waited for."""
    rig, lain = dozing()
    with rig:
        rig.gate.hold_until_rest(10)
        rig.gate.resume()
        assert lain.acquire(timeout=10)
        if command == "step":
            assert aside(rig.gate.pause, 10).result(20)
            assert aside(rig.gate.step, 3, 10).result(20)
        elif command == "stop":
            rig.gate.end(Command.STOP)
            rig.join()
        else:
            arguments = ("somebody",) if command == "hold" else ()
            assert aside(getattr(rig.gate, command), *arguments, 10).result(20)
        assert rig.analysis.frame.cursor == len(rig.agent.seen) == (8 if command == "step" else 5)
    assert indices(rig.agent) == list(range(len(rig.agent.seen)))


def test_a_command_that_came_before_keeps_who_lets_others_in_awake():
    """What was commanded during a turn is obeyed at its end, and not after a nap."""
    rig, _ = dozing()
    rig.gate.hold_here()
    rig.gate.doze(3600.0)


def test_a_condition_is_asked_at_every_instant_though_others_are_let_in():
    """What is published for others between two turns is no instant that a run_until passes over."""
    rig = paused(window=100)
    asked: list[int] = []
    rig.quantum.turn = 5
    rig.analysis._yielding.yield_if_wanted = lambda: rig.analysis._let_others_in(0.0)
    with rig:
        rig.gate.hold_until_rest(10)
        assert rig.gate.run_until(None, lambda frame: asked.append(frame.cursor) or frame.cursor == 42, 10)
        assert rig.analysis.frame.cursor == 42
    assert asked == list(range(1, 43))
