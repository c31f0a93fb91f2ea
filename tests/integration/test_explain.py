"""Explanations of single bars, on the golden tape and beside it: each must be right, to the cent and the reason."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import talib

import nbbacktest as nb
from nbbacktest.core.errors import DataError
from nbbacktest.report.result import Result
from nbbacktest.trading.order_replay import stop_path
from nbbacktest.trading.snapshot import OrderRow
from tests.markets import minutes

# open, high, low, close, volume: decisions are taken after the second bar
TAPE = [
    (100.0, 101.0, 99.0, 100.0, 1_000.0),
    (100.0, 103.0, 99.0, 101.0, 1_000.0),
    (102.0, 104.0, 96.0, 103.0, 1_000.0),
    (95.0, 97.0, 94.0, 96.0, 1_000.0),
    (96.0, 98.0, 95.0, 97.0, 1_000.0),
]
DAYS = [f"2024-10-{day:02}" for day in (1, 2, 3, 4, 7)]


def tape(rows=TAPE, days=DAYS):
    """Daily bars of these prices."""
    return pd.DataFrame(rows, pd.DatetimeIndex(days), columns=["open", "high", "low", "close", "volume"])


def ran(orders, data=None, *, after=2, cash=100_000.0, broker=None, **more):
    """Run a strategy that calls `orders` once, after that many bars of its first symbol."""

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if bar.symbol == self.symbols[0] and len(self.bars(bar.symbol)) == after:
                orders(self)

    config = {"broker": broker or {}, "exchange": "XNYS"}
    return nb.backtest(tape() if data is None else data, Once, cash=cash, config=config, **more)


def of(result, day, number=1, symbol=None):
    """The row of one order in an explanation."""
    frame = result.explain(day, symbol).orders.set_index("id")
    return frame.loc[number]


GOLDEN = [
    ({}, "filled", "1 at 102: the open"),
    ({"limit": 101}, "filled", "1 at 101: the low 96 reached the limit 101"),
    ({"limit": 103}, "filled", "1 at 102: the open 102 was better than the limit 103 already"),
    ({"stop": 103}, "filled", "1 at 103: the high 104 reached the stop 103"),
    ({"stop": 101}, "filled", "1 at 102: the open 102 was beyond the stop 101 already"),
    ({"limit": 95.99}, "missed", "by 0.01: the low 96 stayed above the limit 95.99"),
    ({"touch": 97}, "filled", "1 at 97: the low 96 reached the touch 97"),
    ({"touch": 105}, "filled", "1 at 102: the open 102 was beyond the touch 105 already"),
    ({"touch": 95}, "waits", "for the trigger: the low 96 missed the touch 95 by 1"),
    ({"touch": 97, "limit": 98}, "filled", "1 at 97: the low 96 reached the touch 97, and the limit 98 allowed it"),
    ({"touch": 97, "limit": 96.5}, "filled", "1 at 96.5: the low 96 reached the touch 97, and the limit 96.5 after it"),
    (
        {"touch": 97, "limit": 95.5},
        "triggered",
        "the low 96 reached the touch 97; the low 96 did not reach the limit 95.5, so the limit waits for the next bar",
    ),
    ({"stop": 104.5}, "waits", "for the trigger: the high 104 missed the stop 104.5 by 0.5"),
]


@pytest.mark.parametrize(("terms", "outcome", "why"), GOLDEN)
def test_golden_tape(terms, outcome, why):
    """What the third bar does to an order placed after the second: filled where and by which rule, or missed by how much."""
    result = ran(lambda s: s.buy(size=1, **terms))
    row = of(result, "2024-10-03")
    assert (row["outcome"], row["why"]) == (outcome, why)


def test_a_miss_has_its_distance_as_a_number():
    """Without the residue of its arithmetic in the words, and within it as a number."""
    row = of(ran(lambda s: s.buy(size=1, limit=95.99)), "2024-10-03")
    assert row["missed_by"] == pytest.approx(0.01)
    assert math.isnan(of(ran(lambda s: s.buy(size=1)), "2024-10-03")["missed_by"])


def test_on_the_bar_of_its_placing_an_order_is_not_yet_live():
    """Whatever that bar's prices: it can fill from the next one on."""
    result = ran(lambda s: s.buy(size=1, limit=200.0))
    row = of(result, "2024-10-02")
    assert (row["outcome"], row["why"]) == ("not yet live", "placed on this bar; it can fill from the next bar on")
    assert result.explain("2024-10-01").orders.empty


