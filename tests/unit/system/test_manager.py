"""SystemManager: commands, states, errors, callbacks and ends, as users see them."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref

import pytest

import nbbacktest as nb
from nbbacktest.system import manager as manager_module
from tests.held import Gated, Quiet, started
from tests.markets import days, minutes


def test_a_run_from_start_to_result():
    """Start returns True at once, wait returns the result, and the system is stopped without an error."""
    system = started()
    result = system.wait(20)
    assert result.stats["bars"] == 200
    assert system.is_stopped()
    assert system.get_state() is nb.SystemState.STOPPED
    assert system.error is None
    assert system.wait() is result


def test_commands_that_hold_already_answer_false():
    """Start while running or paused, pause while paused, resume while running, stop while stopped: False, no change."""
    system = nb.SystemManager()
    assert system.stop() is False
    system.start({}, data=minutes(), strategies=Gated, paused=True)
    assert system.is_paused()
    assert system.start() is False
    assert system.pause() is False
    assert system.resume() is True
    assert system.strategies[0].inside.wait(10)
    assert system.resume() is False
    assert system.start() is False
    system.strategies[0].go_on.set()
    system.wait(20)
    assert system.stop() is False


@pytest.mark.parametrize("command", ["pause", "resume", "step"])
def test_commands_that_make_no_sense_say_what_is_allowed(command):
    """Where nothing runs, pause, resume and step raise InvalidTransition with state, command and cure."""
    system = nb.SystemManager()
    with pytest.raises(nb.InvalidTransition) as caught:
        getattr(system, command)()
    assert (caught.value.state, caught.value.command) == ("stopped", command)
    assert "start" in caught.value.allowed
    assert "STOPPED" in str(caught.value)
    with pytest.raises(nb.InvalidTransition):
        system.run_until("10:00")


def test_stepping_a_running_system_is_refused():
    """Step needs a paused run; the error tells the last events."""
    system = started(Gated)
    assert system.strategies[0].inside.wait(10)
    with pytest.raises(nb.InvalidTransition, match="start: stopped -> running"):
        system.step()
    system.strategies[0].go_on.set()
    system.wait(20)


def test_pause_step_look_resume():
    """Snapshot, status and strategy all belong to the instant that the run rests at."""
    system = started(paused=True)
    assert system.step(10) is True
    shot = system.snapshot()
    assert (shot.cursor, shot.counts) == (10, {"ASSET": 10})
    assert shot.time == shot.bars["ASSET"].end
    assert system.status()["performance_metrics"]["bars_processed"] == 10
    assert system.status()["session"]["sim_time"] == shot.time.isoformat()
    assert len(system.strategies[0].bars()) == 10
    assert system.step(5)
    assert shot.cursor == 10
    assert system.snapshot().cursor == 15
    system.resume()
    assert system.wait(20).stats["bars"] == 200


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", True, None])
def test_a_step_takes_a_positive_whole_number(n):
    """Anything else is a ValueError, and the run stays where it is."""
    system = started(paused=True)
    with pytest.raises(ValueError, match="whole number"):
        system.step(n)
    assert system.snapshot().cursor == 0
    system.stop()


def test_run_until_a_time():
    """A clock time, a full time or a timestamp: the run rests with everything up to it complete."""
    system = started(paused=True)
    assert system.run_until("9:45") is True
    assert str(system.snapshot().time) == "2024-10-03 09:45:00-04:00"
    assert system.run_until("2024-10-03 10:00:30")
    assert str(system.snapshot().time) == "2024-10-03 10:00:00-04:00"
    assert system.run_until(system.snapshot().time) is True
    with pytest.raises(ValueError, match="has passed"):
        system.run_until("2024-10-03 09:50")
    for nonsense in ("soon", "25:00", None, object()):
        with pytest.raises(ValueError, match="is no time"):
            system.run_until(nonsense)
    assert system.run_until("2030-01-01") is False
    assert system.is_stopped()


def test_run_until_a_clock_time_that_has_passed_means_the_next_day():
    """A time of day is the next one; beyond the data the run ends."""
    system = started(paused=True)
    system.step(60)
    assert system.run_until("09:45") is False
    assert system.is_stopped()


def test_run_until_a_condition():
    """A predicate of a snapshot stops the run at the first instant that it holds at; what it raises comes out here."""
    system = started(paused=True)
    assert system.run_until(lambda shot: shot.bars["ASSET"].close > 0 and shot.cursor >= 7) is True
    assert system.snapshot().cursor == 7
    with pytest.raises(KeyError):
        system.run_until(lambda shot: shot.bars["NONE"])
    assert system.is_paused()
    assert system.snapshot().cursor == 8
    system.stop()


def test_a_strategy_may_pause_and_stop_its_own_run():
    """From a callback, pause and stop answer at once; the run rests, or ends, after that instant."""

    class Stopper(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 5:
                answers.append(system.pause())
            if len(self.bars()) == 8:
                answers.append(system.stop())

    answers = []
    system = nb.SystemManager()
    paused = threading.Event()
    system.on_state(lambda state: paused.set() if state is nb.SystemState.PAUSED else None)
    system.start({}, data=minutes(), strategies=Stopper)
    assert paused.wait(10)
    assert system.snapshot().cursor == 5
    system.resume()
    assert system.wait(20).stats["bars"] == 8
    assert answers == [True, True]


def test_a_strategy_can_not_wait_for_itself():
    """wait, step and run_until from a callback are errors, not deadlocks."""

    class Waiter(nb.Strategy):
        def on_bar(self, bar):
            system.wait()

    system = nb.SystemManager()
    system.start({}, data=minutes(), strategies=Waiter)
    with pytest.raises(nb.StrategyError, match="can't wait"):
        system.wait(20)


@pytest.mark.parametrize("callback", ["on_start", "on_bar", "on_fill", "on_stop"])
def test_a_raising_strategy_is_reported_with_everything(callback):
    """The run is stopped; error, cause, place and the result until then are there; wait raises them."""

    class Raising(nb.Strategy):
        def on_bar(self, bar):
            self.buy(size=1)

    def boom(self, *args):
        raise ZeroDivisionError("boom")

    boom.__name__ = callback
    setattr(Raising, callback, boom)
    system = started(Raising)
    with pytest.raises(nb.StrategyError, match=f"Raising.{callback} raised") as caught:
        system.wait(20)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert isinstance(caught.value.result, nb.Result)
    assert system.is_stopped()
    assert system.error is caught.value
    error = system.status()["error"]
    assert (error["strategy"], error["callback"]) == ("Raising", callback)
    assert "ZeroDivisionError" in error["traceback"]
    fills = len(caught.value.result.fills)
    assert fills == {"on_start": 0, "on_bar": 0, "on_fill": 1, "on_stop": 199}[callback]
    assert system.start({}, data=minutes(), strategies=Quiet, wait=True)
    assert system.error is None


def test_an_error_can_hold_the_run_at_its_bar():
    """With on_error pause the run is paused with the error shown; resume clears it and goes on."""

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 5:
                raise ValueError("look here")

    system = nb.SystemManager()
    paused = threading.Event()
    system.on_state(lambda state: paused.set() if state is nb.SystemState.PAUSED else None)
    system.start({"on_error": "pause"}, data=minutes(), strategies=Once)
    assert paused.wait(10)
    assert isinstance(system.error, nb.StrategyError)
    assert system.snapshot().cursor == 5
    system.resume()
    assert system.wait(20).stats["bars"] == 200
    assert system.error is None


def test_stop_keeps_what_was_done():
    """Stopping a paused run gives a result up to its instant."""
    system = started(paused=True)
    system.step(50)
    assert system.stop() is True
    assert system.wait().stats["bars"] == 50
    assert system.error is None


def test_a_blocked_strategy_does_not_hang_stop(monkeypatch):
    """Stop reports the line that blocks after its time limit; the system is stopped and can start again."""
    monkeypatch.setattr(manager_module, "STOP_SECONDS", 0.2)
    system = started(Gated)
    strategy = system.strategies[0]
    assert strategy.inside.wait(10)
    with pytest.raises(nb.StrategyBlockedError, match=r"on_bar\(\) at .*held\.py"):
        system.stop()
    assert system.is_stopped()
    with pytest.raises(nb.StrategyBlockedError):
        system.wait(5)
    assert system.start({}, data=minutes(), strategies=Quiet, wait=True)
    strategy.go_on.set()


def test_a_blocked_strategy_does_not_hang_pause(monkeypatch):
    """Pause gives up waiting after its limit; the run rests when the call returns, and status answers meanwhile."""
    monkeypatch.setattr(manager_module, "REST_SECONDS", 0.2)
    system = started(Gated)
    strategy = system.strategies[0]
    assert strategy.inside.wait(10)
    with pytest.raises(nb.StrategyBlockedError, match="will rest"):
        system.pause()
    assert system.status()["system_manager"]["_state"] == "running"
    paused = threading.Event()
    system.on_state(lambda state: paused.set() if state is nb.SystemState.PAUSED else None)
    strategy.go_on.set()
    assert paused.wait(10)
    assert system.snapshot().cursor == 5
    system.stop()


def test_wait_has_a_timeout():
    """wait(timeout) raises TimeoutError and the run goes on."""
    system = started(paused=True)
    with pytest.raises(TimeoutError, match="paused"):
        system.wait(0.01)
    assert system.is_paused()
    system.stop()


def test_finished_awaits_without_blocking_the_loop():
    """`await system.finished()` lets other tasks run, and raises what wait raises."""

    async def both():
        system = started(Gated)
        task = asyncio.ensure_future(system.finished())
        await asyncio.sleep(0)
        assert not task.done()
        system.strategies[0].go_on.set()
        return await task

    assert asyncio.run(both()).stats["bars"] == 200


def test_finished_after_the_end_returns_at_once():
    """Awaiting a run that has ended gives its result."""
    system = started()
    result = system.wait(20)
    assert asyncio.run(system.finished()) is result


def test_speed_may_change_and_is_checked():
    """Speed is a finite number of at least 0; a run may be switched both ways; while stopped it is for the next start."""
    system = nb.SystemManager()
    for wrong, kind in ((-1, ValueError), (float("nan"), ValueError), ("fast", TypeError), (True, TypeError)):
        with pytest.raises(kind, match="speed"):
            system.set_speed(wrong)
    system.set_speed(60)
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    assert system.status()["session"]["speed_multiplier"] == 60
    assert system.status()["subscriptions"]["coordinator->processor"]["mode"] == "clock-driven"
    system.set_speed(0)
    assert system.status()["subscriptions"]["coordinator->processor"]["mode"] == "data-driven"
    system.resume()
    assert system.wait(20).stats["bars"] == 200


def test_the_coordinator_pauses_too():
    """The coordinator's own pause and resume are the same pause and resume."""
    system = started(paused=True)
    coordinator = system.get_coordinator()
    assert coordinator.is_paused()
    assert coordinator.resume_backtest() is True
    system.wait(20)
    assert not coordinator.is_paused()
    with pytest.raises(nb.InvalidTransition):
        coordinator.pause_backtest()


