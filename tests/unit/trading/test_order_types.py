"""Each type of order has one rule, and everything that delivers, filters and explains its fills asks that rule."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.enums import OrderType, Side
from nbbacktest.trading.matching import hit_of, match
from nbbacktest.trading.order_replay import stop_path
from nbbacktest.trading.orders import Order, types
from nbbacktest.trading.orders.types import RULES, FillRules, LimitRule, Missed
from tests.drivers import scripted, series_of
from tests.integration.test_explain import of, ran

KINDS = {
    "market": lambda near, far: {},
    "limit": lambda near, far: {"limit": near},
    "stop": lambda near, far: {"stop": near},
    "stop_limit": lambda near, far: {"stop": near, "limit": far},
    "touch": lambda near, far: {"touch": near},
    "touch limit": lambda near, far: {"touch": near, "limit": far},
    "touch day": lambda near, far: {"touch": near, "limit": far, "tif": "day"},
    "trail": lambda near, far: {"trail": abs(far - near) + 1},
    "trail percent": lambda near, far: {"trail": f"{abs(far - near) + 1}%"},
    "open": lambda near, far: {"at": "open"},
    "close": lambda near, far: {"at": "close"},
    "immediate": lambda near, far: {"limit": near, "tif": "ioc"},
    "day": lambda near, far: {"limit": near, "tif": "day"},
}
levels = st.integers(4 * 88, 4 * 112).map(lambda quarters: quarters / 4)
deeds = st.tuples(st.integers(1, 4), st.sampled_from(["buy", "sell"]), st.sampled_from(sorted(KINDS)), levels, levels)
rules = st.builds(FillRules, st.booleans(), st.booleans(), st.sampled_from(["pessimistic", "path"]))


@st.composite
def rows(draw, least=4, most=9):
    made = []
    for _ in range(draw(st.integers(least, most))):
        low, a, b, high = sorted(draw(st.lists(levels, min_size=4, max_size=4)))
        made.append((*draw(st.sampled_from([(a, high, low, b), (b, high, low, a)])), 1_000))
    return made


def placed(deed):
    number, side, kind, near, far = deed
    return number, lambda s: getattr(s, side)(size=1, tag=str(number), **KINDS[kind](near, far))


def test_every_type_has_a_rule():
    """No type is without a rule, and no rule without a type."""
    assert RULES.keys() == set(OrderType)


def test_a_type_without_a_rule_is_not_imported():
    """A member of `OrderType` that `RULES` lacks stops the import, and is named."""
    tree = ast.parse(Path(types.__file__).read_text(encoding="utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id == "RULES")
    del table.keys[1], table.values[1]  # noqa: PD011 - of the syntax tree
    with pytest.raises(NotImplementedError, match="how orders of these types fill: limit"):
        exec(compile(tree, types.__file__, "exec"), {"__name__": "without"})


def test_two_types_that_the_same_terms_ask_for_are_not_imported():
    """A rule whose prices another type has already stops the import, and both are named."""
    with pytest.raises(NotImplementedError, match="the terms of limit and stop are the same"):
        types.types_by_terms({OrderType.LIMIT: LimitRule(), OrderType.STOP: LimitRule()})


TOY = """
class StopOnTheTrail(TrailingStopRule):
    \"\"\"A trailing stop that is a limit order once it has triggered.\"\"\"

    def __init__(self) -> None:
        super().__init__()
        self.prices = frozenset({"trail", "limit"})
        self.then = _LIMIT


RULES: dict"""
USE = """
import sys; sys.path.insert(0, sys.argv[1])
import warnings; warnings.simplefilter("ignore")
import nbbacktest as nb, pandas as pd
from nbbacktest.core import enums
assert enums.__file__.startswith(sys.argv[1])
class Toy(nb.Strategy):
    def on_bar(self, bar):
        if self.count == 0: self.buy(size=1)
        elif self.count == 1: self.sell(size=1, trail=3, limit=90)
        self.count += 1
    count = 0
days = pd.date_range("2024-01-01", periods=6, tz="UTC")
close = [100, 101, 105, 110, 104, 104]
frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1}, index=days)
result = nb.backtest(frame, Toy)
result.save(sys.argv[2]); result = nb.Result.load(sys.argv[2])
for shown in (result.orders["type"], result.fills["price"], result.explain("2024-01-05").orders["why"]):
    print(shown.tolist())
