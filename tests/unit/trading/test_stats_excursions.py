"""How far trades went against and in favour of their holders, by hand and against a plain loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.costs import FixedSlippage
from nbbacktest.core.enums import OrderType
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import BarColumns
from nbbacktest.trading.excursions import _extreme, excursions
from nbbacktest.trading.trades import round_trips
from tests.records import minutes, run, traded_runs

# open, high, low, close
ROWS = [(100, 101, 99, 100), (102, 104, 96, 103), (95, 97, 94, 96), (96, 99, 90, 98), (98, 120, 80, 100)]


def bars_of(rows):
    """Minute bars with these prices."""
    time = minutes(len(rows))
    return BarColumns(
        "A", Interval.parse("1m"), time, time + 60_000_000_000, *np.array(rows, dtype=float).T, np.ones(len(rows))
    )


def far(fills, *, kind=OrderType.MARKET, rule=None):
    """MAE and MFE in currency of the trades of these fills, whose orders are all of one type."""
    record = run([bars_of(ROWS)], fills, config={"broker": {"fill": rule}} if rule else {})
    for order in record.orders:
        order.type = kind
    found = excursions(record, round_trips(record))
    return found.mae_value.tolist(), found.mfe_value.tolist()


def test_a_trade_from_open_to_open_has_its_whole_bars():
    """Bought at the second bar's open, sold at the fourth's: the second and third bars count whole, the fourth doesn't."""
    assert far([(1, "A", 2, 102.0), (3, "A", -2, 96.0)]) == ([2 * (94 - 102)], [2 * (104 - 102)])


def test_a_short_is_the_mirror():
    """A high goes against it, a low in its favour."""
    assert far([(1, "A", -2, 102.0), (3, "A", 2, 96.0)]) == ([-2 * (104 - 102)], [2 * (102 - 94)])


def test_an_entry_inside_its_bar_leaves_that_bars_extremes_out():
    """A limit bought at 101 on the way: whether the 96 and the 104 came before is not known, the close came after."""
    fills = [(1, "A", 1, 101.0), (2, "A", -1, 95.0)]
    assert far(fills, kind=OrderType.LIMIT) == ([95 - 101], [103 - 101])


def test_an_entry_by_a_gap_at_the_open_counts_its_bar():
    """A limit that the open already met was filled before all else in the bar."""
    fills = [(1, "A", 1, 102.0), (2, "A", -1, 95.0)]
    assert far(fills, kind=OrderType.LIMIT) == ([95 - 102], [104 - 102])


def test_an_exit_inside_its_bar_counts_that_bars_open_alone():
    """Sold at 92 in the fourth bar: its 90 and 99 may have come later, its open of 96 didn't."""
    fills = [(2, "A", 1, 95.0), (3, "A", -1, 92.0)]
    assert far(fills, kind=OrderType.STOP) == ([92 - 95], [97 - 95])


def test_market_orders_that_fill_at_the_close_have_the_exits_bar_and_not_the_entrys():
    """From the second bar's close to the fourth's."""
    fills = [(1, "A", 1, 103.0), (3, "A", -1, 98.0)]
    assert far(fills, rule="next_close") == ([90 - 103], [0.0])


def test_in_and_out_in_one_bar_has_its_own_prices_alone():
    """What else the bar showed has no known place before or after."""
    assert far([(4, "A", 1, 99.0), (4, "A", -1, 97.0)], kind=OrderType.LIMIT) == ([-2.0], [0.0])


def test_an_open_trade_lasts_until_the_last_bar():
    """It has an excursion too, though it counts in no statistic."""
    assert far([(3, "A", 1, 96.0)]) == ([80 - 96], [120 - 96])


def test_fractions_are_of_the_entrys_price():
    """Ten percent down is -0.1 whatever the size."""
    record = run([bars_of(ROWS)], [(3, "A", -5, 96.0), (4, "A", 5, 98.0)])
    found = excursions(record, round_trips(record))
    assert found.mae.tolist() == pytest.approx([(96 - 99) / 96])
    assert found.mfe.tolist() == pytest.approx([(96 - 90) / 96])


@given(traded_runs())
def test_excursions_enclose_the_outcome(record):
    """No trade ends beyond what it reached: mae <= gross profit <= mfe, and neither has the other's sign."""
    trades = round_trips(record).closed
    found = excursions(record, trades)
    assert (found.mae <= 0).all()
    assert (found.mfe >= 0).all()
    for trade, worst, best in zip(trades, found.mae_value, found.mfe_value, strict=True):
        gross = trade.size * (trade.exit_price - trade.entry_price)
        room = 1e-9 * max(abs(gross), 1)
        assert worst - room <= gross <= best + room


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=70), st.booleans(), st.data())
def test_extremes_of_spans_are_those_of_their_slices(values, follow, data):
    """However spans overlap, or follow each other, each has the lowest and highest of its own."""
    numbers = st.integers(0, len(values))
    if follow:
        edges = sorted(data.draw(st.lists(numbers, min_size=2, max_size=12)))
        spans = list(zip(edges[::2], edges[1::2], strict=False))
    else:
        spans = data.draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
    start, stop = (np.array(column, dtype=np.int64) for column in zip(*spans, strict=True))
    lowest = _extreme(np.array(values), start, stop, lowest=True)
    highest = _extreme(np.array(values), start, stop, lowest=False)
    for (a, b), low, high in zip(spans, lowest, highest, strict=True):
        part = values[a:b]
        assert (np.isnan(low) and np.isnan(high)) if not part else (low, high) == (min(part), max(part))


# -- a fill knows where in its bar it was -----------------------------------------------------------------------