def test_a_filled_order_is_gone_from_the_next_bar_on():
    """It is told of once."""
    assert ran(lambda s: s.buy(size=1)).explain("2024-10-04").orders.empty


def test_a_refusal_says_the_numbers():
    """What was needed, what there was, and where it would have filled."""
    row = of(ran(lambda s: s.buy(size=1_000), cash=1_000.0), "2024-10-03")
    assert row["outcome"] == "rejected"
    assert row["why"].startswith("to be filled at 102 (the open), but refused: 1000 units at 102 need 102000.00")
    assert "1000.00 available" in row["why"]


def test_a_stop_that_was_gapped_over_fills_at_the_open():
    """The tape's fourth bar opens at 95, below a stop of 95.5."""

    def orders(s):
        s.buy(size=1)
        s.sell(size=1, stop=95.5)

    result = ran(orders)
    assert of(result, "2024-10-03", 2)["why"] == "for the trigger: the low 96 missed the stop 95.5 by 0.5"
    assert of(result, "2024-10-04", 2)["why"] == "1 at 95: the open 95 was beyond the stop 95.5 already"


def test_a_stop_limit_triggers_on_one_bar_and_fills_on_the_next():
    """Stop 103, limit 102: the third bar triggers it and ends above the limit; the fourth opens below it."""
    result = ran(lambda s: s.buy(size=1, stop=103, limit=102))
    third, fourth = of(result, "2024-10-03"), of(result, "2024-10-04")
    assert third["outcome"] == "triggered"
    assert third["why"].startswith("the high 104 reached the stop 103; the close 103 was above the limit 102")
    assert (fourth["outcome"], fourth["why"]) == (
        "filled",
        "1 at 95: the open 95 was better than the limit 102 already",
    )


def test_a_bracket_that_one_bar_reaches_twice_says_which_was_first():
    """Stop 98 and target 103.5 in the entry's own bar: the stop, by the pessimistic rule."""
    result = ran(lambda s: s.buy(size=1, stop_loss=98, take_profit=103.5))
    frame = result.explain("2024-10-03").orders.set_index("id")
    assert frame.loc[2, "why"] == "1 at 98: the low 96 reached the stop 98"
    assert frame.loc[3, "outcome"] == "cancelled"
    assert frame.loc[3, "why"].startswith(
        "one cancels the other: order 2 was filled; this bar reached it too, at 103.5"
    )
    assert "pessimistic put the other first" in frame.loc[3, "why"]


def test_a_brackets_exits_are_held_until_their_entry_fills():
    """Whatever the bars reach before."""
    result = ran(lambda s: s.buy(size=1, limit=94.5, stop_loss=90, take_profit=103))
    third = result.explain("2024-10-03").orders.set_index("id")
    assert third.loc[1, "why"] == "by 1.5: the low 96 stayed above the limit 94.5"
    assert third.loc[3, ["outcome", "why"]].tolist() == ["held", "until its entry, order 1, fills"]
    fourth = result.explain("2024-10-04").orders.set_index("id")
    assert fourth.loc[1, "outcome"] == "filled"
    assert fourth.loc[3, "outcome"] == "not yet live"
    assert "inside this bar, with the fill of its entry, order 1" in fourth.loc[3, "why"]
    assert of(result, "2024-10-07", 3)["why"] == "by 5: the high 98 stayed below the limit 103"


def test_a_trailing_stop_shows_the_level_that_it_had_then():
    """Behind the highest high of the bars before, never that of the bar itself."""

    def orders(s):
        s.buy(size=1)
        s.sell(size=1, trail=9.0)

    result = ran(orders)
    assert of(result, "2024-10-03", 2)["stop"] == 92
    fourth = of(result, "2024-10-04", 2)
    assert (fourth["stop"], fourth["outcome"]) == (95, "filled")
    assert fourth["why"] == "1 at 95: the low 94 reached the stop 95"


