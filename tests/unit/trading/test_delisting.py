"""Symbols that are delisted: what holders get, when, and what becomes of orders."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.trading.equity import cash_curve, equity_curve, marks, position_curve
from tests.markets import minutes

DATES = pd.bdate_range("2024-10-01", periods=15)
GONE = "B was delisted on 2024-10-08, with 90 paid for each unit"


def still(count, first=0):
    """Daily bars at 100."""
    return pd.DataFrame({"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0}, index=DATES[first : first + count])


def delist(date, value=90.0, *, adjusted=True, symbol="B", **config):
    row = {"symbol": symbol, "date": date, "kind": "delist", "value": value}
    return config | {"data": {"adjusted": adjusted, "actions": [row]}}


class Holds(nb.Strategy):
    """Holds units of B from the second bar on, with orders that wait; orders it again later."""

    size: float = 500.0

    def on_start(self):
        self.seen, self.fills, self.ended = [], [], []

    def on_bar(self, bar):
        if bar.symbol != "A":
            return
        count = len(self.bars("A"))
        if count == 2:
            (self.buy if self.size > 0 else self.sell)("B", abs(self.size))
        if count == 4:
            self.sell("B", 100, limit=150.0)
            self.buy("B", 100, limit=1.0, stop_loss=0.5)
        if count == 8:
            assert self.close("B") is None
            assert self.order_target_percent("B", 0.0) is None
            for late in (self.buy("B", 1), self.order_target_percent("B", 0.5)):
                assert (str(late.status), late.reason) == ("rejected", f"{GONE}; it can't be traded any more")
        self.seen.append((bar.time, self.position("B").size, self.equity))

    def on_fill(self, fill):
        self.fills.append(fill)

    def on_order(self, order):
        self.ended.append((order.id, str(order.type), str(order.status)))


@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize(("size", "cash"), [(500.0, 95_000.0), (-500.0, 105_000.0)])
def test_what_is_held_is_closed_at_the_value(size, cash, adjusted):
    """With the date's first instant, the symbol's bars being over: a fill at the value, paid to longs and by shorts."""
    strategy = Holds(size=size)
    result = nb.backtest({"A": still(15), "B": still(5)}, strategy, config=delist("2024-10-08", adjusted=adjusted))
    fill = result.fills.iloc[-1]
    assert (fill["price"], fill["commission"], fill["tag"], fill["time"]) == (
        90,
        0,
        "delisting",
        pd.Timestamp("2024-10-08"),
    )
    (trade,) = result.trades.itertuples()
    assert (trade.size, trade.exit_price, trade.exit_time) == (size, 90, pd.Timestamp("2024-10-08"))
    assert trade.pnl == cash - 100_000 == result.stats["final_equity"] - 100_000
    assert result.equity.tolist() == [100_000.0] * 5 + [cash] * 10
    assert result.metrics["portfolio"] == {"cash": cash, "equity": cash, "positions": {}}
    orders = result.orders.set_index("id")
    assert orders["status"].tolist()[:5] == ["filled", "cancelled", "cancelled", "cancelled", "filled"]
    assert orders["type"].tolist()[4] == "delisting"
    assert orders["reason"].tolist()[1:3] == [GONE, GONE]
    assert orders["reason"].tolist()[4] == GONE
    assert (strategy.fills[-1].price, str(strategy.fills[-1].phase)) == (90, "close")
    assert strategy.ended[-1] == (5, "delisting", "filled")
    assert {(when, held) for when, held, _ in strategy.seen} >= {(DATES[4], size), (DATES[5], 0.0)}
    assert result.log["message"].tolist() == [f"{GONE}: {size:g} units, {size * 90:+.2f} in cash"]
    told = result.explain("2024-10-08")
    assert told.orders.set_index("id")["why"][5] == f"500 at 90: {GONE}; no order of a strategy"
    assert told.positions["B"] == (size, 0)


def test_worth_nothing():
    """A bankruptcy pays 0: all that was paid is lost, and a short keeps all its proceeds."""
    result = nb.backtest({"A": still(15), "B": still(5)}, BuyB(), config=delist("2024-10-08", 0))
    assert result.stats["final_equity"] == 50_000
    assert result.trades[["exit_price", "return"]].iloc[0].tolist() == [0, -1]
    short = nb.backtest({"A": still(15), "B": still(5)}, BuyB(size=-500.0), config=delist("2024-10-08", 0))
    assert short.stats["final_equity"] == 150_000


class BuyB(nb.Strategy):
    """Buys B after the second bar, and no more."""

    size: float = 500.0
    sells_at: int = 0

    def on_bar(self, bar):
        if bar.symbol == "B" and len(self.bars("B")) == 2:
            (self.buy if self.size > 0 else self.sell)("B", abs(self.size))
        if bar.symbol == "B" and len(self.bars("B")) == self.sells_at:
            self.sell("B", 200)


def test_the_last_bar_of_the_date_still_trades():
    """Where the symbol has a bar on the date, that bar fills orders first; what is left is closed at the same instant."""
    result = nb.backtest({"A": still(15), "B": still(5)}, BuyB(sells_at=4), config=delist("2024-10-07"))
    assert result.fills[["time", "size", "price"]].to_numpy().tolist()[1:] == [
        [pd.Timestamp("2024-10-07"), 200.0, 100.0],
        [pd.Timestamp("2024-10-07"), 300.0, 90.0],
    ]
    assert result.equity.iloc[4] == 97_000


def test_minutes_trade_to_the_last_of_the_date():
    """Of intraday bars it is the date's last bar of the symbol, while others go on."""
    a = minutes(30, start="2024-10-03 09:30")
    b = a.iloc[:20]
    result = nb.backtest({"A": a, "B": b}, BuyB(), config=delist("2024-10-03"))
    assert result.trades["exit_time"].iloc[0] == b.index[-1]
    later = nb.backtest(
        {"A": pd.concat([a, minutes(30, start="2024-10-04 09:30")]), "B": b}, BuyB(), config=delist("2024-10-04")
    )
    assert later.trades["exit_time"].iloc[0] == pd.Timestamp("2024-10-04 09:30", tz="America/New_York")
    assert position_curve(later.record, "B")[29:31].tolist() == [500, 0]


