"""The law of looking back: what `look` computes from the record is what was published at that instant, to the bit."""

from __future__ import annotations

import random
import threading

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data import parquet, streaming
from nbbacktest.engine.timeline import Window
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run
from nbbacktest.system.status import status
from tests.erratic import Erratic, brokers, differences, events, markets, random_market
from tests.live import fields, live_of
from tests.markets import days, minutes


def driven(config, data, strategies):
    """Run in this thread, an instant at a time: the run, and what it published at each of its instants."""
    life = Lifecycle()
    stages = build(SessionConfig.load(config), life, Monitor(), data=data, strategies=strategies, window=1)
    run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
    for strategy in stages.world.desk.strategies:
        strategy.universe = stages.world.universe
    life.apply(Command.START)
    analysis, published = stages.analysis, {}
    try:
        if analysis.begin():
            published[0] = run.published()
            while not stages.gate.closed and (cursor := analysis.frame.cursor) < len(stages.world.timeline):
                for batch in stages.processor.batches(Window(cursor, cursor + 1, stages.gate.generation, None)):
                    analysis.process(batch)
                published[analysis.frame.cursor] = run.published()
    finally:
        analysis.finish()
    assert analysis.error is None, analysis.error
    published[analysis.frame.cursor] = run.published()
    return run, published


def check(run, published, dice, saved=None):
    """Look everywhere, in any order: at the run, at its result and at what was saved of it."""
    result = run.result()
    looks = [run.look, result.look]
    if saved is not None:
        looks.append(nb.Result.load(result.save(saved)).look)
    cursors = list(published)
    for cursor in [*dice.sample(cursors, len(cursors)), *cursors[:3]]:
        seen = published[cursor]
        for look in looks:
            wrong = differences(seen, look(cursor))
            assert not wrong, (cursor, wrong)
        assert run.look(cursor)._frame.agent.held == seen._frame.agent.held, cursor


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.booleans(), st.integers(1, 2),
)  # fmt: skip
def test_a_look_is_what_was_published(
    tmp_path_factory, market, broker, actions, seed, sessions, joining, leaving, strategies
):
    """Law 3, over orders, accounts, sessions, actions, joining and leaving symbols, derived intervals and indicators."""
    config, data, late = random_market(market, broker, actions, seed)
    players = [
        Erratic(seed=seed + n, sessions=sessions, joining=joining and not n, leaving=leaving and not n, late=late)
        for n in range(strategies)
    ]
    run, published = driven(config, data, players)
    assert len(published) > 100
    check(
        run, published, random.Random(seed), tmp_path_factory.getbasetemp() / "looked.nbbt" if seed % 3 == 0 else None
    )


