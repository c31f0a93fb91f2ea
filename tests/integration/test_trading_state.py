"""The state of a run's trading is a value: saved at any instant and restored in a fresh world, the run ends the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.errors import StateError
from nbbacktest.engine.series import Series
from nbbacktest.trading.state import restored_series, saved_series
from tests.worlds import Origin, World

pytestmark = pytest.mark.filterwarnings("ignore::nbbacktest.core.errors.OrderWarning")

DAYS = pd.bdate_range("2024-10-01", periods=4)


def sessions_of(seed: int) -> pd.DataFrame:
    """Four sessions of half-hour bars, wild enough that stops and limits are met."""
    index = pd.DatetimeIndex(
        [
            stamp
            for day in DAYS
            for stamp in pd.date_range(f"{day.date()} 09:30", periods=13, freq="30min", tz="America/New_York")
        ]
    )
    rng = np.random.default_rng(seed)
    count = len(index)
    close = np.round(100 + np.cumsum(rng.normal(0, 1.5, count)), 2)
    opened = np.round(np.r_[100.0, close[:-1]] + rng.normal(0, 0.3, count), 2)
    high = np.round(np.maximum(opened, close) + rng.uniform(0, 1, count), 2)
    low = np.round(np.minimum(opened, close) - rng.uniform(0, 1, count), 2)
    return pd.DataFrame(
        {"open": opened, "high": high, "low": low, "close": close, "volume": rng.integers(50, 400, count)}, index
    )


FRAMES = {symbol: sessions_of(number) for number, symbol in enumerate("ABC")}


class Ema:
    """A streaming indicator of a user's own."""

    def __init__(self, length: int) -> None:
        self.share = 2 / (length + 1)
        self.value: float | None = None

    def update(self, close: float) -> float:
        """One bar more."""
        self.value = close if self.value is None else self.value + self.share * (close - self.value)
        return self.value


