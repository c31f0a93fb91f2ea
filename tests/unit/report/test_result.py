"""What a user gets from a finished run."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.core.records import Stamps
from nbbacktest.report.result import Result
from nbbacktest.trading.orders import Order
from tests.records import bars, daily_bars, minutes, run

FILLS = ["time", "symbol", "side", "size", "price", "commission", "order_id", "tag"]
TRADES = [
    "symbol", "size", "entry_time", "exit_time", "entry_price", "exit_price", "pnl", "return", "commission", "tag",
]  # fmt: skip


@pytest.fixture
def result():
    """Four minutes of A: bought at 10, sold at 12, bought again at 11."""
    record = run(
        [bars("A", minutes(4), [10, 12, 11, 13])],
        [(0, "A", 10, 10.0), (1, "A", -10, 12.0), (2, "A", 5, 11.0)],
        cash=1_000.0,
        commission=0.01,
        metrics={"error": None, "performance_metrics": {"bars_processed": 4}},
        config={"data": {"symbols": ["A"]}},
        log=((int(minutes(4)[1]), "Hand", "hello"),),
    )
    return Result(record)


@pytest.fixture
def empty():
    """A run that completed no instant."""
    return Result(run([]))


def test_equity_has_one_value_an_instant_by_closing_time(result):
    """Minute bars are worth what they are when they close, in the exchange's time."""
    assert result.equity.tolist() == pytest.approx([999, 1017.8, 1017.25, 1027.25])
    assert str(result.equity.index[0]) == "2024-10-03 09:31:00-04:00"
    assert str(result.equity.index.tz) == "America/New_York"


def test_daily_equity_is_labelled_as_the_bars_are():
    """A session's equity stands at its naive date, as its bar does."""
    equity = Result(run([daily_bars("A", [1, 2])])).equity
    assert equity.index.tz is None
    assert [str(t) for t in equity.index] == ["2024-01-02 00:00:00", "2024-01-03 00:00:00"]


def test_daily_bars_with_a_zone_keep_it():
    """Where the source's dates bore a zone, equity's do too."""
    zoned = run([daily_bars("A", [1, 2])], stamps=Stamps("America/New_York"))
    assert str(Result(zoned).equity.index[0]) == "2024-01-02 00:00:00-05:00"


def test_fills_show_the_stamp_of_their_bar(result):
    """The contract's columns come first, in order; the time is where the bar opened."""
    fills = result.fills
    assert list(fills)[: len(FILLS)] == FILLS
    assert [str(t) for t in fills["time"].dt.time] == ["09:30:00", "09:31:00", "09:32:00"]
    assert fills["side"].tolist() == ["buy", "sell", "buy"]
    assert (fills["size"] > 0).all()
    assert fills["tag"].isna().all()


def test_trades_have_the_contracts_columns_and_open_ones_no_exit(result):
    """The second trade is open: no time and no price of exit."""
    trades = result.trades
    assert list(trades)[: len(TRADES)] == TRADES
    assert trades["exit_time"].isna().tolist() == [False, True]
    assert trades["exit_price"].isna().tolist() == [False, True]
    assert trades["pnl"].sum() == pytest.approx(result.equity.iloc[-1] - 1_000)


def test_orders_show_status_and_reason():
    """An order that was rejected says why; an open one has no end, one for all the cash no size."""
    record = run([bars("A", minutes(2), [1, 1])])
    rejected = Order(1, "S", "A", Side.BUY, 5.0, OrderType.LIMIT, limit=3.0, submitted_ns=int(record.instants[0]))
    rejected.status, rejected.reason, rejected.closed_ns = OrderStatus.REJECTED, "too dear", int(record.instants[1])
    waiting = Order(2, "S", "A", Side.SELL, None, OrderType.MARKET, submitted_ns=int(record.instants[0]))
    orders = Result(run(list(record.bars.values()), orders=(rejected, waiting))).orders
    assert orders["status"].tolist() == ["rejected", "open"]
    assert orders["reason"].tolist()[0] == "too dear"
    assert orders["reason"].isna().tolist() == [False, True]
    assert orders["closed"].isna().tolist() == [False, True]
    assert orders["size"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["fills", "trades", "orders", "log"])
def test_empty_frames_keep_columns_and_types(result, empty, name):
    """Code written for a run with rows works on one without."""
    full, none = getattr(result, name), getattr(empty, name)
    assert len(none) == 0
    assert list(none) == list(full)
    assert none.dtypes.tolist() == full.dtypes.tolist()


def test_empty_equity_is_an_empty_series_of_floats(empty):
    """No instant, no value, the same types."""
    assert len(empty.equity) == 0
    assert empty.equity.dtype == np.float64
    assert isinstance(empty.equity.index, pd.DatetimeIndex)


