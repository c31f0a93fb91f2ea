"""What a program may push into a live run, from any thread, and what its feed then shows."""

from __future__ import annotations

import logging
import threading

import pytest

from nbbacktest.core.clock import ManualClock
from nbbacktest.core.errors import ConfigError, DataError, FeedError, OutsideRunError
from nbbacktest.core.intervals import MINUTE
from nbbacktest.data.live_market import written
from nbbacktest.engine.feed import FeedState, Inbox, Patience, PushFeed
from tests.live import OPENING, fields, reader


class Bench:
    """A feed and its inbox, without a run: two clocks that stand still, and a count of nudges."""

    def __init__(self, *symbols: str, grace: float = 2.0) -> None:
        self.clock = ManualClock()
        self.moment = OPENING + 60 * MINUTE
        self.nudges = 0
        self.feed = PushFeed(now=lambda: self.moment)
        self.inbox = Inbox(reader(*symbols), self.clock, Patience(grace, 30.0, 5.0), self.nudge, self.feed.now)
        self.feed.attach(self.inbox)

    def nudge(self) -> None:
        assert not self.inbox._lock.locked()
        self.nudges += 1

    def count(self, *names: str) -> list[int]:
        status = self.inbox.status()
        return [status[name] for name in names]


def test_bars_are_pushed_as_mappings_or_keywords() -> None:
    """`push` takes a mapping or its fields, and says that it has taken the bar."""
    bench = Bench("A")
    assert bench.feed.push(fields("A", 0))
    assert bench.feed.push(**fields("A", 1))
    assert len(bench.inbox.take().bars) == 2
    assert bench.nudges == 2


def test_stamps_ahead_of_the_feeds_clock_are_refused() -> None:
    """A bar that ends later than the clock shows, by more than the tolerance, is a mistake; a heartbeat likewise."""
    bench = Bench("A")
    bench.moment = OPENING + MINUTE - 5 * 10**9
    assert bench.feed.push(fields("A", 0))
    bench.moment -= 1
    with pytest.raises(DataError, match=r"ends at 2024-10-03 09:31:00-04:00, and the feed's clock shows .*09:30:54"):
        bench.feed.push(fields("A", 0))
    with pytest.raises(DataError, match="heartbeat: it ends at"):
        bench.feed.heartbeat(written(OPENING + 2 * MINUTE))
    assert bench.count("received", "refused", "heartbeats") == [1, 2, 0]


def test_what_is_refused_is_counted_shown_and_logged_sparsely(caplog: pytest.LogCaptureFixture) -> None:
    """Each refusal counts, the last one is in the status, and a flood of them doesn't flood the log."""
    bench = Bench("A")
    with caplog.at_level(logging.WARNING, "nbbacktest"):
        for _ in range(100):
            with pytest.raises(DataError):
                bench.feed.push(fields("X", 0))
    assert bench.count("refused", "received") == [100, 0]
    assert "no symbol 'X'" in bench.inbox.status()["last_refusal"]
    assert len(caplog.records) == 7
    bench.inbox.refuse("y" * 10_000)
    assert len(bench.inbox.status()["last_refusal"]) <= 300


def test_what_is_dropped_is_counted_and_no_error() -> None:
    """Late and duplicate bars answer False; out-of-order ones are taken; each kind has its count."""
    bench = Bench("A", "B")
    assert bench.feed.push(fields("A", 3))
    assert not bench.feed.push(fields("A", 3))
    assert bench.feed.push(fields("A", 2))
    bench.feed.heartbeat(written(OPENING + 2 * MINUTE))
    bench.inbox.take()
    assert not bench.feed.push(fields("B", 1))
    with pytest.raises(DataError, match="final"):
        bench.feed.push(fields("A", 3, 50.0))
    names = ("received", "duplicate", "out_of_order", "late", "refused", "waiting", "heartbeats")
    assert bench.count(*names) == [2, 1, 1, 1, 1, 2, 1]
    assert bench.inbox.status()["watermark"] == written(OPENING + 2 * MINUTE)


