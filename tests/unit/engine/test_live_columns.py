"""Columns and instants that grow give the bits that all bars at once would have given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.records import BarColumns
from nbbacktest.data.calendar import RollingSessions
from nbbacktest.data.live_market import IncomingBar
from nbbacktest.data.resample import derive
from nbbacktest.engine.live_bars import EVER, GrowingArray, LiveColumns
from nbbacktest.engine.series import BarsView, Series
from nbbacktest.engine.timeline import Timeline, merged
from tests.live import OPENING, STAMPS, incoming

SESSIONS = RollingSessions("XNYS")
COLUMNS = ("time", "end", "open", "high", "low", "close", "volume")


def market(*symbols: str, count: int = 120, seed: int = 3, gaps: float = 0.3) -> list[IncomingBar]:
    """Bars with gaps over the last hours of one session and the first of the next, by their ends."""
    rng = np.random.default_rng(seed)
    made = []
    for minute in [*range(390 - count, 390), *range(1440, 1440 + count)]:
        for symbol in symbols:
            if rng.uniform() >= gaps:
                o, c = np.round(rng.normal(100, 1, 2), 2)
                time = OPENING + minute * MINUTE
                volume = rng.uniform(0, 1e6)  # sums of such depend on the order of adding up
                made.append(IncomingBar(symbol, time, time + MINUTE, o, max(o, c), min(o, c), c, volume))
    return made


def columns_of(bars: list[IncomingBar], symbol: str) -> BarColumns:
    own = [bar[1:] for bar in bars if bar.symbol == symbol]
    return BarColumns(symbol, Interval.parse("1m"), *(list(zip(*own, strict=True)) if own else [()] * 7))  # type: ignore[arg-type]


def series(symbols: tuple[str, ...], intervals: tuple[str, ...], bars: list[IncomingBar], **kind: bool) -> list[Series]:
    base = [columns_of(bars, symbol) for symbol in symbols]
    made = [Series(c, STAMPS, is_base=True, **kind) for c in base]
    for interval in intervals:
        for c in base:
            sessions = SESSIONS.covering(OPENING, OPENING + 3000 * MINUTE)
            made.append(Series(derive(c, Interval.parse(interval), sessions), STAMPS, is_base=False, **kind))
    return made


def same(one: Timeline, other: Timeline) -> None:
    for mine, theirs in zip(one.axis[1:], other.axis[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)  # type: ignore[arg-type]
    for mine, theirs in zip(one.series, other.series, strict=True):
        for name in COLUMNS:
            mine_bits, their_bits = getattr(mine.columns, name), getattr(theirs.columns, name)
            assert mine_bits.tobytes() == their_bits.tobytes(), (mine.symbol, mine.interval, name)
        if not mine.is_base:
            np.testing.assert_array_equal(mine.columns.base_count, theirs.columns.base_count)


@pytest.mark.parametrize("symbols", [("A",), ("A", "B", "C")])
@pytest.mark.parametrize("intervals", [(), ("5m", "15m"), ("1h", "1d")])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_grew_equals_what_was_there_at_once(
    symbols: tuple[str, ...], intervals: tuple[str, ...], step: int
) -> None:
    """Base columns, coarser bars and the axis are bit-identical to those of all bars, however they came in."""
    bars = market(*symbols)
    whole = Timeline(series(symbols, intervals, bars))
    growing = Timeline(series(symbols, intervals, [], is_open=True))
    columns, count = LiveColumns(growing, SESSIONS.covering), 0
    ends = sorted({bar.end for bar in bars})
    for at in range(0, len(ends), step):
        some = ends[at : at + step]
        count += columns.append([bar for bar in bars if some[0] <= bar.end <= some[-1]], some[-1])
        assert len(growing) == count
    count += columns.append([], EVER)
    same(growing, whole)
    assert count == len(whole)


@given(st.lists(st.integers(0, 40), unique=True, min_size=1), st.integers(0, 5))
def test_coarser_bars_are_seen_at_their_end_and_never_before(minutes: list[int], ahead: int) -> None:
    """With the watermark at any moment, exactly the coarser bars that end up to it are there."""
    bars = [incoming("A", minute, 100.0 + minute) for minute in sorted(minutes)]
    whole = series(("A",), ("5m",), bars)[1].columns
    growing = Timeline(series(("A",), ("5m",), [], is_open=True))
    columns = LiveColumns(growing, SESSIONS.covering)
    for bar in bars:
        watermark = bar.end + ahead * MINUTE
        columns.append([bar], bar.end)
        columns.append([], min([watermark, *(later.end - 1 for later in bars if later.end > bar.end)]))
        there = growing.series[1].columns
        moment = min([watermark, *(later.end - 1 for later in bars if later.end > bar.end)])
        assert there.end.tolist() == [end for end in whole.end.tolist() if end <= moment]


def test_views_keep_what_they_showed() -> None:
    """What a strategy has taken out of a view doesn't change when bars come, nor where the columns move to more room."""
    growing = Timeline(series(("A",), (), [], is_open=True))
    columns, view = LiveColumns(growing, SESSIONS.covering), BarsView(growing.series[0])
    kept = []
    for minute in range(200):
        columns.append([incoming("A", minute, float(minute))], OPENING + (minute + 1) * MINUTE)
        growing.series[0].n = minute + 1
        kept.append(view.close[:])
        assert view.close[-1] == minute
    assert all(array.tolist() == list(range(len(array))) for array in kept)
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0] = 1.0


def test_history_is_gone_on_from() -> None:
    """Coarser bars that history has begun are completed by what comes, and those that it completed stay."""
    bars = [incoming("A", minute, 100.0 + minute) for minute in range(23)]
    whole = series(("A",), ("5m",), bars)
    past = series(("A",), ("5m",), bars[:12], is_open=True)
    past[1].hold(past[1].columns.slice(0, 2))
    for one in past:
        one.first = one.n = len(one.columns)
    growing = Timeline(past)
    columns = LiveColumns(growing, SESSIONS.covering)
    for bar in bars[12:]:
        columns.append([bar], bar.end)
    columns.append([], EVER)
    for mine, theirs in zip(growing.series, whole, strict=True):
        assert mine.columns.close.tolist() == theirs.columns.close.tolist()
        assert mine.columns.volume.tolist() == theirs.columns.volume.tolist()
    assert len(growing) == len([end for end in merged(whole).instants if end > bars[11].end])


def test_growing_moves_rarely() -> None:
    """Appending one by one moves the array a logarithmic number of times."""
    growing, rooms = GrowingArray(np.empty(0, np.int64)), set()
    for number in range(10_000):
        growing.extend([number])
        rooms.add(len(growing._room))
    assert growing.view.tolist() == list(range(10_000))
    assert len(rooms) <= 10
