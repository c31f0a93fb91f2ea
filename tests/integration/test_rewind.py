"""The laws of going back: a place is the same however it is reached, and a run that was taken back ends as if it never had been."""

from __future__ import annotations

import itertools
import random
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.erratic import RUNS, Erratic, brokers, events, markets, parts, random_market
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}
NEVER = st.just([])


class Restless(Erratic):
    """Does anything that a strategy may, symbols that join and leave included."""

    @property
    def universe(self):
        return SimpleNamespace(add=self.add_symbol, remove=self.remove_symbol)


def wander(system, dice, moves, speeds=(0.0,)):
    """Go to and fro by dice, and see that each place is the same each time; returns how many times it was held against."""
    seen, checks = {}, 0
    total = len(system.run.world.timeline)

    def look() -> None:
        nonlocal checks
        shot = system.snapshot()
        now = parts(shot)
        checks += shot.cursor in seen
        before = seen.setdefault(shot.cursor, now)
        assert now == before, (
            shot.cursor,
            {name: (before[name], now[name]) for name in now if now[name] != before[name]},
        )

    for _ in range(moves):
        look()
        cursor, horizon = system.snapshot().cursor, system.horizon
        assert cursor <= horizon
        assert system.in_past is (cursor < horizon)
        what = dice.random()
        if what < 0.3 and cursor < total:
            n = min(dice.choice((1, 3, 20)), total - cursor)
            if not system.step(n):
                assert system.is_stopped()  # a symbol that left has made the run shorter; its fingerprint is judged
                return checks
        elif what < 0.4:
            system.set_speed(dice.choice(speeds))
            system.resume()
            time.sleep(dice.uniform(0, 0.002))
            with suppress(nb.InvalidTransition):
                system.pause()
            if system.is_stopped():
                return checks
        elif what < 0.5:
            assert system.rewind(dice.choice(("start", "end")))
            assert system.snapshot().cursor in (0, horizon)
        elif what < 0.7:
            goal = dice.randint(0, horizon)
            assert system.rewind(goal)
            assert system.snapshot().cursor == goal
        elif cursor:
            n = dice.randint(1, cursor)
            assert system.back(n)
            assert system.snapshot().cursor == cursor - n
            look()
            assert system.step(n)
        assert system.is_paused()
        assert system.horizon >= horizon
    return checks


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=RUNS)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.booleans(), st.sampled_from(["stop", "pause"]),
)  # fmt: skip
def test_a_run_that_was_taken_back_is_the_same_run(
    threads, market, broker, actions, seed, sessions, joining, leaving, on_error
):
    """Laws 1, 2 and 4, over orders, accounts, sessions, actions, joining and leaving symbols."""
    config, data, late = random_market(market, broker, actions, seed)
    config["on_error"] = on_error
    player = Restless(seed=seed, sessions=sessions, joining=joining, leaving=leaving, late=late)
    reference = nb.SystemManager(reachable=False)
    reference.start(config, data=data, strategies=player, wait=True)
    expected = reference.wait().fingerprint
    with pytest.MonkeyPatch.context() as patch:
        if threads == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        system = nb.SystemManager(reachable=False)
        system.start(config, data=data, strategies=player, paused=True)
        try:
            wander(system, random.Random(seed), 25, speeds=(0.0, 1e6, 1e9))
            if system.is_paused():
                system.resume()
            assert system.wait(20).fingerprint == expected
        finally:
            if not system.is_stopped():
                system.stop()


def test_back_and_forth_of_a_long_run(system):
    """The commands of the page, on an example strategy."""
    data = minutes(5_000)
    expected = nb.backtest(data, SmaCross, config=ALWAYS).fingerprint
    system.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    wander(system, random.Random(1), 60)
    if system.is_paused():
        system.resume()
    assert system.wait().fingerprint == expected
    assert not [
        one for one in threading.enumerate() if one.name.startswith("nbbacktest-") and "callback" not in one.name
    ]


