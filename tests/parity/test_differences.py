"""Where we and a peer mean different things: each difference on the smallest tape, and that it is exactly that.

The page docs/parity.md lists them with their reasons; tests are called by what we do.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import nbbacktest as nb
from tests.parity.engines import CASH, PER_ORDER, PER_SHARE, Logged, Run, backtrader_, ours
from tests.parity.scripted import Do, run_backtesting_py, run_backtrader, run_ours, tape

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
MATCHING = Path(__file__).parents[1] / "unit" / "trading" / "test_matching.py"

FLAT = (100, 100, 100, 100)

GOLDEN = tape((100, 101, 99, 100), (100, 101, 99, 100), (102, 104, 96, 103), (95, 97, 94, 96))
"""The tape that the fill rules are explained on; orders are decided after bar 2."""


def told(run: Run, frame: pd.DataFrame) -> list[tuple[int, str, float, float]]:
    """Fills with the number of their bar, counted from 1."""
    return [(int(frame.index.get_loc(f.time)) + 1, f.side, f.size, f.price) for f in run.fills]


def each(frame: pd.DataFrame, *script: Do, cash: float = CASH) -> dict[str, list[tuple[int, str, float, float]]]:
    """What a script comes to on each engine."""
    runs = {"ours": run_ours, "backtesting.py": run_backtesting_py, "backtrader": run_backtrader}
    return {name: told(run(frame, script, cash=cash), frame) for name, run in runs.items()}


def test_page_lists_every_difference() -> None:
    """The page names each test of this module once, and no other."""
    listed = re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    here = {name for name in globals() if name.startswith("test_")} - {"test_page_lists_every_difference"}
    # Touches have no peer here that could be run beside them: their rules are pinned where the fill rules are.
    touches = {name for name in listed if f"def {name}(" in MATCHING.read_text(encoding="utf-8")}
    assert {name for name in listed if name not in touches} == here
    assert {name for name in listed if listed.count(name) > 1} <= touches


# -- when strategies are asked, and how a run ends ---------------------------------------------------------------


def test_strategies_see_the_first_bar() -> None:
    """An order decided after bar 1 fills in bar 2; backtesting.py asks its strategies from bar 2 on."""
    told_by = each(tape(FLAT, (101, 101, 101, 101), FLAT), Do(1, "buy"))
    assert told_by["ours"] == told_by["backtrader"] == [(2, "buy", 1, 101)]
    assert told_by["backtesting.py"] == []


def test_the_end_closes_nothing() -> None:
    """What is held at the end stays, at its last close; `finalize_trades` sells it at the last bar's open."""
    frame = tape(FLAT, FLAT, (100, 110, 100, 110), (111, 120, 111, 120))
    script = [Do(2, "buy", 10)]
    mine, left = run_ours(frame, script), run_backtesting_py(frame, script)
    assert mine == left == run_backtrader(frame, script)
    assert mine.equity == CASH + 200
    closed = run_backtesting_py(frame, script, finalize_trades=True)
    assert told(closed, frame) == [*told(mine, frame), (4, "sell", 10, 111)]
    assert closed.equity == CASH + 110


def test_ruin_is_shown_as_it_is() -> None:
    """A short that loses more than there is leaves a debt, and the run goes on; backtesting.py stops at zero."""
    frame = tape(FLAT, FLAT, FLAT, (300, 300, 300, 300), FLAT)
    script = [Do(2, "sell", 9)]
    mine, theirs = run_ours(frame[:4], script, cash=1000), run_backtrader(frame[:4], script, cash=1000)
    assert mine == theirs
    assert mine.equity == 1000 - 9 * 200
    assert run_ours(frame, script, cash=1000).equity == 1000
    stopped = run_backtesting_py(frame, script, cash=1000)
    assert stopped.equity == 0
    assert told(stopped, frame) == [(3, "sell", 9, 100), (4, "buy", 9, 300)]


# -- what can be paid ----------------------------------------------------------------------------------------------


