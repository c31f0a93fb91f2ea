"""Systems over a few minutes of bars, and a strategy that a test holds inside a call."""

from __future__ import annotations

import threading

import nbbacktest as nb
from tests.markets import minutes


class Quiet(nb.Strategy):
    """Does nothing."""


class Gated(nb.Strategy):
    """Blocks in the bar numbered `at`, until the test lets it go."""

    at: int = 5

    def on_start(self):
        self.inside, self.go_on, self.count = threading.Event(), threading.Event(), 0

    def on_bar(self, bar):
        self.count += 1
        if self.count == self.at:
            self.inside.set()
            self.go_on.wait(20)


def started(strategy=Quiet, count=200, config=None, **options):
    """A system that has been started."""
    system = nb.SystemManager()
    assert system.start(config or {}, data=minutes(count), strategies=strategy, **options) is True
    return system


def in_thread(function, *arguments):
    """Call it in a thread; returns the thread and the list that its answer, or its exception, goes to."""
    answers = []

    def call():
        try:
            answers.append(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            answers.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers


def await_hold(system):
    """Wait until somebody holds the system's run, at rest or not."""
    assert system._condition.until(lambda: system._holder.run.gate.is_held, 10)