def test_callbacks_come_in_order_and_their_errors_are_harmless(caplog):
    """State, progress and end callbacks are called; one that raises is logged, and the next is still called."""
    states, ends, progress = [], [], threading.Event()
    system = nb.SystemManager()
    system.on_state(lambda state: 1 / 0)
    system.on_state(states.append)
    system.on_end(ends.append)
    stop_progress = system.on_progress(lambda shot: progress.set())
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    assert progress.wait(10)
    stop_progress()
    system.step(3)
    system.resume()
    result = system.wait(20)
    assert states == ["running", "paused", "running", "paused", "running", "stopped"]
    assert ends == [result]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_command_the_system():
    """Callbacks hold no lock: one may stop the run that it is told of."""
    system = nb.SystemManager()
    system.on_state(lambda state: system.stop() if state is nb.SystemState.PAUSED else None)
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    assert system.wait(20).stats["bars"] == 0


def test_dropping_the_manager_ends_its_run():
    """Nobody can reach the run any more: its threads end."""
    system = started(paused=True)
    run = weakref.ref(system._holder.run)
    threads = list(run()._runner.threads.values())
    del system
    gc.collect()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_second_run_in_one_manager_leaves_nothing_of_the_first():
    """Run after run: the state is fresh, and the number of threads is what it was."""
    system = nb.SystemManager()
    results = []
    for _ in range(3):
        assert system.start({}, data=minutes(), strategies=Quiet, wait=True)
        results.append(system.wait())
    assert len({r.fingerprint for r in results}) == 1
    for thread in threading.enumerate():
        if thread.name.startswith("nbbacktest"):
            thread.join(5)
            assert not thread.is_alive()


