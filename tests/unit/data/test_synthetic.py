"""Invented bars: reproducible, well-formed, and shaped like a market's."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError
from nbbacktest.data.sources import load
from nbbacktest.data.synthetic import bars


@pytest.fixture(scope="module")
def year() -> dict[str, pd.DataFrame]:
    return bars(["EXE", "SW"], "2024-01-02", "2024-12-31", interval="5m")


def test_the_same_seed_gives_the_same_bars():
    """And another seed others."""
    a, b, c = (bars("EXE", "2024-10-03", "2024-10-04", seed=seed)["EXE"] for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(a, b)
    assert not a.equals(c)


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["EXE", "SW", "CPAY", "A", "Ünï"]), min_size=1, max_size=5, unique=True),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["5m", "1d"]),
)
def test_bars_depend_on_their_own_symbol_and_day_alone(symbols: list[str], earlier: int, later: int, interval: str):
    """Other symbols, their order, and where the range begins or ends change nothing."""
    name = symbols[-1]
    wide = bars(symbols, date(2024, 10, 7 - earlier), date(2024, 10, 7 + later), interval=interval, seed=3)[name]
    alone = bars(name, "2024-10-07", "2024-10-07", interval=interval, seed=3)[name]
    pd.testing.assert_frame_equal(wide.loc["2024-10-07":"2024-10-07"], alone, check_freq=False)


@pytest.mark.parametrize("interval", ["30s", "1m", "13m", "65m", "1d"])
def test_bars_are_well_formed(interval: str):
    """High and low hold open and close, prices are positive whole cents, volumes positive whole numbers."""
    for frame in bars(["EXE", "PENNY"], "2024-11-25", "2024-12-02", interval=interval).values():
        assert (frame.high >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame.low <= frame[["open", "close"]].min(axis=1)).all()
        prices = frame[["open", "high", "low", "close"]].to_numpy()
        assert (prices > 0).all()
        np.testing.assert_array_equal(prices, np.rint(prices * 100) / 100)
        assert (frame.volume >= 1).all()
        assert (frame.volume == frame.volume.round()).all()


def test_bars_lie_in_the_sessions():
    """New York's hours, half days and holidays."""
    frame = bars("EXE", "2024-11-27", "2024-11-29")["EXE"]
    assert str(frame.index.tz) == "America/New_York"
    assert frame.groupby(frame.index.date).size().to_dict() == {date(2024, 11, 27): 390, date(2024, 11, 29): 210}
    assert frame.index[-1] == pd.Timestamp("2024-11-29 12:59", tz="America/New_York")


def test_daily_bars_are_stamped_at_midnight():
    """One bar a session."""
    frame = bars("EXE", date(2024, 11, 27), datetime(2024, 11, 29, 9, 30), interval="1d")["EXE"]
    assert [str(t) for t in frame.index] == ["2024-11-27 00:00:00-05:00", "2024-11-29 00:00:00-05:00"]


def test_days_open_and_close_alike_at_every_interval():
    """The levels of a day are the same whether it is told in minutes or whole."""
    minutes, days = (bars("EXE", "2024-10-03", "2024-10-09", interval=i)["EXE"] for i in ("1m", "1d"))
    by_day = minutes.groupby(minutes.index.date)
    assert by_day.open.first().tolist() == days.open.tolist()
    assert by_day.close.last().tolist() == days.close.tolist()


def test_volume_and_volatility_are_u_shaped(year: dict[str, pd.DataFrame]):
    """The first and last half hour are busier and wilder than midday."""
    frame = year["EXE"]
    clock = frame.index.hour * 60 + frame.index.minute
    ends, middle = (clock < 600) | (clock >= 930), (clock >= 690) & (clock < 780)
    moves = np.log(frame.close / frame.open)
    assert frame.volume[ends].mean() > 2 * frame.volume[middle].mean()
    assert moves[ends].std() > 1.4 * moves[middle].std()


