"""Equity at every instant, from fills and closes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import Stamps
from nbbacktest.trading.equity import cash_curve, day_ends, equity_curve, invested, local_days, marks, position_curve
from nbbacktest.trading.portfolio import Tally, add_sizes
from tests.records import bars, daily_bars, minute_sessions, minutes, run, traded_runs


def test_equity_is_cash_plus_position_at_the_newest_close():
    """A buy at 10 of 100 units is worth the move of every later close."""
    record = run([bars("A", minutes(4), [10, 11, 12, 9])], [(1, "A", 100, 10.0)], cash=2_000)
    assert equity_curve(record).tolist() == [2_000, 2_100, 2_200, 1_900]
    assert cash_curve(record).tolist() == [2_000, 1_000, 1_000, 1_000]


def test_commission_leaves_the_cash_at_the_fill():
    """1% of a notional of 1,000 is gone from the instant of the fill on."""
    record = run([bars("A", minutes(2), [10, 10])], [(1, "A", 100, 10.0)], commission=0.01)
    assert equity_curve(record).tolist() == [10_000, 9_990]


def test_a_short_earns_when_prices_fall():
    """Selling 10 at 50 and closing at 40 has earned 100."""
    record = run([bars("A", minutes(2), [50, 40])], [(0, "A", -10, 50.0)])
    assert equity_curve(record).tolist() == [10_000, 10_100]


def test_several_fills_at_one_instant_all_count():
    """The instant's end shows the last of them."""
    record = run([bars("A", minutes(2), [10, 10])], [(0, "A", 5, 10.0), (0, "A", -3, 10.0), (0, "A", 1, 10.0)])
    assert position_curve(record, "A").tolist() == [3, 3]


def test_an_instant_without_a_bar_uses_the_last_close():
    """B has no bar in the middle minute, and stays valued at the bar before."""
    time = minutes(3)
    record = run([bars("A", time, [1, 1, 1]), bars("B", time[[0, 2]], [20, 30])], [(0, "B", 10, 20.0)])
    assert marks(record, "B").tolist() == [20, 20, 30]
    assert equity_curve(record).tolist() == [10_000, 10_000, 10_100]


def test_there_is_no_mark_before_the_first_bar():
    """What hasn't traded yet has no price, and costs no equity."""
    time = minutes(3)
    record = run([bars("A", time, [1, 1, 1]), bars("B", time[1:], [20, 30])], [(2, "B", 1, 30.0)])
    assert math.isnan(marks(record, "B")[0])
    assert equity_curve(record).tolist() == [10_000] * 3


def test_a_symbol_without_a_bar_has_no_mark():
    """It was asked for, and the days hold nothing of it."""
    record = run([bars("A", minutes(2), [1, 1]), bars("B", minutes(0), [])])
    assert np.isnan(marks(record, "B")).all()


def test_warmup_bars_give_marks_and_no_instants():
    """Two warm-up bars are seen, so a symbol that hasn't traded since is valued at the second."""
    time = minutes(5)
    a, b = bars("A", time, [1] * 5), bars("B", time[[0, 1, 4]], [7, 8, 9])
    record = run([a, b], first={"A": 2, "B": 2})
    assert len(record.instants) == 3
    assert marks(record, "B").tolist() == [8, 8, 9]
    assert marks(record, "A").tolist() == [1, 1, 1]


def test_rounding_residue_is_flat():
    """0.1 + 0.2 - 0.3 holds nothing, and doesn't count as invested."""
    record = run([bars("A", minutes(4), [10] * 4)], [(0, "A", 0.1, 10.0), (1, "A", 0.2, 10.0), (2, "A", -0.3, 10.0)])
    assert position_curve(record, "A").tolist()[2:] == [0.0, 0.0]
    assert invested(record).tolist() == [True, True, False, False]
    assert add_sizes(0.0, 1e-12) == (1e-12, 0.0)


def test_a_fill_of_an_instant_that_broke_off_changes_no_completed_one():
    """A run that failed in the middle of an instant keeps the equity that it had before."""
    record = run([bars("A", minutes(3), [10, 10, 20])], [(2, "A", 5, 10.0)])
    short = run([bars("A", minutes(2), [10, 10])], fills=record.fills)
    assert equity_curve(short).tolist() == [10_000, 10_000]