def test_cash_counts_at_the_fill() -> None:
    """Whether an order can be paid is asked at its fill's price; backtrader asks at the close it was decided on."""
    cheaper, dearer = (99, 99, 99, 99), (101, 101, 101, 101)
    told_by = each(tape(FLAT, FLAT, cheaper), Do(2, "buy", 10), cash=995)
    assert told_by["ours"] == told_by["backtesting.py"] == [(3, "buy", 10, 99)]
    assert told_by["backtrader"] == []
    # It asks a second time at the fill, so that what is too dear there is refused by all.
    assert set(map(tuple, each(tape(FLAT, FLAT, dearer), Do(2, "buy", 10), cash=1005).values())) == {()}


def test_shorts_need_cash() -> None:
    """A short needs its worth in cash beside the proceeds; backtrader lets anyone sell anything."""
    frame = tape(FLAT, FLAT, FLAT)
    told_by = each(frame, Do(2, "sell", 11), cash=1000)
    assert told_by["ours"] == told_by["backtesting.py"] == []
    assert told_by["backtrader"] == [(3, "sell", 11, 100)]
    covered = each(frame, Do(2, "sell", 10), cash=1000)
    assert covered["ours"] == covered["backtesting.py"] == covered["backtrader"] == [(3, "sell", 10, 100)]


def test_margin_knows_no_later_price() -> None:
    """At an open, a short is worth that open; backtesting.py takes that bar's close, which is still ahead."""
    script = [Do(2, "sell", 4), Do(3, "sell", 5)]
    quiet = each(tape(FLAT, FLAT, FLAT, FLAT), *script, cash=1000)
    assert quiet["ours"] == quiet["backtesting.py"] == [(3, "sell", 4, 100), (4, "sell", 5, 100)]
    # 1000 + 4 * 100 in cash, less twice 4 * 100, leave 600 at the open; at the close of 130 it would be 360.
    rising = each(tape(FLAT, FLAT, FLAT, (100, 130, 100, 130)), *script, cash=1000)
    assert rising["ours"] == quiet["ours"]
    assert rising["backtesting.py"] == [(3, "sell", 4, 100)]


def test_an_order_fills_whole_or_not_at_all() -> None:
    """A reversal that can't be paid is rejected as one; the peers close the old position and drop the rest."""
    frame = tape(FLAT, FLAT, FLAT, (120, 120, 120, 120))
    told_by = each(frame, Do(2, "sell", 5), Do(3, "buy", 14), cash=1000)
    assert told_by["ours"] == [(3, "sell", 5, 100)]
    assert told_by["backtesting.py"] == told_by["backtrader"] == [(3, "sell", 5, 100), (4, "buy", 5, 120)]
    payable = each(tape(FLAT, FLAT, FLAT, FLAT), Do(2, "sell", 5), Do(3, "buy", 14), cash=1000)
    assert payable["ours"] == payable["backtesting.py"] == payable["backtrader"]


def test_orders_take_turns_by_submission() -> None:
    """A buy before a close meets the cash of before the close; backtesting.py puts every close first."""
    frame = tape(FLAT, FLAT, FLAT, FLAT, FLAT)
    told_by = each(frame, Do(2, "buy", 9), Do(4, "buy", 9), Do(4, "close"), cash=1000)
    assert told_by["ours"] == told_by["backtrader"] == [(3, "buy", 9, 100), (5, "sell", 9, 100)]
    assert told_by["backtesting.py"] == [(3, "buy", 9, 100), (5, "buy", 9, 100), (5, "sell", 9, 100)]


# -- how much ------------------------------------------------------------------------------------------------------


def test_units_may_be_fractions() -> None:
    """A size is a number of units, 0.5 and 1.5 included; backtesting.py reads 0.5 as half the cash, refuses 1.5."""
    frame = tape(FLAT, FLAT, FLAT)
    for size in (0.5, 1.5):
        mine = run_ours(frame, [Do(2, "buy", size)])
        assert mine == run_backtrader(frame, [Do(2, "buy", size)])
        assert told(mine, frame) == [(3, "buy", size, 100)]
    assert told(run_backtesting_py(frame, [Do(2, "buy", 0.5)], cash=1000), frame) == [(3, "buy", 5, 100)]
    with pytest.raises(AssertionError, match="positive whole number of units"):
        run_backtesting_py(frame, [Do(2, "buy", 1.5)])


