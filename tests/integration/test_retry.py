"""The law of a retry: a mended class with the recorded past goes on as if it had always been so; with another past nothing changes."""

from __future__ import annotations

import sys

import pytest

import nbbacktest as nb
from nbbacktest.strategies import SmaCross
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


def careless(*, mistake=True, size=1, early=False):
    """A class of one name, with its mistake or without, which trades as it is told."""

    class Careless(nb.Strategy):
        lot: int = size

        def on_start(self):
            self.n = 0

        def on_bar(self, bar):
            self.n += 1
            if self.n % 40 == 0:
                self.buy(size=self.lot)
            if self.n % 40 == 20:
                self.close()
            if early and self.n == 100:
                raise KeyError("early")
            if self.n == 250:
                self.depth = 1 / (self.n - 250) if mistake else 0.0

    return Careless


def failed(system, on_error="stop", strategies=None, **params):
    """A run that the mistake has ended, or holds."""
    config = ALWAYS | {"on_error": on_error}
    system.start(config, data=minutes(600), strategies=strategies or careless(), paused=True, **params)
    assert not system.step(600)
    assert "ZeroDivisionError" in str(system.error)


@pytest.mark.parametrize("on_error", ["stop", "pause"])
def test_an_equal_past_goes_on_as_if_it_had_always_been_so(system, on_error):
    """Ended by the error, or held by it: paused just before that instant, then the result of the mended class from the start."""
    failed(system, on_error)
    answer = system.retry(careless(mistake=False))
    assert answer
    assert answer.has_same_past
    assert "just before the instant that raised" in repr(answer)
    assert system.is_paused()
    assert system.error is None
    assert (system.snapshot().cursor, system.strategies[0].n) == (249, 249)
    assert system.step()
    assert system.strategies[0].depth == 0.0
    assert system.back(100)
    assert system.step(20)
    system.resume()
    expected = nb.backtest(minutes(600), careless(mistake=False), config=ALWAYS | {"on_error": on_error})
    assert system.wait().fingerprint == expected.fingerprint
    assert system.start(paused=True)  # the mended class is what runs again
    assert system.step(300)


@pytest.mark.parametrize("on_error", ["stop", "pause"])
def test_another_past_changes_nothing(system, on_error):
    """It says where the pasts part, and what else can be done."""
    failed(system, on_error)
    state, shot = system.get_state(), system.snapshot()
    answer = system.retry(careless(mistake=False, size=2))
    assert not answer
    assert "recorded Careless buy 1 ASSET" in answer.told
    assert "the mended class does Careless buy 2 ASSET" in answer.told
    assert "fork(strategy=...)" in answer.told
    assert (system.get_state(), system.snapshot().cursor) == (state, shot.cursor)
    assert "ZeroDivisionError" in str(system.error)
    if on_error == "stop":
        with pytest.raises(nb.StrategyError, match="early"):
            system.retry(careless(mistake=False, early=True))
    else:
        assert "raised KeyError" in system.retry(careless(mistake=False, early=True)).told
    assert (system.get_state(), system.snapshot().cursor) == (state, shot.cursor)


def test_parameters_and_other_strategies_stay(system):
    """Of several strategies the one of that name is mended."""
    failed(system, strategies=[SmaCross, careless(size=3)])
    assert system.retry(careless(mistake=False, size=3))
    assert [type(one).__name__ for one in system.strategies] == ["SmaCross", "Careless"]
    system.resume()
    system.wait()
    failed(system, lot=5)
    assert system.retry(careless(mistake=False))
    assert system.strategies[0].lot == 5


def test_the_class_as_it_is_defined_now(system, monkeypatch):
    """As a cell defines it again; the same class is refused."""
    module = sys.modules[__name__]
    old, new = careless(), careless(mistake=False)
    for kind in (old, new):
        kind.__qualname__ = "Careless"
    monkeypatch.setattr(module, "Careless", old, raising=False)
    failed(system, strategies=old)
    with pytest.raises(ValueError, match="the classes are those that raised; define them anew"):
        system.retry()
    monkeypatch.setattr(module, "Careless", new)
    assert system.retry()
    assert type(system.strategies[0]) is new


def test_what_cant_be_retried_says_why(system):
    """Nothing started, no error, another name."""
    with pytest.raises(RuntimeError, match="nothing was started"):
        system.retry()
    system.start(ALWAYS, data=minutes(60), strategies=SmaCross, paused=True)
    with pytest.raises(RuntimeError, match="nothing has raised"):
        system.retry(SmaCross)
    system.stop()
    failed(system)
    with pytest.raises(
        ValueError, match="the run's strategies are Careless, and these are SmaCross; a mended class keeps its name"
    ):
        system.retry(SmaCross)
    assert system.is_stopped()


def test_a_live_run_isnt_retried():
    system = nb.SystemManager(reachable=False)
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        with pytest.raises(nb.LiveRunError, match="can't retry a live run"):
            system.retry()
    finally:
        system.stop()
