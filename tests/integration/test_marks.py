"""With marks a run is taken back as without them: the same frame at each place, whatever its strategies keep and wherever."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import itertools
import random
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.engine.timeline import Quantum
from nbbacktest.strategies import SmaCross
from nbbacktest.system import marks, stages
from nbbacktest.system.replay import RunReplay
from tests.erratic import brokers, events, markets, parts, random_market
from tests.integration.test_rewind import Hidden, Restless, wander
from tests.integration.test_rewind_streamed import chunks, config, folder  # noqa: F401 - a fixture
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}
BARS = minutes(400)


@contextmanager
def marked(every: int = 15, threads: str = "off"):
    """A mark at every so many instants, each few instants a turn; yields the list of the marks that were begun at."""
    used: list[int] = []
    begin = RunReplay._begin_at

    def noted(self, mark):
        begin(self, mark)
        used.append(mark.cursor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "EVERY", every)
        patch.setattr(stages, "Quantum", lambda fixed=None: Quantum(fixed or 5))
        patch.setattr(RunReplay, "_begin_at", noted)
        if threads == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        yield used


USED: list[int] = []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=25, deadline=None)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.booleans(), st.sampled_from(["stop", "pause"]), st.sampled_from([5, 30]),
)  # fmt: skip
def test_with_marks_a_run_that_was_taken_back_is_the_same_run(
    threads, market, broker, actions, seed, sessions, joining, leaving, on_error, every
):
    """Law 10, over all that a strategy may do."""
    config_, data, late = random_market(market, broker, actions, seed)
    config_["on_error"] = on_error
    player = Restless(seed=seed, sessions=sessions, joining=joining, leaving=leaving, late=late)
    reference = nb.SystemManager(reachable=False)
    reference.start(config_, data=data, strategies=player, wait=True)
    expected = reference.wait().fingerprint
    with marked(every, threads) as used:
        system = nb.SystemManager(reachable=False)
        system.start(config_, data=data, strategies=player, paused=True)
        try:
            wander(system, random.Random(seed), 25, speeds=(0.0, 1e6, 1e9))
            if system.is_paused():
                system.resume()
            assert system.wait(20).fingerprint == expected
        finally:
            if not system.is_stopped():
                system.stop()
    USED.extend(used)


def test_marks_were_begun_at():
    """The law above isn't one of runs that had none."""
    assert len(USED) > 50


@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_with_marks_over_streamed_bars(folder, threads, seed):  # noqa: F811 - the fixture
    """A world that begins at a mark shows the chunks that the mark's instant has come to."""
    player = Restless(seed=seed, sessions=True, leaving=True, pace=0.1)
    expected = nb.backtest(None, player, config=config(folder, stream=False)).fills.to_csv()
    with chunks(memory=0), marked(25, threads) as used:
        system = nb.SystemManager(reachable=False)
        system.start(config(folder), strategies=player, paused=True)
        system.step(300)
        for _ in range(3):
            system.back(7)
        wander(system, random.Random(seed), 10)
        system.resume()
        assert system.wait(20).fills.to_csv() == expected
    assert used


def play(system, dice):
    """One thing by hand, or a way to and fro, at whose end all is as it was."""
    what, cursor = dice.random(), system.snapshot().cursor
    if what < 0.3 and cursor < 390:
        system.step(min(dice.choice((1, 5, 30)), 390 - cursor))
    elif what < 0.45:
        dice.choice((system.buy, system.sell))(size=dice.randint(1, 5))
    elif what < 0.5:
        system.change(fast=dice.randint(3, 9))
    elif what < 0.7:
        dice.choice((system.undo, system.redo))()
    elif cursor > 1:
        n = dice.randint(1, cursor)
        before, inputs = parts(system.snapshot()), system.inputs
        assert system.back(n)
        assert system.step(n)
        assert system.inputs == inputs
        assert parts(system.snapshot()) == before


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_marks_and_inputs_by_hand(seed):
    """A mark belongs to the inputs that led to it: orders by hand, undone, redone and given up."""
    dice = random.Random(seed)
    with marked(7) as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=SmaCross, paused=True)

        system.step(60)
        for _ in range(30):
            play(system, dice)
            assert system.error is None
        inputs, cursor, shot = system.inputs, system.snapshot().cursor, parts(system.snapshot())
        descriptions = system.run.world.desk.descriptions
        assert not system.run.journey._marks.is_off, "no mark has failed"
        system.run.journey._marks.give_up()
        system.rewind("start")
        system.rewind(cursor)
        assert parts(system.snapshot()) == shot, "the whole way gives the same"
        assert system.run.world.desk.descriptions == descriptions
        assert system.inputs == inputs
        system.stop()
    assert used


