"""Round trips from fills."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.enums import Side
from nbbacktest.trading.equity import equity_curve
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.trades import _by_turns, _first_in_first_out, round_trips
from tests.records import bars, minutes, run, traded_runs


def trips(*fills, closes=(10, 11, 12, 13, 14, 15), commission=0.0):
    """The round trips of fills ``(index, size, price)`` of one symbol."""
    record = run(
        [bars("A", minutes(len(closes)), closes)], [(i, "A", s, p) for i, s, p in fills], commission=commission
    )
    return round_trips(record)


def test_a_round_trip_is_one_trade_net_of_both_commissions():
    """Bought 10 at 100, sold at 110, 1% each way: 100 less 10 less 11."""
    (trade,) = trips((1, 10, 100.0), (3, -10, 110.0), commission=0.01)
    assert (trade.size, trade.entry_price, trade.exit_price) == (10, 100, 110)
    assert trade.commission == pytest.approx(21)
    assert trade.pnl == pytest.approx(79)
    assert trade.return_ == pytest.approx(0.079)
    assert not trade.is_open


def test_times_are_the_stamps_of_the_bars():
    """Entry and exit carry the stamps of the bars that filled them."""
    (trade,) = trips((1, 1, 10.0), (4, -1, 10.0))
    time = minutes(6)
    assert (trade.entry_ns, trade.exit_ns) == (time[1], time[4])


def test_a_short_has_a_negative_size_and_earns_on_a_fall():
    """Sold at 20, bought back at 15: 5 a unit, of a notional of 20."""
    (trade,) = trips((0, -4, 20.0), (1, 4, 15.0))
    assert (trade.size, trade.pnl, trade.return_) == (-4, 20, 0.25)


def test_a_partial_exit_splits_the_trade_and_the_commission():
    """A sale of 4 of 10 units is a trade of 4, with two fifths of the entry's commission."""
    first, second = trips((0, 10, 100.0), (1, -4, 100.0), (2, -6, 100.0), commission=0.01)
    assert (first.size, second.size) == (4, 6)
    assert first.commission == pytest.approx(8)
    assert second.commission == pytest.approx(12)


def test_the_oldest_units_leave_first():
    """Of two purchases the first is sold first, and one sale of both gives two trades."""
    first, second = trips((0, 5, 10.0), (1, 5, 20.0), (2, -10, 30.0))
    assert [first.entry_price, second.entry_price] == [10, 20]
    assert [first.pnl, second.pnl] == [100, 50]


def test_a_reversal_closes_one_trade_and_opens_another():
    """Selling 15 while long 10 ends the long of 10 and starts a short of 5, each with its share of the commission."""
    closed, opened = trips((0, 10, 10.0), (1, -15, 12.0), commission=0.1)
    assert (closed.size, closed.exit_price) == (10, 12)
    assert (opened.size, opened.entry_price, opened.is_open) == (-5, 12, True)
    assert closed.commission == pytest.approx(10 + 12)
    assert opened.commission == pytest.approx(6)


def test_an_open_trade_has_no_exit_and_is_valued_at_the_last_close():
    """Bought at 10 with the last close at 15: 5 a unit so far, less the entry's commission."""
    (trade,) = trips((0, 2, 10.0), commission=0.01)
    assert trade.is_open
    assert trade.exit_time is None
    assert math.isnan(trade.exit_price)
    assert trade.pnl == pytest.approx(10 - 0.2)


def test_sizes_that_cancel_up_to_rounding_are_closed():
    """0.1 and 0.2 bought, 0.3 sold: nothing stays open."""
    trades = trips((0, 0.1, 10.0), (1, 0.2, 10.0), (2, -0.3, 11.0), commission=0.01)
    assert [t.is_open for t in trades] == [False, False]
    assert sum(t.commission for t in trades) == pytest.approx(0.01 * (0.3 * 10 + 0.3 * 11))


