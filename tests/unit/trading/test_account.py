"""Cash and margin: what may be opened, what is taken away, and the sizes that follow from risk."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.config import BrokerConfig, LimitsConfig
from nbbacktest.core.costs import (
    BasisPointsSlippage,
    FixedSlippage,
    MakerTakerCommission,
    NoSlippage,
    PercentCommission,
    PercentSlippage,
    PerContractCommission,
    PerShareCommission,
    SpreadSlippage,
    Tier,
    TieredCommission,
    VolumeShareSlippage,
)
from nbbacktest.core.errors import StrategyError
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.record import Executions
from nbbacktest.trading.stats import turnover
from nbbacktest.trading.strategy import Strategy
from tests.drivers import STAMPS, Script, desk_for, flat, instants_of, run_inline, scripted, series_of

MARGIN = {"account": "margin"}


def test_a_cash_account_pays_in_full():
    """On a cash account positions are paid in full."""
    desk = scripted({1: lambda s: s.buy(size=11)}, series_of(flat([10, 10])), cash=100)
    assert desk.orders[0].status == "rejected"


def test_initial_margin():
    """On margin an order needs the initial margin of what it opens, and is rejected with the numbers where it lacks."""
    plan = {1: lambda s: s.buy(size=20), 2: lambda s: s.buy(size=1)}
    desk = scripted(plan, series_of(flat([10] * 3)), cash=100, **MARGIN)
    assert [o.status for o in desk.orders] == ["filled", "rejected"]
    assert desk.orders[1].reason == (
        "1 units at 10 need 5.00 of margin with commission, 0.00 available; ask for fewer units"
    )
    assert desk.portfolio.cash == -100
    assert desk.portfolio.equity == 100


def test_leverage():
    """Leverage bounds the worth of positions per equity, where it is stricter than the initial margin."""
    for rules, size in (
        ({"leverage": 1.5}, 15),
        ({"initial_margin": 0.1, "leverage": 4.0}, 40),
        ({"leverage": 9.0}, 20),
    ):
        desk = scripted({1: lambda s: s.buy()}, series_of(flat([10] * 2)), cash=100, **MARGIN, **rules)
        assert [f.size for f in desk.fills] == [size]


def test_all_that_margin_allows():
    """Without a size, an order opens as many whole units as the margin allows, commission included, either way."""
    plan = {1: lambda s: s.buy(), 2: lambda s: s.sell()}
    desk = scripted(plan, series_of(flat([10] * 3)), cash=100, commission=0.01, **MARGIN)
    buy, sell = desk.fills
    assert (buy.size, buy.price) == (19, 10)  # 19 * 5 + 1.9 = 96.9; 20 * 5 + 2 = 102
    # Equity is 98.1 then: it closes 19 and sells 18 short: 18 * 5 + 3.7 = 93.7; 19 * 5 + 3.8 = 98.8.
    assert sell.size == 19 + 18


def test_short_margin():
    """A short ties up margin as a long does, and its gain can be used."""
    plan = {1: lambda s: s.sell(size=20), 2: lambda s: s.sell(size=10), 3: lambda s: s.sell(size=11)}
    desk = scripted(plan, series_of(flat([10, 10, 8, 8])), cash=100, **MARGIN)
    # At 8 the equity is 140, so that a worth of 280 is allowed: 35 units.
    assert [o.status for o in desk.orders] == ["filled", "filled", "rejected"]


def test_margin_call():
    """Where equity falls below the maintenance margin, the position is closed at the next bar's open."""
    desk = scripted({1: lambda s: s.buy(size=20)}, series_of(flat([10, 10, 6.8, 6.6, 6.5, 5])), cash=100, **MARGIN)
    # At 6.8: 136 - 100 = 36 covers a quarter of 136; at 6.6: 32 doesn't cover 33.
    assert [(f.index, f.signed_size, f.price, f.tag) for f in desk.fills] == [
        (1, 20, 10, None), (4, -20, 6.5, "margin call"),
    ]  # fmt: skip
    order = desk.orders[1]
    assert order.is_forced
    assert order.events[0].reason == "margin call: equity 32.00 is below the maintenance margin of 33.00"
    assert not desk.pending


