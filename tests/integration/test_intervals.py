"""Runs on bars of every length: what is delivered when, what is forming, and what waits for its calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.records import Bar, DerivedBar
from nbbacktest.data import synthetic

ZONE = "America/New_York"
MINUTES = synthetic.bars("EXE", "2024-11-25", "2024-12-03")["EXE"]
HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
DAYS = MINUTES.groupby(MINUTES.index.normalize().tz_localize(None)).agg(HOW)


class Diary(nb.Strategy):
    """Writes down every bar with the instant at which it came."""

    def on_start(self) -> None:
        self.seen: list[tuple[pd.Timestamp, Bar]] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((self.now, bar))


def diary(bars: Any, /, **settings: Any) -> list[tuple[pd.Timestamp, Bar]]:
    strategy = Diary()
    nb.backtest(bars, strategy, config={"exchange": "XNYS", **settings})
    return strategy.seen


def derived(seen: list[tuple[pd.Timestamp, Bar]], interval: str) -> list[Bar]:
    return [bar for _, bar in seen if bar.interval == interval]


def openings(day: str, close: int, base: str) -> pd.DatetimeIndex:
    """Where a session's bars begin; of seconds its last minute alone."""
    if base == "1d":
        return pd.DatetimeIndex([day])
    begin = f"{day} {close - 1}:59" if base == "1s" else f"{day} 9:30"
    return pd.date_range(begin, f"{day} {close}:00", freq=pd.Timedelta(base), tz=ZONE, inclusive="left")


@pytest.mark.parametrize(
    ("base", "room"), [("1s", 82_800), ("30s", 2760), ("1m", 1380), ("5m", 276), ("1h", 25), ("1d", 4)]
)
def test_every_base_interval_runs(base: str, room: int):
    """Each bar comes once, at its end, the last of a session at the close; days and weeks are built from all."""
    first, second = openings("2024-11-27", 16, base), openings("2024-11-29", 13, base)
    close = np.arange(1.0, len(first) + len(second) + 1)
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close), first.append(second))
    seen = diary(frame, data={"interval": base, "derived_intervals": ["1w"] if base == "1d" else ["1d", "1w"]})
    bars = derived(seen, base)
    assert [bar.close for bar in bars] == close.tolist()
    assert {"27 16:00", "29 13:00"} <= {bar.end.strftime("%d %H:%M") for bar in bars}
    [week] = derived(seen, "1w")
    assert (week.base_count, week.expected_count, week.close, week.end) == (len(close), room, close[-1], bars[-1].end)
    if base != "1d":
        assert all(now == bar.end for now, bar in seen)
        assert [bar.base_count for bar in derived(seen, "1d")] == [len(first), len(second)]


def test_the_last_hour_is_cut_at_the_close():
    """An hourly bar that opens at 15:30 is complete at 16:00, and one at 12:30 of a half day at 13:00."""
    index = pd.DatetimeIndex(
        [f"2024-11-{day} {9 + hour}:30" for day, count in (("27", 7), ("29", 4)) for hour in range(count)]
    ).tz_localize(ZONE)
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0), index)
    seen = diary(frame, data={"derived_intervals": ["1d"]})
    assert [now.strftime("%H:%M") for now, bar in seen if bar.interval == "1h"][6::4] == ["16:00", "13:00"]
    assert [(bar.base_count, bar.is_complete) for bar in derived(seen, "1d")] == [(7, True), (4, True)]


def test_a_week_is_delivered_at_the_close_of_its_last_session():
    """Thanksgiving week ends with its half day; the week under way at the data's end never comes, nor does the month."""
    seen = diary(MINUTES, data={"derived_intervals": ["1w", "1mo"]})
    [week], months = derived(seen, "1w"), derived(seen, "1mo")
    assert (week.time, week.end) == (pd.Timestamp("2024-11-25", tz=ZONE), pd.Timestamp("2024-11-29 13:00", tz=ZONE))
    assert (week.base_count, week.expected_count, week.is_complete) == (1380, 1380, True)
    assert [(month.time.date().isoformat(), month.base_count, month.is_complete) for month in months] == [
        ("2024-11-01", 1380, False)
    ]
    assert [now for now, bar in seen if not isinstance(bar, DerivedBar)][-1] == pd.Timestamp(
        "2024-12-03 16:00", tz=ZONE
    )


def test_weeks_come_after_days_and_months_after_weeks():
    """At one instant: base bars, then derived ones by rising interval."""
    seen = diary(MINUTES, data={"derived_intervals": ["1mo", "1d", "1w", "5m"]})
    together = [bar.interval for now, bar in seen if now == pd.Timestamp("2024-11-29 13:00", tz=ZONE)]
    assert together == ["1m", "5m", "1d", "1w", "1mo"]