def test_at_the_end_of_the_data_a_held_run_can_go_back(system):
    system.start(ALWAYS, data=minutes(50), strategies=SmaCross, paused=True)
    assert system.step(50)
    assert system.back(10)
    assert (system.snapshot().cursor, system.horizon, system.in_past) == (40, 50, True)
    assert system.rewind("end")
    assert (system.snapshot().cursor, system.in_past, system.is_paused()) == (50, False, True)


@pytest.mark.parametrize(
    ("bad", "why"),
    [(51, "51"), (-1, "give a cursor"), ("2030-01-01", "later"), ("1999-01-01", "before the run"), ("noon", "no time"), (None, "one place")],
)  # fmt: skip
def test_what_is_no_place_is_refused_and_nothing_changes(system, bad, why):
    system.start(ALWAYS, data=minutes(100), strategies=SmaCross, paused=True)
    system.step(50)
    before = parts(system.snapshot())
    with pytest.raises(ValueError, match=why):
        system.rewind(bad)
    with pytest.raises(ValueError, match="50 instants are completed"):
        system.back(51)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="whole number"):
            system.back(n)
    assert parts(system.snapshot()) == before
    assert system.is_paused()
    assert system.step(1)


def test_a_time_means_what_it_means_to_look(system):
    system.start(ALWAYS, data=minutes(100), strategies=SmaCross, paused=True)
    system.step(90)
    for at in (str(system.look(30).time), system.look(41).time, system.look(12).time.strftime("%H:%M")):
        looked = system.look(at)
        assert system.rewind(at)
        assert parts(system.snapshot()) == parts(looked)
        assert system.rewind("end")


def test_from_running_it_comes_to_rest_there():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS | {"backtest": {"speed_multiplier": 60_000}}, data=minutes(50_000), strategies=SmaCross)
    states: list[str] = []
    system.on_state(lambda state: states.append(str(state)))
    while system.run.published().cursor < 10:
        time.sleep(0.001)
    assert system.rewind(5)
    assert (system.is_paused(), system.snapshot().cursor) == (True, 5)
    system.resume()
    with pytest.raises(ValueError, match="no time"):
        system.rewind("x")
    assert system.is_running()
    system.stop()
    time.sleep(0.05)
    assert states == ["paused", "running", "stopped"]


COUNTER = itertools.count()


class Hidden(nb.Strategy):
    """Buys by something that no replay can know."""

    total = 0

    def __init__(self, kind="seed", **params):
        super().__init__(**params)
        self.kind = kind

    def on_bar(self, bar, kept=[]):  # noqa: B006 - that is the point
        kept.append(bar)
        Hidden.total += 1
        asked = {
            "random": lambda: random.random() < 0.5,
            "numpy": lambda: np.random.rand() < 0.5,  # noqa: NPY002 - as users do
            "clock": lambda: time.perf_counter_ns() // 100 % 2 == 0,
            "global": lambda: next(COUNTER) % 7 == 0,
            "class": lambda: Hidden.total % 7 == 0,
            "default": lambda: len(kept) % 11 == 0,
        }
        if asked[self.kind]():
            self.buy(size=1)


@pytest.mark.parametrize("kind", ["random", "numpy", "clock", "global", "class", "default"])
def test_a_strategy_with_hidden_inputs_is_told(system, kind):
    """Law 9: at the first rewind, with the run as it was."""
    system.start(ALWAYS, data=minutes(600), strategies=Hidden, kind=kind, paused=True)
    system.step(500)
    before = parts(system.snapshot())
    with pytest.raises(nb.ReplayError, match=r"doesn't repeat itself: at 20\d\d-.* recorded .* replay did .* seed"):
        system.back(5)
    assert parts(system.snapshot()) == before
    assert system.is_paused()
    assert not system.in_past
    assert system.step(10)
    assert system.snapshot().cursor == 510