class Handmade(Ema):
    """One that pickle can't copy."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.twice = lambda value: 2 * value

    def update(self, close: float) -> float:
        """One bar more, twice."""
        return self.twice(super().update(close))


class Zoo(nb.Strategy):
    """Does one of everything that can be ordered, as its own dice fall, and keeps what it sees."""

    seed: int = 1
    moves: bool = False

    def on_start(self) -> None:
        self.dice = random.Random(self.seed)
        self.said: list[Any] = []
        self.mine: list[nb.Order] = []
        first = self.symbols[0]
        self.ema = Ema(5)
        self.fed = self.indicator(self.ema, "close", symbol=first)
        self.streamed = self.indicator(talib.stream.SMA, "close", 4, symbol=first)
        self.whole = self.indicator(talib.SMA, "close", 3, symbol=first)
        self.view = self.bars(first)
        self.closes = self.view.close
        self.late: Any = None
        self.at_noon = self.schedule(self.noon, at="12:10")
        self.schedule(lambda: self.say("before the close", self.equity), before_close=20)
        self.schedule(self.tidy, after_open=45, every="week_start")

    def say(self, *words: Any) -> None:
        """Keep a line."""
        self.said.append(words)

    def noon(self) -> None:
        """Scheduled."""
        self.say("noon", self.cash)
        if self.dice.random() < 0.1:
            self.at_noon.cancel()

    def tidy(self) -> None:
        """Scheduled: take back what waits."""
        for order in self.orders():
            if not order.is_forced:
                self.cancel(order)

    def on_session_start(self, date: Any) -> None:
        self.say("start", date, len(self.orders()))

    def on_session_end(self, date: Any) -> None:
        self.say("end", date, self.fed[-1])

    def on_fill(self, fill: nb.Fill) -> None:
        self.say("fill", fill.order_id, fill.price, fill.size)

    def on_order(self, order: nb.Order) -> None:
        self.say("order", order.id, str(order.status), len(order.events))
        if str(order.status) == "rejected":
            self.log(f"{order.id}: {order.reason}")

    def on_symbol_added(self, symbol: str) -> None:
        self.say("added", symbol, len(self.bars(symbol)))
        self.joined = self.indicator(talib.stream.EMA, "close", 3, symbol=symbol)

    def on_symbol_removed(self, symbol: str) -> None:
        self.say("removed", symbol)

    def on_bar(self, bar: nb.Bar) -> None:
        if bar.interval != self.base_interval:
            self.say("derived", bar.end, bar.close)
            return
        dice = self.dice
        row = len(self.bars(bar.symbol))
        if self.moves and bar.symbol == "A":
            if row == 17:
                self.add_symbol("C")
            if row == 33:
                self.remove_symbol("B", positions="close")
        if row == 20 and self.late is None:
            self.own = Ema(7)
            self.late = self.indicator(self.own, "close", symbol=bar.symbol)
            self.crossing = self.indicator(np.subtract, self.whole, "close") if bar.symbol == self.symbols[0] else None
        if self.late is not None and dice.random() < 0.5:
            self.say("values", self.late[-1], self.own.value, self.streamed[-1], self.whole[-1])
        if bar.symbol not in self.symbols:
            return
        try:
            self.order(bar, dice)
        except nb.OrderError as error:
            self.say("refused", str(error))

    def order(self, bar: nb.Bar, dice: random.Random) -> None:
        """One of the ways to order, most often none."""
        kind = dice.randrange(24)
        if kind == len(WAYS):
            self.change(dice)
        if kind >= len(WAYS):
            return
        side = dice.choice((self.buy, self.sell))
        tif = dice.choice(({}, {"tif": "day"}, {"until": bar.end + pd.Timedelta(hours=dice.randrange(1, 40))}))
        made = WAYS[kind](
            self, bar.symbol, float(dice.randrange(1, 60)), bar.close, side, -1 if side == self.buy else 1, tif
        )
        if isinstance(made, nb.Order):
            self.mine.append(made)

    def change(self, dice: random.Random) -> None:
        """Change or take back an order that waits."""
        waiting = [order for order in self.mine if order.is_open]
        if waiting:
            order = dice.choice(waiting)
            if dice.random() < 0.3:
                self.cancel(order)
            elif order.limit is not None:
                self.replace(order, limit=order.limit + 0.25)
            elif order.trail is not None and not order.triggered:
                self.replace(order, trail=2.0)


WAYS: list[Callable[..., Any]] = [
    lambda s, symbol, size, last, side, away, tif: s.buy(symbol),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, limit=last + away * s.dice.random() * 2, **tif),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, stop=last - away * s.dice.random() * 2, **tif),
    lambda s, symbol, size, last, side, away, tif: side(
        symbol, size, stop=last - away, limit=last - away * s.dice.choice((0.5, 1.5)), **tif
    ),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, touch=last + away * s.dice.random() * 2, **tif),
    lambda s, symbol, size, last, side, away, tif: side(
        symbol, size, touch=last + away, limit=last + away * s.dice.choice((0.5, 1.5)), **tif
    ),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, trail=s.dice.choice((1.5, "2%")), **tif),
    lambda s, symbol, size, last, side, away, tif: side(
        symbol, size, stop_loss=last + away * 1.5, take_profit=last - away * 1.5
    ),
    lambda s, symbol, size, last, side, away, tif: side(
        symbol, size, limit=last + away * 0.3, stop_loss=last + away * 2, take_profit=last - away * 1.5, **tif
    ),
    lambda s, symbol, size, last, side, away, tif: s.oco(
        s.sell(symbol, size, limit=last + 1.5), s.sell(symbol, size, stop=last - 1.5)
    ),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, tif="ioc", limit=s.dice.choice((last, None))),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, tif="fok"),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, at=s.dice.choice(("open", "close"))),
    lambda s, symbol, size, last, side, away, tif: s.close(symbol),
    lambda s, symbol, size, last, side, away, tif: s.order_target_percent(symbol, s.dice.choice((0.0, 0.3, -0.3))),
    lambda s, symbol, size, last, side, away, tif: side(symbol, size, stop=last - away, reduce_only=True, tag="less"),
]
"""Each way to order: of a strategy, for a symbol, a size, the last close, a side, where its limits lie, and a time in force."""


def fee(model: str, **terms: Any) -> dict[str, Any]:
    """A commission's section."""
    return {"model": model, **terms}


