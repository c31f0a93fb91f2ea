"""Figures between a pump and a browser: what is sent, how much of it, and what a page finds that loads later."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.widgets import drawings
from nbbacktest.widgets.account import Account
from nbbacktest.widgets.candles import CANDLES, Bars, Sight
from nbbacktest.widgets.figures import LiveFigure


def listened(figure: LiveFigure) -> list[tuple[dict, list]]:
    """Everything that the figure sends from now on."""
    sent: list[tuple[dict, list]] = []
    figure._send = lambda message, buffers=None: sent.append((message, list(buffers or [])))
    return sent


def size(message: tuple[dict, list]) -> int:
    return len(json.dumps(message[0], default=str)) + sum(memoryview(part).nbytes for part in message[1])


@pytest.fixture(scope="module")
def million() -> nb.SystemManager:
    count = 1_000_000
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, count)))
    frame = pd.DataFrame(
        {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1000.0},
        index=pd.date_range("2015-01-01", periods=count, freq="1min"),
    )

    class Now(nb.Strategy):
        def on_bar(self, bar):
            if bar.time_ns % 7_200_000_000_000 == 0:
                self.order_target_size(bar.symbol, 0 if self.position(bar.symbol).size else 1)

    system = nb.SystemManager()
    system.start({"exchange": "24/7", "timezone": "UTC"}, data=frame, strategies=Now)
    system.wait()
    return system


@pytest.mark.parametrize(
    "sight", [{"follows": True}, {"follows": False}, {"follows": False, "span": (1.45e12, 1.46e12)}]
)
def test_no_message_is_large_on_a_million_bars(million, sight):
    """Followed, whole or zoomed: each frame of a million bars is one message under 300 KB."""
    run, frame = million.run, million.run.analysis.frame
    symbol = run.timeline.series[0].symbol
    figures = (drawings.bars_figure(), drawings.equity_figure())
    scenes = (Bars(run).scene(frame, Sight(symbol, "1m", **sight)), Account(run).scene(frame, symbol))
    for figure, scene in zip(figures, scenes, strict=True):
        sent = listened(figure)
        figure.draw(scene.traces, scene.layout)
        assert len(sent) == 1
        assert size(sent[0]) < 300_000
        assert all(len(trace.get("x", ())) <= 1_300 for trace in scene.traces)
    assert len(scenes[0].traces[CANDLES]["x"]) <= 600


def test_columns_go_as_bytes():
    """Numbers are sent as buffers; an int64 column would be sent as text, which this test is here to notice."""
    figure = drawings.equity_figure()
    sent = listened(figure)
    column = np.arange(500, dtype=np.float64)
    figure.draw([{"x": column, "y": column, "visible": True}, {}, {}], {})
    assert len(sent[0][1]) == 2
    assert size(sent[0]) < 10_000
    figure.draw([{"x": column.astype(np.int64) + 1}, {}, {}], {})
    assert not sent[1][1], "plotly sends int64 as buffers now: the rule can go"


def test_only_differences_are_sent():
    """What was drawn already isn't sent again, and a frame without news sends nothing."""
    figure = drawings.equity_figure()
    x, y = np.arange(5.0), np.arange(5.0)
    assert figure.draw([{"x": x, "y": y, "visible": True}, {}, {}], {"xaxis.visible": True})
    sent = listened(figure)
    assert not figure.draw([{"x": x.copy(), "y": y.copy(), "visible": True}, {}, {}], {"xaxis.visible": True})
    assert figure.draw([{"x": x, "y": y + 1, "visible": True}, {}, {}], {"xaxis.visible": True})
    update = sent[0][0]["state"]["_py2js_update"]
    assert set(update["style_data"]) == {"y"}
    assert update["layout_data"] == {"xaxis.type": "date"}


def test_a_page_that_loads_later_finds_the_figure_full():
    """What a reconnecting page is given is the figure as it was drawn last, not as it was made."""
    figure = drawings.bars_figure()
    column = np.arange(20.0)
    prices = {"open": column, "high": column, "low": column, "close": column, "x": column, "visible": True}
    figure.draw([prices, *[{}] * (len(figure.data) - 1)], {"yaxis.range": [1.0, 2.0]})
    state = figure.get_state()
    assert state["_widget_data"][CANDLES]["x"]["shape"] == (20,)
    assert state["_widget_layout"]["yaxis"]["range"] == [1.0, 2.0]
    assert state["_py2js_update"] is None


def test_acknowledgements_pace_the_pump():
    """A figure is behind from an update on until the page says that it drew it; one that was never drawn never is."""
    figure = drawings.bars_figure()
    heard = []
    figure.listen(lambda: heard.append(1), lambda _changes: None)
    nothing = [{}] * len(figure.data)
    figure.draw(nothing, {"yaxis.range": [0.0, 1.0]})
    assert not figure.is_behind
    figure._js2py_traceDeltas = {"trace_deltas": [], "trace_edit_id": 1}
    figure.draw(nothing, {"yaxis.range": [0.0, 2.0]})
    assert figure.is_behind
    figure._js2py_traceDeltas = {"trace_deltas": [], "trace_edit_id": 2}
    assert not figure.is_behind
    assert len(heard) == 2


def test_figures_take_the_library_from_the_page():
    """A figure doesn't bring the chart library with it: that goes once a kernel, packed."""
    figure = drawings.sync_figure()
    assert len(figure.get_state()["_esm"]) < 10_000
