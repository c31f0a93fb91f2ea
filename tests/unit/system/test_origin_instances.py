"""A strategy object begins each run with the state that it was given with."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from tests.markets import minutes

BARS = minutes(60)
STATES = st.recursive(
    st.integers(0, 9) | st.floats(0, 9) | st.text(max_size=3) | st.none(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=2), part, max_size=3),
    max_leaves=6,
)


class Remembers(nb.Strategy):
    """Changes everything that it was given, and trades by all of it."""

    def on_bar(self, bar):
        self.state = [self.state, len(repr(self.state)) % 100]
        if isinstance(self.inner, list):
            self.inner.append(1)
        else:
            self.inner["n"] = len(self.inner) + self.inner.get("n", 0)
        self.late = getattr(self, "late", 0) + 1
        self.buy(size=1 + len(repr([self.state[1], self.inner, self.late])) % 7)


@settings(max_examples=40, deadline=None)
@given(state=STATES, inner=st.lists(st.integers(), max_size=3) | st.dictionaries(st.text(max_size=2), st.integers(), max_size=3))  # fmt: skip
def test_every_run_of_an_object_is_its_first(state, inner):
    """By backtest, by start, and by a start without arguments: the same object gives the same result."""
    one = Remembers()
    one.state, one.inner = state, inner
    first = nb.backtest(BARS, one).fingerprint
    assert nb.backtest(BARS, one).fingerprint == first
    system = nb.SystemManager(reachable=False)
    system.start({}, data=BARS, strategies=[one])
    assert system.wait().fingerprint == first
    system.start()
    assert system.wait().fingerprint == first


class Draws(nb.Strategy):
    """Holds what moves on by being used."""

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self.random, self.last, self.guard = np.random.default_rng(1), deque(maxlen=3), threading.Lock()
        self.same = self.last

    def on_bar(self, bar):
        with self.guard:
            self.last.append(bar.close)
        assert self.same is self.last
        self.buy(size=int(self.random.integers(1, 9)) + len(self.last))


def test_objects_within_a_state_are_given_back_too():
    """Generators and deques begin anew; what two names share is still shared; a lock is left as it is."""
    one = Draws()
    assert len({nb.backtest(BARS, one).fingerprint for _ in range(3)}) == 1


def test_what_its_owner_sets_between_runs_stays():
    """A value that is set after a run is the next one's, and the ones after that."""
    one = Draws()
    first = nb.backtest(BARS, one)
    one.random = np.random.default_rng(2)
    second = nb.backtest(BARS, one)
    assert second.fingerprint != first.fingerprint
    assert nb.backtest(BARS, one).fingerprint == second.fingerprint


def test_what_a_run_has_left_can_be_looked_at():
    """The object that was given is the one that runs: nothing of it is taken back before the next run."""
    one = Draws()
    nb.backtest(BARS, one)
    assert len(one.last) == 3
    assert nb.audit_lookahead(BARS, one).clear
    assert len(one.last) == 3


def test_an_object_that_is_in_a_run_is_left_alone():
    """Where it is refused for another run, the one that it is in loses nothing."""
    system, one = nb.SystemManager(reachable=False), Draws()
    system.start({}, data=BARS, strategies=one, paused=True)
    system.step(2)
    with pytest.raises(nb.ConfigError, match="still in another run"):
        nb.backtest(BARS, one)
    assert len(one.last) == 2
    system.resume()
    assert system.wait().fingerprint == nb.backtest(BARS, Draws()).fingerprint