def test_margin_call_takes_the_largest_first():
    """Positions go largest first, each whole, until equity covers the rest; of equal ones the one opened first."""
    a, b, c = (series_of(flat([10, 10, price, price]), name) for name, price in (("A", 10), ("B", 5), ("C", 10)))
    plan = {1: lambda s: (s.buy("A", 7), s.buy("B", 6), s.buy("C", 7))}
    desk = scripted(plan, a, b, c, cash=100, **MARGIN, maintenance_margin=0.5)
    # 200 are owned of 100: at 5 equity is 70 and the worth 170; without A it is 100, which 70 covers.
    assert [(f.symbol, f.signed_size) for f in desk.fills[3:]] == [("A", -7)]


def test_a_margin_call_is_the_brokers():
    """The strategy can't cancel it, but may close before; then nothing is left to liquidate."""

    def act(s):
        (order,) = s.orders()
        with pytest.raises(ValueError, match="it meets a margin call, and is the broker's"):
            s.cancel(order)
        with pytest.raises(ValueError, match="can't be replaced: it meets a margin call"):
            s.replace(order, size=1)
        return True

    desk = scripted({1: lambda s: s.buy(size=20), 3: act}, series_of(flat([10, 10, 6, 6])), cash=100, **MARGIN)
    assert desk.fills[-1].tag == "margin call"


def test_a_margin_call_is_made_once():
    """While a symbol is silent its liquidation waits, and none is added."""
    a = series_of(flat([10, 10, 6, 5]), "A", minutes=[0, 1, 2, 9])
    b = series_of(flat([1] * 10), "B")
    desk = scripted({1: lambda s: s.buy("A", 20)}, a, b, cash=100, **MARGIN)
    assert [(f.index, f.symbol, f.price) for f in desk.fills] == [(1, "A", 10), (9, "A", 5)]
    assert len(desk.orders) == 2


def test_nothing_is_watched_without_a_position():
    """Nothing is pending on a cash account, and on margin while nothing is held: no bar costs anything."""
    series = series_of(flat([10] * 4))
    seen = []
    plan = {n: lambda s: seen.append(bool(s._strategy_context._desk.pending)) for n in (1, 3)} | {
        2: lambda s: s.buy(size=1)
    }
    run_inline(desk_for(Script(plan=plan), series, **MARGIN), series)
    series.n = series.first
    run_inline(desk_for(Script(plan=plan), series), series)
    assert seen == [False, True, False, False]


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"leverage": 2.0}, "leverage is for margin accounts and account is 'cash'"),
        ({"account": "margin", "maintenance_margin": 0.6}, "maintenance_margin 0.6 is above what opening needs, 0.5"),
        ({"account": "margin", "initial_margin": 0.0}, "greater than 0"),
        ({"fractional": False, "lot_size": 0.5}, "lot_size 0.5 isn't whole and fractional is false"),
        ({"volume_share": 1.5}, "must be at most 1"),
        ({"fill": "yesterday"}, "next_open"),
    ],
)
def test_settings_that_make_no_sense(rules, says):
    """Margin settings without a margin account, and values that can't be, are refused."""
    with pytest.raises(ValueError, match=says):
        BrokerConfig(**rules)


# -- sizes ----------------------------------------------------------------------------------------------------


def test_size_for_risk():
    """The size loses the given share of equity between the newest close and the stop, in whole units."""
    seen = []
    plan = {1: lambda s: seen.extend([s.size_for_risk(risk=0.01, stop=97), s.size_for_risk("EXE", risk=0.01, stop=105.5),
                                      s.size_for_risk(risk=0.0001, stop=50)])}  # fmt: skip
    scripted(plan, series_of(flat([100, 100])), cash=10_000)
    assert seen == [33, 18, 0]


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"risk": 0, "stop": 90}, "risk=0.*above 0 and up to 1"),
        ({"risk": 2, "stop": 90}, "risk=2.*0.01 is 1%"),
        ({"risk": 0.01, "stop": 100}, "stop=100.*newest close; nothing would be at risk"),
        ({"risk": 0.01, "stop": float("nan")}, "got nan"),
    ],
)
def test_size_for_risk_refusals(terms, says):
    """A share that is none, and a stop at the market, are refused."""
    with pytest.raises(StrategyError, match=says):
        scripted({1: lambda s: s.size_for_risk(**terms)}, series_of(flat([100])))


