"""The monitor: a lock that interrupts leave free, waits with nothing held, and changes and threads that are whole."""

from __future__ import annotations

import contextvars
import threading

import pytest

from nbbacktest.core.monitor import Flag, Monitor, apart, started, surely
from tests.held import in_thread


def test_it_cannot_be_entered_but_by_its_lock():
    """`with monitor` would be Python, which an interrupt can cut in two."""
    with pytest.raises((TypeError, AttributeError)), Monitor():
        pass


def test_until_returns_what_is_so():
    """An answer that is true already is returned at once, one that isn't after the time, whatever it is."""
    monitor = Monitor()
    assert monitor.until(lambda: "here") == "here"
    assert monitor.until(lambda: "", 0.01) == ""
    assert monitor.until(lambda: 0, -1) == 0
    assert monitor._tickets == []


@pytest.mark.parametrize("waiters", [1, 5])
def test_whoever_waits_hears_of_a_change(waiters):
    """All that wait are woken by one notification, and nothing is held meanwhile."""
    monitor, box = Monitor(), []
    threads = [in_thread(monitor.until, lambda: len(box) > 1) for _ in range(waiters)]
    for _ in range(2):
        with monitor.lock:
            box.append(1)
            monitor.notify_all()
    for thread, answers in threads:
        thread.join(10)
        assert answers == [True]


def test_an_answer_that_raises_ends_the_wait():
    """What the question raises is raised, and the lock is free."""
    monitor = Monitor()
    with pytest.raises(ZeroDivisionError):
        monitor.until(lambda: 1 / 0)
    thread, answers = in_thread(monitor.until, lambda: True)
    thread.join(10)
    assert answers == [True]


def test_a_flag_is_up_for_all_until_it_is_taken_down():
    """Waiting for it is True once it is up, and False after the time while it is down."""
    flag = Flag()
    assert flag.wait(0.01) is False
    thread, answers = in_thread(flag.wait)
    flag.set()
    thread.join(10)
    assert answers == [True]
    assert flag.is_set()
    flag.clear()
    assert not flag.wait(0.0)


def test_a_change_that_is_cut_in_two_is_made_once_more():
    """The interrupt goes on when the change is whole."""
    made = []

    def change():
        made.append(1)
        if len(made) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surely(change)
    assert len(made) == 2


def test_what_is_done_apart_answers_and_raises_as_a_call_does():
    """In the main thread it is done in another one, elsewhere at once; what the caller has set counts there."""
    setting = contextvars.ContextVar("setting", default=0)
    setting.set(3)
    assert apart(lambda: (setting.get(), threading.current_thread().name)) == (3, "nbbacktest-command")
    with pytest.raises(ZeroDivisionError):
        apart(lambda: 1 / 0)
    thread, answers = in_thread(apart, threading.current_thread)
    thread.join(10)
    assert answers == [thread]


@pytest.mark.parametrize("begin", [lambda: apart(int), lambda: started(threading.Thread(target=int))])
def test_where_there_is_no_thread_to_be_had_it_is_said(begin, monkeypatch):
    """As by the system: a RuntimeError, and nobody waits."""

    def refuse(thread):
        raise RuntimeError("no thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="no thread"):
        begin()