class HalfAtClose(nb.Strategy):
    def on_bar(self, bar):
        if len(self.bars()) == 2:
            self.order_target_percent(0.5)


class HalfAtCloseTrader(Logged):
    def next(self):
        if len(self) == 2:
            self.order_target_percent(target=0.5)


def test_a_target_is_sized_at_the_decision() -> None:
    """Half of the equity is half at the close that was seen; backtesting.py's fraction is of the cash at the fill."""
    frame = tape(FLAT, FLAT, (50, 50, 50, 50))
    mine = told(ours(frame, HalfAtClose, cash=1000), frame)
    assert mine == told(backtrader_(frame, HalfAtCloseTrader, cash=1000), frame) == [(3, "buy", 5, 50)]
    assert told(run_backtesting_py(frame, [Do(2, "buy", 0.5)], cash=1000), frame) == [(3, "buy", 10, 50)]


def test_all_the_cash_is_counted_at_the_fill() -> None:
    """Without a size, an order buys what the cash pays at the fill; the peers buy just less than that, or one unit."""
    frame = tape(FLAT, FLAT, (50, 50, 50, 50))
    told_by = each(frame, Do(2, "buy", None), cash=1001)
    assert told_by["ours"] == told_by["backtesting.py"] == [(3, "buy", 20, 50)]
    assert told_by["backtrader"] == [(3, "buy", 1, 50)]
    # To the last cent: backtesting.py's default is a fraction just below 1, which is one unit too few here.
    exact = each(frame, Do(2, "buy", None), cash=1000)
    assert exact["ours"] == [(3, "buy", 20, 50)]
    assert exact["backtesting.py"] == [(3, "buy", 19, 50)]


class ShrinkTo550(nb.Strategy):
    def on_bar(self, bar):
        n = len(self.bars())
        if n == 2:
            self.buy(size=10)
        elif n == 3:
            self.order_target_value(550)


class ShrinkTo550Trader(Logged):
    def next(self):
        if len(self) == 2:
            self.buy(size=10)
        elif len(self) == 3:
            self.order_target_value(target=550)


def test_a_target_is_rounded_and_not_the_order() -> None:
    """550 at 100 a unit is 5 units, so 5 of 10 are sold; backtrader rounds the 4.5 to sell and keeps 6."""
    frame = tape(FLAT, FLAT, FLAT, FLAT)
    assert told(ours(frame, ShrinkTo550), frame) == [(3, "buy", 10, 100), (4, "sell", 5, 100)]
    assert told(backtrader_(frame, ShrinkTo550Trader), frame) == [(3, "buy", 10, 100), (4, "sell", 4, 100)]


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_an_order_pays_its_fee_once() -> None:
    """One order that closes two entries is one order; backtesting.py charges a fixed fee for each trade it closes."""
    frame = tape(FLAT, FLAT, FLAT, FLAT, FLAT)
    script = [Do(2, "buy", 1), Do(3, "buy", 1), Do(4, "sell", 2)]
    mine = run_ours(frame, script, commission=PER_ORDER)
    theirs = run_backtesting_py(frame, script, commission=PER_ORDER)
    assert mine.fills == theirs.fills
    assert mine.equity == CASH - 3 * 10
    assert theirs.equity == CASH - 4 * 10
    # A fee that grows evenly with the units is the same, however they are cut up.
    even = run_ours(frame, script, commission=PER_SHARE)
    assert even.equity == pytest.approx(run_backtesting_py(frame, script, commission=PER_SHARE).equity, rel=1e-9)


# -- brackets -----------------------------------------------------------------------------------------------------------


def test_exits_live_in_the_entry_bar() -> None:
    """An entry at the open has the whole bar before it, exits included; backtrader wakes them a bar later."""
    told_by = each(GOLDEN, Do(2, "buy", stop_loss=98, take_profit=103.5))
    assert told_by["ours"] == told_by["backtesting.py"] == [(3, "buy", 1, 102), (3, "sell", 1, 98)]
    assert told_by["backtrader"] == [(3, "buy", 1, 102), (4, "sell", 1, 95)]
    later = each(GOLDEN, Do(2, "buy", stop_loss=95.5, take_profit=110))
    assert later["ours"] == later["backtesting.py"] == later["backtrader"] == [(3, "buy", 1, 102), (4, "sell", 1, 95)]