ORIGINS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "strategies": st.integers(1, 3),
        "symbols": st.sampled_from([("A",), ("A", "B")]),
        "moves": st.booleans(),
        "derived": st.sampled_from([(), ("1h",), ("90m", "1d")]),
        "actions": st.lists(
            st.tuples(
                st.sampled_from("ABC"), st.integers(1, 3), st.sampled_from(["split", "dividend", "dividend", "delist"])
            ),
            max_size=3,
            unique_by=lambda action: (action[0], action[2]),
        ),
        "broker": st.fixed_dictionaries(
            {
                "commission": st.sampled_from(
                    [
                        fee("percent", rate=0.001),
                        fee("per_trade", amount=2.0),
                        fee("per_share", rate=0.01, minimum=1.0, maximum=0.05),
                        fee("tiered", tiers=[{"above": 0, "rate": 0.002}, {"above": 30_000, "rate": 0.0005}]),
                    ]
                ),
                "slippage": st.sampled_from([fee("percent", rate=0.0005), fee("none")]),
                "volume_share": st.sampled_from([None, 0.1]),
                "fill": st.sampled_from(["next_open", "next_open", "next_close", "this_close"]),
                "limit_fill": st.sampled_from(["touch", "cross"]),
                "stop_and_target": st.sampled_from(["pessimistic", "path"]),
                "borrow": st.sampled_from([fee("none"), fee("annual", rate=0.5)]),
                "interest": st.sampled_from([fee("none"), fee("annual", rate=0.5)]),
                "cash": st.sampled_from([3_000.0, 30_000.0]),
                "account": st.sampled_from(["cash", "margin"]),
            }
        ),
    }
)


def origin_of(drawn: dict[str, Any], strategy: type[nb.Strategy] = Zoo) -> Origin:
    """Config, bars and strategies as they were drawn."""
    symbols = drawn["symbols"]
    values = {"split": 2.0, "dividend": 0.4, "delist": 90.0}
    actions = [
        {"symbol": symbol, "date": str(DAYS[day].date()), "kind": kind, "value": values[kind]}
        for symbol, day, kind in drawn["actions"]
    ]
    if not any(action["symbol"] in symbols for action in actions):
        actions = []  # the config refuses actions of none of its symbols
    config = {
        "exchange": "XNYS",
        "broker": drawn["broker"],
        "data": {
            "symbols": list(symbols),
            "adjusted": False,
            "actions": actions,
            "derived_intervals": list(drawn["derived"]),
        },
        "limits": {"max_open_positions": 2},
    }

    def strategies() -> list[nb.Strategy]:
        moves = drawn["moves"] and len(symbols) > 1
        return [
            strategy(seed=drawn["seed"] + number, moves=moves and not number) for number in range(drawn["strategies"])
        ]

    return Origin(config, FRAMES, strategies)