def test_a_limit_that_must_be_crossed_says_that_it_was_touched():
    """By limit_fill 'cross', a low of just the limit is no fill."""
    result = ran(lambda s: s.buy(size=1, limit=96), broker={"limit_fill": "cross"})
    row = of(result, "2024-10-03")
    assert (row["outcome"], row["missed_by"]) == ("missed", 0)
    assert row["why"] == "touched, not crossed: the low 96 is the limit itself, and limit_fill is 'cross'"


def test_a_symbol_without_a_bar_lets_its_orders_wait():
    """Orders are never filled forward; the other symbol's bar is there."""
    data = {"A": tape(), "B": tape()[pd.DatetimeIndex(DAYS) != "2024-10-03"]}
    result = ran(lambda s: s.buy("B", size=1), data)
    told = result.explain("2024-10-03")
    assert told.bars["B"] is None
    assert of(result, "2024-10-03")["why"] == "B had no bar that closed then; for the next one"
    assert "B: no bar closed then" in str(told)
    assert of(result, "2024-10-04")["outcome"] == "filled"
    assert of(result, "2024-10-03", symbol="B")["outcome"] == "waits"


def test_a_volume_cap_says_what_it_left():
    """Partly filled, then the rest."""
    result = ran(lambda s: s.buy(size=150), broker={"volume_share": 0.1})
    first, second = of(result, "2024-10-03"), of(result, "2024-10-04")
    assert first["outcome"] == "partially filled"
    assert first["why"] == "100 at 102: the open; the volume cap (0.1 of the bar's volume of 1000) left 50 of 150"
    assert second["outcome"] == "filled"
    assert second["why"] == "50 at 95: the open"


def test_an_order_that_the_cap_leaves_nothing_says_so():
    """The one before it took all of the bar's share."""

    def orders(s):
        s.buy(size=100)
        s.buy(size=10)

    row = of(ran(orders, broker={"volume_share": 0.1}), "2024-10-03", 2)
    assert row["outcome"] == "capped"
    assert "left 0 beside 100 filled for others" in row["why"]


