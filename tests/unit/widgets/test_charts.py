"""What the charts show: bounded, floats only, and of the right bars."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import talib

import nbbacktest as nb
from nbbacktest.widgets.account_chart import AccountChart, AccountCurves, ThinnedCurve
from nbbacktest.widgets.bar_chart import (
    BOUGHT,
    CANDLES,
    COUNT,
    FOLLOWED,
    OVERLAYS,
    SOLD,
    STUDIES,
    BarChart,
    ChartSelection,
)
from nbbacktest.widgets.sync_chart import SyncChart, SyncSample


class Trader(nb.Strategy):
    """Turns over now and then, with a stop under each position."""

    def on_start(self):
        self.mean = self.indicator(talib.SMA, "close", 5)
        self.rsi = self.indicator(talib.RSI, "close", 14)

    def on_bar(self, bar):
        if bar.interval != self.base_interval:
            return
        place = int(bar.close * 1e4) % 7
        if place == 0 and not self.position(bar.symbol).size:
            self.buy(bar.symbol, size=10, stop_loss=bar.close * 0.9)
        elif place == 3 and self.position(bar.symbol).size:
            self.close(bar.symbol)


def minutes(count: int) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 3e-4, count)))
    start = np.r_[close[:1], close[:-1]]
    return pd.DataFrame(
        {
            "open": start, "high": np.maximum(start, close) * 1.0002, "low": np.minimum(start, close) * 0.9998,
            "close": close, "volume": np.arange(count, dtype=float) % 50 + 1,
        },
        index=pd.date_range("2024-01-01", periods=count, freq="1min"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def ended() -> nb.SystemManager:
    system = nb.SystemManager()
    config = {"exchange": "24/7", "timezone": "UTC", "data": {"derived_intervals": ["5m"]}}
    system.start(config, data=minutes(30_000), strategies=Trader)
    system.wait()
    return system


def bars_of(run, selection):
    """The bar chart of a run's newest frame."""
    frame = run.analysis.frame
    return BarChart(frame.axis.series).props(frame, selection)


def account_of(run, symbol):
    """The account chart of a run's newest frame."""
    frame = run.analysis.frame
    return AccountChart(run.config.broker.cash, frame.axis.series).props(frame, symbol)


def arrays(props) -> Iterator[np.ndarray]:
    for trace in props.traces:
        yield from (value for value in trace.values() if isinstance(value, np.ndarray))


def only(system) -> str:
    return system.run.world.timeline.series[0].symbol


def test_following_shows_the_newest_bars(ended):
    """A chart that follows draws the last bars, each a candle, and nothing after the cursor."""
    props = bars_of(ended.run, ChartSelection(only(ended), "1m"))
    candles = props.traces[CANDLES]
    assert len(props.traces) == COUNT
    assert len(candles["x"]) == FOLLOWED
    assert candles["close"][-1] == ended.run.world.timeline.series[0].columns.close[-1]
    assert props.layout["xaxis.range"][0] < candles["x"][0] < candles["x"][-1] < props.layout["xaxis.range"][1]


@pytest.mark.parametrize("span", [None, (1704067200000.0, 1704900000000.0), (1704067200000.0, 1704070800000.0)])
def test_at_most_six_hundred_candles_whatever_is_in_sight(ended, span):
    """All, a part, or an hour: candles are joined until they can be drawn without a wait."""
    props = bars_of(ended.run, ChartSelection(only(ended), "1m", follows=False, span=span))
    assert 0 < len(props.traces[CANDLES]["x"]) <= 600


def test_everything_that_is_drawn_is_a_contiguous_float(ended):
    """An int64 or an object column would go to the browser as text, twenty times as slow."""
    symbol = only(ended)
    sync = SyncChart()
    sync.add(SyncSample(1.0, 60.0, 59.0, 0.001, 3))
    all_props = [
        bars_of(ended.run, ChartSelection(symbol, "5m", follows=False)),
        bars_of(ended.run, ChartSelection(symbol, "1m")),
        account_of(ended.run, symbol),
        sync.props(),
    ]
    found = [column for props in all_props for column in arrays(props)]
    assert len(found) > 20
    assert {str(column.dtype) for column in found} == {"float64"}
    assert all(column.flags.c_contiguous for column in found)


