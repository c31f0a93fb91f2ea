"""Runs by dice: a strategy that does anything that one may, markets and accounts for it, and all that a snapshot shows."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import nbbacktest as nb
from tests.markets import minutes

RUNS = int(os.environ.get("NBBACKTEST_RUNS", "75"))
"""How many runs each law of the time machine plays; each goes to and fro some thirty times."""

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
            self.dice.choice(ACTS)(self, symbol, Asked(self, symbol))


class Asked:
    """What an act asks for, by its strategy's dice."""

    def __init__(self, strategy, symbol):
        dice, bars = strategy.dice, strategy.bars(symbol)
        self.dice = dice
        self.close = bars.close[-1] if len(bars) else 100.0
        self.buys = dice.random() < 0.5
        self.sign = 1 if self.buys else -1
        self.side = strategy.buy if self.buys else strategy.sell
        self.size = dice.choice((1, 5, 10, 0.5, 33))

    def away(self):
        return round(self.dice.uniform(0.0, 0.004) * abs(self.close), 2)

    def before(self):
        return self.close - self.sign * self.away()

    def beyond(self):
        return self.close + self.sign * self.away()


def with_exits(strategy, symbol, asked):
    low, high = asked.close - 0.05 - asked.away(), asked.close + 0.05 + asked.away()
    stop, target = (low, high) if asked.buys else (high, low)
    asked.side(symbol, asked.size, stop_loss=stop, take_profit=target)


def change_some(strategy, symbol, asked):
    for order in strategy.orders(symbol)[:3]:
        if order.trail is not None:
            strategy.replace(order, trail="0.1%" if order.trail_is_fraction else asked.dice.choice((0.1, 0.3)))
        elif order.limit is not None:
            strategy.replace(order, limit=order.limit + 0.01)


def cancel_some(strategy, symbol, asked):
    for order in strategy.orders(symbol)[:2]:
        strategy.cancel(order)


ACTS = (
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, tag=asked.dice.choice((None, "x"))),
    lambda strategy, symbol, asked: asked.side(
        symbol, asked.size, limit=asked.before(), tif=asked.dice.choice(("gtc", "day", "ioc", "fok"))
    ),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, stop=asked.beyond()),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, stop=asked.beyond(), limit=asked.beyond()),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, trail=asked.dice.choice((0.2, "0.2%"))),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, at=asked.dice.choice(("open", "close"))),
    lambda strategy, symbol, asked: strategy.oco(
        asked.side(symbol, asked.size, stop=asked.beyond()), asked.side(symbol, asked.size, limit=asked.before())
    ),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, touch=asked.before()),
    lambda strategy, symbol, asked: asked.side(symbol, asked.size, touch=asked.before(), limit=asked.before()),
    lambda strategy, symbol, asked: asked.side(symbol),
    lambda strategy, symbol, asked: strategy.close(symbol),
    with_exits,
    with_exits,
    change_some,
    cancel_some,
)


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
        "borrow": st.sampled_from([{"model": "none"}, {"model": "annual", "rate": 0.5}]),
        "interest": st.sampled_from([{"model": "none"}, {"model": "annual", "rate": 0.5}]),
    }
)


def events(dates, symbols):
    """Splits, dividends and delistings on some of the dates."""
    value = {"split": st.sampled_from([2.0, 0.5, 3.0]), "dividend": st.just(0.7), "delist": st.just(90.0)}
    row = st.sampled_from(sorted(value)).flatmap(
        lambda kind: st.fixed_dictionaries(
            {
                "symbol": st.sampled_from(symbols),
                "date": st.sampled_from(dates),
                "kind": st.just(kind),
                "value": value[kind],
            }
        )
    )
    return st.lists(row, max_size=3, unique_by=lambda row: (row["symbol"], row["kind"]))


def random_market(market, broker, actions, seed):
    """The config and the bars of what `markets`, `brokers` and `events` have drawn, and bars for a symbol that joins."""
    exchange = market["exchange"]
    data = {f"S{n}": two_days(seed % 50 + n, market["gaps"], exchange) for n in range(market["symbols"])}
    config = {
        "broker": broker,
        "exchange": exchange,
        "data": {
            "derived_intervals": market["derived"],
            "adjusted": False,
            "actions": [row for row in actions if row["symbol"] in data],
        },
    }
    if exchange == "24/7":
        config["day_zone"] = "America/New_York"
    return config, data, two_days(99, 0.1, exchange)