def test_a_cancelled_order_says_who_did_it_and_what_the_bar_had_done():
    """It was live on the bar after which it was cancelled."""

    class Fickle(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.order = self.buy(size=1, limit=90)
            if len(self.bars()) == 3:
                self.cancel(self.order)

    row = of(nb.backtest(tape(), Fickle), "2024-10-03")
    assert row["outcome"] == "cancelled"
    assert row["why"].startswith("cancelled by the strategy; on this bar, before: missed by 6")
    assert row["missed_by"] == 6


def test_replaced_terms_are_those_of_the_bar():
    """An order whose limit was changed later is shown with the limit that the bar met."""

    class Chaser(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.order = self.buy(size=1, limit=90.125)
            if len(self.bars()) == 3:
                self.replace(self.order, limit=96.5)

    result = nb.backtest(tape(), Chaser)
    assert of(result, "2024-10-03")["limit"] == 90.125
    assert of(result, "2024-10-04")["limit"] == 96.5


def test_slippage_and_commission_are_told_apart():
    """The price by the rule, how much worse it came, and what it cost."""
    row = of(ran(lambda s: s.buy(size=10), slippage=0.01, commission=0.001), "2024-10-03")
    assert row["why"] == "10 at 103.02: the open; 1.02 worse than 102 by slippage; commission 1.03"


def test_the_cheat_is_called_what_it_is():
    """An order by this_close fills on the bar that it was decided on."""
    row = of(ran(lambda s: s.buy(size=1), fill="this_close"), "2024-10-02")
    assert row["why"] == "1 at 101: by this_close, the close of the bar that it was decided on"


def test_the_account_is_shown_before_and_after():
    """Cash, equity and position around the bar."""
    told = ran(lambda s: s.buy(size=10)).explain("2024-10-03")
    assert told.cash == (100_000, 100_000 - 1_020)
    assert told.equity == (100_000, 100_010)
    assert told.positions == {"ASSET": (0, 10)}
    assert [fill.price for fill in told.executions] == [102]
    assert told.bars["ASSET"].low == 96


def test_indicators_read_what_the_strategy_read():
    """Whole columns, streams and tuples, of the base and of derived bars, each as of the instant; also from a file."""
    seen = {}

    class Range:
        def update(self, high, low):
            return high - low, high + low

    class Reader(nb.Strategy):
        def on_start(self):
            self.kept = {
                "sma": self.indicator(talib.SMA, "close", 3, name="sma"),
                "stream": self.indicator(talib.stream.SMA, "close", 2, name="stream"),
                "range": self.indicator(Range(), "high", "low", name="range"),
                "5m sma": self.indicator(talib.SMA, "close", 2, interval="5m", name="sma"),
            }

        def on_bar(self, bar):
            if bar.interval == "1m":
                seen[bar.end] = {name: handle[-1] if len(handle) else math.nan for name, handle in self.kept.items()}

    times = pd.date_range("2024-10-03 09:30", periods=30, freq="1min", tz="America/New_York")
    data = pd.DataFrame({"open": 1.0, "high": 200.0, "low": 0.5, "close": [100.0 + n for n in range(30)]}, times)
    result = nb.backtest(data, Reader, derived=("5m",))
    assert len(seen) == 30
    for moment, values in seen.items():
        told = result.explain(moment - pd.Timedelta("30s")).indicators
        assert {k: str(v) for k, v in told.items()} == {k: str(v) for k, v in values.items()}


def test_a_saved_result_explains_as_the_run_did(tmp_path):
    """Orders' lives, links and indicators are kept."""

    class Busy(nb.Strategy):
        def on_start(self):
            self.average = self.indicator(talib.SMA, "close", 2)

        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.buy(size=10, stop_loss=90, take_profit=103.5)
                self.sell(size=1, trail=0.05)

    result = nb.backtest(tape(), Busy)
    loaded = Result.load(result.save(tmp_path / "run.nbbt"))
    for day in DAYS:
        assert str(loaded.explain(day)) == str(result.explain(day))
    pd.testing.assert_frame_equal(loaded.order_events, result.order_events)


@pytest.mark.parametrize("time", ["2024-10-03", "2024-10-03 15:00", pd.Timestamp("2024-10-03", tz="America/New_York")])
def test_a_day_can_be_named_in_any_way(time):
    """By date, by a time of it, naive or with a zone."""
    assert str(ran(lambda s: None).explain(time).time) == "2024-10-03 00:00:00"


def test_minutes_are_named_by_their_stamp_or_a_time_inside():
    """A bar's stamp is its opening; the last closing is an instant too."""
    times = pd.date_range("2024-10-03 09:30", periods=5, freq="1min", tz="America/New_York")
    result = ran(lambda s: None, tape().set_index(times))
    for time, low in (("09:31", 99), ("09:31:59", 99), ("09:32", 96), ("09:35", 95)):
        assert result.explain(f"2024-10-03 {time}").bars["ASSET"].low == low


@pytest.mark.parametrize(
    ("time", "symbol", "said"),
    [
        ("2024-10-05", None, "no bar of the run was then; the instants around it are 2024-10-04 and 2024-10-07"),
        ("1999-01-01", None, "the instants around it are 2024-10-01"),
        ("soon", None, "no time"),
        (None, None, "no time"),
        ("2024-10-03", "ASSETS", "'ASSETS' was not run; did you mean 'ASSET'"),
    ],
)
def test_a_time_without_a_bar_is_refused(time, symbol, said):
    """With what is there instead."""
    with pytest.raises(DataError, match=said):
        ran(lambda s: None).explain(time, symbol)


def test_text_and_tables_hold_the_same():
    """Words, HTML and frame come from one place; what users wrote is escaped."""
    told = ran(lambda s: (s.buy(size=1, limit=90, tag="<b>"), s.log("<i>hello"))).explain("2024-10-02")
    text, page = str(told), told._repr_html_()
    assert "order 1: buy 1 ASSET limit, limit 90" in text
    assert "logged: <i>hello" in text
    assert "order 1: buy 1 ASSET limit, limit 90" in page
    assert "<i>" not in page
    assert json.loads(told.orders.to_json())["tag"]["0"] == "<b>"


class Restless(nb.Strategy):
    """Places, replaces and cancels orders of every kind at random."""

    seed: int = 0

    def on_start(self):
        self.rng = np.random.default_rng(self.seed)

    def on_bar(self, bar):
        rng, close = self.rng, bar.close
        side = self.buy if rng.random() < 0.5 else self.sell
        sign = 1 if side == self.buy else -1
        near = lambda: round(close + rng.normal(0, 0.3), 2)  # noqa: E731
        kind = rng.integers(0, 14)
        size = float(rng.integers(1, 400))
        terms = {
            0: {}, 1: {"limit": near()}, 2: {"stop": near()}, 3: {"limit": near(), "stop": near()},
            4: {"trail": 0.2}, 5: {"trail": "0.2%"}, 6: {"tif": "ioc", "limit": near()},
            7: {"stop_loss": round(close - sign * 0.4, 2), "take_profit": round(close + sign * 0.3, 2),
                **({"limit": round(close - sign * 0.1, 2)} if rng.random() < 0.5 else {})},
            8: {"limit": near(), "tif": "day"},
            12: {"touch": near()}, 13: {"touch": near(), "limit": near()},
        }.get(int(kind))  # fmt: skip
        if terms is not None and len(self.orders(bar.symbol)) < 8:
            side(bar.symbol, size=size, **terms)
        waiting = self.orders(bar.symbol)
        if waiting and kind == 9:
            self.cancel(waiting[0])
        if kind == 10:
            for order in waiting:
                if str(order.type) == "limit" and order.parent is None and not order.children:
                    self.replace(order, limit=near())
        if kind == 11:
            self.close(bar.symbol)


@pytest.mark.parametrize(
    "broker", [{}, {"volume_share": 0.3}, {"stop_and_target": "path", "limit_fill": "cross"}, {"fill": "next_close"}]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_explanation_contradicts_what_happened(broker, seed):
    """Over random orders of all kinds, gaps and caps: each bar's outcomes are those of its fills, ends and triggers."""
    data = {"A": minutes(150, seed=seed, gaps=0.1), "B": minutes(150, seed=seed + 7, gaps=0.2)}
    result = nb.backtest(data, Restless, seed=seed, config={"broker": broker})
    record, outcomes = result.record, set()
    events = result.order_events
    for index, instant in enumerate(record.instants.tolist()):
        told = result.explain(record.stamps.stamp(instant - 1))
        frame = told.orders.set_index("id")
        filled = frame.index[frame["outcome"].isin(["filled", "partially filled"])]
        assert set(filled) == {fill.order_id for fill in record.fills if fill.index == index}
        now = events[events["time"] == record.stamps.stamp(instant)]
        for outcome in ("rejected", "cancelled", "expired"):
            ended = set(now.loc[now["event"] == outcome, "order_id"]) - set(filled)
            assert set(frame.index[frame["outcome"] == outcome]) == ended
        triggered = set(now.loc[now["event"] == "triggered", "order_id"])
        assert set(frame.index[frame["outcome"] == "triggered"]) <= triggered
        assert not frame["why"].str.contains("did not fill").any()
        outcomes |= set(frame["outcome"])
    assert outcomes >= {"filled", "rejected", "cancelled", "missed", "waits", "not yet live", "held"}


def test_a_split_changes_what_was_on_order_before_the_bar():
    """A limit of 95 for 10 units is one of 47.5 for 20 on the day of 2:1, and the notes say why."""
    rows = [(o / 2, h / 2, lo / 2, c / 2, v) if n > 2 else (o, h, lo, c, v) for n, (o, h, lo, c, v) in enumerate(TAPE)]
    actions = [{"symbol": "ASSET", "date": "2024-10-04", "kind": "split", "value": 2}]
    config = {"data": {"symbols": ["ASSET"], "adjusted": False, "actions": actions}}

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.buy(size=3)
                self.buy(size=10, limit=95)

    result = nb.backtest(tape(rows), Once, config=config)
    third, fourth = of(result, "2024-10-03", 2), of(result, "2024-10-04", 2)
    assert (third["size"], third["limit"], third["why"]) == (10, 95, "by 1: the low 96 stayed above the limit 95")
    assert (fourth["size"], fourth["limit"]) == (20, 47.5)
    assert fourth["why"] == "20 at 47.5: the low 47 reached the limit 47.5"
    told = result.explain("2024-10-04")
    assert told.positions == {"ASSET": (3, 26)}
    assert "split of ASSET: 2 new units for an old one, before anything filled" in told.notes
    first = result.trades.iloc[0]
    assert first["mfe"] == pytest.approx(104 / 102 - 1)
    assert first["mae"] == pytest.approx(47 * 2 / 102 - 1)


def test_a_trailing_stop_has_followed_the_bar_of_a_split():
    """The split comes first, and then that bar's high moves the level, as it did in the run."""
    rows = [(100, 100, 100, 100, 9), (50, 60, 50, 56, 9), (56, 57, 55, 56, 9), (56, 56, 50, 50, 9)]
    index = pd.to_datetime(["2024-10-01", "2024-10-02", "2024-10-03", "2024-10-04"])
    data = pd.DataFrame(rows, index, columns=["open", "high", "low", "close", "volume"], dtype=float)
    actions = [{"symbol": "ASSET", "date": "2024-10-02", "kind": "split", "value": 2}]

    class Trails(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.order = self.sell(size=1, trail="10%")
            self.record = [*getattr(self, "record", []), self.order.stop]

    strategy = Trails()
    result = nb.backtest(data, strategy, config={"data": {"symbols": ["ASSET"], "adjusted": False, "actions": actions}})
    assert strategy.record[:3] == [90, 54, 54]
    assert [of(result, day)["stop"] for day in ("2024-10-03", "2024-10-04")] == [54, 54]
    assert stop_path(result.record, result.record.orders[0])[-1][1] == 54


def test_a_touch_is_in_every_table(tmp_path):
    """Orders, their events, explanations, the JSON document, a saved result and the snapshot of a run tell it."""
    result = ran(lambda s: (s.buy(size=1, touch=97, limit=95.5), s.sell(size=1, touch=150.0)))
    assert result.orders["type"].to_list() == ["limit_if_touched", "market_if_touched"]
    assert result.orders["touch"].to_list() == [97.0, 150.0]
    assert set(result.order_events.query("order_id == 1")["touch"]) == {97.0}
    told = result.explain("2024-10-03")
    assert told.orders["touch"].to_list() == [97.0, 150.0]
    assert "limit if touched, limit 95.5, touch 97" in repr(told)
    assert json.loads(result.to_json())["orders"][0]["touch"] == 97.0
    loaded = Result.load(result.save(tmp_path / "touched"))
    pd.testing.assert_frame_equal(loaded.orders, result.orders)
    pd.testing.assert_frame_equal(loaded.order_events, result.order_events)
    row = OrderRow.of(result.record.orders[1])
    assert (row.touch, repr(row)) == (150.0, "<Order 2 sell 1 ASSET market_if_touched touch 150: open>")
    assert "touch 150" in repr(result.record.orders[1])


def test_two_splits_that_come_with_one_bar_both_count():
    """Ex-dates without a bar of their own belong to the next one: an order's size and levels are those after both."""
    index = pd.DatetimeIndex(["2024-01-04", "2024-01-05", "2024-01-10", "2024-01-11"])
    frame = pd.DataFrame({name: [100.0, 100.0, 16.0, 16.0] for name in ("open", "high", "low", "close")}, index=index)
    splits = [
        {"symbol": "A", "date": day, "kind": "split", "value": ratio}
        for day, ratio in (("2024-01-08", 2.0), ("2024-01-09", 3.0))
    ]

    class Rests(nb.Strategy):
        def on_bar(self, bar):
            if bar.time == index[0]:
                self.buy(size=2, limit=75.0)

    config = {"exchange": "24/7", "data": {"adjusted": False, "actions": splits}}
    result = nb.backtest({"A": frame.assign(volume=1.0)}, Rests, config=config)
    (order,) = result.explain("2024-01-10").verdicts
    assert (order.then.size, order.then.limit) == (12.0, 12.5)
