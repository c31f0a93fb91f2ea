"""The law of a search through the past: it finds the last place that all snapshots, looked at one by one, give."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.timeline import Window
from nbbacktest.strategies import SmaCross
from nbbacktest.system.break_places import last_place
from nbbacktest.system.break_terms import read_terms
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run
from nbbacktest.system.status import status
from tests.erratic import Erratic, brokers, differences, events, markets, random_market
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


class Witness:
    """A run, an instant at a time in this thread, with all that was published and all that had happened by then."""

    def __init__(self, config, data, strategies):
        life = Lifecycle()
        stages = build(SessionConfig.load(config), life, Monitor(), data=data, strategies=strategies, window=1)
        self.run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
        self.desk = stages.world.desk
        for strategy in self.desk.strategies:
            strategy.universe = stages.world.universe
        life.apply(Command.START)
        self.shots, self.fills, self.orders, self.rejected = [], [], [], []
        analysis = stages.analysis
        try:
            assert analysis.begin(), analysis.error
            self.note()
            while not stages.gate.closed and (cursor := analysis.frame.cursor) < len(stages.world.timeline):
                for batch in stages.processor.batches(Window(cursor, cursor + 1, stages.gate.generation, None)):
                    analysis.process(batch)
                assert analysis.error is None, analysis.error
                self.note()
        finally:
            analysis.finish()
        for seen in (self.shots, self.fills, self.orders, self.rejected):
            seen.pop()
        self.note()  # the last session has ended

    def note(self):
        desk = self.desk
        self.shots.append(self.run.published())
        self.fills.append(len(desk.fills))
        self.orders.append(len(desk.orders))
        self.rejected.append({order.id for order in desk.orders if order.status == "rejected"})

    def places(self, terms):
        """Where the terms hold, by what each instant showed."""
        found = []
        peak, was_down = self.shots[0].equity, False
        for cursor, (before, shot) in enumerate(itertools.pairwise(self.shots), start=1):
            after = self.shots[cursor + 1] if cursor + 1 < len(self.shots) else None
            peak = max(peak, shot.equity)
            is_down = terms.kind == "drawdown" and peak > 0 and peak - shot.equity >= terms.value * peak
            holds = {
                "when": lambda shot=shot: terms.value(shot),
                "equity": lambda before=before, shot=shot: (before.equity < terms.value) != (shot.equity < terms.value),
                "drawdown": lambda is_down=is_down, was_down=was_down: is_down and not was_down,
                "session": lambda before=before, shot=shot, after=after: (
                    before.session_date != shot.session_date
                    if terms.value == "start"
                    else after is None or after.session_date != shot.session_date
                ),
                "fill": lambda cursor=cursor: any(
                    map(self.concerned(terms), self.desk.fills[self.fills[cursor - 1] : self.fills[cursor]])
                ),
                "order": lambda cursor=cursor: any(
                    map(self.concerned(terms), self.desk.orders[self.orders[cursor - 1] : self.orders[cursor]])
                ),
                "rejected": lambda cursor=cursor: any(
                    self.concerned(terms)(self.desk.orders[number - 1])
                    for number in self.rejected[cursor] - self.rejected[cursor - 1]
                ),
            }[terms.kind]()
            was_down = is_down
            if holds:
                found.append(cursor)
        return found

    @staticmethod
    def concerned(terms):
        def one(event):
            fits = event.symbol == (terms.symbol or event.symbol) and event.strategy == (
                terms.strategy or event.strategy
            )
            return fits and (terms.kind != "order" or terms.value is True or event.id == terms.value)

        return one


def kinds(symbols):
    """Terms of every kind but times, which have a law of their own."""
    of = st.fixed_dictionaries(
        {},
        optional={
            "symbol": st.sampled_from(symbols),
            "strategy": st.sampled_from(["Erratic", "Erratic #2"]),
        },
    )
    conditions = st.sampled_from(
        [
            lambda shot: shot.equity < 2_990,
            lambda shot: "S0" in shot.bars and shot.bars["S0"].close > 100,
            lambda shot: not shot.positions,
            lambda shot: len(shot.orders) > 3,
            lambda shot: shot.n_fills % 7 == 3,
            lambda shot: shot.cash < 1_000,
            lambda shot: any(fill.side == "sell" for fill in shot.last_fills),
            lambda shot: shot.time.minute % 17 == 0 and shot.progress < 0.7,
            lambda shot: any(value > 100 for value in shot.indicators.values() if isinstance(value, float)),
        ]
    )
    return st.one_of(
        *(st.tuples(st.just({kind: True}), of) for kind in ("fill", "order", "rejected")),
        st.tuples(st.fixed_dictionaries({"order": st.integers(1, 60)}), st.just({})),
        st.tuples(st.fixed_dictionaries({"session": st.sampled_from(["start", "end"])}), st.just({})),
        st.tuples(
            st.fixed_dictionaries({"equity": st.sampled_from([2_995.0, 3_000.0, 99_990.0, 100_000.0])}), st.just({})
        ),
        st.tuples(st.fixed_dictionaries({"drawdown": st.sampled_from([1e-5, 1e-4, 1e-3, 0.01])}), st.just({})),
        st.tuples(st.fixed_dictionaries({"when": conditions}), st.just({})),
    ).map(lambda pair: read_terms(**pair[0], **pair[1]))


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40)
@given(
    markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans(),
    st.booleans(), st.lists(kinds(["S0", "S1"]), min_size=6, max_size=6),
)  # fmt: skip
def test_the_last_place_is_that_of_all_snapshots(market, broker, actions, seed, sessions, joining, leaving, all_terms):
    """Every kind, over orders, accounts, sessions, actions, joining and leaving symbols; and each lazy snapshot is the published one."""
    config, data, late = random_market(market, broker, actions, seed)
    players = [
        Erratic(seed=seed + n, sessions=sessions, joining=joining and not n, leaving=leaving and not n, late=late)
        for n in range(2)
    ]
    seen = Witness(config, data, players)
    dice = random.Random(seed)
    for terms in all_terms:
        expected = seen.places(terms)
        for stop in [len(seen.shots), *dice.sample(range(1, len(seen.shots)), 4)]:
            scan = seen.run.scan()
            scan.stop = stop
            assert last_place(terms, seen.run, scan) == max((c for c in expected if c < stop), default=None), str(terms)
    scan = seen.run.scan()
    for cursor in dice.sample(range(len(seen.shots)), 30):
        assert not differences(seen.shots[cursor], scan.at(cursor)), cursor


@pytest.fixture(params=["threads", "slices"])
def system(request, monkeypatch):
    if request.param == "slices":
        monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    system = nb.SystemManager(reachable=False)
    yield system
    if not system.is_stopped():
        system.stop()


def test_a_run_goes_back_to_what_happened_last(system):
    """By a predicate, by words, and by a time; then on again to the same end."""
    data = minutes(3_000)
    expected = nb.backtest(data, SmaCross, config=ALWAYS).fingerprint
    system.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    system.step(2_500)
    fills = [fill.index + 1 for fill in system.run.world.desk.fills]
    assert system.run_back_until("last fill")
    assert system.snapshot().cursor == fills[-1]
    assert system.in_past
    assert system.run_back_until("fill")  # the one before: a place is before the present one
    assert system.snapshot().cursor == fills[-2]
    assert system.run_back_until(lambda shot: shot.n_fills < 3)
    assert (system.snapshot().cursor, system.snapshot().n_fills) == (fills[2] - 1, 2)
    assert system.run_back_until("10:00")
    assert str(system.snapshot().time.time()) == "10:00:00"
    cursor = system.snapshot().cursor
    assert not system.run_back_until("rejected")
    assert not system.run_back_until(lambda shot: False)
    assert system.snapshot().cursor == cursor
    assert system.is_paused()
    system.resume()
    assert system.wait().fingerprint == expected


def test_what_a_predicate_raises_is_raised_and_the_run_stays(system):
    """It rests where it was."""
    system.start(ALWAYS, data=minutes(300), strategies=SmaCross, paused=True)
    system.step(200)
    with pytest.raises(KeyError, match="NONE"):
        system.run_back_until(lambda shot: shot.bars["NONE"].close > 0)
    assert system.is_paused()
    assert (system.snapshot().cursor, system.in_past) == (200, False)


def test_a_predicate_may_keep_its_snapshots(system):
    """They show their instants later too, also after the run has gone elsewhere."""
    system.start(ALWAYS, data=minutes(600), strategies=SmaCross, paused=True)
    system.step(400)
    seen = {400: system.snapshot()}
    kept = []
    assert system.run_back_until(lambda shot: kept.append(shot) or shot.cursor == 300)
    assert [shot.cursor for shot in kept] == list(range(399, 299, -1))
    system.rewind(10)
    system.step(390)
    assert not differences(seen[400], system.snapshot())
    for shot in kept[::20]:
        assert isinstance(shot, nb.Snapshot)
        assert not differences(system.look(shot.cursor), shot)
        assert repr(shot) == repr(system.look(shot.cursor))
        with pytest.raises(AttributeError, match="nothing"):
            shot.nothing  # noqa: B018 - that it raises


def test_going_back_to_what_only_the_future_has(system):
    """In the past, what lies ahead isn't before: but its numbers are known to `rewind`."""
    system.start(ALWAYS, data=minutes(3_000), strategies=SmaCross, paused=True)
    system.step(2_500)
    fills = list(system.run.world.desk.fills)
    orders = [order.submitted_ns for order in system.run.world.desk.orders]
    system.rewind(fill=3)
    assert system.snapshot().n_fills == 4
    assert system.snapshot().last_fills[-1] == fills[3]
    assert system.rewind(fill=-1)
    assert system.snapshot().cursor == fills[-1].index + 1
    assert system.rewind(fill=-1, before=True)
    assert system.snapshot().n_fills == len(fills) - 1
    assert system.rewind(order=5)
    assert int(system.snapshot().time.value) == orders[4]
    assert system.rewind(order=-1)
    assert int(system.snapshot().time.value) == orders[-1]