def test_a_date_without_a_session_is_the_next_one():
    """A Saturday's delisting comes with Monday's first instant, or with Monday's last bar of the symbol."""
    saturday = nb.backtest({"A": still(15), "B": still(4)}, BuyB(), config=delist("2024-10-05"))
    assert saturday.trades["exit_time"].iloc[0] == pd.Timestamp("2024-10-07")


@pytest.mark.parametrize(("date", "exits"), [("2024-09-30", 0), ("2024-12-01", 0), ("2024-10-21", 1)])
def test_dates_outside_of_the_run(date, exits):
    """Before the symbol's first bar it was another company's, after the last instant it is still to come: both change nothing."""
    result = nb.backtest({"A": still(15), "B": still(5)}, BuyB(), config=delist(date))
    assert int(result.trades["exit_time"].notna().sum()) == exits


def test_the_only_symbol():
    """It ends with its own last bar; without a symbol the row is the run's only one's."""

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 2:
                self.buy(size=10)

    result = nb.backtest(still(5), Once, config=delist("2024-10-07", 42, symbol=None))
    assert result.trades["exit_price"].tolist() == [42]
    assert result.metrics["portfolio"]["positions"] == {}


def test_margin_is_called_by_what_a_delisting_leaves():
    """On margin, equity after the delisting decides: other positions are called at that very instant."""

    class Both(nb.Strategy):
        def on_bar(self, bar):
            if bar.symbol == "A" and len(self.bars("A")) == 2:
                self.buy("A", 900)
                self.buy("B", 900)

    config = delist("2024-10-08", 0, broker={"account": "margin"})
    result = nb.backtest({"A": still(15), "B": still(5)}, Both, config=config)
    assert result.orders["tag"].fillna("").tolist() == ["", "", "delisting", "margin call"]
    assert result.fills["time"].tolist()[2:] == [pd.Timestamp("2024-10-08"), pd.Timestamp("2024-10-09")]
    assert result.stats["final_equity"] == 10_000


@pytest.mark.parametrize("when", [3, 6, 10])
def test_a_delisted_symbol_can_be_removed(when):
    """Before its delisting it leaves with it, afterwards at once."""
    gone = []

    class Removes(nb.Strategy):
        def on_bar(self, bar):
            if bar.symbol != "A":
                return
            if len(self.bars("A")) == 2:
                self.buy("B", 500)
            if len(self.bars("A")) == when:
                self.remove_symbol("B", positions="close")

        def on_symbol_removed(self, symbol):
            gone.append((symbol, self.now))

    result = nb.backtest({"A": still(15), "B": still(5)}, Removes, config=delist("2024-10-09"))
    assert [symbol for symbol, _ in gone] == ["B"]
    assert not result.metrics["portfolio"]["positions"]
    assert result.trades["exit_price"].iloc[0] == (100 if when == 3 else 90)