def test_exits_of_a_limit_that_opens_through() -> None:
    """A limit entry that fills at the open counts as an entry at the open; both peers let its exits wait a bar."""
    through = each(GOLDEN, Do(2, "buy", limit=103, stop_loss=98, take_profit=110))
    assert through["ours"] == [(3, "buy", 1, 102), (3, "sell", 1, 98)]
    assert through["backtesting.py"] == through["backtrader"] == [(3, "buy", 1, 102), (4, "sell", 1, 95)]
    # Filled within the bar, nobody knows what came after: the exits wait with everyone.
    within = each(GOLDEN, Do(2, "buy", limit=101, stop_loss=98, take_profit=110))
    assert (
        within["ours"] == within["backtesting.py"] == within["backtrader"] == [(3, "buy", 1, 101), (4, "sell", 1, 95)]
    )


def test_exits_of_an_entry_within_the_bar() -> None:
    """A target beyond a stop entry waits for the next bar, too; backtesting.py takes it where the stop isn't touched."""
    script = Do(2, "buy", stop=103, stop_loss=90, take_profit=104)
    told_by = each(GOLDEN, script)
    assert told_by["ours"] == told_by["backtrader"] == [(3, "buy", 1, 103)]
    assert told_by["backtesting.py"] == [(3, "buy", 1, 103), (3, "sell", 1, 104)]


def test_exits_close_and_never_open() -> None:
    """Exits close what is left of the position, and end with it; backtrader's keep their size and outlive it."""
    falls = (85, 85, 80, 80)
    frame = tape(FLAT, FLAT, FLAT, FLAT, falls)
    bracket = Do(2, "buy", 10, stop_loss=90, take_profit=130)
    entry = (3, "buy", 10, 100)
    part = each(frame, bracket, Do(3, "sell", 4))
    assert part["ours"] == part["backtesting.py"] == [entry, (4, "sell", 4, 100), (5, "sell", 6, 85)]
    assert part["backtrader"] == [entry, (4, "sell", 4, 100), (5, "sell", 10, 85)]
    whole = each(frame, bracket, Do(3, "sell", 10))
    assert whole["ours"] == whole["backtesting.py"] == [entry, (4, "sell", 10, 100)]
    assert whole["backtrader"] == [entry, (4, "sell", 10, 100), (5, "sell", 10, 85)]


def test_exits_are_for_a_size() -> None:
    """A sale from the whole position leaves exits as large as they are; backtesting.py takes it from the first entry."""
    frame = tape(FLAT, FLAT, FLAT, FLAT, (100, 100, 89, 89), (80, 80, 80, 80))
    first, second = Do(2, "buy", 5, stop_loss=90), Do(2, "buy", 3, stop_loss=85)
    apart = each(frame, first, second)
    assert apart["ours"] == apart["backtesting.py"] == apart["backtrader"]
    assert apart["ours"] == [(3, "buy", 8, 100), (5, "sell", 5, 90), (6, "sell", 3, 80)]
    before = [(3, "buy", 8, 100), (4, "sell", 4, 100)]
    sold = each(frame, first, second, Do(3, "sell", 4))
    assert sold["ours"] == [*before, (5, "sell", 4, 90)]
    assert sold["backtesting.py"] == [*before, (5, "sell", 1, 90), (6, "sell", 3, 80)]


def test_a_target_at_the_open_comes_before_a_stop() -> None:
    """A bar that opens at the target has filled it before it can touch the stop; the peers take the stop."""
    bracket = Do(2, "buy", 1, stop_loss=95, take_profit=110)
    opens_there = each(tape(FLAT, FLAT, FLAT, (112, 112, 90, 100)), bracket)
    assert opens_there["ours"] == [(3, "buy", 1, 100), (4, "sell", 1, 112)]
    assert opens_there["backtesting.py"] == opens_there["backtrader"] == [(3, "buy", 1, 100), (4, "sell", 1, 95)]
    # Opening between the two, nobody knows which came first: the stop, with everyone.
    between = each(tape(FLAT, FLAT, FLAT, (109, 112, 90, 100)), bracket)
    assert between["ours"] == between["backtesting.py"] == between["backtrader"]
    assert between["ours"] == [(3, "buy", 1, 100), (4, "sell", 1, 95)]


