"""Symbols that join a run whose bars are of several lengths: weeks, bars held back, other bases, forming bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.records import Bar
from nbbacktest.data import synthetic

HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
MINUTES = synthetic.bars(["EXE", "SW"], "2024-11-18", "2024-12-03", interval="15m")
# One bar is missing in the second week, which makes that week incomplete and its day too.
MINUTES["SW"] = MINUTES["SW"].drop(MINUTES["SW"].index[26 * 6 + 3])
DAYS = {name: frame.groupby(frame.index.normalize().tz_localize(None)).agg(HOW) for name, frame in MINUTES.items()}
NESTED = {name: {"15m": MINUTES[name], "1d": DAYS[name]} for name in MINUTES}
SETTINGS: dict[str, Any] = {"exchange": "XNYS", "data": {"derived_intervals": ["1h", "1w"], "require_complete": True}}


class Diary(nb.Strategy):
    """Writes down the bars of one symbol, and what is seen of it when it joins."""

    def on_start(self) -> None:
        self.seen: list[Bar] = []
        self.found: dict[str, list[Bar]] = {}
        self.forms: list[tuple[pd.Timestamp, Any]] = []

    def on_symbol_added(self, symbol: str) -> None:
        for interval in ("1h", "1d", "1w"):
            view = self.bars(symbol, interval)
            self.found[interval] = [view[row] for row in range(len(view))]

    def on_bar(self, bar: Bar) -> None:
        if bar.symbol == "SW":
            self.seen.append(bar)
            if bar.interval == self.base_interval:
                self.forms.append((self.now, self.forming("1w", "SW")))


class Minimal(Diary):
    """Looks at nothing when a symbol joins."""

    def on_symbol_added(self, symbol: str) -> None:
        pass


def joined(data: Any, at: str, config: dict[str, Any], *own: Any, kind: type[Diary] = Diary) -> Diary:
    """A run in which SW joins at an instant, with its own bars or the run's."""
    strategy, system = kind(), nb.SystemManager()
    system.start(config, data=data, strategies=strategy, paused=True)
    try:
        assert system.run_until(pd.Timestamp(at, tz="America/New_York"))
        system.add_symbol("SW", *own)
        system.resume()
        system.wait()
    finally:
        system.stop()
    return strategy


def whole() -> Diary:
    strategy = Diary()
    nb.backtest(NESTED, strategy, config=SETTINGS)
    return strategy


@pytest.mark.parametrize("given", ["lengths", "mapping", "source"])
@pytest.mark.parametrize("at", ["2024-11-22 15:45", "2024-11-22 16:00", "2024-11-26 11:07"])
def test_a_symbol_that_joins_has_bars_of_every_length_that_the_run_has(at: str, given: str):
    """Weeks, other bases and what is held back: all as if it had been there, what is completed seen, the rest delivered."""
    alone = {"EXE": NESTED["EXE"]}
    if given == "source":
        config = SETTINGS | {"data": SETTINGS["data"] | {"symbols": ["EXE"]}}
        late = joined(NESTED, at, config)
    else:
        late = joined(alone, at, SETTINGS, NESTED["SW"] if given == "lengths" else {"SW": NESTED["SW"]})
    since, always = pd.Timestamp(at, tz="America/New_York"), whole()
    assert late.seen == [bar for bar in always.seen if bar.end > since]
    assert late.forms == [(now, bar) for now, bar in always.forms if now > since]
    for interval, found in late.found.items():
        assert found == [bar for bar in always.seen if bar.interval == interval and bar.end <= since]
    assert late.found["1d"]
    assert {bar.interval for bar in late.seen} == (
        {"15m", "1h", "1d", "1w"} if at.endswith("15:45") else {"15m", "1h", "1d"}
    )


def test_a_symbol_that_joins_brings_its_file_of_another_length(tmp_path: Path):
    """Where the config names files by symbol, the one that joins has its own; where one file is another's, none."""
    for name in MINUTES:
        MINUTES[name].to_csv(tmp_path / f"{name}-15m.csv", index_label="time")
        DAYS[name].to_csv(tmp_path / f"{name}-1d.csv", index_label="date")
    data = SETTINGS["data"] | {
        "source": "csv", "path": str(tmp_path / "{symbol}-15m.csv"), "symbols": ["EXE"], "interval": "15m",
        "stamp": "open", "other_bases": {"1d": {"path": str(tmp_path / "{symbol}-1d.csv")}}, "warmup_bars": {"1d": 2},
    }  # fmt: skip
    config = SETTINGS | {"data": data, "backtest": {"start_date": "2024-11-21"}}
    late = joined(None, "2024-11-26 11:00", config)
    assert [bar.close for bar in late.found["1d"]] == DAYS["SW"]["close"].iloc[1:6].tolist()
    data["other_bases"] = {"1d": {"path": str(tmp_path / "EXE-1d.csv")}}
    with pytest.raises(nb.StrategyError, match="no 1d bars of SW"):
        joined(None, "2024-11-26 11:00", config)


def test_what_is_forming_goes_on_after_the_other_symbols_bars():
    """A symbol that joins may have bars after the others' last ones; its weeks are the calendar's there too."""
    short = MINUTES["EXE"][:"2024-11-26"]
    late = joined({"EXE": short}, "2024-11-26 11:00", {"exchange": "XNYS"}, MINUTES["SW"], kind=Minimal)
    now, newest = late.forms[-1]
    assert now.strftime("%m-%d %H:%M") == "12-03 16:00"
    assert newest.closes_at == pd.Timestamp("2024-12-06 16:00", tz="America/New_York")
    assert (newest.base_count, newest.expected_count) == (2 * 26, 5 * 26)


def test_warm_up_is_not_asked_for_once_a_symbol_has_joined():
    """Before the first instant, too: what a strategy asks for then is counted, and columns stay what they are."""
    counts = []

    class Asking(nb.Strategy):
        def on_start(self) -> None:
            self.add_symbol("SW", MINUTES["SW"])

        def on_symbol_added(self, symbol: str) -> None:
            counts.append((self.warmup(50, symbol="EXE"), self.warmup(10, symbol=symbol)))

    config = {"exchange": "XNYS", "backtest": {"start_date": "2024-11-25"}}
    with pytest.warns(nb.DataQualityWarning, match="0 of 50"):
        result = nb.backtest({"EXE": MINUTES["EXE"]}, Asking, config=config)
    assert counts == [(0, 0)]
    assert result.metrics["session"]["symbols"]["SW"]["bars"] == len(MINUTES["SW"]["2024-11-25":])
