"""An audit cuts where a look-ahead that acts at few bars would pay, so that it is found whatever is drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.data import synthetic
from nbbacktest.system import audit
from tests.markets import days, minutes

MONTH = synthetic.bars("EXE", "2024-10-01", "2024-10-31")["EXE"]
GAPPY = minutes(380, gaps=0.3)
DAYS = days(300)


def at(rows):
    """An indicator that is the change to the next open at the close of `rows(index)`, and 0 elsewhere."""

    def change(index):
        def leak(opened, close):
            values = np.zeros(len(close))
            known = [row for row in rows(index) if row + 1 < len(close)]
            values[known] = opened[np.array(known, dtype=int) + 1] - close[known]
            return values

        return leak

    return change


def turns(index, unit):
    """The rows before another day, week or month begins."""
    periods = index.tz_localize(None).to_period(unit)
    return np.flatnonzero(periods[1:] != periods[:-1])


LEAKS = {
    "the last bars of sessions": (MONTH, at(lambda index: turns(index, "D"))),
    "the first bars of sessions": (MONTH, at(lambda index: turns(index, "D") + 1)),
    "the last bar of weeks": (MONTH, at(lambda index: turns(index, "W"))),
    "the last days of months": (DAYS, at(lambda index: turns(index, "M"))),
    "bars before gaps": (GAPPY, at(lambda index: np.flatnonzero(np.diff(index) > pd.Timedelta("3min")))),
    "five bars": (MONTH, at(lambda index: [70, 1111, 4242, 6001, 8500])),
    "one bar": (MONTH, at(lambda index: [3210])),
    "the bar before the last": (MONTH, at(lambda index: [len(index) - 2])),
}


def trades_on(leak):
    """A strategy that trades by the indicator, and once a day by nothing."""

    class Knows(nb.Strategy):
        def on_start(self):
            self.leak = self.indicator(leak, "open", "close", name="leak")

        def on_bar(self, bar):
            if self.leak[-1] > 0 or len(self.bars()) % 150 == 0:
                self.buy(size=1)
            elif self.position() and self.leak[-1] == 0:
                self.close()

    return Knows


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_at_few_bars_is_found_whatever_is_drawn(kind, seed):
    """With the default number of cuts, by the indicator's name, at one of the cuts."""
    bars, leak = LEAKS[kind]
    report = nb.audit_lookahead(bars, trades_on(leak(bars.index)), seed=seed)
    assert not report.clear
    assert report.first.name == "leak"
    assert report.first.cut_at in report.cuts


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_in_derived_bars_is_found(seed):
    """At the last 15 minutes of each session."""

    class Knows(nb.Strategy):
        def on_start(self):
            self.leak = self.indicator(at(lambda index: range(25, 9000, 26))(None), "open", "close", interval="15m")

    report = nb.audit_lookahead(MONTH, Knows, seed=seed, config={"data": {"derived_intervals": ["15m"]}})
    assert report.first.kind == "indicator"


def test_how_often_an_indicator_is_tried_is_bounded():
    """By count and by rows, so that a long run is affordable."""
    tried = []

    class Counts(nb.Strategy):
        def on_start(self):
            def count(close):
                tried.append(len(close))
                return np.zeros(len(close))

            self.zero = self.indicator(count, "close")

    report = nb.audit_lookahead(MONTH, Counts)
    runs = 2 + len(report.cuts)
    assert len(tried) <= audit.PROBES + runs
    assert sum(tried) <= audit.PROBED_ROWS + (1 + runs) * len(MONTH)
    assert report.clear
    assert len(report.cuts) <= 12 + 6


def test_rows_are_tried_once_and_up_to_the_bound(monkeypatch):
    """The first ones are kept where there are too many, and one at least."""
    monkeypatch.setattr(audit, "PROBES", 3)
    assert list(audit._affordable([5, 5, 7, 5, 9, 11])) == [5, 7, 9]
    monkeypatch.setattr(audit, "PROBED_ROWS", 10)
    assert list(audit._affordable([50, 7])) == [50]
    assert list(audit._affordable([4, 6, 1])) == [4, 6]
