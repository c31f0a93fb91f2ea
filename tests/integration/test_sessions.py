"""Sessions through the whole system: real bars against exchange_calendars itself, clocks, breaks, and how runs are driven."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data import synthetic
from nbbacktest.engine.coordinator import run_inline
from nbbacktest.system.builder import build

ZONE = "America/New_York"


class Told(nb.Strategy):
    """Keeps what it is told of sessions, and trades at their edges and at its times."""

    def on_start(self):
        self.starts, self.ends, self.calls, self.months = [], [], [], []
        self.schedule(self.leave, before_close=5)
        self.schedule(lambda: self.months.append(self.now), after_open=30, every="month_end")

    def on_session_start(self, date):
        self.starts.append((date, self.now, {s: len(self.bars(s)) for s in self.symbols}))
        for symbol in self.symbols:
            if len(self.bars(symbol)):
                self.buy(symbol, 10, tif="day")

    def leave(self):
        self.calls.append(self.now)
        for symbol in self.symbols:
            self.close(symbol)

    def on_session_end(self, date):
        self.ends.append((date, self.now, {s: len(self.bars(s)) for s in self.symbols}))


def real(folder: Path, *symbols: str, **more: Any) -> dict[str, Any]:
    path = str(folder / "{symbol}_1min_2024Q4.csv.gz")
    data = {"source": "csv", "path": path, "symbols": list(symbols), "interval": "1m", "stamp": "open"}
    return {"exchange": "XNYS", "data": data, **more}


def plain_calendar() -> pd.DataFrame:
    """What exchange_calendars says of the quarter, asked directly."""
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exchange_calendars.get_calendar("XNYS", start="2024-09-01", end="2025-01-31").schedule


@pytest.mark.parametrize("symbols", [("EXE", "SW", "CPAY"), ("CPAY",)])
def test_a_quarter_of_real_bars_is_told_as_the_calendar_has_it(shared_data: Path, symbols: tuple[str, ...]):
    """63 sessions with their dates, opens and closes, half days too; and at each edge as many bars as pandas counts."""
    told = Told()
    result = nb.backtest(None, told, config=real(shared_data, *symbols))
    schedule = plain_calendar().loc["2024-10-01":"2024-12-31"]
    stamps = {
        s: pd.to_datetime(pd.read_csv(shared_data / f"{s}_1min_2024Q4.csv.gz")["timestamp"], utc=True) for s in symbols
    }
    every = pd.concat(stamps.values())
    schedule = schedule[schedule.index.isin(every.dt.tz_convert(ZONE).dt.normalize().dt.tz_localize(None))]
    assert len(schedule) == 63
    assert [row[0] for row in told.starts] == [row[0] for row in told.ends] == [day.date() for day in schedule.index]
    for (_, now, seen), opened in zip(told.starts[1:], schedule["open"][1:], strict=True):
        assert now == opened
        assert seen == {s: int((stamps[s] < opened).sum()) for s in symbols}
    last = every.max() + pd.Timedelta("1min")
    for (_, now, seen), closed in zip(told.ends, schedule["close"], strict=True):
        assert now == min(closed, last)
        assert seen == {s: int((stamps[s] < closed).sum()) for s in symbols}
    assert [now.hour for date, now, _ in told.ends if f"{date:%m-%d}" in ("11-29", "12-24")] == [13, 13]
    # The first minute at or after five to the close that any symbol has; the close where none has one.
    ends = np.unique(every + pd.Timedelta("1min"))
    for now, closed in zip(told.calls, schedule["close"], strict=True):
        after = ends[(ends >= closed - pd.Timedelta("5min")) & (ends <= closed)]
        assert now == (after[0] if len(after) else min(closed, last))
    assert [f"{now:%m-%d %H:%M}" for now in told.months][:2] == ["10-31 10:00", "11-29 10:00"]
    bought = [fill for fill in result.record.fills if fill.side == "buy"]
    assert len(bought) == 62 * len(symbols)
    first = {s: stamps[s].groupby(stamps[s].dt.tz_convert(ZONE).dt.date).min() for s in symbols}
    assert {(f.symbol, f.time_ns) for f in bought} == {
        (s, stamp.as_unit("ns").value) for s in symbols for stamp in first[s].iloc[1:]
    }


def test_sessions_do_not_depend_on_how_a_run_is_driven(shared_data: Path):
    """Windows of one instant, of seven and of thousands, threads or none, steps: what is told and filled is the same."""
    dates = {"start_date": "2024-11-27", "end_date": "2024-12-02"}
    config = real(shared_data, "CPAY", "SW", backtest=dates)
    config["data"] |= {"derived_intervals": ["15m"], "warmup_days": 1}
    seen = []
    for window in (None, 1, 7, 4096):
        told = Told()
        stages = build(SessionConfig.load(config), Lifecycle(), Monitor(), strategies=told, window=window)
        run_inline(stages.world.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
        seen.append(
            ([(f.time_ns, f.symbol, f.price) for f in stages.world.desk.fills], told.starts, told.ends, told.calls)
        )
    system, told = nb.SystemManager(), Told()
    system.start(config, strategies=told, paused=True)
    for count in (1, 388, 1, 1, 60):
        system.step(count)
    system.resume()
    fills = system.wait(20).record.fills
    seen.append(([(f.time_ns, f.symbol, f.price) for f in fills], told.starts, told.ends, told.calls))
    assert all(one == seen[0] for one in seen[1:])
    assert len(seen[0][1]) == 3
    assert len(seen[0][0]) == 12


def test_a_pause_at_the_close_finds_the_session_ended():
    """What belongs to an instant has happened when the run rests at it, and nothing of the next session has."""
    bars = synthetic.bars("EXE", "2024-10-03", "2024-10-04", interval="30m")
    system, told = nb.SystemManager(), Told()
    system.start({}, data=bars, strategies=told, paused=True)
    system.step(13)
    assert (len(told.starts), len(told.calls), len(told.ends)) == (1, 1, 1)
    system.step()
    assert (len(told.starts), len(told.ends)) == (2, 1)
    system.stop()


@pytest.mark.parametrize(
    ("exchange", "first", "last"),
    [
        ("XNYS", "2024-03-08", "2024-03-11"),
        ("XNYS", "2024-11-01", "2024-11-04"),
        ("XLON", "2024-03-28", "2024-04-02"),
        ("XLON", "2024-10-25", "2024-10-28"),
        ("XTKS", "2024-03-08", "2024-03-11"),
        ("XTKS", "2024-11-01", "2024-11-05"),
    ],
)
def test_clock_changes_move_nothing_in_local_time(exchange: str, first: str, last: str):
    """A call at ten, derived hours, starts and ends on both sides of a change; daily bars are one a session."""
    seen: list[str] = []

    class Local(nb.Strategy):
        def on_start(self):
            self.schedule(lambda: seen.append(f"{self.now:%H:%M}"), at="10:00")

        def on_session_start(self, date):
            seen.append(f"{self.now:%Y-%m-%d %H:%M}")
            assert f"{self.now:%Y-%m-%d}" == date.isoformat()

        def on_bar(self, bar):
            if bar.interval == "1d":
                seen.append(f"day {bar.time:%H:%M}")

    config = {
        "exchange": exchange,
        "backtest": {"start_date": first, "end_date": last},
        "data": {"symbols": ["EXE"], "interval": "30m", "derived_intervals": ["1d"]},
    }
    nb.backtest(None, Local, config=config)
    opens = {"XNYS": "09:30", "XLON": "08:00", "XTKS": "09:00"}[exchange]
    assert seen == [f"{first} {opens}", "10:00", "day 00:00", f"{last} {opens}", "10:00", "day 00:00"]


def test_the_clock_skips_a_lunch_break_at_once():
    """In open market time the first bar of Tokyo's afternoon follows the last one of the morning."""
    config = {
        "exchange": "XTKS",
        "backtest": {"start_date": "2024-09-02", "end_date": "2024-09-03"},
        "data": {"symbols": ["EXE"], "derived_intervals": ["1h"]},
        "strategies": [{"class": "nbbacktest.strategies:BuyAndHold"}],
    }
    stages = build(SessionConfig.load(config), Lifecycle(), Monitor())
    seconds = np.diff(stages.world.timeline.seconds)
    assert len(stages.world.timeline) == 600
    assert set(seconds.tolist()) == {60.0}
    hours = next(series for series in stages.world.timeline.series if series.interval == "1h").columns
    local = pd.DatetimeIndex(hours.time, tz="UTC").tz_convert("Asia/Tokyo").strftime("%H:%M").tolist()
    assert local[:6] == ["09:00", "10:00", "11:00", "12:30", "13:30", "14:30"]


