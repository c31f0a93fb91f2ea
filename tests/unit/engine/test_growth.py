"""Columns that grow while a run goes on: views, indicators and streams see the same as if all had been there."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from nbbacktest.engine.series import BarsView, Series
from nbbacktest.trading.indicators import compute
from nbbacktest.trading.streams import stream
from tests.rig import series


def growing(total: int, at_first: int) -> tuple[Series, Series]:
    """A series that has all its bars, and one of the same bars that has only the first few of them yet."""
    whole = series("A", range(total))
    part = Series(whole.columns.slice(0, at_first), whole.stamps, is_base=True, is_open=True)
    return whole, part


def reach(part: Series, whole: Series, n: int) -> None:
    """Let `part` have, and show, the first `n` bars."""
    part.hold(whole.columns.slice(0, n))
    part.n = whole.n = n


def test_views_made_before_show_bars_that_came_after() -> None:
    """A view that a strategy keeps shows every bar that has completed, also those loaded after it was made."""
    whole, part = growing(40, 10)
    view, other = BarsView(part), BarsView(whole)
    for n in (5, 10, 11, 40):
        reach(part, whole, max(n, 10))
        part.n = whole.n = n
        assert view.close[-1] == other.close[-1]
        assert view.close[:].tolist() == other.close[:].tolist()
        assert view.time[-1] == other.time[-1]
        assert view.to_frame().equals(other.to_frame())


@pytest.mark.parametrize("key", [-1, -3, slice(None), slice(-4, None)])
def test_indicators_over_columns_go_on_when_columns_grow(key: int | slice) -> None:
    """Whole-column indicators, of columns and of each other, read the same bits as over all bars at once."""
    whole, part = growing(60, 20)
    made = [(s, compute(talib.SMA, s, ["close", 5], {}, None)) for s in (whole, part)]
    nested = [compute(talib.EMA, s, [sma, 3], {}, None) for s, sma in made]
    bands = [compute(talib.BBANDS, s, ["close", 5], {}, None) for s, _ in made]
    for n in (10, 20, 21, 45, 60):
        reach(part, whole, max(n, 20))
        part.n = whole.n = n
        for one, other in [(made[0][1], made[1][1]), tuple(nested), (bands[0][1], bands[1][1])]:
            np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(other[key]))  # type: ignore[index]


def test_streams_go_on_when_columns_grow() -> None:
    """A streaming indicator is fed bars that came after it was made."""
    whole, part = growing(60, 20)
    pairs = [stream(talib.stream.SMA, s, ["close", 5], {}, None) for s in (whole, part)]
    for n in (10, 20, 21, 45, 60):
        reach(part, whole, max(n, 20))
        part.n = whole.n = n
        np.testing.assert_array_equal(*(np.asarray(one[:]) for one in pairs))  # type: ignore[index]
