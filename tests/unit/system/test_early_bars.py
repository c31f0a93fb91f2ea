"""Bars that are told before they are over: the audit sees each kind, planted into sound bars, and none in sound ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.intervals import HOUR, MINUTE, SECOND, Interval
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data.sources import load
from nbbacktest.system.builder import build
from nbbacktest.system.early_bars import early_bars
from nbbacktest.system.run_bars import RunBars
from tests.held import Quiet
from tests.markets import minutes

CRYPTO = {"exchange": "24/7", "timezone": "UTC"}


def frame(index):
    """A random walk over any index."""
    rng = np.random.default_rng(1)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.1, len(index))), 2)
    return pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}, index)


def hours(count=200, length="1h", zone="UTC"):
    return frame(pd.date_range("2024-06-01", periods=count, freq=length, tz=zone))


def longer(finer, length):
    """Coarser bars of the same trades."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return finer.resample(length).agg(how)


def market(data, config):
    return load(SessionConfig.load(config), data)


def changed(loaded, change, interval=None):
    """The market with the bars of one interval passed through `change`; None for the base bars."""
    bars = loaded.bars if interval is None else loaded.others[interval]
    spoilt = {symbol: change(columns) for symbol, columns in bars.items()}
    if interval is None:
        return replace(loaded, bars=spoilt, interval=next(iter(spoilt.values())).interval)
    return replace(loaded, others={**loaded.others, interval: spoilt})


def audited(data, config):
    """RunBars by the loader, and audited."""
    return nb.audit_lookahead(market(data, config) if not isinstance(data, nb.data.market.MarketData) else data, Quiet,
                              cuts=1, config=config)  # fmt: skip


def cut_at_midnight(zone):
    """End bars at midnight where they reach beyond it: right where trading stops there, and hours early where it doesn't."""

    def change(columns):
        midnights = pd.DatetimeIndex(columns.end - 1, tz="UTC").tz_convert(zone).normalize().as_unit("ns").asi8
        return replace(columns, end=np.where(midnights > columns.time, midnights, columns.end))

    return change