def test_extended_hours_take_in_what_comes_before_and_after():
    """Bars of the evening are in the session: derived bars begin at its open, a day order lives to its close."""
    index = pd.date_range("2024-11-29 04:00", "2024-11-29 17:00", freq="30min", tz=ZONE, inclusive="left")
    price = 10.0 + np.arange(len(index))
    frame = pd.DataFrame({"open": price, "high": price, "low": price, "close": price}, index=index)

    class Evening(nb.Strategy):
        def on_start(self):
            self.seen = []

        def on_bar(self, bar):
            if bar.interval == "2h":
                self.seen.append(f"{bar.time:%H:%M}")
            if bar.close == 20:
                self.order = self.buy(size=1, stop=35.0, tif="day")

    evening = Evening()
    hours = {"exchange": "XNYS", "hours": {"open": "04:00", "close": "20:00"}}
    nb.backtest(frame, evening, derived=("2h",), config=hours)
    assert evening.seen == ["04:00", "06:00", "08:00", "10:00", "12:00", "14:00", "16:00"]
    assert evening.order.status == "filled"
    with pytest.raises(nb.DataError, match="set hours in the config to extended ones"):
        nb.backtest(frame, Evening, derived=("2h",), config={"exchange": "XNYS"})


def test_an_order_of_a_sessions_start_is_explained(shared_data: Path):
    """At its first bar it was there already, and filled."""
    config = real(shared_data, "EXE", backtest={"start_date": "2024-11-27", "end_date": "2024-11-29"})
    result = nb.backtest(None, Told, config=config)
    told = str(result.explain("2024-11-29 09:30"))
    assert "fill" in told.lower()
    assert "not yet live" not in told