def test_a_heartbeat_without_a_time_is_now() -> None:
    """Left out, the time is the feed's own."""
    bench = Bench("A", "B")
    bench.feed.push(fields("A", 0))
    bench.feed.heartbeat()
    assert bench.inbox.take().watermark == bench.moment


def test_silence_is_shown_as_stale() -> None:
    """After the set time without any message the feed is stale, until the next one."""
    bench = Bench("A")
    assert bench.feed.state is FeedState.CONNECTED
    bench.clock.advance(30.5)
    assert bench.feed.state is FeedState.STALE
    assert bench.inbox.status()["last_message_seconds"] == 30.5
    bench.feed.push(fields("A", 0))
    assert bench.feed.state is FeedState.CONNECTED


def test_lost_and_found_connections_are_shown() -> None:
    """While the other side is looked for the feed is reconnecting; each time that it is found again counts."""
    bench = Bench("A")
    bench.inbox.disconnected()
    assert bench.feed.state is FeedState.RECONNECTING
    bench.inbox.connected()
    bench.inbox.disconnected()
    bench.inbox.connected(again=True)
    assert (bench.feed.state, bench.count("reconnects")) == (FeedState.CONNECTED, [1])


def test_a_closed_feed_takes_nothing_any_more() -> None:
    """After `close` every push is refused with the cure; closing again changes nothing."""
    bench = Bench("A")
    bench.feed.close()
    bench.feed.close("too late")
    assert (bench.feed.state, bench.inbox.error) == (FeedState.CLOSED, None)
    with pytest.raises(OutsideRunError, match="it was closed; make a new one"):
        bench.feed.push(fields("A", 0))
    with pytest.raises(OutsideRunError, match="closed"):
        bench.feed.heartbeat()


def test_closing_with_an_error_fails_the_feed_and_keeps_what_is_incomplete() -> None:
    """An error says failed; bars that still wait for others aren't handed out."""
    bench = Bench("A", "B")
    bench.feed.push(fields("A", 0))
    bench.feed.close("the vendor is gone")
    assert bench.feed.state is FeedState.FAILED
    assert isinstance(bench.inbox.error, FeedError)
    assert bench.inbox.take()[::2] == ([], True)


def test_feeds_belong_to_one_run() -> None:
    """Before its run a feed says what to do, after it too, and it serves no second one."""
    with pytest.raises(OutsideRunError, match="isn't in a run yet"):
        PushFeed().push(fields("A", 0))
    assert PushFeed().state is None
    bench = Bench("A")
    with pytest.raises(ConfigError, match="has served a run already"):
        bench.feed.attach(bench.inbox)
    bench.feed.end()
    bench.feed.end()
    with pytest.raises(OutsideRunError, match="its run is over"):
        bench.feed.push(fields("A", 0))
    assert "closed" in repr(bench.feed)


def test_lateness_is_by_symbol() -> None:
    """How late a symbol's newest bar came in, or how long its oldest waiting one has been complete."""
    bench = Bench("A", "B")
    bench.moment = OPENING + MINUTE + 3 * 10**9
    bench.feed.push(fields("A", 0))
    assert bench.inbox.lateness() == {"A": 3.0, "B": 0.0}
    bench.moment += 4 * 10**9
    assert bench.inbox.lateness() == {"A": 7.0, "B": 0.0}
    bench.feed.heartbeat(written(OPENING + MINUTE))
    bench.inbox.take()
    assert bench.inbox.lateness() == {"A": 3.0, "B": 0.0}


def test_threads_may_push_at_once() -> None:
    """Many threads lose no bar and no count."""
    symbols = ("A", "B", "C", "D")
    bench = Bench(*symbols)
    begin = threading.Barrier(len(symbols))

    def send(symbol: str) -> None:
        begin.wait()
        for minute in range(50):
            bench.feed.push(fields(symbol, minute))

    threads = [threading.Thread(target=send, args=(symbol,), daemon=True) for symbol in symbols]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    bars = bench.inbox.take().bars
    assert len(bars) == 200
    assert bench.count("received", "waiting", "out_of_order") == [200, 0, 0]