CLOSED = ["2020-01-20", "2020-02-17", "2020-04-10"]
DATES = [str(date.date()) for date in pd.bdate_range("2020-01-02", periods=90).drop(CLOSED)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=12)
@given(brokers, events(DATES[5:], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.integers(0, 5))
def test_a_look_at_daily_bars_is_what_was_published(tmp_path_factory, broker, actions, seed, sessions, warmup):
    """The same of whole sessions, with weekly bars and what every date may bring, after some warm-up."""
    data = {f"S{n}": days(90, seed=seed % 50 + n).drop(pd.DatetimeIndex(CLOSED)) for n in range(2)}
    config = {
        "broker": broker,
        "data": {"derived_intervals": ["1w"], "adjusted": False, "actions": actions},
        "backtest": {"start_date": DATES[warmup]},
    }
    run, published = driven(config, data, [Erratic(seed=seed, pace=0.5, sessions=sessions)])
    check(run, published, random.Random(seed), tmp_path_factory.getbasetemp() / "looked.nbbt")


class Careless(nb.Strategy):
    """Trades by chance that nobody can repeat."""

    def on_bar(self, bar):
        if random.random() < 0.3:
            self.buy(bar.symbol, 1, stop_loss=bar.close - 0.1) if random.random() < 0.5 else self.close(bar.symbol)


@pytest.fixture
def system():
    """A manager whose run ends with the test."""
    made = nb.SystemManager(reachable=False)
    yield made
    made.stop()


@pytest.mark.parametrize("strategy", [Careless, Erratic])
def test_a_run_that_is_stepped_paused_and_ended_is_looked_at_with_threads(system, strategy):
    """What `snapshot` gave at rest, `look` gives later: running, paused and ended; of a strategy that doesn't repeat itself too."""
    data = {"S0": minutes(300, seed=3), "S1": minutes(300, seed=4, gaps=0.2)}
    system.start({"data": {"derived_intervals": ["5m"]}}, data=data, strategies=strategy, paused=True)
    seen = {0: system.snapshot()}
    for n in (1, 1, 7, 1, 30, 1, 1, 50):
        system.step(n)
        shot = system.snapshot()
        seen[shot.cursor] = shot
        assert all(not differences(shot, system.look(cursor)) for cursor, shot in seen.items())
    system.resume()
    for cursor, shot in [*seen.items()] * 5:
        assert not differences(shot, system.look(cursor))
        assert not differences(shot, system.look(cursor if shot.time is None else shot.time))
    result = system.wait()
    for look in (system.look, result.look):
        assert all(not differences(shot, look(cursor)) for cursor, shot in seen.items())
    assert not differences(system.snapshot(), result.look(len(result.equity)))


def test_many_threads_may_look_while_a_run_goes_on(system):
    """Each sees what the finished run shows: nothing of a look is half another's, or half of an instant."""
    data = {"S0": minutes(4000, seed=5), "S1": minutes(4000, seed=6)}
    system.start({}, data=data, strategies=Erratic(seed=7, pace=0.05), paused=True)
    system.step(50)
    seen, stop = [], threading.Event()

    def watch(number):
        dice = random.Random(number)
        while not stop.is_set():
            cursor = dice.randint(0, system.run.published().cursor)
            seen.append((cursor, system.look(cursor)))

    watchers = [threading.Thread(target=watch, args=(number,)) for number in range(3)]
    for watcher in watchers:
        watcher.start()
    system.resume()
    result = system.wait(60)
    stop.set()
    for watcher in watchers:
        watcher.join()
    assert len(seen) > 100
    for cursor, shot in random.Random(1).sample(seen, 100):
        assert not differences(shot, result.look(cursor))


def test_without_threads_a_look_needs_no_turn(monkeypatch):
    """A host without threads looks too, at a run that is held and at one that has ended."""
    monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    system = nb.SystemManager(reachable=False)
    system.start({}, data=minutes(200), strategies=Erratic(seed=2), paused=True)
    seen = {}
    for _ in range(20):
        system.step(3)
        seen[system.snapshot().cursor] = system.snapshot()
    assert all(not differences(shot, system.look(cursor)) for cursor, shot in seen.items())
    system.resume()
    system.wait()
    assert all(not differences(shot, system.look(cursor)) for cursor, shot in seen.items())


def test_a_live_run_is_looked_at_while_its_bars_come(system):
    """After every minute that was pushed, all minutes before show what they showed then."""
    feed, seen = nb.PushFeed(), {}
    config = live_of(
        {"data": {"symbols": ["A", "B"], "interval": "1m", "derived_intervals": ["5m"]}, "exchange": "XNYS"}
    )
    system.start(config, feed=feed, strategies=Erratic(seed=1, pace=0.5))
    for minute in range(60):
        for place, symbol in enumerate("AB"):
            feed.push(fields(symbol, minute, 100.0 + ((minute * 7 + place) % 13) / 10))
        while (shot := system.snapshot()).cursor <= minute:
            assert system.error is None
        seen[shot.cursor] = shot
        cursor = random.Random(minute).choice(list(seen))
        assert not differences(seen[cursor], system.look(cursor)), cursor
    feed.close()
    result = system.wait(30)
    for cursor, shot in seen.items():
        assert not differences(shot, system.look(cursor))
        assert not differences(shot, result.look(cursor))
    assert len(result.fills) > 5
    assert shot.is_open


def test_a_strategy_may_look_back_from_inside(system):
    """In a callback the instants before are there, and the one under way as far as it has come."""
    pairs = []

    class Reviewing(nb.Strategy):
        def on_bar(self, bar):
            cursor = len(self.bars())
            if cursor > 3:
                pairs.append((system.look(cursor - 3).bars["ASSET"], self.bars()[-4], system.look(cursor).cursor))
                with pytest.raises(ValueError, match="instants are completed"):
                    system.look(cursor + 1)

    system.start({}, data=minutes(30), strategies=Reviewing, wait=True)
    assert len(pairs) == 27
    assert all(seen == bar for seen, bar, _ in pairs)
    assert [cursor for *_, cursor in pairs] == list(range(4, 31))


def test_a_stream_of_files_is_looked_at_as_it_was(system, tmp_path, monkeypatch):
    """Bars that are loaded on the way, and indicators over what is loaded, are those that were published."""
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 20_000)
    monkeypatch.setattr(parquet, "BATCH_ROWS", 100)
    frames = [minutes(390, seed=n, start=f"2024-10-{day:02} 09:30") for n, day in enumerate((3, 4, 7, 8, 9))]
    pd.concat(frames).rename_axis("time").to_parquet(tmp_path / "S0.parquet")
    config = {
        "data": {
            "source": "parquet", "path": str(tmp_path / "{symbol}.parquet"), "symbols": ["S0"], "interval": "1m",
            "stream": True, "stamp": "open", "derived_intervals": ["15m"],
        },
        "exchange": "XNYS",
    }  # fmt: skip
    system.start(config, strategies=Erratic(seed=3, pace=0.05), paused=True)
    assert system.run.world.chunks is not None
    seen = {}
    while system.step(37):
        seen[system.snapshot().cursor] = system.snapshot()
        cursor = random.Random(len(seen)).choice(list(seen))
        assert not differences(seen[cursor], system.look(cursor))
    result = system.wait()
    assert len(seen) > 50
    for cursor, shot in seen.items():
        assert not differences(shot, system.look(cursor))
        assert not differences(shot, result.look(cursor))
