"""The law of looking back: what `look` computes from the record is what was published at that instant, to the bit."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.window import Window
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run
from nbbacktest.system.status import status
from tests.markets import minutes

FIELDS = (
    "cursor", "total", "is_open", "time", "session_date", "progress", "bars", "derived", "counts", "cash", "equity",
    "positions", "orders", "n_fills", "last_fills",
)  # fmt: skip


def parts(shot: nb.Snapshot, *left_out: str) -> dict[str, object]:
    """All that a snapshot shows, comparable: NaN equals NaN, and types count."""
    found = {name: getattr(shot, name) for name in FIELDS if name not in left_out}
    return found | {
        "types": [list(map(type, (*shot.bars.values(), *shot.derived.values(), *shot.positions, *shot.orders)))],
        "names": (list(shot.bars), list(shot.derived), list(shot.counts)),
        "indicators": {name: (type(value), repr(value)) for name, value in shot.indicators.items()},
    }


def differences(seen: nb.Snapshot, looked: nb.Snapshot, *left_out: str) -> dict[str, tuple[object, object]]:
    """By field what was published and what is computed, where they differ."""
    one, other = parts(seen, *left_out), parts(looked, *left_out)
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


class Averages:
    """A streaming indicator that answers nothing at first, then tuples."""

    def __init__(self, length: int) -> None:
        self.length, self.seen = length, []

    def update(self, close: float) -> tuple[float, float] | None:
        self.seen = [*self.seen, close][-self.length :]
        return None if len(self.seen) < self.length else (sum(self.seen) / self.length, max(self.seen))


class Erratic(nb.Strategy):
    """Does anything that a strategy may, by dice of its own; `seed` tells what."""

    seed: int = 0
    pace: float = 0.25
    sessions: bool = False
    joining: bool = False
    leaving: bool = False
    late: object = None

    def on_start(self):
        import talib

        self.dice = random.Random(self.seed)
        self.count = 0
        for symbol in self.symbols:
            self.indicator(talib.SMA, "close", 3, symbol=symbol)
            self.indicator(talib.stream.SMA, "close", 5, symbol=symbol)
            self.indicator(talib.MACD, "close", 3, 5, 2, symbol=symbol)
        self.indicator(Averages(4), "close", symbol=self.symbols[0])
        if self.sessions:
            for minute in range(0, 390, 20):
                self.schedule(lambda: self.act(self.dice.choice(self.symbols)), after_open=minute)
        self.act(self.symbols[0])

    def on_session_start(self, date):
        if self.sessions:
            self.act(self.dice.choice(self.symbols))
            if self.dice.random() < 0.3:
                self.indicator(Averages(2), "close", symbol=self.symbols[0], name=f"late {self.count}")

    def on_session_end(self, date):
        if self.sessions:
            self.act(self.dice.choice(self.symbols))

    def on_bar(self, bar):
        self.count += 1
        if self.dice.random() < self.pace:
            self.act(bar.symbol)
        if self.count == 40:
            import talib

            self.indicator(talib.EMA, "close", 4, symbol=bar.symbol, name="made on the way")
        if self.joining and self.count == 30:
            self.universe.add("LATE", self.late)
        if self.leaving and self.count == 60 and len(self.symbols) > 1:
            self.universe.remove(self.symbols[-1], positions="close")

    def on_symbol_added(self, symbol):
        self.act(symbol)

    def on_fill(self, fill):
        if self.dice.random() < 0.1:
            self.act(fill.symbol)

    def act(self, symbol):
        with suppress(nb.OrderError):  # what dice ask for isn't always an order
            self.try_something(symbol)

    def try_something(self, symbol):
        dice, bars = self.dice, self.bars(symbol)
        close = bars.close[-1] if len(bars) else 100.0
        away = lambda: round(dice.uniform(0.0, 0.4), 2)  # noqa: E731
        side = dice.choice((self.buy, self.sell))
        sign = 1 if side == self.buy else -1
        size = dice.choice((1, 5, 10, 0.5, 33))
        what = dice.randrange(14)
        if what < 2:
            side(symbol, size, tag=dice.choice((None, "x")))
        elif what == 2:
            side(symbol, size, limit=close - sign * away(), tif=dice.choice(("gtc", "day", "ioc", "fok")))
        elif what == 3:
            side(symbol, size, stop=close + sign * away())
        elif what == 4:
            side(symbol, size, stop=close + sign * away(), limit=close + sign * away())
        elif what == 5:
            side(symbol, size, trail=dice.choice((0.2, "0.2%")))
        elif what in (6, 7):
            low, high = close - 0.05 - away(), close + 0.05 + away()
            side(symbol, size, stop_loss=low if sign > 0 else high, take_profit=high if sign > 0 else low)
        elif what == 8:
            self.oco(
                side(symbol, size, stop=close + sign * (0.01 + away())), side(symbol, size, limit=close - sign * away())
            )
        elif what == 9:
            self.close(symbol)
        elif what == 10:
            for order in self.orders(symbol)[:2]:
                self.cancel(order)
        elif what == 11:
            for order in self.orders(symbol)[:3]:
                if order.trail is not None:
                    self.replace(order, trail=dice.choice((0.1, 0.3)) if not order.trail_is_fraction else "0.1%")
                elif order.limit is not None:
                    self.replace(order, limit=order.limit + 0.01)
        elif what == 12:
            side(symbol)
        else:
            side(symbol, size, at=dice.choice(("open", "close")))


def driven(config, data, strategies):
    """Run in this thread, an instant at a time: the run, and what it published at each of its instants."""
    life = Lifecycle()
    stages = build(SessionConfig.load(config), life, Monitor(), data=data, strategies=strategies, window=1)
    run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
    for strategy in stages.desk.strategies:
        strategy.universe = stages.membership
    life.apply(Command.START)
    analysis, published = stages.analysis, {}
    try:
        if analysis.begin():
            published[0] = run.published()
            while not stages.gate.closed and (cursor := analysis.frame.cursor) < len(stages.timeline):
                for batch in stages.processor.batches(Window(cursor, cursor + 1, stages.gate.generation, None)):
                    analysis.process(batch)
                published[analysis.frame.cursor] = run.published()
    finally:
        analysis.finish()
    assert analysis.error is None, analysis.error
    published[analysis.frame.cursor] = run.published()
    return run, published


def check(run, published, dice):
    """Look everywhere, in any order, once while the index grows and once more."""
    result = run.result()
    cursors = list(published)
    for cursor in [*dice.sample(cursors, len(cursors)), *cursors[:3]]:
        seen = published[cursor]
        wrong = differences(seen, run.look(cursor))
        assert not wrong, (cursor, wrong)
        held = run.look(cursor)._frame.agent.held
        assert held == seen._frame.agent.held, cursor


def two_days(seed: int, gaps: float, exchange: str) -> pd.DataFrame:
    """150 minutes around the end of a day: a session's close and the next one's open, or midnight."""
    frame = minutes(150, seed=seed, start="2024-10-03 22:45", gaps=gaps)
    if exchange == "24/7":
        return frame
    later = frame.index - pd.Timedelta("8h") + np.where(frame.index.day == 4, 1, 0) * pd.Timedelta("17h30min")
    return frame.set_index(later)


markets = st.fixed_dictionaries(
    {
        "symbols": st.integers(1, 3),
        "derived": st.sampled_from([[], ["5m"], ["5m", "15m"]]),
        "gaps": st.sampled_from([0.0, 0.2]),
        "exchange": st.sampled_from(["XNYS", "24/7"]),
    }
)
brokers = st.fixed_dictionaries(
    {
        "account": st.sampled_from(["cash", "margin"]),
        "cash": st.sampled_from([3_000.0, 100_000.0]),
        "fractional": st.just(True),
        "fill": st.sampled_from(["next_open", "next_close", "this_close"]),
        "volume_share": st.sampled_from([None, 0.02, 0.1]),
        "tick_size": st.sampled_from([None, 0.05]),
        "commission": st.sampled_from([{"model": "none"}, {"model": "percent", "rate": 0.001}]),
        "stop_and_target": st.sampled_from(["pessimistic", "path"]),
    }
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60)
@given(markets, brokers, st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 2))
def test_a_look_is_what_was_published(market, broker, seed, sessions, joining, leaving, strategies):
    """Law 3, over orders, accounts, sessions, joining and leaving symbols, derived intervals and indicators."""
    data = {f"S{n}": two_days(seed % 50 + n, market["gaps"], market["exchange"]) for n in range(market["symbols"])}
    config = {"broker": broker, "exchange": market["exchange"], "data": {"derived_intervals": market["derived"]}}
    if market["exchange"] == "24/7":
        config["day_zone"] = "America/New_York"
    late = two_days(99, 0.1, market["exchange"])
    players = [
        Erratic(seed=seed + n, sessions=sessions, joining=joining and not n, leaving=leaving and not n, late=late)
        for n in range(strategies)
    ]
    run, published = driven(config, data, players)
    assert len(published) > 100
    check(run, published, random.Random(seed))