def test_status_is_json_of_the_documented_shape(tmp_path):
    """Before, during and after a run the status is plain JSON with all documented keys; to_json writes it whole."""
    schema = nb.schema("status")

    def check(value, rule, path="status"):
        if "properties" in rule:
            missing = set(rule["required"]) - set(value)
            assert not missing, f"{path} lacks {missing}"
            for key, inner in rule["properties"].items():
                check(value[key], inner, f"{path}.{key}")

    system = nb.SystemManager()
    check(json.loads(system.to_json()), schema)
    system.start({}, data=minutes(), strategies=Quiet, paused=True)
    check(json.loads(system.to_json()), schema)
    system.step(5)
    system.resume()
    system.wait(20)
    path = tmp_path / "status.json"
    text = system.to_json(path)
    assert json.loads(path.read_text()) == json.loads(text)
    final = json.loads(text)
    check(final, schema)
    assert list(tmp_path.iterdir()) == [path]
    assert final["performance_metrics"]["bars_processed"] == 200
    assert final["session"]["progress"] == 1.0
    for stage in ("processor_timing", "analysis_timing", "coordinator_timing"):
        assert final["performance_metrics"][stage]["count"] > 0
    assert final["performance_metrics"]["pause_timing"]["count"] == 0
    for stream in final["subscriptions"].values():
        assert stream["signals"] == stream["cycles"] > 0


