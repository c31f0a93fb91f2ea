"""`debug` goes through the next instants in the thread of the caller, under pdb, and changes nothing."""

from __future__ import annotations

import threading

import pytest

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


class Careless(nb.Strategy):
    """Divides by zero at its 50th bar."""

    def on_start(self):
        self.n = 0
        self.threads = set()

    def on_bar(self, bar):
        self.n += 1
        self.threads.add(threading.get_ident())
        if self.n == 50:
            self.depth = 1 / (self.n - 50)
        if self.n % 10 == 0:
            self.buy(size=1)


@pytest.fixture
def typed(monkeypatch):
    """What the user types at pdb's prompts, which is given back as it is read."""
    lines = []

    def read(prompt=""):
        return lines.pop(0) if lines else "c"

    monkeypatch.setattr("builtins.input", read)
    return lines


def test_it_stops_in_the_strategys_code(system, typed, capsys):
    """At its first line; locals and state are those of that bar; the run stays where it is, and ends as if nothing had been."""
    expected = nb.backtest(minutes(40), Careless, config=ALWAYS).fingerprint
    system.start(ALWAYS, data=minutes(40), strategies=Careless, paused=True)
    system.step(30)
    typed += ["n", "p self.n, bar.close", "p self.n == 31", "self.n = 1000", "c"]
    shot = system.debug(2)
    told = capsys.readouterr().out
    assert "on_bar" in told
    assert f"({31}, {system.run.world.timeline.series[0].close_at[30]})" in told
    assert "True" in told
    assert shot.cursor == 32
    assert (system.snapshot().cursor, system.strategies[0].n) == (30, 30)
    assert system.is_paused()
    system.resume()
    assert system.wait().fingerprint == expected


def test_a_run_that_failed_is_debugged_at_the_bar_that_raised(system, typed, capsys):
    """Ended by the error: the next instant is that one, and raises again."""
    system.start(ALWAYS, data=minutes(100), strategies=Careless)
    with pytest.raises(nb.StrategyError):
        system.wait()
    typed += ["n", "n", "n", "n", "p self.n - 50", "c"]
    with pytest.raises(nb.StrategyError, match="ZeroDivisionError"):
        system.debug()
    told = capsys.readouterr().out
    assert "ZeroDivisionError" in told
    assert "\n(Pdb) 0\n" in told or "0\n" in told
    assert system.is_stopped()


def test_leaving_the_debugger_is_no_error(system, typed):
    """`q` ends it; the run can go on."""
    system.start(ALWAYS, data=minutes(40), strategies=Careless, paused=True)
    system.step(10)
    typed += ["q"]
    assert system.debug(5).cursor == 11
    assert system.snapshot().cursor == 10
    assert system.step(5)


def test_it_runs_in_the_thread_of_the_caller(typed):
    """And the trace function of before is there again."""
    seen = []

    class Where(nb.Strategy):
        def on_bar(self, bar):
            seen.append(threading.get_ident())

    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(40), strategies=Where, paused=True)
    try:
        system.step(3)
        assert threading.get_ident() not in seen
        seen.clear()
        system.debug()
        assert set(seen) == {threading.get_ident()}
        assert len(seen) == 4
    finally:
        system.stop()


def test_what_cant_be_debugged_says_why(system):
    """Nothing started, too many instants, no number, a live run."""
    with pytest.raises(RuntimeError, match="nothing was started"):
        system.debug()
    system.start(ALWAYS, data=minutes(40), strategies=SmaCross, paused=True)
    system.step(39)
    with pytest.raises(ValueError, match=r"debug\(2\): 1 instants follow"):
        system.debug(2)
    with pytest.raises(ValueError, match="debug takes a whole number of at least 1, not 0"):
        system.debug(0)


def test_a_live_run_isnt_debugged():
    system = nb.SystemManager(reachable=False)
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        with pytest.raises(nb.LiveRunError, match="can't debug a live run"):
            system.debug()
    finally:
        system.stop()
