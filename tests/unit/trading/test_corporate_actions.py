"""Splits and dividends of raw prices: what they do to positions, orders, cash and trades."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.actions import ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, DataNotFoundError
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.trading.equity import equity_curve, position_curve
from tests.markets import days, minutes

DATES = pd.bdate_range("2024-01-02", periods=10)


def frame_of(closes, opens=None):
    """Daily bars that open at the close before, or at `opens`."""
    closes = np.asarray(closes, dtype=float)
    opens = closes if opens is None else np.asarray(opens, dtype=float)
    table = {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes}
    return pd.DataFrame(table, index=DATES[: len(closes)])


def actions(*rows, symbol=None):
    """Rows (number of the date, kind, value) as the config takes them."""
    return [{"symbol": symbol, "date": DATES[day].date(), "kind": kind, "value": value} for day, kind, value in rows]


def raw(events, **broker):
    return {"data": {"adjusted": False, "actions": events}, "broker": broker}


class Hold(nb.Strategy):
    """Ten units from the second bar on; keeps what it saw."""

    size: float = 10.0

    def on_start(self):
        self.seen = []

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            (self.buy if self.size > 0 else self.sell)(size=abs(self.size))
        self.seen.append((self.position().size, self.position().average_price, self.equity))


def test_a_split_leaves_equity_as_it_was():
    """Two for one between bars at 100 and at 50: twice the units at half the price, the same equity."""
    strategy = Hold()
    result = nb.backtest(frame_of([100, 100, 100, 50, 50]), strategy, config=raw(actions((3, "split", 2))))
    assert strategy.seen[2] == (10, 100, 100_000)
    assert strategy.seen[3] == (20, 50, 100_000)
    assert result.equity.tolist() == [100_000] * 5
    assert position_curve(result.record, "ASSET").tolist() == [0, 10, 10, 20, 20]


def test_without_the_event_the_same_prices_are_a_loss():
    """What the event is there for."""
    assert nb.backtest(frame_of([100, 100, 100, 50, 50]), Hold).equity.iloc[-1] == 99_500


def test_a_reverse_split_keeps_fractions():
    """Fifteen units at one for ten are one and a half: nothing is paid out instead."""
    strategy = Hold(size=15.0)
    result = nb.backtest(frame_of([10, 10, 100, 100]), strategy, config=raw(actions((2, "split", 0.1))))
    assert strategy.seen[-1] == (1.5, pytest.approx(100), pytest.approx(100_000))
    assert result.flows.empty


def test_a_trade_across_a_split_is_told_in_units_after_it():
    """Ten bought at 100, twenty sold at 60 after two for one: 200 earned on 1,000."""

    class InAndOut(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=10)
            if len(self.bars()) == 4:
                self.close()

    frame = frame_of([100, 100, 50, 60, 60], [100, 100, 50, 50, 60])
    result = nb.backtest(frame, InAndOut, config=raw(actions((2, "split", 2))), commission=0.01)
    (trade,) = result.round_trips
    assert (trade.size, trade.entry_price, trade.exit_price) == (20, 50, 60)
    assert trade.commission == pytest.approx(10 + 12)
    assert trade.pnl == pytest.approx(200 - 22)
    assert result.equity.iloc[-1] == pytest.approx(100_000 + trade.pnl)


def test_part_of_a_position_sold_after_a_split():
    """Five of the twenty that ten became: a trade of five, and fifteen stay open."""

    class Part(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=10)
            if len(self.bars()) == 4:
                self.sell(size=5)

    result = nb.backtest(frame_of([100, 100, 50, 50, 60]), Part, config=raw(actions((2, "split", 2))))
    assert [(t.size, t.entry_price, t.is_open) for t in result.round_trips] == [(5, 50, False), (15, 50, True)]
    assert sum(t.pnl for t in result.round_trips) == pytest.approx(result.equity.iloc[-1] - 100_000)


def test_open_orders_go_through_a_split():
    """Sizes are multiplied and levels divided, also of a bracket's exits that wait for their entry; the life tells it."""

    class Orders(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=10, limit=80.0, stop_loss=70.0, take_profit=120.0)
                self.buy(size=4, stop=150.0)
                self.sell(size=6, trail=20.0)
                self.sell(size=6, trail="10%")

    result = nb.backtest(frame_of([100, 100, 50, 50]), Orders, config=raw(actions((2, "split", 2))))
    entry, loss, profit, stop, trail, share = result.record.orders
    assert (entry.size, entry.limit) == (20, 40)
    assert (loss.stop, profit.limit) == (35, 60)
    assert (stop.size, stop.stop) == (8, 75)
    assert (trail.size, trail.trail, trail.stop) == (12, 10, 40)
    assert (share.trail, share.stop) == (pytest.approx(0.1), pytest.approx(45))
    assert any("split: 2 new units" in (event.reason or "") for event in entry.events)