def told(world: World) -> Any:
    """What a world has come to, in the words that can be compared."""
    result = world.result()
    orders = [(repr(order), [event[:6] for event in order.events]) for order in result.record.orders]
    lines = [repr(strategy.said) for strategy in world.desk.strategies]
    columns = [(one.name, np.array(one.values).tobytes()) for one in result.record.indicators]
    record = result.record
    return result.fingerprint, orders, lines, record.log, record.flows, record.splits, columns


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ORIGINS, st.floats(0, 1), st.floats(0, 1))
def test_the_state_saved_at_any_instant_and_restored_in_a_fresh_world_ends_the_same(drawn, one, two):
    """Two saves, the second one in the world that was restored from the first: all end as the uninterrupted run."""
    origin = origin_of(drawn)
    straight = origin.world().to()
    first, second = sorted(round(share * len(straight)) for share in (one, two))
    uninterrupted = told(straight)
    there = origin.world().to(first)
    saved = there.save()
    again = origin.at(saved).to(second)
    later = again.save()
    last = origin.at(later).to()
    assert told(last) == uninterrupted
    assert told(there.to()) == uninterrupted, "saving changes nothing"
    assert told(origin.at(saved).to()) == uninterrupted, "a state can be restored often"


class Quiet(nb.Strategy):
    """Does what its class's `plan` says at the numbered bars of A."""

    plan: ClassVar[dict[int, Any]] = {}

    def on_start(self) -> None:
        self.said: list[Any] = []
        self.kept: Any = None

    def on_fill(self, fill: nb.Fill) -> None:
        self.said.append((fill.order_id, fill.price, fill.size))

    def on_symbol_removed(self, symbol: str) -> None:
        self.said.append(symbol)

    def on_bar(self, bar: nb.Bar) -> None:
        act = self.plan.get(len(self.bars("A"))) if bar.symbol == "A" else None
        if act is not None:
            act(self)


def quiet(plan: dict[int, Any], symbols: tuple[str, ...] = ("A",), **broker: Any) -> Origin:
    """An origin of one `Quiet`."""
    config = {"exchange": "XNYS", "broker": broker, "data": {"symbols": list(symbols)}}
    kind = type("Quiet", (Quiet,), {"plan": plan, "__annotations__": {"plan": ClassVar[dict[int, Any]]}})
    return Origin(config, FRAMES, lambda: [kind])


def ends_the_same(origin: Origin, at: int) -> World:
    """Hold a run that was saved at `at` against the uninterrupted one; returns the restored one."""
    state = origin.world().to(at).save()
    restored = origin.at(state)
    assert told(origin.at(state).to()) == told(origin.world().to())
    return restored


def test_the_volume_that_was_used_at_an_instant_is_used_in_the_restored_world():
    """By this_close an order between two instants takes what the bar's volume has left."""
    volume = float(FRAMES["A"]["volume"].iloc[4])
    origin = quiet({5: lambda s: s.buy(size=0.05 * volume)}, volume_share=0.1, fill="this_close", cash=1e6)
    left = []
    for world in (origin.world().to(5), origin.at(origin.world().to(5).save())):
        order = world.desk.strategies[0].buy(size=volume)
        left.append((order.filled, order.is_open))
    assert left == [(0.05 * volume, True)] * 2


def test_a_margin_call_comes_though_no_order_waits():
    """What watches a margin account's equity is restored with it."""
    origin = quiet({2: lambda s: s.sell(size=1900)}, account="margin", cash=100_000.0, maintenance_margin=0.5)
    ends_the_same(origin, 4)
    world = origin.at(origin.world().to(4).save()).to()
    assert any(order.is_forced for order in world.desk.orders), "it is called after the place of the saving"


def test_a_symbol_that_is_to_leave_leaves_the_restored_run():
    """Saved between the wish and the fill that makes it flat."""
    plan = {3: lambda s: s.buy("B", 10), 6: lambda s: s.remove_symbol("B", positions="close")}
    restored = ends_the_same(quiet(plan, ("A", "B")), 6)
    assert restored.desk.leaving == {"B"}
    restored.to()
    assert [(move.symbol, move.joined) for move in restored.stages.world.universe.moves] == [("B", False)]