def test_without_an_action_the_last_close_counts_on():
    """As before: the position stays at its last close, and an order says what would tell the end."""

    class Late(BuyB):
        def on_bar(self, bar):
            super().on_bar(bar)
            if len(self.bars("A")) == 8:
                self.close("B")

    result = nb.backtest({"A": still(15), "B": still(5)}, Late)
    assert result.metrics["portfolio"]["positions"] == {"B": 500}
    assert "a delist in data.actions says what its holders got" in result.orders["reason"].iloc[-1]


# -- the law ----------------------------------------------------------------------------------------------------


class Wanders(nb.Strategy):
    """Buys and sells both symbols at random."""

    seed: int = 0

    def on_start(self):
        self.rng = np.random.default_rng(self.seed)

    def on_bar(self, bar):
        side = self.buy if self.rng.random() < 0.5 else self.sell
        kind = self.rng.integers(0, 4)
        terms = [{}, {"limit": float(bar.close)}, {"trail": "1%"}, {"stop_loss": 1.0} if side == self.buy else {}][kind]
        side(bar.symbol, float(self.rng.integers(1, 50)), **terms)


@settings(max_examples=100)
@given(
    st.integers(0, 10**6), st.integers(1, 15), st.integers(-2, 17), st.sampled_from([0.0, 42.5, 300.0]),
    st.fixed_dictionaries({}, optional={
        "account": st.just("margin"), "volume_share": st.just(0.5), "fill": st.sampled_from(["next_close", "this_close"]),
    }),
    st.booleans(),
)  # fmt: skip
def test_cash_and_positions_are_the_equity_through_a_delisting(seed, count, day, value, broker, has_split):
    """With several strategies, orders of all kinds, a split before and any date: nothing is held, open or ordered after it."""
    rng = np.random.default_rng(seed)
    frames = {}
    for symbol, rows in (("A", 15), ("B", count)):
        close = 100 + np.cumsum(rng.normal(0, 1, rows))
        frames[symbol] = pd.DataFrame(
            {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 100.0}, DATES[:rows]
        )
    date = DATES[0] + pd.offsets.BDay(day)
    actions = [{"symbol": "B", "date": date.date(), "kind": "delist", "value": value}]
    if has_split and count > 2:
        frames["B"].iloc[2:, :4] /= 2
        actions.append({"symbol": "B", "date": DATES[2].date(), "kind": "split", "value": 2})
    config = {"broker": broker, "data": {"adjusted": False, "actions": actions}}
    result = nb.backtest(frames, [Wanders(seed=seed), Wanders(seed=seed + 1)], config=config)
    record = result.record
    worth = sum(np.nan_to_num(position_curve(record, s) * marks(record, s)) for s in "AB")
    np.testing.assert_allclose(equity_curve(record), cash_curve(record) + worth)
    left = result.equity.iloc[-1] - 100_000
    assert result.trades["pnl"].sum() == pytest.approx(left, abs=1e-6)
    assert sum(result.metrics["portfolio"]["positions"].values()) == pytest.approx(
        sum(position_curve(record, s)[-1] for s in "AB")
    )
    at = int(np.searchsorted(DATES, date))
    if day >= 0 and at < 15:
        assert not position_curve(record, "B")[at:].any()
        assert not [order for order in record.orders if order.symbol == "B" and order.is_open]
        late = [one for one in record.orders if one.symbol == "B" and one.submitted > date and one.parent is None]
        assert {str(order.status) for order in late} <= {"rejected"}


# -- where it is written ------------------------------------------------------------------------------------------


def test_files_and_config(tmp_path):
    """A CSV and a JSON config give the same run; a file of splits too is refused where prices are adjusted."""
    frames = {"A": still(15), "B": still(5)}
    by_rows = nb.backtest(frames, BuyB(), config=delist("2024-10-08"))
    file = tmp_path / "actions.csv"
    file.write_text("symbol,date,kind,value\nB,2024-10-08,delist,90\nC,2024-01-02,split,2\n")
    by_file = nb.backtest(frames, BuyB(), config={"data": {"actions": str(file)}})
    path = tmp_path / "run.json"
    path.write_text(json.dumps(delist("2024-10-08")))
    by_config = nb.backtest(frames, BuyB(), config=str(path))
    assert by_rows.fingerprint == by_file.fingerprint == by_config.fingerprint
    file.write_text("symbol,date,kind,value\nB,2024-10-08,delist,90\nB,2024-10-02,split,2\n")
    with pytest.raises(
        ConfigError, match="line 3: adjusted prices have splits and dividends in them.*a delisting may stay"
    ):
        nb.backtest(frames, BuyB(), config={"data": {"actions": str(file)}})