@pytest.mark.parametrize("length", ["4h", "6h", "8h", "12h"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kolkata"])
def test_bars_that_are_cut_at_a_midnight_that_closes_nothing(length, zone):
    """A bar over the local midnight of a market that never closes is over when its length is."""
    config = {**CRYPTO, "timezone": zone}
    sound = market(hours(length=length), CRYPTO)
    assert nb.audit_lookahead(sound, Quiet, cuts=1, config=CRYPTO).clear
    report = nb.audit_lookahead(changed(sound, cut_at_midnight(zone)), Quiet, cuts=1, config=config)
    assert not report.clear
    (found,) = report.early
    assert found.told < found.due == found.time + pd.Timedelta(length)
    assert "before they are over" in report.verdict
    assert f"{length} bars of ASSET" in repr(report)
    assert f"{length} bars of ASSET" in report._repr_html_()


def test_coarser_bars_beside_finer_ones():
    """The 4h bar that opens at 22:00 may not be told at midnight while two of its hours are to come."""
    sound = market({"BTC": {"1h": hours(), "4h": longer(hours(), "4h")}}, CRYPTO)
    assert nb.audit_lookahead(sound, Quiet, cuts=1, config=CRYPTO).clear
    spoilt = changed(sound, cut_at_midnight("Europe/Berlin"), "4h")
    (found,) = nb.audit_lookahead(spoilt, Quiet, cuts=1, config=CRYPTO).early
    assert (found.symbol, found.interval, str(found.due - found.time)) == ("BTC", "4h", "0 days 04:00:00")


def test_days_that_are_told_before_their_session_is_over():
    """A daily bar beside minutes is over with the last of its session's minutes."""
    config = {"exchange": "XNYS"}
    sound = market({"A": {"1m": minutes(390), "1d": longer(minutes(390), "1D")}}, config)
    assert audited(sound, config).clear
    spoilt = changed(sound, lambda columns: replace(columns, end=columns.end - HOUR), "1d")
    (found,) = audited(spoilt, config).early
    assert found.due - found.told == pd.Timedelta("1h")


def as_interval(text):
    length = Interval.from_ns(text) if isinstance(text, int) else Interval.parse(text)
    return lambda columns: replace(columns, interval=length, end=columns.time + length.ns)


@pytest.mark.parametrize("length", [1043 * SECOND, "30m", "20m", 57_599 * SECOND])
def test_bars_that_are_taken_for_shorter_ones(length):
    """One odd row must not make hours of 1043 seconds, nor hours that end with a half one half hours."""
    base = hours(60, "1D") if length == 57_599 * SECOND else hours()
    sound = market(base, CRYPTO)
    report = audited(changed(sound, as_interval(length)), CRYPTO)
    assert not report.clear
    assert "bars follow each other every" in report.early[0].reason


def test_half_hours_at_the_ends_of_days_of_hours():
    """Hours of a session whose last one is a half, all taken for half hours."""
    index = pd.DatetimeIndex([
        pd.Timestamp(f"2024-10-0{day} {at}", tz="America/New_York")
        for day in (1, 2, 3) for at in ("10:00", "11:00", "12:00", "13:00", "14:00", "15:00", "15:30")
    ])  # fmt: skip
    config = {"exchange": "XNYS", "data": {"interval": "30m"}}
    (found,) = audited(frame(index), config).early
    assert found.reason.startswith("bars follow each other every 3,600 s")


@pytest.mark.parametrize("shift", [-1_000_000, 1, SECOND // 2])
def test_bars_off_the_whole_second(shift):
    """Closes stamped :59.999 make minutes that end a millisecond before their last trade."""
    config = {**CRYPTO, "data": {"derived_intervals": ["5m"]}}
    sound = market(frame(pd.date_range("2024-10-01", periods=120, freq="1min", tz="UTC")), config)
    assert audited(sound, config).clear
    spoilt = changed(sound, lambda columns: replace(columns, time=columns.time + shift, end=columns.end + shift))
    report = audited(spoilt, config)
    assert "off the whole second" in report.early[0].reason


@pytest.mark.parametrize(("interval", "freq"), [("1mo", "MS"), ("1w", "W-MON")])
def test_weeks_and_months_that_end_in_another(interval, freq):
    """A month that is told in the next one belongs to one of the two, and not to both."""
    config = {"data": {"interval": interval}, "exchange": "24/7", "timezone": "UTC"}
    index = pd.date_range("2024-01-01", periods=6, freq=freq, tz="UTC")
    length = Interval.parse(interval)
    ends = (index + (pd.offsets.MonthBegin(1) if interval == "1mo" else pd.Timedelta(days=7))).as_unit("ns").asi8

    def right(columns):
        return replace(columns, interval=length, time=index.as_unit("ns").asi8, end=ends)

    daily = market(frame(pd.date_range("2024-01-01", periods=6, freq="1D", tz="UTC")), CRYPTO)
    sound = changed(daily, right)
    assert not audited(sound, config).early
    late = changed(sound, lambda columns: replace(columns, end=columns.end + 24 * HOUR))
    assert "another" in audited(late, config).early[0].reason


def derived_as(change):
    """`RunBars.derived` with a fault planted."""
    right = RunBars.derived
    return lambda self, base, interval: change(right(self, base, interval))


def test_derived_bars_that_are_told_early(monkeypatch):
    """A bar of five minutes is over with its fifth, and not with its fourth."""
    config = {"data": {"derived_intervals": ["5m"]}}
    assert audited(minutes(100), config).clear
    monkeypatch.setattr(RunBars, "derived", derived_as(lambda columns: replace(columns, end=columns.end - MINUTE)))
    report = audited(minutes(100), config)
    assert not report.clear
    assert report.early[0].due - report.early[0].told == pd.Timedelta("1min")


def test_derived_bars_that_are_made_of_later_ones(monkeypatch):
    """A derived bar with the close of the next one differs where the data is cut: the bar is named, not the strategy."""
    config = {"data": {"derived_intervals": ["5m"]}}
    ahead = derived_as(lambda c: replace(c, close=np.append(c.close[1:], c.close[-1:])))
    monkeypatch.setattr(RunBars, "derived", ahead)
    report = nb.audit_lookahead(minutes(100), Quiet, config=config)
    assert (report.first.kind, report.first.name, report.first.field) == ("bar", "5m of ASSET", "close")
    assert "not the strategy" in repr(report)


EXCHANGES = ["XNYS", "XTKS", "XHKG", "XLON", "CMES", "24/7"]


@settings(max_examples=150, deadline=None)
@given(
    exchange=st.sampled_from(EXCHANGES),
    base=st.sampled_from(["1m", "5m", "30m", "1d"]),
    derived=st.lists(st.sampled_from(["5m", "15m", "1h", "2h", "4h", "1d", "1w", "1mo"]), unique=True, max_size=4),
    start=st.sampled_from(["2024-03-07", "2024-10-24", "2024-11-27"]),
    gaps=st.sampled_from([0.0, 0.5]),
)
def test_sound_bars_are_cleared(exchange, base, derived, start, gaps):
    """Half days, lunch breaks, evening sessions, changes of the clock, gaps: nothing of it is told early."""
    length = Interval.parse(base)
    fits = [name for name in derived if name != base and Interval.parse(name).misfit(length) is None]
    end = str(pd.Timestamp(start).date() + pd.Timedelta(days=7 if length.ns < 24 * HOUR else 70))[:10]
    config = {
        "exchange": exchange,
        "backtest": {"start_date": start, "end_date": end},
        "data": {"source": "synthetic", "symbols": ["A"], "interval": base, "derived_intervals": fits},
    }
    loaded = load(SessionConfig.load(config), None)
    keep = np.random.default_rng(3).uniform(size=len(loaded.bars["A"])) >= gaps
    keep[:2] = True

    def thinned(c):
        names = ("time", "end", "open", "high", "low", "close", "volume")
        return replace(c, **{name: getattr(c, name)[keep] for name in names})

    sound = changed(loaded, thinned)
    stages = build(SessionConfig.load(config), Lifecycle(), Monitor(), data=sound, strategies=Quiet)
    assert not early_bars(stages.world.timeline.series, sound)
