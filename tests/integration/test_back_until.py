"""The law of a search through the past: it finds the last place that all snapshots, looked at one by one, give."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from nbbacktest.system.break_places import last_place, scan_of
from nbbacktest.system.break_terms import read_terms
from tests.erratic import brokers, differences, events, markets, random_market
from tests.live import live_of
from tests.markets import minutes
from tests.witness import Roaming, Witness, kinds

ALWAYS = {"exchange": "24/7"}


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
        Roaming(seed=seed + n, sessions=sessions, joining=joining and not n, leaving=leaving and not n, late=late)
        for n in range(2)
    ]
    seen = Witness(config, data, players)
    dice = random.Random(seed)
    for terms in all_terms:
        expected = seen.places(terms)
        for stop in [len(seen.shots) - 1, *dice.sample(range(1, len(seen.shots)), 4)]:
            scan = scan_of(seen.run)
            scan.stop = stop
            assert last_place(terms, seen.run, scan) == max((c for c in expected if c < stop), default=None), str(terms)
    scan = scan_of(seen.run)
    for cursor in dice.sample(range(len(seen.shots) - 1), 30):  # before the last session has ended
        assert not differences(seen.shots[cursor], scan.at(cursor)), cursor


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
        ({"input": 0}, "there is no input yet"),
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


@pytest.mark.parametrize("fill", ["next_open", "this_close"])
def test_what_a_sessions_start_orders_is_seen_with_its_first_instant(fill):
    """It has the time of the instant before, where sessions meet; the snapshot of that one doesn't show it."""

    class AtOpen(nb.Strategy):
        def on_session_start(self, date):
            if len(self.bars("ASSET")):
                self.buy(size=1)

    config = ALWAYS | {"broker": {"fill": fill}, "day_zone": "America/New_York"}
    seen = Witness(config, minutes(300, start="2024-10-03 22:00"), [AtOpen()])
    for terms in (read_terms(order=True), read_terms(fill=True)):
        expected = seen.places(terms)
        assert expected
        for stop in range(1, len(seen.shots)):
            scan = scan_of(seen.run)
            scan.stop = stop
            assert last_place(terms, seen.run, scan) == max((c for c in expected if c < stop), default=None)