ORDERS = {
    "market": lambda up, gap: {},
    "limit": lambda up, gap: {"limit": 100 - up * gap},
    "limit that the open meets": lambda up, gap: {"limit": 100 + up * 30},
    "stop": lambda up, gap: {"stop": 100 + up * gap},
    "stop that the open is beyond": lambda up, gap: {"stop": 100 - up * 30},
    "stop limit": lambda up, gap: {"stop": 100 + up * gap, "limit": 100 + up * (gap - 6)},
    "trail": lambda up, gap: {"trail": gap},
    "open": lambda up, gap: {"at": "open"},
    "close": lambda up, gap: {"at": "close"},
}


class InAndOut(nb.Strategy):
    """One order in after the first bar, one out some bars later; levels and sizes in units of `ratio` after `split`."""

    entry: str
    exit: str
    gap: int = 3
    up: int = 1
    after: int = 3
    split: int = 99
    ratio: float = 1.0

    def on_bar(self, bar):
        count = len(self.bars())
        unit = self.ratio if count > self.split else 1.0
        if count == 1:
            self.place(self.up, self.entry, 6, 1.0)
        if count == self.after:
            self.place(-self.up, self.exit, abs(self.position().size) or 1, unit)

    def place(self, up, kind, size, unit):
        terms = {name: v / unit if isinstance(v, int) else v for name, v in ORDERS[kind](up, self.gap).items()}
        (self.buy if up > 0 else self.sell)(size=size, **terms)


@st.composite
def daily(draw):
    rows = [(100.0, 101.0, 99.0, 100.0)]
    for _ in range(draw(st.integers(4, 9))):
        low, a, b, high = sorted(draw(st.lists(st.integers(88, 112), min_size=4, max_size=4)))
        opened, closed = draw(st.sampled_from([(a, b), (b, a)]))
        rows.append((float(opened), float(high), float(low), float(closed)))
    return pd.DataFrame(rows, pd.bdate_range("2024-01-02", periods=len(rows)), columns=["open", "high", "low", "close"])


def reached(result):
    """The lowest and highest price of each trade, in money."""
    trades = result.trades
    sign, entry = np.sign(trades["size"]), trades["entry_price"]
    ends = np.array([entry + sign * trades["mae"] * entry, entry + sign * trades["mfe"] * entry])
    return np.sort(ends, axis=0)


LEGS = (
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(sorted(ORDERS)),
    st.integers(1, 8),
    st.sampled_from([1, -1]),
    st.integers(2, 5),
)
RULES = st.sampled_from([{}, {"fill": "next_close"}, {"fill": "this_close"}, {"limit_fill": "cross"}])


@settings(max_examples=200)
@given(daily(), *LEGS, RULES)
def test_slippage_hides_no_bar(frame, entry, exit_, gap, up, after, rules):
    """With a cent of slippage each trade has reached the same prices, its own two apart."""
    known = {"entry": entry, "exit": exit_, "gap": gap, "up": up, "after": after}
    plain = nb.backtest(frame, InAndOut, config={"broker": rules}, **known)
    slipped = nb.backtest(frame, InAndOut, slippage=FixedSlippage(amount=0.01), config={"broker": rules}, **known)
    assert [f.phase for f in slipped.record.fills] == [f.phase for f in plain.record.fills]
    assert len(slipped.trades) == len(plain.trades)
    assert np.abs(reached(slipped) - reached(plain)).max(initial=0.0) <= 0.0101


@settings(max_examples=200)
@given(daily(), *LEGS, RULES, st.integers(1, 4), st.sampled_from([2.0, 4.0, 0.5]))
def test_a_split_hides_no_bar(frame, entry, exit_, gap, up, after, rules, split, ratio):
    """Raw prices with a split give the fractions that adjusted prices do, wherever in their bars the fills were."""
    known = {"entry": entry, "exit": exit_, "gap": gap, "up": up, "after": after, "split": split, "ratio": ratio}
    raw = frame.copy()
    raw.iloc[split:] /= ratio
    action = [{"date": raw.index[split].date(), "kind": "split", "value": ratio}]
    told = nb.backtest(raw, InAndOut, config={"broker": rules, "data": {"adjusted": False, "actions": action}}, **known)
    whole = nb.backtest(frame, InAndOut, config={"broker": rules}, **known | {"split": 98, "ratio": 1.0})
    assert [f.phase for f in told.record.fills] == [f.phase for f in whole.record.fills]
    np.testing.assert_allclose(told.trades[["mae", "mfe"]], whole.trades[["mae", "mfe"]], atol=1e-9)


def test_a_price_that_is_the_open_by_chance_is_no_fill_at_the_open():
    """Triggered at 102 inside the bar and filled at its limit of 100, which the open was too; or touched at the open, and crossed later."""
    rows = [(100, 101, 99, 100), (100, 103, 97, 99), (99, 99, 99, 99)]
    frame = pd.DataFrame(
        rows, pd.bdate_range("2024-01-02", periods=3), columns=["open", "high", "low", "close"], dtype=float
    )

    class Once(nb.Strategy):
        cross: bool = False

        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=1, **({"limit": 100} if self.cross else {"stop": 102, "limit": 100}), stop_loss=98)

    for rules, cross in (({}, False), ({"limit_fill": "cross"}, True)):
        result = nb.backtest(frame, Once, config={"broker": rules}, cross=cross)
        (fill,) = result.record.fills
        assert (fill.price, fill.phase) == (100, "inside")
        assert result.trades["mae"].tolist() == [-0.01]
    assert "the open" not in nb.backtest(frame, Once).explain("2024-01-03").orders["why"].iloc[0]