def test_an_order_fills_after_a_split_as_it_was_meant():
    """A buy of 10 at 80 is one of 20 at 40 after two for one: it fills in the bar that falls there, for the same money."""

    class Dip(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=10, limit=80.0)

    frame = frame_of([100, 100, 50, 38], [100, 100, 50, 45])
    (fill,) = nb.backtest(frame, Dip, config=raw(actions((2, "split", 2)))).record.fills
    assert (fill.index, fill.size, fill.price) == (3, 20, 40)


def test_dividends_are_paid_to_longs_and_by_shorts():
    """1.50 for each of ten units, on the ex-date, before anything fills there."""
    for size, amount in ((10.0, 15.0), (-10.0, -15.0)):
        events = actions((3, "dividend", 1.5))
        result = nb.backtest(frame_of([100, 100, 100, 98.5, 98.5]), Hold(size=size), config=raw(events))
        (flow,) = result.record.flows
        assert (flow.index, flow.kind, flow.symbol, flow.strategy, flow.amount) == (
            3,
            "dividend",
            "ASSET",
            "Hold",
            amount,
        )
        assert result.equity.tolist() == [100_000] * 5
        assert result.flows["amount"].tolist() == [amount]


def test_who_buys_on_the_ex_date_gets_no_dividend():
    """The dividend belongs to who held before: a fill on the ex-date comes after it."""
    result = nb.backtest(frame_of([100, 100, 100]), Hold(), config=raw(actions((1, "dividend", 1.5))))
    assert result.flows.empty


def test_a_split_is_before_a_dividend_of_the_same_date():
    """The dividend is a share's as counted on that date: 20 units at 0.50, whatever order the rows have."""
    events = actions((3, "dividend", 0.5), (3, "split", 2))
    result = nb.backtest(frame_of([100, 100, 100, 49.5]), Hold(), config=raw(events))
    assert result.record.flows[0].amount == 10
    assert result.equity.tolist() == [100_000] * 4


def test_a_symbol_without_a_bar_goes_ex_with_its_next_one():
    """On the ex-date itself only the other symbol trades: the split waits, and equity has no gap."""
    a, b = frame_of([100, 100, 100, 50, 50]).drop(DATES[3]), frame_of([10, 10, 10, 10, 10])

    class Both(nb.Strategy):
        def on_bar(self, bar):
            if bar.symbol == "A" and len(self.bars("A")) == 1:
                self.buy("A", 10)

    result = nb.backtest({"A": a, "B": b}, Both, config=raw(actions((3, "split", 2), symbol="A")))
    assert result.equity.tolist() == [100_000] * 5
    assert result.record.splits == ((4, "A", 2),)


def test_intraday_bars_go_ex_with_the_first_of_the_local_date():
    """Overnight between two sessions of minute bars."""
    first, second = minutes(5), minutes(5, start="2024-10-04 09:30") / 2
    event = {"date": "2024-10-04", "kind": "split", "value": 2}
    result = nb.backtest(pd.concat([first, second]), Hold(), config=raw([event]))
    assert [split.index for split in result.record.splits] == [5]


def test_events_where_nothing_trades_change_nothing():
    """Before the first bar, in the warm-up, after the last."""
    events = actions((0, "split", 2), (2, "split", 2), (9, "split", 2))
    config = raw(events) | {"backtest": {"start_date": str(DATES[3].date())}}
    config["data"] |= {"warmup_days": 2}
    result = nb.backtest(frame_of([50] * 6), Hold(), config=config)
    assert result.record.splits == ()


def test_a_saved_result_keeps_splits(tmp_path):
    """Equity and trades of the loaded result are the same."""
    result = nb.backtest(frame_of([100, 100, 100, 50, 50]), Hold(), config=raw(actions((3, "split", 2))))
    loaded = nb.Result.load(result.save(tmp_path / "run"))
    assert (loaded.fingerprint, loaded.record.splits) == (result.fingerprint, result.record.splits)
    pd.testing.assert_frame_equal(loaded.trades, result.trades)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(st.integers(3, 28), st.sampled_from([2.0, 3.0, 0.5, 0.1, 1.5])), max_size=3, unique_by=lambda e: e[0]
    ),
)
def test_buy_and_hold_of_raw_prices_is_that_of_adjusted_ones(seed, splits):
    """With splits alone, raw prices and events give the equity of adjusted prices at every instant."""
    adjusted = days(30, seed=seed)[["open", "high", "low", "close"]]
    factor = np.ones(len(adjusted))
    for row, ratio in splits:
        factor[:row] *= ratio
    events = [{"date": adjusted.index[row].date(), "kind": "split", "value": ratio} for row, ratio in splits]
    # The same money buys as much: units before the splits are fewer by the factor, at a price higher by it.
    plain = nb.backtest(adjusted, Hold(size=100.0))
    strategy = Hold(size=100.0 / factor[1])
    other = nb.backtest(adjusted.mul(factor, axis=0), strategy, config=raw(events))
    assert len(other.record.splits) == len(splits)
    assert np.allclose(other.equity, plain.equity, rtol=1e-12)
    assert np.allclose(equity_curve(other.record), [equity for _, _, equity in strategy.seen], rtol=1e-12)
    assert math.isclose(other.stats["return"], plain.stats["return"], rel_tol=1e-9, abs_tol=1e-12)