def test_fills_and_indicators_stand_on_their_candles(ended):
    """Marks lie on drawn candles; a price-like indicator lies over the prices, an oscillator under them."""
    props = bars_of(ended.run, ChartSelection(only(ended), "1m"))
    for mark in (BOUGHT, SOLD):
        assert set(props.traces[mark]["x"]) <= set(props.traces[CANDLES]["x"])
    over = [trace["name"] for trace in props.traces[-OVERLAYS - STUDIES : -STUDIES] if trace.get("visible")]
    under = [trace["name"] for trace in props.traces[-STUDIES:] if trace.get("visible")]
    assert over == ["SMA(close, 5)"]
    assert under == ["RSI(close, 14)"]


def test_levels_of_open_orders_are_drawn():
    """A limit, a stop and a touch have a line each, of their own colour."""

    class Waits(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 5:
                self.buy(size=1, limit=50.0)
                self.buy(size=1, stop=150.0)
                self.buy(size=1, touch=60.0)

    system = nb.SystemManager()
    config = {"exchange": "24/7", "timezone": "UTC"}
    system.start(config, data=minutes(40), strategies=Waits, wait=True)
    props = bars_of(system.run, ChartSelection(only(system), "1m"))
    limit, stop, touch = props.traces[SOLD + 1 : -OVERLAYS - STUDIES]
    assert [trace["y"][:2].tolist() for trace in (limit, stop, touch)] == [[50, 50], [150, 150], [60, 60]]


def test_one_moment_of_a_run_can_be_seen():
    """A panel that meets a run at rest knows one moment of it: points, as a line of one point isn't drawn."""
    sync = SyncChart()
    sync.add(SyncSample(1.0, 60.0, 59.0, 0.001, 3))
    assert {trace["mode"] for trace in sync.props().traces} == {"markers"}
    sync.add(SyncSample(1.0, 60.0, 59.0, 0.001, 3))
    assert {trace["mode"] for trace in sync.props().traces} == {"markers"}
    sync.add(SyncSample(2.0, 60.0, 59.0, 0.001, 3))
    assert {trace["mode"] for trace in sync.props().traces} == {"lines"}


def test_before_the_first_bar_nothing_is_drawn():
    """A run that is held before its first bar has an empty chart, not a wrong one."""
    system = nb.SystemManager()
    system.start(paused=True)
    bars, account = bars_of(system.run, ChartSelection("EXE", "1m")), account_of(system.run, "EXE")
    system.stop()
    assert not any(trace["visible"] for trace in (*bars.traces, *account.traces))


def test_curves_grown_in_pieces_are_the_results_curve(ended):
    """Equity computed as the run goes on is the result's, to the last bit, however it was cut."""
    result = ended.wait()
    frame = ended.run.analysis.frame
    curves = AccountCurves(ended.run.config.broker.cash, frame.axis.series)
    counts = [fill.index for fill in ended.run.world.desk.fills]
    for cut in (1, 7, 500, 501, 20_000, 30_000):
        done = sum(index < cut for index in counts)
        agent = frame.agent.__class__(**{**_fields(frame.agent), "n_fills": done})
        curves.grow(frame._replace(cursor=cut, agent=agent))
    assert np.array_equal(curves.equity.values, result.equity_values)


def _fields(agent) -> dict[str, object]:
    return {name: getattr(agent, name) for name in agent.__dataclass_fields__}


def test_thinning_keeps_every_high_and_low():
    """However long a curve is, its highest and lowest values and its ends are drawn."""
    values = np.random.default_rng(5).normal(size=200_000)
    thinned = ThinnedCurve()
    for stop in (100, 63_999, 64_001, 200_000):
        thinned.extend(values[thinned.count : stop])
        rows = thinned.rows(400, stop)
        assert len(rows) <= 1_700
        assert {0, stop - 1, int(values[:stop].argmax()), int(values[:stop].argmin())} <= set(rows.tolist())
        assert all(a < b for a, b in pairwise(rows.tolist()))
