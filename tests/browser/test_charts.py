"""The charts tell the truth: every point, name and range in the page is the run's, however the page came by its plots.

NBBACKTEST_BROWSER_REPEATS says how often each way is tried: once, if it isn't set.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nbbacktest as nb
from nbbacktest.widgets.account_chart import AccountChart
from nbbacktest.widgets.bar_chart import BarChart, ChartSelection
from nbbacktest.widgets.live_figure import FigureProps

REPEATS = int(os.environ.get("NBBACKTEST_BROWSER_REPEATS", "1"))
PATIENCE = 15.0
"""Seconds in which the page has to come right: what is wrong for good is wrong after any time."""
START = (Path(__file__).parents[2] / "docs" / "start.md").read_text(encoding="utf-8")
RESTING = """\
import nbbacktest as nb
system = nb.get_system_manager()
system.start(paused=True)
system.step(20)
system.panel()
"""
LOST = """\
panel = system.panel()
for chart in (panel.charts.bars, panel.charts.equity, panel.charts.sync):
    chart._send = lambda *message, **more: None
system.step(5)
panel.draw_frame()
panel.draw_frame()
assert len(panel.charts.bars.data[0].x) == 25
for chart in (panel.charts.bars, panel.charts.equity, panel.charts.sync):
    del chart._send