# -- a zoo of state -----------------------------------------------------------------------------------------------


class Base(nb.Strategy):
    """Trades as it is told."""

    def trade(self, up):
        if up and not self.position().size:
            self.buy(size=1)
        elif not up and self.position().size:
            self.close()


class Plain(Base):
    def on_start(self):
        self.n = 0

    def on_bar(self, bar):
        self.n += 1
        self.trade(self.n % 7 < 3)


class Closure(Base):
    def on_start(self):
        self.n = 0

        def tick():
            self.n += 1
            return self.n

        self.tick = tick

    def on_bar(self, bar):
        self.trade(self.tick() % 7 < 3)


class ScheduledLambda(Base):
    def on_start(self):
        self.n = 0
        self.schedule(lambda: setattr(self, "n", self.n + 1), after_open=200)

    def on_bar(self, bar):
        self.trade((bar.time.minute + self.n) % 7 < 3)


class BoundMethod(Plain):
    def on_start(self):
        self.n = 0
        self.tick = self.count

    def count(self):
        self.n += 1
        return self.n

    def on_bar(self, bar):
        self.trade(self.tick() % 7 < 3)


class Cell(Base):
    def on_start(self):
        n = 0

        def tick():
            nonlocal n
            n += 1
            return n

        self.tick = tick

    def on_bar(self, bar):
        self.trade(self.tick() % 7 < 3)


class ClassState(Base):
    n = 0

    def on_start(self):
        ClassState.n = 0

    def on_bar(self, bar):
        type(self).n += 1
        self.trade(type(self).n % 7 < 3)


COUNT = 0


class GlobalState(Base):
    def on_start(self):
        global COUNT  # noqa: PLW0603 - that is the point
        COUNT = 0

    def on_bar(self, bar):
        global COUNT  # noqa: PLW0603 - that is the point
        COUNT += 1
        self.trade(COUNT % 7 < 3)


def _bump():
    _bump.n += 1
    return _bump.n


class FunctionState(Base):
    def on_start(self):
        _bump.n = 0

    def on_bar(self, bar):
        self.trade(_bump() % 7 < 3)


class Default(Base):
    def on_start(self):
        self.kept().clear()

    def kept(self, kept=[]):  # noqa: B006 - that is the point
        return kept

    def on_bar(self, bar):
        self.kept().append(1)
        self.trade(len(self.kept()) % 7 < 3)


class Helper:
    """A user's object, whose class counts."""

    total = 0

    def __init__(self):
        self.own = 0

    def tick(self):
        Helper.total += 1
        self.own += 1
        return self.own


class HelperInstance(Base):
    def on_start(self):
        self.helper = Tally()

    def on_bar(self, bar):
        self.trade(self.helper.tick() % 7 < 3)


class HelperClass(Base):
    def on_start(self):
        Helper.total = 0
        self.helper = Helper()

    def on_bar(self, bar):
        self.helper.tick()
        self.trade(Helper.total % 7 < 3)


@dataclasses.dataclass(slots=True)
class Tally:
    n: int = 0

    def tick(self):
        self.n += 1
        return self.n


class Forgetful(Tally):
    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        self.n = 0


class LosesInCopy(HelperInstance):
    def on_start(self):
        self.helper = Forgetful()


class Generator(Base):
    def on_start(self):
        self.brain = self.think()
        next(self.brain)

    def think(self):
        yield
        while True:
            for up in (True, True, False, False, False):
                self.trade(up)
                yield

    def on_bar(self, bar):
        next(self.brain)


class Cycle(Base):
    def on_start(self):
        self.it = itertools.cycle([True, True, False, False, False])

    def on_bar(self, bar):
        self.trade(next(self.it))


class TalibStream(Base):
    def on_start(self):
        self.a = self.indicator(talib.stream.SMA, "close", 10)

    def on_bar(self, bar):
        self.trade(bar.close > self.a[-1])


class Ema:
    v = None

    def update(self, x):
        self.v = x if self.v is None else self.v + (x - self.v) / 10
        return self.v


class OwnStream(Base):
    def on_start(self):
        self.a = self.indicator(Ema(), "close")

    def on_bar(self, bar):
        self.trade(bar.close > self.a[-1])


class LocalStream(Base):
    def on_start(self):
        strategy = self
        self.n = 0

        class Local:
            def update(self, x):
                return x + strategy.n % 3 - 1

        self.a = self.indicator(Local(), "close")

    def on_bar(self, bar):
        self.n += 1
        self.trade(bar.close > self.a[-1])


class LateIndicator(Base):
    def on_start(self):
        self.n = 0
        self.k = 1.0

    def on_bar(self, bar):
        self.n += 1
        if self.n == 30:
            self.a = self.indicator(lambda close: close * self.k, "close")
        self.k = 1.0 + self.n % 2
        self.trade(self.n > 30 and self.a[-1] > bar.close)