def test_sessions_go_on_when_a_symbol_joins():
    """Its bars may complete where none did before: each session still starts and ends once, now with its last bar."""
    whole = synthetic.bars(["A", "B"], "2024-10-03", "2024-10-08", interval="30m")
    gappy = whole["A"][whole["A"].index.strftime("%H:%M") != "15:30"]
    seen = []

    class Diary(nb.Strategy):
        def on_start(self):
            self.schedule(lambda: seen.append(("call", f"{self.now:%d %H:%M}", self.symbols)), before_close=10)

        def on_session_start(self, date):
            seen.append(("start", f"{self.now:%d %H:%M}", len(self.bars("A"))))

        def on_session_end(self, date):
            seen.append(("end", f"{self.now:%d %H:%M}", len(self.bars("A"))))

        def on_bar(self, bar):
            seen.append(("bar", bar.symbol))

    system = nb.SystemManager()
    system.start({"exchange": "XNYS"}, data={"A": gappy}, strategies=Diary, paused=True)
    system.step(15)
    system.add_symbol("B", data=whole["B"])
    system.resume()
    system.wait(20)
    told = [row for row in seen if row[0] != "bar"]
    assert told == [
        ("start", "03 09:30", 0), ("call", "03 16:00", ("A",)), ("end", "03 16:00", 12),
        ("start", "04 09:30", 12), ("call", "04 16:00", ("A", "B")), ("end", "04 16:00", 24),
        ("start", "07 09:30", 24), ("call", "07 16:00", ("A", "B")), ("end", "07 16:00", 36),
        ("start", "08 09:30", 36), ("call", "08 16:00", ("A", "B")), ("end", "08 16:00", 48),
    ]  # fmt: skip
    assert seen[seen.index(told[4]) - 1] == ("bar", "B")