"""


def test_a_new_type_is_written_in_three_edits(tmp_path):
    """Its member, its rule and its line in `RULES`; requests, fills, trailing, explaining and saving follow."""
    package = tmp_path / "nbbacktest"
    shutil.copytree(Path(nb.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, after in (
        ("core/enums.py", "    DELISTING =", '    TRAILING_STOP_LIMIT = "trailing_stop_limit"\n    DELISTING ='),
        ("trading/orders/types.py", "\nRULES: dict", TOY),
        (
            "trading/orders/types.py",
            "    OrderType.LIMIT:",
            "    OrderType.TRAILING_STOP_LIMIT: StopOnTheTrail(),\n    OrderType.LIMIT:",
        ),
    ):
        text = (package / file).read_text(encoding="utf-8")
        assert text.count(before) == 1
        (package / file).write_text(text.replace(before, after), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path), str(tmp_path / "toy.nbbt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    orders, fills, why = found.stdout.splitlines()
    assert orders == "['market', 'trailing_stop_limit']"
    assert fills == "[101.0, 104.0]"
    assert "the stop 107" in why


@settings(max_examples=150)
@given(rows(), deeds, st.lists(deeds, max_size=6), st.booleans(), st.sampled_from(["touch", "cross"]))
def test_one_order_alone_and_beside_many_fills_the_same(bars, deed, others, first, limit_fill):
    """Orders that share neither cash nor a link don't know of each other: same bar, price, part of the bar and life."""

    def life(deeds_, place):
        plan = {}
        for number, act in map(placed, deeds_):
            before = plan.get(number, lambda s: None)
            plan[number] = lambda s, before=before, act=act: (before(s), act(s))[1]
        desk = scripted(plan, series_of(bars), cash=1e9, limit_fill=limit_fill)
        order = [o for o in desk.orders if o.tag == str(deed[0])][place]
        fills = [(f.index, f.price, f.size, f.phase) for f in desk.fills if f.order_id == order.id]
        return fills, order.events, order.status, order.stop

    mates = [other for other in others if other[0] != deed[0]]
    assert life([deed], 0) == life([deed, *mates] if first else [*mates, deed], 0)


@given(rows(1, 1), st.sampled_from(sorted(KINDS)), st.sampled_from(Side), levels, levels, st.booleans(), rules)
def test_what_a_bar_does_is_within_reach(bars, kind, side, near, far, triggered, choice):
    """A bar outside of a rule's reach neither fills nor changes the order: the broker may pass it over."""
    asked = KINDS[kind](near, far)
    bar = series_of(bars).bar(0)
    desk = scripted({1: lambda s: getattr(s, str(side))(size=1, **asked)}, series_of(bars))
    order = desk.orders[0]
    order.triggered = triggered and (order.stop is not None or order.touch is not None)
    order.expires_ns = 0 if kind != "close" else order.expires_ns
    falls_to, rises_to = RULES[order.type].reach(order)
    if bar.low > falls_to and bar.high < rises_to:
        assert match(order, bar, choice) is None
        assert RULES[order.type].missed(order, bar) is None


@given(rows(1, 1), st.sampled_from(sorted(KINDS)), st.sampled_from(Side), levels, levels, rules)
def test_words_agree_with_prices(bars, kind, side, near, far, choice):
    """Where a bar fills an order the rule has words for the fill, else for the miss, which say how far it was."""
    bar = series_of(bars).bar(0)
    desk = scripted({1: lambda s: getattr(s, str(side))(size=1, **KINDS[kind](near, far))}, series_of(bars))
    order, rule = desk.orders[0], RULES[desk.orders[0].type]
    hit = hit_of(order, bar, choice)
    if hit is not None:
        assert rule.fill_words(order, bar, hit[3], choice)
    else:
        words = rule.miss_words(order, bar, choice)
        assert words.why
        assert words.missed_by is None or words.missed_by >= 0


class LimitWithinATenth(LimitRule):
    """A limit that fills if the market comes within a tenth of it."""

    def threshold(self, order):
        return order.limit + (0.1 if order.side is Side.BUY else -0.1)


def test_a_rule_is_changed_in_one_place(monkeypatch):
    """A limit relaxed by a tenth fills alone, fills beside another order, at the limit still, and is explained so."""
    low = [(100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99.05, 100)]

    def alone(s):
        return s.buy(size=1, limit=98.95)

    def beside(s):
        return s.buy(size=1, limit=50), s.buy(size=1, limit=98.95), s.sell(size=1, limit=150)

    def fills():
        return [[(f.index, f.price) for f in scripted({2: do}, series_of(low)).fills] for do in (alone, beside)]

    why = "by 0.05: the low 96 stayed above the limit 95.95"
    assert fills() == [[], []]
    assert of(ran(lambda s: s.buy(size=1, limit=95.95)), "2024-10-03")["why"] == why
    monkeypatch.setitem(RULES, OrderType.LIMIT, LimitWithinATenth())
    assert fills() == [[(2, 98.95)]] * 2
    assert of(ran(lambda s: s.buy(size=1, limit=95.95)), "2024-10-03")["why"].startswith("1 at 95.95: the low 96")


def test_a_delisting_is_no_order_that_a_bar_fills():
    """No bar concerns it."""
    order = Order(1, "S", "EXE", Side.SELL, 1.0, OrderType.DELISTING)
    bar = series_of([(100, 101, 99, 100)]).bar(0)
    falls_to, rises_to = RULES[OrderType.DELISTING].reach(order)
    assert bar.low > falls_to
    assert bar.high < rises_to
    assert match(order, bar) is None