def test_what_a_user_changes_is_a_copy(result):
    """Writing into a frame, a series or a mapping leaves the result as it was."""
    before = (result.fingerprint, dict(result.stats), result.trades.to_dict())
    equity, fills, trades = result.equity, result.fills, result.trades
    equity.iloc[:] = fills.loc[:, "price"] = trades.loc[:, "pnl"] = 0.0
    result.metrics["performance_metrics"]["bars_processed"] = -1
    result.config["data"]["symbols"].append("B")
    assert result.equity.iloc[0] == pytest.approx(999)
    assert result.metrics["performance_metrics"]["bars_processed"] == 4
    assert result.config == {"data": {"symbols": ["A"]}}
    assert result.fills["price"].tolist() == [10, 12, 11]
    again = (result.fingerprint, dict(result.stats), result.trades.to_dict())
    assert str(before) == str(again)


def test_a_result_cant_be_changed(result):
    """Neither setting nor deleting an attribute, nor writing a statistic or the raw equity."""
    with pytest.raises(AttributeError, match="can't be changed"):
        result.stats = {}
    with pytest.raises(AttributeError, match="can't be changed"):
        del result.record
    with pytest.raises(TypeError):
        result.stats["sharpe"] = 9.0
    with pytest.raises(ValueError, match="read-only"):
        result.equity_values[0] = 1.0


def test_stats_are_a_mapping_that_prints_as_a_table(result):
    """Units are written; the values stay fractions."""
    assert result.stats["return"] == pytest.approx(0.02725)
    assert "  Return                                 2.72%" in repr(result.stats).splitlines()
    assert "<table" in result.stats._repr_html_()


def test_repr_is_short_and_says_what_counts(result):
    """Strategy, source, period, equity, trades."""
    text = repr(result)
    assert text.startswith("Result 'By hand': Hand()")
    assert "A from a test" in text
    assert "2024-10-03 09:30 EDT to 2024-10-03 09:34 EDT, 4 bars" in text
    assert "1,000.00 -> 1,027.25" in text
    assert len(text.splitlines()) == 5
    assert "no bars" in repr(Result(run([])))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("synthetic, seed 7", "synthetic data, seed 7"),
        ("a random walk", "synthetic data (a random walk)"),
        ("Synthetic data of mine", "Synthetic data of mine"),
    ],
)
def test_invented_bars_are_called_so_everywhere(source, said):
    """Text, page and figure all say that the data is synthetic."""
    result = Result(run([bars("A", minutes(2), [1, 1])], source=source, synthetic=True))
    assert said in repr(result)
    assert said in result._repr_html_()
    assert said in result.plot().layout.title.subtitle.text


def test_html_escapes_what_users_wrote(result):
    """A session's name can't put markup into the notebook."""
    page = Result(run([bars("A", minutes(2), [1, 1])], name="<script>x</script>"))._repr_html_()
    assert "<script>" not in page
    assert "<svg" in page
    assert "<svg" not in Result(run([]))._repr_html_()


def test_json_is_strict_and_complete(result):
    """NaN is null, times are ISO 8601 with offset, spans are seconds."""
    document = json.loads(result.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["fingerprint"] == result.fingerprint
    assert document["stats"]["sharpe"] is None
    assert document["stats"]["start"] == "2024-10-03T09:30:00-04:00"
    assert document["stats"]["max_drawdown_duration"] == 120.0
    assert document["trades"][1]["exit_time"] is None
    assert document["fills"][0]["tag"] is None
    assert document["daily_equity"] == [["2024-10-03", pytest.approx(1027.25)]]
    assert document["log"][0]["message"] == "hello"
    assert document["metrics"] == result.metrics


def test_json_of_an_empty_run(empty):
    """No instant is no error."""
    document = json.loads(empty.to_json())
    assert document["stats"]["start"] is None
    assert document["daily_equity"] == []


def test_json_of_daily_bars_has_dates():
    """A session's date has no hour."""
    assert json.loads(Result(run([daily_bars("A", [1, 2])])).to_json())["stats"]["start"] == "2024-01-02"


def test_json_takes_any_value_that_a_config_may_hold():
    """Numbers of numpy, unpaired surrogates and foreign objects become what JSON has for them."""
    config = {"a": np.int64(3), "b": float("nan"), "c": "\ud800", "d": object, "e": pd.Timestamp("2024-01-02 10:00")}
    kept = json.loads(Result(run([], config=config)).to_json())["config"]
    assert (kept["a"], kept["b"], kept["c"], kept["e"]) == (3, None, "?", "2024-01-02T10:00:00")
    assert "object" in kept["d"]


def test_a_result_survives_pickling(result):
    """It can come back from another process, as sweeps need."""
    assert pickle.loads(pickle.dumps(result)).fingerprint == result.fingerprint