def test_daily_bars_make_weeks_in_a_run():
    """Naive dates stay naive, and the unfinished week is never delivered."""
    seen = diary(DAYS, data={"derived_intervals": ["1w", "1mo"]})
    [week] = derived(seen, "1w")
    assert (week.time, week.base_count, week.expected_count) == (pd.Timestamp("2024-11-25"), 4, 4)
    assert [now for now, bar in seen if bar is week] == [pd.Timestamp("2024-11-29")]


def test_base_bars_are_complete_by_themselves():
    """A base bar says 1 of 1, and is no larger than it was."""
    _, bar = diary(MINUTES)[0]
    assert (type(bar), bar.base_count, bar.expected_count, bar.is_complete) == (Bar, 1, 1, True)


def test_require_complete_holds_incomplete_bars_back():
    """A derived bar that lacks a base bar is neither delivered nor in bars(); the others are."""
    gappy = MINUTES.drop(MINUTES.index[7])

    class Look(Diary):
        def on_stop(self) -> None:
            self.frame = self.bars(interval="5m").to_frame()

    kept, held = Look(), Look()
    for strategy, flag in ((kept, False), (held, True)):
        settings = {"derived_intervals": ["5m", "1d"], "require_complete": flag}
        nb.backtest(gappy, strategy, config={"exchange": "XNYS", "data": settings})
    first = pd.Timestamp("2024-11-25 09:35", tz=ZONE)
    assert kept.frame.loc[first, ["base_count", "expected_count"]].tolist() == [4, 5]
    assert first not in held.frame.index
    assert len(held.frame) == len(kept.frame) - 1
    assert len(derived(held.seen, "1d")) == len(derived(kept.seen, "1d")) - 1
    assert all(bar.is_complete for _, bar in held.seen)


# -- the forming bar ----------------------------------------------------------------------------------------


class Watch(nb.Strategy):
    """Keeps what is forming at every base bar."""

    def on_start(self) -> None:
        self.kept: dict[str, list[tuple[pd.Timestamp, nb.FormingBar | None]]] = {
            "5m": [],
            "1d": [],
            "1w": [],
            "1mo": [],
        }
        self.done: list[Bar] = []

    def on_bar(self, bar: Bar) -> None:
        if bar.interval != self.base_interval:
            self.done.append(bar)
            return
        for interval, kept in self.kept.items():
            kept.append((self.now, self.forming(interval)))


@pytest.fixture(scope="module")
def watched() -> Watch:
    watch = Watch()
    nb.backtest(MINUTES, watch, config={"exchange": "XNYS", "data": {"derived_intervals": ["1d", "1w"]}})
    return watch