def test_a_public_order_type_is_named_as_its_rule():
    """What users see of types is what the table knows."""
    assert {str(kind) for kind in RULES} == {str(kind) for kind in nb.OrderType}


class LimitAtTheFirstBar(LimitRule):
    """A limit that ends with the first bar that doesn't fill it."""

    changes_on_a_miss = True

    def reach(self, order):
        return types.EVERY_BAR

    def missed(self, order, bar):
        return Missed(cancelled=f"{bar.low:g} wasn't low enough")


def test_a_rule_may_end_its_orders_with_a_bar(monkeypatch):
    """The reason is the rule's, alone and beside another order."""
    monkeypatch.setitem(RULES, OrderType.LIMIT, LimitAtTheFirstBar())
    for do in (lambda s: s.buy(size=1, limit=90), lambda s: (s.buy(size=1, limit=90), s.buy(size=1, stop=200))):
        order = scripted({1: do}, series_of([(100, 101, 99, 100)] * 3)).orders[0]
        assert (str(order.status), order.reason) == ("cancelled", "99 wasn't low enough")


@pytest.mark.parametrize(
    "terms", [{"stop": 11, "limit": 8.0}, {"touch": 9.5, "limit": 8.0}, {"trail": 2.0}, {"stop": 11}]
)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_bar_after_its_end_changes_no_order(terms, side):
    """The next session's first bar neither triggers a day order nor moves its stop: its life ends as it was."""
    times = ["2024-01-02 15:57", "2024-01-02 15:58", "2024-01-03 09:31", "2024-01-03 09:32"]
    index = pd.DatetimeIndex(times, tz="America/New_York")
    frame = pd.DataFrame({name: [10.0] * 4 for name in ("open", "high", "low", "close")}, index=index)
    frame.loc[index[2], ["high", "low"]] = [14.0, 6.0]
    turned = {name: 20.0 - level if side == "sell" and name != "trail" else level for name, level in terms.items()}

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if bar.time == index[0]:
                getattr(self, side)(size=1, tif="day", **turned)

    result = nb.backtest(frame.assign(volume=1e6), Once)
    (order,) = result.record.orders
    assert [str(event.kind) for event in order.events] == ["submitted", "accepted", "expired"]
    assert order.stop == order.events[0].terms.stop or "trail" in terms
    steps = stop_path(result.record, order) if "trail" in terms else []
    assert all(moment < pd.Timestamp("2024-01-03", tz="UTC").value for moment, _ in steps)
    assert "before" not in result.explain(index[2]).orders["why"].iloc[0]


@pytest.mark.parametrize("terms", [{"stop": 100.0}, {"touch": 100.0}], ids=str)
def test_a_strict_limit_at_the_open_fills_inside_whatever_triggered_it(terms):
    """The price has to go beyond the limit, and so the fill isn't at the open, which is the limit itself."""
    rows = [(101, 101, 99, 99) if "stop" in terms else (99, 101, 99, 101), (100, 101, 99, 100)]
    strict = {"limit_fill": "cross"}
    plain = scripted({1: lambda s: s.buy(size=1, limit=100.0)}, series_of(rows), **strict)
    triggered = scripted({1: lambda s: s.buy(size=1, limit=100.0, **terms)}, series_of(rows), **strict)
    assert [fill.phase for fill in triggered.fills] == [fill.phase for fill in plain.fills]
    assert len(plain.fills) == 1


def test_a_limit_that_was_touched_and_not_crossed_after_its_trigger_is_told_so():
    """Of a trigger at the open, and of a touch inside the bar whose low is the limit."""

    def why(rows, **terms):
        order = Order(1, "S", "EXE", Side.BUY, 1.0, OrderType.LIMIT_IF_TOUCHED, limit=100.0, **terms)
        bar = series_of(rows).bar(0)
        return RULES[order.type].miss_words(order, bar, FillRules(strict=True)).why

    at_open = why([(100, 101, 100, 100)], touch=100.0)
    inside = why([(102, 103, 100, 101)], touch=101.0)
    assert "the limit touched, not crossed: the low 100" in at_open
    assert "the limit touched, not crossed: the low 100" in inside


@pytest.mark.parametrize(("terms", "level"), [({"touch": 95.0}, 95.0), ({"stop": 105.0}, 105.0)])
@pytest.mark.parametrize("limit", [94.0, 106.0])
def test_a_trigger_is_noted_with_its_level(terms, level, limit):
    """If the limit fills in the same bar, at another price, and if it doesn't."""
    desk = scripted(
        {1: lambda s: s.buy(size=1, limit=limit, **terms)}, series_of([(100, 101, 99, 100), (100, 107, 90, 100)])
    )
    (event,) = [event for event in desk.orders[0].events if str(event.kind) == "triggered"]
    assert event.price == level