system.step(5)
"""
FILLER = "print('\\n' * 300)"
SLOW = """
const Real = DecompressionStream;
globalThis.DecompressionStream = function (format) {
  const real = new Real(format);
  const late = new TransformStream({ flush: () => new Promise((done) => (globalThis.bringLibrary = done)) });
  real.readable.pipeThrough(late);
  return { writable: real.writable, readable: late.readable };
};
"""
"""The chart library is unpacked, and comes when `bringLibrary` is called."""
BUSY = """
const make = URL.createObjectURL.bind(URL);
let count = 0;
URL.createObjectURL = (blob) => {
  const until = performance.now() + ([2, 3].includes(++count) ? 2300 : 0);
  while (performance.now() < until);
  return make(blob);
};
"""
"""The page has no time while the codes of the keys and of the first chart come: the host gives these models up."""
PICTURE = """([chart, view]) => {
  const plot = document.querySelectorAll(`.nbbt-${chart} .js-plotly-plot`)[view];
  if (!plot?.data) return null;
  const plain = (value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
  const traces = plot.data.map((trace) => Object.fromEntries(
    ["name", "visible", "x", "y", "open", "high", "low", "close", "text"].map((key) => [key, plain(trace[key])])));
  const moment = (edge) => (typeof edge === "string" ? Date.parse(edge.replace(" ", "T") + "Z") : edge);
  const layout = {};
  for (const [name, axis] of Object.entries(plot.layout)) {
    if (!/^[xy]axis/.test(name)) continue;
    for (const key of ["visible", "domain", "rangebreaks", "autorange"]) layout[`${name}.${key}`] = axis[key];
    layout[`${name}.range`] = axis.range?.map(name.startsWith("x") ? moment : (edge) => edge);
  }
  const legend = [...plot.querySelectorAll(".legendtext")].map((one) => one.textContent);
  const drawn = plot.querySelectorAll(".boxlayer path.box").length;
  return { traces, layout, legend, drawn };
}"""

again = pytest.mark.parametrize("again", range(REPEATS))


@pytest.fixture
def twin() -> Iterator[nb.SystemManager]:
    """A run like the page's, to be brought to the same instant."""
    system = nb.SystemManager()
    system.start(paused=True)
    yield system
    system.stop()


def all_props(
    system: nb.SystemManager, symbol: str | None = None, interval: str | None = None
) -> dict[str, FigureProps]:
    """What the charts have to show of a run that rests or has ended."""
    run = system.run
    first = run.world.timeline.series[0]
    symbol, interval = symbol or first.symbol, interval or first.interval
    frame = run.analysis.frame
    return {
        "bars": BarChart(frame.axis.series).props(frame, ChartSelection(symbol, interval)),
        "equity": AccountChart(run.config.broker.cash, frame.axis.series).props(frame, symbol),
    }


def wrong(picture: Mapping[str, Any] | None, props: FigureProps) -> list[str]:
    """Where a plot in the page doesn't show the props."""
    if picture is None:
        return ["no plot"]
    found = []
    for number, (shown, meant) in enumerate(zip(picture["traces"], props.traces, strict=True)):
        keys = meant if meant["visible"] else ("visible",)
        differ = (key for key in keys if key in shown and not _same(shown[key], meant[key]))
        found += [f"trace {number} {key}: {_brief(shown[key])}, not {_brief(meant[key])}" for key in differ]
    laid = picture["layout"]
    found += [
        f"{key}: {laid.get(key)}, not {value}" for key, value in props.layout.items() if not _same(laid.get(key), value)
    ]
    visible = [trace for trace in picture["traces"] if trace["visible"]]
    if "close" in props.traces[0] and len(props.traces[0]["x"]) != picture["drawn"]:
        found.append(f"{picture['drawn']} candles are drawn, not {len(props.traces[0]['x'])}")
    named = {trace["name"] for trace in visible}
    if not set(picture["legend"]) <= named or (len(visible) > 3 and not picture["legend"]):
        found.append(f"the legend says {picture['legend']}, the traces are {named}")
    return found


def _same(shown: Any, meant: Any) -> bool:
    if isinstance(meant, np.ndarray) or (isinstance(meant, list) and meant and isinstance(meant[0], float)):
        return shown is not None and np.array_equal(np.array(shown, float), np.array(meant, float), equal_nan=True)
    return bool((shown or []) == list(meant) if isinstance(meant, list | tuple) else shown == meant)


def _brief(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, list | np.ndarray) else repr(value)


def right(sheet, expected: Mapping[str, FigureProps], view: int = 0) -> None:
    """Wait until each chart in the page is what it has to be."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = {
            chart: faults
            for chart, props in expected.items()
            if (faults := wrong(sheet.page.evaluate(PICTURE, [chart, view]), props))
        }
        if not found:
            break
        assert time.monotonic() < deadline, found
        sheet.page.wait_for_timeout(100)
    sync = sheet.page.evaluate(PICTURE, ["sync", view])["traces"]
    assert [trace["name"] for trace in sync] == ["Asked speed", "Achieved", "Lag, ms", "Overruns"]
    assert len({len(trace["x"]) for trace in sync if trace["visible"]}) == 1


@again
def test_the_steps_of_the_first_page(sheets, again):
    """docs/start.md to the letter: a run that rests at 10:30 and then gets a panel is drawn, names and all."""
    first, second = re.findall(r"```python\n(.*?)```", START, re.DOTALL)[:2]
    assert 'run_until("10:30")' in second
    sheet = sheets(f"start-{again}.ipynb", first, second, "system.panel()")
    sheet.run_all()
    sheet.panel()
    sheet.reaches(61)
    names: dict[str, Any] = {}
    exec(first, names)
    exec(second.replace("nb.get_system_manager()", "nb.SystemManager()"), names)
    try:
        expected = all_props(names["system"])
    finally:
        names["system"].stop()
    told = [trace["name"] for trace in expected["bars"].traces if str(trace.get("name")).startswith("SMA")]
    assert told == ["SMA(close, 10)", "SMA(close, 30)"]
    right(sheet, expected)


@again
def test_a_library_that_comes_late(sheets, twin, again):
    """What moved while the page was still loading the chart library is drawn when it is there."""
    sheet = sheets(f"late-{again}.ipynb", RESTING, "system.step(25)")
    sheet.page.add_init_script(SLOW)
    sheet.reload()
    sheet.run_all()
    sheet.reaches(45)
    sheet.wait_until("() => globalThis.bringLibrary")
    sheet.page.evaluate("() => bringLibrary()")
    twin.step(45)
    right(sheet, all_props(twin))


@again
def test_a_page_that_is_too_busy_for_its_models(sheets, twin, again):
    """Models that the host has given up hear their kernel all the same: charts are drawn, and a click is this run's."""
    sheet = sheets(f"busy-{again}.ipynb", RESTING)
    sheet.page.add_init_script(BUSY)
    sheet.reload()
    sheet.run_all()
    sheet.panel()
    twin.step(20)
    right(sheet, all_props(twin))
    sheet.click("step")
    sheet.reaches(21)
    twin.step()
    right(sheet, all_props(twin))
    given_up = [error for error in sheet.errors if "Failed to initialize model" in error]
    sheet.errors[:] = [error for error in sheet.errors if error not in given_up]


@again
def test_a_panel_out_of_sight_at_the_end(sheets, twin, again):
    """A panel that was scrolled away while its run ended shows the end when it is scrolled back."""
    sheet = sheets(f"away-{again}.ipynb", RESTING, FILLER, "system.resume()\nsystem.wait().fingerprint", height=900)
    sheet.run_cell(0)
    sheet.panel()
    sheet.run_cell(1)
    twin.step(20)
    right(sheet, all_props(twin))
    sheet.page.locator(".jp-Notebook .jp-Cell").nth(2).scroll_into_view_if_needed()
    sheet.run_cell(2)
    output = sheet.page.locator(".jp-Notebook .jp-Cell").nth(2).locator(".jp-OutputArea-output pre")
    output.first.wait_for()
    sheet.page.locator(".jp-Notebook .jp-Cell").nth(0).scroll_into_view_if_needed()
    sheet.page.locator(".nbbt-bars").scroll_into_view_if_needed()
    sheet.reaches(2340)
    twin.resume()
    twin.wait()
    right(sheet, all_props(twin))


@again
def test_messages_that_get_lost(sheets, twin, again):
    """A page that has missed a message draws nothing on top of what it has, and gets all of it."""
    sheet = sheets(f"lost-{again}.ipynb", RESTING, LOST)
    sheet.run_cell(0)
    sheet.panel()
    twin.step(20)
    right(sheet, all_props(twin))
    sheet.run_cell(1)
    sheet.reaches(30)
    twin.step(10)
    right(sheet, all_props(twin))


@again
def test_two_views_of_a_panel(sheets, twin, again):
    """A second view of a panel is right at once, and both are after the next step."""
    sheet = sheets(f"views-{again}.ipynb", RESTING, "system.panel()", "system.step(7)", height=2600)
    sheet.run_cell(0)
    sheet.panel()
    sheet.run_cell(1)
    sheet.page.wait_for_function("() => document.querySelectorAll('.nbbt-sync .js-plotly-plot').length === 2")
    twin.step(20)
    for view in (0, 1):
        right(sheet, all_props(twin), view)
    sheet.run_cell(2)
    twin.step(7)
    for view in (0, 1):
        right(sheet, all_props(twin), view)


@again
def test_a_page_that_is_loaded_again(sheets, twin, again):
    """Loaded again while a run goes on, and while it rests: all that was drawn is there, and other intervals are."""
    sheet = sheets(f"again-{again}.ipynb", RESTING.replace("system.panel", "system.set_speed(600)\nsystem.panel"))
    sheet.run_all()
    sheet.panel()
    sheet.save()
    sheet.click("resume")
    sheet.wait_state("Running")
    sheet.reload()
    sheet.panel()
    sheet.wait_state("Running")
    sheet.click("pause")
    sheet.wait_state("Paused")
    sheet.page.wait_for_timeout(600)
    twin.step(sheet.cursor())
    right(sheet, all_props(twin))
    sheet.reload()
    sheet.panel()
    sheet.wait_state("Paused")
    right(sheet, all_props(twin))
    sheet.page.locator(".nbbt-interval select").select_option(label="5m")
    right(sheet, all_props(twin, interval="5m"))
    sheet.page.locator(".nbbt-interval select").select_option(label="1m")
    right(sheet, all_props(twin))