class Late(nb.Strategy):
    """Repeats its first hundred bars, and nothing after them."""

    bars_seen = 0

    def on_bar(self, bar):
        self.bars_seen += 1
        if self.bars_seen > 100 and random.random() < 0.5:
            self.buy(size=1)


def test_a_past_that_parts_ahead_is_told_where_the_run_comes_to_it(system):
    """T17: the arrival was right, what comes then isn't."""
    system.start(ALWAYS, data=minutes(600), strategies=Late, paused=True)
    system.step(300)
    assert system.rewind(50)
    system.step(200)
    assert isinstance(system.error, nb.ReplayError)
    assert system.is_paused()


def test_a_symbol_that_joined_by_hand_is_there_again(system):
    """Its bars aren't loaded a second time, and a strategy that raised at it raises at it again."""

    class Unwelcoming(SmaCross):
        def on_symbol_added(self, symbol):
            super().on_symbol_added(symbol)
            if symbol == "C":
                raise ZeroDivisionError

    data = {"A": minutes(100), "B": minutes(100, seed=2)}
    system.start(ALWAYS | {"on_error": "pause"}, data=data, strategies=Unwelcoming, paused=True)
    system.step(5)
    with pytest.raises(nb.StrategyError):
        system.add_symbol("C", minutes(100, seed=3))
    assert system.remove_symbol("B")
    system.step(5)
    after = parts(system.snapshot())
    assert system.rewind(3)
    assert list(system.snapshot().counts) == ["A", "B"]
    assert system.step(7)
    assert parts(system.snapshot()) == after


class Keeps(nb.Strategy):
    """Keeps a lock from before its run."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_an_instance_that_cant_be_copied_is_told(system):
    system.start(ALWAYS, data=minutes(100), strategies=Keeps(), paused=True)
    system.step(50)
    with pytest.raises(nb.ReplayError, match="attribute lock can't be copied"):
        system.back(1)
    assert system.step(1)


class Speaking(nb.Strategy):
    """Notes what it hears of replays; keeps a database that is its thread's."""

    heard: ClassVar[list] = []

    def on_start(self):
        import sqlite3

        self.base = sqlite3.connect(":memory:")
        self.base.execute("create table bars (close real)")
        Speaking.heard.append(("start", self.is_replay))

    def on_bar(self, bar):
        self.base.execute("insert into bars values (?)", (bar.close,))
        Speaking.heard.append((bar.time, self.is_replay))


def test_a_strategy_knows_of_a_replay_and_stays_in_its_thread(system):
    Speaking.heard.clear()
    assert Speaking().is_replay is False
    system.start(ALWAYS, data=minutes(100), strategies=Speaking, paused=True)
    system.step(5)
    assert {is_replay for _, is_replay in Speaking.heard} == {False}
    Speaking.heard.clear()
    system.back(2)
    assert [is_replay for _, is_replay in Speaking.heard] == [True] * 4
    Speaking.heard.clear()
    assert system.step(4)
    assert [is_replay for _, is_replay in Speaking.heard] == [False] * 4


class Asking(nb.Strategy):
    """Asks its system for things in its callbacks."""

    system = None
    answers: ClassVar[list] = []

    def on_bar(self, bar):
        system = Asking.system
        shot = system.snapshot()
        Asking.answers.append((shot.cursor, shot.time, system.strategies[0] is self, shot.cash))
        if shot.cursor == 3:
            self.buy(size=1)
        with pytest.raises(RuntimeError, match="a strategy can't rewind its own run"):
            system.back()


def test_what_a_callback_sees_is_the_replayed_world(system):
    """T10."""
    Asking.system = system
    Asking.answers.clear()
    system.start(ALWAYS, data=minutes(100), strategies=Asking, paused=True)
    system.step(10)
    first = Asking.answers[:]
    Asking.answers.clear()
    assert system.back(1)
    assert Asking.answers == first[:9]
    assert all(one[2] for one in first)