def test_strategies_keep_their_own_trades():
    """One strategy's sale doesn't close another's purchase."""
    columns = bars("A", minutes(3), [10, 10, 10])
    time = int(columns.time[0])
    fills = (
        Fill(0, time, "A", Side.BUY, 1, 10.0, 0.0, 1, "mine", "One"),
        Fill(1, time, "A", Side.SELL, 1, 10.0, 0.0, 2, None, "Two"),
    )
    trades = round_trips(run([columns], fills=fills))
    assert [(t.strategy, t.size, t.is_open, t.tag) for t in trades] == [
        ("One", 1, True, "mine"),
        ("Two", -1, True, None),
    ]


def test_a_free_entry_has_no_return():
    """A return needs a notional."""
    (trade,) = trips((0, 1, 0.0), (1, -1, 5.0))
    assert trade.pnl == 5
    assert math.isnan(trade.return_)


def test_an_entry_before_any_close_is_worth_its_price():
    """A run that broke off within its first instant values the position at its cost."""
    record = run([bars("A", minutes(1), [10])], [(0, "A", 2, 9.0)])
    empty = run([bars("A", minutes(0), [])], fills=record.fills)
    (trade,) = round_trips(empty)
    assert trade.pnl == 0


def test_trades_are_a_sequence_of_records():
    """By number from either end, by slice, in turn, and in reverse: the same trades."""
    found = trips((0, 5, 10.0), (1, -5, 11.0), (2, -3, 12.0), (3, 3, 11.0), (4, 2, 12.0))
    listed = list(found)
    assert [trade.is_open for trade in listed] == [False, False, True]
    assert [repr(found[n]) for n in (0, -1)] == [repr(listed[n]) for n in (0, -1)]
    assert [repr(trade) for trade in found[1:]] == [repr(trade) for trade in listed[1:]]
    assert [trade.size for trade in reversed(found)] == [2, -3, 5]
    assert [trade.size for trade in found.closed] == [5, -3]
    assert found.pnl.tolist() == [trade.pnl for trade in listed]
    with pytest.raises(IndexError):
        found[3]


@st.composite
def runs_by_turns(draw):
    """Up to two strategies and two symbols, each position closed whole before the next one; some are open at the end."""
    symbols, owners = "AB"[: draw(st.integers(1, 2))], ["One", "Two"][: draw(st.integers(1, 2))]
    held, fills = {}, []
    for number in range(draw(st.integers(0, 12))):
        owner, symbol = draw(st.sampled_from(owners)), draw(st.sampled_from(symbols))
        size = -held.pop((owner, symbol), 0.0)
        if not size:
            size = held[owner, symbol] = draw(st.sampled_from([0.1, 3.0, -2.5, -0.7]))
        side, price = Side.BUY if size > 0 else Side.SELL, draw(st.floats(0, 100))
        fee = draw(st.floats(0, 3))
        fills.append(Fill(number, int(minutes(12)[number]), symbol, side, abs(size), price, fee, number, None, owner))
    return run([bars(symbol, minutes(12), [10.0] * 12) for symbol in symbols], fills=tuple(fills))


@given(runs_by_turns())
def test_the_short_way_for_positions_by_turns_finds_what_first_in_first_out_finds(record):
    """Bit by bit, in the same order, whoever holds what."""
    short = _by_turns(record.executions)
    assert short is not None
    for found, expected in zip(short, _first_in_first_out(record.fills, record.splits), strict=True):
        assert found.tolist() == expected.tolist()


def test_no_fill_no_trade():
    """A run that never traded has no round trip."""
    assert list(trips()) == []


@given(traded_runs())
def test_all_trades_together_explain_the_change_of_equity(record):
    """Closed profits and the open ones at the last close are what the account gained; commissions add up too."""
    trades = round_trips(record)
    gained = equity_curve(record)[-1] - record.cash
    assert sum(t.pnl for t in trades) == pytest.approx(gained, rel=1e-9, abs=1e-6)
    assert sum(t.commission for t in trades) == pytest.approx(sum(f.commission for f in record.fills))