class SeededGenerator(Base):
    def on_start(self):
        self.rng = np.random.default_rng(5)

    def on_bar(self, bar):
        self.trade(self.rng.random() < 0.4)


class SeededRandom(Base):
    def on_start(self):
        self.rng = random.Random(5)

    def on_bar(self, bar):
        self.trade(self.rng.random() < 0.4)


class RunsRandom(Base):
    def on_bar(self, bar):
        self.trade(self.random.random() < 0.4)


class GlobalNumpySeed(Base):
    def on_start(self):
        np.random.seed(5)  # noqa: NPY002 - as users do

    def on_bar(self, bar):
        self.trade(np.random.random() < 0.4)  # noqa: NPY002


class GlobalSeed(Base):
    def on_start(self):
        random.seed(5)

    def on_bar(self, bar):
        self.trade(random.random() < 0.4)


class Orders(Base):
    def on_start(self):
        self.mine = []

    def on_bar(self, bar):
        if len(self.mine) < 3:
            self.mine.append(self.buy(size=1, limit=bar.close * 0.9995))
        elif not self.mine[0].is_open:
            self.mine.pop(0)
        elif bar.time.minute % 20 == 0 and self.mine[-1].is_open:
            self.cancel(self.mine.pop())
        if bar.time.minute % 17 == 0:
            self.close()


class SetOrder(Base):
    """Goes through a set, whose order depends on how it came about."""

    def on_start(self):
        self.keys = {f"k{number}" for number in range(20)}
        self.n = 0

    def on_bar(self, bar):
        self.n += 1
        first = next(iter(self.keys))
        self.keys.discard(first)
        self.keys.add(f"k{self.n % 50}")
        self.trade(int(first[1:]) % 7 < 3)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    n: int
    colour: Colour


class Containers(Base):
    def on_start(self):
        self.recent = collections.deque(maxlen=5)
        self.counts = collections.Counter()
        self.pair = Pair(0, Colour.RED)
        self.lows = np.zeros(3)
        self.table = pd.DataFrame({"n": [0]})
        self.names = frozenset(["a"])
        self.add = functools.partial(max, 1)

    def on_bar(self, bar):
        self.recent.append(bar)
        self.counts[bar.time.minute % 3] += 1
        self.pair = Pair(self.pair.n + 1, Colour.BLUE if self.pair.colour is Colour.RED else Colour.RED)
        self.lows[self.pair.n % 3] = bar.low
        self.table.loc[0, "n"] += 1
        up = self.pair.colour is Colour.RED and self.counts[0] % 2 == 0 and self.table.loc[0, "n"] % 3 != 0
        self.trade(up or self.recent[0].close < self.lows.mean() or self.add(0) == 0)


NOTHING = object()


class Sentinel(Base):
    def on_start(self):
        self.last = NOTHING
        self.n = 0

    def on_bar(self, bar):
        self.n += 1
        self.trade(self.last is NOTHING)
        self.last = bar if self.n % 7 == 0 else self.last if self.n % 3 else NOTHING


class SharedList(Base):
    """Has an object of its class, and asks if it is that one."""

    levels: ClassVar[list] = [1, 2]

    def on_start(self):
        self.mine = SharedList.levels

    def on_bar(self, bar):
        self.trade(type(self).levels is self.mine and bar.time.minute % 5 < 2)


class ById(Base):
    def on_start(self):
        self.order = None

    def on_bar(self, bar):
        if self.order is None or bar.time.minute % 11 == 0:
            self.order = self.buy(size=1)
            self.number = id(self.order)
        self.trade(self.number == id(self.order) and bar.time.minute % 11 < 6)


@functools.lru_cache
def _cached(n):
    return n % 7 < 3


class Cached(Plain):
    def on_bar(self, bar):
        self.n += 1
        self.trade(_cached(self.n))


class InFile(Base):
    path: str = ""

    def on_start(self):
        Path(self.path).write_text("")

    def on_bar(self, bar):
        kept = Path(self.path)
        kept.write_text(kept.read_text() + "x")
        self.trade(len(kept.read_text()) % 7 < 3)


FROM_MARKS = {
    Plain, ScheduledLambda, BoundMethod, HelperInstance, TalibStream, OwnStream, SeededGenerator, SeededRandom, RunsRandom,
    Orders, Containers, Cached,
}  # fmt: skip
WHOLE_WAY = {
    Closure, Cell, ClassState, GlobalState, FunctionState, Default, HelperClass, LosesInCopy, Generator, Cycle, LocalStream,
    GlobalNumpySeed, GlobalSeed, SetOrder, Sentinel, SharedList, ById, InFile, LateIndicator,
}  # fmt: skip
ZOO = sorted(FROM_MARKS | WHOLE_WAY, key=lambda one: one.__name__)