# -- prices below zero ----------------------------------------------------------------------------------------


def mirrored(rows):
    """The same bars with every price's sign turned."""
    return [(-opened, -low, -high, -closed, volume) for opened, high, low, closed, volume in rows]


class Deeds(Strategy):
    """Places what was drawn, one deed a bar; `sign` -1 turns sides and levels around."""

    deeds: list
    sign: int = 1

    def on_start(self):
        self.powers = []

    def on_bar(self, bar):
        self.powers.append(
            (self.cash, self.equity, self._strategy_context.portfolio.buying_power(bar.symbol, bar.close))
        )
        row = len(self.bars()) - 1
        if row < len(self.deeds):
            side, size, kind, level = self.deeds[row]
            place = self.buy if (side == "buy") is (self.sign == 1) else self.sell
            # A level has the sign of the newest close: one below zero is refused where the market is above it.
            level = level if kind == "trail" else math.copysign(level, bar.close)
            terms = {} if kind == "market" or not bar.close else {kind: level}
            place(size=size, **terms)


@st.composite
def zero_crossing(draw):
    rows = []
    for _ in range(draw(st.integers(3, 10))):
        low, a, b, high = sorted(draw(st.lists(st.integers(-40, 40), min_size=4, max_size=4)))
        opened, closed = draw(st.sampled_from([(a, b), (b, a)]))
        rows.append((opened, high, low, closed, draw(st.sampled_from([5, 50]))))
    return rows


COMMISSIONS = st.sampled_from([
    PercentCommission(rate=0.01), PerShareCommission(rate=0.5, minimum=2.0, maximum=0.02), PerContractCommission(rate=0.1),
    MakerTakerCommission(maker=-0.001, taker=0.01), TieredCommission(tiers=(Tier(above=0, rate=0.02), Tier(above=300, rate=0.01))),
])  # fmt: skip
SLIPPAGES = st.sampled_from([
    NoSlippage(), PercentSlippage(rate=0.01), FixedSlippage(amount=0.5), BasisPointsSlippage(points=30),
    VolumeShareSlippage(impact=0.2), SpreadSlippage(spread=1.0),
])  # fmt: skip


@settings(max_examples=300)
@given(
    zero_crossing(),
    st.lists(
        st.tuples(
            st.sampled_from(["buy", "sell"]), st.integers(1, 30), st.sampled_from(["market", "limit", "stop", "trail"]),
            st.integers(1, 40),
        ),
        max_size=10,
    ),
    COMMISSIONS,
    SLIPPAGES,
    st.fixed_dictionaries({}, optional={"account": st.just("margin"), "volume_share": st.just(0.5)}),
)  # fmt: skip
def test_a_price_below_zero_costs_and_ties_up_what_its_mirror_does(rows, deeds, commission, slippage, rules):
    """A short at a price is a long at its negative: cash, equity, buying power, fees, turnover and refusals are the same."""
    ran = []
    for sign, bars in ((1, rows), (-1, mirrored(rows))):
        strategy, series = Deeds(deeds=deeds, sign=sign), series_of(bars)
        broker = BrokerConfig(cash=1000.0, commission=commission, slippage=slippage, **rules)
        desk = TradingDesk([(strategy, ("EXE",))], [series], instants_of([series]), broker, LimitsConfig(), STAMPS)
        run_inline(desk, series)
        done = Executions(desk.fills)
        assert (done.traded >= 0).all()
        assert turnover(done.traded, np.array([1.0])) >= 0
        ran.append(
            (strategy.powers, done.traded.tolist(), done.commission.tolist(), (done.signed * sign).tolist(),
             (done.price * sign).tolist(), [str(order.status) for order in desk.orders])
        )  # fmt: skip
    assert ran[0] == ran[1]


def test_a_cash_account_pays_for_a_price_below_zero_too():
    """A long that one is paid to take is a debt: no more of it is taken than could be paid back."""
    desk = scripted({1: lambda s: s.buy(size=21), 2: lambda s: s.buy(size=20)}, series_of(flat([-5] * 3)), cash=100)
    assert [o.status for o in desk.orders] == ["rejected", "filled"]
    assert desk.orders[0].reason == "21 units at -5 need 105.00 with commission, 100.00 available; ask for fewer units"
    assert desk.portfolio.buying_power("EXE", -5) == 0