def test_orders_of_the_restored_world_are_its_own():
    """An attribute that holds an order holds the restored one: it can be cancelled there, and the old one stays open."""
    origin = quiet({3: lambda s: setattr(s, "kept", [s.buy(size=1, limit=1.0, stop_loss=0.5, take_profit=2.0)])})
    old = origin.world().to(5)
    new = origin.at(old.save())
    mine, theirs = (world.desk.strategies[0].kept[0] for world in (old, new))
    assert mine is not theirs
    assert theirs.children[0].parent is theirs
    assert theirs.children[0].oco is theirs.children[1].oco
    new.desk.strategies[0].cancel(theirs)
    assert mine.is_open
    assert not theirs.is_open
    assert [order.is_open for order in new.desk.orders] == [False] * 3


def generator(strategy: nb.Strategy) -> Any:
    """Something that can't be copied."""
    yield strategy


def leaky(strategy: nb.Strategy, kept: list[Any] = []) -> None:  # noqa: B006 - that is what is refused
    """Keeps something where no copy sees it."""
    kept.append(strategy)


@pytest.mark.parametrize(
    ("keep", "why"),
    [
        (generator, r"Quiet\.kept can't be copied: .*generator object"),
        (lambda s: lambda: s, r"Quiet\.kept can't be copied: .*lambda"),
        (lambda s: [leaky], r"Quiet\.kept can't be copied: .*leaky may keep something in its defaults"),
        (lambda s: itertools.count(), r"Quiet\.kept can't be copied: .*count\(0\) can't be copied"),
        (lambda s: {1}, r"Quiet\.kept can't be copied: .*\{1\} can't be copied"),
        (lambda s: object(), r"Quiet\.kept can't be copied: .*object at .* can't be copied"),
        (lambda s: bytes(5 << 20), r"Quiet\.kept can't be copied: .*more than 4 MiB"),
        (lambda s: OTHERS, r"Quiet\.kept can't be copied: .* is of another run"),
    ],
)
def test_what_cant_be_copied_is_refused(keep, why):
    """No state is better than one that goes on differently; the error names the attribute."""
    origin = quiet({3: lambda s: setattr(s, "kept", keep(s))})
    with pytest.raises(StateError, match=why):
        origin.world().to(5).save()


def test_a_streaming_object_that_cant_be_copied_is_refused():
    """Fed anew, it could meet a strategy that isn't as it was."""
    origin = quiet({3: lambda s: setattr(s, "kept", s.indicator(Handmade(3), "close"))})
    with pytest.raises(StateError, match="feeds an indicator and can't be copied"):
        origin.world().to(5).save()


def test_another_runs_state_is_refused():
    """Where the fresh strategies have scheduled, or made, something else."""
    state = origin_of(ONE).world().to(5).save()
    with pytest.raises(StateError, match="of the same strategies"):
        quiet({}).at(state)


ONE: dict[str, Any] = {
    "seed": 3, "strategies": 1, "symbols": ("A", "B"), "moves": True, "derived": ("1h",), "actions": [], "broker": {}
}  # fmt: skip
OTHERS = nb.Order(1, "S", "A", nb.Side.BUY, 1.0, nb.OrderType.MARKET)


def test_a_state_is_small():
    """What is past is kept by reference: a state doesn't grow with it."""
    world = quiet({row: lambda s: s.buy(size=1) for row in range(2, 40)}).world()
    few, many = (world.to(at).save().trading for at in (10, 45))
    assert many.fills.length > 3 * few.fills.length
    assert many.fills.entries is few.fills.entries is world.desk.fills
    assert len(many.blotter.changing) <= 1


def test_bars_that_the_fresh_world_has_not_loaded_are_refused():
    """Streamed bars come in chunks: what was seen can't be seen before it is there."""
    world = quiet({}).world().to(20)
    saved = saved_series(world.stages.world.timeline.series)
    whole = saved[0].columns
    fresh = Series(whole, saved[0].stamps, is_base=True)
    fresh.hold_part(whole, 8)
    with pytest.raises(StateError, match="has loaded 8 of the 20 bars of A 30m that were seen"):
        restored_series(saved, {("A", "30m"): fresh})
