"""What a bar costs, counted and not timed: calls, bytes and handovers are the same on a busy machine."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter

import pytest
import talib

import nbbacktest as nb
from benchmarks.peers.loop_with_bars import Bar
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.engine.timeline import Window
from nbbacktest.system.builder import build
from tests.markets import minutes


class Cross(nb.Strategy):
    """The usual moving average cross, which trades about once in fifty bars."""

    def on_start(self):
        self.fast = self.indicator(talib.SMA, "close", 20)
        self.slow = self.indicator(talib.SMA, "close", 50)

    def on_bar(self, bar):
        if bar.interval != "1m":
            return
        fast, slow = self.fast, self.slow
        if fast[-1] > slow[-1] and fast[-2] <= slow[-2]:
            self.buy(size=10)
        elif fast[-1] < slow[-1] and fast[-2] >= slow[-2] and self.position().size:
            self.close()


def calls_a_bar(count, derived=(), handler=None):
    """Python and C calls in the engine's and the strategy's code, for each bar."""
    config = {"exchange": "24/7", "data": {"derived_intervals": list(derived)}}
    stages = build(
        SessionConfig.load(config),
        Lifecycle(),
        Monitor(),
        data=minutes(count),
        strategies=Cross,
        window=500,
    )
    events = Counter()

    def count_event(frame, event, argument):
        events[event] += 1

    sys.setprofile(count_event)
    try:
        run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    finally:
        sys.setprofile(None)
    return (events["call"] + events["c_call"]) / count, len(stages.world.desk.fills) / count


@pytest.mark.parametrize("derived", [(), ("5m", "15m")])
def test_the_cost_of_a_bar_does_not_grow_with_their_number(derived):
    """Sixteen times the bars: the same number of calls a bar, but for what more trades explain."""
    few, few_fills = calls_a_bar(2_000, derived)
    many, many_fills = calls_a_bar(32_000, derived)
    explained = 80 * abs(many_fills - few_fills)  # a fill takes some 80 calls from the order on
    assert abs(many - few) < 0.03 * few + explained


def calls_a_window(symbols):
    """Calls for laying out a window that follows another."""
    data = {f"S{number}": minutes(200) for number in range(symbols)}
    stages = build(SessionConfig.load({}), Lifecycle(), Monitor(), data=data, strategies=Cross, window=5)
    stages.processor.prepare(Window(0, 5, 0, None))
    return calls_of(lambda: stages.processor.prepare(Window(5, 10, 0, None)))


def calls_of(work):
    """Python and C calls of a piece of work in this thread."""
    events = Counter()
    sys.setprofile(lambda frame, event, argument: events.update([event]))
    try:
        work()
    finally:
        sys.setprofile(None)
    return events["call"] + events["c_call"]


def test_a_window_that_follows_makes_as_few_calls_for_many_symbols():
    """The bars of all series are laid out once, and not again for each window: with many symbols those are short."""
    assert calls_a_window(60) == calls_a_window(3) < 30


def test_to_publish_many_indicators_makes_as_few_calls():
    """At each window's end all are published; what nobody asks for isn't looked up."""

    class Many(nb.Strategy):
        lines: int = 1

        def on_start(self):
            for number in range(self.lines):
                self.indicator(talib.SMA, "close", 2 + number)
            desk = self._strategy_context._desk
            self.calls = calls_of(desk.freeze)

    few, many = Many(lines=1), Many(lines=200)
    for strategy in (few, many):
        nb.backtest(minutes(300), strategy)
    assert few.calls == many.calls < 40


def test_an_idle_bar_makes_few_calls():
    """A bar without orders costs the strategy's own calls and next to nothing else: a bound against creep."""
    calls, fills = calls_a_bar(20_000)
    # on_bar, and two to four readings of indicators; the rest is at boundaries and fills.
    assert calls - 80 * fills < 7