# -- stop-limit -----------------------------------------------------------------------------------------------------------


def test_a_stop_limit_gaps_to_the_open() -> None:
    """An open between stop and limit is the price; backtesting.py fills at the stop, where nothing was traded."""
    frame = tape(FLAT, FLAT, (103, 106, 102, 104))
    told_by = each(frame, Do(2, "buy", stop=101, limit=105))
    assert told_by["ours"] == told_by["backtrader"] == [(3, "buy", 1, 103)]
    assert told_by["backtesting.py"] == [(3, "buy", 1, 101)]
    # Beyond both, it waits for the limit; backtesting.py fills below the bar's low again.
    beyond = each(frame, Do(2, "buy", stop=101, limit=102.5))
    assert beyond["ours"] == beyond["backtrader"] == [(3, "buy", 1, 102.5)]
    assert beyond["backtesting.py"] == [(3, "buy", 1, 101)]


def test_a_stop_limit_at_one_level() -> None:
    """Stop and limit at one price, reached from below: there it fills; backtesting.py looks for the limit a bar later."""
    frame = tape(FLAT, FLAT, (100, 102, 100, 102), (103, 103, 103, 103))
    told_by = each(frame, Do(2, "buy", stop=101, limit=101))
    assert told_by["ours"] == told_by["backtrader"] == [(3, "buy", 1, 101)]
    assert told_by["backtesting.py"] == []
    apart = each(frame, Do(2, "buy", stop=101, limit=101.01))
    assert apart["ours"] == apart["backtrader"] == apart["backtesting.py"] == [(3, "buy", 1, 101)]


def test_a_stop_limit_that_must_have_come_back() -> None:
    """Closing at the limit or better after the stop, the path leaves no doubt; the peers see it in fewer cases."""
    stop_limit = Do(2, "buy", stop=103, limit=102)
    later = (101, 101, 101, 101)
    falling = each(tape(FLAT, FLAT, (102.5, 104, 96, 101.5), later), stop_limit)
    assert falling["ours"] == falling["backtrader"] == [(3, "buy", 1, 102)]
    assert falling["backtesting.py"] == [(4, "buy", 1, 101)]
    rising = each(tape(FLAT, FLAT, (100, 104, 96, 101.5), later), stop_limit)
    assert rising["ours"] == [(3, "buy", 1, 102)]
    assert rising["backtesting.py"] == rising["backtrader"] == [(4, "buy", 1, 101)]
    # Closing above the limit, it may have been there before the stop only: all wait.
    doubtful = each(tape(FLAT, FLAT, (100, 104, 96, 103), later), stop_limit)
    assert doubtful["ours"] == doubtful["backtesting.py"] == doubtful["backtrader"] == [(4, "buy", 1, 101)]


# -- trailing stop ----------------------------------------------------------------------------------------------------------


def test_a_trailing_stop_follows_the_best_price() -> None:
    """It follows the high (of a short: the low) of earlier bars; backtrader's follows their closes."""
    spike = (100, 110, 100, 101)
    frame = tape(FLAT, FLAT, FLAT, spike, (101, 101, 96, 97))
    script = [Do(2, "buy", 10), Do(3, "sell", 10, trail=5)]
    runs = {"ours": told(run_ours(frame, script), frame), "backtrader": told(run_backtrader(frame, script), frame)}
    # The spike of bar 4 lifts the level to 105, and bar 5 opens below it; the close of 101 would lift it to 96.
    assert runs["ours"] == [(3, "buy", 10, 100), (5, "sell", 10, 101)]
    assert runs["backtrader"] == [(3, "buy", 10, 100), (5, "sell", 10, 96)]
    # Where bars close at their best, both are one.
    frame = tape(FLAT, FLAT, FLAT, (100, 110, 100, 110), (109, 109, 100, 101))
    assert run_ours(frame, script) == run_backtrader(frame, script)
    assert told(run_ours(frame, script), frame)[-1] == (5, "sell", 10, 105)