def test_the_row_of_a_trade_leads_to_its_entry(system):
    """As the result will number them; open ones too."""
    data = {"A": minutes(3_000), "B": minutes(3_000, seed=4)}
    result = nb.backtest(data, SmaCross, config=ALWAYS)
    system.start(ALWAYS, data=data, strategies=SmaCross, paused=True)
    system.run_until("2024-10-05 11:29")
    for row in (0, 2, len(result.trades.dropna(subset=["exit_time"])) - 1):
        trade = result.trades.iloc[row]
        assert system.rewind(trade=row)
        entry = system.snapshot().last_fills[-1]
        assert (entry.time, entry.symbol, entry.price) == (trade.entry_time, trade.symbol, trade.entry_price)
        assert not system.rewind(trade=row, before=True) or system.snapshot().last_fills[-1:] != (entry,)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "rewind takes one place.*nothing is given"),
        ({"to": 3, "fill": 0}, "to and fill is given"),
        ({"fill": 999}, r"rewind\(fill=999\): fills are numbered 0 to \d+ so far"),
        ({"fill": -999}, r"rewind\(fill=-999\): fills are numbered"),
        ({"order": 0}, "orders are numbered 1 to"),
        ({"trade": True}, r"rewind\(trade=True\): give its number"),
        ({"fill": "last"}, "give its number"),
        ({"fill": 0, "before": 1}, "before=1: give True or False"),
        ({"to": "start", "before": True}, "nothing is before the start"),
        ({"input": 0}, "no inputs"),
    ],
)
def test_what_is_no_place_is_refused(system, arguments, told):
    """One clear error, and the run stays."""
    system.start(ALWAYS, data=minutes(600), strategies=SmaCross, paused=True)
    system.step(500)
    with pytest.raises(ValueError, match=told):
        system.rewind(**arguments)
    assert (system.snapshot().cursor, system.in_past) == (500, False)


