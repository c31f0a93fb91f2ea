"""When the engine lets other threads have the interpreter."""

from __future__ import annotations

import threading

import pytest

from nbbacktest.engine.yielding import InterpreterYield


class Others:
    """Threads that block so and so often, and take so and so long when they are let in."""

    def __init__(self, *, counted: bool = True) -> None:
        self.blocked = 1
        self.takes = 0.0001
        self.now = 0.0
        self.naps = 0
        self.yielding = InterpreterYield(self.nap, (lambda: self.blocked) if counted else None, lambda: self.now)
        self.yielding.yield_if_wanted()
        self.naps = 0

    def nap(self, seconds: float) -> None:
        self.naps += 1
        self.now += max(seconds, self.takes)

    def offered(self, times: int, *, blocking: bool = True, work: float = 0.0015) -> int:
        """How often they are let in while the engine works that often, for so many seconds each."""
        before = self.naps
        for _ in range(times):
            self.now += work
            self.blocked += blocking
            self.yielding.yield_if_wanted()
        return self.naps - before


def test_nobody_is_let_in_where_nobody_has_run():
    """As long as no other thread has blocked, none has begun to wait, and the engine doesn't sleep."""
    assert Others().offered(1_000, blocking=False) == 0


def test_whoever_comes_is_let_in_at_the_next_turn():
    """A thread that has blocked is let in, as often as it does."""
    others = Others()
    assert others.offered(100) == 100
    assert others.offered(100, blocking=False) == 0


def test_one_that_came_too_late_is_let_in_again():
    """What blocks while it is let in, since the engine was quicker, is seen at the next turn."""
    others = Others()
    others.yielding._nap = lambda seconds: setattr(others, "blocked", others.blocked + 1)  # comes too late
    others.now += 1.0
    others.blocked += 1
    others.yielding.yield_if_wanted()
    others.yielding._nap = others.nap
    assert others.offered(1, blocking=False) == 1


def test_a_turn_for_a_turn():
    """Whoever was let in is let in again when the engine has worked as long as it took, and not before."""
    others = Others()
    others.takes = 0.002
    assert others.offered(1) == 1
    assert others.offered(1, work=0.0019) == 0
    assert others.offered(1, work=0.0002) == 1


def test_turns_that_are_cut_short_are_counted_together():
    """Where turns are a few microseconds long, as under a condition that is asked each time, others come in by time."""
    others = Others()
    assert others.offered(1_000, work=0.000_01) == pytest.approx(10, abs=2)


def test_whoever_has_an_answer_is_let_in_at_once():
    """One whose question was answered waits for the interpreter alone; a rest has given it to all others."""
    others = Others()
    assert others.offered(1) == 1
    others.yielding.make_due()
    assert others.offered(1, work=0.000_01) == 1
    others.now += 1.0
    others.yielding.note_rest()
    assert others.offered(1, work=0.000_01) == 0


def test_one_that_never_rests_gets_no_more_than_its_share():
    """Beside a thread that takes all it gets, nothing is offered most of the time: the interpreter shares by itself."""
    others = Others()
    others.takes = 0.005
    assert others.offered(3, work=0.006) == 3
    assert others.offered(300) == 0  # 0.45 s
    others.yielding.make_due()
    assert others.offered(1) == 0
    taken = 0.005 * others.offered(10_000)  # 15 s of work
    assert taken < 0.02 * 15


@pytest.mark.parametrize("takes", [0.0001, 0.002])
def test_a_frame_of_a_panel_is_not_taken_for_one(takes):
    """What passes by now and then, even for long, goes on being let in."""
    others = Others()
    for _ in range(20):
        others.takes = 0.005
        assert others.offered(2, work=0.006) == 2
        others.takes = takes
        assert others.offered(5, work=0.006) == 5


def test_the_system_counts_what_other_threads_block():
    """A real thread that blocks is noticed."""
    naps: list[float] = []
    yielding = InterpreterYield(naps.append)
    yielding.PERIOD = 0.0
    called, answered, ended = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def serve() -> None:
        while called.acquire() and not ended.is_set():
            answered.release()

    server = threading.Thread(target=serve)
    server.start()
    try:
        for _ in range(20):
            called.release()
            answered.acquire()
            before = len(naps)
            # It blocks for the next call soon after it has answered this one.
            for _ in range(1_000_000):
                yielding.yield_if_wanted()
                if len(naps) > before:
                    break
            assert len(naps) == before + 1
    finally:
        ended.set()
        called.release()
        server.join()


def test_where_the_system_does_not_count_others_are_let_in_each_time(monkeypatch):
    """Without a count, every turn is offered as long as there are other threads, and none where there are not."""
    monkeypatch.setattr("sys.platform", "sunos5")
    for count, expected in ((1, 0), (3, 10)):
        monkeypatch.setattr(threading, "active_count", lambda count=count: count)
        others = Others(counted=False)
        assert others.offered(10) == expected
