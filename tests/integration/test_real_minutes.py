"""A quarter of real minutes through the whole system, against what pandas makes of the same files."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

import nbbacktest as nb

ZONE = "America/New_York"
HALF_DAYS = ("2024-11-29", "2024-12-24")
STEPS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
FIELDS = ["symbol", "interval", "time", "end", "open", "high", "low", "close", "volume"]
MINUTE = pd.Timedelta(minutes=1)


def config(folder: Path, symbols: tuple[str, ...] = ("EXE", "SW"), speed: float = 0) -> dict:
    return {
        "session_name": "A real quarter",
        "exchange": "XNYS",
        "backtest": {"speed_multiplier": speed},
        "data": {
            "source": "csv",
            "path": str(folder / "{symbol}_1min_2024Q4.csv.gz"),
            "symbols": list(symbols),
            "interval": "1m",
            "stamp": "open",
            "derived_intervals": ["1h", "5m", "15m"],
        },
        "broker": {"cash": 1_000_000, "commission": {"model": "percent", "rate": 0.0005}},
    }


def minutes_of(folder: Path, symbol: str) -> pd.DataFrame:
    frame = pd.read_csv(folder / f"{symbol}_1min_2024Q4.csv.gz", dtype=str)
    for name in ("open", "high", "low", "close", "volume"):
        frame[name] = frame[name].map(float)
    frame["time"] = pd.to_datetime(frame.pop("timestamp"), utc=True).dt.tz_convert(ZONE)
    return frame.assign(symbol=symbol, interval="1m", end=frame["time"] + MINUTE)


def coarser(base: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Bars anchored to 09:30 and cut at the close, 13:00 on half days; only from the minutes that there are."""
    step = pd.Timedelta(minutes=STEPS[interval])
    midnight = base["time"].dt.normalize()
    opened = midnight + pd.Timedelta(hours=9, minutes=30)
    begin = opened + (base["time"] - opened) // step * step
    bars = base.groupby(begin).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "symbol": "first"}
    )
    half = bars.index.strftime("%Y-%m-%d").isin(HALF_DAYS)
    closed = bars.index.normalize() + pd.to_timedelta(np.where(half, 13, 16), unit="h")
    end = pd.Series(np.minimum(bars.index + step, closed), bars.index)
    return bars.assign(interval=interval, time=bars.index, end=end)


@pytest.fixture(scope="module")
def plain(shared_data: Path) -> pd.DataFrame:
    """All bars of EXE and SW in the order in which a strategy is to get them."""
    parts = []
    for rank, symbol in enumerate(("EXE", "SW")):
        base = minutes_of(shared_data, symbol)
        for interval, step in STEPS.items():
            parts.append((base if step == 1 else coarser(base, interval)).assign(step=step, rank=rank))
    bars = pd.concat(parts, ignore_index=True)
    return bars.sort_values(["end", "step", "rank"], ignore_index=True)


def values(bars: pd.DataFrame) -> list[tuple]:
    table = bars[FIELDS].assign(**{name: pd.DatetimeIndex(bars[name]).as_unit("ns").asi8 for name in ("time", "end")})
    return list(table.itertuples(index=False, name=None))


class Recorder(nb.Strategy):
    """Keeps every bar; looks around at some of them for one that should not be there yet."""

    def on_start(self):
        self.got, self.early = [], []

    def on_bar(self, bar):
        self.got.append(bar)
        if len(self.got) % 37 == 0:
            now = self.now.value
            self.early += [
                (symbol, interval, now)
                for symbol in self.symbols
                for interval in STEPS
                if len(view := self.bars(symbol, interval)) and (view[-1].end_ns > now or bar.end_ns != now)
            ]


class Crossing(nb.Strategy):
    """Trades both symbols by a moving average of minutes and by quarter hours."""

    def on_start(self):
        import talib

        self.fast = {s: self.indicator(talib.SMA, "close", 10, symbol=s) for s in self.symbols}
        self.slow = {s: self.indicator(talib.SMA, "close", 40, symbol=s) for s in self.symbols}

    def on_bar(self, bar):
        if bar.interval == "15m" and bar.close < bar.open and len(self.orders(bar.symbol)) < 3:
            self.buy(bar.symbol, 5, limit=bar.low)
        if bar.interval != "1m":
            return
        size = self.position(bar.symbol).size
        if self.fast[bar.symbol][-1] > self.slow[bar.symbol][-1]:
            if size <= 0:
                self.order_target_size(bar.symbol, 100)
        elif size > 0:
            self.close(bar.symbol)


@pytest.fixture(scope="module")
def crossed(shared_data: Path) -> nb.Result:
    system = nb.SystemManager()
    system.start(config(shared_data), strategies=Crossing, wait=True)
    return system.wait()


def test_every_bar_arrives_once_in_order_and_not_before_its_end(shared_data, plain):
    """Base and derived bars, their times and values and their order are pandas's; half days end at 13:00."""
    system = nb.SystemManager()
    system.start(config(shared_data), strategies=Recorder, wait=True)
    strategy = system.strategies[0]
    got = [structs.astuple(bar)[:9] for bar in strategy.got]
    assert Counter(bar[:2] for bar in got) == Counter(zip(plain["symbol"], plain["interval"], strict=True))
    assert got == values(plain)
    assert strategy.early == []
    for day in HALF_DAYS:
        last = max(bar.end for bar in strategy.got if str(bar.time.date()) == day and bar.interval == "1h")
        assert str(last) == f"{day} 13:00:00-05:00"
    result = system.wait()
    assert result.stats["bars"] == 23_645 + 23_865
    assert len(result.equity) == plain["end"].nunique()


