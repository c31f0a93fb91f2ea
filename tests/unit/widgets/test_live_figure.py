"""Figures between a pump and a browser: what is sent, how much of it, and what a page finds that loads later."""

from __future__ import annotations

import gzip
import json
import re
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.basedatatypes import Undefined

import nbbacktest as nb
from nbbacktest.widgets.account_chart import AccountChart, equity_figure
from nbbacktest.widgets.bar_chart import CANDLES, BarChart, ChartSelection, bars_figure
from nbbacktest.widgets.live_figure import LiveFigure, bring_library
from nbbacktest.widgets.sync_chart import sync_figure


def listened(figure: LiveFigure) -> list[tuple[dict, list]]:
    """Everything that the figure sends from now on."""
    sent: list[tuple[dict, list]] = []
    figure._send = lambda message, buffers=None: sent.append((message, list(buffers or [])))
    return sent


def size(message: tuple[dict, list]) -> int:
    return len(json.dumps(message[0], default=str)) + sum(memoryview(part).nbytes for part in message[1])


class Page:
    """What a page keeps of a figure, by the rules of figure.js; it may miss messages."""

    def __init__(self, figure: LiveFigure) -> None:
        self.figure = figure
        self.open()
        self.missing = False
        figure.observe(lambda change: self.hear(deepcopy(change["new"], {id(Undefined): Undefined})), "_py2js_update")

    def open(self) -> None:
        """Load the page: the kernel gives it the figure's state."""
        state = self.figure.get_state()
        self.version, self.refused = state["_version"], False
        self.data, self.layout = deepcopy(list(self.figure._data)), deepcopy(self.figure._layout_obj._props)

    def hear(self, message) -> None:
        if self.missing or not message:
            return
        if message["base"] is None:
            self.data, self.layout = [{} for _ in message["style_traces"]], {}
        elif message["base"] != self.version:
            self.refused = True
            return
        for name, values in message["style_data"].items():
            for number, trace in enumerate(message["style_traces"]):
                value = values[number % len(values)] if isinstance(values, list) else values
                if value is not Undefined:
                    put(self.data[trace], name, value)
        for name, value in message["layout_data"].items():
            put(self.layout, name, value)
        self.version = message["trace_edit_id"]

    def report(self) -> None:
        """Say what it has, as every view does that comes up or comes into sight."""
        self.figure._message(None, {"kind": "drawn", "version": self.version}, None)

    @property
    def is_right(self) -> bool:
        """Whether it has what the kernel has, to the last property."""
        return _plain(self.data) == _plain(self.figure._data) and _plain(self.layout) == _plain(
            self.figure._layout_obj._props
        )


def put(target, path: str, value) -> None:
    *steps, last = path.split(".")
    for step in steps:
        target = target.setdefault(step, {})
    if value is None:
        target.pop(last, None)
    else:
        target[last] = value


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple | np.ndarray) else value


def drawn(figure: LiveFigure, count: int) -> bool:
    """Draw so many points on a figure of the account."""
    column = np.arange(float(count))
    traces = [{"x": column, "y": column, "visible": True, "name": f"of {count}"}, {"visible": count > 2}, {}]
    return figure.draw(traces, {"xaxis.visible": True, "yaxis.range": [0.0, float(count)]})


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
    "selection", [{"follows": True}, {"follows": False}, {"follows": False, "span": (1.45e12, 1.46e12)}]
)
def test_no_message_is_large_on_a_million_bars(million, selection):
    """Followed, whole or zoomed: each frame of a million bars is one message under 300 KB."""
    run, frame = million.run, million.run.analysis.frame
    symbol = run.world.timeline.series[0].symbol
    figures = (bars_figure(), equity_figure())
    all_props = (
        BarChart(frame.axis.series).props(frame, ChartSelection(symbol, "1m", **selection)),
        AccountChart(run.config.broker.cash, frame.axis.series).props(frame, symbol),
    )
    for figure, props in zip(figures, all_props, strict=True):
        sent = listened(figure)
        figure.draw(props.traces, props.layout)
        assert len(sent) == 1
        assert size(sent[0]) < 300_000
        assert all(len(trace.get("x", ())) <= 1_300 for trace in props.traces)
    assert len(all_props[0].traces[CANDLES]["x"]) <= 600


def test_columns_go_as_bytes():
    """Numbers are sent as buffers; an int64 column would be sent as text, which this test is here to notice."""
    figure = equity_figure()
    sent = listened(figure)
    column = np.arange(500, dtype=np.float64)
    figure.draw([{"x": column, "y": column, "visible": True}, {}, {}], {})
    assert len(sent[0][1]) == 2
    assert size(sent[0]) < 10_000
    figure.draw([{"x": column.astype(np.int64) + 1}, {}, {}], {})
    assert not sent[1][1], "plotly sends int64 as buffers now: the rule can go"


def test_only_differences_are_sent():
    """What was drawn already isn't sent again, and a frame without news sends nothing."""
    figure = equity_figure()
    x, y = np.arange(5.0), np.arange(5.0)
    assert figure.draw([{"x": x, "y": y, "visible": True}, {}, {}], {"xaxis.visible": True})
    sent = listened(figure)
    assert not figure.draw([{"x": x.copy(), "y": y.copy(), "visible": True}, {}, {}], {"xaxis.visible": True})
    assert figure.draw([{"x": x, "y": y + 1, "visible": True}, {}, {}], {"xaxis.visible": True})
    update = sent[0][0]["state"]["_py2js_update"]
    assert set(update["style_data"]) == {"y"}
    assert update["layout_data"] == {}