def test_daily_runs_have_times_with_an_offset_in_the_status():
    """Session dates are shown plainly in Python, but JSON times always carry an offset."""
    system = nb.SystemManager()
    system.start({}, data=days(30), strategies=Quiet, paused=True)
    system.step(2)
    assert system.snapshot().time.tzinfo is None
    assert system.status()["session"]["session_date"] == "2020-01-03"
    assert system.status()["session"]["sim_time"].endswith(("-05:00", "+00:00"))
    assert str(system.snapshot().time) == "2020-01-03 00:00:00"
    assert system.run_until("2020-01-08") is True
    assert system.snapshot().time == system.snapshot().bars["ASSET"].time
    assert str(system.snapshot().time.date()) == "2020-01-08"
    system.stop()


def test_a_clock_time_moves_a_daily_run_to_the_next_close():
    """Where daily bars end at their session's close, a time of day is counted from there, not from midnight."""
    system = nb.SystemManager()
    system.start({"exchange": "XNYS"}, data=days(10), strategies=Quiet, paused=True)
    system.step(5)
    assert system.run_until("16:00") is True
    assert system.snapshot().cursor == 6
    system.stop()


def test_a_daily_strategys_now_is_the_session_that_has_closed():
    """With session dates, `now` in on_bar is the bar's own date, and so are an order's submission and a log's time."""

    class Dated(nb.Strategy):
        def on_bar(self, bar):
            dates.append((self.now, bar.time))
            if len(self.bars()) == 3:
                self.buy(size=1)
                self.log("bought")

    dates = []
    result = nb.backtest(days(5), Dated)
    assert all(now == stamp for now, stamp in dates)
    index = days(5).index
    assert result.orders["submitted"][0] == result.log["time"][0] == index[2]
    assert result.orders["closed"][0] == result.fills["time"][0] == index[3]
    assert list(result.equity.index) == list(index)


def test_looking_before_the_first_start():
    """With nothing started there is an empty status, no coordinator, no strategies; wait and snapshot say so."""
    system = nb.SystemManager()
    assert system.status()["system_manager"]["_state"] == "stopped"
    assert system.get_coordinator() is None
    assert system.strategies == ()
    assert system.mode == "backtest"
    for call in (system.wait, system.snapshot):
        with pytest.raises(RuntimeError, match="start"):
            call()


def test_start_without_a_config_runs_the_example_and_then_the_last_one():
    """`start()` works out of the box, and again means: the same again."""
    system = nb.SystemManager()
    assert system.start(paused=True)
    assert system.status()["session"]["name"].startswith("Example")
    system.stop()
    system.start({"session_name": "Mine", "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03"},
                  "strategies": [{"class": "nbbacktest.strategies:BuyAndHold"}]}, wait=True)  # fmt: skip
    assert system.start(wait=True)
    assert system.status()["session"]["name"] == "Mine"


def test_a_refused_config_starts_nothing():
    """An error in the config or the data leaves the system stopped, with no thread and no run."""
    system = nb.SystemManager()
    for config, data in (({"oops": 1}, minutes()), ({}, minutes().iloc[:0]), ({"strategies": []}, None)):
        with pytest.raises((nb.ConfigError, nb.DataError)):
            system.start(config, data=data, strategies=None if data is None else Quiet)
    assert system.is_stopped()
    assert system.get_coordinator() is None


def test_the_process_has_one_system_manager():
    """get_system_manager always gives the same one; SystemManager() another."""
    assert nb.get_system_manager() is nb.get_system_manager()
    assert nb.SystemManager() is not nb.get_system_manager()


def test_a_snapshot_in_a_callback_is_of_the_instant_under_way():
    """A strategy that looks at its own run sees the present bar, its orders so far, and its equity at the present close."""
    seen = []

    class Looking(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 7:
                order = self.buy(size=2)
            shot = system.snapshot()
            assert (shot.time, shot.cursor) == (self.now, len(self.bars()))
            assert shot.equity == self.equity
            seen.append(len(shot.orders))
            if len(self.bars()) == 7:
                assert [one.id for one in shot.orders] == [order.id]

    system = nb.SystemManager()
    system.start({}, data=minutes(2_000), strategies=Looking, wait=True)
    assert len(seen) == 2_000
    assert sum(seen) == 1