@pytest.mark.parametrize("interval", ["5m", "1d", "1w", "1mo"])
def test_the_forming_bar_is_what_was_seen_of_its_bucket(watched: Watch, interval: str):
    """At every minute it equals what pandas makes of the minutes since the bucket began; none where it is complete."""
    for now, bar in watched.kept[interval][::13]:
        if bar is None:
            continue
        own = MINUTES[bar.time : now - pd.Timedelta("1min")]  # both ends are in
        assert bar.time <= own.index[0]
        assert bar.closes_at > now
        prices = (own["open"].iloc[0], own["high"].max(), own["low"].min(), own["close"].iloc[-1])
        assert (bar.open, bar.high, bar.low, bar.close) == prices
        assert (bar.volume, bar.base_count) == (own["volume"].sum(), len(own))
    none = [now for now, bar in watched.kept[interval] if bar is None]
    assert {"5m": len(MINUTES) // 5, "1d": 6, "1w": 1, "1mo": 1}[interval] == len(none)


def test_the_forming_bar_is_no_bar(watched: Watch):
    """It can't pass for a completed one, nor be changed, and says when it closes."""
    _, bar = watched.kept["1w"][0]
    assert not isinstance(bar, Bar)
    assert bar is not None
    assert (bar.is_complete, bar.base_count, bar.expected_count) == (False, 1, 1380)
    assert (bar.time, bar.closes_at) == (pd.Timestamp("2024-11-25", tz=ZONE), pd.Timestamp("2024-11-29 13:00", tz=ZONE))
    assert repr(bar).startswith("FormingBar(ASSET 1w 2024-11-25")
    with pytest.raises(AttributeError):
        bar.close = 1.0  # type: ignore[misc]


def test_the_unfinished_week_is_the_forming_one(watched: Watch):
    """What is never delivered at the data's end is there as forming."""
    _, bar = watched.kept["1w"][-1]
    assert bar is not None
    assert (bar.base_count, bar.expected_count) == (780, 1950)
    assert bar.closes_at == pd.Timestamp("2024-12-06 16:00", tz=ZONE)


def test_an_interval_may_be_left_out_where_there_is_one():
    """Else it has to be named; a length that can't be built says why."""

    class Ask(nb.Strategy):
        interval: str | None = None

        def on_bar(self, bar: Bar) -> None:
            self.last = self.forming(self.interval)

    one = Ask()
    nb.backtest(MINUTES, one, derived=["1d"], config={"exchange": "XNYS"})
    assert one.last is None
    for settings, words in (
        ({"derived": ["1d", "1w"]}, "forming.. needs an interval.*the run has 1d, 1w"),
        ({}, "the run has no derived ones"),
        ({"interval": "1m"}, "is not a multiple of interval 1m"),
        ({"interval": "2d"}, "beyond 1d there are 1w and 1mo"),
    ):
        with pytest.raises(nb.StrategyError, match=words):
            nb.backtest(MINUTES, Ask, config={"exchange": "XNYS"}, **settings)


# -- several lengths of one symbol --------------------------------------------------------------------------


def test_other_bases_are_delivered_like_derived_bars():
    """At their ends, after the base bars of the instant; orders fill on the base alone; they are plain bars."""

    class Trade(Diary):
        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            if bar.interval == "1d" and not self.position():
                self.buy(size=1)

    one = Trade()
    result = nb.backtest({"EXE": {"1d": DAYS, "1m": MINUTES}}, one, derived=["5m"], config={"exchange": "XNYS"})
    assert [bar.interval for now, bar in one.seen if now == pd.Timestamp("2024-11-29 13:00", tz=ZONE)] == [
        "1m",
        "5m",
        "1d",
    ]
    assert {type(bar) for bar in derived(one.seen, "1d")} == {Bar}
    assert [bar.close for bar in derived(one.seen, "1d")] == DAYS["close"].tolist()
    assert result.fills["time"].iloc[0] == pd.Timestamp("2024-11-26 09:30", tz=ZONE)
    assert result.metrics["session"]["disagreements"] == 0


def test_disagreements_are_counted_in_the_status():
    """Daily closes that the minutes don't have: a warning, and a number in the status."""
    wrong = DAYS.assign(close=(DAYS["high"] + DAYS["low"]) / 2)
    with pytest.warns(nb.DataQualityWarning, match="disagree"):
        result = nb.backtest({"EXE": {"1d": wrong, "1m": MINUTES}}, Diary, config={"exchange": "XNYS"})
    assert result.metrics["session"]["disagreements"] > 0


def test_an_audit_cuts_other_bases_too():
    """A strategy on bars of two lengths, a week and a forming bar is found clear."""

    class Mixed(nb.Strategy):
        def on_start(self) -> None:
            self.slow = self.indicator(lambda close: pd.Series(close).rolling(2).mean(), "close", interval="1d")
            self.week = self.indicator(lambda close: close * 1.0, "close", interval="1w")

        def on_bar(self, bar: Bar) -> None:
            today = self.forming("1d")
            if bar.interval == "1m" and today is not None and len(self.slow) > 1:
                self.order_target_size(1.0 if today.close > self.slow[-1] else 0.0)

    data = {"EXE": {"1d": DAYS, "1m": MINUTES}}
    config = {"exchange": "XNYS", "data": {"derived_intervals": ["1w"]}}
    report = nb.audit_lookahead(data, Mixed, config=config, cuts=6)
    assert report.clear, report


def test_weeks_of_extended_hours_end_with_them():
    """With hours of the session's own a week has all of their bars, and is delivered at their close."""
    config = {
        "exchange": "XNYS",
        "hours": {"open": "04:00", "close": "20:00"},
        "backtest": {"start_date": "2024-11-25", "end_date": "2024-12-03"},
        "data": {"source": "synthetic", "symbols": ["EXE"], "interval": "5m", "derived_intervals": ["1d", "1w"]},
    }
    strategy = Diary()
    result = nb.backtest(None, strategy, config=config | {"data": config["data"] | {"warmup_bars": {"1w": 1}}})
    [week] = derived(strategy.seen, "1w")
    assert (week.base_count, week.expected_count) == (4 * 192, 4 * 192)
    assert week.end.strftime("%m-%d %H:%M") == "11-29 20:00"
    assert [bar.expected_count for bar in derived(strategy.seen, "1d")] == [192] * 6
    assert result.metrics["session"]["warmup"]["EXE"]["1w"] == {"asked": 1, "got": 1}


@pytest.mark.parametrize("policy", ["refuse", "warn", "drop"])
def test_other_bases_follow_the_policy_of_faults(policy: str):
    """A daily bar with a high of nothing refuses the run, or is left out, with the warning that names it or without."""
    days = DAYS.copy()
    days.iloc[1, days.columns.get_loc("high")] = 0.0
    data = {"EXE": {"1m": MINUTES, "1d": days}}
    config = {"quality": {"faults": policy}}
    if policy == "refuse":
        with pytest.raises(nb.DataError, match="high is below low"):
            diary(data, data=config)
        return
    with pytest.warns(nb.DataQualityWarning) as told:
        seen = diary(data, data=config)
    assert len(derived(seen, "1d")) == len(days) - 1
    named = [str(one.message) for one in told if "rows left out" in str(one.message)]
    assert len(named) == (policy == "warn")
    assert all("its 1d bars" in text for text in named)
    assert any("disagree" in str(one.message) for one in told)  # the session that has minutes and no day