class Reinvest(nb.Strategy):
    """All the cash into fractions of the symbol, and each dividend again at the ex-date's close."""

    def on_bar(self, bar):
        if self.cash > 1e-9:
            self.buy(size=self.cash / bar.close)


def test_reinvested_dividends_are_the_return_of_adjusted_prices():
    """With each dividend put back at the ex-date's price, raw prices and events return what adjusted prices do."""
    closes = np.array([100, 102, 101, 0, 103, 107, 0, 110], dtype=float)
    dividends = {3: 1.5, 6: 2.0}
    factor = np.ones(len(closes))
    for row, paid in dividends.items():
        # The ex-date trades at the close before, less the dividend: there the vendors' factor reinvests it too.
        closes[row] = closes[row - 1] - paid
        factor[:row] *= 1 - paid / closes[row - 1]
    events = actions(*((row, "dividend", paid) for row, paid in dividends.items()))
    result = nb.backtest(frame_of(closes), Reinvest, config=raw(events, cash=1_000), fill="this_close")
    adjusted = closes * factor
    assert np.allclose(result.equity / 1_000, adjusted / adjusted[0], rtol=1e-9)
    assert len(result.flows) == 2


def test_a_file_of_actions(tmp_path):
    """A CSV in any case and order of columns; other symbols' rows are passed over."""
    file = tmp_path / "actions.csv"
    file.write_text(
        "Date,Symbol,Kind,Value\n2024-01-05,A,split,2\n\n2024-01-08,B,dividend,0.25\n2024-01-09,C,split,3\n"
    )
    assert read_actions(str(file), ("A", "B")) == (
        ("A", dt.date(2024, 1, 5), "split", 2.0),
        ("B", dt.date(2024, 1, 8), "dividend", 0.25),
    )
    events = nb.backtest({"A": frame_of([100, 100, 100, 50])}, Hold(), config=raw(str(file))).record.splits
    assert events == ((3, "A", 2),)


def test_a_table_of_actions():
    """In Python the config takes a DataFrame, and keeps its rows."""
    table = pd.DataFrame({"symbol": ["ASSET"], "date": [DATES[3]], "kind": ["split"], "value": [2]})
    result = nb.backtest(frame_of([100, 100, 100, 50]), Hold(), config=raw(table))
    assert result.equity.iloc[-1] == 100_000
    assert result.config["data"]["actions"] == [
        {"symbol": "ASSET", "date": "2024-01-05", "kind": "split", "value": 2.0}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,date,kind,value\nA,2024-01-05,splt,2\n", "line 2: kind = 'splt'"),
        ("symbol,date,kind,value\nA,5 Jan,split,2\n", "line 2: date = '5 Jan'"),
        ("symbol,date,kind,value\nA,2024-01-05,split,0\n", "line 2: value = 0"),
        ("symbol,date,kind\nA,2024-01-05,split\n", "value.*is required"),
        ("symbol,date,kind,value\nA,2024-01-05,split,2\nA,2024-01-05,split,2\n", "line 3 is a second split of A"),
        ("symbol,date,kind,value\nAPPL,2024-01-05,split,2\n", "'APPL': known are: A, B"),
        ("date,kind,value\n2024-01-05,split,2\n", "line 2 names no symbol, and 2 are run: A, B"),
    ],
)
def test_a_row_that_makes_no_sense(tmp_path, text, message):
    """The error names the line, the value and what to do."""
    file = tmp_path / "actions.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_actions(str(file), ("A", "B"))


def test_a_file_that_is_not_there(tmp_path):
    """Its path is in the error."""
    with pytest.raises(DataNotFoundError, match="nothing.csv"):
        read_actions(str(tmp_path / "nothing.csv"), ("A",))


def test_adjusted_prices_with_events_are_refused(tmp_path):
    """Counting splits and dividends twice is a mistake that the config can see, and of a file whoever reads it."""
    with pytest.raises(ConfigError, match="set adjusted to false"):
        SessionConfig.load({"data": {"actions": actions((3, "split", 2))}})
    file = tmp_path / "actions.csv"
    file.write_text("date,kind,value\n2024-01-05,dividend,2\n")
    with pytest.raises(ConfigError, match="set adjusted to false"):
        nb.backtest(frame_of([100, 100]), Hold(), config={"data": {"actions": str(file)}})


def test_no_actions_are_none():
    """Nothing given, nothing done; an empty file too."""
    assert read_actions(None, ("A",)) == ()
    assert read_actions((), ("A",)) == ()
    assert read_actions([ActionRow(date=dt.date(2024, 1, 5), kind="split", value=2)], ("A",))[0].symbol == "A"
