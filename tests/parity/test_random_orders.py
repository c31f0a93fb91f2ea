"""Random orders on random bars of a cent grid: three engines fill them alike, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from tests.parity.engines import FREE, PER_SHARE, PERCENT, Commission, Run
from tests.parity.scripted import Do, run_backtesting_py, run_backtrader, run_ours, tape

LONGEST = 12
# When orders are placed, in completed bars. Before the second one, backtesting.py asks no strategy.
EARLIEST, LATEST = 2, 6
COMMISSIONS = st.sampled_from((FREE, PERCENT, PER_SHARE))


@st.composite
def tapes(draw: Callable, *, gaps: bool = True) -> pd.DataFrame:
    """Few bars near 100.00, so that opens, extremes and levels meet often, to the cent."""
    bars = []
    close = 100_00
    for _ in range(draw(st.integers(4, LONGEST))):
        opened = close + (draw(st.integers(-80, 80)) if gaps else 0)
        close = opened + draw(st.integers(-80, 80))
        high = max(opened, close) + draw(st.integers(0, 60))
        low = min(opened, close) - draw(st.integers(0, 60))
        bars.append([price / 100 for price in (opened, high, low, close)])
    return tape(*bars)


SIDES = st.sampled_from(("buy", "sell"))
SIZES = st.integers(1, 9)
LEVELS = st.integers(98_50, 101_50).map(lambda cents: cents / 100)


@st.composite
def orders(draw: Callable) -> Do:
    """A market, limit or stop order of any kind, on either side of the market."""
    kind = draw(st.sampled_from(("market", "limit", "stop")))
    return Do(
        after=draw(st.integers(EARLIEST, LATEST)),
        side=draw(SIDES),
        size=draw(SIZES),
        limit=draw(LEVELS) if kind == "limit" else None,
        stop=draw(LEVELS) if kind == "stop" else None,
        cancel=draw(st.none() | st.integers(1, 4)),
    )


def beyond(price: float, cents: int, side: str) -> float:
    """So many cents further in the direction of an order's side."""
    return round(price + (cents if side == "buy" else -cents) / 100, 2)


@st.composite
def stop_limits(draw: Callable) -> Do:
    """Stop anywhere, and the limit where the stop is or with room to fill behind it."""
    side, stop = draw(SIDES), draw(LEVELS)
    limit = beyond(stop, draw(st.integers(0, 50)), side)
    return Do(draw(st.integers(EARLIEST, LATEST)), side, draw(SIZES), limit=limit, stop=stop)


@st.composite
def stop_limits_ahead(draw: Callable) -> tuple[pd.DataFrame, list[Do]]:
    """Without gaps, each stop beyond the market and each limit beyond its stop."""
    frame = draw(tapes(gaps=False))
    script = []
    for _ in range(draw(st.integers(1, 5))):
        after, side = draw(st.integers(EARLIEST, len(frame))), draw(SIDES)
        stop = beyond(float(frame["close"].iloc[after - 1]), draw(st.integers(1, 80)), side)
        limit = beyond(stop, draw(st.integers(1, 50)), side)
        script.append(Do(after, side, draw(SIZES), limit=limit, stop=stop))
    return frame, script


@st.composite
def brackets(draw: Callable, *, at_market: bool) -> tuple[pd.DataFrame, list[Do]]:
    """Entries of one side, each with a stop loss, a target, or both; limit entries only without gaps."""
    frame = draw(tapes(gaps=at_market))
    side = draw(SIDES)
    script = []
    for _ in range(draw(st.integers(1, 3))):
        after = draw(st.integers(EARLIEST, min(LATEST, len(frame))))
        entry = float(frame["close"].iloc[after - 1])
        limit = None if at_market else beyond(entry, -draw(st.integers(1, 60)), side)
        entry = entry if limit is None else limit
        kind = draw(st.sampled_from(("both", "stop loss", "target")))
        stop_loss = None if kind == "target" else beyond(entry, -draw(st.integers(1, 150)), side)
        target = None if kind == "stop loss" else beyond(entry, draw(st.integers(1, 150)), side)
        script.append(Do(after, side, draw(SIZES), limit=limit, stop_loss=stop_loss, take_profit=target))
    assume(leaves_no_choice(frame, script))
    return frame, script


def leaves_no_choice(frame: pd.DataFrame, script: list[Do]) -> bool:
    """Whether no bar opens at a bracket's target and touches its stop: there we differ on purpose."""
    for do in script:
        if do.stop_loss is None or do.take_profit is None:
            continue
        if do.side == "buy":
            both = (frame["open"] >= do.take_profit) & (frame["low"] <= do.stop_loss)
        else:
            both = (frame["open"] <= do.take_profit) & (frame["high"] >= do.stop_loss)
        if both.any():
            return False
    return True


def compare(frame: pd.DataFrame, script: list[Do], commission: Commission, *peers: Callable[..., Run]) -> None:
    mine = run_ours(frame, script, commission=commission)
    event(f"fills: {min(len(mine.fills), 5)}")
    for peer in peers:
        theirs = peer(frame, script, commission=commission)
        assert mine.fills == theirs.fills, peer.__name__
        assert mine.equity == pytest.approx(theirs.equity, rel=1e-9, abs=0), peer.__name__


@given(tapes(), st.lists(orders(), min_size=1, max_size=8), COMMISSIONS)
@settings(max_examples=100)
def test_market_limit_and_stop(frame: pd.DataFrame, script: list[Do], commission: Commission) -> None:
    """Market, limit and stop orders of both sides and any size, some taken back: the same fills on all engines."""
    compare(frame, script, commission, run_backtesting_py, run_backtrader)


@given(tapes(), st.lists(stop_limits(), min_size=1, max_size=5), COMMISSIONS)
@settings(max_examples=60)
def test_stop_limit(frame: pd.DataFrame, script: list[Do], commission: Commission) -> None:
    """Stop-limit orders with the limit at the stop or beyond: backtrader fills them alike, gaps included."""
    compare(frame, script, commission, run_backtrader)


@given(stop_limits_ahead(), COMMISSIONS)
@settings(max_examples=60)
def test_stop_limit_without_gaps(case: tuple[pd.DataFrame, list[Do]], commission: Commission) -> None:
    """Where no bar opens beyond a stop, all engines fill stop-limit orders alike."""
    compare(*case, commission, run_backtesting_py, run_backtrader)


@given(brackets(at_market=True), COMMISSIONS)
@settings(max_examples=80)
def test_brackets_at_the_market(case: tuple[pd.DataFrame, list[Do]], commission: Commission) -> None:
    """Brackets entered at the market, gaps through their levels included: backtesting.py fills them alike."""
    compare(*case, commission, run_backtesting_py)


@given(brackets(at_market=False), COMMISSIONS)
@settings(max_examples=60)
def test_brackets_of_limits(case: tuple[pd.DataFrame, list[Do]], commission: Commission) -> None:
    """Brackets whose entry fills within its bar, their exits live from the next one on: alike on all engines."""
    compare(*case, commission, run_backtesting_py, run_backtrader)