def opcodes(work):
    """How many of the interpreter's instructions a piece of work takes, in this thread."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_the_engine_adds_few_instructions_to_a_bare_loop():
    """A light strategy's bar, made, delivered and accounted for, against a bar object and a call from a bare loop."""
    count = 4_000
    frame = minutes(count)

    class Light(nb.Strategy):
        def on_bar(self, bar):
            self.seen = bar.close

    config = SessionConfig.load({"exchange": "24/7"})
    stages = build(config, Lifecycle(), Monitor(), data=frame, strategies=Light, window=500)
    rows = list(zip(range(count), *(frame[name].tolist() for name in frame.columns[:5]), strict=True))

    class Plain:
        def on_bar(self, bar):
            self.seen = bar.close

    def bare():
        strategy = Plain()
        for row in rows:
            strategy.on_bar(Bar(*row))

    engine = opcodes(
        lambda: run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    )
    loop = opcodes(bare)
    assert stages.analysis.frame.cursor == count
    assert engine / loop < 1.5  # 0.94 on CPython 3.11: bars are made by C code, and a call is a call


def test_a_bar_takes_under_two_hundred_bytes():
    """From the call to the result, at its peak, beyond the frame that the user holds."""
    count = 60_000
    nb.backtest(minutes(300), Cross)
    frame = minutes(count)
    tracemalloc.start()
    try:
        result = nb.backtest(frame, Cross)
        assert result.stats["bars"] == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / count < 200


def test_bars_are_handed_over_in_windows():
    """Data-driven runs hand over windows of many bars, stepping or not; clock-driven ones each bar by itself."""
    system = nb.SystemManager()
    system.start({}, data=minutes(20_000), strategies=Cross, wait=True)
    windows = system.status()["subscriptions"]["coordinator->processor"]["signals"]
    assert windows < 20_000 / 20
    system.start({"backtest": {"speed_multiplier": 1e9}}, data=minutes(500), strategies=Cross, wait=True)
    assert system.status()["subscriptions"]["processor->analysis"]["signals"] == 500


def test_collecting_garbage_is_not_set_off_by_bars():
    """Bars live one at a time: a hundred thousand of them keep no more objects alive than a few hundred."""
    import gc

    collections = []

    def note(phase, info):
        if phase == "start":
            collections.append(info["generation"])

    stages = build(SessionConfig.load({}), Lifecycle(), Monitor(), data=minutes(50_000), strategies=nb.Strategy)
    gc.collect()
    gc.callbacks.append(note)
    try:
        run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
    finally:
        gc.callbacks.remove(note)
    assert len(collections) < 20


def calls_with(*breakpoints, count=40_000):
    """Python and C calls of a managed run with such breakpoints, its bars and its orders."""
    system = nb.SystemManager(reachable=False)
    for breakpoint_ in breakpoints:
        system.breakpoints.add(**breakpoint_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBBACKTEST_THREADS", "off")
        system.start({"exchange": "24/7"}, data=minutes(count), strategies=Cross, paused=True)

        def all_bars():
            while (cursor := system.snapshot().cursor) < count:
                system.step(count - cursor)

        calls = calls_of(all_bars)
        orders = len(system.run.world.desk.orders)
        system.stop()
    return calls, count, orders


def test_breakpoints_cost_what_their_page_says():
    """None: nothing. A time, a session: nothing between their places. Fills: some calls an order. Errors, equity and conditions: some calls an instant."""
    none, count, orders = calls_with()
    slack = 0.5 * count  # where turns end is a matter of time; one call an instant would be twice that
    dated, *_ = calls_with({"time": "2024-10-16 19:00"}, {"session": True})
    assert dated - none < slack + 16 * 800  # it rests sixteen times
    error, *_ = calls_with({"error": True})
    assert error - none < 3 * count
    events, *_ = calls_with({"fill": True, "strategy": "Other"}, {"rejected": True})
    assert events - none < 400 * orders + slack
    equity, *_ = calls_with({"equity": -1.0})
    assert equity - none < 12 * count
    condition, *_ = calls_with({"when": lambda shot: shot.equity < 0})
    assert condition - none < 25 * count
