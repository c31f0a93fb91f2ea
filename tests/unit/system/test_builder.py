"""What is refused before a run: callbacks that a call doesn't run."""

from __future__ import annotations

import re

import pytest

import nbbacktest as nb
from nbbacktest.trading.strategy import Strategy
from tests.markets import minutes

BARS = minutes(20)
STARTED = []  # the strategies that were started
CALLBACKS = [name for name in vars(Strategy) if name.startswith("on_")]


async def coroutine(self, *_told):
    """Awaits nothing."""


def generator(self, *_told):
    """Yields once."""
    yield


async def both(self, *_told):
    """Yields once, awaited."""
    yield


class Plain(nb.Strategy):
    """Tells whether it was started."""

    size: int = 1

    def on_start(self):
        STARTED.append(type(self))


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("function", [coroutine, generator, both])
def test_a_callback_that_a_call_does_not_run_is_refused(callback, function):
    """Whichever it is, with its name and the cure, by every way to run; nothing was started, and the next run is fine."""
    wrong = type("Wrong", (Plain,), {callback: function})
    STARTED.clear()
    system = nb.SystemManager(reachable=False)
    cure = "write def in place of async def" if function is coroutine else "write it without yield"
    for run in (
        lambda: nb.backtest(BARS, wrong),
        lambda: nb.backtest(BARS, [Plain, wrong()]),
        lambda: system.start({}, data=BARS, strategies=wrong),
        lambda: nb.sweep(BARS, wrong, {"size": [1]}, progress=False),
        lambda: nb.audit_lookahead(BARS, wrong),
    ):
        with pytest.raises(nb.ConfigError, match=rf"(?s)Wrong.*{callback} = .*{re.escape(cure)}"):
            run()
    assert system.is_stopped()
    assert not STARTED
    system.start({}, data=BARS, strategies=Plain)
    system.wait()
    assert STARTED


def test_a_callback_of_the_object_itself_counts():
    """A function that was put on the instance is what the run would call."""
    other = Plain()
    other.on_bar = coroutine
    with pytest.raises(nb.ConfigError, match="on_bar"):
        nb.backtest(BARS, other)


def test_other_functions_that_a_call_does_not_run_are_refused():
    """Of `run_until`, subscriptions and sweeps: each would be told, and do nothing, or be taken for true."""

    async def later(*_given, **_more):
        """Awaits nothing."""

    system = nb.SystemManager(reachable=False)
    for subscribe in (system.on_state, system.on_progress, system.on_end):
        with pytest.raises(TypeError, match="later.*is a coroutine function"):
            subscribe(later)
    system.start({}, data=BARS, strategies=Plain, paused=True)
    with pytest.raises(ValueError, match=r"run_until\(later\).*is a coroutine function"):
        system.run_until(later)
    assert system.is_paused()
    system.stop()
    for name in ("where", "progress"):
        with pytest.raises(nb.ConfigError, match=rf"{name} = .*is a coroutine function"):
            nb.sweep(BARS, Plain, {"size": [1]}, **{"progress": False, name: later})
