"""Laws of the trading floor at every instant, over drawn bars, orders of all kinds, and rules."""

from __future__ import annotations

import math
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.errors import OrderError
from nbbacktest.trading.strategy import Strategy
from tests.drivers import desk_for, run_inline, series_of

SYMBOLS = ("A", "B")
kinds = st.sampled_from(
    ["market", "limit", "stop", "stop_limit", "touch", "touch limit", "trail", "percent", "open", "close", "bracket", "bracket limit", "reduce",
     "oco", "flat", "target", "cancel", "replace"]
)  # fmt: skip
deeds = st.tuples(
    kinds, st.sampled_from(["buy", "sell"]), st.sampled_from(SYMBOLS), st.one_of(st.none(), st.integers(1, 60)),
    st.integers(85, 115), st.integers(1, 12), st.sampled_from(["gtc", "day", "ioc", "fok"]),
)  # fmt: skip
rules = st.fixed_dictionaries(
    {},
    optional={
        "fill": st.sampled_from(["next_close", "this_close"]),
        "limit_fill": st.just("cross"),
        "stop_and_target": st.just("path"),
        "volume_share": st.sampled_from([0.1, 0.5, 1.0]),
        "account": st.just("margin"),
        "lot_size": st.just(2.0),
        "fractional": st.just(False),
    },
)


class Acts(Strategy):
    """Does what was drawn, two deeds a bar, and holds the laws at every one."""

    deeds: list

    def on_start(self):
        self.at = 0
        self.told = []
        self.linked = []

    def on_bar(self, bar):
        self.check()
        for deed in self.deeds[self.at : self.at + 2]:
            try:
                self.do(*deed)
            except OrderError:
                continue
            self.check()
        self.at += 2

    def on_order(self, order):
        self.told.append(order)

    def check(self):
        desk = self._strategy_context._desk
        worth = sum(p.size * p.last for p in desk.portfolio.held.values())
        assert math.isclose(self.cash + worth, self.equity, rel_tol=1e-9, abs_tol=1e-6)
        booked = defaultdict(float)
        for fill in desk.fills:
            booked[fill.symbol] += fill.signed_size
        for symbol in SYMBOLS:
            assert math.isclose(booked[symbol], self.position(symbol).size, abs_tol=1e-6)
        for symbol, book in desk.broker.pending.items():
            assert book or not symbol
            for order in book:
                assert (order.status, order.symbol) == ("open", symbol)
                assert order.size is None or order.filled < order.size

    def do(self, kind, side, symbol, size, level, distance, tif):
        place = getattr(self, side)
        sign = 1 if side == "buy" else -1
        if not len(self.bars(symbol)):
            return
        last = self.bars(symbol).close[-1]
        terms = {
            "market": {"tif": tif},
            "limit": {"limit": level, "tif": tif},
            "stop": {"stop": level, "tif": "day" if tif == "day" else "gtc"},
            "stop_limit": {"stop": level, "limit": level + distance - 6},
            "touch": {"touch": level, "tif": "day" if tif == "day" else "gtc"},
            "touch limit": {"touch": level, "limit": level + distance - 6},
            "trail": {"trail": distance},
            "percent": {"trail": f"{distance}%"},
            "open": {"at": "open"},
            "close": {"at": "close"},
            "bracket": {"stop_loss": last - sign * distance, "take_profit": last + sign * distance},
            "bracket limit": {"limit": level, "stop_loss": level - sign * distance, "take_profit": level + sign * 3},
            "reduce": {"reduce_only": True, "limit": level},
        }
        if kind in terms:
            place(symbol, size, **terms[kind])
        elif kind == "oco":
            size = size or 10
            group = self.buy(symbol, size, stop=last + distance), self.sell(symbol, size, stop=last - distance)
            self.oco(*group)
            self.linked.append((group, size))
        elif kind == "flat":
            self.close(symbol)
        elif kind == "target":
            self.order_target_percent(symbol, (level - 100) / 15)
        elif self.orders(symbol):
            order = self.orders(symbol)[distance % len(self.orders(symbol))]
            if kind == "cancel":
                self.cancel(order)
            else:
                # A size given by hand to a linked order would be the strategy's own word, and no law's.
                resized = size is not None and order.oco is None and order.parent is None
                self.replace(order, **({"size": size} if resized else {"limit": level}))