@pytest.mark.parametrize("strategy", ZOO, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", [1, 2])
def test_law_10_over_a_zoo_of_state(strategy, seed, tmp_path):
    """Taken back at random: at each place the same frame, at the end the same fingerprint; and those that may begin at marks do."""
    given_ = {"path": str(tmp_path / "kept")} if strategy is InFile else {}
    expected = nb.backtest(BARS, strategy, config=ALWAYS, **given_).fingerprint
    with marked() as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=strategy, paused=True, **given_)
        system.step(250)
        there = parts(system.snapshot())
        for _ in range(3):
            assert system.back(11)
            assert system.step(11)
            assert parts(system.snapshot()) == there
        wander(system, random.Random(seed), 20)
        if system.is_paused():
            system.resume()
        assert system.wait(20).fingerprint == expected
    assert bool(used) is (strategy in FROM_MARKS)
    assert not (used and system.run.journey._marks.is_off), "no mark has failed"


@pytest.mark.parametrize("kind", ["random", "numpy", "clock", "global", "class", "default"])
def test_hidden_inputs_are_told_with_marks(kind):
    """Law 9 holds: no mark is begun at before the whole way was verified."""
    with marked() as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=Hidden, kind=kind, paused=True)
        system.step(303)
        before = parts(system.snapshot())
        for _ in range(2):
            with pytest.raises(nb.ReplayError, match="doesn't repeat itself"):
                system.back(5)
            assert parts(system.snapshot()) == before
        system.stop()
    assert not used


class Grows(Plain):
    """Keeps more than a mark may hold."""

    def on_start(self):
        super().on_start()
        self.kept = bytearray(5 << 20)


def test_marks_that_would_be_too_large_are_not_made():
    with marked() as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=Grows, paused=True)
        system.step(300)
        for _ in range(3):
            assert system.back(5)
        assert system.run.journey._marks.is_off
        system.stop()
    assert not used


class Turns(Plain):
    """Does something else from the moment at which somebody says so."""

    broken = 0


def test_a_mark_that_fails_is_given_up_and_the_whole_way_taken(monkeypatch):
    """Nothing is said: the answer is that of the whole way."""
    with marked() as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=Plain, paused=True)
        system.step(300)
        there = parts(system.snapshot())
        system.back(5)
        monkeypatch.setattr(nb.system.universe.SymbolUniverse, "restore", lambda self, state: 1 / 0)
        assert system.back(5)
        assert system.step(10)
        assert parts(system.snapshot()) == there
        assert system.run.journey._marks.is_off
        system.stop()
    assert not used


def test_a_class_that_was_changed_since_is_not_begun_with_from_a_mark():
    """An outside state is compared when a mark is begun at; the whole way tells what that changes."""
    with marked() as used:
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data=BARS, strategies=Turns, paused=True)
        system.step(300)
        assert system.back(5)
        Turns.broken = 1
        try:
            assert system.back(5)
        finally:
            Turns.broken = 0
        system.stop()
    assert not used


def test_a_run_that_is_never_taken_back_makes_no_marks(monkeypatch):
    """It has no marker at all, and a fast run that is short makes none later either."""
    monkeypatch.setattr(marks, "SLOW", 1.0)
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(5_000), strategies=SmaCross, paused=True)
    system.step(4_000)
    assert not {"_marks", "_maker"} & vars(system.run.journey).keys()
    assert system.back(1)
    assert system.step(500)
    assert len(system.run.journey._marks) == 0
    assert not system.run.journey._marks.is_off
    system.stop()


def test_marks_are_few_and_dense_where_the_run_stands():
    """At most 64 of them, whose distances grow towards the past."""
    every = marks.RunMarks()
    state = nb.SystemManager(reachable=False)
    state.start(ALWAYS, data=BARS, strategies=SmaCross, paused=True)
    state.step(10)
    one = marks.RunMark(0, 0, (), state.run.world.universe.save())
    state.stop()
    for cursor in range(10, 200_000, 10):
        every.add(one._replace(cursor=cursor))
    cursors = [mark.cursor for mark in every._marks]
    assert len(cursors) == marks.MOST
    assert cursors[-1] == 199_990
    gaps = np.diff([0, *cursors])
    assert gaps[-1] <= 20
    assert all(gap <= 10 + 0.5 * (200_000 - at) for gap, at in zip(gaps, cursors, strict=True))
    assert [every.newest(goal, ()).cursor for goal in (200_000, 199_989)] == [199_990, cursors[-2]]