@pytest.mark.parametrize(
    "moment", ["2024-10-02 09:31", "2024-11-04 10:00", "2024-11-29 13:00", "2024-12-02 09:45", "2024-12-31 15:59"]
)
def test_a_look_amid_the_quarter_is_of_one_instant(shared_data, plain, moment):
    """Held at a time, snapshot, status and strategy show exactly the bars that have ended by then."""
    system = nb.SystemManager()
    system.start(config(shared_data), strategies=Recorder, paused=True)
    assert system.run_until(moment) is True
    done = plain[plain["end"] <= pd.Timestamp(moment, tz=ZONE)]
    base = done[done["interval"] == "1m"]
    shot, status = system.snapshot(), system.status()
    assert shot.time == done["end"].iloc[-1]
    assert shot.cursor == done["end"].nunique()
    assert shot.counts == base["symbol"].value_counts().to_dict()
    assert [structs.astuple(shot.bars[s])[:9] for s in ("EXE", "SW")] == [
        values(base[base["symbol"] == s])[-1] for s in ("EXE", "SW")
    ]
    newest = done[done["interval"] != "1m"].groupby(["symbol", "interval"]).tail(1)
    assert {key: structs.astuple(bar)[:9] for key, bar in shot.derived.items()} == {
        row[:2]: row for row in values(newest)
    }
    assert status["session"]["sim_time"] == shot.time.isoformat()
    assert status["session"]["session_date"] == moment[:10]
    assert status["session"]["progress"] == shot.progress == shot.cursor / plain["end"].nunique()
    assert status["performance_metrics"]["bars_processed"] == len(base)
    assert {s: part["bars"] for s, part in status["session"]["symbols"].items()} == shot.counts
    strategy = system.strategies[0]
    assert len(strategy.got) == len(done)
    assert [len(strategy.bars(s, i)) for s in ("EXE", "SW") for i in STEPS] == [
        len(done[(done["symbol"] == s) & (done["interval"] == i)]) for s in ("EXE", "SW") for i in STEPS
    ]
    assert system.stop() is True


def test_the_clock_changes_nothing(shared_data, crossed):
    """Paced by a clock, at a thousand million times: the same fills and equity."""
    assert len(crossed.fills) > 1_000
    system = nb.SystemManager()
    system.start(config(shared_data, speed=1e9), strategies=Crossing, wait=True)
    assert system.wait().fingerprint == crossed.fingerprint
    assert system.status()["subscriptions"]["coordinator->processor"]["mode"] == "clock-driven"


@pytest.mark.parametrize("seed", [1, 2])
def test_being_held_changes_nothing(shared_data, crossed, plain, seed):
    """Paused, stepped, re-paced and let go at random instants: the same fills and equity."""
    dice = random.Random(seed)
    instants = plain["end"].drop_duplicates()
    system = nb.SystemManager()
    system.start(config(shared_data), strategies=Crossing, paused=True)
    while not system.is_stopped():
        try:
            act = dice.choice(["step", "until", "look", "run", "speed"])
            if act == "step":
                system.step(dice.randint(1, 300))
            elif act == "until":
                ahead = min(system.snapshot().cursor + dice.randint(0, 4_000), len(instants) - 1)
                system.run_until(instants.iloc[ahead])
            elif act == "look":
                assert system.snapshot().time is None or system.status()["session"]["sim_time"]
            elif act == "speed":
                system.set_speed(dice.choice([0, 0, 1e9]))
            elif system.resume():
                system.pause()
        except nb.InvalidTransition:
            assert system.is_stopped()
    assert system.error is None
    assert system.wait().fingerprint == crossed.fingerprint


def test_an_order_waits_for_its_symbols_next_trade(shared_data):
    """In a gappy symbol, an order fills at the open of the first bar that begins after its instant; never before."""

    class Patient(nb.Strategy):
        def on_start(self):
            self.count = 0

        def on_bar(self, bar):
            if bar.symbol == "EXE" and bar.interval == "1m":
                self.count += 1
                if self.count % 20 == 0:
                    (self.buy if self.count % 40 else self.sell)("CPAY", 1)

    system = nb.SystemManager()
    system.start(config(shared_data, ("EXE", "CPAY")), strategies=Patient, wait=True)
    record = system.wait().record
    traded = minutes_of(shared_data, "CPAY")
    begins, opens = pd.DatetimeIndex(traded["time"]).as_unit("ns").asi8, traded["open"].to_numpy()
    submitted = np.array([order.submitted_ns for order in record.orders])
    rows = np.searchsorted(begins, submitted, side="left")
    assert len(rows) == 23_645 // 20
    filled = rows < len(begins)
    assert [order.id for order in record.orders if order.is_open] == [
        o.id for o, f in zip(record.orders, filled, strict=True) if not f
    ]
    assert [fill.order_id for fill in record.fills] == [o.id for o, f in zip(record.orders, filled, strict=True) if f]
    assert [fill.time_ns for fill in record.fills] == begins[rows[filled]].tolist()
    assert [fill.price for fill in record.fills] == opens[rows[filled]].tolist()
    waited = begins[rows[filled]] - submitted[filled]
    assert (waited > 60_000_000_000).sum() > 100