def test_all_of_a_figure_is_sent_to_a_page_that_lacks_something():
    """What the kernel holds isn't what a page shows: a page that says it has nothing is sent everything, news or none."""
    figure, page = equity_figure(), []
    assert drawn(figure, 5)
    figure.observe(lambda change: page.append(change["new"]), "_py2js_update")
    assert not drawn(figure, 5)
    figure._message(None, {"kind": "drawn"}, None)
    assert drawn(figure, 5)
    (whole,) = page
    assert whole["base"] is None
    assert len(whole["style_data"]["x"][0]) == 5
    assert whole["style_data"]["name"] == ["of 5", "Benchmark", "Drawdown"]
    assert whole["layout_data"]["yaxis"]["range"] == [0.0, 5.0]
    assert {"template", "legend", "uirevision", "xaxis", "yaxis2"} <= set(whole["layout_data"])
    assert not drawn(figure, 5)


def test_a_page_that_has_everything_is_sent_nothing():
    """A page that says it has the newest version causes no message."""
    figure = equity_figure()
    page = Page(figure)
    drawn(figure, 5)
    sent = listened(figure)
    page.report()
    assert not drawn(figure, 5)
    assert not sent


def restyled(figure: LiveFigure, changes: dict) -> None:
    figure._js2py_restyle = {"style_data": changes, "style_traces": [0], "source_view_id": "a"}


def relaid(figure: LiveFigure, changes: dict) -> None:
    figure._js2py_relayout = {"relayout_data": changes, "source_view_id": "a"}


STEPS = {
    "draw": lambda page, number: drawn(page.figure, number),
    "miss": lambda page, _: setattr(page, "missing", True),
    "hear": lambda page, _: setattr(page, "missing", False),
    "load": lambda page, _: page.open(),
    "report": lambda page, _: page.report(),
    "hide": lambda page, _: restyled(page.figure, {"visible": ["legendonly"]}),
    "zoom": lambda page, number: relaid(page.figure, {"xaxis.range[0]": float(number), "xaxis.range[1]": 99.0}),
    "edge": lambda page, number: relaid(page.figure, {"xaxis.range[1]": 99.0 + number}),
    "reset": lambda page, _: relaid(page.figure, {"xaxis.autorange": True}),
    "template": lambda page, number: page.figure.update_layout(template="plotly_dark" if number % 2 else "plotly"),
    "shape": lambda page, number: page.figure.add_hline(number),
    "trace": lambda page, number: page.figure.add_scatter(x=[1.0], y=[float(number)]),
}
"""What befalls a figure and a page: the run goes on, messages get lost, the user zooms or changes the figure in code."""


@given(st.lists(st.sampled_from(["draw", "draw", *STEPS]), max_size=10))
def test_a_page_is_right_whatever_it_has_missed(steps):
    """A page shows a version of the figure, whole, or knows that it doesn't; having said what it has, it is right."""
    figure = equity_figure()
    page = Page(figure)
    figure.listen(figure.answer, lambda _changes: None)
    for number, step in enumerate(steps):
        followed = page.is_right
        STEPS[step](page, number)
        if page.version == figure._last_trace_edit_id or (followed and not page.missing):
            assert page.is_right, step
    page.missing = False
    page.report()
    assert page.is_right


def test_a_span_that_is_chosen_ends_the_axis_own_range():
    """plotly.js doesn't say that a zoom after a double click ends the automatic range: a page that loads later would."""
    figure = equity_figure()
    figure._js2py_relayout = {"relayout_data": {"xaxis.autorange": True}, "source_view_id": "a"}
    figure._js2py_relayout = {"relayout_data": {"xaxis.range[0]": 1.0, "xaxis.range[1]": 2.0}, "source_view_id": "a"}
    layout = figure.get_state()["_widget_layout"]["xaxis"]
    assert (layout["autorange"], list(layout["range"])) == (False, [1.0, 2.0])


def test_a_page_that_loads_later_finds_the_figure_full():
    """What a reconnecting page is given is the figure as it was drawn last, not as it was made."""
    figure = bars_figure()
    column = np.arange(20.0)
    prices = {"open": column, "high": column, "low": column, "close": column, "x": column, "visible": True}
    figure.draw([prices, *[{}] * (len(figure.data) - 1)], {"yaxis.range": [1.0, 2.0]})
    state = figure.get_state()
    assert state["_widget_data"][CANDLES]["x"]["shape"] == (20,)
    assert state["_widget_layout"]["yaxis"]["range"] == [1.0, 2.0]
    assert state["_py2js_update"] is None


def test_acknowledgements_pace_the_pump():
    """A figure is behind from an update on until the page says that it drew it; one that was never drawn never is."""
    figure = bars_figure()
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


def test_the_library_is_what_the_page_takes_from_it():
    """The installed chart library brings what the page's code uses: plotly.js as a global, and its own widget's view."""
    source = gzip.decompress(bring_library().bundle).decode()
    assert "window.Plotly=" in source
    assert re.search(r"export\{[^}]* as FigureView\b", source)
    assert all(
        f"handle_plotly_{name}(" in source for name in ("restyle", "relayout", "update", "click", "hover", "selected")
    )


def test_figures_take_the_library_from_the_page():
    """A figure doesn't bring the chart library with it: that goes once a kernel, packed."""
    figure = sync_figure()
    assert len(figure.get_state()["_esm"]) < 10_000