@pytest.mark.parametrize("stream", [True, False])
def test_streamed_bars(tmp_path, stream):
    """Bars that come in chunks, and those in memory, end alike."""
    pytest.importorskip("pyarrow")
    a = pd.concat([minutes(60, start=f"2024-10-{day:02} 09:30") for day in (3, 4, 7)])
    b = a.loc[:"2024-10-03"]
    for symbol, frame in (("A", a), ("B", b)):
        frame.rename_axis("time").reset_index().to_parquet(tmp_path / f"{symbol}.parquet", row_group_size=20)
    config = {"exchange": "XNYS"} | delist("2024-10-04")
    config["data"] |= {
        "source": "parquet", "path": str(tmp_path / "{symbol}.parquet"), "symbols": ["A", "B"], "interval": "1m",
        "stamp": "open", "stream": stream, "quality": {"minimum": 0.0},
    }  # fmt: skip
    result = nb.backtest(None, BuyB(), config=config)
    assert result.trades["exit_time"].tolist() == [pd.Timestamp("2024-10-04 09:30", tz="America/New_York")]
    assert result.trades["exit_price"].tolist() == [90]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("B", "2024-10-08", -1)], "value"),
        ([("B", "2024-10-08", float("nan"))], "value"),
        ([("B", "2024-10-08", 1), ("B", "2024-10-09", 2)], "row 1 is a second delisting of B; keep one of them"),
        ([(None, "2024-10-08", 1)], "names no symbol, and 2 are run"),
        ([("X", "2024-10-08", 1)], "'X'"),
    ],
)
def test_rows_that_make_no_sense(rows, says):
    """A value below 0, a second delisting, and no symbol where there are several, are refused."""
    actions = [{"symbol": symbol, "date": date, "kind": "delist", "value": value} for symbol, date, value in rows]
    with pytest.raises((ConfigError, DataError), match=says):
        nb.backtest({"A": still(15), "B": still(5)}, BuyB(), config={"data": {"actions": actions}})


def test_a_split_of_0_is_refused_still():
    """Only what a delisting pays may be nothing."""
    row = {"date": dt.date(2024, 10, 8), "kind": "split", "value": 0}
    with pytest.raises(ConfigError, match="a split is above 0"):
        SessionConfig.load({"data": {"adjusted": False, "actions": [row]}})


def test_a_saved_result_keeps_it(tmp_path):
    """Trades, orders and explanation come back from the file."""
    result = nb.backtest({"A": still(15), "B": still(5)}, BuyB(), config=delist("2024-10-08"))
    loaded = nb.Result.load(result.save(tmp_path / "run"))
    assert loaded.fingerprint == result.fingerprint
    assert loaded.trades.equals(result.trades)
    assert str(loaded.explain("2024-10-08")) == str(result.explain("2024-10-08"))


@pytest.mark.parametrize("size", [500.0, -500.0])
def test_a_symbol_without_bars_leaves_at_its_last_close(size):
    """Removed with positions="close" it is closed at once, where no delisting is to come; strategies are told."""
    told = []

    class Removes(BuyB):
        def on_bar(self, bar):
            super().on_bar(bar)
            if bar.symbol == "A" and len(self.bars("A")) == 10:
                self.remove_symbol("B", positions="close")

        def on_fill(self, fill):
            told.append((fill.time, fill.size, fill.price, fill.tag))

        def on_symbol_removed(self, symbol):
            told.append((symbol, self.position(symbol).size))

    result = nb.backtest({"A": still(15), "B": still(5)}, Removes(size=size))
    assert told[1:] == [(DATES[9], 500, 100, "delisting"), ("B", 0)]
    assert result.metrics["portfolio"] == {"cash": 100_000, "equity": 100_000, "positions": {}}
    assert result.trades["exit_price"].tolist() == [100]
    assert "it is closed at its last close" in result.orders["reason"].iloc[-1]