class Commanding(nb.Strategy):
    """Gives its system all commands that a callback may, and keeps the answers."""

    system = None
    answers: ClassVar[list] = []
    late = minutes(100, seed=3)

    def on_start(self):
        self.note("start", Commanding.system.get_state)

    def note(self, what, ask):
        try:
            answer = ask()
        except (nb.NbBacktestError, RuntimeError, ValueError) as error:
            answer = type(error).__name__
        Commanding.answers.append((what, answer))

    def on_bar(self, bar):
        system = Commanding.system
        shot = system.snapshot()
        at = shot.cursor
        self.note(at, system.resume)
        self.note("state", lambda: (system.get_state(), system.is_running(), system.is_paused(), system.is_stopped()))
        self.note("start", system.start)
        self.note("step", system.step)
        self.note("until", lambda: system.run_until("23:00"))
        self.note("back", system.back)
        self.note("rewind", lambda: system.rewind(1))
        self.note("wait", lambda: system.wait(0))
        self.note("ahead", lambda: system.look(at + 1))
        self.note("look", lambda: (system.look(at).cash, system.look(at // 2).cash, system.look(at // 2).time))
        self.note("status", lambda: status_of(system, at))
        self.note("error", lambda: system.error)
        self.note("past", lambda: system.in_past)
        self.note("speed", lambda: system.set_speed(1e9 + at))
        self.note("speed", lambda: system.get_coordinator().speed)
        self.note("strategies", lambda: system.strategies[0] is self)
        if at % 10 == 0:
            self.note("pause", system.pause)
        if at % 20 == 0:
            self.note("resume", system.resume)
        if at == 12:
            self.note("add", lambda: system.add_symbol("B", Commanding.late))
        if at == 25 and bar.symbol == "A":
            self.note("remove", lambda: system.remove_symbol("B"))
        if bar.symbol == "A":
            self.buy("A", size=1)


def status_of(system, cursor):
    """What a callback may know by the status; how far the run was published differs from run to run."""
    told = system.status()
    return (
        told["system_manager"]["_state"],
        told["session"]["progress"] * 100 <= cursor,
        told["session"]["speed_multiplier"],
        told["error"],
    )


def test_commands_in_a_callback_are_answered_as_they_were(system):
    """They reach the replay; the run that is taken back isn't moved by them, and its speed stays."""
    Commanding.system = system
    Commanding.answers.clear()
    system.start(ALWAYS, data={"A": minutes(100)}, strategies=Commanding, paused=True)
    while not (system.is_paused() and system.snapshot().cursor >= 50):
        system.run_until(lambda shot: shot.cursor >= 50)  # the strategy pauses it before, and gives this up
    first = Commanding.answers[:]
    assert ("back", "InvalidTransition") not in first
    assert {answer for what, answer in first if what == "back"} == {"RuntimeError"}
    assert ("ahead", "ValueError") in first
    assert {answer for what, answer in first if what == "ahead"} == {"ValueError"}
    before = parts(system.snapshot())
    Commanding.answers.clear()
    system.set_speed(5e8)
    assert system.back(3)
    assert (system.snapshot().cursor, system.is_paused()) == (47, True)
    assert system.get_coordinator().speed == 5e8
    count = len(Commanding.answers)
    assert Commanding.answers == first[:count]
    assert ("pause", True) in Commanding.answers
    assert ("add", True) in Commanding.answers
    assert system.step(3)
    assert parts(system.snapshot()) == before


def test_a_callback_that_looks_ahead_is_refused_in_a_replay_too(system):
    """What the run has recorded since isn't shown to it."""
    seen: list[object] = []

    class Looking(nb.Strategy):
        def on_bar(self, bar):
            if self.n_seen == 29:
                try:
                    seen.append(system.look(40).cursor)
                except ValueError as error:
                    seen.append(str(error))
            self.n_seen += 1

        n_seen = 0

    system.start(ALWAYS, data=minutes(100), strategies=Looking, paused=True)
    system.step(50)
    assert system.back(5)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert "30 instants are completed" in seen[0]


class Stopping(nb.Strategy):
    """Stops its run where it is replayed."""

    system = None

    def on_bar(self, bar):
        if self.is_replay:
            Stopping.system.stop()


def test_a_stop_in_a_replay_is_told_and_the_run_stays(system):
    Stopping.system = system
    system.start(ALWAYS, data=minutes(100), strategies=Stopping, paused=True)
    system.step(50)
    with pytest.raises(nb.ReplayError, match="doesn't repeat itself"):
        system.back(5)
    assert (system.is_paused(), system.snapshot().cursor) == (True, 50)
    assert system.step(1)


class Slow(nb.Strategy):
    """Takes a while over each bar."""

    def on_bar(self, bar):
        time.sleep(0.002 * self.is_replay)


def journeying(system, goal, answers):
    def go() -> None:
        try:
            answers.append(system.rewind(goal))
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            answers.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    until = time.monotonic() + 5
    while system.run.journey.travelling is None and time.monotonic() < until:
        time.sleep(0.001)
    return thread


@pytest.fixture
def slow():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(3_000), strategies=Slow, paused=True)
    assert system.step(2_000)
    yield system
    if not system.is_stopped():
        system.stop()


def test_stop_works_during_a_jump(slow):
    """Law 12."""
    answers: list[object] = []
    thread = journeying(slow, 1_900, answers)
    began = time.monotonic()
    assert slow.stop()
    assert time.monotonic() - began < 1
    thread.join(5)
    assert answers == [False]
    assert slow.wait().fingerprint
    assert slow.snapshot().cursor == 2_000


def test_another_command_during_a_jump_takes_its_place(slow):
    """Law 12: a second goal, or a command that goes on."""
    answers: list[object] = []
    shots: list[int] = []
    forget = slow.on_progress(lambda shot: shots.append(shot.cursor))
    thread = journeying(slow, 1_900, answers)
    assert slow.rewind(10)
    thread.join(5)
    assert answers == [False]
    assert slow.snapshot().cursor == 10
    thread = journeying(slow, 1_900, answers)
    assert slow.resume()
    thread.join(5)
    assert answers == [False, False]
    slow.wait(10)
    forget()


def test_ctrl_c_leaves_the_old_world_in_place(slow, monkeypatch):
    """Law 12: the wait is interrupted, and the run rests where it was."""
    before = parts(slow.snapshot())
    gate = slow.run.gate
    wait = gate._await

    def interrupted(answer, timeout):
        while slow.run.journey.travelling is None:
            time.sleep(0.001)
        monkeypatch.setattr(gate, "_await", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "_await", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slow.rewind(1_900)
    assert slow.step(1)
    assert slow.back(1_990)
    assert slow.step(1_989)
    assert parts(slow.snapshot()) == before


def test_a_live_run_cant_be_taken_back():
    system = nb.SystemManager(reachable=False)
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        with pytest.raises(nb.LiveRunError, match="can't rewind a live run"):
            system.back()
    finally:
        system.stop()


def test_nothing_to_take_back(system):
    for command in (system.back, lambda: system.rewind("start")):
        with pytest.raises(nb.InvalidTransition):
            command()
    assert (system.horizon, system.in_past) == (0, False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_place_at_whose_moment_the_next_session_begins(system):
    """What strategies do at the session's beginning, and is filled at once, comes after that place."""
    market = {"symbols": 1, "derived": ["5m"], "gaps": 0.2, "exchange": "24/7"}
    config, data, late = random_market(market, {"cash": 3000.0, "fill": "this_close"}, [], 4)
    system.start(config, data=data, strategies=Restless(seed=4, sessions=True, late=late), paused=True)
    system.step(120)
    before = parts(system.snapshot())
    edges = [*system.run.world.desk.notes.edges]
    assert edges
    for edge in edges:
        assert system.rewind(min(edge, 119))
        assert system.rewind("end")
        assert parts(system.snapshot()) == before
