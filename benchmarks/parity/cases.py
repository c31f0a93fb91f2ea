"""The cases: seeded bars, what is ordered when, and the options by which nbbacktest goes by the peer's rules."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import nbbacktest as nb
from benchmarks.parity.ours import outcome
from benchmarks.parity.tape import Outcome, Tape

CENTS = 2
SEED = 16


@dataclass(frozen=True)
class Case:
    """One tape for one peer.

    Attributes
    ----------
    peer
        The adapter's name.
    title
        What is compared.
    make
        Makes the tape.
    config
        Ours, beside the tape's own.
    rule
        By which rule it differs, where it does; how far, is what the table says.
    by_rule
        Ours restated by the peer's rule, where that can be done afterwards; it must then be equal.
    """

    peer: str
    title: str
    make: Callable[[], Tape]
    config: dict[str, Any] = field(default_factory=dict)
    rule: str = ""
    by_rule: Callable[[Tape, nb.Result], Outcome] | None = None


def sessions(first: str, count: int) -> list[str]:
    """The dates of New York's next sessions."""
    from nbbacktest.data.calendar import session_table

    start = dt.date.fromisoformat(first)
    table = session_table("XNYS", start, start + dt.timedelta(days=2 * count))
    return [str(day) for day in table.dates[:count]]


def walk(count: int, rng: np.random.Generator, start: float = 100.0, step: float = 0.02) -> dict[str, np.ndarray]:
    """Bars on cents, with gaps between them."""
    close = start * np.exp(np.cumsum(rng.normal(0, step, count)))
    opened = np.r_[start, close[:-1]] * np.exp(rng.normal(0, step / 2, count))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, step / 2, count)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, step / 2, count)))
    volume = rng.integers(100_000, 1_000_000, count).astype(float)
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return {name: np.round(values, CENTS) for name, values in prices.items()} | {"volume": volume}