@st.composite
def markets(draw):
    made = []
    for symbol in SYMBOLS:
        # Two dates, so that sessions end in between.
        minutes = sorted(draw(st.sets(st.integers(0, 15).map(lambda n: n if n < 9 else n + 1440), min_size=5)))
        rows = []
        for _ in minutes:
            low, a, b, high = sorted(draw(st.lists(st.integers(85, 115), min_size=4, max_size=4)))
            opened, closed = draw(st.sampled_from([(a, b), (b, a)]))
            rows.append((opened, high, low, closed, draw(st.sampled_from([0, 10, 50, 500]))))
        rows[0] = (*rows[0][:4], 50)
        made.append(series_of(rows, symbol, minutes=minutes))
    return made


@settings(max_examples=150)
@given(markets(), st.lists(deeds, min_size=4, max_size=60), rules)
def test_laws_of_all_orders(series, plan, rule):
    """Money is conserved, no order fills early, too much, or beyond what it may; every life ends once and in order."""
    strategy = Acts(deeds=plan)
    desk = desk_for(strategy, *series, cash=5000, commission=0.001, **rule)
    run_inline(desk, *series)
    strategy.check()
    by_order = defaultdict(list)
    for fill in desk.fills:
        by_order[desk.orders[fill.order_id - 1]].append(fill)
    _check_prices(desk, at_once=rule.get("fill") == "this_close")
    _check_reductions(desk)
    for order in desk.orders:
        _check_sums(order, by_order[order])
        _check_life(order)
        assert sum(child.filled for child in order.children) <= order.filled * (1 + 1e-9)
    for group, size in strategy.linked:
        assert sum(order.filled for order in group) <= size * (1 + 1e-9)


def _check_prices(desk, *, at_once):
    for fill in desk.fills:
        order, instant = desk.orders[fill.order_id - 1], desk._instants[fill.index]
        assert instant > order.submitted_ns or (at_once and order.type == "market" and instant == order.submitted_ns)
        bar = next(bar for bar in map(desk.series[fill.symbol, "1m"].bar, range(99)) if bar.end_ns == instant)
        assert bar.low <= fill.price <= bar.high
        limit = next(e.terms.limit for e in order.events if e.time_ns == instant and e.size is not None)
        if limit is not None:
            assert (limit - fill.price) * (1 if fill.side == "buy" else -1) >= 0


def _check_reductions(desk):
    held = defaultdict(float)
    for fill in desk.fills:
        before = held[fill.symbol]
        after = before + fill.signed_size
        if desk.orders[fill.order_id - 1].reduce_only:
            assert abs(after) < abs(before)
            assert before * fill.signed_size < 0
        held[fill.symbol] = 0.0 if abs(after) < 1e-9 else after


def _check_sums(order, fills):
    total = sum(fill.size for fill in fills)
    assert math.isclose(order.filled, total, abs_tol=1e-6)
    assert order.size is None or total <= order.size * (1 + 1e-9)
    if order.status == "filled":
        assert math.isclose(total, order.size)
    if total:
        assert math.isclose(order.fill_price, sum(f.size * f.price for f in fills) / total)


def _check_life(order):
    told = order.events
    kinds = [str(event.kind) for event in told]
    assert kinds[0] == "submitted"
    assert [event.time_ns for event in told] == sorted(event.time_ns for event in told)
    final = [kind for kind in kinds if kind in ("filled", "cancelled", "rejected", "expired")]
    assert final == ([] if order.is_open else [str(order.status)])
    assert order.is_open is (order.closed_ns == 0)
    if final:
        assert kinds[-1] == final[0]
        assert told[-1].time_ns == order.closed_ns
    parts = [event.size for event in told if event.kind in ("filled", "partially_filled")]
    assert math.isclose(sum(parts), order.filled, abs_tol=1e-6)
    assert (order.reason is None) is (order.status in ("held", "open", "filled"))