def test_no_instant_gives_empty_curves():
    """A run without a bar has curves without a value."""
    record = run([])
    assert len(equity_curve(record)) == len(invested(record)) == len(local_days(record)) == 0
    assert len(day_ends(local_days(record))) == 0


def test_days_are_local():
    """Sessions are parted by the exchange's midnight, not by UTC's, and a close at midnight belongs to its own day."""
    evening = run([bars("A", minutes(3, "2024-10-03", "19:59"), [1, 1, 1])])
    assert len(set(local_days(evening))) == 1
    midnight = run([bars("A", minutes(2, "2024-10-03", "23:59"), [1, 1])])
    days = local_days(midnight)
    assert pd.Timestamp(int(days[0]) * DAY).date().isoformat() == "2024-10-03"
    assert days[1] == days[0] + 1


def test_day_ends_are_the_last_instants_of_each_date():
    """Two sessions of three minutes end at positions 2 and 5."""
    record = run([bars("A", minute_sessions(["2024-10-03", "2024-10-04"], 3), [1] * 6)])
    assert day_ends(local_days(record)).tolist() == [2, 5]


def test_a_daily_session_belongs_to_its_date():
    """A bar stamped with a date and closing at 16:00 counts for that date."""
    record = run([daily_bars("A", [1, 2, 3], "2024-01-02")])
    dates = [str(np.datetime64(int(d), "D")) for d in local_days(record)]
    assert dates == ["2024-01-02", "2024-01-03", "2024-01-04"]


def test_a_day_that_never_closes_is_the_calendar_day():
    """A 24/7 daily bar ends at the next midnight, and counts for the day before it."""
    time = pd.date_range("2024-03-01", periods=3, tz="UTC").as_unit("ns").asi8
    record = run([bars("A", time, [1, 2, 3], "1d")], stamps=Stamps("UTC", dates=True))
    assert [str(np.datetime64(int(d), "D")) for d in local_days(record)] == ["2024-03-01", "2024-03-02", "2024-03-03"]


@given(traded_runs())
def test_equity_equals_a_bar_by_bar_account(record):
    """The vectorised curve is what an account kept instant by instant shows."""
    cash, held, expected = record.cash, dict.fromkeys(record.bars, 0.0), []
    for i, instant in enumerate(record.instants):
        for fill in record.fills:
            if fill.index == i:
                cash -= fill.signed_size * fill.price + fill.commission
                held[fill.symbol] += fill.signed_size
        last = {s: c.close[np.searchsorted(c.end, instant, side="right") - 1] for s, c in record.bars.items()}
        expected.append(cash + sum(held[s] * last[s] for s in held if held[s]))
    np.testing.assert_allclose(equity_curve(record), expected, rtol=1e-12, atol=1e-6)
    assert cash_curve(record)[-1] == cash


@given(traded_runs(), st.sampled_from([1.0, -1.0]), st.integers(0, 5))
def test_positions_are_what_fills_add_up_to(record, sign, trips):
    """Bit by bit, also where each fill closes what the one before opened, and the last one stays open."""
    time = minutes(2 * trips + 2)
    sizes = [sign * (0.1 + trip) * way for trip in range(trips + 1) for way in (1, -1)][:-1]
    out_and_in = run([bars("A", time, [5.0] * len(time))], [(at + 1, "A", size, 5.0) for at, size in enumerate(sizes)])
    for each in (record, out_and_in):
        for symbol in each.bars:
            held, expected = Tally(), []
            for instant in range(len(each.instants)):
                for fill in each.fills:
                    if (fill.index, fill.symbol) == (instant, symbol):
                        held.add(fill.signed_size)
                expected.append(held.units)
            assert position_curve(each, symbol).tolist() == expected


def test_a_million_instants_are_no_loop():
    """A long run has one value an instant, and the last one adds up."""
    count = 1_000_000
    time = 1_700_000_000_000_000_000 + np.arange(count, dtype=np.int64) * 60_000_000_000
    record = run([bars("A", time, np.linspace(10, 20, count))], [(10, "A", 3, 10.0)])
    equity = equity_curve(record)
    assert len(equity) == count
    assert equity[-1] == 10_000 - 30 + 3 * 20.0