def lists(columns: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """As a tape holds them."""
    return {name: values.tolist() for name, values in columns.items()}


def reversals() -> Tape:
    """94 market orders, most of them through zero; short, and with an order open, through a split of 7:1."""
    rng, count, split = np.random.default_rng(SEED), 250, 140
    bars = walk(count, rng, start=650.0)
    for name in ("open", "high", "low", "close"):
        bars[name][split:] = np.round(bars[name][split:] / 7, CENTS)
    chosen = set(rng.choice(np.setdiff1d(np.arange(1, count), [split]), 93, replace=False).tolist()) | {split}
    orders, held = [], 0
    for after in sorted(chosen):
        unit = 7 if after > split else 1
        side = -1 if after == split or held > 0 else 1 if rng.random() < 0.8 else -1
        target = side * unit * int(rng.integers(1, 40))
        size = target - held or unit
        orders.append({"after": after, "symbol": "A", "size": size})
        held += size
        if after == split:
            held *= 7
    stamps = sessions("2021-01-04", count)
    extra = {"splits": [[stamps[split], 7]], "per_share": [0.005, 1.0]}
    return Tape("reversals", stamps, {"A": lists(bars)}, orders, extra=extra)


def capped() -> Tape:
    """One order that a cap of 2.5% of each bar's volume fills in 62 parts, and one that takes half of it back."""
    rng, count, cap, parts = np.random.default_rng(SEED + 1), 120, 0.025, 62
    bars = walk(count, rng)
    bars["volume"] = rng.integers(10_000, 90_000, count).astype(float)
    room = np.floor(cap * bars["volume"]).astype(int)
    size = int(room[1:parts].sum() + room[parts] // 2)
    back = int(room[70:95].sum())
    orders = [{"after": 1, "symbol": "A", "size": size}, {"after": 70, "symbol": "A", "size": -back}]
    extra = {"volume_share": cap, "per_share": [0.005, 1.0]}
    return Tape("capped", sessions("2021-01-04", count), {"A": lists(bars)}, orders, cash=100_000_000.0, extra=extra)


def rebalanced() -> Tape:
    """Four symbols at random weights, in fractions of a unit, every fifth day: 59 times, 236 fills; 50% to 98% invested."""
    rng, count = np.random.default_rng(SEED + 2), 298
    bars = {
        name: lists(walk(count, rng, start=start))
        for name, start in zip("ABCD", (20.0, 75.0, 140.0, 600.0), strict=True)
    }
    orders = [
        {"after": after, "weights": (rng.dirichlet([2.0] * 4) * rng.uniform(0.5, 0.98)).tolist()}
        for after in range(5, count, 5)
    ]
    return Tape("rebalanced", sessions("2021-01-04", count), bars, orders)


def stopped(*, trails: bool) -> Tape:
    """A signal on every third bar, of which those count that come while nothing is held; 5 years of days."""
    rng, count = np.random.default_rng(SEED + 3 + trails), 1_250
    ways = rng.choice([-10, 10], count)
    orders = [{"after": after, "symbol": "A", "size": int(ways[after])} for after in range(3, count, 3)]
    levels = {"stop_loss": 0.04, "trails": trails} | ({} if trails else {"take_profit": 0.06})
    return Tape(
        "trailing" if trails else "brackets", sessions("2016-01-04", count), {"A": lists(walk(count, rng, step=0.012))},
        orders, extra=levels,
    )  # fmt: skip


def scattered(*, gaps: bool, crowds: bool = False) -> Tape:
    """572 market, limit and stop orders, some cancelled, on minutes of which a third is missing.

    Parameters
    ----------
    gaps
        Whether prices gap too, and not time alone.
    crowds
        Whether several resting orders may fill in one bar, or a market order follow one at that bar's close.
    """
    import pandas as pd

    rng, count = np.random.default_rng(SEED + 5), 4_000
    bars = walk(count, rng, step=0.0008)
    if not gaps:
        bars["open"] = np.r_[bars["open"][0], bars["close"][:-1]]
        bars["high"], bars["low"] = np.maximum(bars["high"], bars["open"]), np.minimum(bars["low"], bars["open"])
    every = pd.date_range("2024-10-01", periods=6_000, freq="min")
    stamps = [str(time) for time in every[np.sort(rng.choice(len(every), count, replace=False))]]
    orders: list[dict[str, Any]] = []
    crowded: set[int] = set()
    for after in np.sort(rng.choice(np.arange(1, count - 1), 572, replace=False)).tolist():
        while True:
            order = _drawn(after, float(bars["close"][after - 1]), rng)
            bar = after - 1 if "cancel" not in order else _reached(order, bars)
            if crowds or bar not in crowded:
                break
        if "cancel" in order and bar is not None:
            crowded.add(bar)
        orders.append(order)
    return Tape("crowds" if crowds else "gaps" if gaps else "scattered", stamps, {"A": lists(bars)}, orders)


def _drawn(after: int, close: float, rng: np.random.Generator) -> dict[str, Any]:
    """An order that rests away from the close, until it is cancelled; or one at the market."""
    way, kind = int(rng.choice([-1, 1])), str(rng.choice(["market", "limit", "stop"], p=[0.3, 0.4, 0.3]))
    order = {"after": after, "symbol": "A", "size": way * int(rng.integers(1, 10))}
    if kind == "market":
        return order
    away = max(0.01, float(rng.exponential(0.12))) * (-way if kind == "limit" else way)
    return order | {kind: round(close + away, CENTS), "cancel": int(rng.integers(1, 200))}


def _reached(order: dict[str, Any], bars: dict[str, np.ndarray]) -> int | None:
    """The bar that first touches a resting order's level; None where none does before it is cancelled."""
    span = slice(order["after"], order["after"] + order["cancel"])
    level = order.get("limit", order.get("stop"))
    above = (order["size"] > 0) == ("stop" in order)
    touched = bars["high"][span] >= level if above else bars["low"][span] <= level
    return order["after"] + int(np.argmax(touched)) if touched.any() else None


def at_level(tape: Tape, result: nb.Result) -> Outcome:
    """Ours, had orders that a bar opened beyond filled at their own level."""
    made, equity = outcome(tape, result), float(result.stats["final_equity"])
    levels = result.orders.set_index("id")[["limit", "stop"]].bfill(axis=1)["limit"]
    fills = []
    for (stamp, symbol, size, price), level in zip(made.fills, levels[result.fills["order_id"]], strict=True):
        better = price if math.isnan(level) else level  # a market order has none
        equity += size * (price - better)
        fills.append((stamp, symbol, size, float(better)))
    return Outcome(fills, equity, made.version)


NEXT_CLOSE = {"broker": {"fill": "next_close", "account": "margin", "initial_margin": 0.01, "maintenance_margin": 0.0}}

MINUTES = {
    "broker": {"fill": "this_close", "account": "margin"},
    "exchange": "24/7",
    "timezone": "UTC",
    "data": {"interval": "1m"},
}

CASES = (
    Case("zipline", "reversals through zero, short through a 7:1 split", reversals, NEXT_CLOSE),
    Case(
        "zipline", "a 2.5% volume cap, an order in 62 parts", capped,
        {"broker": {**NEXT_CLOSE["broker"], "lot_size": 1}},
    ),
    Case(
        "bt", "fractional rebalancing of four symbols", rebalanced,
        {"broker": {"fill": "this_close", "account": "margin"}},
    ),
    Case(
        "vectorbt", "brackets: stop loss and take profit, long and short", partial(stopped, trails=False),
        {"broker": {"fill": "this_close", "account": "margin"}},
    ),
    Case(
        "vectorbt", "trailing stops, long and short", partial(stopped, trails=True),
        {"broker": {"fill": "this_close", "account": "margin"}},
    ),
    Case("nautilus", "572 random orders on gappy minutes", partial(scattered, gaps=False), MINUTES),
    Case(
        "nautilus", "the same, prices gapping too", partial(scattered, gaps=True), MINUTES, by_rule=at_level,
        rule="an order that a bar opens beyond fills at the open; nautilus fills it at its own level",
    ),
    Case(
        "nautilus", "the same, several orders in one bar", partial(scattered, gaps=False, crowds=True), MINUTES,
        rule="each order fills by the bar alone; after a fill within a bar nautilus's price is that order's level, until "
        "the bar's next price: another order further out isn't reached, and a market order at the close fills there",
    ),
)  # fmt: skip