async def later(shot):
    return True


@pytest.mark.parametrize(
    ("when", "told"),
    [
        (3, r"run_back_until\(3\): give a function of a Snapshot"),
        (None, "give a function"),
        (later, "is a coroutine function"),
        ("", "is no place; write a time"),
        ("last", "is no place"),
        ("nonsense", "is no place"),
        ("last 10:30", "is no place"),
        ("fill A B", "too many words"),
        ("error today", "too many words"),
        ("equity", "too few words"),
        ("equity much", "'much' is no number"),
        ("drawdown -1%", "drawdown=-0.01"),
        ("drawdown 10", "drawdown=10"),
        ("fill MSFT", "symbol='MSFT' isn't in the run; there are ASSET"),
        ("session noon", "session='noon'"),
        ("order 0", "order=0"),
        ("2030-01-01", "outside of the run, which goes from 2024-10-03"),
        ("25:61", "."),
    ],
)
def test_words_that_say_no_place_are_refused(system, when, told):
    """What, and what could be said instead."""
    system.start(ALWAYS, data=minutes(200), strategies=SmaCross, paused=True)
    system.step(150)
    with pytest.raises(ValueError, match=told):
        system.run_back_until(when)
    assert (system.snapshot().cursor, system.in_past) == (150, False)


def test_without_a_run_and_in_a_live_one_it_says_why():
    """As the other ways back do."""
    system = nb.SystemManager(reachable=False)
    with pytest.raises(nb.InvalidTransition, match="while STOPPED"):
        system.run_back_until("fill")
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        with pytest.raises(nb.LiveRunError, match="can't rewind a live run"):
            system.run_back_until("fill")
    finally:
        system.stop()


def test_a_run_that_goes_on_is_gone_back_in(system):
    """The present is when it was asked."""
    system.start(
        ALWAYS | {"backtest": {"speed_multiplier": 6_000.0}}, data=minutes(50_000), strategies=SmaCross, paused=True
    )
    system.step(1_000)
    fills = system.snapshot().n_fills
    system.resume()
    assert system.run_back_until("fill")
    assert system.is_paused()
    assert system.snapshot().n_fills >= fills
    assert system.horizon >= system.snapshot().cursor