def test_symbols_are_correlated(year: dict[str, pd.DataFrame]):
    """A common factor moves them, and not it alone."""
    returns = pd.DataFrame({symbol: np.log(frame.close).diff() for symbol, frame in year.items()})
    assert 0.2 < returns.corr().loc["EXE", "SW"] < 0.75


def test_prices_gap_overnight(year: dict[str, pd.DataFrame]):
    """Opens differ from the close before by far more than bars within a day do."""
    frame = year["EXE"]
    gap = np.log(frame.open / frame.close.shift()).dropna()
    night = np.diff(frame.index.day_of_year) > 0
    assert gap[night].std() > 5 * gap[~night].std()


def test_volatility_is_a_stock_s(year: dict[str, pd.DataFrame]):
    """Some 15% to 45% a year, from daily closes."""
    closes = year["EXE"].close.groupby(year["EXE"].index.date).last()
    assert 0.15 < np.log(closes).diff().std() * 252**0.5 < 0.45


def test_a_market_that_never_closes():
    """24/7 has bars around the clock."""
    frame = bars("COIN", "2024-10-04", "2024-10-06", interval="1h", exchange="24/7")["COIN"]
    assert len(frame) == 72
    assert str(frame.index.tz) == "UTC"


@pytest.mark.parametrize("interval", ["1h", "7m", "2d"])
def test_an_interval_that_does_not_divide_the_session_is_refused(interval: str):
    """The error names the session's length and intervals that would do."""
    with pytest.raises(ConfigError, match=r"data.interval = .*session of XNYS, 390 minutes.*1m.*30m or 1d"):
        bars("EXE", "2024-10-03", "2024-10-04", interval=interval)


def test_wrong_days_are_refused():
    """What is no date, a range without sessions, and days before the epoch."""
    with pytest.raises(ConfigError, match=r"start = 'soon': is no date"):
        bars("EXE", "soon", "2024-10-04")
    with pytest.raises(DataError, match="XNYS has no session"):
        bars("EXE", "2024-10-05", "2024-10-06")
    with pytest.raises(ConfigError, match="synthetic bars begin at 1900-01-01"):
        bars("EXE", "1899-10-05", "1899-10-06", exchange="24/7")


def test_a_result_over_invented_frames_says_so():
    """Frames keep their mark on the way through a user's hands: result and source call them synthetic."""
    frame = bars("EXE", "2024-10-03", "2024-10-03", seed=3)["EXE"].iloc[:50]
    found = load(SessionConfig(), frame)
    assert found.synthetic
    assert found.source == "DataFrame, synthetic, seed 3"


def test_a_lunch_break_has_no_bars():
    """Tokyo's minutes are those of its morning and its afternoon, and an interval has to divide both."""
    frame = bars("EXE", "2024-11-01", "2024-11-05", exchange="XTKS")["EXE"]
    times = frame.index.strftime("%d %H:%M")
    assert len(frame) == 300 + 330
    assert times[149:151].tolist() == ["01 11:29", "01 12:30"]
    assert (times[-1], times[299]) == ("05 15:29", "01 14:59")
    with pytest.raises(ConfigError, match="1h.*does not divide the session of XTKS, 150 and 150 minutes; use .* 30m"):
        bars("EXE", "2024-09-02", "2024-09-06", interval="1h", exchange="XTKS")


def test_extended_hours_are_full_of_bars():
    """From four in the morning to eight in the evening, on a half day too."""
    config = {
        "backtest": {"start_date": "2024-11-27", "end_date": "2024-11-29"},
        "hours": {"open": "04:00", "close": "20:00"},
        "data": {"symbols": ["EXE"], "interval": "15m", "derived_intervals": ["1h"]},
    }
    market = load(SessionConfig.load(config))
    assert len(market.bars["EXE"]) == 2 * 64
    assert market.stamps.stamp(int(market.bars["EXE"].end[-1])) == pd.Timestamp(
        "2024-11-29 20:00", tz="America/New_York"
    )
    assert (market.sessions().close == market.bars["EXE"].end[[63, 127]]).all()
